"""What workflows did in the last weeks, as recommendations read it. All need `tenant(org)` around them.

Events are read by their hours (the primary key), run rows by when they began (usage_run_newest), and the calls of a
few long runs by run (usage_event_run). One scan of the range answers for all workflows; `days_of` keeps it short. A
workflow counts where the organization knows it (`workflow_id`). Money is that of arrival: postings since are not read.
"""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import connection

from apps.planner.prices import CACHE_MIN_TOKENS

CELLS_MAX = 20_000
RUNS_PER_WORKFLOW = 2_000
_PROMPT = "input_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens"
_RANGE = "hour_start >= %(start)s AND hour_start < %(end)s AND workflow_id IS NOT NULL"
_CELL = "workflow_id, provider, model, COALESCE(task_type, '') AS task_type, COALESCE(service_tier, '') AS service_tier"
_AGAIN = f"run_id IS NOT NULL AND prompt >= {CACHE_MIN_TOKENS} AND prompt_before >= {CACHE_MIN_TOKENS} AND at_before >="
_CUT = "stop_reason IN ('length', 'max_tokens', 'MAX_TOKENS', 'max_output_tokens')"
# What of an event's dollars is known; the others are counted.
CALLS = {
    "calls": "count(*)",
    "usd": "COALESCE(sum(cost_usd), 0)",
    "unpriced": "count(*) FILTER (WHERE cost_usd IS NULL)",
    "input": "sum(input_tokens)",
    "cache_read": "sum(cache_read_tokens)",
    "cache_write_5m": "sum(cache_write_5m_tokens)",
    "cache_write_1h": "sum(cache_write_1h_tokens)",
    "output": "sum(output_tokens + reasoning_tokens)",
    "eligible": f"COALESCE(sum(prompt) FILTER (WHERE prompt >= {CACHE_MIN_TOKENS}), 0)",
    "reusable_5m": (
        f"COALESCE(sum(least(prompt, prompt_before)) FILTER (WHERE {_AGAIN} occurred_at - interval '5 minutes'), 0)"
    ),
    "reusable_1h": (
        f"COALESCE(sum(least(prompt, prompt_before)) FILTER (WHERE {_AGAIN} occurred_at - interval '1 hour'), 0)"
    ),
    "output_p90": "percentile_disc(0.9) WITHIN GROUP (ORDER BY output_tokens + reasoning_tokens)",
    "cut": f"count(*) FILTER (WHERE {_CUT})",
    "cut_usd": f"COALESCE(sum(cost_usd) FILTER (WHERE {_CUT}), 0)",
    "late_retries": "count(*) FILTER (WHERE attempt > 3)",
    "late_retries_usd": "COALESCE(sum(cost_usd) FILTER (WHERE attempt > 3), 0)",
    "by_people": "count(user_name)",
    "tool_calls": "count(NULLIF(tool_result_tokens, 0))",
    "tool_tokens": "COALESCE(sum(tool_result_tokens), 0)",
    "retrieved_calls": "count(NULLIF(retrieved_tokens, 0))",
    "retrieved_tokens": "COALESCE(sum(retrieved_tokens), 0)",
}
KEY = ("workflow_id", "provider", "model", "task_type", "service_tier")
_SLOPE = "(slope_n * slope_step_input - slope_step * slope_input) / (slope_n * slope_step_sq - slope_step * slope_step)"
_OUTCOME = "COALESCE(t.outcome, r.said_outcome, r.outcome)"
_SAID = "LEFT JOIN budgets_runtally t ON t.organization_id = r.organization_id AND t.run_id = r.run_id"
_BEGAN = "r.first_at >= %(start)s AND r.first_at < %(end)s"


class RunRow(NamedTuple):
    """A run of the sample; `counted` is how many there were of its workflow. `slope` is None where no line is drawn."""

    workflow_id: int
    counted: int
    run_id: str
    calls: Decimal
    steps: Decimal
    usd: Decimal
    outcome: str | None
    prompt: Decimal
    slope: float | None
    failed: bool


class DayRow(NamedTuple):
    """Units of work of one day and group, and what they cost; `succeeded` counts those known to have succeeded."""

    day: date
    group: str
    units: Decimal
    succeeded: Decimal
    usd: Decimal


