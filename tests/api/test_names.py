"""Teams, projects, workflows and aliases through the API: renaming, moving, owning, mapping and removing."""

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from apps.accounts.services import get_or_create_user
from apps.audit.models import AuditEntry
from apps.core.tenancy import tenant
from apps.organizations.permissions import Role
from apps.organizations.services import add_member
from tests.api.tenants import make_api
from tests.world import unique


def call(api, method, path, body=None):
    return api.client.generic(
        method, f"/api/v1/{path}", json.dumps(body) if body is not None else "", "application/json", headers=api.headers
    )


@pytest.fixture
def names(api):
    for slug in ("search", "growth"):
        assert api.post("teams", {"slug": slug}).status_code == 201
    for slug, team in (("answers", "search"), ("mails", None)):
        assert api.post("projects", {"slug": slug, "team": team}).status_code == 201
    assert api.post("workflows", {"slug": "rag", "project": "answers"}).status_code == 201
    return api


def actions(org):
    with tenant(org):
        return [(row.action, row.subject) for row in AuditEntry.objects.for_org(org).order_by("sequence")]


@pytest.mark.parametrize("path", ["teams/search", "projects/answers", "workflows/rag"])
def test_a_name_changes_and_its_slug_stays(org, names, path):
    answer = call(names, "PATCH", path, {"name": "Ünser"})
    assert answer.status_code == 200
    kind, slug = path.split("/")
    assert (answer.json()["slug"], answer.json()["name"]) == (slug, "Ünser")
    assert "Ünser" in {row["name"] for row in names.get(kind).json()["data"]}
    assert actions(org)[-1] == (f"{kind}.renamed", slug)


@pytest.mark.parametrize("path", ["teams/search", "projects/answers", "workflows/rag"])
@pytest.mark.parametrize(
    ("body", "code"),
    [({"name": ""}, "invalid"), ({"name": "a\u0085b"}, "name_invalid"), ({"slug": "x"}, "field_unknown")],
)
def test_a_wrong_name_changes_nothing(org, names, path, body, code):
    before = actions(org)
    answer = call(names, "PATCH", path, body)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert actions(org) == before


def test_a_team_has_a_cost_centre(org, names):
    made = names.post("teams", {"slug": "ads", "cost_centre": "CC-1"})
    assert (made.status_code, made.json()["cost_centre"]) == (201, "CC-1")
    answer = call(names, "PATCH", "teams/search", {"cost_centre": "CC-4711 / Köln"})
    assert (answer.status_code, answer.json()["cost_centre"]) == (200, "CC-4711 / Köln")
    assert answer.json()["name"] == "search"
    assert actions(org)[-1] == ("teams.cost_centre_changed", "search")
    assert call(names, "PATCH", "teams/search", {"cost_centre": None}).json()["cost_centre"] is None


@pytest.mark.parametrize(
    ("centre", "code"), [("x" * 65, "invalid"), ("a\u0085b", "cost_centre_invalid"), ("", "invalid")]
)
def test_a_wrong_cost_centre_changes_nothing(org, names, centre, code):
    before = actions(org)
    answer = call(names, "PATCH", "teams/search", {"name": "Other", "cost_centre": centre})
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert actions(org) == before
    assert names.get("teams").json()["data"][1]["name"] == "search"


def test_a_slug_of_any_shape_has_an_address(names):
    slug = "a/b c?d#é"
    assert names.post("projects", {"slug": slug}).status_code == 201
    assert call(names, "PATCH", f"projects/{quote(slug, safe='')}", {"name": "x"}).status_code == 200
    assert call(names, "POST", f"projects/{quote(slug, safe='')}/move", {"team": "search"}).json()["team"] == "search"


@pytest.mark.parametrize("path", ["teams/x", "projects/x", "workflows/x", "teams/%00", "aliases/team/x"])
def test_what_is_not_there_is_not_found(names, path):
    method = "DELETE" if path.startswith("aliases") else "PATCH"
    assert call(names, method, path, {"name": "x"}).status_code == 404


# --- moves ---


def test_a_move_is_called_off_while_it_has_not_come(org, names):
    at = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    assert names.post("projects/answers/move", {"team": "growth", "at": at}).status_code == 200
    later = names.post("projects/answers/move", {"team": "growth"})
    assert (later.status_code, later.json()["code"]) == (400, "already_moved_later")
    assert "growth" in later.json()["detail"]
    answer = call(names, "DELETE", "projects/answers/move")
    assert (answer.status_code, answer.json()["team"]) == (200, "search")
    again = call(names, "DELETE", "projects/answers/move")
    assert (again.status_code, again.json()["code"]) == (409, "no_move_ahead")
    assert names.post("projects/answers/move", {"team": "growth"}).json()["team"] == "growth"
    assert ("projects.move_called_off", "answers") in actions(org)


