"""Every page, by everybody: who sees it, what it says when there is nothing, and that no query breaks it."""

import re
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, resolve
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.organizations.permissions import ROLE_PERMISSIONS, Permission, Role, role_may
from apps.organizations.services import add_member
from apps.portal import urls
from apps.reports.dimensions import VALUE_LENGTH_MAX
from apps.usage.selectors import known_filters
from tests.portal.conftest import HOSTILE_NAME, Shop, client_of, fill, make_person, make_shop
from tests.portal.reading import Page, attribute, elements, find, get
from tests.world import make_event

PAGES = (
    "", "spend", "forecast", "views", "exports", "runs", "runs/run-1", "events", "unattributed", "unpriced", "declared",
    "statements", "statements/adjustments", "statements/closing",
    "statements/disputes", "statements/disputes/new", "allocations", "allocations/new",
    "plans", "plans/missing", "plans/new", "plans/new?from=chat",
    "spend/months",
    "invoices", "invoices/mappings",
    "statements/mail", "signals",
    "prices",
    "prices/openai/o3",
    "savings",
    "contracts", "contracts/new", "reratings", "reratings/new", "budgets", "reservations", "run-bounds", "stop",
    "alerts", "alerts/deliveries", "members", "organization", "first-event", "first-event/seen",
    "audit",
    "names", "teams", "projects", "workflows", "rules", "teams/search",
    "projects/search-project", "workflows/search-agent",
)  # fmt: skip
# Pages with a form of their own.
FORMS = (
    "plans/new", "plans/new?from=chat",
    "views", "exports", "allocations/new", "contracts", "contracts/new", "reratings/new", "run-bounds", "stop",
    "unattributed", "names", "teams", "statements/adjustments", "statements/closing", "statements/disputes/new",
    "invoices/mappings", "statements/mail",
    "projects",
    "workflows", "teams/search", "projects/search-project", "workflows/search-agent",
)  # fmt: skip
# Downloads, and parts of pages.
DOWNLOADS = ("statements.csv", "audit.csv", "audit.ndjson", "spend/values?add=team")
# Pages of a person, not of an organization.
PERSONAL = {
    "home", "switch", "reviews", "organization_new", "invitation", "unsubscribe", "session_end",
    "sso", "sso_go", "looking_end",
}  # fmt: skip
NOBODY = "/o/no-such-organization/"


def statement_urls(shop: Shop, client: Client) -> list[str]:
    page = get(client, shop.url("statements"))
    return sorted({href for cells in page.rows() for link in find(cells[0], "a") if (href := attribute(link, "href"))})


def event_urls(shop: Shop, client: Client) -> list[str]:
    page = get(client, shop.url("events?range=30d"))
    return [attribute(link, "href") or "" for cells in page.rows() for link in find(cells[0], "a")]


def every_url(shop: Shop, client: Client) -> list[str]:
    """Each page once, the ones of an id among them."""
    statement, event = statement_urls(shop, client)[-1], event_urls(shop, client)[0]
    return [*map(shop.url, (*PAGES, *DOWNLOADS)), statement, event]


# --- who may ---


def organization_patterns() -> list[URLPattern]:
    return [pattern for pattern in urls.urlpatterns if pattern.name not in PERSONAL]


@pytest.mark.parametrize("pattern", organization_patterns(), ids=lambda pattern: pattern.name)
def test_a_page_declares_the_permission_it_needs(pattern: URLPattern) -> None:
    assert getattr(pattern.callback, "permission", None) in Permission, (
        f"The view of '{pattern.pattern}' declares no permission: wrap it in @organization_page(permission=...)."
    )


# What a lead sees is a matter of teams: tests/portal/test_leads.py.
@pytest.mark.parametrize("role", [role for role in Role if role != Role.LEAD])
def test_a_page_opens_for_the_roles_of_the_matrix(shop: Shop, role: Role) -> None:
    member = make_person(role)
    add_member(org=shop.org, user=member, role=role, actor=None)
    client = client_of(member)
    for url in every_url(shop, client_of(shop.alice)):
        permission = resolve(urlsplit(url).path).func.permission
        assert client.get(url).status_code == (200 if role_may(role, permission) else 403), url


