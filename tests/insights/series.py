"""Constructed series: a usual past, and what comes after it."""

from dataclasses import replace
from typing import Any

import numpy as np

from apps.insights.detectors import evaluate
from apps.insights.settings import DEFAULTS, Settings
from apps.insights.signals import (
    DAILY_DAYS,
    HOURLY_HOURS,
    SIGNALS,
    SPEND_HOURS,
    Floats,
    Kind,
    Readings,
    Signal,
    State,
    Verdict,
    Verdicts,
    Windows,
)

DAYS = 60
HOURS = DAYS * 24
FIRST = DAILY_DAYS * 24
WITHIN = 0.25  # variance of one log


def shares(levels: Floats, per_hour: float = 40.0) -> Windows:
    """Hours of calls at given shares, (series, hours): the numerator is the expected one, nothing is by chance."""
    n = np.full(levels.shape, per_hour)
    return Windows(n, n * levels, n)


def means(levels: Floats, per_hour: float = 40.0) -> Windows:
    """Hours of runs whose values have the given geometric means."""
    n = np.full(levels.shape, per_hour)
    logs = np.log(levels)
    return Windows(n, n * logs, None, n * (logs**2 + WITHIN))


def steps(
    usual: float, *changes: tuple[int, float], scatter: float = 0.02, seed: int = 1, length: int = DAYS
) -> Floats:
    """(1, hours): `usual`, and from each (hour, level) on that level; whole days lie apart by `scatter` of it."""
    days = np.random.default_rng(seed).normal(1.0, scatter, length)
    level = np.full(24 * length, usual)
    for hour, value in changes:
        level[hour:] = value
    return (level * np.repeat(days, 24))[None, :]


def without(windows: Windows, hours: slice, value: float = 0.0) -> Windows:
    """With nothing (or NaN: not collected) in some hours."""

    def emptied(values: Floats | None) -> Floats | None:
        if values is None:
            return None
        kept = values.copy()
        kept[:, hours] = value
        return kept

    n, total = emptied(windows.n), emptied(windows.total)
    assert n is not None
    assert total is not None
    return Windows(n, total, emptied(windows.weight), emptied(windows.square))


def columns(windows: Windows, chosen: slice) -> Windows:
    def part(values: Floats | None) -> Floats | None:
        return None if values is None else values[:, chosen]

    return Windows(windows.n[:, chosen], windows.total[:, chosen], part(windows.weight), part(windows.square))


def days_of(windows: Windows) -> Windows:
    def added(values: Floats | None) -> Floats | None:
        return None if values is None else np.nansum(values.reshape(len(values), -1, 24), axis=2)

    n, total = added(windows.n), added(windows.total)
    assert n is not None
    assert total is not None
    return Windows(n, total, added(windows.weight), added(windows.square))


def readings(signal: Signal, windows: Windows, hour: int, **also: Any) -> Readings:
    today = hour // 24
    lead = max(DAILY_DAYS - today, 0)
    past = columns(days_of(windows), slice(max(today - DAILY_DAYS, 0), today))
    if lead:
        past = Windows(*(None if each is None else np.pad(each, ((0, 0), (lead, 0)))
                         for each in (past.n, past.total, past.weight, past.square)))  # fmt: skip
    width = SPEND_HOURS if signal.kind is Kind.SPEND else HOURLY_HOURS
    return Readings(signal, hour, today, past, columns(windows, slice(max(hour - width, 0), hour)), **also)


def run(
    key: str, windows: Windows, hours: range, *, settings: Settings = DEFAULTS, state: State | None = None,
    least_usd: float | None = None, **also: Any,
) -> list[Verdicts]:  # fmt: skip
    signal = SIGNALS[key] if least_usd is None else replace(SIGNALS[key], least_usd=least_usd)
    state = State.fresh(len(windows.total)) if state is None else state
    said = []
    for hour in hours:
        verdicts = evaluate(readings(signal, windows, hour, **also), state, settings)
        state = verdicts.state
        said.append(verdicts)
    return said


def opened(said: list[Verdicts], hours: range, series: int = 0) -> list[int]:
    return [hour for hour, verdicts in zip(hours, said, strict=True) if verdicts.opened[series]]


def closed(said: list[Verdicts], hours: range, series: int = 0) -> list[int]:
    return [hour for hour, verdicts in zip(hours, said, strict=True) if verdicts.closed[series]]


def last(said: list[Verdicts], series: int = 0) -> Verdict:
    return said[-1].at(series)
