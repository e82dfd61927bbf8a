"""What sources publish, side by side: what only the second one knows, and where the two differ. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from apps.pricing.catalog import STANDARD, Catalog, PublishedModel, PublishedPrice
from apps.pricing.cost import DAY_MINUTES, Price, RateCard
from apps.pricing.rules import RULES, RuleSet

# Differences of up to one percent are the sources' own roundings.
TOLERANCE = Fraction(1, 100)


@dataclass(frozen=True, slots=True)
class Uplift:
    """What a source adds to another source's model in a region: rates times `multiplier`."""

    provider: str
    model: str
    region: str
    multiplier: Fraction


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a source publishes, and what of it found no place here.

    `published_on` is the date of a source that knows no history: what it changes holds from then on. `left_out`
    counts, by the source's own key, the prices that carry a rate for which there is no meter; `rounded` names the rates
    that lost decimals beyond the sixth; `unpriced` lists models without any usable rate.
    """

    source: str
    source_version: str
    models: tuple[PublishedModel, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    rounded: tuple[str, ...] = ()
    unpriced: tuple[str, ...] = ()
    published_on: date | None = None
    uplifts: tuple[Uplift, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """A price on which the second source differs: the rates of both, meter to micro-USD per million units.

    `ours` and `theirs` hold the rates below every threshold and, by threshold, the others that both publish.
    """

    price: Price
    ours: "Rates"
    theirs: "Rates"
    percent: Decimal


@dataclass(frozen=True, slots=True)
class Rates:
    rates: Mapping[str, int]
    tiers: Mapping[int, Mapping[str, int]]


def catalog_of(snapshot: Snapshot, rules: RuleSet = RULES) -> Catalog:
    """The catalog of what a source publishes, straight from the source; prices are numbered from 1."""
    models = snapshot.models
    published = [(model, price) for model in models for price in model.prices]
    prices = [_price(number, model, price, snapshot, rules) for number, (model, price) in enumerate(published, start=1)]
    return Catalog(1, [(model.provider, model.model, model.match) for model in models], prices, rules=rules)


def _price(number: int, model: PublishedModel, price: PublishedPrice, snapshot: Snapshot, rules: RuleSet) -> Price:
    missing = rules.missing_rates(model.model)
    return Price(
        id=number,
        provider=model.provider,
        model=model.model,
        service_tier=price.service_tier,
        region=price.region,
        effective_from=price.effective_from,
        base=RateCard.of(price.rates, 0, missing),
        tiers=tuple(RateCard.of(rates, over, missing) for over, rates in sorted(price.tiers.items())),
        source=snapshot.source,
        source_version=snapshot.source_version,
        daily_from_minute=price.daily_from_minute,
        daily_until_minute=price.daily_until_minute,
        missing=missing,
    )


def breadth(default: Snapshot, second: Snapshot) -> Snapshot:
    """What the second source adds: models that the default one does not recognise, and regions of those it does."""
    catalog = catalog_of(default)
    added = [_completed(model) for model in second.models if model.prices and not _knows(catalog, model)]
    return replace(second, models=(*added, *_uplifted(default, catalog, second.uplifts)))


def _knows(catalog: Catalog, model: PublishedModel) -> bool:
    return catalog.recognise(model.provider, model.model) is not None


def _completed(model: PublishedModel) -> PublishedModel:
    """Fees, and what is free, hold in every service tier where the source says them once.

    A tier that lacks a rate for input or for output has no price of its own: rules make one from the standard price.
    """
    standard = next((price.rates for price in model.prices if price.service_tier == STANDARD), {})
    fees = {meter: rate for meter, rate in standard.items() if not rate or not meter.endswith("_tokens")}
    prices = (
        replace(
            price,
            rates={**fees, **price.rates},
            tiers={over: {**fees, **rates} for over, rates in price.tiers.items()},
        )
        for price in model.prices
    )
    needed = standard.keys() & {"input_tokens", "output_tokens"}
    return replace(model, prices=tuple(price for price in prices if needed <= price.rates.keys()))


def _uplifted(default: Snapshot, catalog: Catalog, uplifts: Iterable[Uplift]) -> Iterator[PublishedModel]:
    """The default source's prices once more for each region that costs more."""
    models = {(model.provider, model.model): model for model in default.models}
    regions: dict[tuple[str, str], dict[str, Fraction]] = defaultdict(dict)
    for uplift in uplifts:
        known = catalog.recognise(uplift.provider, uplift.model)
        # A maker's price is not uplifted by the region of a cloud that resells it.
        if known is not None and known.provider == uplift.provider:
            regions[known.provider, known.model].setdefault(uplift.region, uplift.multiplier)
    for key, multipliers in regions.items():
        model = models[key]
        prices = tuple(
            _times(price, region, multiplier)
            for region, multiplier in sorted(multipliers.items())
            for price in model.prices
            if price.rates
        )
        yield replace(model, prices=prices)


