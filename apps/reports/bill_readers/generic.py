"""Any CSV file, by a mapping that says which column holds what. Pure.

A mapping's field names a column, or says the same for every row behind a "=": {"day": "Date", "provider": "=openai"}.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date

from apps.reports.bill_readers.lines import (
    KINDS,
    USAGE,
    YEAR_MAX,
    YEAR_MIN,
    Bill,
    BillError,
    BillLine,
    amount_of,
    currency_of,
    day_of,
    known_day,
    one_of,
    quantity_of,
    row_error,
    shortened,
    text_of,
)
from apps.reports.bill_readers.sources import rows, text_of_file
from apps.reports.bill_readers.words import meter_of, provider_of, units_of

FIELDS = ("day", "provider", "account", "model", "meter", "quantity", "unit", "amount", "currency", "kind")
NEEDED = ("provider", "amount", "currency")
ALWAYS = "="
# How a day of numbers is written; what begins with a year is read in any of them.
DAY_ORDERS = ("ymd", "dmy", "mdy")
MARKS = (".", ",")
# Also those of India: 1,00,000.
_THOUSANDS = re.compile(r"[(+-]*\d{1,3}(,\d{2,3})*,\d{3}\)?", re.ASCII)
_DAY = re.compile(r"(\d{1,2})[./-](\d{1,2})[./-](\d{4})")
_KIND_WORDS = {**{kind: kind for kind in KINDS}, "": USAGE, "discount": "credit", "vat": "tax", "refund": "credit"}
ROWS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Mapped:
    """Which column holds each field ("" where none does), and how days and numbers are written."""

    day: str = ""
    provider: str = ""
    account: str = ""
    model: str = ""
    meter: str = ""
    quantity: str = ""
    unit: str = ""
    amount: str = ""
    currency: str = ""
    kind: str = ""
    day_order: str = "ymd"
    decimal_mark: str = "."

    def check(self, header: Sequence[str] | None = None) -> None:
        """Raises `BillError` (mapping_invalid, bill_column_missing): a field is needed, a column is not there."""
        for name in NEEDED:
            if not getattr(self, name):
                raise _invalid(name, f"Say which column holds the {name}, or the same for every row.")
        if self.day_order not in DAY_ORDERS:
            raise _invalid("day_order", f"'{self.day_order[:64]}' is no order of days: use {', '.join(DAY_ORDERS)}.")
        if self.decimal_mark not in MARKS:
            raise _invalid("decimal_mark", "A decimal mark is a point or a comma.")
        for name in FIELDS:
            column = getattr(self, name)
            if header is not None and column and not column.startswith(ALWAYS) and column not in header:
                detail = f"{name} is mapped to the column '{column[:64]}', which the file does not have."
                raise BillError("bill_column_missing", detail, param=name)

    @property
    def as_json(self) -> dict[str, str]:
        return asdict(self)


def _invalid(name: str, detail: str) -> BillError:
    return BillError("mapping_invalid", detail, param=name)


def mapped_of(given: Mapping[str, object]) -> Mapped:
    """The mapping that an object says. Raises `BillError` (`mapping_invalid`)."""
    known = (*FIELDS, "day_order", "decimal_mark")
    for name, value in given.items():
        if name not in known:
            raise _invalid(name[:64], f"'{name[:64]}' is no field: use {', '.join(known)}.")
        if not isinstance(value, str) or len(value) > 200 or not value.isprintable():
            raise _invalid(name, f"{name} is the name of a column: a text of at most 200 characters.")
    return Mapped(**{name: str(value) for name, value in given.items()})


def read(body: bytes, mapped: Mapped) -> Bill:
    header, found = rows(text_of_file(body))
    mapped.check(header)
    return Bill([line for row, cells in found if (line := _line(row, cells, mapped)) is not None])


def first_rows(body: bytes) -> tuple[Sequence[str], list[Sequence[str]]]:
    """The columns of a CSV file and its first rows: what the mapping is chosen by."""
    header, found = rows(text_of_file(body))
    return header, [tuple(cells.values()) for _, cells in zip(range(ROWS_SHOWN), _cells(found), strict=False)]


def _cells(found: Iterator[tuple[int, Mapping[str, str]]]) -> Iterator[Mapping[str, str]]:
    return (cells for _, cells in found)


def _line(row: int, cells: Mapping[str, str], mapped: Mapped) -> BillLine | None:
    """None for a row that has neither a day nor an amount, as the sums below a table."""

    def value(name: str) -> str:
        column = getattr(mapped, name)
        return str(column.removeprefix(ALWAYS)) if column.startswith(ALWAYS) else cells.get(column, "").strip()

    def column(name: str) -> str:
        return str(getattr(mapped, name) or name)

    if not value("amount") and not value("day"):
        return None
    provider = provider_of(text_of(value("provider"), row, column("provider")))
    if not provider:
        raise row_error(row, column("provider"), "", "Name the provider whose bill it is.")
    return BillLine(
        row=row,
        day=_day(value("day"), row, column("day"), mapped.day_order),
        provider=provider,
        account=text_of(value("account"), row, column("account")),
        model=text_of(value("model"), row, column("model")),
        meter=meter_of(value("meter")),
        quantity=_quantity(value("quantity"), value("unit"), row, column("quantity"), mapped),
        amount=amount_of(_number(value("amount"), mapped, row, column("amount")), row, column("amount")),
        currency=currency_of(value("currency"), row, column("currency")),
        kind=one_of(_KIND_WORDS, value("kind"), row, column("kind")),
        text=shortened(value("meter")),
    )


def _quantity(text: str, unit: str, row: int, column: str, mapped: Mapped) -> int | None:
    units = units_of(unit) if unit else 1
    return None if not text or units is None else quantity_of(_number(text, mapped, row, column), row, column, units)


def _number(text: str, mapped: Mapped, row: int, column: str) -> str:
    """A number as people write it: thousands apart, a currency sign before, negatives in brackets.

    A mark that sets no thousands apart is the other decimal mark: leaving it out would make 12,50 twelve hundred.
    """
    thousands = "," if mapped.decimal_mark == "." else "."
    bare = re.sub(r"[\s\u00a0\u202f'$€£¥]", "", text).replace("\u2212", "-")
    whole, _, decimals = bare.partition(mapped.decimal_mark)
    if thousands in decimals or (thousands in whole and not _THOUSANDS.fullmatch(whole.replace(thousands, ","))):
        raise row_error(row, column, text, f"The mapping says that decimals stand behind '{mapped.decimal_mark}'.")
    bare = bare.replace(thousands, "").replace(mapped.decimal_mark, ".")
    return f"-{bare[1:-1]}" if bare.startswith("(") and bare.endswith(")") else bare


def _day(text: str, row: int, column: str, order: str) -> date | None:
    if not text:
        return None
    found = _DAY.fullmatch(text)
    if found is None:
        return day_of(text, row, column)
    first, second, year = (int(part) for part in found.groups())
    if order == "ymd":
        raise row_error(row, column, text, "Say in the mapping whether the day or the month comes first.")
    day, month = (first, second) if order == "dmy" else (second, first)
    known = known_day(year, month, day)
    if known is None:
        raise row_error(row, column, text, f"There is no such day, written {order}, from {YEAR_MIN} to {YEAR_MAX}.")
    return known
