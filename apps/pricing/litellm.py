"""LiteLLM's price data as published models: the second opinion, and the prices of models that nobody else lists.

The data is a copy of its `model_prices_and_context_window_backup.json` (MIT), trimmed to what a cost depends on: one
JSON object a line, numbers as decimal text, the first line saying version and date. It knows no history. A rate
that it does not name is left out here: what it would make of that is a rule, and rules are in `apps.pricing.rules`.

A name is kept without a prefix that names its provider, and also answers to the name with it. What it says of regions
becomes uplifts: multipliers by region, and `bedrock/<region>/<model>` where every rate is the same multiple of that of
`<model>`. Other names with a region stay models of their own.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Context, Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from apps.core.money import RATE_PLACES, rate_from_usd_per_million
from apps.pricing.catalog import EPOCH, REGIONAL, STANDARD, PublishedModel, PublishedPrice
from apps.pricing.names import canonical_provider
from apps.pricing.rules import exceeded
from apps.pricing.sources import Snapshot, Uplift

SOURCE = "litellm"
DATA = Path(__file__).parent / "data" / "litellm-prices.jsonl"

# Key to our meter and the number of its units that the published price buys. Where two keys give the same meter, the
# first one counts.
UNITS: Mapping[str, tuple[str, int]] = {
    "input_cost_per_token": ("input_tokens", 1),
    "cache_read_input_token_cost": ("cache_read_tokens", 1),
    "input_cost_per_token_cache_hit": ("cache_read_tokens", 1),
    "cache_creation_input_token_cost": ("cache_write_5m_tokens", 1),
    "cache_creation_input_token_cost_above_1hr": ("cache_write_1h_tokens", 1),
    # OpenAI's long-lived cache, which is booked as the long write here.
    "cache_creation_input_token_cost_above_12hr": ("cache_write_1h_tokens", 1),
    "output_cost_per_token": ("output_tokens", 1),
    "output_cost_per_reasoning_token": ("reasoning_tokens", 1),
    "input_cost_per_audio_token": ("audio_input_tokens", 1),
    "output_cost_per_audio_token": ("audio_output_tokens", 1),
    "input_cost_per_image_token": ("image_input_tokens", 1),
    "output_cost_per_image_token": ("image_output_tokens", 1),
    "cache_read_input_audio_token_cost": ("audio_cache_read_tokens", 1),
    "cache_read_input_image_token_cost": ("image_cache_read_tokens", 1),
    "input_cost_per_request": ("requests", 1),
    "input_cost_per_query": ("searches", 1),
    "output_cost_per_image": ("images", 1),
    "input_cost_per_character": ("characters", 1),
    "ocr_cost_per_page": ("pages", 1),
    "code_interpreter_cost_per_session": ("code_sessions", 1),
    "output_cost_per_video_per_second": ("video_milliseconds", 1000),
}
# What depends on the kind of model: seconds are of what it hears or of what it makes, and LiteLLM prices an image
# that is made by either key.
MODE_UNITS: Mapping[str, Mapping[str, tuple[str, int]]] = {
    "audio_transcription": {
        "input_cost_per_second": ("audio_milliseconds", 1000),
        "output_cost_per_second": ("audio_milliseconds", 1000),
    },
    "video_generation": {"output_cost_per_second": ("video_milliseconds", 1000)},
    "image_generation": {"input_cost_per_image": ("images", 1)},
}
TIERS: Mapping[str, str] = {"": STANDARD, "_batches": "batch", "_flex": "flex", "_priority": "priority"}
REGION_KEYS: Mapping[str, str] = {
    "regional_processing_uplift_multiplier_eu": "eu",
    "regional_processing_uplift_multiplier_us": "us",
    "regional_endpoint_uplift_multiplier": REGIONAL,
}

_KEPT = re.compile(
    r"cost|multiplier|^(?:tiered_pricing|off_peak_pricing|provider_specific_entry|litellm_provider|mode|max_input_tokens)$"
)
_ABOVE = re.compile(r"_above_(\d+)k_tokens")
_SUFFIX = re.compile("(_batches|_flex|_priority)$")
_AWS_REGION = re.compile(r"^([a-z]{2}(?:-[a-z]+)+-\d)/([^/]+)$")
_WIDE = Context(prec=60)

# Of one model: service tier to tokens to exceed to meter to USD per unit.
_Cards = dict[str, dict[int, dict[str, Decimal]]]
_Units = Mapping[str, tuple[str, int]]


def trimmed(published: Mapping[str, Mapping[str, Any]], version: str, published_on: date) -> Iterator[str]:
    """The lines of the shipped copy, made from LiteLLM's own file as `json.loads(..., parse_float=str)` reads it."""
    yield json.dumps({"source": SOURCE, "version": version, "published_on": published_on.isoformat()})
    for name in sorted(published):
        if name == "sample_spec":
            continue
        entry = {key: _as_text(value) for key, value in sorted(published[name].items()) if _KEPT.search(key)}
        yield json.dumps({"name": name, **entry}, ensure_ascii=False)


