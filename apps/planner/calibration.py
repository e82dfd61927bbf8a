"""Live plans held against the runs that were really made.

What is found is shown, and proposed as a version; what was approved is never changed by it.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone

from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.planner.announcing import announce
from apps.planner.definition import read_plan
from apps.planner.fitting import DAYS, Fitted, billed_words, fitted, folded_words, note_of, observed_runs
from apps.planner.models import Plan, PlanDecision, PlanVersion
from apps.planner.prices import read_card, supposed_of
from apps.planner.results import decimal_at
from apps.planner.selectors import live_plans, version_of
from apps.planner.services import link_workflow, locked, revise_plan

# Who is written down for what nobody did.
ACTOR = "planner"
# A plan whose cost per run lies off by this share is worth another look.
GAP_PROPOSED = 0.1
PROPOSE_EVERY = timedelta(days=7)
NO_RUNS = {
    "status": "planned", "runs": 0, "independent_runs": 0, "days": 0, "weekend_days": 0,
    "missing": ["runs that say their run_id"],
}  # fmt: skip


def calibrate(org_id: int) -> int:
    """Look at every live plan of an organization; how many were held against runs."""
    org = Organization.objects.get(pk=org_id)
    with tenant(org):
        plans = live_plans(org)
    return sum(calibrate_plan(org, plan, at=timezone.now()) for plan in plans)


def calibrate_plan(org: Organization, plan: Plan, *, at: datetime) -> bool:
    """Say how far the plan holds, and where enough runs say that it does not, propose a version.

    Whether there were runs to hold it against.
    """
    with tenant(org):
        link_workflow(org, plan)
        assert plan.approved is not None, "a live plan was approved"
        assert plan.launched_at is not None, "a live plan was launched"
        version = version_of(org, plan, plan.approved)
        start = max(plan.launched_at, at - timedelta(days=DAYS))
        runs, since = observed_runs(org, plan.workflow, start=start, at=at) if plan.workflow else ([], start)
    found = _fitted(org, version, runs, since, at) if runs else None
    said = _said(version, found) if found else {**NO_RUNS, "since": since.isoformat(), "at": at.isoformat()}
    with tenant(org):
        row = locked(org, plan.pk)
        if row.state != Plan.State.LIVE:
            return False
        is_new = row.workflow_id is None and plan.workflow is not None
        row.workflow, row.calibration, row.calibrated_at = plan.workflow, said, at
        row.save(update_fields=["workflow", "calibration", "calibrated_at"])
        if is_new:
            announce(org, row, version)
        if found is not None and _is_worth_it(org, row, said, at):
            _propose(org, row, found, said)
    return found is not None


def _fitted(org: Organization, version: PlanVersion, runs: list[Any], since: datetime, at: datetime) -> Fitted:
    """By the prices that the version supposes as well: it was approved with them."""
    supposed = supposed_of(read_card(card) for card in version.cards if card["rates"] is not None)
    return fitted(org, runs, at=at, since=since, earlier=read_plan(version.definition), supposed=supposed)


def _said(version: PlanVersion, found: Fitted) -> dict[str, Any]:
    """What the runs cost beside what the plan says that they cost; no gap where a step of theirs has no price.

    Other cost of the plan beyond what calls were folded into it is nothing that events show, and left out of both.
    """
    assert version.result is not None, "an approved version has a total"
    folded = (found.calibration["folded"] or {}).get("run_usd")
    beside = max(Decimal(0), decimal_at(version.result, "other_usd") - Decimal(folded or 0))
    planned = decimal_at(version.result, "run", "mean_usd") - beside
    gap = None
    if planned > 0 and found.reckoned.result is not None:
        gap = float(decimal_at(found.calibration, "run_usd", "mean") / planned - 1)
    return {
        **found.calibration,
        "version": version.number,
        "planned_run_usd": f"{planned:f}",
        "beside_usd": f"{beside:f}",
        "gap": None if gap is None else round(gap, 4),
    }


def _is_worth_it(org: Organization, plan: Plan, said: dict[str, Any], at: datetime) -> bool:
    """Enough runs, far enough off, and nothing that waits for somebody already."""
    if said["status"] != "calibrated" or said["gap"] is None or abs(said["gap"]) < GAP_PROPOSED:
        return False
    if plan.latest != plan.approved:
        return False
    proposed = PlanDecision.objects.for_org(org).filter(plan=plan, act=PlanDecision.Act.PROPOSED)
    return not proposed.filter(at__gt=at - PROPOSE_EVERY).exists()


def _propose(org: Organization, plan: Plan, found: Fitted, said: dict[str, Any]) -> None:
    revise_plan(
        org=org,
        plan_id=plan.pk,
        base=plan.latest,
        reckoned=found.reckoned,
        origin=PlanVersion.Origin.CALIBRATION,
        note=note_of(_words(said, plan.approved), folded_words(said), billed_words(said)),
        actor=ACTOR,
    )


def _words(said: dict[str, Any], version: int | None) -> str:
    more = "more" if said["gap"] > 0 else "less"
    return f"{said['runs']} runs cost {abs(said['gap']):.0%} {more} than version {version} says."
