"""Contracts and model aliases through the API: what is refused and how, and which term prices a call."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from apps.audit.models import AuditEntry
from apps.core.tenancy import tenant
from apps.pricing.models import Contract
from tests.api.tenants import make_api, make_org
from tests.world import make_event

NOW = datetime.now(UTC).replace(microsecond=0)
START = NOW - timedelta(days=2)
END = NOW - timedelta(days=1)
PRICE = {"kind": "price", "name": "deal", "provider": "anthropic", "model": "claude-sonnet-4-5"}
LIST_USD = Decimal("0.0045")


@pytest.fixture(scope="module")
def org():
    return make_org()


@pytest.fixture(scope="module")
def api(org):
    return make_api(org)


@pytest.fixture
def fresh():
    return make_api(make_org())


def made(api, **fields):
    response = api.post("contracts", {"name": "deal", "starts_at": START.isoformat(), **fields})
    assert response.status_code == 201, response.content
    return response.json()


def cost(api, **fields):
    """Of one call of 1,000 input and 100 output tokens."""
    event = make_event(**{"occurred_at": NOW.isoformat(), **fields})
    assert api.send(event)["accepted"] == 1
    found = api.get(f"events/{event['event_id']}/explain").json()["now"]["cost_usd"]
    return None if found is None else Decimal(found)


@pytest.mark.parametrize(
    ("body", "code", "param", "said"),
    [
        ({"kind": "gift"}, None, "kind", "gift"),
        ({"kind": "price", "provider": "openai", "model": "gpt-4o"}, "contract_field_missing", "rates", "rates"),
        ({"kind": "discount"}, "contract_field_missing", "percent", "percent"),
        ({"kind": "seats"}, "contract_field_missing", "amount_usd", "amount_usd"),
        ({"kind": "grant", "amount_usd": "1", "team": "x"}, "contract_field_unused", "team", "team"),
        ({"kind": "seats", "amount_usd": "1", "percent": "5"}, "contract_field_unused", "percent", "percent"),
        ({**PRICE, "rates": {"tokens": "1"}}, "rates_invalid", "rates", "'tokens'"),
        ({**PRICE, "rates": {"input_tokens": "-1"}}, "rates_invalid", "rates.input_tokens", "'-1'"),
        ({**PRICE, "rates": {"input_tokens": "NaN"}}, "rates_invalid", "rates.input_tokens", "'NaN'"),
        ({**PRICE, "rates": {"input_tokens": "1e30"}}, "rates_invalid", "rates.input_tokens", "'1e30'"),
        ({**PRICE, "rates": {"input_tokens": "1,5"}}, "rates_invalid", "rates.input_tokens", "'1,5'"),
        ({**PRICE, "rates": {"input_tokens": "1"}, "tiers": [{"over_prompt_tokens": 0, "rates": {"requests": "1"}}]},
         "rates_invalid", "tiers.0", "over_prompt_tokens"),
        ({**PRICE, "rates": {"input_tokens": "1"}, "service_tier": "turbo"}, "service_tier_unknown", "service_tier",
         "'turbo'"),
        ({"kind": "discount", "percent": "0"}, "percent_invalid", "percent", "'0'"),
        ({"kind": "discount", "percent": "100.1"}, "percent_invalid", "percent", "'100.1'"),
        ({"kind": "discount", "percent": "1e-9"}, "percent_invalid", "percent", "'1e-9'"),
        ({"kind": "credit", "amount_usd": "-5"}, "amount_invalid", "amount_usd", "'-5'"),
        ({"kind": "credit", "amount_usd": "1000000000000.01"}, "amount_invalid", "amount_usd", "1000000000000"),
        ({"kind": "grant", "amount_usd": "1", "model": "gpt-*-mini"}, "name_invalid", "model", "gpt-*-mini"),
        ({"kind": "credit", "amount_usd": "Infinity"}, "amount_invalid", "amount_usd", "'Infinity'"),
        ({"kind": "credit", "amount_usd": "0.0000000000001"}, "amount_invalid", "amount_usd", "0.0000000000001"),
        ({"kind": "seats", "amount_usd": "1", "quantity": 0}, "quantity_invalid", "quantity", "0"),
        ({"kind": "seats", "amount_usd": "1", "quantity": 10**12}, "quantity_invalid", "quantity", str(10**12)),
        ({"kind": "seats", "amount_usd": "1", "team": "ghosts"}, "team_unknown", "team", "'ghosts'"),
        ({"kind": "seats", "amount_usd": "1", "name": " "}, None, "name", ""),
        ({"kind": "seats", "amount_usd": "1", "starts_at": "yesterday"}, None, "starts_at", ""),
        ({"kind": "seats", "amount_usd": "1", "starts_at": "2026-11-02T00:00:00Z", "ends_at": "2026-11-02T00:00:00Z"},
         "range_invalid", "ends_at", "2026-11-02"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_named_and_changes_nothing(org, api, body, code, param, said):
    response = api.post("contracts", {"name": "deal", **body})
    assert response.status_code == 400, response.content
    error = response.json()
    assert error["code"] == (code or error["code"])
    assert error["param"] == param
    assert said in error["detail"]
    with tenant(org):
        assert not Contract.objects.for_org(org).exists()


@pytest.mark.parametrize("instant", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-02T00:00:00+14:00"])
@pytest.mark.parametrize("field", ["starts_at", "ends_at"])
def test_an_instant_at_the_edge_of_time_is_refused(fresh, field, instant):
    body = {"kind": "credit", "name": "deal", "amount_usd": "1", "starts_at": START.isoformat(), field: instant}
    response = fresh.post("contracts", body)
    assert (response.status_code, response.json()["param"]) == (400, field)
    one = made(fresh, kind="credit", amount_usd="1")
    ended = fresh.post(f"contracts/{one['id']}/end", {"ends_at": instant})
    assert (ended.status_code, ended.json()["code"]) == (400, "range_invalid")
    assert fresh.get("statements", month=f"{NOW:%Y-%m}").status_code == 200


def test_a_term_is_listed_ended_once_and_never_revived(fresh):
    one = made(fresh, kind="discount", percent="12.50")
    assert one["percent"] == "12.5"
    assert [row["id"] for row in fresh.get("contracts").json()["data"]] == [one["id"]]
    path = f"contracts/{one['id']}/end"
    before = fresh.post(path, {"ends_at": (START - timedelta(days=1)).isoformat()})
    assert (before.status_code, before.json()["code"]) == (400, "range_invalid")
    assert fresh.post(path, {"ends_at": END.isoformat()}).status_code == 200
    again = fresh.post(path, {"ends_at": NOW.isoformat()})
    assert (again.status_code, again.json()["code"]) == (409, "contract_ended")
    shown = fresh.get(f"contracts/{one['id']}").json()
    assert datetime.fromisoformat(shown["ends_at"]) == END


def test_contracts_are_found_by_kind_and_by_being_in_force(fresh):
    made(fresh, kind="seats", amount_usd="1", name="over", ends_at=END.isoformat())
    made(fresh, kind="seats", amount_usd="1", name="now")
    made(fresh, kind="seats", amount_usd="1", name="to come", starts_at="2199-01-01T00:00:00Z")
    made(fresh, kind="credit", amount_usd="1", name="credit")

    def found(**asked):
        return [row["name"] for row in fresh.get("contracts", **asked).json()["data"]]

    assert found() == ["to come", "credit", "now", "over"]
    assert found(kind="seats") == ["to come", "now", "over"]
    assert found(active="true") == ["credit", "now"]
    assert found(active="false", kind="seats") == ["to come", "over"]
    for asked, code in [({"kind": "gift"}, "contract_kind_unknown"), ({"active": "yes"}, "active_invalid")]:
        response = fresh.get("contracts", **asked)
        assert (response.status_code, response.json()["code"]) == (400, code)
        assert next(iter(asked.values())) in response.json()["detail"]
    assert fresh.get("contracts", kinds="seats").json()["code"] == "parameter_unknown"


def test_a_term_holds_from_its_start_up_to_its_end(fresh):
    made(fresh, **PRICE, rates={"input_tokens": "1", "output_tokens": "1"}, ends_at=END.isoformat())
    second, own = timedelta(seconds=1), Decimal("0.0011")
    instants = [START - second, START, END - second, END]
    assert [cost(fresh, occurred_at=at.isoformat()) for at in instants] == [LIST_USD, own, own, LIST_USD]


def test_the_first_kind_that_covers_a_call_is_the_only_one(fresh):
    made(fresh, kind="discount", percent="50")
    assert cost(fresh) == LIST_USD / 2
    made(fresh, **PRICE, rates={"input_tokens": "1", "output_tokens": "2"})
    assert cost(fresh) == Decimal("0.0012")
    made(fresh, kind="throughput", provider="anthropic", model="claude-sonnet-4-5", amount_usd="3")
    assert cost(fresh) == 0


def test_the_most_specific_of_a_kind_stands(fresh):
    expected = []
    for percent, fields in [
        (10, {}),
        (20, {"provider": "anthropic"}),
        (30, {"provider": "anthropic", "service_tier": "standard"}),
        (40, {"provider": "anthropic", "model": "claude-*"}),
        (50, {"provider": "anthropic", "model": "claude-sonnet-4-5"}),
    ]:
        made(fresh, kind="discount", percent=str(percent), **fields)
        expected.append((cost(fresh), LIST_USD * (100 - percent) / 100))
    later = (START + timedelta(hours=1)).isoformat()
    made(fresh, kind="discount", percent="60", provider="anthropic", model="claude-sonnet-4-5", starts_at=later)
    expected.append((cost(fresh), LIST_USD * 40 / 100))
    made(fresh, kind="discount", percent="99", model="gpt-*")
    expected.append((cost(fresh), LIST_USD * 40 / 100))
    assert [found for found, _ in expected] == [due for _, due in expected]


def test_a_price_keeps_the_catalogs_rates_that_it_does_not_name(fresh):
    made(fresh, **PRICE, rates={"input_tokens": "1.5"})
    usage = {"input_tokens": 1000, "cache_read_tokens": 1000, "output_tokens": 100}
    assert cost(fresh, usage=usage) == Decimal("0.0033")


def test_an_alias_needs_a_priced_model_and_prices_what_comes(fresh):
    alias = {"provider": "azure", "name": "prod-chat", "to_provider": "anthropic", "to_model": "claude-sonnet-4-5"}
    wrong = fresh.post("model-aliases", {**alias, "to_model": "claude-sonnet-99"})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "model_unknown")
    assert "claude-sonnet-99" in wrong.json()["detail"]
    assert cost(fresh, provider="azure", model="prod-chat") is None
    row = fresh.post("model-aliases", alias).json()
    assert cost(fresh, provider="azure", model="Prod-Chat") == LIST_USD
    assert fresh.client.delete(f"/api/v1/model-aliases/{row['id']}", headers=fresh.headers).status_code == 204
    assert cost(fresh, provider="azure", model="prod-chat") is None


def test_a_contracts_model_may_be_an_aliass_goal(fresh):
    made(fresh, kind="price", provider="home", model="llama-farm", rates={"input_tokens": "0", "output_tokens": "0"})
    alias = {"provider": "vllm", "name": "big", "to_provider": "home", "to_model": "llama-farm"}
    assert fresh.post("model-aliases", alias).status_code == 201
    assert cost(fresh, provider="vllm", model="big") == 0


def test_what_was_agreed_is_in_the_audit_log():
    org = make_org()
    api = make_api(org)
    one = made(api, kind="discount", percent="12.5")
    api.post(f"contracts/{one['id']}/end", {"ends_at": END.isoformat()})
    alias = {"provider": "azure", "name": "x", "to_provider": "openai", "to_model": "gpt-4o"}
    api.post("model-aliases", alias)
    with tenant(org):
        entries = AuditEntry.objects.for_org(org).order_by("pk")
        found = [(entry.action, entry.data) for entry in entries if entry.action.startswith(("contracts", "model"))]
    assert [action for action, _ in found] == ["contracts.created", "contracts.ended", "model_aliases.set"]
    assert found[0][1]["percent"] == "12.5"
    assert found[2][1] == {"before": None, "after": "openai/gpt-4o"}


def test_a_key_that_is_pinned_sees_no_contracts(org):
    pinned = make_api(org, "read", "manage", environment="prod")
    for response in (pinned.get("contracts"), pinned.post("contracts", {"kind": "discount", "percent": "1"})):
        assert response.status_code == 403, response.content
