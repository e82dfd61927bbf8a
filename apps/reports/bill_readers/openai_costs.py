"""OpenAI: GET /v1/organization/costs, by day, grouped by line_item and project_id. Pure.

A line item is "gpt-4o-2024-08-06, cached input", or words for what is no model's. `amount.value` is a JSON number in
units of the currency; quantities come with newer answers only.
"""

from collections.abc import Iterator

from apps.reports.bill_readers.lines import (
    USAGE,
    Bill,
    BillLine,
    amount_of,
    currency_of,
    day_of,
    quantity_of,
    row_error,
    text_of,
)
from apps.reports.bill_readers.sources import json_of, results
from apps.reports.bill_readers.words import meter_of, units_of

PROVIDER = "openai"


def read(body: bytes) -> Bill:
    return Bill(list(_lines(body)))


def _lines(body: bytes) -> Iterator[BillLine]:
    for row, bucket, result in results(json_of(body)):
        amount = result.get("amount")
        if not isinstance(amount, dict):
            raise row_error(row, "amount", amount, 'It is an object {"value", "currency"}.')
        item = text_of(result.get("line_item"), row, "line_item")
        model, meter = _named(item)
        quantity, unit = result.get("quantity"), str(result.get("quantity_unit") or "")
        units = units_of(unit) if unit else 1
        yield BillLine(
            row=row,
            day=day_of(bucket.get("start_time"), row, "start_time"),
            provider=PROVIDER,
            account=text_of(result.get("project_id"), row, "project_id"),
            model=model,
            meter=meter,
            quantity=_quantity(quantity, row, units),
            amount=amount_of(amount.get("value"), row, "amount.value"),
            currency=currency_of(amount.get("currency"), row, "amount.currency"),
            kind=USAGE,
            text=item,
        )


def _named(item: str) -> tuple[str, str]:
    """The model and meter of a line item. What stands alone is a meter that we know, or else a model."""
    name, comma, what = item.rpartition(", ")
    if comma:
        return name, meter_of(what)
    meter = meter_of(item.partition(" | ")[0])
    return ("", meter) if meter else (item if item and " " not in item else "", "")


def _quantity(value: object, row: int, units: int | None) -> int | None:
    return None if value is None or units is None else quantity_of(value, row, "quantity", units)
