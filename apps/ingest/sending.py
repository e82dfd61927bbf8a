"""Sends events to the public API in batches, as a customer's program would.

A batch that may not have arrived is sent again as it was: its event ids make that safe.
"""

import gzip
import http.client
import ssl
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from urllib.parse import urlsplit

import msgspec

from apps.ingest.traces import Event

TRIES = 10
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30.0
ANSWER_TIMEOUT_SECONDS = 120.0
RETRIED_STATUSES = frozenset({429, 502, 503, 504})

COMPRESSION_LEVEL = 3
PROBLEMS_SHOWN = 5


class Result(msgspec.Struct, frozen=True):
    """The API's word on one event that was not plainly accepted."""

    index: int
    status: str
    event_id: str | None = None
    code: str | None = None
    detail: str | None = None


class Answer(msgspec.Struct, frozen=True):
    """The API's word on a batch."""

    accepted: int
    duplicates: int
    conflicts: int
    rejected: int
    unpriced: int
    results: tuple[Result, ...] = ()


class Problem(msgspec.Struct, frozen=True):
    """An RFC 9457 refusal of a whole request."""

    title: str = ""
    detail: str = ""
    code: str = ""


class SendError(Exception):
    """The API refused a batch, or could not be reached in all the tries."""


class Sender:
    """Posts batches, over one kept connection per thread. `wait` sleeps for seconds, unless stopped."""

    def __init__(self, url: str, key: str, *, wait: Callable[[float], object] | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SendError(f"The address {url!r} is not one of the web: give it as http://host:port.")
        self._https, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._path = f"{parts.path.rstrip('/')}/api/v1/events"
        self._headers = {
            "Authorization": f"Bearer {key}",
            "Content-Type": "application/json",
            "Content-Encoding": "gzip",
        }
        self._stopped = threading.Event()
        self._wait = wait or self._stopped.wait
        self._local = threading.local()

    def send(self, batch: list[Event]) -> Answer:
        """Raises SendError with the problem's detail."""
        body = gzip.compress(msgspec.json.encode(batch), COMPRESSION_LEVEL)
        failure = ""
        for attempt in range(TRIES):
            pause = min(FIRST_WAIT_SECONDS * 2**attempt, LONGEST_WAIT_SECONDS)
            try:
                status, headers, text = self._post(body)
            except (OSError, http.client.HTTPException) as error:
                self._forget_connection()
                failure = f"{type(error).__name__}: {error}"
            else:
                if status in (200, 202):
                    return _decode_answer(text)
                failure = _describe_refusal(status, text)
                if status not in RETRIED_STATUSES:
                    raise SendError(failure)
                pause = _asked_pause(headers.get("Retry-After"), pause)
            if self._stopped.is_set():
                break
            if attempt + 1 < TRIES:
                self._wait(pause)
        raise SendError(f"Gave up after {attempt + 1} tries. {failure}")

    def stop(self) -> None:
        """No batch is tried again."""
        self._stopped.set()

    def _post(self, body: bytes) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = self._connection()
        connection.request("POST", self._path, body, self._headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read()

    def _connection(self) -> http.client.HTTPConnection:
        kept: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if kept is None:
            kept = self._local.connection = self._connect()
        return kept

    def _connect(self) -> http.client.HTTPConnection:
        if self._https:
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=ANSWER_TIMEOUT_SECONDS, context=ssl.create_default_context()
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=ANSWER_TIMEOUT_SECONDS)

    def _forget_connection(self) -> None:
        self._connection().close()
        self._local.connection = None


def _decode_answer(text: bytes) -> Answer:
    try:
        return msgspec.json.decode(text, type=Answer)
    except msgspec.DecodeError as error:
        raise SendError(f"The answer cannot be read ({error}): is this the address of the API?") from error


def _describe_refusal(status: int, text: bytes) -> str:
    try:
        problem = msgspec.json.decode(text, type=Problem)
    except msgspec.DecodeError:
        return f"HTTP {status}: {text[:200].decode(errors='replace')}"
    return f"HTTP {status} {problem.code}: {problem.detail or problem.title}"


def _asked_pause(retry_after: str | None, otherwise: float) -> float:
    """What Retry-After asks in seconds, within bounds; its date form is not worth a clock."""
    if retry_after is None or not retry_after.isdecimal():
        return otherwise
    return min(float(retry_after), LONGEST_WAIT_SECONDS)


@dataclass
class Tally:
    """What the API answered, so far."""

    accepted: int = 0
    duplicates: int = 0
    conflicts: int = 0
    rejected: int = 0
    unpriced: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def add(self, answer: Answer) -> None:
        self.accepted += answer.accepted
        self.duplicates += answer.duplicates
        self.conflicts += answer.conflicts
        self.rejected += answer.rejected
        self.unpriced += answer.unpriced
        for result in answer.results:
            if result.status not in ("rejected", "conflict"):
                continue
            if result.status == "rejected":
                self.codes[result.code or "unknown"] += 1
            if len(self.problems) < PROBLEMS_SHOWN:
                self.problems.append(f"{result.status} {result.event_id}: {result.detail or result.code}")

    @property
    def events(self) -> int:
        return self.accepted + self.duplicates + self.conflicts + self.rejected

    @property
    def failed(self) -> bool:
        return bool(self.conflicts or self.rejected)

    def summary(self, seconds: float) -> str:
        codes = ", ".join(f"{code} {count}" for code, count in self.codes.most_common())
        rejected = f"rejected {self.rejected}" + (f" ({codes})" if codes else "")
        return (
            f"accepted {self.accepted}, duplicates {self.duplicates}, conflicts {self.conflicts}, "
            f"{rejected}, unpriced {self.unpriced}, {seconds:.1f} seconds, "
            f"{self.events / max(seconds, 0.001):.0f} events/s"
        )


def _batches(events: Iterator[Event], size: int) -> Iterator[list[Event]]:
    while batch := list(islice(events, size)):
        yield batch


def send_all(
    events: Iterator[Event],
    *,
    sender: Sender,
    batch_events: int,
    clients: int,
    report: Callable[[int], None],
) -> Tally:
    """Send every event, `clients` batches at once and few in memory; `report` hears how many are answered.

    Raises SendError at the first refusal.
    """
    tally = Tally()
    sending: deque[Future[Answer]] = deque()

    def collect() -> None:
        tally.add(sending.popleft().result())
        report(tally.events)

    with ThreadPoolExecutor(clients) as pool:
        try:
            for batch in _batches(events, batch_events):
                sending.append(pool.submit(sender.send, batch))
                if len(sending) > 2 * clients:
                    collect()
            while sending:
                collect()
        except BaseException:
            sender.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return tally
