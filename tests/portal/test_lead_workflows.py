"""The page of a workflow as a team lead sees it: what is of their teams, and nothing of any other."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from apps.core.tenancy import tenant
from apps.insights.models import Incident
from apps.insights.models_savings import Recommendation
from apps.organizations.permissions import Role
from apps.organizations.services import add_member
from apps.planner.models import Plan
from apps.teams import services
from apps.teams.selectors import require_project, require_team, require_workflow
from apps.usage.forecasting import forecast_month
from tests.api.tenants import make_api
from tests.database import as_worker
from tests.insights.scenes import (
    NOW,
    PROJECT,
    TEAM,
    WORKFLOW,
    Scene,
    look,
    name_workflows,
    open_scene,
    send_between,
    send_days,
)
from tests.portal.conftest import client_of, make_person
from tests.portal.reading import Page, get
from tests.usage.ledger import roll
from tests.world import make_event, unique

# As a word of its own, so that it is found wherever it is shown.
OTHER = "growthcanary"
THEIRS = f"{OTHER}-work"
# 654321 and 654.32, whatever stands between the digits.
FIGURE = re.compile(r"654\D{0,8}32")
NO_FIGURES = "Not only your teams use this workflow"


def person(scene: Scene, role: str, *teams: str, name: str = "") -> Client:
    made = make_person(name or role)
    add_member(org=scene.org, user=made, role=role, teams=list(teams), actor=None)
    return client_of(made)


def page(scene: Scene, client: Client, workflow: str = WORKFLOW) -> Page:
    return get(client, f"/o/{scene.org.slug}/workflows/{workflow}")


def make_scene(days: int = 29) -> Scene:
    """A workflow of `TEAM` with weeks behind it, and one of another team."""
    scene = open_scene()
    name_workflows(scene.books, THEIRS, team=OTHER, project=f"{OTHER}-project")
    send_days(scene, days, 1, runs=6)
    return scene


def call(scene: Scene, days: float, **said: Any) -> None:
    """A call of the other team with its name in all that it says, at a price that nobody else pays."""
    at = NOW.replace(hour=0) - timedelta(days=days)
    event = {
        "occurred_at": at.isoformat(), "team": OTHER, "workflow": WORKFLOW, "user": OTHER, "task_type": OTHER,
        "environment": OTHER, "run_id": f"{OTHER}-{unique('run')}", "usage": {"input_tokens": 7_654_321},
        **said,
    }  # fmt: skip
    # No more than 35 days back are taken without a word.
    scene.books.api.send(make_event(**event))
    roll(scene.org)


def test_a_lead_sees_a_workflow_of_their_team_as_an_owner_does() -> None:
    scene = make_scene()
    look(scene)
    lead, viewer = person(scene, Role.LEAD, TEAM), person(scene, Role.VIEWER)
    own, all_of_it = page(scene, lead), page(scene, viewer)
    for shown in ("Cost per run", "Loops per run", "Cache hits", 'data-chart="signal-loops_per_run"', "By day"):
        assert (shown in own.html) == (shown in all_of_it.html), shown
    assert "Cost per run" in own.text
    assert NO_FIGURES not in own.text
    assert f"by {TEAM}" in own.text
    assert "Move it to another" not in own.text
    links = [
        link for link in own.html.split('"') if link.startswith(f"/o/{scene.org.slug}/") and "/workflows/" not in link
    ]
    assert {lead.get(link.replace("&amp;", "&")).status_code for link in links} == {200}


@pytest.fixture(scope="module")
def shared() -> Scene:
    """A workflow that two teams use; of the other's, all that could be told is named after it."""
    scene = make_scene()
    owner = make_person(OTHER)
    add_member(org=scene.org, user=owner, role=Role.ENGINEER, teams=[], actor=None)
    call(scene, 3)
    call(scene, -2, workflow=THEIRS)
    call(scene, -2, model="claude-opus-4-1", usage={"input_tokens": 654_321})
    send_between(scene, NOW - timedelta(hours=3), NOW, lambda _: [{"workflow": THEIRS, "team": TEAM}])
    with tenant(scene.org):
        theirs = require_workflow(scene.org, THEIRS)
    services.set_workflow_owner(org=scene.org, workflow=theirs, email=owner.email, actor="tests")
    look(scene)
    with as_worker():
        forecast_month(scene.org, at=datetime.now(UTC))
    # Theirs: one that is approved, and a draft for a workflow that has none. And one that was held against all runs.
    plan(scene, f"{OTHER}-plan", OTHER, WORKFLOW)
    plan(scene, f"{OTHER}-draft", OTHER, THEIRS, approved=False)
    ours = plan(scene, "ours", TEAM, WORKFLOW)
    said = {"status": "calibrated", "runs": 654321, "days": 9, "missing": [], "gap": 0.1, "planned_run_usd": "1",
            "run_usd": {"mean": "654.321"}}  # fmt: skip
    with as_worker(), tenant(scene.org):
        Plan.objects.for_org(scene.org).filter(pk=ours).update(state="live", launched_at=NOW, calibration=said)
        for team in (TEAM, OTHER):
            Incident.objects.for_org(scene.org).create(
                organization=scene.org, scope_kind="workflow", scope=WORKFLOW, team=team, family=team,
                signal="loops_per_run", tier="notify", opened_at=NOW, since=NOW, last_seen_at=NOW, excess_usd=654321,
                peak_usd=654321, runs=[f"{OTHER}-run"], fix="bound_loop", cause={"cells": [
                    {"cell": {"user": OTHER}, "share": 0.9, "excess_usd": "654321", "ratio": 2, "score": 1}],
                    "words": f"user {OTHER}: 90 % of it"},
                signals=[{"signal": "loops_per_run", "in_alarm": True, "value": 654321.0, "baseline": 3.0, "low": 2.5,
                          "high": 3.5, "change": 2.0, "sample": 99.0, "rule": "window", "since": NOW.isoformat(),
                          "excess_usd": "654321"}],
                history=[{"at": NOW.isoformat(), "what": f"opened: run {OTHER}-run", "actor": "", "reason": ""}],
            )  # fmt: skip
        Recommendation.objects.for_org(scene.org).create(
            organization=scene.org, kind="batch", workflow_id=1, segment=OTHER, workflow=WORKFLOW, project=PROJECT,
            team=TEAM, grade="C", label="answers_unchanged", saving_low_usd=654321, saving_likely_usd=654321,
            saving_high_usd=654321, headline_usd=654321, scope_usd=654321, evidence={"task_type": OTHER},
            runs=[f"{OTHER}-run"], first_found_at=NOW, found_at=NOW,
        )  # fmt: skip
    return scene


