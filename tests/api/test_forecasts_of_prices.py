"""Forecasts of what gets dearer or cheaper: past days at today's prices, days ahead at theirs."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
import time_machine

from apps.usage.forecasting import forecast_month
from apps.usage.planned import Planned, set_planned_spend
from tests.api.tenants import make_api, make_org
from tests.database import as_worker
from tests.usage.ahead import spend_days

AT = datetime(2026, 9, 10, tzinfo=UTC)
TRIAGE = {"team": "support", "project": "desk", "workflow": "triage", "input_tokens": 1_000_000}
CUT = {"kind": "discount", "name": "half", "provider": "anthropic", "percent": "50"}
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def now():
    with time_machine.travel(AT, tick=False):
        yield


def half_price_from(api, day):
    answer = api.post("contracts", {**CUT, "starts_at": day.isoformat()})
    assert answer.status_code == 201, answer.content


def told(org, api, workflow="triage"):
    with as_worker():
        forecast_month(org, AT)
    rows = api.get("forecasts").json()["data"]
    return {row["scope"]: row for row in rows if row["workflow"] in (workflow, None)}


def days_ahead(row):
    return [float(day["p50_usd"]) for day in row["days"]]


def test_a_price_that_was_cut_lately_is_that_of_the_days_ahead():
    """Sixty days at 12 USD, and the last five at 6: the same calls."""
    org = make_org()
    api = make_api(org)
    spend_days(org, AT - 65 * DAY, ["12"] * 60 + ["6"] * 5, **TRIAGE)
    before = days_ahead(told(org, api)["workflow"])
    half_price_from(api, AT - 5 * DAY)
    found = told(org, api)
    assert days_ahead(found["workflow"]) == pytest.approx([6.0] * 21, rel=0.01)
    assert max(before) > 7
    assert found["workflow"]["spent_usd"] == "78.000000000000"  # four days at 12, five at 6
    assert Decimal(found["team"]["p50_usd"]) == Decimal(found["workflow"]["p50_usd"])
    assert not found["organization"]["direct_differs"]


def test_a_price_that_will_be_cut_is_cut_from_that_day_on():
    org = make_org()
    api = make_api(org)
    spend_days(org, AT - 65 * DAY, ["12"] * 65, **TRIAGE)
    half_price_from(api, datetime(2026, 9, 21, tzinfo=UTC))
    found = told(org, api)
    assert days_ahead(found["workflow"]) == pytest.approx([12.0] * 11 + [6.0] * 10, rel=0.01)
    assert float(found["workflow"]["layers"]["price"]) == pytest.approx(-60, rel=0.01)
    assert not found["organization"]["direct_differs"]


def test_only_the_part_of_a_workflow_that_gets_cheaper_does():
    org = make_org()
    api = make_api(org)
    spend_days(org, AT - 65 * DAY, ["12"] * 65, **TRIAGE)
    spend_days(org, AT - 65 * DAY, ["12"] * 65, **TRIAGE, provider="openai", model="gpt-4o")
    half_price_from(api, datetime(2026, 9, 21, tzinfo=UTC))
    assert days_ahead(told(org, api)["workflow"]) == pytest.approx([24.0] * 11 + [18.0] * 10, rel=0.01)


def test_a_planned_change_comes_on_top_of_the_prices_in_force():
    org = make_org()
    api = make_api(org)
    spend_days(org, AT - 65 * DAY, ["12"] * 65, **TRIAGE)
    half_price_from(api, datetime(2026, 9, 21, tzinfo=UTC))
    one = Decimal(1)
    set_planned_spend(org, 1, [Planned("price", "triage", date(2026, 9, 21), one, one, one)])
    found = told(org, api)["workflow"]
    assert days_ahead(found)[-1] == pytest.approx(7.0, rel=0.01)
    assert float(found["layers"]["price"]) == pytest.approx(-50, rel=0.02)


def test_a_model_without_a_price_changes_nothing():
    org = make_org()
    api = make_api(org)
    spend_days(org, AT - 65 * DAY, ["12"] * 65, **{**TRIAGE, "model": "nobody-knows"})
    half_price_from(api, AT - 5 * DAY)
    assert days_ahead(told(org, api)["workflow"]) == pytest.approx([12.0] * 21, rel=0.01)
