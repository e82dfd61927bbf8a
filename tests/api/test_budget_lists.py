"""Lists of budgets, crossings and reservations through the API, and who may."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.core.cursors import cursor_of
from apps.core.tenancy import tenant
from tests.api.budgets import changed, create, figures, in_hours, patch, shown
from tests.api.tenants import make_api, make_org
from tests.api.test_decisions import COST, allowed, api, org, settle
from tests.world import make_event

__all__ = ["api", "org"]  # fixtures


def test_budgets_are_listed_by_name_in_pages_and_found(api):
    made = [create(api, name=f"Budget {letter}", scope=scope, period=period) for letter, scope, period in (
        ("a", {}, "day"), ("b", {"team": "search"}, "month"), ("c", {"team": "*", "user": "*"}, "day"),
    )]  # fmt: skip

    def found(**asked):
        return [row["name"][-1] for row in api.get("budgets", **asked).json()["data"]]

    first = api.get("budgets", limit="2").json()
    rest = api.get("budgets", limit="2", cursor=first["next"]).json()
    assert first["data"] + rest["data"] == made
    assert rest["next"] is None
    assert (found(dimension="team"), found(dimension="user"), found(period="day")) == (["b", "c"], ["c"], ["a", "c"])
    assert (found(mode="notify"), found(dimension="team", period="day")) == ([], ["c"])
    for wrong, code in (
        ({"mode": "stop"}, "mode_unknown"), ({"period": "run"}, "period_unknown"), ({"ended": "yes"}, "ended_invalid"),
        ({"cursor": "x"}, "cursor_invalid"), ({"cursor": cursor_of(("a\0", 1))}, "cursor_invalid"),
        ({"cursor": cursor_of(("a", 10**18 * 10))}, "cursor_invalid"), ({"limit": "201"}, "limit_invalid"),
        ({"scope": "x"}, "parameter_unknown"),
    ):  # fmt: skip
        response = api.get("budgets", **wrong)
        assert (response.status_code, response.json()["code"]) == (400, code)


def test_a_list_takes_the_same_queries_however_long(api):
    def queries():
        with CaptureQueriesContext(connection) as caught:
            assert api.get("budgets").status_code == 200
        return len(caught)

    create(api, scope={"user": "*"})
    few = queries()
    for _ in range(3):
        row = create(api, scope={"user": "*"}, period="day")
        api.post(f"budgets/{row['id']}/raises", {"amount_usd": "1", "reason": "x", "expires_at": in_hours(1)})
    api.send(*(make_event(user=f"u{n}") for n in range(12)))
    assert queries() == few


def test_subjects_with_the_least_left_come_first(api):
    one = create(api, scope={"user": "*"}, amount_usd="10", thresholds=[])
    api.send(*(make_event(user=f"u{n:02}") for n in range(12) for _ in range(n + 1)))
    allowed(api, user="u03", estimate_usd="5")
    users = [f'{{"user": "u{n:02}"}}' for n in (3, 11, 10, 9, 8, 7, 6, 5, 4, 2, 1, 0)]
    found = shown(api, one)
    assert ([row["subject"] for row in found["counters"]], found["subjects"]) == (users, 12)
    (listed,) = api.get("budgets").json()["data"]
    assert ([row["subject"] for row in listed["counters"]], listed["subjects"]) == (users[:10], 12)


def test_past_periods_come_newest_first_each_with_its_fullest_subjects(org, api):
    one = create(api, period="day", scope={"user": "*"}, amount_usd="10")
    with tenant(org), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE budgets_budget SET created_at = created_at - interval '5 days' WHERE organization_id = %s", [org.pk]
        )
    changed(api, one, name="As old as its usage")
    now = datetime.now(UTC)
    for days in (2, 1):
        at = (now - timedelta(days=days)).isoformat()
        api.send(*(make_event(user=f"u{n:02}", occurred_at=at) for n in range(12) for _ in range(n + 1)))
    past = shown(api, one)["past"]
    assert [row["events"] for row in past] == [*range(12, 2, -1)] * 2
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    starts = {datetime.fromisoformat(row["period_start"]) for row in past}
    assert sorted(starts) == [today - timedelta(days=2), today - timedelta(days=1)]
    assert datetime.fromisoformat(past[0]["period_start"]) == today - timedelta(days=1)


def test_an_ended_budget_is_shown_as_it_ended(api):
    one = create(api)
    api.send(make_event())
    ended = api.client.delete(f"/api/v1/budgets/{one['id']}", headers=api.headers).json()
    api.send(make_event())
    assert ended["resets_at"] is None
    assert (figures(api, one)[1], shown(api, one)["counters"]) == (COST, ended["counters"])
    allowed(api, estimate_usd="5")


def test_crossings_are_found_by_kind_and_since(api):
    one = create(api, amount_usd="0.009", mode="notify", thresholds=[50, 100])
    api.send(make_event())
    (first,) = api.get("crossings").json()["data"]
    api.send(make_event())
    found = api.get("crossings", budget=str(one["id"]), kind="threshold").json()["data"]
    assert [row["facts"]["threshold"] for row in found] == [100, 50]
    since = (datetime.fromisoformat(first["crossed_at"]) + timedelta(microseconds=1)).isoformat()
    assert api.get("crossings", since=since).json()["data"] == found[:1]
    assert api.get("crossings", since=first["crossed_at"]).json()["data"] == found
    assert api.get("crossings", kind="refused").json()["data"] == []
    for wrong, code in (
        ({"kind": "gone"}, "kind_unknown"), ({"budget": "x"}, "budget_invalid"), ({"since": "x"}, "since_invalid"),
        ({"cursor": "W10"}, "cursor_invalid"),
    ):  # fmt: skip
        assert api.get("crossings", **wrong).json()["code"] == code


def test_a_reservation_is_shown_to_the_end(api):
    create(api)
    made = allowed(api, estimate_usd="0.01", run_id="r1")
    held = api.get(f"reservations/{made['reservation_id']}").json()
    assert (held["state"], held["held_usd"], held["run_id"]) == ("held", "0.010000000000", "r1")
    assert api.get("reservations").json()["data"] == [held]
    settle(api, made, run_id="r1")
    found = api.get(f"reservations/{made['reservation_id']}").json()
    assert (found["state"], found["held_usd"], Decimal(found["cost_usd"])) == ("settled", "0.000000000000", COST)
    assert api.get(f"reservations/{uuid4()}").status_code == 404
    assert make_api(make_org()).get(f"reservations/{made['reservation_id']}").status_code == 404


def test_lists_go_on_where_they_ended(api):
    create(api)
    made = [allowed(api, estimate_usd="0.01", run_id=f"r{n % 2}")["reservation_id"] for n in range(5)]
    page = api.get("reservations", limit="3").json()
    rest = api.get("reservations", limit="3", cursor=page["next"]).json()
    assert [row["id"] for row in page["data"] + rest["data"]] == made[::-1]
    assert rest["next"] is None
    assert len(api.get("reservations", run_id="r1").json()["data"]) == 2
    assert api.get("reservations", state="settled").json()["data"] == []
    for wrong, code in (
        ({"cursor": "x"}, "cursor_invalid"),
        ({"state": "gone"}, "state_unknown"),
        ({"limit": "0"}, "limit_invalid"),
        ({"api_key": "x"}, "api_key_invalid"),
        ({"what": "x"}, "parameter_unknown"),
    ):
        assert api.get("reservations", **wrong).json()["code"] == code


def test_who_may(org, api):
    one = create(api)
    reader, pinned, stranger = make_api(org, "read"), make_api(org, team="search"), make_api(make_org())
    assert reader.post("budgets", {}).json()["code"] == "scope_missing"
    assert pinned.get("budgets").json()["code"] == "pinned_dimension"
    assert stranger.get(f"budgets/{one['id']}").status_code == 404
    assert patch(stranger, one, amount_usd="9").status_code == 404
    assert figures(api, one)[0] == 1
