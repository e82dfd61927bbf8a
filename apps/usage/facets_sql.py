"""Days of events, summed up by one facet each. All need `tenant(org)` around them."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection

from apps.usage.deltas import MEASURES, SPEND_DIMENSIONS
from apps.usage.sql import EVENT_MEASURES

# Columns that only events have.
FACETS = (
    "run_id", "parent_run_id", "operation", "region", "workflow_version", "tool_name", "error_type", "outcome",
    "stop_reason", "prompt_version", "escalated_from", "model_served",
)  # fmt: skip
TAG = "tags."
Range = tuple[datetime, datetime]
# A posting has the dimensions of rollups; what only its event says is joined on.
POSTED_WITH_EVENT = (
    f"(SELECT p.*, {', '.join(f'e.{name}' for name in FACETS if name != 'run_id')}, e.tags FROM usage_posting p"
    " JOIN usage_event e USING (organization_id, hour_start, occurred_at, event_id)) AS posted"
)
# No delta of the day waits: an event that came while it was summed up is in some of its sums only.
_IS_WHOLE = "day_start NOT IN (SELECT day_start FROM usage_delta WHERE organization_id = %(org)s)"
# No day is longer where clocks are moved.
_DAY = "interval '27 hours'"


class Day(NamedTuple):
    """What is summed up of one day: see `usage.models.FacetDay`."""

    day_start: datetime
    facets: Sequence[str]
    left_out: Sequence[str]

    def leaves_out(self, facet: str) -> bool:
        """Whether its values are to be looked for in the events."""
        if facet in self.facets:
            return False
        return facet in self.left_out or (facet.startswith(TAG) and TAG in self.left_out)


def summed_days(org_id: int, start: datetime, end: datetime) -> list[Day]:
    """The days that begin in [start, end) and whose sums by facet hold every event. Index: the primary key."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT day_start, facets, left_out FROM usage_facetday WHERE organization_id = %(org)s"
            f" AND day_start >= %(start)s AND day_start < %(end)s AND {_IS_WHOLE} ORDER BY day_start",
            {"org": org_id, "start": start, "end": end},
        )
        return [Day(*row) for row in cursor.fetchall()]


def with_sums(org_id: int, spans: Sequence[Range]) -> list[Range]:
    """Half-open spans, each cut to the days in it of which there is any rollup or delta; those without fall away.

    Index: the primary key of usage_dayrollup.
    """
    starts, ends = [start for start, _ in spans], [end for _, end in spans]
    in_span = f"organization_id = %(org)s AND day_start > span.start - {_DAY} AND day_start < span.until"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT greatest(span.start, min(day_start)), least(span.until, max(day_start) + {_DAY})"
            " FROM unnest(%(starts)s::timestamptz[], %(ends)s::timestamptz[]) AS span (start, until),"
            f" LATERAL (SELECT day_start FROM usage_dayrollup WHERE {in_span}"
            f"  UNION ALL SELECT day_start FROM usage_delta WHERE {in_span}) AS days"
            " GROUP BY span.start, span.until ORDER BY 1",
            {"org": org_id, "starts": starts, "ends": ends},
        )
        found: list[Range] = cursor.fetchall()
        return found


def days_to_sum(org_id: int, start: datetime, end: datetime, *, limit: int) -> list[tuple[datetime, int]]:
    """Days that begin in [start, end), have events and are not summed up, the newest first.

    Each with its number of events. Index: the primary key of usage_dayrollup.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT day_start, sum(events)::bigint FROM usage_dayrollup r"
            " WHERE organization_id = %(org)s AND day_start >= %(start)s AND day_start < %(end)s"
            " AND NOT EXISTS (SELECT FROM usage_facetday f"
            "  WHERE f.organization_id = %(org)s AND f.day_start = r.day_start)"
            " GROUP BY day_start HAVING sum(events) > 0 ORDER BY day_start DESC LIMIT %(limit)s",
            {"org": org_id, "start": start, "end": end, "limit": limit},
        )
        found: list[tuple[datetime, int]] = cursor.fetchall()
        return found


def facets_of(org_id: int, day: datetime, *, tags_max: int) -> tuple[list[str], bool]:
    """The facets that a day's events have any value of, with the most frequent tags, and whether those are all."""
    has = ", ".join(f"bool_or({name} IS NOT NULL)" for name in FACETS)
    values: dict[str, Any] = {"org": org_id, "day": day, "limit": tags_max + 1}
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {has} FROM usage_event WHERE organization_id = %(org)s AND {_OF_DAY}", values)
        found = [name for name, is_there in zip(FACETS, cursor.fetchone(), strict=True) if is_there]
        cursor.execute(
            "SELECT key FROM usage_event, LATERAL jsonb_object_keys(tags) AS key"
            f" WHERE organization_id = %(org)s AND {_OF_DAY} GROUP BY key ORDER BY count(*) DESC, key LIMIT %(limit)s",
            values,
        )
        tags = [f"{TAG}{key}" for (key,) in cursor.fetchall()]
    return [*found, *tags[:tags_max]], len(tags) <= tags_max


