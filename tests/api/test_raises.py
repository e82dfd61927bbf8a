"""Raises: more for a budget until an instant, asked for by one and decided by another."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection

from apps.audit.models import AuditEntry
from apps.budgets.services import end_raises
from apps.core.tenancy import tenant
from tests.api.budgets import changed, create, figures, shown
from tests.api.tenants import make_api, make_org
from tests.api.test_decisions import COST, allowed, api, denied, org
from tests.database import as_worker
from tests.world import make_event

__all__ = ["api", "org"]  # fixtures


def ask(api, budget, amount="0.5", days=1, **fields):
    body = {"amount_usd": amount, "expires_at": ahead(days), "reason": "Launch week", **fields}
    return api.post(f"budgets/{budget['id']}/raises", body)


def ahead(days):
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


def asked(api, budget, amount="0.5", days=1):
    response = ask(api, budget, amount, days)
    assert response.status_code == 201, response.content
    return response.json()


def approved(api, budget, amount="0.5", days=1):
    row = asked(api, budget, amount, days)
    response = api.post(f"budget-raises/{row['id']}/approve", {})
    assert (response.status_code, response.json()["state"]) == (200, "approved")
    return response.json()


def later(org, days):
    """As if everything that was raised until some day had been so many days nearer to it."""
    with tenant(org), connection.cursor() as cursor:
        for table, column in (("budgets_raise", "expires_at"), ("budgets_counter", "limit_until")):
            cursor.execute(
                f"UPDATE {table} SET {column} = {column} - make_interval(days => %s) WHERE organization_id = %s",
                [days, org.pk],
            )


def test_a_raise_that_nobody_approved_raises_nothing(api):
    one = create(api, amount_usd="0.5")
    row = asked(api, one)
    assert (row["state"], row["decided_by"], row["decided_at"]) == ("asked", "", None)
    assert figures(api, one)[0] == Decimal("0.5")
    assert shown(api, one)["raises"] == []
    denied(api, "budget_exceeded", estimate_usd="0.6")


def test_it_is_decided_once(api):
    one = create(api)
    for first, second in (("approve", "refuse"), ("refuse", "approve")):
        row = asked(api, one)
        state = api.post(f"budget-raises/{row['id']}/{first}", {}).json()
        assert api.post(f"budget-raises/{row['id']}/{first}", {}).json() == state
        other = api.post(f"budget-raises/{row['id']}/{second}", {})
        assert (other.status_code, other.json()["code"]) == (409, "raise_decided")
        assert state["state"] in other.json()["detail"]


def test_several_raises_add_up_and_expire_one_by_one(org, api):
    one = create(api, amount_usd="1")
    long, short = approved(api, one, "0.5", days=9), approved(api, one, "0.25", days=2)
    assert figures(api, one)[0] == Decimal("1.75")
    assert [row["id"] for row in shown(api, one)["raises"]] == [short["id"], long["id"]]
    allowed(api, estimate_usd="1.6")
    later(org, 3)
    with as_worker():
        assert end_raises(org.pk) == 1
        assert end_raises(org.pk) == 0
    assert figures(api, one) == (Decimal("1.5"), 0, Decimal("1.6"), Decimal("0.1"))
    assert [row["id"] for row in shown(api, one)["raises"]] == [long["id"]]
    later(org, 9)
    denied(api, "budget_exceeded", estimate_usd="0.01")
    assert figures(api, one) == (1, 0, Decimal("1.6"), Decimal("0.6"))
    with as_worker():
        assert end_raises(org.pk) == 0  # the decision did it


def test_a_raise_that_expires_leaves_the_limits_of_past_periods(org, api):
    one = create(api, period="day", amount_usd="1")
    approved(api, one, days=2)
    with tenant(org), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE budgets_counter SET period_start = period_start - interval '1 day',"
            " period_end = period_end - interval '1 day' WHERE organization_id = %s",
            [org.pk],
        )
        cursor.execute(
            "UPDATE budgets_budget SET created_at = created_at - interval '2 days' WHERE organization_id = %s", [org.pk]
        )
    later(org, 3)
    with as_worker():
        assert end_raises(org.pk) == 0
    assert [row["limit_usd"] for row in shown(api, one)["past"]] == ["1.500000000000"]


def test_a_raise_counts_for_each_subject_and_for_counters_that_come_later(api):
    one = create(api, amount_usd="0.5", scope={"user": "*"})
    allowed(api, user="ann", estimate_usd="0.5")
    approved(api, one)
    allowed(api, user="ann", estimate_usd="0.5")
    allowed(api, user="bob", estimate_usd="1")
    assert {row["limit_usd"] for row in shown(api, one)["counters"]} == {"1.000000000000"}


def test_a_raise_is_added_to_whatever_the_amount_becomes(api):
    one = create(api, amount_usd="1")
    approved(api, one, "0.5")
    changed(api, one, amount_usd="2")
    assert figures(api, one)[0] == Decimal("2.5")


def test_thresholds_are_of_the_raised_limit(api):
    one = create(api, mode="notify", amount_usd=str(COST), thresholds=[100])
    approved(api, one, str(COST))

    def told():
        return [row["kind"] for row in api.get("crossings", budget=str(one["id"]), kind="threshold").json()["data"]]

    api.send(make_event())
    assert told() == []
    api.send(make_event())
    assert told() == ["threshold"]


def test_one_whose_time_is_over_is_refused_but_not_approved(org, api):
    one = create(api)
    row = asked(api, one)
    later(org, 2)
    response = api.post(f"budget-raises/{row['id']}/approve", {})
    assert (response.status_code, response.json()["code"]) == (409, "raise_expired")
    assert api.post(f"budget-raises/{row['id']}/refuse", {}).json()["state"] == "refused"


def test_an_ended_budget_takes_no_raise(api):
    one = create(api)
    row = asked(api, one)
    api.client.delete(f"/api/v1/budgets/{one['id']}", headers=api.headers)
    for response in (ask(api, one), api.post(f"budget-raises/{row['id']}/approve", {})):
        assert (response.status_code, response.json()["code"]) == (409, "budget_ended")


@pytest.mark.parametrize(
    ("wrong", "code", "param"),
    [
        ({"amount_usd": "-1"}, "amount_invalid", "amount_usd"),
        ({"amount_usd": "NaN"}, "amount_invalid", "amount_usd"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at_invalid", "expires_at"),
        ({"expires_at": "0001-01-01T00:00:00Z"}, "expires_at_invalid", "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59Z"}, "expires_at_invalid", "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-14:00"}, "invalid", "expires_at"),
        ({"expires_at": ahead(367)}, "expires_at_invalid", "expires_at"),
        ({"expires_at": None}, "invalid", "expires_at"),
        ({"reason": ""}, "invalid", "reason"),
        ({"reason": "x" * 501}, "invalid", "reason"),
        ({"reason": "a\x07"}, "reason_invalid", "reason"),
        ({"reason": "\0"}, "invalid", "reason"),
        ({"until": "2030-01-01"}, "field_unknown", "until"),
    ],
)
def test_wrong_input_is_named_and_asks_for_nothing(api, wrong, code, param):
    one = create(api)
    response = ask(api, one, **wrong)
    assert (response.status_code, response.json()["code"], response.json()["param"]) == (400, code, param)
    assert api.get(f"budgets/{one['id']}/raises").json()["data"] == []


def test_who_asked_and_who_decided_is_told_and_audited(org, api):
    one = create(api, scope={"team": "search"})
    other = make_api(org)
    row = asked(api, one)
    decided = other.post(f"budget-raises/{row['id']}/approve", {}).json()
    assert decided["asked_by"] != decided["decided_by"]
    (told,) = api.get("crossings", kind="raise_asked").json()["data"]
    assert (told["team"], told["budget_id"], told["facts"]["asked_by"]) == ("search", one["id"], row["asked_by"])
    with tenant(org):
        entries = AuditEntry.objects.for_org(org).filter(action__startswith="budgets.raise").order_by("pk")
        assert [(entry.action, entry.actor) for entry in entries] == [
            ("budgets.raise_asked", decided["asked_by"]),
            ("budgets.raise_approved", decided["decided_by"]),
        ]


def test_who_may_not(org, api):
    one = create(api)
    row = asked(api, one)
    reader, pinned, stranger = make_api(org, "read"), make_api(org, environment="prod"), make_api(make_org())
    for client, status, code in ((reader, 403, "scope_missing"), (pinned, 403, "pinned_dimension")):
        for response in (ask(client, one), client.post(f"budget-raises/{row['id']}/approve", {})):
            assert (response.status_code, response.json()["code"]) == (status, code)
    assert ask(stranger, one).status_code == 404
    assert stranger.post(f"budget-raises/{row['id']}/refuse", {}).status_code == 404
    assert reader.get(f"budgets/{one['id']}/raises").json()["data"] == [row]


def test_a_budget_has_at_most_so_many_raises(api, monkeypatch):
    monkeypatch.setattr("apps.budgets.services.RAISES_MAX", 2)
    budget = create(api, amount_usd="1")
    row = asked(api, budget)
    approved(api, budget)
    response = ask(api, budget)
    assert (response.status_code, response.json()["code"]) == (400, "too_many_raises")
    api.post(f"budget-raises/{row['id']}/refuse", {})
    asked(api, budget)
