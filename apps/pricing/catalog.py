"""Which price applied: a provider's name, a model's name, a service tier, a region and an instant to one price.

The model's name is tried in every spelling of `apps.pricing.names`. Each is looked up among the provider's own
models, then among those of the providers whose models it resells; in each, an exact name beats a pattern, and
patterns are tried in the order of model ids.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from operator import eq, methodcaller
from typing import Any, NamedTuple

from apps.pricing.cost import DAY_MINUTES, Price
from apps.pricing.names import RESOLD_PROVIDERS, canonical_provider, spellings
from apps.pricing.rules import RULES, SAME_TIER, RuleSet

__all__ = [
    "EPOCH",
    "SERVICE_TIERS",
    "Catalog",
    "MatchClause",
    "Price",
    "PublishedModel",
    "PublishedPrice",
    "canonical_provider",
]

STANDARD = "standard"
SERVICE_TIERS: tuple[str, ...] = (STANDARD, "batch", "flex", "priority", "fast")

# A price for every region but the worldwide endpoint; other regions are named as the provider names them.
REGIONAL = "regional"
_WORLDWIDE = ("", "global")

# A price that has always applied starts here: before any call to any model.
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Clients choose model names, so the memory of answers is bounded.
ANSWERS_MAX = 10_000

# One of equals, starts_with, ends_with, contains, regex (a string), or, and (a list of clauses).
MatchClause = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PublishedPrice:
    """A price as a source publishes it; rates and tiers are micro-USD per million units by meter.

    `tiers` maps the number of prompt tokens to exceed to the rates of the whole call beyond it. `region` is ""
    for any, "regional" for any that is named and not "global", else the one region it holds in, in lower case.
    `published` keeps the source's own values under its own unit names.
    """

    service_tier: str
    effective_from: datetime
    rates: Mapping[str, int]
    tiers: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    published: Mapping[str, Any] = field(default_factory=dict)
    daily_from_minute: int = 0
    daily_until_minute: int = DAY_MINUTES
    region: str = ""


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A model as a source publishes it: how to recognise its names, and its prices."""

    provider: str
    model: str
    match: MatchClause
    prices: tuple[PublishedPrice, ...] = ()
    context_tokens_max: int | None = None


@dataclass(frozen=True, slots=True)
class _ModelNames:
    """One provider's models: exact names, and patterns in the order of model ids."""

    exact: Mapping[str, str]
    patterns: tuple[tuple[Callable[[str], object], str], ...]

    @classmethod
    def of(cls, models: Iterable[tuple[str, MatchClause]]) -> "_ModelNames":
        ordered = sorted(models, key=lambda model: model[0])
        exact = {model.lower(): model for model, _ in reversed(ordered)}
        for model, clause in ordered:
            for name in exact_names(clause):
                exact.setdefault(name, model)
        patterns = tuple((matcher(clause), model) for model, clause in ordered if _has_pattern(clause))
        return cls(exact, patterns)

    def find(self, name: str) -> str | None:
        if model := self.exact.get(name):
            return model
        return next((model for matches, model in self.patterns if matches(name)), None)


