"""One plan: what it says and comes to, its versions, who decided what, how it holds, and what is made of it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from django.http import Http404, HttpResponse, HttpResponseRedirect

from apps.alerts.tasks import hint_tell
from apps.budgets.models import RunBound
from apps.core.errors import DomainError, NotFound
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.organizations.selectors import member_emails
from apps.planner import controls, services
from apps.planner.fitting import billed_words, folded_words
from apps.planner.models import Plan, PlanDecision, PlanVersion
from apps.planner.results import decimal_at
from apps.planner.selectors import decisions_of, plan_by_id, version_of, versions_of, without_others
from apps.portal import formats
from apps.portal.access import Visit, organization_page
from apps.portal.audit_words import who, within
from apps.portal.pages import Crumb
from apps.portal.pages_plans import CalibrationPanel, ControlRow, DecisionRow, PlanPage, VersionRow
from apps.portal.plan_results import result_panel
from apps.portal.views.plans import CALIBRATIONS, STATES, waits
from apps.portal.workflow_access import may_open, sees_plan

MEMBERS_SUGGESTED = 200
TEXT_MAX = 2_100
DID = {
    "created": "made it",
    "revised": "revised it",
    "proposed": "proposed a revision",
    "approved": "approved it",
    "rejected": "rejected it",
    "launched": "launched it",
    "retired": "retired it",
    "transferred": "handed it over",
    "budgeted": "made its controls",
}
ORIGINS = {"template": "from a template", "form": "by hand", "fit": "from real runs", "calibration": "proposed by runs"}


@organization_page(section="plans", permission=Permission.VIEW_SPEND, within_team=True)
def plan(visit: Visit, plan_id: int) -> HttpResponse:
    """The approved version, of a draft the newest; `version` shows another."""
    with tenant(visit.org):
        found = seen(visit, plan_id)
        said = found.calibration
        without_others(visit.org, visit.calendar, [found], visit.part, visit.at)
        version = version_of(visit.org, found, _asked(visit, found))
        versions = versions_of(visit.org, found)
        decisions = decisions_of(visit.org, found)
        rows = tuple(_controls(visit, found, versions))
        members = member_emails(visit.org, MEMBERS_SUGGESTED) if visit.may(Permission.MANAGE_PLANS) else []
        # A plan of a lead's team may be one of a workflow that another team runs.
        opens = found.workflow is not None and may_open(visit, found.workflow)
    page = _page(visit, found, version, versions, decisions, rows, tuple(members), opens)
    if found.calibration != said:
        page = replace(page, calibration=None)
    frame = visit.frame(found.name, Crumb("Plans", visit.url("plans")), Crumb(found.name))
    return visit.render("portal/plan.html", frame=frame, plan=page)


def seen(visit: Visit, plan_id: int) -> Plan:
    """The plan; of a lead, one of the teams that they lead. Raises `NotFound`. Inside `tenant(org)`."""
    found = plan_by_id(visit.org, plan_id)
    if not sees_plan(visit, found):
        raise NotFound("plan")
    return found


def _asked(visit: Visit, found: Plan) -> int:
    text = str(visit.request.GET.get("version", ""))
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else found.approved or found.latest


def _page(
    visit: Visit,
    found: Plan,
    version: PlanVersion,
    versions: list[PlanVersion],
    decisions: list[PlanDecision],
    rows: tuple[ControlRow, ...],
    members: tuple[str, ...],
    opens: bool,
) -> PlanPage:
    today = visit.at.astimezone(visit.calendar.zone_at(visit.at)).date()
    key = str(found.pk)
    newest = versions[0]
    return PlanPage(
        id=found.pk,
        name=found.name,
        state=STATES[found.state],
        workflow=found.workflow_slug,
        workflow_url=visit.url_below("workflows", found.workflow_slug) if opens else "",
        team=found.team.slug if found.team else None,
        project=found.project.slug if found.project else None,
        owner=found.owner.email if found.owner else "",
        launch_on=found.launch_on,
        shown=version.number,
        latest=found.latest,
        approved=found.approved,
        conditions=found.conditions,
        approved_by=within(found.approved_by),
        approved_at=found.approved_at,
        waits=waits(found),
        note=version.note,
        result=result_panel(
            visit,
            version.result,
            version.cards,
            prices_at=version.prices_at,
            first=found.launch_on or today,
            definition=version.definition,
        ),
        versions=tuple(_version_row(visit, found, one, version.number) for one in versions),
        decisions=tuple(
            DecisionRow(one.at, DID[one.act], one.version, one.note, who(one.actor), one.is_own) for one in decisions
        ),
        calibration=_calibration(found) if found.state == Plan.State.LIVE else None,
        controls=rows,
        members=members,
        today=today,
        edit_url=visit.url_of("plan_edit", key),
        what_if_url=visit.url_of("plan_what_if", key),
        against_url="" if found.state == Plan.State.DRAFT else visit.url_of("plan_against", key),
        change_url=visit.url_of("plan_change", key),
        decide_url=visit.url_of("plan_decide", key),
        launch_url=visit.url_of("plan_launch", key),
        retire_url=visit.url_of("plan_retire", key),
        controls_url=visit.url_of("plan_controls", key),
        may_change=visit.may(Permission.MANAGE_PLANS) and found.state != Plan.State.RETIRED,
        may_approve=visit.may(Permission.APPROVE_PLANS)
        and found.state != Plan.State.RETIRED
        and found.latest != found.approved,
        may_budget=visit.may(Permission.MANAGE_BUDGETS) and found.state in ("approved", "live"),
        is_own=newest.created_by == visit.user.email,
        is_retired=found.state == Plan.State.RETIRED,
        is_live=found.state == Plan.State.LIVE,
    )


def _version_row(visit: Visit, found: Plan, one: PlanVersion, shown: int) -> VersionRow:
    return VersionRow(
        number=one.number,
        url=f"{visit.url_of('plan', str(found.pk))}?version={one.number}",
        is_shown=one.number == shown,
        is_approved=one.number == found.approved,
        origin=ORIGINS[one.origin],
        note=one.note,
        run_usd=decimal_at(one.result, "run", "p50_usd") if one.result else None,
        p50_usd=decimal_at(one.result, "months", 0, "p50_usd") if one.result else None,
        at=one.created_at,
        by=within(one.created_by),
    )


def _calibration(found: Plan) -> CalibrationPanel:
    said: dict[str, Any] = found.calibration or {"status": "planned", "runs": 0, "days": 0, "missing": []}
    gap = said.get("gap")
    real = said.get("run_usd")
    return CalibrationPanel(
        state=CALIBRATIONS[said["status"]],
        runs=said["runs"],
        days=said["days"],
        missing=tuple(said["missing"]),
        planned_usd=decimal_at(said, "planned_run_usd") if said.get("planned_run_usd") else None,
        real_usd=decimal_at(real, "mean") if real else None,
        gap="" if gap is None else "as planned" if round(gap, 3) == 0 else formats.growth(_ratio(gap)),
        at=found.calibrated_at,
        beside_usd=decimal_at(said, "beside_usd") or None if said.get("beside_usd") else None,
        notes=tuple(filter(None, (folded_words(said), billed_words(said)))),
        unpriced=tuple(said.get("unpriced", ())) if said.get("gap") is None else (),
    )


def _ratio(gap: float) -> Any:
    return decimal_at({"gap": str(gap)}, "gap")


def _controls(visit: Visit, found: Plan, versions: list[PlanVersion]) -> Iterator[ControlRow]:
    """What the approved version asks for beside what stands. Inside `tenant(org)`."""
    version = next((one for one in versions if one.number == found.approved), None)
    if version is None or version.result is None:
        return
    asked = controls.asked_by(version.result)
    for label, row, amount in (
        ("Budget", found.budget, asked.budget_usd), ("Cap", found.cap, asked.cap_usd),
    ):  # fmt: skip
        stands = row is not None and row.ended_at is None
        yield ControlRow(
            label=label,
            asks=f"{formats.money(amount)} USD a month",
            stands=f"{formats.money(row.amount_usd)} USD a month" if row is not None and stands else "",
            url=visit.url_of("budget", str(row.pk)) if row is not None and stands and visit.teams is None else "",
            is_in_step=row is not None and stands and row.amount_usd == amount,
        )
    bound = RunBound.objects.for_org(visit.org).filter(workflow=found.workflow).first() if found.workflow else None
    yield ControlRow(
        label="Run bounds",
        asks=_bound_words(asked.max_cost_usd, asked.max_steps, asked.max_attempts),
        stands=_bound_words(bound.max_cost_usd, bound.max_steps, bound.max_attempts) if bound else "",
        url=visit.url("bounds", {"workflow": found.workflow_slug}) + "#set" if visit.teams is None else "",
        is_in_step=bound is not None and all(getattr(bound, name) == value for name, value in asked.bounds.items()),
    )


def _bound_words(cost: Any, steps: int | None, attempts: int | None) -> str:
    words = [
        f"{formats.money(cost)} USD" if cost is not None else "",
        f"{formats.count(steps)} calls" if steps is not None else "",
        f"{formats.count(attempts)} attempts a call" if attempts is not None else "",
    ]
    return ", ".join(word for word in words if word) or "no bound of these"


# --- what its forms do ----------------------------------------------------------------------------------


@organization_page(section="plans", permission=Permission.VIEW_SPEND, writes=Permission.MANAGE_PLANS, is_act=True)
def plan_change(visit: Visit, plan_id: int) -> HttpResponse:
    """Its name, its owner, its team and the day of its launch."""
    given = visit.request.POST
    changes: dict[str, Any] = {
        name: str(given[name])[:TEXT_MAX].strip() for name in ("name", "owner", "team") if name in given
    }
    if text := str(given.get("launch_on", ""))[:40]:
        changes["launch_on"] = _day_written(visit, text, "launch_on")
    services.change_plan(org=visit.org, plan_id=plan_id, changes=changes, actor=visit.user)
    return _back(visit, plan_id)


@organization_page(section="plans", permission=Permission.VIEW_SPEND, writes=Permission.APPROVE_PLANS, is_act=True)
def plan_decide(visit: Visit, plan_id: int) -> HttpResponse:
    given = {name: str(value)[:TEXT_MAX] for name, value in visit.request.POST.items()}
    text = given.get("version", "")
    version = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
    act, words = given.get("act", ""), given.get("words", "")
    if act == "approve":
        services.approve_plan(org=visit.org, plan_id=plan_id, version=version, conditions=words, actor=visit.user)
    elif act == "reject":
        services.reject_plan(org=visit.org, plan_id=plan_id, version=version, reason=words, actor=visit.user)
    else:
        raise Http404
    return _back(visit, plan_id)


@organization_page(section="plans", permission=Permission.VIEW_SPEND, writes=Permission.MANAGE_PLANS, is_act=True)
def plan_launch(visit: Visit, plan_id: int) -> HttpResponse:
    services.launch_plan(org=visit.org, plan_id=plan_id, actor=visit.user)
    return _back(visit, plan_id)


@organization_page(section="plans", permission=Permission.VIEW_SPEND, writes=Permission.MANAGE_PLANS, is_act=True)
def plan_retire(visit: Visit, plan_id: int) -> HttpResponse:
    given = visit.request.POST
    text = str(given.get("ends_on", ""))[:40]
    services.retire_plan(
        org=visit.org,
        plan_id=plan_id,
        reason=str(given.get("reason", ""))[:TEXT_MAX],
        ends_on=_day_written(visit, text, "ends_on") if text else None,
        actor=visit.user,
    )
    return _back(visit, plan_id)


@organization_page(section="plans", permission=Permission.VIEW_SPEND, writes=Permission.MANAGE_BUDGETS, is_act=True)
def plan_controls(visit: Visit, plan_id: int) -> HttpResponse:
    """What the approved version asks for, made or brought in step with one click."""
    wanted = [str(one) for one in visit.request.POST.getlist("control")]
    controls.make_controls(org=visit.org, plan_id=plan_id, wanted=wanted or controls.CONTROLS, actor=visit.user)
    hint_tell(visit.org.pk)
    return _back(visit, plan_id)


def _day_written(visit: Visit, text: str, field: str) -> Any:
    start = visit.day_start(text)
    if start is None:
        raise DomainError(f"{field}_invalid", f"'{text}' is no day: write it as 2026-11-01.", param=field)
    return start.date()


def _back(visit: Visit, plan_id: int) -> HttpResponse:
    return HttpResponseRedirect(visit.url_of("plan", str(plan_id)))
