"""The days of a forecast: those behind it, those ahead of it, and how much of today is left. Pure.

Days are an organization's, by its `Calendar`: of 23 and 25 hours too, and with months of every length.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np

from apps.core.periods import HOUR, Calendar
from apps.usage.forecast import HISTORY_DAYS, SEASON, Expected, Floats, Ints, expected_days, hour_shares
from apps.usage.forecast_bands import Ahead, Outcome, PlanLine, Quantiles, bucket_of, outcome, overlay

# A place of the week is usually spent on where more than this share of its other days are.
USUALLY = 0.5


@dataclass(frozen=True, slots=True)
class Days:
    """`past`: beginnings of whole days before today; `ahead`: of today and every day to the period's end.

    `shares`: how much of each day ahead is still to come and lies within the period. `bucket`: the part of the period
    (`forecast_bands.BUCKETS`).
    """

    past: tuple[datetime, ...]
    ahead: tuple[datetime, ...]
    past_places: Ints
    ahead_places: Ints
    ahead_dates: tuple[date, ...]
    shares: Floats
    bucket: int
    is_over: bool


def days_of(calendar: Calendar, start: datetime, end: datetime, at: datetime, hours: Floats | None = None) -> Days:
    """Of the period [start, end) as of `at`. `hours`: shares of hours by weekday (7, 24), else a day is flat."""
    today = calendar.day(at)
    past = tuple(day for day in calendar.starts("day", first_day(calendar, at), today) if day < today)
    ahead = tuple(calendar.starts("day", today, end)) if at < end else ()
    ends = (*ahead[1:], calendar.day(ahead[-1] + 30 * HOUR)) if ahead else ()
    dates = tuple(day.astimezone(calendar.zone_at(day)).date() for day in ahead)
    shares = np.array([_share(max(at, start, day), min(end, to), day, to) for day, to in zip(ahead, ends, strict=True)])
    if len(shares) and hours is not None and start <= at and ends[0] <= end:
        shares[0] = _left_of_today(hours[dates[0].weekday()], (at - today) / (ends[0] - today))
    return Days(
        past=past,
        ahead=ahead,
        past_places=np.array([day.astimezone(calendar.zone_at(day)).weekday() for day in past], dtype=int),
        ahead_places=np.array([day.weekday() for day in dates], dtype=int),
        ahead_dates=dates,
        shares=shares,
        bucket=bucket_of((at - start) / (end - start)),
        is_over=at >= end,
    )


def hours_of_days(calendar: Calendar, spent: Mapping[datetime, float]) -> Floats:
    """How days of each weekday are spent over their hours (7, 24), from USD by hour: rows of sum 1."""
    table: dict[datetime, Floats] = defaultdict(lambda: np.zeros(24))
    for hour, usd in spent.items():
        day = calendar.day(hour)
        table[day][min(23, int((hour - day) / HOUR))] += usd
    days = sorted(table)
    places = np.array([day.astimezone(calendar.zone_at(day)).weekday() for day in days], dtype=int)
    return hour_shares(np.array([table[day] for day in days]).reshape(len(days), 24), places)


def first_day(calendar: Calendar, at: datetime) -> datetime:
    """The first day that a forecast looks back to."""
    return calendar.day(calendar.day(at) - timedelta(days=HISTORY_DAYS) + 12 * HOUR)


def _share(start: datetime, end: datetime, day: datetime, to: datetime) -> float:
    return max(0.0, (end - start) / (to - day))


def _left_of_today(shares: Floats, passed: float) -> float:
    """By the hours in which such a day is spent; a day of 23 or 25 hours is stretched over them."""
    at = passed * len(shares)
    whole = int(at)
    return float(np.clip(1 - shares[:whole].sum() - (at - whole) * shares[min(whole, len(shares) - 1)], 0, 1))


def by_day(days: Days, spent: Mapping[datetime, float]) -> Floats:
    """USD of each past day; a day without spend is 0."""
    return np.array([spent.get(day, 0.0) for day in days.past], dtype=float)


def gaps(days: Days, total: Floats) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """Past days that were not collected, by the organization's `total` of each.

    Nobody spent anything, on a weekday on which somebody usually does, between days with spend.
    """
    found = np.zeros(len(total), dtype=bool)
    spent = np.flatnonzero(total > 0)
    if not len(spent):
        return found
    within = np.arange(len(total))
    within = (within > spent[0]) & (within < spent[-1])
    for place in range(SEASON):
        mine = (days.past_places == place) & (np.arange(len(total)) >= spent[0])
        if mine.any() and np.mean(total[mine] > 0) > USUALLY:
            found |= mine & within & (total <= 0)
    return found


def ahead_of(days: Days, values: Floats, lines: Sequence[PlanLine] = ()) -> tuple[Expected, Ahead]:
    """What the days ahead come to by what the past ones did (NaN: not collected), and by plans."""
    expected = expected_days(values, days.past_places, days.ahead_places)
    return expected, overlay(expected, days.shares, lines)


def forecast(days: Days, values: Floats, spent: float, at: Quantiles) -> tuple[Expected, Outcome]:
    """The period of a series of which `spent` is spent already; `at` are quantiles of `days.bucket`."""
    expected, ahead = ahead_of(days, values)
    return expected, outcome(spent, ahead, expected.scale, at)
