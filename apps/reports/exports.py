"""Statements as CSV."""

import csv
import io
from collections.abc import Iterable

from apps.core.meters import METERS
from apps.reports.document import Document

COLUMNS = (
    "month", "statement", "status", "kind", "team", "project", "workflow", "provider", "model",
    "contract", "events", "unpriced_events", *METERS, "cost_usd",
)  # fmt: skip
_STARTS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


def statements_csv(statements: Iterable[Document]) -> str:
    """One row per line of each statement, then a row of kind total for it. An unpriced cost is empty, not 0."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for statement in statements:
        head = (statement.month, cell(statement.id), statement.status)
        for line in statement.lines:
            names = (line.team, line.project, line.workflow, line.provider, line.model, line.name)
            meters = (line.meters.get(meter, 0) for meter in METERS)
            row = [*head, line.kind, *map(cell, names), line.events, line.unpriced_events, *meters, line.cost_usd]
            writer.writerow(row)
        sums = (sum(line.meters.get(meter, 0) for line in statement.lines) for meter in METERS)
        counts = (statement.events, statement.unpriced_events, *sums, statement.total_usd)
        writer.writerow([*head, "total", cell(statement.team), *[""] * 5, *counts])
    return out.getvalue()


def cell(text: str | None) -> str:
    """Text that a spreadsheet reads as text: what would start a formula gets an apostrophe in front."""
    if text is None:
        return ""
    return f"'{text}" if text.startswith(_STARTS_A_FORMULA) else text
