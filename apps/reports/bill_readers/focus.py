"""FOCUS 1.0 to 1.2 as AWS, Azure, Google and others export it: CSV, gzip or not. Pure.

Nulls are empty or NULL. The columns that make a line are `NEEDED`; any other may be null or missing, as the published
gaps of exports are. Custom columns (x_) are ignored. A model is named by ModelId in SkuPriceDetails alone: nothing else
of 1.2 names one, and a line without one is compared with the provider as a whole. Rows of a service category that was
not asked for are left out and counted: a cloud's bill is mostly of other things.
"""

import json
from collections.abc import Mapping
from datetime import date
from typing import Any

from apps.reports.bill_readers.lines import (
    CREDIT,
    FEE,
    OTHER,
    TAX,
    USAGE,
    Bill,
    BillError,
    BillLine,
    amount_of,
    currency_of,
    day_of,
    one_of,
    quantity_of,
    row_error,
    shortened,
    text_of,
)
from apps.reports.bill_readers.sources import exact_number, rows, text_of_file
from apps.reports.bill_readers.words import meter_of, provider_of, units_of

NEEDED = ("BilledCost", "BillingCurrency", "ChargeCategory", "ChargePeriodStart")
CATEGORY = "AI and Machine Learning"
_KINDS = {"usage": USAGE, "purchase": FEE, "tax": TAX, "credit": CREDIT, "adjustment": OTHER}
_PROVIDER_COLUMNS = ("ServiceProviderName", "ProviderName", "PublisherName", "InvoiceIssuerName")
_CACHED = {"read": "cache_read_tokens", "write": "cache_write_5m_tokens"}


def read(body: bytes, *, category: str = CATEGORY) -> Bill:
    """`category` "" takes rows of every service category; a row without one is always taken."""
    header, found = rows(text_of_file(body))
    for name in NEEDED:
        if name not in header:
            detail = f"The column {name} is missing: export FOCUS 1.0 or later with all its columns."
            raise BillError("bill_column_missing", detail, param="file")
    left_out, months, numbers, lines = 0, set(), set(), []
    for row, cells in found:
        values = {name: text for name, text in cells.items() if text not in ("", "NULL")}
        if category and values.get("ServiceCategory", category).lower() != category.lower():
            left_out += 1
            continue
        lines.append(_line(row, values))
        if start := values.get("BillingPeriodStart"):
            months.add(day_of(start, row, "BillingPeriodStart").replace(day=1))
        numbers.add(values.get("InvoiceId", ""))
    return Bill(
        lines,
        month=months.pop() if len(months) == 1 else None,
        number=shortened(numbers.pop()) if len(numbers) == 1 else "",
        left_out=left_out,
    )


def _line(row: int, values: Mapping[str, str]) -> BillLine:
    details = _details(values)
    kind = one_of(_KINDS, values.get("ChargeCategory"), row, "ChargeCategory")
    account = text_of(values.get("SubAccountId") or values.get("BillingAccountId"), row, "SubAccountId")
    is_usage = kind == USAGE
    provider = next((values[name] for name in _PROVIDER_COLUMNS if name in values), "")
    if not provider:
        raise row_error(row, "ProviderName", "", "Name the provider in it, or in ServiceProviderName.")
    return BillLine(
        row=row,
        day=_day(values, row, is_usage),
        provider=provider_of(text_of(provider, row, "ProviderName")),
        account=account,
        model=shortened(details.get("ModelId")),
        meter=_meter(values, details) if is_usage else "",
        quantity=_quantity(values, row) if is_usage else None,
        amount=amount_of(values.get("BilledCost"), row, "BilledCost"),
        currency=currency_of(values.get("BillingCurrency"), row, "BillingCurrency"),
        kind=kind,
        text=shortened(values.get("ChargeDescription") or values.get("SkuMeter") or values.get("ServiceName")),
    )


def _day(values: Mapping[str, str], row: int, is_usage: bool) -> date | None:
    """Usage has the day on which it began; tax and credits are of the month."""
    start = day_of(values.get("ChargePeriodStart"), row, "ChargePeriodStart")
    return start if is_usage else None


def _details(values: Mapping[str, str]) -> Mapping[str, Any]:
    """SkuPriceDetails: a flat object, in which the drafts of 1.5 name the model and the direction of tokens."""
    try:
        found = json.loads(values.get("SkuPriceDetails", "{}"), parse_float=exact_number)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _meter(values: Mapping[str, str], details: Mapping[str, Any]) -> str:
    if meter := meter_of(values.get("SkuMeter", "")):
        return meter
    direction = str(details.get("TokenDirection", "")).lower()
    if direction == "input":
        return _CACHED.get(str(details.get("TokenCacheAction", "")).lower(), "input_tokens")
    return "output_tokens" if direction == "output" else ""


def _quantity(values: Mapping[str, str], row: int) -> int | None:
    """What was consumed, else what was priced, where its unit is one that we know."""
    for amount, unit in (("ConsumedQuantity", "ConsumedUnit"), ("PricingQuantity", "PricingUnit")):
        units = units_of(values.get(unit, ""))
        if units is not None and amount in values:
            return quantity_of(values[amount], row, amount, units)
    return None
