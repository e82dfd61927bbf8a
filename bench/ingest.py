"""Ingestion: through HTTP, and the ceiling that the same SQL leaves, from as many processes."""

import http.client
import multiprocessing
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from bench.events import BATCH_EVENTS, bodies

CLIENTS = 2
ROUNDS = 3
BATCHES_A_ROUND = 20


@dataclass(frozen=True, slots=True)
class Timed:
    """How long a client's batches took, and when it began and ended (monotonic seconds)."""

    began: float
    ended: float
    batch_seconds: list[float]


def measure(url: str, secret: str) -> Iterator[dict[str, Any]]:
    """HTTP and ceiling in turn, several rounds; medians and their ratio."""
    over_http: list[float] = []
    ceiling: list[float] = []
    latencies: list[float] = []
    for number in range(ROUNDS + 1):
        rate, seconds = _in_parallel(_post, number, url, secret)
        bare, _ = _in_parallel(_replay, number, url, secret)
        if number:  # the first round warms caches and connections
            over_http.append(rate)
            ceiling.append(bare)
            latencies += seconds
    detail = f"{CLIENTS} clients, batches of {BATCH_EVENTS}, durable commits, median of {ROUNDS} rounds"
    http_rate, bare_rate = statistics.median(over_http), statistics.median(ceiling)
    percentiles = statistics.quantiles(latencies, n=100)
    yield {"name": "ingest_http", "value": round(http_rate), "unit": "events/s", "detail": detail}
    yield {
        "name": "ingest_ceiling",
        "value": round(bare_rate),
        "unit": "events/s",
        "detail": f"the same statements with parameters prepared beforehand, {CLIENTS} processes",
    }
    ratio = statistics.median(rate / bare for rate, bare in zip(over_http, ceiling, strict=True))
    yield {"name": "ingest_ratio", "value": round(ratio, 3), "unit": "HTTP / ceiling", "detail": "aim: above 0.5"}
    for name, index in (("ingest_batch_p50", 49), ("ingest_batch_p99", 98)):
        yield {"name": name, "value": round(percentiles[index] * 1000, 1), "unit": "ms", "detail": detail}


def _in_parallel(work: Any, number: int, url: str, secret: str) -> tuple[float, list[float]]:
    """(events per second over all clients, seconds of each batch)."""
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(CLIENTS)
    results = context.Queue()
    seeds = [f"{work.__name__}-{number}-{client}-{time.time_ns()}" for client in range(CLIENTS)]
    processes = [context.Process(target=work, args=(seed, url, secret, start, results)) for seed in seeds]
    for process in processes:
        process.start()
    timed: Sequence[Timed] = [results.get(timeout=600) for _ in processes]
    for process in processes:
        process.join()
    elapsed = max(one.ended for one in timed) - min(one.began for one in timed)
    seconds = [second for one in timed for second in one.batch_seconds]
    return len(seconds) * BATCH_EVENTS / elapsed, seconds


def _post(seed: str, url: str, secret: str, start: Any, results: Any) -> None:
    prepared = bodies(seed, BATCHES_A_ROUND)
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port)
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}

    def send(body: bytes) -> None:
        connection.request("POST", "/api/v1/events", body, headers)
        response = connection.getresponse()
        answer = response.read()
        if response.status != 202 or b'"accepted":1000' not in answer:
            raise SystemExit(f"{response.status} {answer[:300]!r}")

    results.put(_timed(start, prepared, send))


def _replay(seed: str, url: str, secret: str, start: Any, results: Any) -> None:
    from bench.statements import execute_all, recorded

    prepared = recorded(bodies(seed, BATCHES_A_ROUND), secret, datetime.now(UTC))
    results.put(_timed(start, prepared, execute_all))


def _timed(start: Any, prepared: Sequence[Any], act: Any) -> Timed:
    start.wait(timeout=600)
    began = time.monotonic()
    seconds = []
    for one in prepared:
        before = time.monotonic()
        act(one)
        seconds.append(time.monotonic() - before)
    return Timed(began, time.monotonic(), seconds)
