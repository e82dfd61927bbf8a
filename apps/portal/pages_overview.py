"""What the cards of the overview read."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from apps.portal.changes import Moved
from apps.portal.charts import Chart
from apps.portal.formats import Change
from apps.portal.pages_budgets import Meter, State
from apps.portal.pages_people import FirstEventPage


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the month comes to by forecast, within `band_usd` four times in five; without one, at the run rate.

    `usd` None: that is not known yet.

    `limit_*` are of the budget that watches the same spend over the same month; `limit_name` "": there is none.
    """

    usd: Decimal | None
    band_usd: tuple[Decimal, Decimal] | None
    last_day: date
    spent_usd: Decimal
    limit_usd: Decimal | None
    limit_name: str
    limit_url: str
    url: str


@dataclass(frozen=True, slots=True)
class Figures:
    """`unattributed_url` "": who looks sees what is attributed alone. `forecast` is of a month that is not over."""

    label: str
    previous_label: str
    total_usd: Decimal | None
    events: int
    unpriced_events: int
    unattributed_usd: Decimal | None
    unattributed_events: int
    change: Change | None
    forecast: Forecast | None
    spend_url: str
    events_url: str
    unattributed_url: str
    unpriced_url: str


@dataclass(frozen=True, slots=True)
class Nothing:
    """No event in the range: the latest one before it, where it is known."""

    last_event_at: datetime | None
    last_event_url: str


@dataclass(frozen=True, slots=True)
class OverTime:
    title: str
    url: str
    chart: Chart


@dataclass(frozen=True, slots=True)
class ChangeRow:
    moved: Moved
    url: str


@dataclass(frozen=True, slots=True)
class Changes:
    """`least_share`: what changed less is left out."""

    previous_label: str
    url: str
    rows: tuple[ChangeRow, ...]
    least_share: Decimal


@dataclass(frozen=True, slots=True)
class TopRow:
    label: str | None
    cost_usd: Decimal | None
    events: int
    share: Decimal | None
    unpriced_events: int
    url: str


@dataclass(frozen=True, slots=True)
class Top:
    title: str
    dimension: str
    url: str
    rows: tuple[TopRow, ...]


@dataclass(frozen=True, slots=True)
class Stops:
    """What refuses decisions now, and how often runs reached a bound in the last day."""

    stops: int
    stop_url: str
    bounded: int
    bounds_url: str


@dataclass(frozen=True, slots=True)
class RiskRow:
    """`url` None: who looks may open neither the budget nor its scope in the explorer."""

    name: str
    url: str | None
    whose: str
    state: State
    meter: Meter
    taken_usd: Decimal
    limit_usd: Decimal


@dataclass(frozen=True, slots=True)
class BudgetsAtRisk:
    """The worst `rows` of `row_count` budgets at risk, of `budgets` in all; `url` "": who looks has no list of them."""

    rows: tuple[RiskRow, ...]
    row_count: int
    budgets: int
    url: str


@dataclass(frozen=True, slots=True)
class OwnWorkflow:
    """Shares are of its calls; None where it has none."""

    slug: str
    name: str
    url: str
    events: int
    unpriced_events: int
    retry_share: Decimal | None
    escalation_share: Decimal | None
    retries_url: str
    escalations_url: str
    runs_url: str
    cost_usd: Decimal | None
    change: Change | None
    events_url: str


@dataclass(frozen=True, slots=True)
class OwnWorkflows:
    """The largest `rows` of the `row_count` workflows that somebody owns; `compared_with` "": with nothing."""

    rows: tuple[OwnWorkflow, ...]
    row_count: int
    compared_with: str
    url: str


@dataclass(frozen=True, slots=True)
class MonthStatus:
    """What stands between a month and its chargeback: `waiting` of the four kinds have something."""

    label: str
    so_far: bool
    waiting: int
    unpriced_events: int
    unpriced_url: str
    unattributed_usd: Decimal | None
    unattributed_events: int
    unattributed_url: str
    reratings: int
    reratings_url: str
    raises: int
    raises_url: str
    oldest_raise: str
    statements: int
    total_usd: Decimal | None
    statements_url: str


@dataclass(frozen=True, slots=True)
class Card:
    """A part of the page: its template reads `value`."""

    template: str
    value: Any


@dataclass(frozen=True, slots=True)
class OverviewPage:
    """`first`: the organization has no event at all yet, and the page has no cards."""

    first: FirstEventPage | None
    rows: tuple[tuple[Card, ...], ...]
