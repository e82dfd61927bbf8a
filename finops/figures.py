"""One set of figures for every process of an installation, on every machine, kept in Redis.

A process adds what it counted to sums in Redis every few seconds: the site by a thread, a worker after each task.
Whichever process is scraped answers for all of them. A process that dies takes a few seconds of figures with it; Redis
takes all, and counters begin at 0 again, as Prometheus expects of them. A directory of files (prometheus_client's own
way) would be one per machine, would have to be emptied before each start, and would not show what workers in other
containers do.
"""

import json
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import accumulate

import structlog
from django.conf import settings
from django.db import connections
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from redis import Redis
from redis.exceptions import RedisError

from apps.core.metrics import (
    COUNTERS,
    HISTOGRAMS,
    POOL_ERRORS,
    POOL_QUEUED,
    POOL_REQUESTS,
    POOL_WAIT_SECONDS,
    STATES,
    SUM,
    give_back,
    take,
)

log = structlog.get_logger(__name__)

# Raised when labels or buckets change: sums of before would not add up with those of after.
LAYOUT = 1
KEPT_SECONDS = 30 * 24 * 3600
PUSH_SECONDS = 5
_INSTALLATION = settings.DATABASES["default"]["NAME"]
COUNTED_KEY = f"figures:{_INSTALLATION}:{LAYOUT}:counted"
STATES_KEY = f"figures:{_INSTALLATION}:{LAYOUT}:states"

# Of the pool's own figures: which they are, and what makes them ours.
_POOL = (
    ("requests_num", POOL_REQUESTS, 1),
    ("requests_queued", POOL_QUEUED, 1),
    ("requests_wait_ms", POOL_WAIT_SECONDS, 1000),
    ("requests_errors", POOL_ERRORS, 1),
)

_pool_lock = threading.Lock()
_pool_before: dict[str, int] = {}


@cache
def redis() -> Redis:
    return Redis.from_url(settings.REDIS_URL, **settings.REDIS_OPTIONS)


def push() -> None:
    """Add what this process counted since the last time to everybody's. Without Redis the next time adds it."""
    _count_pool()
    taken = take()
    if not taken.counted and not taken.noted:
        return
    try:
        with redis().pipeline(transaction=True) as pipe:
            for part, value in taken.counted.items():
                pipe.hincrbyfloat(COUNTED_KEY, json.dumps(part), value)
            for part, value in taken.noted.items():
                pipe.hset(STATES_KEY, json.dumps(part), str(value))
            for key in (COUNTED_KEY, STATES_KEY):
                pipe.expire(key, KEPT_SECONDS)
            pipe.execute()
    except RedisError as error:
        give_back(taken)
        log.warning("figures not kept", error=type(error).__name__)


def _count_pool() -> None:
    """How this process's connections to Postgres were shared among its threads."""
    wrapper = connections["default"]
    # Not `wrapper.pool`, which would make one where nothing is ever asked of Postgres.
    pool = wrapper._connection_pools.get(wrapper.alias)  # type: ignore[attr-defined]
    if pool is None:
        return
    stats = pool.get_stats()
    with _pool_lock:
        for name, counter, divisor in _POOL:
            value, before = stats.get(name, 0), _pool_before.get(name, 0)
            # One that was opened anew counts from 0 again.
            if added := value - before if value >= before else value:
                counter.add(by=added / divisor)
            _pool_before[name] = value


def push_from_time_to_time() -> None:
    """In a process of the site: begin to push, until it ends."""

    def go_on() -> None:
        ended = threading.Event()
        while not ended.wait(PUSH_SECONDS):
            try:
                push()
            except Exception:
                log.exception("figures not pushed")

    threading.Thread(target=go_on, name="figures", daemon=True).start()


def kept() -> list[Metric]:
    """What every process together has counted and noted. Raises `RedisError`."""
    return [*_sums(_read(COUNTED_KEY)), *_gauges(_read(STATES_KEY))]


Found = Mapping[str, Mapping[tuple[str, ...], Mapping[str, float]]]


def _read(key: str) -> Found:
    """By name and values of labels, the parts and their values."""
    found: dict[str, dict[tuple[str, ...], dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for field, value in redis().hgetall(key).items():
        name, labels, part = json.loads(field)
        found[name][tuple(labels)][part] = float(value)
    return found


def _sums(found: Found) -> Iterator[Metric]:
    for histogram in HISTOGRAMS:
        family = HistogramMetricFamily(histogram.name, histogram.says, labels=histogram.labels)
        for labels, parts in sorted(found.get(histogram.name, {}).items()):
            counts = accumulate(parts.get(part, 0) for part in histogram.parts)
            family.add_metric(labels, list(zip(histogram.parts, counts, strict=True)), parts.get(SUM, 0))
        yield family
    for counter in COUNTERS:
        total = CounterMetricFamily(counter.name, counter.says, labels=counter.labels)
        for labels, parts in sorted(found.get(counter.name, {}).items()):
            total.add_metric(labels, parts[""])
        yield total


def _gauges(found: Found) -> Iterator[Metric]:
    for state in STATES:
        gauge = GaugeMetricFamily(state.name, state.says, labels=state.labels)
        for labels, parts in sorted(found.get(state.name, {}).items()):
            gauge.add_metric(labels, parts[""])
        yield gauge
