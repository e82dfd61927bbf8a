"""Incidents, marks and the series of a workflow, as they are read. Inside `tenant(org)`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from math import isnan
from typing import Any

import numpy as np
from django.db.models import Case, Count, IntegerField, Q, Sum, Value, When

from apps.core.errors import DomainError, NotFound
from apps.core.tenancy import HasPk
from apps.insights.baselines import DAYS_YOUNG
from apps.insights.grids import WORKFLOW_SIGNALS, Grid, levels
from apps.insights.models import Incident, Mark, Reading, ScopeKind, Watcher
from apps.insights.signals import BASELINE_DAYS, SIGNALS, Status
from apps.insights.sums import NAMES

PAGE_MAX = 200
SERIES_DAYS_MAX = 100
# How far before a reading lies what it is held against.
LOOKED_BACK = timedelta(days=BASELINE_DAYS + 1)
LIVE = (Incident.State.OPEN, Incident.State.ACKNOWLEDGED)
TIERS = (Incident.Tier.CRITICAL, Incident.Tier.NOTIFY, Incident.Tier.DIGEST)


# --- incidents ------------------------------------------------------------------------------------------


def find_incidents(
    org: HasPk,
    *,
    state: str = "",
    teams: Collection[str] | None = None,
    team: str | None = None,
    project: str | None = None,
    workflow: str | None = None,
    signal: str = "",
    tier: str = "",
    after: int | None = None,
    limit: int,
) -> list[Incident]:
    """Newest first, before the number `after`; state "live" is open or acknowledged. Index: insights_incident_newest.

    `teams`: only of these. Raises `DomainError` (`state_unknown`, `signal_unknown`, `tier_unknown`).
    """
    rows = Incident.objects.for_org(org).order_by("-id")
    if state:
        rows = rows.filter(closed_at=None) if state == "live" else rows.filter(state=_one_of(state, STATES, "state"))
    if signal:
        rows = rows.filter(signals__contains=[{"signal": _one_of(signal, SIGNAL_NAMES, "signal")}])
    if tier:
        rows = rows.filter(tier=_one_of(tier, TIERS, "tier"))
    if teams is not None:
        rows = rows.filter(team__in=teams)
    if team is not None:
        rows = rows.filter(team=team or None)
    if project is not None:
        rows = rows.filter(project=project)
    if workflow is not None:
        rows = rows.filter(scope_kind=ScopeKind.WORKFLOW, scope=workflow)
    if after is not None:
        rows = rows.filter(pk__lt=after)
    return list(rows[:limit])


STATES = (*Incident.State.values, "live")
SIGNAL_NAMES = (*SIGNALS, "burn", "runaway")


def dearest(
    org: HasPk,
    *,
    teams: Collection[str] | None = None,
    team: str | None = None,
    workflow: str | None = None,
    signal: str = "",
    limit: int,
) -> list[Incident]:
    """Live incidents, critical ones first, then by what they cost a day; parts of another where one is asked for."""
    rows = Incident.objects.for_org(org).filter(closed_at=None)
    if workflow is None and not signal:
        rows = rows.filter(parent=None)
    if teams is not None:
        rows = rows.filter(team__in=teams)
    if team is not None:
        rows = rows.filter(team=team)
    if workflow is not None:
        rows = rows.filter(scope_kind=ScopeKind.WORKFLOW, scope=workflow)
    if signal:
        rows = rows.filter(signals__contains=[{"signal": signal}])
    urgency = Case(When(tier=Incident.Tier.CRITICAL, then=Value(0)), default=Value(1), output_field=IntegerField())
    return list(rows.order_by(urgency, "-excess_usd", "-id")[:limit])


@dataclass(frozen=True, slots=True)
class OpenSignals:
    """Live incidents in figures; `excess_usd` a day, of those that stand for themselves."""

    count: int
    critical: int
    excess_usd: Decimal


def open_signals(org: HasPk, *, teams: Collection[str] | None = None) -> OpenSignals:
    rows = Incident.objects.for_org(org).filter(closed_at=None, parent=None)
    if teams is not None:
        rows = rows.filter(team__in=teams)
    critical = Count("id", filter=Q(tier=Incident.Tier.CRITICAL))
    found = rows.aggregate(count=Count("id"), critical=critical, excess_usd=Sum("excess_usd"))
    return OpenSignals(found["count"], found["critical"], found["excess_usd"] or Decimal(0))


def incident_by_id(org: HasPk, incident_id: int, *, locked: bool = False) -> Incident:
    """Raises `NotFound`."""
    rows = Incident.objects.for_org(org)
    if locked:
        rows = rows.select_for_update()
    found = rows.filter(pk=incident_id).first() if 0 < incident_id < 2**63 else None
    if found is None:
        raise NotFound("incident")
    return found


def children_of(org: HasPk, incident: Incident, limit: int = PAGE_MAX) -> list[Incident]:
    return list(Incident.objects.for_org(org).filter(parent_id=incident.pk).order_by("-excess_usd", "id")[:limit])


def incidents_of_workflow(
    org: HasPk, workflow: str, since: datetime, *, teams: Collection[str] | None = None, limit: int = PAGE_MAX
) -> list[Incident]:
    """Those that were live at any time since then, newest first; of these teams. Index: insights_incident_scope."""
    rows = Incident.objects.for_org(org).filter(scope_kind=ScopeKind.WORKFLOW, scope=workflow)
    if teams is not None:
        rows = rows.filter(team__in=teams)
    return list(rows.filter(Q(closed_at=None) | Q(closed_at__gte=since)).order_by("-opened_at", "-id")[:limit])


def evaluated_at(org: HasPk) -> datetime | None:
    """The end of the last hour that was looked at; None: never."""
    return Watcher.objects.for_org(org).values_list("hour", flat=True).first()


# --- series ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Point:
    """A day of a signal: its value, and the baseline and band that the evaluation at its end held it against."""

    day: datetime
    value: float | None
    baseline: float | None
    low: float | None
    high: float | None
    sample: float
    status: str | None


@dataclass(frozen=True, slots=True)
class Series:
    """`days` of age (the first with an observation begins it) and `observations` of a baseline's length, of which a
    signal that has learned has `DAYS_YOUNG` and its own least sample.
    """

    signal: str
    points: tuple[Point, ...]
    days: int
    observations: int

    @property
    def days_missing(self) -> int:
        return max(DAYS_YOUNG - self.days, 0)

    @property
    def observations_missing(self) -> int:
        return max(SIGNALS[self.signal].baseline_sample - self.observations, 0)

    @property
    def is_learning(self) -> bool:
        return bool(self.days_missing or self.observations_missing)


def series_of(
    org: HasPk, workflow: str, start: datetime, end: datetime, *, whole_since: datetime | None = None
) -> tuple[Series, ...]:
    """Each signal of a workflow by day, of days that are over; signals that never had an observation are left out.

    `whole_since`: no earlier day, and of a day no band that was made of one. Index: insights_reading_series.
    """
    days = _days(org, workflow, start, end, whole_since)
    if not days:
        return ()
    sums = np.array([row.sums for row in days], dtype=float).T[:, None, :]
    grid = Grid.empty([workflow], np.ones(len(days), dtype=bool))
    grid.daily = sums
    found = []
    for key in WORKFLOW_SIGNALS:
        daily, _ = grid.windows(key)
        values = levels(key, daily)[0]
        points = tuple(
            _point(row, key, float(values[place]), float(daily.n[0, place])) for place, row in enumerate(days)
        )
        if any(point.value is not None and point.sample for point in points):
            found.append(_series(key, points, end))
    return tuple(found)


def _series(key: str, points: tuple[Point, ...], end: datetime) -> Series:
    seen = [point for point in points if point.sample > 0]
    since = end - LOOKED_BACK
    observations = sum(point.sample for point in seen if point.day > since)
    return Series(key, points, (end - seen[0].day).days, int(observations))


def _point(row: "_DayRow", key: str, value: float, sample: float) -> Point:
    band = row.bands.get(key) or (None, None, None, None, None)
    status = None if band[4] is None else Status(band[4]).name.lower()
    return Point(row.day, None if isnan(value) else value, band[1], band[2], band[3], sample, status)


@dataclass(frozen=True, slots=True)
class _DayRow:
    day: datetime
    bands: Mapping[str, Any]
    sums: tuple[float, ...]


def _days(org: HasPk, workflow: str, start: datetime, end: datetime, whole_since: datetime | None) -> list[_DayRow]:
    start = max(start, whole_since or start)
    rows = Reading.objects.for_org(org).filter(workflow=workflow, day_start__gte=start, day_start__lt=end)
    found = rows.order_by("day_start").values_list("day_start", "bands", *NAMES)[: SERIES_DAYS_MAX + 1]
    banded = whole_since + LOOKED_BACK if whole_since else start
    return [_DayRow(row[0], row[1] if row[0] >= banded else {}, tuple(map(float, row[2:]))) for row in found]


@dataclass(frozen=True, slots=True)
class Economics:
    """A workflow's units over some days; None where nothing of the kind ran. Shares of 1, USD as estimates."""

    days: int
    runs: int
    cost_usd: Decimal
    per_run_usd: Decimal | None
    per_success_usd: Decimal | None
    loops: float | None
    cache_hit: float | None
    escalation: float | None
    retry: float | None
    success: float | None
    input_tokens: float | None


