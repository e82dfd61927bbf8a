"""How budgets stand and what they would have done: what pages about budgets read.

The run rate (`forecast`) stands for the future until `ahead` knows better. Series are by the time of the calls at the
precision of a day, or of an hour for periods of at most two days; counters count a settled call at the instant of its
decision, so that a day of a series and a counter may differ by calls at its edge.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import DatabaseError
from django.db.models import Count as CountOf
from django.db.models import F, Sum

from apps.budgets import outlook_sql
from apps.budgets.forecast import Reached, Replay, Step, replay, run_rate, state_of
from apps.budgets.models import Budget, Counter, Crossing
from apps.budgets.outlook_sql import Point, Unit
from apps.budgets.reading import read_scope, require_amount, require_range, require_thresholds
from apps.budgets.rules import EACH
from apps.core.errors import DomainError
from apps.core.money import pico_from_usd, sum_usd
from apps.core.periods import Calendar, month_before
from apps.core.retry import is_timeout
from apps.core.tenancy import HasPk, tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar

PAST_PERIODS = 6
LOOKED_BACK_MONTHS = 3
SUBJECTS_SHOWN = 50
HOURLY_PERIOD_MAX = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Ahead:
    """P10, P50 and P90 of a period, the probability that it comes to more than the limit, and when P50 and at the
    earliest P90 reach it; None: not in the period.
    """

    p10_usd: Decimal
    p50_usd: Decimal
    p90_usd: Decimal
    exceeds: float
    reaches_at: datetime | None
    earliest_at: datetime | None


@dataclass(frozen=True, slots=True)
class Standing:
    """A budget in its period; of one whose scope says "*", the subject with the least left.

    Outside of a fixed range `start` and `end` are the range's and `state` is "waiting" or "past". `ahead` is there
    where somebody asked `ahead.with_forecasts` and the period has a forecast.
    """

    budget: Budget
    state: str
    start: datetime
    end: datetime
    limit_usd: Decimal
    subject: str
    spent_usd: Decimal
    held_usd: Decimal
    overrun_usd: Decimal
    assumed_usd: Decimal
    unpriced_events: int
    run_rate_usd: Decimal | None
    subjects: int
    all_spent_usd: Decimal
    all_held_usd: Decimal
    ahead: Ahead | None = None

    @property
    def expected_usd(self) -> Decimal | None:
        """What the period comes to: by its forecast, else at its run rate; None: too little is known."""
        return self.run_rate_usd if self.ahead is None else self.ahead.p50_usd

    @property
    def is_each(self) -> bool:
        return EACH in self.budget.scope.values()

    @property
    def threshold_percent(self) -> int | None:
        """The highest of the budget's thresholds that what is spent has reached; None: it has reached none."""
        if self.spent_usd <= 0:
            return None
        spent = pico_from_usd(self.spent_usd) * 100
        limit = pico_from_usd(self.limit_usd)
        return max((percent for percent in self.budget.thresholds if spent >= limit * percent), default=None)

    @property
    def is_at_risk(self) -> bool:
        """Of a period that runs: its limit is reached or likely to be, or what is spent has reached a threshold."""
        if self.state in ("waiting", "past"):
            return False
        return self.state != "fine" or self.threshold_percent is not None


def standings(org: Organization, at: datetime, budgets: Iterable[Budget] | None = None) -> list[Standing]:
    """How these budgets stand, or all that have not ended, by name. Two statements, inside `tenant(org)`."""
    if budgets is None:
        budgets = Budget.objects.for_org(org).filter(ended_at=None).order_by("name", "id")
    clock = calendar(org)
    asked = [(budget, *_period(budget, clock, at)) for budget in budgets]
    found = outlook_sql.counts(
        org.pk, [{"budget_id": budget.pk, "period_start": start} for budget, start, _ in asked], at
    )
    return [_standing(budget, start, end, found[budget.pk], at) for budget, start, end in asked]


def _period(budget: Budget, clock: Calendar, at: datetime) -> tuple[datetime, datetime]:
    if budget.starts_at is not None and budget.ends_at is not None:
        return budget.starts_at, budget.ends_at
    # An ended budget is shown as it was in its last period.
    return clock.period(budget.period, at if budget.ended_at is None else min(at, budget.ended_at))


