"""One Vega-Lite spec per chart, built from plain rows; the page's table shows the same numbers.

Amounts travel as decimal strings and become numbers only in the renderer, which turns them into heights.
Colours are a fixed, colour-blind-safe order (Okabe and Ito, 2008); the page's legend names them by slot.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import zip_longest
from typing import Any, Literal

import altair as alt

from apps.portal import formats
from apps.portal.chart_layers import (
    AMOUNTS,
    CHART_HEIGHT_PIXELS,
    LABEL_PIXELS,
    Layers,
    band,
    finished,
    limits,
    named,
    run_rate,
    span,
    wall,
)

Granularity = Literal["hour", "day", "week", "month"]
# "sum" are stacked bars that add up from the first bucket on.
Drawn = Literal["stacked", "line", "sum"]

SERIES_MAX = 8
# The last two are the hardest to see on white and on black: they come last. `app.css` swaps the black
# for white in the dark theme, and names the same colours `.swatch-1` to `.swatch-8`.
OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
COLOURS = {
    **{str(slot): colour for slot, colour in enumerate(OKABE_ITO, start=1)},
    "other": "#8A919C",
    "none": "#C3C8D0",
}
PREVIOUS_COLOUR = "#838C98"
# A limit that lies further above everything else would make it flat.
LIMIT_TIMES_MAX = 5


@dataclass(frozen=True, slots=True)
class SpendPoint:
    """One bucket of one series: `bucket` is the bucket's first instant; `series` None is unattributed."""

    bucket: datetime
    series: str | None
    cost_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class Span:
    """What the axis covers: half-open, aware instants in the organization's zone; `at` is now."""

    start: datetime
    end: datetime
    granularity: Granularity
    at: datetime


@dataclass(frozen=True, slots=True)
class Ahead:
    """What spend that adds up is held against: at `end`, after now, it comes to `forecast_usd`; None: not known yet.

    `band_usd` are P10 and P90; None: it is the run rate, which has none.
    """

    end: datetime
    forecast_usd: Decimal | None
    limit_usd: Decimal | None = None
    limit_name: str = ""
    band_usd: tuple[Decimal, Decimal] | None = None


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """`swatch` is the class suffix of the series' colour: `1` to `8`, `other` or `none`."""

    label: str
    swatch: str


@dataclass(frozen=True, slots=True)
class ChartRow:
    """One bucket as text and amounts: `cells` follow the legend, None where nothing was priced.

    `previous_usd`: all that its part of the period before came to; None where nothing is compared.
    """

    bucket: datetime
    label: str
    so_far: bool
    cells: tuple[Decimal | None, ...]
    total_usd: Decimal
    previous_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Chart:
    """A Vega-Lite spec with its words: `sentence` says what it shows, `rows` are its numbers."""

    spec: Mapping[str, Any]
    sentence: str
    legend: tuple[LegendEntry, ...]
    rows: tuple[ChartRow, ...]

    @property
    def is_compared(self) -> bool:
        return any(row.previous_usd is not None for row in self.rows)

    def swatch_of(self, label: str | None) -> str:
        """The colour slot of a series by its name; `other` for one that is folded away."""
        if label is None:
            return "none"
        return next(
            (entry.swatch for entry in self.legend if entry.label == label and entry.swatch != "none"),
            "other",
        )


def spend_over_time(
    points: Sequence[SpendPoint],
    *,
    span: Span,
    order: Sequence[str],
    none_label: str = "unattributed",
    drawn: Drawn = "stacked",
    buckets: Sequence[datetime] = (),
    previous: Mapping[datetime, Decimal] | None = None,
    ahead: Ahead | None = None,
) -> Chart:
    """Spend per bucket, as stacked bars or a line a series; `previous` is a faint line of the period before.

    Where it adds up, `ahead` goes on to the end of the period.

    `order` is the organization's fixed order of names and decides colours; names it lacks come after it, by
    name. The eight series with the most cost are drawn, the rest are summed as `other (n)`; `none_label` is
    what has no name. Each of `buckets` has its row, whether anything was spent in it or not.
    """
    totals = _totals(points)
    slots = colour_slots(totals, order)
    legend = _legend(totals, slots, none_label)
    places = {entry.swatch: place for place, entry in enumerate(legend)}
    rows = _rows([_cell(point, places, slots, span) for point in points], legend, span, buckets, previous)
    return Chart(_spec(rows, legend, span, drawn, ahead), _sentence(rows, span, ahead), legend, rows)


