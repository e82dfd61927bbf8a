"""What a change really saved: more or other work is no loss, and what cannot be told is not."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.insights.realized import Day, Realized, days_over, measure, unit_costs


def days(units: float, usd: float, count: int = 14, group: str = "production") -> list[list[Day]]:
    return [[Day(group, units, units * usd)] for _ in range(count)]


def before(usd: float, units: float = 10.0, group: str = "production") -> list[Day]:
    return [day for groups in days(units, usd, 28, group) for day in groups]


def measured(costs: list[Day], since: list[list[Day]]) -> Realized:
    found = measure(unit_costs(costs), sum(day.units for day in costs), since)
    assert isinstance(found, Realized), found
    return found


@pytest.mark.parametrize(
    ("adopted_at", "now", "over"),
    [
        ("2026-11-01T12:00+00:00", "2026-11-01T13:00+00:00", 0),
        ("2026-11-01T12:00+00:00", "2026-11-16T11:59+00:00", 13),
        ("2026-11-01T12:00+00:00", "2026-11-16T12:00+00:00", 14),
        # Summer time ends on 25 October: 31 days of 24 hours after half past midnight the 30th day is not over.
        ("2026-10-19T22:30+00:00", "2026-11-19T22:30+00:00", 29),
        ("2026-10-19T22:30+00:00", "2026-11-19T23:00+00:00", 30),
    ],
)
def test_days_are_whole_where_the_organization_is(adopted_at: str, now: str, over: int) -> None:
    said, at = map(datetime.fromisoformat, (adopted_at, now))
    assert days_over(said, at, ZoneInfo("Europe/Berlin")) == over


@pytest.mark.parametrize("units", [5.0, 10.0, 1_000.0])
def test_volume_is_no_saving(units: float) -> None:
    """A run cost 2 USD and costs 1.5 now: a quarter is saved, however many there are."""
    found = measured(before(2.0), days(units, 1.5))
    assert found.likely == pytest.approx(0.5 * units * 30)
    assert found.low == pytest.approx(found.high)


def test_other_work_is_no_saving() -> None:
    """Small runs of 1 USD take the place of large ones of 10: nothing became cheaper."""
    costs = [*before(10.0, group="large"), *before(1.0, group="small")]
    since = [[Day("large", 1, 10.0), Day("small", 19, 19.0)] for _ in range(14)]
    assert measured(costs, since).likely == pytest.approx(0.0)


def test_what_became_dearer_is_a_loss() -> None:
    assert measured(before(1.0), days(10, 1.2)).likely == pytest.approx(-60.0)


def test_days_that_differ_widen_the_interval() -> None:
    since = [[Day("production", 10, 5.0 + number)] for number in range(14)]
    found = measured(before(2.0), since)
    assert found.low < found.likely < found.high


def test_days_without_work_count_as_days() -> None:
    since = [*days(10, 1.0, 7), *([[]] * 7)]
    assert measured(before(2.0), since).likely == pytest.approx(10 * 7 / 14 * 30)


@pytest.mark.parametrize(
    ("costs", "since", "why"),
    [
        ([], days(10, 1.0), "too_little_before"),
        (before(2.0, 0.5), days(10, 1.0), "too_little_before"),
        (before(2.0), [], "too_little_since"),
        (before(2.0), days(10, 1.0, 2), "too_little_since"),
        (before(2.0), days(1, 1.0, 10), "too_little_since"),
        (before(2.0), days(10, 1.0, group="staging"), "other_work"),
    ],
)
def test_what_cannot_be_told_says_why(costs: list[Day], since: list[list[Day]], why: str) -> None:
    assert measure(unit_costs(costs), sum(day.units for day in costs), since) == why


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(1, 100), st.floats(0, 100)), min_size=4, max_size=28), st.floats(1, 10))
def test_more_of_the_same_work_saves_in_proportion(seen: list[tuple[float, float]], times: float) -> None:
    since = [[Day("production", 30 * units, usd)] for units, usd in seen]
    more = [[Day("production", 30 * units * times, usd * times)] for units, usd in seen]
    once, again = measured(before(1.0), since), measured(before(1.0), more)
    assert again.likely == pytest.approx(once.likely * times, rel=1e-6, abs=1e-6)
    assert once.low <= once.likely <= once.high
