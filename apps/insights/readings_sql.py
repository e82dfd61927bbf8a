"""Readings: days and hours of workflows, summed up for signals. All need `tenant(org)` around them.

Calls come from the hour rollups, runs from run rows by when they began; neither reads an event. A workflow counts where
the organization knows it (`workflow_id`); what names none is in the organization's own row alone.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection

from apps.insights.sums import CALLS, NAMES, RUNS

ROWS_AT_ONCE = 10_000
Rows = list[tuple[Any, ...]]
# A workflow as a weight, so that what moves from one to another changes a day's sum.
_WEIGHT = "(1 + mod(abs(hashtext(concat_ws(':', workflow, team))::bigint), 997))"
_CHECKSUM = f"COALESCE(sum((events + 3 * unpriced_events + 7 * retries + cost_usd) * {_WEIGHT}), 0)"
_WRITTEN = "(cache_write_5m_tokens + cache_write_1h_tokens)"
_TOKENS = f"(input_tokens + cache_read_tokens + {_WRITTEN} + output_tokens + reasoning_tokens)"
_CALL_SUMS: dict[str, str] = {
    **{name: f"sum({name})" for name in CALLS},
    "write_events": f"COALESCE(sum(input_events) FILTER (WHERE {_WRITTEN} > 0), 0)",
    "unpriced_tokens": f"COALESCE(sum({_TOKENS}) FILTER (WHERE NOT priced), 0)",
}
# Within bigint, whose sums are exact and cost a fraction of those of NUMERIC.
_LN = "round(1000000 * ln({}))::bigint"
_SLOPE = "(slope_n * slope_step_input - slope_step * slope_input) / (slope_n * slope_step_sq - slope_step * slope_step)"
# Of one run; which ones is for the reader to say. What its caller said of its outcome wins, as where runs are shown.
_RUN = f"""
  SELECT r.workflow, r.cost_usd, r.steps, r.escalations, COALESCE(t.reached, '{{}}') <> '{{}}' AS is_capped,
    COALESCE(t.outcome, r.said_outcome, r.outcome) AS outcome, r.events > 0 AND r.errors >= r.events AS is_error,
    CASE WHEN r.steps > 0 THEN {_LN.format("r.steps::float8")} END AS ln_steps,
    CASE WHEN r.cost_usd > 0 AND r.unpriced_events = 0 THEN {_LN.format("r.cost_usd::float8")} END AS ln_cost,
    CASE WHEN slope_n >= 2 AND slope_n * slope_step_sq > slope_step * slope_step
      THEN {_LN.format(f"greatest({_SLOPE}, 1)::float8")} END AS ln_slope
  FROM usage_run r LEFT JOIN budgets_runtally t ON t.organization_id = r.organization_id AND t.run_id = r.run_id
  WHERE r.workflow_id IS NOT NULL
