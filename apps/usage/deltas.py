"""From priced events to the rows that are stored and the sums that are queued. Pure.

Measures are plain integers here (cost in pico-USD); they become Decimals where a row is written.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from operator import add, attrgetter
from types import SimpleNamespace
from typing import Any, NamedTuple

import msgspec

from apps.core.ids import time_ordered_id
from apps.core.meters import METERS, PROMPT_METERS
from apps.core.money import pico_from_usd, usd_from_pico

SPEND_DIMENSIONS = (
    "team", "team_id", "project", "project_id", "workflow", "workflow_id",
    "task_type", "provider", "model", "service_tier", "environment", "key_id", "status", "priced",
)  # fmt: skip
USER_DIMENSIONS = (
    "team", "team_id", "project", "project_id", "workflow", "workflow_id", "provider", "model", "user_name",
)  # fmt: skip
BUCKETS = ("hour_start", "day_start", "booked_month")
COUNTS = ("events", *METERS)
FACTS = (
    "unpriced_events",
    "errors",
    "retries",
    "escalations",
    "input_events",
    "ln_input_micro",
    "ln_input_sq_pico",
)
MEASURES = (*COUNTS, "cost_usd", *FACTS)
_COST = MEASURES.index("cost_usd")


class EventRow(msgspec.Struct, omit_defaults=True, gc=False):
    """One row of usage_event: a field a column. What is left out is 0 for a meter, else NULL."""

    organization_id: int
    event_id: str
    occurred_at: datetime
    hour_start: datetime
    day_start: datetime
    booked_month: date
    received_at: datetime
    provider: str
    model: str
    key_id: int
    # Defaults are impossible values where the column is NOT NULL, so that they are always written.
    status: str = ""
    attempt: int = 0
    priced: bool | None = None
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    image_input_tokens: int = 0
    image_output_tokens: int = 0
    requests: int = 0
    images: int = 0
    audio_milliseconds: int = 0
    characters: int = 0
    searches: int = 0
    audio_cache_read_tokens: int = 0
    image_cache_read_tokens: int = 0
    video_milliseconds: int = 0
    file_searches: int = 0
    code_sessions: int = 0
    pages: int = 0
    team: str | None = None
    team_id: int | None = None
    project: str | None = None
    project_id: int | None = None
    workflow: str | None = None
    workflow_id: int | None = None
    sent: dict[str, str | None] | None = None
    usage_sent: dict[str, Any] | None = None
    task_type: str | None = None
    service_tier: str | None = None
    environment: str | None = None
    user_name: str | None = None
    workflow_version: str | None = None
    operation: str | None = None
    region: str | None = None
    tags: dict[str, str] | None = None
    run_id: str | None = None
    parent_run_id: str | None = None
    step: int | None = None
    escalated_from: str | None = None
    tool_name: str | None = None
    error_type: str | None = None
    outcome: str | None = None
    latency_ms: int | None = None
    prefix_hash: str | None = None
    request_hash: str | None = None
    reservation_id: str | None = None
    model_served: str | None = None
    stop_reason: str | None = None
    tool_call_hash: str | None = None
    prompt_version: str | None = None
    retrieved_tokens: int | None = None
    tool_result_tokens: int | None = None
    request_id: str | None = None
    declared_cost_usd: Decimal | None = None
    price_id: int | None = None
    tier_assumed: bool | None = None
    contract_id: int | None = None
    rule_set: int | None = None
    cost_usd: Decimal | None = None
    ln_input_micro: int | None = None
    budget_at: datetime | None = None
    assumed_cost_usd: Decimal | None = None


class NewEvent(NamedTuple):
    """A row to store, and the fingerprint of the payload it came from."""

    row: EventRow
    fingerprint: bytes


# What an event, or the posting that priced it again, says of its price.
PRICED_BY = ("price_id", "tier_assumed", "contract_id", "rule_set")
EVENT_COLUMNS = EventRow.__struct_fields__
_quantities = attrgetter(*METERS)
_prompt = attrgetter(*PROMPT_METERS)


def ln_micro(tokens: int) -> int | None:
    """round(10^6 ln(tokens)), an integer so that its sums are exact; None for no tokens."""
    return round(math.log(tokens) * 1_000_000) if tokens > 0 else None


def measures_of(row: Any) -> list[int]:
    """What an `EventRow` or a stored event adds to every sum, in the order of `MEASURES`; cost in pico-USD."""
    ln = row.ln_input_micro
    cost = row.cost_usd
    return [
        1,
        *_quantities(row),
        0 if cost is None else pico_from_usd(cost),
        1 if cost is None else 0,
        1 if row.status == "error" else 0,
        1 if row.attempt > 1 else 0,
        0 if row.escalated_from is None else 1,
        0 if ln is None else 1,
        ln or 0,
        ln * ln if ln else 0,
    ]


class Deltas(NamedTuple):
    """Rows of usage_delta, usage_userdelta and usage_rundelta, without what is zero or missing."""

    spend: list[dict[str, Any]]
    users: list[dict[str, Any]]
    runs: list[dict[str, Any]]


def deltas_of(rows: Sequence[EventRow]) -> Deltas:
    """The rows' sums: one for each bucket and combination of dimensions, and one for each run."""
    measured = [(row, measures_of(row)) for row in rows]
    return Deltas(_summed(measured, SPEND_DIMENSIONS), _summed(measured, USER_DIMENSIONS), _runs(measured))


