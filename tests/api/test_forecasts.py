"""GET /api/v1/forecasts: what months come to, against budgets and caps, for whoever may know."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import time_machine

from apps.budgets.ahead import foresee
from apps.budgets.outlook import standings
from apps.budgets.services import BudgetTerms, create_budget
from apps.core.tenancy import tenant
from apps.organizations.selectors import calendar
from apps.teams.services import create_project, create_team, create_workflow
from apps.usage.forecasting import forecast_month
from tests.api.tenants import make_api
from tests.database import as_worker
from tests.usage.ahead import spend_days, weeks_of

FIRST = datetime(2026, 7, 6, tzinfo=UTC)
AT = datetime(2026, 9, 10, tzinfo=UTC)
TRIAGE = {"team": "support", "project": "desk", "workflow": "triage"}
SEARCH = {"team": "search", "project": "web", "workflow": "answers"}


@pytest.fixture
def org(org):
    for name in (TRIAGE, SEARCH):
        team = create_team(org=org, slug=name["team"])
        project = create_project(org=org, slug=name["project"], team=team)
        create_workflow(org=org, slug=name["workflow"], project=project)
    spend_days(org, FIRST, weeks_of(66), **TRIAGE)
    spend_days(org, FIRST, weeks_of(66, 3.0), **SEARCH)
    with as_worker():
        forecast_month(org, AT)
    return org


@pytest.fixture(autouse=True)
def now():
    with time_machine.travel(AT, tick=False):
        yield


def ask(api, **query):
    answer = api.get("forecasts", **query)
    assert answer.status_code == 200, answer.content
    return answer.json()


def budget(org, amount, mode="notify", **scope):
    terms = BudgetTerms(name=f"{mode} {amount}", scope=scope, period="month", amount_usd=Decimal(amount), mode=mode)
    return create_budget(org=org, terms=terms, actor="tests")


def test_everything_adds_up(org):
    body = ask(make_api(org))
    assert (body["month"], body["as_of"], body["next"]) == ("2026-09", "2026-09-10T00:00:00Z", None)
    by_scope = {}
    for row in body["data"]:
        by_scope.setdefault(row["scope"], []).append(row)
    assert {scope: len(rows) for scope, rows in by_scope.items()} == {
        "organization": 1, "project": 2, "team": 2, "workflow": 2,
    }  # fmt: skip
    whole = by_scope["organization"][0]
    for scope in ("project", "team", "workflow"):
        assert sum(Decimal(row["p50_usd"]) for row in by_scope[scope]) == Decimal(whole["p50_usd"])
    assert not whole["direct_differs"]
    assert whole["budget"] is None
    spent, days = Decimal(whole["spent_usd"]), [Decimal(day["p50_usd"]) for day in whole["days"]]
    assert (whole["days"][0]["day"], whole["days"][-1]["day"]) == ("2026-09-10", "2026-09-30")
    assert spent + sum(days) == Decimal(whole["p50_usd"])


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"team": "support"}, ["project", "team", "workflow"]),
        ({"workflow": "triage"}, ["workflow"]),
        ({"project": "web", "scope": "project"}, ["project"]),
        ({"team": "nobody"}, []),
        ({"month": "2026-08"}, []),
        ({"scope": "organization"}, ["organization"]),
    ],
)
def test_by_name_and_scope(org, query, found):
    assert [row["scope"] for row in ask(make_api(org), **query)["data"]] == found


def test_pages_follow_each_other(org):
    api = make_api(org)
    whole = ask(api)["data"]
    first = ask(api, limit="4")
    rest = ask(api, limit="4", cursor=first["next"])
    assert (first["data"] + rest["data"], rest["next"]) == (whole, None)


def test_a_budget_is_likely_to_be_exceeded(org):
    budget(org, "250", team="support")
    budget(org, "300", team="support")
    [row] = ask(make_api(org), team="support", scope="team")["data"]
    found = row["budget"]
    assert found["limit_usd"] == "250.000000000000"
    assert found["exceed_probability"] > 0.99
    assert "2026-09-20" < found["exhausted_on"] < "2026-09-30"
    assert found["exhausted_earliest"] <= found["exhausted_on"]
    assert "cap" not in row["layers"]


def test_a_cap_cuts_the_forecast_and_says_so(org):
    before = ask(make_api(org), workflow="triage")["data"][0]
    budget(org, "200", mode="block", workflow="triage")
    [row] = ask(make_api(org), workflow="triage")["data"]
    assert row["p50_usd"] == row["p90_usd"] == "200.000000000000"
    assert Decimal(row["layers"]["cap"]) == 200 - Decimal(before["p50_usd"])
    assert row["budget"]["exceed_probability"] > 0.99
    assert Decimal(row["spent_usd"]) + sum(Decimal(day["p50_usd"]) for day in row["days"]) == 200


def test_a_pinned_key_sees_its_own(org):
    api = make_api(org, team="support")
    assert {row["team"] for row in ask(api)["data"]} == {"support"}
    refused = api.get("forecasts", team="search")
    assert (refused.status_code, refused.json()["code"]) == (403, "pinned_dimension")


def test_a_key_of_an_environment_sees_none(org):
    refused = make_api(org, environment="prod").get("forecasts")
    assert (refused.status_code, refused.json()["code"], refused.json()["param"]) == (
        403, "pinned_dimension", "environment",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"month": "September"}, "month_invalid"),
        ({"scope": "planet"}, "scope_unknown"),
        ({"limit": "501"}, "limit_invalid"),
        ({"cursor": "?"}, "cursor_invalid"),
        ({"environment": "prod"}, "parameter_unknown"),
    ],
)
def test_what_makes_no_sense_is_refused(org, query, code):
    refused = make_api(org).get("forecasts", **query)
    assert (refused.status_code, refused.json()["code"]) == (400, code)


def test_before_the_first_look_there_is_nothing(org):
    with time_machine.travel(datetime(2026, 10, 1, tzinfo=UTC), tick=False):
        body = ask(make_api(org))
    assert (body["month"], body["as_of"], body["data"]) == ("2026-10", None, [])


# --- one number everywhere ---------------------------------------------------------------------------


def stated(org, team="support"):
    """What the month's statement says it comes to."""
    answer = make_api(org).get("statements", month="2026-09", team=team)
    assert answer.status_code == 200, answer.content
    (found,) = answer.json()["data"]
    return Decimal(found["summary"]["forecast_usd"])


