"""The papers of a statement: what stands on them, that it is always the same, and that nobody's name breaks them."""

import hashlib
import io
import os
import subprocess
import sys
from datetime import date
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader

from apps.core.errors import DomainError
from apps.core.meters import METERS
from apps.reports.cells import cell
from apps.reports.document import Document, document_of
from apps.reports.papers import PAPERS, figures
from apps.reports.papers.chart import chart_alt, chart_of
from apps.reports.papers.figures import Money
from apps.reports.papers.journal import postings
from apps.reports.papers.pdf import PDF_LINES_MAX, chart_png
from tests.portal.files import book_of, rows_of
from tests.reports.documents import (
    CURRENCIES,
    HOSTILE_NAMES,
    LONG_NAME,
    SCRIPTS,
    full_document,
    long_document,
    make_document,
    make_line,
    named_document,
    usage_line,
)
from tests.reports.reading import inked_columns, pages_of, rows_of_pixels, size_of, squeezed, stands_in_order

MARGIN_MM = 17


def render(kind: str, document: Document) -> bytes:
    return PAPERS[kind].render(document)


def text_of(document: Document) -> str:
    return "\n".join(pages_of(render("pdf", document)))


def shown(document: Document, amount: Decimal) -> str:
    return f"{amount:,.{document.decimals}f}".replace("-", "\u2212")


# --- always the same ---

_HASHES = """
import django, hashlib
django.setup()
from apps.reports.papers import PAPERS
from apps.reports.papers.pdf import chart_png
from tests.reports.documents import full_document
document = full_document(currency="EUR")
for render in [*(paper.render for paper in PAPERS.values()), chart_png]:
    print(hashlib.sha256(render(document)).hexdigest())
"""


def test_what_was_stored_keeps_its_bytes_and_its_hash_where_a_later_version_would_write_it_otherwise() -> None:
    stored = full_document().canonical.replace(b'{"format":1,', b'{"format":1,"since":"another version", ')
    read = document_of(stored)
    assert (read.canonical, read.sha256) == (stored, hashlib.sha256(stored).hexdigest())
    assert read.sha256.encode() in render("csv", read)


def test_a_pdf_of_too_many_lines_is_refused_and_a_spreadsheet_is_not() -> None:
    document = make_document([usage_line(number) for number in range(PDF_LINES_MAX + 1)])
    with pytest.raises(DomainError, match=r"at most 5,000 lines"):
        render("pdf", document)
    assert len(rows_of(render("csv", document))) > PDF_LINES_MAX


def test_another_process_makes_the_same_bytes() -> None:
    document = full_document(currency="EUR")
    here = [hashlib.sha256(render(kind, document)).hexdigest() for kind in PAPERS]
    here.append(hashlib.sha256(chart_png(document)).hexdigest())
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "finops.settings",
        "PYTHONHASHSEED": "7",
        "TZ": "Asia/Kolkata",
        "LC_ALL": "C",
    }
    there = subprocess.run([sys.executable, "-c", _HASHES], env=environment, capture_output=True, text=True)
    assert there.stdout.split() == here, there.stderr


def test_a_paper_follows_from_the_stored_bytes_alone() -> None:
    document = full_document(currency="KWD")
    stored = msgspec.json.decode(document.canonical, type=Document)
    assert [render(kind, stored) for kind in PAPERS] == [render(kind, document) for kind in PAPERS]
    assert render("json", document) == document.canonical


# --- what stands on it ---


@pytest.mark.parametrize("currency", CURRENCIES)
def test_every_line_stands_on_the_paper_with_its_amount(currency: str) -> None:
    document = full_document(lines=30, currency=currency)
    parts = []
    for line in document.lines:
        if line.kind == "usage":
            parts += [line.workflow or "", line.model, f"{line.events:,}", shown(document, Decimal(line.amount or 0))]
    for line in document.lines:
        if line.kind not in ("usage", "unpriced", "late"):
            parts += [line.name, line.driver, shown(document, Decimal(line.amount or 0))]
    found = text_of(document)
    lines_only = found[found.index("Usage by project and workflow") :]
    assert stands_in_order(lines_only, [part for part in parts if part and not part.startswith("late")]) == []


