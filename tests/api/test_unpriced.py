"""What has no price, and what clients declare: listed with quantities, reasons and differences."""

from decimal import Decimal

import pytest

from tests.api.tenants import make_api, make_org
from tests.world import make_event


@pytest.fixture
def org():
    return make_org()


@pytest.fixture
def api(org):
    return make_api(org)


def listed(api, **query):
    response = api.get("unpriced", **query)
    assert response.status_code == 200, response.content
    return response.json()["data"]


def test_unpriced_usage_by_model_with_quantities_and_reasons(api):
    api.send(
        *(make_event(model="claude-sonet-4-5") for _ in range(3)),
        make_event(provider="in-house", model="llama"),
        make_event(),
    )
    mistyped, in_house = listed(api)
    assert (mistyped["model"], mistyped["events"]) == ("claude-sonet-4-5", 3)
    assert mistyped["meters"] == {"input_tokens": 3000, "output_tokens": 300}
    assert mistyped["reason"]["code"] == "model_unknown"
    assert "claude-sonnet-4-5" in mistyped["reason"]["suggestions"]
    assert mistyped["first_day"] == mistyped["last_day"] is not None
    assert in_house["reason"]["code"] == "provider_unknown"


def test_a_mapped_name_prices_what_comes_next_and_says_how_to_price_what_came(api):
    api.send(make_event(model="claude-sonet-4-5"))
    mapped = api.post("model-aliases", {
        "provider": "anthropic", "name": "Claude-Sonet-4-5",
        "to_provider": "anthropic", "to_model": "claude-sonnet-4-5",
    })  # fmt: skip
    assert mapped.status_code == 201
    assert api.send(make_event(model="claude-sonet-4-5"))["unpriced"] == 0
    (waiting,) = listed(api)
    assert (waiting["events"], waiting["reason"]["code"]) == (1, "priced_now")


def test_nothing_unpriced_is_an_empty_list(api):
    api.send(make_event())
    assert listed(api) == []


def test_a_pinned_key_sees_its_own(org, api):
    api.send(make_event(model="x-1", team="red"), make_event(model="x-2", team="blue"))
    assert [row["model"] for row in listed(make_api(org, "read", environment="prod"))] == []


def test_declared_costs_beside_ours(api):
    api.send(
        make_event(cost_usd="0.0045"),
        make_event(cost_usd="0.9", event_id="e-much"),
        make_event(model="unknown-x", cost_usd="5"),
        make_event(),
    )
    found = api.get("cost-differences").json()
    priced = next(row for row in found["models"] if row["model"] == "claude-sonnet-4-5")
    assert (priced["events"], priced["differing_events"], priced["unpriced_events"]) == (2, 1, 0)
    assert Decimal(priced["difference_usd"]) == Decimal("0.9") - Decimal("0.0045")
    unknown = next(row for row in found["models"] if row["model"] == "unknown-x")
    assert (unknown["unpriced_events"], Decimal(unknown["declared_usd"])) == (1, Decimal(0))
    (event,) = found["events"]
    assert (event["event_id"], event["declared_usd"]) == ("e-much", "0.900000000000")
    assert api.get("cost-differences", over_usd="1").json()["events"] == []


@pytest.mark.parametrize("value", ["-1", "x", "NaN", "1e30", "0." + "1" * 15])
def test_a_threshold_that_is_none_is_named(api, value):
    response = api.get("cost-differences", over_usd=value)
    assert (response.status_code, response.json()["code"]) == (400, "over_usd_invalid")


def test_a_quote_is_what_an_event_will_cost(api):
    usage = {"input_tokens": 1000, "output_tokens": 100}
    quoted = api.post("prices/quote", {"provider": "anthropic", "model": "claude-sonnet-4-5", "usage": usage}).json()
    assert quoted["cost_usd"] == "0.004500000000"
    assert [line["rule"] for line in quoted["lines"]] == ["published", "published"]
    unknown = api.post("prices/quote", {"provider": "anthropic", "model": "nope", "usage": usage}).json()
    assert (unknown["cost_usd"], unknown["unpriced"]["code"]) == (None, "model_unknown")
    wrong = api.post("prices/quote", {"provider": "anthropic", "model": "x", "usage": {"tokens": 1}})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "unknown_meter")


class TestTheCatalog:
    def test_a_search_finds_by_words_and_pages(self, api):
        first = api.get("prices", search="claude sonnet", provider="anthropic", limit=2).json()
        assert len(first["data"]) == 2
        assert all("sonnet" in row["model"] and row["prices"] for row in first["data"])
        second = api.get("prices", search="claude sonnet", provider="anthropic", limit=2, cursor=first["next"]).json()
        assert second["data"][0]["model"] > first["data"][-1]["model"]
        assert api.get("prices", search="no such model at all").json() == {"data": [], "next": None}

    def test_a_price_is_that_of_its_instant(self, api):
        def rate(at):
            rows = api.get("prices", search="o3", provider="openai", at=at).json()["data"]
            (model,) = (row for row in rows if row["model"] == "o3")
            return next(p["rates"]["input_tokens"] for p in model["prices"] if p["service_tier"] == "standard")

        assert (rate("2025-06-01T00:00:00Z"), rate("2025-07-01T00:00:00Z")) == ("10.000000", "2.000000")

    def test_the_history_of_a_model(self, api):
        found = api.get("prices/openai/O3").json()
        assert found["model"] == "o3"
        starts = [row["effective_from"] for row in found["prices"] if row["service_tier"] == "standard"]
        assert starts == sorted(starts, reverse=True)
        assert len(starts) >= 2
        assert api.get("prices/openai/nope").status_code == 404

    def test_a_price_on_which_sources_differ_says_so(self, api):
        rows = api.get("prices", search="deepseek-v3.2", provider="deepseek").json()["data"]
        flagged = next(row for row in rows if row["model"] == "deepseek-v3.2")
        assert {flag["other_source"] for flag in flagged["under_review"]} == {"litellm"}

    @pytest.mark.parametrize(("query", "code"), [({"at": "now"}, "at_invalid"), ({"limit": "0"}, "limit_invalid"),
        ({"cursor": "x"}, "cursor_invalid"), ({"colour": "red"}, "parameter_unknown")])  # fmt: skip
    def test_bad_questions_are_named(self, api, query, code):
        response = api.get("prices", **query)
        assert (response.status_code, response.json()["code"]) == (400, code)
