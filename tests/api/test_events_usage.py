"""A provider's own usage object, sent as it came, ends in the right meters and in the exact cost."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import time_machine

from tests.world import Api, make_event

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)

OPENAI_CHAT = {
    "prompt_tokens": 2006, "completion_tokens": 300, "total_tokens": 2306,
    "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 192, "accepted_prediction_tokens": 20},
}  # fmt: skip
OPENAI_RESPONSES = {
    "input_tokens": 6000, "input_tokens_details": {"cached_tokens": 1024}, "output_tokens": 900,
    "output_tokens_details": {"reasoning_tokens": 832}, "total_tokens": 6900,
}  # fmt: skip
ANTHROPIC = {
    "input_tokens": 21, "cache_creation_input_tokens": 548, "cache_read_input_tokens": 18808,
    "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 448},
    "output_tokens": 503, "server_tool_use": {"web_search_requests": 2}, "service_tier": "standard",
}  # fmt: skip
ANTHROPIC_LONG = {"input_tokens": 190_000, "cache_read_input_tokens": 10_001, "output_tokens": 1000}
GEMINI = {
    "promptTokenCount": 5000, "cachedContentTokenCount": 4000, "candidatesTokenCount": 200, "thoughtsTokenCount": 900,
    "totalTokenCount": 6100,
}  # fmt: skip
BEDROCK = {"inputTokens": 12, "outputTokens": 34, "totalTokens": 646, "cacheReadInputTokens": 600}
MISTRAL = {"prompt_tokens": 400, "completion_tokens": 635, "total_tokens": 1035}
COHERE = {
    "billed_units": {"input_tokens": 5, "output_tokens": 418},
    "tokens": {"input_tokens": 71, "output_tokens": 418},
}
DEEPSEEK = {
    "prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1050, "prompt_cache_hit_tokens": 960,
    "prompt_cache_miss_tokens": 40,
}  # fmt: skip
XAI = {
    "prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 310,
    "completion_tokens_details": {"reasoning_tokens": 200},
}  # fmt: skip
PERPLEXITY = {"prompt_tokens": 14, "completion_tokens": 294, "total_tokens": 308}

# Format, provider, model, object, meters, and the sum written out by hand: tokens at USD per million.
CASES: list[tuple[str | None, str, str, dict[str, Any], dict[str, int], str]] = [
    (
        "openai_chat", "openai", "gpt-5", OPENAI_CHAT,
        {"input_tokens": 86, "cache_read_tokens": 1920, "output_tokens": 108, "reasoning_tokens": 192},
        "0.003347500000",  # 86 at 1.25, 1920 at 0.125, 300 at 10
    ),
    (
        "openai_responses", "openai", "gpt-5", OPENAI_RESPONSES,
        {"input_tokens": 4976, "cache_read_tokens": 1024, "output_tokens": 68, "reasoning_tokens": 832},
        "0.015348000000",  # 4976 at 1.25, 1024 at 0.125, 900 at 10
    ),
    (
        "anthropic", "anthropic", "claude-sonnet-4-5", ANTHROPIC,
        {"input_tokens": 21, "cache_read_tokens": 18808, "cache_write_5m_tokens": 100, "cache_write_1h_tokens": 448,
         "output_tokens": 503, "searches": 2},
        "0.036313400000",  # 21 at 3, 18808 at 0.3, 100 at 3.75, 448 at 6, 503 at 15, 2 searches at 10 a thousand
    ),
    (
        "anthropic", "anthropic", "claude-sonnet-4-5", ANTHROPIC_LONG,
        {"input_tokens": 190_000, "cache_read_tokens": 10_001, "output_tokens": 1000},
        "1.168500600000",  # beyond 200,000 tokens of prompt: 190000 at 6, 10001 at 0.6, 1000 at 22.5
    ),
    (
        "gemini", "google", "gemini-2.5-flash", GEMINI,
        {"input_tokens": 1000, "cache_read_tokens": 4000, "output_tokens": 200, "reasoning_tokens": 900},
        "0.003170000000",  # 1000 at 0.3, 4000 at 0.03, 1100 at 2.5
    ),
    (
        "bedrock", "aws", "amazon.nova-lite-v1:0", BEDROCK,
        {"input_tokens": 12, "cache_read_tokens": 600, "output_tokens": 34},
        "0.000017880000",  # 12 at 0.06, 600 at 0.015, 34 at 0.24
    ),
    (
        "mistral", "mistral", "mistral-large-latest", MISTRAL, {"input_tokens": 400, "output_tokens": 635},
        "0.004610000000",  # 400 at 2, 635 at 6
    ),
    (
        "cohere", "cohere", "command-r-plus", COHERE, {"input_tokens": 5, "output_tokens": 418},
        "0.004192500000",  # 5 at 2.5, 418 at 10
    ),
    (
        "openai_compatible", "deepseek", "deepseek-chat", DEEPSEEK,
        {"input_tokens": 40, "cache_read_tokens": 960, "output_tokens": 50},
        "0.000133000000",  # 40 at 0.27, 960 at 0.07, 50 at 1.1
    ),
    (
        "openai_compatible", "x-ai", "grok-4-0709", XAI,
        {"input_tokens": 100, "output_tokens": 10, "reasoning_tokens": 200},
        "0.003450000000",  # 100 at 3, 210 at 15
    ),
    (
        "openai_compatible", "perplexity", "sonar", PERPLEXITY,
        {"input_tokens": 14, "output_tokens": 294, "requests": 1},
        "0.012308000000",  # 308 at 1, one request at 12 a thousand
    ),
]  # fmt: skip
IDS = [f"{model}-{usage_format}" for usage_format, _, model, *_ in CASES]


def found_after(api: Api, **fields: Any) -> dict[str, Any]:
    """The event as it is found again."""
    with time_machine.travel(NOW, tick=False):
        event = make_event(**fields)
        answer = api.send(event)
        assert answer["accepted"] == 1, answer
        found: dict[str, Any] = api.get("events", event_id=event["event_id"]).json()["data"][0]
    return found


@pytest.mark.parametrize("told", [True, False], ids=["format_told", "format_found"])
@pytest.mark.parametrize(("usage_format", "provider", "model", "usage", "meters", "cost"), CASES, ids=IDS)
def test_a_providers_object_becomes_meters_and_money(
    api: Api, usage_format: str, provider: str, model: str, usage: Any, meters: Any, cost: str, told: bool
) -> None:
    found = found_after(
        api, provider=provider, model=model, usage=None, provider_usage=usage,
        usage_format=usage_format if told else None,
    )  # fmt: skip
    assert found["meters"] == meters
    assert found["cost_usd"] == cost
    total = api.get("spend", **{"from": "2026-05-20T00:00:00Z", "to": "2026-05-21T00:00:00Z"}).json()["total"]
    assert total["cost_usd"] == cost
    assert {meter: total[meter] for meter in meters} == meters


@pytest.mark.parametrize(("usage_format", "provider", "model", "usage", "meters", "cost"), CASES, ids=IDS)
def test_the_price_of_an_event_explains_its_cost(
    api: Api, usage_format: str, provider: str, model: str, usage: Any, meters: Any, cost: str
) -> None:
    found = found_after(api, provider=provider, model=model, usage=None, provider_usage=usage)
    price = found["price"]
    assert (price["provider"], price["service_tier"], price["tier_assumed"]) == (provider, "standard", False)
    assert price["source"]
    assert price["source_version"]
    assert price["effective_from"] <= found["occurred_at"]
    lines = price["lines"]
    assert {line["meter"]: line["quantity"] for line in lines} == meters
    for line in lines:
        assert Decimal(line["cost_usd"]) == Decimal(line["usd_per_million"]) * line["quantity"] / 10**6
    assert sum(Decimal(line["cost_usd"]) for line in lines) == Decimal(cost)


@pytest.mark.parametrize("provider", ["x-ai", "xai", "X_AI"])
def test_another_name_of_a_provider_changes_nothing(api: Api, provider: str) -> None:
    """Without a grand total only the provider tells that reasoning stands beside the completion."""
    usage = {name: figure for name, figure in XAI.items() if name != "total_tokens"}
    found = found_after(api, provider=provider, model="grok-4-0709", usage=None, provider_usage=usage)
    assert found["meters"] == {"input_tokens": 100, "output_tokens": 10, "reasoning_tokens": 200}
    assert found["cost_usd"] == "0.003450000000"  # 100 at 3, 210 at 15
    assert found["provider"] == provider
    span = {"from": "2026-05-20T00:00:00Z", "to": "2026-05-21T00:00:00Z"}
    assert [row["provider"] for row in api.get("spend", group_by="provider", **span).json()["rows"]] == ["x-ai"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"provider_usage": OPENAI_CHAT}, "usage_ambiguous"),
        ({"usage": None}, "usage_missing"),
        ({"usage": None, "provider_usage": {}}, "usage_unrecognized"),
        ({"usage": None, "provider_usage": {"prompt_tokens": 5, "completion_tokens": -1}}, "usage_invalid"),
        (
            {"usage": None, "provider_usage": {**OPENAI_CHAT, "prompt_tokens_details": {"cached_tokens": 9999}}},
            "usage_inconsistent",
        ),
        ({"usage": {"input_tokens": 1, "tokens": 2}}, "unknown_meter"),
    ],
)
def test_an_event_has_exactly_one_usage_that_makes_sense(api: Api, fields: dict[str, Any], code: str) -> None:
    answer = api.send(make_event(event_id="bad", **fields), make_event())
    assert (answer["accepted"], answer["rejected"]) == (1, 1)
    assert answer["results"][0]["code"] == code
    assert answer["results"][0]["param"]


def test_the_declared_cost_is_kept_beside_ours_and_not_counted(api: Api) -> None:
    found = found_after(api, cost_usd="123.45")
    assert found["declared_cost_usd"] == "123.450000000000"
    assert found["cost_usd"] == "0.004500000000"  # 1000 at 3, 100 at 15


def test_a_tier_without_a_price_of_its_own_says_so(api: Api) -> None:
    found = found_after(api, service_tier="batch")
    assert found["service_tier"] == "batch"
    assert (found["price"]["service_tier"], found["price"]["tier_assumed"]) == ("standard", True)


def test_a_meter_without_a_rate_leaves_the_event_unpriced(api: Api) -> None:
    found = found_after(api, usage={"input_tokens": 1000, "images": 2})
    assert (found["unpriced"], found["cost_usd"]) == (True, None)
    lines = {line["meter"]: line["cost_usd"] for line in found["price"]["lines"]}
    assert lines == {"input_tokens": "0.003000000000", "images": None}


def test_a_call_of_nothing_costs_nothing_and_is_priced(api: Api) -> None:
    found = found_after(api, usage={})
    assert (found["unpriced"], found["cost_usd"], found["meters"]) == (False, "0.000000000000", {})
