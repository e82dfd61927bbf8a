"""Statements over declared costs. All need `tenant(org)` around them."""

from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import connection

from apps.core.tenancy import limit_time

TIMEOUT_MS = 5_000


class Asked(NamedTuple):
    org_id: int
    start: datetime
    end: datetime
    over_percent: Decimal
    over_usd: Decimal


# An event's cost now: its own and what was posted since; null while it is unpriced.
_DECLARED = """
    SELECT e.event_id, e.occurred_at, e.provider, e.model, e.declared_cost_usd AS declared,
      CASE WHEN COALESCE(latest.priced, e.priced) THEN COALESCE(e.cost_usd, 0) + COALESCE(posted.cost, 0) END AS ours
    FROM usage_event e
    LEFT JOIN LATERAL (SELECT sum(p.cost_usd) AS cost FROM usage_posting p
      WHERE p.organization_id = e.organization_id AND p.event_id = e.event_id) AS posted ON true
    LEFT JOIN LATERAL (SELECT p.priced FROM usage_posting p WHERE p.organization_id = e.organization_id
      AND p.event_id = e.event_id AND p.side = 1 ORDER BY p.posted_at DESC LIMIT 1) AS latest ON true
    WHERE e.organization_id = %(org_id)s AND e.declared_cost_usd IS NOT NULL
      AND e.occurred_at >= %(start)s AND e.occurred_at < %(end)s
      AND e.hour_start > %(start)s - interval '1 hour' AND e.hour_start < %(end)s
"""
_DIFFERS = "abs(declared - ours) > greatest(%(over_usd)s, ours * %(over_percent)s / 100)"


def by_model(asked: Asked) -> list[tuple[Any, ...]]:
    """(provider, model, events, unpriced, differing, declared, ours). Index: the primary key, by hour."""
    return _rows(
        f"SELECT provider, model, count(*), count(*) FILTER (WHERE ours IS NULL), count(*) FILTER (WHERE {_DIFFERS}),"
        " COALESCE(sum(declared) FILTER (WHERE ours IS NOT NULL), 0), COALESCE(sum(ours), 0)"
        f" FROM ({_DECLARED}) AS declared GROUP BY provider, model",
        asked,
    )


def differing(asked: Asked, limit: int) -> list[tuple[Any, ...]]:
    """(event id, instant, provider, model, declared, ours), the largest difference first."""
    return _rows(
        f"SELECT event_id, occurred_at, provider, model, declared, ours FROM ({_DECLARED}) AS declared"
        f" WHERE {_DIFFERS} ORDER BY abs(declared - ours) DESC, event_id LIMIT {limit:d}",
        asked,
    )


def _rows(statement: str, asked: Asked) -> list[tuple[Any, ...]]:
    limit_time(TIMEOUT_MS)
    with connection.cursor() as cursor:
        cursor.execute(statement, asked._asdict())
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found
