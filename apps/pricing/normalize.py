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
    cached tokens that are audio or image too  counted once, as cache: by the split per modality if there is
                                               one; else the cache holds text first, then image, then audio
    cache writes without a lifetime            the short lifetime, cache_write_5m
    OpenAI cache writes of 30 min and 12 h     cache_write_5m (the shorter) and cache_write_1h (the longer)
    accepted and rejected prediction tokens    inside the completion: output
    Anthropic iterations of type compaction    missing from the top-level figures: added
    Gemini modality DOCUMENT                   image input; VIDEO and unknown modalities stay plain input
    Cohere billed_units beside tokens          billed_units alone; cached_tokens is a part of tokens only

A missing or null figure is 0. A detail larger than the figure that holds it is an error, never clamped.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, dataclass

from apps.core.meters import METERS, QUANTITY_MAX

Usage = Mapping[str, object]
Meters = dict[str, int]  # every meter, in the order of METERS

_ROOT = "provider_usage"
_BLANK = dict.fromkeys(METERS, 0)
_NOTHING: Usage = {}
_SHOWN_CHARACTERS_MAX = 60

_CHAT_KEYS = frozenset({"prompt_tokens", "completion_tokens", "prompt_cache_hit_tokens"})
_IN_OUT_KEYS = frozenset({"input_tokens", "output_tokens"})
_ANTHROPIC_KEYS = _IN_OUT_KEYS | {"cache_read_input_tokens", "cache_creation_input_tokens"}
_CONVERSE_KEYS = frozenset({"inputTokens", "outputTokens"})
_COHERE_BILLED_KEYS = _IN_OUT_KEYS | {"search_units"}
_GEMINI_SDK_KEYS = frozenset({"prompt_token_count", "candidates_token_count", "response_token_count"})
_GEMINI_KEYS = _GEMINI_SDK_KEYS | {"promptTokenCount", "candidatesTokenCount", "responseTokenCount"}
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
    (_REALTIME_KEYS | {"input_tokens_details"}, "openai_responses", {}),
    (_ANTHROPIC_KEYS - _IN_OUT_KEYS | {"cache_creation", "server_tool_use"}, "anthropic", {}),
    # With no detail of either, the Responses and the Anthropic reading are the same.
    (_IN_OUT_KEYS, "openai_responses", {"anthropic": "anthropic", "aws": "bedrock"}),
)


