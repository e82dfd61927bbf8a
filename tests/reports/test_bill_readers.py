"""Every format of bills, as it comes and broken."""

import gzip
import json
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.reports.bill_readers import Bill, BillError, BillLine, Mapped, read_bill
from apps.reports.bill_readers.generic import first_rows, mapped_of
from apps.reports.bill_readers.lines import BYTES_MAX, ROWS_MAX
from apps.reports.bill_readers.words import meter_of, provider_of, units_of

FILES = Path(__file__).parent / "bills"
SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "focus_1_0_sample.csv.gz"
GERMAN = Mapped(
    day="Datum", provider="=OpenAI", model="Modell", meter="Art", quantity="Menge", unit="Einheit", amount="Betrag",
    currency="=eur", kind="Typ", day_order="dmy", decimal_mark=",",
)  # fmt: skip


def read(format: str, name: str, **options: Any) -> Bill:
    return read_bill(format, (FILES / name).read_bytes(), **options)


def short(lines: Any) -> list[tuple[Any, ...]]:
    return [(line.row, line.model, line.meter, line.quantity, str(line.amount), line.kind) for line in lines]


def test_openai_costs_of_several_pages() -> None:
    bill = read("openai_costs", "openai_costs.json")
    assert short(bill.lines) == [
        (1, "gpt-4o-2024-08-06", "input_tokens", 40000, "0.1", "usage"),
        (2, "gpt-4o-2024-08-06", "cache_read_tokens", None, "0.000030000000000000004", "usage"),
        (3, "gpt-4o-2024-08-06", "output_tokens", 20000, "0.2", "usage"),
        (4, "", "searches", 2, "0.05", "usage"),
        (5, "text-embedding-3-small", "", None, "1", "usage"),
        (6, "", "", None, "0.3", "usage"),
    ]
    first, last = bill.lines[0], bill.lines[-1]
    assert (first.day, first.account, first.currency, first.provider) == (
        date(2026, 11, 1), "proj_search", "USD", "openai",
    )  # fmt: skip
    assert (last.day, last.account) == (date(2026, 11, 2), "")


def test_anthropic_amounts_are_cents() -> None:
    bill = read("anthropic_cost_report", "anthropic_cost_report.json")
    assert short(bill.lines) == [
        (1, "claude-sonnet-4-5", "input_tokens", None, "1.2378912", "usage"),
        (2, "claude-sonnet-4-5", "cache_write_1h_tokens", None, "0.50", "usage"),
        (3, "", "code_sessions", None, "0.0500", "usage"),
        (4, "", "", None, "0.0700", "other"),
    ]
    assert bill.lines[0].day == date(2026, 11, 1)
    assert (bill.lines[0].account, bill.lines[1].account) == ("wrkspc_01", "")


def test_copilot_shows_the_discount_and_adds_up_to_the_net_amount() -> None:
    bill = read("copilot", "copilot.json")
    assert [(line.kind, line.amount) for line in bill.lines] == [
        ("usage", Decimal(10)),
        ("credit", Decimal("-2.5")),
        ("rounding", Decimal("0.01")),
    ]
    assert (bill.month, bill.lines[0].day, bill.lines[0].account) == (date(2026, 11, 1), None, "octo-org")
    assert sum(line.amount for line in bill.lines) == Decimal("7.51")


def test_focus_takes_ai_rows_and_tolerates_nulls() -> None:
    bill = read("focus", "focus.csv")
    assert short(bill.lines) == [
        (1, "claude-sonnet-4-5", "input_tokens", 500_000, "1.50", "usage"),
        (2, "claude-sonnet-4-5", "cache_write_5m_tokens", 2_000_001, "7.50", "usage"),
        (3, "", "", None, "-1.00", "credit"),
        (4, "", "", None, "0.70", "tax"),
    ]
    assert (bill.month, bill.number, bill.left_out) == (date(2026, 11, 1), "INV-7", 1)
    assert [line.day for line in bill.lines] == [date(2026, 11, 5), date(2026, 11, 5), None, None]
    assert {line.provider for line in bill.lines} == {"aws"}
    assert [line.account for line in bill.lines] == ["team-42", "org-1", "org-1", "org-1"]
    whole = read("focus", "focus.csv", category="")
    assert (len(whole.lines), whole.left_out) == (5, 0)
    assert read_bill("focus", gzip.compress((FILES / "focus.csv").read_bytes())) == bill