def _times(price: PublishedPrice, region: str, multiplier: Fraction) -> PublishedPrice:
    return replace(
        price,
        region=region,
        rates=_scaled(price.rates, multiplier),
        tiers={over: _scaled(rates, multiplier) for over, rates in price.tiers.items()},
        published={"multiplier": f"{multiplier.numerator}/{multiplier.denominator}"},
    )


def _scaled(rates: Mapping[str, int], multiplier: Fraction) -> dict[str, int]:
    """Token rates are uplifted; fees are not."""
    return {meter: round(rate * multiplier) if meter.endswith("_tokens") else rate for meter, rate in rates.items()}


def differences(catalog: Catalog, second: Snapshot, at: datetime) -> list[Difference]:
    """Where the second source's price of a model differs by more than `TOLERANCE` from what the catalog has at `at`.

    Only rates that both publish are compared, tier by tier. Several names of the second source may stand for one model
    here: the one that is called alike speaks for it, else the one that comes closest. So does the closest hour of a
    price that depends on the hour of the day.
    """
    found: dict[tuple[str, str, str], list[tuple[bool, Difference | None]]] = defaultdict(list)
    for model in second.models:
        for theirs in model.prices:
            if theirs.region:
                continue
            closest = _closest(_of_the_day(catalog, model, theirs.service_tier, at), theirs)
            if closest is not None:
                price, difference = closest
                namesake = price.model.lower() == model.model.lower()
                found[price.provider, price.model, price.service_tier].append((namesake, difference))
    spoken = (_speaker(candidates) for candidates in found.values())
    return [difference for difference in spoken if difference is not None]


def _of_the_day(catalog: Catalog, model: PublishedModel, service_tier: str, at: datetime) -> list[Price]:
    """The prices that its provider asks for a model on the day of `at`, the one at `at` first."""
    found: dict[int | None, Price] = {}
    for hour in range(24):
        price = catalog.find(model.provider, model.model, service_tier, at + timedelta(hours=hour))
        if price is not None and not price.tier_assumed and price.provider == model.provider:
            found.setdefault(price.id, price)
            if price.daily_until_minute - price.daily_from_minute == DAY_MINUTES:
                break
    return list(found.values())


def _closest(prices: Sequence[Price], theirs: PublishedPrice) -> tuple[Price, "Difference | None"] | None:
    compared = [(price, _difference(price, theirs)) for price in prices]
    return min(compared, key=lambda pair: pair[1].percent if pair[1] else Decimal(0), default=None)


def _speaker(candidates: Sequence[tuple[bool, Difference | None]]) -> Difference | None:
    named = [difference for is_namesake, difference in candidates if is_namesake]
    heard = named or [difference for _, difference in candidates]
    return min(heard, key=lambda difference: difference.percent if difference else Decimal(0))


def _difference(price: Price, theirs: PublishedPrice) -> Difference | None:
    ours = Rates(price.base.published, {card.over_prompt_tokens: card.published for card in price.tiers})
    shared = [(ours.rates, theirs.rates)]
    shared += [(ours.tiers[over], theirs.tiers[over]) for over in ours.tiers if over in theirs.tiers]
    largest = max((_relative(a[meter], b[meter]) for a, b in shared for meter in a if meter in b), default=Fraction(0))
    if largest <= TOLERANCE:
        return None
    percent = Decimal(min(round(largest * 1_000_000), 10**14)).scaleb(-4)
    return Difference(price, ours, Rates(theirs.rates, theirs.tiers), percent)


def _relative(ours: int, theirs: int) -> Fraction:
    """How far apart two rates are, of the smaller one; a price against none at all counts as a hundredfold."""
    if ours == theirs:
        return Fraction(0)
    return Fraction(abs(ours - theirs), min(ours, theirs)) if ours and theirs else Fraction(100)
