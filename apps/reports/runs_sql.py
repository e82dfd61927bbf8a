"""Statements of runs, their trees and where a bound falls in them. All need `tenant(org)` around them.

A tree is followed from parent to child over runs that are rolled up; `UNION` ends it where parents make a circle.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import connection

from apps.core.meters import METERS
from apps.usage.parts_sql import Part, values_of
from apps.usage.runs_sql import as_of_now

ANCESTORS_MAX = 32
# A tree of more runs than this is followed no further for its bounds.
BOUNDED_RUNS_MAX = 1_000

COLUMNS = (
    "run_id", "parent_run_id", "team", "team_id", "project", "project_id", "workflow", "workflow_id", "environment",
    "user_name", "first_at", "last_at", "events", "steps", "retries", "escalations", "errors", *METERS, "cost_usd",
    "unpriced_events",
)  # fmt: skip
# What the caller said of a run wins over its events: it stands in its tally, and once that is forgotten in the run.
_SAID = {
    "outcome": "COALESCE(t.outcome, s.said_outcome, r.outcome)",
    "units": "COALESCE(t.units, s.said_units)",
    "ended_at": "CASE WHEN t.run_id IS NULL THEN s.said_ended_at ELSE t.ended_at END",
}
_SELECT = ", ".join((*(f"r.{name}" for name in COLUMNS), *(f"{said} AS {name}" for name, said in _SAID.items())))
_JOINED = (
    "LEFT JOIN budgets_runtally t ON t.organization_id = r.organization_id AND t.run_id = r.run_id"
    " LEFT JOIN usage_run s ON s.organization_id = r.organization_id AND s.run_id = r.run_id"
)
SORTS = {"newest": "r.first_at", "cost": "r.cost_usd"}
_TREE = """
  WITH RECURSIVE tree AS (
    SELECT %(run)s::text AS run_id
    UNION SELECT r.run_id FROM tree JOIN usage_run r ON r.organization_id = %(org)s AND r.parent_run_id = tree.run_id)
"""

# What a list can be filtered by: a column, or what was said.
_EXACT = {
    "team": "r.team", "project": "r.project", "workflow": "r.workflow", "user": "r.user_name",
    "environment": "r.environment", "run_id": "r.run_id", "parent_run_id": "r.parent_run_id",
    "outcome": _SAID["outcome"],
}  # fmt: skip
_HAVING = {
    "retries": "r.retries > 0",
    "escalations": "r.escalations > 0",
    "errors": "r.errors > 0",
    "unpriced": "r.unpriced_events > 0",
}
WITH = tuple(_HAVING)


class Tree(NamedTuple):
    """Sums over a run and all that it started."""

    runs: int
    events: int
    steps: int
    retries: int
    escalations: int
    cost_usd: Decimal
    unpriced_events: int


class Place(NamedTuple):
    """The first call that lies beyond a bound."""

    bound: str
    run_id: str
    event_id: str
    occurred_at: datetime


Rows = list[dict[str, Any]]


def list_runs(
    org_id: int,
    *,
    filters: Mapping[str, str],
    span: tuple[datetime, datetime],
    sort: str,
    after: tuple[Any, str] | None,
    limit: int,
) -> Rows:
    """Runs that began in [span). Index: usage_run_newest, or usage_run_parent by parent."""
    wanted = ["r.organization_id = %(org)s", "r.first_at >= %(start)s", "r.first_at < %(end)s"]
    values: dict[str, Any] = {"org": org_id, "start": span[0], "end": span[1], "limit": limit}
    for name, value in filters.items():
        wanted.append(_condition(name, value))
        values[name] = value
    if after is not None:
        wanted.append(f"({SORTS[sort]}, r.run_id) < (%(after)s, %(after_id)s)")
        values |= {"after": after[0], "after_id": after[1]}
    return _rows(
        f"SELECT {_SELECT} FROM usage_run r {_JOINED} WHERE {' AND '.join(wanted)}"
        f" ORDER BY {SORTS[sort]} DESC, r.run_id DESC LIMIT %(limit)s",
        values,
    )


def _condition(name: str, value: str) -> str:
    if name == "status":
        return f"({_SAID['ended_at']}) IS {'NOT ' if value == 'ended' else ''}NULL"
    if name == "with":
        return _HAVING[value]
    # What names nothing that is known is nobody's.
    id_column = f"{_EXACT[name]}_id" if name in ("team", "project", "workflow") else _EXACT[name]
    return f"{id_column} IS NULL" if value == "" else f"{_EXACT[name]} = %({name})s AND {id_column} IS NOT NULL"


def run_now(org_id: int, run_id: str) -> Rows:
    """The run, what waits to be rolled up included; no row where no event named it. Index: the primary key."""
    return _rows(f"SELECT {_SELECT} FROM ({as_of_now()}) AS r {_JOINED}", {"org": org_id, "run": run_id})


def children(org_id: int, run_ids: Sequence[str], span: tuple[datetime, datetime], part: Part, limit: int) -> Rows:
    """Child runs that began in [span) and belong to the part, oldest first. Index: usage_run_parent."""
    return _rows(
        f"SELECT {_SELECT} FROM usage_run r {_JOINED} WHERE r.organization_id = %(org)s"
        f" AND r.parent_run_id = ANY(%(runs)s) AND r.run_id <> r.parent_run_id{_within(part)}"
        " AND r.first_at >= %(start)s AND r.first_at < %(end)s ORDER BY r.first_at, r.run_id LIMIT %(limit)s",
        {"org": org_id, "runs": list(run_ids), "start": span[0], "end": span[1], "limit": limit, **values_of(part)},
    )


def within(org_id: int, run_ids: Sequence[str], part: Part) -> dict[str, Decimal]:
    """Which of these runs belong to the part, with what they cost. Index: the primary key."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT r.run_id, r.cost_usd FROM usage_run r WHERE r.organization_id = %(org)s"
            f" AND r.run_id = ANY(%(runs)s){_within(part)}",
            {"org": org_id, "runs": list(run_ids), **values_of(part)},
        )
        return dict(cursor.fetchall())


