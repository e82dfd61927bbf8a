"""A budget's period as one Vega-Lite spec; smaller pictures are in `budget_pictures`.

Spend adds up from the left; what is held lies lighter on top of it; the limit and the thresholds are rules with their
names; the forecast or the run rate is dashed. Colours are Okabe and Ito's, as in `charts`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from functools import cache
from typing import Any

import altair as alt

from apps.budgets.outlook import Ahead, Standing
from apps.budgets.outlook_sql import Point, Unit
from apps.core.periods import Calendar
from apps.portal import formats
from apps.portal.chart_layers import SPENT, Layers, band, limits, named, period, run_rate, spent_so_far, wall

# The part of the chart's height that the name of a rule takes.
NAME_ROOM = Decimal("0.1")


@dataclass(frozen=True, slots=True)
class BurnRow:
    """One hour or day of the period: its spend, and all of it up to its end."""

    label: str
    so_far: bool
    cost_usd: Decimal
    calls: int
    sum_usd: Decimal


@dataclass(frozen=True, slots=True)
class Burn:
    spec: Mapping[str, Any]
    sentence: str
    unit: Unit
    rows: tuple[BurnRow, ...]


def burn(points: Sequence[Point], standing: Standing, unit: Unit, clock: Calendar, at: datetime) -> Burn:
    """The chart of the current period. Of a budget for each subject it shows them together, without the limit."""
    zone = clock.zone_at(at)
    rows, bars, total = [], [], Decimal(0)
    for point in points:
        total += point.cost_usd
        until = min(_next(clock, unit, point.start), standing.end)
        so_far = point.start <= at < until
        label = _label(point.start.astimezone(zone), unit)
        rows.append(BurnRow(label, so_far, point.cost_usd, point.calls, total))
        bars.append((point.start, total, label, point.cost_usd))
    data = {
        "bars": list(_bars(bars, standing, unit, clock, at)),
        "held": list(_held(standing, unit, clock, at)),
        "rules": [] if standing.is_each else list(_rules(standing)),
        "band": list(_band(standing, zone, at)),
        "rate": [] if standing.is_each else list(_rate(standing, zone, at)),
    }
    drawn = {name: rows for name, rows in data.items() if rows}
    span = [{"start": wall(standing.start, zone), "end": wall(standing.end, zone)}]
    spec = {**_drawing(unit, tuple(drawn)), "datasets": {**drawn, "span": span}}
    return Burn(spec, sentence(standing), unit, tuple(rows))


def sentence(standing: Standing) -> str:
    """What a reader who cannot see the chart needs first."""
    words = f"{formats.money(standing.all_spent_usd)} USD spent and {formats.money(standing.all_held_usd)} USD held"
    if standing.is_each:
        return f"{words} of {standing.subjects} with a limit of {formats.money(standing.limit_usd)} USD each."
    words += f" of {formats.money(standing.limit_usd)} USD"
    if standing.ahead is not None:
        low, expected, high = (formats.money(usd) for usd in _triple(standing.ahead))
        return (
            f"{words}; by forecast the period comes to {expected} USD, four times in five to between {low} and {high}."
        )
    if standing.run_rate_usd is None:
        return f"{words}; too little of the period has passed for a run rate."
    return f"{words}; at the run rate the period comes to {formats.money(standing.run_rate_usd)} USD."


def _next(clock: Calendar, unit: Unit, start: datetime) -> datetime:
    """Where the hour or day after the one that begins at `start` begins."""
    starts = clock.starts(unit, start, start + timedelta(days=3))
    next(starts)
    return next(starts)


def _bars(
    bars: Sequence[tuple[datetime, Decimal, str, Decimal]],
    standing: Standing,
    unit: Unit,
    clock: Calendar,
    at: datetime,
) -> Iterator[dict[str, Any]]:
    """From each hour or day with spend to the next one with spend, and at last to now."""
    zone = clock.zone_at(at)
    now = min(_next(clock, unit, clock.start(unit, at)), standing.end)
    for place, (start, total, label, cost) in enumerate(bars):
        until = bars[place + 1][0] if place + 1 < len(bars) else max(now, start)
        if start < until:
            yield {
                "start": wall(max(start, standing.start), zone),
                "end": wall(until, zone),
                "high": format(total, "f"),
                "when": label,
                "cost": formats.money(cost),
                "sum": formats.money(total),
            }


def _held(standing: Standing, unit: Unit, clock: Calendar, at: datetime) -> Iterator[dict[str, Any]]:
    if standing.all_held_usd <= 0 or not standing.start <= at < standing.end:
        return
    zone, start = clock.zone_at(at), clock.start(unit, at)
    yield {
        "start": wall(max(start, standing.start), zone),
        "end": wall(min(_next(clock, unit, start), standing.end), zone),
        "low": format(standing.all_spent_usd, "f"),
        "high": format(standing.all_spent_usd + standing.all_held_usd, "f"),
        "held": formats.money(standing.all_held_usd),
    }


def _rules(standing: Standing) -> Iterator[dict[str, Any]]:
    limit = standing.limit_usd
    yield {"y": format(limit, "f"), "label": f"limit {formats.money(limit)}", "kind": "limit"}
    highest = max(limit, standing.spent_usd + standing.held_usd, standing.expected_usd or Decimal(0))
    above = limit
    for percent in sorted(standing.budget.thresholds, reverse=True):
        # Names need room between them, and a limit that is left far behind needs no thresholds.
        if percent < 100 and above - limit * percent / 100 >= highest * NAME_ROOM:
            above = limit * percent / 100
            yield {"y": format(limit * percent / 100, "f"), "label": f"{percent} %", "kind": "threshold"}


def _rate(standing: Standing, zone: tzinfo, at: datetime) -> Iterator[dict[str, Any]]:
    expected = standing.expected_usd
    if expected is not None and at < standing.end:
        yield {"at": wall(at, zone), "y": format(standing.spent_usd, "f"), "label": ""}
        label = f"{'run rate' if standing.ahead is None else 'forecast'} {formats.money(expected)}"
        yield {"at": wall(standing.end, zone), "y": format(expected, "f"), "label": label}


def _band(standing: Standing, zone: tzinfo, at: datetime) -> Iterator[dict[str, Any]]:
    if standing.ahead is not None and at < standing.end:
        now = format(standing.spent_usd, "f")
        low, _, high = _triple(standing.ahead)
        yield {"at": wall(at, zone), "low": now, "high": now}
        yield {"at": wall(standing.end, zone), "low": format(low, "f"), "high": format(high, "f")}


def _triple(ahead: Ahead) -> tuple[Decimal, Decimal, Decimal]:
    return ahead.p10_usd, ahead.p50_usd, ahead.p90_usd


def _label(local: datetime, unit: Unit) -> str:
    return f"{local.day} {local:%b, %H:%M}" if unit == "hour" else f"{local:%a} {local.day} {local:%b}"


@cache
def _drawing(unit: Unit, drawn: tuple[str, ...]) -> dict[str, Any]:
    return period("%H:%M" if unit == "hour" else "%-d %b", drawn, LAYERS)


def _lighter() -> alt.Chart:
    chart: alt.Chart = (
        alt.Chart(named("held", "low", "high"))
        .mark_rect(color=SPENT, fillOpacity=0.35, stroke=SPENT, strokeWidth=1)
        .encode(x="start:T", x2="end", y="low:Q", y2="high", tooltip=[alt.Tooltip("held:N", title="USD held")])
    )
    return chart


LAYERS: Layers = {
    "bars": spent_so_far,
    "held": lambda: (_lighter(),),
    "rules": limits,
    "band": lambda: band(SPENT),
    "rate": lambda: run_rate(SPENT),
}


def period_label(start: datetime, end: datetime, zone: tzinfo) -> str:
    """A period in the fewest words: a month, a day, or its first and last day."""
    first, last = start.astimezone(zone), (end - timedelta(microseconds=1)).astimezone(zone)
    if end - start <= timedelta(hours=26) and first.date() == last.date():
        return f"{first:%a} {first.day} {first:%b}"
    if first.day == 1 and (first.year, first.month) == (last.year, last.month) and end - start > timedelta(days=27):
        return f"{first:%B %Y}"
    if end - start < timedelta(days=40):
        return f"{first.day} {first:%b} to {last.day} {last:%b}"
    if first.year == last.year:
        return f"{first.day} {first:%b} to {last.day} {last:%b %Y}"
    return f"{first.day} {first:%b %Y} to {last.day} {last:%b %Y}"
