"""A model's price over time as one Vega-Lite spec: steps of the rates per million tokens, what is to come dashed."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import altair as alt

from apps.portal import formats
from apps.portal.chart_layers import CHART_HEIGHT_PIXELS, finished, named
from apps.portal.charts import OKABE_ITO
from apps.portal.pages_prices import PriceLine

SERIES = ("Input", "Cache read", "Output")
# Before prices were dated there is nothing to draw: the axis begins a little before the first change.
MARGIN = timedelta(days=90)


def price_history(lines: Sequence[PriceLine], at: datetime) -> tuple[Mapping[str, Any] | None, str]:
    """The spec and the sentence that says it in words; no spec where no standard price has a rate of tokens."""
    standing = [line for line in lines if _is_drawn(line)]
    starts = sorted(line.effective_from or datetime.min.replace(tzinfo=UTC) for line in standing)
    dated = [start for start in starts if start.year > 1970]
    begin = min([*dated, at]) - MARGIN
    end = max([*dated, at]) + MARGIN / 3
    points = [point for name in SERIES for point in _steps(standing, name, begin, end, at)]
    if not points:
        return None, ""
    spec = {**_drawing(), "datasets": {"bars": points, "now": [{"at": _wall(at)}]}}
    return spec, _sentence(standing, dated)


def _is_drawn(line: PriceLine) -> bool:
    is_plain = line.service_tier == "standard" and not line.region and not line.window
    return is_plain and line.state in ("in force", "coming", "earlier")


def _steps(
    lines: Sequence[PriceLine], name: str, begin: datetime, end: datetime, at: datetime
) -> Iterator[dict[str, Any]]:
    """One series as segments from change to change."""
    changes = sorted(
        (line.effective_from or begin, cell.usd_per_million)
        for line in lines
        for cell in line.rates
        if cell.label == name
    )
    for index, (start, rate) in enumerate(changes):
        until = changes[index + 1][0] if index + 1 < len(changes) else end
        for left, right, coming in ((start, min(until, at), False), (max(start, at), until, True)):
            if left < right:
                yield {
                    "start": _wall(max(left, begin)),
                    "end": _wall(right),
                    "rate": format(rate, "f"),
                    "series": name,
                    "coming": coming,
                }


def _wall(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _sentence(lines: Sequence[PriceLine], dated: Sequence[datetime]) -> str:
    now = next((line for line in lines if line.state == "in force"), None)
    if now is None:
        return "No standard price is in force."
    rates = ", ".join(f"{cell.label.lower()} {formats.digits(cell.usd_per_million)}" for cell in now.rates)
    changes = len(dated)
    words = "no change is known" if not changes else f"{changes} dated change{'s' if changes > 1 else ''}"
    return f"Standard price in USD per million: {rates}; {words}."


@cache
def _drawing() -> dict[str, Any]:
    """The spec without its data."""
    colours = alt.Scale(domain=list(SERIES), range=list(OKABE_ITO[:3]))
    steps = (
        alt.Chart(named("bars", "rate"))
        .mark_rule(strokeWidth=2, strokeCap="square")
        .encode(
            x=alt.X("start:T", title=None, axis=alt.Axis(grid=False, ticks=False, format="%b %Y", tickCount=8)),
            x2="end:T",
            y=alt.Y("rate:Q", title=None, axis=alt.Axis(grid=True, domain=False, ticks=False, tickCount=4)),
            color=alt.Color("series:N", legend=None, scale=colours),
            strokeDash=alt.condition("datum.coming", alt.value([4, 4]), alt.value([1, 0])),
            tooltip=[alt.Tooltip("series:N", title="Rate"), alt.Tooltip("rate:Q", title="USD per million")],
        )
    )
    now = alt.Chart(alt.NamedData("now")).mark_rule(strokeWidth=1, strokeDash=[2, 3], color="#8A919C").encode(x="at:T")
    return finished(alt.layer(now, steps), CHART_HEIGHT_PIXELS)
