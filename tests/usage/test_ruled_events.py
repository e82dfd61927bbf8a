"""Rules give names to what comes, and once to what came in the last 30 days; what was attributed stays where it is."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from apps.core.tenancy import tenant
from apps.teams.models import AttributionRule
from apps.teams.rulebook import RuleTerms, change_rule, create_rule, move_rule, remove_rule
from apps.teams.selectors import project_by_slug, team_by_slug, workflow_by_slug
from apps.teams.services import (
    create_project,
    create_team,
    create_workflow,
    map_name,
    move_project,
    move_workflow,
    remove_alias,
)
from apps.usage.attribution_preview import preview_creation, preview_mapping, preview_rule
from tests.api.tenants import make_api
from tests.usage.test_known_names import post_names, spend_by
from tests.world import World, make_event

COST = Decimal("0.0045")


def ago(**time: int) -> str:
    return (datetime.now(UTC) - timedelta(**time)).isoformat()


@pytest.fixture
def org(world: World) -> Any:
    """search owns answers, which has rag; growth owns mails."""
    org = world.acme.org
    search, growth = create_team(org=org, slug="search"), create_team(org=org, slug="growth")
    answers = create_project(org=org, slug="answers", team=search)
    create_project(org=org, slug="mails", team=growth)
    create_workflow(org=org, slug="rag", project=answers)
    return org


def add_rule(org: Any, when: dict[str, str], **gives: str) -> AttributionRule:
    return create_rule(org=org, terms=RuleTerms(name="Ours", when=when, **gives), actor="tests")


def by_team(world: World) -> dict[str | None, Decimal]:
    """Over all that was ever sent."""
    answer = world.acme.api.get("spend", group_by="team", **{"from": ago(days=200)}).json()
    return {row["team"]: Decimal(row["cost_usd"]) for row in answer["rows"] if row["events"]}


# --- what comes ---


def test_an_event_gets_what_it_lacks_from_the_first_rule_that_matches(world: World, org: Any) -> None:
    add_rule(org, {"workflow": "rag-*"}, workflow="rag")
    add_rule(org, {"tags.app": "shop"}, team="growth")
    add_rule(org, {"tags.app": "*"}, team="search")
    world.acme.api.send(
        make_event(workflow="rag-7", tags={"app": "shop"}),
        make_event(tags={"app": "shop"}),
        make_event(tags={"app": "other"}),
        make_event(team="search", tags={"app": "shop"}),
        make_event(project="answers", tags={"app": "shop"}),
        make_event(),
    )
    # A workflow that the event names, known or not, is its own: the first rule matches it and gives nothing.
    assert by_team(world) == {None: 2 * COST, "growth": COST, "search": 3 * COST}


def test_a_rule_gives_nothing_to_a_pinned_dimension(world: World, org: Any) -> None:
    add_rule(org, {"environment": "prod"}, team="growth", project="mails")
    make_api(org, "ingest", team="search").send(make_event(environment="prod"))
    assert spend_by(world, "team", "project") == {("search", "mails"): COST}


def test_a_decision_is_attributed_as_the_event_will_be(world: World, org: Any) -> None:
    add_rule(org, {"tags.app": "shop", "model": "claude-*"}, team="growth")
    body = {"name": "Growth", "scope": {"team": "growth"}, "period": "month", "amount_usd": "1", "mode": "block"}
    assert world.acme.api.post("budgets", body).status_code == 201
    call = {"provider": "anthropic", "model": "claude-sonnet-4-5", "estimate_usd": "2"}
    denied = world.acme.api.ask("decisions", {"request_id": "a", **call, "tags": {"app": "shop"}}).json()
    allowed = world.acme.api.ask("decisions", {"request_id": "b", **call, "tags": {"app": "no"}}).json()
    assert (denied["decision"], allowed["decision"]) == ("deny", "allow")


def test_the_order_decides_and_can_be_changed(world: World, org: Any) -> None:
    first = add_rule(org, {"environment": "*"}, team="search")
    second = add_rule(org, {"environment": "prod"}, team="growth")
    move_rule(org=org, rule_id=second.pk, up=True, actor="tests")
    move_rule(org=org, rule_id=second.pk, up=True, actor="tests")
    world.acme.api.send(make_event(environment="prod"), make_event(environment="dev"))
    assert by_team(world) == {"growth": COST, "search": COST}
    move_rule(org=org, rule_id=first.pk, up=True, actor="tests")
    world.acme.api.send(make_event(environment="prod"))
    assert by_team(world) == {"growth": COST, "search": 2 * COST}


# --- what came before ---


def test_a_new_rule_names_what_came_in_the_thirty_days_before_it_once(world: World, org: Any) -> None:
    api = world.acme.api
    api.send(
        make_event(environment="prod", occurred_at=ago(days=29), run_id="r"),
        make_event(environment="prod", occurred_at=ago(days=31)),
        make_event(environment="prod", team="search"),
        make_event(environment="prod", team="moon"),
        make_event(environment="dev"),
    )
    terms = RuleTerms(name="Prod is growth's", when={"environment": "prod"}, team="growth")
    looked = preview_rule(org, terms=terms, at=datetime.now(UTC))
    assert [(flow.before.team, flow.after.team, flow.events, flow.cost_usd) for flow in looked.flows] == [
        (None, "growth", 1, COST)
    ]
    assert not looked.is_cut
    rule = create_rule(org=org, terms=terms, actor="tests")
    assert post_names(org) == 1
    assert by_team(world) == {"growth": COST, "search": COST, None: 3 * COST}
    assert post_names(org) == 0
    # Another meaning is for what comes: what the rule gave stays given.
    change_rule(org=org, rule_id=rule.pk, terms=RuleTerms(name="x", when=terms.when, team="search"), actor="tests")
    assert post_names(org) == 0
    remove_rule(org=org, rule_id=rule.pk, actor="tests")
    assert post_names(org) == 0
    assert by_team(world) == {"growth": COST, "search": COST, None: 3 * COST}


@pytest.mark.parametrize(
    "when",
    [
        {"workflow": "nightly-*"}, {"workflow": "nightly-1"}, {"user": "u1"}, {"environment": "prod"},
        {"provider": "anthropic"}, {"model": "CLAUDE-sonnet*"}, {"task_type": "summ*"}, {"tags.app": "shop"},
        {"tags.app": "sh*"}, {"tags.a__b": "c*"}, {"api_key": "*"}, {"user": "u*", "tags.app": "shop"},
    ],
)  # fmt: skip
def test_the_past_is_matched_as_the_present_is(world: World, org: Any, when: dict[str, str]) -> None:
    said = {
        "workflow": "nightly-1", "user": "u1", "environment": "prod", "task_type": "summary",
        "tags": {"app": "shop", "a__b": "cd"},
    }  # fmt: skip
    world.acme.api.send(make_event(**said), make_event(workflow="other", provider="openai", model="gpt-5"))
    add_rule(org, when, team="growth")
    moved = post_names(org)
    assert moved == (2 if when == {"api_key": "*"} else 1)
    assert by_team(world)["growth"] >= COST


def test_an_older_rule_gives_nothing_to_what_came_before_it(world: World, org: Any) -> None:
    """Only the rule that is new looks back, and only where it is the first that matches."""
    world.acme.api.send(make_event(environment="prod"), make_event(environment="dev"))
    old = add_rule(org, {"environment": "prod"}, project="mails")
    assert post_names(org) == 1
    add_rule(org, {"environment": "*"}, team="search")
    assert post_names(org) == 1
    assert spend_by(world, "team", "project") == {("growth", "mails"): COST, ("search", None): COST}
    remove_rule(org=org, rule_id=old.pk, actor="tests")
    assert post_names(org) == 0


def test_a_name_that_becomes_known_wakes_no_older_rule(world: World, org: Any) -> None:
    world.acme.api.send(make_event(team="moon", environment="prod", occurred_at=ago(days=31)))
    add_rule(org, {"environment": "prod"}, project="mails")
    assert post_names(org) == 0
    create_team(org=org, slug="moon")
    add_rule(org, {"user": "nobody"}, project="mails")
    assert post_names(org) == 1
    answer = world.acme.api.get("spend", group_by="team,project", **{"from": ago(days=200)}).json()
    assert [(row["team"], row["project"]) for row in answer["rows"] if row["events"]] == [("moon", None)]


# --- what is attributed stays ---


def test_a_moved_workflow_takes_nothing_of_the_past_along(world: World, org: Any) -> None:
    """Neither of events that came with its name known, nor of those that came before it was."""
    api = world.acme.api
    api.send(make_event(workflow="rag"), make_event(workflow="later"))
    with tenant(org):
        answers, mails = project_by_slug(org, "answers"), project_by_slug(org, "mails")
        rag = workflow_by_slug(org, "rag")
    later = create_workflow(org=org, slug="later", project=answers)
    assert post_names(org) == 1
    for workflow in (rag, later):
        move_workflow(org=org, workflow=workflow, project=mails, actor="tests")
    assert post_names(org) == 0
    assert spend_by(world, "project") == {("answers",): 2 * COST}
    api.send(make_event(workflow="rag"), make_event(workflow="later"))
    assert spend_by(world, "project", "team") == {("answers", "search"): 2 * COST, ("mails", "growth"): 2 * COST}


def test_a_project_moved_as_of_the_past_takes_nothing_stored_along(world: World, org: Any) -> None:
    api = world.acme.api
    api.send(make_event(project="new"), make_event(project="answers"))
    with tenant(org):
        search, growth = team_by_slug(org, "search"), team_by_slug(org, "growth")
        answers = project_by_slug(org, "answers")
    new = create_project(org=org, slug="new", team=search)
    assert post_names(org) == 1
    for project in (new, answers):
        move_project(org=org, project=project, team=growth, at=datetime.now(UTC) - timedelta(days=9), actor="tests")
    assert post_names(org) == 0
    assert by_team(world) == {"search": 2 * COST}


def test_a_removed_alias_leaves_what_it_moved(world: World, org: Any) -> None:
    api = world.acme.api
    api.send(make_event(team="serach", project="ansers"))
    map_name(org=org, kind="team", name="serach", slug="search", actor="tests")
    assert post_names(org) == 1
    remove_alias(org=org, kind="team", name="serach", actor="tests")
    map_name(org=org, kind="project", name="ansers", slug="mails", actor="tests")
    assert post_names(org) == 1
    assert spend_by(world, "team", "project") == {("search", "mails"): COST}
    api.send(make_event(team="serach"))
    assert by_team(world) == {"search": COST, None: COST}


def test_a_name_mapped_anew_moves_what_came_with_it(world: World, org: Any) -> None:
    world.acme.api.send(make_event(workflow="rga"))
    with tenant(org):
        mails = project_by_slug(org, "mails")
    create_workflow(org=org, slug="letters", project=mails)
    map_name(org=org, kind="workflow", name="rga", slug="letters", actor="tests")
    assert post_names(org) == 1
    at = datetime.now(UTC)
    looked = preview_mapping(org, kind="workflow", name="rga", slug="rag", at=at)
    assert [(flow.before, flow.after) for flow in looked.flows] == [
        (("growth", "mails", "letters"), ("search", "answers", "rag"))
    ]
    map_name(org=org, kind="workflow", name="rga", slug="rag", actor="tests")
    assert post_names(org) == 1
    assert spend_by(world, "team", "project", "workflow") == {("search", "answers", "rag"): COST}


# --- previews ---


@pytest.mark.parametrize(
    ("kind", "belongs_to", "after"),
    [
        ("team", "", ("moon", None, None)),
        ("project", "growth", ("growth", "moon", None)),
        ("project", "", (None, "moon", None)),
        ("workflow", "answers", ("search", "answers", "moon")),
    ],
)
def test_a_preview_says_what_a_new_name_would_move(
    world: World, org: Any, kind: str, belongs_to: str, after: tuple[str | None, ...]
) -> None:
    world.acme.api.send(
        make_event(**{kind: "moon"}), make_event(**{kind: "moon"}, provider="nobody", model="x"), make_event(user="u")
    )
    looked = preview_creation(org, kind=kind, slug="moon", belongs_to=belongs_to, at=datetime.now(UTC))
    (flow,) = looked.flows
    assert (flow.after, flow.events, flow.unpriced_events, flow.cost_usd) == (after, 2, 1, COST)
    assert (looked.events, looked.unpriced_events, looked.cost_usd) == (2, 1, COST)


def test_a_preview_that_is_too_long_says_how_far_it_came(
    world: World, org: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.usage.attribution_preview.EVENTS_A_BATCH", 2)
    monkeypatch.setattr("apps.usage.attribution_preview.EVENTS_MAX", 4)
    world.acme.api.send(*(make_event(team="moon", occurred_at=ago(hours=hours)) for hours in range(1, 8)))
    looked = preview_creation(org, kind="team", slug="moon", belongs_to="", at=datetime.now(UTC))
    assert looked.is_cut
    assert looked.events == 4
    assert datetime.now(UTC) - looked.start < timedelta(hours=5)
