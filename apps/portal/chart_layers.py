"""Layers that several charts of a period have: limits as rules with their names, what is ahead, dashed, and its band.

Colours are Okabe and Ito's, as in `charts`.
"""

from typing import Any

import altair as alt

LIMIT, GREY = "#D55E00", "#8A919C"


def limits() -> tuple[alt.Chart, ...]:
    """Of the data "rules", of [{y, label, kind}]: the kind "limit" stands out."""
    is_limit = alt.datum.kind == "limit"
    data = _named("rules")
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
    data = _named("rate")
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
        alt.Chart(_named("band")).mark_area(color=colour, opacity=0.18).encode(x="at:T", y="low:Q", y2="high")
    )
    return (area,)


def _named(name: str) -> Any:
    parse = {"y": "number", "low": "number", "high": "number"} if name == "band" else {"y": "number"}
    return alt.NamedData(name, format=alt.JsonDataFormat(type="json", parse=parse))
