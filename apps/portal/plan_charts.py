"""The charts of a plan, one Vega-Lite spec each: its months with their band, its drivers, and a bridge of its levers.

Amounts travel as decimal strings and become numbers only in the renderer. Colours are Okabe and Ito's, as in `charts`.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Any

import altair as alt

from apps.core.money import EXACT
from apps.portal import formats
from apps.portal.bridge import Bridge, Span, bridge
from apps.portal.chart_layers import AMOUNTS, CHART_HEIGHT_PIXELS, GREY, finished, limits, named
from apps.portal.pages_plans import DriverRow, LeverRow, MonthRow

BLUE, ORANGE = "#0072B2", "#E69F00"
DRIVERS_DRAWN = 6
TAIL_TIMES_MAX = 2
_MONEY = alt.Axis(grid=True, domain=False, ticks=False, tickCount=4, labelExpr=AMOUNTS)


def fan(months: Sequence[MonthRow], budget_usd: Decimal | None) -> Mapping[str, Any]:
    """P10 to P90 as a band, P50 as a line; P99 dashed where it `has_tail`; a budget as a rule."""
    rows = [
        {
            "at": _wall(row.day),
            **{name: f"{getattr(row, f'{name}_usd'):f}" for name in ("p10", "p50", "p90", "p99")},
            "when": row.label,
            "says": f"{formats.money(row.p50_usd)} ({formats.money(row.p10_usd)} to {formats.money(row.p90_usd)})",
        }
        for row in months
    ]
    datasets: dict[str, Any] = {"bars": rows}
    if budget_usd is not None:
        label = f"budget {formats.money(budget_usd)}"
        datasets["rules"] = [{"y": f"{budget_usd:f}", "label": label, "kind": "limit"}]
    return {**_fan("rules" in datasets, has_tail(months, budget_usd)), "datasets": datasets}


def has_tail(months: Sequence[MonthRow], budget_usd: Decimal | None) -> bool:
    """Whether P99 is drawn: a tail that lies far above everything else would make it flat."""
    highest = max([*(row.p90_usd for row in months), *([] if budget_usd is None else [budget_usd])])
    return max(row.p99_usd for row in months) <= highest * TAIL_TIMES_MAX


@cache
def _fan(has_rule: bool, has_p99: bool) -> dict[str, Any]:
    data = named("bars", "p10", "p50", "p90", "p99")
    axis = alt.Axis(grid=False, ticks=False, format="%b %y", labelOverlap="greedy", tickCount=12)
    base = alt.Chart(data).encode(x=alt.X("at:T", title=None, axis=axis, scale=alt.Scale(type="utc", nice=False)))
    tooltip = [alt.Tooltip("when:N", title="Month"), alt.Tooltip("says:N", title="USD, P50 (P10 to P90)")]
    layers = [
        base.mark_area(color=BLUE, opacity=0.2).encode(y=alt.Y("p10:Q", title=None, axis=_MONEY), y2="p90:Q"),
        *([base.mark_line(color=GREY, strokeDash=[4, 3], strokeWidth=1.5).encode(y="p99:Q")] if has_p99 else []),
        base.mark_line(color=BLUE, strokeWidth=2).encode(y="p50:Q"),
        base.mark_point(color=BLUE, filled=True, opacity=1, size=36).encode(y="p50:Q", tooltip=tooltip),
    ]
    return finished(alt.layer(*layers, *(limits() if has_rule else ())), CHART_HEIGHT_PIXELS)


def tornado(drivers: Sequence[DriverRow], likely_usd: Decimal) -> Mapping[str, Any]:
    """What each uncertain input moves a month by, from its P10 to its P90, the largest swing on top."""
    rows = [
        {
            "label": row.label,
            "place": place,
            "low": f"{row.low_usd:f}",
            "high": f"{row.high_usd:f}",
            "says": f"{formats.money(row.low_usd)} to {formats.money(row.high_usd)}",
        }
        for place, row in enumerate(drivers[:DRIVERS_DRAWN])
    ]
    return {**_tornado(), "datasets": {"bars": rows, "likely": [{"y": f"{likely_usd:f}"}]}}


@cache
def _tornado() -> dict[str, Any]:
    axis = alt.Axis(grid=False, ticks=False, domain=False, labelLimit=200)
    bars = (
        alt.Chart(named("bars", "low", "high"))
        .mark_bar(color=ORANGE, height=14)
        .encode(
            y=alt.Y("label:N", title=None, axis=axis, sort=alt.EncodingSortField("place", op="min")),
            x=alt.X("low:Q", title=None, axis=_MONEY, scale=alt.Scale(zero=False)),
            x2="high:Q",
            tooltip=[alt.Tooltip("label:N", title="Input"), alt.Tooltip("says:N", title="USD a month, P10 to P90")],
        )
    )
    rule = alt.Chart(named("likely", "y")).mark_rule(color=GREY, strokeWidth=1.5).encode(x="y:Q")
    return finished(bars + rule, CHART_HEIGHT_PIXELS)


def waterfall(base_usd: Decimal, levers: Sequence[LeverRow]) -> Bridge:
    """The first month as planned, what each lever takes off it on top of those before, and what is left."""
    steps, reached = [], base_usd
    for lever in levers:
        if lever.is_advised:
            steps.append(Span(lever.label, EXACT.subtract(lever.after_usd, reached)))
            reached = lever.after_usd
    return bridge(Span("as planned", base_usd), steps, Span("with all", reached))


def _wall(day: date) -> str:
    return f"{day.isoformat()}T00:00:00Z"
