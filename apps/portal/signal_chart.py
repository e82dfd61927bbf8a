"""A signal by day as a Vega-Lite spec: its band, its baseline and its readings; what lies outside is marked."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import altair as alt

from apps.insights import wording
from apps.insights.selectors import Point, Series
from apps.portal import formats
from apps.portal.chart_layers import AMOUNTS, CHART_HEIGHT_PIXELS, finished, named, wall
from apps.portal.pages_signals import ChartRow, SignalChart

LINE, BAND, AWAY = "#0072B2", "#56B4E9", "#D55E00"


def signal_chart(series: Series, zone: ZoneInfo) -> SignalChart:
    """With the words of what it shows; the rows are its numbers."""
    key, points = series.signal, series.points
    shown = [point for point in points if point.value is not None]
    last = shown[-1] if shown else None
    is_away = last is not None and last.status == "alarm"
    return SignalChart(
        key=key,
        label=wording.label(key),
        sentence=_sentence(key, shown, zone),
        spec=_spec(key, shown, zone) if len(shown) > 1 else None,
        now=wording.reading(key, last.value) if last else formats.NONE,
        usual=wording.reading(key, last.baseline) if last else formats.NONE,
        is_away=is_away,
        learning=wording.learning(key, series.days_missing, series.observations_missing),
        rows=tuple(_row(key, point, zone) for point in reversed(points)),
    )


def _sentence(key: str, shown: Sequence[Point], zone: ZoneInfo) -> str:
    if not shown:
        return f"{wording.label(key)}: no reading in these days."
    last = shown[-1]
    words = f"{wording.label(key)} was {wording.reading(key, last.value)} on {_day(last.day, zone)}"
    if last.baseline is not None:
        words += f", where {wording.reading(key, last.baseline)} is usual"
    return f"{words}. The table has every day."


def _row(key: str, point: Point, zone: ZoneInfo) -> ChartRow:
    band = formats.NONE
    if point.low is not None and point.high is not None:
        band = f"{wording.reading(key, point.low)} to {wording.reading(key, point.high)}"
    return ChartRow(
        day=_day(point.day, zone),
        value=wording.reading(key, point.value),
        baseline=wording.reading(key, point.baseline),
        band=band,
        sample=formats.count(round(point.sample)),
    )


def _day(day: datetime, zone: ZoneInfo) -> str:
    local = day.astimezone(zone)
    return f"{local:%a} {local.day} {local:%b}"


def _spec(key: str, shown: Sequence[Point], zone: ZoneInfo) -> dict[str, Any]:
    scale = 100.0 if key in wording.SHARES else 1.0
    values = [
        {
            "at": wall(point.day, zone),
            "when": _day(point.day, zone),
            "value": _scaled(point.value, scale),
            "baseline": _scaled(point.baseline, scale),
            "low": _scaled(point.low, scale),
            "high": _scaled(point.high, scale),
            "reading": wording.reading(key, point.value),
            "away": point.status == "alarm",
        }
        for point in shown
    ]
    has_band = any(one["low"] is not None and one["high"] is not None for one in values)
    has_usual = any(one["baseline"] is not None for one in values)
    return {**_drawing(has_band, has_usual), "datasets": {"days": values}}


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else float(f"{scale * value:.6g}")


# Building and validating a spec costs altair some 50 ms, and only the data differs.
@cache
def _drawing(has_band: bool, has_usual: bool) -> dict[str, Any]:
    """Vega warns of a layer without a number."""
    data = named("days")
    axis = alt.Axis(grid=False, ticks=False, format="%-d %b", labelOverlap="greedy", tickCount=6)
    base = alt.Chart(data).encode(x=alt.X("at:T", title=None, axis=axis, scale=alt.Scale(type="utc", nice=False)))
    amount = alt.Axis(grid=True, domain=False, ticks=False, tickCount=4, labelExpr=AMOUNTS)
    level = alt.Y("value:Q", title=None, axis=amount, scale=alt.Scale(zero=False))
    band = base.mark_area(color=BAND, opacity=0.25).encode(y=alt.Y("low:Q", axis=amount), y2="high")
    usual = base.mark_line(color=LINE, strokeDash=[5, 4], strokeWidth=1.5, opacity=0.8).encode(y="baseline:Q")
    line = base.mark_line(color=LINE, strokeWidth=2).encode(y=level)
    tooltip = [alt.Tooltip("when:N", title="Day"), alt.Tooltip("reading:N", title="Reading")]
    points = base.mark_point(filled=True, size=30, opacity=1).encode(
        y=level, color=alt.condition(alt.datum.away, alt.value(AWAY), alt.value(LINE)), tooltip=tooltip
    )
    layers = [*([band] if has_band else []), *([usual] if has_usual else []), line, points]
    return finished(alt.layer(*layers), CHART_HEIGHT_PIXELS)
