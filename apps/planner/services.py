"""Plans: made, revised, approved, launched, retired: each audited, in one transaction with what follows of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.audit import services as audit
from apps.core.errors import DomainError, NotFound
from apps.core.tenancy import tenant
from apps.core.text import is_name
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar, member_by_email
from apps.planner.announcing import announce, withdraw
from apps.planner.models import (
    CONDITIONS_LENGTH_MAX,
    NAME_LENGTH_MAX,
    NOTE_LENGTH_MAX,
    Plan,
    PlanDecision,
    PlanVersion,
)
from apps.planner.reckoning import Reckoned
from apps.planner.selectors import version_of
from apps.teams.models import NAME_LENGTH_MAX as SLUG_LENGTH_MAX
from apps.teams.models import Project, Team, Workflow
from apps.teams.selectors import owned, require_project, require_team, workflow_by_slug

# Of one organization, those that are not retired.
PLANS_MAX = 2_000
VERSIONS_MAX = 500
YEARS = (1971, 2199)
Act = PlanDecision.Act
State = Plan.State


@dataclass(frozen=True, slots=True)
class PlanTerms:
    """What a plan is called and whose it is. `owner` is a member's address; "" leaves a field to what is known."""

    name: str
    workflow: str
    team: str = ""
    project: str = ""
    owner: str = ""
    launch_on: date | None = None


def create_plan(
    *, org: Organization, terms: PlanTerms, reckoned: Reckoned, origin: str, note: str = "", actor: object
) -> Plan:
    """A draft with its first version.

    Raises `DomainError`: `name_invalid`, `name_known`, `workflow_invalid`, `team_unknown`, `project_unknown`,
    `owner_not_member`, `launch_on_invalid`, `note_invalid`, `too_many_plans`.
    """
    now = timezone.now()
    note = _one_line(note, "note", NOTE_LENGTH_MAX)
    with tenant(org):
        if Plan.objects.for_org(org).exclude(state=State.RETIRED).count() >= PLANS_MAX:
            raise DomainError("too_many_plans", f"An organization has at most {PLANS_MAX} plans: retire one first.")
        fields = _fields(org, terms, now)
        plan = Plan(organization=org, created_at=now, created_by=str(actor), **fields)
        _save_once(plan)
        _add_version(org, plan, reckoned, origin, note, actor, now)
        _decide(org, plan, Act.CREATED, 1, note, actor, now)
        audit.record(
            org=org, actor=actor, action="plans.created", subject=plan.name, data={"workflow": plan.workflow_slug}
        )
    return plan


def revise_plan(
    *, org: Organization, plan_id: int, base: int, reckoned: Reckoned, origin: str, note: str = "", actor: object
) -> PlanVersion:
    """The next version, made from version `base`; what was approved stays so until the new one is approved.

    Raises `NotFound`, `DomainError`: `plan_changed` where somebody revised it since `base`, `plan_retired`,
    `note_invalid`, `too_many_versions`.
    """
    now = timezone.now()
    note = _one_line(note, "note", NOTE_LENGTH_MAX)
    with tenant(org):
        plan = locked(org, plan_id)
        _require_not_retired(plan)
        if base != plan.latest:
            raise DomainError(
                "plan_changed",
                f"'{plan.name}' is at version {plan.latest}, and this was made from version {base}: look at the newer"
                " one, and save again.",
                param="base_version",
            )
        if plan.latest >= VERSIONS_MAX:
            raise DomainError("too_many_versions", f"A plan has at most {VERSIONS_MAX} versions: make another plan.")
        plan.latest += 1
        version = _add_version(org, plan, reckoned, origin, note, actor, now)
        plan.save(update_fields=["latest"])
        is_proposal = origin == PlanVersion.Origin.CALIBRATION
        _decide(org, plan, Act.PROPOSED if is_proposal else Act.REVISED, plan.latest, note, actor, now)
        audit.record(
            org=org, actor=actor, action="plans.proposed" if is_proposal else "plans.revised", subject=plan.name,
            data={"version": plan.latest, "note": note},
        )  # fmt: skip
    return version


