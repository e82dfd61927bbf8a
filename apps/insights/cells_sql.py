"""Where a change lies: cells of spend before and now, and the runs that show it. All need `tenant(org)` around them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection

LEAVES_MAX = 5_000
RUNS_SHOWN = 10
# What a leaf is cut by, as a column of the hour rollups; a scope's own dimension is left out.
DIMENSIONS = {
    "team": "team",
    "workflow": "workflow",
    "model": "provider || '/' || model",
    "task_type": "task_type",
    "environment": "environment",
    "service_tier": "service_tier",
    "api_key": "key_id::text",
    "status": "status",
}
# The rows that are of a scope of each kind, and its name in them.
_SCOPES = {
    "organization": ("true", "''"),
    "team": ("team_id IS NOT NULL", "team"),
    "project": ("project_id IS NOT NULL", "project"),
    "workflow": ("workflow_id IS NOT NULL", "workflow"),
}
_ASKED = (
    "WITH asked AS (SELECT * FROM unnest(%(scopes)s::text[], %(since)s::timestamptz[], %(until)s::timestamptz[])"
    " WITH ORDINALITY AS a(scope_name, since, until, number))"
)
# Which runs show a signal best: the order, and what they must have.
_TELLING = {
    "escalation_rate": ("cost_usd DESC", "escalations > 0"),
    "loops_per_run": ("steps DESC", "steps > 1"),
    "capped_share": ("steps DESC", "steps > 1"),
    "retry_rate": ("retries DESC", "retries > 0"),
    "input_tokens_per_call": ("(input_tokens + cache_read_tokens) / greatest(events, 1) DESC", "events > 0"),
    "context_growth": ("(input_tokens + cache_read_tokens) / greatest(events, 1) DESC", "steps > 1"),
    "cache_hit_rate": ("input_tokens DESC", "input_tokens > 0"),
    "cache_write_ratio": ("cache_write_5m_tokens + cache_write_1h_tokens DESC",
                          "cache_write_5m_tokens + cache_write_1h_tokens > 0"),
    "dead_spend": ("cost_usd DESC", "COALESCE(said_outcome, outcome, '') = 'failure' OR errors >= events"),
    "unpriced_share": ("unpriced_events DESC", "unpriced_events > 0"),
    "unattributed_share": ("cost_usd DESC", "workflow_id IS NULL OR team_id IS NULL"),
}  # fmt: skip


class Asked(NamedTuple):
    """A scope's name with a span of its own."""

    scope: str
    since: datetime
    until: datetime