Measured = Sequence[tuple[Any, list[int]]]


def _summed(measured: Measured, dimensions: tuple[str, ...]) -> list[dict[str, Any]]:
    names = (*BUCKETS, *dimensions)
    key_of = attrgetter(*names)
    sums: dict[tuple[Any, ...], list[int]] = {}
    for row, added in measured:
        key = key_of(row)
        found = sums.get(key)
        sums[key] = added if found is None else list(map(add, found, added))
    return [
        {
            "delta_id": time_ordered_id(),
            "grain": grain_of(key[len(BUCKETS) :]),
            **{name: value for name, value in zip(names, key, strict=True) if value is not None},
            **_named(measures),
        }
        for key, measures in sums.items()
    ]


def grain_of(dimensions: tuple[Any, ...]) -> str:
    """A combination of dimensions as 32 hex digits, so that a key can hold it where dimensions may be null."""
    return hashlib.blake2b(msgspec.json.encode(dimensions), digest_size=16).hexdigest()


def _named(measures: list[int]) -> dict[str, Any]:
    named: dict[str, Any] = {name: value for name, value in zip(MEASURES, measures, strict=True) if value}
    if "cost_usd" in named:
        named["cost_usd"] = usd_from_pico(named["cost_usd"])
    return named


class Posted(NamedTuple):
    """One row of usage_posting as its columns, its measures as integers, and the event that it is about."""

    columns: dict[str, Any]
    measures: list[int]
    event: Any


def posted_row(event: Any, now: Any, changes: dict[str, Any], measures: list[int]) -> Posted:
    """A posting about `event` under the dimensions of `now` (the event, or its latest posting) and `changes`."""
    columns = {name: getattr(event, name) for name in ("event_id", "occurred_at", "hour_start", "day_start", "run_id")}
    columns |= {name: getattr(now, name) for name in (*SPEND_DIMENSIONS, *PRICED_BY)}
    columns |= {"user_name": now.user, **changes, **_named(measures)}
    return Posted(columns, measures, event)


def deltas_of_postings(postings: Sequence[Posted]) -> Deltas:
    """What postings change in the sums. A run keeps its sums wherever its money goes; a price changes them."""
    measured = [(SimpleNamespace(**posting.columns), posting.measures) for posting in postings]
    runs = _by_run([(posting.event, posting.measures) for posting in postings])
    changed = [
        _run_delta(run_id, events, lambda event: [0] * len(RUN_SUMS))
        for run_id, events in runs.items()
        if any(map(sum, zip(*(measures for _, measures in events), strict=True)))
    ]
    return Deltas(_summed(measured, SPEND_DIMENSIONS), _summed(measured, USER_DIMENSIONS), changed)


RUN_SUMS = ("steps", "slope_n", "slope_step", "slope_step_sq", "slope_input", "slope_step_input")


def _runs(measured: Measured) -> list[dict[str, Any]]:
    return [_run_delta(run_id, events, _run_sums) for run_id, events in _by_run(measured).items()]


def _by_run(measured: Measured) -> dict[str, list[tuple[Any, list[int]]]]:
    runs: dict[str, list[tuple[Any, list[int]]]] = {}
    for row, measures in measured:
        if row.run_id is not None:
            runs.setdefault(row.run_id, []).append((row, measures))
    return runs


def _run_delta(run_id: str, measured: Measured, sums_of: Callable[[Any], list[int]]) -> dict[str, Any]:
    in_order = sorted((row for row, _ in measured), key=attrgetter("occurred_at", "event_id"))
    first, last = in_order[0], in_order[-1]
    outcome = next((row for row in reversed(in_order) if row.outcome is not None), None)
    fields = {
        "delta_id": time_ordered_id(),
        "run_id": run_id,
        "parent_run_id": first.parent_run_id,
        "team": first.team,
        "team_id": first.team_id,
        "project": first.project,
        "project_id": first.project_id,
        "workflow": first.workflow,
        "workflow_id": first.workflow_id,
        "user_name": first.user_name if isinstance(first, EventRow) else first.user,
        "environment": first.environment,
        "first_at": first.occurred_at,
        "first_event_id": first.event_id,
        "last_at": last.occurred_at,
        "outcome": outcome.outcome if outcome else None,
        "outcome_at": outcome.occurred_at if outcome else None,
        "outcome_event_id": outcome.event_id if outcome else None,
    }
    run_sums = map(sum, zip(*map(sums_of, in_order), strict=True))
    sums = list(map(sum, zip(*(measures for _, measures in measured), strict=True)))
    return {
        **{name: value for name, value in fields.items() if value is not None},
        **{name: value for name, value in zip(RUN_SUMS, run_sums, strict=True) if value},
        **_named(sums),
    }


def _run_sums(row: EventRow) -> list[int]:
    first_attempt = 1 if row.attempt == 1 else 0
    if row.step is None:
        return [first_attempt, 0, 0, 0, 0, 0]
    tokens = sum(_prompt(row))
    return [first_attempt, 1, row.step, row.step * row.step, tokens, row.step * tokens]
