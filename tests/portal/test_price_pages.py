"""What people do about prices on the pages: contracts, unpriced models, pricing again, and the operator's reviews."""

import io
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from apps.core.tenancy import tenant
from apps.organizations.permissions import Role
from apps.organizations.services import add_member
from apps.pricing.models import Contract
from apps.pricing.reviews import open_flags
from tests.portal.conftest import client_of, make_person, make_shop
from tests.usage.reratings import work
from tests.world import make_event

TODAY = datetime.now(UTC).date()
FIRST = (TODAY - timedelta(days=3)).isoformat()


@pytest.fixture
def shop():
    return make_shop()


@pytest.fixture
def finance(shop):
    person = make_person("finn")
    add_member(org=shop.org, user=person, role=Role.FINANCE, actor=None)
    return client_of(person)


def text(response):
    return response.content.decode()


def send(shop, **fields):
    event = make_event(occurred_at=(datetime.now(UTC) - timedelta(hours=1)).isoformat(), **fields)
    assert shop.api.send(event)["accepted"] == 1
    return event


def cost(shop, event):
    return shop.api.get(f"events/{event['event_id']}/explain").json()["now"]["cost_usd"]


DISCOUNT = {"kind": "discount", "name": "Enterprise", "provider": "anthropic", "percent": "50", "starts": FIRST}


def test_a_discount_is_added_previewed_posted_and_ended(shop, finance):
    event = send(shop)
    made = finance.post(shop.url("contracts/new"), DISCOUNT)
    assert made.status_code == 302
    assert made["Location"].startswith(shop.url("reratings/new?"))
    assert "Enterprise" in text(finance.get(shop.url("contracts")))
    form = finance.get(made["Location"])
    assert "Discount: Enterprise" in text(form)
    started = finance.post(shop.url("reratings/new"), {"reason": "Signed late", "from": FIRST, "to": str(TODAY)})
    assert started.status_code == 302
    work(shop.org)
    preview = text(finance.get(started["Location"]))
    assert "Previewed" in preview
    assert cost(shop, event) == "0.004500000000"
    assert finance.post(started["Location"] + "/post").status_code == 302
    work(shop.org)
    assert "Signed late" in text(finance.get(started["Location"]))
    assert cost(shop, event) == "0.002250000000"
    page = text(finance.get(shop.url(f"events/{event['event_id']}")))
    assert "0.00225" in page
    assert "0.0045" in page
    with tenant(shop.org):
        contract = Contract.objects.for_org(shop.org).get()
    assert finance.post(shop.url(f"contracts/end/{contract.pk}"), {"ends": str(TODAY)}).status_code == 302
    again = finance.post(shop.url(f"contracts/end/{contract.pk}"), {"ends": str(TODAY)})
    assert again.status_code == 400
    assert "make a new one" in text(again)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"percent": "120"}, "percent is &#x27;120&#x27;"),
        ({"percent": ""}, "needs percent"),
        ({"kind": "gift"}, "no kind of contract &#x27;gift&#x27;"),
        ({"starts": "soon"}, "&#x27;soon&#x27; is no day"),
        ({"starts": "2026-02-30"}, "&#x27;2026-02-30&#x27; is no day"),
        ({"ends": FIRST}, "does not lie after"),
        ({"name": ""}, "name has 0 characters"),
    ],
)
def test_a_wrong_contract_is_said_kept_and_not_stored(shop, finance, wrong, said):
    response = finance.post(shop.url("contracts/new"), {**DISCOUNT, "note": "as typed", **wrong})
    assert response.status_code == 400
    assert said in text(response)
    assert "as typed" in text(response)
    with tenant(shop.org):
        assert not Contract.objects.for_org(shop.org).exists()


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31", "x", ""])
@pytest.mark.parametrize("field", ["from", "to"])
def test_no_day_breaks_a_re_rating(shop, finance, field, day):
    given = {"reason": "why", "from": FIRST, "to": str(TODAY), field: day}
    assert finance.post(shop.url("reratings/new"), given).status_code in (302, 400)


def test_who_may_not_change_prices_is_refused_and_sees_no_button(shop):
    bob = client_of(shop.bob)
    for path, given in (
        ("contracts/new", DISCOUNT),
        ("contracts", {"provider": "azure", "name": "x", "to_provider": "openai", "to_model": "gpt-4o"}),
        ("reratings/new", {"reason": "why", "from": FIRST, "to": str(TODAY)}),
    ):
        assert bob.post(shop.url(path), given).status_code == 403
    assert "contracts/new" not in text(bob.get(shop.url("contracts")))


def test_an_unpriced_model_is_mapped_and_its_events_priced_again(shop, finance):
    event = send(shop, provider="azure", model="prod-chat")
    assert "prod-chat" in text(finance.get(shop.url("unpriced")))
    alias = {"provider": "azure", "name": "prod-chat", "to_provider": "anthropic"}
    wrong = finance.post(shop.url("contracts"), {**alias, "to_model": "claude-99"})
    assert wrong.status_code == 400
    assert "anthropic/claude-99" in text(wrong)
    assert finance.post(shop.url("contracts"), {**alias, "to_model": "claude-sonnet-4-5"}).status_code == 302
    assert "Price them again" in text(finance.get(shop.url("unpriced")))
    given = {"reason": "Named", "from": FIRST, "to": str(TODAY), "priced": "false"}
    started = finance.post(shop.url("reratings/new"), given)
    work(shop.org)
    finance.post(started["Location"] + "/post")
    work(shop.org)
    assert cost(shop, event) == "0.004500000000"
    assert "prod-chat" not in text(finance.get(shop.url("unpriced")))


def test_the_catalog_is_searched_and_a_model_shows_its_history(shop):
    bob = client_of(shop.bob)
    assert "claude-sonnet-4-5" in text(bob.get(shop.url("prices"), {"q": "sonnet-4-5"}))
    nothing = bob.get(shop.url("prices"), {"q": "no-such-model-anywhere"})
    assert nothing.status_code == 200
    assert "no-such-model-anywhere" in text(nothing)
    o3 = text(bob.get(shop.url("prices/openai/o3")))
    assert "10 Jun 2025" in o3
    assert bob.get(shop.url("prices/openai/o99")).status_code == 404


def test_only_an_operator_reviews_prices():
    person = make_person("opal")
    client = client_of(person)
    assert client.get("/operator/prices").status_code in (403, 404)
    with pytest.raises(CommandError, match=r"nobody@nowhere\.example"):
        call_command("make_operator", "nobody@nowhere.example")
    call_command("make_operator", person.email, stdout=io.StringIO())
    flag = open_flags().first()
    assert flag is not None
    assert client.get("/operator/prices").status_code == 200
    override = {"flag": flag.pk, "verdict": "override", "note": "Invoice", "rate.input_tokens": "abc"}
    wrong = client.post("/operator/prices", override)
    assert wrong.status_code == 400
    assert "&#x27;abc&#x27;" in text(wrong)
    assert 'value="abc"' in text(wrong)
    assert client.post("/operator/prices", {"flag": flag.pk, "verdict": "maybe"}).status_code == 400
    assert client.post("/operator/prices", {"flag": "99999999", "verdict": "wait"}).status_code == 404
    assert client.post("/operator/prices", {"flag": flag.pk, "verdict": "wait", "note": "Asked"}).status_code == 302
    assert "Asked" in text(client.get("/operator/prices"))
    call_command("make_operator", person.email, revoke=True, stdout=io.StringIO())
    assert client.get("/operator/prices").status_code in (403, 404)
