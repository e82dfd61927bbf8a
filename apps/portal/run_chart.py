"""The calls of a run as Vega-Lite specs: what each read, what of it came from a cache, and what it cost.

One place on the axis is one call. Retries and escalations are marked on top of their bar; a bound is a vertical rule
before the first call that lies beyond it. Colours are those of `meters`.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any

import altair as alt

from apps.portal import formats
from apps.portal.chart_layers import AMOUNTS, finished, named
from apps.portal.charts import COLOURS, LegendEntry
from apps.portal.meters import CONTEXT_GROUPS, METER_GROUPS, MeterGroup
from apps.portal.pages_runs import RunChart, RunCharts
from apps.portal.run_tree import Call

HEIGHT_PIXELS = {"tokens": 176, "usd": 272, "share": 56}
# As wide for every chart, so that the same call stands at the same place.
LABEL_PIXELS = 40
RULE, MARK, CACHED = "#D55E00", "#000000", "#009E73"

# What a bound is called, and when the first call beyond it happened, in this run or in a child of it.
Places = Sequence[tuple[str, datetime]]


def run_charts(calls: Sequence[Call], places: Places) -> RunCharts | None:
    """None where there are no calls to draw."""
    if not calls:
        return None
    used = [
        group
        for index, group in enumerate(METER_GROUPS)
        if any(call.quantities[index] or call.costs[index] for call in calls)
    ]
    is_priced = any(call.cost_usd is not None for call in calls)
    return RunCharts(
        legend=_legend(used),
        context_legend=_legend([group for group in used if group in CONTEXT_GROUPS]),
        context=_context(calls, places),
        cached=_cached(calls),
        cost=_cost(calls, places, used) if is_priced else None,
    )


def _legend(groups: Sequence[MeterGroup]) -> tuple[LegendEntry, ...]:
    return tuple(LegendEntry(group.label, group.swatch) for group in groups)


def _context(calls: Sequence[Call], places: Places) -> RunChart:
    stacks = [
        [(group, Decimal(size)) for group, size in zip(CONTEXT_GROUPS, call.quantities, strict=False)] for call in calls
    ]
    first, last = calls[0].context_tokens, calls[-1].context_tokens
    most = max(calls, key=lambda call: call.context_tokens)
    sentence = (
        f"Context per call: {formats.tokens(first)} tokens at first, {formats.tokens(last)} at last, the most in call"
        f" {most.number} with {formats.tokens(most.context_tokens)}."
    )
    rows = tuple(
        (
            _name(call),
            (
                *(formats.count(int(size)) for _, size in stack),
                formats.count(call.context_tokens),
                formats.per_cent(call.cache_hit_share),
            ),
        )
        for call, stack in zip(calls, stacks, strict=True)
    )
    headings = (*(group.label for group in CONTEXT_GROUPS), "Context, tokens", "Cached")
    return RunChart(_spec(calls, stacks, places, "tokens"), sentence, headings, rows)


def _cost(calls: Sequence[Call], places: Places, used: Sequence[MeterGroup]) -> RunChart:
    stacks = [
        [(group, cost or Decimal(0)) for group, cost in zip(METER_GROUPS, call.costs, strict=True)] for call in calls
    ]
    costs = [call.cost_usd for call in calls if call.cost_usd is not None]
    most = max((call for call in calls if call.cost_usd is not None), key=lambda call: call.cost_usd or Decimal(0))
    sentence = (
        f"Cost per call: {formats.money(sum(costs, Decimal(0)))} USD in all, the most in call {most.number} with"
        f" {formats.money(most.cost_usd)} USD."
    )
    if unpriced := len(calls) - len(costs):
        sentence += f" {unpriced} unpriced."
    rows = tuple(
        (
            _name(call),
            (
                *(
                    formats.NONE if call.cost_usd is None else formats.money(size)
                    for group, size in stack
                    if group in used
                ),
                formats.money(call.cost_usd),
            ),
        )
        for call, stack in zip(calls, stacks, strict=True)
    )
    return RunChart(
        _spec(calls, stacks, places, "usd"), sentence, (*(group.label for group in used), "Total, USD"), rows
    )


def _cached(calls: Sequence[Call]) -> RunChart | None:
    """None where nothing was read."""
    points = [
        {
            "n": call.number,
            "share": f"{call.cache_hit_share:.6f}",
            "call": _name(call),
            "says": formats.per_cent(call.cache_hit_share),
        }
        for call in calls
        if call.cache_hit_share is not None
    ]
    if not points:
        return None
    sentence = f"Cached share of the context: {points[0]['says']} at first, {points[-1]['says']} at last."
    return RunChart({**_line_drawing(), "datasets": {"bars": points, "span": [_span(calls)]}}, sentence, (), ())


def _name(call: Call) -> str:
    name = f"Call {call.number}"
    if call.step is not None:
        name += f", step {call.step}"
    return name if call.attempt == 1 else f"{name}, attempt {call.attempt}"


def _spec(
    calls: Sequence[Call], stacks: Sequence[Sequence[tuple[MeterGroup, Decimal]]], places: Places, unit: str
) -> dict[str, Any]:
    data = {
        "bars": [bar for call, stack in zip(calls, stacks, strict=True) for bar in _stack(call, stack, unit)],
        "rules": list(_fallen(calls, places)),
        "marks": [
            mark for call, stack in zip(calls, stacks, strict=True) for mark in _marks(call, sum(s for _, s in stack))
        ],
    }
    drawn = {name: rows for name, rows in data.items() if rows}
    return {**_drawing(unit, tuple(drawn)), "datasets": {"bars": [], **drawn, "span": [_span(calls)]}}


def _fallen(calls: Sequence[Call], places: Places) -> Iterator[dict[str, Any]]:
    """Each bound before the first of these calls that is beyond it; none where that was before them.

    Only the first is named on the chart: names would lie upon each other.
    """
    fallen: dict[int, list[str]] = {}
    for label, at in places:
        number = next((call.number for call in calls if call.occurred_at >= at), None)
        if number is not None and (number == 1 or number != calls[0].number or calls[0].occurred_at == at):
            fallen.setdefault(number, []).append(label)
    for index, (number, labels) in enumerate(sorted(fallen.items())):
        label = ", ".join(labels)
        yield {"at": number - 0.5, "label": label, "name": "" if index else label}


def _span(calls: Sequence[Call]) -> dict[str, float]:
    return {"first": (calls[0].number or 0) - 0.5, "last": (calls[-1].number or 0) + 0.5}


def _stack(call: Call, stack: Sequence[tuple[MeterGroup, Decimal]], unit: str) -> Iterator[dict[str, Any]]:
    low, number = Decimal(0), call.number or 0
    total = sum((size for _, size in stack), Decimal(0))
    shown = formats.money if unit == "usd" else lambda size: formats.count(int(size))
    for group, size in stack:
        if size > 0:
            yield {
                "first": number - 0.5,
                "last": number + 0.5,
                "low": format(low, "f"),
                "high": format(low + size, "f"),
                "swatch": group.swatch,
                "meter": group.label,
                "size": shown(size),
                "sum": shown(total),
                "call": _name(call),
                "model": call.model,
            }
            low += size


def _marks(call: Call, top: Decimal | int) -> Iterator[dict[str, Any]]:
    kinds = [("retry", call.attempt > 1), ("escalation", call.escalated_from is not None)]
    for kind in (kind for kind, is_so in kinds if is_so):
        yield {"n": call.number, "top": format(Decimal(top), "f"), "kind": kind, "call": _name(call)}


# Building and validating a spec costs altair some 50 ms, and only the data differs from page to page.
@cache
def _drawing(unit: str, drawn: tuple[str, ...]) -> dict[str, Any]:
    """The spec without its data, of the layers that have some: Vega warns of empty ones."""
    layers = {"bars": _bars, "rules": _rules, "marks": _mark_points}
    return finished(
        alt.layer(_whole(), *(layer for name in drawn for layer in layers[name](unit))), HEIGHT_PIXELS[unit]
    )


@cache
def _line_drawing() -> dict[str, Any]:
    axis = alt.Axis(**_PLAIN_AXIS, values=[0, 0.5, 1], format=".0%")
    line = (
        alt.Chart(named("bars", "share"))
        .mark_line(color=CACHED, strokeWidth=2, point=alt.OverlayMarkDef(color=CACHED, size=16))
        .encode(
            x="n:Q",
            y=alt.Y("share:Q", title=None, axis=axis, scale=alt.Scale(domain=[0, 1])),
            tooltip=[alt.Tooltip("call:N", title="Call"), alt.Tooltip("says:N", title="Cached")],
        )
    )
    return finished(alt.layer(_whole(), line), HEIGHT_PIXELS["share"])


def _whole() -> alt.Chart:
    """Nothing to see: it makes the axis cover every call."""
    # Between two calls there is none to name.
    whole = "datum.value % 1 ? '' : format(datum.value, 'd')"
    axis = alt.Axis(grid=False, ticks=False, labelExpr=whole, labelOverlap="greedy", tickCount=8)
    chart: alt.Chart = (
        alt.Chart(named("span"))
        .mark_rect(opacity=0)
        .encode(x=alt.X("first:Q", title=None, axis=axis, scale=alt.Scale(zero=False, nice=False)), x2="last")
    )
    return chart


def _bars(unit: str) -> tuple[alt.Chart, ...]:
    colours = alt.Scale(domain=list(COLOURS), range=list(COLOURS.values()))
    unit_name = "USD" if unit == "usd" else "Tokens"
    chart: alt.Chart = (
        alt.Chart(named("bars", "low", "high"))
        .mark_rect(xOffset=0.5, x2Offset=-0.5)
        .encode(
            x="first:Q",
            x2="last",
            y=alt.Y("low:Q", title=None, axis=alt.Axis(**_PLAIN_AXIS, tickCount=4, labelExpr=AMOUNTS)),
            y2="high",
            color=alt.Color("swatch:N", legend=None, scale=colours),
            tooltip=[
                alt.Tooltip("call:N", title="Call"),
                alt.Tooltip("model:N", title="Model"),
                alt.Tooltip("meter:N", title="Meter"),
                alt.Tooltip("size:N", title=unit_name),
                alt.Tooltip("sum:N", title=f"{unit_name} in all"),
            ],
        )
    )
    return (chart,)


def _rules(_: str) -> tuple[alt.Chart, ...]:
    rules = alt.Chart(named("rules"))
    line = rules.mark_rule(color=RULE, strokeWidth=2).encode(x="at:Q", tooltip=[alt.Tooltip("label:N", title="Bound")])
    text = rules.mark_text(align="left", baseline="top", dx=4, fontSize=11).encode(
        x="at:Q", y=alt.value(0), text="name:N"
    )
    return line, text


def _mark_points(_: str) -> tuple[alt.Chart, ...]:
    shapes = alt.Scale(domain=["retry", "escalation"], range=["circle", "triangle-up"])
    chart: alt.Chart = (
        alt.Chart(named("marks", "top"))
        .mark_point(filled=True, fill=MARK, stroke=MARK, size=36, yOffset=-7, opacity=1)
        .encode(
            x="n:Q",
            y="top:Q",
            shape=alt.Shape("kind:N", legend=None, scale=shapes),
            tooltip=[alt.Tooltip("call:N", title="Call"), alt.Tooltip("kind:N", title="It is")],
        )
    )
    return (chart,)


_PLAIN_AXIS: dict[str, Any] = {
    "grid": True, "domain": False, "ticks": False, "minExtent": LABEL_PIXELS, "maxExtent": LABEL_PIXELS,
}  # fmt: skip
