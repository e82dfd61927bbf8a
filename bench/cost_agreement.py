"""Every model and shape of usage, priced here and by the two sources' own rules: equal, or different for a reason.

A reason is not believed but checked: the cost is computed once more with that one thing changed, and must then be
the other's to 1e-9 USD.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, ModelPrice, Tier, TieredPrices, Usage

from apps.core.meters import METERS, PROMPT_METERS
from apps.core.money import rate_from_usd_per_million, usd_from_pico
from apps.pricing.catalog import Catalog, PublishedPrice
from apps.pricing.cost import Price, RateCard, cost_pico
from apps.pricing.genai import CONTEXTS, UNITS, _starts, read_snapshot
from apps.pricing.litellm import read_litellm
from apps.pricing.rating import with_request
from apps.pricing.rules import GENERAL
from apps.pricing.sources import TOLERANCE, breadth, catalog_of

CLOSE = Decimal("1e-9")
EXAMPLES = 5
NOW = datetime(2026, 11, 24, 18, tzinfo=UTC)

Quantities = tuple[int, ...]


def vector(**by_meter: int) -> Quantities:
    return tuple(by_meter.get(meter, 0) for meter in METERS)


SHAPES: Mapping[str, Quantities] = {
    "plain": vector(input_tokens=1_234, output_tokens=567),
    "cached": vector(input_tokens=11, cache_read_tokens=99_991, output_tokens=3),
    "written": vector(input_tokens=7, cache_read_tokens=5_003, cache_write_5m_tokens=2_048, output_tokens=811),
    "written for an hour": vector(cache_write_5m_tokens=64, cache_write_1h_tokens=4_099, output_tokens=8),
    "reasoning": vector(input_tokens=901, output_tokens=33, reasoning_tokens=12_345),
    "long": vector(input_tokens=600_001, cache_read_tokens=450_000, output_tokens=77),
    "audio and images": vector(
        input_tokens=100, audio_input_tokens=301, image_input_tokens=1_105, output_tokens=40, audio_output_tokens=207,
        image_output_tokens=1_290,
    ),
    "cached audio": vector(input_tokens=100, audio_input_tokens=9, audio_cache_read_tokens=250, output_tokens=40),
    "searches": vector(input_tokens=100, output_tokens=40, searches=3, file_searches=2),
    "seconds": vector(audio_milliseconds=61_000),
    "characters": vector(characters=4_097),
    "pages": vector(pages=29),
}  # fmt: skip


@dataclass(slots=True)
class Agreement:
    """What a run found; a case is one model, instant, service tier and shape."""

    models: set[tuple[str, str]] = field(default_factory=set)
    cases: int = 0
    equal: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    unexplained: list[str] = field(default_factory=list)

    def note(self, reason: str | None, case: str) -> None:
        self.cases += 1
        if reason == "":
            self.equal += 1
        elif reason is None:
            self.unexplained.append(case)
        else:
            self.reasons[reason] += 1
            if len(self.examples[reason]) < EXAMPLES:
                self.examples[reason].append(case)

    def lines(self, name: str, other: str) -> Iterator[dict[str, Any]]:
        yield {
            "name": name,
            "value": len(self.unexplained),
            "unit": "unexplained differences",
            "detail": {
                "against": other,
                "models": len(self.models),
                "shapes": len(SHAPES),
                "cases": self.cases,
                "equal": self.equal,
                "different_with_reason": dict(self.reasons.most_common()),
                "examples": dict(self.examples),
                "unexplained": self.unexplained[:EXAMPLES],
            },
        }


def measure() -> Iterator[dict[str, Any]]:
    began = time.monotonic()
    yield from compare_with_package().lines("cost_agreement", "genai-prices' own calculation")
    yield from compare_with_litellm().lines("cost_agreement_litellm", "LiteLLM's price data, by its rules")
    snapshots = (read_snapshot(), read_litellm())
    rounded = {snapshot.source: snapshot.rounded for snapshot in snapshots}
    yield {
        "name": "cost_agreement_roundings",
        "value": sum(map(len, rounded.values())),
        "unit": "rates",
        "detail": {source: list(texts) for source, texts in rounded.items()},
    }
    seconds = round(time.monotonic() - began, 1)
    yield {"name": "cost_agreement_time", "value": seconds, "unit": "s", "detail": "all of the above"}


# --- genai-prices ------------------------------------------------------------------------------------


def compare_with_package(*, every: int = 1, instants: Sequence[datetime] | None = None) -> Agreement:
    """Each model (or one of `every`) at each instant its price changes (or at `instants`), by tier and shape."""
    catalog = catalog_of(read_snapshot())
    found = Agreement()
    for number, (provider, model, name) in enumerate(_package_models()):
        if number % every == 0:
            found.models.add((provider, name))
            for at in instants or [*(start + timedelta(hours=2) for start in _starts(model)), NOW]:
                for tier, context in CONTEXTS.items():
                    _compare_model(found, catalog, (provider, name, tier, at), model.get_prices(at, context))
    return found


def _package_models() -> Iterator[tuple[str, ModelInfo, str]]:
    """Every model with a name by which the package itself finds it."""
    for provider in get_snapshot().providers:
        for model in provider.models:
            name = next((n for n in (model.id, *_equals(model.match)) if provider.find_model(n) is model), None)
            if name is not None:
                yield provider.id, model, name


def _equals(clause: Any) -> Iterator[str]:
    if text := getattr(clause, "equals", None):
        yield text
    for part in getattr(clause, "or_", ()):
        yield from _equals(part)


Call = tuple[str, str, str, datetime]


def _compare_model(found: Agreement, catalog: Catalog, call: Call, package: ModelPrice) -> None:
    provider, name, tier, at = call
    price = catalog.find(provider, name, tier, at)
    standard = catalog.find(provider, name, "", at)
    rounded = _rounded(package)
    for shape, quantities in _shapes(price).items():
        theirs = rounded.calc_price(_package_usage(quantities))["total_price"]
        case = f"{provider}/{name} {tier} {at:%Y-%m-%d} {shape}"
        counted = quantities if price is None else with_request(price, quantities)
        found.note(_package_reason(price, counted, theirs, rounded, standard), case)


def _shapes(price: Price | None) -> dict[str, Quantities]:
    """The shapes, and for each threshold of the price a prompt just at it and one token longer."""
    shapes = dict(SHAPES)
    for card in price.tiers if price else ():
        for extra in (0, 1):
            name = f"{card.over_prompt_tokens:,} + {extra}"
            shapes[name] = vector(input_tokens=card.over_prompt_tokens + extra, output_tokens=1)
    return shapes


def _package_reason(
    price: Price | None, quantities: Quantities, theirs: Decimal, package: ModelPrice, standard: Price | None
) -> str | None:
    """ "" where the costs are equal, a reason that was checked, or None."""
    if price is None:
        return "no price here either" if not theirs else None
    if _is(price, quantities, theirs):
        return ""
    prefix = ""
    if cost_pico(price, quantities) is None:
        unknown = price.card_for(quantities).unknown
        quantities = tuple(0 if index in unknown else quantity for index, quantity in enumerate(quantities))
        prefix = "unpriced here, where the package leaves out what it has no rate for"
        if _is(price, quantities, theirs) or cost_pico(price, quantities) is None:
            return prefix
    changed: tuple[tuple[str, Price, Quantities], ...] = (
        ("a tier without its own price: by rule here, the standard price there", _stepless(price), quantities),
        ("Claude's cache rates where none is published: by rule here", _general(price), quantities),
        ("both of these rules", _general(_stepless(price)), quantities),
        (
            "fast without its own price: the priority price here, the standard price there",
            standard or price,
            quantities,
        ),
        ("a rate for which the package needs another that is missing", price, _counted(package, quantities)),
    )
    reasons = (reason for reason, other, counted in changed if _is(other, counted, theirs))
    return next((f"{prefix}; {reason}" if prefix else reason for reason in reasons), None)


def _is(price: Price, quantities: Quantities, theirs: Decimal) -> bool:
    ours = cost_pico(price, quantities)
    return ours is not None and abs(usd_from_pico(ours) - theirs) <= CLOSE


def _stepless(price: Price) -> Price:
    return _rebuilt(price, missing=price.missing)


def _general(price: Price) -> Price:
    cards = [RateCard.of(c.published, c.over_prompt_tokens, GENERAL, price.steps) for c in price.cards]
    return replace(price, base=cards[0], tiers=tuple(cards[1:]), missing=GENERAL)


def _rebuilt(price: Price, missing: Any) -> Price:
    cards = [RateCard.of(card.published, card.over_prompt_tokens, missing) for card in price.cards]
    return replace(price, base=cards[0], tiers=tuple(cards[1:]), steps=(), missing=missing)


def _counted(package: ModelPrice, quantities: Quantities) -> Quantities:
    """Quantities without the meters for which the package has no key at all."""
    priced = {UNITS[key][0] for key, value in vars(package).items() if value is not None and key in UNITS}
    return tuple(q if meter in priced else 0 for meter, q in zip(METERS, quantities, strict=True))


def _rounded(package: ModelPrice) -> ModelPrice:
    """The package's price with every rate rounded as it is stored here; what has no meter here is left out."""
    return ModelPrice(**{
        key: _round(value, UNITS[key][1]) for key, value in vars(package).items() if value is not None and key in UNITS
    })  # fmt: skip


