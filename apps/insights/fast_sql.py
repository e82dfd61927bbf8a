"""Runs under way that are far from usual. All need `tenant(org)` around them."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from django.db import connection

from apps.core.tenancy import limit_time

ACTIVE_WITHIN = timedelta(minutes=15)
BEGUN_WITHIN = timedelta(hours=24)
RUNS_MAX = 2_000
TIMEOUT_MS = 20_000
# Longer than a rollup takes.
UNDER_WAY_SECONDS = 60
# Runs of a workflow that a usual one is known by.
RUNS_MIN = 30


class Active(NamedTuple):
    """A run with calls in the last minutes; `median_usd` is what half of its workflow's runs cost at most."""

    run_id: str
    workflow: str
    team: str | None
    project: str | None
    first_at: datetime
    cost_usd: Decimal
    steps: int
    max_steps: int | None
    median_usd: float | None
    attempts: int
    same_tool_calls: int | None


def is_due(org_id: int) -> bool:
    """Whether events were rolled up since the last look, or so shortly before it that the look may not have seen them:
    what is rolled up is dated before it is there for others. Index: primary keys.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) > 0 FROM usage_rollupstate s LEFT JOIN insights_watcher w"
            "  ON w.organization_id = s.organization_id"
            " WHERE s.organization_id = %s AND (w.fast_at IS NULL"
            "  OR s.rolled_at > w.fast_at - %s * interval '1 second')",
            [org_id, UNDER_WAY_SECONDS],
        )
        due: bool = cursor.fetchone()[0]
        return due


def active_runs(org_id: int, at: datetime, since: datetime) -> list[Active]:
    """Those with calls since then, the dearest first; attempts and tool calls are those of their events since then.

    Index: usage_run_newest, the primary keys of usage_event, insights_reading and budgets_runcount.
    """
    limit_time(TIMEOUT_MS)
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH active AS MATERIALIZED (SELECT run_id, workflow, workflow_id, team, project, first_at, cost_usd,"
            "  steps FROM usage_run WHERE organization_id = %(org)s AND first_at > %(begun)s AND first_at <= %(at)s"
            f"  AND last_at > %(since)s AND workflow_id IS NOT NULL ORDER BY cost_usd DESC, run_id LIMIT {RUNS_MAX}),"
            " usual AS (SELECT workflow, exp((sum(ln_cost_micro) / sum(cost_runs))::float8 / 1000000) AS median_usd"
            "  FROM insights_reading WHERE organization_id = %(org)s AND day_start > %(days)s"
            "  AND workflow IN (SELECT workflow FROM active) GROUP BY workflow"
            f"  HAVING sum(cost_runs) >= {RUNS_MIN}),"
            " calls AS (SELECT run_id, max(attempt) AS attempts FROM usage_event WHERE organization_id = %(org)s"
            "  AND hour_start > %(since)s::timestamptz - interval '1 hour' AND occurred_at > %(since)s"
            "  AND occurred_at <= %(at)s AND run_id IN (SELECT run_id FROM active) GROUP BY run_id),"
            " tools AS (SELECT run_id, max(count) AS same FROM (SELECT run_id, count(*) AS count FROM usage_event"
            "   WHERE organization_id = %(org)s AND hour_start > %(since)s::timestamptz - interval '1 hour'"
            "   AND occurred_at > %(since)s AND occurred_at <= %(at)s AND tool_call_hash IS NOT NULL AND attempt = 1"
            "   AND run_id IN (SELECT run_id FROM active) GROUP BY run_id, tool_name, tool_call_hash) AS each"
            "  GROUP BY run_id),"
            " kept AS (SELECT run_id, max(count) FILTER (WHERE kind = 'step') AS attempts,"
            "   max(count) FILTER (WHERE kind = 'tool') AS same FROM budgets_runcount WHERE organization_id = %(org)s"
            "  AND run_id IN (SELECT run_id FROM active) GROUP BY run_id)"
            " SELECT a.run_id, a.workflow, a.team, a.project, a.first_at, a.cost_usd, a.steps::bigint, b.max_steps,"
            "  u.median_usd, greatest(COALESCE(c.attempts, 1), COALESCE(k.attempts, 1))::bigint,"
            "  greatest(t.same, k.same)::bigint"
            " FROM active a LEFT JOIN budgets_runbound b ON b.organization_id = %(org)s"
            "  AND b.workflow_id = a.workflow_id"
            " LEFT JOIN usual u ON u.workflow = a.workflow LEFT JOIN calls c ON c.run_id = a.run_id"
            " LEFT JOIN tools t ON t.run_id = a.run_id LEFT JOIN kept k ON k.run_id = a.run_id"
            " ORDER BY a.cost_usd DESC, a.run_id",
            {
                "org": org_id,
                "at": at,
                "since": since,
                "begun": at - BEGUN_WITHIN,
                "days": at - timedelta(days=28),
            },
        )
        found = [Active._make(row) for row in cursor.fetchall()]
        cursor.execute("SET LOCAL statement_timeout TO DEFAULT")
    return found
