"""Hours, days, weeks and months of an organization, as UTC instants.

A bucket is named by the UTC instant at which it begins in the organization's zone. The zone is
effective-dated: a `Calendar` holds every zone the organization ever had and takes each instant with the
zone that was in force then, so a change never re-cuts the past. Periods are half-open, [start, end).
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

HOUR = timedelta(hours=1)
GRANULARITIES = ("hour", "day", "week", "month")
# How many months a longer period has.
MONTHS_OF = {"month": 1, "quarter": 3, "year": 12}
SLOTS_KEPT = 20_000
_PROBE_HOURS = {"hour": 1, "day": 23, "week": 7 * 24 - 1, "month": 28 * 24}


def local_start(zone: ZoneInfo, day: date) -> datetime:
    """The first instant of a local day, in UTC; where midnight falls into a DST gap, that is the gap's end."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def hour_start(zone: ZoneInfo, at: datetime) -> datetime:
    """The UTC instant at which the local hour holding `at` begins.

    Where a zone shifts by less than an hour, the hour after the shift begins at the shift.
    """
    offset = _offset(zone, at)
    local = at.astimezone(UTC) + offset
    start = local.replace(minute=0, second=0, microsecond=0) - offset
    if _offset(zone, start) == offset:
        return start
    low, high = start, at.astimezone(UTC)
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        low, high = (low, middle) if _offset(zone, middle) == offset else (middle, high)
    return high.replace(microsecond=0)


def _offset(zone: ZoneInfo, at: datetime) -> timedelta:
    offset = at.astimezone(zone).utcoffset()
    assert offset is not None
    return offset


def next_month(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def month_before(month: date, count: int = 1) -> date:
    index = month.year * 12 + month.month - 1 - count
    return date(index // 12, index % 12 + 1, 1)


class Slot(NamedTuple):
    """Where an instant falls: the beginnings of its hour and its day, and its local month."""

    hour_start: datetime
    day_start: datetime
    month: date


class Calendar:
    """An organization's clock: its zones, each from the first instant of a month.

    `zones` is a sequence of (effective month or None for "always", IANA name), in order of time; the
    first entry is the zone since ever.
    """

    def __init__(self, zones: Sequence[tuple[date | None, str]]) -> None:
        self._zones = [ZoneInfo(name) for _, name in zones]
        self._months = [month for month, _ in zones[1:] if month is not None]
        self._from = [local_start(zone, month) for zone, month in zip(self._zones[1:], self._months, strict=True)]
        self._slots: dict[int, Slot] = {}

    def zone_at(self, at: datetime) -> ZoneInfo:
        return self._zones[bisect_right(self._from, at)]

    def slot(self, at: datetime) -> "Slot":
        """The buckets that hold `at`. Memoized, as zones move in quarter hours."""
        quarter = int(at.timestamp()) // 900
        found = self._slots.get(quarter)
        if found is None:
            found = Slot(self.hour(at), self.day(at), self.month_of(at))
            if len(self._slots) >= SLOTS_KEPT:
                self._slots.clear()
            self._slots[quarter] = found
        return found

    def hour(self, at: datetime) -> datetime:
        return hour_start(self.zone_at(at), at)

    def day(self, at: datetime) -> datetime:
        zone = self.zone_at(at)
        return local_start(zone, at.astimezone(zone).date())

    def week(self, at: datetime) -> datetime:
        """Weeks begin on Monday, of the zone that was in force on that Monday."""
        zone = self.zone_at(at)
        day = at.astimezone(zone).date()
        monday, since = local_start(zone, day - timedelta(days=day.weekday())), self._since(at)
        return monday if monday >= since else self.week(since - datetime.resolution)

    def month_of(self, at: datetime) -> date:
        """The local month. One lasts until the next begins, also where that one begins later in another zone."""
        month = at.astimezone(self.zone_at(at)).date().replace(day=1)
        index = bisect_right(self._from, at)
        return month if index == len(self._from) else min(month, month_before(self._months[index]))

    def month_start(self, month: date) -> datetime:
        """The first instant of a local month, in the zone in force in that month."""
        noon = datetime(month.year, month.month, 2, 12, tzinfo=UTC)
        return local_start(self.zone_at(noon), month)

    def start(self, granularity: str, at: datetime) -> datetime:
        """Where the bucket of `granularity` (hour, day, week or month) that holds `at` begins."""
        if granularity == "month":
            return self.month_start(self.month_of(at))
        begin: datetime = getattr(self, granularity)(at)
        return begin

    def period(self, name: str, at: datetime) -> tuple[datetime, datetime]:
        """The day, week, month, quarter or year that holds `at`: [start, end). Quarters begin with January."""
        if months := MONTHS_OF.get(name):
            month = self.month_of(at)
            first = month.replace(month=(month.month - 1) // months * months + 1)
            return self.month_start(first), self.month_start(month_before(first, -months))
        start = self.start(name, at)
        # A week is the longest that is left, and no clock changes by a week.
        return start, next(bucket for bucket in self.starts(name, start, start + timedelta(days=15)) if bucket > start)

    def starts(self, granularity: str, start: datetime, end: datetime) -> Iterator[datetime]:
        """Beginnings of every bucket that touches [start, end), in order."""
        bucket = self.start(granularity, start)
        while bucket < end:
            yield bucket
            probe = bucket + _PROBE_HOURS[granularity] * HOUR
            if granularity == "month":
                probe = max(probe, self.month_start(next_month(self.month_of(bucket))))
            # A period may be longer than the probe (DST, months): walk on by hours to where the next begins.
            while self.start(granularity, probe) <= bucket:
                probe += HOUR
            bucket = self.start(granularity, probe)

    def _since(self, at: datetime) -> datetime:
        index = bisect_right(self._from, at)
        return self._from[index - 1] if index else datetime.min.replace(tzinfo=UTC)
