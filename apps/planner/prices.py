"""Price cards of a plan: what its models cost at an instant, by the organization's own rate book. Pure.

A model without a price has no card: the plan then has no total, and says which model is missing. A card that somebody
supposes stands in place of the catalog's, for the question what a plan would come to at another price.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from apps.core.meters import METER_INDEX
from apps.planner.definition import model_of
from apps.planner.reading import invalid, number_of, object_of
from apps.planner.shapes import Card, Cards, ModelChoice, Plan
from apps.pricing.cost import RATE_MAX, Price, RateCard, usd_per_million
from apps.pricing.provenance import why_unpriced
from apps.pricing.rating import RateBook

# The meters that the cost model knows.
METERS = ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "output_tokens")
# Shorter prefixes are cached by no provider whose documentation we found; no price source publishes the minimum.
CACHE_MIN_TOKENS = 1_024
SUPPOSED_MAX = 40
# A smaller model is worth trying first where the same tokens cost at most this part at it.
CHEAPER_AT_MOST = 0.5
# What smaller models of a provider are called, the first to try first. A name without a price is no candidate.
SMALLER: Mapping[str, tuple[str, ...]] = {
    "anthropic": ("claude-haiku-4-5", "claude-3-5-haiku-latest"),
    "openai": ("gpt-5-mini", "gpt-4.1-mini", "gpt-4o-mini", "gpt-5-nano"),
    "google": ("gemini-2.5-flash", "gemini-2.5-flash-lite"),
    "mistral": ("mistral-small-latest",),
}
# What a batch makes of a supposed price where nobody says.
BATCH_FACTOR = 0.5
CATALOG, CONTRACT, SUPPOSED = "catalog", "contract", "supposed"
_MILLION = Decimal(10**6)
_RATE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")


@dataclass(frozen=True, slots=True)
class PlanCard:
    """A model's rates in USD per million tokens, by meter, and where they are from.

    `price_id` is the catalog's row and `contract_id` the contract that changed it; both None where it is supposed.
    `over_prompt_tokens`: longer prompts cost more than this card says, None where they do not. `assumed` are meters
    whose rate no source publishes, and which take that of another.
    """

    model: ModelChoice
    source: str
    rates: Mapping[str, Decimal]
    batch_factor: float
    price_id: int | None = None
    contract_id: int | None = None
    over_prompt_tokens: int | None = None
    assumed: tuple[str, ...] = ()

    def card(self) -> Card:
        """As the cost model wants it: USD per token, floats."""
        one = {meter: float(self.rates[meter] / _MILLION) for meter in METERS}
        return Card(
            input=one["input_tokens"],
            output=one["output_tokens"],
            cache_read=one["cache_read_tokens"],
            cache_write_5m=one["cache_write_5m_tokens"],
            cache_write_1h=one["cache_write_1h_tokens"],
            cache_min_tokens=CACHE_MIN_TOKENS,
            batch_factor=self.batch_factor,
        )


@dataclass(frozen=True, slots=True)
class Unpriced:
    """A model of a plan that has no price, and why."""

    model: ModelChoice
    detail: str


@dataclass(frozen=True, slots=True)
class Priced:
    """The cards of a plan's models at an instant; `unpriced` are those that have none."""

    at: datetime
    cards: tuple[PlanCard, ...]
    unpriced: tuple[Unpriced, ...] = field(default=())

    def by_model(self) -> Cards:
        return {card.model: card.card() for card in self.cards}


def models_of(plan: Plan) -> list[ModelChoice]:
    """Every model that a plan names, each once, in the order of its steps."""
    named = [model for step in plan.steps for model in (step.model, step.escalates_to) if model is not None]
    return list(dict.fromkeys(named))


def price_plan(plan: Plan, book: RateBook, at: datetime, supposed: Sequence[PlanCard] = ()) -> Priced:
    """The cards of the plan's models by the book's prices at `at`; supposed cards win over them."""
    own = {card.model: card for card in supposed}
    cards, unpriced = [], []
    for model in models_of(plan):
        card = own.get(model) or card_of(book, model, at)
        if card is not None:
            cards.append(card)
        else:
            unpriced.append(Unpriced(model, _why(book, model, at)))
    return Priced(at, tuple(cards), tuple(unpriced))


def smaller_of(models: Iterable[ModelChoice]) -> tuple[ModelChoice, ...]:
    """The known smaller models of these models' providers, whether or not they have a price."""
    providers = sorted({model.provider for model in models})
    return tuple(ModelChoice(name, small) for name in providers for small in SMALLER.get(name, ()))


def candidates(plan: Plan, book: RateBook, at: datetime, supposed: Sequence[PlanCard] = ()) -> Cards:
    """Cards of the models that the plan could try instead, at its own instant; of those without a price none."""
    own = {card.model: card for card in supposed}
    found = {model: own.get(model) or card_of(book, model, at) for model in smaller_of(models_of(plan))}
    return {model: card.card() for model, card in found.items() if card is not None}


def cheaper_first(used: Iterable[ModelChoice], cards: Cards) -> Mapping[ModelChoice, tuple[ModelChoice, ...]]:
    """What to try instead of each model in use, at its provider and with a card, the smallest step down first.

    Those in use come first, the dearest of them first, then `SMALLER`. Whether one costs less is left to the caller,
    who knows the tokens.
    """
    named = sorted(set(used))
    # What has no price of an answer answers nothing: embeddings.
    talking = [model for model in named if model in cards and cards[model].output > 0]
    talking.sort(key=lambda model: (-cards[model].input - cards[model].output, model))
    ordered = dict.fromkeys((*talking, *(model for model in smaller_of(named) if model in cards)))
    return {
        model: tuple(other for other in ordered if other.provider == model.provider and other != model)
        for model in named
    }


