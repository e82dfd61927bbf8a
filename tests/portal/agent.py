"""A run as agents make them: a growing context that is mostly cached, retries, an escalation, child runs, a bound."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from apps.budgets.services import set_run_bound
from apps.teams.services import create_project, create_team, create_workflow
from tests.usage.ledger import roll
from tests.world import make_event

STARTED = timedelta(hours=3)
RUN, CHILD, GRANDCHILD = "agent/42", "agent/42/explore", "agent/42/explore/deep"
STEPS = 12


def call(run, seconds, **fields):
    at = datetime.now(UTC) - STARTED + timedelta(seconds=seconds)
    return make_event(run_id=run, occurred_at=at.isoformat(), event_id=f"{run}@{seconds}", **fields)


def usage(step):
    """Of 2,000 more tokens a step, all but the newest come from the cache."""
    return {
        "input_tokens": 40 + step, "cache_read_tokens": 2000 * step, "cache_write_5m_tokens": 2000,
        "output_tokens": 150 + 10 * step, "reasoning_tokens": 300,
    }  # fmt: skip


def agent_run(shop, **bounds):
    """Twelve steps, one tried three times, one escalated; two child runs one below the other. Rolled up."""
    team = create_team(org=shop.org, slug="search")
    create_workflow(org=shop.org, slug="rag", project=create_project(org=shop.org, slug="answers", team=team))
    if bounds:
        set_run_bound(org=shop.org, workflow="rag", bounds=bounds, actor="tests")
    where = {"workflow": "rag", "user": "ana", "environment": "prod"}
    calls = [call(RUN, 20 * n, step=n, usage=usage(n), latency_ms=9000 + 400 * n, **where) for n in range(STEPS)]
    calls[4] |= {"status": "error", "error_type": "overloaded", "usage": {"input_tokens": 8000}, "latency_ms": 300}
    calls += [
        call(RUN, 83, step=4, attempt=2, usage={"input_tokens": 8000}, latency_ms=400, status="error", **where),
        call(RUN, 86, step=4, attempt=3, usage=usage(4), latency_ms=8000, **where),
    ]
    calls[9] |= {"model": "claude-opus-4-1", "escalated_from": "claude-sonnet-4-5", "tool_name": "apply_patch"}
    calls[11] |= {"model": "nobody-priced-it", "outcome": "success"}
    for n in range(14):
        calls.append(call(CHILD, 65 + n, step=n, usage=usage(n), latency_ms=900, parent_run_id=RUN, **where))
    calls.append(call(GRANDCHILD, 70, usage=usage(1), latency_ms=2000, parent_run_id=CHILD, **where))
    answer = shop.api.send(*calls)
    assert answer["accepted"] == len(calls), answer
    roll(shop.org)


TIGHT = {"max_cost_usd": Decimal("0.15"), "max_steps": 15, "max_attempts": 2, "max_seconds": 3600}
