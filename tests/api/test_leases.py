"""Leases through the API: a slice of budgets that a client uses by itself."""

from decimal import Decimal
from uuid import uuid4

import pytest

from apps.budgets.decisions import free_due
from apps.budgets.services import set_run_bound, stop
from tests.api.test_decisions import COST, SONNET, age, allowed, api, budget, figures, org, reservation
from tests.world import make_event, unique

__all__ = ["api", "org"]  # fixtures


def take(api, amount="0.5", **fields):
    return api.ask("leases", {"request_id": unique("req"), **SONNET, "amount_usd": amount, **fields})


def taken(api, amount="0.5", **fields):
    response = take(api, amount, **fields)
    assert response.status_code == 200, response.content
    body = response.json()
    assert body["decision"] == "allow", body
    return body | {"reservation_id": body["lease_id"]}


def used(lease, **fields):
    return make_event(reservation_id=lease["lease_id"], **fields)


def test_a_lease_holds_its_slice_and_events_use_it_up(org, api):
    one = budget(org)
    lease = taken(api, "0.01")
    assert (lease["amount_usd"], lease["ttl_seconds"], lease["run"]) == ("0.010000000000", 30, None)
    assert api.send(used(lease), used(lease))["results"] == []
    assert figures(org, one) == (2 * COST, Decimal("0.001"), 0)
    api.send(used(lease))  # 0.0045 of which 0.001 is left
    assert figures(org, one) == (3 * COST, 0, Decimal("0.0035"))


def test_events_of_other_dimensions_do_not_use_the_lease(org, api):
    one = budget(org)
    lease = taken(api, "0.5", user="ann")
    (said,) = api.send(used(lease, user="bob"))["results"]
    assert said["code"] == "lease_dimensions"
    assert figures(org, one) == (COST, Decimal("0.5"), COST)
    assert api.send(used(lease, user="ann"))["results"] == []
    assert figures(org, one) == (2 * COST, Decimal("0.5") - COST, COST)


def test_returning_frees_what_is_unused_and_keeps_what_is_on_its_way(org, api):
    one = budget(org)
    lease = taken(api, "0.5")
    for _ in range(2):
        response = api.post(f"leases/{lease['lease_id']}/return", {"unused_usd": "0.491"})
        assert response.status_code == 200, response.content
    assert figures(org, one) == (0, Decimal("0.009"), 0)
    assert api.send(used(lease), used(lease))["results"] == []
    assert figures(org, one) == (2 * COST, 0, 0)
    renewed = renew(api, lease)
    assert (renewed["decision"], renewed["reasons"][0]["code"]) == ("deny", "lease_over")


def renew(api, lease, amount="0.5", **fields):
    given = {"request_id": unique("req"), "amount_usd": amount, **fields}
    response = api.post(f"leases/{lease['lease_id']}/renew", given)
    assert response.status_code == 200, response.content
    return response.json()


def test_renewing_adds_to_the_slice_once_a_request(org, api):
    one = budget(org)
    lease = taken(api, "0.25", ttl_seconds=5)
    first = renew(api, lease, "0.5", request_id="more", ttl_seconds=60)
    assert (first["lease_id"], first["amount_usd"]) == (lease["lease_id"], "0.500000000000")
    assert renew(api, lease, "0.5", request_id="more", ttl_seconds=60) == first
    assert figures(org, one) == (0, Decimal("0.75"), 0)
    denied = renew(api, lease, "0.5")
    assert (denied["decision"], denied["reasons"][0]["code"]) == ("deny", "budget_exceeded")
    assert figures(org, one) == (0, Decimal("0.75"), 0)
    assert reservation(org, lease).granted_usd == Decimal("0.75")


def test_what_no_event_used_is_held_until_half_a_minute_after_expiry(org, api):
    one = budget(org)
    lease = taken(api, "0.5", ttl_seconds=5)
    age(org, lease, 30)  # over for 25 seconds
    assert free_due(org) == 0
    assert renew(api, lease)["reasons"][0]["code"] == "lease_over"
    assert api.send(used(lease))["results"] == []
    assert figures(org, one) == (COST, Decimal("0.5") - COST, 0)
    age(org, lease, 6)
    assert free_due(org) == 1
    (said,) = api.send(used(lease))["results"]
    assert said["code"] == "lease_over"
    assert figures(org, one) == (2 * COST, 0, COST)


