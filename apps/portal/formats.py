"""How numbers and times read on a page: pure functions from exact values to short text.

Zero, none and unknown look different: `0`, an em dash, `unpriced`. The exact value is kept beside the
short one by the template filters in `templatetags/numbers.py`.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal
from typing import Literal
from zoneinfo import ZoneInfo

from apps.core.money import USD_PLACES

NONE = "—"
UNPRICED = "unpriced"
THIN = "\u202f"
MINUS = "\u2212"
SMALL_DIGITS = 4

# Wide enough for the largest amount a column holds (26 digits before the point, 12 after).
_WIDE = Context(prec=60, rounding=ROUND_HALF_EVEN)
_CENT = Decimal("0.01")
_COUNT_UNITS = ((10**3, "k"), (10**6, "M"), (10**9, "B"), (10**12, "T"))
_PER_CENT_PLACES = Decimal("0.1")


@dataclass(frozen=True, slots=True)
class Change:
    """A difference from the period before: `arrow` and `text` say it without colour."""

    direction: Literal["up", "down", "same"]
    text: str

    @property
    def arrow(self) -> str:
        return {"up": "↑", "down": "↓", "same": "→"}[self.direction]


def money(usd: Decimal | None) -> str:
    """USD without its unit: two decimals from 1 up, four significant digits below; None is `unpriced`."""
    if usd is None:
        return UNPRICED
    if usd == 0:
        return "0"
    size = abs(usd)
    shown = _cents(size) if size >= 1 else _significant(size)
    return _signed(usd, _cents(shown) if shown >= 1 else shown)


def exact_money(usd: Decimal | None) -> str:
    """Every digit that is known, with the unit: what hover and focus show."""
    if usd is None:
        return "No price is known for this model, so the cost is unknown"
    return f"{digits(usd)}{THIN}USD"


def digits(amount: Decimal | None) -> str:
    """Every digit that is known, without a unit; None is an em dash."""
    if amount is None:
        return NONE
    plain = format(amount.copy_abs(), "f")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return _signed(amount, Decimal(plain))


def amount(text: str | None) -> str:
    """An amount in a currency's own decimals, in thin thousands; None is an em dash."""
    return NONE if text is None else _signed(Decimal(text), abs(Decimal(text)))


def count(quantity: int | None) -> str:
    """An exact count in thin thousands; None is an em dash."""
    return NONE if quantity is None else _signed(Decimal(quantity), abs(Decimal(quantity)))


def tokens(quantity: int | None) -> str:
    """A count at three digits or so: `950`, `12.3 k`, `1.2 M`; None is an em dash."""
    if quantity is None:
        return NONE
    size = Decimal(abs(quantity))
    if size < 1000:
        return count(quantity)
    # Rounded before it is compared: 999 950 reads 1.0 M, not 1000.0 k.
    scaled = ((_tenth(size / unit), name) for unit, name in _COUNT_UNITS)
    shown, name = next((pair for pair in scaled if pair[0] < 1000), (_tenth(size / 10**12), "T"))
    return f"{_signed(Decimal(quantity), shown)}{THIN}{name}"


def share(part: Decimal | int | None, whole: Decimal | int | None) -> str:
    """A part of a whole as `12.3 %`; an em dash where either is unknown or the whole is zero."""
    if part is None or not whole:
        return NONE
    return per_cent(Decimal(part) / Decimal(whole))


def odds(probability: float) -> str:
    """A probability in whole per cent, never certain: `42 %`, `under 1 %`, `over 99 %`."""
    if probability < 0.01:
        return f"under 1{THIN}%"
    return f"over 99{THIN}%" if probability > 0.99 else f"{probability * 100:.0f}{THIN}%"


def per_cent(ratio: Decimal | None) -> str:
    """A ratio of 0 to 1 as `12.3 %`. What is not nothing never reads 0 %, nor what is not all 100 %."""
    if ratio is None:
        return NONE
    if ratio == 0:
        return f"0{THIN}%"
    shown = (ratio * 100).quantize(_PER_CENT_PLACES, rounding=ROUND_HALF_UP, context=_WIDE)
    if shown == 0:
        return f"<{THIN}0.1{THIN}%"
    if shown == 100 and ratio != 1:
        return f"{'>' if ratio < 1 else '<'}{THIN}{'99.9' if ratio < 1 else '100.1'}{THIN}%"
    return f"{_signed(shown, abs(shown))}{THIN}%"


