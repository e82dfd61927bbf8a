"""A provider's own usage object, read into our disjoint meters.

The prompt meters add up to the provider's true total input, the output meters to its true total output.
Providers disagree on what their figures hold; these are the readings:

    what the object says                       how it is read
    -----------------------------------------  ---------------------------------------------------------------
    cached tokens: Anthropic, Bedrock          beside the input figure
    cached tokens: all others                  inside it
    reasoning: Anthropic, OpenAI Responses     inside the output figure
    reasoning: Gemini, xAI chat                beside it, unless the object's own grand total counts it inside
    reasoning: any other chat shape            inside it, unless the grand total counts it beside
    Perplexity                                 reasoning and citations beside the completion always (its grand
                                               total omits them); citations are output; a call is one request
    cached tokens that are audio or image too  counted once, as cached audio or image where a split per modality says
                                               so; else as cache, which holds text first, then image, then audio
    cache writes without a lifetime            the short lifetime, cache_write_5m
    OpenAI cache writes of 30 min and 12 h     cache_write_5m (the shorter) and cache_write_1h (the longer)
    accepted and rejected prediction tokens    inside the completion: output
    Anthropic iterations of type compaction    missing from the top-level figures: added
    Gemini modality DOCUMENT                   image input; VIDEO and unknown modalities stay plain input
    Mistral pages_processed                    pages that were read
    Cohere billed_units beside tokens          billed_units alone; cached_tokens is a part of tokens only

A missing or null figure is 0. A detail larger than the figure that holds it is an error, never clamped.
"""

from collections.abc import Callable
from dataclasses import astuple, dataclass

from apps.core.meters import METERS, QUANTITY_MAX
from apps.pricing.usage_reading import (
    USAGE_FORMATS,
    Meters,
    Usage,
    UsageError,
    child,
    children,
    count,
    has,
    inconsistent,
    less,
    refuse,
    require,
    writes,
)

__all__ = ["USAGE_FORMATS", "UsageError", "normalize_usage", "usage_format_for"]

_BLANK = dict.fromkeys(METERS, 0)

_CHAT_KEYS = frozenset({"prompt_tokens", "completion_tokens", "prompt_cache_hit_tokens"})
_IN_OUT_KEYS = frozenset({"input_tokens", "output_tokens"})
_ANTHROPIC_KEYS = _IN_OUT_KEYS | {"cache_read_input_tokens", "cache_creation_input_tokens"}
_CONVERSE_KEYS = frozenset({"inputTokens", "outputTokens"})
_COHERE_BILLED_KEYS = _IN_OUT_KEYS | {"search_units"}
_GEMINI_SDK_KEYS = frozenset({"prompt_token_count", "candidates_token_count", "response_token_count"})
_GEMINI_KEYS = _GEMINI_SDK_KEYS | {"promptTokenCount", "candidatesTokenCount", "responseTokenCount"}
_PAGES_KEYS = frozenset({"pages_processed"})
_REALTIME_KEYS = frozenset({"input_token_details", "output_token_details"})

# Where DeepSeek, Moonshot, Databricks and the xAI SDK say what OpenAI says in cached_tokens of the details.
_HITS = ("prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens", "cached_prompt_text_tokens")

_CHAT_FORMATS = {"openai": "openai_chat", "azure": "openai_chat", "mistral": "mistral"}
# Keys that tell a format, and what the same keys mean at some providers; the first found wins.
_TELLING_KEYS: tuple[tuple[frozenset[str], str, dict[str, str]], ...] = (
    (_GEMINI_KEYS, "gemini", {}),
    (_CONVERSE_KEYS, "bedrock", {}),
    (frozenset({"billed_units", "tokens"}), "cohere", {}),
    (_CHAT_KEYS, "openai_compatible", _CHAT_FORMATS),
    (_PAGES_KEYS, "mistral", {}),
    (_REALTIME_KEYS | {"input_tokens_details"}, "openai_responses", {}),
    (_ANTHROPIC_KEYS - _IN_OUT_KEYS | {"cache_creation", "server_tool_use"}, "anthropic", {}),
    # With no detail of either, the Responses and the Anthropic reading are the same.
    (_IN_OUT_KEYS, "openai_responses", {"anthropic": "anthropic", "aws": "bedrock"}),
)


