"""How a cost came about, rebuilt from what the event kept; and why a call has none. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from difflib import get_close_matches

from apps.core.meters import METERS
from apps.pricing.catalog import STANDARD, canonical_provider
from apps.pricing.contracts import PRICE, Term, price_under
from apps.pricing.cost import Price, cost_pico
from apps.pricing.rating import RateBook
from apps.pricing.rules import RuleSet

SUGGESTIONS_MAX = 3


def rebuilt(
    price: Price | None,
    term: Term | None,
    *,
    provider: str,
    model: str,
    service_tier: str | None,
    tier_assumed: bool,
    rules: RuleSet,
) -> Price | None:
    """The price an event was given, from its catalog row, its contract and its rules; the way `rating` made it."""
    tier = service_tier or STANDARD
    step = rules.tier_step(canonical_provider(provider), tier) if tier_assumed else None
    made_by_standard_terms = term is not None and term.kind == PRICE and (term.service_tier or STANDARD) != tier
    if made_by_standard_terms and term is not None:
        price = price_under(term, price, provider, model)
        term = None
    if price is not None and tier_assumed:
        price = replace(price.stepped(step) if step else price, tier_assumed=True)
    return price if term is None else price_under(term, price, provider, model)


@dataclass(frozen=True, slots=True)
class Unpriced:
    """Why a call has no cost. `code` is one of provider_unknown, model_unknown, no_price_then, rate_unknown,
    only_requests, priced_now (a price is known today: a re-rating would give it to the call).

    `meters` are those without a rate, `suggestions` the names of known models that look alike.
    """

    code: str
    detail: str
    meters: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()


def why_unpriced(
    book: RateBook,
    provider: str,
    model: str,
    service_tier: str,
    region: str,
    at: datetime,
    quantities: Sequence[int],
) -> Unpriced:
    price = book.price(provider, model, service_tier, region, at)
    if price is None:
        return _unknown(book, provider, model, at)
    if cost_pico(price, quantities) is not None:
        return Unpriced(
            "priced_now", f"{price.provider}/{price.model} has a price now: a re-rating gives it to the call."
        )
    card = price.card_for(quantities)
    meters = tuple(METERS[index] for index in card.unknown if quantities[index])
    if not meters:
        return Unpriced("only_requests", "Only the number of requests is known of it, and the price is not by request.")
    names = ", ".join(meters)
    return Unpriced("rate_unknown", f"{price.provider}/{price.model} has no rate for {names}.", meters)


def _unknown(book: RateBook, provider: str, model: str, at: datetime) -> Unpriced:
    found = book.catalog.recognise(provider, model)
    if found is not None:
        day = f"{at:%Y-%m-%d}"
        return Unpriced("no_price_then", f"{found.provider}/{found.model} is known, but no price of it on {day}.")
    if not book.catalog.knows_provider(provider):
        detail = f"No price source knows the provider '{provider}': map the name, or set a price."
        return Unpriced("provider_unknown", detail)
    known = {name.lower(): name for name in book.catalog.models_of(provider)}
    alike = get_close_matches(model.lower(), known, SUGGESTIONS_MAX)
    detail = f"No price source knows '{model}' of {provider}: map the name, or set a price."
    return Unpriced("model_unknown", detail, suggestions=tuple(known[name] for name in alike))
