"""Making and changing budgets through the API, what is carried over, and what stops and bounds beside them."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from django.db import connection

from apps.budgets.counting import reconcile
from apps.core.money import sum_usd
from apps.core.periods import local_start, next_month
from apps.core.tenancy import tenant
from apps.organizations.models import Zone
from apps.organizations.services import touch_facts
from apps.teams.services import create_on_first_sight
from tests.api.budgets import changed, create, figures, in_hours, patch, shown
from tests.api.tenants import make_api, make_org
from tests.api.test_decisions import COST, allowed, api, denied, org, settle
from tests.database import as_worker
from tests.world import make_event, unique

__all__ = ["api", "org"]  # fixtures


# --- making one ---


def test_a_budget_is_made_listed_changed_and_ended(api):
    made = create(api, name="Search", scope={"team": "search"}, amount_usd="100.00", thresholds=[100, 50, 50])
    assert (made["amount_usd"], made["thresholds"], made["scope"]) == (
        "100.000000000000",
        [50, 100],
        {"team": "search"},
    )
    assert api.get("budgets").json()["data"] == [made]
    assert api.get("budgets", mode="notify").json()["data"] == []
    assert changed(api, made, name="Search team", amount_usd="50", rollover=True)["amount_usd"] == "50.000000000000"
    response = api.client.delete(f"/api/v1/budgets/{made['id']}", headers=api.headers)
    assert response.json()["ended_at"]
    assert api.get("budgets").json()["data"] == []
    (ended,) = api.get("budgets", ended="true").json()["data"]
    assert ended["name"] == "Search team"
    assert patch(api, made, amount_usd="1").json()["code"] == "budget_ended"
    create(api, name="Search team")  # the name is free again


def test_one_made_in_the_middle_begins_with_what_was_spent_and_held(org, api):
    api.send(make_event(team="search", user="ann"), make_event(team="search", user="bob"), make_event())
    body = allowed(api, team="search", user="ann", estimate_usd="0.25")
    whole, team = create(api), create(api, scope={"team": "search"})
    users = create(api, scope={"user": "*"}, amount_usd="0.1")
    assert figures(api, whole) == (1, 3 * COST, Decimal("0.25"), 0)
    assert figures(api, team) == (1, 2 * COST, Decimal("0.25"), 0)
    rows = {row["subject"]: row for row in shown(api, users)["counters"]}
    assert Decimal(rows['{"user": "ann"}']["overrun_usd"]) == Decimal("0.25") + COST - Decimal("0.1")
    assert Decimal(rows['{"user": "bob"}']["spent_usd"]) == COST
    assert settle(api, body, team="search", user="ann").json()["overrun_usd"] == "0.000000000000"
    assert figures(api, team) == (1, 3 * COST, 0, 0)
    with as_worker():
        assert reconcile(org) == []


USED = [
    {"team": "search", "user": "ann", "environment": "prod", "tags": {"tier": "gold"}},
    {"team": "search", "user": "bob", "model": "claude-haiku-4-5", "tags": {"tier": "free"}},
    {"workflow": "agent", "user": "ann", "model": "Claude-Haiku-4-5", "task_type": "chat"},
    {"provider": "openai", "model": "gpt-4o", "user": "Zoë", "environment": "dev"},
    {"project": "web", "model": "gpt-4o-mini", "provider": "OpenAI", "tags": {"tier": "gold", "other": "x"}},
    {"team": "nobody's", "user": "ann"},
    {},
]


@pytest.fixture(scope="module")
def used():
    """Keys of an organization that has used its month so far in many ways."""
    org = make_org()
    create_on_first_sight(org=org, seen=[("search", "web", "agent")], actor="test")
    api = make_api(org)
    now = datetime.now(UTC)
    begun = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for number, said in enumerate(USED):
        usage = {"input_tokens": 10 ** (number % 4) * 7, "output_tokens": number}
        for at in (begun, begun + (now - begun) / 3, now, begun - timedelta(microseconds=1)):
            api.send(make_event(**said, usage=usage, occurred_at=at.isoformat()))
    return org, api


@pytest.mark.parametrize(
    ("scope", "asked"),
    [
        ({}, {}),
        ({"team": "search"}, {"team": "search"}),
        ({"workflow": "agent"}, {"workflow": "agent"}),
        ({"user": "Zoë"}, {"user": "Zoë"}),
        ({"environment": "prod", "team": "search"}, {"environment": "prod", "team": "search"}),
        ({"task_type": "chat"}, {"task_type": "chat"}),
        ({"tags.tier": "gold"}, {"tags.tier": "gold"}),
        ({"model": "gpt-4o"}, {"model": "gpt-4o"}),
        ({"provider": "openai"}, {"provider": "openai"}),
    ],
)
def test_one_made_late_begins_with_what_spend_says(used, scope, asked):
    _, api = used
    total = api.get("spend", **asked).json()["total"]
    one = create(api, scope=scope, mode="notify", thresholds=[])
    (row,) = shown(api, one)["counters"]
    assert (row["spent_usd"], row["events"]) == (total["cost_usd"], total["events"])
    assert row["events"] > 0


@pytest.mark.parametrize("dimension", ["team", "project", "user", "environment", "api_key", "tags.tier"])
def test_each_value_begins_with_what_spend_says(used, dimension):
    _, api = used
    rows = api.get("spend", group_by=dimension).json()["rows"]
    one = create(api, scope={dimension: "*"}, mode="notify", thresholds=[])
    found = {json.loads(row["subject"])[dimension]: row["spent_usd"] for row in shown(api, one)["counters"]}
    assert found == {row[dimension]: row["cost_usd"] for row in rows if row[dimension] is not None}
    assert found


def test_names_that_begin_alike_are_summed_in_whatever_case(used):
    org, api = used
    rows = api.get("spend", group_by="model").json()["rows"]
    alike = create(api, scope={"model": "Claude-H*"}, mode="notify")
    spent = sum_usd(Decimal(row["cost_usd"]) for row in rows if row["model"].lower().startswith("claude-h"))
    assert figures(api, alike)[1] == spent > 0
    each = create(api, scope={"model": "*", "user": "a*"}, mode="notify")
    assert {row["subject"] for row in shown(api, each)["counters"]} == {
        '{"model": "claude-haiku-4-5"}',
        '{"model": "claude-sonnet-4-5"}',
    }
    with as_worker():
        assert reconcile(org) == []


def test_several_on_one_scope_hold_at_once(api):
    day, month = create(api, period="day", amount_usd="0.5"), create(api, amount_usd="0.3")
    allowed(api, estimate_usd="0.3")
    reasons = denied(api, "budget_exceeded", estimate_usd="0.1")["reasons"]
    assert [reason["budget_id"] for reason in reasons] == [month["id"]]
    assert figures(api, day)[2] == Decimal("0.3")


def test_a_fixed_range(api):
    now = datetime.now(UTC)
    ahead = {"starts_at": (now + timedelta(days=1)).isoformat(), "ends_at": (now + timedelta(days=9)).isoformat()}
    later = create(api, period="range", amount_usd="0", **ahead)
    assert (later["resets_at"], later["counters"]) == (None, [])
    allowed(api, estimate_usd="1")
    current = {"starts_at": (now - timedelta(days=1)).isoformat(), "ends_at": (now + timedelta(days=9)).isoformat()}
    create(api, period="range", amount_usd="0.5", **current)
    denied(api, "budget_exceeded", estimate_usd="1")


@pytest.mark.parametrize(
    ("wrong", "code", "param"),
    [
        ({"name": ""}, "invalid", "name"),
        ({"name": "a\nb"}, "name_invalid", "name"),
        ({"period": "run"}, "period_unknown", "period"),
        ({"period": "fortnight"}, "period_unknown", "period"),
        ({"period": "range"}, "range_invalid", "starts_at"),
        ({"starts_at": "2026-01-01T00:00:00Z"}, "range_invalid", "starts_at"),
        ({"amount_usd": "-1"}, "amount_invalid", "amount_usd"),
        ({"amount_usd": 0.1}, "invalid", "amount_usd"),
        ({"amount_usd": 10**40}, "invalid", "amount_usd"),
        ({"amount_usd": "NaN"}, "amount_invalid", "amount_usd"),
        ({"amount_usd": "1e30"}, "amount_invalid", "amount_usd"),
        ({"amount_usd": "0.0000000000001"}, "amount_invalid", "amount_usd"),
        ({"amount_usd": "1e2"}, "amount_invalid", "amount_usd"),
        ({"amount_usd": "1_000"}, "amount_invalid", "amount_usd"),
        ({"amount_usd": "١"}, "amount_invalid", "amount_usd"),
        ({"mode": "stop"}, "mode_unknown", "mode"),
        ({"mode": "downgrade"}, "downgrade_invalid", "downgrade_to"),
        ({"downgrade_to": {"provider": "a", "model": "b"}}, "downgrade_invalid", "downgrade_to"),
        (
            {"mode": "downgrade", "downgrade_to": {"provider": "nobody", "model": "x"}},
            "downgrade_invalid",
            "downgrade_to",
        ),
        ({"mode": "downgrade", "downgrade_to": {"input_usd": "1"}}, "downgrade_invalid", "downgrade_to"),
        (
            {"mode": "downgrade", "downgrade_to": {"input_usd": 0.1, "output_usd": "1"}},
            "invalid",
            "downgrade_to.input_usd",
        ),
        ({"scope": {"team": "nobody"}}, "scope_unknown", "scope.team"),
        ({"scope": {"tema": "search"}}, "scope_unknown", "scope.tema"),
        ({"scope": {"tags.": "x"}}, "scope_unknown", "scope.tags."),
        ({"scope": {"api_key": "999999999"}}, "scope_unknown", "scope.api_key"),
        ({"scope": {"user": "a\x07b"}}, "scope_invalid", "scope.user"),
        ({"scope": {"user": "a\0"}}, "invalid", "scope.user"),
        ({"scope": {f"tags.{n}": "x" for n in range(7)}}, "scope_invalid", "scope"),
        ({"thresholds": [0]}, "thresholds_invalid", "thresholds"),
        ({"thresholds": list(range(1, 14))}, "thresholds_invalid", "thresholds"),
        ({"forecast_thresholds": [1001]}, "thresholds_invalid", "forecast_thresholds"),
    ],
)
def test_wrong_input_is_named_and_changes_nothing(api, wrong, code, param):
    given = {"name": unique("budget"), "period": "month", "amount_usd": "1", **wrong}
    response = api.post("budgets", given)
    assert response.status_code == 400, response.content
    body = response.json()
    assert (body["code"], body["param"]) == (code, param), body
    assert api.get("budgets").json()["data"] == []


def test_a_name_is_taken_once(api):
    create(api, name="One")
    response = api.post("budgets", {"name": "One", "period": "day", "amount_usd": "1"})
    assert (response.status_code, response.json()["code"]) == (409, "name_known")
    other = create(api, name="Two")
    assert patch(api, other, name="One").json()["code"] == "name_known"


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00"])
@pytest.mark.parametrize("field", ["starts_at", "ends_at"])
def test_a_range_at_the_edge_of_time_is_refused(api, field, at):
    body = {"name": "x", "period": "range", "amount_usd": "1", "starts_at": "2026-11-01T00:00:00Z",
            "ends_at": "2026-12-01T00:00:00Z", field: at}  # fmt: skip
    response = api.post("budgets", body)
    assert (response.status_code, response.json()["code"] in ("range_invalid", "invalid")) == (400, True)
    late = {"starts_at": "9999-01-01T00:00:00Z", "ends_at": "9999-12-01T00:00:00Z"}
    assert create(api, period="range", **late)["counters"] == []


@pytest.mark.parametrize(
    "body",
    [
        b"[]", b"5", b"null", b"{", b'{"scope": []}', b'{"scope": {"user": {}}}', b'{"thresholds": [1e400]}',
        b'{"thresholds": [99999999999999999999999]}', b'{"amount_usd": 1e400}', b'{"name": "\\ud800"}',
        b'{"scope": {"tags.\\u0000": "x"}}', b'{"scope": {"\\ud800": "x"}}', b'{"\\ud800": 1}',
        b'{"downgrade_to": {"provider": "\\u0000"}}',
    ],
)  # fmt: skip
def test_no_body_is_an_error_of_ours(api, body):
    given = b'{"name": "x", "period": "day", "amount_usd": "1", ' + body[1:] if body[:2] == b'{"' else body
    response = api.post("budgets", given)
    assert response.status_code == 400, response.content
    assert response.json()["code"] != "internal_error"


@pytest.mark.parametrize("path", ["budgets/{}", "stops/{}/lift", "budgets/{}/raises", "budget-raises/{}/approve"])
@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 10**30])
def test_a_number_that_is_no_id_finds_nothing(api, path, number):
    reads = path in ("budgets/{}", "budgets/{}/raises")
    asked = {"amount_usd": "1", "reason": "x", "expires_at": in_hours(1)}
    for response in [*([api.get(path.format(number))] if reads else []), *(
        [] if path == "budgets/{}" else [api.post(path.format(number), asked if reads else {})]
    )]:  # fmt: skip
        assert (response.status_code, response.json()["code"]) == (404, "not_found")


# --- changing one ---


def test_a_field_that_does_not_exist_is_named_and_changes_nothing(api):
    one = create(api)
    for response in (patch(api, one, amount="5"), api.post("budgets", {"name": "x", "amount": "5"})):
        assert (response.status_code, response.json()["code"], response.json()["param"]) == (
            400,
            "field_unknown",
            "amount",
        )
    assert figures(api, one)[0] == 1


def test_scope_and_period_stay(api):
    one = create(api, scope={"team": "search", "model": "Claude-Sonnet-4-5"})
    same = {"scope": {"model": "claude-SONNET-4-5", "team": "search"}, "period": "month", "starts_at": None}
    assert changed(api, one, **same, amount_usd="2")["scope"] == one["scope"]
    for field, value in (("scope", {}), ("period", "day"), ("starts_at", "2026-01-01T00:00:00Z")):
        response = patch(api, one, **{field: value})
        assert (response.status_code, response.json()["code"], response.json()["param"]) == (400, "field_fixed", field)


def test_a_budget_that_no_longer_downgrades_forgets_its_model(api):
    cheap = {"provider": "anthropic", "model": "claude-haiku-4-5"}
    one = create(api, mode="downgrade", downgrade_to=cheap)
    assert changed(api, one, amount_usd="2")["downgrade_to"] == cheap
    assert changed(api, one, mode="block")["downgrade_to"] is None
    assert patch(api, one, mode="downgrade").json()["code"] == "downgrade_invalid"
    assert changed(api, one, mode="downgrade", downgrade_to=cheap)["downgrade_to"] == cheap


def test_what_exceeds_a_lower_limit_is_overrun_exactly(api):
    one = create(api, amount_usd="1")
    allowed(api, estimate_usd="0.75")
    changed(api, one, amount_usd="0.5")
    assert figures(api, one) == (Decimal("0.5"), 0, Decimal("0.75"), Decimal("0.25"))
    denied(api, "budget_exceeded", estimate_usd="0.01")
    changed(api, one, amount_usd="2")
    assert figures(api, one)[3] == Decimal("0.25")
    allowed(api, estimate_usd="1.25")


def test_one_that_begins_to_block_counts_what_was_too_much(api):
    one = create(api, amount_usd="0.5", mode="notify")
    allowed(api, estimate_usd="0.75")
    changed(api, one, mode="block")
    assert figures(api, one)[3] == Decimal("0.25")
    denied(api, "budget_exceeded", estimate_usd="0.01")


def test_thresholds_are_told_once_each(org, api):
    one = create(api, amount_usd="0.009", mode="notify", thresholds=[50, 100])

    def told():
        rows = api.get("crossings", budget=str(one["id"])).json()["data"]
        return sorted((row["facts"]["threshold"], row["severity"]) for row in rows if row["kind"] == "threshold")

    assert told() == []
    api.send(make_event())
    assert told() == [(50, "info")]
    api.send(make_event(), make_event())
    api.send(make_event())
    assert told() == [(50, "info"), (100, "critical")]
    changed(api, one, thresholds=[50, 100, 150])
    assert told() == [(50, "info"), (100, "critical"), (150, "critical")]


# --- raises ---


def test_a_raise_is_asked_for_approved_and_expires(org, api):
    one = create(api, amount_usd="0.5")
    asked = {"amount_usd": "0.5", "expires_at": in_hours(2), "reason": "Launch week"}
    response = api.post(f"budgets/{one['id']}/raises", asked)
    assert response.status_code == 201, response.content
    row = response.json()
    denied(api, "budget_exceeded", estimate_usd="0.75")
    assert api.post(f"budget-raises/{row['id']}/approve", {}).json()["state"] == "approved"
    assert api.post(f"budget-raises/{row['id']}/approve", {}).status_code == 200
    assert api.post(f"budget-raises/{row['id']}/refuse", {}).json()["code"] == "raise_decided"
    allowed(api, estimate_usd="0.75")
    assert figures(api, one) == (1, 0, Decimal("0.75"), 0)
    with tenant(org), connection.cursor() as cursor:
        for table, column in (("budgets_raise", "expires_at"), ("budgets_counter", "limit_until")):
            cursor.execute(
                f"UPDATE {table} SET {column} = {column} - interval '3 hours' WHERE organization_id = %s", [org.pk]
            )
    denied(api, "budget_exceeded", estimate_usd="0.01")
    assert figures(api, one) == (Decimal("0.5"), 0, Decimal("0.75"), Decimal("0.25"))
    assert [raised["state"] for raised in api.get(f"budgets/{one['id']}/raises").json()["data"]] == ["approved"]


def test_a_refused_raise_raises_nothing(api):
    one = create(api, amount_usd="0.5")
    asked = {"amount_usd": "0.5", "expires_at": in_hours(2), "reason": "Because"}
    row = api.post(f"budgets/{one['id']}/raises", asked).json()
    assert api.post(f"budget-raises/{row['id']}/refuse", {}).json()["state"] == "refused"
    denied(api, "budget_exceeded", estimate_usd="0.75")
    for wrong, code in (
        ({"expires_at": in_hours(-1)}, "expires_at_invalid"),
        ({"expires_at": in_hours(24 * 400)}, "expires_at_invalid"),
        ({"amount_usd": "x"}, "amount_invalid"),
        ({"reason": "\u0007"}, "reason_invalid"),
    ):
        assert api.post(f"budgets/{one['id']}/raises", {**asked, **wrong}).json()["code"] == code
    assert api.post("budget-raises/999999/approve", {}).status_code == 404
    assert api.post("budgets/999999/raises", asked).status_code == 404


# --- rollover ---


def test_what_is_left_of_a_period_is_carried_into_the_next_once(org, api):
    one = create(api, period="day", amount_usd="1", rollover=True)
    api.send(make_event())
    with tenant(org), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE budgets_counter SET period_start = period_start - interval '1 day',"
            " period_end = period_end - interval '1 day' WHERE organization_id = %s",
            [org.pk],
        )
        cursor.execute("UPDATE budgets_budget SET created_at = created_at - interval '3 days'")
    allowed(api, estimate_usd="1.5")
    assert figures(api, one) == (2 - COST, 0, Decimal("1.5"), 0)
    assert [row["spent_usd"] for row in shown(api, one)["past"]] == ["0.004500000000"]


def test_a_zone_that_changes_with_the_next_period_moves_the_end_of_this_one(org, api):
    one = create(api)
    allowed(api, estimate_usd="0.01")
    ahead = next_month(datetime.now(UTC).date().replace(day=1))
    with tenant(org):
        Zone(organization=org, effective_month=ahead, name="America/New_York").save()
        touch_facts(org)
    ends = local_start(ZoneInfo("America/New_York"), ahead)
    body = allowed(api, estimate_usd="0.01")
    assert datetime.fromisoformat(body["budgets"][0]["resets_at"]) == ends
    (row,) = shown(api, one)["counters"]
    assert datetime.fromisoformat(row["period_end"]) == datetime.fromisoformat(shown(api, one)["resets_at"]) == ends
    assert figures(api, one)[2] == Decimal("0.02")


def test_what_is_left_is_carried_over_a_change_of_the_zone(org, api):
    one = create(api, rollover=True)
    api.send(make_event())
    with tenant(org), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE budgets_counter SET period_start = period_start - interval '1 month',"
            " period_end = period_start + interval '9 hours' WHERE organization_id = %s",
            [org.pk],
        )
        cursor.execute(
            "UPDATE budgets_budget SET created_at = created_at - interval '60 days' WHERE organization_id = %s",
            [org.pk],
        )
    allowed(api, estimate_usd="1.5")
    assert figures(api, one)[0] == 2 - COST


# --- run bounds, stops, policy ---


def put(api, path, **fields):
    return api.client.put(f"/api/v1/{path}", fields, content_type="application/json", headers=api.headers)


@pytest.mark.parametrize("workflow", ["%00", "nobody", "a%01b", "x" * 300])
def test_bounds_of_no_workflow(api, workflow):
    path = f"/api/v1/run-bounds/{workflow}"
    assert api.client.get(path, headers=api.headers).status_code == 404
    assert api.client.delete(path, headers=api.headers).status_code == 404
    response = put(api, f"run-bounds/{workflow}", max_steps=1)
    assert (response.status_code, response.json()["code"]) == (400, "workflow_unknown")


def test_bounds_of_a_workflow(api):
    response = put(api, "run-bounds/agent", max_cost_usd="2", max_steps=50)
    assert response.status_code == 200, response.content
    assert (response.json()["max_cost_usd"], response.json()["max_depth"]) == ("2.000000000000", None)
    assert put(api, "run-bounds/agent", max_steps=10).json()["max_cost_usd"] is None
    assert [row["workflow"] for row in api.get("run-bounds").json()["data"]] == ["agent"]
    for given, code in (
        ({}, "bounds_missing"),
        ({"max_steps": -1}, "bound_invalid"),
        ({"max_cost_usd": "no"}, "amount_invalid"),
        ({"max_cost_usd": 2}, "invalid"),
    ):
        assert put(api, "run-bounds/agent", **given).json()["code"] == code
    assert put(api, "run-bounds/nobody", max_steps=1).json()["code"] == "workflow_unknown"
    for status in (204, 404):
        assert api.client.delete("/api/v1/run-bounds/agent", headers=api.headers).status_code == status
    assert api.get("run-bounds/agent").status_code == 404


def test_stops_are_listed_and_lifted(api):
    row = api.post("stops", {"kind": "team", "target": "search", "reason": "Loop"}).json()
    denied(api, "stopped", team="search", estimate_usd="0.1")
    allowed(api, estimate_usd="0.1")
    assert [stop["id"] for stop in api.get("stops").json()["data"]] == [row["id"]]
    assert api.post(f"stops/{row['id']}/lift", {}).json()["lifted_at"]
    allowed(api, team="search", estimate_usd="0.1")
    assert api.get("stops").json()["data"] == []
    assert len(api.get("stops", standing="false").json()["data"]) == 1
    for wrong, code in (
        ({"kind": "planet"}, "stop_kind_unknown"),
        ({"kind": "team", "target": "nobody"}, "target_unknown"),
        ({"kind": "organization", "target": "x"}, "target_unknown"),
        ({"kind": "key", "target": "7e9"}, "target_unknown"),
    ):
        assert api.post("stops", {"reason": "r", **wrong}).json()["code"] == code


def test_the_policy_for_unpriced_models(api):
    assert api.get("unpriced-policy").json() == {"unpriced_policy": "refuse"}
    assert put(api, "unpriced-policy", unpriced_policy="ceiling").json() == {"unpriced_policy": "ceiling"}
    assert put(api, "unpriced-policy", unpriced_policy="pray").json()["code"] == "unpriced_policy_unknown"
