"""The page of forecasts: everything, a part of it, and what a lead sees."""

from datetime import timedelta
from decimal import Decimal

import pytest

from apps.usage.planned import Planned, set_planned_spend
from tests.portal.homes import OTHER, at, lead, other_team, owner
from tests.portal.months_ahead import NOW, SEARCH, TODAY, data_of, history, look, now
from tests.portal.reading import find, get, text_of
from tests.portal.shop import budget, shop
from tests.usage.ahead import spend_days

__all__ = ["lead", "now", "other_team", "owner", "shop"]  # fixtures


def test_the_month_is_drawn_with_its_band_plan_and_limit(shop, owner):
    history(shop)
    history(shop, "2", **OTHER_WORKFLOW)
    budget(shop, name="The limit", scope={}, amount_usd=Decimal(200))
    row = Planned("live", "search-agent", TODAY.date().replace(day=1), Decimal(9), Decimal(11), Decimal(12))
    set_planned_spend(shop.org, 1, [row])
    look(shop)
    page = get(owner, shop.url("forecast"))
    drawn = data_of(page)
    assert set(drawn) == {"bars", "band", "plan", "rules", "rate", "span"}
    assert drawn["band"][0]["low"] == drawn["band"][0]["high"]
    assert float(drawn["band"][-1]["low"]) < float(drawn["rate"][-1]["y"]) < float(drawn["band"][-1]["high"])
    assert drawn["rate"][-1]["label"].startswith("forecast 3")
    assert drawn["rate"][-1]["at"] == drawn["span"][0]["end"] == drawn["plan"][-1]["at"]
    assert "over 99\u202f% likely to be exceeded" in page.text
    tables = [text_of(table) for table in find(page.root, "table")]
    assert any("search-agent" in table and "growth-agent" in table for table in tables)


OTHER_WORKFLOW = {"team": "growth", "project": "growth-project", "workflow": "growth-agent"}


@pytest.mark.parametrize("scope", ["team", "project", "workflow"])
def test_a_part_is_drawn_alone(shop, owner, scope):
    history(shop)
    history(shop, "2", **OTHER_WORKFLOW)
    look(shop)
    page = get(owner, shop.url(f"forecast?{scope}={OTHER_WORKFLOW[scope]}"))
    assert float(data_of(page)["rate"][-1]["y"]) < 70
    assert OTHER_WORKFLOW[scope] in page.text


@pytest.mark.parametrize("query", ["team=nobody", "workflow=%00", "project=", "team=" + "x" * 5000])
def test_what_is_not_there_is_everything(shop, owner, query):
    history(shop)
    look(shop)
    assert "Everything in" in get(owner, shop.url(f"forecast?{query}")).text


def test_a_young_series_is_still_learning(shop, owner):
    history(shop, days=4)
    look(shop)
    assert "still learning: less than a week of history" in get(owner, shop.url("forecast")).text


def test_a_sum_that_its_own_history_contradicts_is_told(shop, owner):
    history(shop)
    row = Planned("retirement", "search-agent", TODAY.date(), Decimal(0), Decimal(0), Decimal(0))
    set_planned_spend(shop.org, 1, [row])
    look(shop)
    page = get(owner, shop.url("forecast"))
    assert "More than 10 % between them" in page.text
    assert "Workflows that end" in page.text


def test_a_lead_sees_their_team_alone(shop, lead, other_team):
    history(shop)
    history(shop, "2", team=OTHER, project="p", workflow="secret-agent")
    look(shop)
    for query in ("", "?workflow=secret-agent", "?project=p"):
        page = get(lead, shop.url(f"forecast{query}"))
        assert "search in" in page.text
        assert "secret-agent" not in page.html
    assert lead.get(shop.url(f"forecast?team={OTHER}")).status_code == 403


@pytest.mark.parametrize(
    ("day", "costs"),
    [(1, ["10"] * 70), (28, ["10"] * 70), (15, ["5"]), (15, ["-10"] * 30), (15, ["10"] * 60 + ["-1000"]), (1, [])],
)
def test_pages_of_odd_months_are_drawn(shop, owner, monkeypatch, day, costs):
    """The first day and a late one, one day of history, credits, and nothing at all."""
    then = NOW.replace(day=day, hour=0) - timedelta(days=31)
    at(monkeypatch, then)
    spend_days(shop.org, then - timedelta(days=len(costs)), costs, **SEARCH)
    budget(shop, name="The limit", scope={}, amount_usd=Decimal(200))
    look(shop, then)
    for page in ("forecast", "forecast?team=search", "budgets", ""):
        assert owner.get(shop.url(page)).status_code == 200
