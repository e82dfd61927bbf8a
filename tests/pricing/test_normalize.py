"""Usage objects as the providers send them, read into disjoint meters, or refused with code and path.

`usage_objects.jsonl` holds one object a line with the meters it must become; `usage_contradictions.jsonl` one
object a line with the path of a part that is larger than its whole, and both figures.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from apps.core.meters import METERS, QUANTITY_MAX
from apps.pricing.normalize import USAGE_FORMATS, UsageError, normalize_usage, usage_format_for


def cases_of(file_name: str) -> list[dict[str, Any]]:
    lines = Path(__file__).with_name(file_name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


OBJECTS = cases_of("usage_objects.jsonl")
OBJECT_NAMES = [case["name"] for case in OBJECTS]
CONTRADICTIONS = cases_of("usage_contradictions.jsonl")


def named(quantities: tuple[int, ...]) -> dict[str, int]:
    """The meters that are not zero."""
    return {meter: quantity for meter, quantity in zip(METERS, quantities, strict=True) if quantity}


@pytest.mark.parametrize("case", OBJECTS, ids=OBJECT_NAMES)
def test_it_reads_a_providers_object_into_disjoint_meters(case):
    quantities = normalize_usage(case["usage"], case["format"], provider=case["provider"])
    assert named(quantities) == case["meters"]


@pytest.mark.parametrize("case", OBJECTS, ids=OBJECT_NAMES)
def test_it_tells_the_format_from_the_keys_and_the_provider(case):
    assert usage_format_for(case["provider"], case["usage"]) == case["format"]


def test_the_objects_cover_every_format_and_every_token_meter():
    assert {case["format"] for case in OBJECTS} == set(USAGE_FORMATS)
    covered = {meter for case in OBJECTS for meter in case["meters"]}
    assert covered >= {meter for meter in METERS if meter.endswith("_tokens")}


ANTHROPIC_SHAPED = {"input_tokens": 3, "cache_read_input_tokens": 9, "output_tokens": 5}


@pytest.mark.parametrize(
    ("provider", "usage", "expected"),
    [
        ("aws", ANTHROPIC_SHAPED, "anthropic"),
        ("google", ANTHROPIC_SHAPED, "anthropic"),
        ("azure", ANTHROPIC_SHAPED, "anthropic"),
        ("aws", {"input_tokens": 3, "output_tokens": 5}, "bedrock"),
        ("openai", {"input_tokens": 3, "output_tokens": 5}, "openai_responses"),
        ("somebody", {"input_tokens": 3, "output_tokens": 5}, "openai_responses"),
        ("somebody", {"prompt_tokens": None, "input_tokens": 3}, "openai_responses"),
        ("databricks", {"prompt_tokens": 9, "cache_read_input_tokens": 3}, "openai_compatible"),
        ("google", {"prompt_tokens": 9, "completion_tokens": 3}, "openai_compatible"),
        ("cohere", {"prompt_tokens": 9, "completion_tokens": 3}, "openai_compatible"),
    ],
)
def test_it_tells_the_format_where_a_provider_speaks_anothers_shape(provider, usage, expected):
    assert usage_format_for(provider, usage) == expected


@pytest.mark.parametrize("usage", [{"input_tokens": 3}, {"input_tokens": 3, "output_tokens": 5}])
def test_a_bare_pair_reads_the_same_in_every_format_that_has_it(usage):
    readings = {normalize_usage(usage, each) for each in ("openai_responses", "anthropic", "bedrock")}
    assert len(readings) == 1


def test_bedrock_reads_what_anthropic_sends_through_it():
    usage = {**ANTHROPIC_SHAPED, "cache_creation": {"ephemeral_1h_input_tokens": 4}}
    assert normalize_usage(usage, "bedrock", provider="aws") == normalize_usage(usage, "anthropic")


@pytest.mark.parametrize("usage", [{}, {"tokens_used": 5}, {"prompt_tokens": None}, {"total_tokens": 5}])
def test_it_asks_for_the_format_where_the_keys_tell_none(usage):
    with pytest.raises(UsageError) as caught:
        usage_format_for("somebody", usage)
    assert (caught.value.code, caught.value.param) == ("usage_unrecognized", "provider_usage")
    assert "somebody" in caught.value.detail
    assert all(usage_format in caught.value.detail for usage_format in USAGE_FORMATS)


@pytest.mark.parametrize("usage_format", USAGE_FORMATS)
@pytest.mark.parametrize("usage", [{}, {"tokens_used": 5, "total_tokens": 5}])
def test_it_refuses_an_object_without_any_counter(usage_format, usage):
    with pytest.raises(UsageError) as caught:
        normalize_usage(usage, usage_format)
    param = "provider_usage.tokens" if usage_format == "cohere" else "provider_usage"
    assert (caught.value.code, caught.value.param) == ("usage_unrecognized", param)


def test_it_refuses_a_format_it_does_not_know():
    with pytest.raises(UsageError) as caught:
        normalize_usage({"prompt_tokens": 1}, "openai")
    assert (caught.value.code, caught.value.param) == ("usage_format_unknown", "usage_format")
    assert "'openai'" in caught.value.detail
    assert "openai_chat" in caught.value.detail


@pytest.mark.parametrize("case", CONTRADICTIONS, ids=[f"{each['format']}-{each['path']}" for each in CONTRADICTIONS])
def test_it_refuses_a_part_larger_than_its_whole(case):
    with pytest.raises(UsageError) as caught:
        normalize_usage(case["usage"], case["format"])
    assert (caught.value.code, caught.value.param) == ("usage_inconsistent", f"provider_usage.{case['path']}")
    said = f"provider_usage.{case['path']} is {case['part']}, more than the {case['whole']} that"
    assert caught.value.detail.startswith(said)


def test_the_contradictions_cover_every_format():
    assert {case["format"] for case in CONTRADICTIONS} == set(USAGE_FORMATS)


Hole = Callable[[object], Mapping[str, object]]

# (format, path of a figure, the object with that figure)
FIGURES: list[tuple[str, str, Hole]] = [
    ("openai_chat", "prompt_tokens", lambda v: {"prompt_tokens": v}),
    ("openai_chat", "completion_tokens", lambda v: {"prompt_tokens": 1, "completion_tokens": v}),
    (
        "openai_chat",
        "prompt_tokens_details.cached_tokens",
        lambda v: {"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": v}},
    ),
    (
        "openai_chat",
        "completion_tokens_details.reasoning_tokens",
        lambda v: {"prompt_tokens": 1, "completion_tokens_details": {"reasoning_tokens": v}},
    ),
    ("openai_compatible", "cached_tokens", lambda v: {"prompt_tokens": 1, "cached_tokens": v}),
    (
        "openai_responses",
        "input_tokens_details.cache_write_tokens_details.ttl_12h_tokens",
        lambda v: {
            "input_tokens": 1,
            "input_tokens_details": {"cache_write_tokens_details": {"ttl_12h_tokens": v}},
        },
    ),
    (
        "openai_responses",
        "input_token_details.cached_tokens_details.image_tokens",
        lambda v: {"input_tokens": 1, "input_token_details": {"cached_tokens_details": {"image_tokens": v}}},
    ),
    (
        "anthropic",
        "cache_creation.ephemeral_5m_input_tokens",
        lambda v: {"input_tokens": 1, "cache_creation": {"ephemeral_5m_input_tokens": v}},
    ),
    (
        "anthropic",
        "server_tool_use.web_search_requests",
        lambda v: {"input_tokens": 1, "server_tool_use": {"web_search_requests": v}},
    ),
    (
        "anthropic",
        "iterations.0.output_tokens",
        lambda v: {"input_tokens": 1, "iterations": [{"type": "compaction", "output_tokens": v}]},
    ),
    ("gemini", "thoughtsTokenCount", lambda v: {"promptTokenCount": 1, "thoughtsTokenCount": v}),
    (
        "gemini",
        "promptTokensDetails.1.tokenCount",
        lambda v: {
            "promptTokenCount": 1,
            "promptTokensDetails": [{"modality": "TEXT"}, {"modality": "VIDEO", "tokenCount": v}],
        },
    ),
    ("bedrock", "cacheDetails.0.inputTokens", lambda v: {"inputTokens": 1, "cacheDetails": [{"inputTokens": v}]}),
    ("mistral", "prompt_audio_seconds", lambda v: {"prompt_tokens": 1, "prompt_audio_seconds": v}),
    ("cohere", "billed_units.output_tokens", lambda v: {"billed_units": {"output_tokens": v}}),
    ("cohere", "tokens.input_tokens", lambda v: {"tokens": {"input_tokens": v}}),
]
NOT_FIGURES = [
    pytest.param(-1, "-1", id="negative"),
    pytest.param(QUANTITY_MAX + 1, "1000000000001", id="above the limit"),
    pytest.param(10**5000, "0x", id="5,001 digits"),
    pytest.param(1.0, "1.0", id="float"),
    pytest.param(float("nan"), "nan", id="NaN"),
    pytest.param(True, "True", id="bool"),
    pytest.param("12", "'12'", id="text"),
    pytest.param("\x00\ud800", "'\\x00\\ud800'", id="NUL and a lone surrogate"),
    pytest.param([1], "a list", id="list"),
    pytest.param({"a": 1}, "a dict", id="object"),
]


@pytest.mark.parametrize(("usage_format", "path", "usage_with"), FIGURES, ids=[path for _, path, _ in FIGURES])
@pytest.mark.parametrize(("value", "shown"), NOT_FIGURES)
def test_it_refuses_what_is_not_a_whole_number_in_range(usage_format, path, usage_with, value, shown):
    with pytest.raises(UsageError) as caught:
        normalize_usage(usage_with(value), usage_format)
    assert (caught.value.code, caught.value.param) == ("usage_invalid", f"provider_usage.{path}")
    assert caught.value.detail.startswith(f"provider_usage.{path} is {shown}")
    assert len(caught.value.detail) < 300


@pytest.mark.parametrize(
    ("usage_format", "usage", "path"),
    [
        ("openai_chat", {"prompt_tokens": 1, "prompt_tokens_details": 5}, "prompt_tokens_details"),
        ("openai_chat", {"prompt_tokens": 1, "completion_tokens_details": []}, "completion_tokens_details"),
        ("openai_responses", {"input_tokens": 1, "output_tokens_details": "x"}, "output_tokens_details"),
        ("anthropic", {"input_tokens": 1, "cache_creation": True}, "cache_creation"),
        ("anthropic", {"input_tokens": 1, "iterations": {}}, "iterations"),
        ("anthropic", {"input_tokens": 1, "iterations": [None]}, "iterations.0"),
        ("gemini", {"promptTokenCount": 1, "promptTokensDetails": {"TEXT": 1}}, "promptTokensDetails"),
        ("gemini", {"promptTokenCount": 1, "cacheTokensDetails": [1]}, "cacheTokensDetails.0"),
        ("bedrock", {"inputTokens": 1, "cacheDetails": "1h"}, "cacheDetails"),
        ("cohere", {"billed_units": 4}, "billed_units"),
    ],
)
def test_it_refuses_a_detail_of_another_kind(usage_format, usage, path):
    with pytest.raises(UsageError) as caught:
        normalize_usage(usage, usage_format)
    assert (caught.value.code, caught.value.param) == ("usage_invalid", f"provider_usage.{path}")


@pytest.mark.parametrize(
    ("usage_format", "usage", "meter"),
    [
        ("gemini", {"promptTokenCount": QUANTITY_MAX, "toolUsePromptTokenCount": 1}, "input_tokens"),
        ("mistral", {"prompt_tokens": 1, "prompt_audio_seconds": QUANTITY_MAX}, "audio_milliseconds"),
    ],
)
def test_it_refuses_a_sum_above_the_limit_of_a_meter(usage_format, usage, meter):
    with pytest.raises(UsageError) as caught:
        normalize_usage(usage, usage_format)
    assert (caught.value.code, caught.value.param) == ("usage_invalid", "provider_usage")
    assert meter in caught.value.detail


def test_it_takes_figures_at_the_limit():
    usage = {"prompt_tokens": QUANTITY_MAX, "completion_tokens": QUANTITY_MAX}
    quantities = normalize_usage(usage, "openai_chat")
    assert named(quantities) == {"input_tokens": QUANTITY_MAX, "output_tokens": QUANTITY_MAX}
