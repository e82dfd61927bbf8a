"""What is counted and noted of the running service.

It knows no tenant: no label names one, and every label has a closed list of values. Each process counts for itself, in
memory, which is what a hot path can afford; `finops/figures.py` adds the processes up and shows them to Prometheus.
"""

import threading
import time
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

# A name, values of its labels, and of a histogram the bucket that it fell into, or "sum".
Part = tuple[str, tuple[str, ...], str]
SUM, REST = "sum", "+Inf"

_lock = threading.Lock()
_counted: dict[Part, float] = {}
_noted: dict[Part, float] = {}


@dataclass(frozen=True, slots=True)
class Counter:
    """It only goes up; Prometheus calls it `<name>_total`."""

    name: str
    says: str
    labels: tuple[str, ...] = ()

    def add(self, *labels: str, by: float = 1) -> None:
        key = self.name, labels, ""
        with _lock:
            _counted[key] = _counted.get(key, 0) + by


@dataclass(frozen=True, slots=True)
class Histogram:
    """How long things took, in seconds, by upper bounds of buckets."""

    name: str
    says: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...]

    @property
    def parts(self) -> tuple[str, ...]:
        """The buckets by their bounds, the last without one."""
        return (*map(str, self.bounds), REST)

    def observe(self, seconds: float, *labels: str) -> None:
        place = bisect_left(self.bounds, seconds)
        bucket = self.name, labels, str(self.bounds[place]) if place < len(self.bounds) else REST
        total = self.name, labels, SUM
        with _lock:
            _counted[bucket] = _counted.get(bucket, 0) + 1
            _counted[total] = _counted.get(total, 0) + seconds


@dataclass(frozen=True, slots=True)
class State:
    """Something that is as it was last noted by whichever process knows."""

    name: str
    says: str
    labels: tuple[str, ...] = ()

    def note(self, value: float, *labels: str) -> None:
        """From now on it is so."""
        with _lock:
            _noted[self.name, labels, ""] = value


# Routes by name, methods of HTTP, and 2xx to 5xx.
REQUEST_SECONDS = Histogram(
    "finops_request_seconds",
    "Requests by route, method and class of status, from the door to the answer's headers.",
    ("route", "method", "status"),
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
TASK_SECONDS = Histogram(
    "finops_task_seconds",
    "Runs of tasks by name and outcome: success, failure, retry, killed.",
    ("task", "outcome"),
    (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0),
)
DECISIONS = Counter(
    "finops_decisions", "Answers before a call, leases among them: allow, downgrade, deny.", ("outcome",)
)
EVENTS = Counter("finops_events", "Usage events sent: accepted, duplicate, conflict, rejected.", ("result",))
RECONCILIATIONS = Counter(
    "finops_reconciliations",
    "Organizations proved by a reconciler (usage, budgets), by outcome: agrees, differs.",
    ("proof", "outcome"),
)
POOL_REQUESTS = Counter("finops_database_pool_requests", "Connections that threads asked the pool for.")
POOL_QUEUED = Counter("finops_database_pool_queued", "Requests that had to wait, since all connections were in use.")
POOL_WAIT_SECONDS = Counter("finops_database_pool_wait_seconds", "Seconds that they waited.")
POOL_ERRORS = Counter("finops_database_pool_errors", "Requests that got none in time.")
HISTOGRAMS = (REQUEST_SECONDS, TASK_SECONDS)
COUNTERS = (DECISIONS, EVENTS, RECONCILIATIONS, POOL_REQUESTS, POOL_QUEUED, POOL_WAIT_SECONDS, POOL_ERRORS)

DELTAS_PENDING = State(
    "finops_deltas_pending", "Sums of batches that are not in the rollups yet, of all organizations."
)
DELTAS_OLDEST = State("finops_deltas_oldest_seconds", "Age of the oldest of them; 0 where there is none.")
DELIVERIES_WAITING = State(
    "finops_deliveries_waiting", "Messages of alerts that wait, for their time or for a next try."
)
DELIVERIES_OVERDUE = State(
    "finops_deliveries_overdue_seconds", "How long the one has been due that is due for longest."
)
CROSSINGS_WAITING = State("finops_crossings_waiting", "Crossings of which no deliveries were made yet.")
RESERVATIONS_OPEN = State("finops_reservations_open", "Holds of money that are neither settled nor released.")
RESERVATIONS_OVERDUE = State(
    "finops_reservations_overdue_seconds", "How long the hold has been over that nobody freed for longest."
)
MEASURED_AT = State("finops_measured_timestamp_seconds", "When the figures of an app were last measured.", ("app",))
BEAT_TICK_AT = State("finops_beat_tick_timestamp_seconds", "When beat last ticked a task.", ("task",))
TASK_SUCCESS_AT = State("finops_task_success_timestamp_seconds", "When a task last ended well.", ("task",))
WORKER_SEEN_AT = State(
    "finops_worker_seen_timestamp_seconds", "When a worker of a queue last said it is there.", ("queue",)
)
STATES = (
    DELTAS_PENDING, DELTAS_OLDEST, DELIVERIES_WAITING, DELIVERIES_OVERDUE, CROSSINGS_WAITING, RESERVATIONS_OPEN,
    RESERVATIONS_OVERDUE, MEASURED_AT, BEAT_TICK_AT, TASK_SUCCESS_AT, WORKER_SEEN_AT,
)  # fmt: skip


def note_measured(app: str) -> None:
    MEASURED_AT.note(int(time.time()), app)


@dataclass(frozen=True, slots=True)
class Taken:
    """What was counted, and what was noted, since it was last taken."""

    counted: Mapping[Part, float]
    noted: Mapping[Part, float]


def take() -> Taken:
    global _counted, _noted
    with _lock:
        taken = Taken(_counted, _noted)
        _counted, _noted = {}, {}
    return taken


def give_back(taken: Taken) -> None:
    """It could not be kept; what was noted meanwhile is newer."""
    with _lock:
        for key, value in taken.counted.items():
            _counted[key] = _counted.get(key, 0) + value
        for key, value in taken.noted.items():
            _noted.setdefault(key, value)
