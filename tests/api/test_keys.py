"""Keys through the API: a key never grants more than it holds, and a revoked one is refused at once."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from apps.organizations.permissions import Scope
from apps.teams.services import create_team
from tests.world import Api, World, make_event


def issue(api: Api, **fields: Any) -> Any:
    return api.post("keys", {"name": "new", "scopes": ["ingest"], **fields})


def test_it_issues_a_key_that_works_and_shows_its_secret_once(world: World) -> None:
    issued = issue(world.acme.api, scopes=["read", "ingest"], team="search")
    assert issued.status_code == 201
    body = issued.json()
    assert Api(body["secret"]).get("spend").status_code == 200
    listed = next(key for key in world.acme.api.get("keys").json()["data"] if key["id"] == body["id"])
    assert "secret" not in listed
    assert (listed["team"], listed["scopes"], listed["hint"]) == ("search", ["ingest", "read"], body["hint"])


def test_a_revoked_key_is_refused_by_the_next_request(world: World) -> None:
    body = issue(world.acme.api, scopes=["read"]).json()
    key = Api(body["secret"])
    assert key.get("spend").status_code == 200
    assert world.acme.api.post(f"keys/{body['id']}/revoke", {}).status_code == 200
    refused = key.get("spend")
    assert (refused.status_code, refused.json()["code"]) == (401, "key_revoked")
    assert world.acme.api.post(f"keys/{body['id']}/revoke", {}).status_code == 200


@pytest.mark.parametrize("scope", [scope for scope in Scope if scope != Scope.MANAGE])
def test_a_key_cannot_give_a_scope_that_it_does_not_hold(world: World, scope: Scope) -> None:
    manager = Api(issue(world.acme.api, scopes=["manage"]).json()["secret"])
    refused = issue(manager, scopes=["manage", scope])
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_beyond_own")
    assert issue(manager, scopes=["manage"]).status_code == 201


@pytest.mark.parametrize("pin", ["team", "project", "environment"])
def test_a_pinned_key_issues_keys_with_the_same_pin_only(world: World, pin: str) -> None:
    pinned = Api(issue(world.acme.api, scopes=["manage"], **{pin: "own"}).json()["secret"])
    refused = issue(pinned, scopes=["manage"], **{pin: "other"})
    assert (refused.status_code, refused.json()["param"]) == (403, pin)
    assert issue(pinned, scopes=["manage"]).status_code == 403
    assert issue(pinned, scopes=["manage"], **{pin: "own"}).status_code == 201


def test_another_organizations_key_does_not_exist(world: World) -> None:
    foreign = issue(world.acme.api).json()["id"]
    assert world.globex.api.post(f"keys/{foreign}/revoke", {}).status_code == 404
    assert Api(issue(world.acme.api).json()["secret"]).get("keys").status_code == 403


def test_it_rejects_an_unknown_scope_by_name(world: World) -> None:
    refused = issue(world.acme.api, scopes=["root"])
    assert (refused.status_code, refused.json()["code"]) == (400, "scope_unknown")
    assert "root" in refused.json()["detail"]


def test_a_pinned_key_reads_what_is_its_own(world: World) -> None:
    for slug in ("search", "support"):
        create_team(org=world.acme.org, slug=slug)
    world.acme.api.send(make_event(team="search"), make_event(team="support"), make_event())
    pinned = Api(issue(world.acme.api, scopes=["read"], team="search").json()["secret"])
    assert pinned.get("spend").json()["total"]["events"] == 1
    assert [event["team"] for event in pinned.get("events").json()["data"]] == ["search"]
    statements = pinned.get("statements").json()["data"]
    assert [one["team"] for one in statements] == ["search"]
    month = statements[0]["month"]
    for path in ("spend", "events", "statements"):
        refused = pinned.get(path, team="support")
        assert (refused.status_code, refused.json()["code"]) == (403, "pinned_dimension")
    assert pinned.get(f"statements/{month}:support").status_code == 403
    assert pinned.get(f"statements/{month}:search").status_code == 200


@pytest.mark.parametrize("accept", ["text/csv", "*/*", "application/json"])
def test_csv_comes_whatever_the_client_accepts(world: World, accept: str) -> None:
    world.acme.api.send(make_event())
    headers = {**world.acme.api.headers, "Accept": accept}
    answer = world.acme.api.client.get("/api/v1/statements.csv", headers=headers)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/csv; charset=utf-8")


def test_a_key_that_expires_issues_none_that_lives_longer(world: World) -> None:
    soon = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    holder = Api(issue(world.acme.api, scopes=["manage"], expires_at=soon).json()["secret"])
    for expiry in ({}, {"expires_at": later}):
        refused = issue(holder, scopes=["manage"], **expiry)
        assert (refused.status_code, refused.json()["code"]) == (403, "expiry_beyond_own")
    assert issue(holder, scopes=["manage"], expires_at=soon).status_code == 201
