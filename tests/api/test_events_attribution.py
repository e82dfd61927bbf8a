"""Whose an event is: names it says, names that follow from them, and names nobody knows yet."""

from datetime import UTC, datetime, timedelta
from threading import Barrier, Thread
from typing import Any

import pytest
from django.db import connections

from apps.organizations.models import Organization
from apps.teams.models import Project, Team
from apps.teams.services import create_project, create_team, create_workflow, map_name, move_project
from tests.api.tenants import make_api, make_org
from tests.world import Api, make_event

NOW = datetime.now(UTC)
MOVED_AT = NOW - timedelta(days=3)
NOBODY = {"team": None, "project": None, "workflow": None}


@pytest.fixture
def search(org: Organization) -> Team:
    return create_team(org=org, slug="search")


@pytest.fixture
def ads(org: Organization) -> Team:
    return create_team(org=org, slug="ads")


@pytest.fixture
def rag(org: Organization, search: Team) -> Project:
    """Owned by search since ever, with the workflow `answer`."""
    project = create_project(org=org, slug="rag", team=search)
    create_workflow(org=org, slug="answer", project=project)
    return project


def stored(api: Api, **fields: Any) -> dict[str, Any]:
    """The event as it is found again."""
    event = make_event(**fields)
    assert api.send(event)["accepted"] == 1
    found: dict[str, Any] = api.get("events", event_id=event["event_id"]).json()["data"][0]
    return found


def events_by(api: Api, dimension: str) -> dict[str | None, int]:
    answer = api.get("spend", group_by=dimension, **{"from": (NOW - timedelta(days=35)).isoformat()}).json()
    return {row[dimension]: row["events"] for row in answer["rows"]}


@pytest.mark.parametrize(
    ("said", "attributed"),
    [
        ({"workflow": "answer"}, {"team": "search", "project": "rag", "workflow": "answer"}),
        ({"project": "rag"}, {"team": "search", "project": "rag", "workflow": None}),
        ({"team": "search"}, {"team": "search", "project": None, "workflow": None}),
        ({"team": "ads", "project": "rag"}, {"team": "ads", "project": "rag", "workflow": None}),
        ({"project": "rag", "workflow": "new"}, {"team": "search", "project": "rag", "workflow": None}),
        ({"project": "new", "workflow": "answer"}, {"team": None, "project": None, "workflow": "answer"}),
        ({"team": "new", "workflow": "answer"}, {"team": None, "project": "rag", "workflow": "answer"}),
        ({"team": "SEARCH"}, NOBODY),
        ({}, NOBODY),
    ],
)
def test_what_an_event_does_not_say_follows_from_what_it_does(
    api: Api, ads: Team, rag: Project, said: dict[str, str], attributed: dict[str, str | None]
) -> None:
    found = stored(api, **said)
    assert found["attributed"] == attributed
    assert {name: found[name] for name in NOBODY if name in found} == said


def test_a_project_belongs_to_the_team_that_owned_it_then(org: Organization, api: Api, ads: Team, rag: Project) -> None:
    def team_at(instant: datetime) -> str | None:
        team: str | None = stored(api, workflow="answer", occurred_at=instant.isoformat())["attributed"]["team"]
        return team

    assert team_at(MOVED_AT) == "search"
    move_project(org=org, project=rag, team=ads, at=MOVED_AT, actor=None)
    assert team_at(MOVED_AT - timedelta(microseconds=1)) == "search"
    assert team_at(MOVED_AT) == "ads"
    assert team_at(NOW) == "ads"
    assert events_by(api, "team") == {"search": 2, "ads": 2}


def test_a_project_had_no_team_before_its_first(org: Organization, api: Api, search: Team) -> None:
    create_project(org=org, slug="late", team=search, valid_from=MOVED_AT)
    before = stored(api, project="late", occurred_at=(MOVED_AT - timedelta(seconds=1)).isoformat())
    assert before["attributed"] == {"team": None, "project": "late", "workflow": None}
    assert stored(api, project="late")["attributed"]["team"] == "search"


def test_names_nobody_knows_are_kept_as_sent_and_unattributed(api: Api) -> None:
    found = stored(api, team="Zoë's team", project="p/1", workflow="w")
    assert (found["team"], found["project"], found["workflow"]) == ("Zoë's team", "p/1", "w")
    assert found["attributed"] == NOBODY
    assert events_by(api, "team") == {None: 1}
    assert events_by(api, "team_name") == {"Zoë's team": 1}