def plan(scene: Scene, name: str, team: str, workflow: str, *, approved: bool = True) -> int:
    step = {"name": "step", "model": {"provider": "anthropic", "model": "claude-opus-4-1"}, "input_tokens": 1_000}
    body = {"steps": [{**step, "output_tokens": 10}], "runs_per_month": 1_000}
    made = scene.books.api.post("plans", {"name": name, "workflow": workflow, "team": team, "definition": body})
    assert made.status_code == 201, made.content
    number: int = made.json()["id"]
    if approved:
        assert scene.books.api.post(f"plans/{number}/approve", {"version": 1}).status_code == 200
    return number


@pytest.mark.parametrize("workflow", [WORKFLOW, THEIRS])
def test_a_shared_workflow_shows_a_lead_no_name_figure_or_member_of_others(shared: Scene, workflow: str) -> None:
    lead, viewer = person(shared, Role.LEAD, TEAM), person(shared, Role.VIEWER)
    # The slug is what the lead's own events say.
    shown = page(shared, lead, workflow).html.replace(THEIRS, "")
    assert OTHER not in shown
    assert not FIGURE.search(shown)
    assert NO_FIGURES in shown
    everything = page(shared, viewer, workflow).html.replace(THEIRS, "")
    assert OTHER in everything
    assert NO_FIGURES not in everything


