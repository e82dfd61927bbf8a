"""Making and revising a plan: from a template, from real runs, or from nothing, with what it comes to beside it."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.http import HttpResponse, HttpResponseRedirect

from apps.budgets.reading import require_amount
from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.planner import fitting, services
from apps.planner.definition import plan_json, read_plan
from apps.planner.models import Plan, PlanVersion
from apps.planner.prices import PlanCard, read_card, read_supposed, supposed_of
from apps.planner.reckoning import SEED, Reckoned, reckon
from apps.planner.selectors import plan_by_id, version_of
from apps.planner.services import PlanTerms
from apps.planner.shapes import STEPS_MAX
from apps.planner.templates import TEMPLATES
from apps.portal import formats, plan_form
from apps.portal.access import Visit, organization_page
from apps.portal.pages import Crumb, Option
from apps.portal.pages_plans import (
    ChoicePage,
    FieldGroup,
    PlanForm,
    RangeField,
    ResultPanel,
    StepForm,
    TemplateCard,
)
from apps.portal.pages_prices import FormError
from apps.portal.plan_form import Input, model_of
from apps.portal.plan_results import result_panel
from apps.portal.scopes import known_slugs
from apps.reports.selectors import SpendQuestion, spend

FIELD_MAX = 2_000
BLANK = "blank"
MODELS_SUGGESTED = 60
USED_WITHIN = timedelta(days=30)
ORIGINS = (PlanVersion.Origin.TEMPLATE, PlanVersion.Origin.FORM, PlanVersion.Origin.FIT)
_BLANK: Mapping[str, Any] = {
    "steps": [{"name": "answer", "model": {"provider": "anthropic", "model": "claude-sonnet-4-5"}}],
    "runs_per_month": 1_000,
}


@organization_page(section="plans", permission=Permission.MANAGE_PLANS, writes=Permission.MANAGE_PLANS)
def plan_new(visit: Visit) -> HttpResponse:
    """First what it is made from, then the form."""
    if visit.request.method == "POST":
        return _posted(visit, given_of(visit), None)
    query = visit.request.GET
    try:
        begun = _begun(visit, str(query.get("from", "")), str(query.get("workflow", "")))
    except DomainError as wrong:
        return _choice(visit, FormError.of(wrong))
    if begun is None:
        return _choice(visit, None)
    return _shown(visit, begun, None, _try(visit, begun, None))


def _begun(visit: Visit, source: str, workflow: str) -> dict[str, str] | None:
    """The form as it begins; None where nothing was chosen yet. Raises `DomainError` where runs say nothing."""
    given = {"workflow": workflow, "origin": PlanVersion.Origin.TEMPLATE, "name": workflow[:100]}
    if source == "fit" and workflow:
        found = fitting.fit_workflow(visit.org, workflow=workflow, at=visit.at)
        runs = formats.count(found.calibration["runs"])
        note = fitting.note_of(
            f"Fitted from {runs} runs of {workflow}.",
            fitting.folded_words(found.calibration),
            fitting.billed_words(found.calibration),
        )
        return {
            **given,
            **plan_form.given_of(found.reckoned.definition),
            "origin": PlanVersion.Origin.FIT,
            "fitted": note,
            "note": note,
        }
    if source == BLANK:
        plan = plan_json(read_plan(_BLANK))
        return {**given, **plan_form.given_of(plan), "origin": PlanVersion.Origin.FORM}
    if source in TEMPLATES:
        found_template = TEMPLATES[source]
        name = given["name"] or found_template.title
        return {**given, **plan_form.given_of(plan_json(found_template.plan)), "name": name}
    return None


def _choice(visit: Visit, error: FormError | None) -> HttpResponse:
    workflow = str(visit.request.GET.get("workflow", ""))[:256]
    kept = {"workflow": workflow} if workflow else {}
    page = ChoicePage(
        templates=tuple(
            TemplateCard(one.title, one.description, visit.url("plan_new", {"from": name, **kept}))
            for name, one in TEMPLATES.items()
        ),
        workflows=known_slugs(visit, "workflow").get("workflow", ()),
        blank_url=visit.url("plan_new", {"from": BLANK, **kept}),
        error=error,
        workflow=workflow,
    )
    frame = visit.frame("New plan", Crumb("Plans", visit.url("plans")), Crumb("New"))
    return visit.render("portal/plan_new.html", frame=frame, choice=page, error=error)


@organization_page(section="plans", permission=Permission.MANAGE_PLANS, writes=Permission.MANAGE_PLANS)
def plan_edit(visit: Visit, plan_id: int) -> HttpResponse:
    """The next version, made from the newest one."""
    with tenant(visit.org):
        plan = plan_by_id(visit.org, plan_id)
        newest = version_of(visit.org, plan, plan.latest)
    if plan.state == Plan.State.RETIRED:
        raise DomainError("plan_retired", f"'{plan.name}' is retired: make another plan.")
    if visit.request.method == "POST":
        return _posted(visit, given_of(visit), plan)
    given = {**plan_form.given_of(newest.definition), "base": str(newest.number), **_prices_of(newest)}
    if newest.result and newest.result["budget_usd"]:
        given["budget_usd"] = formats.digits(_decimal(newest.result["budget_usd"])).replace(formats.THIN, "")
    return _shown(visit, given, plan, _try(visit, given, plan))


def _decimal(text: str) -> Any:
    return require_amount(text, "budget_usd")


def _prices_of(version: PlanVersion) -> dict[str, str]:
    """The supposed prices of a version as the form says them."""
    given: dict[str, str] = {}
    for place, card in enumerate(supposed_of(read_card(card) for card in version.cards if card["rates"])):
        given |= {
            f"price[{place}].model": f"{card.model.provider}/{card.model.model}",
            f"price[{place}].input": formats.digits(card.rates["input_tokens"]),
            f"price[{place}].output": formats.digits(card.rates["output_tokens"]),
        }
    return given


def given_of(visit: Visit) -> dict[str, str]:
    return {name: str(value)[:FIELD_MAX].strip() for name, value in visit.request.POST.items()}


# --- what the form does ---------------------------------------------------------------------------------


def _posted(visit: Visit, given: dict[str, str], plan: Plan | None) -> HttpResponse:
    act = given.get("act", "save")
    if act == "add":
        given = plan_form.with_step(given)
    elif act.startswith("remove-"):
        given = plan_form.without_step(given, int(act[7:]) if act[7:].isdigit() and len(act) < 12 else -1)
    error, found = None, None
    try:
        found = _reckoned(visit, given)
        if act == "save":
            return HttpResponseRedirect(visit.url_of("plan", str(_saved(visit, given, plan, found))))
    except DomainError as wrong:
        error = plan_form.worded(wrong)
    return _shown(visit, given, plan, found, error)


def _saved(visit: Visit, given: Mapping[str, str], plan: Plan | None, found: Reckoned) -> int:
    note = given.get("note", "")
    if plan is not None:
        base = given.get("base", "")
        services.revise_plan(
            org=visit.org,
            plan_id=plan.pk,
            base=int(base) if base.isascii() and base.isdigit() and len(base) < 9 else 0,
            reckoned=found,
            origin=PlanVersion.Origin.FORM,
            note=note,
            actor=visit.user,
        )
        return plan.pk
    origin = given.get("origin", "")
    terms = PlanTerms(
        name=given.get("name", ""),
        workflow=given.get("workflow", ""),
        team=given.get("team", ""),
        owner=visit.user.email,
        launch_on=_launch_day(visit, given),
    )
    made = services.create_plan(
        org=visit.org,
        terms=terms,
        reckoned=found,
        origin=origin if origin in ORIGINS else PlanVersion.Origin.FORM,
        note=note,
        actor=visit.user,
    )
    return made.pk


def _launch_day(visit: Visit, given: Mapping[str, str]) -> Any:
    text = given.get("launch_on", "")
    if not text:
        return None
    start = visit.day_start(text)
    if start is None:
        raise DomainError("launch_on_invalid", f"'{text[:40]}' is no day: write it as 2026-11-01.", param="launch_on")
    return start.date()


def _try(visit: Visit, given: Mapping[str, str], plan: Plan | None) -> Reckoned | None:
    """What a form that nobody changed yet comes to."""
    try:
        return _reckoned(visit, given)
    except DomainError:
        return None


def _reckoned(visit: Visit, given: Mapping[str, str]) -> Reckoned:
    budget = given.get("budget_usd", "").replace(",", "").replace(formats.THIN, "")
    text = given.get("prices_on", "")
    at = visit.day_start(text) if text else visit.at
    if at is None:
        raise DomainError("prices_at_invalid", f"'{text[:40]}' is no day: write it as 2026-11-01.", param="prices_on")
    return reckon(
        visit.org,
        read_plan(plan_form.definition_of(given)),
        at=at,
        supposed=_supposed(given),
        seed=SEED,
        budget_usd=require_amount(budget, "budget_usd") if budget else None,
    )


def _supposed(given: Mapping[str, str]) -> tuple[PlanCard, ...]:
    """Prices that the form supposes: input and output, the cache as input."""
    wanted = []
    for place in range(40):
        field = f"price[{place}]"
        rates = {
            meter: text
            for meter, name in (("input_tokens", "input"), ("output_tokens", "output"))
            if (text := given.get(f"{field}.{name}", ""))
        }
        if rates:
            wanted.append({**model_of(given.get(f"{field}.model", "")), "rates": rates})
    return read_supposed(wanted, "price")


# --- to the page ----------------------------------------------------------------------------------------


def _shown(
    visit: Visit, given: Mapping[str, str], plan: Plan | None, found: Reckoned | None, error: FormError | None = None
) -> HttpResponse:
    form = _form(visit, given, plan, found, error)
    crumbs = [Crumb("Plans", visit.url("plans"))]
    if plan is not None:
        crumbs += [Crumb(plan.name, visit.url_of("plan", str(plan.pk))), Crumb("Revise")]
    else:
        crumbs += [Crumb("New", visit.url("plan_new")), Crumb(given.get("name") or "Plan")]
    frame = visit.frame(f"Revise {plan.name}" if plan else "New plan", *crumbs)
    # htmx shows only what answers 200, and the panel says what is wrong.
    is_live = visit.request.headers.get("HX-Request") == "true"
    return visit.render("portal/plan_edit.html", frame=frame, form=form, error=None if is_live else error)


def _form(
    visit: Visit, given: Mapping[str, str], plan: Plan | None, found: Reckoned | None, error: FormError | None
) -> PlanForm:
    wrong = error.field if error else ""
    known = known_slugs(visit, "workflow", "team") if plan is None else {}
    count = plan_form.step_count(given)
    return PlanForm(
        given=given,
        error=error,
        base=plan.latest if plan else 0,
        steps=tuple(_step(given, place, count, wrong) for place in range(count)),
        fields=tuple(_field(one, one.name, given, wrong) for one in plan_form.PLAN_INPUTS),
        models=model_suggestions(visit),
        workflows=known.get("workflow", ()),
        teams=known.get("team", ()),
        result=_panel(visit, given, plan, found) if found else None,
        submit="Save as a new version" if plan else "Save the draft",
        back_url=visit.url_of("plan", str(plan.pk)) if plan else visit.url("plans"),
        may_add=count < STEPS_MAX,
        fitted=given.get("fitted", ""),
    )


def _panel(visit: Visit, given: Mapping[str, str], plan: Plan | None, found: Reckoned) -> ResultPanel:
    today = visit.at.astimezone(visit.calendar.zone_at(visit.at)).date()
    start = visit.day_start(given.get("launch_on", "")) if plan is None else None
    first = plan.launch_on if plan and plan.launch_on else start.date() if start else today
    return result_panel(
        visit,
        found.result,
        found.cards,
        prices_at=found.prices_at,
        first=first,
        supposed=given,
        definition=found.definition,
    )


def _step(given: Mapping[str, str], place: int, count: int, wrong: str) -> StepForm:
    path = f"steps[{place}]"
    cache, routing = given.get(f"{path}.cache", "off"), given.get(f"{path}.routing", "none")
    return StepForm(
        path=path,
        number=place + 1,
        name=given.get(f"{path}.name", ""),
        model=given.get(f"{path}.model", ""),
        escalates_to=given.get(f"{path}.escalates_to", ""),
        caches=tuple(Option(name, label, name == cache) for name, label in plan_form.CACHE_LABELS.items()),
        routings=tuple(Option(name, label, name == routing) for name, label in plan_form.ROUTING_LABELS.items()),
        groups=tuple(_group(group, path, given, wrong) for group in plan_form.STEP_GROUPS),
        wrong=wrong.removeprefix(f"{path}.") if wrong.startswith(f"{path}.") else "",
        may_remove=count > 1,
    )


def _group(group: plan_form.Group, path: str, given: Mapping[str, str], wrong: str) -> FieldGroup:
    fields = tuple(_field(one, f"{path}.{one.name}", given, wrong) for one in group.inputs)
    is_wrong = any(part[3] for field in fields for part in field.parts)
    return FieldGroup(group.title, fields, not group.is_folded or is_wrong)


def _field(one: Input, name: str, given: Mapping[str, str], wrong: str) -> RangeField:
    if not one.is_range:
        parts = ((name, one.label, given.get(name, ""), name == wrong),)
    else:
        parts = tuple(
            (
                f"{name}.{part}",
                f"{one.label}, {part}",
                given.get(f"{name}.{part}", ""),
                wrong in (name, f"{name}.{part}"),
            )
            for part in ("low", "likely", "high")
        )  # type: ignore[assignment]  # three of the same four
    return RangeField(one.label, one.unit, one.says, parts, one.is_range)


def model_suggestions(visit: Visit) -> tuple[str, ...]:
    """Models to choose from: those that were used lately, then those of the templates."""
    question = SpendQuestion(
        start=(visit.at - USED_WITHIN).replace(minute=0, second=0, microsecond=0), end=visit.at,
        group_by=("provider", "model"), largest=True, limit=MODELS_SUGGESTED,
    )  # fmt: skip
    used = ["/".join(str(name) for name in row.groups) for row in spend(visit.org, question).rows]
    known = [
        f"{model.provider}/{model.model}"
        for template in TEMPLATES.values()
        for step in template.plan.steps
        for model in (step.model, step.escalates_to)
        if model is not None
    ]
    return tuple(dict.fromkeys([*used, *known]))[:MODELS_SUGGESTED]
