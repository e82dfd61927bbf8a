"""Where in time a replayed trace lies.

Instants and lengths are integers in milliseconds; an instant counts from the Unix epoch.
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import accumulate

from apps.ingest.demo.places import DRAWS, draw

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


def instant(ms: int) -> datetime:
    return EPOCH + ms * MILLISECOND


def epoch_ms(at: datetime) -> int:
    return (at - EPOCH) // MILLISECOND


def rfc3339(ms: int) -> str:
    return instant(ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Shift:
    """Where in time a trace is laid.

    It ends at `end`, or keeps its own dates where that is None. It fills `window_days` before the end, or
    lasts as long as it did where that is None.
    """

    end: datetime | None
    window_days: int | None = None

    @property
    def label(self) -> str:
        """The part of an event id that tells one shift from another."""
        if self.end is None:
            return "kept"
        window = "" if self.window_days is None else f"-{self.window_days}d"
        return f"{self.end.astimezone(UTC):%Y%m%dT%H%M%SZ}{window}"

    @property
    def window_ms(self) -> int:
        return (self.window_days or 0) * DAY_MS


@dataclass(frozen=True, slots=True)
class WorkingWeek:
    """An invented rhythm: busy on weekdays in UTC, quiet at night and on weekends.

    It lays shares of work on instants from `start_ms` to `end_ms` and keeps their order.
    """

    start_ms: int
    end_ms: int
    _done: list[int] = field(init=False, repr=False)  # work before each hour, from the first hour on

    WEEKDAY = (1, 1, 1, 1, 1, 1, 2, 4, 8, 12, 14, 14, 10, 12, 14, 14, 12, 8, 5, 4, 3, 2, 2, 1)
    WEEKEND = (1,) * 9 + (2,) * 12 + (1,) * 3

    def __post_init__(self) -> None:
        hours = range(self.start_ms // HOUR_MS, self.end_ms // HOUR_MS + 1)
        work = (self._weight(hour) * HOUR_MS for hour in hours)
        object.__setattr__(self, "_done", list(accumulate(work, initial=0)))

    def lay(self, part: int, whole: int, until_ms: int) -> int:
        """The instant by which part / whole of the work from the start until then is done."""
        done = self._work(self.start_ms)
        target = done + (self._work(until_ms) - done) * part // whole
        index = bisect_right(self._done, target) - 1
        hour = self.start_ms // HOUR_MS + index
        return hour * HOUR_MS + (target - self._done[index]) // self._weight(hour)

    def _work(self, at_ms: int) -> int:
        hour, within = divmod(at_ms, HOUR_MS)
        return self._done[hour - self.start_ms // HOUR_MS] + self._weight(hour) * within

    def _weight(self, hour: int) -> int:
        day, hour_of_day = divmod(hour, 24)
        weekend = (day + EPOCH.weekday()) % 7 >= 5
        return (self.WEEKEND if weekend else self.WEEKDAY)[hour_of_day]


def conversation_starts(lengths_ms: Mapping[str, int], week: WorkingWeek) -> dict[str, int]:
    """Each conversation begins in the week at an instant drawn by its name, early enough to end in time."""
    return {name: _conversation_start(name, week.end_ms - length, week) for name, length in lengths_ms.items()}


def _conversation_start(name: str, latest: int, week: WorkingWeek) -> int:
    if latest <= week.start_ms:
        return latest
    return week.lay(draw("start", name), DRAWS, latest)