@pytest.mark.parametrize("currency", CURRENCIES)
def test_the_build_up_adds_up_to_the_total(currency: str) -> None:
    document = full_document(lines=30, currency=currency)
    rows = figures.build_up(Money(document))
    assert sum(amount for _, amount in rows) == Decimal(document.total or 0) == Money(document).total
    said = [part for kind, amount in rows for part in (figures.KIND_LABELS[kind], shown(document, amount))]
    total = shown(document, Decimal(document.total or 0))
    assert stands_in_order(text_of(document), [total, currency, "Build-up", *said, "Total", total]) == []


def test_the_letterhead_says_whose_and_what_it_is() -> None:
    document = full_document(currency="EUR")
    first = pages_of(render("pdf", document))[0]
    assert stands_in_order(first, [
        "Acme GmbH", "Chargeback statement", "CS-000042", "October 2026", "Team Search", "Cost centre CC-4711",
        "1 to 31 October 2026, Europe/Berlin", "Final", "4 November 2026, 06:30 UTC",
        "1 USD = 0.921347 EUR (European Central Bank, reference rate)", document.sha256,
    ]) == []  # fmt: skip
    assert "DRAFT" not in first


def test_the_summary_is_in_the_currency_with_usd_beside_it() -> None:
    first = pages_of(render("pdf", full_document(currency="EUR")))[0]
    assert "18,426.94 EUR\n20,000.00 USD" in first
    over = Decimal(full_document(currency="EUR").total or 0) - Decimal("18426.94")
    assert f"+{over:,.2f} EUR" in first
    assert "0.01137 EUR each" in first
    assert stands_in_order(first, ["Year to date", "USD", "so the year is in USD"]) == []


def test_the_statement_itself_is_attached() -> None:
    document = full_document()
    reader = PdfReader(io.BytesIO(render("pdf", document)))
    assert {name: [bytes(one) for one in held] for name, held in reader.attachments.items()} == {
        "cs-000042-2026-10.json": [document.canonical]
    }
    assert document.sha256 in squeezed(reader.pages[0].extract_text())
    assert (reader.metadata or {})["/CreationDate"] == "D:20261104063000Z"


def test_a_statement_of_one_line_is_one_page_without_empty_sections() -> None:
    (page,) = pages_of(render("pdf", make_document()))
    for title in ("Fees", "Shared cost", "Late", "Unpriced", "Disputes", "Cost by"):
        assert title not in page
    assert "1 of 1" in page


def test_long_tables_have_their_heads_on_every_page() -> None:
    pages = pages_of(render("pdf", full_document(lines=300)))
    assert len(pages) < 12
    for number, page in enumerate(pages, start=1):
        assert f"{number} of {len(pages)}" in page
        assert "CS-000042, October 2026, Search" in page
    for page in pages[1:-2]:
        assert page.startswith("Workflow Model Calls Tokens in Cached Tokens out USD\nproject-")


def test_a_statement_of_nothing_is_a_paper_too() -> None:
    nothing = make_document([make_line("unpriced", None, events=3, unpriced_events=3)])
    nothing = msgspec.structs.replace(nothing, lines=[], by_meter=[], total=None)
    assert stands_in_order(text_of(nothing), ["Total", "No cost", "1 of 1"]) == []
    assert len(rows_of(render("csv", nothing))) == 1
    assert rows_of(render("journal.csv", nothing)) == []
    assert book_of(render("xlsx", nothing))


def test_unpriced_calls_are_shown_and_in_no_sum() -> None:
    document = make_document([make_line("unpriced", None, workflow="rag", model="house-7b", events=120)])
    found = text_of(document)
    assert stands_in_order(found, ["Total unpriced", "Unpriced usage", "in no sum", "rag", "house-7b", "120"]) == []


def test_partly_unpriced_usage_says_so() -> None:
    line = usage_line(1, unpriced_events=7, meters={"images": 12, "input_tokens": 3})
    assert stands_in_order(text_of(make_document([line])), ["12 images", "7 unpriced"]) == []


# --- drafts ---


def test_a_draft_is_marked_on_every_page_and_is_not_signed() -> None:
    draft = full_document(lines=60, number=None, status="in_review")
    pages = pages_of(render("pdf", draft))
    assert len(pages) > 2
    assert all("DRAFT" in page for page in pages)
    assert "In review" in pages[0]
    assert "Signature" not in pages[-1]
    assert "Signature" in text_of(full_document())


