"""The inbox, the page of an incident with its answers, and what a workflow's page and the overview say of signals."""

from datetime import timedelta
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pytest
from django.test import Client

from apps.core.tenancy import tenant
from apps.insights.models import Incident
from apps.insights.selectors import Point, Series
from apps.organizations.permissions import Role
from apps.organizations.services import add_member
from apps.portal.signal_chart import signal_chart
from tests.insights.scenes import (
    DAYS,
    NOW,
    TEAM,
    WORKFLOW,
    Scene,
    approve,
    look,
    name_workflows,
    open_scene,
    send_between,
    send_days,
)
from tests.insights.test_evaluating import dear_run
from tests.portal.conftest import client_of, make_person
from tests.portal.reading import get
from tests.usage.ledger import Books
from tests.world import Tenant, make_tenant


@pytest.fixture(scope="module")
def side() -> Tenant:
    side = make_tenant("signals", "alice")
    scene = Scene(Books(side.org, side.api), NOW)
    name_workflows(scene.books, WORKFLOW)
    send_days(scene, DAYS, 1)
    send_between(scene, NOW.replace(hour=0), NOW, dear_run, runs=64)
    look(scene)
    look(scene, NOW + timedelta(hours=13))
    return side


@pytest.fixture
def alice(side: Tenant) -> Client:
    return client_of(side.owner)


def url(side: Tenant, page: str) -> str:
    return f"/o/{side.org.slug}/{page}"


def incident(side: Tenant) -> Incident:
    with tenant(side.org):
        return Incident.objects.for_org(side.org).get()


def test_the_inbox_says_what_changed_where_and_what_it_costs(side: Tenant, alice: Client) -> None:
    page = get(alice, url(side, "signals"))
    assert "Loops per run" in page.text
    assert WORKFLOW in page.text
    assert "is usual" in page.text
    assert "beyond the usual" in page.text
    assert get(alice, url(side, "signals?state=closed")).text.count("No incidents like this") == 1
    assert "Loops per run" in get(alice, url(side, f"signals?workflow={WORKFLOW}&signal=loops_per_run")).text


def test_an_inbox_without_incidents_says_what_will_be_here() -> None:
    side = make_tenant("calm", "alice")
    assert "Signals appear here" in get(client_of(side.owner), url(side, "signals")).text


def test_the_page_of_an_incident_has_its_chart_runs_and_fix(side: Tenant, alice: Client) -> None:
    one = incident(side)
    page = get(alice, url(side, f"signals/{one.pk}"))
    assert 'data-chart="signal-chart"' in page.html
    assert one.runs[0] in page.text
    assert "Bound the loop" in page.text
    assert "opened" in page.text


def test_answers_are_given_on_the_page(side: Tenant, alice: Client) -> None:
    here = url(side, f"signals/{incident(side).pk}")
    refused = alice.post(here, {"act": "dismiss"})
    assert refused.status_code == 400
    assert "Say why" in refused.content.decode()
    assert alice.post(here, {"act": "acknowledge", "reason": ""}).status_code == 302
    assert incident(side).state == "acknowledged"
    assert alice.post(here, {"act": "dance"}).status_code == 400
    assert alice.post(here, {"act": "useful"}).status_code == 302
    assert incident(side).is_useful is True


def test_who_may_not_answer_sees_and_is_offered_nothing(side: Tenant) -> None:
    viewer = make_person("viewer")
    add_member(org=side.org, user=viewer, role=Role.VIEWER, actor=None)
    here = url(side, f"signals/{incident(side).pk}")
    page = get(client_of(viewer), here)
    assert "Take it on" not in page.text
    assert client_of(viewer).post(here, {"act": "acknowledge"}).status_code == 403


def test_a_lead_sees_and_answers_their_teams_alone(side: Tenant) -> None:
    leads = {}
    for team in (TEAM, "other"):
        if team == "other":
            name_workflows(Books(side.org, side.api), "other-work", team="other", project="other")
        leads[team] = make_person(team)
        add_member(org=side.org, user=leads[team], role=Role.LEAD, teams=[team], actor=None)
    here = url(side, f"signals/{incident(side).pk}")
    own, other = client_of(leads[TEAM]), client_of(leads["other"])
    assert "Loops per run" in get(own, url(side, "signals")).text
    assert own.post(here, {"act": "not_useful"}).status_code == 302
    assert "Loops per run</a>" not in get(other, url(side, "signals")).html
    assert other.get(here).status_code == 404
    assert other.post(here, {"act": "acknowledge"}).status_code == 404


def test_the_workflows_page_has_unit_economics_and_signals(side: Tenant, alice: Client) -> None:
    page = get(alice, url(side, f"workflows/{WORKFLOW}"))
    assert "Unit economics" in page.text
    assert "Cost per success" in page.text
    assert 'data-chart="signal-loops_per_run"' in page.html
    assert "Incidents of this workflow" in page.html


def test_a_workflow_that_is_learning_says_what_is_missing() -> None:
    scene = open_scene()
    send_days(scene, 3, 1, runs=10)
    person = make_person("learner")
    add_member(org=scene.org, user=person, role=Role.OWNER, actor=None)
    page = f"/o/{scene.org.slug}/workflows/{WORKFLOW}"
    with patch("django.utils.timezone.now", return_value=NOW):
        look(scene)
        said = get(client_of(person), page).text
        assert "needs 11 more days and 170 more runs" in said
        assert "Without an approved plan, only fixed limits speak until then." in said
        approve(scene)
        assert "Until then, what is worse than its plan's P90 is told." in get(client_of(person), page).text


def test_the_overview_says_what_is_open(side: Tenant, alice: Client) -> None:
    page = get(alice, url(side, ""))
    assert "Open signals" in page.text


def test_another_organization_has_no_such_incident(side: Tenant) -> None:
    other = make_tenant("stranger", "charlie")
    assert client_of(other.owner).get(url(other, f"signals/{incident(side).pk}")).status_code == 404
    assert client_of(other.owner).get(url(side, "signals")).status_code == 404


@pytest.mark.parametrize(
    ("baseline", "low", "high", "layers"), [(None, None, None, 2), (2.0, None, None, 3), (2.0, 1.0, 3.0, 4)]
)
def test_a_chart_has_no_layer_without_a_number(
    baseline: float | None, low: float | None, high: float | None, layers: int
) -> None:
    """Of which the browser would complain."""
    points = [Point(NOW - day * timedelta(days=1), 2.5, baseline, low, high, 40.0, None) for day in (2, 1)]
    spec = signal_chart(Series("loops_per_run", tuple(points), 28, 900), ZoneInfo("UTC")).spec
    assert spec is not None
    assert len(spec["layer"]) == layers
