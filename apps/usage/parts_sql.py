"""Statements of the events of runs, whole or of a part: what belongs to some teams, projects or environments. All
need `tenant(org)` around them.

An event belongs where its money is now: to what its latest posting says, else to what it was stored with.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import connection

from apps.core.meters import METERS
from apps.usage.sql import EVENT_MEASURES

# Of each dimension (team, project, environment) the values of which an event must have one.
Part = Mapping[str, Sequence[str]]

SUMMED = ("events", *METERS, "cost_usd", "unpriced_events", "errors", "retries", "escalations")
_NAMED = ("team", "team_id", "project", "project_id", "environment")


def part_sums(org_id: int, run_ids: Sequence[str], *, part: Part, since: datetime) -> dict[str, dict[str, Any]]:
    """By run: `SUMMED` and `steps` over its events of the part, `first_at` and `last_at` of them (None for none), and
    how many `others` it has; no row for a run without stored events. Index: usage_event_run, usage_posting_event.

    None of an hour before that of `since` is read.
    """
    measures = ", ".join(f"{EVENT_MEASURES[name]} AS {name}" for name in SUMMED)
    posted = ", ".join(f"sum({name}) AS {name}" for name in SUMMED)
    sums = ", ".join(f"COALESCE(sum(e.{name} + COALESCE(p.{name}, 0)) FILTER (WHERE own), 0)" for name in SUMMED)
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH e AS MATERIALIZED (SELECT event_id, run_id, occurred_at, (attempt = 1)::int AS first_attempt,"
            f"  {', '.join(_NAMED)}, {measures} FROM usage_event WHERE organization_id = %(org)s"
            "  AND run_id = ANY (%(runs)s) AND hour_start > %(since)s - interval '1 hour')"
            f" SELECT e.run_id, count(*) FILTER (WHERE NOT own), min(e.occurred_at) FILTER (WHERE own),"
            f" max(e.occurred_at) FILTER (WHERE own), COALESCE(sum(e.first_attempt) FILTER (WHERE own), 0), {sums}"
            f" FROM e {LATEST} CROSS JOIN LATERAL (SELECT {belongs(part)} AS own) AS b"
            f" LEFT JOIN LATERAL (SELECT {posted} FROM usage_posting WHERE organization_id = %(org)s"
            "  AND event_id = e.event_id AND own) AS p ON true GROUP BY e.run_id",
            {"org": org_id, "runs": list(run_ids), "since": since, **values_of(part)},
        )
        names = ("others", "first_at", "last_at", "steps", *SUMMED)
        return {run_id: dict(zip(names, row, strict=True)) for run_id, *row in cursor.fetchall()}


def first_events(
    org_id: int, run_ids: Sequence[str], *, part: Part, since: datetime, limit: int
) -> list[tuple[datetime, datetime, str]]:
    """(hour_start, occurred_at, event_id) of the first `limit` events of each run, none of an hour before `since`; of
    the part alone, unless that is empty. Index: usage_event_run.
    """
    joined, own = (f" {LATEST}", f" AND {belongs(part)}") if part else ("", "")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT found.* FROM unnest(%(runs)s::text[]) AS wanted(run_id) CROSS JOIN LATERAL ("
            f" SELECT e.hour_start, e.occurred_at, e.event_id FROM usage_event e{joined}"
            " WHERE e.organization_id = %(org)s AND e.run_id = wanted.run_id AND e.hour_start >= %(since)s"
            f"{own} ORDER BY e.occurred_at, e.event_id LIMIT %(limit)s) AS found",
            {"org": org_id, "runs": list(run_ids), "since": since, "limit": limit, **values_of(part)},
        )
        found: list[tuple[datetime, datetime, str]] = cursor.fetchall()
        return found


# Where the money of the event `e` is now; of nothing where it never moved.
LATEST = (
    "LEFT JOIN LATERAL (SELECT team, team_id, project, project_id FROM usage_posting"
    " WHERE organization_id = %(org)s AND event_id = e.event_id AND side = 1 ORDER BY posted_at DESC LIMIT 1)"
    " AS latest ON true"
)


def belongs(part: Part) -> str:
    """The condition that the event `e`, joined with `LATEST`, is of the part; never null."""
    return " AND ".join(
        f"COALESCE(e.environment = ANY (%(part_{name})s), false)"
        if name == "environment"
        else f"COALESCE(COALESCE(latest.{name}, e.{name}) = ANY (%(part_{name})s)"
        f" AND COALESCE(latest.{name}_id, e.{name}_id) IS NOT NULL, false)"
        for name in part
    )


def values_of(part: Part) -> dict[str, list[str]]:
    return {f"part_{name}": list(values) for name, values in part.items()}
