"""Plan against actual, and month against month, as people see them."""

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import time_machine

from apps.core.errors import DomainError
from apps.organizations.permissions import Role
from apps.organizations.services import add_member
from apps.planner.variance import Line, Variance
from apps.portal.against_rows import LABELS, Sides, comparison_of
from apps.portal.bridge import Span, bridge
from apps.portal.formats import MINUS
from apps.teams.services import create_on_first_sight
from tests.portal.conftest import client_of, make_person, make_shop
from tests.portal.reading import attribute, find, get, text_of
from tests.usage.ledger import roll
from tests.world import make_event

NOW = datetime(2026, 11, 16, tzinfo=UTC)
STEP = {
    "name": "answer",
    "model": {"provider": "anthropic", "model": "claude-sonnet-4-5"},
    "prefix_tokens": 100_000,
    "input_tokens": 50_000,
    "output_tokens": 20_000,
    "calls": 1,
    "dispersion": 0,
    "retry_rate": 0,
    "cache": "off",
}
DEFINITION = {"steps": [STEP], "runs_per_month": 400, "growth": 1, "success_rate": 1}
# 0.75 USD a run.
USAGE = {"input_tokens": 150_000, "output_tokens": 20_000}


@pytest.fixture(autouse=True)
def clock():
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def shop():
    shop = make_shop()
    create_on_first_sight(org=shop.org, seen=[("search", "web", "agent"), ("ads", "bids", "ranker")], actor="test")
    shop.org.refresh_from_db()
    return shop


def call(run, days=5, **fields):
    at = (NOW - timedelta(days=days)).isoformat()
    given = {"workflow": "agent", "project": "web", "run_id": run, "usage": USAGE, **fields}
    return make_event(occurred_at=at, **given)


def used(shop, count, prefix="r", **fields):
    shop.api.send(*(call(f"{prefix}{number}", **fields) for number in range(count)))


def plan_of(shop, *, approve=True, **fields):
    given = {"name": "Agent", "workflow": "agent", "definition": DEFINITION, "launch_on": "2026-11-01", **fields}
    plan = shop.api.post("plans", given).json()
    if approve:
        assert shop.api.post(f"plans/{plan['id']}/approve", {"version": 1}).status_code == 200
    return shop.url(f"plans/{plan['id']}/against")


def lines(page):
    """Of the table: what each line shows, and where it leads."""
    (table,) = list(page.find("table"))[:1]
    found = {}
    for cells in page.rows_of(table):
        (link,) = find(cells[-1], "a")
        label = next(label for label, _ in LABELS.values() if text_of(cells[0]).strip().startswith(label))
        found[label] = (text_of(link).strip(), attribute(link, "href"))
    return found


def test_the_plan_the_month_and_what_lies_between(shop):
    path = plan_of(shop)
    used(shop, 300)
    used(shop, 100, step=1)
    page = get(client_of(shop.bob), path)
    for words in ("Plan so far", "Actual so far", "150.00", "300.00", "300.00 USD for all of November 2026"):
        assert words in page.text
    found = lines(page)
    assert list(found) == ["Volume", "Loops"]
    assert sum(Decimal(text.replace("+", "").replace(MINUS, "-")) for text, _ in found.values()) == Decimal("150.00")
    assert "version 1, approved" in page.text
    assert "The month is under way" in page.text


def test_a_line_opens_the_runs_behind_it(shop):
    path = plan_of(shop)
    used(shop, 200)
    used(shop, 5, attempt=2)
    roll(shop.org)
    client = client_of(shop.bob)
    _, url = lines(get(client, path))["Retries"]
    runs = {text_of(next(find(cells[0], "a"))) for cells in get(client, url).rows()}
    assert runs == {f"r{number}" for number in range(5)}