@pytest.mark.parametrize(("page", "permission"), [
    ("", Permission.VIEW_SPEND),
    ("spend", Permission.VIEW_SPEND),
    ("unattributed", Permission.VIEW_SPEND),
    ("unpriced", Permission.VIEW_SPEND),
    ("events", Permission.VIEW_EVENTS),
    ("runs", Permission.VIEW_EVENTS),
    ("runs/run-1", Permission.VIEW_EVENTS),
    ("events/some-id", Permission.VIEW_EVENTS),
    ("statements", Permission.VIEW_STATEMENTS),
    ("allocations", Permission.VIEW_STATEMENTS),
    ("allocations/new", Permission.MANAGE_STATEMENTS),
    *((page, Permission.VIEW_SPEND) for page in ("plans", "plans/missing", "plans/1", "plans/1/what-if")),
    *((page, Permission.VIEW_SPEND) for page in ("plans/1/against", "spend/months")),
    *((page, Permission.MANAGE_PLANS) for page in ("plans/new", "plans/1/edit")),
    ("statements.csv", Permission.VIEW_STATEMENTS),
    ("statements/mail", Permission.VIEW_STATEMENTS),
    ("statements/mail/preview", Permission.MANAGE_STATEMENTS),
    ("statements/2026-11:search", Permission.VIEW_STATEMENTS),
    ("statements.csv?team=search", Permission.VIEW_STATEMENTS),
    ("statements/adjustments", Permission.VIEW_STATEMENTS),
    ("statements/disputes", Permission.VIEW_STATEMENTS),
    ("statements/disputes/1", Permission.VIEW_STATEMENTS),
    ("statements/closing", Permission.VIEW_STATEMENTS),
    *((page, Permission.VIEW_SPEND) for page in ("forecast", "declared", "prices", "contracts", "reratings", "alerts")),
    ("savings", Permission.VIEW_SPEND),
    ("savings/1", Permission.VIEW_SPEND),
    ("alerts/channels/new", Permission.MANAGE_ALERTS),
    ("invoices", Permission.VIEW_STATEMENTS),
    ("invoices/mappings", Permission.VIEW_STATEMENTS),
    ("invoices/new", Permission.MANAGE_STATEMENTS),
    *((page, Permission.VIEW_AUDIT) for page in ("audit", "audit.csv", "audit.ndjson")),
    *((page, Permission.VIEW_SPEND) for page in ("names", "teams", "projects", "workflows", "rules", "teams/search")),
    ("rules/new", Permission.MANAGE_NAMES),
    *((page, Permission.VIEW_SPEND) for page in ("signals", "signals/1")),
    *((page, Permission.VIEW_SPEND) for page in ("budgets", "budgets/1", "reservations", "run-bounds", "stop")),
])  # fmt: skip
def test_without_the_permission_a_page_says_who_can_give_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, page: str, permission: Permission
) -> None:
    monkeypatch.setitem(ROLE_PERMISSIONS, Role.VIEWER, ROLE_PERMISSIONS[Role.VIEWER] - {permission})
    response = client_of(shop.bob).get(shop.url(page))
    assert response.status_code == 403
    assert shop.alice.email in response.content.decode()
    assert permission in response.content.decode()


def test_a_stranger_sees_what_is_seen_where_nothing_is(shop: Shop) -> None:
    owner, stranger = client_of(shop.alice), client_of(shop.charlie)
    for url in every_url(shop, owner):
        elsewhere = url.replace(shop.url(), NOBODY)
        here, nowhere = stranger.get(url), stranger.get(elsewhere)
        assert here.status_code == nowhere.status_code == 404, url
        assert anonymous_text(here) == anonymous_text(nowhere), url


def test_another_organization_has_no_such_event_and_no_such_statement(shop: Shop) -> None:
    other = make_shop()
    fill(other, ("ours",))
    alice = client_of(shop.alice)
    for url in every_url(other, client_of(other.alice))[-2:]:
        response = alice.get(url.replace(other.url(), shop.url()))
        assert response.status_code == 404, url


def anonymous_text(response: HttpResponse) -> str:
    """The page without what differs from request to request."""
    return re.sub(r'nonce="[^"]+"|<code>[0-9a-f]{32}</code>', "", response.content.decode())


