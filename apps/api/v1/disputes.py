"""Disputes of statements: what a team says is wrong, and what finance answers."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import parameters
from apps.api.v1.months import RowId
from apps.api.v1.names import validated
from apps.api.v1.statements import within_team
from apps.api.views import Exact, ScopedView, listing
from apps.core.cursors import cursor_of, position_of
from apps.core.errors import DomainError
from apps.core.money import usd_text
from apps.core.tenancy import tenant
from apps.organizations.permissions import Scope
from apps.reports import disputing
from apps.reports.disputes import IDENTITY, PAGE_MAX, find_disputes, line_key
from apps.reports.models_disputes import Dispute
from apps.reports.statements import parse_month

LISTED = [
    OpenApiParameter("month", str, description="Only those of YYYY-MM."),
    OpenApiParameter("team", str, description="Only this team's; empty: the unattributed statement's."),
    OpenApiParameter("state", str, enum=Dispute.State.values),
    OpenApiParameter("limit", int, description=f"1 to {PAGE_MAX}, default 100."),
    OpenApiParameter("cursor", str, description="`next` of the page before."),
]


class LineInput(Exact):
    kind = serializers.CharField(max_length=16)
    project = serializers.CharField(max_length=256, required=False, allow_null=True, default=None)
    workflow = serializers.CharField(max_length=256, required=False, allow_null=True, default=None)
    provider = serializers.CharField(max_length=256, required=False, allow_blank=True, default="")
    model = serializers.CharField(max_length=256, required=False, allow_blank=True, default="")
    of_month = serializers.CharField(max_length=7, required=False, allow_null=True, default=None)
    name = serializers.CharField(max_length=256, required=False, allow_blank=True, default="")
    source = serializers.CharField(  # type: ignore[assignment]  # DRF's own name
        max_length=64, required=False, allow_blank=True, default=""
    )


class DisputeInput(Exact):
    statement = serializers.CharField(max_length=300, help_text="Its id, such as 2026-10:search.")
    line = LineInput(help_text="The line, by the names that it has on the statement.")
    reason = serializers.CharField(max_length=500)


class RejectInput(Exact):
    answer = serializers.CharField(max_length=500)


class DisputeMoveInput(Exact):
    team = serializers.CharField(max_length=256, help_text="Who bears it instead.")
    from_day = serializers.CharField(
        max_length=20, required=False, allow_blank=True, default="", help_text="YYYY-MM-DD; default: all of the line."
    )
    answer = serializers.CharField(max_length=500, required=False, allow_blank=True, default="")
    preview = serializers.BooleanField(required=False, default=False, help_text="Say the amount, and book nothing.")


class DisputeOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    month = serializers.CharField()
    team = serializers.CharField(allow_null=True)
    line = serializers.DictField()
    amount_usd = serializers.CharField(help_text="Of the line, when it was disputed.")
    reason = serializers.CharField()
    raised_at = serializers.DateTimeField()
    raised_by = serializers.CharField()
    state = serializers.ChoiceField(choices=Dispute.State.values)
    answer = serializers.CharField()
    answered_at = serializers.DateTimeField(allow_null=True)
    answered_by = serializers.CharField()
    to_team = serializers.CharField()
    from_day = serializers.DateField(allow_null=True)
    moved_usd = serializers.CharField(allow_null=True)
    booked_month = serializers.CharField(allow_null=True)


class DisputesView(ScopedView):
    scopes = {"GET": Scope.READ, "POST": Scope.MANAGE}

    @extend_schema(operation_id="disputes_list", parameters=LISTED, responses=listing(DisputeOutput))
    def get(self, request: Request) -> Response:
        query = request.query_params
        asked = within_team(self.principal, parameters.filters(query, {"team"}, {"month", "state", "limit", "cursor"}))
        limit = parameters.integer(query, "limit", 100, minimum=1, maximum=PAGE_MAX)
        with tenant(self.organization):
            rows = find_disputes(
                self.organization,
                month=parse_month(query["month"]) if "month" in query else None,
                teams=None if "team" not in asked else [asked["team"]],
                state=_state(query),
                after=position_of(query["cursor"], RowId) if query.get("cursor") else None,
                limit=limit + 1,
            )
        following = cursor_of(rows[limit - 1].pk) if len(rows) > limit else None
        return Response({"data": [dispute_json(row) for row in rows[:limit]], "next": following})

    @extend_schema(operation_id="disputes_raise", request=DisputeInput, responses={201: DisputeOutput})
    def post(self, request: Request) -> Response:
        given = validated(DisputeInput, request)
        month, team = _statement(given["statement"])
        within_team(self.principal, {"team": team or ""})
        row = disputing.raise_dispute(
            org=self.organization,
            month=month,
            team=team,
            key=line_key({name: given["line"][name] for name in IDENTITY}),
            reason=given["reason"],
            actor=self.principal,
        )
        return Response(dispute_json(row), status=201)


class DisputeRejectView(ScopedView):
    scopes = {"POST": Scope.MANAGE}

    @extend_schema(operation_id="disputes_reject", request=RejectInput, responses=DisputeOutput)
    def post(self, request: Request, dispute_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(RejectInput, request)
        row = disputing.reject(
            org=self.organization, dispute_id=dispute_id, answer=given["answer"], actor=self.principal
        )
        return Response(dispute_json(row))


class DisputeMoveView(ScopedView):
    scopes = {"POST": Scope.MANAGE}

    @extend_schema(
        operation_id="disputes_move",
        request=DisputeMoveInput,
        responses=DisputeOutput,
        description="Books two lines that add up to 0, in the month while it is open, else in the first open one.",
    )
    def post(self, request: Request, dispute_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(DisputeMoveInput, request)
        asked = {"to_team": given["team"], "from_day": given["from_day"]}
        if given["preview"]:
            with tenant(self.organization):
                row = disputing.dispute_of(self.organization, dispute_id)
            found = disputing.preview_move(self.organization, row, **asked)
            row.to_team, row.from_day, row.moved_usd = found.to_team, found.from_day, found.amount_usd
            row.booked_month = found.booked_month
            return Response(dispute_json(row))
        row = disputing.move(
            org=self.organization, dispute_id=dispute_id, answer=given["answer"], actor=self.principal, **asked
        )
        return Response(dispute_json(row))


def _state(query: Mapping[str, str]) -> str | None:
    state = query.get("state")
    if state is not None and state not in Dispute.State.values:
        raise DomainError(
            "state_unknown", f"state is '{state[:40]}': it is {', '.join(Dispute.State.values)}.", param="state"
        )
    return state


def _statement(text: str) -> tuple[date, str | None]:
    """The month and the team that an id names. Raises `DomainError` (`statement_unknown`, `month_invalid`)."""
    month, colon, team = text.partition(":")
    if not colon:
        raise DomainError(
            "statement_unknown", f"'{text[:40]}' is no id of a statement: such as 2026-10:search.", param="statement"
        )
    return parse_month(month), team or None


def dispute_json(row: Dispute) -> dict[str, Any]:
    return {
        "id": row.pk,
        "month": f"{row.month:%Y-%m}",
        "team": row.team,
        "line": row.line,
        "amount_usd": usd_text(row.amount_usd),
        "reason": row.reason,
        "raised_at": row.raised_at,
        "raised_by": row.raised_by,
        "state": row.state,
        "answer": row.answer,
        "answered_at": row.answered_at,
        "answered_by": row.answered_by,
        "to_team": row.to_team,
        "from_day": row.from_day,
        "moved_usd": usd_text(row.moved_usd),
        "booked_month": f"{row.booked_month:%Y-%m}" if row.booked_month else None,
    }
