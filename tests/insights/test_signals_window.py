import numpy as np
import pytest

from apps.insights.excess import cache_write_usd
from apps.insights.signals import (
    SIGNALS,
    WRITE_SURCHARGE_1H,
    WRITE_SURCHARGE_5M,
    Kind,
    Rule,
    Status,
    Windows,
    write_share_max,
)
from tests.insights.series import (
    FIRST,
    HOURS,
    closed,
    days_of,
    last,
    means,
    opened,
    readings,
    run,
    shares,
    steps,
    without,
)

WEEK = range(FIRST, FIRST + 7 * 24)
ONSET = FIRST + 50


def test_a_usual_week_says_nothing() -> None:
    said = run("escalation_rate", shares(steps(0.08)), WEEK)
    assert opened(said, WEEK) == []
    assert last(said).status is Status.FINE
    assert last(said).baseline == pytest.approx(0.08, rel=0.05)
    assert last(said).low < last(said).value < last(said).high


@pytest.mark.parametrize(
    ("key", "usual", "worse", "within_hours"),
    [
        ("escalation_rate", 0.08, 0.16, 24),
        ("retry_rate", 0.02, 0.06, 24),
        ("cache_hit_rate", 0.75, 0.45, 24),
        ("capped_share", 0.03, 0.09, 24),
    ],
)
def test_a_share_that_worsens_opens_once_and_tells_since_when(
    key: str, usual: float, worse: float, within_hours: int
) -> None:
    said = run(key, shares(steps(usual, (ONSET, worse))), WEEK)
    (hour,) = opened(said, WEEK)
    assert ONSET < hour <= ONSET + within_hours
    found = said[WEEK.index(hour)].at(0)
    assert (found.status, found.rule) == (Status.ALARM, Rule.WINDOW)
    assert found.since == pytest.approx(ONSET, abs=3)
    assert last(said).status is Status.ALARM
    assert last(said).value == pytest.approx(worse, rel=0.05)
    assert last(said).baseline == pytest.approx(usual, rel=0.05)


def test_the_excess_of_a_falling_share_is_that_of_its_complement() -> None:
    said = run("cache_hit_rate", shares(steps(0.75, (ONSET, 0.5), scatter=0.001)), WEEK)
    assert last(said).excess_ratio == pytest.approx(1.0, abs=0.05)  # misses: a quarter to a half


@pytest.mark.parametrize(
    ("key", "usual", "better"), [("escalation_rate", 0.08, 0.02), ("cache_hit_rate", 0.5, 0.9), ("retry_rate", 0.1, 0)]
)
def test_a_share_that_improves_opens_nothing(key: str, usual: float, better: float) -> None:
    assert opened(run(key, shares(steps(usual, (ONSET, better))), WEEK), WEEK) == []


@pytest.mark.parametrize("key", [key for key, signal in SIGNALS.items() if signal.kind is Kind.MEAN])
def test_a_mean_half_as_large_again_opens(key: str) -> None:
    said = run(key, means(steps(8.0, (ONSET, 12.0))), WEEK)
    (hour,) = opened(said, WEEK)
    assert ONSET < hour <= ONSET + 24
    assert last(said).value == pytest.approx(12.0, rel=0.05)
    assert last(said).excess_ratio == pytest.approx(0.5, abs=0.1)


def test_a_change_under_the_gate_is_seen_and_not_told() -> None:
    said = run("retry_rate", shares(steps(0.02, (ONSET, 0.0243), scatter=0.0), per_hour=40_000.0), WEEK)
    assert opened(said, WEEK) == []
    assert last(said).status is Status.GATED
    assert last(said).z24 > 2.0


def test_a_raised_gate_holds_back_what_the_usual_one_tells() -> None:
    windows = shares(steps(0.08, (ONSET, 0.1), scatter=0.0), per_hour=4_000.0)
    assert opened(run("escalation_rate", windows, WEEK), WEEK)
    assert opened(run("escalation_rate", windows, WEEK, gate_factor=np.array([2.5])), WEEK) == []


def test_one_evaluation_alone_opens_nothing() -> None:
    windows = shares(steps(0.08, (ONSET, 0.16), scatter=0.0), per_hour=4_000.0)
    all_hours = run("escalation_rate", windows, WEEK)
    first_far = next(hour for hour, v in zip(WEEK, all_hours, strict=True) if v.z24[0] > 3.5 or v.z6[0] > 5.0)
    assert opened(all_hours, WEEK) == [first_far + 1]


