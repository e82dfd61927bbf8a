"""What holds for any numbers."""

from dataclasses import fields
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.insights.detectors import evaluate
from apps.insights.signals import SIGNALS, Floats, Kind, Readings, State, Verdicts, Windows
from tests.insights.series import FIRST, HOURS, columns, readings

UNIT_SIGNALS = [key for key, signal in SIGNALS.items() if signal.kind is not Kind.SPEND]
HOUR = FIRST + 17
SERIES = 6


def world(key: str, seed: int) -> Windows:
    """Workflows of any size, some of which sleep, are new, or change; nothing of it is constructed to be calm."""
    random = np.random.default_rng(seed)
    size = np.exp(random.uniform(0, 6, (SERIES, 1)))
    n = random.poisson(size * random.lognormal(0, 0.5, (SERIES, HOURS))).astype(float)
    n[:, random.integers(HOURS) :][:, : random.integers(200)] = random.choice([0.0, np.nan])
    if SIGNALS[key].kind is Kind.RATIO:
        share = np.clip(random.beta(2, 8, (SERIES, 1)) * random.lognormal(0, 0.2, (SERIES, HOURS)), 0, 1)
        return Windows(n, random.binomial(np.nan_to_num(n).astype(int), share) + 0 * n, n)
    level = random.normal(2, 1, (SERIES, 1)) + random.normal(0, 0.1, (SERIES, HOURS))
    weight = 0.9 * n if key == "cost_per_success" else None
    return Windows(n, n * level, weight, n * (level**2 + 0.25))


def said(windows: Windows, key: str, hours: range, state: State | None = None, **also: Any) -> Verdicts:
    state = State.fresh(len(windows.n)) if state is None else state
    for hour in hours:
        verdicts = evaluate(readings(SIGNALS[key], windows, hour, **also), state)
        state = verdicts.state
    return verdicts


def same(one: Verdicts, other: Verdicts, order: Any = slice(None)) -> bool:
    return all(
        np.allclose(getattr(one, each.name)[order], getattr(other, each.name), rtol=1e-6, atol=1e-6, equal_nan=True)
        for each in fields(one)
        if each.name != "state"
    ) and np.allclose(one.state.rows()[order], other.state.rows(), rtol=1e-6, atol=1e-6, equal_nan=True)


keys, seeds = st.sampled_from(UNIT_SIGNALS), st.integers(0, 10_000)


@settings(max_examples=40, deadline=None)
@given(keys, seeds)
def test_a_series_is_judged_alone_and_in_any_order(key: str, seed: int) -> None:
    windows, order = world(key, seed), np.random.default_rng(seed).permutation(SERIES)
    hours = range(HOUR, HOUR + 2)
    together = said(windows, key, hours)
    assert same(together, said(rows_of(windows, order), key, hours), order)
    assert same(together, said(rows_of(windows, np.array([3])), key, hours), np.array([3]))


def rows_of(windows: Windows, chosen: Any) -> Windows:
    def part(values: Floats | None) -> Floats | None:
        return None if values is None else values[chosen]

    return Windows(windows.n[chosen], windows.total[chosen], part(windows.weight), part(windows.square))


@settings(max_examples=40, deadline=None)
@given(seeds, st.floats(0.01, 1e6))
def test_the_currency_of_a_mean_does_not_matter(seed: int, factor: float) -> None:
    """Values times a factor: logs plus its log. The readings scale; z and the excess do not move."""
    windows, log = world("cost_per_run", seed), np.log(factor)
    assert windows.square is not None
    scaled = Windows(
        windows.n, windows.total + windows.n * log, None,
        windows.square + 2 * log * windows.total + windows.n * log**2,
    )  # fmt: skip
    one, other = (
        said(windows, "cost_per_run", range(HOUR, HOUR + 1)),
        said(scaled, "cost_per_run", range(HOUR, HOUR + 1)),
    )
    assert np.allclose(one.z24, other.z24, rtol=1e-3, atol=1e-3, equal_nan=True)
    assert np.allclose(one.value * factor, other.value, rtol=1e-6, equal_nan=True)
    assert np.allclose(one.excess_ratio, other.excess_ratio, rtol=1e-3, atol=1e-6, equal_nan=True)


@settings(max_examples=25, deadline=None)
@given(keys, seeds, st.integers(1, 6), st.integers(1, 23))
def test_the_drift_is_the_same_hour_by_hour_and_at_once(key: str, seed: int, days: int, step: int) -> None:
    windows = world(key, seed)
    start = said(windows, key, range(HOUR, HOUR + 1)).state
    # With nothing open on the way: an alarm that came and went between is seen only by who looked.
    start = State(start.cusum, start.drift_since, start.drift_through, start.since * np.nan, start.rule * 0)
    end = HOUR + 24 * days
    slowly = said(windows, key, range(end - 24 * days + step, end + 1, step), start).state if days * 24 % step else None
    often = said(windows, key, range(HOUR + 1, end + 1, 1), start)
    at_once = said(windows, key, range(end, end + 1), start)
    quiet = (often.state.rule == 0) & (at_once.state.rule == 0) & np.isnan(often.state.since)
    never = quiet & ~_ever_open(windows, key, start, range(HOUR + 1, end + 1))
    assert np.allclose(often.state.rows()[never], at_once.state.rows()[never], equal_nan=True)
    assert slowly is None or np.all(np.isfinite(slowly.cusum))


def _ever_open(windows: Windows, key: str, state: State, hours: range) -> Any:
    ever = np.zeros(SERIES, dtype=bool)
    for hour in hours:
        verdicts = evaluate(readings(SIGNALS[key], windows, hour), state)
        state, ever = verdicts.state, ever | (verdicts.rule > 0)
    return ever


@settings(max_examples=40, deadline=None)
@given(keys, seeds)
def test_without_calls_in_the_last_days_nothing_opens(key: str, seed: int) -> None:
    windows = world(key, seed)
    for each in (windows.n, windows.total, windows.weight, windows.square):
        if each is not None:
            each[:, HOUR - 72 :] = np.nan if seed % 2 else 0.0
    verdicts = said(windows, key, range(HOUR, HOUR + 2))
    assert not verdicts.opened.any() or set(verdicts.rule[verdicts.opened]) == {2}  # a drift of the days before


@settings(max_examples=40, deadline=None)
@given(keys, seeds)
def test_an_alarm_has_its_numbers(key: str, seed: int) -> None:
    verdicts = said(world(key, seed), key, range(HOUR, HOUR + 3))
    alarm = verdicts.status == 4
    assert np.array_equal(alarm, verdicts.rule > 0)
    assert np.isfinite(verdicts.since[alarm]).all()
    assert (verdicts.low <= verdicts.high)[~np.isnan(verdicts.low)].all()


def test_a_readings_arrays_are_left_as_they_were() -> None:
    windows = world("escalation_rate", 3)
    before = columns(windows, slice(None)).total.copy()
    given_readings: Readings = readings(SIGNALS["escalation_rate"], windows, HOUR)
    evaluate(given_readings, State.fresh(SERIES))
    assert np.array_equal(before, windows.total, equal_nan=True)