def colour_slots(totals: Mapping[str | None, Decimal], order: Sequence[str]) -> dict[str, int]:
    """Slot 0 to 7 for each of the eight largest series: its place in `order`, or the next one free.

    Up to eight names in `order`, a name has the same slot on every chart.
    """
    places = {name: place for place, name in enumerate(order)}
    named = sorted((name for name in totals if name is not None), key=lambda name: (-totals[name], name))
    drawn = sorted(named[:SERIES_MAX], key=lambda name: (places.get(name, len(places)), name))
    slots: dict[str, int] = {}
    free = list(range(SERIES_MAX))
    for name in drawn:
        wanted = places.get(name, len(places)) % SERIES_MAX
        slot = min(free, key=lambda candidate: (candidate - wanted) % SERIES_MAX)
        free.remove(slot)
        slots[name] = slot
    return slots


def _totals(points: Sequence[SpendPoint]) -> dict[str | None, Decimal]:
    totals: dict[str | None, Decimal] = defaultdict(Decimal)
    for point in points:
        totals[point.series] += point.cost_usd or Decimal(0)
    return dict(totals)


def _legend(totals: Mapping[str | None, Decimal], slots: Mapping[str, int], none_label: str) -> tuple[LegendEntry, ...]:
    drawn = sorted(slots, key=lambda name: (-totals[name], name))
    entries = [LegendEntry(name, str(slots[name] + 1)) for name in drawn]
    others = sum(1 for name in totals if name is not None and name not in slots)
    if others:
        entries.append(LegendEntry(f"other ({others})", "other"))
    if None in totals:
        entries.append(LegendEntry(none_label, "none"))
    return tuple(entries)


@dataclass(frozen=True, slots=True)
class _Cell:
    """A point as a cell of the table: `place` is its column, in the legend's order."""

    bucket: datetime
    place: int
    cost_usd: Decimal | None


def _cell(point: SpendPoint, places: Mapping[str, int], slots: Mapping[str, int], span: Span) -> _Cell:
    swatch = _swatch(point.series, slots)
    return _Cell(point.bucket.astimezone(span.start.tzinfo), places[swatch], point.cost_usd)


def _swatch(series: str | None, slots: Mapping[str, int]) -> str:
    if series is None:
        return "none"
    return str(slots[series] + 1) if series in slots else "other"


def _rows(
    cells: Sequence[_Cell],
    legend: Sequence[LegendEntry],
    span: Span,
    buckets: Sequence[datetime],
    previous: Mapping[datetime, Decimal] | None,
) -> tuple[ChartRow, ...]:
    zone = span.start.tzinfo
    table: dict[datetime, list[Decimal | None]] = {
        bucket.astimezone(zone): [None] * len(legend) for bucket in (*buckets, *(previous or ()))
    }
    before = {bucket.astimezone(zone): amount for bucket, amount in (previous or {}).items()}
    for cell in cells:
        row = table.setdefault(cell.bucket, [None] * len(legend))
        if cell.cost_usd is not None:
            row[cell.place] = (row[cell.place] or Decimal(0)) + cell.cost_usd
    return tuple(
        ChartRow(
            bucket=bucket,
            label=_bucket_label(bucket, span.granularity),
            so_far=bucket <= span.at < bucket_end(bucket, span.granularity),
            cells=tuple(row),
            total_usd=sum((cell for cell in row if cell is not None), Decimal(0)),
            previous_usd=before.get(bucket, Decimal(0)) if previous is not None else None,
        )
        for bucket, row in sorted(table.items())
    )


def bucket_end(bucket: datetime, granularity: Granularity) -> datetime:
    """The first instant after the bucket, on the wall clock of the bucket's own zone."""
    if granularity == "month":
        return (bucket.replace(day=1) + timedelta(days=32)).replace(day=1)
    return bucket + {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}[granularity]


def _bucket_label(bucket: datetime, granularity: Granularity) -> str:
    if granularity == "hour":
        return f"{bucket:%a} {bucket.day} {bucket:%b, %H:%M}"
    if granularity == "month":
        return f"{bucket:%B %Y}"
    prefix = "week of " if granularity == "week" else ""
    return f"{prefix}{bucket:%a} {bucket.day} {bucket:%b}"


def _sentence(rows: Sequence[ChartRow], span: Span, ahead: Ahead | None) -> str:
    """What a reader who cannot see the chart needs first: the total, the peak, what is not over yet."""
    if not rows:
        return "No spend in this range."
    total = _total(rows)
    peak = max(rows, key=lambda row: row.total_usd)
    unfinished = next((row for row in rows if row.so_far), None)
    words = f"Spend per {span.granularity}: {formats.money(total)} USD in all"
    words += f", the most on {peak.label} with {formats.money(peak.total_usd)} USD"
    if unfinished is not None:
        words += f"; {unfinished.label} is {formats.money(unfinished.total_usd)} USD so far"
    if ahead is not None and ahead.forecast_usd is not None:
        words += f"; {_ahead_words(ahead.forecast_usd, ahead.band_usd)}"
    if ahead is not None and ahead.limit_usd is not None:
        words += f"; the limit of {ahead.limit_name} is {formats.money(ahead.limit_usd)} USD"
    return f"{words}. The table has every number."


