"""GET /api/v1/runs and /api/v1/runs/{run_id}: what runs cost and how they went."""

from datetime import timedelta
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import parameters
from apps.api.v1.paging import PAGED
from apps.api.views import ScopedView
from apps.budgets.models import RunTally
from apps.core.cursors import cursor_of
from apps.core.errors import DomainError
from apps.core.money import usd_text
from apps.core.tenancy import tenant
from apps.core.text import is_name
from apps.organizations.permissions import Scope
from apps.organizations.selectors import Principal
from apps.reports import runs
from apps.reports.runs import CHOICES, FILTERS, PAGE_MAX, SORTS, Family, RunRow
from apps.reports.runs_sql import Tree
from apps.reports.selectors import this_month
from apps.usage.parts_sql import Part

RESERVED = {"from", "to", "limit", "cursor", "sort"}
SHARE_PLACES = 6
MILLISECOND = timedelta(milliseconds=1)
SAYS = {
    "parent_run_id": "Only child runs of this run; empty: only runs without a parent.",
    "with": "Only runs with at least one.",
}


class UsageOutput(serializers.Serializer[Any]):
    steps = serializers.IntegerField(help_text="First attempts.")
    events = serializers.IntegerField(help_text="All attempts.")
    retries = serializers.IntegerField(help_text="Attempts after the first.")
    escalations = serializers.IntegerField(help_text="Events that name the model they were escalated from.")
    errors = serializers.IntegerField()  # type: ignore[assignment]  # the contract's name
    meters = serializers.DictField(child=serializers.IntegerField())
    cache_hit_share = serializers.CharField(allow_null=True, help_text="0 to 1; null where nothing was read.")
    cost_usd = serializers.CharField(allow_null=True, help_text="Of priced events; null where all are unpriced.")
    unpriced_events = serializers.IntegerField()


class RunOutput(serializers.Serializer[Any]):
    run_id = serializers.CharField()
    parent_run_id = serializers.CharField(allow_null=True)
    team = serializers.CharField(allow_null=True)
    project = serializers.CharField(allow_null=True)
    workflow = serializers.CharField(allow_null=True)
    environment = serializers.CharField(allow_null=True)
    user = serializers.CharField(allow_null=True)
    status = serializers.ChoiceField(CHOICES["status"], help_text="ended: its caller said so.")
    outcome = serializers.ChoiceField(CHOICES["outcome"], allow_null=True)
    units = serializers.IntegerField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    first_event_at = serializers.DateTimeField(allow_null=True)
    last_event_at = serializers.DateTimeField(allow_null=True)
    duration_ms = serializers.IntegerField(allow_null=True, help_text="From the first event to the last.")
    usage = UsageOutput(help_text="Of its own events, child runs apart; for a pinned key, of those within its pins.")
    other_events = serializers.IntegerField(
        help_text="Events outside of the key's pins, in no other figure here; 0 for a key without pins."
    )


class TreeOutput(serializers.Serializer[Any]):
    runs = serializers.IntegerField()
    events = serializers.IntegerField()
    steps = serializers.IntegerField()
    retries = serializers.IntegerField()
    escalations = serializers.IntegerField()
    cost_usd = serializers.CharField(allow_null=True)
    unpriced_events = serializers.IntegerField()


class RunDetailOutput(RunOutput):
    usage = UsageOutput(allow_null=True, help_text="Of its own events; null before the first.")
    # What follows is null for a pinned key: the tree may belong to others.
    tree = TreeOutput(allow_null=True, help_text="Of the run and its child runs.")
    bounds = serializers.DictField(
        allow_null=True, help_text="The tighter ones of its workflow and of its root's; null: no bound."
    )
    root_run_id = serializers.CharField(allow_null=True)
    # What bounds have counted, on the root; null where neither a decision nor a bound has named the run.
    depth = serializers.IntegerField(allow_null=True)
    started_at = serializers.DateTimeField(allow_null=True, help_text="Its first decision or event, as bounds see it.")
    last_at = serializers.DateTimeField(allow_null=True)
    children = serializers.IntegerField(allow_null=True)
    steps = serializers.IntegerField(allow_null=True, help_text="As bounds count them on the root and its child runs.")
    spent_usd = serializers.CharField(allow_null=True, help_text="On the root, child runs included.")
    held_usd = serializers.CharField(allow_null=True)
    overrun_usd = serializers.CharField(allow_null=True)
    reached = serializers.DictField(allow_null=True, help_text="Bounds that were reached: when, and at which limit.")


class RunListOutput(serializers.Serializer[Any]):
    data = RunOutput(many=True)  # type: ignore[assignment]  # the contract's name
    next = serializers.CharField(allow_null=True)
    as_of = serializers.DateTimeField(allow_null=True, help_text="Events accepted until then are in the list.")