_OF_DAY = f"day_start = %(day)s AND hour_start >= %(day)s AND hour_start < %(day)s::timestamptz + {_DAY}"


def sum_up(org_id: int, day: datetime, facet: str, *, rows_max: int) -> bool:
    """Write a day's sums by the values of one facet; False, and nothing written, where they have too many rows."""
    by = ", ".join(SPEND_DIMENSIONS)
    value = "tags->>%(key)s" if facet.startswith(TAG) else facet
    sums = ", ".join(f"sum({name}) AS {name}" for name in MEASURES)
    from_events = ", ".join(f"{expression} AS {name}" for name, expression in EVENT_MEASURES.items())
    posted_at = f"occurred_at >= %(day)s AND occurred_at < %(day)s::timestamptz + {_DAY}"
    columns = ", ".join(("organization_id", "day_start", "facet", "value", "line", *SPEND_DIMENSIONS, *MEASURES))
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH facts AS (SELECT COALESCE({value}, '') AS value, {by}, {from_events}"
            f"  FROM usage_event WHERE organization_id = %(org)s AND {_OF_DAY}"
            f" UNION ALL SELECT COALESCE({value}, '') AS value, {by}, {', '.join(MEASURES)} FROM {POSTED_WITH_EVENT}"
            f"  WHERE organization_id = %(org)s AND {_OF_DAY} AND {posted_at}),"
            f" summed AS MATERIALIZED (SELECT value, {by}, {sums} FROM facts GROUP BY value, {by})"
            f" INSERT INTO usage_facetrollup ({columns})"
            f" SELECT %(org)s, %(day)s, %(facet)s, value, row_number() OVER (), {by}, {', '.join(MEASURES)} FROM summed"
            " WHERE (SELECT count(*) FROM summed) <= %(rows)s RETURNING 1",
            {"org": org_id, "day": day, "facet": facet, "key": facet.removeprefix(TAG), "rows": rows_max},
        )
        return bool(cursor.fetchall())


def note_day(org_id: int, day: Day) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO usage_facetday (organization_id, day_start, facets, left_out) VALUES (%s, %s, %s, %s)",
            [org_id, day.day_start, list(day.facets), list(day.left_out)],
        )


def forget_days(org_id: int, days: Iterable[datetime]) -> None:
    """Delete what is summed up of some days."""
    for table in ("usage_facetday", "usage_facetrollup"):
        with connection.cursor() as cursor:
            cursor.execute(
                f"DELETE FROM {table} WHERE organization_id = %s AND day_start = ANY(%s)", [org_id, list(days)]
            )


def days_before(org_id: int, before: datetime, limit: int) -> list[datetime]:
    """The oldest days before an instant of which sums by facet are kept. Index: the primary key."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT day_start FROM usage_facetrollup WHERE organization_id = %s AND day_start < %s"
            " ORDER BY day_start LIMIT %s",
            [org_id, before, limit],
        )
        return [day for (day,) in cursor.fetchall()]


def unbalanced_days(org_id: int) -> list[dict[str, Any]]:
    """Facets whose sums differ from the day rollup; at most 20. Days with a delta on its way are nobody's matter."""
    sums = ", ".join(f"sum({name}) AS {name}" for name in MEASURES)
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH noted AS (SELECT day_start, unnest(facets) AS facet FROM usage_facetday"
            f"  WHERE organization_id = %(org)s AND {_IS_WHOLE}),"
            f" days AS (SELECT day_start, {sums} FROM usage_dayrollup WHERE organization_id = %(org)s"
            "  AND day_start IN (SELECT day_start FROM noted) GROUP BY day_start),"
            f" faceted AS (SELECT day_start, facet, {sums} FROM usage_facetrollup WHERE organization_id = %(org)s"
            "  GROUP BY day_start, facet)"
            " SELECT n.facet, n.day_start FROM noted n LEFT JOIN days d USING (day_start)"
            " LEFT JOIN faceted f USING (day_start, facet)"
            f" WHERE ({', '.join(f'd.{name}' for name in MEASURES)})"
            f"  IS DISTINCT FROM ({', '.join(f'f.{name}' for name in MEASURES)}) ORDER BY 2, 1 LIMIT 20",
            {"org": org_id},
        )
        return [{"facet": facet, "day_start": day} for facet, day in cursor.fetchall()]
