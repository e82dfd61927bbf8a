"""The chart of a statement: cost by workflow, or by kind of line where fewer than two workflows have any. Pure."""

from decimal import Decimal

import msgspec

from apps.reports.document import Document
from apps.reports.papers import figures
from apps.reports.papers.figures import KIND_LABELS, Money

BARS_MAX = 8
_NAME_COLUMNS = 60
_MILLIONTH = Decimal("0.000001")

Sums = list[tuple[str, Decimal]]
_USED = ("usage", "unattributed", "late")


class Bar(msgspec.Struct, frozen=True):
    """`start` and `length` are parts of the chart's width, 0 to 1.

    `is_rest` is the sum of all that have no bar of their own: drawn beside them it would dwarf them, so it has none.
    """

    name: str
    amount: str
    start: Decimal
    length: Decimal
    is_negative: bool
    is_rest: bool = False


class Chart(msgspec.Struct, frozen=True):
    """Bars to one scale; `zero` is where they start, `alt` says in words what they show."""

    title: str
    unit: str
    zero: Decimal
    bars: list[Bar]
    alt: str


def chart_of(document: Document) -> Chart | None:
    """None where there are not two of anything to compare."""
    money = Money(document)
    of, sums, rest = "workflow", *_folded(_by_workflow(money))
    if len(sums) < 2:
        of, sums, rest = "kind", _by_kind(money), []
    if len(sums) < 2:
        return None
    low, high = min(Decimal(0), *(amount for _, amount in sums)), max(Decimal(0), *(amount for _, amount in sums))
    bars = [_bar(money, name, amount, low, high) for name, amount in sums]
    if rest:
        amount = money.text(figures.added(amount for _, amount in rest))
        bars.append(Bar(f"{len(rest)} others", amount, Decimal(0), Decimal(0), is_negative=False, is_rest=True))
    said = "; ".join(f"{bar.name} {bar.amount} {money.unit}" for bar in bars)
    title = f"Cost by {of}"
    alt = f"Bar chart: {title.lower()} of {figures.month_words(document.month)}. {said}."
    return Chart(title, money.unit, _part(-low, high - low), bars, alt)


def _folded(sums: Sums) -> tuple[Sums, Sums]:
    """What has a bar, and the rest."""
    place = BARS_MAX if len(sums) <= BARS_MAX else BARS_MAX - 1
    return sums[:place], sums[place:]


def _bar(money: Money, name: str, amount: Decimal, low: Decimal, high: Decimal) -> Bar:
    return Bar(
        name=figures.shortened(name, _NAME_COLUMNS),
        amount=money.text(amount),
        start=_part(min(amount, Decimal(0)) - low, high - low),
        length=_part(abs(amount), high - low),
        is_negative=amount < 0,
    )


def _part(size: Decimal, whole: Decimal) -> Decimal:
    return (size / whole).quantize(_MILLIONTH)


def chart_alt(document: Document) -> str:
    """The chart in words, for who does not see it; "" where the statement has none."""
    chart = chart_of(document)
    return chart.alt if chart else ""


def _by_workflow(money: Money) -> Sums:
    """The largest first."""
    found: dict[str, Decimal] = {}
    for line in figures.kinds_among(money.document.lines, _USED):
        name, amount = line.workflow or "No workflow", money.of(line)
        if amount:
            found[name] = found.get(name, Decimal(0)) + amount
    return sorted(((name, amount) for name, amount in found.items() if amount), key=lambda pair: (-pair[1], pair[0]))


def _by_kind(money: Money) -> Sums:
    return [(KIND_LABELS[kind], amount) for kind, amount in figures.build_up(money) if amount]
