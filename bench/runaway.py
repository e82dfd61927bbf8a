"""A runaway agent: long recorded sessions that nothing but their bounds ends, replayed call by call.

Once it asks before each call; once it only tells afterwards what it has spent. The bound is that of `BOUND_USD` a run.
"""

from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from apps.ingest.timeline import Shift
from apps.ingest.traces import open_trace

TRACE = Path(__file__).parents[2] / "shared" / "data" / "agent_calls.csv.gz"
BOUND_USD = Decimal(2)
SESSIONS = 8
# What a caller who asks says that an answer may have.
OUTPUT_TOKENS_MAX = 32_000
PLACE = {"team": "search", "project": "web", "workflow": "agent"}
ASKED = ("provider", "model", *PLACE, "user", "task_type", "run_id", "parent_run_id", "step")

Event = dict[str, Any]


def sessions(count: int = SESSIONS) -> list[list[Event]]:
    """The `count` conversations with the most input, sub-agents' calls included, each in order of time."""
    found: dict[str, list[Event]] = defaultdict(list)
    for event in open_trace(TRACE, Shift(datetime.now(UTC))).events():
        found[event.get("parent_run_id") or event["run_id"]].append({**event, **PLACE})
    longest = sorted(found.values(), key=lambda calls: sum(map(prompt_tokens, calls)))[-count:]
    return [sorted(calls, key=lambda call: str(call["occurred_at"])) for calls in longest]


def prompt_tokens(event: Event) -> int:
    return sum(count for meter, count in event["usage"].items() if meter != "output_tokens")


def question(event: Event, number: int) -> Event:
    """The decision that is asked for before the call. All of its prompt may be written to the cache, at 5/4."""
    return {
        "request_id": f"{event['run_id']}-{number}",
        **{name: event[name] for name in ASKED if name in event},
        "input_tokens": -(-prompt_tokens(event) * 5 // 4),
        "max_output_tokens": OUTPUT_TOKENS_MAX,
    }


def root_of(calls: list[Event]) -> str:
    root: str = calls[0].get("parent_run_id") or calls[0]["run_id"]
    return root
