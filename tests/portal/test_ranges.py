"""Ranges: whatever the instant, the zone and the query, a range is one that can be asked for and linked to."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.http import QueryDict
from hypothesis import given
from hypothesis import strategies as st

from apps.core.periods import HOUR, Calendar
from apps.portal.ranges import PRESETS, Span, query_string, read_span

UTC_ONLY = Calendar([(None, "UTC")])
MOVED = Calendar([(None, "Asia/Kolkata"), (date(2026, 11, 1), "America/New_York"), (date(2027, 3, 1), "Pacific/Apia")])
AT = datetime(2026, 11, 24, 10, 42, tzinfo=UTC)


def span(query: str, calendar: Calendar = UTC_ONLY, at: datetime = AT) -> Span:
    return read_span(QueryDict(query), calendar, at)


@pytest.mark.parametrize(("query", "start", "end"), [
    ("", datetime(2026, 11, 1, tzinfo=UTC), AT),
    ("range=month", datetime(2026, 11, 1, tzinfo=UTC), AT),
    ("range=last-month", datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)),
    ("range=7d", datetime(2026, 11, 18, tzinfo=UTC), AT),
    ("range=30d", datetime(2026, 10, 26, tzinfo=UTC), AT),
    ("range=24h", datetime(2026, 11, 23, 11, tzinfo=UTC), AT),
    ("from=2026-11-02&to=2026-11-03", datetime(2026, 11, 2, tzinfo=UTC), datetime(2026, 11, 4, tzinfo=UTC)),
    ("from=2026-11-03&to=2026-11-02", datetime(2026, 11, 1, tzinfo=UTC), AT),
    ("from=2026-11-03", datetime(2026, 11, 1, tzinfo=UTC), AT),
    ("from=2020-01-01&to=2026-11-02", datetime(2026, 11, 1, tzinfo=UTC), AT),
    ("range=decade", datetime(2026, 11, 1, tzinfo=UTC), AT),
])  # fmt: skip
def test_a_query_names_a_range_or_gets_this_month(query: str, start: datetime, end: datetime) -> None:
    found = span(query)
    assert (found.start, found.end) == (start, end)


@pytest.mark.parametrize(("query", "start", "end", "label"), [
    ("", datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 10, 24, 10, 42, tzinfo=UTC), "1 to 24 Oct 2026"),
    ("range=last-month", datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC), "September"),
    ("range=7d", datetime(2026, 11, 11, tzinfo=UTC), datetime(2026, 11, 17, 10, 42, tzinfo=UTC), "11 to 17 Nov 2026"),
    ("range=24h", AT - timedelta(hours=47, minutes=42), AT - timedelta(hours=24), "the 24 hours before"),
    (
        "from=2026-11-23&to=2026-11-24",
        datetime(2026, 11, 21, tzinfo=UTC),
        datetime(2026, 11, 22, 10, 42, tzinfo=UTC),
        "21 to 22 Nov 2026",
    ),
    (
        "from=2026-11-02&to=2026-11-03",
        datetime(2026, 10, 31, tzinfo=UTC),
        datetime(2026, 11, 2, tzinfo=UTC),
        "31 Oct to 1 Nov 2026",
    ),
])  # fmt: skip
def test_the_period_before_is_by_the_same_clock_as_long_as_what_has_passed(
    query: str, start: datetime, end: datetime, label: str
) -> None:
    found = span(query)
    assert (found.previous_start, found.previous_end, found.previous_label) == (start, end, label)


def test_a_month_that_begins_now_is_asked_for_its_first_hour() -> None:
    begin = datetime(2026, 12, 1, tzinfo=UTC)
    found = span("", at=begin)
    assert (found.start, found.end) == (begin, begin + HOUR)


def test_a_day_is_cut_in_the_zone_that_was_in_force_on_it() -> None:
    before, after = span("from=2026-10-31&to=2026-10-31", MOVED), span("from=2026-11-01&to=2026-11-30", MOVED)
    assert before.start == datetime(2026, 10, 31, tzinfo=ZoneInfo("Asia/Kolkata"))
    assert before.end == after.start == MOVED.month_start(date(2026, 11, 1))
    assert after.end == MOVED.month_start(date(2026, 12, 1))
    assert (before.first_day, before.last_day) == (date(2026, 10, 31), date(2026, 10, 31))


INSTANTS = st.datetimes(datetime(2026, 9, 1), datetime(2027, 6, 1), timezones=st.just(UTC))
QUERIES = st.sampled_from([f"range={name}" for name in PRESETS]) | st.builds(
    lambda first, days: f"from={first}&to={first + timedelta(days=days)}",
    st.dates(date(2024, 1, 1), date(2027, 12, 31)),
    st.integers(0, 799),
)


@given(INSTANTS, QUERIES, st.sampled_from([UTC_ONLY, MOVED]))
def test_a_range_has_a_length_a_range_before_it_and_an_address(at: datetime, query: str, calendar: Calendar) -> None:
    found = span(query, calendar, at)
    assert found.previous_start < found.previous_end <= found.start < found.end
    assert found.first_day <= found.last_day
    assert span(query_string(found.parameters).removeprefix("?"), calendar, at) == found
