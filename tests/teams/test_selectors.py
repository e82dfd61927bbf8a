from collections.abc import Callable
from typing import Any

import pytest

from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.services import create_organization, issue_key
from apps.teams.selectors import project_by_slug, team_by_slug, workflow_by_slug
from apps.teams.services import create_project, create_team, create_workflow
from tests.world import Api, unique

FINDERS = (team_by_slug, project_by_slug, workflow_by_slug)


@pytest.fixture
def org() -> Organization:
    """An organization with a team, a project and a workflow of one slug."""
    org = create_organization(name=unique("acme"), owner_email="alice@acme.example")
    create_team(org=org, slug="chat")
    create_workflow(org=org, slug="chat", project=create_project(org=org, slug="chat"))
    return org


@pytest.mark.parametrize("find", FINDERS)
def test_it_finds_what_has_the_slug(org: Organization, find: Callable[..., Any]) -> None:
    with tenant(org):
        assert find(org, "chat").slug == "chat"


@pytest.mark.parametrize("find", FINDERS)
@pytest.mark.parametrize("slug", ["", "Chat", "chat ", "ch\0at", "\0", "\ud800", "x" * 257])
def test_it_finds_nothing_by_another_text(org: Organization, find: Callable[..., Any], slug: str) -> None:
    with tenant(org):
        assert find(org, slug) is None


def test_a_path_that_can_be_no_slug_is_not_found(org: Organization) -> None:
    api = Api(issue_key(org=org, name="tests", scopes=["manage"]).secret)
    assert api.post("projects/ch%00at/move", {"team": "chat"}).status_code == 404
