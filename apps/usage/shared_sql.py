"""Statements about workflows that several teams use. All need `tenant(org)` around them.

A rollup row is of a part where its own team, project and environment are; a run where all of its calls are, whatever
workflow they name.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from django.db import connection

from apps.usage.parts_sql import LATEST, Part, belongs, values_of


class LastUse(NamedTuple):
    """The beginning of the last day on which a workflow or a project had calls of the part, or of others."""

    name: str
    is_own: bool
    day: datetime


def last_use(
    org_id: int, kind: str, names: Sequence[str], part: Part, since: datetime, until: datetime
) -> list[LastUse]:
    """Of days that begin in [since, until); what was moved away since counts no more. `kind`: workflow or project.

    Index: the primary key of usage_dayrollup.
    """
    own = " AND ".join(
        f"{name} = ANY (%(part_{name})s)" + ("" if name == "environment" else f" AND {name}_id IS NOT NULL")
        for name in part
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, is_own, max(day_start) FROM ("
            f" SELECT {kind} AS name, COALESCE({own}, false) AS is_own, day_start FROM usage_dayrollup"
            "  WHERE organization_id = %(org)s AND day_start >= %(since)s AND day_start < %(until)s"
            f"  AND {kind}_id IS NOT NULL AND {kind} = ANY (%(names)s)"
            "  GROUP BY 1, 2, 3 HAVING sum(events) <> 0 OR sum(cost_usd) <> 0) AS days GROUP BY 1, 2",
            {"org": org_id, "names": list(names), "since": since, "until": until, **values_of(part)},
        )
        return [LastUse(*row) for row in cursor.fetchall()]


def last_shared_runs(
    org_id: int, workflows: Sequence[str], part: Part, since: datetime, until: datetime
) -> dict[str, datetime]:
    """By workflow, when the last of its runs began that holds a call which is not of the part; without one, nothing.

    Of runs that began in [since, until). Index: usage_run_newest, usage_event_run, usage_posting_event.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT r.workflow, max(r.first_at) FROM usage_run r WHERE r.organization_id = %(org)s"
            " AND r.first_at >= %(since)s AND r.first_at < %(until)s AND r.workflow_id IS NOT NULL"
            " AND r.workflow = ANY (%(workflows)s) AND EXISTS (SELECT 1 FROM usage_event e"
            f" {LATEST} WHERE e.organization_id = %(org)s AND e.run_id = r.run_id"
            f"  AND e.hour_start > %(since)s - interval '1 hour' AND NOT ({belongs(part)})) GROUP BY r.workflow",
            {"org": org_id, "workflows": list(workflows), "since": since, "until": until, **values_of(part)},
        )
        return dict(cursor.fetchall())


def unlimit_time() -> None:
    """Later statements of this transaction take the time that they take elsewhere."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout TO DEFAULT")
