"""What a price makes of quantities: integers in, integers out, nothing rounded.

A rate is micro-USD per million units and a cost is pico-USD, so a cost is the dot product of a vector of
rates and a vector of quantities, both in the order of `METERS`.

A source rarely publishes a rate for every meter. A missing rate is taken from the first published one of
this table, once, when a card is built:

    cache_read_tokens        input_tokens
    cache_write_5m_tokens    input_tokens
    cache_write_1h_tokens    cache_write_5m_tokens, input_tokens
    reasoning_tokens         output_tokens
    audio_input_tokens       input_tokens
    image_input_tokens       input_tokens
    audio_output_tokens      output_tokens
    image_output_tokens      output_tokens
    requests                 free beside other quantities, where any rate is published at all

A call that uses any other meter without a rate is unpriced: its cost is None, never zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from operator import mul

from apps.core.meters import METER_INDEX, METERS, PROMPT_METERS
from apps.core.money import EXACT, RATE_PLACES, usd_from_pico

FALLBACKS: Mapping[str, tuple[str, ...]] = {
    "cache_read_tokens": ("input_tokens",),
    "cache_write_5m_tokens": ("input_tokens",),
    "cache_write_1h_tokens": ("cache_write_5m_tokens", "input_tokens"),
    "reasoning_tokens": ("output_tokens",),
    "audio_input_tokens": ("input_tokens",),
    "image_input_tokens": ("input_tokens",),
    "audio_output_tokens": ("output_tokens",),
    "image_output_tokens": ("output_tokens",),
}

# Micro-USD per million units: a thousand USD per unit, far above any real price.
RATE_MAX = 10**15

DAY_MINUTES = 24 * 60

_REQUESTS = METER_INDEX["requests"]
_PROMPT_INDEXES = tuple(METER_INDEX[meter] for meter in PROMPT_METERS)


@dataclass(frozen=True, slots=True)
class RateCard:
    """The rates for prompts longer than `over_prompt_tokens`, missing ones filled in.

    `rates` are micro-USD per million units in the order of METERS, None where none is known.
    `rate_from` names, for each, the meter whose published rate it is; "" where there is none.
    """

    over_prompt_tokens: int
    rates: tuple[int | None, ...]
    rate_from: tuple[str, ...]
    weights: tuple[int, ...] = field(init=False, repr=False, compare=False)
    unknown: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", tuple(rate or 0 for rate in self.rates))
        object.__setattr__(self, "unknown", tuple(i for i, rate in enumerate(self.rates) if rate is None))

    @classmethod
    def of(cls, published: Mapping[str, int], over_prompt_tokens: int = 0) -> "RateCard":
        """The card of the published rates, meter to micro-USD per million units."""
        origins = [_origin(meter, published) for meter in METERS]
        rates: list[int | None] = [published[origin] if origin else None for origin in origins]
        if published and rates[_REQUESTS] is None:
            rates[_REQUESTS] = 0
        return cls(over_prompt_tokens, tuple(rates), tuple(origins))


@dataclass(frozen=True, slots=True)
class Price:
    """What one model costs from an instant on, at one service tier, in one window of the UTC day.

    `tiers` are in rising order of `over_prompt_tokens`; the highest one that the prompt exceeds prices
    the whole call. `tier_assumed` says that the call's service tier has no price of its own and this is
    the standard one.
    """

    id: int
    provider: str
    model: str
    service_tier: str
    effective_from: datetime
    base: RateCard
    tiers: tuple[RateCard, ...]
    source: str
    source_version: str
    daily_from_minute: int = 0
    daily_until_minute: int = DAY_MINUTES
    tier_assumed: bool = False

    @property
    def rates(self) -> tuple[int | None, ...]:
        """The rates of a prompt below every threshold, in the order of METERS."""
        return self.base.rates

    def card_for(self, quantities: Sequence[int]) -> RateCard:
        """The card that the length of the prompt selects."""
        if not self.tiers:
            return self.base
        prompt_tokens = sum(quantities[index] for index in _PROMPT_INDEXES)
        for card in reversed(self.tiers):
            if prompt_tokens > card.over_prompt_tokens:
                return card
        return self.base


@dataclass(frozen=True, slots=True)
class CostLine:
    """One meter's part of a cost; rate and cost are None where no rate is known."""

    meter: str
    quantity: int
    rate_usd_per_million: Decimal | None
    cost_usd: Decimal | None
    rate_from: str


def cost_pico(price: Price, quantities: Sequence[int]) -> int | None:
    """Pico-USD of quantities in the order of METERS; None where a used meter has no rate."""
    card = price.card_for(quantities) if price.tiers else price.base
    for index in card.unknown:
        if quantities[index]:
            return None
    total: int = sum(map(mul, card.weights, quantities))
    return None if not total and _only_requests(card, quantities) else total


def _only_requests(card: RateCard, quantities: Sequence[int]) -> bool:
    """Whether calls were counted and nothing else of them is known, at a price that is not per call."""
    return bool(
        quantities[_REQUESTS]
        and not card.rate_from[_REQUESTS]
        and any(card.weights)
        and sum(quantities) == quantities[_REQUESTS]
    )


def explain(price: Price, quantities: Sequence[int]) -> list[CostLine]:
    """A line for every meter used; the lines add up to the cost exactly."""
    card = price.card_for(quantities)
    if _only_requests(card, quantities):
        return [_line(METERS[_REQUESTS], quantities[_REQUESTS], None, "")]
    return [
        _line(meter, quantity, rate, rate_from)
        for meter, quantity, rate, rate_from in zip(METERS, quantities, card.rates, card.rate_from, strict=True)
        if quantity
    ]


def usd_per_million(rate: int) -> Decimal:
    """A rate as USD per million units, with 6 decimals."""
    return EXACT.scaleb(Decimal(rate), -RATE_PLACES)


def _origin(meter: str, published: Mapping[str, int]) -> str:
    candidates = (meter, *FALLBACKS.get(meter, ()))
    return next((candidate for candidate in candidates if candidate in published), "")


def _line(meter: str, quantity: int, rate: int | None, rate_from: str) -> CostLine:
    if rate is None:
        return CostLine(meter, quantity, None, None, "")
    return CostLine(meter, quantity, usd_per_million(rate), usd_from_pico(rate * quantity), rate_from)
