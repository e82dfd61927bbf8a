"""What tests of forecasts on pages share: a shop in the middle of a month, with a history and a look at what comes."""

import json
from datetime import timedelta

import pytest

from apps.usage.forecasting import forecast_month
from tests.database import as_worker
from tests.portal.homes import at, middle_of_a_month
from tests.portal.reading import text_of
from tests.usage.ahead import spend_days
from tests.world import make_event

SEARCH = {"team": "search", "project": "search-project", "workflow": "search-agent"}
NOW = middle_of_a_month()
TODAY = NOW.replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture(autouse=True)
def now(monkeypatch):
    at(monkeypatch, NOW)


def history(shop, usd="10", days=70, **where):
    spend_days(shop.org, TODAY - timedelta(days=days), [usd] * days, **(where or SEARCH))


def look(shop, now=NOW):
    with as_worker():
        return forecast_month(shop.org, now)


def spent_now(shop):
    """What makes a counter of a budget: rollups alone are nothing to it."""
    event = make_event(occurred_at=(NOW - timedelta(hours=3)).isoformat(), team="search", workflow="search-agent")
    assert shop.api.send(event)["accepted"] == 1


def data_of(page, name="forecast-month"):
    (script,) = page.find("script", id=name)
    return json.loads(text_of(script))["datasets"]
