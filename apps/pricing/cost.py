"""What a price makes of quantities: integers in, integers out, nothing rounded.

A rate is micro-USD per million units and a cost is pico-USD, so a cost is the dot product of a vector of
rates and a vector of quantities, both in the order of `METERS`. Rates that no source publishes are filled in
by `apps.pricing.rules`, and percentages are applied, once, when a card is built: that is the one rounding of a
rate. A call that uses a meter without a rate is unpriced: its cost is None, never zero.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from operator import mul

from apps.core.meters import METER_INDEX, METERS, PROMPT_METERS
from apps.core.money import EXACT, RATE_PLACES, usd_from_pico
from apps.pricing.rules import GENERAL, MissingRate, Step, product

# Micro-USD per million units: a thousand USD per unit, far above any real price.
RATE_MAX = 10**15

DAY_MINUTES = 24 * 60

# Why a rate is what it is, where no rule for missing rates made it.
PUBLISHED, CONTRACT, NO_FEE = "published", "contract", "no-fee"

_REQUESTS = METER_INDEX["requests"]
_PROMPT_INDEXES = tuple(METER_INDEX[meter] for meter in PROMPT_METERS)


@dataclass(frozen=True, slots=True)
class RateCard:
    """The rates for prompts longer than `over_prompt_tokens`, missing ones filled in.

    `rates` are micro-USD per million units in the order of METERS, None where none is known. `rate_from` names,
    for each, the meter whose rate it is ("" where there is none), and `rules` why. `published` is what the card was
    built from.
    """

    over_prompt_tokens: int
    rates: tuple[int | None, ...]
    rate_from: tuple[str, ...]
    rules: tuple[str, ...] = ()
    published: Mapping[str, int] = field(default_factory=dict, repr=False, compare=False)
    weights: tuple[int, ...] = field(init=False, repr=False, compare=False)
    unknown: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", tuple(rate or 0 for rate in self.rates))
        object.__setattr__(self, "unknown", tuple(i for i, rate in enumerate(self.rates) if rate is None))

    @classmethod
    def of(
        cls,
        published: Mapping[str, int],
        over_prompt_tokens: int = 0,
        missing: Sequence[MissingRate] = GENERAL,
        steps: Sequence[Step] = (),
        contracted: Collection[str] = (),
    ) -> "RateCard":
        """The card of the published rates, meter to micro-USD per million units; some may be of a contract."""
        found = [_rate(meter, published, missing, steps) for meter in METERS]
        rates = [rate for rate, _, _ in found]
        rules = [CONTRACT if meter in contracted else rule for meter, (_, _, rule) in zip(METERS, found, strict=True)]
        if published and rates[_REQUESTS] is None:
            rates[_REQUESTS], rules[_REQUESTS] = 0, NO_FEE
        return cls(over_prompt_tokens, tuple(rates), tuple(origin for _, origin, _ in found), tuple(rules), published)

    def final(self) -> dict[str, int]:
        """What was published, with the percentages in it."""
        return {meter: self.weights[METER_INDEX[meter]] for meter in self.published}


@dataclass(frozen=True, slots=True)
class Price:
    """What one model costs from an instant on, at one service tier, in one region and window of the UTC day.

    `id` is the catalog's row, None where a contract alone knows the price; `contract_id` is the contract that
    changed it, if any. `tiers` are in rising order of `over_prompt_tokens`; the highest one that the prompt exceeds
    prices the whole call. `tier_assumed` says that the call's service tier has no price of its own and this is made
    from the standard one. `steps` are the percentages in the rates.
    """

    id: int | None
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
    region: str = ""
    contract_id: int | None = None
    missing: tuple[MissingRate, ...] = GENERAL
    steps: tuple[Step, ...] = ()

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

    def stepped(self, step: Step) -> "Price":
        """This price with one more percentage in it; all of them are multiplied before the one rounding."""
        steps = (*self.steps, step)
        cards = [RateCard.of(card.published, card.over_prompt_tokens, self.missing, steps) for card in self.cards]
        return replace(self, base=cards[0], tiers=tuple(cards[1:]), steps=steps)

    def overlaid(self, rates: Mapping[str, int], tiers: Mapping[int, Mapping[str, int]]) -> "Price":
        """This price with a contract's rates in place of some of its own, at every length of prompt.

        `tiers`, if any, replace the thresholds; each adds to what is published at its length.
        """
        thresholds = sorted(tiers) or [card.over_prompt_tokens for card in self.tiers]
        cards = [self._overlaid(over, {**rates, **tiers.get(over, {})}) for over in (0, *thresholds)]
        return replace(self, base=cards[0], tiers=tuple(cards[1:]), steps=())

    def _overlaid(self, over: int, named: Mapping[str, int]) -> RateCard:
        card = next(card for card in reversed(self.cards) if card.over_prompt_tokens <= over)
        return RateCard.of({**card.final(), **named}, over, self.missing, contracted=named)

    @property
    def cards(self) -> tuple[RateCard, ...]:
        return (self.base, *self.tiers)


@dataclass(frozen=True, slots=True)
class CostLine:
    """One meter's part of a cost; rate and cost are None where no rate is known. `rule` says why this rate."""

    meter: str
    quantity: int
    rate_usd_per_million: Decimal | None
    cost_usd: Decimal | None
    rate_from: str
    rule: str = ""


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
        return [_line(METERS[_REQUESTS], quantities[_REQUESTS], None, "", "")]
    return [
        _line(meter, quantity, card.rates[index], card.rate_from[index], card.rules[index])
        for index, (meter, quantity) in enumerate(zip(METERS, quantities, strict=True))
        if quantity
    ]


def usd_per_million(rate: int) -> Decimal:
    """A rate as USD per million units, with 6 decimals."""
    return EXACT.scaleb(Decimal(rate), -RATE_PLACES)


def _rate(
    meter: str, published: Mapping[str, int], missing: Sequence[MissingRate], steps: Sequence[Step]
) -> tuple[int | None, str, str]:
    """A meter's rate, rounded half-even, the meter it is taken from, and the rule; None, "", "" where there is none."""
    if meter in published:
        return _times(published[meter], product(steps, meter)), meter, PUBLISHED
    for rule in missing:
        if rule.meter == meter and rule.from_meter in published:
            factor = product(steps, meter) * Fraction(rule.percent, 100)
            return _times(published[rule.from_meter], factor), rule.from_meter, rule.name
    return None, "", ""


def _times(rate: int, factor: Fraction) -> int:
    return rate if factor == 1 else round(rate * factor)


def _line(meter: str, quantity: int, rate: int | None, rate_from: str, rule: str) -> CostLine:
    if rate is None:
        return CostLine(meter, quantity, None, None, "")
    return CostLine(meter, quantity, usd_per_million(rate), usd_from_pico(rate * quantity), rate_from, rule)
