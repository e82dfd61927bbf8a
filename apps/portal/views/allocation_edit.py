"""Making and changing a pool of shared cost, with what it changes for each team before it is kept."""

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from django.http import HttpResponse, HttpResponseRedirect

from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.portal import formats
from apps.portal.access import Visit, organization_page
from apps.portal.pages import Crumb, Option
from apps.portal.pages_allocations import PercentField, PoolForm, PreviewPanel, TeamChangeRow
from apps.portal.pages_budgets import Choice
from apps.portal.pages_prices import FormError
from apps.portal.views.allocations import (
    BASE_LABELS,
    bearers,
    driver_label,
    month_url,
    open_month,
    read_month,
)
from apps.portal.views.contracts import LABELS
from apps.pricing.commitments import ALLOWANCES, FEES
from apps.pricing.selectors import list_contracts
from apps.reports import allocation, pools
from apps.reports.chargeback import DIRECT_USAGE, DRIVERS
from apps.reports.models_allocation import AllocationPool
from apps.reports.pool_terms import PERCENTS_MAX, PoolTerms
from apps.reports.statements import parse_month
from apps.teams.selectors import list_teams

GIVEN_MAX = 300
TEAMS_SHOWN = 30
CONTRACTS_OFFERED = 200
# Empty fields for further teams.
SPARE_PERCENTS = 4
SOURCES = (
    ("amount", "An amount a month", "Cost that no event carries: a gateway's licence, a vector database."),
    ("team", "A team's statement", "Everything that a platform team's month comes to. It is left with 0."),
    ("contract", "A contract", "Its fees or credits, in the place of its own lines: throughput, seats, a grant."),
    ("unattributed", "The usage of no team", "Spread on purpose; better is to find whose it is."),
)
METHODS = (
    ("usage", "By use", "Each team by what it used: calls, runs, tokens or any one meter."),
    ("proportional", "In proportion to cost", "Who spends more bears more."),
    ("fixed", "By fixed percentages", "As agreed, whatever was used."),
    ("even", "Evenly", "The same for each team with usage in the month."),
    ("direct", "All to one team", "The team that answers for it."),
    ("central", "To no team", "It stays with the organization, on the statement without a team."),
)
# The fields that go with a source or a method; what was typed in others does not count.
OF_SOURCE = {"amount": "amount_usd", "team": "team", "contract": "contract"}
OF_METHOD = {"direct": "to_team", "usage": "driver", "proportional": "base"}


@organization_page(section="statements", permission=Permission.MANAGE_STATEMENTS, writes=Permission.MANAGE_STATEMENTS)
def allocation_new(visit: Visit) -> HttpResponse:
    month = max(read_month(visit, str(visit.request.GET.get("month", ""))), open_month(visit))
    given = {"source": "amount", "method": "usage", "driver": "tokens", "from_month": f"{month:%Y-%m}"}
    return _edit(visit, None, given)


@organization_page(section="statements", permission=Permission.MANAGE_STATEMENTS, writes=Permission.MANAGE_STATEMENTS)
def allocation_edit(visit: Visit, pool_id: int) -> HttpResponse:
    with tenant(visit.org):
        found = allocation.row_by_id(visit.org, pool_id)
    month = max(read_month(visit, str(visit.request.GET.get("month", ""))), open_month(visit), found.from_month)
    return _edit(visit, found, {**_given_of(found), "from_month": f"{month:%Y-%m}"})


def _edit(visit: Visit, found: AllocationPool | None, given: Mapping[str, str]) -> HttpResponse:
    error = looked = None
    if visit.request.method == "POST":
        given = {name: str(value)[:GIVEN_MAX].strip(" ") for name, value in visit.request.POST.items()}
        try:
            month = _month(given, "from_month")
            if given.get("act") != "preview":
                _save(visit, found, given, month)
                return HttpResponseRedirect(month_url(visit, month))
            looked = _preview(visit, found, given, month)
        except DomainError as wrong:
            error = FormError.of(wrong)
    form = _form(visit, found, given, error, looked)
    crumbs = (
        Crumb("Statements", visit.url("statements")),
        Crumb("Allocation", visit.url("allocations")),
        Crumb(found.name if found else "New"),
    )
    title = f"Change {found.name}" if found else "New pool"
    return visit.render("portal/allocation_edit.html", frame=visit.frame(title, *crumbs), form=form, error=error)


def _save(visit: Visit, found: AllocationPool | None, given: Mapping[str, str], month: date) -> None:
    terms = _terms(given)
    if found is None:
        until = _month(given, "until_month") if given.get("until_month") else None
        pools.create_pool(org=visit.org, terms=terms, from_month=month, until_month=until, actor=visit.user)
    else:
        pools.change_pool(org=visit.org, pool_id=found.pk, terms=terms, from_month=month, actor=visit.user)


def _preview(visit: Visit, found: AllocationPool | None, given: Mapping[str, str], month: date) -> PreviewPanel:
    with tenant(visit.org):
        proposed = pools.draft_pools(visit.org, month, terms=_terms(given), replaces=found.pk if found else None)
    looked = allocation.preview(visit.org, month, proposed)
    rows = [_change_row(team, change) for team, change in looked.teams.items()]
    moved = sorted(rows, key=lambda row: -abs(row.difference_usd))[:TEAMS_SHOWN]
    # The one that is not stored yet.
    parts = [share for share in looked.shares if share.pool_id == 0 and not share.is_taken]
    return PreviewPanel(
        month_label=f"{month:%B %Y}",
        teams=tuple(moved),
        team_count=len(rows),
        total=_change_row(None, looked.total),
        bearers=bearers(parts, given.get("method", "")),
        bearer_count=len(parts),
    )


