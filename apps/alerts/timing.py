"""When a message goes: retries, quiet hours, digests. Pure: instants in, instants out."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

# The schedule of the Standard Webhooks specification: ten tries over about 75 hours.
RETRY_DELAYS = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
TRIES_MAX = len(RETRY_DELAYS) + 1
RETRY_AFTER_MAX = timedelta(hours=24)
JITTER_PERCENT = 10
DAILY_AT = time(8)


def retry_at(tries: int, at: datetime, *, jitter: int, retry_after: timedelta | None = None) -> datetime | None:
    """When the next try is due after `tries` of them failed; None where none is left.

    `jitter` is -100 to 100, a part of `JITTER_PERCENT` of the delay. The receiver's `Retry-After` counts where it is
    later than the schedule, up to `RETRY_AFTER_MAX`.
    """
    if tries >= TRIES_MAX:
        return None
    delay = RETRY_DELAYS[tries - 1]
    delay += delay * JITTER_PERCENT * jitter // 10_000
    return at + max(delay, min(retry_after or timedelta(0), RETRY_AFTER_MAX))


def quiet_until(at: datetime, zone: ZoneInfo, start: time | None, end: time | None) -> datetime | None:
    """The instant at which the quiet hours that hold `at` end; None outside of them.

    `start` and `end` are local; a start after the end spans midnight. An end that a clock change skips is the same
    distance after midnight by the old offset, one that happens twice is the first that lies after `at`.
    """
    if start is None or end is None:
        return None
    local = at.astimezone(zone)
    now = local.time()
    quiet = start <= now < end if start < end else now >= start or now < end
    if not quiet:
        return None
    day = local.date() if now < end else local.date() + timedelta(days=1)
    first, second = (datetime.combine(day, end, tzinfo=zone).replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    return first if first > at else second


def digest_at(at: datetime, zone: ZoneInfo, every: str) -> datetime | None:
    """The next local hour ("hourly") or the next 8 in the morning ("daily") after `at`; None for "none"."""
    local = at.astimezone(zone)
    if every == "hourly":
        past = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
        return at.astimezone(UTC) - past + timedelta(hours=1)
    if every == "daily":
        day = local.date() if local.time() < DAILY_AT else local.date() + timedelta(days=1)
        return datetime.combine(day, DAILY_AT, tzinfo=zone).astimezone(UTC)
    return None


def due_at(
    at: datetime, zone: ZoneInfo, *, critical: bool, every: str, quiet: tuple[time | None, time | None]
) -> datetime | None:
    """When a new message is due; None: now. Critical ones wait for nothing."""
    if critical:
        return None
    due = digest_at(at, zone, every)
    return quiet_until(due or at, zone, *quiet) or due
