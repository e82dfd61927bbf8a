"""Why a month cost more than its plan, and than another month; and the part of it on a workflow's page."""

from datetime import date

from django.db import transaction
from django.http import HttpResponse

from apps.core.errors import DomainError, NotFound
from apps.core.periods import month_before
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.planner import against
from apps.planner.actuals_sql import CUTS
from apps.planner.models import Plan
from apps.planner.selectors import plan_by_id, plans_of_workflow
from apps.portal.access import Visit, organization_page, refused
from apps.portal.against_pages import FIRST_YEAR, months_page, plan_page
from apps.portal.filters import filters_of
from apps.portal.pages import Crumb
from apps.portal.pages_against import AgainstPart
from apps.portal.views.statements import asked_month
from apps.portal.workflow_access import Sight, sees_plan
from apps.teams.models import Workflow


@organization_page(section="plans", permission=Permission.VIEW_SPEND, within_team=True)
def plan_against(visit: Visit, plan_id: int) -> HttpResponse:
    with tenant(visit.org):
        plan = plan_by_id(visit.org, plan_id)
    if not sees_plan(visit, plan):
        raise NotFound("plan")
    month = _asked_month(visit)
    try:
        found = against.against_plan(visit.org, plan, month, at=visit.at, cut=_team_of(visit, plan))
    except DomainError as error:
        return refused(visit, error)
    page = plan_page(visit, plan, found)
    crumbs = (
        Crumb("Plans", visit.url("plans")),
        Crumb(plan.name, visit.url_of("plan", str(plan.pk))),
        Crumb("Against actual"),
    )
    frame = visit.frame(f"{plan.name}, plan against actual", *crumbs)
    return visit.render("portal/against.html", frame=frame, page=page)


@organization_page(section="spend", permission=Permission.VIEW_SPEND, within_team=True)
def month_changes(visit: Visit) -> HttpResponse:
    """A month against the one before, or `before`: of a workflow, a team, a project, or all that one may see."""
    query = visit.request.GET
    cut = visit.cut({name: value for name, value in filters_of(query, CUTS).items() if name in CUTS and value})
    month = _asked_month(visit)
    before = _asked_before(visit) or month_before(month)
    try:
        found = against.month_over_month(visit.org, month, before, at=visit.at, cut=cut)
    except DomainError as error:
        return refused(visit, error)
    page = months_page(visit, found, cut)
    name = ", ".join(cut.values())
    frame = visit.frame(
        f"Why {name or 'spend'} changed", Crumb("Explorer", visit.url("spend", cut)), Crumb("Month against month")
    )
    return visit.render("portal/against.html", frame=frame, page=page)


def plan_part(visit: Visit, workflow: Workflow, sight: Sight) -> AgainstPart | None:
    """This month against the workflow's plan, else against as much of the month before; None without either.

    Of a lead's teams, one: that of the plan, else the one that the page is about. Inside `tenant(org)`.
    """
    try:
        # What takes too long stands on a page of its own, which says so, and leaves this one as it is.
        with transaction.atomic():
            return _part(visit, workflow, sight)
    except DomainError:
        return None


def _part(visit: Visit, workflow: Workflow, sight: Sight) -> AgainstPart | None:
    month = visit.calendar.month_of(visit.at)
    plans = [one for one in plans_of_workflow(visit.org, workflow) if sees_plan(visit, one)]
    plan = next((one for one in plans if one.approved and one.retired_at is None), None)
    if plan is not None:
        held = against.against_plan(visit.org, plan, month, at=visit.at, cut=_team_of(visit, plan))
        return AgainstPart(
            "Plan against actual", plan_page(visit, plan, held), visit.url_of("plan_against", str(plan.pk))
        )
    cut = {"workflow": workflow.slug, **sight.asked}
    found = against.month_over_month(visit.org, month, month_before(month), at=visit.at, cut=cut)
    if found.variance is None:
        return None
    return AgainstPart("Against the month before", months_page(visit, found, cut), visit.url("month_changes", cut))


def _asked_month(visit: Visit) -> date:
    """The month that the address names; the one under way where it names none, or one to come."""
    this = visit.calendar.month_of(visit.at)
    return min(asked_month(visit) or this, this)


def _asked_before(visit: Visit) -> date | None:
    text = str(visit.request.GET.get("before", ""))
    try:
        return date.fromisoformat(f"{text}-01") if len(text) == 7 and int(text[:4]) >= FIRST_YEAR else None
    except ValueError:
        return None


def _team_of(visit: Visit, plan: Plan) -> dict[str, str]:
    """A lead sees of a workflow what is the plan's team's."""
    return {} if visit.teams is None or plan.team is None else {"team": plan.team.slug}
