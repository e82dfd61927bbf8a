"""Cost by meter on a statement: of each model, exact, and always as much as the usage."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from apps.organizations.models import Organization
from apps.teams.services import create_team
from tests.api.tenants import make_api, make_org
from tests.reports.months import MIDDLE, MONTH, NEXT, close, statements
from tests.world import Api, make_event


@pytest.fixture
def org() -> Organization:
    org = make_org()
    create_team(org=org, slug="search")
    return org


@pytest.fixture
def api(org: Organization) -> Api:
    return make_api(org)


def send(api: Api, at: Any = MIDDLE, **usage: int) -> None:
    api.send(make_event(team="search", occurred_at=at.isoformat(), usage=usage))


def by_meter(api: Api, month: Any = MONTH, team: str | None = "search") -> list[tuple[Any, ...]]:
    one = statements(api, month)[team]
    costs = [Decimal(row["cost_usd"]) for row in one["by_meter"]]
    assert sum(costs) == Decimal(one["usage_usd"])
    fields = ("model", "meter", "quantity", "cost_usd", "list_usd_per_million")
    return [tuple(row[field] for field in fields) for row in one["by_meter"]]


def test_each_meter_costs_its_rate_times_its_quantity(api: Api) -> None:
    send(api, input_tokens=1_000, cache_read_tokens=10_000, output_tokens=100)
    send(api, MIDDLE + timedelta(days=3), input_tokens=1_000)
    assert by_meter(api) == [
        ("claude-sonnet-4-5", "input_tokens", 2_000, "0.006000000000", "3"),
        ("claude-sonnet-4-5", "cache_read_tokens", 10_000, "0.003000000000", "0.3"),
        ("claude-sonnet-4-5", "output_tokens", 100, "0.001500000000", "15"),
    ]


def test_a_day_of_both_lengths_of_prompt_still_adds_up(api: Api) -> None:
    send(api, input_tokens=1_000, output_tokens=100)
    send(api, input_tokens=300_000, output_tokens=100)
    assert {row[1] for row in by_meter(api)} == {"input_tokens", "output_tokens"}


def test_a_contract_changes_the_cost_and_not_the_list_price(api: Api) -> None:
    deal = {"kind": "discount", "name": "deal", "percent": "50", "starts_at": (MIDDLE - timedelta(days=9)).isoformat()}
    assert api.post("contracts", deal).status_code == 201
    send(api, input_tokens=100_000)
    assert by_meter(api) == [("claude-sonnet-4-5", "input_tokens", 100_000, "0.150000000000", "3")]


def test_late_usage_has_its_meters_on_the_month_that_it_is_booked_in(org: Organization, api: Api) -> None:
    send(api, input_tokens=1_000)
    close(org, api)
    send(api, input_tokens=500)
    assert by_meter(api)[0][2] == 1_000
    assert by_meter(api, NEXT)[0][2:4] == (500, "0.001500000000")


def test_what_is_unpriced_is_no_meter_that_costs_nothing(api: Api) -> None:
    api.send(make_event(team="search", model="nobody", occurred_at=MIDDLE.isoformat()))
    assert by_meter(api) == []
