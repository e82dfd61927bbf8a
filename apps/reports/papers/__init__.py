"""The papers of a statement: each a pure function of its document, so that equal documents are equal bytes."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from apps.reports import focus
from apps.reports.document import Document
from apps.reports.focus_statement import rows_of_document
from apps.reports.papers.journal import journal_csv
from apps.reports.papers.pdf import statement_pdf
from apps.reports.papers.rows import statement_csv
from apps.reports.papers.xlsx import journal_xlsx, statement_xlsx

CSV = "text/csv; charset=utf-8"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@dataclass(frozen=True, slots=True)
class Paper:
    """`render` may raise `DomainError` (journals: `rate_missing`)."""

    content_type: str
    render: Callable[[Document], bytes]


def _json(document: Document) -> bytes:
    return document.canonical


def _focus(document: Document) -> bytes:
    out = io.BytesIO()
    focus.write(rows_of_document(document), out)
    return out.getvalue()


# By the end of a file's name.
PAPERS: Mapping[str, Paper] = {
    "pdf": Paper("application/pdf", statement_pdf),
    "xlsx": Paper(XLSX, statement_xlsx),
    "csv": Paper(CSV, statement_csv),
    "json": Paper("application/json", _json),
    "focus.csv": Paper(CSV, _focus),
    "journal.csv": Paper(CSV, journal_csv),
    "journal.xlsx": Paper(XLSX, journal_xlsx),
}
