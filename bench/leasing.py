"""The Python client's decisions per second: under a lease, beside asking for each; and recorded, with events sent."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from bench.site import serving

SECONDS = 3
HOLD = "0.000001"
CALL: dict[str, Any] = {"provider": "anthropic", "model": "claude-sonnet-4-5"}


def measure() -> Iterator[dict[str, Any]]:
    sys.path.insert(0, str(Path(__file__).parents[1] / "clients/python/src"))
    from finops_ai import Client

    from bench.decisions import scene

    secret = scene(1).secret
    with serving() as site, Client(site.url, secret, dimensions={"team": "team-1"}) as client:
        asked = _per_second(lambda: client.call(**CALL, estimate_usd=HOLD), record=False)
        with client.lease("100", ttl_seconds=60, **CALL) as lease:
            decided = _per_second(lambda: lease.call(estimate_usd=HOLD), record=False)
            recorded = _per_second(lambda: lease.call(estimate_usd=HOLD), record=True)
    yield {
        "name": "client_lease_decisions",
        "value": round(decided),
        "unit": "decisions/s",
        "detail": {
            "recorded_and_sent_per_second": round(recorded),
            "asked_one_by_one_per_second": round(asked),
            "lease_over_asking": round(decided / asked, 1),
            "threads": 1,
        },
    }


def _per_second(call: Callable[[], AbstractContextManager[Any]], *, record: bool) -> float:
    began, count = time.monotonic(), 0
    while time.monotonic() - began < SECONDS:
        with call() as made:
            if record:
                made.record({"input_tokens": 1})
        count += 1
    return count / (time.monotonic() - began)
