"""What people are told of budgets, runs and stops."""

from datetime import datetime
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import parameters
from apps.api.v1.paging import PAGED, next_of
from apps.api.views import ScopedView, listing
from apps.budgets import selectors
from apps.budgets.models import Crossing
from apps.budgets.selectors import PAGE_MAX
from apps.core.tenancy import tenant
from apps.organizations.permissions import Scope


class CrossingOutput(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    kind = serializers.CharField()
    severity = serializers.CharField()
    team = serializers.CharField(allow_null=True)
    budget_id = serializers.IntegerField(allow_null=True)
    run_id = serializers.CharField(allow_null=True)
    crossed_at = serializers.DateTimeField()
    facts = serializers.DictField(help_text="The figures at the instant.")


class CrossingsView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(
        operation_id="crossings_list",
        responses=listing(CrossingOutput),
        parameters=[
            OpenApiParameter("kind", str, enum=Crossing.Kind.values),
            OpenApiParameter("budget", int, description="The id of a budget."),
            OpenApiParameter("since", datetime, description="None that was crossed before."),
            *PAGED,
        ],
    )
    def get(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        query = request.query_params
        asked = parameters.filters(query, {"kind", "budget", "cursor"}, {"since", "limit"})
        since = parameters.instant(query, "since", timezone.now()) if "since" in query else None
        limit = parameters.integer(query, "limit", 100, minimum=1, maximum=PAGE_MAX)
        with tenant(self.organization):
            page = selectors.find_crossings(self.organization, limit=limit, since=since, **asked)
        return Response({"data": [crossing_json(row) for row in page.rows], "next": next_of(page)})


def crossing_json(row: Crossing) -> dict[str, Any]:
    shown = {name: getattr(row, name) for name in CrossingOutput().get_fields() if name != "id"}
    return {"id": row.crossing_id, **shown}
