"""Months at their edges, clocks that change, histories that hardly are: forecasts hold what they promise."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
import time_machine

from apps.core.tenancy import tenant
from apps.organizations.selectors import calendar
from apps.reports.chargeback_terms import GivenRate, change_terms, enter_rates
from apps.usage.forecasting import forecast_month
from apps.usage.planned import Planned, set_planned_spend
from tests.api.tenants import make_api, make_org
from tests.database import as_worker
from tests.usage.ahead import spend_days, weeks_of

TRIAGE = {"team": "support", "project": "desk", "workflow": "triage"}
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Scene:
    """USD of the days before `at`'s own, the oldest first, in a zone."""

    at: datetime
    costs: tuple = tuple(weeks_of(70))
    zone: str = "UTC"
    where: dict = field(default_factory=lambda: TRIAGE)
    planned: tuple = ()
    days_ahead: int | None = None


def utc(*moment):
    return datetime(*moment, tzinfo=UTC)


def ended(first):
    nothing = Decimal(0)
    return Planned("retirement", "triage", first, nothing, nothing, nothing, team="support", project="desk")


SCENES = {
    "the first instant of a month": Scene(utc(2026, 9, 1), days_ahead=30),
    "the first minutes of a month": Scene(utc(2026, 9, 1, 0, 5), days_ahead=30),
    "the last minute of a month": Scene(utc(2026, 9, 30, 23, 59), days_ahead=1),
    "the last day of February": Scene(utc(2028, 2, 29, 12), days_ahead=1),
    "an hour that is left out": Scene(utc(2026, 3, 8, 7, 30), zone="America/New_York", days_ahead=24),
    "an hour that comes twice": Scene(utc(2026, 11, 1, 5, 30), zone="America/New_York", days_ahead=30),
    "a midnight that is left out": Scene(utc(2026, 3, 29, 12), zone="Asia/Beirut", days_ahead=3),
    "clocks that move by half an hour": Scene(utc(2026, 4, 4, 16), zone="Australia/Lord_Howe", days_ahead=26),
    "a last day of 25 hours": Scene(utc(2027, 10, 31, 1, 30), zone="Europe/Berlin", days_ahead=1),
    "one day of history": Scene(utc(2026, 9, 10), ("5",)),
    "one day, and that of next to nothing": Scene(utc(2026, 9, 10), ("0.000000000001",)),
    "a fraction of a cent": Scene(utc(2026, 9, 10), tuple(["0.000000412345"] * 40)),
    "more than anybody has": Scene(utc(2026, 9, 10), tuple(["90000000000000"] * 40)),
    "credits on some days": Scene(utc(2026, 9, 10), tuple(["10", "10", "-30", "10"] * 12)),
    "nothing but credits": Scene(utc(2026, 9, 10), tuple(["-10"] * 30)),
    "a credit of more than the month": Scene(utc(2026, 9, 10), (*["10"] * 60, "-1000")),
    "a workflow that ended": Scene(utc(2026, 9, 10), planned=(ended(date(2026, 9, 1)),)),
    "one that ends within the month": Scene(utc(2026, 9, 10), planned=(ended(date(2026, 9, 20)),)),
    "spend that stopped a month ago": Scene(utc(2026, 9, 30), (*["10"] * 40, *[None] * 31)),
    "spend that stopped long ago": Scene(utc(2026, 9, 30), (*["10"] * 20, *[None] * 99)),
    "a day out of a hundred": Scene(utc(2026, 9, 10), (*[None] * 50, "500", *[None] * 49)),
    "what nobody owns": Scene(utc(2026, 9, 10), where={}),
    "usage that is booked later than it was": Scene(
        utc(2026, 9, 10), where={**TRIAGE, "booked_month": date(2026, 9, 1)}
    ),
}


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_forecasts_hold_what_they_promise(scene):
    org = make_org(scene.zone)
    begin(org, scene)
    with time_machine.travel(scene.at, tick=False):
        with as_worker():
            forecast_month(org, scene.at)
        api = make_api(org)
        answer = api.get("forecasts")
        assert answer.status_code == 200, answer.content
        rows = answer.json()["data"]
        assert [row for row in rows if row["scope"] == "organization"]
        for row in rows:
            is_sound(row, scene)
        stated = api.get("statements", month=f"{answer.json()['month']}")
        assert stated.status_code == 200, stated.content
        for one in stated.json()["data"]:
            said = one["summary"]["forecast_usd"]
            assert said is None or Decimal(said) >= Decimal(one["total_usd"])


def begin(org, scene):
    """Days begin where the organization's clock says so."""
    with tenant(org):
        clock = calendar(org)
    day = clock.day(scene.at)
    for cost in reversed(scene.costs):
        day = clock.day(day - timedelta(hours=1))
        if cost is not None:
            spend_days(org, day, [cost], **scene.where)
    if scene.planned:
        set_planned_spend(org, 1, scene.planned)


def is_sound(row, scene):
    spent, low, likely, high = (Decimal(row[name]) for name in ("spent_usd", "p10_usd", "p50_usd", "p90_usd"))
    days = [Decimal(day["p50_usd"]) for day in row["days"]]
    assert spent <= low <= likely <= high
    assert min(days) >= 0
    assert spent + sum(days) == likely
    if scene.days_ahead:
        assert len(days) == scene.days_ahead
    # Nobody expects a hundred times of what there was at most on any day.
    most = max(Decimal(str(cost or 0)) for cost in scene.costs)
    assert max(days) <= 100 * max(most, Decimal("0.000001"))


@pytest.mark.parametrize(
    "scene", ["a workflow that ended", "spend that stopped a month ago", "spend that stopped long ago"]
)
def test_what_is_over_comes_to_nothing_more(scene):
    scene = SCENES[scene]
    org = make_org()
    begin(org, scene)
    with time_machine.travel(scene.at, tick=False):
        with as_worker():
            forecast_month(org, scene.at)
        [row] = make_api(org).get("forecasts", scope="workflow").json()["data"]
    assert Decimal(row["p50_usd"]) == Decimal(row["spent_usd"])


def test_a_statement_in_a_currency_without_decimals_says_the_same_dollars():
    at, org = utc(2026, 9, 10), make_org()
    change_terms(org=org, currency="JPY", close_after_hours=72, closes_itself=False, actor="tests")
    enter_rates(org=org, rates=[GivenRate(date(2026, 9, 1), "JPY", "150.4", "a bank")], actor="tests")
    begin(org, Scene(at))
    with time_machine.travel(at, tick=False):
        with as_worker():
            forecast_month(org, at)
        api = make_api(org)
        [row] = api.get("forecasts", scope="team").json()["data"]
        [one] = api.get("statements", month="2026-09").json()["data"]
    assert (one["currency"], one["summary"]["forecast_usd"]) == ("JPY", row["p50_usd"])
