"""GET /api/v1/spend."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from django.http import QueryDict
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import parameters
from apps.api.views import ScopedView
from apps.core.cursors import cursor_of, position_of
from apps.core.money import usd_text
from apps.organizations.permissions import Scope
from apps.organizations.selectors import Principal
from apps.reports import dimensions
from apps.reports.selectors import ROWS_MAX, Spend, SpendQuestion, Sums, spend, this_month

RESERVED = {"from", "to", "group_by", "granularity", "basis", "cursor", "limit"}
KNOWN = frozenset({*dimensions.SPEND, *dimensions.USER, *dimensions.EVENTS})
Offset = Annotated[int, msgspec.Meta(ge=0, le=2**31)]


class SpendOutput(serializers.Serializer[Any]):
    locals()["from"] = serializers.DateTimeField()
    to = serializers.DateTimeField()
    granularity = serializers.CharField()
    group_by = serializers.ListField(child=serializers.CharField())
    basis = serializers.CharField()
    as_of = serializers.DateTimeField()
    source = serializers.ChoiceField(choices=["rollups", "events"])  # type: ignore[assignment]  # the contract's name
    rows = serializers.ListField(child=serializers.DictField())
    total = serializers.DictField()
    next = serializers.CharField(allow_null=True)


class SpendView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(
        operation_id="spend",
        summary="Spend by any dimension and time",
        description="`not.<dimension>`, such as `not.team=search`, leaves out one value; empty: what has none. It may"
        " be given several times.",
        parameters=[
            OpenApiParameter("group_by", str, description="Comma-separated dimensions, or tags.<key>."),
            OpenApiParameter("from", datetime, description="First instant; default: start of this month."),
            OpenApiParameter(
                "to", datetime, description="First instant no longer included; default: now, booked: end of this month."
            ),
            OpenApiParameter("granularity", str, enum=["none", "hour", "day", "week", "month"]),
            OpenApiParameter("basis", str, enum=["occurred", "booked"]),
            OpenApiParameter("limit", int, description=f"Rows a page, 1 to {ROWS_MAX}."),
            OpenApiParameter("cursor", str, description="`next` of the page before."),
            *(OpenApiParameter(name, str, description="Only this value; empty: missing.") for name in sorted(KNOWN)),
        ],
        responses=SpendOutput,
    )
    def get(self, request: Request) -> Response:
        question = question_of(request.query_params, self.principal)
        return Response(spend_json(spend(self.organization, question)))


def question_of(query: QueryDict, principal: Principal) -> SpendQuestion:
    """The question that query parameters ask; months default to this one."""
    org = principal.organization
    basis, cursor, now = query.get("basis", "occurred"), query.get("cursor"), timezone.now()
    both = "from" in query and "to" in query
    start, end = (now, now) if both else this_month(org, now, whole=basis == "booked")
    group_by = tuple(name.strip() for name in query.get("group_by", "").split(",") if name.strip())
    return SpendQuestion(
        start=parameters.instant(query, "from", start),
        end=parameters.instant(query, "to", end),
        group_by=group_by,
        filters=parameters.within_pins(
            principal, parameters.filters(query, KNOWN, RESERVED, tags=True, exclusive=True)
        ),
        excluded=parameters.exclusions(query, KNOWN, RESERVED),
        granularity=query.get("granularity", "none"),
        basis=basis,
        offset=position_of(cursor, Offset) if cursor else 0,
        limit=parameters.integer(query, "limit", ROWS_MAX, minimum=1, maximum=ROWS_MAX),
    )


def spend_json(answer: Spend) -> dict[str, Any]:
    return {
        "from": answer.start,
        "to": answer.end,
        "granularity": answer.granularity,
        "group_by": answer.group_by,
        "basis": answer.basis,
        "as_of": answer.as_of,
        "source": answer.source,
        "rows": [
            {
                **dict(zip(answer.group_by, row.groups, strict=True)),
                "bucket": row.bucket,
                **sums_json(row.sums),
            }
            for row in answer.rows
        ],
        "total": sums_json(answer.total),
        "next": cursor_of(answer.following) if answer.following is not None else None,
    }


def sums_json(sums: Sums) -> dict[str, Any]:
    return {
        "events": sums.events,
        "cost_usd": usd_text(sums.cost_usd),
        "unpriced_events": sums.unpriced_events,
        "errors": sums.errors,
        "retries": sums.retries,
        "escalations": sums.escalations,
        **sums.meters,
    }
