"""Making and changing a budget, with a preview of what it would have done over the last three months."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.http import HttpResponse, HttpResponseRedirect

from apps.alerts.tasks import hint_tell
from apps.budgets import services
from apps.budgets.models import Budget
from apps.budgets.outlook import PastReplay, Preview, preview
from apps.budgets.rules import DIMENSIONS, describe
from apps.budgets.services import BudgetTerms
from apps.core.errors import DomainError
from apps.core.money import sum_usd
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.portal import formats
from apps.portal.access import Visit, organization_page
from apps.portal.budget_chart import period_label
from apps.portal.budget_words import MODES, PERIODS
from apps.portal.filters import names_of_keys
from apps.portal.pages import Crumb, Option
from apps.portal.pages_budgets import BudgetForm, Choice, PreviewPage, ReplayRow
from apps.portal.pages_prices import FormError
from apps.portal.scopes import read_scope, scope_fields, tag_fields
from apps.portal.views.budgets import budget_url, scope_words

# Of many periods, the ones in which most was spent.
PREVIEW_ROWS = 12
DEFAULTS = {
    "period": "month",
    "mode": "notify",
    "thresholds": "50, 80, 100",
    "forecast_thresholds": "100",
    "amount_usd": "",
    "name": "",
}
BEYOND = {
    "notify": "spent above the limit",
    "downgrade": "sent to a cheaper model",
    "block": "refused",
}


@organization_page(section="budgets", permission=Permission.MANAGE_BUDGETS, writes=Permission.MANAGE_BUDGETS)
def budget_new(visit: Visit) -> HttpResponse:
    query = visit.request.POST if visit.request.method == "POST" else visit.request.GET
    typed = {name: str(value)[:600] for name, value in query.items()}
    given = typed if visit.request.method == "POST" else {**DEFAULTS, **typed}
    error, looked = None, None
    if visit.request.method == "POST":
        try:
            terms = _terms(visit, given)
            if given.get("act") != "preview":
                made = services.create_budget(org=visit.org, terms=terms, actor=visit.user)
                hint_tell(visit.org.pk)
                return HttpResponseRedirect(budget_url(visit, made.pk))
            looked = _preview(visit, terms)
        except DomainError as wrong:
            error = FormError.of(wrong)
    form = _form(visit, given, error=error, looked=looked, submit="Create the budget")
    return _shown(visit, form, "New budget", Crumb("New"))


@organization_page(section="budgets", permission=Permission.MANAGE_BUDGETS, writes=Permission.MANAGE_BUDGETS)
def budget_edit(visit: Visit, budget_id: int) -> HttpResponse:
    with tenant(visit.org):
        found = services.budget_by_id(visit.org, budget_id)
    if found.ended_at is not None:
        raise DomainError("budget_ended", f"Budget '{found.name}' ended: create another.")
    given, error, looked = _given_of(found), None, None
    if visit.request.method == "POST":
        given = {name: str(value)[:600] for name, value in visit.request.POST.items()}
        try:
            changes = _changes(given)
            if given.get("act") != "preview":
                services.change_budget(org=visit.org, budget_id=budget_id, changes=changes, actor=visit.user)
                hint_tell(visit.org.pk)
                return HttpResponseRedirect(budget_url(visit, budget_id))
            fixed = {"scope": found.scope, "period": found.period, "starts_at": found.starts_at}
            looked = _preview(visit, BudgetTerms(**fixed, ends_at=found.ends_at, **changes))
        except DomainError as wrong:
            error = FormError.of(wrong)
    scope = scope_words(found, names_of_keys(visit.org, found.scope))
    fixed_words = f"{scope[0].upper()}{scope[1:]}, {PERIODS[found.period]}"
    form = _form(visit, given, error=error, looked=looked, submit="Save", fixed=fixed_words)
    crumbs = (Crumb(found.name, budget_url(visit, found.pk)), Crumb("Edit"))
    return _shown(visit, form, f"Edit {found.name}", *crumbs)


def _shown(visit: Visit, form: BudgetForm, title: str, *crumbs: Crumb) -> HttpResponse:
    frame = visit.frame(title, Crumb("Budgets", visit.url("budgets")), *crumbs)
    return visit.render("portal/budget_edit.html", frame=frame, form=form, error=form.error)


# --- from the form -----------------------------------------------------------------------------------


def _terms(visit: Visit, given: Mapping[str, str]) -> BudgetTerms:
    """What the form says, checked by the service."""
    starts_at = ends_at = None
    if given.get("period") == Budget.Period.RANGE:
        starts_at, last = _day(visit, given, "starts"), _day(visit, given, "ends")
        ends_at = visit.calendar.day(last + timedelta(hours=30))
    return BudgetTerms(
        scope=read_scope(given, DIMENSIONS),
        period=given.get("period", ""),
        starts_at=starts_at,
        ends_at=ends_at,
        **_changes(given),
    )


def _changes(given: Mapping[str, str]) -> dict[str, Any]:
    """The part that may change later."""
    return {
        "name": given.get("name", ""),
        "amount_usd": given.get("amount_usd", "").strip(),
        "mode": given.get("mode", ""),
        "downgrade_to": _downgrade(given) if given.get("mode") == Budget.Mode.DOWNGRADE else None,
        "thresholds": _percents(given, "thresholds"),
        "forecast_thresholds": _percents(given, "forecast_thresholds"),
        "rollover": bool(given.get("rollover")),
    }


def _downgrade(given: Mapping[str, str]) -> dict[str, str]:
    names = ("to_provider", "to_model", "to_input_usd", "to_output_usd")
    return {name.removeprefix("to_"): text for name in names if (text := given.get(name, "").strip())}


def _percents(given: Mapping[str, str], name: str) -> list[Any]:
    """Numbers as such; what is none stays text, for the service to refuse it by name."""
    parts = given.get(name, "").replace("%", " ").replace(",", " ").replace(";", " ").split()
    return [int(part) if part.isascii() and part.isdigit() and len(part) < 9 else part for part in parts]


def _day(visit: Visit, given: Mapping[str, str], name: str) -> datetime:
    found = visit.day_start(given.get(name, ""))
    if found is None:
        raise DomainError(
            "range_invalid", f"'{given.get(name, '')[:64]}' is no day: write it as 2026-11-01.", param=name
        )
    return found


def _given_of(found: Budget) -> dict[str, str]:
    """A stored budget as the form says it."""
    to = found.downgrade_to or {}
    return {
        "name": found.name,
        "amount_usd": formats.digits(found.amount_usd).replace(formats.THIN, ""),
        "mode": found.mode,
        "thresholds": ", ".join(map(str, found.thresholds)),
        "forecast_thresholds": ", ".join(map(str, found.forecast_thresholds)),
        "rollover": "1" if found.rollover else "",
        "period": found.period,
        **{f"to_{name}": str(value) for name, value in to.items()},
    }


# --- to the page -------------------------------------------------------------------------------------


def _form(
    visit: Visit,
    given: Mapping[str, str],
    *,
    error: FormError | None,
    looked: PreviewPage | None,
    submit: str,
    fixed: str = "",
) -> BudgetForm:
    period, mode = given.get("period", ""), given.get("mode", "")
    return BudgetForm(
        given=given,
        error=error,
        fixed=fixed,
        scope=() if fixed else scope_fields(visit, given, DIMENSIONS, keys=(("*", "each key by itself"),)),
        tags=tag_fields(given),
        periods=tuple(Option(name, words, name == period) for name, words in PERIODS.items()),
        modes=tuple(Choice(name, label, says, name == mode) for name, (label, says) in MODES.items()),
        preview=looked,
        submit=submit,
        zone=visit.calendar.zone_at(visit.at).key,
    )


def _preview(visit: Visit, terms: BudgetTerms) -> PreviewPage:
    looked = preview(
        org=visit.org,
        scope=terms.scope,
        period=terms.period,
        amount_usd=terms.amount_usd,
        mode=terms.mode,
        thresholds=terms.thresholds,
        starts_at=terms.starts_at,
        ends_at=terms.ends_at,
        at=visit.at,
    )
    periods = [one for one in looked.periods or () if one.subjects]
    largest = sorted(periods, key=lambda one: -one.replay.spent_usd)[:PREVIEW_ROWS]
    shown = sorted(largest, key=lambda one: one.start)
    beyond = [one.replay for one in periods]
    return PreviewPage(
        too_much=looked.periods is None,
        unit=looked.unit,
        percents=tuple(reached.percent for reached in periods[0].replay.thresholds) if periods else (),
        rows=tuple(_replay_row(visit, one) for one in shown),
        row_count=len(periods),
        periods_full=sum(1 for one in periods if one.full),
        beyond_usd=sum_usd(one.beyond_usd for one in beyond),
        beyond_calls=sum(one.beyond_calls for one in beyond),
        beyond_word=BEYOND.get(terms.mode, ""),
        is_each="*" in terms.scope.values(),
        sentence=_sentence(terms, looked),
    )


def _sentence(terms: BudgetTerms, looked: Preview) -> str:
    """What the preview comes to, for those who read no table."""
    if looked.periods is None:
        return ""
    if not looked.periods:
        return "Its days have not begun, so there is nothing to look back on."
    used = [one for one in looked.periods if one.subjects]
    full = sum(1 for one in used if one.full)
    scope = describe(terms.scope)
    if not used:
        return f"No usage of {scope} is stored in this time: the budget would have counted nothing."
    calls = sum(one.replay.beyond_calls for one in used)
    usd = formats.money(sum_usd(one.replay.beyond_usd for one in used))
    if not full:
        return f"It would have held: in none of {len(used)} periods with usage was the limit reached."
    beyond = BEYOND.get(terms.mode, "")
    return (
        f"The limit would have been reached in {full} of {len(used)} periods with usage: about"
        f" {formats.count(calls)} calls, {usd} USD, would have been {beyond}."
    )


def _replay_row(visit: Visit, one: PastReplay) -> ReplayRow:
    return ReplayRow(
        label=period_label(one.start, one.end, visit.calendar.zone_at(one.start)),
        so_far=one.so_far,
        spent_usd=one.replay.spent_usd,
        subjects=one.subjects,
        thresholds=tuple((reached.percent, reached.at) for reached in one.replay.thresholds),
        full_at=one.replay.full_at,
        full=one.full,
        beyond_usd=one.replay.beyond_usd,
        beyond_calls=one.replay.beyond_calls,
    )
