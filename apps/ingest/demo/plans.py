"""Plans of the invented company: one fitted to its runs and live, one that waits for approval, one for later."""

from datetime import timedelta
from decimal import Decimal

import structlog
from django.utils import timezone

from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.planner import fitting
from apps.planner.calibration import calibrate_plan
from apps.planner.models import Plan
from apps.planner.reckoning import reckon
from apps.planner.selectors import live_plans
from apps.planner.services import PlanTerms, approve_plan, create_plan, launch_plan
from apps.planner.templates import TEMPLATES

log = structlog.get_logger(__name__)

FITTED = "code-review-agent"
# Of its runs, so many days are what the plan was made from; what came since is what it is held against.
LAUNCHED_BEFORE = timedelta(days=14)
WAITING, LATER = "rag-answers", "contract-review"


def furnish_plans(org: Organization, actor: object) -> None:
    """After the sample is replayed and rolled up. Plans that are there already are left alone."""
    with tenant(org):
        if Plan.objects.for_org(org).exists():
            return
    _live(org, actor)
    now = timezone.now()
    rag = reckon(org, TEMPLATES["rag"].plan, at=now, budget_usd=Decimal(500))
    terms = PlanTerms("RAG answers", WAITING)
    create_plan(org=org, terms=terms, reckoned=rag, origin="template", note="For the autumn", actor=actor)
    research = reckon(org, TEMPLATES["research"].plan, at=now)
    terms = PlanTerms("Contract review", LATER, team="research", launch_on=now.date() + timedelta(days=45))
    made = create_plan(org=org, terms=terms, reckoned=research, origin="template", actor=actor)
    conditions = "Prompt cache on from day one, and no more than 20 calls a run"
    approve_plan(org=org, plan_id=made.pk, version=1, conditions=conditions, actor=actor)


def _live(org: Organization, actor: object) -> None:
    """As if launched two weeks ago, from the runs until then."""
    launched = timezone.now() - LAUNCHED_BEFORE
    try:
        found = fitting.fit_workflow(org, workflow=FITTED, at=launched)
    except DomainError as missing:
        log.info("no plan of the demo is live", why=missing.detail)
        return
    if found.reckoned.result is None:
        return
    made = create_plan(
        org=org,
        terms=PlanTerms("Code review agent", FITTED),
        reckoned=found.reckoned,
        origin="fit",
        note=f"Fitted from {found.calibration['runs']} runs of the pilot.",
        actor=actor,
    )
    approve_plan(org=org, plan_id=made.pk, version=1, actor=actor)
    launch_plan(org=org, plan_id=made.pk, actor=actor)
    with tenant(org):
        Plan.objects.for_org(org).filter(pk=made.pk).update(launched_at=launched, launch_on=launched.date())
        plans = live_plans(org)
    for plan in plans:
        calibrate_plan(org, plan, at=timezone.now())
