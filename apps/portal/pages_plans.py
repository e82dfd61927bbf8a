"""What the templates about plans read."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from apps.portal.bridge import Bridge
from apps.portal.pages import Option, Tab
from apps.portal.pages_budgets import State
from apps.portal.pages_prices import FormError


@dataclass(frozen=True, slots=True)
class MonthRow:
    """One month of a plan; `over` is the chance that it exceeds the budget, None without one."""

    day: date
    label: str
    mean_usd: Decimal
    p10_usd: Decimal
    p50_usd: Decimal
    p90_usd: Decimal
    p99_usd: Decimal
    over: Decimal | None


@dataclass(frozen=True, slots=True)
class DriverRow:
    label: str
    low_usd: Decimal
    high_usd: Decimal
    swing_usd: Decimal
    correlation: str


@dataclass(frozen=True, slots=True)
class LeverRow:
    """`after_usd` is the month once this lever and all before it are pulled."""

    label: str
    alone_usd: Decimal
    after_usd: Decimal
    low_usd: Decimal
    likely_usd: Decimal
    high_usd: Decimal
    is_advised: bool
    reason: str


@dataclass(frozen=True, slots=True)
class PartRow:
    """What one model does in one step, a run."""

    step: str
    model: str
    calls: str
    tokens_in: int
    tokens_cached: int
    tokens_out: int
    usd: Decimal
    share: str


@dataclass(frozen=True, slots=True)
class LoopRow:
    step: str
    mean: str
    p50: int
    p99: int
    bound: int
    cut: Decimal
    advised: int
    first_tokens: int
    last_tokens: int


@dataclass(frozen=True, slots=True)
class PriceRow:
    """A model's price in USD per million tokens; None where it has none. `field` begins the names of its inputs."""

    model: str
    source: str
    url: str
    input: Decimal | None
    output: Decimal | None
    cache_read: Decimal | None
    note: str
    field: str
    given_input: str
    given_output: str


@dataclass(frozen=True, slots=True)
class ResultPanel:
    """What a plan comes to; amounts of an unpriced plan are not known, and `prices` say which model is missing.

    `has_tail`: `fan` draws P99 as well.
    """

    is_unpriced: bool
    unpriced: tuple[str, ...]
    prices: tuple[PriceRow, ...]
    prices_at: datetime
    run: MonthRow | None = None
    one_run: MonthRow | None = None
    success_usd: Decimal | None = None
    months: tuple[MonthRow, ...] = ()
    year_usd: Decimal | None = None
    budget_usd: Decimal | None = None
    over: Decimal | None = None
    multiple: str = ""
    chatbot_usd: Decimal | None = None
    drivers: tuple[DriverRow, ...] = ()
    levers: tuple[LeverRow, ...] = ()
    saved_usd: Decimal | None = None
    parts: tuple[PartRow, ...] = ()
    other_usd: Decimal | None = None
    loops: tuple[LoopRow, ...] = ()
    fan: Mapping[str, Any] | None = None
    has_tail: bool = True
    tornado: Mapping[str, Any] | None = None
    waterfall: Bridge | None = None
    ask_budget_usd: Decimal | None = None
    ask_cap_usd: Decimal | None = None
    ask_run_usd: Decimal | None = None
    ask_steps: int = 0
    ask_attempts: int = 0
    sentence: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlanRow:
    name: str
    url: str
    workflow: str
    team: str | None
    owner: str
    state: State
    waits: bool
    launch_on: date | None
    run_usd: Decimal | None
    p50_usd: Decimal | None
    p90_usd: Decimal | None
    calibration: str


@dataclass(frozen=True, slots=True)
class PlansPage:
    """`share` is the part of all spend that runs under an approved plan, None where nothing was spent."""

    rows: tuple[PlanRow, ...]
    states: tuple[Tab, ...]
    is_filtered: bool
    share: Decimal | None
    planned_usd: Decimal
    total_usd: Decimal
    missing: int
    missing_usd: Decimal
    days: int
    missing_url: str
    new_url: str
    may_change: bool
    first_url: str
    next_url: str


@dataclass(frozen=True, slots=True)
class MissingRow:
    workflow: str
    url: str
    project: str
    team: str | None
    cost_usd: Decimal | None
    events: int
    unpriced_events: int
    draft: str
    draft_url: str
    fit_url: str


@dataclass(frozen=True, slots=True)
class MissingPage:
    rows: tuple[MissingRow, ...]
    row_count: int
    planned: int
    planned_usd: Decimal
    unplanned_usd: Decimal
    unattributed_usd: Decimal
    total_usd: Decimal
    share: Decimal | None
    days: int
    may_change: bool
    unattributed_url: str
    plans_url: str


