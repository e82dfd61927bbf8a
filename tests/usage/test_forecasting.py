"""Months that are forecast and stored: workflows, sums of them, plans, gaps, zones, and what was said of the past."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from apps.usage.forecast_bands import PRIOR
from apps.usage.forecasting import forecast_month
from apps.usage.planned import Planned, set_planned_spend
from tests.api.tenants import make_org
from tests.database import as_worker
from tests.usage.ahead import spend_days, weeks_of
from tests.usage.ledger import rows

# A Monday, eight weeks before the month that is looked at: September 2026 begins on a Tuesday.
FIRST = datetime(2026, 7, 6, tzinfo=UTC)
AT = datetime(2026, 9, 10, tzinfo=UTC)
TRIAGE = {"team": "support", "project": "desk", "workflow": "triage"}
SEARCH = {"team": "search", "project": "web", "workflow": "answers"}
LAUNCH = Planned(
    kind="launch",
    workflow="triage",
    first_day=date(2026, 9, 21),
    low_usd=Decimal(5),
    likely_usd=Decimal(10),
    high_usd=Decimal(20),
    team="support",
    project="desk",
)


def forecast(org, at=AT):
    with as_worker():
        forecast_month(org, at)
    found = [row for row in rows("usage_forecast", org) if row["as_of"] == at]
    texts = {"days", "layers"}
    return {
        (row["scope"], row["key"]): {name: json.loads(value) if name in texts else value for name, value in row.items()}
        for row in found
    }


def total_of(first, days, level=1.0):
    """What weeks come to over so many days."""
    return sum(weeks_of(days, level, first.weekday()))


def test_a_workflow_goes_on_as_its_week_did(org):
    spend_days(org, FIRST, weeks_of(66), **TRIAGE)
    found = forecast(org)["workflow", "triage"]
    assert found["spent_usd"] == Decimal(str(total_of(date(2026, 9, 1), 9)))
    assert float(found["p50_usd"]) == pytest.approx(total_of(date(2026, 9, 1), 30), rel=0.02)
    assert found["p10_usd"] < found["p50_usd"] < found["p90_usd"]
    assert (found["method"], found["bucket"], len(found["days"])) == ("trend", 1, 21)
    assert (found["team"], found["project"]) == ("support", "desk")
    assert float(found["layers"]["usage"]) == pytest.approx(float(found["p50_usd"] - found["spent_usd"]), abs=1e-3)


def test_sums_are_those_of_their_workflows_to_the_last_decimal(org):
    spend_days(org, FIRST, weeks_of(66), **TRIAGE)
    spend_days(org, FIRST, weeks_of(66, 3.0), **SEARCH)
    spend_days(org, FIRST, ["0.5"] * 66, team="search", project="web")
    spend_days(org, FIRST, ["0.25"] * 66)
    found = forecast(org)
    parts = [row for (scope, _), row in found.items() if scope in ("workflow", "rest")]
    whole = found["organization", ""]
    assert len(parts) == 4
    for column in ("spent_usd", "p50_usd"):
        assert whole[column] == pytest.approx(sum(row[column] for row in parts), abs=Decimal("0.0001"))
    assert whole["spent_usd"] == sum(row["spent_usd"] for row in parts)
    assert found["team", "search"]["p50_usd"] > found["team", "support"]["p50_usd"]
    assert found["project", "web"]["p50_usd"] == found["team", "search"]["p50_usd"]
    assert float(whole["direct_usd"]) == pytest.approx(float(whole["p50_usd"]), rel=0.05)


def test_a_workflow_that_moved_is_one_series_and_its_past_stays(org):
    spend_days(org, FIRST, weeks_of(61), **TRIAGE)
    spend_days(org, datetime(2026, 9, 5, tzinfo=UTC), weeks_of(5, 1.0, 5), **{**TRIAGE, "team": "care"})
    found = forecast(org)
    assert found["workflow", "triage"]["method"] == "trend"
    assert found["workflow", "triage"]["team"] == "care"
    old, new = found["team", "support"], found["team", "care"]
    assert old["p50_usd"] == old["spent_usd"] == Decimal(str(total_of(date(2026, 9, 1), 4)))
    assert new["spent_usd"] + old["spent_usd"] == found["workflow", "triage"]["spent_usd"]


def test_a_plan_launches_a_workflow_that_nobody_has_seen(org):
    set_planned_spend(org, 1, [LAUNCH])
    found = forecast(org)
    triage = found["workflow", "triage"]
    assert (triage["spent_usd"], triage["p50_usd"], triage["method"]) == (0, 100, "none")
    assert (triage["p10_usd"], triage["p90_usd"]) == (50, 200)
    assert triage["layers"] == {"usage": "0.000000", "launch": "100.000000"}
    assert found["team", "support"]["p50_usd"] == found["organization", ""]["p50_usd"] == 100


@pytest.mark.parametrize(
    ("line", "layer"),
    [
        (replace(LAUNCH, kind="retirement", low_usd=Decimal(0), likely_usd=Decimal(0), high_usd=Decimal(0)), -106),
        (replace(LAUNCH, kind="price", low_usd=Decimal(-2), likely_usd=Decimal(-1), high_usd=Decimal(0)), -10),
        (replace(LAUNCH, kind="live"), 0),
    ],
)
def test_plans_of_a_workflow_that_runs(org, line, layer):
    spend_days(org, FIRST, weeks_of(66), **TRIAGE)
    before = forecast(org)["workflow", "triage"]["p50_usd"]
    set_planned_spend(org, 1, [line])
    found = forecast(org)["workflow", "triage"]
    assert float(found["layers"][line.kind]) == pytest.approx(layer, rel=0.03)
    assert float(found["p50_usd"] - before) == pytest.approx(layer, rel=0.03)


def test_days_that_were_not_collected_are_no_days_without_demand(org):
    values = [None if 57 <= day < 61 else usd for day, usd in enumerate(weeks_of(66))]
    spend_days(org, FIRST, values, **TRIAGE)
    found = forecast(org)["workflow", "triage"]
    assert float(found["p50_usd"] - found["spent_usd"]) == pytest.approx(total_of(date(2026, 9, 10), 21), rel=0.03)


def test_a_quiet_day_of_one_workflow_is_one(org):
    values = [None if 57 <= day < 61 else usd for day, usd in enumerate(weeks_of(66))]
    spend_days(org, FIRST, values, **TRIAGE)
    spend_days(org, FIRST, weeks_of(66, 2.0), **SEARCH)
    found = forecast(org)["workflow", "triage"]
    assert float(found["p50_usd"] - found["spent_usd"]) < total_of(date(2026, 9, 10), 21) * 0.97


def test_the_days_of_a_zone(org):
    zone = ZoneInfo("America/New_York")
    there = make_org("America/New_York")
    day = datetime(2026, 9, 15, tzinfo=zone)
    for number, usd in enumerate(weeks_of(70, 1.0, day.weekday())):
        local = datetime(2026, 9, 15, tzinfo=zone) + timedelta(days=number)
        spend_days(there, local.astimezone(UTC), [usd], **TRIAGE)
    # The clock goes back on 1 November, which has 25 hours.
    at = datetime(2026, 11, 24, 5, tzinfo=UTC)
    found = forecast(there, at)["workflow", "triage"]
    assert len(found["days"]) == 7
    assert float(found["p50_usd"] - found["spent_usd"]) == pytest.approx(70, rel=0.02)


def test_what_is_left_of_today_follows_the_hours(org):
    spend_days(org, FIRST, weeks_of(66), **TRIAGE)
    noon = forecast(org, AT + timedelta(hours=12))["workflow", "triage"]
    assert float(noon["days"][0]) == pytest.approx(6, rel=0.02)


def test_what_was_said_stays_by_the_fifth_of_the_month(org):
    spend_days(org, FIRST, weeks_of(66), **TRIAGE)
    for day in (3, 4, 9, 30):
        forecast(org, datetime(2026, 9, day, 12, tzinfo=UTC))
    said = [(row["bucket"], row["as_of"].day) for row in rows("usage_forecast", org) if row["scope"] == "organization"]
    assert sorted(said) == [(0, 4), (1, 9), (4, 30)]


def test_errors_of_months_that_are_over_make_the_band(org):
    """Thirty workflows that came to what was said of them, to the cent: the band draws in."""
    for number in range(30):
        spend_days(org, FIRST, weeks_of(98), **{**TRIAGE, "workflow": f"w{number}"})
    before = forecast(org)["workflow", "w0"]
    after = forecast(org, datetime(2026, 10, 10, tzinfo=UTC))["workflow", "w0"]
    widths = [row["p90_usd"] / row["p50_usd"] - 1 for row in (before, after)]
    assert before["bucket"] == after["bucket"] == 1
    assert widths[1] < widths[0] / 5
    assert PRIOR[1][1] > 0


def test_an_organization_without_usage_has_nothing_to_say(org):
    assert forecast(org) == {}
