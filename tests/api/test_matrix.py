"""The matrix, asked of the site: every page by every role, every operation by every scope, on one's own things, on
those of another team, and on those of another organization.
"""

import json
from dataclasses import replace
from typing import Any

import pytest

from apps.accounts.services import get_or_create_user
from apps.organizations.permissions import Role, Scope
from apps.organizations.services import add_member, issue_key
from apps.teams.services import create_team
from tests.api import matrix, recipes
from tests.api.stage import CANARY, Stage, checksums, fill, set_stage
from tests.api.test_isolation import Caller, call
from tests.world import Api, unique

# Who may, is gone or shut out after these: only refusals are tried.
PARTING = {"POST /o/{slug}/members/leave", "POST /o/{slug}/single-sign-on/disconnect"}


@pytest.fixture(scope="module")
def stage() -> Stage:
    stage = set_stage()
    fill(stage.acme, stage.acme_names)
    create_team(org=stage.acme.org, slug="elsewhere")
    return stage


def acting(stage: Stage, role: str, team: str = "") -> Caller:
    """Somebody with the role at Acme, of Acme's team unless another one is named."""
    person = get_or_create_user(email=f"{unique(role)}@people.example")
    teams = [team or stage.acme_names.fill("{team}")] if role == Role.LEAD else []
    add_member(org=stage.acme.org, user=person, role=role, teams=teams, actor=None)
    return Caller(None, person)


def test_every_page_and_operation_has_a_row() -> None:
    rows = {*matrix.PAGES, *matrix.PERSONAL}
    assert recipes.PAGES.keys() - rows == set(), "Say in tests/api/matrix.py who may open it."
    assert rows - recipes.PAGES.keys() == set(), "Nobody answers this any more: take the row out."
    assert recipes.API.keys() ^ matrix.SCOPES.keys() == set(), "Say in tests/api/matrix.py which scope it takes."


@pytest.mark.parametrize("role", Role.values)
def test_a_page_opens_for_the_roles_of_its_row(stage: Stage, role: str) -> None:
    somebody, before = acting(stage, role), checksums(stage.acme)
    for operation, roles in matrix.PAGES.items():
        reads = operation.startswith("GET")
        if role in roles and operation in PARTING:
            continue
        # Who may act, does so on what is nobody's, and says nothing: no row is changed by asking.
        asked = call(operation, stage.acme_names if reads else stage.nobodys_names)
        asked = replace(asked, path=asked.path.replace(stage.nobodys_names.word, stage.acme_names.word, 1))
        status = somebody.send(asked if reads else replace(asked, body={})).status
        if role not in roles:
            assert status == (404 if operation in matrix.HIDDEN else 403), operation
        else:
            assert status in ((200,) if reads else (200, 302, 400, 404)), (operation, status)
    if not matrix.FINANCE & {role}:
        assert checksums(stage.acme) == before


OF_A_TEAM = (
    "{event_id}", "{run_id}", "{statement_id}", "{dispute_id}", "{recommendation_id}", "{incident_id}", "{plan_id}",
    "{workflow}",
)  # fmt: skip


def test_another_teams_things_do_not_exist_for_a_lead(stage: Stage) -> None:
    lead = acting(stage, Role.LEAD, "elsewhere")
    for operation, roles in matrix.PAGES.items():
        if Role.LEAD not in roles or not operation.startswith("GET"):
            continue
        answer = lead.send(call(operation, stage.acme_names))
        # Addresses carry the organization's name, which begins with the canary; names of things go on after it.
        shown = answer.text.replace(stage.acme.org.slug, "").replace(stage.acme.org.name, "")
        if any(name in operation for name in OF_A_TEAM):
            assert answer.status == 404, operation
        else:
            assert answer.status == 200, operation
        if "members" not in operation:
            assert f"{CANARY}-" not in shown, operation


@pytest.mark.parametrize("role", Role.values)
def test_another_organizations_pages_do_not_exist(stage: Stage, role: str) -> None:
    person = get_or_create_user(email=f"{unique(role)}@people.example")
    teams = [stage.globex_names.fill("{team}")] if role == Role.LEAD else []
    add_member(org=stage.globex.org, user=person, role=role, teams=teams, actor=None)
    stranger, before = Caller(None, person), checksums(stage.acme)
    for operation in matrix.PAGES:
        assert stranger.send(call(operation, stage.acme_names)).status == 404, operation
    assert checksums(stage.acme) == before


@pytest.mark.parametrize("scope", Scope)
def test_an_operation_takes_the_scope_of_its_row(stage: Stage, scope: Scope) -> None:
    others = [one.value for one in Scope if one != scope]
    without = Api(issue_key(org=stage.acme.org, name="tests", scopes=others).secret)
    alone = Api(issue_key(org=stage.acme.org, name="tests", scopes=[scope]).secret)
    for operation, needed in matrix.SCOPES.items():
        if needed != scope:
            continue
        refused = ask(stage, without, operation)
        assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing"), operation
        assert ask(stage, alone, operation, empty=True).status_code not in (401, 403, 405, 500), operation


def ask(stage: Stage, api: Api, operation: str, *, empty: bool = False) -> Any:
    """On what is nobody's; `empty` says nothing, so that nothing is made."""
    asked = call(operation, stage.nobodys_names)
    body = None if asked.body is None or operation.startswith("GET") else ({} if empty else asked.body)
    return api.client.generic(
        asked.method,
        asked.path,
        b"" if body is None else json.dumps(body).encode(),
        "application/json",
        headers=api.headers,
    )
