"""Detectors over rows, hour by hour, and what is counted of it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from apps.insights.detectors import evaluate
from apps.insights.settings import DEFAULTS, Settings
from apps.insights.signals import DAILY_DAYS, HOURLY_HOURS, Kind, Readings, State, Verdicts, Windows
from bench.backgrounds import DAY, Floats
from bench.workflows import DAYS, EVALUATED_DAYS, FIRST, HOURS, Row, Rows

Openings = list[list[int]]  # per row, the hours at which an alarm was opened


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    openings: Openings
    open_at: list[set[int]]  # per row, the days' last hours at which one was open


def cut(windows: Windows, columns: slice) -> Windows:
    def part(values: Floats | None) -> Floats | None:
        return None if values is None else values[:, columns]

    return Windows(windows.n[:, columns], windows.total[:, columns], part(windows.weight), part(windows.square))


def watch(rows: Rows, settings: Settings = DEFAULTS, seen: Callable[[int, Verdicts], None] | None = None) -> Openings:
    """Our detectors, each hour of the evaluated days."""
    days, state = rows.day_sums(), State.fresh(len(rows.rows))
    openings: Openings = [[] for _ in rows.rows]
    for hour in range(FIRST, HOURS + 1):
        today = min(hour // DAY, DAYS)
        readings = Readings(
            rows.signal, hour, today, cut(days, slice(today - DAILY_DAYS, today)),
            cut(rows.hours, slice(hour - HOURLY_HOURS, hour)),
        )  # fmt: skip
        verdicts = evaluate(readings, state, settings)
        state = verdicts.state
        for row in np.flatnonzero(verdicts.opened):
            openings[row].append(hour)
        if seen is not None:
            seen(hour, verdicts)
    return openings


def daily_levels(rows: Rows) -> Floats:
    """On the scale a person would look at: the share (its complement where lower is worse), the geometric mean."""
    days = rows.day_sums()
    with np.errstate(divide="ignore", invalid="ignore"):
        if rows.signal.kind is Kind.MEAN:
            return np.where(days.n > 0, np.exp(days.total / days.n), np.nan)
        weight = days.n if days.weight is None else days.weight
        share = np.where(weight > 0, days.total / weight, np.nan)
    return 1.0 - share if rows.signal.worse < 0 else share


def fixed_percentage(levels: Floats) -> Openings:
    """The usual alarm: a day more than 50 % above the mean of the seven before it."""
    return _daily(levels, lambda past: 1.5 * np.nanmean(past[:, -7:], axis=1))


def three_sigma(levels: Floats) -> Openings:
    """A day more than three standard deviations above the mean of the 28 before it."""
    return _daily(levels, lambda past: np.nanmean(past, axis=1) + 3.0 * np.nanstd(past, axis=1))


def _daily(levels: Floats, bound: Callable[[Floats], Floats]) -> Openings:
    openings: Openings = [[] for _ in levels]
    was = np.zeros(len(levels), dtype=bool)
    for day in range(DAILY_DAYS, DAYS):
        with np.errstate(invalid="ignore"):
            over = levels[:, day] > bound(levels[:, day - 28 : day])
        for row in np.flatnonzero(over & ~was):
            openings[row].append((day + 1) * DAY)
        was = over
    return openings


# What is counted


def delays(rows: Sequence[Row], openings: Openings) -> Floats:
    """Hours from the fault to the first opening behind it, infinite where none came within a week."""
    found = []
    for row, opened in zip(rows, openings, strict=True):
        after = [hour - row.onset for hour in opened if 0 < hour - row.onset <= 7 * DAY]
        found.append(float(min(after)) if after else np.inf)
    return np.array(found)


def false_openings(rows: Iterable[Row], openings: Openings) -> Floats:
    """Per row that had no fault, in the 30 evaluated days."""
    scale = 30.0 / EVALUATED_DAYS
    return np.array([scale * len(opened) for row, opened in zip(rows, openings, strict=True) if row.onset < 0])


def interval(values: Floats, of: Callable[[Floats], float], draws: int = 400) -> tuple[float, float]:
    """95 % by the bootstrap over rows."""
    random = np.random.default_rng(7)
    if not len(values):
        return (float("nan"), float("nan"))
    again = [of(values[random.integers(0, len(values), len(values))]) for _ in range(draws)]
    low, high = np.percentile(again, [2.5, 97.5])
    return float(low), float(high)
