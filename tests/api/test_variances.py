"""Plan against actual, and month against month, through the API."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import parse_qsl, urlsplit

import pytest
import time_machine

from apps.teams.services import create_on_first_sight
from tests.api.tenants import make_api, make_org
from tests.usage.ledger import roll
from tests.world import make_event

NOW = datetime(2026, 11, 16, tzinfo=UTC)
SONNET, HAIKU = "claude-sonnet-4-5", "claude-haiku-4-5"
STEP = {
    "name": "answer",
    "model": {"provider": "anthropic", "model": SONNET},
    "prefix_tokens": 1000,
    "input_tokens": 500,
    "output_tokens": 200,
    "calls": 1,
    "dispersion": 0,
    "retry_rate": 0,
    "cache": "off",
}
DEFINITION = {"steps": [STEP], "runs_per_month": 30, "growth": 1, "success_rate": 1}
USAGE = {"input_tokens": 1500, "output_tokens": 200}
RUN_USD = Decimal("0.0075")


@pytest.fixture(autouse=True)
def clock():
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def org():
    org = make_org()
    create_on_first_sight(org=org, seen=[("search", "web", "agent"), ("ads", "bids", "ranker")], actor="test")
    org.refresh_from_db()
    return org


def call(run, *, workflow="agent", days=5, **fields):
    """A call of a run, so many days ago."""
    project = {"agent": "web", "ranker": "bids"}.get(workflow)
    at = (NOW - timedelta(days=days)).isoformat()
    return make_event(occurred_at=at, workflow=workflow, project=project, run_id=run, usage=USAGE, **fields)


def runs(count, prefix="r", **fields):
    return [call(f"{prefix}{number}", **fields) for number in range(count)]


def plan_of(api, approve=True, **fields):
    given = {"name": "Agent", "workflow": "agent", "definition": DEFINITION, "launch_on": "2026-11-01", **fields}
    response = api.post("plans", given)
    assert response.status_code == 201, response.content
    plan = response.json()
    if approve:
        assert api.post(f"plans/{plan['id']}/approve", {"version": 1}).status_code == 200
    return plan


def against(api, plan, **query):
    response = api.get(f"plans/{plan['id']}/variance", **query)
    assert response.status_code == 200, response.content
    return response.json()


def lines(found):
    assert sum(Decimal(line["usd"]) for line in found["lines"]) == Decimal(found["change_usd"] or 0)
    return {line["line"]: Decimal(line["usd"]) for line in found["lines"]}


# --- against a plan --------------------------------------------------------------------------------------


def test_what_went_as_planned_has_no_lines(org, api):
    plan = plan_of(api)
    api.send(*runs(15))
    found = against(api, plan)
    assert (found["state"], found["basis"], found["version"], found["so_far"]) == ("compared", "approved", 1, True)
    assert Decimal(found["planned_usd"]) == 15 * RUN_USD, "half of the month is over"
    assert Decimal(found["planned_month_usd"]) == 30 * RUN_USD
    assert Decimal(found["actual_usd"]) == 15 * RUN_USD
    assert (found["lines"], found["change_usd"]) == ([], "0.000000000000")
    assert found["planned"] == found["actual"]


def test_twice_the_runs_are_volume_and_not_controllable(org, api):
    plan = plan_of(api)
    api.send(*runs(30))
    found = against(api, plan)
    assert lines(found) == {"volume": 15 * RUN_USD}
    assert Decimal(found["controllable_usd"]) == 0
    assert Decimal(found["flexed_usd"]) == 30 * RUN_USD


def test_each_change_has_its_line(org, api):
    plan = plan_of(api)
    again = runs(15, step=1)
    retried = runs(5, attempt=2)
    api.send(*runs(15), *again, *retried, call("r0", model=HAIKU, escalated_from=SONNET))
    found = against(api, plan)
    assert set(lines(found)) == {"loops", "retries", "routing"}
    assert lines(found)["loops"] > lines(found)["retries"] > 0
    assert found["actual"]["calls_per_run"] == 2
    assert found["actual"]["attempts_per_call"] == round(36 / 31, 9)


def test_cache_context_output_and_price_have_theirs(org, api):
    plan = plan_of(api)
    usage = {"input_tokens": 1000, "cache_read_tokens": 1000, "output_tokens": 300}
    api.send(*[{**event, "usage": usage, "service_tier": "batch"} for event in runs(15)])
    found = lines(against(api, plan))
    assert set(found) == {"context", "cache", "output", "price"}
    assert found["context"] > 0 > found["cache"]
    assert found["output"] > 0 > found["price"], "a batch is cheaper than planned"


def test_a_line_opens_its_runs(org, api):
    plan = plan_of(api)
    api.send(*runs(15), *runs(3, attempt=2))
    found = against(api, plan)
    (path,) = [line["runs"] for line in found["lines"] if line["line"] == "retries"]
    parts = urlsplit(path)
    assert parts.path == "/api/v1/runs"
    roll(org)
    answer = api.get("runs", **dict(parse_qsl(parts.query)))
    assert sorted(run["run_id"] for run in answer.json()["data"]) == ["r0", "r1", "r2"]


def test_unpriced_is_left_apart_and_not_zero(org, api):
    plan = plan_of(api)
    api.send(*runs(15), *runs(4, provider="acme", model="house-model"))
    found = against(api, plan)
    assert found["lines"] == []
    assert found["unpriced_calls"] == 4
    assert found["apart"] == [
        {
            "workflow": "agent", "provider": "acme", "model": "house-model", "before_calls": 0, "after_calls": 4,
            "before_usd": "0.000000000000", "after_usd": None,
        }
    ]  # fmt: skip


def test_a_plan_without_prices_has_no_variance(org, api):
    step = {**STEP, "model": {"provider": "acme", "model": "house-model"}}
    plan = plan_of(api, approve=False, definition={**DEFINITION, "steps": [step]})
    api.send(*runs(2))
    found = against(api, plan)
    assert (found["state"], found["basis"], found["change_usd"], found["planned_usd"]) == (
        "unpriced", "draft", None, None,
    )  # fmt: skip
    assert Decimal(found["actual_usd"]) == 2 * RUN_USD


def test_no_usage_leaves_the_whole_plan_unspent(org, api):
    found = against(api, plan_of(api))
    assert found["state"] == "no_usage"
    assert lines(found) == {"retired": -15 * RUN_USD}


def test_a_plan_that_began_within_the_month_counts_from_its_launch(org, api):
    plan = plan_of(api, launch_on="2026-11-11")
    found = against(api, plan)
    assert Decimal(found["planned_usd"]) == 5 * RUN_USD, "5 days of a month of 30"
    assert Decimal(found["planned_month_usd"]) == 20 * RUN_USD


def test_usage_before_the_launch_is_new(org, api):
    plan = plan_of(api, launch_on="2026-12-01")
    assert against(api, plan)["state"] == "nothing"
    api.send(*runs(2))
    found = against(api, plan)
    assert (found["state"], lines(found)) == ("not_begun", {"new": 2 * RUN_USD})


def test_a_month_is_held_to_what_was_approved_when_it_ended(org, api):
    with time_machine.travel(datetime(2026, 10, 20, tzinfo=UTC), tick=False):
        plan = plan_of(api, launch_on="2026-10-01")
    more = {**DEFINITION, "runs_per_month": 60}
    assert api.post(f"plans/{plan['id']}/versions", {"definition": more, "base_version": 1}).status_code == 201
    assert api.post(f"plans/{plan['id']}/approve", {"version": 2}).status_code == 200
    then, now = against(api, plan, month="2026-10"), against(api, plan)
    assert (then["version"], Decimal(then["planned_usd"]), then["so_far"]) == (1, 30 * RUN_USD, False)
    assert (now["version"], Decimal(now["planned_month_usd"])) == (2, 60 * RUN_USD)
    before = against(api, plan, month="2026-09")
    assert (before["basis"], before["version"], before["state"]) == ("approved_later", 1, "nothing")


def test_growth_counts_from_the_launch(org, api):
    with time_machine.travel(datetime(2026, 9, 20, tzinfo=UTC), tick=False):
        plan = plan_of(api, launch_on="2026-09-01", definition={**DEFINITION, "growth": 2})
    assert Decimal(against(api, plan, month="2026-10")["planned_usd"]) == 60 * RUN_USD
    assert Decimal(against(api, plan)["planned_month_usd"]) == 120 * RUN_USD


def test_calls_that_name_no_run_are_counted_as_calls(org, api):
    plan = plan_of(api)
    api.send(*[{name: value for name, value in event.items() if name != "run_id"} for event in runs(30)])
    found = against(api, plan)
    assert (found["runs_basis"], found["runs_named_share"], found["by_calls"]) == ("calls", 0, ["agent"])
    assert lines(found) == {"volume": 15 * RUN_USD}


def test_a_few_calls_without_a_run_are_taken_to_be_of_runs_alike(org, api):
    plan = plan_of(api)
    nameless = [{name: value for name, value in event.items() if name != "run_id"} for event in runs(5)]
    api.send(*runs(15), *nameless)
    found = against(api, plan)
    assert (found["runs_basis"], found["runs_named_share"], found["actual"]["runs"]) == ("estimated", 0.75, 20)
    assert lines(found) == {"volume": 5 * RUN_USD}


def test_the_dated_name_of_a_model_is_the_model(org, api):
    plan = plan_of(api)
    api.send(*runs(15, model="claude-sonnet-4-5-20250929"))
    assert against(api, plan)["lines"] == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"month": "2026-13"}, "month_invalid"),
        ({"month": "2026-12"}, "month_invalid"),
        ({"x": "1"}, "parameter_unknown"),
    ],
)
def test_it_rejects(org, api, query, code):
    plan = plan_of(api)
    response = api.get(f"plans/{plan['id']}/variance", **query)
    assert (response.status_code, response.json()["code"]) == (400, code)


def test_a_pinned_key_sees_its_own_plans(org, api):
    plan = plan_of(api)
    api.send(*runs(15))
    assert against(make_api(org, "read", team="search"), plan)["lines"] == []
    assert make_api(org, "read", team="ads").get(f"plans/{plan['id']}/variance").status_code == 404
    response = make_api(org, "read", environment="prod").get(f"plans/{plan['id']}/variance")
    assert response.json()["code"] == "pinned_dimension"


def test_a_stranger_finds_no_plan(org, api):
    plan = plan_of(api)
    assert make_api(make_org()).get(f"plans/{plan['id']}/variance").status_code == 404


# --- against another month -------------------------------------------------------------------------------


def months(api, **query):
    response = api.get("variance", **query)
    assert response.status_code == 200, response.content
    return response.json()


def test_a_month_under_way_is_compared_with_as_much_of_the_one_before(org, api):
    api.send(*runs(10, days=10), *runs(4, prefix="old", days=38), *runs(4, prefix="late", days=20))
    found = months(api, workflow="agent")
    assert (found["month"], found["before"], found["so_far"]) == ("2026-11", "2026-10", True)
    assert Decimal(found["before_usd"]) == 4 * RUN_USD, "what came on 27 October is after the 15 days"
    assert lines(found) == {"volume": 6 * RUN_USD}


def test_an_organization_has_new_and_retired_workflows(org, api):
    api.send(*runs(10, days=10), *runs(4, prefix="old", days=38, workflow="ranker"), *runs(3, days=9, workflow=None))
    found = months(api)
    assert lines(found) == {"new": 13 * RUN_USD, "retired": -4 * RUN_USD}
    parts = next(line for line in found["lines"] if line["line"] == "new")["parts"]
    assert [part["workflow"] for part in parts] == ["agent", None]


def test_a_team_is_the_sum_of_its_workflows(org, api):
    api.send(*runs(10, days=10), *runs(4, prefix="old", days=38), *runs(9, prefix="x", days=9, workflow="ranker"))
    assert lines(months(api, team="search")) == {"volume": 6 * RUN_USD}
    assert lines(months(api, team="ads")) == {"new": 9 * RUN_USD}
    assert lines(months(make_api(org, "read", team="ads"))) == {"new": 9 * RUN_USD}


def test_nothing_on_both_sides_is_no_comparison(org, api):
    found = months(api, workflow="agent")
    assert (found["change_usd"], found["lines"], found["before_usd"]) == (None, [], "0.000000000000")


@pytest.mark.parametrize(
    ("query", "param"),
    [({"before": "2026-11"}, "before"), ({"before": "oct"}, "before"), ({"month": "2026-12"}, "month")],
)
def test_months_come_in_order(org, api, query, param):
    response = api.get("variance", **query)
    assert (response.status_code, response.json()["code"], response.json()["param"]) == (400, "month_invalid", param)
