"""What is kept of a provider's usage object, and what it says of the conditions of its call."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.pricing.kept_usage import KEPT_BYTES_MAX, conditions_of, kept_usage

PROMPT = "Dear Bob, my card number is 4111 1111 1111 1111."

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("usage_format", "usage", "expected"),
    [
        ("anthropic", {"service_tier": "standard"}, ("standard", None)),
        ("anthropic", {"service_tier": "batch", "inference_geo": "us"}, ("batch", "us")),
        ("anthropic", {"service_tier": "priority", "speed": "fast"}, ("fast", None)),
        ("anthropic", {"service_tier": "priority", "speed": "standard"}, ("priority", None)),
        ("anthropic", {"inference_geo": "not_available"}, (None, None)),
        ("anthropic", {"inference_geo": PROMPT}, (None, None)),
        ("openai_chat", {"service_tier": "default"}, ("standard", None)),
        ("openai_responses", {"service_tier": "flex"}, ("flex", None)),
        ("openai_chat", {"service_tier": "fast"}, ("priority", None)),
        ("openai_chat", {"service_tier": "scale"}, (None, None)),
        ("openai_chat", {"service_tier": ["flex"]}, (None, None)),
        ("bedrock", {"serviceTier": {"type": "default"}}, ("standard", None)),
        ("bedrock", {"serviceTier": {"type": "flex"}}, ("flex", None)),
        ("bedrock", {"serviceTier": {"type": "reserved"}}, (None, None)),
        ("bedrock", {"serviceTier": {"type": {"type": "flex"}}}, (None, None)),
        ("gemini", {"trafficType": "ON_DEMAND_PRIORITY"}, ("priority", None)),
        ("gemini", {"traffic_type": "ON_DEMAND_FLEX"}, ("flex", None)),
        ("gemini", {"trafficType": "PROVISIONED_THROUGHPUT"}, (None, None)),
        ("mistral", {"prompt_tokens": 1}, (None, None)),
    ],
)
def test_the_object_tells_its_tier_and_region(
    usage_format: str, usage: dict[str, Any], expected: tuple[str | None, str | None]
) -> None:
    assert conditions_of(usage, usage_format) == expected


def test_it_keeps_figures_and_the_words_that_price_them() -> None:
    usage = {
        "input_tokens": 7,
        "is_cached": True,
        "service_tier": "standard",
        "cacheDetails": [{"ttl": "1h", "inputTokens": 5}],
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    assert kept_usage(usage, "anthropic") == {"format": "anthropic", "usage": usage}


@pytest.mark.parametrize(
    "hidden",
    [
        {"prompt": PROMPT},
        {"prompt": "hello"},
        {"service_tier": PROMPT},
        {"type": f"text\n{PROMPT}"},
        {"type": "x" * 65},
        {PROMPT: 1},
        {"cost": 0.25},
        {"nothing": None},
    ],
)
def test_it_keeps_no_text(hidden: dict[str, Any]) -> None:
    sent = {"input_tokens": 7, **hidden, "details": {**hidden, "cached_tokens": 2}, "list": [hidden]}
    assert kept_usage(sent, "anthropic")["usage"] == {
        "input_tokens": 7,
        "details": {"cached_tokens": 2},
        "list": [{}],
    }


@given(st.dictionaries(st.text(max_size=20), json_values, max_size=6))
def test_what_is_kept_is_bounded_and_has_only_short_words(usage: dict[str, Any]) -> None:
    kept = kept_usage(usage, "openai_chat")
    encoded = msgspec.json.encode(kept)
    assert len(encoded) <= KEPT_BYTES_MAX
    assert not {" ", "\n", "@"} & set(encoded.decode())


def test_a_large_object_is_only_named() -> None:
    assert kept_usage({f"figure_{index}": index for index in range(1000)}, "gemini") == {
        "format": "gemini",
        "too_large": True,
    }


def test_a_deep_object_is_cut() -> None:
    deep: dict[str, Any] = {"tokens": 1}
    for _ in range(500):
        deep = {"inner": deep}
    assert len(msgspec.json.encode(kept_usage(deep, "gemini"))) < 200


@pytest.mark.parametrize("figure", [2**64, -(2**63) - 1, 10**400])
def test_a_huge_figure_in_an_unread_field_does_no_harm(figure: int) -> None:
    msgspec.json.encode(kept_usage({"input_tokens": 1, "unread": figure}, "anthropic"))