def usage_format_for(provider: str, usage: Usage) -> str:
    """The format that the keys of `usage` tell; the provider (catalog id) settles keys that formats share.

    Raises `UsageError` (usage_unrecognized) where no key is a known counter.
    """
    for keys, usage_format, by_provider in _TELLING_KEYS:
        if has(usage, keys):
            return by_provider.get(provider, usage_format)
    raise refuse(
        "usage_unrecognized",
        "",
        f"of provider {provider!r} has no counter of a known shape; name its shape in usage_format "
        f"({', '.join(USAGE_FORMATS)}), or send the meters themselves in usage",
    )


def normalize_usage(usage: Usage, usage_format: str, *, provider: str = "") -> tuple[int, ...]:
    """Quantities in the order of `METERS`, each from 0 to `QUANTITY_MAX`.

    Give the provider, by its catalog id: where reasoning stands depends on it. Raises `UsageError`:
    usage_format_unknown, usage_unrecognized, usage_invalid, usage_inconsistent.
    """
    reader = _READERS.get(usage_format)
    if reader is None:
        detail = f"usage_format {usage_format!r} is not known; use one of {', '.join(USAGE_FORMATS)}."
        raise UsageError("usage_format_unknown", "usage_format", detail)
    quantities = tuple(reader(usage, provider).values())
    most = max(quantities)
    if most > QUANTITY_MAX:
        meter = METERS[quantities.index(most)]
        raise refuse("usage_invalid", "", f"adds up to {most} {meter}; send at most {QUANTITY_MAX} in one event")
    return quantities


def _chat(usage: Usage, provider: str) -> Meters:
    require(usage, _CHAT_KEYS)
    prompt = _chat_prompt(usage)
    completion = count(usage, "completion_tokens")
    details = child(usage, "completion_tokens_details")
    reasoning, reasoning_at = count(usage, "reasoning_tokens"), "reasoning_tokens"
    if details.get("reasoning_tokens") is not None:
        reasoning_at = "completion_tokens_details.reasoning_tokens"
        reasoning = count(details, "reasoning_tokens", "completion_tokens_details.")
    grand_total = usage.get("total_tokens")
    if reasoning and _is_reasoning_beside(provider, reasoning, prompt + completion, grand_total):
        completion += reasoning
    visible = less(completion, reasoning, "completion_tokens", reasoning_at)
    meters = _BLANK.copy()
    _read_openai_input(meters, usage, prompt, "prompt_tokens", "prompt_tokens_details")
    _read_openai_output(meters, details, visible, "completion_tokens", "completion_tokens_details.")
    meters["reasoning_tokens"] = reasoning
    if provider == "perplexity":
        meters["output_tokens"] += count(usage, "citation_tokens")
        meters["searches"] = count(usage, "num_search_queries")
        meters["requests"] = 1
    return meters


def _chat_prompt(usage: Usage) -> int:
    prompt = count(usage, "prompt_tokens")
    if "prompt_cache_hit_tokens" not in usage:
        return prompt
    hit = count(usage, "prompt_cache_hit_tokens")
    miss = count(usage, "prompt_cache_miss_tokens")
    if usage.get("prompt_tokens") is None:
        return hit + miss
    left = less(prompt, hit, "prompt_tokens", "prompt_cache_hit_tokens")
    less(left, miss, "prompt_tokens", "prompt_cache_miss_tokens")
    return prompt


def _is_reasoning_beside(provider: str, reasoning: int, total_given: int, grand_total: object) -> bool:
    """Whether reasoning comes on top of the completion; `total_given` is prompt + completion as given."""
    if provider == "perplexity":
        return True
    if grand_total == total_given:
        return False
    return provider == "x-ai" or grand_total == total_given + reasoning