@dataclass(frozen=True, slots=True)
class TemplateCard:
    title: str
    says: str
    url: str


@dataclass(frozen=True, slots=True)
class ChoicePage:
    templates: tuple[TemplateCard, ...]
    workflows: tuple[str, ...]
    blank_url: str
    error: FormError | None
    workflow: str


@dataclass(frozen=True, slots=True)
class RangeField:
    """`parts` are (name, label, value, is it wrong) of each input: one, or low, likely and high."""

    label: str
    unit: str
    says: str
    parts: tuple[tuple[str, str, str, bool], ...]
    is_range: bool


@dataclass(frozen=True, slots=True)
class FieldGroup:
    title: str
    fields: tuple[RangeField, ...]
    is_open: bool


@dataclass(frozen=True, slots=True)
class StepForm:
    path: str
    number: int
    name: str
    model: str
    escalates_to: str
    caches: tuple[Option, ...]
    routings: tuple[Option, ...]
    groups: tuple[FieldGroup, ...]
    wrong: str
    may_remove: bool


@dataclass(frozen=True, slots=True)
class PlanForm:
    """`base` is the version that a revision is made from, 0 of a new plan."""

    given: Mapping[str, str]
    error: FormError | None
    base: int
    steps: tuple[StepForm, ...]
    fields: tuple[RangeField, ...]
    models: tuple[str, ...]
    workflows: tuple[str, ...]
    teams: tuple[str, ...]
    result: ResultPanel | None
    submit: str
    back_url: str
    may_add: bool
    fitted: str


@dataclass(frozen=True, slots=True)
class VersionRow:
    number: int
    url: str
    is_shown: bool
    is_approved: bool
    origin: str
    note: str
    run_usd: Decimal | None
    p50_usd: Decimal | None
    at: datetime
    by: str


@dataclass(frozen=True, slots=True)
class DecisionRow:
    at: datetime
    what: str
    version: int
    note: str
    by: str
    is_own: bool


@dataclass(frozen=True, slots=True)
class CalibrationPanel:
    """`gap` is what a run cost beyond the plan, as `+12 %`; "" where nobody can say, for want of runs or of prices.

    `notes` say which calls became no step of the fit and which were billed otherwise, and `unpriced` which models leave
    it without a total.
    """

    state: State
    runs: int
    days: int
    missing: tuple[str, ...]
    planned_usd: Decimal | None
    real_usd: Decimal | None
    gap: str
    at: datetime | None
    beside_usd: Decimal | None
    notes: tuple[str, ...]
    unpriced: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ControlRow:
    """What the plan asks for, and what stands: "" where it was not made."""

    label: str
    asks: str
    stands: str
    url: str
    is_in_step: bool


@dataclass(frozen=True, slots=True)
class PlanPage:
    id: int
    name: str
    state: State
    workflow: str
    workflow_url: str
    team: str | None
    project: str | None
    owner: str
    launch_on: date | None
    shown: int
    latest: int
    approved: int | None
    conditions: str
    approved_by: str
    approved_at: datetime | None
    waits: bool
    note: str
    result: ResultPanel
    versions: tuple[VersionRow, ...]
    decisions: tuple[DecisionRow, ...]
    calibration: CalibrationPanel | None
    controls: tuple[ControlRow, ...]
    members: tuple[str, ...]
    today: date
    edit_url: str
    what_if_url: str
    against_url: str
    change_url: str
    decide_url: str
    launch_url: str
    retire_url: str
    controls_url: str
    may_change: bool
    may_approve: bool
    may_budget: bool
    is_own: bool
    is_retired: bool
    is_live: bool


@dataclass(frozen=True, slots=True)
class VariantColumn:
    """One column of a comparison; amounts are None where a model has no price. `change` is against the plan."""

    name: str
    says: str
    run_usd: Decimal | None
    success_usd: Decimal | None
    p50_usd: Decimal | None
    p90_usd: Decimal | None
    p99_usd: Decimal | None
    over: Decimal | None
    change: str
    unpriced: str


@dataclass(frozen=True, slots=True)
class WhatIfPage:
    columns: tuple[VariantColumn, ...]
    given: Mapping[str, str]
    models: tuple[str, ...]
    suggestions: tuple[str, ...]
    steps: tuple[tuple[str, int, str], ...]
    caches: tuple[Option, ...]
    error: FormError | None
    back_url: str
    has_change: bool
