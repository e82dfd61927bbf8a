"""Signals: incidents and the answers to them, the series of a workflow, and marks."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import parameters
from apps.api.v1.months import RowId
from apps.api.v1.names import validated
from apps.api.views import Exact, ScopedView, listing
from apps.core.cursors import cursor_of, position_of
from apps.core.errors import DomainError, NotFound
from apps.core.money import usd_text
from apps.core.tenancy import tenant
from apps.insights import services
from apps.insights.models import REASON_LENGTH_MAX, Incident, Mark, ScopeKind
from apps.insights.selectors import (
    LOOKED_BACK,
    PAGE_MAX,
    SERIES_DAYS_MAX,
    SIGNAL_NAMES,
    STATES,
    TIERS,
    Series,
    find_incidents,
    find_marks,
    incident_by_id,
    series_of,
)
from apps.insights.shared import cut_incidents, use_of
from apps.organizations.permissions import Scope
from apps.organizations.selectors import Principal, calendar
from apps.teams.models import Workflow
from apps.teams.selectors import workflow_by_slug
from apps.usage.parts_sql import Part
from apps.usage.shared import uses_of

SERIES_DEFAULT = timedelta(days=28)
PAGED = [
    OpenApiParameter("limit", int, description=f"1 to {PAGE_MAX}, default 100."),
    OpenApiParameter("cursor", str, description="`next` of the page before."),
]
LISTED = [
    OpenApiParameter("state", str, enum=STATES, description="live: open or acknowledged."),
    OpenApiParameter("team", str, description="Only this team's; empty: of no team."),
    OpenApiParameter("project", str),
    OpenApiParameter("workflow", str, description="Only those whose scope is this workflow."),
    OpenApiParameter("signal", str, enum=SIGNAL_NAMES),
    OpenApiParameter("tier", str, enum=TIERS),
    *PAGED,
]


class SignalAnswerInput(Exact):
    reason = serializers.CharField(
        max_length=REASON_LENGTH_MAX,
        required=False,
        allow_blank=True,
        default="",
        help_text="Needed to expect and to dismiss.",
    )


class IncidentOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    state = serializers.ChoiceField(choices=Incident.State.values)
    tier = serializers.ChoiceField(choices=Incident.Tier.values)
    family = serializers.CharField(help_text="What kind of cause.")
    signal = serializers.CharField(help_text="The leading one of `signals`.")
    scope_kind = serializers.ChoiceField(choices=ScopeKind.values)
    scope = serializers.CharField(help_text="A slug; empty: the organization.")
    team = serializers.CharField(allow_null=True)
    project = serializers.CharField(allow_null=True)
    parent = serializers.IntegerField(  # type: ignore[assignment]  # a field of this name hides the serializer's parent
        allow_null=True, help_text="The incident of the team that it is part of."
    )
    opened_at = serializers.DateTimeField()
    since = serializers.DateTimeField()
    last_seen_at = serializers.DateTimeField()
    closed_at = serializers.DateTimeField(allow_null=True)
    excess_usd = serializers.CharField(
        allow_null=True,
        help_text="An estimate, a day beyond the usual; null to a pinned key where others used the workflow too.",
    )
    peak_usd = serializers.CharField(allow_null=True)
    signals = serializers.ListField(child=serializers.DictField())
    cause = serializers.DictField()
    runs = serializers.ListField(child=serializers.CharField())
    fix = serializers.CharField()
    history = serializers.ListField(child=serializers.DictField())
    answered_at = serializers.DateTimeField(allow_null=True)
    answered_by = serializers.CharField()
    reason = serializers.CharField()
    is_useful = serializers.BooleanField(allow_null=True)


class SignalPointOutput(serializers.Serializer[Any]):
    day = serializers.DateTimeField()
    value = serializers.FloatField(allow_null=True)
    baseline = serializers.FloatField(allow_null=True)
    low = serializers.FloatField(allow_null=True)
    high = serializers.FloatField(allow_null=True)
    sample = serializers.FloatField()
    status = serializers.CharField(allow_null=True)


class SignalSeriesOutput(serializers.Serializer[Any]):
    signal = serializers.CharField()
    points = SignalPointOutput(many=True)


class MarkInput(Exact):
    kind = serializers.CharField(max_length=10, help_text=f"{', '.join(Mark.Kind.values)}.")
    name = serializers.CharField(max_length=100)
    scope_kind = serializers.CharField(max_length=12, required=False, default=ScopeKind.ORGANIZATION)
    scope = serializers.CharField(max_length=256, required=False, allow_blank=True, default="")
    starts_at = serializers.DateTimeField()
    ends_at = serializers.DateTimeField()


class MarkOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    kind = serializers.CharField()
    name = serializers.CharField()
    scope_kind = serializers.CharField()
    scope = serializers.CharField()
    starts_at = serializers.DateTimeField()
    ends_at = serializers.DateTimeField()
    created_at = serializers.DateTimeField()
    created_by = serializers.CharField()


class SignalsView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(operation_id="signals_list", parameters=LISTED, responses=listing(IncidentOutput))
    def get(self, request: Request) -> Response:
        query = request.query_params
        known = {"team", "project", "workflow", "state", "signal", "tier"}
        asked = within(self.principal, parameters.filters(query, known, {"limit", "cursor"}))
        limit = parameters.integer(query, "limit", 100, minimum=1, maximum=PAGE_MAX)
        after = position_of(query["cursor"], RowId) if query.get("cursor") else None
        with tenant(self.organization):
            rows = find_incidents(self.organization, after=after, limit=limit + 1, **asked)
            rows = cut(self.principal, rows)
        following = cursor_of(rows[limit - 1].pk) if len(rows) > limit else None
        return Response({"data": [incident_json(row) for row in rows[:limit]], "next": following})


class SignalView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(operation_id="signals_read", responses=IncidentOutput)
    def get(self, request: Request, incident_id: int) -> Response:
        with tenant(self.organization):
            incident = require_within(self.principal, incident_by_id(self.organization, incident_id))
            cut(self.principal, [incident])
        return Response(incident_json(incident))


class _AnswerView(ScopedView):
    scopes = {"POST": Scope.MANAGE}
    act = ""

    def answer(self, request: Request, incident_id: int) -> Response:
        given = validated(SignalAnswerInput, request)
        with tenant(self.organization):
            require_within(self.principal, incident_by_id(self.organization, incident_id))
        incident = services.answer(
            org=self.organization, incident_id=incident_id, act=self.act, reason=given["reason"], actor=self.principal
        )
        with tenant(self.organization):
            cut(self.principal, [incident])
        return Response(incident_json(incident))


def _answering(act: str) -> type[_AnswerView]:
    @extend_schema(operation_id=f"signals_{act}", request=SignalAnswerInput, responses=IncidentOutput)
    def post(self: _AnswerView, request: Request, incident_id: int) -> Response:
        return self.answer(request, incident_id)

    return type(
        f"Signal{act.capitalize()}View", (_AnswerView,), {"post": post, "act": act, "scopes": _AnswerView.scopes}
    )


ANSWER_VIEWS = {act: _answering(act) for act in services.ACTS}


class WorkflowSignalsView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(
        operation_id="workflow_signals",
        responses=listing(SignalSeriesOutput),
        parameters=[
            OpenApiParameter("from", str, description="RFC 3339; default: 28 days before `to`."),
            OpenApiParameter("to", str, description=f"RFC 3339; default: now; at most {SERIES_DAYS_MAX} days later."),
        ],
    )
    def get(self, request: Request, slug: str) -> Response:
        query = request.query_params
        parameters.filters(query, set(), {"from", "to"})
        end = parameters.instant(query, "to", timezone.now())
        start = parameters.instant(query, "from", end - SERIES_DEFAULT)
        parameters.require_order(start, end)
        if end - start > timedelta(days=SERIES_DAYS_MAX):
            raise DomainError(
                "range_too_long", f"from and to are more than {SERIES_DAYS_MAX} days apart.", param="from"
            )
        with tenant(self.organization):
            workflow = None if "\0" in slug else workflow_by_slug(self.organization, slug)
            if workflow is None:
                raise NotFound("workflow")
            since = self._whole_since(workflow, start)
            series = series_of(self.organization, slug, start, end, whole_since=since)
        return Response({"data": [series_json(one) for one in series], "next": None})

    def _whole_since(self, workflow: Workflow, start: datetime) -> datetime | None:
        """Of a pinned key, since when all of the workflow is its own; None for one that reads everything.

        Raises `NotFound` where nothing of it is.
        """
        part, org, now = part_of(self.principal), self.organization, timezone.now()
        if part is None:
            return None
        clock = calendar(org)
        use_of(org, clock, workflow, part, now)
        return uses_of(org, clock, [workflow.slug], part, start - LOOKED_BACK, now)[workflow.slug].whole_since


class MarksView(ScopedView):
    scopes = {"GET": Scope.READ, "POST": Scope.MANAGE}

    @extend_schema(operation_id="marks_list", parameters=PAGED, responses=listing(MarkOutput))
    def get(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        query = request.query_params
        parameters.filters(query, set(), {"limit", "cursor"})
        limit = parameters.integer(query, "limit", 100, minimum=1, maximum=PAGE_MAX)
        after = position_of(query["cursor"], RowId) if query.get("cursor") else None
        with tenant(self.organization):
            rows = find_marks(self.organization, after=after, limit=limit + 1)
        following = cursor_of(rows[limit - 1].pk) if len(rows) > limit else None
        return Response({"data": MarkOutput(rows[:limit], many=True).data, "next": following})

    @extend_schema(operation_id="marks_set", request=MarkInput, responses={201: MarkOutput})
    def post(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        mark = services.set_mark(org=self.organization, actor=self.principal, **validated(MarkInput, request))
        return Response(MarkOutput(mark).data, status=201)


class MarkView(ScopedView):
    scopes = {"PUT": Scope.MANAGE, "DELETE": Scope.MANAGE}

    @extend_schema(operation_id="marks_change", request=MarkInput, responses=MarkOutput)
    def put(self, request: Request, mark_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(MarkInput, request)
        mark = services.set_mark(org=self.organization, actor=self.principal, mark_id=mark_id, **given)
        return Response(MarkOutput(mark).data)

    @extend_schema(operation_id="marks_remove", responses={204: None})
    def delete(self, request: Request, mark_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        services.remove_mark(org=self.organization, mark_id=mark_id, actor=self.principal)
        return Response(status=204)


def within(principal: Principal, asked: Mapping[str, str]) -> dict[str, str]:
    """The filters with the key's pins: an incident is of teams and projects, and of no environment."""
    found = parameters.within_pins(principal, asked)
    if "environment" in found:
        raise DomainError(
            "pinned_dimension",
            f"This key belongs to environment '{found['environment']}'; signals are of whole workflows.",
            param="environment",
        )
    return found


