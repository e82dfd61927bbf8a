"""How many runs a month, how that grows, and what a run is beside its tokens: ranges from observed runs. Pure."""

import math
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import numpy as np

from apps.planner.moments import Z90, Floats, student_z
from apps.planner.observed import ObservedRun
from apps.planner.shapes import Range
from apps.planner.widths import range_of

DAYS_A_MONTH = 365.25 / 12
# Growth is read off the last so many days, and off no fewer than GROWTH_DAYS_MIN.
GROWTH_DAYS = 60
GROWTH_DAYS_MIN = 14
GROWTH_DEFAULT = Range(1.0, 1.05, 1.2)
# A month's growth is known beforehand to be about this far from what was planned, as a logarithm; more than the limit,
# a month after a month, is a launch and no growth.
GROWTH_SPREAD = 0.25
GROWTH_MAX = 2.2
# Volume wavers by this much where too few days were seen to tell.
VOLUME_SPREAD = 0.3
DAYS_FEW = 3


def daily_counts(runs: Sequence[ObservedRun], days: int | None) -> Floats:
    """Runs begun on each day of the window, days without any included, (days,)."""
    counts = Counter(run.day for run in runs)
    last = max(counts)
    length = max(days or 0, (last - min(counts)).days + 1)
    start = last - timedelta(days=length - 1)
    return np.array([counts[start + timedelta(days=number)] for number in range(length)], dtype=np.float64)


def runs_per_month(runs: Sequence[ObservedRun], days: int | None) -> Range:
    """The mean day times the days of a month; as wide as days differ, and as the next month's days will."""
    counts = daily_counts(runs, days)
    likely = float(counts.mean()) * DAYS_A_MONTH
    if len(counts) < DAYS_FEW:
        return range_of("runs_per_month", likely, VOLUME_SPREAD)
    apart = float(counts.std(ddof=1)) / float(counts.mean())
    spread = apart * math.sqrt(1 / len(counts) + 1 / DAYS_A_MONTH) * student_z(len(counts)) / Z90
    return range_of("runs_per_month", likely, spread)


def growth(runs: Sequence[ObservedRun], earlier: Range | None) -> Range:
    """Volume of a month as a multiple of the one before, by the log of daily counts; else what was planned.

    Drawn towards what was planned by how little the days tell: compounded over a year, the slope of two weeks says
    billions.
    """
    counts, planned = daily_counts(runs, None)[-GROWTH_DAYS:], earlier or GROWTH_DEFAULT
    if len(counts) < GROWTH_DAYS_MIN:
        return planned
    day = np.arange(len(counts)) - (len(counts) - 1) / 2
    logs = np.log(counts + 0.5)
    slope = float((day * logs).sum() / (day**2).sum())
    noise = logs - logs.mean() - slope * day
    variance = DAYS_A_MONTH**2 * float((noise**2).sum()) / (len(counts) - 2) / float((day**2).sum())
    trust = GROWTH_SPREAD**2 / (GROWTH_SPREAD**2 + variance)
    centre = trust * DAYS_A_MONTH * slope + (1 - trust) * math.log(max(planned.likely, 1 / GROWTH_MAX))
    low, likely, high = (
        min(max(math.exp(centre + z * math.sqrt(trust * variance)), 1 / GROWTH_MAX), GROWTH_MAX)
        for z in (-Z90, 0.0, Z90)
    )
    return Range(low, likely, high)


def success_rate(runs: Sequence[ObservedRun], earlier: Range | None) -> Range:
    """Of the runs that say how they ended; else what was planned."""
    told = [run.succeeded for run in runs if run.succeeded is not None]
    if not told:
        return earlier or Range.exact(1.0)
    likely = sum(told) / len(told)
    if likely in (0.0, 1.0):
        return Range.exact(likely)
    return range_of("success_rate", likely, 1 / math.sqrt(len(told) * likely * (1 - likely)))


def mean_range(name: str, values: Floats) -> Range:
    """The mean of what runs say, and how far the next period's may lie from it."""
    likely = float(values.mean())
    if likely <= 0 or len(values) < 2:
        return Range.exact(max(0.0, likely))
    spread = float(values.std(ddof=1)) / likely * math.sqrt(2 / len(values)) * student_z(len(values)) / Z90
    return range_of(name, likely, spread)
