"""A month as it is forecast, as one Vega-Lite spec: spent, what is ahead with its band, the plan and the limit."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta, tzinfo
from decimal import Decimal
from functools import cache
from itertools import accumulate
from typing import Any

import altair as alt

from apps.budgets.outlook_sql import Point
from apps.core.periods import Calendar
from apps.portal import formats
from apps.portal.chart_layers import GREY, SPENT, Layers, band, limits, named, period, run_rate, spent_so_far, wall
from apps.portal.pages_forecast import DayRow, ForecastChart
from apps.usage.forecasts import path_of
from apps.usage.models_forecast import Forecast, PlannedSpend


def forecast_chart(
    row: Forecast, points: Sequence[Point], planned: Sequence[PlannedSpend], limit: Decimal | None, clock: Calendar
) -> ForecastChart:
    """`points`: spend by day since the month began; `planned`: lines of the plans of what it shows."""
    start, end = clock.period("month", row.as_of)
    zone = clock.zone_at(row.as_of)
    days = [day.astimezone(zone).date() for day in clock.starts("day", start, end)]
    ahead = _ends(clock, row)
    plan = list(_plan(days, planned, start, clock, zone)) if any(one.kind in _PLANS for one in planned) else []
    data: dict[str, list[dict[str, Any]]] = {
        "bars": list(_bars(points, clock, row, zone)),
        "band": list(_band(row, ahead, zone)),
        "plan": plan,
        "rules": [] if limit is None else [_rule(limit)],
        "rate": list(_rate(row, ahead, zone)),
    }
    drawn = {name: values for name, values in data.items() if values}
    span = [{"start": wall(start, zone), "end": wall(end, zone)}]
    return ForecastChart(
        spec={**_drawing(tuple(drawn)), "datasets": {**drawn, "span": span}},
        sentence=sentence(row, limit),
        rows=tuple(_rows(points, row, zone)),
        has_plan=bool(plan),
        has_limit=limit is not None,
    )


def sentence(row: Forecast, limit: Decimal | None) -> str:
    """What a reader who cannot see the chart needs first."""
    spent, low, expected, high = (formats.money(one) for one in (row.spent_usd, row.p10_usd, row.p50_usd, row.p90_usd))
    words = f"{spent} USD spent; the month is forecast to come to {expected} USD, four times in five to between {low}"
    words += f" and {high} USD"
    return f"{words}; the limit is {formats.money(limit)} USD." if limit is not None else f"{words}."


def _ends(clock: Calendar, row: Forecast) -> list[datetime]:
    """The end of each day ahead."""
    today = clock.day(row.as_of)
    starts = list(clock.starts("day", today, today + timedelta(days=len(row.days) + 2)))
    return starts[1 : len(row.days) + 1]


def _bars(points: Sequence[Point], clock: Calendar, row: Forecast, zone: tzinfo) -> Iterator[dict[str, Any]]:
    """Spend that adds up, from each day to the next with spend, and at last to when it was forecast."""
    total = Decimal(0)
    for place, point in enumerate(points):
        total += point.cost_usd
        until = points[place + 1].start if place + 1 < len(points) else max(row.as_of, point.start)
        if point.start < until:
            yield {
                "start": wall(point.start, zone),
                "end": wall(until, zone),
                "high": format(total, "f"),
                "when": _label(point.start.astimezone(zone).date()),
                "cost": formats.money(point.cost_usd),
                "sum": formats.money(total),
            }


def _rate(row: Forecast, ends: Sequence[datetime], zone: tzinfo) -> Iterator[dict[str, Any]]:
    yield {"at": wall(row.as_of, zone), "y": format(row.spent_usd, "f"), "label": ""}
    for place, (end, usd) in enumerate(zip(ends, path_of(row), strict=True), start=1):
        label = f"forecast {formats.money(row.p50_usd)}" if place == len(ends) else ""
        yield {"at": wall(end, zone), "y": format(usd, "f"), "label": label}


def _band(row: Forecast, ends: Sequence[datetime], zone: tzinfo) -> Iterator[dict[str, Any]]:
    """As wide at each day as what is ahead until then is of all that is."""
    rest = row.p50_usd - row.spent_usd
    path = [(row.as_of, row.spent_usd), *zip(ends, path_of(row), strict=True)]
    for at, usd in path:
        share = (usd - row.spent_usd) / rest if rest > 0 else Decimal(1)
        low, high = usd - (row.p50_usd - row.p10_usd) * share, usd + (row.p90_usd - row.p50_usd) * share
        yield {"at": wall(at, zone), "low": f"{low:.6f}", "high": f"{high:.6f}"}


_PLANS = frozenset({PlannedSpend.Kind.LIVE, PlannedSpend.Kind.LAUNCH})


def _plan(
    days: Sequence[date], planned: Sequence[PlannedSpend], start: datetime, clock: Calendar, zone: tzinfo
) -> Iterator[dict[str, Any]]:
    yield {"at": wall(start, zone), "y": "0"}
    ends = [*clock.starts("day", start, start + timedelta(days=len(days) + 2))][1 : len(days) + 1]
    sums = accumulate(_planned(day, planned) for day in days)
    for end, total in zip(ends, sums, strict=True):
        yield {"at": wall(end, zone), "y": format(total, "f")}


def _planned(day: date, planned: Sequence[PlannedSpend]) -> Decimal:
    return sum(
        (
            one.likely_usd
            for one in planned
            if one.kind in _PLANS and one.first_day <= day and (one.last_day is None or day <= one.last_day)
        ),
        Decimal(0),
    )


def _rule(limit: Decimal) -> dict[str, Any]:
    return {"y": format(limit, "f"), "label": f"limit {formats.money(limit)}", "kind": "limit"}


def _rows(points: Sequence[Point], row: Forecast, zone: tzinfo) -> Iterator[DayRow]:
    total = Decimal(0)
    for point in points:
        total += point.cost_usd
        yield DayRow(_label(point.start.astimezone(zone).date()), False, point.cost_usd, total)
    first = row.as_of.astimezone(zone).date()
    for place, (usd, so_far) in enumerate(zip(row.days, path_of(row), strict=True)):
        yield DayRow(_label(first + timedelta(days=place)), True, Decimal(usd), so_far)


def _label(day: date) -> str:
    return f"{day:%a} {day.day} {day:%b}"


@cache
def _drawing(drawn: tuple[str, ...]) -> dict[str, Any]:
    return period("%-d %b", drawn, LAYERS)


def _plan_line() -> alt.Chart:
    chart: alt.Chart = (
        alt.Chart(named("plan", "y"))
        .mark_line(color=GREY, strokeWidth=1, interpolate="step-before")
        .encode(x="at:T", y="y:Q")
    )
    return chart


LAYERS: Layers = {
    "bars": spent_so_far,
    "band": lambda: band(SPENT),
    "plan": lambda: (_plan_line(),),
    "rules": limits,
    "rate": lambda: run_rate(SPENT),
}
