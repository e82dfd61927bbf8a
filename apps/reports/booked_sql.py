"""What was booked, from day rollups and the deltas that wait to be moved into them. Needs `tenant(org)` around it."""

from datetime import date
from typing import Any

from django.db import connection

# The team, null where spend is unattributed.
TEAM = "CASE WHEN team_id IS NOT NULL THEN team END AS team"
STORES = ("usage_dayrollup", "usage_delta")


def counted(columns: str, scope: str) -> str:
    """Rows of the organization %(org)s in a scope, rolled up or pending: a query to sum up."""
    return " UNION ALL ".join(
        f"SELECT {columns} FROM {table} WHERE organization_id = %(org)s AND {scope}" for table in STORES
    )


def usage_by_day(
    org_id: int, first: date, last: date, *, by_model: bool, limit: int
) -> list[tuple[Any, Any, Any, Any, Any, Any]]:
    """(booked month, day, team, provider, model, cost) of the months [first, last], pending deltas included.

    The team is null where spend is unattributed; provider and model are empty unless asked for. At most `limit` rows.
    Index: usage_dayrollup_booked.
    """
    names = "provider, model" if by_model else "'' AS provider, '' AS model"
    parts = counted(
        f"booked_month, day_start, {TEAM}, {names}, cost_usd", "booked_month BETWEEN %(first)s AND %(last)s"
    )
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT booked_month, day_start, team, provider, model, sum(cost_usd) FROM ({parts}) AS parts"
            " GROUP BY booked_month, day_start, team, provider, model HAVING sum(cost_usd) <> 0"
            " LIMIT %(limit)s",
            {"org": org_id, "first": first, "last": last, "limit": limit},
        )
        found: list[tuple[Any, Any, Any, Any, Any, Any]] = cursor.fetchall()
        return found
