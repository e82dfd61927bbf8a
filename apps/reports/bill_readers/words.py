"""What bills call meters, units and providers, in the words of the project. Pure."""

import re
from collections.abc import Mapping

from apps.core.meters import METER_INDEX
from apps.pricing.names import canonical_provider

# Lower case, with one space between words.
_METERS: Mapping[str, str] = {
    "input": "input_tokens",
    "input tokens": "input_tokens",
    "prompt tokens": "input_tokens",
    "uncached input": "input_tokens",
    "uncached input tokens": "input_tokens",
    "text input": "input_tokens",
    "cached input": "cache_read_tokens",
    "cached input tokens": "cache_read_tokens",
    "cache read": "cache_read_tokens",
    "cache read input tokens": "cache_read_tokens",
    "cache write": "cache_write_5m_tokens",
    "cache write input tokens": "cache_write_5m_tokens",
    "cache creation.ephemeral 5m input tokens": "cache_write_5m_tokens",
    "cache creation.ephemeral 1h input tokens": "cache_write_1h_tokens",
    "output": "output_tokens",
    "output tokens": "output_tokens",
    "completion tokens": "output_tokens",
    "text output": "output_tokens",
    "reasoning": "reasoning_tokens",
    "reasoning tokens": "reasoning_tokens",
    "audio input": "audio_input_tokens",
    "audio cached input": "audio_cache_read_tokens",
    "audio output": "audio_output_tokens",
    "image input": "image_input_tokens",
    "image cached input": "image_cache_read_tokens",
    "image output": "image_output_tokens",
    "request": "requests",
    "image": "images",
    "search": "searches",
    "web search": "searches",
    "web search tool calls": "searches",
    "file search": "file_searches",
    "file search tool calls": "file_searches",
    "code execution": "code_sessions",
    "code interpreter": "code_sessions",
    "code interpreter sessions": "code_sessions",
}
# How many of the meter's smallest unit one of the bill's unit is.
_UNITS: Mapping[str, int] = {
    "token": 1,
    "request": 1,
    "image": 1,
    "call": 1,
    "search": 1,
    "session": 1,
    "page": 1,
    "character": 1,
    "millisecond": 1,
    "second": 1_000,
    "minute": 60_000,
    "hour": 3_600_000,
}
_TIMES: Mapping[str, int] = {"k": 1_000, "thousand": 1_000, "m": 10**6, "million": 10**6}
_UNIT = re.compile(r"(?:(\d[\d,]{0,24})\s*)?(?:(k|thousand|m|million)\s+)?([a-z]+)")
_PROVIDERS: Mapping[str, str] = {
    "amazon web services": "aws",
    "amazon web services, inc.": "aws",
    "microsoft": "azure",
    "microsoft azure": "azure",
    "gcp": "google",
    "google cloud": "google",
    "google cloud platform": "google",
    "github": "github-copilot",
}


def meter_of(text: str) -> str:
    """The meter that a bill's word means, "" where it is none of ours."""
    name = text.strip().lower()
    if name in METER_INDEX:
        return name
    spelled = " ".join(name.replace("_", " ").replace("-", " ").split())
    tries = (spelled, *(spelled.removesuffix(ending) for ending in ("es", "s", " tokens")))
    return next((_METERS[word] for word in tries if word in _METERS), "")


def units_of(text: str) -> int | None:
    """How many smallest units one of a unit is: 1,000,000 for "1000000 Tokens" and "1M tokens"; None if unknown."""
    found = _UNIT.fullmatch(text.strip().lower())
    if found is None:
        return None
    count, times, word = found.groups()
    unit = _UNITS.get(word.removesuffix("s")) or _UNITS.get(word.removesuffix("es"))
    return unit and unit * int((count or "1").replace(",", "")) * _TIMES.get(times or "", 1)


def provider_of(name: str) -> str:
    """The catalog's id of a provider as clouds and their bills name it."""
    return _PROVIDERS.get(name.strip().lower()) or canonical_provider(name)
