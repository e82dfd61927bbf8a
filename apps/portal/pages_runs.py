"""What the templates of runs read."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from apps.portal.charts import LegendEntry
from apps.portal.pages import Chip, Select, Tab, TextField
from apps.portal.pages_budgets import State


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run in a list. `state` None: it is over, and nobody said how it went."""

    run_id: str
    url: str
    parent_run_id: str | None
    parent_url: str
    workflow: str | None
    started_at: datetime
    duration: str
    steps: int
    retries: int
    escalations: int
    cache_hit_share: Decimal | None
    cost_usd: Decimal | None
    unpriced_events: int
    others: int
    state: State | None


@dataclass(frozen=True, slots=True)
class RunsPage:
    """`never_used`: no event of the organization has named a run yet."""

    hidden: tuple[tuple[str, str], ...]
    fields: tuple[TextField, ...]
    selects: tuple[Select, ...]
    chips: tuple[Chip, ...]
    sorts: tuple[Tab, ...]
    levels: tuple[Tab, ...]
    rows: tuple[RunLine, ...]
    never_used: bool
    first_url: str | None
    next_url: str | None


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a bar on the time axis; `x` and `width` as SVG takes them."""

    x: str
    width: str
    swatch: str


@dataclass(frozen=True, slots=True)
class Bar:
    says: str
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class TreeRow:
    """One line of the tree. `kind`: step (of several attempts), call, run, more (calls that are not shown) or bound.

    `level` counts from 1. Of a bound only `label` is said.
    """

    kind: str
    level: int
    label: str
    detail: str = ""
    url: str = ""
    marks: tuple[State, ...] = ()
    bar: Bar | None = None
    context_tokens: int | None = None
    cache_hit_share: Decimal | None = None
    output_tokens: int | None = None
    cost_usd: Decimal | None = None
    cost_url: str = ""
    unpriced_events: int = 0
    status: str = ""


@dataclass(frozen=True, slots=True)
class RunChart:
    """A Vega-Lite spec and the numbers behind it: `cells` of a row follow `headings`."""

    spec: Mapping[str, Any]
    sentence: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class RunCharts:
    """Of the calls that the page shows. `cached` is None where they read nothing, `cost` where none has a price."""

    legend: tuple[LegendEntry, ...]
    context_legend: tuple[LegendEntry, ...]
    context: RunChart
    cached: RunChart | None
    cost: RunChart | None


@dataclass(frozen=True, slots=True)
class BoundLine:
    """A bound of the run: the most of it, what was used, and the first call beyond it."""

    label: str
    limit: str
    used: str
    is_reached: bool
    beyond: str
    beyond_url: str


@dataclass(frozen=True, slots=True)
class RunFigures:
    """Of a run's own calls; `others` are those of other teams, which a lead does not see."""

    started_at: datetime
    last_at: datetime
    duration: str
    cost_usd: Decimal | None
    unpriced_events: int
    steps: int
    events: int
    others: int
    retries: int
    escalations: int
    errors: int
    context_tokens: int
    output_tokens: int
    cache_hit_share: Decimal | None
    units: int | None
    events_url: str
    facts: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class RunPage:
    """`figures` is None where no event named the run; `tree_*` sum its child runs too.

    `first_call` and `last_call` are the numbers of the calls that are shown; `span` is how long those took.
    """

    run_id: str
    state: State | None
    figures: RunFigures | None
    tree_runs: int
    tree_cost_usd: Decimal | None
    tree_unpriced_events: int
    children_url: str
    bounds: tuple[BoundLine, ...]
    bounds_url: str
    root_url: str
    charts: RunCharts | None
    rows: tuple[TreeRow, ...]
    span: str
    first_call: int
    last_call: int
    hides_children: bool
    first_url: str | None
    next_url: str | None
