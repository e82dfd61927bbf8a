"""A statement, and its journal entries, as sheets for people. Pure.

Excel keeps 15 digits of a number: beside each exact amount stands its text. Names are written as text, never as
formulas or links.
"""

import io
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import msgspec
import xlsxwriter  # type: ignore[import-untyped]  # it has no types

from apps.core.meters import METERS
from apps.reports.document import Document
from apps.reports.papers import figures
from apps.reports.papers.figures import KIND_LABELS, Money
from apps.reports.papers.journal import COLUMNS, postings
from apps.reports.papers.layout import facts_of

Value = str | int | Decimal | None
_WIDTH = 18
_WIDE = 32


class _Book:
    """A workbook whose bytes follow from what is in it. The first column, and `wide` ones, are wide."""

    def __init__(self, document: Document) -> None:
        self.out = io.BytesIO()
        self.book = xlsxwriter.Workbook(self.out, {"in_memory": True})
        # Without an instant of its own the book would carry the clock's.
        self.book.set_properties(
            {"title": document.label, "author": "", "created": document.as_of.replace(tzinfo=None)}
        )
        self.bold = self.book.add_format({"bold": True})
        self.total = self.book.add_format({"bold": True, "top": 1})

    def money(self, decimals: int, **more: object) -> Any:
        places = f".{'0' * decimals}" if decimals else ""
        return self.book.add_format({"num_format": f"#,##0{places}", **more})

    def sheet(self, name: str, columns: Sequence[str], wide: Iterable[int] = (0,)) -> Any:
        page = self.book.add_worksheet(name)
        page.set_column(0, len(columns) - 1, _WIDTH)
        for column in wide:
            page.set_column(column, column, _WIDE)
        page.freeze_panes(1, 0)
        write(page, 0, columns, self.bold)
        return page

    def bytes(self) -> bytes:
        self.book.close()
        return self.out.getvalue()


def write(page: Any, row: int, values: Sequence[Value], style: Any = None, first: int = 0) -> None:
    for column, value in enumerate(values, start=first):
        if value is None:
            page.write_blank(row, column, None, style)
        elif isinstance(value, str):
            page.write_string(row, column, value, style)
        else:
            page.write_number(row, column, value, style)


def statement_xlsx(document: Document) -> bytes:
    """Sheets Summary, Lines and Meters."""
    book, money = _Book(document), Money(document)
    _summary(book, money)
    _lines(book, money)
    _meters(book, document)
    return book.bytes()


def _summary(book: _Book, money: Money) -> None:
    page = book.sheet("Summary", ["Statement", money.document.label], wide=(0, 1))
    number = book.money(money.decimals)
    facts = [("Organization", money.document.organization_name), *facts_of(money)]
    for at, fact in enumerate(facts, start=1):
        write(page, at, fact)
    below = len(facts) + 2
    write(page, below, ["Build-up", money.unit], book.bold)
    rows = figures.build_up(money)
    for at, (kind, amount) in enumerate(rows, start=below + 1):
        write(page, at, [KIND_LABELS[kind]])
        write(page, at, [amount], number, first=1)
    below += len(rows) + 1
    write(page, below, ["Total"], book.total)
    write(page, below, [money.total], book.money(money.decimals, bold=True, top=1), first=1)
    for at, known in enumerate(_figures(money.document), start=below + 2):
        write(page, at, known)


def _figures(document: Document) -> list[tuple[str, str | None]]:
    """Exact, as text."""
    summary = document.summary
    return [
        ("Total, exact USD", document.total_usd),
        ("Budget, USD", summary.budget_usd),
        ("Variance, USD", summary.variance_usd),
        ("Variance, % of budget", summary.variance_percent),
        ("Forecast of the month, USD", summary.forecast_usd),
        ("Year to date, USD", summary.year_to_date_usd),
        ("Runs", str(summary.runs)),
        ("Cost per run, USD", summary.cost_per_run_usd),
        ("Successful runs", str(summary.successful_runs)),
        ("Cost per successful run, USD", summary.cost_per_successful_run_usd),
    ]


LINE_COLUMNS = (
    "Kind", "Project", "Workflow", "Provider", "Model", "Name", "Of month", "Driver", "Share", "Source", "Refers to",
    "Calls", "Unpriced calls", *map(figures.meter_words, METERS), "USD, exact",
)  # fmt: skip


def _lines(book: _Book, money: Money) -> None:
    document = money.document
    page = book.sheet("Lines", [*LINE_COLUMNS, money.unit], wide=(0, 1, 2, 4, 5, 7))
    number = book.money(money.decimals)
    at = 0
    for at, line in enumerate(document.lines, start=1):
        texts = (
            figures.ONE[line.kind], line.project, line.workflow, line.provider, line.model, line.name, line.of_month,
            line.driver, line.share, line.source, line.refers_to,
        )  # fmt: skip
        meters = (line.meters.get(meter, 0) for meter in METERS)
        write(page, at, [*texts, line.events, line.unpriced_events, *meters, line.cost_usd or figures.UNPRICED])
        write(page, at, [money.of(line)], number, first=len(LINE_COLUMNS))
    sums = (sum(line.meters.get(meter, 0) for line in document.lines) for meter in METERS)
    counts = (document.events, document.unpriced_events, *sums)
    write(page, at + 1, ["Total", *[None] * 10, *counts, document.total_usd], book.total)
    write(page, at + 1, [money.total], book.money(money.decimals, bold=True, top=1), first=len(LINE_COLUMNS))


def _meters(book: _Book, document: Document) -> None:
    columns = ["Provider", "Model", "Meter", "Quantity", "List price, USD per million", "USD, exact", "USD"]
    page = book.sheet("Meters", columns, wide=(0, 1, 2, 4))
    number = book.money(6)
    for at, row in enumerate(document.by_meter, start=1):
        words = figures.meter_words(row.meter)
        write(page, at, [row.provider, row.model, words, row.quantity, row.list_usd_per_million, row.cost_usd])
        write(page, at, [Decimal(row.cost_usd)], number, first=6)


def journal_xlsx(document: Document) -> bytes:
    """One sheet, Journal. Raises like `postings`."""
    book = _Book(document)
    page = book.sheet("Journal", [name.replace("_", " ").capitalize() for name in COLUMNS], wide=(0, 4, 8))
    number = book.money(document.decimals)
    for at, posting in enumerate(postings(document), start=1):
        write(page, at, msgspec.structs.astuple(posting))
        for name in ("debit", "credit"):
            if amount := getattr(posting, name):
                write(page, at, [Decimal(amount)], number, first=COLUMNS.index(name))
    return book.bytes()
