"""What an organization agreed with a provider, as terms; which term changes a call's price, and how.

Terms that change the price of a call, in the order in which they are asked; the first that covers it is the
only one that does:

    throughput   capacity bought by the hour: its calls cost nothing, the hours are a line of the statement
    price        rates of its own; rates that it does not name stay the catalog's
    discount     a percentage off the catalog's rates, before they are rounded

Of several terms of one kind the most specific stands: an exact model before a pattern before any model, then a
named provider before any, then a named service tier, then the latest start, then the latest entry. Fixed fees, seats,
grants and credits never enter a call's cost: they are lines of the statement (`apps.pricing.commitments`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from apps.core.meters import METERS
from apps.pricing.catalog import EPOCH, STANDARD
from apps.pricing.cost import CONTRACT, Price, RateCard
from apps.pricing.rules import Step

PRICE, DISCOUNT, THROUGHPUT = "price", "discount", "throughput"
SEATS, GRANT, CREDIT = "seats", "grant", "credit"
KINDS = (PRICE, DISCOUNT, THROUGHPUT, SEATS, GRANT, CREDIT)
# Terms that the price of a call depends on.
PRICE_KINDS = (THROUGHPUT, PRICE, DISCOUNT)


@dataclass(frozen=True, slots=True)
class Term:
    """One line of a contract, in force in [starts_at, ends_at).

    An empty `provider` or `model` covers any; a model that ends in "*" covers what begins like it. Rates are
    micro-USD per million units by meter, `tiers` the same for prompts longer than a number of tokens; `percent` is
    what is taken off. `amount_usd` is the fee of one unit for an hour (throughput), of one seat for a month (seats),
    or the amount granted or paid ahead; `quantity` counts units or seats; `monthly` renews a grant or a credit each
    month.
    """

    id: int
    kind: str
    starts_at: datetime
    ends_at: datetime | None = None
    provider: str = ""
    model: str = ""
    service_tier: str = ""
    rates: Mapping[str, int] = field(default_factory=dict)
    tiers: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    percent: Decimal | None = None
    amount_usd: Decimal | None = None
    quantity: int = 1
    monthly: bool = False
    team: str | None = None
    name: str = ""

    def is_in_force(self, at: datetime) -> bool:
        return self.starts_at <= at and (self.ends_at is None or at < self.ends_at)

    def covers(self, provider: str, models: Iterable[str]) -> bool:
        """Whether a call is meant; `models` are its name as sent and the catalog's id, in lower case."""
        if self.provider and self.provider != provider:
            return False
        model = self.model.lower()
        if model.endswith("*"):
            return any(name.startswith(model[:-1]) for name in models)
        return not model or model in models

    @property
    def precedence(self) -> tuple[int, bool, bool, datetime, int]:
        """The greatest of the terms of one kind stands."""
        exactness = 2 if self.model and not self.model.endswith("*") else 1 if self.model else 0
        return exactness, bool(self.provider), bool(self.service_tier), self.starts_at, self.id


def standing(terms: Sequence[Term], kind: str, at: datetime, service_tier: str) -> Term | None:
    """The term of a kind that stands at an instant for a call they all cover.

    A price without a service tier is one of the standard tier; other kinds without one hold in every tier.
    """
    tier = service_tier or STANDARD
    return max(
        (term for term in terms if term.kind == kind and term.is_in_force(at) and _tier_of(term) in ("", tier)),
        key=lambda term: term.precedence,
        default=None,
    )


def price_under(term: Term, price: Price | None, provider: str, model: str) -> Price | None:
    """What a call costs under a term of `PRICE_KINDS`, given the catalog's price or None.

    A discount on a price that nobody knows is unknown too.
    """
    if term.kind == DISCOUNT:
        return None if price is None else _contracted(price.stepped(_off(term)), term)
    known = price or Price(None, provider, model, STANDARD, EPOCH, RateCard.of({}), (), CONTRACT, "")
    if term.kind == THROUGHPUT:
        return _contracted(_free(known), term)
    return _contracted(known.overlaid(term.rates, term.tiers), term)


def _off(term: Term) -> Step:
    """What is left after the discount."""
    return Step("discount", Fraction(100) - Fraction(term.percent or 0))


def _free(price: Price) -> Price:
    base = RateCard.of(dict.fromkeys(METERS, 0), contracted=METERS)
    return replace(price, base=base, tiers=(), steps=())


def _contracted(price: Price, term: Term) -> Price:
    return replace(price, contract_id=term.id)


def _tier_of(term: Term) -> str:
    return term.service_tier or (STANDARD if term.kind == PRICE else "")