def economics_of(org: HasPk, workflow: str, start: datetime, end: datetime) -> Economics:
    """From readings of [start, end). Index: insights_reading_series."""
    rows = Reading.objects.for_org(org).filter(workflow=workflow, day_start__gte=start, day_start__lt=end)
    names = (
        "runs", "cost_usd", "run_usd", "cost_runs", "cost_runs_usd", "judged_cost_usd", "judged_cost_runs",
        "succeeded_runs", "failed_runs", "step_runs", "steps", "input_tokens", "cache_read_tokens",
        "cache_write_5m_tokens", "cache_write_1h_tokens", "escalated_runs", "retries", "events", "input_events",
    )  # fmt: skip
    found = rows.aggregate(days=Count("day_start"), **{name: Sum(name) for name in names})
    sums = {name: found[name] or Decimal(0) for name in names}
    prompt = sum((sums[name] for name in _PROMPT), Decimal(0))
    return Economics(
        days=found["days"],
        runs=int(sums["runs"]),
        cost_usd=sums["cost_usd"],
        per_run_usd=_amount(sums["cost_runs_usd"], sums["cost_runs"]),
        per_success_usd=_amount(sums["judged_cost_usd"], sums["succeeded_runs"]),
        loops=_share(sums["steps"], sums["step_runs"]),
        cache_hit=_share(sums["cache_read_tokens"], prompt),
        escalation=_share(sums["escalated_runs"], sums["runs"]),
        retry=_share(sums["retries"], sums["events"]),
        success=_share(sums["succeeded_runs"], sums["succeeded_runs"] + sums["failed_runs"]),
        input_tokens=_share(prompt, sums["input_events"]),
    )


_PROMPT = ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")


def _amount(usd: Decimal, count: Decimal) -> Decimal | None:
    return (usd / count).quantize(Decimal("0.000001")) if count else None


def _share(part: Decimal, whole: Decimal) -> float | None:
    return float(part / whole) if whole else None


# --- marks ----------------------------------------------------------------------------------------------


def find_marks(org: HasPk, *, after: int | None = None, limit: int) -> list[Mark]:
    """The newest first, before the number `after`."""
    rows = Mark.objects.for_org(org).order_by("-id")
    return list((rows if after is None else rows.filter(pk__lt=after))[:limit])


def mark_by_id(org: HasPk, mark_id: int) -> Mark:
    """Raises `NotFound`."""
    found = Mark.objects.for_org(org).filter(pk=mark_id).first() if 0 < mark_id < 2**63 else None
    if found is None:
        raise NotFound("mark")
    return found


def _one_of(text: str, known: Sequence[str], name: str) -> str:
    if text not in known:
        raise DomainError(f"{name}_unknown", f"{name} is '{text[:40]}': it is {', '.join(known)}.", param=name)
    return text
