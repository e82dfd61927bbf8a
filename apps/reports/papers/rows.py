"""A statement as CSV, for programs. Pure."""

import csv
import io
from collections.abc import Iterable, Iterator

from apps.core.meters import METERS
from apps.reports.cells import cell
from apps.reports.document import Document, Line

HEAD = (
    "statement", "number", "sha256", "month", "status", "organization", "team", "team_name", "cost_centre", "currency",
    "per_usd",
)  # fmt: skip
COLUMNS = (
    *HEAD, "kind", "project", "workflow", "provider", "model", "name", "of_month", "driver", "share", "source",
    "refers_to", "events", "unpriced_events", *METERS, "cost_usd", "amount",
)  # fmt: skip


def statement_csv(document: Document) -> bytes:
    """UTF-8 with CRLF: one row per line, then a row of kind `total`.

    Amounts are exact decimals; what has no price is empty. Text that a spreadsheet would take for a formula gets an
    apostrophe in front.
    """
    return statements_csv([document])


def statements_csv(documents: Iterable[Document]) -> bytes:
    """The same, of several statements under one header."""
    return csv_bytes([COLUMNS, *(row for document in documents for row in _rows(document))])


def _rows(document: Document) -> Iterator[list[object]]:
    head = head_of(document)
    for line in document.lines:
        yield [*head, *_line(line)]
    yield [*head, *_total(document)]


def csv_bytes(rows: object) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows(rows)  # type: ignore[arg-type]  # rows of anything with a text
    return out.getvalue().encode()


def head_of(document: Document) -> list[object]:
    """What is the same in every row of a statement."""
    return [
        cell(document.id),
        "" if document.number is None else document.label,
        document.sha256,
        document.month,
        document.status,
        cell(document.organization),
        cell(document.team),
        cell(document.team_name),
        cell(document.cost_centre),
        document.currency,
        document.rate.per_usd if document.rate else "",
    ]


def _line(line: Line) -> list[object]:
    texts = (
        line.project, line.workflow, line.provider, line.model, line.name, line.of_month, line.driver, line.share,
        line.source, line.refers_to,
    )  # fmt: skip
    meters = (line.meters.get(meter, 0) for meter in METERS)
    return [line.kind, *map(cell, texts), line.events, line.unpriced_events, *meters, line.cost_usd, line.amount]


def _total(document: Document) -> list[object]:
    meters = (sum(line.meters.get(meter, 0) for line in document.lines) for meter in METERS)
    return [
        "total",
        *[""] * 10,
        document.events,
        document.unpriced_events,
        *meters,
        document.total_usd,
        document.total,
    ]