def test_without_a_rate_a_draft_is_in_usd_and_says_why() -> None:
    draft = make_document([usage_line(1), usage_line(2)], currency="EUR", has_rate=False)
    found = text_of(draft)
    assert stands_in_order(found, ["USD: EUR has no rate for October 2026 yet", "Total", "2,469.14", "USD"]) == []
    with pytest.raises(DomainError) as refused:
        render("journal.csv", draft)
    assert (refused.value.code, "October 2026" in refused.value.detail) == ("rate_missing", True)
    assert [row["amount"] for row in rows_of(render("csv", draft))] == ["", "", ""]


# --- names ---


def test_hostile_names_are_text_on_every_paper() -> None:
    document = named_document(HOSTILE_NAMES)
    visible = ["".join(map(printed, name)) for name in HOSTILE_NAMES]
    found = text_of(document)
    lines_only = found[found.index("Usage by project and workflow") :]
    assert stands_in_order(lines_only, [part for name in visible for part in (name, f"{name} 1", f"{name} 2")]) == []
    texts = {text for sheet in book_of(render("xlsx", document)) for row in sheet for text in row}
    assert {name for name in HOSTILE_NAMES if name.isprintable()} <= texts
    for row in rows_of(render("csv", document)):
        assert not any(value.startswith(("=", "+", "@", "\t")) for value in row.values())
    assert {row["project"] for row in rows_of(render("csv", document))} >= set(map(cell, HOSTILE_NAMES))


def printed(character: str) -> str:
    """What stands on paper for a character: nothing that has no shape of its own."""
    return "\ufffd" if character in "\u202e\u202c\u009f" else " " if character in "\n\t\u0085" else character


def test_a_name_cannot_turn_around_what_stands_beside_it() -> None:
    assert figures.printable("\u202egnp.exe\u202c") == "\ufffdgnp.exe\ufffd"
    assert figures.printable("a\u2066b\u2069\nc") == "a\ufffdb\ufffd c"
    assert figures.printable("\u200fعربي\u200d") == "\u200fعربي\u200d"


def test_names_in_other_scripts_are_set_in_fonts_that_are_embedded() -> None:
    content = render("pdf", named_document(SCRIPTS))
    found = squeezed("".join(pages_of(content)))
    for name in SCRIPTS:
        if name.isascii() or name[0] in "研Ο연О":
            assert squeezed(name) in found
    # Shaped letters are read back in another order: each of them is there.
    assert set(squeezed(SCRIPTS[0])) <= set(found)
    fonts = [
        font.get_object()["/DescendantFonts"][0].get_object()
        for page in PdfReader(io.BytesIO(content)).pages
        for font in page["/Resources"]["/Font"].values()
    ]
    names = {str(font["/BaseFont"]).partition("+")[2].partition("-")[0] for font in fonts}
    assert names >= {"NotoSans", "NotoSansArabic", "NotoSansCJKtc"}
    assert all({"/FontFile2", "/FontFile3"} & set(font["/FontDescriptor"]) for font in fonts)


@pytest.mark.parametrize("currency", ["USD", "KWD"])
def test_nothing_stands_outside_the_margins(currency: str) -> None:
    wide = usage_line(1, "999999999999.123456789012", meters=dict.fromkeys(METERS, 10**15), events=10**12)
    for document in (long_document(currency), make_document([wide, usage_line(2)], currency=currency)):
        for left, right in inked_columns(document):
            assert left >= MARGIN_MM - 1
            assert right <= 210 - MARGIN_MM + 1


def test_large_counts_leave_room_for_names() -> None:
    wide = usage_line(1, meters={"input_tokens": 10**15, "output_tokens": 10**10 - 1, "images": 12_345 * 10**6})
    found = text_of(make_document([wide]))
    assert stands_in_order(found, ["rounded here", "12.3 B images", "1,000.0 T", "9,999,999,999"]) == []
    assert "rounded here" not in text_of(full_document())


def test_long_names_stand_there_in_full() -> None:
    found = squeezed(text_of(long_document()))
    assert LONG_NAME in found
    assert "長" * 256 in found


