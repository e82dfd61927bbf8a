"""Reads FOCUS rows as a reader of the standard would, and checks what holds on every one of them."""

import csv
import io
import re
from collections.abc import Iterable
from decimal import Context, Decimal, Inexact

from apps.reports.focus_columns import COLUMNS

EXACT = Context(prec=200, traps=[Inexact])
_DECIMAL = re.compile(r"-?\d+\.\d+")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_NUMBERS = ("Cost", "Quantity", "UnitPrice", "x_RequestCount", "x_UnpricedEvents", "x_Amount")
Row = dict[str, str]


def read(body: bytes) -> list[Row]:
    found = list(csv.reader(io.StringIO(body.decode(), newline="")))
    assert tuple(found[0]) == COLUMNS
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in found[1:]]
    for row in rows:
        check(row)
    return rows


def check(row: Row) -> None:
    for name, text in row.items():
        if text and name.endswith(_NUMBERS):
            assert _DECIMAL.fullmatch(text), (name, text)
        if name.endswith(("PeriodStart", "PeriodEnd")):
            assert _INSTANT.fullmatch(text), (name, text)
    assert row["ChargePeriodStart"] < row["ChargePeriodEnd"]
    assert row["BillingPeriodStart"] < row["BillingPeriodEnd"]
    if row["PricingQuantity"]:
        assert product(row, "ListUnitPrice") == Decimal(row["ListCost"])
        assert product(row, "ContractedUnitPrice") == Decimal(row["ContractedCost"])
    elif row["ChargeCategory"] == "Usage":
        assert row["ChargeClass"] == "Correction"
    if row["ConsumedQuantity"] and row["x_Meter"]:
        assert EXACT.multiply(Decimal(row["PricingQuantity"]), Decimal(10**6)) == Decimal(row["ConsumedQuantity"])


def product(row: Row, price: str) -> Decimal:
    return EXACT.multiply(Decimal(row[price]), Decimal(row["PricingQuantity"]))


def total(rows: Iterable[Row], column: str = "EffectiveCost") -> Decimal:
    return sum((Decimal(row[column]) for row in rows if row[column]), Decimal(0))
