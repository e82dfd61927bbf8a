"""What a provider billed against what was metered, as buckets that add up to the difference. Pure.

Amounts are exact USD with at most 12 decimals. Usage is compared by **cell**: a model and a meter over the bill's
month. What was metered goes to the most particular cell that the bill names: model and meter, model, meter, or the
provider as a whole; what the bill names nowhere has a cell of its own. A bill that does not name reasoning bills it as
output, so it is compared with output. docs/chargeback.md, "Reconciliation", defines the buckets in prose.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import cached_property

from apps.core.money import EXACT, USD_PLACES, sum_usd
from apps.reports.bill_readers.lines import CREDIT, ROUNDING, TAX, USAGE, WIDE

PRICE, QUANTITY, UNMETERED, TIMING = "price", "quantity", "unmetered", "timing"
CREDITS, TAXES, EXCHANGE, ROUNDED, UNEXPLAINED = "credits", "tax", "exchange", "rounding", "unexplained"
BUCKETS = (PRICE, QUANTITY, UNMETERED, TIMING, CREDITS, TAXES, EXCHANGE, ROUNDED, UNEXPLAINED)
# What a provider's bill may differ by without anybody having metered or priced wrong.
BESIDE_USAGE = (CREDITS, TAXES, EXCHANGE)

CENT = Decimal("0.01")
# Below this the difference of a month is not worth a look, whatever share it is.
FLOOR_USD = Decimal(5)
MONTH_SHARE, DAY_SHARE = Decimal("0.01"), Decimal("0.02")
PRICE_SHARE, UNEXPLAINED_SHARE = Decimal("0.001"), Decimal("0.005")
AGREES, LOOK = "agrees", "look"

_ZERO = Decimal(0)
_PICO = Decimal(1).scaleb(-USD_PLACES)
_OF_KIND = {CREDIT: CREDITS, TAX: TAXES, ROUNDING: ROUNDED}
# What is billed under another meter's name where a bill does not name it.
_BILLED_AS = {"reasoning_tokens": "output_tokens"}
CellKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Billed:
    """A line of a bill in USD by the bill's own rate; `exchange_usd` is what the month's rate adds to that.

    `day` is None where the line is of the whole month; `quantity` is in the meter's smallest unit.
    """

    day: date | None
    model: str
    meter: str
    quantity: int | None
    usd: Decimal
    kind: str = USAGE
    exchange_usd: Decimal = _ZERO


@dataclass(frozen=True, slots=True)
class Metered:
    """What one model used of one meter on one day of the bill's month, and what that cost."""

    day: date
    model: str
    meter: str
    quantity: int
    usd: Decimal


@dataclass(slots=True)
class _Sums:
    """Of a cell: quantities are None once any line of the bill does not say its own."""

    billed: Decimal = _ZERO
    billed_quantity: int | None = 0
    metered: Decimal = _ZERO
    metered_quantity: int = 0
    lines: int = 0
    billed_days: dict[date, tuple[Decimal, int]] = field(default_factory=dict)
    metered_days: set[date] = field(default_factory=set)

    def bill(self, line: Billed) -> None:
        self.lines += 1
        self.billed = EXACT.add(self.billed, line.usd)
        known = self.billed_quantity is not None and line.quantity is not None and line.meter
        self.billed_quantity = self.billed_quantity + line.quantity if known else None  # type: ignore[operator]
        if line.day is not None:
            usd, quantity = self.billed_days.get(line.day, (_ZERO, 0))
            self.billed_days[line.day] = EXACT.add(usd, line.usd), quantity + (line.quantity or 0)

    def meter(self, row: Metered) -> None:
        self.metered = EXACT.add(self.metered, row.usd)
        self.metered_quantity += row.quantity
        if row.quantity or row.usd:
            self.metered_days.add(row.day)


@dataclass(frozen=True, slots=True)
class Cell:
    """A model and a meter ("" where the bill names none) over the month. Quantities are None where they are not known,
    or are of several meters.
    """

    model: str
    meter: str
    billed_usd: Decimal
    metered_usd: Decimal
    billed_quantity: int | None
    metered_quantity: int | None
    buckets: Mapping[str, Decimal]

    @property
    def gap_usd(self) -> Decimal:
        return EXACT.subtract(self.billed_usd, self.metered_usd)

    @property
    def covered_usd(self) -> Decimal:
        """How much of what was billed was metered: by quantity at the bill's unit price where that is known."""
        seen = self.metered_usd
        if self.billed_quantity and self.metered_quantity is not None:
            seen = _part(self.billed_usd, self.metered_quantity, self.billed_quantity)
        return min(max(seen, _ZERO), max(self.billed_usd, _ZERO))