def _standing(budget: Budget, start: datetime, end: datetime, found: outlook_sql.Count, at: datetime) -> Standing:
    rate = run_rate(found.spent_usd, start, end, at)
    state = state_of(
        budget.mode,
        spent_usd=found.spent_usd,
        held_usd=found.held_usd,
        limit_usd=found.limit_usd,
        rate_usd=rate,
    )
    if budget.ended_at is not None or at >= end:
        state = "past"
    elif at < start:
        state = "waiting"
    return Standing(
        budget=budget,
        state=state,
        start=start,
        end=end,
        limit_usd=found.limit_usd,
        subject=found.subject,
        spent_usd=found.spent_usd,
        held_usd=found.held_usd,
        overrun_usd=found.overrun_usd,
        assumed_usd=found.assumed_usd,
        unpriced_events=found.unpriced_events,
        run_rate_usd=rate,
        subjects=found.subjects,
        all_spent_usd=found.all_spent_usd,
        all_held_usd=found.all_held_usd,
    )


def subjects_of(org: HasPk, budget: Budget, start: datetime) -> list[Counter]:
    """The counters of a budget's period, the ones with the least left first; at most `SUBJECTS_SHOWN`."""
    rows = Counter.objects.for_org(org).filter(budget_id=budget.pk, period_start=start)
    return list(rows.order_by((F("limit_usd") - F("spent_usd") - F("held_usd")).asc(), "subject")[:SUBJECTS_SHOWN])


# --- series ------------------------------------------------------------------------------------------


def unit_of(start: datetime, end: datetime) -> Unit:
    return "hour" if end - start <= HOURLY_PERIOD_MAX else "day"


@dataclass(frozen=True, slots=True)
class Past:
    """An earlier period of a budget. `limit_usd` is None where each subject had its own."""

    start: datetime
    end: datetime
    limit_usd: Decimal | None
    spent_usd: Decimal
    overrun_usd: Decimal
    subjects: int


def past_periods(org: Organization, budget: Budget, before: datetime) -> list[Past]:
    """The last periods of a budget that counted something, the oldest first. Index: budgets_counter_once."""
    is_each = EACH in budget.scope.values()
    rows = (
        Counter.objects.for_org(org)
        .filter(budget_id=budget.pk, period_start__lt=before)
        .values("period_start", "period_end")
        .annotate(limit=Sum("limit_usd"), spent=Sum("spent_usd"), over=Sum("overrun_usd"), subjects=CountOf("subject"))
        .order_by("-period_start")[:PAST_PERIODS]
    )
    return [
        Past(
            start=row["period_start"],
            end=row["period_end"],
            limit_usd=None if is_each else row["limit"],
            spent_usd=row["spent"],
            overrun_usd=row["over"],
            subjects=row["subjects"],
        )
        for row in reversed(rows)
    ]


def spend_series(
    org: Organization, scope: Mapping[str, str], unit: Unit, start: datetime, end: datetime, *, by_subject: bool = False
) -> list[Point] | None:
    """Spend of a scope by hour or day; None where there is too much of it to look at on a page.

    A transaction of its own, since a statement that took too long ends it.
    """
    try:
        with tenant(org):
            points = outlook_sql.spend_by(org.pk, scope, unit, start, end, by_subject=by_subject)
    except DatabaseError as error:
        if is_timeout(error):
            return None
        raise
    return points if len(points) <= outlook_sql.ROWS_MAX else None


def spend_of_list(
    org: Organization, found: Sequence[Standing], clock: Calendar, at: datetime
) -> Mapping[int, Sequence[Point]]:
    """Spend by hour or day of the period of each of these, by budget; of what its `Standing` shows.

    In one statement, in a transaction of its own. Without the budgets whose scope no rollup knows; empty where it took
    too long or is too much.
    """
    return spend_of_many(org, [watched(one, clock) for one in found], at)


def spend_of_many(
    org: Organization, asked: Sequence[outlook_sql.Watched], at: datetime
) -> Mapping[int, Sequence[Point]]:
    """Spend of many scopes by hour or day, in a transaction of its own; empty where it took too long or is too much."""
    try:
        with tenant(org):
            return outlook_sql.spend_of_many(org.pk, asked, at)
    except DatabaseError as error:
        if is_timeout(error):
            return {}
        raise


def watched(one: Standing, clock: Calendar) -> outlook_sql.Watched:
    """What a series of the standing's period draws."""
    unit = unit_of(one.start, one.end)
    subject: dict[str, str] = json.loads(one.subject) if one.subject else {}
    scope = {name: value for name, value in one.budget.scope.items() if name not in subject}
    return outlook_sql.Watched(
        budget_id=one.budget.pk,
        exact={**{name: value for name, value in scope.items() if not value.endswith(EACH)}, **subject},
        beginnings={name: value.removesuffix(EACH) for name, value in scope.items() if value.endswith(EACH)},
        unit=unit,
        start=clock.start(unit, one.start),
    )


