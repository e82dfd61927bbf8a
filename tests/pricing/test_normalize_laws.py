"""Laws of reading usage objects: what a provider tells of disjoint meters comes back as these meters.

genai-prices' extractors are the oracle where they are right; where they are not, a table says why.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import Usage
from hypothesis import given
from hypothesis import strategies as st

from apps.core.meters import METER_INDEX, METERS, PROMPT_METERS, QUANTITY_MAX
from apps.pricing.normalize import USAGE_FORMATS, UsageError, normalize_usage

OUTPUT_METERS = ("output_tokens", "reasoning_tokens", "audio_output_tokens", "image_output_tokens")


def total(quantities: tuple[int, ...], meters: tuple[str, ...]) -> int:
    return sum(quantities[METER_INDEX[meter]] for meter in meters)


@dataclass(frozen=True)
class Shape:
    """How a provider tells these meters, and under which flavor genai-prices reads it."""

    provider: str
    usage_format: str
    meters: tuple[str, ...]
    tell: Callable[[Mapping[str, int]], dict[str, object]]
    flavor: str | None = None
    wrap: Callable[[dict[str, object]], dict[str, object]] = lambda usage: {"usage": usage}

    def quantities(self) -> st.SearchStrategy[dict[str, int]]:
        return st.fixed_dictionaries({meter: st.integers(0, 10**9) for meter in self.meters})


TEXT = ("input_tokens", "cache_read_tokens", "output_tokens", "reasoning_tokens")
WRITES = ("cache_write_5m_tokens", "cache_write_1h_tokens")
AUDIO = ("audio_input_tokens", "audio_output_tokens")
IMAGE = ("image_input_tokens", "image_output_tokens")


def whole(parts: Mapping[str, int], meters: tuple[str, ...]) -> int:
    return sum(parts.get(meter, 0) for meter in meters)


def tell_chat(parts: Mapping[str, int]) -> dict[str, object]:
    prompt, completion = whole(parts, PROMPT_METERS), whole(parts, OUTPUT_METERS)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {
            "cached_tokens": parts["cache_read_tokens"],
            "cache_write_tokens": parts.get("cache_write_5m_tokens"),
            "audio_tokens": parts.get("audio_input_tokens"),
            "image_tokens": parts.get("image_input_tokens"),
        },
        "completion_tokens_details": {
            "reasoning_tokens": parts["reasoning_tokens"],
            "audio_tokens": parts.get("audio_output_tokens"),
            "image_tokens": parts.get("image_output_tokens"),
        },
    }


def tell_xai(parts: Mapping[str, int]) -> dict[str, object]:
    usage = tell_chat(parts)
    return {**usage, "completion_tokens": parts["output_tokens"]}


def tell_perplexity(parts: Mapping[str, int]) -> dict[str, object]:
    prompt, citations = whole(parts, PROMPT_METERS), parts["output_tokens"] // 3
    completion = parts["output_tokens"] - citations
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "citation_tokens": citations,
        "reasoning_tokens": parts["reasoning_tokens"],
        "num_search_queries": parts["searches"],
    }


def tell_responses(parts: Mapping[str, int]) -> dict[str, object]:
    return {
        "input_tokens": whole(parts, PROMPT_METERS),
        "input_tokens_details": {
            "cached_tokens": parts["cache_read_tokens"],
            "cache_write_tokens": whole(parts, WRITES),
            "cache_write_tokens_details": {
                "ttl_30m_tokens": parts["cache_write_5m_tokens"],
                "ttl_12h_tokens": parts["cache_write_1h_tokens"],
            },
        },
        "output_tokens": whole(parts, OUTPUT_METERS),
        "output_tokens_details": {"reasoning_tokens": parts["reasoning_tokens"]},
    }


def tell_anthropic(parts: Mapping[str, int]) -> dict[str, object]:
    return {
        "input_tokens": parts["input_tokens"],
        "cache_read_input_tokens": parts["cache_read_tokens"],
        "cache_creation_input_tokens": whole(parts, WRITES),
        "cache_creation": {
            "ephemeral_5m_input_tokens": parts["cache_write_5m_tokens"],
            "ephemeral_1h_input_tokens": parts["cache_write_1h_tokens"],
        },
        "output_tokens": whole(parts, OUTPUT_METERS),
        "output_tokens_details": {"thinking_tokens": parts["reasoning_tokens"]},
        "server_tool_use": {"web_search_requests": parts["searches"]},
    }


def tell_gemini(parts: Mapping[str, int]) -> dict[str, object]:
    visible = whole(parts, OUTPUT_METERS) - parts["reasoning_tokens"]
    return {
        "promptTokenCount": whole(parts, PROMPT_METERS),
        "cachedContentTokenCount": parts["cache_read_tokens"],
        "candidatesTokenCount": visible,
        "thoughtsTokenCount": parts["reasoning_tokens"],
        "totalTokenCount": whole(parts, PROMPT_METERS) + whole(parts, OUTPUT_METERS),
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": parts["input_tokens"] + parts["cache_read_tokens"]},
            {"modality": "AUDIO", "tokenCount": parts["audio_input_tokens"]},
            {"modality": "IMAGE", "tokenCount": parts["image_input_tokens"]},
        ],
        "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": parts["cache_read_tokens"]}],
        "candidatesTokensDetails": [
            {"modality": "TEXT", "tokenCount": parts["output_tokens"]},
            {"modality": "AUDIO", "tokenCount": parts["audio_output_tokens"]},
            {"modality": "IMAGE", "tokenCount": parts["image_output_tokens"]},
        ],
    }


def tell_bedrock(parts: Mapping[str, int]) -> dict[str, object]:
    return {
        "inputTokens": parts["input_tokens"],
        "cacheReadInputTokens": parts["cache_read_tokens"],
        "cacheWriteInputTokens": whole(parts, WRITES),
        "cacheDetails": [
            {"ttl": "5m", "inputTokens": parts["cache_write_5m_tokens"]},
            {"ttl": "1h", "inputTokens": parts["cache_write_1h_tokens"]},
        ],
        "outputTokens": parts["output_tokens"],
    }


def tell_cohere(parts: Mapping[str, int]) -> dict[str, object]:
    tokens = {"input_tokens": parts["input_tokens"], "output_tokens": parts["output_tokens"]}
    return {"billed_units": tokens, "tokens": {"input_tokens": 7, "output_tokens": 7}, "cached_tokens": 7}


def tell_cohere_tokens(parts: Mapping[str, int]) -> dict[str, object]:
    return {
        "tokens": {"input_tokens": whole(parts, PROMPT_METERS), "output_tokens": parts["output_tokens"]},
        "cached_tokens": parts["cache_read_tokens"],
    }


CHAT = (*TEXT, "cache_write_5m_tokens", *AUDIO)
SHAPES = {
    "OpenAI chat": Shape("openai", "openai_chat", CHAT, tell_chat, "chat"),
    "OpenAI chat with images": Shape("openai", "openai_chat", (*CHAT, *IMAGE), tell_chat),
    "Azure chat": Shape("azure", "openai_chat", CHAT, tell_chat, "chat"),
    "OpenRouter": Shape("openrouter", "openai_compatible", CHAT, tell_chat, "chat"),
    "Groq": Shape("groq", "openai_compatible", (*TEXT, *AUDIO), tell_chat, "default"),
    "DeepSeek": Shape("deepseek", "openai_compatible", TEXT, tell_chat, "chat"),
    "Fireworks": Shape("fireworks", "openai_compatible", TEXT, tell_chat, "chat"),
    "Mistral": Shape("mistral", "mistral", TEXT, tell_chat, "default"),
    "xAI": Shape("x-ai", "openai_compatible", TEXT, tell_xai, "chat"),
    "Perplexity": Shape(
        "perplexity",
        "openai_compatible",
        ("input_tokens", "output_tokens", "reasoning_tokens", "searches"),
        tell_perplexity,
        "default",
    ),
    "OpenAI responses": Shape("openai", "openai_responses", (*TEXT, *WRITES), tell_responses, "responses"),
    "Azure responses": Shape("azure", "openai_responses", (*TEXT, *WRITES), tell_responses, "responses"),
    "Anthropic": Shape("anthropic", "anthropic", (*TEXT, *WRITES, "searches"), tell_anthropic, "default"),
    "Gemini": Shape(
        "google",
        "gemini",
        (*TEXT, *AUDIO, *IMAGE),
        tell_gemini,
        "default",
        lambda usage: {"usageMetadata": usage},
    ),
    "Bedrock": Shape(
        "aws",
        "bedrock",
        ("input_tokens", "cache_read_tokens", *WRITES, "output_tokens"),
        tell_bedrock,
        "default",
    ),
    "Cohere": Shape("cohere", "cohere", ("input_tokens", "output_tokens"), tell_cohere, "default"),
    "Cohere tokens": Shape(
        "cohere",
        "cohere",
        ("input_tokens", "cache_read_tokens", "output_tokens"),
        tell_cohere_tokens,
        "tokens",
    ),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@given(data=st.data())
def test_what_a_provider_tells_comes_back_disjoint(shape, data):
    parts = data.draw(shape.quantities())
    quantities = normalize_usage(shape.tell(parts), shape.usage_format, provider=shape.provider)
    if shape.provider == "perplexity":
        parts["requests"] = 1
    assert quantities == tuple(parts.get(meter, 0) for meter in METERS)


PROVIDERS = {provider.id: provider for provider in get_snapshot().providers}


def genai_prices_reads(provider: str, flavor: str, response: dict[str, object]) -> Usage:
    _, usage = PROVIDERS[provider].extract_usage(response, api_flavor=flavor)
    return usage


ORACLE = {name: shape for name, shape in SHAPES.items() if shape.flavor is not None}


@pytest.mark.parametrize("shape", ORACLE.values(), ids=ORACLE)
@given(data=st.data())
def test_the_totals_agree_with_genai_prices(shape, data):
    usage = shape.tell(data.draw(shape.quantities()))
    quantities = normalize_usage(usage, shape.usage_format, provider=shape.provider)
    theirs = genai_prices_reads(shape.provider, shape.flavor, shape.wrap(usage))
    assert (total(quantities, PROMPT_METERS), total(quantities, OUTPUT_METERS)) == (
        theirs.input_tokens or 0,
        theirs.output_tokens or 0,
    )
    assert total(quantities, ("cache_read_tokens",)) == (theirs.cache_read_tokens or 0)
    assert total(quantities, WRITES) == (theirs.cache_write_tokens or 0)
    assert total(quantities, ("reasoning_tokens",)) == (theirs.output_reasoning_tokens or 0)
    assert total(quantities, ("searches",)) == (theirs.web_searches or 0)


# (why genai-prices is not followed, provider, flavor, format, object, its (input, cache read, output), ours)
NOT_FOLLOWED = [
    (
        "it leaves out the tokens of a compaction, which the invoice holds",
        "anthropic",
        "default",
        "anthropic",
        {
            "input_tokens": 10,
            "output_tokens": 5,
            "iterations": [{"type": "compaction", "input_tokens": 100, "output_tokens": 50}],
        },
        (10, 0, 5),
        (110, 0, 55),
    ),
    (
        "it does not know DeepSeek's own cache figures",
        "deepseek",
        "chat",
        "openai_compatible",
        {
            "prompt_tokens": 100,
            "completion_tokens": 5,
            "prompt_cache_hit_tokens": 64,
            "prompt_cache_miss_tokens": 36,
        },
        (100, 0, 5),
        (100, 64, 5),
    ),
    (
        "it does not know Moonshot's cached tokens at the top",
        "moonshotai",
        "chat",
        "openai_compatible",
        {"prompt_tokens": 19, "completion_tokens": 13, "cached_tokens": 12},
        (19, 0, 13),
        (19, 12, 13),
    ),
    (
        "it adds reasoning although the grand total shows that it was counted in",
        "x-ai",
        "chat",
        "openai_compatible",
        {
            "prompt_tokens": 32,
            "completion_tokens": 103,
            "total_tokens": 135,
            "completion_tokens_details": {"reasoning_tokens": 94},
        },
        (32, 0, 197),
        (32, 0, 103),
    ),
]


@pytest.mark.parametrize(
    ("why", "provider", "flavor", "usage_format", "usage", "theirs", "ours"),
    NOT_FOLLOWED,
    ids=[why for why, *_ in NOT_FOLLOWED],
)
def test_it_does_not_follow_genai_prices_where(why, provider, flavor, usage_format, usage, theirs, ours):
    read = genai_prices_reads(provider, flavor, {"usage": usage})
    assert (read.input_tokens, read.cache_read_tokens or 0, read.output_tokens) == theirs
    quantities = normalize_usage(usage, usage_format, provider=provider)
    assert (
        total(quantities, PROMPT_METERS),
        total(quantities, ("cache_read_tokens",)),
        total(quantities, OUTPUT_METERS),
    ) == ours


def test_it_refuses_contradictions_that_genai_prices_takes():
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 20}}
    read = genai_prices_reads("openai", "chat", {"usage": usage})
    assert (read.input_tokens, read.cache_read_tokens) == (10, 20)
    with pytest.raises(UsageError):
        normalize_usage(usage, "openai_chat")


def test_it_keeps_lifetimes_that_genai_prices_drops():
    usage = tell_responses(dict.fromkeys((*TEXT, *WRITES), 10))
    read = genai_prices_reads("openai", "responses", {"usage": usage})
    assert (read.cache_write_tokens, read.cache_write_1h_tokens) == (20, 0)
    quantities = normalize_usage(usage, "openai_responses")
    assert total(quantities, ("cache_write_5m_tokens",)) == total(quantities, ("cache_write_1h_tokens",)) == 10


FIGURE = st.integers(0, 60) | st.none()


@given(
    prompt=st.integers(0, 100),
    completion=st.integers(0, 100),
    details=st.fixed_dictionaries(
        dict.fromkeys(("cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens"), FIGURE)
    ),
    completion_details=st.fixed_dictionaries(
        dict.fromkeys(("reasoning_tokens", "audio_tokens", "image_tokens"), FIGURE)
    ),
)
def test_any_chat_object_is_refused_or_adds_up(prompt, completion, details, completion_details):
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "prompt_tokens_details": details,
        "completion_tokens_details": completion_details,
    }
    cached = (details["cached_tokens"] or 0) + (details["cache_write_tokens"] or 0)
    media = (details["audio_tokens"] or 0) + (details["image_tokens"] or 0)
    answer = sum(quantity or 0 for quantity in completion_details.values())
    if cached > prompt or media > prompt or answer > completion:
        with pytest.raises(UsageError, match="more than"):
            normalize_usage(usage, "openai_chat")
        return
    quantities = normalize_usage(usage, "openai_chat")
    assert min(quantities) >= 0
    assert (total(quantities, PROMPT_METERS), total(quantities, OUTPUT_METERS)) == (prompt, completion)
    assert total(quantities, ("cache_read_tokens",)) == (details["cached_tokens"] or 0)


def keys_in(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(keys_in, value.values()))
    return set().union(*map(keys_in, value)) if isinstance(value, list) else set()


USAGES = Path(__file__).with_name("usage_objects.jsonl").read_text(encoding="utf-8").splitlines()
KEYS = sorted(set().union(*(keys_in(json.loads(line)["usage"]) for line in USAGES)))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 200)
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["AUDIO", "IMAGE", "TEXT", "1h", "compaction"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
)


@given(
    usage=st.dictionaries(st.sampled_from(KEYS), JSON, max_size=8),
    provider=st.sampled_from(["openai", "x-ai", "perplexity", "", "somebody"]),
)
def test_any_object_is_metered_or_refused_with_code_and_path(usage, provider):
    for usage_format in USAGE_FORMATS:
        refusal = None
        try:
            quantities = normalize_usage(usage, usage_format, provider=provider)
        except UsageError as error:
            refusal = error
        if refusal is None:
            assert len(quantities) == len(METERS)
            assert all(type(quantity) is int and 0 <= quantity <= QUANTITY_MAX for quantity in quantities)
        else:
            assert refusal.code in {"usage_invalid", "usage_inconsistent", "usage_unrecognized"}
            assert refusal.param.partition(".")[0] == "provider_usage"
            assert refusal.detail.encode("utf-8")