def _as_text(value: Any) -> Any:
    """Numbers as plain decimal text, wherever they stand."""
    if isinstance(value, Mapping):
        return {key: _as_text(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_as_text(inner) for inner in value]
    if isinstance(value, bool) or value is None:
        return value
    try:
        return format(Decimal(str(value)), "f")
    except ArithmeticError:
        return value


@dataclass(slots=True)
class _Tally:
    left_out: Counter[str] = field(default_factory=Counter)
    rounded: list[str] = field(default_factory=list)


def read_litellm(lines: Iterable[str] | None = None) -> Snapshot:
    """Every model of the shipped copy that has a price in our meters."""
    rows = (json.loads(line) for line in (lines if lines is not None else DATA.read_text("utf-8").splitlines()))
    head = next(rows)
    tally = _Tally()
    models: dict[tuple[str, str], PublishedModel] = {}
    uplifts: list[Uplift] = []
    unpriced: list[str] = []
    for entry in rows:
        model = _model(entry, tally)
        if not model.prices:
            unpriced.append(entry["name"])
        # Two keys may stand for one model (with and without a prefix): the first one speaks.
        models.setdefault((model.provider, model.model), model)
        uplifts += _uplifts(entry, model, tally)
    return Snapshot(
        source=SOURCE,
        source_version=head["version"],
        published_on=date.fromisoformat(head["published_on"]),
        models=tuple(model for model in models.values() if model.prices),
        left_out=dict(tally.left_out),
        rounded=tuple(tally.rounded),
        unpriced=tuple(unpriced),
        uplifts=(*uplifts, *_uplifts_of_regions(models)),
    )


def _model(entry: Mapping[str, Any], tally: _Tally) -> PublishedModel:
    provider = provider_of(entry)
    key = str(entry["name"]).lower()
    prefix, slash, rest = key.partition("/")
    name = rest if slash and canonical_provider(prefix) == provider else key
    names = [{"equals": text} for text in dict.fromkeys((name, key))]
    context = str(entry.get("max_input_tokens") or "")
    return PublishedModel(
        provider,
        name,
        {"or": names},
        tuple(_prices(entry, provider, tally)),
        int(context) if context.isdecimal() else None,
    )


def provider_of(entry: Mapping[str, Any]) -> str:
    """Vertex AI's families are one provider."""
    said = str(entry.get("litellm_provider") or "unknown").lower()
    return canonical_provider("vertex_ai" if said.startswith("vertex_ai-") else said)


def _prices(entry: Mapping[str, Any], provider: str, tally: _Tally) -> Iterator[PublishedPrice]:
    found = _cards(entry, tally)
    # A source without a word for "unknown" writes 0 for it; only a model that is named free is trusted to be.
    is_priced = any(value for cards in found.values() for card in cards.values() for value in card.values())
    if not is_priced and not entry["name"].endswith(":free"):
        return
    for tier in (*TIERS.values(), "fast"):
        if tier in found and found[tier].get(0):
            yield _price(tier, found[tier], provider, entry["name"], tally)


def _cards(entry: Mapping[str, Any], tally: _Tally) -> _Cards:
    found: _Cards = {}
    units = {**UNITS, **MODE_UNITS.get(entry.get("mode") or "", {})}
    ranks = {key: rank for rank, key in enumerate(units)}
    for key in sorted(entry, key=lambda key: ranks.get(_ABOVE.sub("", _SUFFIX.sub("", key)), len(ranks))):
        if "cost" in key and isinstance(entry[key], str):
            _place(found, key, Decimal(entry[key]), units, tally)
    for step in entry.get("tiered_pricing") or ():
        _place_step(found, step, units, tally)
    _place_search(found, entry.get("search_context_cost_per_query"), tally)
    _place_fast(found, entry.get("provider_specific_entry"))
    if "off_peak_pricing" in entry:
        tally.left_out["off_peak_pricing"] += 1
    return found


def _place(found: _Cards, key: str, value: Decimal, units: _Units, tally: _Tally) -> None:
    """Put one price where its suffixes say."""
    suffix = _SUFFIX.search(key)
    base = _SUFFIX.sub("", key)
    above = _ABOVE.search(base)
    base = _ABOVE.sub("", base)
    if base not in units:
        tally.left_out[key] += 1
        return
    meter, per = units[base]
    over = int(above[1]) * 1000 if above else 0
    rates = found.setdefault(TIERS[suffix[1] if suffix else ""], {}).setdefault(over, {})
    rates.setdefault(meter, _WIDE.divide(value, per))


def _place_step(found: _Cards, step: Mapping[str, Any], units: _Units, tally: _Tally) -> None:
    """One range of tiered_pricing: prompts longer than its start, up to its end, at its rates."""
    if "range" not in step:
        tally.left_out["tiered_pricing"] += 1
        return
    over = int(Decimal(step["range"][0]))
    for key, value in step.items():
        if key in units:
            found.setdefault(STANDARD, {}).setdefault(over, {}).setdefault(units[key][0], Decimal(value))


def _place_search(found: _Cards, fees: Any, tally: _Tally) -> None:
    """A web search costs what it does at the medium size of its context, which is the providers' default."""
    if not isinstance(fees, Mapping):
        return
    medium = fees.get("search_context_size_medium")
    if medium is not None:
        found.setdefault(STANDARD, {}).setdefault(0, {}).setdefault("searches", Decimal(medium))
    tally.left_out.update(key for key, fee in fees.items() if fee != medium)


def _place_fast(found: _Cards, said: Any) -> None:
    """Anthropic's fast mode: a multiple of the standard rates of tokens."""
    if not isinstance(said, Mapping) or "fast" not in said:
        return
    factor = Decimal(said["fast"])
    found["fast"] = {
        over: {meter: _WIDE.multiply(value, factor) for meter, value in card.items() if meter.endswith("_tokens")}
        for over, card in found.get(STANDARD, {}).items()
    }


def _price(
    tier: str, cards: Mapping[int, Mapping[str, Decimal]], provider: str, name: str, tally: _Tally
) -> PublishedPrice:
    base = cards[0]
    return PublishedPrice(
        service_tier=tier,
        effective_from=EPOCH,
        rates=_rates(base, name, tally),
        # A card beyond a threshold names what changes; what it leaves out costs what it did before.
        tiers={
            exceeded(over, provider): _rates({**base, **cards[over]}, name, tally) for over in sorted(cards) if over
        },
        published={meter: format(value, "f") for meter, value in base.items()},
    )


def _rates(values: Mapping[str, Decimal], name: str, tally: _Tally) -> dict[str, int]:
    rates = {}
    for meter, value in values.items():
        per_million = _WIDE.scaleb(value, 6)
        rates[meter] = rate_from_usd_per_million(per_million)
        if Decimal(rates[meter]).scaleb(-RATE_PLACES) != per_million:
            tally.rounded.append(f"{name} {meter}: {per_million.normalize():f} per million")
    return rates


def _uplifts(entry: Mapping[str, Any], model: PublishedModel, tally: _Tally) -> Iterator[Uplift]:
    for key, region in REGION_KEYS.items():
        if key in entry:
            yield Uplift(model.provider, model.model, region, Fraction(entry[key]))
    said = entry.get("provider_specific_entry")
    if isinstance(said, Mapping) and "us" in said:
        if model.provider == "anthropic":
            yield Uplift(model.provider, model.model, "us", Fraction(said["us"]))
        else:
            # Bedrock has profiles of their own for a geography.
            tally.left_out["provider_specific_entry.us"] += 1


def _uplifts_of_regions(models: Mapping[tuple[str, str], PublishedModel]) -> Iterator[Uplift]:
    """What Bedrock adds in a region, where that is the same for all rates of a model."""
    for (provider, name), model in models.items():
        found = _AWS_REGION.match(name) if provider == "aws" else None
        base = models.get((provider, found[2])) if found else None
        if found and base and len(ratios := _ratios(model, base)) == 1 and ratios != {1}:
            yield Uplift(provider, base.model, found[1], ratios.pop())


def _ratios(model: PublishedModel, base: PublishedModel) -> set[Fraction]:
    ours, theirs = (
        {
            (price.service_tier, meter): Fraction(value)
            for price in each.prices
            for meter, value in price.published.items()
        }
        for each in (model, base)
    )
    return {ours[key] / theirs[key] for key in ours.keys() & theirs.keys() if theirs[key]}