@pytest.mark.parametrize("word", ["x" * 21, "a/" * 40, "क्षि" * 30, "e\u0301" * 40, "👩‍👩‍👧" * 12, "a" * 5000])
def test_long_words_can_break_between_letters_only(word: str) -> None:
    pieces = figures.printable(word).split("\u200b")
    assert "".join(pieces) == word
    assert len(pieces) > 1
    assert all(len(piece) <= 24 for piece in pieces)
    assert not any(piece.startswith(("\u0301", "\u200d", "\u094d", "ि")) for piece in pieces)


@settings(max_examples=40)
@given(st.lists(st.text(min_size=1, max_size=256), min_size=1, max_size=3))
def test_whatever_people_write_there_is_a_paper(names: list[str]) -> None:
    document = named_document([name.encode("utf-8", "replace").decode() for name in names])
    assert render("pdf", document).startswith(b"%PDF-")
    assert chart_png(document).startswith(b"\x89PNG") or chart_of(document) is None
    assert len(rows_of(render("csv", document))) == len(document.lines) + 1


# --- sheets and rows ---


def test_the_csv_has_a_row_per_line_and_their_total() -> None:
    document = full_document(currency="JPY")
    *rows, total = rows_of(render("csv", document))
    assert [(row["kind"], row["cost_usd"], row["amount"]) for row in rows] == [
        (line.kind, line.cost_usd or "", line.amount or "") for line in document.lines
    ]
    assert (total["kind"], total["cost_usd"], total["amount"]) == ("total", document.total_usd, document.total)
    assert sum(Decimal(row["amount"] or 0) for row in rows) == Decimal(total["amount"])
    assert sum(int(row["input_tokens"]) for row in rows) == int(total["input_tokens"])
    assert {(row["statement"], row["number"], row["cost_centre"], row["per_usd"], row["sha256"]) for row in rows} == {
        ("2026-10:search", "CS-000042", "CC-4711", "151.2375", document.sha256)
    }


def test_the_sheets_hold_amounts_as_numbers_and_exact_amounts_as_text() -> None:
    document = full_document(currency="KWD")
    summary, lines, meters = book_of(render("xlsx", document))
    said = {row[0]: row[1] for row in summary if len(row) > 1}
    assert said["Statement"] == "CS-000042"
    assert said["Cost centre"] == "CC-4711"
    assert Decimal(said["Total"]) == Decimal(document.total or 0)
    assert said["Total, exact USD"] == document.total_usd
    assert [row[-2:] for row in lines[1:3]] == [[line.cost_usd, line.amount] for line in document.lines[:2]]
    assert lines[-1][0] == "Total"
    assert Decimal(lines[-1][-1]) == Decimal(document.total or 0)
    assert [row[2:4] for row in meters[1:]] == [
        [figures.meter_words(row.meter), str(row.quantity)] for row in document.by_meter
    ]


# --- journal entries ---


@pytest.mark.parametrize("currency", CURRENCIES)
def test_debits_are_credits_and_the_team_bears_the_total(currency: str) -> None:
    document = full_document(currency=currency)
    rows = rows_of(render("journal.csv", document))
    sides = [(Decimal(row["debit"] or 0), Decimal(row["credit"] or 0)) for row in rows]
    assert all(min(pair) == 0 < max(pair) for pair in sides)
    assert sum(debit for debit, _ in sides) == sum(credit for _, credit in sides)
    borne = [Decimal(row["debit"] or 0) - Decimal(row["credit"] or 0) for row in rows if row["account"] == "AI expense"]
    assert sum(borne) == Decimal(document.total or 0)
    for debited, credited in zip(rows[::2], rows[1::2], strict=True):
        assert (debited["entry"], debited["account"]) == (credited["entry"], "AI expense")
        assert (debited["debit"], debited["credit"]) == (credited["credit"], credited["debit"])
        assert (debited["cost_centre"], credited["cost_centre"]) == ("CC-4711", "")
    assert {row["date"] for row in rows} == {"2026-10-31"}
    assert {row["currency"] for row in rows} == {currency}


