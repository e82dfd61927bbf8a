"""Spend as files: CSV for programs, XLSX for people. Both hold every row that the explorer's table could show."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import IO, Any

import xlsxwriter  # type: ignore[import-untyped]  # it has no types

from apps.core.meters import TOKENS_CACHED, TOKENS_IN, TOKENS_OUT
from apps.core.money import usd_text
from apps.reports.cells import cell
from apps.reports.selectors import SpendRow, Sums, meter_sum

COUNTS = ("events", "unpriced_events", "input_tokens", "cached_tokens", "output_tokens")
HEADINGS = {
    "events": "Events", "unpriced_events": "Unpriced events", "input_tokens": "Tokens in", "cached_tokens": "Cached",
    "output_tokens": "Tokens out", "cost_usd": "USD", "previous_cost_usd": "Before, USD", "change_usd": "Change, USD",
}  # fmt: skip
CONTENT_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a file holds: `about` are facts on the question, `labels` what a person calls values, by dimension.

    `before` is the total of the period that is compared with; None without one.
    """

    about: Sequence[tuple[str, str]]
    group_by: Sequence[str]
    labels: Mapping[str, Mapping[str, str]]
    rows: Iterable[SpendRow]
    total: Sums
    before: Sums | None

    @property
    def amounts(self) -> tuple[str, ...]:
        return ("cost_usd", "previous_cost_usd", "change_usd") if self.before else ("cost_usd",)

    def names(self, row: SpendRow) -> list[str | None]:
        pairs = zip(self.group_by, row.groups, strict=True)
        return [self.labels.get(name, {}).get(value, value) if value else value for name, value in pairs]


def write(sheet: Sheet, kind: str, out: IO[bytes]) -> None:
    if kind == "xlsx":
        _write_xlsx(sheet, out)
    else:
        _write_csv(sheet, out)


def _write_csv(sheet: Sheet, out: IO[bytes]) -> None:
    """UTF-8, CRLF, a header. Amounts are exact decimals; what is unpriced is empty. No total: it is yours to add."""
    text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([*map(cell, sheet.group_by), *COUNTS, *sheet.amounts])
    for row in sheet.rows:
        amounts = (usd_text(usd) for usd in _amounts(row.sums, row.before))
        writer.writerow([*map(cell, sheet.names(row)), *_counts(row.sums), *amounts])
    text.detach()


def _write_xlsx(sheet: Sheet, out: IO[bytes]) -> None:
    """A sheet of rows with their total, and one about them.

    Excel keeps 15 digits of a number: beside each amount stands its exact text. Names are written as text, never as
    formulas.
    """
    book = xlsxwriter.Workbook(out, {"constant_memory": True, "in_memory": False})
    bold, money = book.add_format({"bold": True}), book.add_format({"num_format": "#,##0.00####"})
    totals = {"bold": True, "top": 1}
    page = book.add_worksheet("Spend")
    page.freeze_panes(1, 0)
    page.set_column(0, len(sheet.group_by) - 1, 24)
    page.set_column(len(sheet.group_by), len(sheet.group_by) + len(COUNTS) + 2 * len(sheet.amounts), 16)
    amounts = [title for name in sheet.amounts for title in (HEADINGS[name], f"{HEADINGS[name]}, exact")]
    headings = [*sheet.group_by, *(HEADINGS[name] for name in COUNTS), *amounts]
    for column, heading in enumerate(headings):
        page.write_string(0, column, heading, bold)
    at = 0
    for at, row in enumerate(sheet.rows, start=1):
        _write_row(page, at, sheet.names(row), row.sums, row.before, None, money)
    page.autofilter(0, 0, max(at, 1), len(headings) - 1)
    names = ["Total", *[None] * (len(sheet.group_by) - 1)]
    total = book.add_format(totals), book.add_format({**totals, "num_format": "#,##0.00####"})
    _write_row(page, at + 1, names, sheet.total, sheet.before, *total)
    _write_about(book, sheet.about, bold)
    book.close()


def _write_row(
    page: Any, at: int, names: Sequence[str | None], sums: Sums, before: Sums | None, plain: Any, money: Any
) -> None:
    for column, name in enumerate(names):
        page.write_string(at, column, name or "", plain)
    column = len(names)
    for count in _counts(sums):
        page.write_number(at, column, count, plain)
        column += 1
    for usd in _amounts(sums, before):
        if usd is None:
            page.write_string(at, column, "", plain)
        else:
            page.write_number(at, column, usd, money)
        page.write_string(at, column + 1, usd_text(usd) or "unpriced", plain)
        column += 2


def _write_about(book: Any, about: Sequence[tuple[str, str]], bold: Any) -> None:
    page = book.add_worksheet("About")
    page.set_column(0, 0, 24)
    page.set_column(1, 1, 64)
    for at, (name, text) in enumerate(about):
        page.write_string(at, 0, name, bold)
        page.write_string(at, 1, text)


def _counts(sums: Sums) -> tuple[int, ...]:
    tokens = (meter_sum(sums, meters) for meters in (TOKENS_IN, TOKENS_CACHED, TOKENS_OUT))
    return (sums.events, sums.unpriced_events, *tokens)


def _amounts(sums: Sums, before: Sums | None) -> tuple[Decimal | None, ...]:
    if before is None:
        return (sums.cost_usd,)
    both = sums.cost_usd, before.cost_usd
    change = None if both[0] is None or both[1] is None else both[0] - both[1]
    return (*both, change)