def test_too_small_a_sample_says_nothing_however_high() -> None:
    windows = shares(steps(0.08, (ONSET, 0.9)), per_hour=2.0)  # 48 runs a day, 50 are needed
    said = run("escalation_rate", windows, WEEK)
    assert opened(said, WEEK) == []
    assert last(said).status in (Status.LEARNING, Status.SILENT)
    assert np.isnan(last(said).value)


def test_it_closes_after_a_calm_day_and_not_before() -> None:
    hours = range(FIRST, FIRST + 12 * 24)
    windows = shares(steps(0.08, (ONSET, 0.2), (ONSET + 72, 0.08), scatter=0.01))
    said = run("escalation_rate", windows, hours)
    (shut,) = closed(said, hours)
    # A day until the window is free of it, and a day in which it stays calm.
    assert ONSET + 72 + 24 + 16 <= shut <= ONSET + 72 + 24 + 26
    assert opened(said, hours) == [hour for hour in opened(said, hours) if hour < ONSET + 72]
    assert last(said).status is Status.FINE


def test_the_days_of_an_open_incident_are_no_baseline() -> None:
    hours = range(FIRST, FIRST + 15 * 24)
    said = run("escalation_rate", shares(steps(0.08, (ONSET, 0.16))), hours)
    assert last(said).baseline == pytest.approx(0.08, rel=0.05)
    assert last(said).status is Status.ALARM


def test_after_three_weeks_an_incident_becomes_the_new_normal() -> None:
    hours = range(FIRST, 89 * 24)
    said = run("escalation_rate", shares(steps(0.08, (ONSET, 0.16), length=90)), hours)
    assert len(opened(said, hours)) == len(closed(said, hours)) == 1
    assert 21 * 24 < closed(said, hours)[0] - ONSET < 45 * 24
    assert last(said).baseline == pytest.approx(0.16, rel=0.05)


def test_excluded_days_are_no_baseline() -> None:
    level = steps(0.08, scatter=0.01)
    level[:, FIRST - 20 * 24 : FIRST] = 0.2
    windows = shares(level)
    excluded = np.zeros((1, 35), dtype=bool)
    excluded[:, -20:] = True
    assert last(run("escalation_rate", windows, range(FIRST, FIRST + 1))).baseline == pytest.approx(0.2, rel=0.05)
    (said,) = run("escalation_rate", windows, range(FIRST, FIRST + 1), excluded=excluded)
    assert said.at(0).baseline == pytest.approx(0.08, rel=0.05)


@pytest.mark.parametrize(
    ("days", "status"), [(5, Status.LEARNING), (13, Status.LEARNING), (14, Status.FINE), (30, Status.FINE)]
)
def test_a_young_workflow_learns(days: int, status: Status) -> None:
    windows = without(shares(steps(0.08)), slice(0, FIRST - days * 24))
    (said,) = run("escalation_rate", windows, range(FIRST, FIRST + 1))
    assert said.at(0).status is status


def test_gates_are_doubled_in_the_first_four_weeks() -> None:
    windows = shares(steps(0.08, (ONSET, 0.1), scatter=0.0), per_hour=4_000.0)  # a quarter more; the gate is a fifth
    assert opened(run("escalation_rate", windows, WEEK), WEEK)
    young = without(windows, slice(0, FIRST - 16 * 24))
    assert opened(run("escalation_rate", young, WEEK), WEEK) == []


@pytest.mark.parametrize(("high", "opens"), [(0.10, True), (0.30, False), (np.nan, False)])
def test_while_learning_the_plan_is_what_counts(high: float, opens: bool) -> None:
    windows = without(shares(steps(0.2)), slice(0, FIRST - 5 * 24))
    said = run("escalation_rate", windows, WEEK, plan_high=np.array([high]))
    assert bool(opened(said, WEEK)) is opens
    if opens:
        assert last(said[:48]).rule is Rule.PLAN
    else:
        assert said[0].at(0).status is Status.LEARNING