@pytest.mark.skipif(not SAMPLE.exists(), reason="no real FOCUS bill lies beside the project")
def test_a_real_focus_bill() -> None:
    body = SAMPLE.read_bytes()
    bill = read_bill("focus", body, category="")
    assert len(bill.lines) == 600
    assert sum(line.amount for line in bill.lines) == Decimal("11.20318661528")
    assert {line.provider for line in bill.lines} == {"aws", "azure", "oracle"}
    assert read_bill("focus", body).left_out == 596


def test_any_csv_by_a_mapping() -> None:
    bill = read("csv", "generic.csv", mapped=GERMAN)
    assert short(bill.lines) == [
        (1, "gpt-5", "input_tokens", 1_500_000, "1234.56", "usage"),
        (2, "gpt-5", "output_tokens", 2_000_000, "-0.06", "credit"),
        (3, "", "", None, "19.00", "tax"),
    ]
    assert [line.day for line in bill.lines] == [date(2026, 11, 5), date(2026, 11, 6), None]
    assert {(line.provider, line.currency) for line in bill.lines} == {("openai", "EUR")}


def test_the_first_rows_of_a_csv() -> None:
    header, rows = first_rows((FILES / "generic.csv").read_bytes())
    assert header[0] == "Datum"
    assert [row[0] for row in rows] == ["05.11.2026", "06.11.2026", ""]


def page(**result: Any) -> bytes:
    result = {"amount": {"value": 1, "currency": "usd"}, "line_item": "gpt-5, input", **result}
    return json.dumps({"data": [{"start_time": 1793491200, "results": [result]}]}).encode()


FOCUS_ROW = {"BilledCost": "1", "BillingCurrency": "USD", "ChargeCategory": "Usage",
             "ChargePeriodStart": "2026-11-01", "ProviderName": "AWS"}  # fmt: skip


def focus(**cells: str) -> bytes:
    row = {**FOCUS_ROW, **cells}
    return f"{','.join(row)}\n{','.join(row.values())}\n".encode()


