"""What an approved plan asks for, made with one click: its budget (P90), its cap (P99) and the bounds of its runs."""

from collections.abc import Collection
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any

from apps.budgets.models import Budget, RunBound
from apps.budgets.services import BOUNDS, BudgetTerms, change_budget, create_budget, set_run_bound
from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.planner.models import Plan, PlanDecision
from apps.planner.results import CENT
from apps.planner.selectors import version_of
from apps.planner.services import decide, link_workflow, locked
from apps.teams.services import create_workflow

BUDGET, CAP, BOUNDS_OF_RUNS = "budget", "cap", "run_bounds"
CONTROLS = (BUDGET, CAP, BOUNDS_OF_RUNS)
# Which percentile of the month each asks for.
_PERCENTILE = {BUDGET: "p90_usd", CAP: "p99_usd"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a plan asks for: USD a month, and what one run may do."""

    budget_usd: Decimal
    cap_usd: Decimal
    max_cost_usd: Decimal
    max_steps: int
    max_attempts: int

    @property
    def bounds(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("max_cost_usd", "max_steps", "max_attempts")}


def asked_by(result: dict[str, Any], month: int = 1) -> Asked:
    """Of a stored result and one of its months, rounded up to the cent. Raises `DomainError` (`month_invalid`)."""
    months = len(result["months"])
    if not 1 <= month <= months:
        raise DomainError(
            "month_invalid", f"month is {month}: write which month of the plan, from 1 to {months}.", param="month"
        )
    budget, cap = (Decimal(result["months"][month - 1][_PERCENTILE[name]]) for name in (BUDGET, CAP))
    advice = result["advice"]
    return Asked(
        budget_usd=budget.quantize(CENT, ROUND_CEILING),
        cap_usd=cap.quantize(CENT, ROUND_CEILING),
        max_cost_usd=Decimal(advice["run_cost_max_usd"]),
        max_steps=advice["steps_max"],
        max_attempts=advice["attempts_max"],
    )


def make_controls(
    *, org: Organization, plan_id: int, wanted: Collection[str] = CONTROLS, month: int = 1, actor: object
) -> Plan:
    """Make what the approved version asks for, or bring what was made before in step with it; again changes nothing.

    A workflow that nobody knows yet is created in the plan's project. Raises `NotFound`, `DomainError`
    (`plan_not_approved`, `plan_retired`, `control_unknown`, `month_invalid`, `workflow_unknown`), and as budgets do.
    """
    for name in wanted:
        if name not in CONTROLS:
            raise DomainError("control_unknown", f"'{name[:40]}' is none of {', '.join(CONTROLS)}.", param="controls")
    with tenant(org):
        plan = locked(org, plan_id)
        if plan.state == Plan.State.RETIRED:
            raise DomainError("plan_retired", f"'{plan.name}' is retired: make another plan.", param="plan_id")
        if plan.approved is None:
            raise DomainError("plan_not_approved", f"'{plan.name}' is a draft: somebody approves it first.")
        result = version_of(org, plan, plan.approved).result
        assert result is not None, "an approved version has a total"
        asked = asked_by(result, month)
        _require_workflow(org, plan, actor)
        made = [name for name in CONTROLS if name in wanted and _make(org, plan, name, asked, actor)]
        if made:
            plan.save(update_fields=["budget", "cap"])
            decide(org, plan, PlanDecision.Act.BUDGETED, ", ".join(made).replace("_", " "), actor)
    return plan


def _require_workflow(org: Organization, plan: Plan, actor: object) -> None:
    if plan.workflow_id is None and not link_workflow(org, plan):
        if plan.project is None:
            raise DomainError(
                "workflow_unknown",
                f"There is no workflow '{plan.workflow_slug}' to watch: create it, or give the plan a project.",
                param="workflow",
            )
        plan.workflow = create_workflow(org=org, slug=plan.workflow_slug, project=plan.project, actor=actor)
    plan.save(update_fields=["workflow"])


def _make(org: Organization, plan: Plan, name: str, asked: Asked, actor: object) -> bool:
    """Whether anything changed."""
    if name == BOUNDS_OF_RUNS:
        return _bound(org, plan, asked, actor)
    amount = asked.budget_usd if name == BUDGET else asked.cap_usd
    standing: Budget | None = plan.budget if name == BUDGET else plan.cap
    if standing is not None and standing.ended_at is None:
        if standing.amount_usd == amount:
            return False
        change_budget(org=org, budget_id=standing.pk, changes={"amount_usd": amount}, actor=actor)
        return True
    made = create_budget(org=org, terms=_terms(plan, name, amount), actor=actor)
    setattr(plan, name, made)
    return True


def _terms(plan: Plan, name: str, amount: Decimal) -> BudgetTerms:
    return BudgetTerms(
        name=f"{plan.name[:90]} {name}",
        scope={"workflow": plan.workflow_slug},
        period=Budget.Period.MONTH,
        amount_usd=amount,
        mode=Budget.Mode.NOTIFY if name == BUDGET else Budget.Mode.BLOCK,
        forecast_thresholds=(100,) if name == BUDGET else (),
    )


def _bound(org: Organization, plan: Plan, asked: Asked, actor: object) -> bool:
    """Those that the plan knows of; the others stay as they are."""
    standing = RunBound.objects.for_org(org).filter(workflow=plan.workflow).first()
    now = {name: getattr(standing, name) if standing else None for name in BOUNDS}
    if now == (wanted := {**now, **asked.bounds}):
        return False
    set_run_bound(org=org, workflow=plan.workflow_slug, bounds=wanted, actor=actor)
    return True