def _spec(
    rows: Sequence[ChartRow], legend: Sequence[LegendEntry], span: Span, drawn: Drawn, ahead: Ahead | None
) -> dict[str, Any]:
    marks = _points if drawn == "line" else _stack
    datasets = {
        "bars": [mark for row in (_added_up(rows) if drawn == "sum" else rows) for mark in marks(row, legend, span)],
        "span": [_span_value(rows, span, ahead)],
    }
    more = {
        "previous": [step for row in rows for step in _steps(row, span)],
        "rules": list(_limit(rows, ahead)) if ahead else [],
        "band": list(_band(rows, span, ahead)) if ahead else [],
        "rate": list(_rate(rows, span, ahead)) if ahead else [],
    }
    drawn_too = {name: values for name, values in more.items() if values}
    return {**_drawing(span.granularity, drawn, tuple(drawn_too)), "datasets": {**datasets, **drawn_too}}


# Building and validating a spec costs altair some 50 ms, and only the data differs from page to page.
@cache
def _drawing(granularity: Granularity, drawn: Drawn, more: tuple[str, ...]) -> dict[str, Any]:
    """The spec without its data: what is drawn of them and, where there are some, of `more`."""
    height = CHART_HEIGHT_PIXELS - (LABEL_PIXELS if "rate" in more else 0)
    layers = [
        span(_AXIS_FORMATS[granularity]),
        _lines() if drawn == "line" else _bars("USD so far" if drawn == "sum" else "USD"),
        *(layer for name in more for layer in _MORE[name]()),
        _so_far_label(height),
    ]
    return finished(alt.layer(*layers), height)


def _bars(unit: str) -> alt.Chart:
    so_far = alt.datum.so_far
    colours = alt.Scale(domain=list(COLOURS), range=list(COLOURS.values()))
    chart: alt.Chart = (
        alt.Chart(named("bars", "low", "high"))
        .mark_rect(strokeWidth=1, x2Offset=-1)
        .encode(
            x="start:T",
            x2="end",
            y=alt.Y("low:Q", title=None, axis=_MONEY_AXIS, scale=alt.Scale(zero=True)),
            y2="high",
            color=alt.Color("swatch:N", legend=None, scale=colours),
            stroke=alt.Stroke("swatch:N", legend=None, scale=colours),
            fillOpacity=alt.condition(so_far, alt.value(0.35), alt.value(1)),
            strokeOpacity=alt.condition(so_far, alt.value(1), alt.value(0)),
            tooltip=_tooltip(unit),
        )
    )
    return chart


def _lines() -> alt.LayerChart:
    """A line and its points a series; the point of a bucket that is not over is hollow."""
    colours = alt.Scale(domain=list(COLOURS), range=list(COLOURS.values()))
    base = alt.Chart(named("bars", "low", "high")).encode(
        x="start:T", y=alt.Y("high:Q", title=None, axis=_MONEY_AXIS, scale=alt.Scale(zero=True))
    )
    line = base.mark_line(strokeWidth=2).encode(color=alt.Color("swatch:N", legend=None, scale=colours))
    points = base.mark_point(size=28, opacity=1, strokeWidth=1.5).encode(
        stroke=alt.Stroke("swatch:N", legend=None, scale=colours),
        fill=alt.Fill("swatch:N", legend=None, scale=colours),
        fillOpacity=alt.condition(alt.datum.so_far, alt.value(0), alt.value(1)),
        tooltip=_tooltip("USD"),
    )
    chart: alt.LayerChart = line + points
    return chart


def _tooltip(unit: str) -> list[alt.Tooltip]:
    return [
        alt.Tooltip("when:N", title="When"),
        alt.Tooltip("series:N", title="Series"),
        alt.Tooltip("cost:N", title=unit),
    ]


def _previous_line() -> alt.Chart:
    """Steps as wide as the buckets, so that each stands over the bar it is compared with."""
    chart: alt.Chart = (
        alt.Chart(named("previous", "previous"))
        .mark_line(color=PREVIOUS_COLOUR, strokeWidth=1.5, strokeDash=[4, 3], opacity=0.9)
        .encode(x="at:T", y="previous:Q")
    )
    return chart


def _so_far_label(height: int) -> alt.Chart:
    chart: alt.Chart = (
        alt.Chart(named("span"))
        .mark_text(dx=4, dy=-4, align="left", baseline="bottom", fontSize=11)
        .encode(x="so_far_end:T", y=alt.value(height), text="so_far_text:N")
    )
    return chart


