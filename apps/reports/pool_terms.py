"""What a person says of a pool, read and checked."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from apps.core.errors import DomainError
from apps.core.money import USD_PLACES
from apps.core.text import is_name
from apps.organizations.models import Organization
from apps.pricing.commitments import ALLOWANCES, FEES
from apps.pricing.contracts import THROUGHPUT
from apps.pricing.models import Contract
from apps.reports import chargeback
from apps.reports.models_allocation import POOL_NAME_MAX
from apps.teams.models import NAME_LENGTH_MAX, Team

AMOUNT_MAX_USD = Decimal(10) ** 12
CAPACITY_MAX = 10**18
ORDER_MAX = 10_000
PERCENTS_MAX = 200
_AMOUNT = re.compile(r"[0-9]{1,13}(\.[0-9]{1,12})?")
_PERCENT = re.compile(r"[0-9]{1,3}(\.[0-9]{1,6})?")

# The field that each source and each method goes with; `base` alone may be left out.
_OF_SOURCE: Mapping[str, str] = {"amount": "amount_usd", "team": "team", "contract": "contract"}
_OF_METHOD: Mapping[str, str] = {"direct": "to_team", "usage": "driver", "fixed": "percents", "proportional": "base"}


@dataclass(frozen=True, slots=True)
class PoolTerms:
    """A pool as a caller gives it: amounts and percentages are decimal strings, `contract` is a contract's id.

    `order` None: after all others, or where it was. An empty `base` is the direct usage alone.
    """

    name: str
    source: str
    method: str
    order: int | None = None
    amount_usd: str = ""
    team: str = ""
    contract: int | None = None
    to_team: str = ""
    driver: str = ""
    base: str = ""
    percents: Mapping[str, str] = field(default_factory=dict)
    capacity: int | None = None


def read_terms(org: Organization, terms: PoolTerms) -> dict[str, Any]:
    """The columns of a pool but for its months and its order. Inside `tenant(org)`.

    Raises `DomainError`: `name_invalid`, `source_unknown`, `method_unknown`, `pool_field_missing`, `pool_field_unused`,
    `amount_invalid`, `team_unknown`, `contract_unknown`, `driver_invalid`, `base_unknown`, `percents_invalid`,
    `capacity_invalid`.
    """
    if not isinstance(terms.name, str) or not is_name(terms.name.strip(), POOL_NAME_MAX):
        raise DomainError("name_invalid", f"name has 1 to {POOL_NAME_MAX} printable characters.", param="name")
    if terms.source not in chargeback.SOURCES:
        raise _unknown("source_unknown", "source", terms.source, chargeback.SOURCES)
    if terms.method not in chargeback.METHODS:
        raise _unknown("method_unknown", "method", terms.method, chargeback.METHODS)
    _require_fields(terms)
    _require_teams(org, terms)
    contract = _contract(org, terms.contract)
    kind = contract.kind if contract else ""
    return {
        "name": terms.name.strip(),
        "source": terms.source,
        "method": terms.method,
        "amount_usd": _amount(terms.amount_usd) if terms.source == chargeback.AMOUNT else None,
        "team": terms.team,
        "contract": contract,
        "to_team": terms.to_team,
        "driver": _driver(terms, kind),
        "base": _base(terms),
        "percents": _percents(terms),
        "capacity": _capacity(terms, kind),
    }


def _unknown(code: str, field: str, value: str, known: Iterable[str]) -> DomainError:
    return DomainError(code, f"{field} is '{str(value)[:64]}': use {', '.join(known)}.", param=field)


def _require_fields(terms: PoolTerms) -> None:
    for kind, named, of_kind in (
        ("source", terms.source, _OF_SOURCE),
        ("method", terms.method, _OF_METHOD),
    ):
        wanted = of_kind.get(named)
        for name in of_kind.values():
            is_given = bool(getattr(terms, name))
            if name == wanted and not is_given and name != "base":
                raise DomainError("pool_field_missing", f"A pool of {kind} {named} needs {name}.", param=name)
            if name != wanted and is_given:
                raise DomainError(
                    "pool_field_unused", f"A pool of {kind} {named} has no {name}: leave it out.", param=name
                )


def _amount(text: str) -> Decimal:
    amount = Decimal(text) if isinstance(text, str) and _AMOUNT.fullmatch(text) else Decimal(0)
    if not 0 < amount <= AMOUNT_MAX_USD:
        raise DomainError(
            "amount_invalid",
            f"amount_usd is '{str(text)[:64]}': write USD a month as a decimal string above 0 and up to"
            f" {AMOUNT_MAX_USD:f}, with at most {USD_PLACES} decimals.",
            param="amount_usd",
        )
    return amount


def _contract(org: Organization, number: int | None) -> Contract | None:
    if number is None:
        return None
    own = Contract.objects.for_org(org).filter(kind__in=(*FEES, *ALLOWANCES))
    found = own.filter(pk=number).first() if type(number) is int else None
    if found is None:
        raise DomainError(
            "contract_unknown",
            f"There is no contract {str(number)[:64]} with lines of its own: throughput, seats, a grant or a credit.",
            param="contract",
        )
    return found


def _driver(terms: PoolTerms, kind: str) -> str:
    if terms.method != chargeback.USAGE:
        return ""
    known = chargeback.DRIVERS
    if kind == THROUGHPUT:
        # A run has calls of many models: which of them the capacity served is not known of it.
        known = tuple(driver for driver in known if driver != chargeback.RUNS)
    if terms.driver not in known:
        raise _unknown("driver_invalid", "driver", terms.driver, known)
    return terms.driver


def _base(terms: PoolTerms) -> str:
    if terms.method != chargeback.PROPORTIONAL:
        return ""
    base = terms.base or chargeback.DIRECT_USAGE
    if base not in chargeback.BASES:
        raise _unknown("base_unknown", "base", base, chargeback.BASES)
    return base


def _percents(terms: PoolTerms) -> dict[str, str]:
    given = terms.percents
    if len(given) > PERCENTS_MAX:
        raise DomainError("percents_invalid", f"percents name at most {PERCENTS_MAX} teams.", param="percents")
    for team, text in given.items():
        if not isinstance(text, str) or not _PERCENT.fullmatch(text) or not Decimal(text):
            raise DomainError(
                "percents_invalid",
                f"The percentage of '{team[:64]}' is '{str(text)[:64]}': write a decimal string above 0 with at most"
                f" {chargeback.PERCENT_PLACES} decimals.",
                param="percents",
            )
    total = sum(Decimal(text) for text in given.values())
    if given and total != 100:
        raise DomainError(
            "percents_invalid", f"The percentages add up to {total:f}: they must add up to 100.", param="percents"
        )
    return {team: format(Decimal(given[team]).normalize(), "f") for team in sorted(given)}


def _capacity(terms: PoolTerms, kind: str) -> int | None:
    if terms.capacity is None:
        return None
    if kind != THROUGHPUT or terms.method != chargeback.USAGE:
        raise DomainError(
            "pool_field_unused", "capacity is for a throughput contract that is shared by usage.", param="capacity"
        )
    if type(terms.capacity) is not int or not 0 < terms.capacity <= CAPACITY_MAX:
        raise DomainError(
            "capacity_invalid",
            f"capacity is {str(terms.capacity)[:64]}: write units of the driver a month, from 1 to 10^18.",
            param="capacity",
        )
    return terms.capacity


def _require_teams(org: Organization, terms: PoolTerms) -> None:
    named = [("team", terms.team), ("to_team", terms.to_team), *(("percents", team) for team in terms.percents)]
    slugs = {slug for _, slug in named if is_name(slug, NAME_LENGTH_MAX)}
    known = set(Team.objects.for_org(org).filter(slug__in=slugs).values_list("slug", flat=True)) if slugs else set()
    for param, slug in named:
        if slug and slug not in known:
            raise DomainError("team_unknown", f"There is no team '{slug[:64]}': create it first.", param=param)