class UsageError(ValueError):
    """A usage object that cannot be metered; `param` is the path of the offending value."""

    def __init__(self, code: str, param: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.param = param
        self.detail = detail


def usage_format_for(provider: str, usage: Usage) -> str:
    """The format that the keys of `usage` tell; the provider (catalog id) settles keys that formats share.

    Raises `UsageError` (usage_unrecognized) where no key is a known counter.
    """
    for keys, usage_format, by_provider in _TELLING_KEYS:
        if _has(usage, keys):
            return by_provider.get(provider, usage_format)
    raise _error(
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
        raise _error("usage_invalid", "", f"adds up to {most} {meter}; send at most {QUANTITY_MAX} in one event")
    return quantities


def _chat(usage: Usage, provider: str) -> Meters:
    _require(usage, _CHAT_KEYS)
    prompt = _chat_prompt(usage)
    completion = _count(usage, "completion_tokens")
    details = _object(usage, "completion_tokens_details")
    reasoning, reasoning_at = _count(usage, "reasoning_tokens"), "reasoning_tokens"
    if details.get("reasoning_tokens") is not None:
        reasoning_at = "completion_tokens_details.reasoning_tokens"
        reasoning = _count(details, "reasoning_tokens", "completion_tokens_details.")
    grand_total = usage.get("total_tokens")
    if reasoning and _is_reasoning_beside(provider, reasoning, prompt + completion, grand_total):
        completion += reasoning
    visible = _less(completion, reasoning, "completion_tokens", reasoning_at)
    meters = _BLANK.copy()
    _read_openai_input(meters, usage, prompt, "prompt_tokens", "prompt_tokens_details")
    _read_openai_output(meters, details, visible, "completion_tokens", "completion_tokens_details.")
    meters["reasoning_tokens"] = reasoning
    if provider == "perplexity":
        meters["output_tokens"] += _count(usage, "citation_tokens")
        meters["searches"] = _count(usage, "num_search_queries")
        meters["requests"] = 1
    return meters


def _chat_prompt(usage: Usage) -> int:
    prompt = _count(usage, "prompt_tokens")
    if "prompt_cache_hit_tokens" not in usage:
        return prompt
    hit = _count(usage, "prompt_cache_hit_tokens")
    miss = _count(usage, "prompt_cache_miss_tokens")
    if usage.get("prompt_tokens") is None:
        return hit + miss
    left = _less(prompt, hit, "prompt_tokens", "prompt_cache_hit_tokens")
    _less(left, miss, "prompt_tokens", "prompt_cache_miss_tokens")
    return prompt


def _is_reasoning_beside(provider: str, reasoning: int, total_given: int, grand_total: object) -> bool:
    """Whether reasoning comes on top of the completion; `total_given` is prompt + completion as given."""
    if provider == "perplexity":
        return True
    if grand_total == total_given:
        return False
    return provider == "x-ai" or grand_total == total_given + reasoning


def _mistral(usage: Usage, provider: str) -> Meters:
    meters = _chat(usage, provider)
    meters["audio_milliseconds"] = 1000 * _count(usage, "prompt_audio_seconds")
    return meters


def _openai_responses(usage: Usage, provider: str) -> Meters:
    _require(usage, _IN_OUT_KEYS)
    input_details, output_details = "input_tokens_details", "output_tokens_details"
    if not _REALTIME_KEYS.isdisjoint(usage):
        input_details, output_details = "input_token_details", "output_token_details"
    details, at = _object(usage, output_details), f"{output_details}."
    reasoning = _count(details, "reasoning_tokens", at)
    visible = _less(_count(usage, "output_tokens"), reasoning, "output_tokens", f"{at}reasoning_tokens")
    meters = _BLANK.copy()
    _read_openai_input(meters, usage, _count(usage, "input_tokens"), "input_tokens", input_details)
    _read_openai_output(meters, details, visible, "output_tokens", at)
    meters["reasoning_tokens"] = reasoning
    return meters


def _read_openai_input(meters: Meters, usage: Usage, total: int, key: str, details_key: str) -> None:
    details = _object(usage, details_key)
    at = f"{details_key}."
    cached, cached_at = _openai_cached(usage, details, at)
    fresh = _less(total, cached, key, cached_at)
    meters["cache_read_tokens"] = cached
    if not details:
        meters["input_tokens"] = fresh
        return
    short, long = _openai_writes(details, at)
    fresh = _less(fresh, short + long, key, f"{at}cache_write_tokens")
    meters["cache_write_5m_tokens"] = short
    meters["cache_write_1h_tokens"] = long
    audio = _count(details, "audio_tokens", at)
    image = _count(details, "image_tokens", at)
    unlisted = cached
    split = _object(details, "cached_tokens_details", at)
    if split:
        split_at = f"{at}cached_tokens_details."
        cached_text = _count(split, "text_tokens", split_at)
        cached_audio = _count(split, "audio_tokens", split_at)
        cached_image = _count(split, "image_tokens", split_at)
        listed = cached_text + cached_audio + cached_image
        unlisted = _less(cached, listed, cached_at, f"{at}cached_tokens_details")
        audio = _less(audio, cached_audio, f"{at}audio_tokens", f"{split_at}audio_tokens")
        image = _less(image, cached_image, f"{at}image_tokens", f"{split_at}image_tokens")
    _place_input(meters, fresh, audio, image, unlisted + short + long, details_key)


def _openai_cached(usage: Usage, details: Usage, at: str) -> tuple[int, str]:
    """The cached tokens, and where they were found."""
    if details.get("cached_tokens") is not None:
        return _count(details, "cached_tokens", at), f"{at}cached_tokens"
    for key in _HITS:
        if usage.get(key) is not None:
            return _count(usage, key), key
    return 0, ""


def _openai_writes(details: Usage, at: str) -> tuple[int, int]:
    split = _object(details, "cache_write_tokens_details", at)
    if not split:
        return _count(details, "cache_write_tokens", at), 0
    short = _count(split, "ttl_30m_tokens", f"{at}cache_write_tokens_details.")
    long = _count(split, "ttl_12h_tokens", f"{at}cache_write_tokens_details.")
    return _writes(details, "cache_write_tokens", at, short, long, "cache_write_tokens_details")


def _read_openai_output(meters: Meters, details: Usage, visible: int, key: str, at: str) -> None:
    audio = _count(details, "audio_tokens", at)
    image = _count(details, "image_tokens", at)
    text = _less(visible, audio, key, f"{at}audio_tokens")
    meters["output_tokens"] = _less(text, image, key, f"{at}image_tokens")
    meters["audio_output_tokens"] = audio
    meters["image_output_tokens"] = image


def _anthropic(usage: Usage, provider: str) -> Meters:
    _require(usage, _ANTHROPIC_KEYS)
    meters = _BLANK.copy()
    _add_anthropic(meters, usage, "")
    # An iteration of type advisor_message ran on another model: it is a call, and an event, of its own.
    for at, iteration in _objects(usage, "iterations"):
        if iteration.get("type") == "compaction":
            _add_anthropic(meters, iteration, at)
    tools = _object(usage, "server_tool_use")
    meters["searches"] = _count(tools, "web_search_requests", "server_tool_use.")
    return meters


def _add_anthropic(meters: Meters, usage: Usage, at: str) -> None:
    split = _object(usage, "cache_creation", at)
    short = _count(split, "ephemeral_5m_input_tokens", f"{at}cache_creation.")
    long = _count(split, "ephemeral_1h_input_tokens", f"{at}cache_creation.")
    short, long = _writes(usage, "cache_creation_input_tokens", at, short, long, "cache_creation")
    details_at = f"{at}output_tokens_details."
    thinking = _count(_object(usage, "output_tokens_details", at), "thinking_tokens", details_at)
    output = _count(usage, "output_tokens", at)
    meters["input_tokens"] += _count(usage, "input_tokens", at)
    meters["cache_read_tokens"] += _count(usage, "cache_read_input_tokens", at)
    meters["cache_write_5m_tokens"] += short
    meters["cache_write_1h_tokens"] += long
    meters["output_tokens"] += _less(output, thinking, f"{at}output_tokens", f"{details_at}thinking_tokens")
    meters["reasoning_tokens"] += thinking


def _bedrock(usage: Usage, provider: str) -> Meters:
    if _has(usage, _ANTHROPIC_KEYS):
        return _anthropic(usage, provider)
    _require(usage, _CONVERSE_KEYS)
    # Converse ends these names in Tokens, the native answer of Nova in TokenCount.
    read = "cacheReadInputTokenCount" if "cacheReadInputTokenCount" in usage else "cacheReadInputTokens"
    written = "cacheWriteInputTokenCount" if "cacheWriteInputTokenCount" in usage else "cacheWriteInputTokens"
    short = long = 0
    for at, entry in _objects(usage, "cacheDetails"):
        tokens = _count(entry, "inputTokens", at)
        if entry.get("ttl") == "1h":
            long += tokens
        else:
            short += tokens
    short, long = _writes(usage, written, "", short, long, "cacheDetails")
    meters = _BLANK.copy()
    meters["input_tokens"] = _count(usage, "inputTokens")
    meters["cache_read_tokens"] = _count(usage, read)
    meters["cache_write_5m_tokens"] = short
    meters["cache_write_1h_tokens"] = long
    meters["output_tokens"] = _count(usage, "outputTokens")
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
    _require(usage, _GEMINI_KEYS)
    names = _GEMINI_SDK if _has(usage, _GEMINI_SDK_KEYS) else _GEMINI_WIRE
    meters = _BLANK.copy()
    prompt = _read_gemini_input(meters, usage, names)
    answer, details = names.candidates, names.candidates_details
    if usage.get(answer) is None:
        answer, details = names.live_response, names.live_response_details
    visible = _count(usage, answer)
    thoughts = _count(usage, names.thoughts)
    if thoughts and usage.get(names.total) == prompt + visible:
        visible = _less(visible, thoughts, answer, names.thoughts)
    audio, image, _ = _gemini_modalities(usage, details, names.count)
    meters["output_tokens"] = _less(visible, audio + image, answer, details)
    meters["reasoning_tokens"] = thoughts
    meters["audio_output_tokens"] = audio
    meters["image_output_tokens"] = image
    return meters


def _read_gemini_input(meters: Meters, usage: Usage, names: _GeminiNames) -> int:
    """Book the prompt and what tools put into it; their total."""
    prompt = _count(usage, names.prompt)
    tool_prompt = _count(usage, names.tool_prompt)
    cached = _count(usage, names.cached)
    fresh = _less(prompt, cached, names.prompt, names.cached) + tool_prompt
    meters["cache_read_tokens"] = cached
    audio, image, _ = _gemini_modalities(usage, names.prompt_details, names.count)
    tool_audio, tool_image, _ = _gemini_modalities(usage, names.tool_prompt_details, names.count)
    cached_audio, cached_image, listed = _gemini_modalities(usage, names.cached_details, names.count)
    unlisted = _less(cached, listed, names.cached, names.cached_details)
    audio = _less(audio, cached_audio, names.prompt_details, names.cached_details) + tool_audio
    image = _less(image, cached_image, names.prompt_details, names.cached_details) + tool_image
    _place_input(meters, fresh, audio, image, unlisted, names.prompt_details)
    return prompt + tool_prompt


def _gemini_modalities(usage: Usage, key: str, count: str) -> tuple[int, int, int]:
    """Audio tokens, image tokens, and the tokens of all modalities."""
    if usage.get(key) is None:
        return 0, 0, 0
    audio = image = listed = 0
    for at, entry in _objects(usage, key):
        tokens = _count(entry, count, at)
        listed += tokens
        modality = entry.get("modality")
        if modality == "AUDIO":
            audio += tokens
        elif modality in ("IMAGE", "DOCUMENT"):
            image += tokens
    return audio, image, listed


def _cohere(usage: Usage, provider: str) -> Meters:
    meters = _BLANK.copy()
    billed = _object(usage, "billed_units")
    if _has(billed, _COHERE_BILLED_KEYS):
        meters["input_tokens"] = _count(billed, "input_tokens", "billed_units.")
        meters["output_tokens"] = _count(billed, "output_tokens", "billed_units.")
        meters["searches"] = _count(billed, "search_units", "billed_units.")
        return meters
    tokens = _object(usage, "tokens")
    _require(tokens, _IN_OUT_KEYS, "tokens")
    cached = _count(usage, "cached_tokens")
    total = _count(tokens, "input_tokens", "tokens.")
    meters["input_tokens"] = _less(total, cached, "tokens.input_tokens", "cached_tokens")
    meters["cache_read_tokens"] = cached
    meters["output_tokens"] = _count(tokens, "output_tokens", "tokens.")
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
USAGE_FORMATS: tuple[str, ...] = tuple(_READERS)


def _place_input(meters: Meters, fresh: int, audio: int, image: int, unlisted: int, at: str) -> None:
    """Book the `fresh` (uncached) tokens by modality; `audio` and `image` may hold `unlisted` cached ones."""
    beyond = audio + image - fresh
    if beyond > 0:
        if beyond > unlisted:
            raise _inconsistent(at, audio + image, "the prompt", fresh + unlisted)
        cached_image = min(image, beyond)
        image -= cached_image
        audio -= beyond - cached_image
    meters["audio_input_tokens"] = audio
    meters["image_input_tokens"] = image
    meters["input_tokens"] = fresh - audio - image


def _writes(source: Usage, key: str, at: str, short: int, long: int, split: str) -> tuple[int, int]:
    """Cache writes of the short and of the long lifetime; what the split leaves open is short."""
    if source.get(key) is None:
        return short, long
    return _less(_count(source, key, at), short + long, at + key, at + split) + short, long


def _count(source: Usage, key: str, within: str = "") -> int:
    """A figure; `within` is the path of `source` under provider_usage, with its dot."""
    value = source.get(key)
    if value is None:
        return 0
    # isinstance would take a bool for an int.
    if type(value) is int and 0 <= value <= QUANTITY_MAX:
        return value
    raise _invalid(within + key, value, f"a whole number from 0 to {QUANTITY_MAX}")


def _object(source: Usage, key: str, within: str = "") -> Usage:
    value = source.get(key)
    if value is None:
        return _NOTHING
    if isinstance(value, (dict, Mapping)):  # dict first: asking Mapping is slow
        return value
    raise _invalid(within + key, value, "an object")


def _objects(source: Usage, key: str) -> Iterator[tuple[str, Usage]]:
    """The objects of a list, each with its path and a dot."""
    entries = source.get(key)
    if entries is None:
        return
    if not isinstance(entries, (list, tuple)):
        raise _invalid(key, entries, "a list")
    for index, entry in enumerate(entries):
        if not isinstance(entry, (dict, Mapping)):
            raise _invalid(f"{key}.{index}", entry, "an object")
        yield f"{key}.{index}.", entry


def _has(source: Usage, keys: frozenset[str]) -> bool:
    if not keys.isdisjoint(source):
        for key in keys:  # any() would build a generator each call
            if source.get(key) is not None:
                return True
    return False


def _require(source: Usage, keys: frozenset[str], at: str = "") -> None:
    if not _has(source, keys):
        raise _error(
            "usage_unrecognized",
            at,
            f"has none of {', '.join(sorted(keys))}; send the provider's usage object as it came, with its "
            f"shape in usage_format ({', '.join(USAGE_FORMATS)})",
        )


def _less(whole: int, part: int, whole_at: str, part_at: str) -> int:
    if part > whole:
        raise _inconsistent(part_at, part, whole_at, whole)
    return whole - part


def _inconsistent(part_at: str, part: int, whole_at: str, whole: int) -> UsageError:
    return _error(
        "usage_inconsistent",
        part_at,
        f"is {part}, more than the {whole} that {whole_at} has for it; send the provider's usage object as "
        "it came, or the disjoint meters in usage",
    )


def _invalid(at: str, value: object, wanted: str) -> UsageError:
    shown = f"a {type(value).__name__}"
    if isinstance(value, (float, str)):
        shown = ascii(value)[:_SHOWN_CHARACTERS_MAX]
    elif isinstance(value, int):  # in hexadecimal where long: Python refuses to print 4,300 decimal digits
        shown = str(value) if abs(value) < QUANTITY_MAX**2 else f"{value:#x}"[:_SHOWN_CHARACTERS_MAX]
    return _error("usage_invalid", at, f"is {shown}; send {wanted}, or leave it out")


def _error(code: str, at: str, says: str) -> UsageError:
    param = f"{_ROOT}.{at}" if at else _ROOT
    return UsageError(code, param, f"{param} {says}.")
