"""A statement as FOCUS: every line is there, and the sums are those of the statement."""

import io
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from apps.reports import focus
from apps.reports.document import KINDS, Document, Line, MeterCost, Rate, Summary, usd
from apps.reports.focus_statement import rows_of_document
from tests.reports.focus_rows import Row, read, total

CLAUDE = {"provider": "anthropic", "model": "claude"}


def line(kind: str, cost_usd: str | None, **fields: Any) -> Line:
    return Line(**{"kind": kind, "team": "search", "cost_usd": cost_usd, "amount": "1.00", **fields})


LINES = (
    line("usage", "0.004500000000", project="checkout", workflow="bot", events=3, **CLAUDE,
         meters={"input_tokens": 1_000, "output_tokens": 100}),
    line("unpriced", None, amount=None, provider="own", model="new", events=2, meters={"input_tokens": 4}),
    line("late", "0.003000000000", of_month="2026-09", events=1, meters={"input_tokens": 1_000}, **CLAUDE),
    line("late", "-0.000000000007", of_month="2026-09", **CLAUDE),
    line("throughput", "100.000000000000", name="PTU", source="contract:7", driver="tokens", share="0.8"),
    line("throughput_idle", "25.000000000000", name="PTU", source="contract:7"),
    line("seats", "30.000000000000", name="Assistants", source="contract:8"),
    line("grant", "-0.001000000000", name="Trial", source="contract:9"),
    line("credit", "-10.000000000000", name="Prepaid", source="contract:10"),
    line("shared", "5.000000000000", name="Gateway", source="pool:3", driver="tokens 3 of 10", share="0.3"),
    line("shared", "-5.000000000000", name="Platform", source="pool:4", driver="tokens"),
    line("adjustment", "-2.000000000000", name="Agreed", source="adjustment:1"),
    line("credit_note", "-1.000000000000", name="Agreed", source="adjustment:2", of_month="2026-09"),
    line("dispute", "-1.000000000000", name="Moved", source="adjustment:3"),
    line("true_up", "0.500000000000", name="Bill", source="adjustment:4", provider="anthropic"),
    line("exchange", "0.010000000000", name="Rate", source="adjustment:5"),
    line("tax", "1.900000000000", name="VAT", source="adjustment:6"),
)  # fmt: skip
METER_COSTS = (
    MeterCost("anthropic", "claude", "input_tokens", 2_000, "0.006000000000", "3.000000"),
    MeterCost("anthropic", "claude", "output_tokens", 100, "0.001500000000", "15.000000"),
)


def document(lines: tuple[Line, ...] = LINES, number: int | None = 12, **fields: Any) -> Document:
    return Document(
        **{
            "format": 1, "id": "2026-10:search", "number": number, "organization": "acme", "organization_name": "Acme",
            "month": "2026-10", "timezone": "Europe/Berlin", "period_start": datetime(2026, 9, 30, 22, tzinfo=UTC),
            "period_end": datetime(2026, 10, 31, 23, tzinfo=UTC), "team": "search", "team_name": "Search and ranking",
            "cost_centre": None, "status": "draft" if number is None else "final", "currency": "EUR", "decimals": 2,
            "rate": Rate("0.9", "central bank"), "as_of": datetime(2026, 11, 5, tzinfo=UTC),
            "events": sum(one.events for one in lines), "unpriced_events": 2, "usage_usd": "0", "fees_usd": "0",
            "credits_usd": "0", "shared_usd": "0", "adjustments_usd": "0",
            "total_usd": str(sum(usd(one.cost_usd) for one in lines)),
            "total": str(sum(Decimal(one.amount) for one in lines if one.amount)), "summary": Summary(),
            "lines": list(lines), "by_meter": list(METER_COSTS), "disputes": [], **fields,
        }
    )  # fmt: skip


def rows_of(found: Document) -> list[Row]:
    out = io.BytesIO()
    focus.write(rows_of_document(found), out)
    return read(out.getvalue())


def test_the_sums_are_those_of_the_statement() -> None:
    found = document()
    rows = rows_of(found)
    assert total(rows) == total(rows, "BilledCost") == usd(found.total_usd)
    assert total(rows, "x_Amount") == usd(found.total)
    assert {row["x_LineKind"] for row in rows} == set(KINDS) - {"unpriced", "unattributed"}


