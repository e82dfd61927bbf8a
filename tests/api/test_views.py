"""Views of the explorer through the API: keys see and change what is shared, and no more of it than their pins let."""

import pytest
from django.conf import settings
from django.db import connection
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext

from apps.audit.models import AuditEntry
from apps.core.tenancy import tenant
from apps.organizations.permissions import Role
from apps.organizations.services import add_member
from apps.reports import views
from apps.reports.models import View
from apps.reports.views import save_view
from tests.api.tenants import make_api, make_org
from tests.portal.conftest import client_of, make_person


@pytest.fixture
def org():
    return make_org()


@pytest.fixture
def api(org):
    return make_api(org)


@pytest.fixture
def alice(org):
    person = make_person("alice")
    add_member(org=org, user=person, role=Role.OWNER, actor=None)
    return person


def patch(api, view, **body):
    return api.client.patch(f"/api/v1/views/{view}", body, content_type="application/json", headers=api.headers)


def delete(api, view):
    return api.client.delete(f"/api/v1/views/{view}", headers=api.headers)


def made(api, name="Models", query="group_by=model"):
    response = api.post("views", {"name": name, "query": query})
    assert response.status_code == 201, response.content
    return response.json()


def names(api, **query):
    return [view["name"] for view in api.get("views", **query).json()["data"]]


def refusal(response):
    body = response.json()
    return response.status_code, body["code"], body.get("param")


def test_a_view_is_made_read_changed_and_deleted(org, api):
    view = made(api, " Models ", "?team=search&group_by=model&range=7d")
    assert view["query"] == "group_by=model&team=search&range=7d"
    assert view["name"] == "Models"
    assert view["url"].endswith(f"/o/{org.slug}/spend?{view['query']}")
    assert view["url"].startswith("http")
    assert view["made_by"].startswith("key:")
    assert api.get(f"views/{view['id']}").json() == view
    assert api.get("views").json() == {"data": [view], "next": None}
    changed = patch(api, view["id"], query="chart=line", name="Lines").json()
    assert (changed["name"], changed["query"]) == ("Lines", "group_by=team&chart=line")
    assert changed["changed_at"] > view["changed_at"]
    assert delete(api, view["id"]).status_code == 204
    assert refusal(api.get(f"views/{view['id']}")) == (404, "not_found", None)
    assert refusal(delete(api, view["id"])) == (404, "not_found", None)
    with tenant(org):
        entries = AuditEntry.objects.for_org(org).filter(action__startswith="views.").order_by("sequence")
        assert [(entry.action, entry.actor) for entry in entries] == [
            (f"views.{act}", view["made_by"]) for act in ("saved", "changed", "deleted")
        ]


def test_what_is_shared_is_the_keys_too_and_nothing_else(org, api, alice):
    shared, own = (
        save_view(org=org, actor=alice, name=name, query="group_by=team", is_shared=name == "shared")
        for name in ("shared", "own")
    )
    assert names(api) == ["shared"]
    assert api.get(f"views/{shared.pk}").json()["made_by"] == alice.email
    assert patch(api, shared.pk, name="Renamed").json()["name"] == "Renamed"
    for response in (api.get(f"views/{own.pk}"), patch(api, own.pk, name="x"), delete(api, own.pk)):
        assert refusal(response) == (404, "not_found", None)
    assert delete(api, shared.pk).status_code == 204


def test_the_explorer_shows_it_and_says_which_key_made_it(org, api, alice):
    view = made(api, "By model", "group_by=model&chart=line")
    page = client_of(alice)
    listed = page.get(f"/o/{org.slug}/views").content.decode()
    assert "Key tests (" in listed
    assert "Unshare" not in listed
    opened = page.get(view["url"].removeprefix(settings.BASE_URL))
    assert 'aria-current="page">By model' in opened.content.decode()
    refused = page.post(f"/o/{org.slug}/views/{view['id']}/unshare")
    assert refused.status_code == 400
    assert "it is shared, or deleted" in refused.content.decode()
    assert page.post(f"/o/{org.slug}/views/{view['id']}/rename", {"name": "Other"}).status_code == 302
    assert names(api) == ["Other"]


@pytest.mark.parametrize(
    "query",
    [
        "",
        "group_by=user&then_by=model&granularity=hour&chart=line&compare=previous&range=24h",
        "range=last-month&not.team=search&not.team=&team_name=a%20b%26c&group_by=tags.x.y",
        "from=2026-01-02&to=2026-01-03&api_key=7&priced=false&tags.k=v&user=%C3%A9+%2B",
        "chart=stacked&range=month&granularity=none&workflow=",
    ],
)
def test_a_query_is_kept_as_the_explorer_would_keep_it(org, api, alice, query):
    kept = made(api, query=query)["query"]
    client_of(alice).post(f"/o/{org.slug}/views", {"name": "the same", "query": query})
    with tenant(org):
        assert kept == View.objects.for_org(org).get(name="the same").query
    assert QueryDict(kept).get("group_by")


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("group_by=colour", "'colour' is no dimension"),
        ("colour=red", "'colour' is no dimension"),
        ("not.colour=red", "'colour' is no dimension"),
        ("group_by=model&then_by=model", "the same dimension"),
        ("then_by=team", "the same dimension"),
        ("granularity=minute", "use hour, day, week, month, none"),
        ("chart=pie", "use stacked, line"),
        ("compare=next", "use previous"),
        ("range=90d", "use 24h, 7d, 30d, month, last-month"),
        ("range=7d&from=2026-01-01&to=2026-01-02", "either range, or from and to"),
        ("from=2026-01-01", "either range, or from and to"),
        ("from=2026-01-02&to=2026-01-01", "-1 days before"),
        ("from=2020-01-01&to=2026-01-01", "0 to 799"),
        ("from=20260101&to=2026-01-02", "write a day like"),
        ("team=a&team=b", "given 2 times"),
        ("api_key=mine", "no event can have api_key 'mine'"),
        ("team=a%07", "no event can have team"),
        (f"team={'x' * 257}", "no event can have team"),
        ("&".join(f"tags.{number}=x" for number in range(33)), "more than 32 filters"),
        ("&".join(f"not.team={number}" for number in range(33)), "33 times, 32 at most"),
        ("next=//evil.example", "'next' is no dimension"),
    ],
)
def test_a_query_that_the_explorer_would_not_read_is_refused(api, query, says):
    response = api.post("views", {"name": "Wrong", "query": query})
    assert refusal(response) == (400, "view_query_invalid", "query")
    assert says in response.json()["detail"]
    kept = made(api)
    assert refusal(patch(api, kept["id"], query=query)) == (400, "view_query_invalid", "query")
    assert api.get("views").json()["data"] == [kept]


