"""Small pictures of a budget, as points of SVG: its period in a row of the list, and its past periods side by side."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from decimal import Decimal

from apps.budgets.outlook import Past, Standing
from apps.budgets.outlook_sql import Point
from apps.portal import formats
from apps.portal.budget_chart import period_label

PICTURE_WIDTH, PICTURE_HEIGHT = 160, 48


@dataclass(frozen=True, slots=True)
class Spark:
    """A budget's period up to now: `spent` and `rate` are the points of lines, "" where there is none.

    `held` is the line from what is spent to what is spent and held. `area` is what lies under `spent`.
    """

    spent: str
    area: str
    held: str
    rate: str
    limit_y: str
    sentence: str


@dataclass(frozen=True, slots=True)
class PastPicture:
    """A past period: `line` are the points of an SVG polyline, `limit_y` where its limit lies, None where it has none
    of its own.
    """

    label: str
    line: str
    limit_y: str | None
    spent_usd: Decimal
    limit_usd: Decimal | None
    overrun_usd: Decimal
    is_over: bool


def spark(one: Standing, points: Sequence[Point], at: datetime, zone: tzinfo) -> Spark:
    """Of one counter. Spend adds up from the left, by the time of the calls, and ends at what the budget counts."""
    now = min(max(at, one.start), one.end)
    taken = one.spent_usd + one.held_usd
    expected = one.expected_usd
    highest = max(one.limit_usd, taken, expected or Decimal(0))
    spent = _steps(points, one.start, one.end, now, one.spent_usd, highest)
    here = f"{_across(now, one.start, one.end)},{_height(one.spent_usd, highest)}"
    ahead = expected is not None and now < one.end
    return Spark(
        spent=spent,
        area=f"0,{PICTURE_HEIGHT} {spent} {_across(now, one.start, one.end)},{PICTURE_HEIGHT}",
        held=f"{here} {_across(now, one.start, one.end)},{_height(taken, highest)}" if one.held_usd > 0 else "",
        rate=f"{here} {PICTURE_WIDTH},{_height(expected or Decimal(0), highest)}" if ahead else "",
        limit_y=_height(one.limit_usd, highest),
        sentence=_spark_sentence(one, zone),
    )


def _spark_sentence(one: Standing, zone: tzinfo) -> str:
    label = period_label(one.start, one.end, zone)
    words = f"{label}: {formats.money(one.spent_usd)} of {formats.money(one.limit_usd)} USD spent"
    if one.held_usd:
        words += f", {formats.money(one.held_usd)} USD held"
    if one.ahead is not None:
        return f"{words}; {formats.money(one.ahead.p50_usd)} USD by forecast."
    if one.run_rate_usd is None:
        return f"{words}; too little of the period has passed for a run rate."
    return f"{words}; {formats.money(one.run_rate_usd)} USD at the run rate."


def _steps(
    points: Sequence[Point], start: datetime, end: datetime, now: datetime, spent_usd: Decimal, highest: Decimal
) -> str:
    """Steps from nothing to what is spent now; of steps that fall on one pixel only the last."""
    heights: dict[str, str] = {}
    total, before = Decimal(0), _height(Decimal(0), highest)
    for point in points:
        total += point.cost_usd
        heights[_across(max(point.start, start), start, end)] = _height(min(total, spent_usd), highest)
    line = [f"0,{before}"]
    for x, y in heights.items():
        line += [f"{x},{before}", f"{x},{y}"]
        before = y
    x = _across(now, start, end)
    return " ".join([*line, f"{x},{before}", f"{x},{_height(spent_usd, highest)}"])


def _across(instant: datetime, start: datetime, end: datetime) -> str:
    return f"{(instant - start) / (end - start) * PICTURE_WIDTH:.0f}"


def pictures(past: Sequence[Past], points: Sequence[Point], zone: tzinfo) -> Iterator[PastPicture]:
    """Past periods on one scale, so that they can be compared; `points` are of all of them, in order of time."""
    highest = max((max(one.spent_usd, one.limit_usd or Decimal(0)) for one in past), default=Decimal(0))
    for one in past:
        these = [point for point in points if one.start <= point.start < one.end]
        limit = one.limit_usd
        yield PastPicture(
            label=period_label(one.start, one.end, zone),
            line=_line(these, one, highest),
            limit_y=None if limit is None else _height(limit, highest),
            spent_usd=one.spent_usd,
            limit_usd=limit,
            overrun_usd=one.overrun_usd,
            is_over=limit is not None and one.spent_usd > limit,
        )


def _line(points: Sequence[Point], one: Past, highest: Decimal) -> str:
    total = Decimal(0)
    line = [f"0,{_height(total, highest)}"]
    for point in points:
        x = f"{(point.start - one.start) / (one.end - one.start) * PICTURE_WIDTH:.1f}"
        line.append(f"{x},{_height(total, highest)}")
        total += point.cost_usd
        line.append(f"{x},{_height(total, highest)}")
    return " ".join([*line, f"{PICTURE_WIDTH},{_height(total, highest)}"])


def _height(amount: Decimal, highest: Decimal) -> str:
    """Where an amount lies in a picture: 0 is the top, with a pixel of air on both sides."""
    share = amount / highest if highest else Decimal(0)
    return f"{(PICTURE_HEIGHT - 1) - (PICTURE_HEIGHT - 2) * min(max(share, Decimal(0)), Decimal(1)):.1f}"
