"""What is kept of a provider's usage object: its figures, so that a cost can be explained by what was sent; and what
the object says of the conditions of the call. Never a text: no prompt and no answer passes.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

KEPT_BYTES_MAX = 4096
DEPTH_MAX = 6

# The strings that matter are short words under these names.
_WORD_KEYS = frozenset(
    {
        "service_tier", "serviceTier", "speed", "inference_geo", "ttl", "type", "modality", "trafficType",
        "traffic_type", "object", "model",
    }
)  # fmt: skip
_WORD = re.compile(r"[A-Za-z0-9_.:-]{1,64}")

_OPENAI_TIERS = {"default": "standard", "flex": "flex", "priority": "priority", "fast": "priority"}
_ANTHROPIC_TIERS = {"standard": "standard", "priority": "priority", "batch": "batch"}
_GEMINI_TIERS = {"ON_DEMAND": "standard", "ON_DEMAND_PRIORITY": "priority", "ON_DEMAND_FLEX": "flex"}
_UNTOLD_REGIONS = ("", "not_available", "unknown")


def kept_usage(usage: Mapping[str, Any], usage_format: str) -> dict[str, Any]:
    """{"format", "usage"} with whole numbers, truth values and short words; beyond 4 KiB {"format", "too_large"}."""
    kept = {"format": usage_format, "usage": _kept(usage, 0)}
    if len(msgspec.json.encode(kept)) > KEPT_BYTES_MAX:
        return {"format": usage_format, "too_large": True}
    return kept


def conditions_of(usage: Mapping[str, Any], usage_format: str) -> tuple[str | None, str | None]:
    """The service tier and the region that the object itself names; None where it names none that is known.

    Scale, reserved and provisioned capacity are bought ahead, not by the call: they are no tier of ours.
    """
    match usage_format:
        case "anthropic":
            if usage.get("speed") == "fast":
                return "fast", _region(usage)
            return _word(_ANTHROPIC_TIERS, usage.get("service_tier")), _region(usage)
        case "gemini":
            return _word(_GEMINI_TIERS, usage.get("trafficType") or usage.get("traffic_type")), None
        case "bedrock":
            tier = usage.get("serviceTier")
            return _word(_OPENAI_TIERS, tier.get("type") if isinstance(tier, Mapping) else tier), None
    return _word(_OPENAI_TIERS, usage.get("service_tier")), None


def _word(known: Mapping[str, str], said: object) -> str | None:
    return known.get(said) if isinstance(said, str) else None


def _region(usage: Mapping[str, Any]) -> str | None:
    said = usage.get("inference_geo")
    known = isinstance(said, str) and said not in _UNTOLD_REGIONS and _WORD.fullmatch(said)
    return said if known else None


def _kept(source: Mapping[str, Any], depth: int) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in source.items():
        if not isinstance(key, str) or not _WORD.fullmatch(key):
            continue
        found = _harmless(key, value, depth)
        if found is not None:
            kept[key] = found
    return kept


def _harmless(key: str, value: Any, depth: int) -> Any:
    if type(value) in (int, bool):
        return value
    if isinstance(value, str):
        return value if key in _WORD_KEYS and _WORD.fullmatch(value) else None
    if depth >= DEPTH_MAX:
        return None
    if isinstance(value, Mapping):
        return _kept(value, depth + 1)
    if isinstance(value, list):
        return [entry for entry in (_harmless(key, entry, depth + 1) for entry in value) if entry is not None]
    return None
