"""The most that a call could cost whose model has no price: the dearest rates of its family. Pure.

A model's family is its provider's models whose names begin with the same letters ("claude", "gpt", "gemini"); where
there are none, all of the provider's. For each meter the highest rate of any of them, at any length of prompt.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

from apps.core.meters import METERS
from apps.pricing.catalog import Catalog
from apps.pricing.cost import Price

_LETTERS = re.compile(r"[a-z]+")


def ceiling_pico(
    catalog: Catalog, provider: str, model: str, service_tier: str, at: datetime, quantities: Sequence[int]
) -> int | None:
    """Pico-USD; None where the provider is not known, or no model of it has a rate for a meter that was used."""
    hour = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    rates = _ceiling(catalog, provider, family_of(model), service_tier, hour)
    total = 0
    for rate, quantity in zip(rates, quantities, strict=True):
        if quantity:
            if rate is None:
                return None
            total += rate * quantity
    return total if any(rate is not None for rate in rates) else None


@lru_cache(maxsize=4096)
def _ceiling(catalog: Catalog, provider: str, family: str, service_tier: str, at: datetime) -> tuple[int | None, ...]:
    """The dearest rate of each meter in a family, micro-USD per million units."""
    known = sorted(set(catalog.models_of(provider)))
    names = [name for name in known if family_of(name) == family] or known
    prices = [price for name in names if (price := catalog.find(provider, name, service_tier, at)) is not None]
    return tuple(_dearest(prices, index) for index in range(len(METERS)))


def family_of(model: str) -> str:
    """The letters with which the last part of a model's name begins, in lower case."""
    found = _LETTERS.search(model.lower().rpartition("/")[2])
    return found[0] if found else ""


def _dearest(prices: Sequence[Price], index: int) -> int | None:
    rates = [rate for price in prices for card in price.cards if (rate := card.rates[index]) is not None]
    return max(rates, default=None)
