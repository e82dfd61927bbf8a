"""Statements that count runs, for comparing months. All need `tenant(org)` around them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection

# What runs can be cut to; a name that is not known is nobody's.
CUTS = ("workflow", "team", "project", "environment")
_WORKFLOW = "CASE WHEN workflow_id IS NOT NULL THEN workflow END"


class Begun(NamedTuple):
    """Runs of a workflow that began within a time, and how many calls they made until now."""

    runs: int
    calls: int


def runs_begun(org_id: int, span: tuple[datetime, datetime], cut: Mapping[str, str]) -> dict[str | None, Begun]:
    """By workflow, what waits to be rolled up included; a run belongs where its earliest call does.

    Index: usage_run_newest.
    """
    values: dict[str, Any] = {"org": org_id, "start": span[0], "end": span[1], **cut}
    within = " AND ".join(
        ("organization_id = %(org)s", "first_at >= %(start)s", "first_at < %(end)s", *map(_condition, cut.items()))
    )
    known = "SELECT FROM usage_run r WHERE r.organization_id = %(org)s AND r.run_id = d.run_id"
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT workflow, sum(runs), sum(calls) FROM ("
            f" SELECT {_WORKFLOW} AS workflow, count(*) AS runs, sum(events) AS calls FROM usage_run"
            f"  WHERE {within} GROUP BY 1"
            f" UNION ALL SELECT {_WORKFLOW}, count(DISTINCT run_id) FILTER (WHERE NOT EXISTS ({known})), sum(events)"
            f"  FROM usage_rundelta d WHERE {within} GROUP BY 1) AS parts GROUP BY 1",
            values,
        )
        return {workflow: Begun(int(runs), int(calls)) for workflow, runs, calls in cursor.fetchall()}


def _condition(pair: tuple[str, str]) -> str:
    name, value = pair
    held = name if name == "environment" else f"{name}_id"
    if value == "":
        return f"{held} IS NULL"
    return f"{name} = %({name})s" + ("" if name == "environment" else f" AND {held} IS NOT NULL")
