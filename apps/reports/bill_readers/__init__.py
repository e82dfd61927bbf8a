"""Readers of providers' bills: a file's bytes in, `Bill` out. Pure: no Django, no clock, no network."""

from apps.reports.bill_readers import anthropic_costs, copilot, focus, generic, openai_costs
from apps.reports.bill_readers.generic import Mapped
from apps.reports.bill_readers.lines import BYTES_MAX, KINDS, ROWS_MAX, Bill, BillError, BillLine

__all__ = ["BYTES_MAX", "FORMATS", "KINDS", "ROWS_MAX", "Bill", "BillError", "BillLine", "Mapped", "read_bill"]

# What each is called on pages.
FORMATS = {
    "openai_costs": "OpenAI costs (JSON)",
    "anthropic_cost_report": "Anthropic cost report (JSON)",
    "focus": "FOCUS of a cloud (CSV)",
    "copilot": "GitHub Copilot AI credits (JSON)",
    "csv": "Any other (CSV)",
}


def read_bill(format: str, body: bytes, *, mapped: Mapped | None = None, category: str = focus.CATEGORY) -> Bill:
    """The bill that a file of one of `FORMATS` holds; at least one line.

    `mapped` is needed by csv, `category` is FOCUS's. Raises `BillError`, which names row, column, value and the way
    out: a file is read whole or not at all.
    """
    match format:
        case "openai_costs":
            bill = openai_costs.read(body)
        case "anthropic_cost_report":
            bill = anthropic_costs.read(body)
        case "copilot":
            bill = copilot.read(body)
        case "focus":
            bill = focus.read(body, category=category)
        case "csv":
            bill = generic.read(body, mapped or Mapped())
        case _:
            detail = f"'{format[:64]}' is no format of bills: use {', '.join(FORMATS)}."
            raise BillError("bill_format_unknown", detail, param="format")
    if not bill.lines:
        others = f"; {bill.left_out:,} rows are of other services, which category= takes too" if bill.left_out else ""
        raise BillError("bill_empty", f"The file has no line of a bill{others}.", param="file")
    return bill