def test_names_that_will_not_do_and_bodies_that_say_nothing(api, monkeypatch):
    first, second = made(api, "first"), made(api, "second")
    for name, answer in (
        ("", (400, "view_name_invalid", "name")),
        ("a\x07", (400, "view_name_invalid", "name")),
        ("n" * 101, (400, "invalid", "name")),
        ("first", (409, "view_name_taken", "name")),
    ):
        assert refusal(api.post("views", {"name": name, "query": ""})) == answer
        assert refusal(patch(api, second["id"], name=name)) == answer
    assert refusal(patch(api, second["id"])) == (400, "nothing_to_change", None)
    assert refusal(patch(api, second["id"], shared=False)) == (400, "field_unknown", "shared")
    assert refusal(api.post("views", {"name": "x"})) == (400, "invalid", "query")
    assert refusal(api.post("views", {"name": "x", "query": "x" * 4001})) == (400, "invalid", "query")
    assert refusal(api.get("views", team="search")) == (400, "parameter_unknown", "team")
    assert refusal(api.get("views", cursor="x")) == (400, "cursor_invalid", "cursor")
    monkeypatch.setattr(views, "VIEWS_MAX", 2)
    assert refusal(api.post("views", {"name": "third", "query": ""})) == (422, "too_many_views", "name")
    assert [view["id"] for view in api.get("views").json()["data"]] == [first["id"], second["id"]]


def test_pages_follow_each_other(org, api, alice):
    for number in range(5):
        made(api, f"view {number}")
    save_view(org=org, actor=alice, name="view 2", query="group_by=team", is_shared=True)
    seen, cursor = [], ""
    while cursor is not None:
        page = api.get("views", limit=2, **({"cursor": cursor} if cursor else {})).json()
        assert len(page["data"]) <= 2
        seen += [view["name"] for view in page["data"]]
        cursor = page["next"]
    assert seen == sorted([*(f"view {number}" for number in range(5)), "view 2"])


def test_a_pinned_key_sees_views_of_its_own_part_and_changes_none(org, api):
    made(api, "all")
    made(api, "leaves it out", "not.team=search")
    made(api, "another", "team=searching")
    made(api, "the team's", "team=search&group_by=user")
    within = made(api, "prod of the team", "group_by=model&team=search&environment=prod")
    strange = made(api, "of a strange team", "team=s.%28%2B*")
    assert names(make_api(org, team="search")) == ["prod of the team", "the team's"]
    assert names(make_api(org, team="search", environment="prod")) == ["prod of the team"]
    assert names(make_api(org, environment="prod")) == ["prod of the team"]
    assert names(make_api(org, team="s.(+*")) == ["of a strange team"]
    assert names(make_api(org, team="s")) == []
    pinned = make_api(org, team="search")
    assert pinned.get(f"views/{within['id']}").status_code == 200
    assert refusal(pinned.get(f"views/{strange['id']}")) == (404, "not_found", None)
    for response in (
        pinned.post("views", {"name": "x", "query": "team=search"}),
        patch(pinned, within["id"], name="x"),
        delete(pinned, within["id"]),
    ):
        assert refusal(response) == (403, "pinned_dimension", None)


def test_a_lead_finds_a_view_of_the_team_behind_many_of_others(org, api, monkeypatch):
    monkeypatch.setattr(views, "SHARED_SHOWN", 2)
    for name in ("a", "b", "c"):
        made(api, name)
    made(api, "d", "team=search&group_by=user")
    lead = make_person("lead")
    add_member(org=org, user=lead, role=Role.LEAD, teams=["growth", "search"], actor=None)
    page = client_of(lead).get(f"/o/{org.slug}/views").content.decode()
    assert page.count('data-label="Whose"') == 1
    assert "team=search" in page


def test_a_reader_changes_nothing(org, api):
    view, reader = made(api), make_api(org, "read")
    assert names(reader) == ["Models"]
    assert refusal(reader.post("views", {"name": "x", "query": ""})) == (403, "scope_missing", None)
    assert refusal(patch(reader, view["id"], name="x")) == (403, "scope_missing", None)
    assert refusal(delete(reader, view["id"])) == (403, "scope_missing", None)


def test_a_page_asks_as_often_for_many_views_as_for_one(api):
    counts = []
    for number in range(9):
        made(api, f"view {number}")
        if number in (0, 8):
            with CaptureQueriesContext(connection) as queries:
                api.get("views")
            counts.append(len(queries))
    assert counts[0] == counts[1]