def test_nobody_is_sent_to_sign_in_and_back(shop: Shop) -> None:
    for url in every_url(shop, client_of(shop.alice)):
        response = Client().get(url)
        assert response.status_code == 302
        address = urlsplit(response["Location"])
        assert address.path == "/accounts/login/"
        assert unquote(parse_qs(address.query)["next"][0]) == unquote(url)


@pytest.mark.parametrize(("referer", "onward"), [
    ("http://testserver{url}keys?x=1", "{url}keys?x=1"),
    ("https://elsewhere.example{url}keys", "{url}keys/1/revoke"),
    ("", "{url}keys/1/revoke"),
])  # fmt: skip
def test_who_was_signed_out_comes_back_to_the_page_of_the_form(shop: Shop, referer: str, onward: str) -> None:
    response = Client().post(shop.url("keys/1/revoke"), headers={"Referer": referer.format(url=shop.url())})
    assert response.status_code == 302
    assert parse_qs(urlsplit(response["Location"]).query)["next"] == [onward.format(url=shop.url())]


def test_a_page_is_only_read(shop: Shop) -> None:
    client = client_of(shop.alice)
    for url in every_url(shop, client):
        expected = 400 if url.removeprefix(shop.url()) in FORMS else 405
        assert client.post(url).status_code == expected, url


def test_the_start_page_goes_where_there_is_one_place_to_go(shop: Shop) -> None:
    response = client_of(shop.alice).get("/")
    assert response.status_code == 302
    assert response["Location"] == shop.url()


def test_the_start_page_offers_what_there_is_to_choose(shop: Shop) -> None:
    other, person = make_shop(), make_person("both")
    assert "not a member of an organization" in get(client_of(person), "/").text
    for org in (shop.org, other.org):
        add_member(org=org, user=person, role=Role.VIEWER, actor=None)
    links = {attribute(link, "href") for link in get(client_of(person), "/").find("a")}
    assert {shop.url(), other.url()} <= links


# --- what every answer carries ---


def policy_of(response: HttpResponse) -> dict[str, str]:
    directives = response["Content-Security-Policy"].split(";")
    return dict(directive.strip().partition(" ")[::2] for directive in directives)


def test_every_answer_is_private_and_framed_nowhere(shop: Shop) -> None:
    alice = client_of(shop.alice)
    opened = every_url(shop, alice)
    answers = [alice.get(url) for url in (*opened, "/", "/accounts/password/change/", shop.url("nothing"))]
    answers += [Client().get(url) for url in (opened[0], "/accounts/login/", "/accounts/password/reset/")]
    answers += [alice.post(opened[0]), client_of(shop.charlie).get(opened[0])]
    for response in answers:
        policy = policy_of(response)
        assert policy["frame-ancestors"] == "'none'"
        assert policy["object-src"] == policy["base-uri"] == "'none'"
        assert "unsafe" not in response["Content-Security-Policy"]
        assert response["X-Content-Type-Options"] == "nosniff"
        assert response["X-Frame-Options"] == "DENY"
        assert "no-store" in response["Cache-Control"]
        assert response["Referrer-Policy"] == "same-origin"
        assert response["X-Request-Id"]


def test_no_page_asks_for_what_its_policy_forbids(shop: Shop) -> None:
    client = client_of(shop.alice)
    for url in every_url(shop, client):
        response = client.get(url)
        if "html" not in response["Content-Type"]:
            continue
        page = Page(response)
        nonce = policy_of(response)["script-src"].partition("'nonce-")[2].rstrip("'")
        for element in elements(page.root):
            names = {name for name, _ in element.attributes}
            assert not any(name.startswith("on") or name == "style" for name in names), (url, names)
            source = attribute(element, "src")
            assert source is None or source.startswith("/static/"), (url, source)
            if element.name == "script" and source is None and attribute(element, "type") is None:
                assert attribute(element, "nonce") == nonce, url


# --- nothing to show ---


