"""GitHub Copilot: GET /organizations/{org}/settings/billing/ai_credit/usage of a month or a day. Pure.

Each item is usage at its gross amount, and a credit of what was taken off; where gross less discount is not the net
amount that is billed, the rest is rounding.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from apps.reports.bill_readers.lines import (
    CREDIT,
    ROUNDING,
    USAGE,
    WIDE,
    Bill,
    BillError,
    BillLine,
    amount_of,
    known_day,
    quantity_of,
    row_error,
    text_of,
)
from apps.reports.bill_readers.sources import check_rows, json_of

PROVIDER = "github-copilot"
_AMOUNTS = ("grossAmount", "discountAmount", "netAmount")


def read(body: bytes) -> Bill:
    found = json_of(body)
    period = found.get("timePeriod") if isinstance(found, dict) else None
    items = found.get("usageItems") if isinstance(found, dict) else None
    if not isinstance(period, dict) or not isinstance(items, list):
        detail = 'The file has no "timePeriod" and "usageItems": send the answer of GitHub\'s API as it came.'
        raise BillError("bill_unreadable", detail, param="file")
    first = _first_day(period)
    day = first if period.get("day") else None
    account = text_of(found.get("organization") or found.get("enterprise"), 1, "organization")
    lines = [line for row, item in enumerate(items, 1) for line in _lines(row, item, day, account)]
    return Bill(lines, month=first.replace(day=1))


def _first_day(period: Mapping[str, Any]) -> date:
    year, month, day = period.get("year"), period.get("month"), period.get("day") or 1
    found = known_day(year, month, day)
    if found is None:
        shown = f"{year}-{month}-{day}"
        raise row_error(0, "timePeriod", shown, "Ask GitHub for one month: the answer says year and month.")
    return found


def _lines(row: int, item: Any, day: date | None, account: str) -> Iterator[BillLine]:
    check_rows(row)
    if not isinstance(item, dict):
        raise row_error(row, "usageItems", item, "Each item is an object.")
    gross, discount, net = (amount_of(item.get(name), row, name) for name in _AMOUNTS)
    model, sku = text_of(item.get("model"), row, "model"), text_of(item.get("sku"), row, "sku")
    # The unit is a credit and no meter of ours; the quantity is kept as it is billed.
    credits = item.get("grossQuantity")
    quantity = None if credits is None else quantity_of(credits, row, "grossQuantity")
    for kind, amount, count in (
        (USAGE, gross, quantity),
        (CREDIT, discount.copy_negate(), None),
        (ROUNDING, WIDE.subtract(net, WIDE.subtract(gross, discount)), None),
    ):
        if amount or kind == USAGE:
            yield BillLine(row, day, PROVIDER, account, model, "", count, amount, "USD", kind, sku)
