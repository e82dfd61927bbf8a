"""Names of providers and models, as gateways, clouds and SDKs spell them. Pure; what one means, the catalog says.

A model's name is tried in several spellings, the most literal first:

    as-sent          in lower case, without surrounding spaces
    path             the last part of a resource name: models/x, publishers/p/models/x, projects/.../models/x,
                     accounts/a/models/x, the ARN of a foundation model or of a system-defined inference profile
    provider-prefix  without a prefix that names the provider itself: openai/x, vertex_ai/x, bedrock/converse/x
    bedrock-region   without a region behind that prefix: bedrock/us-east-1/x
    bedrock-geo      without the geography of an inference profile: us.x, eu.x (never global.x, which costs less)
    bedrock-context  without the context size of a variant: x-v1:0:200k
    version          Vertex AI's @20250929 as -20250929; @latest and @default left out
    azure-name       Azure's gpt-35 for gpt-3.5
    fine-tuned       ft:base:organization:name:id as ft:base, which has a price of its own; never the base itself
    web-search       OpenRouter's :online left out: its searches are counted beside
    date             a compact date written out: -20251211 as -2025-12-11

Opaque names are left alone, and so stay unknown until an organization says what they mean: custom and provisioned
models, application inference profiles, tuned endpoints, deployments.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import NamedTuple

SPELLINGS_MAX = 16

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
_RESOURCE = re.compile(r"(?:^|/)(?:models|foundation-model|inference-profile)/([^/]+)$")
_ARN_RESOURCE = re.compile(r"^arn:[a-z-]+:bedrock:[^:]*:[^:]*:(?:foundation-model|inference-profile)/([^/]+)$")
_AWS_REGION = re.compile(r"^[a-z]{2}(?:-[a-z]+)+-\d/(.+)$")
_BEDROCK_ROUTE = re.compile(r"^(?:converse|invoke|converse_like)/(.+)$")
_GEOGRAPHY = re.compile(r"^(?:us|eu|apac|jp|au|in|ca|sa|us-gov)\.(.+)$")
_CONTEXT = re.compile(r"^(.+:\d+):\d+k$")
_VERSION = re.compile(r"^(.+)@(?:(20\d{6})|latest|default)$")
_FINE_TUNED = re.compile(r"^(ft:[^:]+):.+$")


class Spelling(NamedTuple):
    """A name in lower case, and the rule that made it."""

    name: str
    rule: str


def canonical_provider(name: str) -> str:
    """The catalog's id of a provider; an unknown name is kept, in lower case."""
    lowered = name.strip().lower()
    return PROVIDER_ALIASES.get(lowered.translate(_PUNCTUATION), lowered)


def spellings(provider: str, model: str) -> Iterator[Spelling]:
    """How a model of a provider (by its catalog id) may be called: at most `SPELLINGS_MAX`, each once."""
    found = {model.strip().lower(): "as-sent"}
    for rule, step in _STEPS:
        for name in list(found):
            spelled = step(provider, name)
            if spelled and len(found) < SPELLINGS_MAX:
                found.setdefault(spelled, rule)
    return (Spelling(name, rule) for name, rule in found.items())


def _path(provider: str, name: str) -> str | None:
    match = (_ARN_RESOURCE if name.startswith("arn:") else _RESOURCE).search(name)
    return match and match.group(1)


def _without_provider(provider: str, name: str) -> str | None:
    prefix, slash, rest = name.partition("/")
    if not slash or canonical_provider(prefix) != provider:
        return None
    route = _BEDROCK_ROUTE.match(rest) if provider == "aws" else None
    return route.group(1) if route else rest


def _without_region(provider: str, name: str) -> str | None:
    return _first(_AWS_REGION, name) if provider == "aws" else None


def _without_geography(provider: str, name: str) -> str | None:
    return _first(_GEOGRAPHY, name) if provider == "aws" else None


def _without_context(provider: str, name: str) -> str | None:
    return _first(_CONTEXT, name) if provider == "aws" else None


def _versioned(provider: str, name: str) -> str | None:
    match = _VERSION.match(name)
    if match is None:
        return None
    return f"{match[1]}-{match[2]}" if match[2] else match[1]


def _azure(provider: str, name: str) -> str | None:
    return name.replace("gpt-35", "gpt-3.5") if provider == "azure" and name.startswith("gpt-35") else None


def _fine_tuned(provider: str, name: str) -> str | None:
    return _first(_FINE_TUNED, name)


def _searching(provider: str, name: str) -> str | None:
    return name.removesuffix(":online") if provider == "openrouter" and name.endswith(":online") else None


def _dated(provider: str, name: str) -> str | None:
    dashed = _COMPACT_DATE.sub(_with_dashes, name)
    return dashed if dashed != name else None


def _with_dashes(found: re.Match[str]) -> str:
    year, month, day = (int(part) for part in found.groups())
    try:
        return f"-{date(year, month, day).isoformat()}"
    except ValueError:
        return found.group()


def _first(pattern: re.Pattern[str], name: str) -> str | None:
    match = pattern.match(name)
    return match and match.group(1)


_STEPS: tuple[tuple[str, Callable[[str, str], str | None]], ...] = (
    ("path", _path),
    ("provider-prefix", _without_provider),
    ("bedrock-region", _without_region),
    ("bedrock-geo", _without_geography),
    ("bedrock-context", _without_context),
    ("version", _versioned),
    ("azure-name", _azure),
    ("fine-tuned", _fine_tuned),
    ("web-search", _searching),
    ("date", _dated),
)
