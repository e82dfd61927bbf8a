"""The audit log as CSV and as NDJSON, entry by entry."""

import csv
import io
import json
from collections.abc import Callable, Iterable
from typing import Any

from apps.audit.models import AuditEntry
from apps.reports.cells import cell

COLUMNS = ("sequence", "at", "actor", "action", "subject", "data", "previous_hash", "hash")


def entry_json(entry: AuditEntry) -> dict[str, Any]:
    """The entry with all that its hash is made of; `at` is spelled as it was hashed."""
    return {
        "organization_id": entry.organization_id,
        "sequence": entry.sequence,
        "at": entry.at.isoformat(),
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "data": entry.data,
        "previous_hash": bytes(entry.previous_hash).hex(),
        "hash": bytes(entry.hash).hex(),
    }


def ndjson_lines(entries: Iterable[AuditEntry]) -> str:
    return "".join(json.dumps(entry_json(entry), ensure_ascii=False) + "\n" for entry in entries)


def csv_rows(entries: Iterable[AuditEntry]) -> str:
    """For people: texts that a spreadsheet would run have an apostrophe in front, so it is NDJSON that verifies."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    for entry in entries:
        shown = entry_json(entry)
        shown["data"] = json.dumps(entry.data, sort_keys=True, ensure_ascii=False) if entry.data else ""
        writer.writerow([cell(str(shown[name])) for name in COLUMNS])
    return out.getvalue()


CSV_HEADER = ",".join(COLUMNS) + "\r\n"
# By the ending of the file: what comes first, how entries are written, the type.
FORMATS: dict[str, tuple[str, Callable[[Iterable[AuditEntry]], str], str]] = {
    "csv": (CSV_HEADER, csv_rows, "text/csv; charset=utf-8"),
    "ndjson": ("", ndjson_lines, "application/x-ndjson; charset=utf-8"),
}
