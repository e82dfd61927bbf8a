"""Plans and the runs that were really made: fitted from them, held against them, and what runs without one."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from apps.core.tenancy import tenant
from apps.organizations.permissions import Role
from apps.organizations.services import add_member, change_settings
from apps.planner import calibration, tasks
from apps.planner.models import Plan
from apps.teams.services import create_on_first_sight
from apps.usage.planned import planned_spend
from apps.usage.services import roll_up
from tests.api.planning import SONNET, act, live, make
from tests.api.tenants import make_api, make_org
from tests.database import as_worker
from tests.portal.conftest import client_of, make_person
from tests.world import make_event

NOW = datetime.now(UTC)
# 1,000 tokens in, of which 500 are sent again in each call after; 100 out: at 3 and 15 USD a million.
CALLS = 3


@pytest.fixture
def org():
    org = make_org()
    create_on_first_sight(org=org, seen=[("search", "web", "agent"), ("search", "web", "other")], actor="test")
    org.refresh_from_db()
    return org


@pytest.fixture
def api(org):
    return make_api(org)


@pytest.fixture
def owner(org):
    person = make_person("owner")
    add_member(org=org, user=person, role=Role.OWNER, actor=None)
    return person


def run_events(number, *, workflow="agent", calls=CALLS, days=4, **fields):
    began = NOW - timedelta(days=number % days, hours=2, minutes=number % 60)
    for call in range(calls):
        yield make_event(
            event_id=f"{workflow}-{number}-{call}-{calls}", run_id=f"{workflow}-run-{number}", workflow=workflow,
            occurred_at=(began + timedelta(seconds=call)).isoformat(),
            usage={"input_tokens": 1000 + 500 * call, "output_tokens": 100},
            outcome="success" if number % 4 else "failure", **fields,
        )  # fmt: skip


def send(org, api, events):
    events = list(events)
    for start in range(0, len(events), 900):
        api.send(*events[start : start + 900])
    with as_worker():
        roll_up(org)


def spent_usd(api):
    """Of all days that a test sends, whatever month they are of."""
    asked = {"from": (NOW - timedelta(days=40)).isoformat(), "to": (NOW + timedelta(minutes=5)).isoformat()}
    return Decimal(api.get("spend", **asked).json()["total"]["cost_usd"])


def fitted(api, **body):
    response = api.post("plans/fit", {"workflow": "agent", **body})
    assert response.status_code == 200, response.content
    return response.json()


# --- fits -----------------------------------------------------------------------------------------------


def test_a_plan_is_fitted_to_runs(org, api):
    send(org, api, [event for number in range(60) for event in run_events(number)])
    found = fitted(api)
    (step,) = found["definition"]["steps"]
    assert step["model"] == SONNET
    calls = step["calls"]
    assert (calls["likely"] if isinstance(calls, dict) else calls) == pytest.approx(CALLS, rel=0.05)
    real = Decimal(CALLS * 1000 + 500 * 3) * 3 / 10**6 + Decimal(CALLS * 100) * 15 / 10**6
    assert float(found["result"]["likely_usd"]) == pytest.approx(float(real), rel=0.02)
    success = found["definition"]["success_rate"]
    assert (success["likely"] if isinstance(success, dict) else success) == pytest.approx(0.75, abs=0.05)
    said = found["calibration"]
    assert (said["status"], said["runs"], said["days"]) == ("provisional", 60, 4)
    assert "140 more runs" in said["missing"]
    assert said["billed"] == [], "billed at the prices of the plan"
    plan = make(api, definition=found["definition"])
    assert plan["newest"]["definition"] == found["definition"], "what is fitted can be kept as it is"


def test_runs_of_other_workflows_and_other_organizations_are_left_out(org, api):
    send(org, api, [event for number in range(5) for event in run_events(number)])
    send(org, api, [event for number in range(9) for event in run_events(number, workflow="other", calls=7)])
    stranger = make_org()
    create_on_first_sight(org=stranger, seen=[("search", "web", "agent")], actor="test")
    stranger.refresh_from_db()
    send(stranger, make_api(stranger), [event for number in range(9) for event in run_events(number, calls=9)])
    assert fitted(api)["calibration"]["runs"] == 5


def test_each_model_of_a_run_is_a_step_of_the_plan(org, api):
    events = [event for number in range(20) for event in run_events(number)]
    events += [
        event
        for number in range(20)
        for event in run_events(number, calls=1, model="claude-haiku-4-5", task_type="triage")
    ]
    send(org, api, events)
    steps = fitted(api)["definition"]["steps"]
    assert sorted((step["model"]["model"], step["name"]) for step in steps) == [
        ("claude-haiku-4-5", "triage"),
        ("claude-sonnet-4-5", "calls"),
    ]


def test_a_model_without_a_price_leaves_the_fit_without_a_total(org, api):
    send(org, api, [event for number in range(20) for event in run_events(number, provider="acme", model="own")])
    found = fitted(api)
    assert found["result"] is None
    assert [(one["provider"], one["model"]) for one in found["unpriced"]] == [("acme", "own")]
    assert found["calibration"]["unpriced"] == ["acme/own"]


def test_escalations_are_fitted_as_a_cascade_that_the_plan_is_then_held_against(org, api):
    """A small model answers all, and every fourth run is answered again by the larger one: 25 % and not two steps."""
    small = {"model": "claude-haiku-4-5", "days": 7}
    events = [event for number in range(240) for event in run_events(number, **small)]
    events += [
        {**event, "escalated_from": "claude-haiku-4-5", "event_id": f"up-{event['event_id']}"}
        for number in range(0, 240, 4)
        for event in run_events(number, days=7)
    ]
    send(org, api, events)
    found = fitted(api)
    (step,) = found["definition"]["steps"]
    assert (step["routing"], step["escalates_to"]) == ("cascade", SONNET)
    assert step["escalation_rate"]["low"] < 0.25 < step["escalation_rate"]["high"]
    assert step["escalation_rate"]["likely"] == pytest.approx(0.25, abs=0.001)
    assert step["escalation_multiple"] == 1, "the larger model does the same once more"
    spent = spent_usd(api) / 240
    assert float(found["result"]["likely_usd"]) == pytest.approx(float(spent), rel=0.001)
    plan = launched(org, api, days=9, definition=found["definition"])
    calibrate(org)
    said = api.get(f"plans/{plan['id']}").json()["calibration"]
    assert (said["status"], abs(said["gap"]) < 0.01) == ("calibrated", True)
    month = f"{NOW - timedelta(days=3, hours=3):%Y-%m}"
    against = api.get(f"plans/{plan['id']}/variance", month=month).json()
    assert against["state"] == "compared"
    for name in ("escalated_share", "calls_per_run", "usd_per_run"):
        assert against["planned"][name] == pytest.approx(against["actual"][name], rel=0.1), name
    assert against["planned"]["escalated_share"] > 0.1


def test_what_prompts_beyond_a_threshold_cost_more_is_said_and_not_taken_for_loops(org, api, owner):
    """A prompt beyond 200,000 tokens is billed at twice the card; a plan is at the card, and says so."""
    events = [
        {**event, "usage": {"input_tokens": 300_000, "output_tokens": 100}}
        for number in range(210)
        for event in run_events(number, calls=2, days=8)
    ]
    send(org, api, events)
    found = fitted(api)
    (one,) = found["calibration"]["billed"]
    billed = spent_usd(api) / 210
    at_card = Decimal(found["calibration"]["run_usd"]["mean"])
    assert at_card == 2 * (Decimal(300_000) * 3 + 100 * 15) / 10**6
    assert (one["model"], one["factor"]) == ("claude-sonnet-4-5", float(round(billed / at_card, 3)))
    assert one["factor"] > 1.9
    page = client_of(owner).get(f"/o/{org.slug}/plans/new?from=fit&workflow=agent").content.decode()
    assert "Billed otherwise than these prices say: anthropic/claude-sonnet-4-5 +" in page
    plan = launched(org, api, days=9, definition=found["definition"])
    calibrate(org)
    assert abs(api.get(f"plans/{plan['id']}").json()["calibration"]["gap"]) < 0.01, "no revision would close it"
    assert "Billed otherwise" in client_of(owner).get(f"/o/{org.slug}/plans/{plan['id']}").content.decode()


def long_tail(count=60, kinds=30, **rare):
    """Runs of a main kind of calls and of one of many rare ones."""
    for number in range(count):
        yield from run_events(number, task_type="main")
        yield from run_events(number, calls=1, task_type=f"task-{number % (kinds - 1):02}", **rare)


def test_more_kinds_of_calls_than_a_plan_has_steps_are_folded_and_said(org, api, owner):
    send(org, api, long_tail(model="claude-haiku-4-5"))
    found = fitted(api)
    said, definition = found["calibration"], found["definition"]
    assert (len(definition["steps"]), said["kinds"], said["folded"]["kinds"]) == (16, 30, 14)
    assert said["folded"]["unpriced"] == []
    assert 0 < said["folded"]["share"] < 0.2
    assert Decimal(definition["other_cost_usd"]["likely"]) == Decimal(said["folded"]["run_usd"])
    assert found["result"]["other_usd"] == said["folded"]["run_usd"]
    spent = spent_usd(api) / 60
    assert float(found["result"]["likely_usd"]) == pytest.approx(float(spent), rel=0.001)
    page = client_of(owner).get(f"/o/{org.slug}/plans/new?from=fit&workflow=agent")
    assert "14 of 30 kinds of calls became no step: they are in other cost" in page.content.decode()


def test_folded_calls_without_a_price_are_named_wherever_the_fit_is(org, api, owner):
    """The rare kinds are of a model that nobody knows; 16 steps of it and of others leave 14 kinds over."""
    send(org, api, long_tail(provider="acme", model="own"))
    found = fitted(api)
    said = found["calibration"]
    assert said["folded"]["run_usd"] is None, "unpriced is not zero"
    assert [(one["provider"], one["model"]) for one in said["folded"]["unpriced"]] == [("acme", "own")]
    assert said["folded"]["unpriced"][0]["calls"] > 0
    assert found["result"] is None
    assert [(one["provider"], one["model"]) for one in found["unpriced"]] == [("acme", "own")]
    page = client_of(owner).get(f"/o/{org.slug}/plans/new?from=fit&workflow=agent").content.decode()
    assert "In no figure, for want of a price" in page
    assert "No total: unpriced" in page
    assert "Supposed input price of acme/own" in page, "the way out stands on the page"


def test_a_note_has_room_for_however_many_models_have_no_price(org, api, owner):
    events = [
        event
        for number in range(30)
        for event in run_events(
            number, calls=1, task_type=f"task-{number}", provider="p" * 250, model=f"{number}" * 120
        )
    ]
    send(org, api, [*events, *run_events(0)])
    browser = client_of(owner)
    page = browser.get(f"/o/{org.slug}/plans/new?from=fit&workflow=agent").content.decode()
    (note,) = re.findall(r'name="note" value="([^"]*)"', page)
    assert "calls of ppp" in note
    assert "more" in note
    assert len(note) <= 500
    kept = make(api, definition=fitted(api)["definition"], note=note)
    assert kept["newest"]["note"] == note


def test_a_live_plan_names_what_was_folded_and_what_has_no_price(org, api, owner):
    plan = launched(org, api)
    send(org, api, long_tail(provider="acme", model="own"))
    calibrate(org)
    said = api.get(f"plans/{plan['id']}").json()["calibration"]
    assert (said["gap"], said["unpriced"]) == (None, ["acme/own"])
    priced = Decimal(CALLS * 1000 + 500 * 3) * 3 / 10**6 + Decimal(CALLS * 100) * 15 / 10**6
    assert Decimal(said["run_usd"]["mean"]) == priced
    page = client_of(owner).get(f"/o/{org.slug}/plans/{plan['id']}").content.decode()
    assert "Unpriced is not zero, so nothing is compared" in page
    assert "14 of 30 kinds of calls became no step" in page


def test_a_supposed_price_that_was_approved_is_what_runs_are_held_against(org, api):
    step = {"name": "calls", "model": {"provider": "acme", "model": "own"}, "calls": 3, "output_tokens": 100}
    prices = [{"provider": "acme", "model": "own", "rates": {"input_tokens": "3.00", "output_tokens": "15.00"}}]
    plan = launched(org, api, definition={"runs_per_month": 100, "steps": [step]}, prices=prices)
    send(org, api, [e for number in range(210) for e in run_events(number, provider="acme", model="own")])
    calibrate(org)
    found = api.get(f"plans/{plan['id']}").json()
    said = found["calibration"]
    assert (said["unpriced"], said["folded"]) == ([], None)
    assert said["gap"] is not None
    priced = Decimal(CALLS * 1000 + 500 * 3) * 3 / 10**6 + Decimal(CALLS * 100) * 15 / 10**6
    assert Decimal(said["run_usd"]["mean"]) == priced


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"workflow": "nothing"}, 400, "workflow_unknown"),
        ({"days": 0}, 400, "days_invalid"),
        ({"days": 61}, 400, "days_invalid"),
        ({}, 422, "runs_missing"),
    ],
)
def test_what_cannot_be_fitted_says_why(api, body, status, code):
    response = api.post("plans/fit", {"workflow": "agent", **body})
    assert (response.status_code, response.json()["code"]) == (status, code)


# --- held against runs ----------------------------------------------------------------------------------


def launched(org, api, days=5, **fields):
    plan = live(api, **fields)
    at = NOW - timedelta(days=days)
    with tenant(org):
        Plan.objects.for_org(org).filter(pk=plan["id"]).update(launched_at=at, launch_on=at.date())
    return plan


def calibrate(org):
    with as_worker():
        return calibration.calibrate(org.pk)


def test_a_live_plan_without_runs_says_what_is_missing(org, api):
    plan = launched(org, api)
    assert calibrate(org) == 0
    said = api.get(f"plans/{plan['id']}").json()["calibration"]
    assert (said["status"], said["runs"], said["missing"]) == ("planned", 0, ["runs that say their run_id"])


def test_enough_runs_that_say_otherwise_propose_a_version_and_change_nothing(org, api):
    plan = launched(org, api, days=9)
    send(org, api, [event for number in range(210) for event in run_events(number, days=8)])
    assert calibrate(org) == 1
    found = api.get(f"plans/{plan['id']}").json()
    said = found["calibration"]
    assert (said["status"], said["runs"], said["days"], said["missing"]) == ("calibrated", 210, 8, [])
    assert said["gap"] < -0.1
    assert (found["version"], found["approved_version"], found["state"]) == (2, 1, "live")
    assert (found["newest"]["origin"], found["newest"]["created_by"]) == ("calibration", "planner")
    assert found["newest"]["note"].startswith("210 runs cost")
    assert found["decisions"][0]["act"] == "proposed"
    assert calibrate(org) == 1
    assert api.get(f"plans/{plan['id']}").json()["version"] == 2, "one proposal waits at a time"
    act(api, plan, "approve", version=2)
    calibrate(org)
    assert api.get(f"plans/{plan['id']}").json()["version"] == 2, "what holds is not proposed again"


def test_few_runs_propose_nothing(org, api):
    plan = launched(org, api)
    send(org, api, [event for number in range(60) for event in run_events(number)])
    calibrate(org)
    found = api.get(f"plans/{plan['id']}").json()
    assert (found["calibration"]["status"], found["version"]) == ("provisional", 1)


def test_only_runs_since_the_launch_count(org, api):
    plan = launched(org, api, days=2)
    send(org, api, [event for number in range(40) for event in run_events(number)])
    calibrate(org)
    assert api.get(f"plans/{plan['id']}").json()["calibration"]["runs"] < 40


def test_a_workflow_that_became_known_is_found_at_night(org, api):
    plan = launched(org, api, workflow="tomorrow")
    assert plan["workflow_known"] is False
    change_settings(org=org, actor=None, create_names_on_first_sight=True)
    send(org, api, [event for number in range(3) for event in run_events(number, workflow="tomorrow", team="search",
                                                                        project="web")])  # fmt: skip
    with as_worker():
        tasks.calibrate_all()
        tasks.calibrate_all()
    found = api.get(f"plans/{plan['id']}").json()
    assert (found["workflow_known"], found["calibration"]["runs"]) == (True, 3)
    with tenant(org):
        told = planned_spend(org, NOW.date(), NOW.date())
    assert [line.workflow_id is not None for line in told] == [True]


# --- without a plan -------------------------------------------------------------------------------------


def test_what_spends_without_an_approved_plan_is_listed_the_largest_first(org, api):
    send(org, api, [event for number in range(3) for event in run_events(number)])
    send(org, api, [event for number in range(9) for event in run_events(number, workflow="other")])
    api.send(make_event())
    found = api.get("plans/missing").json()
    assert [(row["workflow"], row["team"], row["project"]) for row in found["data"]] == [
        ("other", "search", "web"), ("agent", "search", "web"),
    ]  # fmt: skip
    assert (found["workflows"], found["planned_workflows"], found["planned_share"]) == (2, 0, "0.0000")
    draft = make(api, workflow="other")
    assert api.get("plans/missing").json()["data"][0]["draft_id"] == draft["id"]
    act(api, draft, "approve", version=1)
    after = api.get("plans/missing").json()
    assert [row["workflow"] for row in after["data"]] == ["agent"]
    sums = {name: Decimal(after[name]) for name in ("planned_usd", "unplanned_usd", "unattributed_usd")}
    assert sum(sums.values()) == Decimal(api.get("spend", **{"from": after["start"]}).json()["total"]["cost_usd"])
    assert Decimal(after["planned_share"]) == (sums["planned_usd"] / sum(sums.values())).quantize(Decimal("0.0001"))
    act(api, draft, "retire")
    assert len(api.get("plans/missing").json()["data"]) == 2
    pinned = make_api(org, team="search")
    assert pinned.get("plans/missing").json()["unattributed_usd"] == "0.000000000000"
