"""What people do about prices on the pages: contracts, unpriced models, pricing again, and the operator's reviews."""

import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from apps.core.tenancy import tenant
from apps.organizations.permissions import Role
from apps.organizations.services import add_member
from apps.pricing.models import Contract, ModelAlias
from apps.pricing.reviews import open_flags
from tests.portal.conftest import client_of, make_person, make_shop
from tests.portal.reading import Page, attribute, find, get, number_of, text_of
from tests.usage.reratings import work
from tests.world import make_event

TODAY = datetime.now(UTC).date()
FIRST = (TODAY - timedelta(days=3)).isoformat()


@pytest.fixture
def shop():
    return make_shop()


def member(shop, role):
    person = make_person(role)
    add_member(org=shop.org, user=person, role=role, actor=None)
    return client_of(person)


@pytest.fixture
def finance(shop):
    return member(shop, Role.FINANCE)


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


@pytest.mark.parametrize("role", [Role.VIEWER, Role.ENGINEER])
def test_who_may_not_change_prices_is_refused_and_sees_no_button(shop, finance, role):
    send(shop, provider="azure", model="prod-chat")
    assert finance.post(shop.url("contracts/new"), DISCOUNT).status_code == 302
    client = member(shop, role)
    for path, given in (
        ("contracts/new", DISCOUNT),
        ("contracts", {"provider": "azure", "name": "x", "to_provider": "openai", "to_model": "gpt-4o"}),
        ("contracts/end/1", {"ends": str(TODAY)}),
        ("contracts/aliases/1", {}),
        ("reratings/new", {"reason": "why", "from": FIRST, "to": str(TODAY)}),
        (f"reratings/{uuid4()}/post", {}),
    ):
        assert client.post(shop.url(path), given).status_code == 403, path
    listed = get(client, shop.url("contracts"))
    assert "Enterprise" in listed.text
    for page in (listed, *(get(client, shop.url(path)) for path in ("unpriced", "reratings"))):
        assert not list(find(next(page.find("main")), "form", method="post"))
        assert "/new" not in page.html


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


# --- what is typed, kept and listed ---


def panel_of(page, label):
    return next(page.find("section", aria_labelledby=label))


def test_a_wrong_percent_stands_in_its_field_again(shop, finance):
    response = finance.post(shop.url("contracts/new"), {**DISCOUNT, "percent": "120"})
    (alert,) = find_alerts(response)
    assert text_of(alert) == "percent is '120': write what is taken off as a decimal string above 0 and up to 100."
    assert 'name="percent" inputmode="decimal" value="120"' in text(response)
    assert f'value="{FIRST}"' in text(response)


def find_alerts(response):
    response.status_code = 200
    return Page(response).find("p", role="alert")


def test_a_contract_without_a_first_day_starts_now(shop, finance):
    response = finance.post(shop.url("contracts/new"), {**DISCOUNT, "starts": ""})
    assert response["Location"] == shop.url("contracts")
    (row,) = get(finance, response["Location"]).rows()[:1]
    assert [text_of(cell) for cell in row[:4]] == ["Enterprise in force", "Discount", "anthropic", "50 % off"]
    with tenant(shop.org):
        starts_at = Contract.objects.for_org(shop.org).get().starts_at
    assert datetime.now(UTC) - starts_at < timedelta(minutes=5)


@pytest.mark.parametrize("field", ["name", "note", "provider", "model", "percent", "kind", "starts", "team"])
def test_no_byte_breaks_a_contract(shop, finance, field):
    for value in ("\0", "9" * 700):
        given = {**DISCOUNT, field: value}
        assert finance.post(shop.url("contracts/new"), given).status_code in (302, 400), value


@pytest.mark.parametrize("field", ["reason", "provider", "team", "catalog_version", "priced"])
def test_no_byte_breaks_a_re_rating(shop, finance, field):
    for value in ("\0", "9" * 700):
        given = {"reason": "why", "from": FIRST, "to": str(TODAY), field: value}
        assert finance.post(shop.url("reratings/new"), given).status_code in (302, 400), value


@pytest.mark.parametrize("field", ["provider", "name", "to_provider", "to_model"])
@pytest.mark.parametrize("value", ["", "\0", "x" * 700])
def test_a_wrong_name_is_said_and_not_stored(shop, finance, field, value):
    given = {"provider": "azure", "name": "prod", "to_provider": "openai", "to_model": "gpt-4o", field: value}
    response = finance.post(shop.url("contracts"), given)
    assert response.status_code == 400
    assert list(find_alerts(response))
    with tenant(shop.org):
        assert not ModelAlias.objects.for_org(shop.org).exists()


def test_the_form_of_the_queue_maps_and_the_list_takes_it_back(shop, finance):
    send(shop, provider="azure", model="Prod-Chat")
    queue = get(finance, shop.url("unpriced"))
    (form,) = find(next(queue.find("section", **{"class": "panel waiting"})), "form", method="post")
    sent = {attribute(one, "name"): attribute(one, "value") or "" for one in find(form, "input")}
    sent |= {"to_provider": "anthropic", "to_model": "claude-sonnet-4-5"}
    response = finance.post(attribute(form, "action"), sent)
    assert response["Location"] == shop.url("contracts")
    aliases = panel_of(get(finance, response["Location"]), "aliases")
    (row,) = Page.rows_of(aliases)
    assert [text_of(cell) for cell in row[:2]] == ["azure prod-chat", "anthropic/claude-sonnet-4-5"]
    (remove,) = find(row[2], "form")
    assert finance.post(attribute(remove, "action")).status_code == 302
    assert finance.post(attribute(remove, "action")).status_code == 404
    assert "are named here" in text_of(panel_of(get(finance, shop.url("contracts")), "aliases"))