def test_the_chart_says_what_the_table_says(shop):
    path = plan_of(shop)
    used(shop, 400)
    page = get(client_of(shop.bob), path)
    (data,) = page.find("script", id="why-bridge")
    spec = json.loads(text_of(data))
    bars = spec["datasets"]["bars"]
    assert [bar["label"] for bar in bars] == ["Plan so far", "Volume", "Actual so far"]
    assert [(Decimal(bar["low"]), Decimal(bar["high"])) for bar in bars] == [(0, 150), (150, 300), (0, 300)]
    (figure,) = page.find("figure")
    assert "From plan so far, 150.00 USD, to actual so far, 300.00 USD: volume +150.00 USD" in attribute(
        figure, "aria-label"
    )


@pytest.mark.parametrize(
    ("fields", "runs", "says"),
    [
        ({"approve": False}, 3, "a draft that nobody approved"),
        ({"launch_on": "2026-12-01"}, 3, "its launch is on 1 December 2026"),
        ({"launch_on": "2026-12-01"}, 0, "Nothing planned and nothing used"),
        ({}, 0, "No call of agent came"),
        (
            {"approve": False, "definition": {
                **DEFINITION, "steps": [{**STEP, "model": {"provider": "acme", "model": "house-model"}}]
            }},
            3,
            "No price is known for house-model",
        ),
    ],
)  # fmt: skip
def test_what_there_is_when_it_cannot_be_compared_in_full(shop, fields, runs, says):
    path = plan_of(shop, **fields)
    if runs:
        used(shop, runs)
    assert says in get(client_of(shop.bob), path).text


def test_what_the_figures_leave_out_is_said(shop):
    path = plan_of(shop, definition={**DEFINITION, "other_cost_usd": "0.1"})
    used(shop, 30)
    used(shop, 2, prefix="u", provider="acme", model="house-model")
    shop.api.send(*({k: v for k, v in call("x").items() if k != "run_id"} for _ in range(5)))
    page = get(client_of(shop.bob), path)
    for words in ("has 20.00 USD beside", "2 calls have no price", "of its calls name their run", "Left apart"):
        assert words in page.text, words


def test_of_many_models_without_a_price_those_with_most_calls_are_named(shop):
    path = plan_of(shop)
    used(shop, 3)
    for place in range(12):
        used(shop, place + 1, prefix=f"u{place}-", provider="acme", model=f"house-{place}")
    page = get(client_of(shop.bob), path)
    (table,) = (
        each for each in page.find("div", role="region") if attribute(each, "aria-label") == "Left apart, table"
    )
    named = [text_of(cell) for cell in find(table, "th", scope="row")]
    assert named == [f"acme/house-{place}" for place in range(11, 1, -1)]
    assert "and 2 more, of 3 calls" in page.text


def test_of_a_month_to_come_it_shows_the_one_under_way(shop):
    path = plan_of(shop)
    used(shop, 3)
    page = get(client_of(shop.bob), f"{path}?month=2027-01")
    assert re.findall(r'<a href="[^"]*" aria-current="true">([^<]*)</a>', page.html) == ["Nov 2026"]


def test_a_lead_sees_the_plans_of_their_teams_alone(shop):
    path = plan_of(shop)
    used(shop, 3)
    for team, status in (("search", 200), ("ads", 404)):
        lead = make_person("lead")
        add_member(org=shop.org, user=lead, role=Role.LEAD, teams=[team], actor=None)
        assert client_of(lead).get(path).status_code == status


def test_a_stranger_finds_nothing(shop):
    path = plan_of(shop)
    assert client_of(shop.charlie).get(path).status_code == 404
    assert client_of(shop.charlie).get(shop.url("spend/months")).status_code == 404


# --- months ----------------------------------------------------------------------------------------------


def test_a_month_against_as_much_of_the_one_before(shop):
    used(shop, 20, prefix="old", days=38)
    used(shop, 30)
    page = get(client_of(shop.bob), shop.url("spend/months?workflow=agent"))
    for words in ("October, same days", "November so far", "15.00", "22.50", "with as much of October"):
        assert words in page.text
    assert list(lines(page)) == ["Volume"]