@dataclass(frozen=True, slots=True)
class Day:
    """One day's usage of a provider, or of one model of it."""

    day: date
    billed_usd: Decimal
    metered_usd: Decimal

    @property
    def gap_usd(self) -> Decimal:
        return EXACT.subtract(self.billed_usd, self.metered_usd)

    @property
    def verdict(self) -> str:
        return _verdict(self.gap_usd, DAY_SHARE, self.billed_usd, floor=CENT)


@dataclass(frozen=True)
class Gap:
    """A provider's month. `billed_usd` less `metered_usd` is `gap_usd`, and `buckets` add up to it exactly.

    `days` are of lines that have a day; `model_days` are the same by model.
    """

    billed_usd: Decimal
    metered_usd: Decimal
    buckets: Mapping[str, Decimal]
    cells: Sequence[Cell]
    days: Sequence[Day]
    model_days: Mapping[str, Sequence[Day]]

    @property
    def gap_usd(self) -> Decimal:
        return EXACT.subtract(self.billed_usd, self.metered_usd)

    @cached_property
    def usage_usd(self) -> Decimal:
        """What was billed for usage: credits, tax and exchange left out."""
        return sum_usd(cell.billed_usd for cell in self.cells)

    @cached_property
    def to_look_at_usd(self) -> Decimal:
        """The gap without what a bill may add and take off by itself."""
        return sum_usd(usd for name, usd in self.buckets.items() if name not in BESIDE_USAGE)

    @property
    def verdict(self) -> str:
        """`agrees` within the tolerances, else `look`."""
        of_shares = ((self.to_look_at_usd, MONTH_SHARE), (self.buckets[PRICE], PRICE_SHARE),
                     (self.buckets[UNEXPLAINED], UNEXPLAINED_SHARE))  # fmt: skip
        verdicts = {_verdict(usd, share, self.usage_usd) for usd, share in of_shares}
        return LOOK if LOOK in verdicts else AGREES

    @cached_property
    def coverable_usd(self) -> Decimal:
        """What was billed for usage, where it was billed at all."""
        return sum_usd(max(cell.billed_usd, _ZERO) for cell in self.cells)

    @cached_property
    def covered_usd(self) -> Decimal:
        return sum_usd(cell.covered_usd for cell in self.cells)


def share_of(part: Decimal, whole: Decimal) -> Decimal | None:
    """To 6 decimals; None of nothing."""
    return WIDE.quantize(WIDE.divide(part, whole), Decimal("0.000001")) if whole else None


def compare(billed: Iterable[Billed], metered: Iterable[Metered], *, month_usd: Decimal) -> Gap:
    """The gap of a provider's month.

    `metered` is of the bill's own days; `month_usd` is what the statements of the organization's month carry of it,
    which may begin and end some hours apart: that is the bucket `timing`.
    """
    lines, rows = list(billed), list(metered)
    cells = _cells(lines, rows)
    period_usd = sum_usd(row.usd for row in rows)
    buckets = dict.fromkeys(BUCKETS, _ZERO)
    for cell in cells:
        for name, usd in cell.buckets.items():
            buckets[name] = EXACT.add(buckets[name], usd)
    for line in lines:
        if line.kind != USAGE:
            name = _OF_KIND.get(line.kind, UNMETERED)
            buckets[name] = EXACT.add(buckets[name], line.usd)
        buckets[EXCHANGE] = EXACT.add(buckets[EXCHANGE], line.exchange_usd)
    buckets[TIMING] = EXACT.subtract(period_usd, month_usd)
    days = _days(lines, rows)
    return Gap(
        billed_usd=sum_usd(part for line in lines for part in (line.usd, line.exchange_usd)),
        metered_usd=month_usd,
        buckets=buckets,
        cells=cells,
        days=days.pop(None, ()),
        model_days={model: found for model, found in days.items() if model is not None},
    )


# --- cells ---------------------------------------------------------------------------------------------


