"""What a change really saved: the flexed difference between what was spent and what the same work cost before. Pure.

    expected = sum over groups g of (cost a unit before, of g) x (units of g since)
    realized = (expected - spent since) / days x 30

A unit is a run, or, where calls come without runs, a first call; groups are what the change leaves alone (environment,
task type). So more or other work is no loss and less of it no saving.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

import numpy as np

from apps.insights.chances import Z90, Floats
from apps.insights.savings_facts import MONTH_DAYS

UNITS_MIN = 30
DAYS_MIN = 3
# Of the work since, at most this share may be of groups that did not exist before.
NEW_SHARE_MAX = 0.2


@dataclass(frozen=True, slots=True)
class Day:
    """One day of one group: units of work and what they cost in USD."""

    group: str
    units: float
    usd: float


@dataclass(frozen=True, slots=True)
class Realized:
    """USD a month, P10 to P90 by how much days differ. `expected_usd` and `spent_usd` are of the days measured."""

    low: float
    likely: float
    high: float
    expected_usd: float
    spent_usd: float
    units: float


def days_over(adopted_at: datetime, now: datetime, zone: tzinfo) -> int:
    """How many days after that of the change are over, on the zone's calendar and by the clock."""
    on_calendar = (now.astimezone(zone).date() - adopted_at.astimezone(zone).date()).days
    return max(0, min(on_calendar, (now - adopted_at) // timedelta(days=1)) - 1)


def unit_costs(before: Sequence[Day]) -> dict[str, float]:
    """USD a unit by group, of groups with any unit."""
    units: dict[str, float] = {}
    usd: dict[str, float] = {}
    for day in before:
        units[day.group] = units.get(day.group, 0.0) + day.units
        usd[day.group] = usd.get(day.group, 0.0) + day.usd
    return {group: usd[group] / count for group, count in units.items() if count > 0}


def measure(costs: Mapping[str, float], units_before: float, since: Sequence[Sequence[Day]]) -> Realized | str:
    """`costs` are `unit_costs` of the days before, `since` the days after, each with its groups.

    Answers why nothing can be said (`too_little_before`, `too_little_since`, `other_work`) in place of a figure that
    would be noise.
    """
    units = sum(day.units for groups in since for day in groups)
    worked = [groups for groups in since if any(day.units > 0 for day in groups)]
    if units_before < UNITS_MIN or not costs:
        return "too_little_before"
    if len(worked) < DAYS_MIN or units < UNITS_MIN:
        return "too_little_since"
    # What was spent without a unit to show for it was spent all the same.
    known = [[day for day in groups if day.group in costs] for groups in since if groups]
    kept_units = sum(day.units for groups in known for day in groups)
    if kept_units < (1 - NEW_SHARE_MAX) * units:
        return "other_work"
    expected = np.array([sum(costs[day.group] * day.units for day in groups) for groups in known])
    spent = np.array([sum(day.usd for day in groups) for groups in known])
    return _monthly(expected, spent, kept_units, len(since))


def _monthly(expected: Floats, spent: Floats, units: float, days: int) -> Realized:
    saved = expected - spent
    likely = float(saved.sum()) / days * MONTH_DAYS
    spread = Z90 * float(saved.std(ddof=1)) * len(saved) ** 0.5 / days * MONTH_DAYS
    return Realized(likely - spread, likely, likely + spread, float(expected.sum()), float(spent.sum()), units)
