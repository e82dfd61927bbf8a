"""What the templates of savings read."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from apps.insights.savings import LedgerTotals
from apps.portal.pages_prices import FormError


@dataclass(frozen=True, slots=True)
class SavingRow:
    """One recommendation in a list; amounts are USD a month."""

    title: str
    url: str
    workflow: str
    workflow_url: str
    team: str | None
    headline_usd: Decimal
    low_usd: Decimal
    likely_usd: Decimal
    high_usd: Decimal
    scope_usd: Decimal
    grade: str
    label: str
    is_unverified: bool
    state: str
    is_gone: bool
    decided_at: datetime | None
    decided_by: str
    reason: str


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """A change that was made. `realized_usd` is None where it is not measured yet, or `why` says that it cannot be."""

    title: str
    url: str
    workflow: str
    team: str | None
    adopted_at: datetime
    low_usd: Decimal
    likely_usd: Decimal
    high_usd: Decimal
    realized_usd: Decimal | None
    realized_low_usd: Decimal | None
    realized_high_usd: Decimal | None
    is_inside: bool
    measured_days: int
    unit: str
    why: str
    note: str


@dataclass(frozen=True, slots=True)
class Together:
    low_usd: Decimal
    likely_usd: Decimal
    high_usd: Decimal
    sum_usd: Decimal
    counted: int
    left_out: int


@dataclass(frozen=True, slots=True)
class SavingsPage:
    """`left_out`: workflows of the reader's teams that others use too."""

    rows: tuple[SavingRow, ...]
    states: tuple[tuple[str, str], ...]
    state: str
    team: str
    open: Together
    accepted: Together
    ledger: tuple[LedgerRow, ...]
    totals: LedgerTotals
    found_at: datetime | None
    days: int
    first_url: str
    next_url: str
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class RecommendationPage:
    """`evidence` are (label, value); `runs` (id, url)."""

    row: SavingRow
    kind: str
    segment: str
    do: str
    reckoned: str
    verify: str
    label: str
    grade: str
    runs_needed: int | None
    trial: Mapping[str, int] | None
    evidence: tuple[tuple[str, str], ...]
    runs: tuple[tuple[str, str], ...]
    first_found_at: datetime
    found_at: datetime
    vanished_at: datetime | None
    implementation_usd: Decimal | None
    payback_months: Decimal | None
    adoption: LedgerRow | None
    may_answer: bool
    given: Mapping[str, str]
    error: FormError | None


@dataclass(frozen=True, slots=True)
class WorkflowSavings:
    """The part of a workflow's page; `absent` says why its reader sees none."""

    rows: tuple[SavingRow, ...]
    more: int
    all_url: str
    absent: str = ""
