"""Forecasts of series, bands and plans: tables of cases, and laws that hold for any spend."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from apps.usage.forecast import TREND_DAYS, Expected, expected_days, expected_hours, hour_shares, week_profile
from apps.usage.forecast_bands import (
    ERRORS_MIN,
    PRIOR,
    Ahead,
    PlanLine,
    bucket_of,
    capped,
    error_of,
    exceeds,
    exhausted_on,
    outcome,
    overlay,
    probit,
    quantiles,
)

WEEK = np.array([1.2, 1.2, 1.2, 1.2, 1.2, 0.6, 0.4])


def weeks(days, first=0):
    return np.arange(first, first + days) % 7


def ahead_of(days, count=14):
    return weeks(count, days)


def series(days, level=100.0, growth=1.0):
    return level * WEEK[weeks(days)] * growth ** (np.arange(days) / 30)


@pytest.mark.parametrize(
    ("values", "method", "day"),
    [
        ([], "none", 0),
        ([0, 0, 0], "none", 0),
        ([np.nan, np.nan], "none", 0),
        ([0, 0, 10], "mean", 10),
        ([10, np.nan, 20], "mean", 15),
        ([-5, 0, 10, 20], "mean", 15),
        ([28] + [0] * 26, "mean", 28 / 27),
        ([28] + [0] * 27, "intermittent", 1),
        ([28] + [0] * 50, "intermittent", 0),
        ([10] * 20, "profile", 10),
        ([10] * 70, "trend", 10),
    ],
)
def test_a_method_for_each_age(values, method, day):
    found = expected_days(np.array(values, dtype=float), weeks(len(values)), ahead_of(len(values)))
    assert found.method == method
    assert found.days == pytest.approx(np.full(14, day), rel=0.01)


@pytest.mark.parametrize("days", [28, TREND_DAYS, 119])
def test_the_week_goes_on(days):
    found = expected_days(series(days), weeks(days), ahead_of(days))
    assert found.days == pytest.approx(100 * WEEK[ahead_of(days)], rel=0.03)


def test_growth_of_a_long_series_goes_on():
    values = series(100, growth=1.4)
    found = expected_days(values, weeks(100), ahead_of(100, 28))
    came = series(128, growth=1.4)[100:]
    assert found.days.sum() == pytest.approx(came.sum(), rel=0.06)


def test_growth_is_level_after_a_month():
    days = expected_days(series(100, growth=1.4), weeks(100), ahead_of(100, 364)).days
    assert days[357:].sum() == pytest.approx(days[35:42].sum())
    assert days[35:42].sum() > days[:7].sum() * 1.1


@pytest.mark.parametrize("days", [40, 100])
def test_one_incident_moves_little(days):
    usual = expected_days(series(days), weeks(days), ahead_of(days)).days.sum()
    values = series(days)
    values[-4] *= 30
    assert expected_days(values, weeks(days), ahead_of(days)).days.sum() == pytest.approx(usual, rel=0.25)
    assert values[-7:].sum() > 3 * 600


@pytest.mark.parametrize("days", [40, 100])
def test_a_gap_is_no_demand_of_zero(days):
    gappy, zero = series(days), series(days)
    gappy[-5:-2], zero[-5:-2] = np.nan, 0
    usual = expected_days(series(days), weeks(days), ahead_of(days)).days.sum()
    assert expected_days(gappy, weeks(days), ahead_of(days)).days.sum() == pytest.approx(usual, rel=0.02)
    assert expected_days(zero, weeks(days), ahead_of(days)).days.sum() < usual * 0.96


def test_days_without_work_stay_without():
    values = series(42)
    values[weeks(42) >= 5] = 0
    found = expected_days(values, weeks(42), ahead_of(42))
    assert found.days[ahead_of(42) >= 5] == pytest.approx(0, abs=1)
    assert found.days[ahead_of(42) < 5] == pytest.approx(120, rel=0.1)


amounts = hnp.arrays(
    float, st.integers(0, 130), elements=st.one_of(st.just(0.0), st.just(np.nan), st.floats(-1e6, 2.0**40, width=32))
)


@settings(max_examples=60)
@given(values=amounts, first=st.integers(0, 6), count=st.integers(0, 40))
def test_any_series_has_a_forecast(values, first, count):
    found = expected_days(values, weeks(len(values), first), weeks(count, first + len(values)))
    again = expected_days(values, weeks(len(values), first), weeks(count, first + len(values)))
    assert found.days.shape == (count,)
    assert np.isfinite(found.days).all()
    assert (found.days >= 0).all()
    assert (found.days == again.days).all()
    assert (found.days <= max(np.nanmax(np.append(values, 0.0)), 0) * 7 * 1000).all()


@settings(max_examples=30)
@given(days=st.integers(7, 120), level=st.floats(1e-3, 1e6), times=st.floats(1e-2, 1e3), noise=st.integers(0, 99))
def test_a_forecast_is_in_the_unit_of_its_series(days, level, times, noise):
    values = series(days, level) * np.exp(np.random.default_rng(noise).normal(0, 0.3, days))
    one = expected_days(values, weeks(days), ahead_of(days))
    other = expected_days(values * times, weeks(days), ahead_of(days))
    assert other.days == pytest.approx(one.days * times, rel=1e-6)
    assert other.scale == pytest.approx(one.scale)


def test_places_that_differ_by_chance_have_no_profile():
    values = np.exp(np.random.default_rng(3).normal(0, 0.5, 56))
    assert np.abs(week_profile(values, weeks(56)) - 1).max() < 0.35
    assert week_profile(series(56), weeks(56)) == pytest.approx(WEEK, rel=0.02)


# --- bands -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "bucket"), [(0, 0), (5, 0), (5.1, 1), (10, 1), (15, 2), (16, 3), (20, 3), (21, 4), (30, 4)]
)
def test_the_part_of_a_month(day, bucket):
    assert bucket_of(day / 30) == bucket


def test_an_organization_with_few_errors_has_the_band_of_the_traces():
    assert quantiles([], 2) == pytest.approx(PRIOR[2])
    low, high = quantiles([0.0] * (ERRORS_MIN - 1), 2)
    assert PRIOR[2][0] < low < 0 < high < PRIOR[2][1]


def test_errors_of_its_own_make_a_band_that_holds():
    errors = list(np.random.default_rng(1).normal(0, 3, 400))
    low, high = quantiles(errors[:200], 0)
    assert 0.7 < np.mean([low <= one <= high for one in errors[200:]]) < 0.9


def test_a_band_that_fails_widens():
    low, high = PRIOR[1]
    wider = quantiles([high * 3] * 20, 1)
    assert wider[0] < low
    assert wider[1] > high


@pytest.mark.parametrize(("forecast", "came"), [(0, 5), (5, 0), (-1, 5), (5, -1)])
def test_nothing_has_no_error(forecast, came):
    assert error_of(forecast, came, 0.3) is None


def test_probit_is_that_of_a_normal():
    assert [probit(share) for share in (0.5, 0.9, 0.975)] == pytest.approx([0, 1.2815515655, 1.959963985], abs=1e-8)


def expected(days, age=30, scale=0.3):
    return Expected(np.array(days, dtype=float), "profile", scale, age)


def ahead(*days):
    return overlay(expected(days), np.ones(len(days)), [])


def test_a_band_lies_around_what_is_expected():
    found = outcome(100.0, ahead(10, 20, 30), 0.3, (-1.0, 1.0))
    assert found.p50 == 160
    assert found.p10 == pytest.approx(100 + 60 * np.exp(-0.4))
    assert found.p90 == pytest.approx(100 + 60 * np.exp(0.4))


@given(
    spent=st.floats(-10, 1e6),
    days=st.lists(st.floats(0, 1e5), min_size=1, max_size=31),
    scale=st.floats(0.05, 1.5),
    cap=st.floats(0, 1e6),
    limits=st.tuples(st.floats(0, 1e7), st.floats(0, 1e7)),
)
def test_laws_of_a_period(spent, days, scale, cap, limits):
    found = outcome(spent, ahead(*days), scale, PRIOR[0])
    assert spent <= found.p10 <= found.p50 + 1e-6
    assert found.p50 <= found.p90
    under = capped(found, cap)
    assert under.p90 <= max(cap, spent) + 1e-6
    assert under.spent + under.days.sum() == pytest.approx(under.p50, abs=1e-3)
    less, more = sorted(limits)
    odds = [exceeds(spent, found.p10, found.p50, found.p90, limit) for limit in (less, more)]
    assert 0 <= odds[1] <= odds[0] <= 1


def test_the_odds_of_a_limit():
    band = (100.0, 140.0, 160.0, 190.0)
    assert exceeds(*band, 99.0) == 1
    assert exceeds(*band, 140.0) == pytest.approx(0.9)
    assert exceeds(*band, 160.0) == pytest.approx(0.5)
    assert exceeds(*band, 190.0) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("limit", "stretch", "place"), [(100, 1, 0), (101, 1, 0), (115, 1, 1), (130, 1, 2), (131, 1, None), (131, 2, 1)]
)
def test_the_day_on_which_a_limit_is_reached(limit, stretch, place):
    assert exhausted_on(100.0, np.array([10.0, 10.0, 10.0]), limit, stretch) == place


# --- plans -------------------------------------------------------------------------------------------


def laid(line, age=30, days=(10, 10, 10, 10)):
    return overlay(expected(days, age), np.ones(len(days)), [line])


@pytest.mark.parametrize(
    ("line", "age", "days", "layer"),
    [
        (PlanLine("launch", 2, 4, 5, 20, 40, known_days=0), 30, [10, 10, 20, 20], 20),
        (PlanLine("launch", -7, 4, 5, 20, 40, known_days=7), 30, [10 / 3 + 40 / 3] * 4, 80 / 3),
        (PlanLine("launch", -20, 4, 5, 20, 40, known_days=20), 30, [10] * 4, 0),
        (PlanLine("live", 0, 4, 5, 20, 40), 7, [10 / 3 + 40 / 3] * 4, 80 / 3),
        (PlanLine("live", 0, 4, 5, 20, 40), 14, [10] * 4, 0),
        (PlanLine("retirement", 1, 4, 0, 0, 0), 30, [10, 0, 0, 0], -30),
        (PlanLine("retirement", 3, 9, 1, 1, 1), 30, [10, 10, 10, 1], -9),
        (PlanLine("price", 1, 3, -4, -3, -2), 30, [10, 7, 7, 10], -6),
        (PlanLine("price", 0, 4, -40, -30, -20), 30, [0, 0, 0, 0], -120),
        (PlanLine("launch", 9, 12, 5, 20, 40, known_days=0), 30, [10] * 4, 0),
    ],
)
def test_plans_are_laid_over_history(line, age, days, layer):
    found = laid(line, age)
    assert found.days == pytest.approx(days)
    assert found.layers["usage"] == 40
    assert found.layers[line.kind] == pytest.approx(layer)


def test_a_launch_brings_its_own_range_and_a_wider_band():
    found = laid(PlanLine("launch", 0, 4, 5, 20, 40, known_days=0))
    assert (found.plan_low, found.plan_high, found.is_unsettled) == (60, 80, True)
    of_period = outcome(0.0, found, 0.3, (-1.0, 1.0))
    assert (of_period.p10, of_period.p50, of_period.p90) == pytest.approx((20, 80, 160))


def test_a_day_that_is_half_over_counts_half():
    found = overlay(expected([10, 10]), np.array([0.5, 1.0]), [PlanLine("price", 0, 2, 2, 2, 2)])
    assert found.days == pytest.approx([6, 12])


def test_a_cap_is_a_layer():
    found = capped(outcome(100.0, ahead(10, 20, 30), 0.3, (-1.0, 1.0)), 125.0)
    assert (found.p50, found.p90, found.layers["cap"]) == (125, 125, -35)
    assert found.days == pytest.approx([10, 15, 0])
    assert isinstance(ahead(1), Ahead)


# --- hours -------------------------------------------------------------------------------------------


def test_hours_of_a_week_add_up_to_their_days():
    hours = np.zeros((28, 24))
    hours[:, 9:17] = 5
    shares = hour_shares(hours, weeks(28))
    assert shares.shape == (7, 24)
    assert shares.sum(axis=1) == pytest.approx(np.ones(7))
    planned = expected_hours(np.array([80.0, 40.0]), np.array([0, 5]), shares)
    assert planned.sum(axis=1) == pytest.approx([80, 40])
    assert planned[0, 9:17].sum() > 75
    assert (planned > 0).all()


def test_without_hours_a_day_is_flat():
    assert hour_shares(np.full((3, 24), np.nan), weeks(3)) == pytest.approx(np.full((7, 24), 1 / 24))
