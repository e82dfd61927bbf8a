"""What the templates about signals read."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from apps.portal.pages_budgets import State
from apps.portal.pages_prices import FormError


@dataclass(frozen=True, slots=True)
class SignalRow:
    """`change` says the reading against its baseline; `others` how many more signals are in it."""

    id: int
    url: str
    title: str
    scope: str
    scope_url: str
    team: str | None
    change: str
    cause: str
    state: State
    tier: State
    excess_usd: Decimal | None
    since: datetime
    opened_at: datetime
    closed_at: datetime | None
    others: int


@dataclass(frozen=True, slots=True)
class SignalGroup:
    title: str
    says: str
    rows: tuple[SignalRow, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    value: str
    label: str


@dataclass(frozen=True, slots=True)
class SignalsPage:
    """`evaluated_at` is None before the first look; `is_filtered` where more than the state was chosen."""

    groups: tuple[SignalGroup, ...]
    count: int
    excess_usd: Decimal
    states: tuple[Choice, ...]
    signals: tuple[Choice, ...]
    teams: tuple[str, ...]
    asked: Mapping[str, str]
    evaluated_at: datetime | None
    is_filtered: bool
    is_cut: bool
    next_url: str
    all_url: str


@dataclass(frozen=True, slots=True)
class ChartRow:
    day: str
    value: str
    baseline: str
    band: str
    sample: str


@dataclass(frozen=True, slots=True)
class SignalChart:
    """A signal by day; `spec` is None where there are fewer than two readings. `learning`: what it still needs before
    its own past counts, "" once that does.
    """

    key: str
    label: str
    sentence: str
    spec: Mapping[str, Any] | None
    now: str
    usual: str
    is_away: bool
    learning: str
    rows: tuple[ChartRow, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    label: str
    change: str
    excess_usd: Decimal
    in_alarm: bool


@dataclass(frozen=True, slots=True)
class Cell:
    words: str
    share: Decimal
    excess_usd: Decimal
    url: str


@dataclass(frozen=True, slots=True)
class Line:
    at: datetime
    what: str
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class SignalPage:
    """One incident. `fix` is (what to do, what it means, where); answers are shown to who `may_answer`."""

    row: SignalRow
    entries: tuple[Entry, ...]
    chart: SignalChart | None
    cells: tuple[Cell, ...]
    runs: tuple[tuple[str, str], ...]
    runs_url: str
    fix: tuple[str, str, str]
    history: tuple[Line, ...]
    parent: SignalRow | None
    children: tuple[SignalRow, ...]
    is_live: bool
    is_acknowledged: bool
    may_answer: bool
    is_useful: bool | None
    reason: str
    peak_usd: Decimal | None
    act: str
    error: FormError | None


# --- parts of other pages -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unit:
    """A figure of unit economics: what it is now, and against the days before; `is_worse` None where it is neither."""

    label: str
    value: str
    exact: str
    change: str
    is_worse: bool | None
    note: str


@dataclass(frozen=True, slots=True)
class EconomicsPart:
    """`days` had calls, `span` says which they are of, `absent` why its reader sees none."""

    days: int
    span: str
    units: tuple[Unit, ...]
    absent: str = ""


@dataclass(frozen=True, slots=True)
class SignalsPart:
    """`plan` says what stands in while signals are learning, `absent` why its reader sees no chart; else "" both."""

    plan: str
    charts: tuple[SignalChart, ...]
    incidents: tuple[SignalRow, ...]
    url: str
    absent: str = ""


@dataclass(frozen=True, slots=True)
class OpenSignalsCard:
    """Of the overview."""

    count: int
    critical: int
    excess_usd: Decimal
    rows: tuple[SignalRow, ...]
    url: str
