"""Which price applied: a provider's name, a model's name, a service tier and an instant to one price.

Names are matched in a fixed order. The provider is reduced to its canonical id. The model is tried in
lower case as sent, then with a compact date (-20250101) written out (-2025-01-01), then without a prefix
that names the provider itself ("openai/gpt-4o"). Each form is looked up among the provider's own models,
then among those of the providers whose models it resells; in each, an exact name beats a pattern, and
patterns are tried in the order of model ids.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import lru_cache, partial
from operator import eq, methodcaller
from typing import Any

from apps.pricing.cost import DAY_MINUTES, Price

__all__ = ["EPOCH", "SERVICE_TIERS", "Catalog", "MatchClause", "Price", "PublishedModel", "PublishedPrice"]

STANDARD = "standard"
SERVICE_TIERS: tuple[str, ...] = (STANDARD, "batch", "flex", "priority")

# A price that has always applied starts here: before any call to any model.
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Clients choose model names, so the memory of answers is bounded.
ANSWERS_MAX = 10_000

# One of equals, starts_with, ends_with, contains, regex (a string), or, and (a list of clauses).
MatchClause = Mapping[str, Any]

# Keys are lower case with "." and "_" and " " written as "-".
PROVIDER_ALIASES: Mapping[str, str] = {
    "amazon-bedrock": "aws",
    "aws-bedrock": "aws",
    "bedrock": "aws",
    "bedrock-converse": "aws",
    "azure-ai": "azure",
    "azure-ai-inference": "azure",
    "azure-ai-openai": "azure",
    "azure-openai": "azure",
    "azure-text": "azure",
    "codestral": "mistral",
    "mistral-ai": "mistral",
    "mistralai": "mistral",
    "text-completion-codestral": "mistral",
    "cohere-chat": "cohere",
    "anthropic-text": "anthropic",
    "fireworks-ai": "fireworks",
    "gcp-gemini": "google",
    "gcp-gen-ai": "google",
    "gcp-vertex-ai": "google",
    "gemini": "google",
    "google-genai": "google",
    "google-vertex": "google",
    "palm": "google",
    "vertex-ai": "google",
    "vertex-ai-beta": "google",
    "copilot": "github-copilot",
    "github-copilot": "github-copilot",
    "meta-llama": "meta",
    "moonshot": "moonshotai",
    "moonshot-ai": "moonshotai",
    "text-completion-openai": "openai",
    "perplexity-ai": "perplexity",
    "together-ai": "together",
    "voyage": "voyageai",
    "voyage-ai": "voyageai",
    "x-ai": "x-ai",
    "xai": "x-ai",
    "z-ai": "zai",
}

# Whose models a provider resells under its own name, at the maker's standard prices.
RESOLD_PROVIDERS: Mapping[str, tuple[str, ...]] = {
    "azure": ("openai", "anthropic", "deepseek", "x-ai", "moonshotai"),
    "google": ("anthropic",),
}

_PUNCTUATION = str.maketrans("._ ", "---")
_COMPACT_DATE = re.compile(r"-(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")


@dataclass(frozen=True, slots=True)
class PublishedPrice:
    """A price as a source publishes it; rates and tiers are micro-USD per million units by meter.

    `tiers` maps the number of prompt tokens to exceed to the rates of the whole call beyond it.
    `published` keeps the source's own values under its own unit names.
    """

    service_tier: str
    effective_from: datetime
    rates: Mapping[str, int]
    tiers: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    published: Mapping[str, Any] = field(default_factory=dict)
    daily_from_minute: int = 0
    daily_until_minute: int = DAY_MINUTES


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

    def __init__(self, version: int, models: Iterable[tuple[str, str, MatchClause]], prices: Iterable[Price]) -> None:
        """`models` are (provider, model, match clause). Raises what `matcher` raises."""
        self.version = version
        by_provider: dict[str, list[tuple[str, MatchClause]]] = defaultdict(list)
        for provider, model, clause in models:
            by_provider[provider].append((model, clause))
        self._names = {provider: _ModelNames.of(names) for provider, names in by_provider.items()}
        timelines: dict[tuple[str, str, str], list[Price]] = defaultdict(list)
        for price in sorted(prices, key=lambda price: price.effective_from, reverse=True):
            timelines[price.provider, price.model, price.service_tier].append(price)
        self._timelines = {key: tuple(timeline) for key, timeline in timelines.items()}
        self._answer = lru_cache(ANSWERS_MAX)(self._resolve)

    def find(self, provider: str, model: str, service_tier: str, at: datetime) -> Price | None:
        """The price that applied at an aware instant, None where none is known.

        An empty service tier is the standard one. A tier without a price of its own at that instant is
        answered with the standard price, marked `tier_assumed`.
        """
        for price in self._answer(provider, model, service_tier):
            if price.effective_from <= at and _in_window(price, at):
                return price
        return None

    def _resolve(self, provider: str, model: str, service_tier: str) -> tuple[Price, ...]:
        """The candidates in the order in which `find` takes the first that applies."""
        canonical = canonical_provider(provider)
        seller, known = self._recognise(canonical, model)
        if known is None:
            return ()
        standard = self._timelines.get((seller, known, STANDARD), ())
        if service_tier in ("", STANDARD):
            return standard
        own = self._timelines.get((seller, known, service_tier), ()) if seller == canonical else ()
        return own + tuple(replace(price, tier_assumed=True) for price in standard)

    def _recognise(self, provider: str, model: str) -> tuple[str, str | None]:
        for name in _spellings(provider, model):
            for seller in (provider, *RESOLD_PROVIDERS.get(provider, ())):
                if (names := self._names.get(seller)) and (known := names.find(name)):
                    return seller, known
        return provider, None


def canonical_provider(name: str) -> str:
    """The catalog's id of a provider; an unknown name is kept, in lower case."""
    lowered = name.strip().lower()
    return PROVIDER_ALIASES.get(lowered.translate(_PUNCTUATION), lowered)


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


def _spellings(provider: str, model: str) -> Iterable[str]:
    name = model.strip().lower()
    yield from _dated(name)
    prefix, slash, rest = name.partition("/")
    if slash and canonical_provider(prefix) == provider:
        yield from _dated(rest)


def _dated(name: str) -> Iterable[str]:
    yield name
    dashed = _COMPACT_DATE.sub(_with_dashes, name)
    if dashed != name:
        yield dashed


def _with_dashes(found: re.Match[str]) -> str:
    year, month, day = (int(part) for part in found.groups())
    try:
        return f"-{date(year, month, day).isoformat()}"
    except ValueError:
        return found.group()


def _in_window(price: Price, at: datetime) -> bool:
    if price.daily_until_minute - price.daily_from_minute == DAY_MINUTES:
        return True
    moment = at.astimezone(UTC)
    return price.daily_from_minute <= moment.hour * 60 + moment.minute < price.daily_until_minute
