"""FOCUS files: the arithmetic of every row, and that they add up to what /spend says."""

import io
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.errors import DomainError
from apps.core.meters import METERS
from apps.core.money import usd_from_pico
from apps.core.periods import Calendar
from apps.core.tenancy import tenant
from apps.pricing.catalog import EPOCH, Catalog
from apps.pricing.cost import Price, RateCard
from apps.pricing.rating import RateBook
from apps.reports import focus, focus_files, focus_sql
from apps.reports.focus_columns import COLUMNS, FOCUS_1_2, SKUS
from apps.reports.meter_costs import Rates
from apps.reports.selectors import SpendQuestion, spend
from apps.teams.services import create_project, create_team, create_workflow
from tests.api.tenants import make_api, make_org
from tests.reports.focus_rows import Row, read, total
from tests.usage.ledger import Books, accept, open_books, roll
from tests.world import make_event

DAY = datetime(2026, 10, 5, tzinfo=UTC)
OCTOBER = date(2026, 10, 1)
PRICE = Price(
    1, "anthropic", "claude", "standard", EPOCH,
    RateCard.of({"input_tokens": 3_000_000, "output_tokens": 15_000_000, "requests": 2_000_000}), (), "test", "1",
)  # fmt: skip
ACCOUNT = focus.Account(
    "acme",
    "Acme",
    Calendar([(None, "UTC")]),
    Rates(RateBook(Catalog(1, [("anthropic", "claude", {"equals": "claude"})], [PRICE]))),
    {"search": "Search and ranking"},
)


def calls(**fields: Any) -> focus.Calls:
    return focus.Calls(
        **{
            "day_start": DAY,
            "booked_month": OCTOBER,
            "team": "search",
            "project": "checkout",
            "workflow": "bot",
            "task_type": "coding",
            "provider": "anthropic",
            "model": "claude",
            "service_tier": None,
            "environment": "prod",
            "api_key": "7",
            "status": "ok",
            "events": 3,
            "cost_pico": 4_500_000_000,
            "quantities": {"input_tokens": 1_000, "output_tokens": 100},
            **fields,
        }
    )


def rows_of(*groups: focus.Calls, **told: int) -> list[Row]:
    out = io.BytesIO()
    focus.write(focus.rows(groups, ACCOUNT, **told), out)
    return read(out.getvalue())


# --- rows ---


def test_all_columns_of_the_standard_stand_first_and_ours_last() -> None:
    assert COLUMNS[:57] == FOCUS_1_2 == tuple(sorted(FOCUS_1_2))
    own = [name.startswith("x_") for name in COLUMNS]
    assert own == sorted(own)
    assert len(set(COLUMNS)) == len(COLUMNS)


def test_a_row_for_each_meter() -> None:
    rows = rows_of(calls())
    assert [(row["SkuMeter"], row["ConsumedQuantity"], row["EffectiveCost"]) for row in rows] == [
        ("Input Tokens", "1000.0", "0.003000000000"),
        ("Output Tokens", "100.0", "0.001500000000"),
    ]
    first = rows[0]
    assert (first["PricingQuantity"], first["PricingUnit"]) == ("0.001000", "1000000 Tokens")
    assert (first["ListUnitPrice"], first["ContractedUnitPrice"]) == ("3.000000", "3.000000")
    assert (first["SubAccountId"], first["SubAccountName"]) == ("search", "Search and ranking")
    assert (first["ResourceId"], first["ResourceType"]) == ("checkout/bot", "Workflow")
    assert (first["ChargePeriodStart"], first["ChargePeriodEnd"]) == ("2026-10-05T00:00:00Z", "2026-10-06T00:00:00Z")
    assert (first["BillingPeriodStart"], first["BillingPeriodEnd"]) == ("2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z")
    assert (first["ProviderName"], first["CredentialId"], first["ChargeClass"]) == ("Anthropic", "7", "")
    assert first["x_CostBasis"] == "exact"
    assert json.loads(first["Tags"]) == {
        "project": "checkout", "workflow": "bot", "task_type": "coding", "environment": "prod",
    }  # fmt: skip
    assert json.loads(first["SkuPriceDetails"]) == {
        "ModelId": "claude", "x_ServiceTier": "standard", "TokenDirection": "Input", "TokenCacheAction": "Uncached",
    }  # fmt: skip


def test_calls_are_counted_once_a_group_and_unpriced_ones_once_a_file() -> None:
    rows = rows_of(calls(), calls(status="error", events=2), unpriced_events=9)
    assert [row["x_RequestCount"] for row in rows] == ["3.0", "", "2.0", ""]
    assert [row["x_UnpricedEvents"] for row in rows] == ["9.0", "", "", ""]