def part_of(principal: Principal) -> Part | None:
    """What a pinned key may see; None: everything. Raises as `within`."""
    return {name: [value] for name, value in within(principal, {}).items()} or None


def cut(principal: Principal, incidents: list[Incident]) -> list[Incident]:
    """Without the figures of workflows that are not the key's alone. Inside `tenant(org)`."""
    org = principal.organization
    return cut_incidents(org, calendar(org), incidents, part_of(principal), timezone.now())


def require_within(principal: Principal, incident: Incident) -> Incident:
    """Raises `NotFound` where the key's pins leave it out."""
    if any(getattr(incident, name) != value for name, value in within(principal, {}).items()):
        raise NotFound("incident")
    return incident


_SHOWN = tuple(name for name in IncidentOutput().get_fields() if name not in ("id", "parent", "excess_usd", "peak_usd"))


def incident_json(row: Incident) -> dict[str, Any]:
    return {
        "id": row.pk,
        **{name: getattr(row, name) for name in _SHOWN},
        "parent": row.parent_id,
        "excess_usd": usd_text(row.excess_usd),
        "peak_usd": usd_text(row.peak_usd),
    }


def series_json(one: Series) -> dict[str, Any]:
    return {"signal": one.signal, "points": SignalPointOutput(one.points, many=True).data}