def _change_row(team: str | None, change: allocation.Change) -> TeamChangeRow:
    return TeamChangeRow(team, change.before_usd, change.after_usd, change.difference_usd)


# --- from the form -----------------------------------------------------------------------------------


def _terms(given: Mapping[str, str]) -> PoolTerms:
    """What the form says, checked by the service."""
    source, method = given.get("source", ""), given.get("method", "")
    fields: dict[str, Any] = {
        name: given.get(name, "") for name in (OF_SOURCE.get(source), OF_METHOD.get(method)) if name
    }
    if "contract" in fields:
        fields["contract"] = _number(fields["contract"])
    if method == "fixed":
        fields["percents"] = _percents_of(given)
    if source == "contract" and method == "usage" and given.get("capacity"):
        fields["capacity"] = _number(given["capacity"])
    order = _number(given["order"]) if given.get("order") else None
    return PoolTerms(given.get("name", ""), source, method, order=order, **fields)


def _number(text: str) -> Any:
    """A whole number as such; what is none stays text, for the service to refuse it by name."""
    plain = text.replace(formats.THIN, "").replace(",", "").replace(" ", "")
    return int(plain) if plain.isascii() and plain.isdigit() and len(plain) < 20 else text


def _percents_of(given: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for number in range(1, PERCENTS_MAX + SPARE_PERCENTS + 1):
        team, percent = given.get(f"share_team.{number}", ""), given.get(f"share_percent.{number}", "")
        if team in found:
            raise DomainError("percents_invalid", f"'{team[:64]}' has two percentages: give it one.", param="percents")
        if team or percent:
            found[team] = percent.removesuffix("%").strip()
    return found


def _month(given: Mapping[str, str], name: str) -> date:
    try:
        return parse_month(given.get(name, ""))
    except DomainError as wrong:
        raise DomainError(wrong.code, wrong.detail, param=name) from None


# --- to the form -------------------------------------------------------------------------------------


def _given_of(row: AllocationPool) -> dict[str, str]:
    """The pool as its form was filled in."""
    shares: dict[str, str] = {}
    for number, (team, percent) in enumerate(row.percents.items(), start=1):
        shares |= {f"share_team.{number}": team, f"share_percent.{number}": percent}
    return {
        "name": row.name,
        "order": str(row.position),
        "source": row.source,
        "method": row.method,
        "amount_usd": "" if row.amount_usd is None else _plain(row.amount_usd),
        "team": row.team,
        "contract": str(row.contract_id or ""),
        "to_team": row.to_team,
        "driver": row.driver,
        "base": row.base,
        "capacity": str(row.capacity or ""),
        **shares,
    }


def _plain(amount: Decimal) -> str:
    return formats.digits(amount).replace(formats.THIN, "")


def _form(
    visit: Visit,
    found: AllocationPool | None,
    given: Mapping[str, str],
    error: FormError | None,
    looked: PreviewPanel | None,
) -> PoolForm:
    with tenant(visit.org):
        teams = tuple(team.slug for team in list_teams(visit.org))
        contracts = list(list_contracts(visit.org).filter(kind__in=(*FEES, *ALLOWANCES))[:CONTRACTS_OFFERED])
    return PoolForm(
        given=given,
        error=error,
        sources=_choices(SOURCES, given.get("source", "")),
        methods=_choices(METHODS, given.get("method", "")),
        teams=teams,
        contracts=_options(
            ((str(row.pk), f"{LABELS[row.kind]}: {row.name}") for row in contracts), given.get("contract", "")
        ),
        drivers=_options(((driver, driver_label(driver)) for driver in DRIVERS), given.get("driver", "")),
        bases=_options(BASE_LABELS.items(), given.get("base") or DIRECT_USAGE),
        percents=tuple(_percent_fields(given, is_wrong=error is not None and error.field == "percents")),
        preview=looked,
        is_new=found is None,
        submit="Make the pool" if found is None else "Change the pool",
        back_url=visit.url("allocations"),
    )


def _choices(known: Iterable[tuple[str, str, str]], chosen: str) -> tuple[Choice, ...]:
    return tuple(Choice(value, label, says, value == chosen) for value, label, says in known)


def _options(known: Iterable[tuple[str, str]], chosen: str) -> tuple[Option, ...]:
    return tuple(Option(value, label, value == chosen) for value, label in known)


def _percent_fields(given: Mapping[str, str], *, is_wrong: bool) -> Iterable[PercentField]:
    filled = [
        pair
        for number in range(1, PERCENTS_MAX + SPARE_PERCENTS + 1)
        if any(pair := (given.get(f"share_team.{number}", ""), given.get(f"share_percent.{number}", "")))
    ]
    for number, (team, percent) in enumerate([*filled, *[("", "")] * SPARE_PERCENTS], start=1):
        yield PercentField(number, team, percent, is_wrong and (number == 1 or bool(team or percent)))
