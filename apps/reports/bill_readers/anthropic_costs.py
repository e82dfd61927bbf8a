"""Anthropic: GET /v1/organizations/cost_report, by day, grouped by workspace_id and description. Pure.

`amount` is a decimal text in cents. The report has no quantities, nothing of the priority tier, and no API keys; a null
workspace is the default one.
"""

from collections.abc import Iterator, Mapping

from apps.reports.bill_readers.lines import (
    OTHER,
    USAGE,
    WIDE,
    Bill,
    BillLine,
    amount_of,
    currency_of,
    day_of,
    row_error,
    shortened,
    text_of,
)
from apps.reports.bill_readers.sources import json_of, results
from apps.reports.bill_readers.words import meter_of

PROVIDER = "anthropic"
# Meters of what is not billed by the token.
_COST_TYPES: Mapping[str, str] = {"web_search": "searches", "code_execution": "code_sessions"}


def read(body: bytes) -> Bill:
    return Bill(list(_lines(body)))


def _lines(body: bytes) -> Iterator[BillLine]:
    for row, bucket, result in results(json_of(body)):
        amount = result.get("amount")
        if not isinstance(amount, str):
            raise row_error(row, "amount", amount, 'It is a text in cents, such as "123.45".')
        cost_type = text_of(result.get("cost_type"), row, "cost_type")
        token_type = text_of(result.get("token_type"), row, "token_type")
        yield BillLine(
            row=row,
            day=day_of(bucket.get("starting_at"), row, "starting_at"),
            provider=PROVIDER,
            account=text_of(result.get("workspace_id"), row, "workspace_id"),
            model=text_of(result.get("model"), row, "model"),
            meter=_COST_TYPES.get(cost_type) or meter_of(token_type),
            quantity=None,
            amount=WIDE.scaleb(amount_of(amount, row, "amount"), -2),
            currency=currency_of(result.get("currency"), row, "currency"),
            kind=OTHER if cost_type == "session_usage" else USAGE,
            text=shortened(result.get("description")),
        )
