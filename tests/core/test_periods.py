from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from apps.core.periods import (
    GRANULARITIES,
    HOUR,
    Calendar,
    hour_start,
    local_start,
    month_before,
    next_month,
)

# Whole hours, half and quarter hours, DST at midnight, DST of half an hour and of two, the ends of the world.
ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "Asia/Tokyo", "Asia/Kolkata", "Asia/Kathmandu", "Pacific/Chatham",
    "Australia/Lord_Howe", "America/Sao_Paulo", "Africa/Cairo", "Asia/Beirut", "Asia/Gaza", "America/Havana",
    "America/Nuuk", "Antarctica/Troll", "Pacific/Kiritimati", "Pacific/Pago_Pago",
)  # fmt: skip
TOKYO_TO_NEW_YORK = [(None, "Asia/Tokyo"), (date(2026, 12, 1), "America/New_York")]
NEW_YORK_TO_TOKYO = [(None, "America/New_York"), (date(2026, 12, 1), "Asia/Tokyo")]

months = st.dates(date(2018, 1, 1), date(2027, 12, 31)).map(lambda day: day.replace(day=1))
instants = st.datetimes(datetime(2018, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))
granularities = st.sampled_from(GRANULARITIES)


@st.composite
def zone_histories(draw: st.DrawFn) -> list[tuple[date | None, str]]:
    starts = sorted(draw(st.sets(months, max_size=3)))
    return [(month, draw(st.sampled_from(ZONES))) for month in [None, *starts]]


@st.composite
def moments(draw: st.DrawFn) -> tuple[list[tuple[date | None, str]], datetime]:
    """A history of zones and an instant: anywhere, or within a day and a half of a change."""
    zones = draw(zone_histories())
    changes = [local_start(ZoneInfo(name), month) for month, name in zones if month]
    near = [st.timedeltas(timedelta(hours=-36), timedelta(hours=36)).map(change.__add__) for change in changes]
    return zones, draw(st.one_of(instants, *near))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "day", "begins"),
    [
        ("UTC", "2026-11-24", "2026-11-24T00:00"),
        ("Asia/Kolkata", "2026-11-24", "2026-11-23T18:30"),
        ("Asia/Kathmandu", "2026-11-24", "2026-11-23T18:15"),
        ("Pacific/Kiritimati", "2026-11-24", "2026-11-23T10:00"),
        # Midnight does not exist: the day begins at one o'clock.
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00"),
        ("Asia/Beirut", "2026-03-29", "2026-03-28T22:00"),
        ("Africa/Cairo", "2026-04-24", "2026-04-23T22:00"),
        # Midnight exists twice: the day begins at the first.
        ("America/Havana", "2026-11-01", "2026-11-01T04:00"),
        # The hour before midnight is skipped.
        ("America/Nuuk", "2026-03-29", "2026-03-29T01:00"),
    ],
)
def test_a_day_begins_at_its_first_instant(zone: str, day: str, begins: str) -> None:
    assert local_start(ZoneInfo(zone), date.fromisoformat(day)) == utc(begins)


@pytest.mark.parametrize(
    ("zone", "at", "begins"),
    [
        ("UTC", "2026-11-24T10:59:59.999999", "2026-11-24T10:00"),
        ("Asia/Kolkata", "2026-11-24T10:29:59", "2026-11-24T09:30"),
        ("Asia/Kolkata", "2026-11-24T10:30", "2026-11-24T10:30"),
        ("Pacific/Chatham", "2026-07-01T10:14:59", "2026-07-01T09:15"),
        # 02:00 becomes 02:30, and half a year later 02:00 becomes 01:30: an hour begins at each shift.
        ("Australia/Lord_Howe", "2026-10-03T15:29", "2026-10-03T14:30"),
        ("Australia/Lord_Howe", "2026-10-03T15:45", "2026-10-03T15:30"),
        ("Australia/Lord_Howe", "2026-10-03T16:00", "2026-10-03T16:00"),
        ("Australia/Lord_Howe", "2026-04-04T14:59", "2026-04-04T14:00"),
        ("Australia/Lord_Howe", "2026-04-04T15:10", "2026-04-04T15:00"),
        ("Australia/Lord_Howe", "2026-04-04T15:30", "2026-04-04T15:30"),
    ],
)
def test_an_hour_begins_on_the_local_clock(zone: str, at: str, begins: str) -> None:
    assert hour_start(ZoneInfo(zone), utc(at)) == utc(begins)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("America/Sao_Paulo", "2018-11-04", 23),
        ("Australia/Lord_Howe", "2026-10-04", 23.5),
        ("Antarctica/Troll", "2026-03-29", 22),
        ("Asia/Tokyo", "2026-03-29", 24),
    ],
)
def test_days_are_as_long_as_their_zone_makes_them(zone: str, day: str, hours: float) -> None:
    clock = Calendar([(None, zone)])
    start = local_start(ZoneInfo(zone), date.fromisoformat(day))
    first, second = list(clock.starts("day", start, start + timedelta(hours=26)))[:2]
    assert (first, second - first) == (start, timedelta(hours=hours))


def test_a_week_begins_on_monday_of_the_zone() -> None:
    clock = Calendar([(None, "Asia/Tokyo")])
    assert clock.week(utc("2026-11-22T14:59")) == utc("2026-11-15T15:00")
    assert clock.week(utc("2026-11-22T15:00")) == utc("2026-11-22T15:00")


