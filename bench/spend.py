"""Spend of a month from rollups, and of facets from sums of past days, against the same answer from raw events; the
explorer's page over it.
"""

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
from bench.worker import in_worker

EVENTS = int(os.environ.get("BENCH_EVENTS", "1000000"))
LENGTH = timedelta(days=30)
PROCESSES = 2
REPEATS = 5
ROWS_MAX = 100_000
# Addresses of the explorer, as its controls make them.
PAGES = {
    "team": "range=30d",
    "compared": "range=30d&compare=previous",
    "two": "range=30d&group_by=model&then_by=workflow",
    "user": "range=30d&group_by=user",
    "tag": "range=30d&group_by=tags.customer",
    "filtered": "range=30d&group_by=workflow&tags.customer=c-3",
    "hours": "range=7d&granularity=hour",
    "hours_of_a_tag": "range=7d&granularity=hour&group_by=tags.customer",
    "run": "range=30d&group_by=run_id",
}


def measure(secret: str) -> Iterator[dict[str, Any]]:
    """Loads `EVENTS` events, rolls them up as the worker does, and asks both stores in turn."""
    until = datetime.now(UTC)
    yield load(secret, until)
    yield _sum_up_days(secret)
    for dimension in ("team", "workflow", "operation", "tags.customer", "run_id"):
        yield from _compare(secret, dimension, until - LENGTH, until)
    yield from _explore(secret)


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
    for loader in loaders:
        loader.join()
    if any(loader.exitcode for loader in loaders):
        raise SystemExit("The events of the spend benchmark could not be loaded.")
    roll_up(secret)


def roll_up(secret: str) -> None:
    """What the key's organization has pending goes into its rollups."""
    in_worker(_roll_up, secret)
    in_worker(_prove, secret)


def _store(seed: str, batches: int, secret: str, since: datetime, until: datetime) -> None:
    from bench import statements as store

    principal = store.principal_for(secret, at=until)
    source = events(seed, since=since, until=until)
    for _ in range(batches):
        body = json.dumps(list(itertools.islice(source, BATCH_EVENTS))).encode()
        batch = store.read_batch(body, "application/json", store.window_for(principal, until))
        result = store.accept_batch(principal=principal, items=batch.items, received_at=until)
        assert result.accepted == BATCH_EVENTS, result


def _roll_up(org: Any) -> None:
    from bench import statements as store

    store.roll_up(org, turns_max=10_000)


def _prove(org: Any) -> None:
    from bench import statements as store

    result = store.reconcile(org)
    assert result.agrees, result


def _sum_up_days(secret: str) -> dict[str, Any]:
    """What it takes to sum up the days that are over by their facets."""
    took = in_worker(_sum_up, secret)
    in_worker(_prove, secret)
    detail = f"{LENGTH.days} days, {EVENTS} events"
    return {"name": "facet_days", "value": round(took, 1), "unit": "s", "detail": detail}


def _sum_up(org: Any) -> None:
    from bench import statements as store

    assert store.sum_up_days(org) >= LENGTH.days - 1


def _compare(secret: str, dimension: str, since: datetime, until: datetime) -> Iterator[dict[str, Any]]:
    from bench import statements as store

    org = store.principal_for(secret, at=until).organization
    question = store.SpendQuestion(start=since, end=until, group_by=(dimension,), limit=ROWS_MAX, is_patient=True)
    asked = store.sql.Asked((dimension,), {}, (), limit=ROWS_MAX, offset=0)

    def from_events() -> Any:
        with store.tenant(org):
            events = store.sql.FacetRanges("", rest=[(since, until)])
            return store.sql.sum_facet(org.pk, asked, ranges=events, timeout_ms=0)

    rollup_ms, raw_ms = [], []
    for _ in range(REPEATS):
        answer, took = _timed(lambda: store.spend(org, question))
        rollup_ms.append(took)
        raw, took = _timed(from_events)
        raw_ms.append(took)
        cost = store.sql.SHOWN.index("cost_usd")
        counted = {group.groups[0]: (group.sums[0], group.sums[cost]) for group in raw.groups}
        shown = {row.groups[0]: (row.sums.events, row.sums.cost_usd) for row in answer.rows}
        assert counted == shown, dimension
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


def _explore(secret: str) -> Iterator[dict[str, Any]]:
    """The explorer's page, from the request to its last byte, in this process."""
    from django.conf import settings
    from django.test import Client

    from apps.organizations.models import Membership
    from bench import statements as store

    org = store.principal_for(secret, at=datetime.now(UTC)).organization
    settings.ALLOWED_HOSTS = ["testserver"]
    client = Client()
    client.force_login(Membership.objects.get(organization=org).user)

    def answer(query: str) -> Any:
        response = client.get(f"/o/{org.slug}/spend?{query}")
        assert response.status_code == 200, (query, response)
        return response

    for name, query in PAGES.items():
        answer(query)
        took = statistics.median(_timed(lambda query=query: answer(query))[1] for _ in range(REPEATS))
        yield {
            "name": f"explorer_{name}",
            "value": round(took, 1),
            "unit": "ms",
            "detail": f"/spend?{query}, {EVENTS} events; aim: under 300 ms",
        }


def _timed(act: Any) -> tuple[Any, float]:
    before = time.monotonic()
    result = act()
    return result, (time.monotonic() - before) * 1000
