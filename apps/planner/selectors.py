"""Plans as they stand, and workflows that run without one. Inside `tenant(org)` where not said."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import Q, QuerySet

from apps.core.errors import DomainError, NotFound
from apps.core.money import sum_usd
from apps.core.periods import Calendar
from apps.core.tenancy import HasPk
from apps.organizations.models import Organization
from apps.planner.models import Plan, PlanDecision, PlanVersion
from apps.reports.selectors import SpendQuestion, Sums, spend
from apps.teams.models import Workflow
from apps.teams.selectors import owned
from apps.usage.parts_sql import Part
from apps.usage.shared import uses_of

PAGE_MAX = 200
HISTORY_MAX = 200
VERSIONS_SHOWN = 50
# What counts as running in production: spend of these days.
UNPLANNED_DAYS = 30
UNPLANNED_MAX = 1_000
# Further back than runs that a plan is held against.
CALIBRATED_DAYS = 90
# Plans under which a workflow may run.
IN_FORCE = (Plan.State.APPROVED, Plan.State.LIVE)
_JOINED = ("workflow", "team", "project", "owner")


def find_plans(
    org: HasPk,
    *,
    state: str = "",
    workflow: str = "",
    teams: Sequence[str] | None = None,
    project: str = "",
    text: str = "",
    after: int | None = None,
    limit: int,
) -> list[Plan]:
    """Newest first, after an id. Raises `DomainError` (`state_unknown`)."""
    rows = _plans(org)
    if state:
        if state not in Plan.State.values:
            raise DomainError(
                "state_unknown", f"state is '{state[:40]}': it is {', '.join(Plan.State.values)}.", param="state"
            )
        rows = rows.filter(state=state)
    if workflow:
        rows = rows.filter(workflow_slug=workflow)
    if teams is not None:
        rows = rows.filter(team__slug__in=teams)
    if project:
        rows = rows.filter(project__slug=project)
    if text:
        rows = rows.filter(name__icontains=text)
    if after is not None:
        rows = rows.filter(pk__lt=after)
    return list(rows.order_by("-pk")[:limit])


def plan_by_id(org: HasPk, plan_id: int) -> Plan:
    """Raises `NotFound`."""
    row = _plans(org).filter(pk=plan_id).first() if plan_id < 2**63 else None
    if row is None:
        raise NotFound("plan")
    return row


def version_of(org: HasPk, plan: Plan, number: int) -> PlanVersion:
    """Raises `NotFound`."""
    rows = PlanVersion.objects.for_org(org).filter(plan=plan, number=number)
    row = rows.first() if number < 2**31 else None
    if row is None:
        raise NotFound("version of this plan")
    return row


def versions_of(org: HasPk, plan: Plan, limit: int = VERSIONS_SHOWN) -> list[PlanVersion]:
    """The newest, newest first, and at the end the approved one where it is older. One query."""
    shown = Q(number__gt=plan.latest - limit) | Q(number=plan.approved)
    return list(PlanVersion.objects.for_org(org).filter(shown, plan=plan).order_by("-number"))


def standing_versions(org: HasPk, plans: Sequence[Plan]) -> Mapping[int, PlanVersion]:
    """What each plan says now, by its id: the approved version, of a draft the newest. One query."""
    numbers = {plan.pk: plan.approved or plan.latest for plan in plans}
    rows = PlanVersion.objects.for_org(org).filter(plan_id__in=numbers, number__in=set(numbers.values()))
    return {row.plan_id: row for row in rows if numbers[row.plan_id] == row.number}


def decisions_of(org: HasPk, plan: Plan) -> list[PlanDecision]:
    """What was done to a plan, newest first."""
    rows = PlanDecision.objects.for_org(org).filter(plan=plan).order_by("-at", "-pk")
    return list(rows[:HISTORY_MAX])


def live_plans(org: HasPk) -> list[Plan]:
    return list(_plans(org).filter(state=Plan.State.LIVE).order_by("pk"))


def versions_in_force(org: HasPk, workflows: Sequence[str]) -> Mapping[str, PlanVersion]:
    """By workflow, the approved version of its live plan, else of the plan that was approved last. Two queries."""
    rows = Plan.objects.for_org(org).filter(state__in=IN_FORCE, workflow_slug__in=workflows).order_by("approved_at")
    # Live ones last: they win.
    chosen = {plan.workflow_slug: plan for plan in sorted(rows, key=lambda plan: plan.state == Plan.State.LIVE)}
    versions = standing_versions(org, list(chosen.values())) if chosen else {}
    return {slug: versions[plan.pk] for slug, plan in chosen.items() if plan.pk in versions}


def plans_of_workflow(org: HasPk, workflow: Workflow) -> list[Plan]:
    """The plans of a workflow, live ones first, then newest first."""
    rows = _plans(org).filter(workflow=workflow).order_by("-pk")
    return sorted(rows, key=lambda plan: plan.state != Plan.State.LIVE)


def _plans(org: HasPk) -> QuerySet[Plan]:
    return Plan.objects.for_org(org).select_related(*_JOINED)


def without_others(org: HasPk, clock: Calendar, plans: Sequence[Plan], part: Part | None, at: datetime) -> list[Plan]:
    """The plans as who sees a part of the organization reads them: what real runs say of a plan is of all runs of its
    workflow, and not theirs to know where others used it in the last `CALIBRATED_DAYS`. Nothing is saved.
    """
    told = [plan for plan in plans if plan.calibration]
    if part is not None and told:
        since = at - timedelta(days=CALIBRATED_DAYS)
        uses = uses_of(org, clock, sorted({plan.workflow_slug for plan in told}), part, since, at)
        for plan in told:
            if uses[plan.workflow_slug].is_shared:
                plan.calibration = None
    return list(plans)


# --- workflows in production without an approved plan ----------------------------------------------------


@dataclass(frozen=True, slots=True)
class UnplannedWorkflow:
    """A workflow that spends and has no approved plan; `draft` is one that waits for approval, if any.

    `project` is None where its reader is not told whose it is.
    """

    slug: str
    name: str
    project: str | None
    team: str | None
    cost_usd: Decimal | None
    events: int
    unpriced_events: int
    draft: Plan | None


@dataclass(frozen=True, slots=True)
class Unplanned:
    """Of the spend of [start, end): what runs under approved plans, what under none, and what names no workflow.

    `rows` are the workflows without an approved plan that spent most, of `row_count`; `planned` counts those with one.
    """

    start: datetime
    end: datetime
    rows: tuple[UnplannedWorkflow, ...]
    row_count: int
    planned: int
    planned_usd: Decimal
    unplanned_usd: Decimal
    unattributed_usd: Decimal

    @property
    def total_usd(self) -> Decimal:
        return sum_usd((self.planned_usd, self.unplanned_usd, self.unattributed_usd))

    @property
    def share(self) -> Decimal | None:
        """Of all spend, what runs under an approved plan; None where nothing was spent."""
        return self.planned_usd / self.total_usd if self.total_usd else None


def unplanned(org: Organization, at: datetime, *, team: str | None = None, project: str | None = None) -> Unplanned:
    """What spent in the last `UNPLANNED_DAYS` days and runs without an approved plan, the largest first."""
    start = at - timedelta(days=UNPLANNED_DAYS)
    # Whole hours come from rollups alone.
    start = start.replace(minute=0, second=0, microsecond=0)
    filters = {name: value for name, value in (("team", team), ("project", project)) if value is not None}
    found = spend(org, SpendQuestion(start=start, end=at, group_by=("workflow",), filters=filters, largest=True))
    sums = {row.groups[0]: row.sums for row in found.rows}
    in_force = set(
        Plan.objects.for_org(org).filter(state__in=IN_FORCE, workflow_slug__in=[slug for slug in sums if slug])
        .values_list("workflow_slug", flat=True)
    )  # fmt: skip
    without = [slug for slug in sums if slug is not None and slug not in in_force]
    return Unplanned(
        start=start,
        end=at,
        rows=tuple(_rows(org, {slug: sums[slug] for slug in without[:UNPLANNED_MAX]}, at)),
        row_count=len(without),
        planned=len(in_force),
        planned_usd=sum_usd(sums[slug].cost_usd or Decimal(0) for slug in in_force),
        unplanned_usd=sum_usd(sums[slug].cost_usd or Decimal(0) for slug in without),
        unattributed_usd=sums[None].cost_usd or Decimal(0) if None in sums else Decimal(0),
    )


def told_to(
    row: UnplannedWorkflow, *, teams: Collection[str] | None = None, project: str | None = None
) -> UnplannedWorkflow:
    """Without the names of what is not of these teams and this project: who owns the workflow, and its draft."""
    is_own = (teams is None or row.team in teams) and project in (None, row.project)
    draft = row.draft
    if draft is not None:
        of_team = teams is None or (draft.team is not None and draft.team.slug in teams)
        of_project = project is None or (draft.project is not None and draft.project.slug == project)
        draft = draft if of_team and of_project else None
    whose = (row.project, row.team) if is_own else (None, None)
    return replace(row, project=whose[0], team=whose[1], draft=draft)


def _rows(org: Organization, sums: Mapping[str, Sums], at: datetime) -> list[UnplannedWorkflow]:
    known = {row.slug: row for row in Workflow.objects.for_org(org).filter(slug__in=sums).select_related("project")}
    projects = {row.project_id: row.project for row in known.values()}
    owners = {project.pk: team for project, team in owned(org, list(projects.values()), at)}
    drafts = {
        plan.workflow_slug: plan
        for plan in _plans(org).filter(state=Plan.State.DRAFT, workflow_slug__in=sums).order_by("pk")
    }
    return [
        UnplannedWorkflow(
            slug=slug,
            name=known[slug].name,
            project=known[slug].project.slug,
            team=owners.get(known[slug].project_id),
            cost_usd=found.cost_usd,
            events=found.events,
            unpriced_events=found.unpriced_events,
            draft=drafts.get(slug),
        )
        for slug, found in sums.items()
        if slug in known
    ]
