"""The prices that the genai-prices package ships, as published models; the only import of that package.

The package decides by code which price applies: start dates, hours of the day, variants that override
some rates. Here it is asked at every instant at which its answer can change, and each new answer becomes
a row with a start, so no rule of precedence is written twice.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from decimal import Context, Decimal
from importlib.metadata import version
from itertools import pairwise
from typing import Any

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import (
    MatchLogic,
    ModelInfo,
    ModelPrice,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)

from apps.core.money import RATE_PLACES, rate_from_usd_per_million
from apps.pricing.catalog import EPOCH, STANDARD, MatchClause, PublishedModel, PublishedPrice
from apps.pricing.cost import DAY_MINUTES
from apps.pricing.sources import Snapshot

SOURCE = "genai-prices"

# Price key to our meter and the number of its units that the published price buys. Where two keys give
# the same meter, the first one counts.
UNITS: Mapping[str, tuple[str, int]] = {
    "input_mtok": ("input_tokens", 10**6),
    "cache_read_mtok": ("cache_read_tokens", 10**6),
    "cache_write_5m_mtok": ("cache_write_5m_tokens", 10**6),
    "cache_write_mtok": ("cache_write_5m_tokens", 10**6),
    "cache_write_1h_mtok": ("cache_write_1h_tokens", 10**6),
    "output_mtok": ("output_tokens", 10**6),
    "output_reasoning_mtok": ("reasoning_tokens", 10**6),
    "input_audio_mtok": ("audio_input_tokens", 10**6),
    "output_audio_mtok": ("audio_output_tokens", 10**6),
    "input_image_mtok": ("image_input_tokens", 10**6),
    "output_image_mtok": ("image_output_tokens", 10**6),
    "requests_kcount": ("requests", 1000),
    "audio_hours": ("audio_milliseconds", 3_600_000),
    "input_audio_hours": ("audio_milliseconds", 3_600_000),
    "input_mchars": ("characters", 10**6),
    "web_searches_kcount": ("searches", 1000),
    "storage_searches_kcount": ("file_searches", 1000),
    "input_document_kpages": ("pages", 1000),
    "cache_audio_read_mtok": ("audio_cache_read_tokens", 10**6),
    "cache_image_read_mtok": ("image_cache_read_tokens", 10**6),
}

# How the package names our service tiers in a request's context.
CONTEXTS: Mapping[str, Mapping[str, str]] = {
    STANDARD: {},
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    # OpenAI's and Anthropic's ways to ask for it.
    "fast": {"service_tier": "fast", "speed": "fast"},
}

# From and until, in minutes of the UTC day.
_Window = tuple[int, int]

_WIDE = Context(prec=60)


@dataclass(slots=True)
class _Tally:
    left_out: Counter[str] = field(default_factory=Counter)
    rounded: list[str] = field(default_factory=list)


def read_snapshot() -> Snapshot:
    """Every model and price of the installed package."""
    tally = _Tally()
    models = tuple(
        _published_model(provider.id, model, tally)
        for provider in get_snapshot().providers
        for model in provider.models
    )
    unpriced = tuple(
        f"{model.provider}/{model.model}" for model in models if not any(price.rates for price in model.prices)
    )
    return Snapshot(
        SOURCE, version(SOURCE), models, dict(tally.left_out), tuple(dict.fromkeys(tally.rounded)), unpriced
    )


def _published_model(provider: str, model: ModelInfo, tally: _Tally) -> PublishedModel:
    prices = tuple(price for tier in CONTEXTS for price in _prices(provider, model, tier, tally))
    return PublishedModel(provider, model.id, _clause(model.match), prices, model.context_window)


def _clause(logic: MatchLogic) -> MatchClause:
    """The package's clause objects each hold one field, named like our key (`or_` for "or")."""
    ((key, operand),) = vars(logic).items()
    if isinstance(operand, str):
        return {key: operand}
    return {key.rstrip("_"): [_clause(part) for part in operand]}


def _prices(provider: str, model: ModelInfo, service_tier: str, tally: _Tally) -> Iterator[PublishedPrice]:
    """The prices of one tier: a row per start and window of the day at which the answer changes."""
    before: Mapping[_Window, ModelPrice] = {}
    for start in _starts(model):
        if service_tier == STANDARD or _has_variant(model, service_tier, start):
            day = _day(model, service_tier, start)
            if day != before:
                yield from (_row(provider, model, service_tier, start, at, price, tally) for at, price in day.items())
            before = day