def test_a_move_to_where_it_is_changes_nothing(org, names):
    at = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    assert names.post("projects/answers/move", {"team": "growth", "at": at}).status_code == 200
    before = actions(org)
    assert names.post("projects/answers/move", {"team": "growth", "at": at}).status_code == 200
    assert names.post("workflows/rag/move", {"project": "answers"}).json()["project"] == "answers"
    call(names, "DELETE", "projects/answers/move")
    assert names.post("projects/answers/move", {"team": "search"}).json()["team"] == "search"
    assert actions(org) == [*before, ("projects.move_called_off", "answers")]


def test_a_workflow_moves_to_another_project(org, names):
    moved = names.post("workflows/rag/move", {"project": "mails"})
    assert (moved.status_code, moved.json()["project"]) == (200, "mails")
    assert names.get("workflows").json()["data"][0]["project"] == "mails"
    assert actions(org)[-1] == ("workflows.moved", "rag")
    nowhere = names.post("workflows/rag/move", {"project": "moon"})
    assert (nowhere.status_code, nowhere.json()["code"]) == (400, "project_unknown")


# --- owners ---


def test_a_workflow_belongs_to_a_member_while_they_are_one(org, names):
    person = get_or_create_user(email=f"{unique('dora')}@people.example")
    stranger = call(names, "PATCH", "workflows/rag", {"owner": person.email, "name": "RAG"})
    assert (stranger.status_code, stranger.json()["code"]) == (400, "owner_not_member")
    assert names.get("workflows").json()["data"][0]["name"] == "rag"
    membership = add_member(org=org, user=person, role=Role.VIEWER, actor=None)
    answer = call(names, "PATCH", "workflows/rag", {"owner": person.email.upper()})
    assert answer.json()["owner"] == person.email
    membership.delete()
    assert names.get("workflows").json()["data"][0]["owner"] is None
    assert call(names, "PATCH", "workflows/rag", {"owner": None}).json()["owner"] is None


# --- aliases ---


def test_an_alias_is_removed(org, names):
    name = "serach/2 ü"
    assert names.post("aliases", {"kind": "team", "name": name, "slug": "search"}).status_code == 201
    assert call(names, "DELETE", f"aliases/team/{quote(name, safe='')}").status_code == 204
    assert names.get("aliases").json()["data"] == []
    assert actions(org)[-1] == ("names.unmapped", f"team:{name}")
    for kind in ("team", "%00", "nothing", "é"):
        assert call(names, "DELETE", f"aliases/{kind}/{quote(name, safe='')}").status_code == 404, kind


def test_a_name_that_no_event_can_hold_is_not_mapped(names):
    answer = names.post("aliases", {"kind": "team", "name": "a\u0085b", "slug": "search"})
    assert (answer.status_code, answer.json()["code"]) == (400, "name_invalid")


# --- lists ---


@pytest.mark.parametrize("kind", ["teams", "projects", "workflows", "aliases"])
def test_a_list_is_read_page_by_page(names, kind):
    for number in range(3):
        names.post("teams", {"slug": f"t{number}"})
        names.post("projects", {"slug": f"p{number}", "team": "search"})
        names.post("workflows", {"slug": f"w{number}", "project": "answers"})
        names.post("aliases", {"kind": "team", "name": f"a{number}", "slug": "search"})
    whole = names.get(kind).json()
    assert whole["next"] is None
    found, cursor = [], None
    while True:
        page = names.get(kind, limit=2, **({"cursor": cursor} if cursor else {})).json()
        assert len(page["data"]) <= 2
        found += page["data"]
        if (cursor := page["next"]) is None:
            break
    assert found == whole["data"]


@pytest.mark.parametrize("kind", ["teams", "projects", "workflows", "aliases"])
@pytest.mark.parametrize(
    "query", [{"limit": "0"}, {"limit": "1001"}, {"cursor": "AAAA"}, {"cursor": "W10"}, {"cursor": "IgAi"}]
)
def test_a_wrong_page_is_refused(names, kind, query):
    assert names.get(kind, **query).status_code == 400


def test_a_pinned_key_changes_nothing(org, names):
    pinned = make_api(org, team="search")
    for method, path, body in (
        ("PATCH", "teams/search", {"name": "x"}),
        ("PATCH", "workflows/rag", {"name": "x"}),
        ("POST", "workflows/rag/move", {"project": "mails"}),
        ("DELETE", "projects/answers/move", None),
        ("DELETE", "aliases/team/x", None),
        ("POST", "attribution-rules", {}),
        ("GET", "attribution-rules", None),
    ):
        answer = call(pinned, method, path, body)
        assert (answer.status_code, answer.json()["code"]) == (403, "pinned_dimension"), path