def change_plan(*, org: Organization, plan_id: int, changes: Mapping[str, Any], actor: object) -> Plan:
    """Change name, team, project, owner or launch date; of a live plan the launch date stays, and no plan changes its
    workflow. Raises as `create_plan` does, `NotFound`, `DomainError` (`plan_retired`, `field_fixed`).
    """
    now = timezone.now()
    with tenant(org):
        plan = locked(org, plan_id)
        _require_not_retired(plan)
        before = terms_of(plan)
        terms = PlanTerms(**{name: changes.get(name, getattr(before, name)) for name in PlanTerms.__slots__})
        for name in ("workflow", *(("launch_on",) if plan.state == State.LIVE else ())):
            if getattr(terms, name) != getattr(before, name):
                raise DomainError("field_fixed", f"{name} of this plan does not change: make another plan.", param=name)
        changed = {name: getattr(terms, name) for name in PlanTerms.__slots__ if name in changes}
        if "owner" not in changes:
            # Who left the organization since still stands there, until somebody names another.
            terms = replace(terms, owner="")
        fields = {name: value for name, value in _fields(org, terms, now).items() if name in changes}
        moved = "owner" in fields and fields["owner"] != plan.owner
        for name, value in fields.items():
            setattr(plan, name, value)
        _save_once(plan)
        if moved:
            _decide(org, plan, Act.TRANSFERRED, plan.latest, terms.owner, actor, now)
        if plan.approved is not None:
            announce(org, plan, version_of(org, plan, plan.approved))
        data = {name: value.isoformat() if isinstance(value, date) else value for name, value in changed.items()}
        audit.record(org=org, actor=actor, action="plans.changed", subject=plan.name, data=data)
    return plan


# --- approval -------------------------------------------------------------------------------------------


def approve_plan(*, org: Organization, plan_id: int, version: int, conditions: str = "", actor: object) -> Plan:
    """From now on the plan is held to this version. Who made it may approve it too, and the history says so.

    Approving it twice on the same conditions changes nothing. Raises `NotFound`, `DomainError`: `plan_retired`,
    `plan_changed` for a version that is not the newest, `plan_unpriced`, `conditions_invalid`.
    """
    now = timezone.now()
    conditions = _one_line(conditions, "conditions", CONDITIONS_LENGTH_MAX)
    with tenant(org):
        plan = locked(org, plan_id)
        _require_not_retired(plan)
        chosen = _newest(org, plan, version)
        if chosen.result is None:
            raise DomainError(
                "plan_unpriced",
                f"Version {version} has no total, since a model of it has no price: enter a price, or name another"
                " model.",
                param="version",
            )
        if (plan.approved, plan.conditions) == (version, conditions):
            return plan
        plan.approved, plan.conditions, plan.approved_at, plan.approved_by = version, conditions, now, str(actor)
        plan.state = State.APPROVED if plan.state == State.DRAFT else plan.state
        plan.save(update_fields=["approved", "conditions", "approved_at", "approved_by", "state"])
        is_own = chosen.created_by == str(actor)
        _decide(org, plan, Act.APPROVED, version, conditions, actor, now, is_own=is_own)
        announce(org, plan, chosen)
        data = {"version": version, "conditions": conditions, "own": is_own}
        audit.record(org=org, actor=actor, action="plans.approved", subject=plan.name, data=data)
    return plan


def reject_plan(*, org: Organization, plan_id: int, version: int, reason: str, actor: object) -> Plan:
    """The newest version is not approved, and why; what was approved before stays so.

    Raises `NotFound`, `DomainError`: `plan_retired`, `plan_changed`, `plan_approved` where it was approved already,
    `reason_invalid`.
    """
    now = timezone.now()
    reason = _one_line(reason, "reason", CONDITIONS_LENGTH_MAX, is_needed=True)
    with tenant(org):
        plan = locked(org, plan_id)
        _require_not_retired(plan)
        _newest(org, plan, version)
        if plan.approved == version:
            raise DomainError(
                "plan_approved",
                f"Version {version} was approved by {plan.approved_by}: revise the plan, or retire it.",
                param="version",
            )
        _decide(org, plan, Act.REJECTED, version, reason, actor, now)
        data = {"version": version, "reason": reason}
        audit.record(org=org, actor=actor, action="plans.rejected", subject=plan.name, data=data)
    return plan