def test_months_of_an_organization_name_its_workflows(shop):
    used(shop, 20, prefix="old", days=38)
    used(shop, 30, workflow="ranker", project="bids")
    page = get(client_of(shop.bob), shop.url("spend/months"))
    found = lines(page)
    assert found["New"][1].endswith("group_by=workflow")
    assert [text.replace(" ", "") for text, _ in found.values()] == ["+22.50", f"{MINUS}15.00"]


def test_a_lead_sees_the_months_of_their_team(shop):
    used(shop, 30, workflow="ranker", project="bids")
    lead = make_person("lead")
    add_member(org=shop.org, user=lead, role=Role.LEAD, teams=["search"], actor=None)
    assert "Nothing used in either month" in get(client_of(lead), shop.url("spend/months")).text
    assert client_of(lead).get(shop.url("spend/months?team=ads")).status_code == 403


@pytest.mark.parametrize(
    "query", ["month=x", "before=0000-01", "before=2026-10&workflow=%0A", "team=nobody", "before=1"]
)
def test_no_query_breaks_the_page(shop, query):
    assert get(client_of(shop.bob), shop.url(f"spend/months?{query}"))


# --- the chart alone -------------------------------------------------------------------------------------


def test_a_bridge_goes_below_zero_and_up_again():
    steps = [Span("a", Decimal(-12)), Span("b", Decimal(5))]
    found = bridge(Span("Plan", Decimal(10)), steps, Span("Actual", Decimal(3)), flexed=Span("flexed", Decimal(4)))
    bars = [(Decimal(bar["low"]), Decimal(bar["high"]), bar["kind"]) for bar in found.spec["datasets"]["bars"]]
    assert bars == [(0, 10, "whole"), (-2, 10, "less"), (-2, 3, "more"), (0, 3, "whole")]
    assert found.spec["datasets"]["rules"] == [{"x": "4", "after": "flexed 4.00", "before": ""}]


# --- its part of the workflow's page ---------------------------------------------------------------------


def part_of(shop):
    """What the workflow's page says of it: heading, where it leads, text; None where it says nothing."""
    page = get(client_of(shop.bob), shop.url("workflows/agent"))
    for section in page.find("section", **{"aria-labelledby": "plan-part"}):
        heading = next(find(section, "h2"))
        return text_of(heading), attribute(next(find(section, "a")), "href"), text_of(section)
    return None


def test_what_the_digits_of_doubles_leave_over_is_no_line():
    usd = Decimal("0.000000000001")
    lines = tuple(Line(kind, amount, ()) for kind, amount in (("cache", Decimal(5) - usd), ("price", usd)))
    shown = [comparison_of(of, Sides("Plan", "Actual"), lambda line: ("", "")).rows for of in (
        Variance(Decimal(200), Decimal(205), Decimal(200), lines),
        Variance(Decimal(0), usd, Decimal(0), lines[1:]),
    )]  # fmt: skip
    assert [[row.label for row in rows] for rows in shown] == [["Cache"], ["Price"]]


def test_a_workflow_with_a_plan_is_held_to_it(shop):
    path = plan_of(shop)
    used(shop, 400)
    heading, url, _ = part_of(shop)
    assert heading.startswith("Plan against actual")
    assert url == path


def test_a_workflow_without_one_is_held_to_the_month_before(shop):
    assert part_of(shop) is None
    used(shop, 20, prefix="old", days=38)
    heading, url, text = part_of(shop)
    assert heading.startswith("Against the month before")
    assert url == shop.url("spend/months?workflow=agent")
    assert "Retired" in text


def test_a_draft_holds_nobody_to_anything(shop):
    plan_of(shop, approve=False)
    used(shop, 2)
    assert part_of(shop)[0].startswith("Against the month before")


def test_what_takes_too_long_leaves_the_page_as_it_is(shop, monkeypatch):
    def slow(*given, **named):
        raise DomainError("query_too_slow", "Comparing months took longer than 5 seconds.")

    plan_of(shop)
    monkeypatch.setattr("apps.planner.against.actual_uses", slow)
    assert part_of(shop) is None