def test_the_spend_of_a_shared_workflow_is_that_of_the_leads_team(shared: Scene) -> None:
    spent = shared.books.api.get("spend", workflow=WORKFLOW, team=TEAM).json()["total"]["cost_usd"]
    both = shared.books.api.get("spend", workflow=WORKFLOW).json()["total"]["cost_usd"]
    assert spent != both
    text = page(shared, person(shared, Role.LEAD, TEAM)).text
    assert f"{float(spent):.2f}" in text
    assert f"{float(both):.2f}" not in text


@pytest.mark.parametrize(
    "path",
    ["signals", "signals?state=", "savings", "", "forecast", f"forecast?workflow={WORKFLOW}", "plans", "plans/missing"],
)
def test_lists_say_of_a_shared_workflow_no_figures(shared: Scene, path: str) -> None:
    shown = person(shared, Role.LEAD, TEAM).get(f"/o/{shared.org.slug}/{path}").content.decode()
    assert OTHER not in shown.replace(THEIRS, "")
    assert not FIGURE.search(shown)


def test_an_incident_of_a_shared_workflow_opens_without_figures_and_is_answered(shared: Scene) -> None:
    lead = person(shared, Role.LEAD, TEAM)
    with tenant(shared.org):
        own = Incident.objects.for_org(shared.org).get(family=TEAM)
        other = Incident.objects.for_org(shared.org).get(family=OTHER)
    here = f"/o/{shared.org.slug}/signals/{own.pk}"
    shown = lead.get(here).content.decode()
    assert "not only yours" in shown
    assert OTHER not in shown
    assert not FIGURE.search(shown)
    assert lead.get(f"/o/{shared.org.slug}/signals/{other.pk}").status_code == 404
    assert lead.post(here, {"act": "acknowledge"}).status_code == 302
    with tenant(shared.org):
        own = Incident.objects.for_org(shared.org).get(pk=own.pk)
    assert own.excess_usd == 654321, "Nothing that is withheld is lost."


def test_a_pinned_key_is_told_no_more(shared: Scene) -> None:
    key = make_api(shared.org, team=TEAM)
    series = f"workflows/{WORKFLOW}/signals"
    for path in ("signals", "recommendations", "savings", series, "forecasts", "plans", "plans/missing"):
        answer = key.get(path)
        assert answer.status_code == 200, path
        assert OTHER not in answer.content.decode().replace(THEIRS, ""), path
        assert not FIGURE.search(answer.content.decode()), path
    forecasts = [one["workflow"] for one in key.get("forecasts", scope="workflow").json()["data"]]
    assert WORKFLOW not in forecasts
    everything = shared.books.api.get("forecasts", scope="workflow").json()["data"]
    assert WORKFLOW in [one["workflow"] for one in everything]
    (incident,) = key.get("signals").json()["data"]
    assert (incident["excess_usd"], incident["signals"], incident["runs"]) == (None, [], [])
    assert key.get(f"signals/{incident['id']}").json() == incident
    assert [point["day"] for one in key.get(f"workflows/{WORKFLOW}/signals").json()["data"] for point in one["points"]
            if point["day"] < (NOW.replace(hour=0) - timedelta(days=1)).isoformat()] == []  # fmt: skip


def test_what_all_runs_say_of_a_plan_is_not_told_where_others_run_it(shared: Scene) -> None:
    key, lead, viewer = make_api(shared.org, team=TEAM), person(shared, Role.LEAD, TEAM), person(shared, Role.VIEWER)
    (ours,) = key.get("plans").json()["data"]
    assert (ours["calibration"], key.get(f"plans/{ours['id']}").json()["calibration"]) == (None, None)
    assert shared.books.api.get(f"plans/{ours['id']}").json()["calibration"]["runs"] == 654321
    here = f"/o/{shared.org.slug}/plans/{ours['id']}"
    assert FIGURE.search(viewer.get(here).content.decode())
    shown = lead.get(here).content.decode()
    assert not FIGURE.search(shown)
    assert OTHER not in shown


