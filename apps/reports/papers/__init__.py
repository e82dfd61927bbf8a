"""The papers of a statement: each a pure function of its document, so that equal documents are equal bytes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from apps.reports.document import Document
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


# By the end of a file's name.
PAPERS: Mapping[str, Paper] = {
    "pdf": Paper("application/pdf", statement_pdf),
    "xlsx": Paper(XLSX, statement_xlsx),
    "csv": Paper(CSV, statement_csv),
    "json": Paper("application/json", _json),
    "journal.csv": Paper(CSV, journal_csv),
    "journal.xlsx": Paper(XLSX, journal_xlsx),
}
