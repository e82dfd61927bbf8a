"""Bounds of runs: enforced by decisions, noticed from events, kept until the run ends."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection

from apps.budgets.models import Crossing, RunTally
from apps.budgets.runs import forget_runs
from apps.budgets.services import lift, set_run_bound, stop
from apps.core.tenancy import tenant
from tests.api.tenants import make_api
from tests.api.test_decisions import COST, allowed, api, decide, denied, org
from tests.database import as_worker
from tests.world import make_event

__all__ = ["api", "org"]  # fixtures


def bound(org, **bounds):
    set_run_bound(org=org, workflow="agent", bounds=bounds, actor="test")


def step(api, run="run", **fields):
    return allowed(api, **{"workflow": "agent", "run_id": run, "estimate_usd": "0.01", **fields})


def refused(api, code, run="run", **fields):
    return denied(api, code, **{"workflow": "agent", "run_id": run, "estimate_usd": "0.01", **fields})["reasons"][0]


def event(run="run", **fields):
    return make_event(workflow="agent", run_id=run, **fields)


def put(api, run, **fields):
    return api.client.put(f"/api/v1/runs/{run}", fields, content_type="application/json", headers=api.headers)


def tally(org, run="run"):
    with tenant(org):
        return RunTally.objects.for_org(org).get(run_id=run)


def crossings(org):
    with tenant(org):
        return sorted(
            (row.run_id, row.facts["bound"]) for row in Crossing.objects.for_org(org).filter(kind="run_bound")
        )


def move(org, run, seconds):
    """As if everything about the run had been so long ago."""
    with tenant(org), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE budgets_runtally SET started_at = started_at - %(by)s, last_at = last_at - %(by)s"
            " WHERE organization_id = %(org)s AND run_id = %(run)s",
            {"by": timedelta(seconds=seconds), "org": org.pk, "run": run},
        )


# --- each bound ---


def test_cost_counts_what_is_spent_and_held(org, api):
    bound(org, max_cost_usd=Decimal("0.025"))
    first = step(api)
    step(api)
    reason = refused(api, "run_cost")
    assert (reason["limit"], reason["used"], reason["held"]) == ("0.025000000000", "0.000000000000", "0.020000000000")
    step(api, estimate_usd="0.005")
    api.send(event(reservation_id=first["reservation_id"]))
    step(api, estimate_usd="0.0055")
    refused(api, "run_cost", estimate_usd="0.000000000001")
    step(api, run="another")


def test_steps(org, api):
    bound(org, max_steps=2)
    step(api, step=0)
    step(api, step=0, attempt=2)  # another attempt of a step is none
    step(api, step=1)
    reason = refused(api, "run_steps", step=2)
    assert (reason["limit"], reason["used"]) == ("2", "2")
    assert "took 2 of 2 steps" in reason["detail"]
    assert crossings(org) == [("run", "steps")]


def test_attempts_of_a_step_whatever_the_caller_counts(org, api):
    bound(org, max_attempts=2)
    step(api, step=0, attempt=1)
    step(api, step=0, attempt=1)
    refused(api, "run_attempts", step=0, attempt=1)
    refused(api, "run_attempts", step=7, attempt=3)
    step(api, step=1)


def test_the_same_tool_call_again_and_again(org, api):
    bound(org, max_same_tool_calls=2)
    for _ in range(2):
        step(api, tool_name="search", tool_call_hash="a1")
    refused(api, "run_same_tool_calls", tool_name="search", tool_call_hash="a1")
    step(api, tool_name="search", tool_call_hash="b2")


def test_depth_and_children(org, api):
    bound(org, max_depth=1, max_children=2)
    step(api)
    step(api, run="a", parent_run_id="run")
    step(api, run="b", parent_run_id="run")
    for _ in range(2):
        reason = refused(api, "run_children", run="c", parent_run_id="run")
        assert (reason["limit"], reason["used"]) == ("2", "2")
    step(api, run="a", parent_run_id="run")
    refused(api, "run_depth", run="aa", parent_run_id="a")
    assert tally(org).children == 2


def test_seconds_from_the_first_decision_by_the_clock_of_the_database(org, api):
    bound(org, max_seconds=60)
    step(api)
    move(org, "run", 59)
    step(api)
    move(org, "run", 2)
    assert refused(api, "run_seconds")["limit"] == "60"


# --- trees ---


def test_cost_steps_and_time_include_child_runs(org, api):
    bound(org, max_cost_usd=Decimal("0.025"), max_steps=3)
    step(api)
    step(api, run="child", parent_run_id="run")
    refused(api, "run_cost", run="grandchild", parent_run_id="child")
    step(api, run="grandchild", parent_run_id="child", estimate_usd="0.001")
    refused(api, "run_steps", estimate_usd="0.001")
    root = tally(org)
    assert (root.steps, root.held_usd) == (3, Decimal("0.021"))
    assert (tally(org, "grandchild").root_run_id, tally(org, "grandchild").depth) == ("run", 2)


def test_a_parent_that_is_learned_late_takes_over_what_was_counted(org, api):
    bound(org, max_steps=3)
    child = step(api, run="child")
    api.send(event("child", reservation_id=child["reservation_id"]))
    step(api, run="child")
    step(api)
    step(api, run="grandchild", parent_run_id="child", estimate_usd="0.002")
    refused(api, "run_steps", run="child", parent_run_id="run")
    root = tally(org)
    assert (root.steps, root.spent_usd, root.held_usd, root.children) == (4, COST, Decimal("0.022"), 1)
    assert (tally(org, "grandchild").root_run_id, tally(org, "grandchild").depth) == ("run", 2)
    assert tally(org, "child").spent_usd == 0


def test_a_run_is_not_its_own_ancestor(org, api):
    bound(org, max_steps=10)
    step(api, run="a", parent_run_id="a")
    step(api, run="b", parent_run_id="a")
    step(api, run="a", parent_run_id="b")
    assert tally(org, "a").root_run_id == "a"


# --- callers who do not ask ---


@pytest.mark.parametrize(
    ("bounds", "events", "reached"),
    [
        ({"max_cost_usd": COST * 2}, [{}, {}], "cost"),
        ({"max_steps": 2}, [{"step": 0}, {"step": 1}], "steps"),
        ({"max_attempts": 1}, [{"step": 0}, {"step": 0, "attempt": 2}], "attempts"),
        ({"max_same_tool_calls": 1}, [{"tool_call_hash": "x"}] * 2, "same_tool_calls"),
    ],
)
def test_events_are_noticed_and_the_next_decision_is_refused(org, api, bounds, events, reached):
    bound(org, **bounds)
    api.send(event(**events[0]))
    assert crossings(org) == []
    api.send(event(**events[1]))
    assert crossings(org) == [("run", reached)]
    refused(api, f"run_{reached}", **{name: value for name, value in events[1].items() if name != "attempt"})


def test_children_and_depth_are_noticed_from_events(org, api):
    bound(org, max_depth=1, max_children=1)
    api.send(event(), event("a", parent_run_id="run"), event("b", parent_run_id="run"))
    api.send(event("aa", parent_run_id="a"))
    assert crossings(org) == [("run", "children"), ("run", "depth")]


def test_an_event_of_a_decision_is_no_further_step(org, api):
    bound(org, max_steps=2)
    body = step(api, step=0)
    api.send(event(step=0, reservation_id=body["reservation_id"]))
    assert (tally(org).steps, tally(org).held_usd, tally(org).overrun_usd) == (1, 0, 0)
    api.send(event(step=1))
    assert (tally(org).steps, tally(org).overrun_usd) == (2, COST)


# --- how long ---


def test_a_reached_bound_stays_reached_until_the_run_ends_or_is_given_more(org, api):
    bound(org, max_steps=1)
    step(api)
    refused(api, "run_steps")
    move(org, "run", 26 * 24 * 3600)
    with as_worker():
        assert forget_runs(org) == 0
    refused(api, "run_steps")
    bound(org, max_steps=2)
    step(api)
    refused(api, "run_steps")


def test_a_run_ends_when_told(org, api):
    bound(org, max_steps=5)
    step(api)
    response = put(api, "run", status="ended", outcome="success", units=3)
    assert response.status_code == 200, response.content
    first = response.json()
    assert (first["status"], first["outcome"], first["units"]) == ("ended", "success", 3)
    assert put(api, "run", status="ended", outcome="success", units=3).json() == first
    refused(api, "run_ended")
    refused(api, "run_ended", run="child", parent_run_id="run")
    assert put(api, "run", status="ended", outcome="failure").json()["outcome"] == "failure"
    assert put(api, "run", status="running").json()["ended_at"] is None
    step(api)
    assert put(api, "never/seen", status="ended").status_code == 200


def test_a_run_shows_what_it_has_used(org, api):
    bound(org, max_steps=5)
    step(api)
    step(api, run="child", parent_run_id="run")
    shown = api.get("runs/child").json()
    assert (shown["root_run_id"], shown["depth"], shown["steps"], shown["held_usd"]) == ("run", 1, 2, "0.020000000000")
    assert api.get("runs/nobody").status_code == 404
    assert api.post("runs/child", {}).status_code == 405
    assert make_api(org, team="search").get("runs/child").status_code == 404


@pytest.mark.parametrize(
    ("given", "code", "param"),
    [
        ({}, "missing_field", "status"),
        ({"status": "paused"}, "invalid_choice", "status"),
        ({"status": "ended", "outcome": "great"}, "invalid_choice", "outcome"),
        ({"status": "ended", "units": -1}, "out_of_range", "units"),
    ],
)
def test_wrong_input_is_named(api, given, code, param):
    response = put(api, "run", **given)
    assert (response.status_code, response.json()["code"], response.json()["param"]) == (400, code, param)


def test_a_run_is_forgotten_after_thirty_quiet_days_with_its_whole_tree(org, api):
    bound(org, max_steps=1)
    api.send(event(), event("child", parent_run_id="run"))
    move(org, "run", 31 * 24 * 3600)
    with as_worker():
        assert forget_runs(org) == 0  # its child was heard of
    move(org, "child", 31 * 24 * 3600)
    with as_worker():
        assert forget_runs(org) == 2
    step(api)


def test_a_child_is_not_forgotten_while_its_tree_holds_something(org, api):
    bound(org, max_steps=10)
    step(api)
    body = step(api, "child", parent_run_id="run", ttl_seconds=3600)
    for run in ("run", "child"):
        move(org, run, 31 * 24 * 3600)
    with as_worker():
        assert forget_runs(org) == 0
    path = f"reservations/{body['reservation_id']}/settle"
    assert api.post(path, {"event": event("child", parent_run_id="run")}).json()["status"] == "settled"
    assert (tally(org).spent_usd, tally(org).held_usd) == (COST, Decimal("0.01"))


# --- emergency stop ---


def test_a_stop_holds_from_the_next_decision_until_it_is_lifted(org, api):
    with tenant(org), connection.cursor() as cursor:
        cursor.execute("SELECT max(id) FROM organizations_apikey WHERE organization_id = %s", [org.pk])
        (key_id,) = cursor.fetchone()
    for kind, target in (
        ("organization", ""), ("team", "search"), ("workflow", "agent"), ("key", str(key_id)), ("run", "run")
    ):  # fmt: skip
        step(api)
        step(api, run="child", parent_run_id="run")
        row = stop(org=org, kind=kind, target=target, reason="Loop", actor="test")
        assert stop(org=org, kind=kind, target=target, reason="Again", actor="test").pk == row.pk
        for run in ("run", "child"):
            assert refused(api, "stopped", run=run, parent_run_id=None if run == "run" else "run")["stop_id"] == row.pk
        if kind == "run":
            step(api, run="another")
        lift(org=org, stop_id=row.pk, actor="test")
        lift(org=org, stop_id=row.pk, actor="test")
        step(api)


def test_events_are_stored_while_stopped(org, api):
    stop(org=org, kind="organization", target="", reason="Loop", actor="test")
    assert api.send(event())["accepted"] == 1
    assert decide(api, estimate_usd="1").json()["decision"] == "deny"
