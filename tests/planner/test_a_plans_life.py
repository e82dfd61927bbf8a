"""A plan from its pilot to its first revision, through the API: fitted, edited, approved, live, held against runs."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import time_machine

from apps.planner import tasks
from apps.usage.services import roll_up
from tests.api.planning import act, make, org_with_agent
from tests.api.tenants import make_api
from tests.database import as_worker
from tests.world import make_event

# A Monday.
START = datetime(2026, 9, 7, 12, tzinfo=UTC)


@pytest.fixture
def org():
    return org_with_agent()


@pytest.fixture
def api(org):
    return make_api(org)


def run(name, at, calls=3, **fields):
    return [
        make_event(
            event_id=f"{name}-{call}", run_id=name, workflow="agent", outcome="success",
            occurred_at=(at + timedelta(seconds=call)).isoformat(),
            usage={"input_tokens": 1000 + 500 * call, "output_tokens": 100}, **fields,
        )
        for call in range(calls)
    ]  # fmt: skip


def night(org, api, at, count, **fields):
    """A day of runs until three hours before `at`, and what is done at night: the plan as it then stands."""
    with time_machine.travel(at, tick=False):
        began = at - timedelta(hours=3)
        events = [
            event for n in range(count) for event in run(f"{at:%m-%d}-{n}", began - timedelta(minutes=n % 60), **fields)
        ]
        if events:
            api.send(*events)
        with as_worker():
            roll_up(org)
            tasks.calibrate_all()
        (plan,) = api.get("plans").json()["data"] or (None,)
        return api.get(f"plans/{plan['id']}").json() if plan else None


def launched(org, api, **edits):
    """Fitted to a pilot of 60 runs, edited and live on Monday."""
    with time_machine.travel(START, tick=False):
        api.send(*[event for n in range(60) for event in run(f"pilot-{n}", START - timedelta(days=1 + n % 3))])
        with as_worker():
            roll_up(org)
        found = api.post("plans/fit", {"workflow": "agent"}).json()
        assert found["calibration"]["status"] == "provisional"
        definition = {**found["definition"], "runs_per_month": 3000, **edits}
        plan = make(api, definition=definition, note="From the pilot")
        act(api, plan, "approve", version=1)
        return act(api, plan, "launch")


def test_from_a_pilot_to_a_revision(org, api):
    plan = launched(org, api)
    status = []
    for day, count in ((0, 0), (1, 30), (2, 30), (3, 80), (4, 80)):
        found = night(org, api, START + timedelta(days=day, hours=9), count)
        said = found["calibration"]
        status.append((said["status"], said["runs"]))
    assert status == [
        ("planned", 0), ("planned", 30), ("provisional", 60), ("provisional", 140), ("provisional", 220),
    ], "the pilot's runs, from before the launch, do not count"  # fmt: skip
    assert said["missing"] == ["1 day of a weekend"]
    found = night(org, api, START + timedelta(days=5, hours=9), 20)
    said = found["calibration"]
    assert (said["status"], said["runs"], said["missing"]) == ("calibrated", 240, [])
    assert abs(said["gap"]) < 0.02, "it does as planned"
    assert found["version"] == 1
    # Loops grow longer; a fortnight later most runs of the window are such.
    for day in range(8, 22, 2):
        found = night(org, api, START + timedelta(days=day, hours=9), 100, calls=6)
    said = found["calibration"]
    assert said["gap"] > 0.1
    assert (found["version"], found["approved_version"]) == (2, 1), "proposed once, and waits"
    assert found["newest"]["note"].split(" than version 1 says.")[0].endswith("% more")
    with time_machine.travel(START + timedelta(days=21), tick=False):
        act(api, plan, "approve", version=2)
    after = night(org, api, START + timedelta(days=21, hours=9), 0)
    assert after["calibration"]["version"] == 2
    assert after["calibration"]["gap"] < said["gap"], "held to what was approved last"
    assert after["state"] == "live"


def test_other_cost_that_no_call_shows_is_no_gap_and_stays_in_a_revision(org, api):
    """Each run searches for half a dollar: no event says so, and no night takes it from the plan."""
    launched(org, api, other_cost_usd="0.5")
    for day in range(6):
        found = night(org, api, START + timedelta(days=1 + day, hours=9), 40)
    said = found["calibration"]
    assert (said["status"], said["beside_usd"]) == ("calibrated", "0.500000")
    assert abs(said["gap"]) < 0.02
    assert found["version"] == 1
    for day in range(8, 14, 2):
        found = night(org, api, START + timedelta(days=day, hours=9), 100, calls=6)
    assert found["version"] == 2
    assert Decimal(found["newest"]["definition"]["other_cost_usd"]) == Decimal("0.5")
