"""What budgets were to spend hour by hour, as it was foreseen before the windows that burn rates look at.

A budget is spread over its period as the forecast spreads spend: by the week, by drifts and by the hours of the day,
with what plans add or take from a day on. So a launch that goes as planned burns no faster than its plan.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from apps.budgets.models import Budget
from apps.budgets.outlook import spend_of_many
from apps.budgets.outlook_sql import Watched
from apps.core.periods import HOUR, Calendar
from apps.core.tenancy import tenant
from apps.insights.burn import WINDOWS_MINUTES, planned_hours, planned_in
from apps.insights.signals import Floats
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar
from apps.usage.forecast import expected_days
from apps.usage.forecast_bands import overlay
from apps.usage.forecast_days import Days, by_day, days_of, first_day, hours_of_days
from apps.usage.forecasting import plan_lines
from apps.usage.models_forecast import PlannedSpend
from apps.usage.planned import planned_spend

LOOKED_AT = timedelta(minutes=max(WINDOWS_MINUTES))
HOURS_DAYS = 28
# The largest lines of plans that one budget is spread by; others are as if they were not planned.
LINES_MAX = 50
# What lines of plans know of whose spend they are.
NAMES = ("team", "project", "workflow")

HOURS, DAYS = 0, 1

Asked = tuple[Budget, datetime, datetime]
# A budget, and what of it: its hours, its days, the days of one workflow.
Key = tuple[int, int | str]
Values = Mapping[datetime, float]


@dataclass(frozen=True, slots=True, eq=False)
class HourPlan:
    """USD planned for the 24ths of days from `begins` on: `hours` (days, 24), `edges` (days + 1,) in hours from it."""

    begins: datetime
    hours: Floats
    edges: Floats

    def between(self, start: datetime, end: datetime) -> float:
        return planned_in(self.hours, self.edges, (start - self.begins) / HOUR, (end - self.begins) / HOUR)


def plans_of(org: Organization, asked: Sequence[Asked], at: datetime) -> dict[int, HourPlan]:
    """By budget, of those given with the bounds of their periods. Two transactions of its own.

    Where reading the history takes too long, a budget is spread flat.
    """
    with tenant(org):
        clock = calendar(org)
        as_of = clock.day(at - LOOKED_AT)
        last = max(end for _, _, end in asked).date()
        planned = planned_spend(org, as_of.date() - timedelta(days=1), last + timedelta(days=1))
    lines = {budget.pk: _lines_of(budget, planned) for budget, _, _ in asked}
    series = [each for budget, start, _ in asked for each in _series_of(budget, start, lines[budget.pk], clock, as_of)]
    found = spend_of_many(org, [one._replace(budget_id=key) for key, (_, one) in enumerate(series)], as_of)
    points: dict[Key, Values] = {
        name: {point.start: float(point.cost_usd) for point in found[key]}
        for key, (name, _) in enumerate(series)
        if key in found
    }
    return {
        budget.pk: _plan(budget, (start, end), lines[budget.pk] if found else (), points, clock, as_of)
        for budget, start, end in asked
    }


def _lines_of(budget: Budget, planned: Sequence[PlannedSpend]) -> Sequence[PlannedSpend]:
    """What is planned within the budget's scope; none where a plan cannot know: of a model, an environment."""
    if not set(budget.scope) <= set(NAMES):
        return ()
    mine = [row for row in planned if all(getattr(row, name) == value for name, value in budget.scope.items())]
    return sorted(mine, key=lambda row: abs(row.likely_usd), reverse=True)[:LINES_MAX]


def _series_of(
    budget: Budget, start: datetime, lines: Sequence[PlannedSpend], clock: Calendar, as_of: datetime
) -> Iterator[tuple[Key, Watched]]:
    """What is read of a budget: its hours, its days, and the days of each workflow that a plan speaks of."""
    scope = dict(budget.scope)
    since = min(first_day(clock, as_of), start)
    yield (budget.pk, HOURS), Watched(0, scope, {}, "hour", as_of - timedelta(days=HOURS_DAYS))
    yield (budget.pk, DAYS), Watched(0, scope, {}, "day", since)
    for workflow in sorted({row.workflow for row in lines}):
        yield (budget.pk, workflow), Watched(0, {**scope, "workflow": workflow}, {}, "day", since)


def _plan(
    budget: Budget,
    period: tuple[datetime, datetime],
    lines: Sequence[PlannedSpend],
    points: Mapping[Key, Values],
    clock: Calendar,
    as_of: datetime,
) -> HourPlan:
    start, end = period
    days, amount = days_of(clock, start, end, as_of), float(budget.amount_usd)
    spent = points.get((budget.pk, DAYS), {})
    expected = _expected(days, spent, {row.workflow: points.get((budget.pk, row.workflow), {}) for row in lines}, lines)
    total = sum(usd for day, usd in spent.items() if day >= start) + float((expected * days.shares).sum())
    edges = np.array([(day - as_of) / HOUR for day in (*days.ahead, clock.day(days.ahead[-1] + 30 * HOUR))])
    an_hour = amount / ((end - start) / HOUR)
    each_day = expected * amount / total if expected.sum() > 0 and total > 0 else np.diff(edges) * an_hour
    shares = hours_of_days(clock, points.get((budget.pk, HOURS), {}))
    return HourPlan(as_of, planned_hours(each_day, days.ahead_places, shares, edges, an_hour), edges)


def _expected(days: Days, spent: Values, planned: Mapping[str, Values], lines: Sequence[PlannedSpend]) -> Floats:
    """USD of whole days ahead: workflows that a plan speaks of by themselves, and the others in sum."""
    whole, known = np.ones(len(days.ahead)), np.zeros(len(days.past), dtype=bool)
    others, found = by_day(days, spent), np.zeros(len(days.ahead))
    for workflow, mine in planned.items():
        values = by_day(days, mine)
        others -= values
        rows = [row for row in lines if row.workflow == workflow]
        expected = expected_days(values, days.past_places, days.ahead_places)
        found += overlay(expected, whole, plan_lines(rows, days, values, known)).days
    total: Floats = found + expected_days(others, days.past_places, days.ahead_places).days
    return total