def _round(value: Decimal | TieredPrices, units: int) -> Decimal | TieredPrices:
    if isinstance(value, TieredPrices):
        tiers = [Tier(tier.start, _stored(tier.price, units)) for tier in value.tiers]
        return TieredPrices(_stored(value.base, units), tiers)
    return _stored(value, units)


def _stored(value: Decimal, units: int) -> Decimal:
    per_million = value * 10**6 / units
    return Decimal(rate_from_usd_per_million(per_million)) * units / 10**12


def _package_usage(quantities: Quantities) -> Usage:
    """The same call in the package's terms: totals include their parts, and a call is always one request."""
    by = dict(zip(METERS, quantities, strict=True))
    outputs = ("output_tokens", "reasoning_tokens", "audio_output_tokens", "image_output_tokens")
    seconds = Decimal(by["audio_milliseconds"]) / 1000
    cached = by["cache_read_tokens"] + by["audio_cache_read_tokens"] + by["image_cache_read_tokens"]
    return Usage(
        input_tokens=sum(by[meter] for meter in PROMPT_METERS),
        cache_read_tokens=cached,
        cache_write_tokens=by["cache_write_5m_tokens"] + by["cache_write_1h_tokens"],
        cache_write_5m_tokens=by["cache_write_5m_tokens"],
        cache_write_1h_tokens=by["cache_write_1h_tokens"],
        output_tokens=sum(by[meter] for meter in outputs),
        output_reasoning_tokens=by["reasoning_tokens"],
        input_audio_tokens=by["audio_input_tokens"] + by["audio_cache_read_tokens"],
        output_audio_tokens=by["audio_output_tokens"],
        input_image_tokens=by["image_input_tokens"] + by["image_cache_read_tokens"],
        output_image_tokens=by["image_output_tokens"],
        cache_audio_read_tokens=by["audio_cache_read_tokens"],
        cache_image_read_tokens=by["image_cache_read_tokens"],
        input_video_tokens=0,
        audio_seconds=seconds,
        input_audio_seconds=seconds,
        input_characters=by["characters"],
        web_searches=by["searches"],
        storage_searches=by["file_searches"],
        input_document_pages=by["pages"],
    )


