"""What the templates about budgets, reservations, stops and run bounds read."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from apps.budgets.outlook import Ungoverned
from apps.portal.budget_chart import Burn
from apps.portal.budget_pictures import PastPicture, Spark
from apps.portal.pages import Option, Tab
from apps.portal.pages_prices import FormError


@dataclass(frozen=True, slots=True)
class Meter:
    """A bar of what is spent and held of a limit, as per cents of the bar's width; `ticks` are thresholds."""

    spent: str
    held: str
    held_from: str
    ticks: tuple[str, ...]
    is_full: bool


@dataclass(frozen=True, slots=True)
class State:
    """`badge` is the class that colours it: "", "risk" or "bad"."""

    word: str
    badge: str
    says: str


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """`spark` None: its spend over time is not read for a list. `over_usd`: what is spent and held above the limit."""

    name: str
    url: str
    scope: str
    mode: str
    period: str
    resets_at: datetime | None
    state: State
    meter: Meter
    spark: Spark | None
    limit_usd: Decimal
    spent_usd: Decimal
    held_usd: Decimal
    remaining_usd: Decimal
    over_usd: Decimal
    expected_usd: Decimal | None
    is_forecast: bool
    spend_url: str | None
    # Whose figures these are, where each has a limit of its own: "user ann, the first of 12".
    whose: str


@dataclass(frozen=True, slots=True)
class Reset:
    """A day on which budgets begin anew."""

    at: datetime
    budgets: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class PolicyChoice:
    value: str
    label: str
    says: str
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class BudgetsPage:
    rows: tuple[BudgetRow, ...]
    row_count: int
    resets: tuple[Reset, ...]
    ended: tuple[tuple[str, str, datetime], ...]
    stops: int
    ungoverned: Ungoverned
    may_change: bool
    new_url: str
    stop_url: str
    held_url: str
    policy: tuple[PolicyChoice, ...]
    policy_url: str


@dataclass(frozen=True, slots=True)
class SubjectRow:
    subject: str
    url: str
    spent_usd: Decimal
    held_usd: Decimal
    limit_usd: Decimal
    overrun_usd: Decimal
    state: State
    meter: Meter


@dataclass(frozen=True, slots=True)
class RaiseRow:
    id: int
    amount_usd: Decimal
    expires_at: datetime
    reason: str
    state: State
    asked_by: str
    asked_at: datetime
    decided_by: str
    approve_url: str
    refuse_url: str
    may_decide: bool


@dataclass(frozen=True, slots=True)
class ToldRow:
    """What became of a crossing at one channel: `at` is when it was sent, or when it is tried next."""

    channel: str
    state: State
    at: datetime | None
    url: str


@dataclass(frozen=True, slots=True)
class CrossingRow:
    """`untold` says why `told` is empty; `untold_url` leads to where that is changed. `url` opens what it is about."""

    at: datetime
    what: str
    url: str
    period: str
    badge: str
    told: tuple[ToldRow, ...]
    untold: str
    untold_url: str


@dataclass(frozen=True, slots=True)
class BudgetForecast:
    """What the period comes to by forecast. `odds`: that it is more than the limit, in words."""

    low_usd: Decimal
    expected_usd: Decimal
    high_usd: Decimal
    odds: str
    reaches_at: datetime | None
    earliest_at: datetime | None


@dataclass(frozen=True, slots=True)
class BudgetPage:
    """`burn` None: there is too much stored usage to draw; `spend_url` None: the explorer cannot filter so."""

    name: str
    scope: str
    mode: str
    mode_says: str
    period: str
    start: datetime
    end: datetime
    resets_at: datetime | None
    state: State
    meter: Meter
    limit_usd: Decimal
    base_usd: Decimal
    raised_usd: Decimal
    spent_usd: Decimal
    held_usd: Decimal
    remaining_usd: Decimal
    run_rate_usd: Decimal | None
    reaches_at: datetime | None
    forecast: BudgetForecast | None
    overrun_usd: Decimal
    assumed_usd: Decimal
    unpriced_events: int
    whose: str
    is_each: bool
    is_cap: bool
    is_ended: bool
    burn: Burn | None
    past: tuple[PastPicture, ...]
    subjects: tuple[SubjectRow, ...]
    subject_count: int
    raises: tuple[RaiseRow, ...]
    crossings: tuple[CrossingRow, ...]
    earlier: tuple[CrossingRow, ...]
    spend_url: str | None
    edit_url: str
    end_url: str
    may_change: bool
    may_approve: bool
    raise_given: Mapping[str, str]
    raise_error: FormError | None
    rollover: bool
    created_by: str