@pytest.mark.parametrize(("page", "words"), [
    ("", "Spend appears here with the first usage event"),
    ("spend", "No spend matches"),
    ("events", "No events match"),
    ("runs", "Runs appear here with the first event that names one"),
    ("unattributed", "Every event has an owner"),
    ("forecast", "No forecast yet"),
    ("unpriced", "Every event has a price"),
    ("statements", "No statements for"),
    ("allocations", "Nothing is shared in"),
    ("statements/adjustments", "Nothing was adjusted"),
    ("statements/disputes", "No open disputes"),
    ("statements/disputes/new", "No line to dispute"),
    ("statements/closing", "Statements are in USD: no rate is needed"),
    ("invoices", "No bill of"),
    ("invoices/mappings", "No mapping yet"),
    ("statements/mail", "No mail yet"),
    ("declared", "No cost was declared"),
    ("contracts", "No contracts yet"),
    ("reratings", "Nothing was priced again"),
    ("budgets", "No budgets yet"),
    ("plans", "No plans yet"),
    ("spend/months", "Nothing used in either month"),
    ("plans/missing", "No workflow spent anything"),
    ("reservations", "Nothing was ever held"),
    ("run-bounds", "No run is bounded yet"),
    ("stop", "Nothing is stopped"),
    ("savings", "Nothing to recommend"),
    ("names", "No names are mapped"),
    ("teams", "No teams yet"),
    ("projects", "No projects yet"),
    ("workflows", "No workflows yet"),
    ("rules", "No rules yet"),
    ("prices?q=no-such-model-anywhere", "No model of that name"),
])  # fmt: skip
def test_an_empty_organization_is_told_what_will_be_here(page: str, words: str) -> None:
    new = make_shop()
    assert words in get(client_of(new.alice), new.url(page)).text


def test_an_empty_range_names_the_latest_event_and_opens_it(shop: Shop) -> None:
    client = client_of(shop.bob)
    page = get(client, shop.url("?from=2001-01-01&to=2001-01-31"))
    assert "No events in 1 to 31 Jan 2001" in page.text
    there = next(link for link in page.find("a", **{"class": "button"}))
    assert "LLM calls measured" in get(client, attribute(there, "href") or "").text


@pytest.mark.parametrize("page", ["", "spend"])
def test_where_nothing_is_priced_there_is_nothing_to_draw(page: str) -> None:
    shop = make_shop()
    shop.api.send(make_event(provider="ollama", model="REDACTED"))
    shown = get(client_of(shop.alice), shop.url(page))
    assert "Nothing in this range has a price" in shown.text
    assert "data-chart" not in shown.html


@pytest.mark.parametrize("page", ["spend", "events"])
def test_filters_that_match_nothing_can_be_removed_one_by_one(shop: Shop, page: str) -> None:
    client = client_of(shop.alice)
    empty = get(client, shop.url(f"{page}?range=30d&team=search&model=nobody"))
    assert "with these filters" in empty.text
    remove = {attribute(link, "aria_label"): attribute(link, "href") for link in empty.find("a")}
    found = get(client, remove["Remove the filter Model: nobody"] or "")
    assert "with these filters" not in found.text
    assert "Remove the filter Team: search" in found.html


# --- hostile queries and names ---

HOSTILE_QUERIES = (
    "from=tomorrow&to=yesterday",
    "from=2026-02-30&to=2026-03-01",
    "from=2026-11-30&to=2026-11-01",
    "from=0001-01-01&to=0001-01-02",
    "from=9999-12-31&to=9999-12-31",
    "from=294277-01-01&to=294277-01-02",
    "from=2200-12-31&to=2200-12-31",
    "from=1972-01-01&to=1972-01-01",
    "from=1900-01-01&to=2200-01-01",
    "from=2024-10-01&to=2026-11-24&granularity=hour",
    "from=2024-10-01&to=2026-11-24&group_by=operation",
    "from=%00&to=%00&range=%00&month=%00&cursor=%00",
    "range=month&range=7d&range=24h",
    "range=__class__&granularity=second&group_by=password&then_by=secret",
    "group_by=team&then_by=team&group_by=model",
    "group_by=user&then_by=status&range=30d",
    "group_by=stop_reason&then_by=outcome&range=24h",
    "month=2026-13&month=0000-00",
    "month=1979-12",
    "month=2199-12",
    "month=" + quote("20２６-11"),
    "cursor=AAAA",
    "cursor=W10",
    "cursor=" + "W" * 10_000,
    # [naive instant, naive instant, "x"], then an id with a NUL, then the year 1 in a zone ahead.
    "cursor=WyIyMDI2LTExLTAxVDAwOjAwOjAwIiwiMjAyNi0xMS0wMVQwMDowMDowMCIsIngiXQ",
    "cursor=WyIyMDI2LTExLTAxVDAwOjAwOjAwWiIsIjIwMjYtMTEtMDFUMDA6MDA6MDBaIiwiXHUwMDAwIl0",
    "cursor=WyIwMDAxLTAxLTAxVDAwOjAwOjAwKzIzOjU5IiwiMDAwMS0wMS0wMVQwMDowMDowMCsyMzo1OSIsIngiXQ",
    "api_key=abc",
    "api_key=99999999999999999999999999",
    "api_key=%D9%A1&priced=maybe",
    "api_key=&priced=",
    "team=%00&model=%0A&user=%7F",
    "team=%ED%A0%80&user=%FF%FE",
    "event_id=x&request_id=y&prefix_hash=z",
    "event_id=" + "e" * 10_000,
    "user=" + "u" * 10_000,
    "tags.=x&tags.%00=x&tags.a=%00&tags.=",
    "tags." + "k" * 10_000 + "=x",
    "tags.a'%20OR%201=1--=x&tags.%25s=%25s&tags.{}={}",
    "&".join(f"tags.k{index}=v" for index in range(500)),
    "team=" + quote("'; DROP TABLE usage_event; --"),
    "unknown=1&slug=x&org=2&q[]=&q[a]=b&=&==&&&",
    "%%%&%zz=%zz&%F0%9F=x",
)  # fmt: skip


