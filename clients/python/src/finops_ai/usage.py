"""Usage as the SDKs of providers hand it out, read without knowing the SDKs."""

from collections.abc import Mapping
from typing import Any

# Where answers and stream events keep what they have used, and where they keep more of the answer.
_USAGE_KEYS = ("usage", "usage_metadata", "usageMetadata")
_INNER_KEYS = ("message", "response", "delta")
_DELTA_KEYS = ("choices", "delta", "candidates")
_OUTPUT_KEYS = ("output_tokens", "completion_tokens")


def plain(usage: object) -> dict[str, Any]:
    """A provider's usage object as JSON has it. Raises `TypeError` for what is no mapping and no pydantic model."""
    if isinstance(usage, Mapping):
        return {key: plain(value) if hasattr(value, "model_dump") else value for key, value in usage.items()}
    dump = getattr(usage, "model_dump", None)
    if dump is None:
        raise TypeError(f"{type(usage).__name__} is no usage object: give a dict or the SDK's own object.")
    found: dict[str, Any] = dump(mode="json", exclude_none=True)
    return found


def found_in(answer: object) -> dict[str, Any]:
    """What an answer or a stream event says of itself: provider_usage, model_served, stop_reason."""
    found: dict[str, Any] = {}
    for source in (answer, *(_get(answer, key) for key in _INNER_KEYS)):
        usage = next((value for key in _USAGE_KEYS if (value := _get(source, key)) is not None), None)
        if usage is not None:
            found["provider_usage"] = plain(usage)
        for field, key in (("model_served", "model"), ("stop_reason", "stop_reason")):
            if isinstance(value := _get(source, key), str) and value:
                found[field] = value
    choices = _get(answer, "choices")
    if isinstance(choices, list) and choices and isinstance(value := _get(choices[0], "finish_reason"), str):
        found["stop_reason"] = value
    return found


class StreamUsage:
    """What a stream has used so far. Until the provider's figures come, a piece of output counts as a token."""

    def __init__(self, input_tokens: int | None) -> None:
        self._input_tokens = input_tokens or 0
        self._chunks = 0
        self._figures: dict[str, Any] = {}

    def take(self, chunk: object) -> dict[str, Any]:
        """The event's fields after this chunk."""
        found = found_in(chunk)
        if usage := found.pop("provider_usage", None):
            self._figures |= {key: value for key, value in usage.items() if value is not None}
        elif any(_get(chunk, key) for key in _DELTA_KEYS):
            self._chunks += 1
        if self._figures:
            return {**found, "provider_usage": self._figures}
        if self._chunks:
            found["usage"] = {"input_tokens": self._input_tokens, "output_tokens": self._chunks}
        return found

    def interrupted(self) -> dict[str, Any]:
        """The provider's figures of a stream that was broken off, with no less output than was emitted."""
        figures = dict(self._figures)
        for key in _OUTPUT_KEYS:
            if isinstance(figures.get(key), int):
                figures[key] = max(figures[key], self._chunks)
        return {"provider_usage": figures} if figures else {}


def _get(source: object, key: str) -> Any:
    return source.get(key) if isinstance(source, Mapping) else getattr(source, key, None)
