"""The client against the site: what it asks for is held, what it records settles, and a lease is what it says."""

from decimal import Decimal
from threading import Thread
from typing import Any

import pytest
from finops_ai import Client, Denied

from apps.budgets.counting import reconcile
from apps.budgets.models import Counter, Crossing, Reservation
from apps.budgets.services import BudgetTerms, create_budget, set_run_bound, stop
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.teams.services import create_on_first_sight
from tests.api.tenants import make_api, make_org
from tests.database import as_worker
from tests.site import Site
from tests.world import Api

SONNET = {"provider": "anthropic", "model": "claude-sonnet-4-5"}
USAGE = {"input_tokens": 1000, "output_tokens": 100}
COST = Decimal("0.0045")


@pytest.fixture
def org() -> Organization:
    org = make_org()
    create_on_first_sight(org=org, seen=[("search", "web", "agent")], actor="test")
    org.refresh_from_db()
    create_budget(
        org=org, terms=BudgetTerms(name="cap", period="month", amount_usd=Decimal("0.1"), mode="block"), actor="test"
    )
    return org


@pytest.fixture
def api(org: Organization) -> Api:
    return make_api(org)


def figures(org: Organization) -> tuple[Decimal, Decimal, Decimal]:
    with tenant(org):
        row = Counter.objects.for_org(org).get()
    with as_worker():
        assert reconcile(org) == []
    return row.spent_usd, row.held_usd, row.overrun_usd


def test_a_call_is_held_and_settled_and_one_that_fails_is_released(site: Site, org: Organization, api: Api) -> None:
    with Client(site.url, api.secret, flush_seconds=60) as client:
        with client.call(**SONNET, estimate_usd="0.01", workflow="agent") as call:
            assert call.held_usd == Decimal("0.01")
            assert figures(org)[1] == Decimal("0.01")
            call.record(USAGE)
        with pytest.raises(ZeroDivisionError), client.call(**SONNET, estimate_usd="0.02"):
            raise ZeroDivisionError
        with pytest.raises(Denied) as denied:
            client.call(**SONNET, estimate_usd="0.2")
        assert client.flush(30)
    assert denied.value.reasons[0].code == "budget_exceeded"
    assert figures(org) == (COST, 0, 0)


def test_a_lease_decides_in_a_hot_loop_and_the_cap_holds(site: Site, org: Organization, api: Api) -> None:
    """Four loops take slices until nothing is left: what they were granted fits, and every call is booked."""
    granted: list[int] = []

    def loop() -> None:
        count = 0
        with Client(site.url, api.secret, flush_seconds=60) as client:
            try:
                with client.lease("0.02", **SONNET, workflow="agent", auto_renew=True) as lease:
                    while True:
                        with lease.call(estimate_usd="0.005") as call:
                            call.record(USAGE, cost_usd=COST)
                        count += 1
            except Denied:
                pass
            granted.append(count)
            assert client.flush(30)

    threads = [Thread(target=loop) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    spent, held, overrun = figures(org)
    assert spent == sum(granted) * COST
    assert overrun == 0
    assert spent + held <= Decimal("0.1")
    assert sum(granted) >= 10


def test_the_unused_part_of_a_lease_is_given_back_at_once(site: Site, org: Organization, api: Api) -> None:
    with Client(site.url, api.secret, flush_seconds=60) as client:
        with client.lease("0.08", **SONNET) as lease, lease.call(estimate_usd="0.01") as call:
            call.record(USAGE, cost_usd=COST)
        assert client.flush(30)
    assert figures(org) == (COST, 0, 0)
    with tenant(org):
        assert Reservation.objects.for_org(org).get().state == "returned"


def test_a_run_is_bounded_on_both_sides(site: Site, org: Organization, api: Api) -> None:
    set_run_bound(org=org, workflow="agent", bounds={"max_steps": 3}, actor="test")
    where: dict[str, Any] = {"workflow": "agent", "run_id": "run"}
    with Client(site.url, api.secret, flush_seconds=60) as client:
        with client.lease("0.05", **SONNET, steps=2, **where) as lease:
            for step in range(2):
                with lease.call(estimate_usd="0.01", step=step) as call:
                    call.record(USAGE, cost_usd=COST)
            with pytest.raises(Denied):
                lease.call(estimate_usd="0.01", step=2)
        assert client.flush(30)
        with client.call(**SONNET, estimate_usd="0.01", step=2, **where) as call:
            call.record(USAGE)
        with pytest.raises(Denied) as denied:
            client.call(**SONNET, estimate_usd="0.01", step=3, **where)
        client.put_run("run", outcome="success")
        assert client.flush(30)
    assert denied.value.reasons[0].code == "run_steps"
    assert api.get("runs/run").json()["outcome"] == "success"
    assert figures(org) == (3 * COST, 0, 0)


def test_a_stop_reaches_the_next_call_and_the_next_renewal(site: Site, org: Organization, api: Api) -> None:
    with (
        Client(site.url, api.secret, flush_seconds=60) as client,
        client.lease("0.02", **SONNET, team="search", auto_renew=True) as lease,
    ):
        stop(org=org, kind="team", target="search", reason="Loop", actor="test")
        with lease.call(estimate_usd="0.02") as call:  # what is leased is leased
            call.record(USAGE, cost_usd="0.02")
        for ask in (
            lambda: lease.call(estimate_usd="0.02"),
            lambda: client.call(**SONNET, team="search", estimate_usd="0.01"),
        ):
            with pytest.raises(Denied) as denied:
                ask()
            assert denied.value.reasons[0].code == "stopped"


def test_what_was_let_through_is_told_afterwards(site: Site, org: Organization, api: Api) -> None:
    with Client(site.url, api.secret, on_unavailable="allow", flush_seconds=60) as client:
        transport, elsewhere = client._transport, Client("http://127.0.0.1:9", api.secret, on_unavailable="allow")
        client._asking.transport = elsewhere._transport  # decisions find nobody; the queue finds the site
        with client.call(**SONNET, estimate_usd="0.5") as call:
            call.record(USAGE)
        client._asking.transport = transport
        assert client.flush(30)
        elsewhere.close()
    with tenant(org):
        crossing = Crossing.objects.for_org(org).get(kind="ungoverned")
    assert (crossing.facts["events"], crossing.facts["amount_usd"]) == (1, "0.5")
    assert figures(org) == (COST, 0, COST)
    (event,) = api.get("events").json()["data"]
    assert event["tags"] == {"finops_ungoverned": "true"}
