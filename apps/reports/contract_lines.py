"""What an organization's contracts add to a month, and how much of its grants and credits is left."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache

from apps.core.errors import DomainError
from apps.core.money import pico_from_usd, usd_from_pico
from apps.core.periods import Calendar, next_month
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar
from apps.pricing.commitments import ALLOWANCES, FEES, Drawn, UsageDay, draw, fee
from apps.pricing.contracts import Term
from apps.pricing.rating import RateBook
from apps.pricing.selectors import load_catalog, load_model_aliases, load_terms
from apps.reports import booked_sql, months

DAYS_MAX = 500_000


@dataclass(frozen=True, slots=True)
class ContractCost:
    """What a term adds to a team's month, pico-USD; what is taken off is negative."""

    term: Term
    team: str | None
    cost_pico: int


def contract_costs(org: Organization, terms: Sequence[Term], month: date, clock: Calendar) -> Iterator[ContractCost]:
    """Fees that are due in a month, and what grants and credits take off its usage. Inside `tenant(org)`.

    Raises `DomainError` (`too_many_lines`) as `drawn_until` does.
    """
    for term in sorted((term for term in terms if term.kind in FEES), key=lambda term: (term.kind, term.id)):
        if due := fee(term, month, clock):
            yield ContractCost(term, term.team, due)
    for drawn in drawn_until(org, terms, month, clock):
        if drawn.booked_month == month:
            yield ContractCost(drawn.term, drawn.team, -drawn.cost_pico)


def drawn_until(org: Organization, terms: Sequence[Term], month: date, clock: Calendar) -> list[Drawn]:
    """What grants and credits took off the usage booked up to a month, it included. Inside `tenant(org)`.

    What they took off earlier months that are final stands on their statements, a sum each and of no team here: a
    contract that was entered or ended since takes nothing off them, and gives nothing back.

    Raises `DomainError` (`too_many_lines`) above `DAYS_MAX` days of usage by team, and by model where a term names one.
    """
    allowances = [term for term in terms if term.kind in ALLOWANCES]
    if not allowances:
        return []
    first = min(clock.month_of(term.starts_at) for term in allowances)
    if first > month:
        return []
    final = months.drawn_before(org, month)
    if final:
        first = max(first, next_month(max(final)))
    before = [
        Drawn(term, booked, None, pico_from_usd(Decimal(drawn[str(term.id)])))
        for booked, drawn in final.items()
        for term in allowances
        if str(term.id) in drawn
    ]
    used: dict[int, int] = defaultdict(int)
    for one in before:
        used[one.term.id] += one.cost_pico
    by_model = any(term.provider or term.model for term in allowances)
    rows = booked_sql.usage_by_day(org.pk, first, month, by_model=by_model, limit=DAYS_MAX + 1)
    if len(rows) > DAYS_MAX:
        raise DomainError(
            "too_many_lines",
            f"Grants and credits since {first:%Y-%m} meet more than {DAYS_MAX} days of usage by team and model:"
            " ask for an earlier month.",
            param="month",
        )
    meant = _meant(org, terms) if by_model else _as_sent
    days = [UsageDay(*row[:3], *meant(*row[3:5]), pico_from_usd(row[5])) for row in rows]
    return before + draw(allowances, days, clock, used)


def _as_sent(provider: str, model: str) -> tuple[str, frozenset[str]]:
    return provider, frozenset((model.lower(),))


def _meant(org: Organization, terms: Sequence[Term]) -> Callable[[str, str], tuple[str, frozenset[str]]]:
    """The provider and names by which a grant or credit covers usage: those by which a price would."""
    book = RateBook(load_catalog(), terms, load_model_aliases(org))

    @cache
    def names(provider: str, model: str) -> tuple[str, frozenset[str]]:
        provider, _, found = book.names(provider, model)
        return provider, found

    return names


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much of a grant or a credit is used and left; of a monthly one, of this month."""

    used_usd: Decimal
    left_usd: Decimal


def allowances(org: Organization, month: date) -> Mapping[int, Allowance]:
    """Of every grant and credit, by the number of its contract, as of a month."""
    with tenant(org):
        clock, terms = calendar(org), load_terms(org)
        all_drawn = drawn_until(org, terms, month, clock)
    used: dict[int, int] = defaultdict(int)
    for drawn in all_drawn:
        if not drawn.term.monthly or drawn.booked_month == month:
            used[drawn.term.id] += drawn.cost_pico
    return {
        term.id: Allowance(usd_from_pico(used[term.id]), usd_from_pico(pico_from_usd(term.amount_usd) - used[term.id]))
        for term in terms
        if term.kind in ALLOWANCES and term.amount_usd is not None
    }
