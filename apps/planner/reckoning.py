"""What a plan comes to: its definition, the organization's prices at a date, and the cost model, put together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.planner.definition import plan_json
from apps.planner.estimate import DRAWS, draw
from apps.planner.levers import Lever, Settings, waterfall
from apps.planner.prices import (
    PlanCard,
    Priced,
    Unpriced,
    candidates,
    card_json,
    cheaper_first,
    models_of,
    price_plan,
    read_card,
    unpriced_json,
)
from apps.planner.results import result_json
from apps.planner.shapes import Cards, ModelChoice, Plan
from apps.planner.whatif import Change, changed
from apps.pricing.rating import RateBook
from apps.pricing.selectors import load_catalog
from apps.usage.facts import load_facts

# One seed for all: versions and variants then differ by what was changed, and not by what was drawn.
SEED = 1
SEED_MAX = 2**31 - 1
VARIANTS_MAX = 6


@dataclass(frozen=True, slots=True)
class Reckoned:
    """A plan with its prices and what it comes to. `result` is None where a model has no price."""

    plan: Plan
    priced: Priced
    seed: int
    result: dict[str, Any] | None

    @property
    def definition(self) -> dict[str, Any]:
        return plan_json(self.plan)

    @property
    def prices_at(self) -> datetime:
        return self.priced.at

    @property
    def cards(self) -> list[dict[str, Any]]:
        """As a version keeps them, those without a price last."""
        return [*map(card_json, self.priced.cards), *map(unpriced_json, self.priced.unpriced)]


def rate_book(org: Organization) -> RateBook:
    """What the organization pays, at the newest catalog."""
    with tenant(org):
        return load_facts(org).book(load_catalog())


def reckon(
    org: Organization,
    plan: Plan,
    *,
    at: datetime,
    supposed: Sequence[PlanCard] = (),
    seed: int = SEED,
    budget_usd: Decimal | None = None,
    book: RateBook | None = None,
) -> Reckoned:
    """The plan at the prices of an instant, of the future too: they are the ones that are known now.

    Raises `DomainError` (`seed_invalid`).
    """
    if not 0 <= seed <= SEED_MAX:
        raise DomainError("seed_invalid", f"seed is {seed}: write a whole number from 0 to {SEED_MAX}.", param="seed")
    book = book or rate_book(org)
    priced = price_plan(plan, book, at, supposed)
    return Reckoned(plan, priced, seed, _result(plan, priced, seed, budget_usd, candidates(plan, book, at, supposed)))


def reckon_changes(org: Organization, base: Reckoned, changes: Sequence[Change]) -> list[Reckoned]:
    """The base with each change made, at the same prices but those supposed, and from the same draws; no levers."""
    book = rate_book(org) if changes else None
    budget = None if base.result is None or base.result["budget_usd"] is None else Decimal(base.result["budget_usd"])
    kept = {card.model: card for card in base.priced.cards}
    found = []
    for change in changes:
        plan = changed(base.plan, change)
        supposed = {**kept, **{card.model: card for card in change.supposed}}
        priced = price_plan(plan, book or rate_book(org), base.prices_at, tuple(supposed.values()))
        found.append(Reckoned(plan, priced, base.seed, _result(plan, priced, base.seed, budget, None)))
    return found


def _result(
    plan: Plan, priced: Priced, seed: int, budget_usd: Decimal | None, smaller: Cards | None
) -> dict[str, Any] | None:
    """`smaller` are cards of models that could be tried first; None: no levers are asked for."""
    if priced.unpriced:
        return None
    cards = priced.by_model()
    budget = None if budget_usd is None else float(budget_usd)
    found = draw(plan, cards, seed=seed, draws=DRAWS, budget_usd=budget)
    levers = () if smaller is None else _levers(plan, {**smaller, **cards}, seed)
    return result_json(plan, found, levers, budget_usd, priced.cards)


def _levers(plan: Plan, cards: Cards, seed: int) -> tuple[Lever, ...]:
    return waterfall(plan, cards, seed, Settings(cheaper=cheaper_first(models_of(plan), cards)))


def priced_of(cards: Sequence[Mapping[str, Any]], at: datetime) -> Priced:
    """The prices that a version was reckoned by, as it keeps them."""
    known = [read_card(card) for card in cards if card["rates"] is not None]
    missing = [Unpriced(ModelChoice(c["provider"], c["model"]), c["detail"]) for c in cards if c["rates"] is None]
    return Priced(at, tuple(known), tuple(missing))
