"""Contracts and model names of the organization: what is agreed, adding a term, ending one."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.http import HttpResponse, HttpResponseRedirect

from apps.core.errors import DomainError
from apps.core.meters import METERS
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.portal import formats
from apps.portal.access import Visit, organization_page
from apps.portal.pages import Crumb
from apps.portal.pages_prices import AliasRow, ContractForm, ContractRow, ContractsPage, FormError
from apps.portal.views.events import meter_label
from apps.pricing import agreements
from apps.pricing.catalog import SERVICE_TIERS
from apps.pricing.models import Contract
from apps.pricing.selectors import list_contracts, list_model_aliases
from apps.reports.contract_lines import Allowance, allowances
from apps.reports.selectors import current_month
from apps.teams.selectors import list_teams

# Kind, what people call it, what it does.
KINDS = (
    ("price", "Own price", "Rates agreed for a model. Rates that are not named stay the catalog's."),
    ("discount", "Discount", "A percentage off the catalog's rates."),
    (
        "throughput",
        "Provisioned throughput",
        "Capacity by the hour: its calls cost nothing, the hours are a line.",
    ),
    ("seats", "Seats", "A fee per seat and month, by the day: a line of the statement."),
    ("grant", "Free grant", "An amount that is taken off usage first."),
    ("credit", "Committed-spend credit", "An amount paid ahead, taken off what no grant has paid."),
)
LABELS = {kind: label for kind, label, _ in KINDS}
FIELDS: Mapping[str, tuple[str, ...]] = {
    "price": ("provider", "model", "service_tier", "rates"),
    "discount": ("provider", "model", "service_tier", "percent"),
    "throughput": ("provider", "model", "amount_usd", "quantity", "team"),
    "seats": ("provider", "amount_usd", "quantity", "team"),
    "grant": ("provider", "model", "amount_usd", "monthly"),
    "credit": ("provider", "model", "amount_usd", "monthly"),
}
COMMON_METERS = 6
# A fee covers no calls where it names none.
NOTHING_COVERED = {"seats": "—"}


@organization_page(section="contracts", permission=Permission.VIEW_SPEND, writes=Permission.MANAGE_PRICES)
def contracts(visit: Visit) -> HttpResponse:
    """The list; a form of it adds a model name."""
    given, error = {}, None
    if visit.request.method == "POST":
        given = {
            name: str(visit.request.POST.get(name, "")) for name in ("provider", "name", "to_provider", "to_model")
        }
        try:
            agreements.set_model_alias(org=visit.org, actor=visit.user, **given)
            return HttpResponseRedirect(visit.url("contracts"))
        except DomainError as wrong:
            error = FormError.of(wrong)
    left = allowances(visit.org, current_month(visit.org, visit.at))
    with tenant(visit.org):
        rows = tuple(contract_row(visit, row, left.get(row.pk)) for row in list_contracts(visit.org))
        aliases = tuple(
            AliasRow(row.provider, row.name, f"{row.to_provider}/{row.to_model}", _below(visit, "aliases", row.pk))
            for row in list_model_aliases(visit.org)
        )
    page = ContractsPage(
        rows=tuple(sorted(rows, key=lambda row: ("in force", "coming", "ended").index(row.state))),
        aliases=aliases,
        kinds=_kinds(visit),
        may_change=visit.may(Permission.MANAGE_PRICES),
        error=error,
        given=given,
        alias_url=visit.url("contracts"),
        today=visit.at.astimezone(visit.calendar.zone_at(visit.at)).date(),
    )
    return visit.render(
        "portal/contracts.html", frame=visit.frame("Contracts", Crumb("Contracts")), contracts=page, error=error
    )


def _kinds(visit: Visit) -> tuple[tuple[str, str, str], ...]:
    return tuple((label, says, visit.url("contract_new", {"kind": kind})) for kind, label, says in KINDS)


def _below(visit: Visit, what: str, number: int) -> str:
    return f"{visit.url('contracts')}/{what}/{number}"


def contract_row(visit: Visit, row: Contract, left: Allowance | None) -> ContractRow:
    ended = row.ends_at is not None and row.ends_at <= visit.at
    return ContractRow(
        id=row.pk,
        kind=LABELS[row.kind],
        name=row.name,
        scope=" ".join(part for part in (row.provider, row.model, row.service_tier) if part)
        or NOTHING_COVERED.get(row.kind, "everything"),
        terms=_terms(row),
        state="ended" if ended else "coming" if row.starts_at > visit.at else "in force",
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        used_usd=left.used_usd if left else None,
        left_usd=left.left_usd if left else None,
        end_url=_below(visit, "end", row.pk),
    )


def _terms(row: Contract) -> str:
    """What was agreed, in words."""
    amount = formats.money(row.amount_usd) if row.amount_usd is not None else ""
    match row.kind:
        case "price":
            rates = ", ".join(f"{meter_label(meter).lower()} {_plain(rate)}" for meter, rate in row.rates.items())
            return f"{rates} USD per million"
        case "discount":
            return f"{_plain(row.percent)} % off"
        case "throughput":
            return f"{row.quantity} units at {amount} USD an hour"
        case "seats":
            return f"{row.quantity} seats at {amount} USD a month"
    return f"{amount} USD{' a month' if row.monthly else ''}"


def _plain(number: Any) -> str:
    return formats.digits(Decimal(number))


@organization_page(section="contracts", permission=Permission.VIEW_SPEND, writes=Permission.MANAGE_PRICES)
def contract_new(visit: Visit) -> HttpResponse:
    query, error = visit.request.GET, None
    given = {name: str(value)[:600] for name, value in query.items()}
    if visit.request.method == "POST":
        given = {name: str(value)[:600] for name, value in visit.request.POST.items()}
        try:
            made = _create(visit, given)
            return HttpResponseRedirect(_after(visit, made))
        except DomainError as wrong:
            error = FormError.of(wrong)
    kind = given.get("kind", "price")
    kind = kind if kind in LABELS else "price"
    with tenant(visit.org):
        teams = tuple(team.slug for team in list_teams(visit.org))
    page = ContractForm(
        kind=kind,
        label=LABELS[kind],
        says=next(says for name, _, says in KINDS if name == kind),
        fields=FIELDS[kind],
        kinds=_kinds(visit),
        meters=tuple((meter, meter_label(meter), i < COMMON_METERS) for i, meter in enumerate(METERS)),
        service_tiers=SERVICE_TIERS,
        teams=teams,
        models=(),
        given={"starts": visit.at.astimezone(visit.calendar.zone_at(visit.at)).date().isoformat(), **given},
        error=error,
        rerate_url=visit.url("rerating_new"),
    )
    crumbs = (Crumb("Contracts", visit.url("contracts")), Crumb("Add"))
    return visit.render(
        "portal/contract_new.html", frame=visit.frame("Add to contracts", *crumbs), form=page, error=error
    )


def _create(visit: Visit, given: Mapping[str, str]) -> Contract:
    kind = given.get("kind", "")
    terms: dict[str, Any] = {name: given[name] for name in FIELDS.get(kind, ()) if given.get(name)}
    if "rates" in FIELDS.get(kind, ()):
        rates = {meter: given[f"rate.{meter}"].strip() for meter in METERS if given.get(f"rate.{meter}", "").strip()}
        terms["rates"] = rates
    if "quantity" in terms:
        terms["quantity"] = int(terms["quantity"]) if terms["quantity"].isdecimal() else terms["quantity"]
    if "monthly" in terms:
        terms["monthly"] = True
    return agreements.create_contract(
        org=visit.org,
        actor=visit.user,
        kind=kind,
        name=given.get("name", ""),
        starts_at=_day(visit, given, "starts") or visit.at,
        ends_at=_day(visit, given, "ends"),
        note=given.get("note", ""),
        **terms,
    )


def _day(visit: Visit, given: Mapping[str, str], name: str) -> datetime | None:
    text = given.get(name, "")
    if not text:
        return None
    found = visit.day_start(text)
    if found is None:
        raise DomainError("range_invalid", f"'{text[:64]}' is no day: write it as 2026-11-01.", param=name)
    return found


def _after(visit: Visit, made: Contract) -> str:
    """A price that lies in the past is an offer to price the calls again that came before it was known."""
    if made.kind not in ("price", "discount", "throughput") or made.starts_at >= visit.at:
        return visit.url("contracts")
    scope = {name: value for name, value in (("provider", made.provider), ("model", made.model)) if value}
    if made.model.endswith("*"):
        scope.pop("model")
    first = made.starts_at.astimezone(visit.calendar.zone_at(visit.at)).date()
    return visit.url(
        "rerating_new", {**scope, "from": first.isoformat(), "reason": f"{LABELS[made.kind]}: {made.name}"}
    )


@organization_page(section="contracts", permission=Permission.VIEW_SPEND, writes=Permission.MANAGE_PRICES, is_act=True)
def contract_end(visit: Visit, contract_id: int) -> HttpResponse:
    given = {"ends": str(visit.request.POST.get("ends", ""))}
    ends_at = _day(visit, given, "ends") or visit.at
    agreements.end_contract(org=visit.org, contract_id=contract_id, ends_at=ends_at, actor=visit.user)
    return HttpResponseRedirect(visit.url("contracts"))


@organization_page(section="contracts", permission=Permission.VIEW_SPEND, writes=Permission.MANAGE_PRICES, is_act=True)
def alias_remove(visit: Visit, alias_id: int) -> HttpResponse:
    agreements.remove_model_alias(org=visit.org, alias_id=alias_id, actor=visit.user)
    return HttpResponseRedirect(visit.url("contracts"))
