"""Budgets that are made and changed while others decide, send and make them."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

from apps.budgets.counting import reconcile
from tests.api.budgets import create, elsewhere, figures, is_waiting, patch, wait_for
from tests.api.tenants import make_api
from tests.api.test_decisions import COST, allowed, api, decide, denied, org
from tests.database import as_worker, hanging_up
from tests.world import make_event

__all__ = ["api", "org"]  # fixtures


def test_a_decision_under_way_is_held_in_a_budget_that_comes_meanwhile(org, api):
    first = create(api, amount_usd="5")
    allowed(api, estimate_usd="0.01")
    with ThreadPoolExecutor(2) as pool:
        with elsewhere() as blocker:
            blocker.execute("SELECT FROM budgets_counter WHERE budget_id = %s FOR UPDATE", [first["id"]])
            under_way = pool.submit(hanging_up(allowed), api, estimate_usd="0.25")
            wait_for(lambda: is_waiting("transactionid"))
            made = pool.submit(hanging_up(create), make_api(org), amount_usd="1")
            wait_for(lambda: made.done() or is_waiting("advisory"))
            blocker.rollback()
        under_way.result()
        second = made.result()
    assert figures(api, second) == (1, 0, Decimal("0.26"), 0)


def test_one_name_is_taken_once_by_many(org):
    apis = [make_api(org) for _ in range(6)]
    ids = [create(api)["id"] for api in apis[:3]]

    def take(number):
        if number < 3:
            return patch(apis[number], {"id": ids[number]}, name="One").status_code
        body = {"name": "One", "period": "month", "amount_usd": "1"}
        return apis[number].post("budgets", body).status_code

    with ThreadPoolExecutor(6) as pool:
        statuses = sorted(pool.map(hanging_up(take), range(6)))
    assert statuses[0] in (200, 201)
    assert statuses[1:] == [409] * 5


def test_an_amount_that_changes_under_decisions_is_kept_to(org, api):
    one = create(api, amount_usd="1")
    apis = [make_api(org) for _ in range(5)]

    def ask(client):
        return sum(decide(client, estimate_usd="0.05").json()["decision"] == "allow" for _ in range(10))

    def change(client):
        for amount in ("0.3", "2", "0.5", "1.5", "0.7"):
            assert patch(client, one, amount_usd=amount).status_code == 200

    with ThreadPoolExecutor(5) as pool:
        changing = pool.submit(hanging_up(change), apis[4])
        granted = sum(pool.map(hanging_up(ask), apis[:4]))
        changing.result()
    limit, spent, held, overrun = figures(api, one)
    assert (limit, spent, held) == (Decimal("0.7"), 0, granted * Decimal("0.05"))
    assert held - overrun <= limit
    assert granted <= 40
    denied(api, "budget_exceeded", estimate_usd="0.75")


def test_a_budget_that_comes_among_usage_counts_every_call_once(org, api):
    apis = [make_api(org) for _ in range(6)]

    @hanging_up
    def send(client):
        return sum(client.send(make_event(user="ann"), make_event(user="bob"))["accepted"] for _ in range(8))

    @hanging_up
    def ask(client):
        return sum(decide(client, estimate_usd="0.01", user="ann").json()["decision"] == "allow" for _ in range(8))

    with ThreadPoolExecutor(6) as pool:
        sent = [pool.submit(send, client) for client in apis[:4]]
        held = [pool.submit(ask, client) for client in apis[4:]]
        made = [pool.submit(hanging_up(create), api, amount_usd="100", scope=scope) for scope in ({}, {"user": "*"})]
        assert sum(future.result() for future in sent) == 64
        assert sum(future.result() for future in held) == 16
        whole = made[0].result()
        made[1].result()
    with as_worker():
        assert reconcile(org) == []
    assert figures(api, whole)[1] == 64 * COST