def _mistral(usage: Usage, provider: str) -> Meters:
    if has(usage, _PAGES_KEYS):
        return {**_BLANK, "pages": count(usage, "pages_processed")}
    meters = _chat(usage, provider)
    meters["audio_milliseconds"] = 1000 * count(usage, "prompt_audio_seconds")
    return meters


def _openai_responses(usage: Usage, provider: str) -> Meters:
    require(usage, _IN_OUT_KEYS)
    input_details, output_details = "input_tokens_details", "output_tokens_details"
    if not _REALTIME_KEYS.isdisjoint(usage):
        input_details, output_details = "input_token_details", "output_token_details"
    details, at = child(usage, output_details), f"{output_details}."
    reasoning = count(details, "reasoning_tokens", at)
    visible = less(count(usage, "output_tokens"), reasoning, "output_tokens", f"{at}reasoning_tokens")
    meters = _BLANK.copy()
    _read_openai_input(meters, usage, count(usage, "input_tokens"), "input_tokens", input_details)
    _read_openai_output(meters, details, visible, "output_tokens", at)
    meters["reasoning_tokens"] = reasoning
    return meters


def _read_openai_input(meters: Meters, usage: Usage, total: int, key: str, details_key: str) -> None:
    details = child(usage, details_key)
    at = f"{details_key}."
    cached, cached_at = _openai_cached(usage, details, at)
    fresh = less(total, cached, key, cached_at)
    meters["cache_read_tokens"] = cached
    if not details:
        meters["input_tokens"] = fresh
        return
    short, long = _openai_writes(details, at)
    fresh = less(fresh, short + long, key, f"{at}cache_write_tokens")
    meters["cache_write_5m_tokens"] = short
    meters["cache_write_1h_tokens"] = long
    audio = count(details, "audio_tokens", at)
    image = count(details, "image_tokens", at)
    unlisted = cached
    split = child(details, "cached_tokens_details", at)
    if split:
        split_at = f"{at}cached_tokens_details."
        cached_text = count(split, "text_tokens", split_at)
        cached_audio = count(split, "audio_tokens", split_at)
        cached_image = count(split, "image_tokens", split_at)
        listed = cached_text + cached_audio + cached_image
        unlisted = less(cached, listed, cached_at, f"{at}cached_tokens_details")
        _place_cached(meters, cached, cached_audio, cached_image)
        audio = less(audio, cached_audio, f"{at}audio_tokens", f"{split_at}audio_tokens")
        image = less(image, cached_image, f"{at}image_tokens", f"{split_at}image_tokens")
    _place_input(meters, fresh, audio, image, unlisted + short + long, details_key)


def _openai_cached(usage: Usage, details: Usage, at: str) -> tuple[int, str]:
    """The cached tokens, and where they were found."""
    if details.get("cached_tokens") is not None:
        return count(details, "cached_tokens", at), f"{at}cached_tokens"
    for key in _HITS:
        if usage.get(key) is not None:
            return count(usage, key), key
    return 0, ""


def _openai_writes(details: Usage, at: str) -> tuple[int, int]:
    split = child(details, "cache_write_tokens_details", at)
    if not split:
        return count(details, "cache_write_tokens", at), 0
    short = count(split, "ttl_30m_tokens", f"{at}cache_write_tokens_details.")
    long = count(split, "ttl_12h_tokens", f"{at}cache_write_tokens_details.")
    return writes(details, "cache_write_tokens", at, short, long, "cache_write_tokens_details")


def _read_openai_output(meters: Meters, details: Usage, visible: int, key: str, at: str) -> None:
    audio = count(details, "audio_tokens", at)
    image = count(details, "image_tokens", at)
    text = less(visible, audio, key, f"{at}audio_tokens")
    meters["output_tokens"] = less(text, image, key, f"{at}image_tokens")
    meters["audio_output_tokens"] = audio
    meters["image_output_tokens"] = image


def _anthropic(usage: Usage, provider: str) -> Meters:
    require(usage, _ANTHROPIC_KEYS)
    meters = _BLANK.copy()
    _add_anthropic(meters, usage, "")
    # An iteration of type advisor_message ran on another model: it is a call, and an event, of its own.
    for at, iteration in children(usage, "iterations"):
        if iteration.get("type") == "compaction":
            _add_anthropic(meters, iteration, at)
    tools = child(usage, "server_tool_use")
    meters["searches"] = count(tools, "web_search_requests", "server_tool_use.")
    return meters