"""
_JUDGED = "outcome IN ('success', 'failure')"
_DEAD = "outcome = 'failure' OR (outcome IS DISTINCT FROM 'success' AND is_error)"
_RUN_SUMS: dict[str, str] = {
    "runs": "count(*)",
    "escalated_runs": "count(*) FILTER (WHERE escalations > 0)",
    "escalated_usd": "COALESCE(sum(cost_usd) FILTER (WHERE escalations > 0), 0)",
    "capped_runs": "count(*) FILTER (WHERE is_capped)",
    "failed_runs": f"count(*) FILTER (WHERE {_DEAD})",
    "succeeded_runs": "count(*) FILTER (WHERE outcome = 'success')",
    "run_usd": "COALESCE(sum(cost_usd), 0)",
    "dead_usd": f"COALESCE(sum(cost_usd) FILTER (WHERE {_DEAD}), 0)",
    "step_runs": "count(ln_steps)",
    "steps": "COALESCE(sum(steps), 0)",
    "steps_sq": "COALESCE(sum(steps * steps), 0)",
    "ln_steps_micro": "COALESCE(sum(ln_steps), 0)",
    "ln_steps_sq_pico": "COALESCE(sum(ln_steps * ln_steps), 0)",
    "slope_runs": "count(ln_slope)",
    "ln_slope_micro": "COALESCE(sum(ln_slope), 0)",
    "ln_slope_sq_pico": "COALESCE(sum(ln_slope * ln_slope), 0)",
    "cost_runs": "count(ln_cost)",
    "cost_runs_usd": "COALESCE(sum(cost_usd) FILTER (WHERE ln_cost IS NOT NULL), 0)",
    "ln_cost_micro": "COALESCE(sum(ln_cost), 0)",
    "ln_cost_sq_pico": "COALESCE(sum(ln_cost * ln_cost), 0)",
    "judged_cost_runs": f"count(ln_cost) FILTER (WHERE {_JUDGED})",
    "judged_cost_usd": f"COALESCE(sum(cost_usd) FILTER (WHERE ln_cost IS NOT NULL AND {_JUDGED}), 0)",
    "ln_judged_micro": f"COALESCE(sum(ln_cost) FILTER (WHERE {_JUDGED}), 0)",
    "ln_judged_sq_pico": f"COALESCE(sum(ln_cost * ln_cost) FILTER (WHERE {_JUDGED}), 0)",
}
assert set(NAMES) == {*_CALL_SUMS, *_RUN_SUMS}
assert set(RUNS) == set(_RUN_SUMS)
_WITHIN = "hour_start >= %(start)s AND hour_start < %(end)s"
_CALLED = ", ".join(f"{text} AS {name}" for name, text in _CALL_SUMS.items())
_RAN = ", ".join(f"{text} AS {name}" for name, text in _RUN_SUMS.items())


def stale_days(org_id: int, since: datetime, before: datetime) -> list[datetime]:
    """Days with calls whose reading is missing, or says something else than the rollups say now; oldest first.

    Index: the primary keys of usage_dayrollup and of insights_reading.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT d.day_start FROM (SELECT day_start, {_CHECKSUM} AS checksum FROM usage_dayrollup"
            "  WHERE organization_id = %(org)s AND day_start >= %(since)s AND day_start < %(before)s"
            "  GROUP BY day_start) AS d LEFT JOIN insights_reading r ON r.organization_id = %(org)s"
            "  AND r.day_start = d.day_start AND r.workflow = ''"
            " WHERE r.checksum IS DISTINCT FROM d.checksum ORDER BY 1",
            {"org": org_id, "since": since, "before": before},
        )
        return [day for (day,) in cursor.fetchall()]


