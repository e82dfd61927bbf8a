"""What pricing one event costs on one core: the demo's events through an organization's rate book."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from apps.core.meters import METERS
from apps.pricing.contracts import DISCOUNT, PRICE, Term
from apps.pricing.rating import RateBook
from apps.pricing.selectors import load_catalog

ROUNDS = 5
AIM_MICROSECONDS = 15
SINCE = datetime(2025, 1, 1, tzinfo=UTC)


def measure() -> Iterator[dict[str, Any]]:
    from bench.events import BATCH_EVENTS, events

    until = datetime.now(UTC)
    source = events("pricing", since=SINCE, until=until)
    calls = [_call(next(source)) for _ in range(20 * BATCH_EVENTS)]
    catalog = load_catalog()
    terms = [
        Term(1, DISCOUNT, SINCE, provider="openai", percent=Decimal("12.5")),
        Term(2, PRICE, SINCE, provider="anthropic", model="claude-*", rates={"input_tokens": 2_000_000}),
    ]
    for name, book in (("list", RateBook(catalog)), ("contracts", RateBook(catalog, terms))):
        best = min(_seconds(book, calls) for _ in range(ROUNDS))
        yield {
            "name": f"pricing_{name}",
            "value": round(best / len(calls) * 1e6, 2),
            "unit": "us/event",
            "detail": f"{len(calls)} events, best of {ROUNDS} rounds; the aim is below {AIM_MICROSECONDS}",
        }


def _seconds(book: RateBook, calls: list[Any]) -> float:
    began = time.perf_counter()
    for call in calls:
        book.rate(*call)
    return time.perf_counter() - began


def _call(event: dict[str, Any]) -> tuple[str, str, str, str, datetime, tuple[int, ...]]:
    usage = json.loads(json.dumps(event)).get("usage", {})
    quantities = tuple(usage.get(meter, 0) for meter in METERS)
    at = datetime.fromisoformat(event["occurred_at"])
    return event["provider"], event["model"], event.get("service_tier") or "", "", at, quantities