def forecast_by_budget(org, one, at=None):
    at = at or AT
    with tenant(org):
        found = standings(org, at, [one])
        clock = calendar(org)
    return foresee(org, found, clock, at)[one.pk].p50_usd


@pytest.mark.parametrize("later", [timedelta(0), timedelta(minutes=59)])
def test_statement_budget_and_forecast_say_one_number(org, later):
    one = budget(org, "5000", team="support")
    with time_machine.travel(AT + later, tick=False):
        [row] = ask(make_api(org), team="support", scope="team")["data"]
        said = Decimal(row["p50_usd"])
        assert stated(org) == forecast_by_budget(org, one, AT + later) == said > Decimal(row["spent_usd"])


def test_a_cap_cuts_what_a_statement_says_too(org):
    budget(org, "200", mode="block", team="support")
    [row] = ask(make_api(org), team="support", scope="team")["data"]
    assert stated(org) == Decimal(row["p50_usd"]) == 200


def test_what_nobody_owns_is_what_no_team_comes_to(org):
    spend_days(org, FIRST, ["1"] * 66)
    with as_worker():
        forecast_month(org, AT)
    whole, *teams = [row for row in ask(make_api(org))["data"] if row["scope"] in ("organization", "team")]
    rest = Decimal(whole["p50_usd"]) - sum(Decimal(row["p50_usd"]) for row in teams)
    assert stated(org, "") == rest == pytest.approx(Decimal(30), rel=Decimal("0.02"))


def test_an_old_forecast_leaves_a_statement_at_its_rate(org):
    later = AT + timedelta(hours=4)
    with time_machine.travel(later, tick=False):
        [row] = ask(make_api(org), team="support", scope="team")["data"]
        rate = Decimal(row["spent_usd"]) * Decimal(timedelta(days=30) / (later - AT.replace(day=1)))
        assert stated(org) == pytest.approx(rate, rel=Decimal("1e-9"))