def write_day(org_id: int, start: datetime, end: datetime) -> int:
    """Sum up the day [start, end) of every workflow, in place of what was there; how many rows it has.

    Index: the primary key of usage_hourrollup, usage_run_newest. Running it again changes nothing.
    """
    sums = ", ".join(f"COALESCE(c.{n}, 0)" if n in _CALL_SUMS else f"COALESCE(r.{n}, 0)" for n in NAMES)
    added = ", ".join(
        f"{name} = EXCLUDED.{name}"
        for name in ("team", "project", "unattributed_usd", "checksum", "hour_micros", *NAMES)
    )
    summed = ", ".join(f"sum({name}) AS {name}" for name in _CALL_SUMS)
    hours = max(1, round((end - start).total_seconds() / 3600))
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH hours AS (SELECT CASE WHEN workflow_id IS NOT NULL THEN workflow ELSE '' END AS workflow,"
            "  hour_start,"
            f"  max(team) FILTER (WHERE team_id IS NOT NULL) AS team,"
            f"  max(project) FILTER (WHERE project_id IS NOT NULL) AS project, {_CALLED},"
            "   COALESCE(sum(cost_usd) FILTER (WHERE team_id IS NULL OR workflow_id IS NULL), 0) AS unattributed_usd,"
            f"  {_CHECKSUM} AS checksum"
            f" FROM usage_hourrollup WHERE organization_id = %(org)s AND {_WITHIN} GROUP BY 1, 2),"
            # The organization's row holds all of it.
            " named AS (SELECT * FROM hours WHERE workflow <> '' UNION ALL"
            "  SELECT '', hour_start, NULL, NULL, " + ", ".join(f"sum({name})" for name in _CALL_SUMS) + ","
            "   sum(unattributed_usd), sum(checksum) FROM hours GROUP BY hour_start),"
            f" calls AS (SELECT workflow, max(team) AS team, max(project) AS project, {summed},"
            "   sum(unattributed_usd) AS unattributed_usd, sum(checksum) AS checksum FROM named GROUP BY workflow),"
            " costs AS (SELECT workflow, least(greatest(extract(epoch FROM hour_start - %(start)s)::bigint / 3600, 0),"
            "   %(hours)s - 1) AS hour, sum(cost_usd) AS cost FROM named GROUP BY 1, 2),"
            " grid AS (SELECT c.workflow,"
            "   array_agg(round(1000000 * COALESCE(h.cost, 0))::bigint ORDER BY g.hour) AS hour_micros"
            "  FROM calls c CROSS JOIN generate_series(0, %(hours)s - 1) AS g(hour)"
            "  LEFT JOIN costs h ON h.workflow = c.workflow AND h.hour = g.hour GROUP BY c.workflow),"
            f" ran AS (SELECT workflow, {_RAN} FROM ({_RUN} AND r.organization_id = %(org)s"
            "   AND r.first_at >= %(start)s AND r.first_at < %(end)s) AS run GROUP BY workflow),"
            " written AS (INSERT INTO insights_reading AS r (organization_id, day_start, workflow, team, project,"
            f"   unattributed_usd, checksum, hour_micros, bands, {', '.join(NAMES)})"
            "  SELECT %(org)s, %(start)s, w.workflow, c.team, c.project,"
            "   CASE WHEN w.workflow = '' THEN c.unattributed_usd ELSE 0 END, COALESCE(c.checksum, 0),"
            f"  COALESCE(g.hour_micros, '{{}}'), '{{}}', {sums}"
            "  FROM (SELECT workflow FROM calls UNION SELECT workflow FROM ran) AS w"
            "  LEFT JOIN calls c ON c.workflow = w.workflow LEFT JOIN grid g ON g.workflow = w.workflow"
            "  LEFT JOIN ran r ON r.workflow = w.workflow ORDER BY w.workflow"
            f" ON CONFLICT (organization_id, day_start, workflow) DO UPDATE SET {added} RETURNING r.workflow),"
            " gone AS (DELETE FROM insights_reading WHERE organization_id = %(org)s AND day_start = %(start)s"
            "  AND workflow NOT IN (SELECT workflow FROM calls UNION SELECT workflow FROM ran) RETURNING 1)"
            " SELECT count(*), (SELECT count(*) FROM gone) FROM written",
            {"org": org_id, "start": start, "end": end, "hours": hours},
        )
        rows: int = cursor.fetchone()[0]
        return rows


def day_rows(org_id: int, since: datetime, before: datetime) -> Iterator[Rows]:
    """(day, workflow, unattributed_usd, hour_micros, *NAMES) of readings of [since, before), sums as floats, in blocks.

    Index: the primary key.
    """
    sums = ", ".join(f"{name}::float8" for name in NAMES)
    yield from _stream(
        f"SELECT day_start, workflow, unattributed_usd::float8, hour_micros, {sums}"
        " FROM insights_reading WHERE organization_id = %(org)s AND day_start >= %(since)s AND day_start < %(before)s",
        {"org": org_id, "since": since, "before": before},
    )


class Known(NamedTuple):
    """A workflow with the team and project that it had last."""

    workflow: str
    team: str | None
    project: str | None


