"""Rating: what one organization pays for a call, from its names, the catalog and its contracts. Pure.

    1. the organization's alias for the model, if it has one, replaces the name
    2. the catalog's price of the model, service tier, region and instant (`apps.pricing.catalog`)
    3. the contract that changes it, if any (`apps.pricing.contracts`)
    4. a fee per request is due once where the sender counted no request
    5. rates times quantities (`apps.pricing.cost`)

Ingestion, re-rating and the explanation of a cost all take this one road.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from apps.core.meters import METER_INDEX
from apps.pricing.catalog import ANSWERS_MAX, STANDARD, Catalog, canonical_provider
from apps.pricing.contracts import DISCOUNT, PRICE, PRICE_KINDS, THROUGHPUT, Term, price_under, standing
from apps.pricing.cost import Price, cost_pico

_REQUESTS = METER_INDEX["requests"]

# (canonical provider, name in lower case) to the (provider, model) that is meant.
ModelAliases = Mapping[tuple[str, str], tuple[str, str]]


class Rated(NamedTuple):
    """What a call was given: its price, quantities with the request counted, and pico-USD, None where unpriced."""

    price: Price | None
    quantities: tuple[int, ...]
    cost_pico: int | None


class RateBook:
    """One organization's prices at one catalog version; immutable, and safe to share between threads."""

    def __init__(self, catalog: Catalog, terms: Sequence[Term] = (), aliases: ModelAliases | None = None) -> None:
        self.catalog = catalog
        self.terms = {term.id: term for term in terms}
        self._aliases = aliases or {}
        self._priced_by = [term for term in terms if term.kind in PRICE_KINDS]
        self._meant = lru_cache(ANSWERS_MAX)(self._mean)
        self._made: dict[tuple[int, int | None, str, str, str], Price | None] = {}

    def listed(self) -> "RateBook":
        """The same names at the catalog's prices: no contract."""
        return RateBook(self.catalog, (), self._aliases)

    def price(self, provider: str, model: str, service_tier: str, region: str, at: datetime) -> Price | None:
        """The price of a call at an aware instant; None where none is known."""
        provider, model, terms = self._meant(provider, model)
        price = self.catalog.find(provider, model, service_tier, at, region)
        return self._contracted(terms, _Call(provider, model, service_tier, region, at), price) if terms else price

    def rate(
        self, provider: str, model: str, service_tier: str, region: str, at: datetime, quantities: tuple[int, ...]
    ) -> Rated:
        """Quantities are in the order of METERS."""
        price = self.price(provider, model, service_tier, region, at)
        if price is None:
            return Rated(None, quantities, None)
        quantities = with_request(price, quantities)
        return Rated(price, quantities, cost_pico(price, quantities))

    def names(self, provider: str, model: str) -> tuple[str, str, frozenset[str]]:
        """The provider and model that a call's names mean, and the model's names by which terms may cover it."""
        provider = canonical_provider(provider)
        provider, model = self._aliases.get((provider, model.strip().lower()), (provider, model))
        provider = canonical_provider(provider)
        known = self.catalog.recognise(provider, model)
        return provider, model, frozenset((model.strip().lower(), *((known.model.lower(),) if known else ())))

    def _mean(self, provider: str, model: str) -> tuple[str, str, tuple[Term, ...]]:
        """The provider and model that are meant, and the terms that may change their price."""
        provider, model, names = self.names(provider, model)
        return provider, model, tuple(term for term in self._priced_by if term.covers(provider, names))

    def _contracted(self, terms: tuple[Term, ...], call: "_Call", price: Price | None) -> Price | None:
        for kind in (THROUGHPUT, PRICE):
            if term := standing(terms, kind, call.at, call.service_tier):
                return self._under(term, call, price)
        own = standing(terms, PRICE, call.at, STANDARD)
        if own and (price is None or price.tier_assumed):
            # Neither contract nor catalog has a price of this tier: it is made from the contract's standard price.
            standard = self.catalog.find(call.provider, call.model, STANDARD, call.at, call.region)
            return self._under(own, call, standard)
        term = standing(terms, DISCOUNT, call.at, call.service_tier)
        return self._under(term, call, price) if term and price else price

    def _under(self, term: Term, call: "_Call", price: Price | None) -> Price | None:
        key = (term.id, price.id if price else None, call.provider, call.model, call.service_tier)
        if key in (made := self._made):
            return made[key]
        if len(made) >= ANSWERS_MAX:
            # Another thread may be reading the old one.
            self._made = {}
        self._made[key] = answer = self._make(term, call, price)
        return answer

    def _make(self, term: Term, call: "_Call", price: Price | None) -> Price | None:
        made = price_under(term, price, call.provider, call.model)
        tier = call.service_tier or STANDARD
        if made is None or term.kind != PRICE or tier == (term.service_tier or STANDARD):
            return made
        step = self.catalog.rules.tier_step(call.provider, tier)
        return replace(made.stepped(step) if step else made, tier_assumed=True)


class _Call(NamedTuple):
    """What a price depends on beside quantities; names are those that are meant."""

    provider: str
    model: str
    service_tier: str
    region: str
    at: datetime


def with_request(price: Price, quantities: tuple[int, ...]) -> tuple[int, ...]:
    """A usage event is one call: a fee per request is due once where the sender counted none."""
    if not price.base.weights[_REQUESTS] or quantities[_REQUESTS]:
        return quantities
    return (*quantities[:_REQUESTS], 1, *quantities[_REQUESTS + 1 :])
