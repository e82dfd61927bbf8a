"""Where a change lies: cells of spend before and now, and the runs that show it. All need `tenant(org)` around them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

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
_SCOPES = {
    "organization": "true",
    "team": "team_id IS NOT NULL AND team = %(scope)s",
    "project": "project_id IS NOT NULL AND project = %(scope)s",
    "workflow": "workflow_id IS NOT NULL AND workflow = %(scope)s",
}
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


def prompts(org_id: int, workflow: str, start: datetime, end: datetime) -> list[tuple[Any, ...]]:
    """(provider, model, tokens by prompt meter) of the calls of [start, end). Index: the pk of usage_hourrollup."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT provider, model, sum(input_tokens)::float8, sum(cache_read_tokens)::float8,"
            " sum(cache_write_5m_tokens)::float8, sum(cache_write_1h_tokens)::float8 FROM usage_hourrollup"
            " WHERE organization_id = %(org)s AND hour_start >= %(start)s AND hour_start < %(end)s"
            " AND workflow_id IS NOT NULL AND workflow = %(workflow)s GROUP BY 1, 2",
            {"org": org_id, "workflow": workflow, "start": start, "end": end},
        )
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


def leaves(
    org_id: int, scope: tuple[str, str], dimensions: Sequence[str], before: tuple[datetime, datetime],
    now: tuple[datetime, datetime],
) -> list[tuple[Any, ...]]:  # fmt: skip
    """(value of each dimension, USD before, USD now), the dearest `LEAVES_MAX`.

    Before is in day rollups and now in hour rollups. Index: their primary keys.
    """
    columns = ", ".join(f"COALESCE({DIMENSIONS[name]}, '') AS d{place}" for place, name in enumerate(dimensions))
    groups = ", ".join(f"d{place}" for place in range(len(dimensions)))
    of = f"organization_id = %(org)s AND {_SCOPES[scope[0]]}"
    return _fetch(
        f"SELECT {groups}, sum(before)::float8, sum(now)::float8 FROM ("
        f" SELECT {columns}, cost_usd AS before, 0 AS now FROM usage_dayrollup WHERE {of}"
        "  AND day_start >= %(from)s AND day_start < %(to)s UNION ALL"
        f" SELECT {columns}, 0, cost_usd FROM usage_hourrollup WHERE {of}"
        "  AND hour_start >= %(start)s AND hour_start < %(end)s) AS parts"
        f" GROUP BY {groups} ORDER BY sum(before + now) DESC LIMIT {LEAVES_MAX}",
        org_id, scope, before, now,
    )  # fmt: skip


def user_leaves(
    org_id: int, scope: tuple[str, str], before: tuple[datetime, datetime], now: tuple[datetime, datetime]
) -> list[tuple[Any, ...]]:
    """(user, model, USD before, USD now), the dearest `LEAVES_MAX`: users have rollups of their own."""
    columns = "COALESCE(user_name, '') AS d0, provider || '/' || model AS d1"
    of = f"organization_id = %(org)s AND {_SCOPES[scope[0]]}"
    return _fetch(
        "SELECT d0, d1, sum(before)::float8, sum(now)::float8 FROM ("
        f" SELECT {columns}, cost_usd AS before, 0 AS now FROM usage_userdayrollup WHERE {of}"
        "  AND day_start >= %(from)s AND day_start < %(to)s UNION ALL"
        f" SELECT {columns}, 0, cost_usd FROM usage_userhourrollup WHERE {of}"
        "  AND hour_start >= %(start)s AND hour_start < %(end)s) AS parts"
        f" GROUP BY d0, d1 ORDER BY sum(before + now) DESC LIMIT {LEAVES_MAX}",
        org_id, scope, before, now,
    )  # fmt: skip


def telling_runs(org_id: int, scope: tuple[str, str], signal: str, start: datetime, end: datetime) -> list[str]:
    """Runs of [start, end) that show a signal best. Index: usage_run_newest."""
    order, condition = _TELLING.get(signal, ("cost_usd DESC", "true"))
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT run_id FROM usage_run WHERE organization_id = %(org)s AND first_at >= %(start)s"
            f" AND first_at < %(end)s AND {_SCOPES[scope[0]]} AND ({condition})"
            f" ORDER BY {order}, run_id LIMIT {RUNS_SHOWN}",
            {"org": org_id, "scope": scope[1], "start": start, "end": end},
        )
        return [run for (run,) in cursor.fetchall()]


def _fetch(
    statement: str, org_id: int, scope: tuple[str, str], before: tuple[datetime, datetime],
    now: tuple[datetime, datetime],
) -> list[tuple[Any, ...]]:  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(
            statement,
            {"org": org_id, "scope": scope[1], "from": before[0], "to": before[1], "start": now[0], "end": now[1]},
        )
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found
