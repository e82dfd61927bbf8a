"""What changes of prices do to spend: past days at today's prices, and days ahead at theirs. Pure.

A factor is what the quantities of a model cost at one day's prices over what they cost at another's, at the rates for
short prompts under the organization's contracts. Quantities are sums over the last weeks, so that a price which changed
for one meter alone counts by how much that meter is used. Prices are those of noon.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np

from apps.core.periods import HOUR
from apps.pricing.rating import RateBook
from apps.usage.forecast import Floats

FACTOR_MAX = 20.0
# Rates are rounded to six decimals: less is no change.
_LEAST = 1e-6

Model = tuple[str, str, str]


class Mix(NamedTuple):
    """What was used of a model (and of one service tier) in all, in the order of METERS."""

    provider: str
    model: str
    service_tier: str
    quantities: tuple[int, ...]

    @property
    def key(self) -> Model:
        return self.provider, self.model, self.service_tier


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """Of one model: `past` (n,) makes days behind cost what they would now, `ahead` (h,) the present what it will."""

    past: Floats
    ahead: Floats


def factors(
    book: RateBook, mixes: Iterable[Mix], past: Sequence[datetime], ahead: Sequence[datetime]
) -> dict[Model, Factors]:
    """Of models whose price changed or will, among days that begin then; `ahead` begins with today."""
    found = {}
    for mix in mixes:
        now = _cost(book, mix, ahead[0]) if ahead else None
        if not now:
            continue
        behind = [_cost(book, mix, day) for day in past]
        coming = [_cost(book, mix, day) for day in ahead]
        each = Factors(
            np.array([_factor(now, cost) for cost in behind]), np.array([_factor(cost, now) for cost in coming])
        )
        if any((np.abs(side - 1) > _LEAST).any() for side in (each.past, each.ahead)):
            found[mix.key] = each
    return found


def _cost(book: RateBook, mix: Mix, day: datetime) -> int | None:
    price = book.price(*mix.key, "", day + 12 * HOUR)
    if price is None:
        return None
    return sum(rate * quantity for rate, quantity in zip(price.base.weights, mix.quantities, strict=True))


def _factor(over: int | None, under: int | None) -> float:
    """1 where either is not known, and where something was free: how much would be used of it is not known."""
    if over is None or not under:
        return 1.0
    return float(np.clip(over / under, 0.0, FACTOR_MAX))