def test_a_lease_that_does_not_fit_is_denied_and_a_stop_ends_renewing(org, api):
    budget(org, "0.1")
    body = take(api, "0.2").json()
    assert (body["decision"], body["lease_id"], body["reasons"][0]["code"]) == ("deny", None, "budget_exceeded")
    lease = taken(api, "0.05", team="search")
    stop(org=org, kind="team", target="search", reason="Loop", actor="test")
    assert renew(api, lease, "0.01")["reasons"][0]["code"] == "stopped"
    assert take(api, "0.01", team="search").json()["reasons"][0]["code"] == "stopped"


def test_the_allowance_of_a_run_is_leased_too(org, api):
    set_run_bound(
        org=org, workflow="agent", bounds={"max_cost_usd": Decimal("0.6"), "max_steps": 10, "max_attempts": 3},
        actor="test",
    )  # fmt: skip
    lease = taken(api, "0.5", workflow="agent", run_id="run", steps=6)
    assert (lease["run"]["steps"], lease["run"]["steps_remaining"], lease["run"]["max_attempts"]) == (6, 10, 3)
    too_much = take(api, "0.2", workflow="agent", run_id="run", steps=1).json()
    assert [reason["code"] for reason in too_much["reasons"]] == ["run_cost"]
    too_many = take(api, "0.1", workflow="agent", run_id="run", steps=5).json()
    assert [reason["code"] for reason in too_many["reasons"]] == ["run_steps"]
    api.send(*(used(lease, workflow="agent", run_id="run", step=step) for step in range(2)))
    response = api.post(f"leases/{lease['lease_id']}/return", {"unused_usd": "0.4", "unused_steps": 4})
    assert response.status_code == 200, response.content
    # 2 steps taken, 4 given back: 8 are left; 0.009 spent, 0.091 still held: 0.5 are left.
    taken(api, "0.5", workflow="agent", run_id="run", steps=8)
    assert [reason["code"] for reason in take(api, "0", workflow="agent", run_id="run", steps=1).json()["reasons"]] == [
        "run_steps"
    ]


def test_steps_that_never_came_are_free_half_a_minute_after_the_lease(org, api):
    set_run_bound(org=org, workflow="agent", bounds={"max_steps": 6}, actor="test")
    lease = taken(api, "0.5", workflow="agent", run_id="run", steps=6)
    response = api.post(f"leases/{lease['lease_id']}/return", {"unused_usd": "0.5", "unused_steps": 2})
    assert response.status_code == 200, response.content
    (reason,) = take(api, "0", workflow="agent", run_id="run", steps=6).json()["reasons"]
    assert (reason["code"], reason["used"]) == ("run_steps", "4")
    age(org, lease, 61)
    taken(api, "0", workflow="agent", run_id="run", steps=6)


@pytest.mark.parametrize(
    ("wrong", "code", "param"),
    [
        ({"ttl_seconds": 4}, "out_of_range", "ttl_seconds"),
        ({"ttl_seconds": 61}, "out_of_range", "ttl_seconds"),
        ({"amount_usd": "x"}, "amount_usd_invalid", "amount_usd"),
        ({"amount_usd": None}, "missing_field", "amount_usd"),
        ({"steps": -1}, "out_of_range", "steps"),
        ({"estimate_usd": "1"}, "field_unknown", "estimate_usd"),
    ],
)
def test_wrong_input_is_named(api, wrong, code, param):
    given = {"request_id": unique("req"), **SONNET, "amount_usd": "1", **wrong}
    response = api.post("leases", {name: value for name, value in given.items() if value is not None})
    assert (response.status_code, response.json()["code"], response.json()["param"]) == (400, code, param)


def test_a_lease_is_no_reservation_and_strangers_see_none(org, api):
    lease = taken(api)
    assert api.post(f"reservations/{lease['lease_id']}/release", {}).status_code == 404
    call = allowed(api, estimate_usd="0.1")
    for act, given in (
        ("return", {"unused_usd": "0"}),
        ("renew", {"request_id": "r", "amount_usd": "0.1"}),
    ):
        for identity in (uuid4(), call["reservation_id"]):
            assert api.post(f"leases/{identity}/{act}", given).status_code == 404