def days_of(org_id: int, start: datetime, end: datetime, *, events_max: int) -> list[datetime]:
    """The newest days of [start, end) whose events are at most so many together, in order of time; at least one day.

    Index: the primary key of usage_dayrollup.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT day_start FROM (SELECT day_start, sum(sum(events)) OVER (ORDER BY day_start DESC) AS together,"
            "  row_number() OVER (ORDER BY day_start DESC) AS nth FROM usage_dayrollup"
            "  WHERE organization_id = %(org)s AND day_start >= %(start)s AND day_start < %(end)s"
            "  GROUP BY day_start) AS days WHERE together <= %(most)s OR nth = 1 ORDER BY day_start",
            {"org": org_id, "start": start, "end": end, "most": events_max},
        )
        return [day for (day,) in cursor.fetchall()]


def calls(org_id: int, start: datetime, end: datetime) -> list[dict[str, Any]]:
    """`CALLS` by `KEY`, the dearest `CELLS_MAX`.

    What of a prompt comes again is the shorter of it and of the one before, of the same run to the same model: a lower
    bound, since what runs share with each other is not seen.
    """
    sums = ", ".join(f"{text} AS {name}" for name, text in CALLS.items())
    return _rows(
        f"WITH e AS (SELECT *, {_PROMPT} AS prompt FROM usage_event WHERE organization_id = %(org)s AND {_RANGE}),"
        " told AS (SELECT e.*, lag(occurred_at) OVER w AS at_before, lag(prompt) OVER w AS prompt_before FROM e"
        "  WINDOW w AS (PARTITION BY workflow_id, run_id, provider, model ORDER BY occurred_at, event_id))"
        f" SELECT {_CELL}, {sums} FROM told GROUP BY 1, 2, 3, 4, 5 ORDER BY usd DESC, 1, 2, 3, 4, 5 LIMIT {CELLS_MAX}",
        {"org": org_id, "start": start, "end": end},
    )


def repeats(org_id: int, start: datetime, end: datetime) -> list[dict[str, Any]]:
    """By `KEY`: priced first attempts with the hash of a request that the workflow was answered 24 hours before."""
    return _rows(
        "WITH told AS (SELECT *, lag(occurred_at) OVER"
        "  (PARTITION BY workflow_id, provider, model, request_hash ORDER BY occurred_at, event_id) AS at_before"
        f"  FROM usage_event WHERE organization_id = %(org)s AND {_RANGE} AND request_hash IS NOT NULL"
        "  AND status = 'ok' AND attempt = 1 AND escalated_from IS NULL AND cost_usd IS NOT NULL)"
        f" SELECT {_CELL}, count(*) AS repeats, sum(cost_usd) AS repeats_usd FROM told"
        " WHERE at_before >= occurred_at - interval '24 hours' GROUP BY 1, 2, 3, 4, 5"
        f" ORDER BY repeats_usd DESC, 1, 2, 3, 4, 5 LIMIT {CELLS_MAX}",
        {"org": org_id, "start": start, "end": end},
    )


def escalations(org_id: int, start: datetime, end: datetime) -> list[dict[str, Any]]:
    """By `KEY` and the model that was tried before: priced calls and what they cost."""
    return _rows(
        f"SELECT {_CELL}, escalated_from, count(*) AS calls, sum(cost_usd) AS usd FROM usage_event"
        f" WHERE organization_id = %(org)s AND {_RANGE}"
        " AND escalated_from IS NOT NULL AND cost_usd IS NOT NULL GROUP BY 1, 2, 3, 4, 5, 6"
        f" ORDER BY usd DESC, 1, 2, 3, 4, 5, 6 LIMIT {CELLS_MAX}",
        {"org": org_id, "start": start, "end": end},
    )


def runs(org_id: int, start: datetime, end: datetime) -> list[RunRow]:
    """Up to `RUNS_PER_WORKFLOW` runs of each workflow, the same ones each time; none with an unpriced call."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT workflow_id, counted, run_id, events, steps, cost_usd, outcome, prompt, slope, failed FROM ("
            " SELECT r.workflow_id, r.run_id, r.events, r.steps, r.cost_usd,"
            f"  {_OUTCOME} AS outcome, {_PROMPT} AS prompt,"
            "  CASE WHEN slope_n >= 2 AND slope_n * slope_step_sq > slope_step * slope_step"
            f"   THEN ({_SLOPE})::float8 END AS slope,"
            f"  COALESCE({_OUTCOME} = 'failure' OR ({_OUTCOME} IS DISTINCT FROM 'success' AND r.errors >= r.events),"
            "   false) AS failed,"
            "  count(*) OVER (PARTITION BY r.workflow_id) AS counted,"
            "  row_number() OVER (PARTITION BY r.workflow_id ORDER BY md5(r.run_id), r.run_id) AS nth"
            f" FROM usage_run r {_SAID} WHERE r.organization_id = %(org)s AND {_BEGAN}"
            "  AND r.workflow_id IS NOT NULL AND r.events > 0 AND r.unpriced_events = 0) AS seen"
            " WHERE nth <= %(most)s ORDER BY workflow_id, nth",
            {"org": org_id, "start": start, "end": end, "most": RUNS_PER_WORKFLOW},
        )
        return [RunRow(*row) for row in cursor.fetchall()]


