"""What to hold for a call that was not made yet, and what to assume of one that has no price."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from apps.budgets.booking import Assume
from apps.core.meters import METER_INDEX, METERS, NO_QUANTITIES
from apps.core.money import usd_from_pico
from apps.organizations.models import Organization
from apps.pricing.ceiling import ceiling_pico
from apps.pricing.cost import Price
from apps.pricing.rating import RateBook
from apps.usage.deltas import EventRow

UnpricedPolicy = Organization.UnpricedPolicy

INPUT, OUTPUT = METER_INDEX["input_tokens"], METER_INDEX["output_tokens"]


@dataclass(frozen=True, slots=True)
class Planned:
    """A call as it is planned: `quantities` follow METERS, None where the caller does not know them."""

    provider: str
    model: str
    service_tier: str
    quantities: tuple[int, ...] | None
    estimate_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What to hold, and by what: estimate, tokens, ceiling, unpriced; None: it must come from history.

    `is_priced`: the price in force is known. `is_free`: it is, and every known rate of it is zero.
    """

    hold_usd: Decimal | None
    basis: str
    is_priced: bool
    is_free: bool = False


def estimate(planned: Planned, book: RateBook, policy: str, at: datetime) -> Estimate:
    """The caller's own figure goes before tokens times the price in force; without a price, the policy decides."""
    price = book.price(planned.provider, planned.model, planned.service_tier, "", at)
    if price is not None and _is_free(price):
        return Estimate(Decimal(0), "free", True, True)
    if planned.estimate_usd is not None:
        return Estimate(planned.estimate_usd, "estimate", price is not None)
    if planned.quantities is None:
        return Estimate(None, "history", price is not None)
    rated = book.rate(planned.provider, planned.model, planned.service_tier, "", at, planned.quantities)
    if rated.cost_pico is not None:
        return Estimate(usd_from_pico(rated.cost_pico), "tokens", True)
    if policy == UnpricedPolicy.CEILING:
        pico = ceiling_pico(book.catalog, planned.provider, planned.model, planned.service_tier, at, planned.quantities)
        if pico is not None:
            return Estimate(usd_from_pico(pico), "ceiling", False)
    return Estimate(Decimal(0), "unpriced", False)


def _is_free(price: Price) -> bool:
    return not any(any(card.weights) or None in (card.rates[INPUT], card.rates[OUTPUT]) for card in price.cards)


def tokens(input_tokens: int, max_output_tokens: int) -> tuple[int, ...]:
    quantities = list(NO_QUANTITIES)
    quantities[INPUT], quantities[OUTPUT] = input_tokens, max_output_tokens
    return tuple(quantities)


def assumed_costs(org: Organization, book: RateBook) -> Assume:
    """What budgets count for an event without a price, pico-USD: its family's ceiling, where that is the policy."""

    def assume(row: EventRow) -> int | None:
        if org.unpriced_policy != UnpricedPolicy.CEILING:
            return None
        quantities = [getattr(row, meter) for meter in METERS]
        return ceiling_pico(book.catalog, row.provider, row.model, row.service_tier or "", row.occurred_at, quantities)

    return assume
