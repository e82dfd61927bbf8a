"""Sends entries in the background until the service has them: once for the books, however often on the wire."""

import gzip
import json
import logging
import os
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from decimal import Decimal
from itertools import groupby
from typing import Any

from finops_ai.errors import ApiError, FinopsError, Rejected, Unavailable
from finops_ai.money import text_of, units_of
from finops_ai.queue import Queue
from finops_ai.transport import Transport

log = logging.getLogger("finops_ai")

SEND_SECONDS = 30.0
PAUSE_MAX_SECONDS = 30.0
ADOPT_SECONDS = 30.0

# A refusal of the key, not of what it sends.
KEY_REFUSED = (401, 403)

EVENTS = "events"
ALLOWANCES = "unavailable-allowances"


@dataclass(frozen=True)
class Entry:
    """One thing to tell the service."""

    path: str
    body: Mapping[str, Any]
    method: str = "POST"

    def line(self) -> bytes:
        """Raises `ValueError` and `TypeError` for what JSON cannot hold."""
        return json.dumps([self.method, self.path, self.body], allow_nan=False, default=_as_text).encode() + b"\n"


class Recorder:
    """A queue and the thread that empties it."""

    def __init__(
        self,
        transport: Transport,
        make_queue: Callable[[], Queue],
        *,
        flush_seconds: float,
        backoff_seconds: float,
        on_rejected: Callable[[Rejected], None] | None,
    ) -> None:
        self._transport = transport
        self._make_queue = make_queue
        self._flush_seconds = flush_seconds
        self._backoff_seconds = backoff_seconds
        self._on_rejected = on_rejected
        self.sent = 0
        self.rejected = 0
        self._is_closed = self._is_done = False
        self._start()
        if hasattr(os, "register_at_fork"):
            this = weakref.ref(self)  # what is registered stays for good

            def start() -> None:
                if (found := this()) is not None:
                    found._start_in_child()

            os.register_at_fork(after_in_child=start)

    def _start_in_child(self) -> None:
        """A child process gets a queue, a thread and connections of its own; what waits is the parent's to send."""
        self.queue.let_go()
        self._transport.connect()
        if not self._is_closed:
            self._start()

    def _start(self) -> None:
        self.queue = self._make_queue()
        self._wake = threading.Condition()
        self._hurry = self._stop = False
        self._dropped_before = 0
        self._adopt_at = time.monotonic() + ADOPT_SECONDS
        self._thread = threading.Thread(target=self._run, name="finops_ai", daemon=True)
        self._thread.start()

    def put(self, *entries: Entry) -> None:
        """Keep entries, all or none. Raises `QueueFull`, and `FinopsError` after `close`."""
        if self._is_closed:
            raise FinopsError("The client is closed: nothing can be recorded any more.")
        was_empty = not len(self.queue)
        self.queue.put(*(entry.line() for entry in entries))
        if was_empty or self.queue.is_due:
            with self._wake:
                self._wake.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until what was put before is with the service.

        False where it is not after `timeout` seconds, or where entries were dropped since the last flush.
        """
        newest = self.queue.seal()
        with self._wake:
            self._hurry = True
            self._wake.notify_all()
            is_sent = newest is None or self._wake.wait_for(lambda: not self.queue.holds_until(newest), timeout)
        dropped, self._dropped_before = self.queue.dropped - self._dropped_before, self.queue.dropped
        return is_sent and not dropped

    def close(self, timeout: float) -> bool:
        """Flush and stop; False where something is left. A spool keeps it, memory does not. Repeating it is fine.

        What ends while it flushes is taken still.
        """
        if self._is_closed:
            return self._is_done
        is_flushed = self.flush(timeout)
        self._is_closed = True
        with self._wake:
            self._stop = True
            self._wake.notify_all()
        self._thread.join(timeout)
        if not self._thread.is_alive():  # else it is in the middle of a request, and ends after it
            self._transport.close()
        self._is_done = is_flushed and not len(self.queue)
        if len(self.queue):
            log.warning("%d entries were not delivered before the client closed", len(self.queue))
        self.queue.close()
        return self._is_done

    def _run(self) -> None:
        with suppress(_Stopped):
            while not self._stop:
                self._empty_one()

    def _empty_one(self) -> None:
        """Deliver the oldest segment when it is due: a broken disk or a broken answer must not end the thread."""
        try:
            self._wait()
            self._sync()
            if (found := self.queue.take()) is not None:
                segment, lines = found
                self._deliver(deque(_requests(lines)))
                self.queue.discard(segment)
                with self._wake:
                    self._wake.notify_all()
        except _Stopped:
            raise
        except Exception:
            log.exception("Recording failed; it goes on with what is kept")
            self._pause(PAUSE_MAX_SECONDS)

    def _sync(self) -> None:
        try:
            self.queue.sync()
        except OSError as error:
            log.error("What waits cannot be made durable, and is sent all the same: %s", error)

    def _wait(self) -> None:
        """Until something is due. Now and then, look for what other processes left behind."""
        with self._wake:
            if self._wake.wait_for(lambda: self._hurry or self._stop or len(self.queue), ADOPT_SECONDS):
                self._wake.wait_for(lambda: self._hurry or self._stop or self.queue.is_due, self._flush_seconds)
            self._hurry = False
        if time.monotonic() >= self._adopt_at:
            self._adopt_at = time.monotonic() + ADOPT_SECONDS
            self.queue.adopt()

    def _deliver(self, requests: "deque[_Request]") -> None:
        failures = 0
        while requests:
            try:
                self._send(requests[0])
            except (Unavailable, ApiError) as error:
                if isinstance(error, Unavailable) or error.is_temporary:
                    log.info("The service is away, trying again: %s", error)
                    wait = min(self._backoff_seconds * 2 ** min(failures, 10), PAUSE_MAX_SECONDS)
                    wait *= random.uniform(0.5, 1)  # noqa: S311  (spreads retries)
                    self._pause(wait, at_least=error.retry_after or 0.0)
                    failures += 1
                    continue
                if requests[0].is_divisible and error.status not in KEY_REFUSED:
                    # Any one of them may be what is wrong: its neighbours must not go with it.
                    requests.extendleft(reversed(requests.popleft().halves()))
                    continue
                self._refused(requests[0], error)
            requests.popleft()
            failures = 0

    def _pause(self, seconds: float, *, at_least: float = 0.0) -> None:
        """Wait; a flush cuts it short, but not below what the service asked for. What is put meanwhile is synced."""
        start = time.monotonic()
        while True:
            with self._wake:
                left = (at_least if self._hurry else max(seconds, at_least)) - (time.monotonic() - start)
                if self._stop:
                    raise _Stopped
                if left <= 0:
                    self._hurry = False
                    return
                self._rest(min(left, self._flush_seconds))
            self._sync()

    def _rest(self, seconds: float) -> None:
        """Wait for a flush or the end, not for what is put: while the service is away, a segment is always due."""
        hurried = self._hurry
        self._wake.wait_for(lambda: self._stop or self._hurry is not hurried, seconds)

    def _send(self, request: "_Request") -> None:
        if request.path != EVENTS:
            content = json.dumps(request.bodies[0]).encode()
            self._transport.send(request.method, request.path, content, timeout=SEND_SECONDS)
            self.sent += len(request.bodies)
            return
        content = gzip.compress(b"\n".join(json.dumps(body).encode() for body in request.bodies), compresslevel=5)
        headers = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}
        answer = self._transport.send("POST", EVENTS, content, timeout=SEND_SECONDS, headers=headers)
        refused = [result for result in answer.get("results", ()) if result.get("status") in ("rejected", "conflict")]
        self.sent += len(request.bodies) - len(refused)
        for result in refused:
            self._reject(request.bodies[result["index"]], EVENTS, result)

    def _refused(self, request: "_Request", error: ApiError) -> None:
        if request.is_about_a_hold and error.status in (404, 409):
            return  # it is over already, which is all that was asked for
        for body in request.bodies:
            self._reject(body, request.path, {"code": error.code, "detail": error.detail, "param": error.param})

    def _reject(self, body: Mapping[str, Any], path: str, said: Mapping[str, Any]) -> None:
        rejected = Rejected(path, body, str(said.get("code")), str(said.get("detail")), said.get("param"))
        self.rejected += 1
        log.warning("%s was refused for good: %s: %s", path, rejected.code, rejected.detail)
        self.queue.keep_aside(json.dumps(asdict(rejected)).encode() + b"\n")
        if self._on_rejected is not None:
            try:
                self._on_rejected(rejected)
            except Exception:
                log.exception("on_rejected failed")


class _Stopped(Exception):
    """The thread is to end in the middle of a wait."""


@dataclass(frozen=True)
class _Request:
    """Entries that go to the service together."""

    method: str
    path: str
    bodies: list[dict[str, Any]]

    @property
    def is_divisible(self) -> bool:
        return self.path == EVENTS and len(self.bodies) > 1

    def halves(self) -> "list[_Request]":
        half = len(self.bodies) // 2
        return [_Request(self.method, self.path, bodies) for bodies in (self.bodies[:half], self.bodies[half:])]

    @property
    def is_about_a_hold(self) -> bool:
        return self.path.startswith(("reservations/", "leases/"))


def _requests(lines: Iterable[bytes]) -> list[_Request]:
    """The requests of a segment in order: events side by side together, and one report of what was let through last."""
    entries = [json.loads(line) for line in lines]
    reports = [body for _, path, body in entries if path == ALLOWANCES]
    rest = [entry for entry in entries if entry[1] != ALLOWANCES]
    requests: list[_Request] = []
    for (method, path), together in groupby(rest, key=lambda entry: (entry[0], entry[1])):
        bodies = [body for _, _, body in together]
        requests += (
            [_Request(method, path, bodies)] if path == EVENTS else [_Request(method, path, [b]) for b in bodies]
        )
    if reports:
        requests.append(_Request("POST", ALLOWANCES, [_sum(reports)]))
    return requests


def _sum(reports: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "events": sum(report["events"] for report in reports),
        "amount_usd": text_of(sum(units_of(report["amount_usd"]) for report in reports)),
        "from": min(report["from"] for report in reports),
        "to": max(report["to"] for report in reports),
        "reason": reports[0]["reason"],
    }


def _as_text(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    raise TypeError(f"{value!r} cannot be sent: give strings, integers, lists and dicts.")
