"""Which budgets a call falls under, and for which period: tables without a database."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.budgets.rules import Budgets, Watched, describe, lowered, subject_text
from apps.core.periods import Calendar

CALL = {
    "team": "search", "project": "web", "workflow": "agent", "user": "ann", "api_key": "7", "task_type": None,
    "provider": "anthropic", "model": "claude-sonnet-4-5", "environment": "prod", "tags.tier": "gold",
}  # fmt: skip
UTC_CLOCK = Calendar([(None, "UTC")])
AT = datetime(2026, 11, 18, 12, tzinfo=UTC)


def watched(scope: dict[str, str], period: str = "month", **fields: Any) -> Watched:
    given = {"id": 1, "name": "one", "mode": "block", "since": datetime(2020, 1, 1, tzinfo=UTC), **fields}
    return Watched(scope=scope, period=period, **given)


@pytest.mark.parametrize(
    ("scope", "subject"),
    [
        ({}, ""),
        ({"team": "search"}, ""),
        ({"team": "ads"}, None),
        ({"team": "Search"}, None),
        ({"team": "search", "model": "claude-sonnet-4-5"}, ""),
        ({"team": "search", "model": "gpt-5"}, None),
        ({"model": "claude-*"}, ""),
        ({"model": "gpt-*"}, None),
        ({"model": "claude-sonnet-4-5*"}, ""),
        ({"user": "*"}, '{"user": "ann"}'),
        ({"user": "*", "model": "*"}, '{"model": "claude-sonnet-4-5", "user": "ann"}'),
        ({"user": "*", "team": "search"}, '{"user": "ann"}'),
        ({"user": "*", "team": "ads"}, None),
        ({"user": "*", "model": "claude-*"}, '{"user": "ann"}'),
        ({"tags.tier": "gold"}, ""),
        ({"tags.tier": "*"}, '{"tags.tier": "gold"}'),
        ({"tags.other": "*"}, None),
        # What a call lacks takes it out of a scope that names it, for whatever value.
        ({"task_type": "*"}, None),
        ({"task_type": "chat"}, None),
        ({"task_type": "c*"}, None),
    ],
)
def test_a_call_falls_under_a_scope_of_which_it_has_every_value(scope: dict[str, str], subject: str | None) -> None:
    assert watched(scope).subject(CALL) == subject


def test_a_subject_is_spelled_in_one_way() -> None:
    assert subject_text({"user": "Zoë", "model": "x"}) == '{"model": "x", "user": "Zoë"}'


@pytest.mark.parametrize(
    ("name", "found"), [("GPT-5", "gpt-5"), ("gpt-5", "gpt-5"), ("ÄÖ-Model", "ÄÖ-model"), ("İK", "İk")]
)
def test_names_are_lowered_as_postgres_does_it(name: str, found: str) -> None:
    assert lowered(name) == found


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        ({}, "the whole organization"),
        ({"team": "search", "user": "*"}, "team search, each user"),
        ({"api_key": "7", "tags.tier": "gold"}, "API key 7, tag tier gold"),
        ({"task_type": "*"}, "each task type"),
    ],
)
def test_a_scope_in_words(scope: dict[str, str], words: str) -> None:
    assert describe(scope) == words


DIMENSIONS = ("team", "user", "model", "tags.tier")
values = st.sampled_from(["a", "ab", "b"])
scopes = st.dictionaries(st.sampled_from(DIMENSIONS), st.one_of(values, st.sampled_from(["*", "a*"])))
calls = st.fixed_dictionaries({name: st.none() | values for name in DIMENSIONS})


@given(st.lists(scopes, max_size=8), calls)
def test_looking_up_finds_what_trying_each_one_finds(given: list[dict[str, str]], call: dict[str, str | None]) -> None:
    each = [watched(scope, id=number) for number, scope in enumerate(given)]
    found = Budgets.of(each).over(call, UTC_CLOCK, AT)
    assert sorted((one.id, key.subject) for one, key in found) == [
        (one.id, subject) for one in each if (subject := one.subject(call)) is not None
    ]


# --- periods -----------------------------------------------------------------------------------------


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "period", "at", "start", "end"),
    [
        ("UTC", "day", "2026-11-18T12:00", "2026-11-18T00:00", "2026-11-19T00:00"),
        ("UTC", "week", "2026-11-18T12:00", "2026-11-16T00:00", "2026-11-23T00:00"),
        ("UTC", "week", "2026-11-16T00:00", "2026-11-16T00:00", "2026-11-23T00:00"),
        ("UTC", "week", "2026-11-15T23:59", "2026-11-09T00:00", "2026-11-16T00:00"),
        ("UTC", "month", "2026-02-28T23:59", "2026-02-01T00:00", "2026-03-01T00:00"),
        ("UTC", "month", "2028-02-29T23:59", "2028-02-01T00:00", "2028-03-01T00:00"),
        ("UTC", "month", "2026-12-31T23:59", "2026-12-01T00:00", "2027-01-01T00:00"),
        ("UTC", "quarter", "2026-01-01T00:00", "2026-01-01T00:00", "2026-04-01T00:00"),
        ("UTC", "quarter", "2026-06-30T23:59", "2026-04-01T00:00", "2026-07-01T00:00"),
        ("UTC", "quarter", "2026-12-31T23:59", "2026-10-01T00:00", "2027-01-01T00:00"),
        ("UTC", "year", "2026-12-31T23:59", "2026-01-01T00:00", "2027-01-01T00:00"),
        # Half an hour beside the hours of UTC.
        ("Asia/Kolkata", "day", "2026-11-18T18:29", "2026-11-17T18:30", "2026-11-18T18:30"),
        ("Asia/Kolkata", "day", "2026-11-18T18:30", "2026-11-18T18:30", "2026-11-19T18:30"),
        ("Asia/Kolkata", "week", "2026-11-15T18:30", "2026-11-15T18:30", "2026-11-22T18:30"),
        ("Asia/Kolkata", "month", "2026-10-31T18:30", "2026-10-31T18:30", "2026-11-30T18:30"),
        ("Asia/Kolkata", "year", "2026-12-31T18:29", "2025-12-31T18:30", "2026-12-31T18:30"),
        ("Asia/Tokyo", "day", "2026-11-18T15:00", "2026-11-18T15:00", "2026-11-19T15:00"),
        ("Asia/Tokyo", "month", "2026-11-30T14:59", "2026-10-31T15:00", "2026-11-30T15:00"),
        ("Asia/Tokyo", "quarter", "2026-09-30T15:00", "2026-09-30T15:00", "2026-12-31T15:00"),
        # 23 and 25 hours, and weeks, months and quarters with such a day in them.
        ("Europe/Berlin", "day", "2026-03-29T12:00", "2026-03-28T23:00", "2026-03-29T22:00"),
        ("Europe/Berlin", "day", "2026-10-25T12:00", "2026-10-24T22:00", "2026-10-25T23:00"),
        ("Europe/Berlin", "week", "2026-03-29T12:00", "2026-03-22T23:00", "2026-03-29T22:00"),
        ("Europe/Berlin", "week", "2026-10-25T23:00", "2026-10-25T23:00", "2026-11-01T23:00"),
        ("Europe/Berlin", "month", "2026-03-31T21:59", "2026-02-28T23:00", "2026-03-31T22:00"),
        ("Europe/Berlin", "quarter", "2026-03-01T00:00", "2025-12-31T23:00", "2026-03-31T22:00"),
        ("America/New_York", "day", "2026-03-08T12:00", "2026-03-08T05:00", "2026-03-09T04:00"),
        ("America/New_York", "day", "2026-11-01T12:00", "2026-11-01T04:00", "2026-11-02T05:00"),
        # Midnight does not exist: the day begins at one o'clock.
        ("America/Sao_Paulo", "day", "2018-11-04T12:00", "2018-11-04T03:00", "2018-11-05T02:00"),
    ],
)
def test_a_period_is_the_one_of_the_zone(zone: str, period: str, at: str, start: str, end: str) -> None:
    found = Budgets().bounds(watched({}, period), Calendar([(None, zone)]), utc(at))
    assert found == (utc(start), utc(end))


TOKYO_TO_BERLIN = Calendar([(None, "Asia/Tokyo"), (date(2026, 12, 1), "Europe/Berlin")])


@pytest.mark.parametrize(
    ("period", "at", "start", "end"),
    [
        # November lasts until December begins in Berlin.
        ("month", "2026-11-30T22:59", "2026-10-31T15:00", "2026-11-30T23:00"),
        ("month", "2026-11-30T23:00", "2026-11-30T23:00", "2026-12-31T23:00"),
        ("quarter", "2026-11-30T22:59", "2026-09-30T15:00", "2026-12-31T23:00"),
        ("quarter", "2026-12-31T22:59", "2026-09-30T15:00", "2026-12-31T23:00"),
        ("year", "2026-06-01T00:00", "2025-12-31T15:00", "2026-12-31T23:00"),
        ("day", "2026-12-01T12:00", "2026-11-30T23:00", "2026-12-01T23:00"),
    ],
)
def test_a_zone_that_changes_cuts_nothing_of_what_was(period: str, at: str, start: str, end: str) -> None:
    assert Budgets().bounds(watched({}, period), TOKYO_TO_BERLIN, utc(at)) == (utc(start), utc(end))


@pytest.mark.parametrize("period", ["day", "week", "month", "quarter", "year"])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "Europe/Berlin", "America/New_York", "Pacific/Kiritimati"])
def test_periods_follow_each_other_without_gaps(period: str, zone: str) -> None:
    clock = Calendar([(None, zone), (date(2026, 5, 1), "Asia/Tokyo"), (date(2026, 9, 1), "America/Nuuk")])
    at, found = utc("2025-12-15T00:00"), []
    while at < utc("2027-01-10T00:00"):
        found.append(clock.period(period, at))
        at = found[-1][1]
    assert all(before[1] == after[0] for before, after in pairwise(found))
    for start, end in found:
        assert clock.period(period, start) == clock.period(period, end - timedelta(microseconds=1)) == (start, end)


def test_a_fixed_range_holds_its_start_and_not_its_end() -> None:
    start, end = utc("2026-11-03T10:30"), utc("2026-11-20T07:15")
    one = watched({}, "range", starts_at=start, ends_at=end)
    second = timedelta(seconds=1)
    found = [Budgets().bounds(one, UTC_CLOCK, at) for at in (start - second, start, end - second, end)]
    assert found == [None, (start, end), (start, end), None]


@pytest.mark.parametrize(
    ("since", "counts"),
    [("2026-10-31T23:59", True), ("2026-11-30T23:59", True), ("2026-12-01T00:00", False), ("2027-01-01T00:00", False)],
)
def test_a_period_that_was_over_when_the_budget_came_is_not_its_own(since: str, counts: bool) -> None:
    budgets = Budgets.of([watched({}, since=utc(since))])
    assert bool(budgets.over(CALL, UTC_CLOCK, AT)) is counts


def test_one_looked_up_in_many_periods_remembers_them_rightly() -> None:
    budgets, clock = Budgets.of([watched({}, "day")]), Calendar([(None, "Europe/Berlin")])
    instants = [utc("2026-10-20T00:00") + timedelta(hours=hours) for hours in range(24 * 12)]
    for at in (*instants, *reversed(instants)):
        ((_, key),) = budgets.over(CALL, clock, at)
        assert key.period_start <= at < key.period_end