# --- pricing again ---


def preview(shop, finance):
    given = {"reason": "Signed late", "from": FIRST, "to": str(TODAY)}
    return finance.post(shop.url("reratings/new"), given)["Location"]


def state_of(client, url):
    return text_of(next(get(client, url).find("h2", id="state")))


def test_a_re_rating_goes_through_its_states_once(shop, finance):
    send(shop)
    finance.post(shop.url("contracts/new"), DISCOUNT)
    url = preview(shop, finance)
    assert state_of(finance, url) == "Previewing"
    assert finance.post(f"{url}/post").status_code == 400
    assert finance.post(f"{url}/stop").status_code == 302
    assert state_of(finance, url) == "Stopped"
    assert finance.post(f"{url}/resume").status_code == 302
    work(shop.org)
    assert state_of(finance, url) == "Previewed"
    page = get(finance, url)
    (post,) = (form for form in page.find("form", method="post") if attribute(form, "action") == f"{url}/post")
    assert text_of(post).startswith("Post \u2212")
    assert finance.post(attribute(post, "action")).status_code == 302
    assert state_of(finance, url) == "Posting"
    work(shop.org)
    assert state_of(finance, url) == "Posted"
    assert finance.post(f"{url}/post").status_code == 302  # answered as it is
    assert finance.post(f"{url}/stop").status_code == 400
    assert finance.post(f"{url}/burn").status_code == 404
    (row,) = get(finance, shop.url("reratings")).rows()
    assert [text_of(row[index]) for index in (0, 3)] == ["Signed late", "posted"]
    assert client_of(shop.charlie).get(url).status_code == 404


def test_a_preview_of_other_contracts_is_stale(shop, finance):
    event = send(shop)
    finance.post(shop.url("contracts/new"), DISCOUNT)
    url = preview(shop, finance)
    work(shop.org)
    finance.post(shop.url("contracts/new"), {**DISCOUNT, "name": "Another", "percent": "60"})
    assert finance.post(f"{url}/post").status_code == 302
    work(shop.org)
    assert state_of(finance, url) == "Stale"
    refused = finance.post(f"{url}/post")
    assert refused.status_code == 400
    assert "preview it again" in text(refused)
    assert cost(shop, event) == "0.004500000000"


# --- one price, one event ---


def test_a_model_shows_its_contracts_and_what_waits_for_an_operator(shop, finance):
    flag = open_flags().filter(kind="sources_differ").first()
    own = {**DISCOUNT, "provider": flag.provider, "model": flag.model}
    finance.post(shop.url("contracts/new"), own)
    page = get(finance, shop.url(f"prices/{flag.provider}/{flag.model}"))
    assert "An operator is to decide" in page.text
    (row,) = Page.rows_of(panel_of(page, "ours"))
    assert [text_of(cell) for cell in row] == ["Enterprise", "Discount", "50 % off", "in force"]
    assert Page.rows_of(panel_of(page, "rows"))
    other = make_shop()
    assert "Enterprise" not in get(client_of(other.alice), other.url(f"prices/{flag.provider}/{flag.model}")).text


@pytest.mark.parametrize("query", [{"q": "no-such-model-anywhere"}, {"provider": "nobody"}, {"q": "%_'\0\\"}])
def test_a_search_that_finds_nothing_says_so(shop, query):
    page = get(client_of(shop.bob), shop.url("prices") + "?" + urlencode(query))
    assert "No model of that name" in page.text
    assert not page.rows()


def test_the_working_of_an_event_multiplies_out(shop, finance):
    usage = {"input_tokens": 1003, "cache_read_tokens": 517, "output_tokens": 77}
    event = send(shop, usage=usage)
    finance.post(shop.url("contracts/new"), {**DISCOUNT, "percent": "12.5"})
    url = preview(shop, finance)
    work(shop.org)
    finance.post(f"{url}/post")
    work(shop.org)
    page = get(finance, shop.url(f"events/{event['event_id']}"))
    totals = {label: multiplied(page, label) for label in ("Current cost", "Stored cost")}
    assert totals["Current cost"] == totals["Stored cost"] * Decimal("0.875") == Decimal(cost(shop, event))
    assert "discount: Enterprise, 12.5 % off" in page.text
    assert "do not add up" not in page.text


def multiplied(page, label):
    """The total of a working, each line of which is rate times quantity."""
    table = next(page.find("div", aria_label=label, role="region"))
    total = Decimal(0)
    for row in Page.rows_of(table):
        quantity, rate, line = (number_of(row[index]).value for index in (1, 2, 4))
        assert line == quantity * rate / 1_000_000
        total += line
    (foot,) = find(table, "tfoot")
    (said,) = (number_of(cell).value for cell in find(foot, "td"))
    assert said == total
    return total


# --- operators ---


def test_a_decision_that_says_nothing_is_refused():
    person = make_person("opal")
    client = client_of(person)
    flag = open_flags().last()
    given = {"flag": flag.pk, "verdict": "wait", "note": "Asked"}
    assert client.post("/operator/prices", given).status_code == 404
    call_command("make_operator", person.email, stdout=io.StringIO())
    for wrong in ({"verdict": "override", "note": ""}, {"verdict": "wait", "note": "x" * 501}, {"note": "\0"}):
        refused = client.post("/operator/prices", {**given, "rate.input_tokens": "1", **wrong})
        assert refused.status_code == 400, wrong
        assert list(find_alerts(refused))
    flag = open_flags().get(pk=flag.pk)
    assert flag.decided_by != person.email
    with pytest.raises(CommandError, match=r"Nobody signs in as nobody@nowhere\.example"):
        call_command("make_operator", "nobody@nowhere.example", revoke=True)