def test_an_amount_that_rates_do_not_explain_is_apportioned() -> None:
    rows = rows_of(calls(cost_pico=9_000_000_001))
    assert [(row["EffectiveCost"], row["ListCost"], row["x_CostBasis"]) for row in rows] == [
        ("0.006000000001", "0.003000000000", "apportioned"),
        ("0.003000000000", "0.001500000000", "apportioned"),
    ]


def test_where_no_price_is_known_any_more_the_unit_price_is_what_it_cost() -> None:
    rows = rows_of(calls(model="gone", cost_pico=7_000))
    assert {row["x_PriceBasis"] for row in rows} == {"derived"}
    assert total(rows) == Decimal("0.000000007")
    assert rows[0]["ListUnitPrice"] == "0.000006"


def test_what_is_booked_later_is_a_correction_of_its_day() -> None:
    november = date(2026, 11, 1)
    taken = {"input_tokens": -1_000, "output_tokens": -100}
    rows = rows_of(
        calls(booked_month=november, cost_pico=-4_500_000_000, quantities=taken, events=-3),
        calls(booked_month=november, cost_pico=-7, quantities={}, events=0),
    )
    assert {row["ChargeClass"] for row in rows} == {"Correction"}
    assert {row["ChargePeriodStart"] for row in rows} == {"2026-10-05T00:00:00Z"}
    assert {row["BillingPeriodStart"] for row in rows} == {"2026-11-01T00:00:00Z"}
    assert [row["EffectiveCost"] for row in rows] == ["-0.003000000000", "-0.001500000000", "-0.000000000007"]
    assert (rows[-1]["SkuMeter"], rows[-1]["PricingQuantity"]) == ("Price Correction", "")


def test_what_nobody_owns_has_no_sub_account_and_no_resource() -> None:
    row = rows_of(calls(team=None, project=None, workflow=None, task_type=None, environment=None))[0]
    assert {
        row[name] for name in ("SubAccountId", "SubAccountName", "SubAccountType", "ResourceId", "ResourceType")
    } == {""}
    assert row["Tags"] == "{}"


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "＝1"])
def test_no_cell_starts_a_formula(name: str) -> None:
    rows = rows_of(calls(team=name, project=name, workflow=name, model=name, provider=name, environment=name))
    numbers = ("Cost", "Quantity", "UnitPrice")
    for row in rows:
        shown = [text for column, text in row.items() if text and not column.endswith(numbers)]
        assert not [text for text in shown if text.startswith(("=", "+", "-", "@", "\t", "＝"))]


@pytest.mark.parametrize("name", ['say "hello"', "a,b", 'x","y', "Größe 日本"])
def test_names_are_read_as_they_were_given(name: str) -> None:
    row = rows_of(calls(team=name, project=name, workflow=name, model=name, provider=name, environment=name))[0]
    assert (row["SubAccountId"], row["ResourceId"], row["x_Environment"]) == (name, f"{name}/{name}", name)
    assert json.loads(row["Tags"])["project"] == json.loads(row["SkuPriceDetails"])["ModelId"] == name


def test_each_meter_has_a_name_and_a_unit() -> None:
    rows = rows_of(calls(quantities=dict.fromkeys(METERS, 5), cost_pico=10**9))
    assert [row["x_Meter"] for row in rows] == list(METERS)
    assert all(row["SkuMeter"] == SKUS[row["x_Meter"]].meter for row in rows)
    assert len({row["SkuId"] for row in rows}) == len(METERS)


quantities = st.dictionaries(st.sampled_from(METERS), st.integers(1, 10**12), max_size=5)


@given(st.lists(st.tuples(quantities, st.integers(-(10**20), 10**20), st.sampled_from(["claude", "gone"])), max_size=4))
def test_the_rows_add_up_to_what_was_spent(groups: list[tuple[dict[str, int], int, str]]) -> None:
    given_ = [calls(quantities=used, cost_pico=cost, model=model) for used, cost, model in groups]
    rows = rows_of(*given_)
    assert total(rows) == total(rows, "BilledCost") == usd_from_pico(sum(cost for _, cost, _ in groups))


# --- of an organization ---


def asked(start: datetime = DAY, days: int = 2, **fields: Any) -> SpendQuestion:
    return SpendQuestion(start=start, end=start + timedelta(days=days), **fields)


def written(books: Books, question: SpendQuestion) -> tuple[list[Row], focus_files.Written]:
    out = io.BytesIO()
    found = focus_files.write(books.org, question, out)
    rows = read(out.getvalue())
    assert found.rows == len(rows)
    return rows, found


def spent(books: Books, question: SpendQuestion) -> Decimal:
    return spend(books.org, question).total.cost_usd or Decimal(0)


@pytest.fixture
def books() -> Books:
    books = open_books("Europe/Berlin")
    org = books.org
    team = create_team(org=org, slug="search", name="Search and ranking")
    create_workflow(org=org, slug="bot", project=create_project(org=org, slug="checkout", team=team))
    return books


