"""A runaway agent: long recorded sessions that nothing but their bounds ends, replayed call by call.

Once it asks before each call; once it only tells afterwards what it has spent. The bound is that of `BOUND_USD` a run.
"""

import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from apps.ingest.timeline import Shift
from apps.ingest.traces import open_trace
from bench.doors import Http
from bench.site import serving

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


# --- what it overshoots by ---------------------------------------------------------------------------------

BATCHES = (1, 50, 500)


def measure() -> Iterator[dict[str, Any]]:
    """What sessions spend beyond `BOUND_USD` a run: where they ask, and where they only tell, in batches."""
    if not TRACE.exists():
        yield {"name": "runaway", "value": None, "unit": "USD", "detail": f"{TRACE.name} is not there"}
        return
    replayed = sessions()
    with serving() as site:
        org, door = _bounded(site.url)
        refused = sum(_ask_before_each(door, calls) for calls in replayed)
        yield _line("asked", [_spent(org, calls) for calls in replayed], {"calls_refused": refused})
        for size in BATCHES:
            org, door = _bounded(site.url)
            lags = [_only_tell(org, door, calls, size) for calls in replayed]
            found = {"noticed_after_the_batch_was_sent_ms": round(max(lags) * 1000, 1), "events_in_a_batch": size}
            yield _line(f"told_by_{size}", [_spent(org, calls) for calls in replayed], found)


def _line(name: str, spent: Sequence[Decimal], detail: dict[str, Any]) -> dict[str, Any]:
    over = [max(Decimal(0), one - BOUND_USD) for one in spent]
    return {
        "name": f"runaway_{name}_overshoot",
        "value": float(max(over)),
        "unit": "USD, the worst run",
        "detail": {
            **detail,
            "runs": len(over),
            "bound_usd": str(BOUND_USD),
            "overshoots_usd": [str(one) for one in over],
        },
    }


def _bounded(url: str) -> tuple[Any, Http]:
    from apps.budgets.services import set_run_bound
    from apps.organizations.services import create_organization, issue_key
    from apps.teams.services import create_on_first_sight

    org = create_organization(name=f"runaway {os.urandom(4).hex()}", owner_email="bench@example.com")
    create_on_first_sight(org=org, seen=[(PLACE["team"], PLACE["project"], PLACE["workflow"])], actor="bench")
    set_run_bound(org=org, workflow=PLACE["workflow"], bounds={"max_cost_usd": BOUND_USD}, actor="bench")
    return org, Http(url, issue_key(org=org, name="runaway", scopes=["decide", "ingest"]).secret)


def _ask_before_each(door: Http, calls: Sequence[Event]) -> int:
    """Every call is tried, as a loop would; how many were refused."""
    refused = 0
    for number, call in enumerate(calls):
        said = door.post("decisions", question(call, number))
        if said["decision"] == "deny":
            refused += 1
        else:
            door.post("events", {"events": [{**call, "reservation_id": said["reservation_id"]}]})
    return refused


def _only_tell(org: Any, door: Http, calls: Sequence[Event], size: int) -> float:
    """Tells by batches until the bound is noticed; how long after the batch that passed it was sent, in seconds."""
    from apps.budgets.models import Crossing
    from apps.core.tenancy import tenant

    subject = f"{root_of(list(calls))}:cost"
    for start in range(0, len(calls), size):
        sent = time.time()
        door.post("events", {"events": list(calls[start : start + size])})
        with tenant(org):
            noticed = Crossing.objects.for_org(org).filter(kind="run_bound", subject=subject).first()
        if noticed is not None:
            return float(noticed.crossed_at.timestamp()) - sent
    raise SystemExit("The session never reached its bound.")


def _spent(org: Any, calls: Sequence[Event]) -> Decimal:
    from apps.budgets.models import RunTally
    from apps.core.tenancy import tenant

    with tenant(org):
        spent: Decimal = RunTally.objects.for_org(org).get(run_id=root_of(list(calls))).spent_usd
        return spent