def known_workflows(
    org_id: int, days: tuple[datetime, datetime], hours: tuple[datetime, datetime], *, limit: int
) -> tuple[list[Known], int]:
    """Of readings of the days and calls of the hours, those that spent the most, and how many there are in all.

    Index: the primary keys of insights_reading and usage_hourrollup.
    """
    latest = "(array_agg({0} ORDER BY at DESC) FILTER (WHERE {0} IS NOT NULL))[1]"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT workflow, {latest.format('team')}, {latest.format('project')}, count(*) OVER () FROM ("
            " SELECT workflow, day_start AS at, team, project, cost_usd FROM insights_reading"
            "  WHERE organization_id = %(org)s AND day_start >= %(since)s AND day_start < %(before)s AND workflow <> ''"
            " UNION ALL SELECT workflow, hour_start, CASE WHEN team_id IS NOT NULL THEN team END,"
            f"  CASE WHEN project_id IS NOT NULL THEN project END, cost_usd"
            f" FROM usage_hourrollup WHERE organization_id = %(org)s AND {_WITHIN} AND workflow_id IS NOT NULL"
            " ) AS seen GROUP BY workflow ORDER BY sum(cost_usd) DESC, workflow LIMIT %(limit)s",
            {"org": org_id, "since": days[0], "before": days[1], "start": hours[0], "end": hours[1], "limit": limit},
        )
        rows = cursor.fetchall()
    return [Known(*row[:3]) for row in rows], rows[0][3] if rows else 0


# An hour at a time: sums of all hours at once outgrow what a statement may hold in memory, and go to disk.
_HOURS = "generate_series(0, %(hours)s - 1) AS each(hour)"
_BEGINS, _ENDS = (f"%(start)s::timestamptz + {hour} * interval '1 hour'" for hour in ("each.hour", "(each.hour + 1)"))


def hour_calls(org_id: int, start: datetime, hours: int) -> Iterator[Rows]:
    """Blocks of (workflow, hours since `start`, *calls) of so many hours.

    Index: the primary key of usage_hourrollup.
    """
    yield from _stream(
        f"SELECT called.workflow, each.hour, {_floats(_CALL_SUMS, 'called')} FROM {_HOURS} CROSS JOIN LATERAL ("
        f" SELECT workflow, {_CALLED} FROM usage_hourrollup WHERE organization_id = %(org)s"
        f" AND hour_start >= {_BEGINS} AND hour_start < {_ENDS} AND workflow_id IS NOT NULL GROUP BY workflow"
        ") AS called",
        {"org": org_id, "start": start, "hours": hours},
    )


def hour_runs(org_id: int, start: datetime, hours: int) -> Iterator[Rows]:
    """Blocks of (workflow, hours since `start`, *RUNS) of runs that began in so many hours. Index: usage_run_newest."""
    runs = f"{_RUN} AND r.organization_id = %(org)s AND r.first_at >= {_BEGINS} AND r.first_at < {_ENDS}"
    yield from _stream(
        f"SELECT ran.workflow, each.hour, {_floats(_RUN_SUMS, 'ran')} FROM {_HOURS} CROSS JOIN LATERAL ("
        f" SELECT workflow, {_RAN} FROM ({runs}) AS run GROUP BY workflow) AS ran",
        {"org": org_id, "start": start, "hours": hours},
    )


def hour_totals(org_id: int, start: datetime, end: datetime) -> list[tuple[Any, ...]]:
    """(hours since `start`, unattributed USD, *calls) of everything in [start, end)."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT floor(extract(epoch FROM hour_start - %(start)s) / 3600)::int,"
            " COALESCE(sum(cost_usd) FILTER (WHERE team_id IS NULL OR workflow_id IS NULL), 0)::float8,"
            f" {', '.join(f'({text})::float8' for text in _CALL_SUMS.values())}"
            f" FROM usage_hourrollup WHERE organization_id = %(org)s AND {_WITHIN} GROUP BY 1 ORDER BY 1",
            {"org": org_id, "start": start, "end": end},
        )
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _floats(sums: dict[str, str], of: str) -> str:
    return ", ".join(f"{of}.{name}::float8" for name in sums)


def _stream(statement: str, values: dict[str, Any]) -> Iterator[Rows]:
    """Rows as they come: a month of thousands of workflows is more than should lie in memory as text."""
    with connection.chunked_cursor() as cursor:
        cursor.execute(statement, values)
        while rows := cursor.fetchmany(ROWS_AT_ONCE):
            yield rows


def read_days(org_id: int, since: datetime, before: datetime) -> list[datetime]:
    """Days that have a reading. Index: the primary key."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT day_start FROM insights_reading WHERE organization_id = %s AND workflow = ''"
            " AND day_start >= %s AND day_start < %s ORDER BY 1",
            [org_id, since, before],
        )
        return [day for (day,) in cursor.fetchall()]
