import numpy as np
import pytest

from apps.insights.signals import Floats, Rule, Status, Windows
from tests.insights.series import FIRST, HOURS, closed, last, opened, run

HOURLY = range(FIRST, FIRST + 8 * 24)
ONSET = FIRST + 3 * 24 + 10


def spend(*changes: tuple[slice, float]) -> Windows:
    """A working day's rhythm, quiet weekends, a tenth of scatter; changes multiply."""
    hour = np.arange(HOURS)
    shape = 1.0 + 9.0 * ((hour % 24 >= 8) & (hour % 24 < 18)) * (hour // 24 % 7 < 5)
    usd = shape * np.random.default_rng(5).lognormal(0.0, 0.1, HOURS)
    for hours, factor in changes:
        usd[hours] *= factor
    return of(usd)


def of(usd: Floats) -> Windows:
    return Windows(np.zeros((1, len(usd))), usd[None, :])


def test_mornings_and_weekends_are_usual() -> None:
    said = run("spend_per_hour", spend(), HOURLY)
    assert opened(said, HOURLY) == []
    assert last(said).status is Status.FINE


@pytest.mark.parametrize(("factor", "hours"), [(1.8, 2), (2.0, 2), (5.0, 1)])
def test_a_burst_opens_within(factor: float, hours: int) -> None:
    said = run("spend_per_hour", spend((slice(ONSET, ONSET + 6), factor)), HOURLY)
    assert opened(said, HOURLY)[0] == ONSET + hours
    assert said[HOURLY.index(ONSET + hours)].at(0).rule is Rule.BURST


def test_a_single_hour_half_as_high_again_does_not() -> None:
    assert opened(run("spend_per_hour", spend((slice(ONSET, ONSET + 1), 1.6)), HOURLY), HOURLY) == []


def test_a_job_on_a_weekend_is_told_of_though_a_working_day_spends_as_much() -> None:
    saturday = FIRST + 24 * ((5 - FIRST // 24) % 7) + 10
    assert opened(run("spend_per_hour", spend((slice(saturday, saturday + 5), 8.0)), HOURLY), HOURLY)


def test_it_closes_a_day_after_the_burst() -> None:
    said = run("spend_per_hour", spend((slice(ONSET, ONSET + 6), 4.0)), HOURLY)
    (hour,) = closed(said, HOURLY)
    assert ONSET + 6 + 22 <= hour <= ONSET + 6 + 28


@pytest.mark.parametrize(("planned", "opens"), [(None, True), (2.2, False), (0.5, True)])
def test_planned_growth_is_no_anomaly(planned: float | None, opens: bool) -> None:
    also = {} if planned is None else {"planned": np.array([planned])}
    said = run("spend_per_hour", spend((slice(ONSET, HOURS), 2.2)), range(FIRST, ONSET + 24), **also)
    assert bool(opened(said, range(FIRST, ONSET + 24))) is opens


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_gap_and_its_end_open_nothing(value: float) -> None:
    windows = spend()
    windows.total[0, ONSET : ONSET + 40] = value
    assert opened(run("spend_per_hour", windows, HOURLY), HOURLY) == []


def test_under_two_weeks_it_learns() -> None:
    windows = spend((slice(0, FIRST - 10 * 24), 0.0))
    (said,) = run("spend_per_hour", windows, range(FIRST, FIRST + 1))
    assert said.at(0).status is Status.LEARNING


def test_a_workflow_that_never_spent_says_nothing() -> None:
    said = run("spend_per_hour", of(np.zeros(HOURS)), range(FIRST, FIRST + 30))
    assert opened(said, range(FIRST, FIRST + 30)) == []
