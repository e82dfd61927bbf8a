"""Reservations as they stand: money held before calls, and what became of it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import parameters
from apps.api.v1.paging import PAGED, next_of
from apps.api.views import ScopedView, listing
from apps.budgets import selectors
from apps.budgets.models import Reservation
from apps.budgets.selectors import PAGE_MAX
from apps.core.money import usd_text
from apps.core.tenancy import tenant
from apps.organizations.permissions import Scope


class ReservationOutput(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    kind = serializers.CharField()
    state = serializers.CharField()
    request_id = serializers.CharField(allow_null=True)
    api_key = serializers.CharField()
    decided_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    closed_at = serializers.DateTimeField(allow_null=True)
    granted_usd = serializers.CharField()
    held_usd = serializers.CharField()
    cost_usd = serializers.CharField(allow_null=True)
    overrun_usd = serializers.CharField()
    is_late = serializers.BooleanField()
    run_id = serializers.CharField(allow_null=True)
    event_id = serializers.CharField(allow_null=True)
    call = serializers.DictField(child=serializers.CharField())


class ReservationsView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(
        operation_id="reservations_list",
        responses=listing(ReservationOutput),
        parameters=[
            OpenApiParameter("state", str, enum=Reservation.State.values),
            OpenApiParameter("kind", str, enum=["call", "lease"]),
            OpenApiParameter("run_id", str),
            OpenApiParameter("api_key", int),
            *PAGED,
        ],
    )
    def get(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        asked = parameters.filters(request.query_params, {"state", "kind", "run_id", "api_key", "cursor"}, {"limit"})
        limit = parameters.integer(request.query_params, "limit", 100, minimum=1, maximum=PAGE_MAX)
        with tenant(self.organization):
            page = selectors.find_reservations(self.organization, limit=limit, **asked)
        return Response({"data": [reservation_json(row) for row in page.rows], "next": next_of(page)})


class ReservationView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(operation_id="reservations_get", responses=ReservationOutput)
    def get(self, request: Request, reservation_id: UUID) -> Response:
        parameters.require_unpinned(self.principal)
        with tenant(self.organization):
            row = selectors.reservation_by_id(self.organization, reservation_id)
        return Response(reservation_json(row))


def reservation_json(row: Reservation) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name in ReservationOutput().get_fields():
        value = getattr(row, name, None)
        shown[name] = usd_text(value) if name.endswith("_usd") else value
    closed: datetime | None = row.closed_at
    return {**shown, "id": row.reservation_id, "api_key": str(row.key_id), "closed_at": closed}
