"""Plans of an organization, and the workflows that run without one."""

from typing import Any

from django.http import HttpResponse

from apps.core.cursors import cursor_of, position_of
from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.planner.models import Plan, PlanVersion
from apps.planner.results import decimal_at
from apps.planner.selectors import (
    UNPLANNED_DAYS,
    UnplannedWorkflow,
    find_plans,
    standing_versions,
    told_to,
    unplanned,
)
from apps.portal.access import Visit, organization_page
from apps.portal.pages import Crumb, Tab
from apps.portal.pages_budgets import State
from apps.portal.pages_plans import MissingPage, MissingRow, PlanRow, PlansPage

ROWS = 50
MISSING_SHOWN = 200
STATES: dict[str, State] = {
    Plan.State.DRAFT: State("draft", "open", "nobody approved it yet"),
    Plan.State.APPROVED: State("approved", "", "it may be launched"),
    Plan.State.LIVE: State("live", "good", "its workflow runs under it"),
    Plan.State.RETIRED: State("retired", "", "nothing is held to it any more"),
}
CALIBRATIONS = {
    "planned": State("planned", "open", "too few runs to hold it against"),
    "provisional": State("provisional", "", "some runs, not enough to be sure"),
    "calibrated": State("calibrated", "good", "held against enough runs"),
}


@organization_page(section="plans", permission=Permission.VIEW_SPEND, within_team=True)
def plans(visit: Visit) -> HttpResponse:
    """Newest first; for a lead, those of the teams that they lead."""
    query = visit.request.GET
    asked = str(query.get("state", ""))
    state = asked if asked in STATES else ""
    with tenant(visit.org):
        found = find_plans(visit.org, state=state, teams=visit.teams, after=_after(visit), limit=ROWS + 1)
        standing = standing_versions(visit.org, found[:ROWS])
        missing = unplanned(visit.org, visit.at, team=visit.team)
    kept: dict[str, Any] = {"state": state} if state else {}
    page = PlansPage(
        rows=tuple(_row(visit, plan, standing.get(plan.pk)) for plan in found[:ROWS]),
        states=tuple(
            Tab(label, visit.url("plans", {"state": name} if name else None), name == state)
            for name, label in (("", "all"), *((name, one.word) for name, one in STATES.items()))
        ),
        is_filtered=bool(state),
        share=missing.share,
        planned_usd=missing.planned_usd,
        total_usd=missing.total_usd,
        missing=missing.row_count,
        missing_usd=missing.unplanned_usd,
        days=UNPLANNED_DAYS,
        missing_url=visit.url("plans_missing"),
        new_url=visit.url("plan_new"),
        may_change=visit.may(Permission.MANAGE_PLANS),
        first_url=visit.url("plans", kept) if query.get("cursor") else "",
        next_url=visit.url("plans", {**kept, "cursor": cursor_of(found[ROWS - 1].pk)}) if len(found) > ROWS else "",
    )
    return visit.render("portal/plans.html", frame=visit.frame("Plans", Crumb("Plans")), plans=page)


def _after(visit: Visit) -> int | None:
    """Where the page before ended; None where the text is no cursor of ours."""
    try:
        found: int = position_of(str(visit.request.GET.get("cursor", "")), int)
    except DomainError:
        return None
    return found if 0 < found < 2**63 else None


def _row(visit: Visit, plan: Plan, version: PlanVersion | None) -> PlanRow:
    result = version.result if version else None
    return PlanRow(
        name=plan.name,
        url=visit.url_of("plan", str(plan.pk)),
        workflow=plan.workflow_slug,
        team=plan.team.slug if plan.team else None,
        owner=plan.owner.email if plan.owner else "",
        state=STATES[plan.state],
        waits=waits(plan),
        launch_on=plan.launch_on,
        run_usd=decimal_at(result, "run", "p50_usd") if result else None,
        p50_usd=decimal_at(result, "months", 0, "p50_usd") if result else None,
        p90_usd=decimal_at(result, "months", 0, "p90_usd") if result else None,
        calibration=plan.calibration["status"] if plan.calibration else "",
    )


def waits(plan: Plan) -> bool:
    """Whether its newest version waits for somebody to approve it, beside one that was approved."""
    return plan.state != Plan.State.RETIRED and plan.approved is not None and plan.latest > plan.approved


@organization_page(section="plans", permission=Permission.VIEW_SPEND, within_team=True)
def missing(visit: Visit) -> HttpResponse:
    """What spends in production without an approved plan, the largest first."""
    with tenant(visit.org):
        found = unplanned(visit.org, visit.at, team=visit.team)
    page = MissingPage(
        rows=tuple(_missing_row(visit, row) for row in found.rows[:MISSING_SHOWN]),
        row_count=found.row_count,
        planned=found.planned,
        planned_usd=found.planned_usd,
        unplanned_usd=found.unplanned_usd,
        unattributed_usd=found.unattributed_usd,
        total_usd=found.total_usd,
        share=found.share,
        days=UNPLANNED_DAYS,
        may_change=visit.may(Permission.MANAGE_PLANS),
        unattributed_url=visit.url("unattributed") if visit.teams is None else "",
        plans_url=visit.url("plans"),
    )
    crumbs = (Crumb("Plans", visit.url("plans")), Crumb("Without a plan"))
    return visit.render(
        "portal/plans_missing.html", frame=visit.frame("Workflows without a plan", *crumbs), missing=page
    )


def _missing_row(visit: Visit, found: UnplannedWorkflow) -> MissingRow:
    row = told_to(found, teams=visit.teams)
    return MissingRow(
        workflow=row.slug,
        url=visit.url("spend", {"workflow": row.slug, "group_by": "model"}),
        project=row.project or "",
        team="another team" if row.project is None else row.team,
        cost_usd=row.cost_usd,
        events=row.events,
        unpriced_events=row.unpriced_events,
        draft=row.draft.name if row.draft else "",
        draft_url=visit.url_of("plan", str(row.draft.pk)) if row.draft else "",
        fit_url=visit.url("plan_new", {"from": "fit", "workflow": row.slug}),
    )