@pytest.mark.parametrize(
    ("zones", "at", "month", "day_begins"),
    [
        # Japan reaches December 14 hours before New York: until then it is still November.
        (TOKYO_TO_NEW_YORK, "2026-11-30T14:59", "2026-11-01", "2026-11-29T15:00"),
        (TOKYO_TO_NEW_YORK, "2026-11-30T15:00", "2026-11-01", "2026-11-30T15:00"),
        (TOKYO_TO_NEW_YORK, "2026-12-01T04:59", "2026-11-01", "2026-11-30T15:00"),
        (TOKYO_TO_NEW_YORK, "2026-12-01T05:00", "2026-12-01", "2026-12-01T05:00"),
        # The other way round November ends 14 hours early.
        (NEW_YORK_TO_TOKYO, "2026-11-30T14:59", "2026-11-01", "2026-11-30T05:00"),
        (NEW_YORK_TO_TOKYO, "2026-11-30T15:00", "2026-12-01", "2026-11-30T15:00"),
    ],
)
def test_a_zone_takes_effect_where_its_month_begins(
    zones: list[tuple[date | None, str]], at: str, month: str, day_begins: str
) -> None:
    clock = Calendar(zones)
    assert clock.month_of(utc(at)) == date.fromisoformat(month)
    assert clock.day(utc(at)) == utc(day_begins)


def test_days_of_every_zone_begin_at_their_first_instant() -> None:
    noon = datetime(2024, 1, 1, 12, tzinfo=UTC)
    for zone in map(ZoneInfo, sorted(available_timezones())):
        days = [noon + timedelta(days=number) for number in range(3 * 366)]
        offsets = [day.astimezone(zone).utcoffset() for day in days]
        for index, (before, after) in enumerate(pairwise(offsets)):
            if before != after or index == 0:
                _check_day(zone, days[index].astimezone(zone).date())
                _check_day(zone, days[index + 1].astimezone(zone).date())


def _check_day(zone: ZoneInfo, day: date) -> None:
    begin = local_start(zone, day)
    assert begin.astimezone(zone).date() == day
    assert (begin - datetime.resolution).astimezone(zone).date() < day


@given(moments(), granularities)
@example((TOKYO_TO_NEW_YORK, utc("2026-11-30T20:00")), "month")
@example((NEW_YORK_TO_TOKYO, utc("2026-12-03T00:00")), "week")
def test_a_bucket_begins_at_or_before_what_it_holds(
    moment: tuple[list[tuple[date | None, str]], datetime], granularity: str
) -> None:
    zones, at = moment
    clock = Calendar(zones)
    start = clock.start(granularity, at)
    assert start <= at
    assert clock.start(granularity, start) == start


@given(moments(), st.timedeltas(timedelta(0), timedelta(days=40)), granularities)
def test_buckets_tile_time(
    moment: tuple[list[tuple[date | None, str]], datetime], gap: timedelta, granularity: str
) -> None:
    zones, at = moment
    clock = Calendar(zones)
    first, second = clock.start(granularity, at), clock.start(granularity, at + gap)
    assert first <= second
    assert (first == second) == (second <= at)


@given(moments(), st.sampled_from(["day", "week", "month", "quarter", "year"]))
def test_a_period_holds_its_instant_and_ends_where_the_next_begins(
    moment: tuple[list[tuple[date | None, str]], datetime], name: str
) -> None:
    zones, at = moment
    clock = Calendar(zones)
    start, end = clock.period(name, at)
    assert start <= at < end
    assert clock.period(name, start) == clock.period(name, end - datetime.resolution) == (start, end)
    assert clock.period(name, end)[0] == end


@given(moments())
def test_small_buckets_lie_within_large_ones(
    moment: tuple[list[tuple[date | None, str]], datetime],
) -> None:
    zones, at = moment
    clock = Calendar(zones)
    hour, day = clock.hour(at), clock.day(at)
    assert at - hour < HOUR
    assert clock.day(hour) == day
    for larger in ("week", "month"):
        assert clock.start(larger, day) == clock.start(larger, at)
    assert clock.slot(at) == (hour, day, clock.month_of(at))


@given(moments(), st.timedeltas(timedelta(minutes=1), timedelta(days=3)), granularities, st.data())
def test_starts_are_every_bucket_that_touches_the_range(
    moment: tuple[list[tuple[date | None, str]], datetime],
    length: timedelta,
    granularity: str,
    data: st.DataObject,
) -> None:
    zones, start = moment
    clock = Calendar(zones)
    end = start + length * {"hour": 1, "day": 5, "week": 20, "month": 60}[granularity]
    starts = list(clock.starts(granularity, start, end))
    assert starts[0] == clock.start(granularity, start)
    assert all(one < other for one, other in pairwise(starts))
    inside = data.draw(st.datetimes(*(_naive(t) for t in (start, end)), timezones=st.just(UTC)))
    if inside < end:
        assert clock.start(granularity, inside) in starts


@given(zone_histories(), months, st.sampled_from(ZONES), instants, granularities)
def test_a_change_never_cuts_the_past_again(
    zones: list[tuple[date | None, str]], month: date, zone: str, at: datetime, granularity: str
) -> None:
    known = [(since, name) for since, name in zones if since is None or since < month]
    before = Calendar(known)
    if before.month_of(at) < month and at < local_start(ZoneInfo(zone), month):
        assert Calendar([*known, (month, zone)]).start(granularity, at) == before.start(granularity, at)


@given(zone_histories(), months)
@settings(max_examples=200)
def test_a_month_is_the_month_of_its_start(zones: list[tuple[date | None, str]], month: date) -> None:
    clock = Calendar(zones)
    start = clock.month_start(month)
    assert clock.month_of(start) == month
    assert clock.month_of(start - datetime.resolution) == month_before(month)


@given(months, st.integers(0, 500))
def test_months_are_counted_both_ways(month: date, count: int) -> None:
    later = month
    for _ in range(count % 30):
        later = next_month(later)
    assert month_before(later, count % 30) == month
    assert month_before(next_month(month)) == month


def _naive(at: datetime) -> datetime:
    return at.replace(tzinfo=None)