def prompts(org_id: int, start: datetime, end: datetime) -> list[tuple[Any, ...]]:
    """(workflow, provider, model, tokens by prompt meter) of the calls of [start, end).

    Index: the primary key of usage_hourrollup.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT workflow, provider, model, sum(input_tokens)::float8, sum(cache_read_tokens)::float8,"
            " sum(cache_write_5m_tokens)::float8, sum(cache_write_1h_tokens)::float8 FROM usage_hourrollup"
            " WHERE organization_id = %(org)s AND hour_start >= %(start)s AND hour_start < %(end)s"
            " AND workflow_id IS NOT NULL GROUP BY 1, 2, 3",
            {"org": org_id, "start": start, "end": end},
        )
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


def leaves(
    org_id: int, kind: str, asked: Sequence[Asked], dimensions: Sequence[str], now: tuple[datetime, datetime]
) -> list[list[tuple[Any, ...]]]:
    """Of each scope asked for (value of each dimension, USD before, USD now), the dearest `LEAVES_MAX`.

    Before is the scope's own span, in day rollups; now in hour rollups. Index: their primary keys, once for all.
    """
    columns = [f"COALESCE({DIMENSIONS[name]}, '')" for name in dimensions]
    return _leaves(org_id, kind, asked, columns, now, ("usage_dayrollup", "usage_hourrollup"))


def user_leaves(
    org_id: int, kind: str, asked: Sequence[Asked], now: tuple[datetime, datetime]
) -> list[list[tuple[Any, ...]]]:
    """Of each scope (user, model, USD before, USD now), the dearest `LEAVES_MAX`: users have rollups of their own."""
    columns = ["COALESCE(user_name, '')", "provider || '/' || model"]
    return _leaves(org_id, kind, asked, columns, now, ("usage_userdayrollup", "usage_userhourrollup"))


def _leaves(
    org_id: int, kind: str, asked: Sequence[Asked], columns: Sequence[str], now: tuple[datetime, datetime],
    stores: tuple[str, str],
) -> list[list[tuple[Any, ...]]]:  # fmt: skip
    condition, name = _SCOPES[kind]
    named = ", ".join(f"{column} AS d{place}" for place, column in enumerate(columns))
    groups = ", ".join(f"d{place}" for place in range(len(columns)))
    rows = _fetch(
        f"{_ASKED}, parts AS (SELECT number, {named}, cost_usd AS before, 0 AS now FROM {stores[0]}"
        f"  JOIN asked ON scope_name = {name} AND day_start >= since AND day_start < until"
        f"  WHERE organization_id = %(org)s AND {condition} AND day_start >= %(from)s AND day_start < %(to)s UNION ALL"
        f" SELECT number, {named}, 0, cost_usd FROM {stores[1]} JOIN asked ON scope_name = {name}"
        f"  WHERE organization_id = %(org)s AND {condition} AND hour_start >= %(start)s AND hour_start < %(end)s),"
        f" sums AS (SELECT number, {groups}, sum(before)::float8 AS before, sum(now)::float8 AS now, row_number()"
        f"  OVER (PARTITION BY number ORDER BY sum(before + now) DESC) AS place FROM parts GROUP BY number, {groups})"
        f" SELECT number, {groups}, before, now FROM sums WHERE place <= {LEAVES_MAX} ORDER BY number, place",
        org_id, asked, now,
    )  # fmt: skip
    return _of_each(asked, rows)


def telling_runs(org_id: int, kind: str, asked: Sequence[Asked], signal: str) -> list[list[str]]:
    """Of each scope asked for, the runs that began in its span and show a signal best. Index: usage_run_newest."""
    order, telling = _TELLING.get(signal, ("cost_usd DESC", "true"))
    condition, name = _SCOPES[kind]
    rows = _fetch(
        f"{_ASKED}, ranked AS (SELECT number, run_id,"
        f"  row_number() OVER (PARTITION BY number ORDER BY {order}, run_id) AS place FROM usage_run"
        f"  JOIN asked ON scope_name = {name} AND first_at >= since AND first_at < until"
        f"  WHERE organization_id = %(org)s AND first_at >= %(from)s AND first_at < %(to)s AND {condition}"
        f"  AND ({telling}))"
        f" SELECT number, run_id FROM ranked WHERE place <= {RUNS_SHOWN} ORDER BY number, place",
        org_id, asked,
    )  # fmt: skip
    return [[run for (run,) in of] for of in _of_each(asked, rows)]


def _of_each(asked: Sequence[Asked], rows: Sequence[tuple[Any, ...]]) -> list[list[tuple[Any, ...]]]:
    found: list[list[tuple[Any, ...]]] = [[] for _ in asked]
    for number, *row in rows:
        found[number - 1].append(tuple(row))
    return found


def _fetch(
    statement: str, org_id: int, asked: Sequence[Asked], now: tuple[datetime, datetime] | None = None
) -> list[tuple[Any, ...]]:
    values: dict[str, Any] = {
        "org": org_id,
        "scopes": [one.scope for one in asked],
        "since": [one.since for one in asked],
        "until": [one.until for one in asked],
        "from": min(one.since for one in asked),
        "to": max(one.until for one in asked),
        "start": now and now[0],
        "end": now and now[1],
    }
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found