@dataclass(frozen=True, slots=True)
class ScopeField:
    """One dimension of a scope. `choices` are values and labels of a select; without them it is a text."""

    name: str
    label: str
    value: str
    choices: tuple[tuple[str, str], ...] = ()
    suggestions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    value: str
    label: str
    says: str
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class ReplayRow:
    label: str
    so_far: bool
    spent_usd: Decimal
    subjects: int
    thresholds: tuple[tuple[int, datetime | None], ...]
    full_at: datetime | None
    full: int
    beyond_usd: Decimal
    beyond_calls: int


@dataclass(frozen=True, slots=True)
class PreviewPage:
    """`too_much`: stored usage that no page can look through. `beyond_word` says what would have become of calls."""

    too_much: bool
    unit: str
    percents: tuple[int, ...]
    rows: tuple[ReplayRow, ...]
    row_count: int
    periods_full: int
    beyond_usd: Decimal
    beyond_calls: int
    beyond_word: str
    is_each: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class BudgetForm:
    """`fixed` is the scope and period in words where they no longer change."""

    given: Mapping[str, str]
    error: FormError | None
    fixed: str
    scope: tuple[ScopeField, ...]
    tags: tuple[tuple[int, str, str], ...]
    periods: tuple[Option, ...]
    modes: tuple[Choice, ...]
    preview: PreviewPage | None
    submit: str
    zone: str


@dataclass(frozen=True, slots=True)
class ReservationRow:
    id: str
    state: State
    is_live: bool
    kind: str
    what: str
    decided_at: datetime
    expires_at: datetime
    held_usd: Decimal
    granted_usd: Decimal
    cost_usd: Decimal | None
    overrun_usd: Decimal
    is_late: bool
    run_id: str | None
    run_url: str
    event_url: str


@dataclass(frozen=True, slots=True)
class ReservationsPage:
    rows: tuple[ReservationRow, ...]
    states: tuple[Tab, ...]
    hidden: tuple[tuple[str, str], ...]
    run: str
    live: int
    live_usd: Decimal
    leases: int
    most: int
    is_filtered: bool
    never_used: bool


@dataclass(frozen=True, slots=True)
class StopRow:
    id: int
    what: str
    reason: str
    stopped_by: str
    stopped_at: datetime
    lift_url: str
    lifted_by: str = ""
    lifted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StopImpact:
    """What a stop would stop: calls of the last 24 hours (None: not known), and what is held now."""

    what: str
    calls: int | None
    cost_usd: Decimal | None
    reservations: int
    held_usd: Decimal
    leases: int
    leases_until: datetime | None


@dataclass(frozen=True, slots=True)
class StopPage:
    standing: tuple[StopRow, ...]
    lifted: tuple[StopRow, ...]
    kinds: tuple[Option, ...]
    given: Mapping[str, str]
    targets: tuple[tuple[str, str], ...]
    impact: StopImpact | None
    error: FormError | None
    may_stop: bool


@dataclass(frozen=True, slots=True)
class BoundRow:
    """`cells` are headings with what stands below them."""

    workflow: str
    cells: tuple[tuple[str, str], ...]
    changed_by: str
    changed_at: datetime
    edit_url: str
    remove_url: str


@dataclass(frozen=True, slots=True)
class BoundField:
    name: str
    label: str
    says: str
    value: str


@dataclass(frozen=True, slots=True)
class BoundsPage:
    headings: tuple[str, ...]
    rows: tuple[BoundRow, ...]
    reached: tuple[CrossingRow, ...]
    workflows: tuple[str, ...]
    workflow: str
    fields: tuple[BoundField, ...]
    error: FormError | None
    may_change: bool