def card_of(book: RateBook, model: ModelChoice, at: datetime) -> PlanCard | None:
    """The model's card; None where no price is known, or it has no rate by token."""
    price = book.price(model.provider, model.model, "", "", at)
    if price is None:
        return None
    rates = {meter: price.base.rates[METER_INDEX[meter]] for meter in METERS}
    if any(rate is None for rate in rates.values()):
        return None
    batch = book.price(model.provider, model.model, "batch", "", at)
    return PlanCard(
        model=model,
        source=CATALOG if price.contract_id is None else CONTRACT,
        rates={meter: usd_per_million(rate) for meter, rate in rates.items() if rate is not None},
        batch_factor=_factor(price, batch),
        price_id=price.id,
        contract_id=price.contract_id,
        over_prompt_tokens=price.tiers[0].over_prompt_tokens if price.tiers else None,
        assumed=tuple(meter for meter in METERS if price.base.rate_from[METER_INDEX[meter]] != meter),
    )


def _factor(price: Price, batch: Price | None) -> float:
    """What a batch makes of the price of a token, in and out alike; 1 where nobody sells it cheaper."""
    if batch is None:
        return 1.0
    whole, part = _in_and_out(price.base), _in_and_out(batch.base)
    return min(1.0, part / whole) if whole else 1.0


def _in_and_out(card: RateCard) -> int:
    return card.weights[METER_INDEX["input_tokens"]] + card.weights[METER_INDEX["output_tokens"]]


def _why(book: RateBook, model: ModelChoice, at: datetime) -> str:
    quantities = tuple(int(name in METERS) for name in METER_INDEX)
    found = why_unpriced(book, model.provider, model.model, "", "", at, quantities)
    alike = f" Known names alike: {', '.join(found.suggestions)}." if found.suggestions else ""
    return found.detail + alike


# --- supposed prices ------------------------------------------------------------------------------------


def read_supposed(given: Any, path: str = "prices") -> tuple[PlanCard, ...]:
    """[{"provider", "model", "rates", "batch_factor"}] as cards: rates are USD per million tokens by meter.

    A cache rate that is left out is the input's. Raises `DomainError` (`plan_invalid`) with the path.
    """
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) > SUPPOSED_MAX:
        raise invalid(path, f"is a list of at most {SUPPOSED_MAX} supposed prices.")
    return tuple(_read_one(one, f"{path}[{place}]") for place, one in enumerate(given))


def _read_one(given: Any, path: str) -> PlanCard:
    fields = object_of(given, path, ("provider", "model", "rates", "batch_factor"))
    model = model_of({name: fields.get(name) for name in ("provider", "model")}, path)
    rates = object_of(fields.get("rates"), f"{path}.rates", METERS)
    amounts = {meter: _rate(text, f"{path}.rates.{meter}") for meter, text in rates.items()}
    for meter in ("input_tokens", "output_tokens"):
        if meter not in amounts:
            raise invalid(f"{path}.rates.{meter}", "is missing: say what a million of them cost.")
    factor = number_of(fields.get("batch_factor", BATCH_FACTOR), f"{path}.batch_factor", 0, 1)
    return PlanCard(model, SUPPOSED, {meter: amounts.get(meter, amounts["input_tokens"]) for meter in METERS}, factor)


def _rate(given: Any, path: str) -> Decimal:
    """Raises also for what lies above any real price."""
    if not isinstance(given, str) or not _RATE.fullmatch(given) or Decimal(given) * _MILLION > RATE_MAX:
        raise invalid(
            path, f'is {str(given)[:64]!r}: write USD per million tokens as a decimal string, such as "3.00".'
        )
    return Decimal(given)


# --- as a version keeps them ----------------------------------------------------------------------------


def card_json(card: PlanCard) -> dict[str, Any]:
    return {
        "provider": card.model.provider,
        "model": card.model.model,
        "source": card.source,
        "price_id": card.price_id,
        "contract_id": card.contract_id,
        "rates": {meter: f"{card.rates[meter]:f}" for meter in METERS},
        "batch_factor": card.batch_factor,
        "over_prompt_tokens": card.over_prompt_tokens,
        "assumed": list(card.assumed),
    }


def unpriced_json(missing: Unpriced) -> dict[str, Any]:
    return {
        "provider": missing.model.provider,
        "model": missing.model.model,
        "source": "unpriced",
        "rates": None,
        "detail": missing.detail,
    }


def read_card(stored: Mapping[str, Any]) -> PlanCard:
    """A card as `card_json` wrote it."""
    return PlanCard(
        model=ModelChoice(stored["provider"], stored["model"]),
        source=stored["source"],
        rates={meter: Decimal(stored["rates"][meter]) for meter in METERS},
        batch_factor=stored["batch_factor"],
        price_id=stored["price_id"],
        contract_id=stored["contract_id"],
        over_prompt_tokens=stored["over_prompt_tokens"],
        assumed=tuple(stored["assumed"]),
    )


def supposed_of(cards: Iterable[PlanCard]) -> tuple[PlanCard, ...]:
    """Those of a version's cards that a later version takes over: what somebody supposed."""
    return tuple(card for card in cards if card.source == SUPPOSED)