# --- preview -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PastReplay:
    """What a period would have come to. `full` are the subjects whose limit was reached; thresholds are the first's."""

    start: datetime
    end: datetime
    so_far: bool
    subjects: int
    full: int
    replay: Replay


@dataclass(frozen=True, slots=True)
class Preview:
    """`unit` is the precision; `periods` None: there is too much stored usage to look at on a page."""

    unit: Unit
    start: datetime
    source: str
    periods: tuple[PastReplay, ...] | None


def preview(
    *,
    org: Organization,
    scope: Mapping[str, str],
    period: str,
    amount_usd: Decimal | str,
    mode: str,
    thresholds: Sequence[int],
    at: datetime,
    starts_at: datetime | None = None,
    ends_at: datetime | None = None,
) -> Preview:
    """What a budget would have done over the last three months, from stored usage, without rollover and raises.

    Periods are whole: the first is the one that was running three months ago. Of a fixed range only itself is looked
    at. Raises `DomainError` as `create_budget` does.
    """
    if period not in Budget.Period.values:
        raise DomainError(
            "period_unknown", f"period is '{period}': use {', '.join(Budget.Period.values)}.", param="period"
        )
    require_range(period, starts_at, ends_at, rollover=False)
    with tenant(org):
        scope = read_scope(org, scope)
        clock = calendar(org)
    limit, percents = require_amount(amount_usd, "amount_usd"), require_thresholds(thresholds, "thresholds")
    if starts_at is not None and ends_at is not None:
        bounds = [(starts_at, ends_at)] if starts_at < at else []
    else:
        earliest = clock.month_start(month_before(clock.month_of(at), LOOKED_BACK_MONTHS))
        bounds = list(_periods(clock, period, earliest, at))
    unit = unit_of(*bounds[0]) if bounds else "day"
    start = bounds[0][0] if bounds else at
    points = spend_series(org, scope, unit, start, at, by_subject=True) if bounds else []
    periods = None if points is None else tuple(_replays(points, bounds, limit, percents, mode, at))
    return Preview(unit=unit, start=start, source=outlook_sql.source_of(scope), periods=periods)


def _periods(clock: Calendar, period: str, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    while start < end:
        bounds = clock.period(period, start)
        yield bounds
        start = bounds[1]


def _replays(
    points: Sequence[Point],
    bounds: Sequence[tuple[datetime, datetime]],
    limit_usd: Decimal,
    thresholds: Sequence[int],
    mode: str,
    at: datetime,
) -> Iterator[PastReplay]:
    """The periods of a series, whose points are in order of time."""
    place = 0
    for start, end in bounds:
        steps: dict[str, list[Step]] = defaultdict(list)
        while place < len(points) and points[place].start < end:
            point = points[place]
            steps[point.subject].append(Step(point.start, point.cost_usd, point.calls))
            place += 1
        each = [
            replay(these, limit_usd=limit_usd, thresholds=thresholds, is_cap=mode == Budget.Mode.BLOCK)
            for these in steps.values()
        ]
        yield PastReplay(
            start=start,
            end=end,
            so_far=end > at,
            subjects=len(each),
            full=sum(1 for one in each if one.full_at is not None),
            replay=_together(each, thresholds),
        )


def _together(each: Sequence[Replay], thresholds: Sequence[int]) -> Replay:
    full = [one.full_at for one in each if one.full_at is not None]
    reached = [
        Reached(percent, min((at for one in each if (at := one.thresholds[place].at) is not None), default=None))
        for place, percent in enumerate(thresholds)
    ]
    return Replay(
        spent_usd=sum_usd(one.spent_usd for one in each),
        kept_usd=sum_usd(one.kept_usd for one in each),
        thresholds=tuple(reached),
        full_at=min(full, default=None),
        beyond_usd=sum_usd(one.beyond_usd for one in each),
        beyond_calls=sum(one.beyond_calls for one in each),
    )


# --- without decisions -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ungoverned:
    """What clients let through without a decision while none could be had, by their own estimate."""

    calls: int
    amount_usd: Decimal


def ungoverned(org: HasPk, start: datetime, end: datetime) -> Ungoverned:
    """As reported from `start` on and before `end`. Inside `tenant(org)`."""
    rows = Crossing.objects.for_org(org).filter(
        kind=Crossing.Kind.UNGOVERNED, crossed_at__gte=start, crossed_at__lt=end
    )
    facts = list(rows.values_list("facts", flat=True))
    return Ungoverned(sum(int(one["events"]) for one in facts), sum_usd(Decimal(one["amount_usd"]) for one in facts))
