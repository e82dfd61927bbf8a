"""Statements that forget what is over, and reckon what is usual. All need `tenant(org)` around them."""

from datetime import timedelta

from django.db import connection


def forget_runs(org_id: int, after: timedelta, limit: int) -> int:
    """Delete runs whose tree is quiet and holds nothing, and what was counted of them; how many. What was said of them
    stays with their sums.

    Index: budgets_runtally_root.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT run_id FROM budgets_runtally t WHERE organization_id = %(org)s"
            " AND last_at < clock_timestamp() - make_interval(secs => %(after)s)"
            " AND NOT EXISTS (SELECT FROM budgets_runtally k WHERE k.organization_id = %(org)s"
            "  AND k.root_run_id = t.root_run_id AND (k.held_usd <> 0 OR k.steps_held <> 0"
            "   OR k.last_at >= clock_timestamp() - make_interval(secs => %(after)s)))"
            " ORDER BY run_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED",
            {"org": org_id, "after": after.total_seconds(), "limit": limit},
        )
        ids = [run_id for (run_id,) in cursor.fetchall()]
        if ids:
            cursor.execute(
                # In the order in which rollups hold runs.
                "WITH held AS MATERIALIZED (SELECT run_id FROM usage_run WHERE organization_id = %(org)s"
                "  AND run_id = ANY(%(ids)s) ORDER BY run_id FOR UPDATE)"
                " UPDATE usage_run r SET said_outcome = COALESCE(t.outcome, r.said_outcome),"
                "  said_units = COALESCE(t.units, r.said_units), said_ended_at = t.ended_at"
                " FROM held JOIN budgets_runtally t ON t.organization_id = %(org)s AND t.run_id = held.run_id"
                " WHERE r.organization_id = %(org)s AND r.run_id = held.run_id"
                "  AND (t.outcome IS NOT NULL OR t.units IS NOT NULL OR t.ended_at IS NOT NULL)",
                {"org": org_id, "ids": ids},
            )
            for table in ("budgets_runcount", "budgets_runtally"):
                cursor.execute(f"DELETE FROM {table} WHERE organization_id = %s AND run_id = ANY(%s)", [org_id, ids])
        return len(ids)


def forget_reservations(org_id: int, after: timedelta, limit: int) -> int:
    """Delete closed reservations that were decided so long ago; how many. Index: budgets_reservation_newest."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT reservation_id FROM budgets_reservation WHERE organization_id = %s AND state <> 'held'"
            " AND decided_at < clock_timestamp() - make_interval(secs => %s)"
            " ORDER BY decided_at LIMIT %s FOR UPDATE SKIP LOCKED",
            [org_id, after.total_seconds(), limit],
        )
        ids = [reservation_id for (reservation_id,) in cursor.fetchall()]
        if ids:
            cursor.execute(
                "DELETE FROM budgets_reservation WHERE organization_id = %s AND reservation_id = ANY(%s)", [org_id, ids]
            )
        return len(ids)


def reckon_step_costs(org_id: int, since: timedelta) -> int:
    """Replace what steps usually cost by what they cost since then; how many rows."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM budgets_stepcost WHERE organization_id = %s", [org_id])
        cursor.execute(
            "INSERT INTO budgets_stepcost (organization_id, grain, workflow, task_type, step, provider, model, calls,"
            " p95_usd, reckoned_at)"
            " SELECT %(org)s, md5(row(workflow, task_type, step, provider, model, GROUPING(task_type, step))::text),"
            "  workflow, task_type, step, provider, model, count(*),"
            "  percentile_disc(0.95) WITHIN GROUP (ORDER BY cost_usd), clock_timestamp()"
            " FROM usage_event WHERE organization_id = %(org)s"
            "  AND hour_start >= clock_timestamp() - make_interval(secs => %(since)s)"
            "  AND cost_usd IS NOT NULL AND workflow IS NOT NULL"
            " GROUP BY GROUPING SETS ((workflow, provider, model, step), (workflow, provider, model, task_type),"
            "  (workflow, provider, model))"
            " HAVING GROUPING(task_type, step) = 3 OR step IS NOT NULL OR task_type IS NOT NULL"
            " ON CONFLICT DO NOTHING RETURNING 1",
            {"org": org_id, "since": since.total_seconds()},
        )
        return len(cursor.fetchall())


def open_holds(org_id: int) -> tuple[int, int]:
    """Reservations that hold money, and seconds since the first of them was to end. Index: budgets_reservation_due."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), GREATEST(0, EXTRACT(EPOCH FROM clock_timestamp() - min(release_at)))::bigint"
            " FROM budgets_reservation WHERE organization_id = %s AND state = 'held'",
            [org_id],
        )
        holds, overdue_seconds = cursor.fetchone()
        return holds, overdue_seconds
