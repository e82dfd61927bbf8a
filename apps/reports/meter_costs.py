"""What each meter cost, of usage of which only the cost of all meters together is known. Pure.

A rollup keeps exact costs and quantities by meter, summed over calls. Where the rates of one card times the quantities
are that very cost, each meter's own cost is known. Where no card explains it (the price changed within the day, prompts
of both lengths), the cost is shared out in proportion to rate x quantity, and without rates by quantity. Either way the
parts add up to the cost, and what takes all of some usage back is split into the same parts, negative.

Costs are pico-USD, rates micro-USD per million units, quantities in each meter's smallest unit.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from apps.core.meters import METERS
from apps.core.money import split
from apps.pricing.catalog import REGIONAL
from apps.pricing.cost import Price, RateCard
from apps.pricing.rating import RateBook

# Stands for the meter where a cost has no quantity: a correction of a price.
UNMETERED = ""

# A day in which prices differ is looked at by the hour; the longest has 25 of them.
_DAY_HOURS, _PROBE_HOURS = 25, 5


class Card(NamedTuple):
    """The rates that hold together for one call, by meter: as listed, and as this organization pays them.

    A meter of which no rate is known is missing.
    """

    listed: Mapping[str, int]
    paid: Mapping[str, int]


# What is paid, and what is listed.
_Prices = tuple[Price | None, Price | None]


class Split(NamedTuple):
    """The cost of each meter in pico-USD; `UNMETERED` holds what no quantity stands behind.

    `is_exact`: rates of `card` times quantities are these costs; else they are shares. `card` None: no rate is known.
    """

    costs: dict[str, int]
    is_exact: bool
    card: Card | None


def split_cost(cost_pico: int, quantities: Mapping[str, int], cards: Sequence[Card]) -> Split:
    """The cost of the quantities of one provider, model, service tier and day, meter by meter.

    `cards` are those that may have applied (`Rates.cards`), the likeliest first.
    """
    used = {meter: quantity for meter, quantity in quantities.items() if quantity}
    for card in cards:
        costs = _priced(card.paid, used)
        if costs is not None and sum(costs.values()) == cost_pico:
            return Split(costs, True, card)
    likeliest = cards[0] if cards else None
    if used:
        return Split(_shared(cost_pico, used, likeliest), False, likeliest)
    return Split({UNMETERED: cost_pico} if cost_pico else {}, not cost_pico, likeliest)


def _priced(rates: Mapping[str, int], used: Mapping[str, int]) -> dict[str, int] | None:
    """None where a used meter has no rate: what is not known is not free."""
    try:
        return {meter: rates[meter] * quantity for meter, quantity in used.items()}
    except KeyError:
        return None


def _shared(cost_pico: int, used: Mapping[str, int], card: Card | None) -> dict[str, int]:
    weights = [abs(card.paid.get(meter, 0) * quantity) if card else 0 for meter, quantity in used.items()]
    if not any(weights):
        weights = [abs(quantity) for quantity in used.values()]
    sign = -1 if cost_pico < 0 else 1
    return {meter: sign * part for meter, part in zip(used, split(abs(cost_pico), weights), strict=True)}


class Rates:
    """The rates of one organization: listed by the catalog, and paid under its contracts.

    Remembers a day's answers until it is asked about another: whoever walks over many days goes day by day.
    """

    def __init__(self, book: RateBook) -> None:
        self._book, self._list = book, book.listed()
        self._day: datetime | None = None
        self._of_day: dict[tuple[str, str, str], tuple[Card, ...]] = {}
        self._of_prices: dict[tuple[Price, Price | None], tuple[Card, ...]] = {}

    def cards(self, provider: str, model: str, service_tier: str | None, day_start: datetime) -> tuple[Card, ...]:
        """Every card that may have applied to a call within the day, in order of time, of any length of prompt."""
        if day_start != self._day:
            self._day, self._of_day = day_start, {}
        key = (provider, model, service_tier or "")
        found = self._of_day.get(key)
        if found is None:
            found = self._of_day[key] = tuple(self._within_day(*key, day_start))
        return found

    def _within_day(self, provider: str, model: str, service_tier: str, day_start: datetime) -> Iterator[Card]:
        found: list[_Prices] = []
        for region in ("", REGIONAL):
            call = (provider, model, service_tier, region)
            prices = self._prices(call, day_start, _PROBE_HOURS)
            if len(prices) > 1:
                prices = self._prices(call, day_start, 1)
            found += (pair for pair in prices if pair not in found)
        for paid, listed in found:
            if paid is not None:
                yield from self._cards_of(paid, listed)

    def _prices(self, call: tuple[str, str, str, str], day_start: datetime, hours: int) -> list[_Prices]:
        """The different prices in force at every so many hours of the day."""
        found: list[_Prices] = []
        for hour in range(0, _DAY_HOURS, hours):
            at = day_start + timedelta(hours=hour)
            pair = self._book.price(*call, at), self._list.price(*call, at)
            if pair not in found:
                found.append(pair)
        return found

    def _cards_of(self, paid: Price, listed: Price | None) -> tuple[Card, ...]:
        found = self._of_prices.get((paid, listed))
        if found is None:
            found = tuple(Card(_listed_beside(card, listed), _known(card)) for card in paid.cards)
            self._of_prices[paid, listed] = found
        return found


def _listed_beside(card: RateCard, listed: Price | None) -> Mapping[str, int]:
    """What is listed for a prompt of that length."""
    if listed is None:
        return {}
    return _known(next(one for one in reversed(listed.cards) if one.over_prompt_tokens <= card.over_prompt_tokens))


def _known(card: RateCard) -> Mapping[str, int]:
    return {meter: rate for meter, rate in zip(METERS, card.rates, strict=True) if rate is not None}