def change(now_usd: Decimal | None, before_usd: Decimal | None) -> Change | None:
    """The difference as `+$412 (+18 %)`; None where either side is unknown. From nothing it is `new`."""
    if now_usd is None or before_usd is None:
        return None
    difference = now_usd - before_usd
    if difference == 0:
        return Change("same", "no change")
    direction: Literal["up", "down"] = "up" if difference > 0 else "down"
    sign = "+" if difference > 0 else MINUS
    amount = dollars(abs(difference))
    if before_usd <= 0:
        return Change(direction, f"{sign}{amount} (new)")
    return Change(direction, f"{sign}{amount} ({growth(difference / before_usd)})")


def dollars(size: Decimal) -> str:
    """An amount that is not negative, within a sentence: `$412`, whole from 100 up."""
    return f"${_grouped(size.quantize(Decimal(1), context=_WIDE)) if size >= 100 else money(size)}"


def growth(ratio: Decimal) -> str:
    """A difference as a part of what was before: `+18 %`."""
    return f"{'+' if ratio > 0 else MINUS}{_growth(abs(ratio) * 100)}{THIN}%"


def age(then: datetime, at: datetime) -> str:
    """How long before `at`: `just now`, `12 s ago`, `3 min ago`, `2 h ago`, `5 d ago`, then the UTC date.

    An instant ahead of `at` by more than a clock's drift reads `in 3 min`.
    """
    gap = at - then
    ahead = gap < timedelta(0)
    seconds = int(abs(gap).total_seconds())
    if seconds < 5:
        return "just now"
    if seconds >= 14 * 86_400:
        return f"{then.day} {then:%b %Y}"
    span = _span(seconds)
    return f"in {span}" if ahead else f"{span} ago"


def duration(length: timedelta) -> str:
    """A length of time in its two largest units: `850 ms`, `3.2 s`, `4 min 12 s`, `2 h 5 min`, `3 d 4 h`."""
    seconds = Decimal(length // timedelta(milliseconds=1)) / 1000
    if seconds < 1:
        return f"{int(seconds * 1000)}{THIN}ms"
    if seconds < 60:
        return f"{_plain(_tenth(seconds))}{THIN}s"
    whole = int(seconds)
    for unit, name, below, below_name in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit:
            rest = whole % unit // below
            return f"{whole // unit}{THIN}{name}" + (f" {rest}{THIN}{below_name}" if rest else "")
    raise AssertionError("a minute is the least of these")


def instant(then: datetime, zone: str) -> str:
    """The absolute time in an organization's zone: `24 Nov 2026, 14:05:09 CET`."""
    local = then.astimezone(ZoneInfo(zone))
    return f"{local.day} {local:%b %Y, %H:%M:%S %Z}"


def clock(then: datetime, zone: str) -> str:
    """The absolute time where the year and the zone are plain from the page: `24 Nov, 14:05:09`."""
    local = then.astimezone(ZoneInfo(zone))
    return f"{local.day} {local:%b, %H:%M:%S}"


def day(local: date | None) -> str:
    """A local day, `24 Nov 2026`; None is an em dash."""
    return NONE if local is None else f"{local.day} {local:%b %Y}"


def _cents(size: Decimal) -> Decimal:
    return size.quantize(_CENT, context=_WIDE)


def _plain(size: Decimal) -> str:
    return format(size, "f").rstrip("0").rstrip(".")


def _tenth(size: Decimal) -> Decimal:
    return size.quantize(_PER_CENT_PLACES, rounding=ROUND_HALF_UP, context=_WIDE)


def _significant(size: Decimal) -> Decimal:
    """Four significant digits, at most the 12 decimals that an amount has."""
    places = min(SMALL_DIGITS - 1 - size.adjusted(), USD_PLACES)
    return size.quantize(Decimal(1).scaleb(-places), context=_WIDE)


def _grouped(size: Decimal) -> str:
    return format(size, ",f").replace(",", THIN)


def _signed(value: Decimal, size: Decimal) -> str:
    return (MINUS if value < 0 else "") + _grouped(size)


def _growth(growth: Decimal) -> str:
    if growth >= 1000:
        return f">{THIN}999"
    places = Decimal(1) if growth >= 10 else _PER_CENT_PLACES
    shown = growth.quantize(places, rounding=ROUND_HALF_UP, context=_WIDE)
    return f"<{THIN}0.1" if shown == 0 else format(shown, "f")


def _span(seconds: int) -> str:
    if seconds < 60:
        return f"{seconds}{THIN}s"
    if seconds < 3600:
        return f"{seconds // 60}{THIN}min"
    if seconds < 2 * 86_400:
        return f"{seconds // 3600}{THIN}h"
    return f"{seconds // 86_400}{THIN}d"
