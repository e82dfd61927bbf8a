"""Statements that read what runs did, for fits of plans. All need `tenant(org)` around them."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import connection

# A run that was quiet for so long is taken as a whole.
QUIET = timedelta(minutes=10)


class RunRow(NamedTuple):
    run_id: str
    first_at: datetime
    parent_run_id: str | None
    outcome: str | None


class StepRow(NamedTuple):
    """Sums over one run's calls of one task type to one model; `x` is a call's number and `y` its prompt.

    `billed_usd` is None where a call of them has no price.
    """

    run_id: str
    task_type: str | None
    provider: str
    model: str
    calls: int
    attempts: int
    prompt_tokens: int
    cache_read_tokens: int
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int
    output_tokens: int
    reasoning_tokens: int
    retrieved_tokens: int
    first_prompt_tokens: int
    first_cached_tokens: int
    batch_calls: int
    peak_tokens: int
    n: int
    x: int
    xx: int
    y: int
    xy: int
    escalated_from: str | None
    billed_usd: Decimal | None


def runs_of(org_id: int, workflow_id: int, start: datetime, at: datetime, limit: int) -> list[RunRow]:
    """The workflow's latest runs that began since `start` and are over at `at`. Index: usage_run_newest."""
    return [
        RunRow(*row)
        for row in _rows(
            "SELECT r.run_id, r.first_at, r.parent_run_id, COALESCE(t.outcome, r.said_outcome, r.outcome)"
            " FROM usage_run r LEFT JOIN budgets_runtally t"
            "  ON t.organization_id = r.organization_id AND t.run_id = r.run_id"
            " WHERE r.organization_id = %(org)s AND r.workflow_id = %(workflow)s AND r.first_at >= %(start)s"
            "  AND r.last_at < %(until)s ORDER BY r.first_at DESC, r.run_id DESC LIMIT %(limit)s",
            {"org": org_id, "workflow": workflow_id, "start": start, "until": at - QUIET, "limit": limit},
        )
    ]


def steps_of(org_id: int, run_ids: list[str], since: datetime) -> list[StepRow]:
    """What these runs, which began at `since` or later, spent by task type and model. Index: usage_event_run."""
    prompt = "input_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens"
    summed = (
        "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "output_tokens", "reasoning_tokens",
    )  # fmt: skip
    sums = ", ".join(f"sum({name})::bigint" for name in summed)
    return [
        StepRow(*row)
        for row in _rows(
            "WITH calls AS ("
            "  SELECT run_id, task_type, provider, model, attempt, service_tier, escalated_from, cost_usd,"
            f"   {', '.join(summed)},"
            f"   {prompt} AS prompt, COALESCE(retrieved_tokens, 0) AS retrieved,"
            "   greatest(0, count(*) FILTER (WHERE attempt = 1) OVER before - 1) AS number,"
            "   row_number() OVER before AS place"
            "  FROM usage_event WHERE organization_id = %(org)s AND hour_start > %(since)s - interval '1 hour'"
            f"   AND run_id = ANY(%(runs)s) AND {prompt} + output_tokens + reasoning_tokens > 0"
            "  WINDOW before AS (PARTITION BY run_id, task_type, provider, model ORDER BY occurred_at, event_id"
            "   ROWS UNBOUNDED PRECEDING))"
            " SELECT run_id, task_type, provider, model, greatest(1, count(*) FILTER (WHERE attempt = 1)), count(*),"
            f"  sum(prompt)::bigint, {sums}, sum(retrieved)::bigint,"
            "  sum(prompt) FILTER (WHERE place = 1)::bigint,"
            "  sum(cache_read_tokens) FILTER (WHERE place = 1)::bigint,"
            "  count(*) FILTER (WHERE service_tier = 'batch'), max(prompt),"
            "  count(*), sum(number)::bigint, sum(number * number)::bigint, sum(prompt)::bigint,"
            "  sum(number * prompt)::bigint, max(escalated_from),"
            "  CASE WHEN count(cost_usd) = count(*) THEN sum(cost_usd) END"
            " FROM calls GROUP BY run_id, task_type, provider, model",
            {"org": org_id, "runs": run_ids, "since": since},
        )
    ]


def _rows(statement: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())