# --- LiteLLM -----------------------------------------------------------------------------------------


def compare_with_litellm(*, every: int = 1) -> Agreement:
    """Each price of LiteLLM on a model that both have, shape by shape, its missing rates filled in by its own rules."""
    default, second = read_snapshot(), read_litellm()
    catalog = catalog_of(default)
    found = Agreement()
    only_theirs = {(model.provider, model.model) for model in breadth(default, second).models}
    for number, model in enumerate(second.models):
        if number % every or (model.provider, model.model) in only_theirs:
            continue
        for price in model.prices:
            ours = catalog.find(model.provider, model.model, price.service_tier, NOW)
            if ours is None:
                continue
            found.models.add((model.provider, model.model))
            theirs = _as_litellm(ours, price)
            for shape, quantities in _shapes(theirs).items():
                case = f"{model.provider}/{model.model} {price.service_tier} {shape}"
                found.note(_litellm_reason(ours, theirs, quantities, model.provider), case)
    return found


def _as_litellm(ours: Price, published: PublishedPrice) -> Price:
    """LiteLLM's price by LiteLLM's rules for missing rates, which are the general ones here."""
    base = RateCard.of(published.rates, 0, GENERAL)
    tiers = tuple(RateCard.of(rates, over, GENERAL) for over, rates in sorted(published.tiers.items()))
    return replace(ours, base=base, tiers=tiers, steps=(), missing=GENERAL)


def _litellm_reason(ours: Price, theirs: Price, quantities: Quantities, provider: str) -> str | None:
    mine, other = cost_pico(ours, quantities), cost_pico(theirs, quantities)
    if mine == other or (mine is not None and other is not None and abs(mine - other) <= 1000):
        return ""
    if ours.provider != provider:
        return "a reseller: the maker's price here, the reseller's own there"
    if mine is None or other is None:
        return "a meter that one of the two has no rate for"
    by_rule = {
        "Claude's cache rates where none is published: by rule here": _general(ours),
        "a tier without its own price: by rule here": _stepless(ours),
        "both of these rules": _general(_stepless(ours)),
    }
    if reason := next((why for why, price in by_rule.items() if cost_pico(price, quantities) == other), None):
        return reason
    if ours.card_for(quantities).over_prompt_tokens != theirs.card_for(quantities).over_prompt_tokens:
        return "a threshold that one of the two does not have"
    a, b = ours.card_for(quantities), theirs.card_for(quantities)
    used = [index for index, quantity in enumerate(quantities) if quantity and a.weights[index] != b.weights[index]]
    if all(_is_published(a, index) and _is_published(b, index) for index in used):
        near = all(abs(a.weights[i] - b.weights[i]) <= TOLERANCE * min(a.weights[i], b.weights[i]) for i in used)
        return "published rates differ by up to 1 %: roundings" if near else "published rates differ by more than 1 %"
    if ours.tier_assumed and any(not _is_published(a, index) or ours.steps for index in used):
        return "a service tier that only LiteLLM prices"
    if any(_is_published(a, index) != _is_published(b, index) for index in used):
        return "a rate that one of the two publishes and the other fills in"
    return "rates filled in from published rates that differ" if used else None


def _is_published(card: RateCard, index: int) -> bool:
    return METERS[index] in card.published
