"""What budgets' periods come to by forecast, and the thresholds of forecasts that are reached.

Where the month of a budget's scope is forecast and stored, that is it, plans and all. Of other scopes that rollups know
and periods of a week or longer, it is reckoned here from day rollups. Elsewhere, and while a scope has less than a week
of history, the run rate stands for the future (`apps.budgets.forecast`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
from django.db import DatabaseError
from django.utils import timezone

from apps.budgets import outlook_sql
from apps.budgets.forecast import state_of
from apps.budgets.limits import scope_key
from apps.budgets.models import Budget
from apps.budgets.outlook import Ahead, Standing, standings, watched
from apps.budgets.outlook_sql import Point, Watched, source_of
from apps.core.periods import Calendar
from apps.core.retry import is_timeout
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar
from apps.usage.forecast_bands import Outcome, exceeds, exhausted_on, quantiles
from apps.usage.forecast_days import Days, by_day, days_of, first_day, forecast, gaps
from apps.usage.forecasting import usd
from apps.usage.forecasts import UNLEARNED, as_it_stands, is_fresh, latest
from apps.usage.models_forecast import Forecast

# A week in which the clock goes forward.
PERIOD_MIN = timedelta(days=7, hours=-2)
# All spend of the organization, beside budgets' own.
_EVERYTHING = 0


def foresee(org: Organization, found: Sequence[Standing], clock: Calendar, at: datetime) -> dict[int, Ahead]:
    """The forecasts of those that have one, by budget; a transaction of its own, of at most two questions."""
    asked, since = [one for one in found if _is_forecast(one, at)], first_day(clock, at)
    if not asked:
        return {}
    stored: dict[int, Ahead] = {}
    points: Mapping[int, Sequence[Point]] = {}
    try:
        with tenant(org):
            stored = _stored(org, asked, clock, at)
            days = [_days_of(one, clock, since) for one in asked if one.budget.pk not in stored]
            if days:
                points = outlook_sql.spend_of_many(org.pk, [*days, Watched(_EVERYTHING, {}, {}, "day", since)], at)
    except DatabaseError as error:
        if not is_timeout(error):
            raise
    rest = [one for one in asked if one.budget.pk not in stored]
    return {**stored, **_reckoned(rest, points, clock, at)}


def _days_of(one: Standing, clock: Calendar, since: datetime) -> Watched:
    return watched(one, clock)._replace(unit="day", start=since)


def with_forecasts(org: Organization, found: Sequence[Standing], clock: Calendar, at: datetime) -> list[Standing]:
    """The same, standing as their forecasts say where they have one."""
    ahead = foresee(org, found, clock, at)
    return [_restated(one, ahead[one.budget.pk]) if one.budget.pk in ahead else one for one in found]


def _restated(one: Standing, ahead: Ahead) -> Standing:
    state = state_of(
        one.budget.mode,
        spent_usd=one.spent_usd,
        held_usd=one.held_usd,
        limit_usd=one.limit_usd,
        rate_usd=ahead.p50_usd,
    )
    return replace(one, state=state, ahead=ahead)


def _is_forecast(one: Standing, at: datetime) -> bool:
    is_running = one.start <= at < one.end and one.budget.ended_at is None
    is_long = one.end - one.start >= PERIOD_MIN
    return is_running and is_long and not one.is_each and source_of(one.budget.scope) != "events"


def _stored(org: Organization, asked: Sequence[Standing], clock: Calendar, at: datetime) -> dict[int, Ahead]:
    keys = {
        one.budget.pk: key
        for one in asked
        if one.budget.period == Budget.Period.MONTH and (key := scope_key(one.budget.scope)) is not None
    }
    if not keys:
        return {}
    rows = latest(org, clock.month_of(at)).filter(key__in={key for _, key in keys.values()})
    by_key = {(row.scope, row.key): row for row in rows}
    found = {}
    for one in asked:
        row = by_key.get(keys.get(one.budget.pk, ("", "")))
        if row is not None and is_fresh(row, at):
            # A budget counts costs that are assumed, spend does not.
            stands = as_it_stands(row, one.spent_usd, one.assumed_usd)
            found[one.budget.pk] = _ahead(one, stands, _days_from(row, clock))
    return found


def _days_from(row: Forecast, clock: Calendar) -> list[datetime]:
    today = clock.day(row.as_of)
    return list(clock.starts("day", today, today + timedelta(days=len(row.days) + 1)))[: len(row.days)]


def _reckoned(
    rest: Sequence[Standing], points: Mapping[int, Sequence[Point]], clock: Calendar, at: datetime
) -> dict[int, Ahead]:
    """Nothing where reading took too long."""
    found = {}
    for one in rest:
        days = days_of(clock, one.start, one.end, at)
        values = _values(days, points.get(one.budget.pk, ()))
        values[gaps(days, _values(days, points.get(_EVERYTHING, ())))] = np.nan
        expected, outcome = forecast(days, values, float(one.spent_usd), quantiles((), days.bucket))
        if expected.method not in UNLEARNED:
            found[one.budget.pk] = _ahead(one, outcome, days.ahead)
    return found


def _values(days: Days, points: Sequence[Point]) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    return by_day(days, {point.start: float(point.cost_usd) for point in points})


def _ahead(one: Standing, found: Outcome, days: Sequence[datetime]) -> Ahead:
    limit, rest = float(one.limit_usd), found.p50 - found.spent
    stretch = (found.p90 - found.spent) / rest if rest > 0 else 1.0

    def when(place: int | None) -> datetime | None:
        return None if place is None or place >= len(days) else days[place]

    return Ahead(
        p10_usd=usd(found.p10),
        p50_usd=usd(found.p50),
        p90_usd=usd(found.p90),
        exceeds=exceeds(found.spent, found.p10, found.p50, found.p90, limit),
        reaches_at=when(exhausted_on(found.spent, found.days, limit)),
        earliest_at=when(exhausted_on(found.spent, found.days, limit, stretch)),
    )


# --- forecast thresholds -----------------------------------------------------------------------------


def cross_forecasts(org: Organization | int, at: datetime | None = None) -> int:
    """Tell of forecast thresholds that a budget's period has reached by its forecast, or, where it has none, by its run
    rate: a crossing each, once. How many were new. `org` may be its id.
    """
    at = at or timezone.now()
    org = Organization.objects.get(pk=org) if isinstance(org, int) else org
    with tenant(org):
        asked = Budget.objects.for_org(org).filter(ended_at=None).exclude(forecast_thresholds=[]).order_by("id")
        clock, found = calendar(org), standings(org, at, asked)
    if not found:
        return 0
    ahead = foresee(org, found, clock, at)
    with tenant(org):
        return outlook_sql.cross_forecasts(org.pk, at, {budget_id: one.p50_usd for budget_id, one in ahead.items()})
