"""What reading a body costs: the scan (UTF-8, depth, duplicate keys) against the whole of it."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from apps.ingest.body import split_events
from apps.ingest.record import Window, read_batch
from bench.events import BATCH_EVENTS, bodies

REPEATS = 15


def measure() -> Iterator[dict[str, Any]]:
    (body,) = bodies("door", 1)
    now = datetime.now(UTC)
    window = Window.around(now, oldest_kept=now - timedelta(days=700))
    whole = _best(lambda: read_batch(body, "application/json", window))
    scan = _best(lambda: list(split_events(body, "application/json")))
    detail = f"{len(body) // BATCH_EVENTS} bytes an event"
    yield {"name": "door_scan", "value": round(scan, 2), "unit": "µs/event", "detail": detail}
    yield {"name": "door_read", "value": round(whole, 2), "unit": "µs/event", "detail": f"scan included, {detail}"}
    yield {"name": "door_scan_share", "value": round(scan / whole, 2), "unit": "scan / whole", "detail": detail}


def _best(act: Any) -> float:
    """Microseconds an event, the best of some repeats."""
    best = float("inf")
    for _ in range(REPEATS):
        before = time.perf_counter()
        act()
        best = min(best, time.perf_counter() - before)
    return best * 1e6 / BATCH_EVENTS