def _add_anthropic(meters: Meters, usage: Usage, at: str) -> None:
    split = child(usage, "cache_creation", at)
    short = count(split, "ephemeral_5m_input_tokens", f"{at}cache_creation.")
    long = count(split, "ephemeral_1h_input_tokens", f"{at}cache_creation.")
    short, long = writes(usage, "cache_creation_input_tokens", at, short, long, "cache_creation")
    details_at = f"{at}output_tokens_details."
    thinking = count(child(usage, "output_tokens_details", at), "thinking_tokens", details_at)
    output = count(usage, "output_tokens", at)
    meters["input_tokens"] += count(usage, "input_tokens", at)
    meters["cache_read_tokens"] += count(usage, "cache_read_input_tokens", at)
    meters["cache_write_5m_tokens"] += short
    meters["cache_write_1h_tokens"] += long
    meters["output_tokens"] += less(output, thinking, f"{at}output_tokens", f"{details_at}thinking_tokens")
    meters["reasoning_tokens"] += thinking


def _bedrock(usage: Usage, provider: str) -> Meters:
    if has(usage, _ANTHROPIC_KEYS):
        return _anthropic(usage, provider)
    require(usage, _CONVERSE_KEYS)
    # Converse ends these names in Tokens, the native answer of Nova in TokenCount.
    read = "cacheReadInputTokenCount" if "cacheReadInputTokenCount" in usage else "cacheReadInputTokens"
    written = "cacheWriteInputTokenCount" if "cacheWriteInputTokenCount" in usage else "cacheWriteInputTokens"
    short = long = 0
    for at, entry in children(usage, "cacheDetails"):
        tokens = count(entry, "inputTokens", at)
        if entry.get("ttl") == "1h":
            long += tokens
        else:
            short += tokens
    short, long = writes(usage, written, "", short, long, "cacheDetails")
    meters = _BLANK.copy()
    meters["input_tokens"] = count(usage, "inputTokens")
    meters["cache_read_tokens"] = count(usage, read)
    meters["cache_write_5m_tokens"] = short
    meters["cache_write_1h_tokens"] = long
    meters["output_tokens"] = count(usage, "outputTokens")
    return meters


@dataclass(frozen=True, slots=True)
class _GeminiNames:
    """Gemini's keys, as the wire spells them."""

    prompt: str = "promptTokenCount"
    tool_prompt: str = "toolUsePromptTokenCount"
    cached: str = "cachedContentTokenCount"
    candidates: str = "candidatesTokenCount"
    live_response: str = "responseTokenCount"
    thoughts: str = "thoughtsTokenCount"
    total: str = "totalTokenCount"
    prompt_details: str = "promptTokensDetails"
    tool_prompt_details: str = "toolUsePromptTokensDetails"
    cached_details: str = "cacheTokensDetails"
    candidates_details: str = "candidatesTokensDetails"
    live_response_details: str = "responseTokensDetails"
    count: str = "tokenCount"


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


_GEMINI_WIRE = _GeminiNames()
_GEMINI_SDK = _GeminiNames(*map(_snake, astuple(_GEMINI_WIRE)))


def _gemini(usage: Usage, provider: str) -> Meters:
    require(usage, _GEMINI_KEYS)
    names = _GEMINI_SDK if has(usage, _GEMINI_SDK_KEYS) else _GEMINI_WIRE
    meters = _BLANK.copy()
    prompt = _read_gemini_input(meters, usage, names)
    answer, details = names.candidates, names.candidates_details
    if usage.get(answer) is None:
        answer, details = names.live_response, names.live_response_details
    visible = count(usage, answer)
    thoughts = count(usage, names.thoughts)
    if thoughts and usage.get(names.total) == prompt + visible:
        visible = less(visible, thoughts, answer, names.thoughts)
    audio, image, _ = _gemini_modalities(usage, details, names.count)
    meters["output_tokens"] = less(visible, audio + image, answer, details)
    meters["reasoning_tokens"] = thoughts
    meters["audio_output_tokens"] = audio
    meters["image_output_tokens"] = image
    return meters


