"""The hourly evaluation of an organization: readings, verdicts, incidents.

One evaluator at a time has the organization's turn; another that comes meanwhile, or again in the same hour,
finds nothing to do. Running it twice changes nothing, and an hour that nobody evaluated is made up for by the next.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import structlog
from django.utils import timezone

from apps.core.tenancy import tenant
from apps.insights import causes, digests, incidents, readings_sql, telling, watch_sql
from apps.insights.grids import ORGANIZATION_SIGNALS, WORKFLOW_SIGNALS, Grid
from apps.insights.incidents import ORGANIZATION, TEAM, WORKFLOW, Place
from apps.insights.judging import Alarm, Known, alarms, excluded_days, forget, judge, quiet
from apps.insights.loading import Clock, Loaded, grouped, load
from apps.insights.models import Incident, Mark
from apps.insights.planned import plan_highs
from apps.insights.prices import Pricer
from apps.insights.signals import Rule, State, Status, Verdicts
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar
from apps.usage.services import roll_up

log = structlog.get_logger(__name__)

# Outcomes and what callers say of runs come late: the last days are summed up again once a day.
RETOLD_DAYS = 3
# Of days that nothing is known of; what is left is for the next hour.
DAYS_AT_ONCE = 40
# Volume that a mark explains is held against this multiple of the usual.
MARKED = 1e6


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What an evaluation did; None figures where another one held the organization or the hour was done."""

    hour: datetime
    workflows: int
    opened: int
    closed: int


def evaluate(org_id: int, *, at: datetime | None = None) -> Evaluated | None:
    """Evaluate the last whole hour, once. None: it is done, or somebody else is at it."""
    now = at or timezone.now()
    org = Organization.objects.get(pk=org_id)
    roll_up(org_id)
    with tenant(org_id):
        local = calendar(org)
        clock = Clock.at(local, now)
        if watch_sql.evaluated_hour(org_id) == clock.hour:
            return None
    read_days(org_id, clock)
    with tenant(org_id):
        turn = watch_sql.take_turn(org_id, "hour")
        if turn is None or turn.hour == clock.hour:
            return None
        done = _evaluate(org, clock, now, turn.gate_factor / 100)
        watch_sql.note_hour(org_id, clock.hour)
        digests.weekly(org_id, clock.hour.astimezone(local.zone_at(clock.hour)), now)
        return done


def read_days(org_id: int, clock: Clock) -> int:
    """Write readings of days that are over and have none, or another than rollups say now; how many were written.

    With a new day, the last ones are written again. Each day is a transaction of its own.
    """
    with tenant(org_id):
        stale = readings_sql.stale_days(org_id, clock.days[0], clock.today)
        hour = watch_sql.evaluated_hour(org_id)
        if hour is not None and hour < clock.today:
            stale = sorted({*stale, *readings_sql.read_days(org_id, clock.days[-RETOLD_DAYS], clock.today)})
    ends = dict(zip(clock.days, (*clock.days[1:], clock.today), strict=True))
    for day in stale[-DAYS_AT_ONCE:]:
        with tenant(org_id):
            readings_sql.write_day(org_id, day, ends.get(day, day + timedelta(days=1)))
    return len(stale)


@dataclass(slots=True, eq=False)
class _Level:
    """The scopes of one kind, with what is carried of them."""

    kind: str
    grid: Grid
    signals: tuple[str, ...]
    known: Known
    verdicts: dict[str, Verdicts]


def _evaluate(org: Organization, clock: Clock, at: datetime, gate_factor: float) -> Evaluated:
    loaded = load(org.pk, clock)
    if loaded.left_out:
        log.warning("workflows are not watched", organization_id=org.pk, left_out=loaded.left_out)
    org_usd = float(loaded.whole.day_mean("cost_usd")[0])
    ended = incidents.ended(org.pk, at)
    levels = _levels(loaded)
    carried = watch_sql.carried(org.pk)
    marks = _marks(org.pk, at)
    pricer = Pricer(org, clock.hour)
    found: list[Alarm] = []
    for level in levels:
        level.known = _known(ended, at, level, carried, clock, marks, gate_factor)
        level.known.plan_high = plan_highs(org, level.grid, level.known.excluded) if level.kind == WORKFLOW else {}
        level.verdicts = judge(level.grid, level.signals, level.known, hour=clock.hours_since_1970, today=clock.ordinal)
        _let_go(level)
        asked = pricer.of_workflow if level.kind == WORKFLOW else lambda scope: None
        found += alarms(level.grid, level.verdicts, level.kind, asked)
    # People answer incidents: they are held from here on, and not while everything was read.
    work = incidents.begin(org.pk, at, org_usd=org_usd, gate_factor=gate_factor, places=_places(loaded))
    incidents.take_in(work, found)
    incidents.close_parents(work)
    causes.explain(org, [*work.opened, *work.raised], clock)
    telling.tell(work)
    _keep(org.pk, levels, carried, clock, at)
    return Evaluated(clock.hour, len(loaded.workflows.scopes), len(work.opened), len(work.closed))


def _places(loaded: Loaded) -> Mapping[tuple[str, str], Place]:
    grid = loaded.workflows
    of = zip(grid.scopes, grid.teams, grid.projects, strict=True)
    return {(WORKFLOW, scope): Place(team, project) for scope, team, project in of}


def _levels(loaded: Loaded) -> list[_Level]:
    """Unit signals of workflows, whose mix would move those of a team; volume of everything; shares of the whole."""
    teams = grouped(loaded.workflows, loaded.workflows.teams)
    return [
        _Level(WORKFLOW, loaded.workflows, (*WORKFLOW_SIGNALS, "spend_per_hour"), Known(), {}),
        _Level(TEAM, teams, ("spend_per_hour",), Known(), {}),
        _Level(ORGANIZATION, loaded.whole, ORGANIZATION_SIGNALS, Known(), {}),
    ]