def test_the_lead_of_a_team_that_never_used_it_finds_no_page() -> None:
    scene = make_scene(3)
    assert person(scene, Role.LEAD, OTHER).get(f"/o/{scene.org.slug}/workflows/{WORKFLOW}").status_code == 404
    lead = person(scene, Role.LEAD, TEAM)
    assert lead.get(f"/o/{scene.org.slug}/workflows/{THEIRS}").status_code == 404
    assert lead.get(f"/o/{scene.org.slug}/workflows/never-was").status_code == 404
    assert lead.get(f"/o/{scene.org.slug}/workflows/{WORKFLOW}?team={OTHER}").status_code == 403
    for form in ({"act": "rename", "name": "mine"}, {"act": "owner", "owner": ""}, {"act": "move", "to": PROJECT}):
        assert lead.post(f"/o/{scene.org.slug}/workflows/{WORKFLOW}", form).status_code == 403, form


def test_a_call_of_others_in_a_run_of_the_workflow_is_in_no_figure_either() -> None:
    scene = make_scene(5)
    run = unique("run")
    at = (NOW - timedelta(days=2)).isoformat()
    scene.books.api.send(make_event(occurred_at=at, workflow=WORKFLOW, run_id=run))
    lead = person(scene, Role.LEAD, TEAM)
    look(scene)
    assert "the last 28 days" in page(scene, lead).text
    call(scene, 1.4, workflow=THEIRS, run_id=run)
    look(scene, NOW + timedelta(hours=1))
    assert "the last 28 days" not in page(scene, lead).text


def test_figures_come_back_for_the_days_since_the_workflow_is_the_teams_alone() -> None:
    scene = make_scene()
    call(scene, 12)
    look(scene)
    text = page(scene, person(scene, Role.LEAD, TEAM)).text
    assert "Cost per run" in text
    assert "the last 28 days" not in text
    assert "days that are over" in text
    points = make_api(scene.org, team=TEAM).get(f"workflows/{WORKFLOW}/signals").json()["data"][0]["points"]
    assert 10 <= len(points) <= 12
    assert {point["baseline"] for point in points} == {None}, "A baseline is made of days before."


def test_a_workflow_that_moved_shows_each_lead_their_time() -> None:
    scene = make_scene(4)
    with tenant(scene.org):
        project, team = require_project(scene.org, PROJECT), require_team(scene.org, OTHER)
    services.move_project(org=scene.org, project=project, team=team, at=NOW + timedelta(hours=1), actor="tests")
    before, after = person(scene, Role.LEAD, TEAM), person(scene, Role.LEAD, OTHER)
    assert "not of your teams" in page(scene, before).text
    assert PROJECT in page(scene, after).text


def test_links_lead_to_the_page(shared: Scene) -> None:
    lead, link = person(shared, Role.LEAD, TEAM), f'href="/o/{shared.org.slug}/workflows/{WORKFLOW}"'
    assert link in lead.get(f"/o/{shared.org.slug}/signals").content.decode()
    scene = make_scene(3)
    made = scene.books.api.post("plans", {"name": "ours", "workflow": WORKFLOW, "team": TEAM, "definition": {
        "steps": [{"name": "answer", "model": {"provider": "anthropic", "model": "claude-sonnet-4-5"},
                   "input_tokens": 10, "output_tokens": 10}], "runs_per_month": 10}}).json()  # fmt: skip
    link = f'href="/o/{scene.org.slug}/workflows/{WORKFLOW}"'
    assert link in person(scene, Role.LEAD, TEAM).get(f"/o/{scene.org.slug}/plans/{made['id']}").content.decode()
