"""Plans through the API: written, revised, decided on, launched, and what is made of them."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from apps.audit.models import AuditEntry
from apps.budgets.models import Budget, RunBound
from apps.budgets.services import end_budget, set_run_bound
from apps.core.tenancy import tenant
from apps.planner.models import Plan, PlanVersion
from apps.planner.services import approve_plan
from apps.usage.planned import planned_spend
from tests.api.planning import DEFINITION, HAIKU, SONNET, STEP, act, approved, definition, live, make, org_with_agent
from tests.api.tenants import make_api
from tests.budgets.test_races import at_once

TODAY = datetime.now(UTC).date()


@pytest.fixture
def org():
    return org_with_agent()


def said(org, day=TODAY, days=400):
    with tenant(org):
        return planned_spend(org, day, day + timedelta(days=days))


# --- writing it -----------------------------------------------------------------------------------------


def test_a_plan_is_a_draft_with_its_first_version(org, api):
    plan = make(api, note="From the pilot")
    assert (plan["state"], plan["version"], plan["approved_version"]) == ("draft", 1, None)
    assert (plan["team"], plan["project"], plan["workflow_known"]) == ("search", "web", True)
    newest = plan["newest"]
    assert newest["definition"]["steps"][0]["calls_max"] == 15, "defaults are written out"
    assert newest["definition"]["steps"][0]["input_tokens"] == {"low": 300, "likely": 500, "high": 900}
    (card,) = newest["prices"]
    assert (card["source"], card["rates"]["input_tokens"], card["rates"]["output_tokens"]) == (
        "catalog", "3.000000", "15.000000",
    )  # fmt: skip
    assert card["price_id"]
    result = newest["result"]
    assert len(result["months"]) == 12
    first = result["months"][0]
    assert Decimal(first["p10_usd"]) < Decimal(first["p50_usd"]) < Decimal(first["p90_usd"]) < Decimal(first["p99_usd"])
    assert plan["estimate"]["month_usd"]["p50"] == first["p50_usd"]
    assert [(one["act"], one["version"], one["note"]) for one in plan["decisions"]] == [
        ("created", 1, "From the pilot")
    ]
    assert api.get(f"plans/{plan['id']}").json() == plan
    with tenant(org):
        (entry,) = AuditEntry.objects.for_org(org).filter(action="plans.created")
    assert (entry.subject, entry.data) == ("Support", {"workflow": "agent"})


def test_what_is_read_back_is_the_same_plan(api):
    plan = make(api, definition={
        **definition(
            cache="5m", prefix_cached_rate=0.9, routing="cascade", escalates_to=HAIKU, router_cost_usd="0.0001",
            compaction={"threshold_tokens": 24000, "summary_tokens": 2000},
        ),
        "other_cost_usd": {"low": "0.001", "likely": "0.002", "high": "0.003"},
    })  # fmt: skip
    again = make(api, name="Again", definition=plan["newest"]["definition"])
    assert again["newest"]["definition"] == plan["newest"]["definition"]
    assert again["newest"]["result"] == plan["newest"]["result"]


RUNS = "runs_per_month"


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ([], "definition"),
        ({**DEFINITION, "stepz": []}, "stepz"),
        ({RUNS: 1}, "steps"),
        ({RUNS: 1, "steps": []}, "steps"),
        ({RUNS: 1, "steps": "x"}, "steps"),
        ({RUNS: 1, "steps": [STEP] * 21}, "steps"),
        ({"steps": [STEP]}, RUNS),
        ({**DEFINITION, RUNS: -1}, RUNS),
        ({**DEFINITION, RUNS: "many"}, RUNS),
        ({**DEFINITION, RUNS: True}, RUNS),
        ({**DEFINITION, RUNS: 10**400}, RUNS),
        ({**DEFINITION, RUNS: {"low": 1, "likely": 2}}, f"{RUNS}.high"),
        ({**DEFINITION, RUNS: {"low": 3, "likely": 2, "high": 4}}, f"{RUNS}.low"),
        ({**DEFINITION, "success_rate": 1.5}, "success_rate"),
        ({**DEFINITION, "success_rate": 0}, "success_rate"),
        ({**DEFINITION, "other_cost_usd": 0.5}, "other_cost_usd"),
        ({**DEFINITION, "steps": [STEP, STEP]}, "steps[1].name"),
        ({**DEFINITION, "steps": [STEP, 7]}, "steps[1]"),
        (definition(name=""), "steps[0].name"),
        (definition(model="claude"), "steps[0].model"),
        (definition(model={"provider": "anthropic"}), "steps[0].model.model"),
        (definition(calls={"low": 4, "likely": 6, "high": 5}), "steps[0].calls.high"),
        (definition(calls={"low": 4, "likely": 6, "high": 5, "mean": 1}), "steps[0].calls.mean"),
        (definition(calls=20), "steps[0].calls"),
        (definition(calls_max=0), "steps[0].calls_max"),
        (definition(calls_max=2.5), "steps[0].calls_max"),
        (definition(retry_rate=1), "steps[0].retry_rate"),
        (definition(batch_share=-0.1), "steps[0].batch_share"),
        (definition(input_tokens=10**8), "steps[0].input_tokens"),
        (definition(cache="10m"), "steps[0].cache"),
        (definition(routing="cascade"), "steps[0].escalates_to"),
        (definition(escalates_to=HAIKU), "steps[0].escalates_to"),
        (definition(escalates_to=False), "steps[0].escalates_to"),
        (definition(escalates_to=""), "steps[0].escalates_to"),
        (definition(router_cost_usd="-1", routing="router", escalates_to=HAIKU), "steps[0].router_cost_usd"),
        (definition(compaction={"threshold_tokens": 10, "summary_tokens": 10}), "steps[0].compaction.summary_tokens"),
        (
            definition(compaction={"threshold_tokens": 10, "summary_tokens": 5}, window_tokens=5),
            "steps[0].window_tokens",
        ),
    ],
)
def test_what_makes_no_sense_is_named_by_its_path_and_changes_nothing(org, api, given, param):
    body = {"name": "Support", "workflow": "agent", "definition": given}
    for path in ("plans", "plans/estimate"):
        response = api.post(path, body if path == "plans" else {"definition": given})
        assert (response.status_code, response.json()["code"], response.json()["param"]) == (400, "plan_invalid", param)
        assert response.json()["detail"].startswith(param)
    with tenant(org):
        assert not Plan.objects.for_org(org).exists()


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"name": " "}, "invalid"),
        ({"name": "\u0007"}, "name_invalid"),
        ({"workflow": "a\u0001b"}, "workflow_invalid"),
        ({"team": "nobody"}, "team_unknown"),
        ({"project": "nothing"}, "project_unknown"),
        ({"owner": "stranger@example.com"}, "owner_not_member"),
        ({"launch_on": "0001-01-01"}, "launch_on_invalid"),
        ({"seed": -1}, "seed_invalid"),
        ({"budget_usd": "-5"}, "amount_invalid"),
        ({"prices": [{**SONNET, "rates": {"input_tokens": 3}}]}, "plan_invalid"),
        ({"prices": [{**SONNET, "rates": {"input_tokens": "3"}}]}, "plan_invalid"),
        ({"prices": [{**SONNET, "rates": {"input_tokens": "3", "audio_tokens": "1"}}]}, "plan_invalid"),
        ({"state": "live"}, "field_unknown"),
    ],
)
def test_a_plan_of_nothing_that_is_known_is_refused(org, api, fields, code):
    response = api.post("plans", {"name": "Support", "workflow": "agent", "definition": DEFINITION, **fields})
    assert (response.status_code, response.json()["code"]) == (400, code)
    with tenant(org):
        assert not Plan.objects.for_org(org).exists()


def test_a_name_is_given_once_until_its_plan_is_retired(api):
    plan = make(api)
    again = api.post("plans", {"name": "Support", "workflow": "other", "definition": DEFINITION})
    assert (again.status_code, again.json()["code"]) == (409, "name_known")
    act(api, plan, "retire")
    make(api, workflow="other")


# --- versions -------------------------------------------------------------------------------------------


def test_a_version_is_added_and_none_is_edited(api):
    plan = make(api)
    version = act(api, plan, "versions", status=201, base_version=1, definition=definition(calls=3), note="Fewer calls")
    assert (version["number"], version["origin"], version["note"]) == (2, "form", "Fewer calls")
    assert [one["number"] for one in api.get(f"plans/{plan['id']}/versions").json()["data"]] == [2, 1]
    assert api.get(f"plans/{plan['id']}/versions/1").json() == plan["newest"]
    assert api.get(f"plans/{plan['id']}/versions/9").status_code == 404
    assert api.get(f"plans/{plan['id']}").json()["version"] == 2


def test_who_revises_what_somebody_else_revised_is_told(api):
    plan = make(api)
    act(api, plan, "versions", status=201, base_version=1, definition=definition(calls=3))
    refused = act(api, plan, "versions", status=409, base_version=1, definition=definition(calls=2))
    assert (refused["code"], refused["param"]) == ("plan_changed", "base_version")
    assert "version 2" in refused["detail"]


def test_of_two_revisions_at_once_one_is_refused(org):
    one, other = make_api(org), make_api(org)
    plan = make(one)
    body = {"base_version": 1, "definition": definition(calls=3)}
    answers = at_once(*(lambda api=api: api.post(f"plans/{plan['id']}/versions", body) for api in (one, other)))
    assert sorted(answer.status_code for answer in answers) == [201, 409]
    with tenant(org):
        assert PlanVersion.objects.for_org(org).count() == 2


def test_what_a_plan_is_called_and_whose_it_is_changes(org, api):
    plan = make(api)
    owner = f"owner@{org.slug}.example"
    body = {"name": "Support agent", "owner": owner, "launch_on": "2027-02-01"}
    changed = api.call("PATCH", f"plans/{plan['id']}", body)
    assert changed.status_code == 200, changed.content
    found = changed.json()
    assert (found["name"], found["owner"], found["launch_on"]) == ("Support agent", owner, "2027-02-01")
    assert (found["team"], found["version"]) == ("search", 1)
    assert [one["act"] for one in found["decisions"]] == ["transferred", "created"]
    fixed = api.call("PATCH", f"plans/{plan['id']}", {"workflow": "other"})
    assert (fixed.status_code, fixed.json()["code"]) == (400, "field_fixed")
    assert api.call("PATCH", f"plans/{plan['id']}", {"owner": ""}).json()["owner"] is None


# --- approval -------------------------------------------------------------------------------------------


def test_approval_has_conditions_and_says_who_approved_what_they_made(api):
    plan = make(api)
    found = act(api, plan, "approve", version=1, conditions="Cache on\nfrom day one")
    assert (found["state"], found["approved_version"], found["conditions"]) == (
        "approved", 1, "Cache on from day one",
    )  # fmt: skip
    assert [(one["act"], one["own"]) for one in found["decisions"]] == [("approved", True), ("created", False)]
    assert act(api, plan, "approve", version=1, conditions="Cache on from day one") == found, "twice changes nothing"


def test_who_approves_what_another_made_is_told_apart(org, api):
    plan = make(api)
    approve_plan(org=org, plan_id=plan["id"], version=1, actor="finance@example.com")
    assert api.get(f"plans/{plan['id']}").json()["decisions"][0]["own"] is False


def test_a_new_version_waits_for_its_own_approval(api):
    plan = approved(api)
    act(api, plan, "versions", status=201, base_version=1, definition=definition(calls=3))
    found = api.get(f"plans/{plan['id']}").json()
    assert (found["state"], found["version"], found["approved_version"]) == ("approved", 2, 1)
    assert found["estimate"]["version"] == 1
    stale = act(api, plan, "approve", version=1, conditions="As it was", status=409)
    assert stale["code"] == "plan_changed"
    rejected = act(api, plan, "reject", version=2, reason="Too optimistic")
    assert (rejected["decisions"][0]["act"], rejected["decisions"][0]["note"]) == ("rejected", "Too optimistic")
    assert rejected["approved_version"] == 1
    assert act(api, plan, "approve", version=2)["approved_version"] == 2
    assert act(api, plan, "reject", version=2, reason="No", status=409)["code"] == "plan_approved"


@pytest.mark.parametrize("name", ["approve", "reject"])
def test_a_retired_plan_is_decided_on_no_more(api, name):
    plan = make(api)
    act(api, plan, "retire", reason="Never built")
    assert act(api, plan, name, version=1, status=409, **({"reason": "x"} if name == "reject" else {}))["code"] == (
        "plan_retired"
    )
    assert act(api, plan, "versions", base_version=1, definition=DEFINITION, status=409)["code"] == "plan_retired"


# --- live -----------------------------------------------------------------------------------------------


def test_a_plan_goes_live_once_it_is_approved(api):
    plan = make(api)
    assert act(api, plan, "launch", status=409)["code"] == "plan_not_approved"
    act(api, plan, "approve", version=1)
    found = act(api, plan, "launch")
    assert (found["state"], found["launch_on"]) == ("live", TODAY.isoformat())
    assert act(api, plan, "launch") == found
    other = approved(api, name="Another")
    refused = act(api, other, "launch", status=409)
    assert (refused["code"], "Support" in refused["detail"]) == ("plan_live_already", True)
    act(api, plan, "retire")
    assert act(api, other, "launch")["state"] == "live"


def test_of_two_launches_of_a_workflow_at_once_one_is_refused(org):
    api = make_api(org)
    plans = [approved(api, name=name) for name in ("One", "Two")]
    answers = at_once(*(lambda plan=plan: make_api(org).post(f"plans/{plan['id']}/launch", {}) for plan in plans))
    assert sorted(answer.status_code for answer in answers) == [200, 409]


def test_forecasts_are_told_what_is_planned(org, api):
    plan = make(api)
    assert said(org) == []
    act(api, plan, "approve", version=1)
    assert said(org) == [], "nobody knows when it begins"
    api.call("PATCH", f"plans/{plan['id']}", {"launch_on": "2027-01-31"})
    lines = said(org, date(2027, 1, 1))
    assert [(line.kind, line.first_day, line.last_day) for line in lines[:3]] == [
        ("launch", date(2027, 1, 31), date(2027, 2, 27)),
        ("launch", date(2027, 2, 28), date(2027, 3, 30)),
        ("launch", date(2027, 3, 31), date(2027, 4, 29)),
    ]
    assert len(lines) == 12
    assert {(line.workflow, line.team, line.project) for line in lines} == {("agent", "search", "web")}
    month = plan["newest"]["result"]["months"][0]
    for name, told in (("p10", "low"), ("p50", "likely"), ("p90", "high")):
        assert abs(getattr(lines[0], f"{told}_usd") * 28 - Decimal(month[f"{name}_usd"])) < Decimal("0.001")
    act(api, plan, "launch")
    assert {line.kind for line in said(org)} == {"live"}
    assert said(org)[0].first_day == TODAY
    act(api, plan, "retire", ends_on=(TODAY + timedelta(days=5)).isoformat())
    (line,) = said(org)
    assert (line.kind, line.first_day, line.likely_usd) == ("retirement", TODAY + timedelta(days=5), 0)


def test_a_plan_that_is_retired_alone_says_nothing_more(org, api):
    plan = live(api)
    assert act(api, plan, "retire")["state"] == "retired"
    assert said(org) == []


# --- with one click -------------------------------------------------------------------------------------


def made(org, plan):
    with tenant(org):
        row = Plan.objects.for_org(org).select_related("budget", "cap").get(pk=plan["id"])
        return row.budget, row.cap, RunBound.objects.for_org(org).filter(workflow__slug="agent").first()


def test_budget_cap_and_bounds_are_made_once(org, api):
    plan = make(api)
    assert act(api, plan, "budgets", status=409)["code"] == "plan_not_approved"
    act(api, plan, "approve", version=1)
    with tenant(org):
        set_run_bound(org=org, workflow="agent", bounds={"max_depth": 3}, actor="test")
    found = act(api, plan, "budgets")
    budget, cap, bound = made(org, plan)
    month = plan["newest"]["result"]["months"][0]
    for row, percentile, mode in ((budget, "p90_usd", "notify"), (cap, "p99_usd", "block")):
        assert 0 <= row.amount_usd - Decimal(month[percentile]) < Decimal("0.01")
        assert (row.mode, row.period, row.scope) == (mode, "month", {"workflow": "agent"})
    advice = plan["newest"]["result"]["advice"]
    assert (bound.max_steps, bound.max_attempts, bound.max_depth) == (15, 3, 3)
    assert bound.max_cost_usd == Decimal(advice["run_cost_max_usd"])
    assert (found["budget_id"], found["cap_id"]) == (budget.pk, cap.pk)
    assert act(api, plan, "budgets") == found
    with tenant(org):
        assert Budget.objects.for_org(org).count() == 2


def test_what_was_made_follows_the_plan_and_is_made_anew_where_it_ended(org, api):
    plan = approved(api)
    act(api, plan, "budgets", controls=["budget"])
    first, cap, bound = made(org, plan)
    assert (cap, bound) == (None, None)
    act(api, plan, "versions", status=201, base_version=1, definition=definition(calls=3))
    act(api, plan, "approve", version=2)
    act(api, plan, "budgets", controls=["budget"], month=3)
    second, _, _ = made(org, plan)
    assert (second.pk, second.amount_usd < first.amount_usd) == (first.pk, True)
    end_budget(org=org, budget_id=first.pk, actor="test")
    act(api, plan, "budgets", controls=["budget"])
    assert made(org, plan)[0].pk != first.pk


def test_a_workflow_that_nobody_knows_yet_is_made_in_the_plans_project(org, api):
    plan = approved(api, workflow="tomorrow")
    assert plan["workflow_known"] is False
    refused = act(api, plan, "budgets", status=400)
    assert (refused["code"], refused["param"]) == ("workflow_unknown", "workflow")
    api.call("PATCH", f"plans/{plan['id']}", {"project": "web"})
    found = act(api, plan, "budgets")
    assert found["workflow_known"] is True
    assert found["budget_id"]


@pytest.mark.parametrize(
    ("body", "code"), [({"controls": ["everything"]}, "control_unknown"), ({"month": 13}, "month_invalid")]
)
def test_what_no_plan_asks_for_is_refused(api, body, code):
    assert act(api, approved(api), "budgets", status=400, **body)["code"] == code


# --- lists ----------------------------------------------------------------------------------------------


def test_plans_are_listed_newest_first(api):
    names = ["One", "Two", "Three"]
    plans = [make(api, name=name, workflow=name.lower()) for name in names]
    act(api, plans[1], "approve", version=1)
    first = api.get("plans", limit=2).json()
    assert [one["name"] for one in first["data"]] == ["Three", "Two"]
    rest = api.get("plans", limit=2, cursor=first["next"]).json()
    assert ([one["name"] for one in rest["data"]], rest["next"]) == (["One"], None)
    assert [one["name"] for one in api.get("plans", state="approved").json()["data"]] == ["Two"]
    assert [one["name"] for one in api.get("plans", workflow="one").json()["data"]] == ["One"]
    assert api.get("plans", state="gone").json()["code"] == "state_unknown"
    assert api.get("plans", cursor="x").json()["code"] == "cursor_invalid"


def test_a_pinned_key_reads_what_is_its_own_and_writes_nothing(org, api):
    own, other = make(api), make(api, name="Tomorrow", workflow="tomorrow")
    pinned = make_api(org, team="search")
    assert [one["name"] for one in pinned.get("plans").json()["data"]] == ["Support"]
    assert pinned.get(f"plans/{own['id']}").status_code == 200
    assert pinned.get(f"plans/{other['id']}").status_code == 404
    assert pinned.get(f"plans/{other['id']}/versions").status_code == 404
    for path, body in (
        ("plans", {"name": "Mine", "workflow": "agent", "definition": DEFINITION}),
        (f"plans/{own['id']}/approve", {"version": 1}),
        (f"plans/{own['id']}/budgets", {}),
        ("plans/estimate", {"definition": DEFINITION}),
        ("plans/fit", {"workflow": "agent"}),
    ):
        response = pinned.post(path, body)
        assert (response.status_code, response.json()["code"]) == (403, "pinned_dimension"), path
    staging = make_api(org, environment="staging")
    assert staging.get("plans").json()["code"] == "pinned_dimension"