def test_while_learning_a_mean_is_held_against_the_plan_in_its_own_unit() -> None:
    windows = without(means(steps(12.0)), slice(0, FIRST - 8 * 24))
    assert opened(run("loops_per_run", windows, WEEK, plan_high=np.array([8.0])), WEEK)
    assert opened(run("loops_per_run", windows, WEEK, plan_high=np.array([15.0])), WEEK) == []


@pytest.mark.parametrize(("share", "opens"), [(0.002, False), (0.02, True)])
def test_a_fixed_limit_needs_no_history(share: float, opens: bool) -> None:
    said = run("unpriced_share", shares(steps(share)), WEEK)
    assert bool(opened(said, WEEK)) is opens
    if opens:
        assert last(said).rule is Rule.LIMIT


def test_a_limit_of_its_own_goes_before_that_of_the_signal() -> None:
    windows = shares(steps(0.6))  # three writes to two reads: earns with 5 minutes, loses with an hour
    assert opened(run("cache_write_ratio", windows, WEEK), WEEK) == []
    assert opened(run("cache_write_ratio", windows, WEEK, limit=np.array([write_share_max(1.0)])), WEEK)


@pytest.mark.parametrize(("surcharge", "writes_a_read"), [(WRITE_SURCHARGE_5M, 3.6), (WRITE_SURCHARGE_1H, 0.9)])
def test_caching_loses_money_where_writes_cost_more_than_reads_save(surcharge: float, writes_a_read: float) -> None:
    share = write_share_max(surcharge)
    assert share == pytest.approx(writes_a_read / (1 + writes_a_read))
    assert cache_write_usd(share, 1 - share, 1.0, read_multiple=0.1, write_multiple=1 + surcharge) == pytest.approx(0)
    assert cache_write_usd(share + 0.01, 0.99 - share, 1.0, read_multiple=0.1, write_multiple=1 + surcharge) > 0


def test_little_money_is_not_told() -> None:
    windows = shares(steps(0.02, (ONSET, 0.2)), per_hour=4.0)  # 96 USD a day, 19 of them unattributed: 50 are needed
    assert opened(run("unattributed_share", windows, WEEK), WEEK) == []
    assert opened(run("unattributed_share", windows, WEEK, least_usd=5.0), WEEK)


def test_a_rate_never_seen_before_is_told_of() -> None:
    said = run("retry_rate", shares(steps(0.0, (ONSET, 0.05))), WEEK)
    assert opened(said, WEEK)
    assert np.isfinite(last(said).excess_ratio)


def test_a_run_that_cost_nothing_voids_its_hour_alone() -> None:
    windows = means(steps(0.5, (ONSET, 1.5)))
    windows.total[0, FIRST + 20] = -np.inf
    windows.square[0, FIRST + 20] = np.inf  # type: ignore[index]  # means have squares
    said = run("cost_per_run", windows, WEEK)
    assert opened(said, WEEK)
    assert last(said).value == pytest.approx(1.5, rel=0.05)


def test_all_runs_failing_raises_the_cost_of_a_success() -> None:
    cost = means(steps(0.5))
    successes = cost.n * np.where(np.arange(HOURS) < ONSET, 0.9, 0.0)[None, :]
    windows = Windows(cost.n, cost.total, successes, cost.square)
    said = run("cost_per_success", windows, WEEK)
    assert opened(said, WEEK)
    assert last(said[:1]).value == pytest.approx(0.5 / 0.9, rel=0.05)
    assert opened(run("cost_per_run", cost, WEEK), WEEK) == []


def test_calls_that_come_together_make_a_wider_band_than_calls_alone() -> None:
    n = np.full((1, HOURS), 40.0)
    bursts = np.where(np.random.default_rng(3).random((1, HOURS)) < 0.2, 0.4, 0.0)
    alone, together = shares(steps(0.08, scatter=0.0)), Windows(n, n * bursts, n)
    (one,) = run("escalation_rate", alone, range(FIRST, FIRST + 1))
    (other,) = run("escalation_rate", together, range(FIRST, FIRST + 1))
    assert other.at(0).high - other.at(0).baseline > 1.5 * (one.at(0).high - one.at(0).baseline)


def test_days_are_what_the_hours_sum_to() -> None:
    """The construction itself: else the tests above would test something else."""
    windows = shares(steps(0.08))
    assert days_of(windows).n[0, 0] == 24 * 40
    assert readings(SIGNALS["retry_rate"], windows, FIRST).daily.n.shape == (1, 35)