def _newest(org: Organization, plan: Plan, version: int) -> PlanVersion:
    if version != plan.latest:
        raise DomainError(
            "plan_changed",
            f"'{plan.name}' is at version {plan.latest}, not {version}: look at the newest one and decide on that.",
            param="version",
        )
    return version_of(org, plan, version)


def launch_plan(*, org: Organization, plan_id: int, actor: object) -> Plan:
    """Its workflow runs in production from today on, under what was approved. Launching it twice changes nothing.

    Raises `NotFound`, `DomainError`: `plan_retired`, `plan_not_approved`, `plan_live_already` where the workflow has
    another live plan.
    """
    now = timezone.now()
    with tenant(org):
        plan = locked(org, plan_id)
        _require_not_retired(plan)
        if plan.state == State.LIVE:
            return plan
        if plan.approved is None:
            raise DomainError("plan_not_approved", f"'{plan.name}' is a draft: somebody approves it first.")
        plan.state, plan.launched_at = State.LIVE, now
        plan.launch_on = now.astimezone(calendar(org).zone_at(now)).date()
        link_workflow(org, plan)
        _save_live(org, plan)
        _decide(org, plan, Act.LAUNCHED, plan.approved, "", actor, now)
        announce(org, plan, version_of(org, plan, plan.approved))
        data = {"version": plan.approved, "workflow": plan.workflow_slug}
        audit.record(org=org, actor=actor, action="plans.launched", subject=plan.name, data=data)
    return plan


def retire_plan(
    *, org: Organization, plan_id: int, reason: str = "", ends_on: date | None = None, actor: object
) -> Plan:
    """Nothing is held to it any more; its past stays. `ends_on` is the day from which the workflow itself runs no more,
    as forecasts then reckon; None: the plan alone ends. Twice changes nothing.

    Raises `NotFound`, `DomainError` (`reason_invalid`, `ends_on_invalid`).
    """
    now = timezone.now()
    reason = _one_line(reason, "reason", CONDITIONS_LENGTH_MAX)
    with tenant(org):
        plan = locked(org, plan_id)
        if plan.state == State.RETIRED:
            return plan
        plan.state, plan.retired_at = State.RETIRED, now
        plan.save(update_fields=["state", "retired_at"])
        _decide(org, plan, Act.RETIRED, plan.approved or plan.latest, reason, actor, now)
        withdraw(org, plan, _a_day_within(ends_on, "ends_on"))
        data = {"reason": reason, "ends_on": ends_on.isoformat() if ends_on else None}
        audit.record(org=org, actor=actor, action="plans.retired", subject=plan.name, data=data)
    return plan


# --- what they share ------------------------------------------------------------------------------------


def locked(org: Organization, plan_id: int) -> Plan:
    """The plan, which nobody else changes until the transaction ends. Raises `NotFound`. Inside `tenant(org)`."""
    if plan_id >= 2**63:
        raise NotFound("plan")
    plan = Plan.objects.for_org(org).select_for_update().filter(pk=plan_id).first()
    if plan is None:
        raise NotFound("plan")
    return plan


def terms_of(plan: Plan) -> PlanTerms:
    """As a caller would write them. Inside `tenant(org)`."""
    return PlanTerms(
        name=plan.name,
        workflow=plan.workflow_slug,
        team=plan.team.slug if plan.team else "",
        project=plan.project.slug if plan.project else "",
        owner=plan.owner.email if plan.owner else "",
        launch_on=plan.launch_on,
    )


def link_workflow(org: Organization, plan: Plan) -> bool:
    """Set the plan's workflow where its name is known by now; whether that is new. The caller saves."""
    if plan.workflow_id is not None:
        return False
    plan.workflow = workflow_by_slug(org, plan.workflow_slug)
    return plan.workflow is not None


def decide(org: Organization, plan: Plan, act: str, note: str, actor: object) -> None:
    """A line of the plan's history, about its newest version."""
    _decide(org, plan, act, plan.latest, note, actor, timezone.now())


