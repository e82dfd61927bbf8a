"""Decisions, reservations and their ends, through the API."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from django.db import connection

from apps.budgets.counting import reconcile
from apps.budgets.decisions import free_due
from apps.budgets.models import Counter, Crossing, Reservation
from apps.budgets.services import BudgetTerms, change_budget, create_budget, end_budget
from apps.core.tenancy import tenant
from apps.organizations.selectors import principal_for
from apps.organizations.services import change_settings, revoke_key
from apps.teams.services import create_on_first_sight
from tests.api.tenants import make_api, make_org
from tests.world import make_event, unique

SONNET = {"provider": "anthropic", "model": "claude-sonnet-4-5"}
# Of 1,000 tokens in and 100 out, at 3 and 15 USD a million.
COST = Decimal("0.0045")


@pytest.fixture
def org():
    org = make_org()
    create_on_first_sight(org=org, seen=[("search", "web", "agent")], actor="test")
    org.refresh_from_db()
    return org


@pytest.fixture
def api(org):
    return make_api(org)


def budget(org, amount="1", mode="block", **terms):
    terms = {"name": unique("budget"), "period": "month", **terms}
    return create_budget(org=org, terms=BudgetTerms(amount_usd=Decimal(amount), mode=mode, **terms), actor="test")


def decide(api, **fields):
    """The answer; asked again, as a client does, where a busy machine took longer than a decision may."""
    return api.ask("decisions", {"request_id": unique("req"), **SONNET, **fields})


def allowed(api, **fields):
    response = decide(api, **fields)
    assert response.status_code == 200, response.content
    body = response.json()
    assert body["decision"] == "allow", body
    return body


def denied(api, code, **fields):
    response = decide(api, **fields)
    assert response.status_code == 200, response.content
    body = response.json()
    assert (body["decision"], [reason["code"] for reason in body["reasons"]]) == ("deny", [code]), body
    assert (body["reservation_id"], body["expires_at"], body["held_usd"]) == (None, None, None)
    assert body["reasons"][0]["detail"]
    return body


def counter(org, budget=None):
    with tenant(org):
        rows = Counter.objects.for_org(org)
        return (rows.filter(budget_id=budget.pk) if budget else rows).get()


def figures(org, budget=None):
    row = counter(org, budget)
    return row.spent_usd, row.held_usd, row.overrun_usd


def reservation(org, body):
    with tenant(org):
        return Reservation.objects.for_org(org).get(reservation_id=body["reservation_id"])


def age(org, body, seconds):
    """As if the reservation had been decided so long ago."""
    with tenant(org), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE budgets_reservation SET decided_at = decided_at - %(by)s, expires_at = expires_at - %(by)s,"
            " release_at = release_at - %(by)s WHERE organization_id = %(org)s AND reservation_id = %(id)s",
            {"by": timedelta(seconds=seconds), "org": org.pk, "id": body["reservation_id"]},
        )


# --- what is held ---


def test_an_estimate_is_held_in_every_budget_that_the_call_falls_under(org, api):
    whole = budget(org, "10")
    team = budget(org, "1", scope={"team": "search"})
    other = budget(org, "1", scope={"environment": "production"})
    body = allowed(api, team="search", estimate_usd="0.25")
    assert body["held_usd"] == "0.250000000000"
    assert {one["id"]: one["remaining_usd"] for one in body["budgets"]} == {
        whole.pk: "9.750000000000",
        team.pk: "0.750000000000",
    }
    assert figures(org, team) == (0, Decimal("0.25"), 0)
    with tenant(org):
        assert not Counter.objects.for_org(org).filter(budget_id=other.pk, held_usd__gt=0).exists()


def test_tokens_are_held_at_the_price_in_force(org, api):
    budget(org)
    body = allowed(api, input_tokens=1000, max_output_tokens=100)
    assert Decimal(body["held_usd"]) == COST


def test_without_an_estimate_and_without_history_it_is_denied(org, api):
    denied(api, "estimate_needed")


def test_what_does_not_fit_is_denied_with_its_figures(org, api):
    one = budget(org, "1", name="Search team", scope={"team": "search"})
    allowed(api, team="search", estimate_usd="0.75")
    body = denied(api, "budget_exceeded", team="search", estimate_usd="0.5")
    (reason,) = body["reasons"]
    assert {name: reason[name] for name in ("budget_id", "limit_usd", "spent_usd", "held_usd", "remaining_usd")} == {
        "budget_id": one.pk,
        "limit_usd": "1.000000000000",
        "spent_usd": "0.000000000000",
        "held_usd": "0.750000000000",
        "remaining_usd": "0.250000000000",
    }
    assert datetime.fromisoformat(reason["resets_at"]) > datetime.now(UTC)
    assert "'Search team' has 0.25 USD left of 1.00 USD" in reason["detail"]
    # To the last pico-USD, and not clipped.
    denied(api, "budget_exceeded", team="search", estimate_usd="0.250000000001")
    allowed(api, team="search", estimate_usd="0.25")
    with tenant(org):
        assert Crossing.objects.for_org(org).filter(kind="refused", budget_id=one.pk).count() == 1


def test_notify_refuses_nothing(org, api):
    one = budget(org, "0.1", mode="notify")
    allowed(api, estimate_usd="5")
    assert figures(org, one)[1] == 5


def test_a_free_model_goes_on_when_the_budget_is_used_up(org, api):
    budget(org, "0.001")
    given = {"kind": "price", "name": "Own hardware", "provider": "home", "model": "llama"}
    response = api.post("contracts", {**given, "rates": {"input_tokens": "0", "output_tokens": "0"}})
    assert response.status_code == 201, response.content
    denied(api, "budget_exceeded", estimate_usd="0.002")
    assert allowed(api, provider="home", model="llama", estimate_usd="3")["held_usd"] == "0.000000000000"
    # What the caller calls free is not.
    allowed(api, estimate_usd="0.001")
    denied(api, "budget_exceeded", estimate_usd="0.000000000001")


# --- request ids ---


def test_the_same_request_is_answered_as_before_and_holds_once(org, api):
    one = budget(org)
    asked = {"request_id": "again", "estimate_usd": "0.25"}
    first = allowed(api, **asked)
    assert allowed(api, **asked) == first
    assert figures(org, one) == (0, Decimal("0.25"), 0)
    conflict = decide(api, **{**asked, "estimate_usd": "0.5"})
    assert (conflict.status_code, conflict.json()["code"]) == (409, "request_id_conflict")
    age(org, first, 25 * 3600)
    assert allowed(api, **{**asked, "estimate_usd": "0.5"})["reservation_id"] != first["reservation_id"]


def test_the_hold_of_one_key_is_no_leave_for_another(org, api):
    other = make_api(org)
    full = budget(org, "0", scope={"api_key": str(principal_for(other.secret, at=datetime.now(UTC)).key_id)})
    allowed(api, request_id="1", estimate_usd="0.25")
    response = decide(other, request_id="1", estimate_usd="0.25")
    assert (response.status_code, response.json()["code"]) == (409, "request_id_conflict")
    denied(other, "budget_exceeded", request_id="2", estimate_usd="0.25")
    assert figures(org, full) == (0, 0, 0)


def test_a_deny_is_evaluated_again(org, api):
    one = budget(org, "0.1")
    denied(api, "budget_exceeded", request_id="again", estimate_usd="0.25")
    change_budget(org=org, budget_id=one.pk, changes={"amount_usd": Decimal(1)}, actor="test")
    allowed(api, request_id="again", estimate_usd="0.25")


# --- how a hold ends ---


def settle(api, body, **fields):
    return api.post(f"reservations/{body['reservation_id']}/settle", {"event": make_event(**fields)})


def test_settling_books_the_cost_and_lets_go_of_the_hold(org, api):
    one = budget(org)
    body = allowed(api, estimate_usd="0.25")
    event = make_event()
    path = f"reservations/{body['reservation_id']}/settle"
    response = api.post(path, {"event": event})
    assert response.status_code == 200, response.content
    said = response.json()
    assert (said["status"], said["held_usd"], said["cost_usd"], said["overrun_usd"]) == (
        "settled",
        "0.250000000000",
        "0.004500000000",
        "0.000000000000",
    )
    assert figures(org, one) == (COST, 0, 0)
    again = api.post(path, {"event": event}).json()
    assert (again["status"], again["event"]["status"]) == ("settled", "duplicate")
    assert api.send({**event, "reservation_id": body["reservation_id"]})["duplicates"] == 1
    other = settle(api, body)
    assert (other.status_code, other.json()["code"]) == (409, "reservation_settled")
    assert figures(org, one) == (COST, 0, 0)


def test_an_event_with_the_reservation_settles_it(org, api):
    one = budget(org)
    body = allowed(api, estimate_usd="0.25")
    assert api.send(make_event(reservation_id=body["reservation_id"]))["results"] == []
    assert figures(org, one) == (COST, 0, 0)
    second = api.send(make_event(reservation_id=body["reservation_id"]), make_event(reservation_id="who"))
    assert [row["code"] for row in second["results"]] == ["reservation_settled", "reservation_unknown"]
    assert figures(org, one) == (3 * COST, 0, 2 * COST)


def test_a_cost_above_the_hold_is_booked_in_full_and_alarmed(org, api):
    one = budget(org, "1")
    body = allowed(api, estimate_usd="0.001")
    said = settle(api, body).json()
    assert (said["status"], said["overrun_usd"]) == ("settled", "0.003500000000")
    assert figures(org, one) == (COST, 0, Decimal("0.0035"))
    with tenant(org):
        crossing = Crossing.objects.for_org(org).get(kind="overrun")
    assert crossing.facts["over_usd"] == "0.003500000000"


def test_releasing_gives_everything_back_once(org, api):
    one = budget(org)
    body = allowed(api, estimate_usd="0.25")
    path = f"reservations/{body['reservation_id']}/release"
    for _ in range(2):
        response = api.post(path, {})
        assert (response.status_code, response.json()["status"]) == (200, "released")
    assert figures(org, one) == (0, 0, 0)
    closed = settle(api, body)
    assert (closed.status_code, closed.json()["code"]) == (409, "reservation_released")
    assert figures(org, one) == (0, 0, 0)


def test_a_hold_ends_by_the_clock_of_the_database_and_a_late_settle_books_in_full(org, api):
    one = budget(org, "0.3")
    body = allowed(api, estimate_usd="0.25", ttl_seconds=10)
    age(org, body, 11)
    # Nobody has swept: what is over makes room all the same.
    second = allowed(api, estimate_usd="0.25")
    assert figures(org, one) == (0, Decimal("0.25"), 0)
    assert reservation(org, body).state == "expired"
    said = settle(api, body).json()
    assert (said["status"], said["overrun_usd"]) == ("settled_late", "0.004500000000")
    assert figures(org, one) == (COST, Decimal("0.25"), COST)
    with tenant(org):
        assert Crossing.objects.for_org(org).filter(kind="settled_late").count() == 1
    age(org, second, 601)
    assert free_due(org) == 1
    assert figures(org, one) == (COST, 0, COST)


def test_a_hold_that_is_over_and_was_not_swept_covers_nothing(org, api):
    one = budget(org)
    body = allowed(api, estimate_usd="0.25", ttl_seconds=10)
    age(org, body, 11)
    assert settle(api, body).json()["status"] == "settled_late"
    assert figures(org, one) == (COST, 0, COST)


def test_a_late_settle_is_told_whatever_it_cost(org, api):
    one = budget(org)
    body = allowed(api, estimate_usd="0.25", ttl_seconds=10)
    age(org, body, 11)
    assert settle(api, body, usage={"input_tokens": 0}).json()["status"] == "settled_late"
    assert figures(org, one) == (0, 0, 0)
    with tenant(org):
        assert Crossing.objects.for_org(org).filter(kind="settled_late").count() == 1


def test_extending_holds_longer_and_revives_nothing(org, api):
    budget(org)
    body = allowed(api, estimate_usd="0.25", ttl_seconds=10)
    path = f"reservations/{body['reservation_id']}/extend"
    said = api.post(path, {"ttl_seconds": 3600}).json()
    assert datetime.fromisoformat(said["expires_at"]) > datetime.now(UTC) + timedelta(minutes=55)
    age(org, body, 3601)
    closed = api.post(path, {"ttl_seconds": 3600})
    assert (closed.status_code, closed.json()["code"]) == (409, "reservation_expired")


# --- which model ---


def test_a_used_up_budget_sends_calls_to_a_cheaper_model(org, api):
    named = {"provider": "anthropic", "model": "claude-haiku-4-5"}
    one = budget(org, "0.01", "downgrade", downgrade_to=named)
    assert allowed(api, input_tokens=1000, max_output_tokens=100)["model"] == "claude-sonnet-4-5"
    api.send(make_event(usage={"input_tokens": 100_000}))
    body = decide(api, input_tokens=1000, max_output_tokens=100).json()
    assert (body["decision"], body["model"], body["held_usd"]) == ("downgrade", "claude-haiku-4-5", "0.001500000000")
    assert [reason["code"] for reason in body["reasons"]] == ["downgraded"]
    # The model itself, and cheaper ones, go on as they are.
    allowed(api, model="claude-haiku-4-5", input_tokens=1000, max_output_tokens=100)
    allowed(api, provider="openai", model="gpt-4o-mini", input_tokens=1000, max_output_tokens=100)
    end_budget(org=org, budget_id=one.pk, actor="test")
    allowed(api, input_tokens=1000, max_output_tokens=100)


def test_a_used_up_budget_allows_prices_up_to_the_named_ones(org, api):
    budget(org, "0.01", "downgrade", downgrade_to={"input_usd": "1", "output_usd": "5"})
    api.send(make_event(usage={"input_tokens": 100_000}))
    denied(api, "model_too_expensive", input_tokens=1000, max_output_tokens=100)
    allowed(api, model="claude-haiku-4-5", input_tokens=1000, max_output_tokens=100)


def test_what_a_downgrade_leaves_too_dear_for_a_cap_is_denied(org, api):
    budget(org, "0.01", "downgrade", downgrade_to={"provider": "anthropic", "model": "claude-haiku-4-5"})
    budget(org, "0.301")
    api.send(make_event(usage={"input_tokens": 100_000}))
    body = decide(api, input_tokens=1000, max_output_tokens=100).json()
    assert [reason["code"] for reason in body["reasons"]] == ["budget_exceeded"]


# --- unpriced ---


@pytest.mark.parametrize("given", [{"estimate_usd": "0.1"}, {"input_tokens": 10, "max_output_tokens": 10}])
def test_an_unpriced_model_under_a_cap_is_refused_by_default(org, api, given):
    unknown = {"provider": "nobody", "model": "mystery", **given}
    assert allowed(api, **unknown)["reasons"][0]["code"] == "unpriced_model"  # nothing is capped yet
    budget(org, mode="notify")
    allowed(api, **unknown)
    budget(org)
    denied(api, "unpriced_model", **unknown)


def test_an_unpriced_model_is_held_at_the_ceiling_of_its_family(org, api):
    one = budget(org, "10")
    change_settings(org=org, actor="test", unpriced_policy="ceiling")
    unknown = {"provider": "anthropic", "model": "claude-opulent-9"}
    body = allowed(api, **unknown, input_tokens=1_000, max_output_tokens=100)
    held = Decimal(body["held_usd"])
    assert held > COST
    api.send(make_event(**unknown, reservation_id=body["reservation_id"]))
    row = counter(org, one)
    assert (row.spent_usd, row.assumed_usd, row.held_usd, row.overrun_usd) == (held, held, 0, 0)
    assert row.unpriced_events == 1
    denied(api, "unpriced_model", provider="nobody", model="x", input_tokens=1, max_output_tokens=1)


def test_an_unpriced_model_is_allowed_and_flagged_where_that_is_the_policy(org, api):
    one = budget(org)
    change_settings(org=org, actor="test", unpriced_policy="allow")
    body = allowed(api, provider="nobody", model="mystery", input_tokens=10, max_output_tokens=10)
    assert body["reasons"][0]["code"] == "unpriced_model"
    api.send(make_event(provider="nobody", model="mystery", reservation_id=body["reservation_id"]))
    assert counter(org, one).unpriced_events == 1


# --- who asks ---


def test_a_revoked_key_is_refused_by_the_very_next_decision(org):
    api = make_api(org)
    budget(org)
    allowed(api, estimate_usd="0.1")
    with tenant(org), connection.cursor() as cursor:
        cursor.execute("SELECT max(id) FROM organizations_apikey WHERE organization_id = %s", [org.pk])
        (key_id,) = cursor.fetchone()
    revoke_key(org=org, key_id=key_id, actor="test")
    for given in ({"estimate_usd": "0.1"}, {}):
        response = decide(api, **given)
        assert (response.status_code, response.json()["code"]) == (401, "key_revoked")


def test_a_key_decides_for_what_it_is_pinned_to(org):
    budget(org, "1", scope={"team": "search"})
    pinned = make_api(org, team="search")
    assert len(allowed(pinned, estimate_usd="0.1")["budgets"]) == 1
    other = decide(pinned, team="sales", estimate_usd="0.1")
    assert (other.status_code, other.json()["code"]) == (403, "pinned_dimension")
    reader = make_api(org, "read")
    assert decide(reader, estimate_usd="0.1").json()["code"] == "scope_missing"


def test_another_organizations_reservation_does_not_exist(org, api):
    body = allowed(api, estimate_usd="0.1")
    stranger = make_api(make_org())
    for act, given in (("settle", {"event": make_event()}), ("release", {}), ("extend", {"ttl_seconds": 10})):
        response = stranger.post(f"reservations/{body['reservation_id']}/{act}", given)
        assert (response.status_code, response.json()["code"]) == (404, "not_found")
        assert api.post(f"reservations/{uuid4()}/{act}", given).status_code == 404


# --- wrong input ---


@pytest.mark.parametrize(
    ("wrong", "code", "param"),
    [
        ({"request_id": None}, "missing_field", "request_id"),
        ({"request_id": "x" * 129}, "string_too_long", "request_id"),
        ({"request_id": "a\0b"}, "invalid_character", "request_id"),
        ({"provider": ""}, "empty_string", "provider"),
        ({"model": 7}, "wrong_type", "model"),
        ({"tema": "search"}, "field_unknown", "tema"),
        ({"ttl_seconds": 9}, "out_of_range", "ttl_seconds"),
        ({"ttl_seconds": 3601}, "out_of_range", "ttl_seconds"),
        ({"ttl_seconds": "60"}, "wrong_type", "ttl_seconds"),
        ({"estimate_usd": "-1"}, "estimate_usd_invalid", "estimate_usd"),
        ({"estimate_usd": "NaN"}, "estimate_usd_invalid", "estimate_usd"),
        ({"estimate_usd": 0.1}, "wrong_type", "estimate_usd"),
        ({"estimate_usd": "1000000000000.1"}, "estimate_usd_invalid", "estimate_usd"),
        ({"input_tokens": 5}, "estimate_incomplete", "max_output_tokens"),
        ({"input_tokens": -1, "max_output_tokens": 1}, "out_of_range", "input_tokens"),
        ({"input_tokens": 10**13, "max_output_tokens": 1}, "out_of_range", "input_tokens"),
        ({"tags": {"a": "\ud800"}}, "invalid_character", "tags.a"),
        ({"service_tier": "cheap"}, "invalid_choice", "service_tier"),
        ({"attempt": 0}, "out_of_range", "attempt"),
    ],
)
def test_wrong_input_is_named(api, wrong, code, param):
    given = {"request_id": unique("req"), **SONNET, "estimate_usd": "1", **wrong}
    response = api.post("decisions", {name: value for name, value in given.items() if value is not None})
    assert response.status_code == 400, response.content
    assert (response.json()["code"], response.json()["param"]) == (code, param)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"7", b"{", b'{"a":1,"a":2}', b"\xff", b"[" * 5000, b'{"a":' + b"9" * 5000 + b"}"]
)
def test_what_is_no_object_is_refused(api, body):
    for path in ("decisions", "leases"):
        response = api.post(path, body)
        assert response.status_code == 400, response.content
        assert response.json()["code"]
    assert api.post("decisions", b" " * 70_000).status_code == 413
    assert api.get("decisions").status_code == 405


def test_a_budget_counts_nothing_of_a_period_that_was_over_before_it(org, api):
    yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    api.send(make_event(occurred_at=yesterday))
    one = budget(org, period="day")
    api.send(make_event(occurred_at=yesterday), make_event())
    assert figures(org, one) == (COST, 0, COST)
    assert reconcile(org) == []
