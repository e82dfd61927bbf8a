"""Answers within a time, also from a Postgres that does not answer any more.

A server that cancels late statements must be alive to do so. For one that hangs, or a network that swallows packets,
a thread of this process cuts the connection when its time is over, and whoever waits for it gets an error.
"""

import heapq
import itertools
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import Any

import psycopg

# How many seconds this thread waits for a connection of the pool; None: as long as the pool does.
patience: ContextVar[float | None] = ContextVar("patience", default=None)


def was_closed(connection: psycopg.Connection[Any]) -> bool:
    """Whether the server has hung up on an idle connection: then something waits to be read. No round trip."""
    if connection.closed:
        return True
    readable, _, _ = select.select([connection.fileno()], [], [], 0)
    return bool(readable)


class Watchdog:
    """Cuts connections that are still waited for when their time is over."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, psycopg.Connection[Any]]] = []
        self._waiting: set[int] = set()
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self, connection: psycopg.Connection[Any], seconds: float) -> Iterator[None]:
        """The connection is cut if the block takes longer."""
        with self._changed:
            number = next(self._numbers)
            self._waiting.add(number)
            heapq.heappush(self._due, (monotonic() + seconds, number, connection))
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
            elif self._due[0][1] == number:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._waiting.discard(number)

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._due and self._due[0][1] not in self._waiting:
                    heapq.heappop(self._due)
                left = self._due[0][0] - monotonic() if self._due else None
                if left is None or left > 0:
                    self._changed.wait(left)
                    continue
                _, number, connection = heapq.heappop(self._due)
                self._waiting.discard(number)
                _cut(connection)


def _cut(connection: psycopg.Connection[Any]) -> None:
    """End the conversation under whoever waits: closing from another thread would not wake them."""
    try:
        with socket.socket(fileno=socket.dup(connection.fileno())) as held:
            held.shutdown(socket.SHUT_RDWR)
    except (OSError, psycopg.Error):  # it is gone already
        pass


watchdog = Watchdog()
