"""What budgets, their thresholds and the overview make of forecasts."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.budgets.ahead import cross_forecasts
from apps.budgets.models import Crossing
from apps.budgets.services import end_budget
from apps.usage.planned import Planned, set_planned_spend
from tests.portal.homes import owner
from tests.portal.months_ahead import NOW, TODAY, data_of, history, look, now, spent_now
from tests.portal.reading import attribute, find, get, text_of
from tests.portal.shop import COST, budget, shop, stored

__all__ = ["now", "owner", "shop"]  # fixtures


# --- budgets -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_stored", [True, False])
def test_a_budget_shows_its_forecast_odds_and_day(shop, owner, is_stored):
    history(shop)
    spent_now(shop)
    one = budget(shop, name="Search", scope={"team": "search"}, amount_usd=Decimal(25))
    if is_stored:
        look(shop)
    page = get(owner, shop.url(f"budgets/{one.pk}"))
    figures = " ".join(text_of(next(page.find("dl", **{"class": "figures"}))).split())
    assert "Forecast" in figures
    assert "over 99 % likely to exceed the limit; it is reached on" in figures
    assert {"band", "rate"} <= set(data_of(page, "burn-down"))
    words = " ".join(get(owner, shop.url("budgets")).text.split())
    assert "at risk" in words
    assert "forecast" in words


@pytest.mark.parametrize(
    ("terms", "is_forecast"),
    [
        ({"scope": {"team": "search"}}, True),
        ({"scope": {"model": "claude-sonnet-4-5"}}, True),
        ({"scope": {"team": "search"}, "period": "week"}, True),
        ({"scope": {}, "period": "year"}, True),
        ({"scope": {"team": "search"}, "period": "day"}, False),
        ({"scope": {"team": "*"}}, False),
        ({"scope": {"tags.x": "y"}}, False),
        ({"scope": {"environment": "nowhere"}}, False),
    ],
)
def test_which_budgets_have_a_forecast(shop, owner, terms, is_forecast):
    history(shop)
    spent_now(shop)
    one = budget(shop, amount_usd=Decimal(1000), **terms)
    page = get(owner, shop.url(f"budgets/{one.pk}"))
    figures = text_of(next(page.find("dl", **{"class": "figures"})))
    assert ("Forecast" in figures) is is_forecast
    assert ("Run rate" in figures) is not is_forecast


def test_a_threshold_is_crossed_once_by_the_forecast(shop, owner):
    history(shop)
    spent_now(shop)
    one = budget(shop, scope={"team": "search"}, amount_usd=Decimal(40), forecast_thresholds=[100, 1000])
    look(shop)
    assert cross_forecasts(shop.org, NOW) == 1
    # It is expected to come to less now, and then to more again: nobody is told twice.
    history(shop, "-9.99")
    look(shop, NOW + timedelta(hours=1))
    assert cross_forecasts(shop.org.pk, NOW + timedelta(hours=1)) == 0
    assert cross_forecasts(shop.org, NOW + timedelta(hours=2)) == 0
    (crossing,) = [row for row in stored(shop, Crossing) if row.kind == "forecast"]
    assert "run_rate_usd" not in crossing.facts
    assert Decimal(crossing.facts["forecast_usd"]) > 40
    assert "Forecast reached 100 %" in get(owner, shop.url(f"budgets/{one.pk}")).text
    end_budget(org=shop.org, budget_id=one.pk, actor="tests")
    assert cross_forecasts(shop.org, NOW) == 0


def test_a_launch_that_is_planned_crosses_before_it_spends_much(shop):
    spent_now(shop)
    budget(shop, scope={"team": "search"}, amount_usd=Decimal(40), forecast_thresholds=[100])
    assert cross_forecasts(shop.org, NOW) == 0
    ten = Decimal(10)
    launch = Planned("launch", "new-agent", TODAY.date() + timedelta(days=1), ten, ten, ten, team="search")
    set_planned_spend(shop.org, 1, [launch])
    look(shop)
    assert cross_forecasts(shop.org, NOW) == 1


@pytest.mark.parametrize(("is_stored", "most"), [(True, 28), (False, 31)])
def test_a_forecast_costs_a_budget_few_questions(shop, owner, is_stored, most):
    """24 without one, as of a budget of a day."""
    history(shop)
    spent_now(shop)
    one = budget(shop, scope={"team": "search"})
    if is_stored:
        look(shop)
    with CaptureQueriesContext(connection) as asked:
        assert "Forecast" in get(owner, shop.url(f"budgets/{one.pk}")).text
    assert len(asked) <= most


# --- the overview ------------------------------------------------------------------------------------


def test_the_overview_holds_the_month_against_its_forecast(shop, owner):
    history(shop)
    spent_now(shop)
    look(shop)
    page = get(owner, shop.url())
    figures = " ".join(text_of(next(page.find("dl", **{"class": "figures"}))).split())
    assert "Forecast to" in figures
    assert "four times in five" in figures
    assert shop.url("forecast") in [attribute(link, "href") for link in find(page.root, "a")]
    assert len(data_of(page, "spend-over-time")["band"]) == 2


def test_an_old_forecast_is_not_held_against_anything(shop, owner):
    history(shop)
    spent_now(shop)
    look(shop, NOW - timedelta(hours=4))
    assert "at the run rate" in get(owner, shop.url()).text
    assert COST > 0
