"""Why an event costs what it costs, to the last decimal; and why one has no cost."""

from decimal import Decimal

import pytest

from apps.usage import repricing
from tests.api.tenants import make_api, make_org
from tests.database import as_worker
from tests.world import make_event, unique


@pytest.fixture
def org():
    return make_org()


@pytest.fixture
def api(org):
    return make_api(org)


def explained(api, event):
    response = api.get(f"events/{event['event_id']}/explain")
    assert response.status_code == 200, response.content
    return response.json()


def sent(api, **fields):
    event = make_event(**fields)
    assert api.send(event)["accepted"] == 1
    return event


def test_every_step_from_the_usage_object_to_the_last_decimal(api):
    usage = {
        "input_tokens": 2_048,
        "cache_read_input_tokens": 1_800,
        "cache_creation_input_tokens": 300,
        "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
        "output_tokens": 503,
        "service_tier": "standard",
    }
    event = sent(api, model="claude-sonnet-4-5-20250929", usage=None, provider_usage=usage, cost_usd="0.02")
    found = explained(api, event)
    assert found["sent"]["usage"] == {"format": "anthropic", "usage": usage}
    assert found["recognised_as"]["model"] == "claude-sonnet-4-5"
    assert found["meters"] == {
        "input_tokens": 2048,
        "cache_read_tokens": 1800,
        "cache_write_5m_tokens": 100,
        "cache_write_1h_tokens": 200,
        "output_tokens": 503,
    }
    now = found["now"]
    assert now == found["stored"]
    assert now["price"]["source"] == "genai-prices"
    assert now["price"]["catalog_version"] >= 1
    assert (now["contract"], now["tier_assumed"], now["adds_up"], now["rule_set"]) == (None, False, True, 2)
    assert {line["rule"] for line in now["lines"]} == {"published"}
    total = sum(Decimal(line["quantity"]) * Decimal(line["usd_per_million"]) / 10**6 for line in now["lines"])
    assert total == sum(Decimal(line["cost_usd"]) for line in now["lines"]) == Decimal(found["cost_usd"])
    assert Decimal(found["cost_usd"]) == Decimal("0.015804") + Decimal("0.0000")
    assert Decimal(found["declared_difference_usd"]) == Decimal("0.02") - Decimal(found["cost_usd"])


def test_a_rule_a_contract_and_a_percentage_are_named(api):
    assert api.post("contracts", {
        "kind": "discount", "name": "enterprise", "provider": "azure", "percent": "12.5",
        "starts_at": "2026-01-01T00:00:00Z",
    }).status_code == 201  # fmt: skip
    found = explained(api, sent(api, provider="azure", model="gpt-4o", service_tier="batch"))
    now = found["now"]
    assert now["tier_assumed"]
    assert now["percentages"] == ["batch-half: 50 %", "discount: 87.5 %"]
    assert (now["contract"]["kind"], now["contract"]["percent"]) == ("discount", "12.5")
    # 2.50 and 10 USD a million, halved, less an eighth.
    assert [line["usd_per_million"] for line in now["lines"]] == ["1.093750000000", "4.375000000000"]
    assert now["adds_up"]


def test_a_re_rating_is_a_posting_with_its_own_working(org, api):
    event = sent(api)
    before = explained(api, event)
    api.post("contracts", {
        "kind": "price", "name": "ours", "provider": "anthropic", "model": "claude-sonnet-4-5",
        "rates": {"input_tokens": "1"}, "starts_at": "2026-01-01T00:00:00Z",
    })  # fmt: skip
    rerating = api.post("reratings", {
        "reason": "signed late", "from": "2026-01-01T00:00:00Z", "to": "2030-01-01T00:00:00Z",
    }).json()  # fmt: skip
    with as_worker():
        repricing.work(org)
    api.post(f"reratings/{rerating['id']}/post", {})
    with as_worker():
        repricing.work(org)
    found = explained(api, event)
    assert found["stored"] == before["stored"]
    assert [(p["reason"], p["cost_usd"]) for p in found["postings"]] == [("signed late", "-0.002000000000")]
    assert found["cost_usd"] == found["now"]["cost_usd"] == "0.002500000000"
    assert [line["rule"] for line in found["now"]["lines"]] == ["contract", "published"]
    assert found["now"]["adds_up"]
    listed = api.get("events", event_id=event["event_id"]).json()["data"][0]
    assert (listed["cost_usd"], listed["price"]["contract_id"]) == ("0.002500000000", found["now"]["contract"]["id"])


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({"provider": "acme-llm", "model": "x"}, "provider_unknown", "acme-llm"),
        ({"model": "claude-sonet-4-5"}, "model_unknown", "claude-sonet-4-5"),
        ({"usage": {"images": 2}}, "rate_unknown", "images"),
        ({"usage": {"requests": 3}}, "only_requests", "requests"),
    ],
)
def test_an_unpriced_event_says_why(api, fields, code, said):
    found = explained(api, sent(api, **fields))
    assert (found["cost_usd"], found["unpriced"]["code"]) == (None, code)
    assert said in found["unpriced"]["detail"]
    assert found["now"]["adds_up"]


def test_a_mistyped_name_is_answered_with_those_that_look_alike(api):
    found = explained(api, sent(api, model="claude-sonet-4-5"))
    assert "claude-sonnet-4-5" in found["unpriced"]["suggestions"]


def test_an_id_may_hold_slashes_and_even_the_word(api):
    event = sent(api, event_id=f"{unique('a')}/b/explain")
    assert explained(api, event)["event_id"] == event["event_id"]


def test_what_is_not_ones_own_does_not_exist(org, api):
    event = sent(api, team="red")
    path = f"events/{event['event_id']}/explain"
    assert make_api(make_org()).get(path).status_code == 404
    assert make_api(org, "read", team="blue").get(path).status_code == 404
    assert api.get(f"events/{unique('none')}/explain").status_code == 404
    assert api.get("events/a%00b/explain").status_code == 404


def test_no_text_of_a_prompt_is_kept(api):
    usage = {"prompt_tokens": 5, "completion_tokens": 1, "prompt": "my secret", "details": {"text": "secret", "n": 3}}
    event = sent(api, provider="openai", model="gpt-4o", usage=None, provider_usage=usage)
    kept = explained(api, event)["sent"]["usage"]["usage"]
    assert kept == {"prompt_tokens": 5, "completion_tokens": 1, "details": {"n": 3}}
