"""Statements of re-rating. All need `tenant(org)` around them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import connection

from apps.usage.sql import insert_rows

ADDED = ("events", "newly_priced", "newly_unpriced", "before_usd", "after_usd", "posted_events", "posted_usd")
LINE = ("organization_id", "rerating_id", "grain", "team", "month", "booked_month", "provider", "model", *ADDED)


def mark_previewed(org_id: int, at: datetime) -> datetime:
    """From here on events are received later than the answer: an instant that no stored event lies behind.

    Waits for the batches under way. Clocks of several machines differ a little, so it lies a minute ahead, and in any
    case beyond what came right after the one before.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE usage_openmonth SET previewed_at ="
            " greatest(previewed_at + interval '1 microsecond', greatest(%s, clock_timestamp()) + interval '1 minute')"
            " WHERE organization_id = %s RETURNING previewed_at",
            [at, org_id],
        )
        marked: datetime = cursor.fetchone()[0]
        return marked


def expected_events(org_id: int, start: datetime, end: datetime, equal: Mapping[str, str]) -> int:
    """Events of the hours of a range, as rollups and pending deltas count them; columns of `equal` restrict."""
    conditions = "".join(f" AND {column} IS NOT DISTINCT FROM %({column})s" for column in equal)
    parts = " UNION ALL ".join(
        f"SELECT events FROM {table} WHERE organization_id = %(org)s"
        f" AND hour_start > %(start)s - interval '1 hour' AND hour_start < %(end)s{conditions}"
        for table in ("usage_hourrollup", "usage_delta")
    )
    parameters = {name: value or None for name, value in equal.items()}
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT COALESCE(sum(events), 0)::bigint FROM ({parts}) AS parts",
            {"org": org_id, "start": start, "end": end, **parameters},
        )
        count: int = cursor.fetchone()[0]
        return count


def add_lines(org_id: int, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add to the lines of a re-rating, by grain; `booked_month` is the latest word."""
    added = ", ".join(f"{name} = r.{name} + EXCLUDED.{name}" for name in ADDED)
    conflict = f"(organization_id, rerating_id, grain) DO UPDATE SET booked_month = EXCLUDED.booked_month, {added}"
    insert_rows("usage_reratingline", LINE, ADDED, org_id, rows, on_conflict=conflict)
