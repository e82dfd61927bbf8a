"""Statements with contracts: fees, grants and credits beside usage, exact, and usage still what /spend says."""

import csv
import io
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.reports import booked_sql, contract_lines, statements
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
    api.send(make_event(provider="ollama"), make_event(team="search", provider="ollama"))
    whole, every = statements.month_total(org, MONTH), statements.statements(org, MONTH, at=now)
    assert (whole.statements, whole.events, whole.unpriced_events) == (len(every), 8, 2)
    assert whole.total_usd == sum(Decimal(one.total_usd) for one in every if one.total_usd) == Decimal("228.75")
    assert (whole.unattributed_usd, whole.unattributed_events) == (None, 1)


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


@pytest.mark.parametrize(
    ("provider", "model"),
    [("anthropic", "claude-sonnet-4-5-20250929"), ("anthropic", "Claude-Sonnet-4-5"), ("home", "our-assistant")],
)
def test_a_credit_for_a_model_pays_whatever_name_means_it(api, provider, model):
    alias = {"provider": "home", "name": "our-assistant", "to_provider": "anthropic", "to_model": "claude-sonnet-4-5"}
    assert api.post("model-aliases", alias).status_code == 201
    api.send(make_event(provider=provider, model=model), make_event(provider="anthropic", model="claude-haiku-4-5"))
    contract(api, kind="credit", name="Sonnet", provider="anthropic", model="claude-sonnet-4-5", amount_usd="100")
    (statement,) = month_of(api).values()
    assert Decimal(statement["credits_usd"]) == -COST
    assert Decimal(statement["usage_usd"]) > COST


def test_the_dearest_fee_has_a_statement(api):
    dearest = {"amount_usd": "1000000000000", "quantity": 10**6}
    contract(api, kind="throughput", name="PTU", provider="azure", model="prod-*", **dearest)
    contract(api, kind="seats", name="Seats", **dearest)
    (statement,) = month_of(api).values()
    hours = ((BEGIN + timedelta(days=32)).replace(day=1) - BEGIN) // timedelta(hours=1)
    assert Decimal(statement["fees_usd"]) == 10**18 * (hours + 1)


def test_usage_that_arrives_meanwhile_is_neither_shown_nor_paid_for(org, api, monkeypatch):
    """A statement is one snapshot: here a call is stored between its two questions."""
    api.send(make_event())
    contract(api, kind="credit", name="Prepaid", amount_usd="100")
    asked = booked_sql.usage_by_day

    def ask_later(*args, **kwargs):
        with ThreadPoolExecutor(1) as other:
            assert other.submit(api.send, make_event()).result()["accepted"] == 1
        return asked(*args, **kwargs)

    monkeypatch.setattr(booked_sql, "usage_by_day", ask_later)
    (statement,) = month_of(api).values()
    assert (statement["usage_usd"], statement["total_usd"]) == ("0.004500000000", "0.000000000000")


def test_too_many_days_of_usage_are_refused(api, monkeypatch):
    monkeypatch.setattr(contract_lines, "DAYS_MAX", 1)
    contract(api, kind="credit", name="Prepaid", amount_usd="100")
    api.send(make_event(), make_event(model="claude-haiku-4-5"))
    assert month_of(api)  # one team's day
    contract(api, kind="credit", name="Sonnet", provider="anthropic", model="claude-sonnet-4-5", amount_usd="100")
    response = api.get("statements", month=f"{MONTH:%Y-%m}")
    assert (response.status_code, response.json()["code"]) == (422, "too_many_lines")


def test_an_organization_without_terms_asks_for_them_once(api):
    api.send(make_event())
    with CaptureQueriesContext(connection) as without:
        month_of(api)
    assert len([query for query in without if 'FROM "pricing_contract"' in query["sql"]]) == 1


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
    rows = csv.DictReader(io.StringIO(text, newline=""))
    assert [(row["kind"], row["name"], row["cost_usd"]) for row in rows] == [
        ("seats", "Assistants", "60.000000000000"),
        ("total", "", "60.000000000000"),
    ]
