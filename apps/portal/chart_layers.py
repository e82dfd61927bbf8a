"""What several charts share: their frame, the axis of a period, limits as rules, what is ahead and its band.

Colours are Okabe and Ito's, as in `charts`.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any

import altair as alt

SPENT, LIMIT, GREY = "#0072B2", "#D55E00", "#8A919C"
CHART_HEIGHT_PIXELS = 176
# The name of a forecast may stand above everything else.
LABEL_PIXELS = 16

# As the numbers of the page: to four digits below a thousand, then in k and M.
AMOUNTS = "abs(datum.value) < 1000 ? format(datum.value, '.4~g') : format(datum.value, '~s')"
# A layer by the name of its data.
Layers = Mapping[str, Callable[[], tuple[alt.Chart, ...]]]


def finished(chart: Any, height: int) -> dict[str, Any]:
    """The spec of a chart as every chart of the house is set: as wide as its frame, `height` in pixels."""
    spec: dict[str, Any] = (
        chart.properties(width="container", height=height)
        .configure(font="system-ui, sans-serif", background="transparent")
        .configure_view(stroke=None)
        .configure_axis(labelFontSize=11, labelPadding=6, title=None)
        .to_dict()
    )
    return spec


def named(name: str, *numbers: str) -> alt.NamedData:
    """Data that the page adds; the fields `numbers` travel as decimal strings and are read as numbers."""
    return alt.NamedData(name, format=alt.JsonDataFormat(type="json", parse=dict.fromkeys(numbers, "number")))


def wall(instant: datetime, zone: tzinfo | None = None) -> int:
    """The wall-clock time in `zone`, or in the instant's own, as if it were UTC, in milliseconds.

    The axis of a chart is in UTC, so that the reader's own zone does not move the organization's days.
    """
    local = instant if zone is None else instant.astimezone(zone)
    return int(local.replace(tzinfo=UTC).timestamp()) * 1000


def span(shape: str) -> alt.Chart:
    """Of the data "span", of [{start, end}]: nothing to see, it makes the axis cover all of it."""
    axis = alt.Axis(grid=False, ticks=False, format=shape, labelOverlap="greedy", tickCount=8)
    chart: alt.Chart = (
        alt.Chart(named("span"))
        .mark_rect(opacity=0)
        .encode(x=alt.X("start:T", title=None, axis=axis, scale=alt.Scale(type="utc", nice=False)), x2="end")
    )
    return chart


def period(shape: str, drawn: Sequence[str], layers: Layers) -> dict[str, Any]:
    """The spec without its data of spend that adds up: `drawn` are the layers that have some, Vega warns of others."""
    chart = alt.layer(span(shape), *(layer for name in drawn for layer in layers[name]()))
    return finished(chart, CHART_HEIGHT_PIXELS - LABEL_PIXELS)


def spent_so_far() -> tuple[alt.Chart, ...]:
    """Of the data "bars", of [{start, end, high, when, cost, sum}]: what is spent up to each instant."""
    axis = alt.Axis(grid=True, domain=False, ticks=False, tickCount=4)
    tooltips = (("when:N", "When"), ("cost:N", "USD then"), ("sum:N", "USD so far"))
    chart: alt.Chart = (
        alt.Chart(named("bars", "high"))
        .mark_rect(color=SPENT)
        .encode(
            x="start:T",
            x2="end",
            y=alt.Y("high:Q", title=None, axis=axis, scale=alt.Scale(zero=True)),
            y2=alt.datum(0),
            tooltip=[alt.Tooltip(field, title=title) for field, title in tooltips],
        )
    )
    return (chart,)


def limits() -> tuple[alt.Chart, ...]:
    """Of the data "rules", of [{y, label, kind}]: the kind "limit" stands out."""
    is_limit = alt.datum.kind == "limit"
    data = named("rules", "y")
    lines: alt.Chart = (
        alt.Chart(data)
        .mark_rule()
        .encode(
            y="y:Q",
            color=alt.condition(is_limit, alt.value(LIMIT), alt.value(GREY)),
            strokeWidth=alt.condition(is_limit, alt.value(2), alt.value(1)),
            strokeDash=alt.condition(is_limit, alt.value([1, 0]), alt.value([2, 3])),
        )
    )
    names: alt.Chart = (
        alt.Chart(data)
        .mark_text(align="left", baseline="bottom", dx=4, dy=-2, fontSize=11)
        .encode(x=alt.value(0), y="y:Q", text="label:N")
    )
    return lines, names


def run_rate(colour: str) -> tuple[alt.Chart, ...]:
    """Of the data "rate", of [{at, y, label}]: from now to the end of the period, by forecast or at the run rate."""
    data = named("rate", "y")
    line = alt.Chart(data).mark_line(color=colour, strokeDash=[6, 4], strokeWidth=2).encode(x="at:T", y="y:Q")
    text = (
        alt.Chart(data)
        .mark_text(align="right", baseline="bottom", dx=-4, dy=-6, fontSize=11)
        .encode(x="at:T", y="y:Q", text="label:N")
    )
    return line, text


def band(colour: str) -> tuple[alt.Chart, ...]:
    """Of the data "band", of [{at, low, high}]: where the forecast lies four times in five."""
    area: alt.Chart = (
        alt.Chart(named("band", "low", "high"))
        .mark_area(color=colour, opacity=0.18)
        .encode(x="at:T", y="low:Q", y2="high")
    )
    return (area,)