@pytest.mark.parametrize("query", HOSTILE_QUERIES, ids=lambda query: query[:40])
def test_no_query_breaks_a_page(shop: Shop, query: str) -> None:
    client = client_of(shop.alice)
    for name in PAGES:
        Page(client.get(shop.url(name), QUERY_STRING=query))


def test_a_query_of_too_many_parameters_is_refused(shop: Shop) -> None:
    query = "&".join(f"a{index}=b" for index in range(1001))
    assert client_of(shop.alice).get(shop.url(), QUERY_STRING=query).status_code == 400


NAMES = st.sampled_from(["range", "from", "to", "month", "cursor", "group_by", "then_by", *known_filters(), "tags.a"])
VALUES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=VALUE_LENGTH_MAX),
    st.dates().map(str),
    st.sampled_from(["", "7d", "none", "user", "operation", "status", "true", "false", "0"]),
)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(NAMES, VALUES), max_size=6), st.sampled_from(PAGES))
def test_no_combination_of_parameters_breaks_a_page(shop: Shop, parameters: list[tuple[str, str]], name: str) -> None:
    Page(client_of(shop.alice).get(shop.url(name), QUERY_STRING=urlencode(parameters)))


@pytest.mark.parametrize("path", [
    "events/unknown",
    "runs/unknown",
    "runs/%00",
    "runs/" + "x" * 4_000,
    "runs/é%ED%A0%80",
    "runs/",
    "events/%00",
    "events/" + "x" * 4_000,
    "events/%2e%2e/%2e%2e",
    "events/é%ED%A0%80",
    "statements/2026-11",
    "statements/2026-13:search",
    "statements/2026-11:%00",
    "statements/2026-11:nobody",
    "statements/:",
    "statements.csv?team=%00",
    "statements/2026-11:%2E%2E",
    "invoices/1",
    "invoices/99999999999999999999",
    "invoices/1/reconciliation",
    "nothing",
    "events/",
])  # fmt: skip
def test_what_does_not_exist_is_not_found(shop: Shop, path: str) -> None:
    response = client_of(shop.alice).get(shop.url(path))
    assert response.status_code == 404
    assert response["X-Request-Id"] in response.content.decode()


def test_names_are_text_wherever_they_stand(shop: Shop) -> None:
    client = client_of(shop.alice)
    filtered = urlencode({"team_name": HOSTILE_NAME, "user": HOSTILE_NAME, "range": "30d"})
    looked_at = [shop.url(f"{name}?range=30d") for name in PAGES]
    looked_at += [shop.url(f"{name}?{filtered}") for name in PAGES]
    looked_at += [shop.url(f"spend?range=30d&group_by={name}") for name in ("user", "model", "provider")]
    looked_at += [*statement_urls(shop, client), *event_urls(shop, client)]
    shown = 0
    for url in looked_at:
        page = get(client, url)
        assert "<script>alert" not in page.html, url
        shown += "&lt;script&gt;alert" in page.html
    assert shown > 10