def an_event(hours: float, **fields: Any) -> dict[str, Any]:
    return make_event(occurred_at=(BERLIN + timedelta(hours=hours)).isoformat(), **fields)


# A midnight in Berlin.
BERLIN = datetime(2026, 10, 4, 22, tzinfo=UTC)


def send_some(books: Books) -> None:
    accept(
        books,
        an_event(1, workflow="bot", usage={"input_tokens": 1_000, "cache_read_tokens": 7, "output_tokens": 3}),
        an_event(2, workflow="bot", environment="prod", service_tier="batch"),
        an_event(23.9, team="nobody-knows"),
        an_event(25, model="nobody-knows"),
        an_event(26, provider="openai", model="gpt-4o", usage={"input_tokens": 5, "reasoning_tokens": 11}),
        an_event(-0.1),
        an_event(48),
    )


def test_the_file_is_what_spend_says_pending_sums_included(books: Books) -> None:
    question = asked(BERLIN)
    send_some(books)
    pending, told = written(books, question)
    assert total(pending) == spent(books, question) > 0
    assert told.unpriced_events == 1
    assert pending[0]["x_UnpricedEvents"] == "1.0"
    assert sum(Decimal(row["x_RequestCount"] or 0) for row in pending) == 4
    roll(books.org)
    assert written(books, question)[0] == pending
    assert {row["ChargePeriodStart"] for row in pending} == {"2026-10-04T22:00:00Z", "2026-10-05T22:00:00Z"}
    assert {row["BillingPeriodStart"] for row in pending} == {"2026-09-30T22:00:00Z"}
    assert {row["SubAccountName"] for row in pending} == {"Search and ranking", ""}
    assert {row["x_CostBasis"] for row in pending} == {"exact"}


def test_a_booked_month_is_what_spend_says_of_it(books: Books) -> None:
    send_some(books)
    clock = Calendar([(None, "Europe/Berlin")])
    question = SpendQuestion(start=clock.month_start(OCTOBER), end=clock.month_start(date(2026, 11, 1)), basis="booked")
    assert total(written(books, question)[0]) == spent(books, question) > 0


def test_filters_and_exclusions_cut_it(books: Books) -> None:
    send_some(books)
    for cut in (
        {"filters": {"team": "search"}},
        {"filters": {"team": ""}},
        {"excluded": {"team": ("search",)}},
        {"filters": {"provider": "openai"}},
        {"filters": {"environment": "prod"}},
    ):
        question = asked(BERLIN, **cut)
        rows, _ = written(books, question)
        assert total(rows) == spent(books, question) > 0, cut
    assert {row["SubAccountId"] for row in written(books, asked(BERLIN, filters={"team": "search"}))[0]} == {"search"}


def test_a_range_without_calls_has_a_header_alone(books: Books) -> None:
    assert written(books, asked(BERLIN)) == ([], (0, 0))


def test_a_file_holds_one_organization(books: Books) -> None:
    other = Books(org := make_org(), make_api(org))
    accept(other, make_event(occurred_at=(DAY + timedelta(hours=3)).isoformat()))
    assert written(books, asked(BERLIN))[0] == []
    assert {row["BillingAccountId"] for row in written(other, asked())[0]} == {org.slug}


@pytest.mark.parametrize(
    ("question", "code"),
    [
        (asked(DAY), "not_a_day"),
        (SpendQuestion(start=BERLIN, end=BERLIN + timedelta(hours=5)), "not_a_day"),
        (asked(BERLIN, days=0), "range_empty"),
        (asked(BERLIN, filters={"user": "bob"}), "dimension_unknown"),
        (asked(BERLIN, excluded={"tags.customer": ("a",)}), "dimension_unknown"),
        (asked(BERLIN, basis="booked"), "not_a_month"),
        (asked(BERLIN, basis="both"), "basis_unknown"),
    ],
)
def test_what_cannot_be_written_says_why(books: Books, question: SpendQuestion, code: str) -> None:
    with pytest.raises(DomainError) as refused:
        focus_files.write(books.org, question, io.BytesIO())
    assert refused.value.code == code


def test_too_many_rows_are_refused(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    send_some(books)
    monkeypatch.setattr(focus_files, "ROWS_MAX", 3)
    with pytest.raises(DomainError) as refused:
        focus_files.write(books.org, asked(BERLIN), io.BytesIO())
    assert refused.value.code == "too_many_rows"


def test_groups_come_from_a_cursor_of_the_server(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    send_some(books)
    monkeypatch.setattr(focus_sql, "GROUPS_AT_A_TIME", 2)
    rows, _ = written(books, asked(BERLIN))
    assert total(rows) == spent(books, asked(BERLIN))
    with tenant(books.org):
        assert focus_files.extent(books.org, asked(BERLIN)).groups >= 4
