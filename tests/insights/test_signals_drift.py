import numpy as np
import pytest

from apps.insights.signals import DAILY_DAYS, Rule, State
from tests.insights.series import FIRST, HOURS, last, means, opened, run, shares, steps

ONSET = FIRST + 24
HOURLY = range(FIRST, HOURS + 1)


def drifting(percent_a_day: float, usual: float = 1_000.0) -> np.ndarray:  # type: ignore[type-arg]
    days = np.fmax(np.arange(HOURS) - ONSET, 0) // 24
    return steps(usual) * (1.0 + percent_a_day / 100.0) ** days


def test_three_per_cent_a_day_is_found_within_ten_days() -> None:
    said = run("input_tokens_per_call", means(drifting(3.0)), HOURLY)
    assert 24 < opened(said, HOURLY)[0] - ONSET <= 10 * 24


def test_a_change_too_small_for_a_day_is_found_over_days() -> None:
    """A tenth more a day would pass each day; 16 % held for days does not."""
    windows = shares(np.clip(steps(0.08, (ONSET, 0.0975), scatter=0.05), 0, 1))
    said = run("escalation_rate", windows, HOURLY)
    hours = opened(said, HOURLY)
    assert hours
    found = said[HOURLY.index(hours[0])].at(0)
    assert found.rule is Rule.DRIFT
    assert found.since == pytest.approx(ONSET, abs=48)
    assert found.z24 < 3.5


def test_a_drift_under_three_quarters_of_the_gate_is_not_told() -> None:
    windows = shares(steps(0.08, (ONSET, 0.088), scatter=0.01), per_hour=4_000.0)
    assert opened(run("escalation_rate", windows, HOURLY), HOURLY) == []


def test_scatter_alone_does_not_add_up() -> None:
    for seed in range(5):
        windows = shares(np.clip(steps(0.08, scatter=0.1, seed=seed), 0, 1))
        assert opened(run("escalation_rate", windows, HOURLY), HOURLY) == []


def test_a_day_is_summed_once_however_often_it_is_looked_at() -> None:
    windows = means(drifting(3.0))
    once = run("input_tokens_per_call", windows, range(FIRST + 72, FIRST + 73))[-1].state
    again = run("input_tokens_per_call", windows, range(FIRST + 72, FIRST + 73), state=once)[-1].state
    assert np.array_equal(once.rows(), again.rows(), equal_nan=True)
    assert once.drift_through[0] == DAILY_DAYS + 2


def test_days_that_were_missed_are_summed_when_it_is_looked_at_again() -> None:
    windows = means(drifting(2.0))
    start = run("input_tokens_per_call", windows, range(FIRST, FIRST + 1))[-1].state
    hourly = run("input_tokens_per_call", windows, range(FIRST + 1, FIRST + 97), state=start)[-1].state
    late = run("input_tokens_per_call", windows, range(FIRST + 96, FIRST + 97), state=start)[-1].state
    assert hourly.cusum[0] > 0
    assert np.allclose(hourly.rows(), late.rows(), equal_nan=True)


def test_an_alarm_starts_the_sum_anew() -> None:
    said = run("input_tokens_per_call", means(drifting(3.0)), HOURLY)
    first = HOURLY.index(opened(said, HOURLY)[0])
    assert said[first].state.cusum[0] == 0.0
    assert last(said).rule is not Rule.NONE


def test_a_state_survives_being_stored() -> None:
    state = run("input_tokens_per_call", means(drifting(2.0)), range(FIRST, FIRST + 60))[-1].state
    again = State.of_rows(state.rows())
    assert np.array_equal(state.rows(), again.rows(), equal_nan=True)