def _cells(lines: Sequence[Billed], rows: Sequence[Metered]) -> list[Cell]:
    sums: dict[CellKey, _Sums] = {}
    for line in lines:
        if line.kind == USAGE:
            sums.setdefault((line.model, line.meter), _Sums()).bill(line)
    named = frozenset(sums)
    days_of_model: dict[str, set[date]] = {}
    for row in rows:
        key = next((key for key in _homes(row) if key in named), (row.model, row.meter))
        sums.setdefault(key, _Sums()).meter(row)
        if row.quantity or row.usd:
            days_of_model.setdefault(row.model, set()).add(row.day)
    return [
        _cell(key, found, days_of_model.get(key[0], set()) if key[0] else found.metered_days)
        for key, found in sorted(sums.items())
        if found.lines or found.metered or found.metered_quantity
    ]


def _homes(row: Metered) -> Iterator[CellKey]:
    """The cells in which a bill may have billed it, the most particular first."""
    meters = (row.meter, _BILLED_AS.get(row.meter, row.meter))
    for model in (row.model, ""):
        yield from ((model, meter) for meter in (*meters, ""))


def _cell(key: CellKey, found: _Sums, metered_on: set[date]) -> Cell:
    quantity = found.billed_quantity if found.lines and (found.billed_quantity or 0) > 0 else None
    return Cell(
        model=key[0],
        meter=key[1],
        billed_usd=found.billed,
        metered_usd=found.metered,
        billed_quantity=quantity,
        metered_quantity=found.metered_quantity if key[1] else None,
        buckets=_buckets(found, quantity, metered_on),
    )


def _buckets(found: _Sums, quantity: int | None, metered_on: set[date]) -> dict[str, Decimal]:
    gap = EXACT.subtract(found.billed, found.metered)
    if not found.lines:
        return {QUANTITY: gap}
    if not metered_on and not found.metered:
        return {UNMETERED: gap}
    silent = [found.billed_days[day] for day in found.billed_days if day not in metered_on]
    small = WIDE.multiply(CENT, Decimal(max(len(found.billed_days), 1)))
    if quantity is None:
        missed = min(max(sum_usd(usd for usd, _ in silent), _ZERO), max(gap, _ZERO))
        rest = EXACT.subtract(gap, missed)
        return {UNMETERED: missed, ROUNDED if rest.copy_abs() < small else UNEXPLAINED: rest}
    if quantity == found.metered_quantity:
        return {ROUNDED if gap.copy_abs() < small else PRICE: gap}
    # What was metered at the price that was billed: beside it stand another price, and other quantities.
    at_billed_price = _part(found.billed, found.metered_quantity, quantity)
    missing = EXACT.subtract(found.billed, at_billed_price)
    never = min(sum(count for _, count in silent), quantity - found.metered_quantity)
    missed = _part(found.billed, never, quantity) if never > 0 else _ZERO
    return {
        PRICE: EXACT.subtract(at_billed_price, found.metered),
        UNMETERED: missed,
        QUANTITY: EXACT.subtract(missing, missed),
    }


def _part(usd: Decimal, quantity: int, of: int) -> Decimal:
    """usd x quantity / of, half-even to 12 decimals."""
    product = WIDE.multiply(usd, Decimal(quantity))
    return WIDE.quantize(WIDE.divide(product, Decimal(of)), _PICO)


# --- days ----------------------------------------------------------------------------------------------


def _days(lines: Sequence[Billed], rows: Sequence[Metered]) -> dict[str | None, list[Day]]:
    """By model, and under None of all together; usage of lines that have a day."""
    billed: dict[tuple[str | None, date], Decimal] = {}
    metered: dict[tuple[str | None, date], Decimal] = {}
    for line in lines:
        if line.kind == USAGE and line.day is not None:
            for model in (None, line.model):
                billed[model, line.day] = EXACT.add(billed.get((model, line.day), _ZERO), line.usd)
    for row in rows:
        for model in (None, row.model):
            metered[model, row.day] = EXACT.add(metered.get((model, row.day), _ZERO), row.usd)
    found: dict[str | None, list[Day]] = {}
    for model, day in sorted({*billed, *metered}, key=lambda key: (key[0] or "", key[0] is not None, key[1])):
        one = Day(day, billed.get((model, day), _ZERO), metered.get((model, day), _ZERO))
        found.setdefault(model, []).append(one)
    return found


def _verdict(gap: Decimal, share: Decimal, billed: Decimal, *, floor: Decimal = FLOOR_USD) -> str:
    tolerance = max(WIDE.multiply(share, billed.copy_abs()), floor)
    return AGREES if gap.copy_abs() <= tolerance else LOOK
