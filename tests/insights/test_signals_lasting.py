"""Days on end above all before: what is found where days lie so far apart that none of them is far off."""

from dataclasses import replace

import numpy as np
import pytest

from apps.insights.settings import DEFAULTS
from apps.insights.signals import Floats, Rule, Status
from tests.insights.series import FIRST, HOURS, closed, last, means, opened, run, steps, without

ONSET = FIRST + 2 * 24
HOURLY = range(FIRST, FIRST + 20 * 24)
USUAL, HIGH, DOUBLED = 3.0, 8.0, 6.0


def restless(*changes: tuple[int, float]) -> Floats:
    """Every sixth day far above the usual one, up to ONSET; then `changes`, (hour, level) each."""
    level = steps(USUAL, (ONSET, USUAL), *changes)
    for day in range(3, ONSET // 24, 6):
        level[:, 24 * day : 24 * day + 24] *= HIGH / USUAL
    return level


def hours_and_rules(windows_of: Floats) -> list[tuple[int, Rule]]:
    said = run("loops_per_run", means(windows_of), HOURLY)
    return [(hour - ONSET, said[HOURLY.index(hour)].at(0).rule) for hour in opened(said, HOURLY)]


def test_a_doubling_among_restless_days_is_found_when_five_days_are_over() -> None:
    said = run("loops_per_run", means(restless((ONSET, DOUBLED))), HOURLY)
    (hour,) = opened(said, HOURLY)
    found = said[HOURLY.index(hour)].at(0)
    assert (hour - ONSET, found.status, found.rule) == (5 * 24, Status.ALARM, Rule.LASTING)
    assert found.since == ONSET
    assert found.z24 < 1.5
    assert last(said).baseline == pytest.approx(USUAL, rel=0.05)


def test_nothing_else_finds_it() -> None:
    without_it = replace(DEFAULTS, lasting_gates=np.inf)
    hours = range(FIRST, ONSET + 7 * 24)
    assert opened(run("loops_per_run", means(restless((ONSET, DOUBLED))), hours, settings=without_it), hours) == []


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(((ONSET, DOUBLED), (ONSET + 4 * 24, USUAL)), id="four days"),
        pytest.param(((ONSET, USUAL * 1.4),), id="under three times the gate"),
        pytest.param(((ONSET, DOUBLED), (ONSET + 72, USUAL), (ONSET + 96, DOUBLED), (ONSET + 8 * 24 - 1, USUAL)),
                     id="a usual day between"),
        pytest.param(((ONSET - 20 * 24, 7.0), (ONSET - 15 * 24, USUAL), (ONSET, DOUBLED), (ONSET + 6 * 24, USUAL)),
                     id="five such days were there before"),
    ],
)  # fmt: skip
def test_what_does_not_last_or_is_nothing_new_is_not_told(changes: tuple[tuple[int, float], ...]) -> None:
    assert hours_and_rules(restless(*changes)) == []


GAPS = {
    "a day without a call": (slice(ONSET + 48, ONSET + 72), 0.0),
    "a day not collected": (slice(ONSET + 48, ONSET + 72), np.nan),
    "a day of two hours": (slice(ONSET + 48, ONSET + 70), 0.0),
}


@pytest.mark.parametrize("gap", list(GAPS))
def test_days_without_data_are_no_evidence(gap: str) -> None:
    """Neither for it nor against it: the fifth day with data is waited for."""
    said = run("loops_per_run", without(means(restless((ONSET, DOUBLED))), *GAPS[gap]), HOURLY)
    assert [hour - ONSET for hour in opened(said, HOURLY)] == [6 * 24]


def test_a_gap_at_the_end_opens_nothing() -> None:
    holed = without(means(restless((ONSET, DOUBLED))), slice(ONSET + 4 * 24, HOURS))
    assert opened(run("loops_per_run", holed, HOURLY), HOURLY) == []


def test_days_of_a_closed_incident_are_no_evidence() -> None:
    level = restless((ONSET, DOUBLED), (ONSET + 6 * 24, USUAL))
    hour = ONSET + 5 * 24
    excluded = np.zeros((1, 35), dtype=bool)
    assert run("loops_per_run", means(level), range(hour, hour + 1), excluded=excluded)[0].opened[0]
    excluded[:, -1] = True
    assert not run("loops_per_run", means(level), range(hour, hour + 1), excluded=excluded)[0].opened[0]


def test_it_closes_a_day_after_the_last_day_beyond_the_gate() -> None:
    back = ONSET + 9 * 24
    said = run("loops_per_run", means(restless((ONSET, DOUBLED), (back, USUAL))), HOURLY)
    assert [hour - ONSET for hour in opened(said, HOURLY)] == [5 * 24]
    (hour,) = closed(said, HOURLY)
    assert 24 < hour - back <= 2 * 24


def test_it_stays_open_while_it_lasts() -> None:
    hours = range(FIRST, ONSET + 15 * 24)
    said = run("loops_per_run", means(restless((ONSET, DOUBLED))), hours)
    assert [hour - ONSET for hour in opened(said, hours)] == [5 * 24]
    assert closed(said, hours) == []


def test_what_was_over_when_it_was_first_looked_at_is_not_told() -> None:
    hour = ONSET + 6 * 24 - 1
    over = means(restless((ONSET, DOUBLED), (ONSET + 5 * 24, USUAL)))
    assert not run("loops_per_run", over, range(hour, hour + 1))[0].opened[0]
    assert run("loops_per_run", means(restless((ONSET, DOUBLED))), range(hour, hour + 1))[0].opened[0]
