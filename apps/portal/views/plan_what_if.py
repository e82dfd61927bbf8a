"""What if: a plan beside itself with another model, another price, another bound, or more runs. Keeps nothing."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django.http import HttpResponse

from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.planner.definition import read_plan
from apps.planner.prices import PlanCard
from apps.planner.reckoning import Reckoned, priced_of, reckon_changes
from apps.planner.results import decimal_at
from apps.planner.selectors import version_of
from apps.planner.whatif import read_changes
from apps.portal import formats, plan_form
from apps.portal.access import Visit, organization_page
from apps.portal.pages import Crumb, Option
from apps.portal.pages_plans import VariantColumn, WhatIfPage
from apps.portal.views.plan import seen
from apps.portal.views.plan_edit import model_suggestions

GIVEN_MAX = 300


@organization_page(section="plans", permission=Permission.VIEW_SPEND, within_team=True)
def plan_what_if(visit: Visit, plan_id: int) -> HttpResponse:
    """Each change that the address names by itself, and all of them together, at the prices of the version."""
    given = {name: str(value)[:GIVEN_MAX].strip() for name, value in visit.request.GET.items()}
    with tenant(visit.org):
        found = seen(visit, plan_id)
        version = version_of(visit.org, found, found.approved or found.latest)
    base = Reckoned(read_plan(version.definition), priced_of(version.cards, version.prices_at), version.seed,
                    version.result)  # fmt: skip
    error = None
    variants: list[tuple[str, Reckoned]] = []
    words: list[str] = []
    try:
        wanted = _variants(given, base)
        words = [says for _, says in wanted]
        changes = read_changes([change for change, _ in wanted], base.plan)
        variants = list(zip((change.name for change in changes), reckon_changes(visit.org, base, changes), strict=True))
    except DomainError as wrong:
        error = plan_form.worded(wrong)
    page = WhatIfPage(
        columns=(
            _column("The plan", f"version {version.number}", base, None),
            *(_column(name, says, one, base) for (name, one), says in zip(variants, words, strict=False)),
        ),
        given=given,
        models=tuple(plan_form.model_text(_model(card)) for card in base.priced.cards),
        suggestions=model_suggestions(visit),
        steps=tuple(
            (step.name, step.calls_max, given.get(f"cap.{place}", "")) for place, step in enumerate(base.plan.steps)
        ),
        caches=(
            Option("", "as planned", not given.get("cache")),
            *(Option(name, label, given.get("cache") == name) for name, label in plan_form.CACHE_LABELS.items()),
        ),
        error=error,
        back_url=visit.url_of("plan", str(found.pk)),
        has_change=bool(variants),
    )
    crumbs = (Crumb("Plans", visit.url("plans")), Crumb(found.name, page.back_url), Crumb("What if"))
    frame = visit.frame(f"What if: {found.name}", *crumbs)
    return visit.render("portal/plan_what_if.html", frame=frame, what_if=page, error=error)


def _model(card: PlanCard) -> dict[str, str]:
    return {"provider": card.model.provider, "model": card.model.model}


def _variants(given: Mapping[str, str], base: Reckoned) -> list[tuple[dict[str, Any], str]]:
    """A change for each thing that the form says, in words, and all of them at once where there are several."""
    found = [*_swaps(given), *_prices(given, base), *_caps(given, base)]
    if cache := given.get("cache"):
        found.append(({"name": "Another cache", "cache": cache}, f"cache {plan_form.CACHE_LABELS.get(cache, cache)}"))
    if volume := given.get("volume"):
        found.append(
            ({"name": "Other volume", "volume": _number_written(volume, "volume")}, f"{volume} times the runs")
        )
    if len(found) > 1:
        together: dict[str, Any] = {"name": "All together"}
        for change, _ in found:
            together |= {key: value for key, value in change.items() if key != "name"}
        found.append((together, "all of these changes"))
    return found


def _swaps(given: Mapping[str, str]) -> list[tuple[dict[str, Any], str]]:
    old, new = given.get("swap_from", ""), given.get("swap_to", "")
    if not new:
        return []
    change = {"name": "Another model", "swap": {"from": plan_form.model_of(old), "to": plan_form.model_of(new)}}
    return [(change, f"{new} in place of {old}")]


def _prices(given: Mapping[str, str], base: Reckoned) -> list[tuple[dict[str, Any], str]]:
    """All prices of the plan by so many per cent."""
    text = given.get("price", "")
    if not text:
        return []
    factor = 1 + Decimal(str(_number_written(text, "price"))) / 100
    cards = [
        {
            **_model(card),
            "rates": {meter: f"{max(rate * factor, Decimal(0)):.6f}" for meter, rate in card.rates.items()},
            "batch_factor": card.batch_factor,
        }
        for card in base.priced.cards
    ]
    return [({"name": "Other prices", "prices": cards}, f"all prices by {text} %")]


def _caps(given: Mapping[str, str], base: Reckoned) -> list[tuple[dict[str, Any], str]]:
    caps = {
        step.name: _number_written(text, f"cap.{place}")
        for place, step in enumerate(base.plan.steps)
        if (text := given.get(f"cap.{place}", ""))
    }
    words = ", ".join(f"{name} at most {cap} calls" for name, cap in caps.items())
    return [({"name": "Other bounds", "calls_max": caps}, words)] if caps else []


def _number_written(text: str, field: str) -> int | float:
    try:
        number = float(text.replace(",", "").replace(formats.THIN, "").replace(formats.MINUS, "-"))
    except ValueError:
        number = float("nan")
    if not abs(number) < 10**9:
        raise DomainError("plan_invalid", f"{field} is '{text[:40]}': write a number.", param=field)
    return int(number) if number.is_integer() else number


def _column(name: str, says: str, found: Reckoned, base: Reckoned | None) -> VariantColumn:
    result = found.result
    return VariantColumn(
        name=name,
        says=says,
        run_usd=_usd(result, "run", "p50_usd"),
        success_usd=_usd(result, "success", "p50_usd") if result and result["success"] else None,
        p50_usd=_usd(result, "months", 0, "p50_usd"),
        p90_usd=_usd(result, "months", 0, "p90_usd"),
        p99_usd=_usd(result, "months", 0, "p99_usd"),
        over=Decimal(str(result["over_budget"])) if result and result["over_budget"] is not None else None,
        change=_change(result, base.result if base else None),
        unpriced="; ".join(one.detail for one in found.priced.unpriced),
    )


def _usd(result: Any, *path: str | int) -> Decimal | None:
    return decimal_at(result, *path) if result else None


def _change(result: Any, base: Any) -> str:
    """Of the first month, P50."""
    if not result or not base:
        return ""
    found = formats.change(_usd(result, "months", 0, "p50_usd"), _usd(base, "months", 0, "p50_usd"))
    return f"{found.arrow} {found.text}" if found else ""