class Catalog:
    """The prices of one catalog version, in memory; immutable, and safe to share between threads."""

    def __init__(
        self,
        version: int,
        models: Iterable[tuple[str, str, MatchClause]],
        prices: Iterable[Price],
        *,
        second: Iterable[tuple[str, str, MatchClause]] = (),
        rules: RuleSet = RULES,
    ) -> None:
        """`models` are (provider, model, match clause); those of `second` are asked where none of them is recognised.

        Raises what `matcher` raises.
        """
        self.version = version
        self.rules = rules
        self._layers = tuple(_names_by_provider(layer) for layer in (models, second))
        timelines: dict[tuple[str, str, str], list[Price]] = defaultdict(list)
        for price in sorted(prices, key=lambda price: price.effective_from, reverse=True):
            timelines[price.provider, price.model, price.service_tier].append(price)
        self._timelines = {key: tuple(timeline) for key, timeline in timelines.items()}
        self._answer = lru_cache(ANSWERS_MAX)(self._resolve)

    def find(self, provider: str, model: str, service_tier: str, at: datetime, region: str = "") -> Price | None:
        """The price that applied at an aware instant, None where none is known.

        An empty service tier is the standard one. A tier without a price of its own at that instant is answered
        with what the rules make of the standard price, marked `tier_assumed`. A price of the call's region goes
        before one of any region.
        """
        for price in self._answer(provider, model, service_tier, region.lower()):
            if price.effective_from <= at and _in_window(price, at):
                return price
        return None

    def recognise(self, provider: str, model: str) -> "Recognised | None":
        """The provider and model whose prices a name stands for, and the spelling by which it was found."""
        return self._recognise(canonical_provider(provider), model)

    def knows_provider(self, provider: str) -> bool:
        return any(canonical_provider(provider) in layer for layer in self._layers)

    def models_of(self, provider: str) -> Iterable[str]:
        """The ids of a provider's models, those that it resells among them."""
        canonical = canonical_provider(provider)
        for layer in self._layers:
            for seller in (canonical, *RESOLD_PROVIDERS.get(canonical, ())):
                if names := layer.get(seller):
                    yield from names.exact.values()

    def _resolve(self, provider: str, model: str, service_tier: str, region: str) -> tuple[Price, ...]:
        """The candidates in the order in which `find` takes the first that applies."""
        canonical = canonical_provider(provider)
        found = self._recognise(canonical, model)
        if found is None:
            return ()
        seller, known = found.provider, found.model
        standard = self._in_region(seller, known, STANDARD, region)
        if service_tier in ("", STANDARD):
            return standard
        own: tuple[Price, ...] = ()
        if seller == canonical:
            own = self._in_region(seller, known, service_tier, region)
            own += tuple(map(_assumed, self._in_region(seller, known, SAME_TIER.get(service_tier, ""), region)))
        step = self.rules.tier_step(canonical, service_tier)
        return own + tuple(_assumed(price.stepped(step) if step else price) for price in standard)

    def _in_region(self, provider: str, model: str, service_tier: str, region: str) -> tuple[Price, ...]:
        timeline = self._timelines.get((provider, model, service_tier), ())
        own = [price for price in timeline if price.region and _is_in(price.region, region)]
        return (*own, *(price for price in timeline if not price.region))

    def _recognise(self, provider: str, model: str) -> "Recognised | None":
        tried = list(spellings(provider, model))
        for names_by_provider in self._layers:
            for spelling in tried:
                for seller in (provider, *RESOLD_PROVIDERS.get(provider, ())):
                    if (names := names_by_provider.get(seller)) and (known := names.find(spelling.name)):
                        return Recognised(seller, known, spelling.rule)
        return None


class Recognised(NamedTuple):
    """Whose price a name stands for; `rule` is the rule of spelling by which it was found."""

    provider: str
    model: str
    rule: str


def _names_by_provider(models: Iterable[tuple[str, str, MatchClause]]) -> dict[str, _ModelNames]:
    by_provider: dict[str, list[tuple[str, MatchClause]]] = defaultdict(list)
    for provider, model, clause in models:
        by_provider[provider].append((model, clause))
    return {provider: _ModelNames.of(names) for provider, names in by_provider.items()}


def _assumed(price: Price) -> Price:
    return replace(price, tier_assumed=True)


def _is_in(priced: str, region: str) -> bool:
    return priced == region or (priced == REGIONAL and region not in _WORLDWIDE)


def matcher(clause: MatchClause) -> Callable[[str], object]:
    """A test of lower-case model names, to be used as a condition.

    Raises ValueError for a clause of no known kind, re.error for a regex that does not compile.
    """
    if len(clause) == 1:
        match next(iter(clause.items())):
            case "equals", str(text):
                return partial(eq, text.lower())
            case "starts_with", str(text):
                return methodcaller("startswith", text.lower())
            case "ends_with", str(text):
                return methodcaller("endswith", text.lower())
            case "contains", str(text):
                return methodcaller("__contains__", text.lower())
            case "regex", str(text):
                return re.compile(text).search
            case "or", list(clauses):
                options = [matcher(option) for option in clauses]
                return lambda name: any(option(name) for option in options)
            case "and", list(clauses):
                demands = [matcher(demand) for demand in clauses]
                return lambda name: all(demand(name) for demand in demands)
    raise ValueError(
        f"Match clause {dict(clause)!r} is of no known kind; use one of equals, starts_with, ends_with, "
        "contains, regex, or, and."
    )


def exact_names(clause: MatchClause) -> Iterable[str]:
    """The lower-case names that satisfy a clause by being equal to one of its texts."""
    if "equals" in clause:
        yield clause["equals"].lower()
    for option in clause.get("or", ()):
        yield from exact_names(option)


def _has_pattern(clause: MatchClause) -> bool:
    """Whether exact names alone cannot decide the clause."""
    if "or" in clause:
        return any(_has_pattern(option) for option in clause["or"])
    return "equals" not in clause


def _in_window(price: Price, at: datetime) -> bool:
    if price.daily_until_minute - price.daily_from_minute == DAY_MINUTES:
        return True
    moment = at.astimezone(UTC)
    return price.daily_from_minute <= moment.hour * 60 + moment.minute < price.daily_until_minute