def _read_gemini_input(meters: Meters, usage: Usage, names: _GeminiNames) -> int:
    """Book the prompt and what tools put into it; their total."""
    prompt = count(usage, names.prompt)
    tool_prompt = count(usage, names.tool_prompt)
    cached = count(usage, names.cached)
    fresh = less(prompt, cached, names.prompt, names.cached) + tool_prompt
    audio, image, _ = _gemini_modalities(usage, names.prompt_details, names.count)
    tool_audio, tool_image, _ = _gemini_modalities(usage, names.tool_prompt_details, names.count)
    cached_audio, cached_image, listed = _gemini_modalities(usage, names.cached_details, names.count)
    unlisted = less(cached, listed, names.cached, names.cached_details)
    _place_cached(meters, cached, cached_audio, cached_image)
    audio = less(audio, cached_audio, names.prompt_details, names.cached_details) + tool_audio
    image = less(image, cached_image, names.prompt_details, names.cached_details) + tool_image
    _place_input(meters, fresh, audio, image, unlisted, names.prompt_details)
    return prompt + tool_prompt


def _gemini_modalities(usage: Usage, key: str, counted: str) -> tuple[int, int, int]:
    """Audio tokens, image tokens, and the tokens of all modalities."""
    if usage.get(key) is None:
        return 0, 0, 0
    audio = image = listed = 0
    for at, entry in children(usage, key):
        tokens = count(entry, counted, at)
        listed += tokens
        modality = entry.get("modality")
        if modality == "AUDIO":
            audio += tokens
        elif modality in ("IMAGE", "DOCUMENT"):
            image += tokens
    return audio, image, listed


def _cohere(usage: Usage, provider: str) -> Meters:
    meters = _BLANK.copy()
    billed = child(usage, "billed_units")
    if has(billed, _COHERE_BILLED_KEYS):
        meters["input_tokens"] = count(billed, "input_tokens", "billed_units.")
        meters["output_tokens"] = count(billed, "output_tokens", "billed_units.")
        meters["searches"] = count(billed, "search_units", "billed_units.")
        return meters
    tokens = child(usage, "tokens")
    require(tokens, _IN_OUT_KEYS, "tokens")
    cached = count(usage, "cached_tokens")
    total = count(tokens, "input_tokens", "tokens.")
    meters["input_tokens"] = less(total, cached, "tokens.input_tokens", "cached_tokens")
    meters["cache_read_tokens"] = cached
    meters["output_tokens"] = count(tokens, "output_tokens", "tokens.")
    return meters


_READERS: dict[str, Callable[[Usage, str], Meters]] = {
    "openai_chat": _chat,
    "openai_responses": _openai_responses,
    "anthropic": _anthropic,
    "gemini": _gemini,
    "bedrock": _bedrock,
    "mistral": _mistral,
    "cohere": _cohere,
    "openai_compatible": _chat,
}


def _place_cached(meters: Meters, cached: int, audio: int, image: int) -> None:
    """Book the cached tokens by what they are, where the provider says it."""
    meters["cache_read_tokens"] = cached - audio - image
    meters["audio_cache_read_tokens"] = audio
    meters["image_cache_read_tokens"] = image


def _place_input(meters: Meters, fresh: int, audio: int, image: int, unlisted: int, at: str) -> None:
    """Book the `fresh` (uncached) tokens by modality; `audio` and `image` may hold `unlisted` cached ones."""
    beyond = audio + image - fresh
    if beyond > 0:
        if beyond > unlisted:
            raise inconsistent(at, audio + image, "the prompt", fresh + unlisted)
        cached_image = min(image, beyond)
        image -= cached_image
        audio -= beyond - cached_image
    meters["audio_input_tokens"] = audio
    meters["image_input_tokens"] = image
    meters["input_tokens"] = fresh - audio - image
