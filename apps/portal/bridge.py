"""A bridge: from one amount to another by what was added and taken off, as a Vega-Lite spec. Pure.

Bars lie, since their names are words; what adds is orange and what takes off is blue, each with its sign beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

import altair as alt

from apps.core.money import EXACT
from apps.portal import formats
from apps.portal.chart_layers import AMOUNTS, GREY, finished, named

# As high as the page's tall frame, less its axis; of few bars each has more room.
HEIGHT_PIXELS = 250
# Beside the longest bar there is room for what it comes to.
ROOM = Decimal("1.25")
COLOURS = {"whole": "#0072B2", "more": "#E69F00", "less": "#56B4E9"}


@dataclass(frozen=True, slots=True)
class Span:
    """A step of the bridge: its name, and what it adds."""

    label: str
    usd: Decimal


@dataclass(frozen=True, slots=True)
class Bridge:
    """`sentence` says what the spec shows."""

    spec: Mapping[str, Any]
    sentence: str


def bridge(first: Span, steps: Sequence[Span], last: Span, *, flexed: Span | None = None) -> Bridge:
    """`first` and `last` are whole amounts, the steps lead from one to the other; `flexed` is a rule across."""
    bars = [_bar(0, first, Decimal(0), first.usd, "whole")]
    reached = first.usd
    for step in steps:
        after = EXACT.add(reached, step.usd)
        bars.append(_bar(len(bars), step, reached, after, "more" if step.usd > 0 else "less"))
        reached = after
    bars.append(_bar(len(bars), last, Decimal(0), last.usd, "whole"))
    highest = max(Decimal(bar["high"]) for bar in bars)
    datasets: dict[str, Any] = {"bars": bars, "room": [{"x": f"{highest * ROOM:f}"}]}
    if flexed is not None:
        label = f"{flexed.label} {formats.money(flexed.usd)}"
        is_right = flexed.usd > highest / 2
        datasets["rules"] = [
            {"x": f"{flexed.usd:f}", "after": "" if is_right else label, "before": label if is_right else ""}
        ]
    return Bridge({**_drawing(flexed is not None), "datasets": datasets}, _sentence(first, steps, last))


def _bar(place: int, span: Span, start: Decimal, end: Decimal, kind: str) -> dict[str, Any]:
    says = formats.money(span.usd) if kind == "whole" else signed(span.usd)
    return {
        "place": place,
        "label": span.label,
        "low": f"{min(start, end):f}",
        "high": f"{max(start, end):f}",
        "kind": kind,
        "says": says,
    }


def signed(usd: Decimal) -> str:
    """With a plus where it is above 0."""
    return f"+{formats.money(usd)}" if usd > 0 else formats.money(usd)


def _sentence(first: Span, steps: Sequence[Span], last: Span) -> str:
    said = ", ".join(f"{step.label.lower()} {signed(step.usd)}" for step in steps)
    between = f": {said} USD" if steps else ", without a difference"
    return (
        f"From {first.label.lower()}, {formats.money(first.usd)} USD, to {last.label.lower()},"
        f" {formats.money(last.usd)} USD{between}. The table has every number."
    )


@cache
def _drawing(has_rule: bool) -> dict[str, Any]:
    data = named("bars", "low", "high")
    axis = alt.Axis(grid=False, ticks=False, domain=False, labelLimit=160, labelOverlap=False)
    money = alt.Axis(grid=True, domain=False, ticks=False, tickCount=4, labelExpr=AMOUNTS, labelOverlap="greedy")
    base = alt.Chart(data).encode(
        y=alt.Y("label:N", title=None, axis=axis, sort=alt.EncodingSortField("place", op="min"))
    )
    colours = alt.Scale(domain=list(COLOURS), range=list(COLOURS.values()))
    bars = base.mark_bar(height=14, minBandSize=1).encode(
        x=alt.X("low:Q", title=None, axis=money, scale=alt.Scale(zero=True)),
        x2="high:Q",
        color=alt.Color("kind:N", legend=None, scale=colours),
        tooltip=[alt.Tooltip("label:N", title="Line"), alt.Tooltip("says:N", title="USD")],
    )
    words = base.mark_text(align="left", baseline="middle", dx=6, fontSize=11).encode(x="high:Q", text="says:N")
    room = alt.Chart(named("room", "x")).mark_point(opacity=0).encode(x="x:Q")
    layers: list[Any] = [bars, words, room]
    if has_rule:
        rules = alt.Chart(named("rules", "x"))
        layers.append(rules.mark_rule(color=GREY, strokeDash=[4, 3], strokeWidth=1.5).encode(x="x:Q"))
        # On the side on which there is room for it.
        text: dict[str, Any] = {"baseline": "bottom", "dy": -2, "fontSize": 11}
        named_at = (
            ("after", rules.mark_text(align="left", dx=2, **text)),
            ("before", rules.mark_text(align="right", dx=-2, **text)),
        )
        layers += [mark.encode(x="x:Q", y=alt.value(0), text=f"{field}:N") for field, mark in named_at]
    return finished(alt.layer(*layers), HEIGHT_PIXELS)