_MORE: Layers = {
    "previous": lambda: (_previous_line(),),
    "rules": limits,
    "band": lambda: band(PREVIOUS_COLOUR),
    "rate": lambda: run_rate(PREVIOUS_COLOUR),
}
_AXIS_FORMATS = {"hour": "%-d %b %H:%M", "day": "%-d %b", "week": "%-d %b", "month": "%b %Y"}
_MONEY_AXIS = alt.Axis(
    grid=True,
    domain=False,
    ticks=False,
    tickCount=4,
    labelExpr=AMOUNTS,
)


def _added_up(rows: Sequence[ChartRow]) -> Iterator[ChartRow]:
    """Each bucket with all that was spent before it."""
    totals: list[Decimal | None] = []
    for row in rows:
        totals = [
            cell if total is None else total + (cell or 0)
            for cell, total in zip_longest(row.cells, totals, fillvalue=None)
        ]
        yield replace(row, cells=tuple(totals))


def _limit(rows: Sequence[ChartRow], ahead: Ahead) -> Iterator[dict[str, Any]]:
    highest = max(_total(rows), ahead.forecast_usd or Decimal(0))
    if ahead.limit_usd is not None and ahead.limit_usd <= highest * LIMIT_TIMES_MAX:
        label = f"{ahead.limit_name} {formats.money(ahead.limit_usd)}"
        yield {"y": format(ahead.limit_usd, "f"), "label": label, "kind": "limit"}


def _ahead_words(usd: Decimal, band: tuple[Decimal, Decimal] | None) -> str:
    if band is None:
        return f"at the run rate it comes to {formats.money(usd)} USD"
    low, high = (formats.money(one) for one in band)
    return f"by forecast it comes to {formats.money(usd)} USD, four times in five to between {low} and {high}"


def _band(rows: Sequence[ChartRow], span: Span, ahead: Ahead) -> Iterator[dict[str, Any]]:
    if ahead.band_usd is not None:
        now = format(_total(rows), "f")
        yield {"at": wall(span.at), "low": now, "high": now}
        low, high = ahead.band_usd
        yield {"at": wall(ahead.end), "low": format(low, "f"), "high": format(high, "f")}


def _rate(rows: Sequence[ChartRow], span: Span, ahead: Ahead) -> Iterator[dict[str, Any]]:
    if ahead.forecast_usd is not None:
        yield {"at": wall(span.at), "y": format(_total(rows), "f"), "label": ""}
        label = f"forecast {formats.money(ahead.forecast_usd)}"
        yield {"at": wall(ahead.end), "y": format(ahead.forecast_usd, "f"), "label": label}


def _total(rows: Sequence[ChartRow]) -> Decimal:
    return sum((row.total_usd for row in rows), Decimal(0))


def _stack(row: ChartRow, legend: Sequence[LegendEntry], span: Span) -> Iterator[dict[str, Any]]:
    """One bucket's bars, the first series of the legend at the bottom; credits hang below zero."""
    top = bottom = Decimal(0)
    for entry, cell in zip(legend, row.cells, strict=True):
        if not cell:
            continue
        low, high = (top, top + cell) if cell > 0 else (bottom + cell, bottom)
        top, bottom = (high, bottom) if cell > 0 else (top, low)
        yield _mark(row, entry, cell, low, high, span)


def _points(row: ChartRow, legend: Sequence[LegendEntry], span: Span) -> Iterator[dict[str, Any]]:
    """One bucket's point of each series: nothing spent is a point at zero, so that no line leaps over it."""
    for entry, cell in zip(legend, row.cells, strict=True):
        amount = cell or Decimal(0)
        yield _mark(row, entry, amount, Decimal(0), amount, span)


def _mark(
    row: ChartRow, entry: LegendEntry, amount: Decimal, low: Decimal, high: Decimal, span: Span
) -> dict[str, Any]:
    return {
        "start": wall(row.bucket),
        "end": wall(bucket_end(row.bucket, span.granularity)),
        "when": row.label + (" (so far)" if row.so_far else ""),
        "series": entry.label,
        "swatch": entry.swatch,
        "low": format(low, "f"),
        "high": format(high, "f"),
        "cost": formats.money(amount),
        "so_far": row.so_far,
    }


def _steps(row: ChartRow, span: Span) -> Iterator[dict[str, Any]]:
    if row.previous_usd is not None:
        for at in (row.bucket, bucket_end(row.bucket, span.granularity)):
            yield {"at": wall(at), "previous": format(row.previous_usd, "f")}


def _span_value(rows: Sequence[ChartRow], span: Span, ahead: Ahead | None) -> dict[str, Any]:
    end = max(ahead.end if ahead else span.end, bucket_end(span.start, span.granularity))
    unfinished = next((row.bucket for row in rows if row.so_far), None)
    return {
        "start": wall(span.start),
        "end": wall(end),
        "so_far_end": wall(end if unfinished is None else bucket_end(unfinished, span.granularity)),
        "so_far_text": "" if unfinished is None else "so far",
    }
