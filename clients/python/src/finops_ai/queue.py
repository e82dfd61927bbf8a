"""Entries on their way to the service, oldest first, within a bound: in memory, or on disk in `spool`.

An entry is one line of JSON: [method, path, body]. Entries are kept in segments; a sealed segment never changes, so
what is sent again after a failure or a crash is the same to the last byte.
"""

import logging
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass, field
from itertools import count
from threading import RLock
from time import time_ns
from typing import Literal
from uuid import uuid4

from finops_ai.errors import QueueFull

log = logging.getLogger("finops_ai")

WhenFull = Literal["raise", "drop_oldest"]


@dataclass
class Segment:
    """Some entries under one name; names sort by age."""

    name: str
    size: int = 0
    entries: int = 0
    synced_size: int = 0


@dataclass(frozen=True)
class Limits:
    """`bytes_max` bounds all segments together; a segment is sealed at `segment_entries` or `segment_bytes`."""

    bytes_max: int
    segment_entries: int = 500
    segment_bytes: int = 4 * 1024 * 1024
    when_full: WhenFull = "drop_oldest"


@dataclass
class Queue(ABC):
    """What memory and disk have in common: the order, the bound, and what happens at it. Safe between threads."""

    limits: Limits
    dropped: int = 0
    _lock: RLock = field(default_factory=RLock, repr=False)
    _sealed: deque[Segment] = field(default_factory=deque, repr=False)
    _open: Segment | None = None
    _in_hand: str | None = None
    _numbers: "count[int]" = field(default_factory=count, repr=False)
    _last_ns: int = 0

    def __len__(self) -> int:
        with self._lock:
            return sum(segment.entries for segment in self._segments())

    @property
    def is_due(self) -> bool:
        """Whether a full segment waits."""
        return bool(self._sealed)

    def put(self, *lines: bytes) -> None:
        """Keep entries, all or none. Raises `QueueFull`, by choice or where one alone is larger than the bound."""
        data = b"".join(lines)
        with self._lock:
            try:
                self._make_room(len(data))
                segment = self._open or self._begin()
                self._write(segment, data)
            except QueueFull as error:
                if self.limits.when_full == "raise":
                    raise
                self._count_dropped(len(lines), str(error))
                return
            segment.size += len(data)
            segment.entries += len(lines)
            if segment.entries >= self.limits.segment_entries or segment.size >= self.limits.segment_bytes:
                self.seal()

    def seal(self) -> str | None:
        """Close the open segment. The newest name there is, None where nothing waits."""
        with self._lock:
            if self._open is not None:
                self._finish(self._open)
                self._sealed.append(self._open)
                self._open = None
            return self._sealed[-1].name if self._sealed else None

    def sync(self) -> None:
        """Make durable what is not yet: in the caller's thread, while others may put."""
        with self._lock:
            fresh = [(segment, segment.size) for segment in self._segments() if segment.synced_size < segment.size]
        for segment, size in fresh:
            self._sync(segment)
            segment.synced_size = size

    def take(self) -> tuple[Segment, list[bytes]] | None:
        """The oldest segment and its lines. It stays in the queue, safe from the bound, until `discard`."""
        with self._lock:
            if not self._sealed:
                self.seal()
            if not self._sealed:
                return None
            segment = self._sealed[0]
            self._in_hand = segment.name
        return segment, self._read(segment)

    def discard(self, segment: Segment) -> None:
        """Forget a segment that was taken."""
        with self._lock:
            self._sealed.remove(segment)
            self._remove(segment)
            self._in_hand = None

    def holds_until(self, name: str) -> bool:
        """Whether anything up to this name still waits."""
        with self._lock:
            return any(segment.name <= name for segment in self._segments())

    def adopt(self) -> int:
        """Take over what other processes left behind; how many entries."""
        return 0

    def keep_aside(self, line: bytes) -> None:  # noqa: B027  (memory has no such place)
        """Keep what was refused for good where a person can look at it."""

    def close(self) -> None:  # noqa: B027  (memory has no files)
        """Let go of files; entries on disk stay."""

    def let_go(self) -> None:  # noqa: B027  (a child's memory is its own)
        """In a child process: leave everything to the parent."""

    def _segments(self) -> list[Segment]:
        return [*self._sealed, *([self._open] if self._open else [])]

    def _begin(self) -> Segment:
        # A clock that is set back must not put new entries before old ones.
        self._last_ns = max(time_ns(), self._last_ns + 1)
        self._open = Segment(f"{self._last_ns:020d}-{next(self._numbers):06d}-{uuid4().hex[:8]}")
        return self._open

    def _make_room(self, size: int) -> None:
        used = sum(segment.size for segment in self._segments())
        while used + size > self.limits.bytes_max:
            oldest = self._oldest_droppable() if self.limits.when_full == "drop_oldest" else None
            if oldest is None:
                raise QueueFull(f"The queue holds {used} of {self.limits.bytes_max} bytes; {size} more find no room.")
            self._sealed.remove(oldest)
            self._remove(oldest)
            self._count_dropped(oldest.entries, f"{self.limits.bytes_max} bytes are full.")
            used -= oldest.size

    def _count_dropped(self, entries: int, why: str) -> None:
        before = self.dropped
        self.dropped += entries
        if self.dropped.bit_length() > before.bit_length():  # told at the first one, and when their number doubles
            log.error("%d entries are dropped and will never be counted: %s", self.dropped, why)

    def _oldest_droppable(self) -> Segment | None:
        """The oldest segment that is not being sent; the open one is sealed for it where there is no other."""
        if all(segment.name == self._in_hand for segment in self._sealed):
            self.seal()
        return next((segment for segment in self._sealed if segment.name != self._in_hand), None)

    @abstractmethod
    def _write(self, segment: Segment, data: bytes) -> None: ...

    @abstractmethod
    def _finish(self, segment: Segment) -> None: ...

    @abstractmethod
    def _sync(self, segment: Segment) -> None: ...

    @abstractmethod
    def _read(self, segment: Segment) -> list[bytes]: ...

    @abstractmethod
    def _remove(self, segment: Segment) -> None: ...


@dataclass
class MemoryQueue(Queue):
    """Entries that live as long as the process."""

    _kept: dict[str, list[bytes]] = field(default_factory=dict, repr=False)

    def _write(self, segment: Segment, data: bytes) -> None:
        self._kept.setdefault(segment.name, []).append(data)

    def _finish(self, segment: Segment) -> None:
        pass

    def _sync(self, segment: Segment) -> None:
        pass

    def _read(self, segment: Segment) -> list[bytes]:
        return b"".join(self._kept[segment.name]).splitlines()

    def _remove(self, segment: Segment) -> None:
        del self._kept[segment.name]