def test_usage_is_by_meter_at_the_rates_of_the_statement() -> None:
    first, second = rows_of(document())[:2]
    assert (first["SkuMeter"], first["EffectiveCost"], first["ListUnitPrice"]) == (
        "Input Tokens", "0.003000000000", "3.000000",
    )  # fmt: skip
    assert (second["SkuMeter"], second["EffectiveCost"], second["x_CostBasis"]) == (
        "Output Tokens", "0.001500000000", "exact",
    )  # fmt: skip
    assert [row["x_RequestCount"] for row in (first, second)] == ["3.0", ""]
    assert (first["x_UnpricedEvents"], first["InvoiceId"], first["InvoiceDetailId"]) == (
        "2.0",
        "CS-000012",
        "CS-000012:1",
    )
    assert (first["ProviderName"], first["InvoiceIssuerName"], first["PublisherName"]) == ("Acme", "Acme", "Anthropic")
    assert (first["SubAccountName"], first["ResourceId"]) == ("Search and ranking", "checkout/bot")


def test_a_draft_has_no_invoice() -> None:
    assert {(row["InvoiceId"], row["InvoiceDetailId"]) for row in rows_of(document(number=None))} == {("", "")}


def test_what_an_earlier_month_is_about_is_a_correction_of_it() -> None:
    late = [row for row in rows_of(document()) if row["x_LineKind"] in ("late", "credit_note")]
    assert {(row["ChargeClass"], row["ChargePeriodStart"]) for row in late} == {("Correction", "2026-08-31T22:00:00Z")}
    assert {row["BillingPeriodStart"] for row in late} == {"2026-09-30T22:00:00Z"}


def test_a_fee_is_billed_once_and_used_once() -> None:
    bought, used = (row for row in rows_of(document()) if row["x_LineKind"] == "seats")
    assert (bought["ChargeCategory"], bought["BilledCost"], bought["EffectiveCost"]) == (
        "Purchase", "30.000000000000", "0.000000000000",
    )  # fmt: skip
    assert (used["ChargeCategory"], used["BilledCost"], used["EffectiveCost"]) == (
        "Usage", "0.000000000000", "30.000000000000",
    )  # fmt: skip
    assert (bought["x_Amount"], used["x_Amount"]) == ("1.00", "")


def test_each_kind_has_its_category() -> None:
    categories = {row["x_LineKind"]: row["ChargeCategory"] for row in rows_of(document())}
    assert categories == {
        "usage": "Usage", "late": "Usage", "throughput": "Usage", "throughput_idle": "Usage", "seats": "Usage",
        "grant": "Credit", "credit": "Credit", "credit_note": "Credit", "tax": "Tax",
        **dict.fromkeys(("shared", "adjustment", "dispute", "true_up", "exchange"), "Adjustment"),
    }  # fmt: skip


def test_a_share_says_by_what_it_was_given() -> None:
    given_, taken = (row for row in rows_of(document()) if row["x_LineKind"] == "shared")
    assert given_["AllocatedMethodId"] == "pool:3"
    assert given_["AllocatedMethodDetails"] == '{"driver": "tokens 3 of 10", "share": "0.3"}'
    assert (taken["EffectiveCost"], taken["ChargeDescription"]) == ("-5.000000000000", "Platform: tokens")


def test_an_amount_without_decimals_has_a_point_all_the_same() -> None:
    found = document((line("adjustment", "1.000000000000", amount="150"),), currency="JPY", decimals=0)
    assert [row["x_Amount"] for row in rows_of(found)] == ["150.0"]


pico = st.integers(-(10**18), 10**18).map(lambda cost: f"{Decimal(cost).scaleb(-12):f}")
kinds = st.sampled_from([kind for kind in KINDS if kind != "unpriced"])
used = st.dictionaries(st.sampled_from(["input_tokens", "output_tokens", "images"]), st.integers(-(10**9), 10**9))


@given(st.lists(st.builds(lambda kind, cost, meters: line(kind, cost, meters=meters, **CLAUDE), kinds, pico, used)))
def test_any_lines_add_up(lines: list[Line]) -> None:
    found = document(tuple(lines))
    rows = rows_of(found)
    assert total(rows) == total(rows, "BilledCost") == usd(found.total_usd)
