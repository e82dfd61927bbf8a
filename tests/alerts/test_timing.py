"""When a message goes."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.alerts.timing import RETRY_AFTER_MAX, RETRY_DELAYS, TRIES_MAX, digest_at, due_at, quiet_until, retry_at

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
BERLIN, NEW_YORK, KOLKATA, LORD_HOWE = (
    ZoneInfo(name) for name in ("Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe")
)
NIGHT = (time(22), time(7))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("zone", "now", "quiet", "until"),
    [
        (BERLIN, "2026-11-27T12:00:00+01:00", NIGHT, None),
        (BERLIN, "2026-11-27T21:59:59+01:00", NIGHT, None),
        (BERLIN, "2026-11-27T22:00:00+01:00", NIGHT, "2026-11-28T07:00:00+01:00"),
        (BERLIN, "2026-11-28T06:59:59+01:00", NIGHT, "2026-11-28T07:00:00+01:00"),
        (BERLIN, "2026-11-28T07:00:00+01:00", NIGHT, None),
        (BERLIN, "2026-11-27T12:30:00+01:00", (time(12), time(13)), "2026-11-27T13:00:00+01:00"),
        (KOLKATA, "2026-11-27T23:15:00+05:30", NIGHT, "2026-11-28T07:00:00+05:30"),
        # The clocks go forward in this night, and back in that one: the end is 7 on the wall.
        (BERLIN, "2026-03-28T23:00:00+01:00", NIGHT, "2026-03-29T07:00:00+02:00"),
        (BERLIN, "2026-10-24T23:00:00+02:00", NIGHT, "2026-10-25T07:00:00+01:00"),
        (NEW_YORK, "2026-03-08T01:30:00-05:00", NIGHT, "2026-03-08T07:00:00-04:00"),
        # An end that is skipped, and one that comes twice: its first time, or its second where that is still ahead.
        (BERLIN, "2026-03-29T01:00:00+01:00", (time(22), time(2, 30)), "2026-03-29T03:30:00+02:00"),
        (BERLIN, "2026-10-25T01:00:00+02:00", (time(22), time(2, 30)), "2026-10-25T02:30:00+02:00"),
        (BERLIN, "2026-10-25T02:10:00+01:00", (time(22), time(2, 30)), "2026-10-25T02:30:00+01:00"),
        (LORD_HOWE, "2026-04-05T01:00:00+11:00", NIGHT, "2026-04-05T07:00:00+10:30"),
        (BERLIN, "2026-11-27T12:00:00+01:00", (None, None), None),
    ],
)
def test_quiet_hours_end_by_the_local_clock(
    zone: ZoneInfo, now: str, quiet: tuple[time | None, time | None], until: str | None
) -> None:
    assert quiet_until(at(now), zone, *quiet) == (at(until) if until else None)


@settings(deadline=None)
@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
    st.sampled_from([BERLIN, NEW_YORK, KOLKATA, LORD_HOWE]),
    st.times(),
    st.times(),
)
def test_quiet_hours_always_end_and_within_a_day_and_a_bit(
    now: datetime, zone: ZoneInfo, start: time, end: time
) -> None:
    if start != end and (until := quiet_until(now, zone, start, end)) is not None:
        assert now < until <= now + timedelta(hours=26)


@pytest.mark.parametrize(
    ("zone", "now", "every", "due"),
    [
        (BERLIN, "2026-11-27T12:10:05+01:00", "none", None),
        (BERLIN, "2026-11-27T12:10:05+01:00", "hourly", "2026-11-27T13:00:00+01:00"),
        (KOLKATA, "2026-11-27T12:10:05+05:30", "hourly", "2026-11-27T13:00:00+05:30"),
        (BERLIN, "2026-11-27T13:00:00+01:00", "hourly", "2026-11-27T14:00:00+01:00"),
        (BERLIN, "2026-11-27T07:59:59+01:00", "daily", "2026-11-27T08:00:00+01:00"),
        (BERLIN, "2026-11-27T08:00:00+01:00", "daily", "2026-11-28T08:00:00+01:00"),
        (BERLIN, "2026-03-28T12:00:00+01:00", "daily", "2026-03-29T08:00:00+02:00"),
        (BERLIN, "2026-10-25T02:30:00+02:00", "hourly", "2026-10-25T02:00:00+01:00"),
    ],
)
def test_a_digest_is_due_by_the_local_clock(zone: ZoneInfo, now: str, every: str, due: str | None) -> None:
    assert digest_at(at(now), zone, every) == (at(due) if due else None)


def test_a_digest_that_falls_into_quiet_hours_waits_for_their_end_and_what_is_critical_for_nothing() -> None:
    night = at("2026-11-27T23:10:00+01:00")
    assert due_at(night, BERLIN, critical=False, every="hourly", quiet=NIGHT) == at("2026-11-28T07:00:00+01:00")
    assert due_at(night, BERLIN, critical=False, every="daily", quiet=NIGHT) == at("2026-11-28T08:00:00+01:00")
    assert due_at(night, BERLIN, critical=True, every="daily", quiet=NIGHT) is None


def test_ten_tries_take_about_seventy_five_hours() -> None:
    assert TRIES_MAX == 10
    assert timedelta(hours=75) < sum(RETRY_DELAYS, timedelta()) < timedelta(hours=76)
    assert retry_at(TRIES_MAX, NOW, jitter=0) is None


@settings(deadline=None)
@given(st.integers(1, TRIES_MAX - 1), st.integers(-100, 100), st.integers(-(10**6), 10**9))
def test_a_retry_is_near_its_schedule_and_never_before_the_receiver_wants_it(
    tries: int, jitter: int, seconds: int
) -> None:
    wanted = timedelta(seconds=min(seconds, 10**8))
    due = retry_at(tries, NOW, jitter=jitter, retry_after=wanted)
    assert due is not None
    delay = RETRY_DELAYS[tries - 1]
    assert due >= NOW + delay * 9 / 10
    assert due >= NOW + min(wanted, RETRY_AFTER_MAX)
    assert due <= NOW + max(delay * 11 / 10, RETRY_AFTER_MAX)