def _fields(org: Organization, terms: PlanTerms, at: datetime) -> dict[str, Any]:
    name = " ".join(terms.name.split()) if isinstance(terms.name, str) else ""
    if not is_name(name, NAME_LENGTH_MAX):
        raise DomainError("name_invalid", f"name has 1 to {NAME_LENGTH_MAX} printable characters.", param="name")
    slug = terms.workflow.strip() if isinstance(terms.workflow, str) else ""
    if not is_name(slug, SLUG_LENGTH_MAX):
        raise DomainError(
            "workflow_invalid",
            f"workflow has 1 to {SLUG_LENGTH_MAX} printable characters: the name that events will say.",
            param="workflow",
        )
    workflow = workflow_by_slug(org, slug)
    project = _project(org, terms.project, workflow)
    return {
        "name": name,
        "workflow_slug": slug,
        "workflow": workflow,
        "project": project,
        "team": _team(org, terms.team, project, at),
        "owner": _member(org, terms.owner),
        "launch_on": _a_day_within(terms.launch_on, "launch_on"),
    }


def _project(org: Organization, slug: str, workflow: Workflow | None) -> Project | None:
    if slug:
        return require_project(org, slug)
    return workflow.project if workflow else None


def _team(org: Organization, slug: str, project: Project | None, at: datetime) -> Team | None:
    """The one that is named, else whoever owns the project."""
    if slug:
        return require_team(org, slug)
    owner = owned(org, [project], at)[0][1] if project else None
    return require_team(org, owner) if owner else None


def _member(org: Organization, email: str) -> Any:
    if not email:
        return None
    member = member_by_email(org, email) if is_name(email, SLUG_LENGTH_MAX) else None
    if member is None:
        raise DomainError(
            "owner_not_member", f"'{email[:100]}' is no member of {org.slug}: write the address of one.", param="owner"
        )
    return member


def _a_day_within(day: date | None, field: str) -> date | None:
    if day is not None and not YEARS[0] <= day.year <= YEARS[1]:
        raise DomainError(
            f"{field}_invalid", f"{field} is {day}: write a day from {YEARS[0]} to {YEARS[1]}.", param=field
        )
    return day


def _one_line(text: str, field: str, length_max: int, *, is_needed: bool = False) -> str:
    """One line, of what people wrote in several."""
    found = " ".join(text.split())
    if (found or is_needed) and not is_name(found, length_max):
        raise DomainError(f"{field}_invalid", f"{field} has 1 to {length_max} printable characters.", param=field)
    return found


def _require_not_retired(plan: Plan) -> None:
    if plan.state == State.RETIRED:
        raise DomainError("plan_retired", f"'{plan.name}' is retired: make another plan.", param="plan_id")


def _save_once(plan: Plan) -> None:
    try:
        with transaction.atomic():
            plan.save()
    except IntegrityError:
        raise DomainError(
            "name_known", f"There is a plan '{plan.name}' already: choose another name.", param="name"
        ) from None


def _save_live(org: Organization, plan: Plan) -> None:
    try:
        with transaction.atomic():
            plan.save(update_fields=["state", "launched_at", "launch_on", "workflow"])
    except IntegrityError:
        other = Plan.objects.for_org(org).filter(workflow_slug=plan.workflow_slug, state=State.LIVE).first()
        name = f" '{other.name}'" if other else ""
        raise DomainError(
            "plan_live_already",
            f"{plan.workflow_slug} has a live plan{name} already: retire it first.",
            param="plan_id",
        ) from None


def _add_version(
    org: Organization, plan: Plan, reckoned: Reckoned, origin: str, note: str, actor: object, now: datetime
) -> PlanVersion:
    version: PlanVersion = PlanVersion.objects.for_org(org).create(
        organization=org,
        plan=plan,
        number=plan.latest,
        definition=reckoned.definition,
        prices_at=reckoned.prices_at,
        cards=reckoned.cards,
        seed=reckoned.seed,
        result=reckoned.result,
        origin=origin,
        note=note,
        created_at=now,
        created_by=str(actor),
    )
    return version


def _decide(
    org: Organization, plan: Plan, act: str, version: int, note: str, actor: object, now: datetime,
    *, is_own: bool = False,
) -> None:  # fmt: skip
    PlanDecision.objects.for_org(org).create(
        organization=org, plan=plan, act=act, version=version, note=note, is_own=is_own, at=now, actor=str(actor)
    )