@pytest.mark.parametrize(
    ("format", "body", "code", "says"),
    [
        ("pdf", b"", "bill_format_unknown", "'pdf' is no format"),
        ("openai_costs", b"{", "bill_unreadable", "not JSON"),
        ("openai_costs", b"[" * 100_000, "bill_unreadable", "not JSON"),
        ("openai_costs", b"{}", "bill_unreadable", 'no "data"'),
        ("openai_costs", b"[]", "bill_unreadable", 'no "data"'),
        ("openai_costs", b'{"data": [7]}', "bill_unreadable", 'no "results"'),
        ("openai_costs", b'{"data": [{"results": [7]}]}', "bill_unreadable", "Row 1"),
        ("openai_costs", b'{"data": [], "has_more": true}', "bill_incomplete", "fetch the pages after it"),
        ("openai_costs", b'{"data": []}', "bill_empty", "no line"),
        ("openai_costs", page(amount=7), "bill_row_invalid", "Row 1, amount: '7'"),
        ("openai_costs", page(amount={"value": True}), "bill_row_invalid", "amount.value: 'True'"),
        ("openai_costs", page(amount={"value": "1_000"}), "bill_row_invalid", "amount.value: '1_000'"),
        ("openai_costs", page(amount={"value": 1e300}), "bill_row_invalid", "below"),
        ("openai_costs", page(amount={"value": 1, "currency": "dollars"}), "bill_row_invalid", "three letters"),
        ("openai_costs", page(line_item="a\0b"), "bill_row_invalid", "printable"),
        ("openai_costs", page(project_id="x" * 300), "bill_row_invalid", "256"),
        ("openai_costs", page(quantity=-1e30), "bill_row_invalid", "quantity"),
        ("openai_costs", b'{"data": [1e9999999999999999999]}', "bill_unreadable", "1e9999999999999999999 is no number"),
        ("anthropic_cost_report", b'{"data": [{"results": [{"amount": 1.5}]}]}', "bill_row_invalid", "text in cents"),
        ("copilot", b"[]", "bill_unreadable", "timePeriod"),
        ("copilot", b'{"timePeriod": {"year": 2026, "month": 13}, "usageItems": []}', "bill_row_invalid", "2026-13"),
        ("copilot", b'{"timePeriod": {"year": 2026, "month": 1}, "usageItems": [7]}', "bill_row_invalid", "Row 1"),
        ("copilot", b'{"timePeriod": {"year": 1, "month": 1}, "usageItems": []}', "bill_row_invalid", "'1-1-1'"),
        ("copilot", b'{"timePeriod": {"year": %d, "month": 1}, "usageItems": []}' % 10**99, "bill_row_invalid", "'10"),
        ("openai_costs", page(project_id="\ud800"), "bill_row_invalid", "project_id: '?'"),
        ("focus", b"\xff\xfe", "bill_unreadable", "UTF-8"),
        ("focus", b"a,b\n1,2\n", "bill_column_missing", "BilledCost"),
        ("focus", focus(BilledCost=""), "bill_row_invalid", "BilledCost: nothing"),
        ("focus", focus(BilledCost="1e5000"), "bill_row_invalid", "below"),
        ("focus", focus(ChargeCategory="Gift"), "bill_row_invalid", "ChargeCategory: 'Gift'"),
        ("focus", focus(ChargePeriodStart="11/01/2026"), "bill_row_invalid", "Write a day"),
        ("focus", focus(ChargePeriodStart="0001-01-01T00:00:00+09:00"), "bill_row_invalid", "Write a day"),
        ("focus", focus(ProviderName=""), "bill_row_invalid", "ProviderName: nothing"),
        ("focus", focus(ServiceCategory="Compute"), "bill_empty", "1 rows are of other services"),
        ("focus", focus() + b"1,2\n", "bill_unreadable", "Row 2 has 2 cells"),
        ("focus", b"\x1f\x8bnonsense", "bill_unreadable", "gzip"),
        ("focus", gzip.compress(focus(), mtime=0)[:-9], "bill_unreadable", "gzip"),
        ("csv", b"a,b\n1,2\n", "mapping_invalid", "provider"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_by_row_column_and_value(format: str, body: bytes, code: str, says: str) -> None:
    with pytest.raises(BillError) as refused:
        read_bill(format, body)
    assert refused.value.code == code
    assert says in refused.value.detail


def test_what_a_focus_file_says_beside_its_columns_is_left_out_where_it_cannot_be_read() -> None:
    details = focus(SkuPriceDetails='{"ModelId": 1e9999999999999999999}')
    units = focus(ConsumedQuantity="5", ConsumedUnit="9" * 5000 + " tokens")
    for body in (details, units):
        (line,) = read_bill("focus", body).lines
        assert (line.model, line.quantity, line.amount) == ("", None, 1)


def test_a_gzip_file_of_many_members_is_read_once() -> None:
    body = b"".join(gzip.compress(bytes([byte]) if byte else b"") for byte in [*focus(), *[0] * 100_000])
    assert read_bill("focus", body) == read_bill("focus", focus())


@pytest.mark.parametrize(
    ("mark", "text", "amount"),
    [
        (".", "12.50", "12.50"), (".", "1,234.50", "1234.50"), (".", "1,00,000", "100000"), (".", "($1,234)", "-1234"),
        (",", "12,50", "12.50"), (",", "-1.234,50", "-1234.50"), (",", "1 234,5", "1234.5"),
        (".", "12,50", None), (".", "1.234,50", None), (".", "1,2345", None), (",", "12.50", None),
        (",", "1,234.5", None),
    ],
)  # fmt: skip
def test_thousands_are_told_from_the_other_decimal_mark(mark: str, text: str, amount: str | None) -> None:
    mapped = Mapped(provider="=x", amount="a", currency="=usd", decimal_mark=mark)
    body = f"a;b\n{text};1\n".encode()
    if amount is None:
        with pytest.raises(BillError, match=r"decimals stand behind"):
            read_bill("csv", body, mapped=mapped)
    else:
        (line,) = read_bill("csv", body, mapped=mapped).lines
        assert line.amount == Decimal(amount)


@pytest.mark.parametrize("day", ["01.01.0001", "31.12.1979", "01.01.2200", "31.12.9999", "31.02.2026"])
def test_a_day_is_of_a_month_that_is_kept(day: str) -> None:
    mapped = Mapped(day="a", provider="=x", amount="b", currency="=usd", day_order="dmy")
    with pytest.raises(BillError, match=f"Row 1, a: '{day}'. There is no such day"):
        read_bill("csv", f"a,b\n{day},1\n".encode(), mapped=mapped)


def test_a_file_has_limits() -> None:
    bomb = gzip.compress(b"," * (BYTES_MAX + 1))
    assert len(bomb) < 100_000
    many = b"a,b\n" + b"1,2\n" * (ROWS_MAX + 1)
    mapped = Mapped(provider="=x", amount="a", currency="=usd")
    for body in (bomb, b"," * (BYTES_MAX + 1), many):
        with pytest.raises(BillError) as refused:
            read_bill("csv", body, mapped=mapped)
        assert refused.value.code == "bill_too_large"


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        ({"amount": "Summe"}, "bill_column_missing", "amount"),
        ({"amount": ""}, "mapping_invalid", "amount"),
        ({"currency": ""}, "mapping_invalid", "currency"),
        ({"day_order": "ydm"}, "mapping_invalid", "day_order"),
        ({"decimal_mark": ";"}, "mapping_invalid", "decimal_mark"),
        ({"currency": "=euro"}, "bill_row_invalid", "file"),
        ({"day_order": "ymd"}, "bill_row_invalid", "file"),
        ({"day_order": "mdy", "day": "Menge"}, "bill_row_invalid", "file"),
    ],
)
def test_a_mapping_that_does_not_fit(changes: dict[str, str], code: str, param: str) -> None:
    with pytest.raises(BillError) as refused:
        read("csv", "generic.csv", mapped=replace(GERMAN, **changes))
    assert (refused.value.code, refused.value.param) == (code, param)


def test_a_mapping_is_made_of_its_fields_alone() -> None:
    assert mapped_of(GERMAN.as_json) == GERMAN
    for wrong in ({"amounts": "a"}, {"amount": 7}, {"amount": "x" * 201}):
        with pytest.raises(BillError):
            mapped_of(wrong)


@pytest.mark.parametrize(
    ("text", "units"),
    [("Tokens", 1), ("1000000 Tokens", 10**6), ("1M tokens", 10**6), ("1K tokens", 1000), ("million tokens", 10**6),
     ("1,000 requests", 1000), ("minutes", 60_000), ("searches", 1), ("ai-credits", None), ("", None), ("GB", None)],
)  # fmt: skip
def test_units(text: str, units: int | None) -> None:
    assert units_of(text) == units


def test_meters_and_providers() -> None:
    assert meter_of("Cache Read Input Tokens") == "cache_read_tokens"
    assert meter_of("cache_creation.ephemeral_5m_input_tokens") == "cache_write_5m_tokens"
    assert meter_of("searches") == meter_of("web search") == "searches"
    assert meter_of("reasoning_tokens") == "reasoning_tokens"
    assert meter_of("coffee") == ""
    assert [provider_of(name) for name in ("AWS", "Microsoft", "Google Cloud", "Azure OpenAI", "Oracle")] == [
        "aws", "azure", "google", "azure", "oracle",
    ]  # fmt: skip


@given(st.binary(max_size=300), st.sampled_from(["openai_costs", "anthropic_cost_report", "copilot", "focus", "csv"]))
def test_whatever_comes_is_read_or_refused(body: bytes, format: str) -> None:
    try:
        bill = read_bill(format, body, mapped=Mapped(provider="=x", amount="=1", currency="=usd"))
    except BillError:
        return
    assert all(isinstance(line, BillLine) for line in bill.lines)