class RunsView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(
        operation_id="runs_list",
        summary="Find runs",
        description="Runs that began in the range, newest first or the most expensive first.",
        parameters=[
            OpenApiParameter("from", description="First instant; default: start of this month. Of the first event."),
            OpenApiParameter("to", description="First instant no longer included; default: now."),
            OpenApiParameter("sort", str, enum=SORTS),
            *(
                OpenApiParameter(
                    name, str, enum=CHOICES.get(name), description=SAYS.get(name, "Only this value; empty: missing.")
                )
                for name in FILTERS
            ),
            *PAGED,
        ],
        responses=RunListOutput,
    )
    def get(self, request: Request) -> Response:
        query = request.query_params
        filters = parameters.within_pins(self.principal, parameters.filters(query, FILTERS, RESERVED))
        part = _part(self.principal)
        now = timezone.now()
        month_start, _ = this_month(self.organization, now)
        start = parameters.instant(query, "from", month_start)
        end = parameters.instant(query, "to", now)
        parameters.require_order(start, end)
        limit = parameters.integer(query, "limit", 100, minimum=1, maximum=PAGE_MAX)
        with tenant(self.organization):
            page = runs.find_runs(
                self.organization, start=start, end=end, filters=filters, sort=query.get("sort", SORTS[0]),
                cursor=query.get("cursor", ""), limit=limit, at=now, part=part,
            )  # fmt: skip
        following = cursor_of(page.following) if page.following else None
        return Response({"data": [run_json(row) for row in page.runs], "next": following, "as_of": page.as_of})


class RunView(ScopedView):
    scopes = {"GET": Scope.READ}

    @property
    def allowed_methods(self) -> list[str]:
        """PUT on the same path is a plain view."""
        return [*super().allowed_methods, "PUT"]

    @extend_schema(
        operation_id="run_get",
        summary="A run, its tree and what it has used of its bounds",
        description="Its calls are found at /api/v1/events?run_id=, its child runs at /api/v1/runs?parent_run_id=.",
        parameters=[OpenApiParameter("run_id", str, OpenApiParameter.PATH)],
        responses=RunDetailOutput,
    )
    def get(self, request: Request, run_id: str) -> Response:
        run_id = checked_run_id(run_id)
        org, part = self.organization, _part(self.principal)
        with tenant(org):
            found = runs.family(org, run_id) if part is None else runs.part_of_family(org, run_id, part)
            return Response(family_json(found, is_whole=part is None))


def checked_run_id(run_id: str) -> str:
    """Raises `DomainError` (`run_id_invalid`)."""
    if not is_name(run_id, 256):
        raise DomainError("run_id_invalid", "A run_id has 1 to 256 printable characters.", param="run_id")
    return run_id


def _part(principal: Principal) -> Part | None:
    """What a pinned key may read of runs; None for a key that reads all."""
    return {name: (pin,) for name, pin in parameters.within_pins(principal, {}).items()} or None


def run_json(run: RunRow) -> dict[str, Any]:
    names = (
        "run_id", "parent_run_id", "team", "project", "workflow", "environment", "user", "status", "outcome", "units",
        "ended_at",
    )  # fmt: skip
    return {
        **{name: getattr(run, name) for name in names},
        "first_event_at": run.first_at,
        "last_event_at": run.last_at,
        "duration_ms": run.duration // MILLISECOND,
        "usage": usage_json(run),
        "other_events": run.others,
    }


def usage_json(run: RunRow) -> dict[str, Any]:
    share = run.cache_hit_share
    return {
        **{name: getattr(run, name) for name in ("steps", "events", "retries", "escalations", "errors")},
        "meters": {meter: quantity for meter, quantity in run.meters.items() if quantity},
        "cache_hit_share": None if share is None else f"{share:.{SHARE_PLACES}f}",
        "cost_usd": usd_text(run.cost_usd),
        "unpriced_events": run.unpriced_events,
    }


def family_json(found: Family, *, is_whole: bool) -> dict[str, Any]:
    """Without `is_whole` nothing of the tree is said: it may belong to others."""
    run, tally = found.run, found.tally
    own = run_json(run) if run else {**dict.fromkeys(RunOutput().fields), **_said_json(found.run_id, tally)}
    if not is_whole:
        return {**dict.fromkeys(RunDetailOutput().fields), **own}
    root = found.root_tally
    return {
        **own,
        "tree": _tree_json(found.tree),
        "bounds": {**found.bounds, "max_cost_usd": usd_text(found.bounds["max_cost_usd"])},
        "root_run_id": tally.root_run_id if tally else found.root_run_id,
        **{name: getattr(tally, name) if tally else None for name in ("depth", "started_at", "last_at", "children")},
        "steps": root.steps if root else None,
        **{name: usd_text(getattr(root, name)) if root else None for name in ("spent_usd", "held_usd", "overrun_usd")},
        "reached": root.reached if root else {},
    }


def _said_json(run_id: str, tally: RunTally | None) -> dict[str, Any]:
    """What is known of a run before its first event."""
    return {
        "run_id": run_id,
        "parent_run_id": tally.parent_run_id if tally else None,
        "other_events": 0,
        "status": "ended" if tally and tally.ended_at else "running",
        **{name: getattr(tally, name) if tally else None for name in ("outcome", "units", "ended_at")},
    }


def _tree_json(tree: Tree) -> dict[str, Any]:
    is_unpriced = tree.events and tree.unpriced_events == tree.events
    return {**tree._asdict(), "cost_usd": None if is_unpriced else usd_text(tree.cost_usd)}