def test_what_is_negative_swaps_sides_and_what_is_nothing_has_no_entry() -> None:
    lines = [
        make_line("credit", "-5"),
        make_line("seats", "0.001"),
        make_line("shared", "3"),
        make_line("shared", "-3"),
    ]
    found = [(one.kind, one.account, one.debit, one.credit) for one in postings(make_document(lines))]
    assert found == [("credit", "AI expense", "", "5.00"), ("credit", "Central AI clearing", "5.00", "")]


def test_a_team_without_a_cost_centre_leaves_it_to_the_ledger() -> None:
    rows = rows_of(render("journal.csv", make_document(cost_centre=None, team=None, team_name=None)))
    assert {row["cost_centre"] for row in rows} == {""}
    assert "Without a team" in rows[0]["description"]
    assert "Cost centre —" in text_of(make_document(cost_centre=None))


def test_the_journal_as_a_sheet_has_the_same_rows() -> None:
    document = full_document(currency="JPY", cost_centre="=1+1")
    (sheet,) = book_of(render("journal.xlsx", document))
    rows = rows_of(render("journal.csv", document))
    assert len(sheet) == len(rows) + 1
    assert sheet[1][5] == "=1+1"
    assert rows[0]["cost_centre"] == "'=1+1"
    assert [Decimal(row[9] or 0) for row in sheet[1:]] == [Decimal(row["debit"] or 0) for row in rows]


@pytest.mark.parametrize(
    ("month", "last"), [("2026-02", date(2026, 2, 28)), ("2028-02", date(2028, 2, 29)), ("2026-12", date(2026, 12, 31))]
)
def test_entries_are_of_the_last_day_of_the_month(month: str, last: date) -> None:
    assert {one.date for one in postings(make_document(month=month))} == {last.isoformat()}


# --- the chart ---


def test_the_chart_is_of_workflows_and_says_so_in_words() -> None:
    document = make_document([usage_line(1, "30"), usage_line(2, "10"), usage_line(1, "5", model="other")])
    assert (
        chart_alt(document)
        == "Bar chart: cost by workflow of October 2026. workflow-1 35.00 USD; workflow-2 10.00 USD."
    )
    chart = chart_of(document)
    assert chart
    assert [(bar.name, bar.start, bar.length) for bar in chart.bars] == [
        ("workflow-1", 0, 1), ("workflow-2", 0, Decimal("0.285714"))
    ]  # fmt: skip
    assert stands_in_order(text_of(document), ["Cost by workflow, USD", "workflow-1", "35.00"]) == []


def test_the_chart_folds_what_has_no_bar_of_its_own() -> None:
    lines = [usage_line(number, f"{100 - number}") for number in range(11)]
    lines[0] = msgspec.structs.replace(lines[0], workflow="4 others")
    chart = chart_of(make_document(lines))
    assert chart
    assert [(bar.name, bar.amount, bar.length, bar.is_rest) for bar in chart.bars][::7] == [
        ("4 others", "100.00", 1, False), ("4 others", "366.00", 0, True)
    ]  # fmt: skip


def test_with_one_workflow_the_chart_is_of_kinds_and_credits_go_the_other_way() -> None:
    chart = chart_of(make_document([usage_line(1, "30"), make_line("credit", "-10")]))
    assert chart
    assert (chart.title, chart.zero) == ("Cost by kind", 0.25)
    assert [(bar.start, bar.length, bar.is_negative) for bar in chart.bars] == [(0.25, 0.75, False), (0, 0.25, True)]


def test_without_two_of_anything_there_is_no_chart() -> None:
    for lines in ([usage_line()], [usage_line(1, "5"), make_line("late", "-5", workflow="workflow-1")][:1]):
        assert chart_of(make_document(lines)) is None
    nets_to_nothing = [usage_line(n, cost) for n in (1, 2) for cost in ("5", "-5")]
    assert chart_of(make_document(nets_to_nothing)) is None
    assert (chart_png(make_document()), chart_alt(make_document())) == (b"", "")


def test_the_picture_is_600_pixels_wide_on_white() -> None:
    picture = chart_png(full_document(lines=20))
    assert size_of(picture)[0] == 600
    rows = rows_of_pixels(picture)
    assert rows[0] == b"\xff" * 2400
    assert any(bytes.fromhex("0072b2ff") in row for row in rows)
