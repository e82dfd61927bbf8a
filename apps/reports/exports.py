"""Statements as CSV."""

import csv
import io
from collections.abc import Iterable

from apps.core.meters import METERS
from apps.core.money import usd_text
from apps.reports.statements import Statement

COLUMNS = (
    "month", "statement", "status", "kind", "team", "project", "workflow", "provider", "model",
    "contract", "events", "unpriced_events", *METERS, "cost_usd",
)  # fmt: skip
_STARTS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


def statements_csv(statements: Iterable[Statement]) -> str:
    """One row per line of each statement, then a row of kind total for it. An unpriced cost is empty, not 0."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for statement in statements:
        head = (f"{statement.month:%Y-%m}", cell(statement.id), statement.status)
        for line in statement.lines:
            names = (line.team, line.project, line.workflow, line.provider, line.model, line.name)
            meters = (line.sums.meters[meter] for meter in METERS)
            cost = None if line.kind == "unpriced" else usd_text(line.sums.cost_usd)
            writer.writerow(
                [
                    *head,
                    line.kind,
                    *map(cell, names),
                    line.sums.events,
                    line.sums.unpriced_events,
                    *meters,
                    cost,
                ]
            )
        sums = (sum(line.sums.meters[meter] for line in statement.lines) for meter in METERS)
        writer.writerow(
            [
                *head,
                "total",
                cell(statement.team),
                "",
                "",
                "",
                "",
                "",
                statement.events,
                statement.unpriced_events,
                *sums,
                usd_text(statement.total_usd),
            ]
        )
    return out.getvalue()


def cell(text: str | None) -> str:
    """Text that a spreadsheet reads as text: what would start a formula gets an apostrophe in front."""
    if text is None:
        return ""
    return f"'{text}" if text.startswith(_STARTS_A_FORMULA) else text