def _day(model: ModelInfo, service_tier: str, start: datetime) -> Mapping[_Window, ModelPrice]:
    """The price in each window of the day that begins at `start`; one window where all are alike."""
    cuts = sorted({0, DAY_MINUTES, *_cuts(model)})
    context = CONTEXTS[service_tier]
    day = {window: model.get_prices(start + timedelta(minutes=window[0]), context) for window in pairwise(cuts)}
    first = next(iter(day.values()))
    return {(0, DAY_MINUTES): first} if all(price == first for price in day.values()) else day


def _starts(model: ModelInfo) -> list[datetime]:
    dates = {c.start_date for c in _constraints(model) if isinstance(c, StartDateConstraint)}
    return [EPOCH, *(datetime.combine(day, time(), UTC) for day in sorted(dates))]


def _cuts(model: ModelInfo) -> Iterator[int]:
    """The minutes of the UTC day at which a window begins or ends."""
    for constraint in _constraints(model):
        if isinstance(constraint, TimeOfDateConstraint):
            for moment in (constraint.start_time, constraint.end_time):
                local = datetime.combine(EPOCH.date(), moment, moment.tzinfo or UTC)
                yield local.astimezone(UTC).hour * 60 + local.astimezone(UTC).minute


def _constraints(model: ModelInfo) -> Iterator[StartDateConstraint | TimeOfDateConstraint]:
    conditional = model.prices if isinstance(model.prices, list) else []
    for holder in (*conditional, *(model.price_variants or ())):
        if holder.constraint is not None:
            yield holder.constraint


def _has_variant(model: ModelInfo, service_tier: str, at: datetime) -> bool:
    """Whether the package prices the tier at that instant, be it at the standard rates."""
    context = CONTEXTS[service_tier]
    return any(
        variant.when.items() <= context.items() and (variant.constraint is None or variant.constraint.active(at))
        for variant in model.price_variants or ()
    )


def _row(
    provider: str,
    model: ModelInfo,
    service_tier: str,
    start: datetime,
    window: _Window,
    price: ModelPrice,
    tally: _Tally,
) -> PublishedPrice:
    values = {key: value for key, value in vars(price).items() if value is not None}
    tally.left_out.update(key for key in values if key not in UNITS)
    thresholds = {tier.start for value in values.values() for tier in _tiers(value)}
    name = f"{provider}/{model.id}"
    # A rate left empty says "no price"; a model that is named free says what the price is.
    free = {"input_tokens": 0, "output_tokens": 0} if model.id.endswith(":free") and not values else None
    return PublishedPrice(
        service_tier=service_tier,
        effective_from=start,
        rates=free or _rates(values, 0, tally, name),
        tiers={over: _rates(values, over, tally, name) for over in sorted(thresholds)},
        published={key: _as_published(value) for key, value in values.items()},
        daily_from_minute=window[0],
        daily_until_minute=window[1],
    )


def _rates(values: Mapping[str, Decimal | TieredPrices], over: int, tally: _Tally, name: str) -> dict[str, int]:
    """The rates of a prompt just longer than `over` tokens. The package writes a threshold of `>=` as a token less."""
    rates: dict[str, int] = {}
    for key, (meter, units) in UNITS.items():
        if key not in values or meter in rates:
            continue
        value = values[key]
        base = value.base if isinstance(value, TieredPrices) else value
        price = next((tier.price for tier in reversed(_tiers(value)) if tier.start <= over), base)
        per_million = _WIDE.divide(_WIDE.scaleb(price, 6), units)
        rates[meter] = rate_from_usd_per_million(per_million)
        if Decimal(rates[meter]).scaleb(-RATE_PLACES) != per_million:
            tally.rounded.append(f"{name} {meter}: {per_million.normalize():f} per million")
    return rates


def _tiers(value: Decimal | TieredPrices) -> Sequence[Tier]:
    return value.tiers if isinstance(value, TieredPrices) else ()


def _as_published(value: Decimal | TieredPrices) -> str | dict[str, Any]:
    if isinstance(value, Decimal):
        return format(value, "f")
    tiers = [{"over_prompt_tokens": tier.start, "price": format(tier.price, "f")} for tier in value.tiers]
    return {"base": format(value.base, "f"), "tiers": tiers}
