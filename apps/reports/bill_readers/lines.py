"""What every reader of bills gives, and how it refuses. Pure.

An amount is an exact `Decimal` in the bill's currency as the file has it; no float is ever made of it. A quantity is
an integer in the meter's smallest unit (`apps.core.meters`), None where the bill does not say it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Context, Decimal
from typing import Any

from apps.core.errors import DomainError

BYTES_MAX = 20 * 1024 * 1024
ROWS_MAX = 200_000
TEXT_LENGTH_MAX = 256
# A line of a bill stays below this; what every table of money holds is far above.
AMOUNT_MAX = Decimal(10) ** 15
QUANTITY_MAX = 10**18
DECIMALS_MAX = 60
YEAR_MIN, YEAR_MAX = 1980, 2199
# Wide enough for whatever passes these bounds: nothing is rounded on the way.
WIDE = Context(prec=200)

USAGE, CREDIT, TAX, FEE, ROUNDING, OTHER = "usage", "credit", "tax", "fee", "rounding", "other"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
KINDS = (USAGE, CREDIT, TAX, FEE, ROUNDING, OTHER)


@dataclass(frozen=True, slots=True)
class BillLine:
    """One line. `row` counts the source's rows from 1; `day` is None where the line is of the whole month.

    `meter` is one of `apps.core.meters`, "" where the bill names none of ours; `text` is what the bill calls the line.
    """

    row: int
    day: date | None
    provider: str
    account: str
    model: str
    meter: str
    quantity: int | None
    amount: Decimal
    currency: str
    kind: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Bill:
    """A file, read. `month` is the month that the file itself says it is of; `left_out` counts rows of other services.

    `number` is the invoice's own, "" where the file has none.
    """

    lines: Sequence[BillLine]
    month: date | None = None
    number: str = ""
    left_out: int = 0


class BillError(DomainError):
    """A file that cannot be imported, as it is, whole. Codes: bill_too_large, bill_unreadable, bill_incomplete,
    bill_empty, bill_row_invalid, bill_column_missing, mapping_invalid.
    """


def row_error(row: int, column: str, value: object, way_out: str) -> BillError:
    """Row, column, value and the way out; nothing of the file was imported."""
    # JSON may hold half of a surrogate pair, which no answer can.
    text = str(value)[:64].encode(errors="replace").decode()
    shown = "nothing" if value in (None, "") else f"'{text}'"
    return BillError("bill_row_invalid", f"Row {row}, {column}: {shown}. {way_out}", param="file")


def amount_of(value: object, row: int, column: str) -> Decimal:
    """The exact number of a JSON number that was read as `Decimal`, or of a text."""
    if isinstance(value, bool) or not isinstance(value, Decimal | int | str) or not _NUMBER.fullmatch(str(value)):
        raise row_error(row, column, value, "Write an amount like 12.34.")
    number = Decimal(value)
    decimals = -int(number.as_tuple().exponent)
    if not number.copy_abs() < AMOUNT_MAX or decimals > DECIMALS_MAX:
        detail = f"An amount is below {AMOUNT_MAX:,} and has at most {DECIMALS_MAX} decimals."
        raise row_error(row, column, value, detail)
    return number


def quantity_of(value: object, row: int, column: str, units: int = 1) -> int:
    """How many of the smallest unit: the number times `units`, to the nearest whole one."""
    number = WIDE.multiply(amount_of(value, row, column), Decimal(units))
    if not number.copy_abs() < QUANTITY_MAX:
        raise row_error(row, column, value, f"A quantity is below {QUANTITY_MAX:,}.")
    return int(number.to_integral_value(context=WIDE))


def day_of(value: object, row: int, column: str) -> date:
    """The day in UTC of a date, of an instant as text (without an offset: UTC), or of seconds since 1970."""
    try:
        day = _day_of(value)
    except (ValueError, OverflowError, OSError):
        day = date.min
    if not YEAR_MIN <= day.year <= YEAR_MAX:
        raise row_error(row, column, value, f"Write a day like 2026-11-01, from {YEAR_MIN} to {YEAR_MAX}.")
    return day


def known_day(year: Any, month: Any, day: Any) -> date | None:
    """The day of these numbers; None where there is no such day, or it is of no year that months are kept of."""
    try:
        found = date(year, month, day)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if YEAR_MIN <= found.year <= YEAR_MAX else None


def _day_of(value: object) -> date:
    if isinstance(value, int) and not isinstance(value, bool):
        return datetime.fromtimestamp(value, UTC).date()
    text = str(value or "").strip()
    if len(text) == len("2026-11-01"):
        return date.fromisoformat(text)
    at = datetime.fromisoformat(text.removesuffix(" UTC"))
    return (at if at.tzinfo is None else at.astimezone(UTC)).date()


def text_of(value: object, row: int, column: str) -> str:
    """A text of at most `TEXT_LENGTH_MAX` characters, "" for none. No column of ours holds a control character."""
    if value is None:
        return ""
    text = str(value).strip()
    if len(text) > TEXT_LENGTH_MAX or not text.isprintable():
        raise row_error(row, column, text, f"A text is printable and at most {TEXT_LENGTH_MAX} characters long.")
    return text


def shortened(value: object) -> str:
    """A description, cut where it is long: it is shown and never compared."""
    return "".join(c if c.isprintable() else " " for c in str(value or "")).strip()[:TEXT_LENGTH_MAX]


def currency_of(value: object, row: int, column: str) -> str:
    text = str(value or "").strip().upper()
    if len(text) != 3 or not text.isascii() or not text.isalpha():
        raise row_error(row, column, value, "A currency is three letters, such as USD.")
    return text


def one_of(words: Mapping[str, str], value: object, row: int, column: str) -> str:
    """What a word of the file means, in whatever case it is written."""
    found = words.get(str(value or "").strip().lower())
    if found is None:
        raise row_error(row, column, value, f"Use one of {', '.join(words)}.")
    return found
