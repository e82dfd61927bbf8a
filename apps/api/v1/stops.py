"""The emergency stop."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.alerts.tasks import hint_tell
from apps.api import parameters
from apps.api.v1.names import validated
from apps.api.views import Exact, ScopedView, listing
from apps.budgets import selectors, services
from apps.budgets.models import Stop
from apps.core.tenancy import tenant
from apps.organizations.permissions import Scope


class StopInput(Exact):
    kind = serializers.CharField(max_length=12, help_text=", ".join(Stop.Kind.values))
    target = serializers.CharField(
        max_length=256, required=False, allow_blank=True, default="",
        help_text="A team's or workflow's slug, a key's id, a run's id; empty for the organization.",
    )  # fmt: skip
    reason = serializers.CharField(max_length=500)


class StopOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    kind = serializers.CharField()
    target = serializers.CharField()
    reason = serializers.CharField()
    stopped_by = serializers.CharField()
    stopped_at = serializers.DateTimeField()
    lifted_by = serializers.CharField()
    lifted_at = serializers.DateTimeField(allow_null=True)


class StopsView(ScopedView):
    scopes = {"GET": Scope.READ, "POST": Scope.MANAGE}

    @extend_schema(
        operation_id="stops_list",
        responses=listing(StopOutput),
        parameters=[OpenApiParameter("standing", str, enum=["true", "false"], description="Default true.")],
    )
    def get(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        asked = parameters.filters(request.query_params, {"standing"}, ())
        with tenant(self.organization):
            rows = selectors.list_stops(self.organization, **asked)
        return Response({"data": StopOutput(rows, many=True).data, "next": None})

    @extend_schema(
        operation_id="stops_create",
        request=StopInput,
        responses={201: StopOutput},
        description="From the next decision on; leases that are out end within 60 seconds.",
    )
    def post(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        row = services.stop(org=self.organization, actor=self.principal, **validated(StopInput, request))
        hint_tell(self.organization.pk)
        return Response(StopOutput(row).data, status=201)


class StopLiftView(ScopedView):
    scopes = {"POST": Scope.MANAGE}

    @extend_schema(operation_id="stops_lift", request=None, responses=StopOutput)
    def post(self, request: Request, stop_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        row = services.lift(org=self.organization, stop_id=stop_id, actor=self.principal)
        hint_tell(self.organization.pk)
        return Response(StopOutput(row).data)