def _known(
    ended: Sequence[Incident], at: datetime, level: _Level, carried: watch_sql.Carried, clock: Clock,
    marks: Sequence[Mark], gate_factor: float,
) -> Known:  # fmt: skip
    """What is carried, with everything forgotten of what somebody said to be expected."""
    scopes = level.grid.scopes
    index = {scope: place for place, scope in enumerate(scopes)}
    states = {key: _states(level, key, index, carried) for key in level.signals}
    spans: dict[str, dict[int, list[tuple[int, int]]]] = {}
    for kind, scope, signal, since, until in incidents.spans_left_out(ended):
        if kind == level.kind and scope in index and signal in states:
            days = (clock.ordinal_of(since), clock.ordinal_of(until or clock.today))
            # The day on which an incident ends is still inside of it; that on which an expected one begins is not.
            last = days[1] + (0 if since.year == 1 else 1)
            spans.setdefault(signal, {}).setdefault(index[scope], []).append((days[0], last))
    excluded = {key: excluded_days(len(scopes), of, clock.ordinal) for key, of in spans.items()}
    for one in ended:
        if not _is_expected_still(one, level.kind, index, at):
            continue
        flags = np.arange(len(scopes)) == index[one.scope]
        for signal in incidents.covered(one):
            if (state := forget(states, signal, flags)) is not None:
                states[signal] = state
    return Known(states, excluded, {}, _marked(level, marks), gate_factor)


def _is_expected_still(one: Incident, kind: str, index: Mapping[str, int], at: datetime) -> bool:
    is_here = one.scope_kind == kind and one.scope in index
    if not is_here or one.state != Incident.State.EXPECTED or one.closed_at is None:
        return False
    return at < one.closed_at + incidents.EXPECTED


def _states(level: _Level, key: str, index: Mapping[str, int], carried: watch_sql.Carried) -> State:
    rows = State.fresh(len(index)).rows()
    for (kind, scope), states in carried.items():
        if kind == level.kind and scope in index and key in states:
            rows[index[scope]] = [np.nan if value is None else value for value in states[key]]
    return State.of_rows(rows)


def _marks(org_id: int, at: datetime) -> list[Mark]:
    """Marks that are on now, or were within the hours that are looked at."""
    return list(Mark.objects.for_org(org_id).filter(starts_at__lte=at, ends_at__gt=at - timedelta(hours=24)))


def _marked(level: _Level, marks: Sequence[Mark]) -> "np.ndarray[tuple[int], np.dtype[np.float64]] | None":
    """Volume is not held against its usual where something was planned, in a scope or in one above it."""
    if not marks:
        return None
    grid, planned = level.grid, np.ones(len(level.grid.scopes))
    for mark in marks:
        names: Sequence[str | None] = {
            "workflow": grid.scopes if level.kind == WORKFLOW else (),
            "team": grid.scopes if level.kind == TEAM else grid.teams,
            "project": grid.projects,
        }.get(mark.scope_kind, ())
        for place in range(len(planned)):
            if mark.scope_kind == ORGANIZATION or (place < len(names) and names[place] == mark.scope):
                planned[place] = MARKED
    return planned


def _let_go(level: _Level) -> None:
    """Scopes in alarm of which nothing was seen in the live hours: they stopped, and their alarm with them."""
    for key, verdicts in list(level.verdicts.items()):
        stopped = (verdicts.rule != Rule.NONE) & quiet(level.grid, key)
        if stopped.any():
            state = forget({key: verdicts.state}, key, stopped) or verdicts.state
            status = np.where(stopped, Status.SILENT, verdicts.status)
            level.verdicts[key] = replace(verdicts, state=state, status=status)


def _keep(org_id: int, levels: Sequence[_Level], carried: watch_sql.Carried, clock: Clock, at: datetime) -> None:
    """Write what the next evaluation must know, of the scopes of which it changed, and the bands of yesterday."""
    watched = {(level.kind, scope) for level in levels for scope in level.grid.scopes}
    # Of a name that nothing is counted under any more: should it come back, its alarm of then is none of now.
    rows: list[tuple[str, str, dict[str, list[float | None]]]] = [
        (*name, {}) for name, states in carried.items() if states and name not in watched
    ]
    for level in levels:
        packed = {key: verdicts.state.rows() for key, verdicts in level.verdicts.items()}
        for place, scope in enumerate(level.grid.scopes):
            states = {key: _packed(of[place]) for key, of in packed.items() if _says(of[place])}
            if states != carried.get((level.kind, scope), {}):
                rows.append((level.kind, scope, states))
    watch_sql.keep(org_id, rows, at)
    if clock.hour < clock.today + timedelta(hours=2) or not watch_sql.has_bands(org_id, clock.days[-1]):
        workflows = levels[0]
        watch_sql.keep_bands(org_id, clock.days[-1], _bands(workflows))


def _says(row: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> bool:
    return bool(np.any(np.nan_to_num(row)))


def _packed(row: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> list[float | None]:
    return [incidents.number(float(value)) for value in row]


def _bands(level: _Level) -> dict[str, dict[str, list[float | None]]]:
    bands: dict[str, dict[str, list[float | None]]] = {scope: {} for scope in level.grid.scopes}
    for key, verdicts in level.verdicts.items():
        known = ~np.isnan(verdicts.baseline)
        for place in np.flatnonzero(known):
            values = (verdicts.value, verdicts.baseline, verdicts.low, verdicts.high)
            figures = [incidents.number(float(of[place])) for of in values]
            bands[level.grid.scopes[int(place)]][key] = [*figures, int(verdicts.status[place])]
    return bands
