"""What was not collected is no news: neither the gap itself, nor its edges, nor what comes late."""

import numpy as np
import pytest

from apps.insights.signals import SIGNALS, Kind, Status, Windows
from tests.insights.series import FIRST, HOURS, days_of, last, means, opened, run, shares, steps, without

HOURLY = range(FIRST, FIRST + 12 * 24)
BEGINS = FIRST + 3 * 24
GAPS = {
    "head of a day": slice(BEGINS, BEGINS + 10),
    "middle of a day": slice(BEGINS + 7, BEGINS + 19),
    "tail of a day": slice(BEGINS + 14, BEGINS + 24),
    "a day and a half": slice(BEGINS + 3, BEGINS + 39),
    "a week": slice(BEGINS, BEGINS + 7 * 24),
    "every other hour": slice(BEGINS, BEGINS + 48, 2),
    "the days before": slice(FIRST - 6 * 24, FIRST - 24),
}


def usual(key: str) -> Windows:
    """With a day's own rhythm: the night's calls are other calls."""
    night = np.where(np.arange(HOURS) % 24 < 8, 0.85, 1.075)
    if SIGNALS[key].kind is Kind.RATIO:
        return shares(np.clip(steps(0.3) * night, 0, 1), per_hour=60.0)
    return means(steps(20.0) * night, per_hour=60.0)


@pytest.mark.parametrize("value", [0.0, np.nan], ids=["nothing", "not collected"])
@pytest.mark.parametrize("gap", list(GAPS))
@pytest.mark.parametrize("key", ["escalation_rate", "cache_hit_rate", "loops_per_run", "cost_per_run"])
def test_a_gap_opens_nothing(key: str, gap: str, value: float) -> None:
    assert opened(run(key, usual(key), HOURLY), HOURLY) == []
    said = run(key, without(usual(key), GAPS[gap], value), HOURLY)
    assert opened(said, HOURLY) == []
    assert last(said).baseline == pytest.approx(last(run(key, usual(key), HOURLY)).baseline, rel=0.03)


def test_runs_cut_by_a_gap_are_not_a_rise_when_they_are_whole_again() -> None:
    """Half the calls of each run lost for two days: shorter runs, then usual ones."""
    level = steps(20.0)
    level[:, BEGINS : BEGINS + 48] *= 0.5
    assert opened(run("loops_per_run", means(level), HOURLY), HOURLY) == []


def test_in_a_gap_it_says_nothing_rather_than_fine() -> None:
    said = run("escalation_rate", without(usual("escalation_rate"), slice(BEGINS, HOURS)), range(FIRST, BEGINS + 40))
    assert last(said).status is Status.SILENT
    assert np.isnan(last(said).value)


def test_late_calls_are_judged_at_the_hours_they_were_made() -> None:
    """A gap that is filled afterwards: the next evaluation reads it as if it had never been one."""
    whole = usual("escalation_rate")
    holed = without(whole, slice(BEGINS, BEGINS + 20))
    state = run("escalation_rate", holed, range(FIRST, BEGINS + 20))[-1].state
    filled = run("escalation_rate", whole, range(BEGINS + 20, BEGINS + 21), state=state)
    never = run("escalation_rate", whole, range(FIRST, BEGINS + 21))
    assert last(filled).z24 == pytest.approx(last(never).z24)
    assert opened(filled, range(BEGINS + 20, BEGINS + 21)) == []


def test_an_open_alarm_neither_closes_nor_opens_again_over_a_gap() -> None:
    windows = shares(steps(0.08, (FIRST + 24, 0.2)))
    said = run("escalation_rate", without(windows, slice(BEGINS, BEGINS + 60)), HOURLY)
    assert len(opened(said, HOURLY)) == 1
    assert last(said).status is Status.ALARM


def test_no_call_at_all_is_no_series() -> None:
    nothing = np.zeros((1, HOURS))
    for value in (0.0, np.nan):
        windows = Windows(nothing + value, nothing + value, nothing + value)
        said = run("escalation_rate", windows, range(FIRST, FIRST + 30))
        assert opened(said, range(FIRST, FIRST + 30)) == []
        assert last(said).status is Status.LEARNING


def test_a_day_of_a_few_calls_is_no_day_of_the_baseline() -> None:
    windows = usual("escalation_rate")
    few = without(windows, slice(FIRST - 48, FIRST - 1))
    few.total[:, FIRST - 1] = few.n[:, FIRST - 1]  # the one hour of the day that came: all escalated
    assert days_of(few).n[0, 34] == 60
    (said,) = run("escalation_rate", few, range(FIRST, FIRST + 1))
    assert said.at(0).baseline == pytest.approx(0.3, rel=0.05)
