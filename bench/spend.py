"""Spend of a month by team and by workflow: from rollups, against the same answer from raw events."""

import itertools
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from bench.events import BATCH_EVENTS, events

EVENTS = int(os.environ.get("BENCH_EVENTS", "1000000"))
LENGTH = timedelta(days=30)
PROCESSES = 2
REPEATS = 7


def measure(secret: str) -> Iterator[dict[str, Any]]:
    """Loads `EVENTS` events, rolls them up as the worker does, and asks both stores in turn."""
    until = datetime.now(UTC)
    yield load(secret, until)
    for dimension in ("team", "workflow"):
        yield from _compare(secret, dimension, until - LENGTH, until)


def load(secret: str, until: datetime) -> dict[str, Any]:
    """Stores and rolls up `EVENTS` events of the time before an instant; how long it took."""
    began = time.monotonic()
    _load(secret, until - LENGTH, until)
    took = round(time.monotonic() - began, 1)
    return {"name": "spend_load", "value": took, "unit": "s", "detail": f"{EVENTS} events"}


def _load(secret: str, since: datetime, until: datetime) -> None:
    context = multiprocessing.get_context("spawn")
    share = EVENTS // BATCH_EVENTS // PROCESSES
    stamp = time.time_ns()
    loaders = [
        context.Process(target=_store, args=(f"spend-{stamp}-{number}", share, secret, since, until))
        for number in range(PROCESSES)
    ]
    for loader in loaders:
        loader.start()
    roller = context.Process(target=_roll_up, args=(secret,))
    for loader in loaders:
        loader.join()
    roller.start()
    roller.join()
    if any(process.exitcode for process in (*loaders, roller)):
        raise SystemExit("The events of the spend benchmark could not be loaded.")


def _store(seed: str, batches: int, secret: str, since: datetime, until: datetime) -> None:
    from bench import statements as store

    principal = store.principal_for(secret, at=until)
    source = events(seed, since=since, until=until)
    for _ in range(batches):
        body = json.dumps(list(itertools.islice(source, BATCH_EVENTS))).encode()
        batch = store.read_batch(body, "application/json", store.window_for(principal, until))
        result = store.accept_batch(principal=principal, items=batch.items, received_at=until)
        assert result.accepted == BATCH_EVENTS, result


def _roll_up(secret: str) -> None:
    os.environ["FINOPS_PROCESS"] = "worker"
    from bench import statements as store

    org = store.principal_for(secret, at=datetime.now(UTC)).organization
    store.roll_up(org, turns_max=10_000)
    result = store.reconcile(org)
    assert result.agrees, result


def _compare(secret: str, dimension: str, since: datetime, until: datetime) -> Iterator[dict[str, Any]]:
    from bench import statements as store

    org = store.principal_for(secret, at=until).organization
    question = store.SpendQuestion(start=since, end=until, group_by=(dimension,))
    asked = store.sql.Asked((dimension,), {}, (), limit=1000, offset=0)

    def from_events() -> Any:
        with store.tenant(org):
            return store.sql.sum_events(org.pk, asked, span=(since, until), timeout_ms=0)

    rollup_ms, raw_ms = [], []
    for _ in range(REPEATS):
        answer, took = _timed(lambda: store.spend(org, question))
        rollup_ms.append(took)
        raw, took = _timed(from_events)
        raw_ms.append(took)
        cost = store.sql.SHOWN.index("cost_usd")
        counted = {group.groups[0]: (group.sums[0], group.sums[cost]) for group in raw.groups}
        shown = {row.groups[0]: (row.sums.events, row.sums.cost_usd) for row in answer.rows}
        assert counted == shown, (counted, shown)
    fast, slow = statistics.median(rollup_ms), statistics.median(raw_ms)
    detail = f"30 days, {raw.total.sums[0]} events, same answer to the last decimal"
    yield {"name": f"spend_by_{dimension}", "value": round(fast, 1), "unit": "ms", "detail": detail}
    yield {"name": f"spend_by_{dimension}_raw", "value": round(slow, 1), "unit": "ms", "detail": "from raw events"}
    yield {
        "name": f"spend_by_{dimension}_ratio",
        "value": round(slow / fast, 1),
        "unit": "raw / rollups",
        "detail": "aim: at least 20, and under 100 ms",
    }


def _timed(act: Any) -> tuple[Any, float]:
    before = time.monotonic()
    result = act()
    return result, (time.monotonic() - before) * 1000