def test_a_name_created_later_owns_the_events_from_then_on(org: Organization, api: Api) -> None:
    assert stored(api, team="search")["attributed"]["team"] is None
    create_team(org=org, slug="search")
    assert stored(api, team="search")["attributed"]["team"] == "search"


def test_a_mapped_name_means_its_slug_from_then_on(org: Organization, api: Api, rag: Project) -> None:
    assert stored(api, team="srch")["attributed"]["team"] is None
    for kind, name, slug in (("team", "srch", "search"), ("project", "RAG", "rag"), ("workflow", "answers", "answer")):
        map_name(org=org, kind=kind, name=name, slug=slug, actor=None)
    found = stored(api, team="srch", project="RAG", workflow="answers")
    assert (found["team"], found["project"], found["workflow"]) == ("srch", "RAG", "answers")
    assert found["attributed"] == {"team": "search", "project": "rag", "workflow": "answer"}
    assert stored(api, workflow="answers")["attributed"]["team"] == "search"


def test_the_same_name_of_another_kind_is_not_mapped(org: Organization, api: Api, search: Team) -> None:
    map_name(org=org, kind="team", name="x", slug="search", actor=None)
    assert stored(api, project="x", workflow="x")["attributed"] == NOBODY


def test_a_sent_again_event_keeps_its_first_attribution(org: Organization, api: Api) -> None:
    event = make_event(team="search")
    api.send(event)
    create_team(org=org, slug="search")
    assert api.send(event)["duplicates"] == 1
    assert api.get("events", event_id=event["event_id"]).json()["data"][0]["attributed"]["team"] is None


# --- Created on first sight --------------------------------------------------------------------------------


@pytest.fixture
def open_org() -> Organization:
    return make_org(create_names_on_first_sight=True)


def test_names_are_created_on_first_sight_where_the_organization_wants_it(open_org: Organization) -> None:
    api = make_api(open_org)
    names = {"team": "search", "project": "rag", "workflow": "answer"}
    assert stored(api, **names)["attributed"] == names
    assert stored(api, workflow="answer")["attributed"] == names
    assert [team["slug"] for team in api.get("teams").json()["data"]] == ["search"]


def test_a_rejected_event_creates_no_name(open_org: Organization) -> None:
    api = make_api(open_org)
    assert api.send(make_event(team="typo", step=-1))["rejected"] == 1
    assert api.get("teams").json()["data"] == []


def test_a_workflow_without_a_project_is_not_created(open_org: Organization) -> None:
    api = make_api(open_org)
    assert stored(api, team="search", workflow="answer")["attributed"] == {**NOBODY, "team": "search"}


def test_a_mapped_name_is_not_created_beside_what_it_means(open_org: Organization) -> None:
    api = make_api(open_org)
    create_team(org=open_org, slug="search")
    map_name(org=open_org, kind="team", name="srch", slug="search", actor=None)
    assert stored(api, team="srch", project="new")["attributed"] == {**NOBODY, "team": "search", "project": "new"}
    assert [team["slug"] for team in api.get("teams").json()["data"]] == ["search"]
    assert stored(api, project="new")["attributed"]["team"] == "search"


def test_a_pinned_team_is_created_too(open_org: Organization) -> None:
    stored_team = make_api(open_org, "ingest", team="search").send(make_event(event_id="pinned"))
    assert stored_team["accepted"] == 1
    found = make_api(open_org).get("events", event_id="pinned").json()["data"][0]
    assert found["attributed"]["team"] == "search"
    assert "team" not in found


def test_names_seen_by_several_at_once_are_created_once(open_org: Organization) -> None:
    """Four batches that name the same projects, each in another order, beside a project that has no team yet."""
    api = make_api(open_org)
    teams = [f"team-{number:02}" for number in range(12)]
    api.send(*(make_event(team=team) for team in teams))
    create_project(org=open_org, slug="shared")
    ready, answers = Barrier(4), []

    def send(turn: int) -> None:
        projects = [f"project-{(number * (1, 5, 7, 11)[turn] + turn) % 12}" for number in range(12)]
        events = [make_event(team=team, project=project) for team, project in zip(teams, projects, strict=True)]
        ready.wait()
        answers.append(Api(api.secret).post("events", [*events, make_event(team=teams[turn], project="shared")]))
        connections.close_all()

    threads = [Thread(target=send, args=(turn,)) for turn in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(answer.status_code, answer.json().get("accepted")) for answer in answers] == [(202, 13)] * 4
    assert len(api.get("projects").json()["data"]) == 13
    assert None not in events_by(api, "team")
