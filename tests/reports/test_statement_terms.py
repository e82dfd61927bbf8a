"""Statements with contracts: fees, grants and credits beside usage, exact, and usage still what /spend says."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from apps.teams.services import create_team
from tests.api.tenants import make_api, make_org
from tests.world import make_event

MONTH = datetime.now(UTC).date().replace(day=1)
BEGIN = datetime(MONTH.year, MONTH.month, 1, tzinfo=UTC)
COST = Decimal("0.0045")


@pytest.fixture
def org():
    return make_org()


@pytest.fixture
def api(org):
    return make_api(org)


def contract(api, **fields):
    response = api.post("contracts", {"name": "deal", "starts_at": BEGIN.isoformat(), **fields})
    assert response.status_code == 201, response.content
    return response.json()


def month_of(api):
    response = api.get("statements", month=f"{MONTH:%Y-%m}")
    assert response.status_code == 200, response.content
    return {row["team"]: row for row in response.json()["data"]}


def booked(api):
    until = (BEGIN + timedelta(days=32)).replace(day=1)
    spent = api.get("spend", **{"basis": "booked", "from": BEGIN.isoformat(), "to": until.isoformat()})
    return Decimal(spent.json()["total"]["cost_usd"])


def kinds(statement):
    return [(line["kind"], line["name"], line["cost_usd"]) for line in statement["lines"] if line["name"]]


def test_a_month_with_everything(org, api):
    create_team(org=org, slug="search")
    create_team(org=org, slug="legal")
    now = datetime.now(UTC)
    api.send(*(make_event(team="search", occurred_at=now.isoformat()) for _ in range(4)))
    api.send(*(make_event(team="legal", occurred_at=now.isoformat()) for _ in range(2)))
    days = ((BEGIN + timedelta(days=32)).replace(day=1) - BEGIN).days
    contract(api, kind="seats", name="Assistants", amount_usd="30", quantity=5, team="legal")
    end = BEGIN + timedelta(hours=10, minutes=30)
    contract(api, kind="throughput", name="PTU", provider="azure", model="prod-*", amount_usd="2.5", quantity=3,
             ends_at=end.isoformat())  # fmt: skip
    contract(api, kind="credit", name="Prepaid", amount_usd="100")
    contract(api, kind="grant", name="Trial", amount_usd="0.01")
    found = month_of(api)
    assert list(found) == ["legal", "search", None]
    # The grant first, shared by usage; the credit pays what is left; neither pays fees.
    assert kinds(found["legal"]) == [
        ("seats", "Assistants", "150.000000000000"),
        ("grant", "Trial", "-0.003333333333"),
        ("credit", "Prepaid", "-0.005666666667"),
    ]
    assert kinds(found["search"]) == [
        ("grant", "Trial", "-0.006666666667"),
        ("credit", "Prepaid", "-0.011333333333"),
    ]
    assert kinds(found[None]) == [("throughput", "PTU", "78.750000000000")]
    assert [found[team]["total_usd"] for team in found] == ["150.000000000000", "0.000000000000", "78.750000000000"]
    assert sum(Decimal(row["usage_usd"]) for row in found.values()) == booked(api) == 6 * COST
    assert days in range(28, 32)


def test_a_credit_is_used_until_it_is_gone_and_says_what_is_left(api):
    api.send(*(make_event() for _ in range(3)))
    made = contract(api, kind="credit", name="Prepaid", amount_usd="0.01")
    (statement,) = month_of(api).values()
    assert statement["credits_usd"] == "-0.010000000000"
    assert Decimal(statement["total_usd"]) == 3 * COST - Decimal("0.01")
    found = api.get(f"contracts/{made['id']}").json()
    assert (found["used_usd"], found["left_usd"]) == ("0.010000000000", "0.000000000000")


def test_a_credit_for_one_provider_pays_no_other(api):
    api.send(make_event(), make_event(provider="openai", model="gpt-4o"))
    contract(api, kind="credit", name="OpenAI", provider="openai", amount_usd="100")
    (statement,) = month_of(api).values()
    assert Decimal(statement["credits_usd"]) == -Decimal("0.0035")


def test_a_term_that_has_ended_or_not_begun_adds_nothing(api):
    api.send(make_event())
    long_ago = {"starts_at": "2020-01-01T00:00:00Z", "ends_at": "2020-02-01T00:00:00Z"}
    contract(api, kind="seats", name="old", amount_usd="30", **long_ago)
    contract(api, kind="seats", name="new", amount_usd="30", starts_at="2199-01-01T00:00:00Z")
    (statement,) = month_of(api).values()
    assert kinds(statement) == []
    assert statement["total_usd"] == statement["usage_usd"]


def test_the_csv_carries_the_lines_and_the_total(api):
    contract(api, kind="seats", name="Assistants", amount_usd="30", quantity=2)
    text = api.get("statements.csv", month=f"{MONTH:%Y-%m}").content.decode()
    rows = [line.split(",") for line in text.splitlines()]
    column = rows[0].index("contract")
    assert [(row[3], row[column], row[-1]) for row in rows[1:]] == [
        ("seats", "Assistants", "60.000000000000"),
        ("total", "", "60.000000000000"),
    ]
