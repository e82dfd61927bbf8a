"""Plans of the invented company: one fitted to its runs and live, one that waits for approval, one for later."""

from datetime import timedelta
from decimal import Decimal

import structlog
from django.utils import timezone

from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.ingest.demo import desk
from apps.organizations.models import Organization
from apps.organizations.permissions import Role
from apps.organizations.selectors import calendar, members_with_role
from apps.planner import fitting
from apps.planner.calibration import calibrate_plan
from apps.planner.models import Plan
from apps.planner.reckoning import reckon
from apps.planner.selectors import live_plans
from apps.planner.services import PlanTerms, approve_plan, create_plan, launch_plan
from apps.planner.templates import TEMPLATES

log = structlog.get_logger(__name__)

# Live as if since the sample's first day. It is made from the runs of a week of it, which tells the volume of a month
# and is too short to tell its growth, and held against all of them.
FITTED, NAME = desk.SUPPORT, "Support agent"
LAUNCHED_BEFORE, FITTED_BEFORE, FITTED_DAYS = timedelta(days=28), timedelta(days=20), 7
# Whose word it is: those who own the workflows, and the one who pays for them.
MAKER, ASKER, LATER_MAKER, PAYER = "ines@example.com", "emre@example.com", "nadia@example.com", "finance@example.com"
WAITING, LATER = "rag-answers", "contract-review"


def furnish_plans(org: Organization) -> None:
    """After the sample is replayed and rolled up. Plans that are there already are left alone."""
    with tenant(org):
        if Plan.objects.for_org(org).exists():
            return
    _live(org)
    now = timezone.now()
    rag = reckon(org, TEMPLATES["rag"].plan, at=now, budget_usd=Decimal(500))
    terms = PlanTerms("RAG answers", WAITING)
    create_plan(org=org, terms=terms, reckoned=rag, origin="template", note="For the autumn", actor=ASKER)
    research = reckon(org, TEMPLATES["research"].plan, at=now)
    terms = PlanTerms("Contract review", LATER, team="research", launch_on=now.date() + timedelta(days=45))
    made = create_plan(org=org, terms=terms, reckoned=research, origin="template", actor=LATER_MAKER)
    conditions = "Prompt cache on from day one, and no more than 20 calls a run"
    approve_plan(org=org, plan_id=made.pk, version=1, conditions=conditions, actor=PAYER)


def _live(org: Organization) -> None:
    now = timezone.now()
    launched = now - LAUNCHED_BEFORE
    with tenant(org):
        # Of whole days: a part of one would pass for a quiet day.
        until = calendar(org).day(now - FITTED_BEFORE)
    try:
        found = fitting.fit_workflow(org, workflow=FITTED, at=until, days=FITTED_DAYS)
    except DomainError as missing:
        log.warning("no plan of the demo is live", workflow=FITTED, why=missing.detail)
        return
    if found.reckoned.result is None:
        unpriced = ", ".join(found.calibration["unpriced"])
        log.warning("no plan of the demo is live", workflow=FITTED, why=f"there is no price for {unpriced}")
        return
    with tenant(org):
        owner = members_with_role(org, Role.OWNER)[0].email
    note = f"Fitted from {found.calibration['runs']} runs of its first days."
    terms = PlanTerms(NAME, FITTED, owner=owner)
    made = create_plan(org=org, terms=terms, reckoned=found.reckoned, origin="fit", note=note, actor=MAKER)
    approve_plan(org=org, plan_id=made.pk, version=1, actor=PAYER)
    launch_plan(org=org, plan_id=made.pk, actor=MAKER)
    with tenant(org):
        Plan.objects.for_org(org).filter(pk=made.pk).update(launched_at=launched, launch_on=launched.date())
        plan = next(one for one in live_plans(org) if one.pk == made.pk)
    calibrate_plan(org, plan, at=now)