def _within(part: Part) -> str:
    """The condition that the run `r` belongs to the part, to be added to others."""
    return "".join(
        f" AND r.{name} = ANY(%(part_{name})s)" + ("" if name == "environment" else f" AND r.{name}_id IS NOT NULL")
        for name in part
    )


def ancestors(org_id: int, run_id: str, parent_run_id: str | None) -> list[str]:
    """The run's parent, its parent and so on up to the root, at most `ANCESTORS_MAX`."""
    if parent_run_id is None:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH RECURSIVE up AS (SELECT %(parent)s::text AS run_id, ARRAY[%(run)s::text] AS seen"
            " UNION ALL SELECT r.parent_run_id, up.seen || up.run_id FROM up JOIN usage_run r"
            "  ON r.organization_id = %(org)s AND r.run_id = up.run_id AND up.run_id <> ALL (up.seen)"
            "  AND cardinality(up.seen) < %(most)s)"
            " SELECT run_id FROM up WHERE run_id <> ALL (seen) ORDER BY cardinality(seen)",
            {"org": org_id, "run": run_id, "parent": parent_run_id, "most": ANCESTORS_MAX},
        )
        return [found for (found,) in cursor.fetchall()]


def tree_sums(org_id: int, run_id: str) -> Tree:
    """Over the run and its child runs, as they are rolled up."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"{_TREE} SELECT count(*), COALESCE(sum(r.events), 0), COALESCE(sum(r.steps), 0),"
            " COALESCE(sum(r.retries), 0), COALESCE(sum(r.escalations), 0), COALESCE(sum(r.cost_usd), 0),"
            " COALESCE(sum(r.unpriced_events), 0)"
            " FROM tree JOIN usage_run r ON r.organization_id = %(org)s AND r.run_id = tree.run_id",
            {"org": org_id, "run": run_id},
        )
        runs, events, steps, retries, escalations, cost_usd, unpriced = cursor.fetchone()
        return Tree(runs, int(events), int(steps), int(retries), int(escalations), cost_usd, int(unpriced))


# A bound as the condition that a call lies beyond it.
_BEYOND = {
    "max_cost_usd": "cost > %(max_cost_usd)s",
    "max_steps": "steps > %(max_steps)s",
    "max_attempts": "attempt > %(max_attempts)s",
    "max_seconds": "seconds > %(max_seconds)s",
}
PLACED = tuple(_BEYOND)


def bound_places(org_id: int, root_id: str, bounds: Mapping[str, Any]) -> list[Place]:
    """Where each bound of `PLACED` falls in the root's tree, in the order of the calls. Index: usage_event_run.

    Costs are those that bounds count: as stored, with the assumed cost of what is unpriced.
    """
    asked = {name: value for name, value in bounds.items() if name in _BEYOND and value is not None}
    if not asked:
        return []
    firsts = " UNION ALL ".join(
        f"(SELECT '{name}', run_id, event_id, occurred_at FROM calls WHERE {_BEYOND[name]}"
        " ORDER BY occurred_at, event_id LIMIT 1)"
        for name in asked
    )
    with connection.cursor() as cursor:
        cursor.execute(
            f"{_TREE}, members AS MATERIALIZED (SELECT run_id FROM tree LIMIT {BOUNDED_RUNS_MAX}),"
            " calls AS MATERIALIZED ("
            "  SELECT run_id, event_id, occurred_at, attempt,"
            "   sum(COALESCE(cost_usd, assumed_cost_usd, 0)) OVER before AS cost,"
            "   count(*) FILTER (WHERE attempt = 1) OVER before AS steps,"
            "   extract(epoch FROM occurred_at - min(occurred_at) OVER ()) AS seconds"
            "  FROM usage_event WHERE organization_id = %(org)s"
            "   AND hour_start > (SELECT min(r.first_at) - interval '1 hour' FROM usage_run r"
            "    JOIN members ON r.organization_id = %(org)s AND r.run_id = members.run_id)"
            "   AND run_id = ANY (ARRAY(SELECT run_id FROM members))"
            "  WINDOW before AS (ORDER BY occurred_at, event_id ROWS UNBOUNDED PRECEDING))"
            f" SELECT * FROM ({firsts}) AS places ORDER BY 4, 3",
            {"org": org_id, "run": root_id, **asked},
        )
        return [Place(*row) for row in cursor.fetchall()]


def _rows(statement: str, values: Mapping[str, Any]) -> Rows:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
