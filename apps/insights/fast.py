"""Runs that run away, every few seconds where something was sent; with them, every five minutes, budgets that burn. No
statistics, no history but a usual run's cost and the plan's.

What it finds are critical incidents, told of at once. One looker at a time has the organization's turn; what was
looked at is looked at once.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from django.utils import timezone

from apps.core.tenancy import tenant
from apps.insights import burning, fast_sql, incidents, telling, watch_sql
from apps.insights.fast_sql import ACTIVE_WITHIN, BEGUN_WITHIN, Active
from apps.insights.incidents import WORKFLOW, Round, close, note
from apps.insights.models import Incident, Watcher
from apps.insights.planned import plan_p99s
from apps.insights.runaways import Run, Runaway, Usual, Why, runaways
from apps.organizations.models import Organization
from apps.usage.services import roll_up

RUNS_KEPT = 10
# Without a new one for so long, an incident is over.
QUIET_AFTER = timedelta(hours=24)
RUNAWAY, BUDGET = "runaway", "budget"


def look(org_id: int, *, at: datetime | None = None) -> int:
    """Look at what happened since the last look; how many incidents opened."""
    now = at or timezone.now()
    roll_up(org_id)
    org = Organization.objects.get(pk=org_id)
    burns = burning.burns(org, now)
    with tenant(org_id):
        return _look(org, now, burns, waits=True)


def look_at_runs(org_id: int, *, at: datetime | None = None) -> int:
    """Runs alone, and only where events were rolled up since the last look; how many incidents opened."""
    roll_up(org_id)
    with tenant(org_id):
        if not fast_sql.is_due(org_id):
            return 0
    org = Organization.objects.get(pk=org_id)
    with tenant(org_id):
        return _look(org, at or timezone.now(), [])


def _look(org: Organization, now: datetime, burns: Sequence[burning.Burning], *, waits: bool = False) -> int:
    turn = watch_sql.take_turn(org.pk, "look", waits=waits)
    if turn is None:
        return 0
    # While budgets were reckoned, a later look at runs may have been and gone.
    is_seen = turn.fast_at is not None and turn.fast_at >= now
    if is_seen and not burns:
        return 0
    since = max(min(turn.fast_at or now, now - ACTIVE_WITHIN), now - BEGUN_WITHIN)
    # Runaways have no gate.
    org_usd = burning.org_usd(org, now) if burns else 0.0
    work = incidents.begin(org.pk, now, org_usd=org_usd, gate_factor=turn.gate_factor / 100, places={}, fast=True)
    for workflow, found in ({} if is_seen else _found(org, now, since)).items():
        _take_in(work, workflow, found)
    for burn in burns:
        burning.take_in(work, burn)
    _close_quiet(work)
    telling.tell(work)
    if not is_seen:
        Watcher.objects.for_org(org).update(fast_at=now)
    return len(work.opened)


def _found(org: Organization, at: datetime, since: datetime) -> dict[str, list[tuple[Active, list[Runaway]]]]:
    found: dict[str, list[tuple[Active, list[Runaway]]]] = {}
    active = fast_sql.active_runs(org.pk, at, since)
    p99s = plan_p99s(org, sorted({run.workflow for run in active}))
    for run in active:
        broken = runaways(
            Run(float(run.cost_usd), run.steps, run.max_steps, run.attempts, run.same_tool_calls),
            Usual(run.median_usd, p99s.get(run.workflow)),
        )
        if broken:
            found.setdefault(run.workflow, []).append((run, broken))
    return found


def _take_in(work: Round, workflow: str, found: Sequence[tuple[Active, list[Runaway]]]) -> None:
    known = {run for one in work.ended if (one.scope, one.family) == (workflow, RUNAWAY) for run in one.runs}
    fresh = [(run, broken) for run, broken in found if run.run_id not in known]
    if not fresh:
        return
    live = next((one for one in work.live_of(WORKFLOW, workflow) if one.family == RUNAWAY), None)
    usd = sum((run.cost_usd - Decimal(run.median_usd or 0) for run, _ in fresh), Decimal(0))
    if live is not None:
        _add(work, live, [run for run, _ in fresh], usd)
        return
    work_on, why = fresh[0][0], fresh[0][1][0]
    # A run that only reached its bound was told of when it was refused.
    is_bounded = all(one.why is Why.LOOP_CAP for _, broken in fresh for one in broken)
    incident = Incident(
        organization_id=work.org_id,
        scope_kind=WORKFLOW,
        scope=workflow,
        team=work_on.team,
        project=work_on.project,
        family=RUNAWAY,
        signal=RUNAWAY,
        tier=Incident.Tier.DIGEST if is_bounded else Incident.Tier.CRITICAL,
        opened_at=work.at,
        since=min(run.first_at for run, _ in fresh),
        last_seen_at=work.at,
        signals=[_entry(work_on, why, usd)],
        excess_usd=incidents.estimate(float(usd)),
        peak_usd=incidents.estimate(float(usd)),
        runs=[run.run_id for run, _ in fresh][:RUNS_KEPT],
        cause={"cells": [], "factors": [], "words": words_of(why)},
        fix="bound_loop" if why.why is not Why.RETRIES else "retry_policy",
    )
    note(incident, work.at, f"opened: run {work_on.run_id[:80]}, {words_of(why)}")
    incidents.store(work, incident)


def _add(work: Round, live: Incident, runs: Sequence[Active], usd: Decimal) -> None:
    """More of the same workflow: one incident, whose runs are the dearest."""
    names = [run.run_id for run in runs if run.run_id not in live.runs]
    live.runs = [*live.runs, *names][:RUNS_KEPT]
    live.last_seen_at = work.at
    live.excess_usd = max(live.excess_usd or Decimal(0), incidents.estimate(float(usd)))
    live.peak_usd = max(live.peak_usd or Decimal(0), live.excess_usd)
    if names:
        note(live, work.at, f"{len(names)} more run{'s' if len(names) > 1 else ''}")
    live.save()


def _entry(run: Active, why: Runaway, usd: Decimal) -> dict[str, object]:
    return {
        "signal": RUNAWAY,
        "in_alarm": True,
        "value": incidents.number(float(why.seen)),
        "baseline": incidents.number(float(why.allowed)),
        "low": None,
        "high": incidents.number(float(why.allowed)),
        "change": None,
        "sample": None,
        "rule": str(why.why),
        "since": run.first_at.isoformat(),
        "excess_usd": f"{incidents.estimate(float(usd)):f}",
    }


def words_of(why: Runaway) -> str:
    match why.why:
        case Why.LOOP_CAP:
            return f"{why.seen:.0f} steps, the bound is {why.allowed:.0f}"
        case Why.RUN_COST:
            return f"{why.seen:,.2f} USD, where {why.allowed:,.2f} USD is the most that the usual and the plan allow"
        case Why.SAME_TOOL_CALL:
            return f"the same tool call {why.seen:.0f} times"
        case Why.RETRIES:
            return f"{why.seen:.0f} retries of one step"
    raise AssertionError(why)


def _close_quiet(work: Round) -> None:
    for incident in work.live:
        if incident.family in (RUNAWAY, BUDGET) and incident.last_seen_at < work.at - QUIET_AFTER:
            close(work, incident, "nothing new for a day")