def spent_beyond(org_id: int, run_ids: Sequence[str], bounds: Sequence[int], since: datetime) -> dict[str, Decimal]:
    """What each of these runs spent after so many calls; none of an hour before `since` is read."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT run_id, sum(cost_usd) FROM (SELECT e.run_id, e.cost_usd, w.bound,"
            "  row_number() OVER (PARTITION BY e.run_id ORDER BY e.occurred_at, e.event_id) AS nth"
            "  FROM unnest(%(runs)s::text[], %(bounds)s::bigint[]) AS w (run_id, bound)"
            "  JOIN usage_event e ON e.run_id = w.run_id"
            "  WHERE e.organization_id = %(org)s AND e.hour_start >= %(since)s) AS told"
            " WHERE nth > bound AND cost_usd IS NOT NULL GROUP BY run_id",
            {"org": org_id, "runs": list(run_ids), "bounds": list(bounds), "since": since},
        )
        return dict(cursor.fetchall())


# --- what came of it ------------------------------------------------------------------------------------


def run_days(org_id: int, workflow_id: int, start: datetime, end: datetime, zone: str) -> list[DayRow]:
    """Runs of a workflow by the day on which they began and by environment; none with an unpriced call."""
    return _days(
        f"SELECT (r.first_at AT TIME ZONE %(zone)s)::date, COALESCE(r.environment, ''), count(*),"
        f" count(*) FILTER (WHERE {_OUTCOME} = 'success'), sum(r.cost_usd)"
        f" FROM usage_run r {_SAID} WHERE r.organization_id = %(org)s AND {_BEGAN}"
        " AND r.workflow_id = %(workflow)s AND r.events > 0 AND r.unpriced_events = 0 GROUP BY 1, 2 ORDER BY 1, 2",
        {"org": org_id, "workflow": workflow_id, "start": start, "end": end, "zone": zone},
    )


def call_days(org_id: int, workflow_id: int, start: datetime, end: datetime, zone: str) -> list[DayRow]:
    """First calls of a workflow by day, environment and task type, with what all calls of the group cost.

    Index: the primary key of usage_dayrollup.
    """
    return _days(
        "SELECT (day_start AT TIME ZONE %(zone)s)::date, concat_ws('|', environment, task_type),"
        " sum(events - retries - escalations), 0, sum(cost_usd) FROM usage_dayrollup"
        " WHERE organization_id = %(org)s AND day_start >= %(start)s AND day_start < %(end)s"
        " AND workflow_id = %(workflow)s AND priced GROUP BY 1, 2 ORDER BY 1, 2",
        {"org": org_id, "workflow": workflow_id, "start": start, "end": end, "zone": zone},
    )


def calls_with_runs(org_id: int, workflow_id: int, start: datetime, end: datetime) -> tuple[int, int]:
    """How many calls of a workflow there were, and how many of them in runs that began in the range."""
    values: dict[str, Any] = {"org": org_id, "workflow": workflow_id, "start": start, "end": end}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT COALESCE(sum(events), 0)::bigint FROM usage_dayrollup WHERE organization_id = %(org)s"
            "  AND day_start >= %(start)s AND day_start < %(end)s AND workflow_id = %(workflow)s),"
            " (SELECT COALESCE(sum(events), 0)::bigint FROM usage_run WHERE organization_id = %(org)s"
            "  AND first_at >= %(start)s AND first_at < %(end)s AND workflow_id = %(workflow)s)",
            values,
        )
        counted, in_runs = cursor.fetchone()
        return counted, in_runs


def unpriced_share(org_id: int, workflow_id: int, start: datetime, end: datetime) -> float:
    """Which share of a workflow's calls has no price; 0 where there are none.

    Index: the primary key of usage_dayrollup.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT COALESCE(sum(events) FILTER (WHERE NOT priced) / NULLIF(sum(events), 0), 0)::float8"
            " FROM usage_dayrollup WHERE organization_id = %(org)s AND day_start >= %(start)s AND day_start < %(end)s"
            " AND workflow_id = %(workflow)s",
            {"org": org_id, "workflow": workflow_id, "start": start, "end": end},
        )
        (share,) = cursor.fetchone()
        return float(share)


def _days(statement: str, values: dict[str, Any]) -> list[DayRow]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return [DayRow(*row) for row in cursor.fetchall()]


def _rows(statement: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        assert cursor.description is not None
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
