"""One run: its figures, its bounds, its calls drawn and as a tree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from django.http import HttpResponse
from msgspec import Meta

from apps.core.cursors import cursor_of, position_of
from apps.core.errors import DomainError
from apps.core.meters import METERS, TOKENS_OUT
from apps.core.money import sum_usd
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.portal import formats
from apps.portal.access import Visit, organization_page
from apps.portal.meters import METER_GROUPS
from apps.portal.pages import Crumb
from apps.portal.pages_runs import BoundLine, RunFigures, RunPage, TreeRow
from apps.portal.run_chart import run_charts
from apps.portal.run_tree import Branch, Call, axis_of, tree
from apps.portal.views.runs import state_of, took
from apps.pricing.cost import CostLine
from apps.reports.runs import (
    CHILDREN_MAX,
    CONTEXT_METERS,
    Family,
    RunRow,
    bound_places,
    cache_hit_share,
    descendants,
    family,
    part_of_family,
)
from apps.reports.runs_sql import Place
from apps.usage.models import Event
from apps.usage.provenance import CurrentCost, cost_lines, current_costs
from apps.usage.selectors import first_events, run_events

# Calls of a page, and calls of a child run that are shown with it.
CALLS_SHOWN = 100
CHILD_CALLS_SHOWN = 10

EARLIEST, LATEST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
_Instant = Annotated[datetime, Meta(tz=True)]
_EventId = Annotated[str, Meta(pattern=r"^[^\x00]*$")]
Position = tuple[_Instant, _EventId, Annotated[int, Meta(ge=1, le=10**12)]]


@dataclass(frozen=True, slots=True)
class Shown:
    """What one page shows of a run: its calls from number `first` on, child runs that began meanwhile, and where bounds
    fall. `following` is where the next page goes on.
    """

    found: Family
    first: int
    calls: Sequence[Call]
    branches: Sequence[Branch]
    hides_children: bool
    places: Sequence[Place]
    following: tuple[datetime, str, int] | None


@organization_page(section="runs", permission=Permission.VIEW_EVENTS, within_team=True)
def run(visit: Visit, run_id: str) -> HttpResponse:
    after = _position(visit.request.GET.get("cursor"))
    with tenant(visit.org):
        found = family(visit.org, run_id) if visit.part is None else part_of_family(visit.org, run_id, visit.part)
        shown = _shown(visit, found, after)
    parents = tuple(Crumb(parent, _url(visit, parent)) for parent in reversed(shown.found.ancestors))
    crumbs = (Crumb("Runs", visit.url("runs")), *parents, Crumb("Run"))
    page = _page(visit, shown, is_first=after is None)
    return visit.render("portal/run.html", frame=visit.frame(f"Run {run_id}", *crumbs), run=page)


def _url(visit: Visit, run_id: str) -> str:
    return visit.url_below("runs", run_id)


def _position(cursor: str | None) -> Position | None:
    """Where a page before ended; None where the text is no cursor of ours."""
    try:
        found: Position | None = position_of(cursor, Position) if cursor else None
    except DomainError:
        return None
    return None if found is None or found[0].utcoffset() else found


# --- reading -------------------------------------------------------------------------------------------


def _shown(visit: Visit, found: Family, after: Position | None) -> Shown:
    org, events = visit.org, list[Event]()
    if found.run is not None:
        place = after[:2] if after else None
        events = run_events(
            org, found.run_id, since=found.run.first_at, limit=CALLS_SHOWN + 1, after=place, part=visit.part
        )
    own = events[:CALLS_SHOWN]
    last = own[-1] if len(events) > CALLS_SHOWN else None
    span = after[0] if after else EARLIEST, last.occurred_at if last else LATEST
    below = descendants(org, found.run_id, *span, visit.part)
    children = {child.run_id: child for child in below[:CHILDREN_MAX]}
    since = min((child.first_at for child in children.values()), default=EARLIEST)
    theirs = first_events(org, list(children), since=since, limit=CHILD_CALLS_SHOWN, part=visit.part)
    first = after[2] + 1 if after else 1
    numbers = {event.event_id: first + place for place, event in enumerate(own)}
    calls = _calls(visit, [*own, *theirs], numbers)
    return Shown(
        found=found,
        first=first,
        calls=[call for call in calls if call.number is not None],
        branches=[
            _branch(visit, child, [call for call in calls if call.number is None and call.run_id == run_id])
            for run_id, child in children.items()
        ],
        hides_children=len(below) > CHILDREN_MAX,
        places=bound_places(org, found),
        following=(last.occurred_at, last.event_id, first + len(own) - 1) if last else None,
    )


def _calls(visit: Visit, events: Sequence[Event], numbers: Mapping[str, int]) -> list[Call]:
    costs = current_costs(visit.org, events)
    lines = cost_lines(visit.org, events, costs)
    return [
        _call(visit, event, numbers.get(event.event_id), costs[event.event_id], lines[event.event_id])
        for event in events
    ]


def _call(visit: Visit, event: Event, number: int | None, cost: CurrentCost, lines: Sequence[CostLine]) -> Call:
    quantities = dict(zip(METERS, cost.quantities, strict=True))
    by_meter = {line.meter: line.cost_usd for line in lines if line.cost_usd is not None}
    return Call(
        event_id=event.event_id,
        number=number,
        run_id=event.run_id or "",
        step=event.step,
        attempt=event.attempt,
        occurred_at=event.occurred_at,
        latency_ms=event.latency_ms,
        model=event.model,
        tool_name=event.tool_name,
        escalated_from=event.escalated_from,
        status=event.status,
        error_type=event.error_type,
        quantities=tuple(group.sum_of(quantities) for group in METER_GROUPS),
        context_tokens=sum(quantities[meter] for meter in CONTEXT_METERS),
        cache_hit_share=cache_hit_share(quantities),
        output_tokens=sum(quantities[meter] for meter in TOKENS_OUT),
        cost_usd=cost.cost_usd,
        costs=tuple(
            None if cost.cost_usd is None else sum_usd(by_meter[meter] for meter in group.meters if meter in by_meter)
            for group in METER_GROUPS
        ),
        url=visit.url_below("events", event.event_id),
    )


def _branch(visit: Visit, child: RunRow, calls: Sequence[Call]) -> Branch:
    steps = f"{formats.count(child.steps)} step{'' if child.steps == 1 else 's'}"
    hidden = child.events - len(calls)
    state = state_of(visit, child)
    line = TreeRow(
        kind="run",
        level=1,
        label=child.run_id,
        detail=steps if child.events == 1 else f"{steps} in {took(child)}",
        url=_url(visit, child.run_id),
        marks=(state,) if state else (),
        context_tokens=child.context_tokens,
        cache_hit_share=child.cache_hit_share,
        output_tokens=sum(child.meters[meter] for meter in TOKENS_OUT),
        cost_usd=child.cost_usd,
        cost_url=_url(visit, child.run_id),
        unpriced_events=child.unpriced_events,
    )
    more = f"{formats.count(hidden)} more call{'' if hidden == 1 else 's'}" if hidden > 0 else ""
    last_at = max([child.last_at, *(call.ends_at for call in calls)])
    return Branch(child.run_id, child.parent_run_id or "", child.first_at, last_at, line, calls, more)


# --- showing -------------------------------------------------------------------------------------------


def _page(visit: Visit, shown: Shown, *, is_first: bool) -> RunPage:
    found, own, whole = shown.found, shown.found.run, shown.found.tree
    places: dict[str, list[str]] = {}
    for place in shown.places:
        sentence = f"Beyond the bound of {_bound_words(found, place)}. The run would have stopped here"
        places.setdefault(place.event_id, []).append(sentence)
    here = _url(visit, found.run_id)
    all_unpriced = whole.events > 0 and whole.unpriced_events == whole.events
    return RunPage(
        run_id=found.run_id,
        state=state_of(visit, own) if own else None,
        figures=_figures(visit, own) if own else None,
        tree_runs=whole.runs,
        tree_cost_usd=None if all_unpriced else whole.cost_usd,
        tree_unpriced_events=whole.unpriced_events,
        children_url=visit.url("runs", {"parent_run_id": found.run_id, **_days(visit, own)}),
        bounds=tuple(_bounds(visit, shown)),
        bounds_url=visit.url("bounds"),
        root_url=_url(visit, found.root_run_id) if found.ancestors else "",
        charts=run_charts(shown.calls, [(_bound_words(found, place), place.occurred_at) for place in shown.places]),
        rows=tree(found.run_id, shown.calls, shown.branches, places, _zone(visit)),
        span=_span(shown),
        first_call=shown.first,
        last_call=shown.first + len(shown.calls) - 1,
        hides_children=shown.hides_children,
        first_url=None if is_first else here,
        next_url=f"{here}?cursor={cursor_of(shown.following)}" if shown.following else None,
    )


def _figures(visit: Visit, own: RunRow) -> RunFigures:
    return RunFigures(
        started_at=own.first_at,
        last_at=own.last_at,
        duration=took(own),
        cost_usd=own.cost_usd,
        unpriced_events=own.unpriced_events,
        steps=own.steps,
        events=own.events,
        others=own.others,
        retries=own.retries,
        escalations=own.escalations,
        errors=own.errors,
        context_tokens=own.context_tokens,
        output_tokens=sum(own.meters[meter] for meter in TOKENS_OUT),
        cache_hit_share=own.cache_hit_share,
        units=own.units,
        events_url=visit.url("events", {"run_id": own.run_id, **_days(visit, own)}),
        facts=tuple(_facts(visit, own)),
    )


def _zone(visit: Visit) -> str:
    return visit.calendar.zone_at(visit.at).key


def _days(visit: Visit, own: RunRow | None) -> dict[str, str]:
    """The range in which a run happened, as an address says it."""
    if own is None:
        return {"range": "30d"}
    first, last = (at.astimezone(visit.calendar.zone_at(at)).date() for at in (own.first_at, own.last_at))
    return {"from": first.isoformat(), "to": last.isoformat()}


def _facts(visit: Visit, own: RunRow) -> list[tuple[str, str, str]]:
    """(what, value, door) of what is known of it."""
    day = _days(visit, own)
    named = [("Workflow", "workflow", own.workflow), ("Team", "team", own.team), ("Project", "project", own.project)]
    facts = [(label, value, visit.url("runs", {name: value, **day})) for label, name, value in named if value]
    facts += [("User", own.user, visit.url("runs", {"user": own.user, **day}))] if own.user else []
    return facts + ([("Environment", own.environment, "")] if own.environment else [])


def _span(shown: Shown) -> str:
    axis = axis_of(shown.calls, shown.branches)
    return formats.duration(axis.end - axis.start) if axis else ""


BOUND_LABELS = {
    "max_cost_usd": "Cost, USD",
    "max_steps": "Steps",
    "max_attempts": "Attempts of a step",
    "max_depth": "Levels of child runs",
    "max_children": "Child runs of one",
    "max_seconds": "Time",
    "max_same_tool_calls": "Same tool calls",
}


def _limit(name: str, value: Any) -> str:
    if name == "max_cost_usd":
        return formats.money(value)
    return formats.duration(timedelta(seconds=value)) if name == "max_seconds" else formats.count(value)


def _bound_words(found: Family, place: Place) -> str:
    unit = " USD" if place.bound == "max_cost_usd" else ""
    label = BOUND_LABELS[place.bound].removesuffix(", USD").lower()
    return f"{label}: {_limit(place.bound, found.bounds[place.bound])}{unit}"


def _bounds(visit: Visit, shown: Shown) -> list[BoundLine]:
    """The bounds that hold for the run, what its tree has used, and the first call beyond each."""
    found, places = shown.found, {place.bound: place for place in shown.places}
    reached = found.root_tally.reached if found.root_tally else {}
    lines = []
    for name, limit in found.bounds.items():
        if limit is None:
            continue
        place = places.get(name)
        lines.append(
            BoundLine(
                label=BOUND_LABELS[name],
                limit=_limit(name, limit),
                used=_used(found, name),
                is_reached=name.removeprefix("max_").removesuffix("_usd") in reached or place is not None,
                beyond=formats.clock(place.occurred_at, _zone(visit)) if place else "",
                beyond_url=visit.url_below("events", place.event_id) if place else "",
            )
        )
    return lines


def _used(found: Family, name: str) -> str:
    """What the whole tree has used of a bound, where its sums say it."""
    root = found.root_tally
    if root is None and found.ancestors:
        return formats.NONE
    if name == "max_cost_usd":
        return formats.money(root.spent_usd + root.held_usd if root else found.tree.cost_usd)
    if name == "max_steps":
        return formats.count(root.steps if root else found.tree.steps)
    return formats.NONE
