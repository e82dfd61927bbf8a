"""What the templates of statements read."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from apps.portal.pages import Tab
from apps.portal.pages_disputes import DisputeRow
from apps.portal.pages_prices import FormError


@dataclass(frozen=True, slots=True)
class StatementRow:
    team: str | None
    label: str
    status: str
    events: int
    unpriced_events: int
    share: Decimal | None
    total_usd: Decimal | None
    # In the statement's currency, where that is not USD.
    total: str | None
    url: str


@dataclass(frozen=True, slots=True)
class CheckRow:
    label: str
    holds: bool
    detail: str
    url: str


@dataclass(frozen=True, slots=True)
class StepRow:
    label: str
    at: datetime
    by: str
    note: str


@dataclass(frozen=True, slots=True)
class MonthPanel:
    """How the month stands and what may be done with it: `acts` are (url, label, is the main one)."""

    state: str
    title: str
    says: str
    checks: tuple[CheckRow, ...]
    steps: tuple[StepRow, ...]
    acts: tuple[tuple[str, str, bool], ...]
    asks: str


@dataclass(frozen=True, slots=True)
class StatementsPage:
    month_label: str
    months: tuple[Tab, ...]
    as_of: datetime
    currency: str
    rows: tuple[StatementRow, ...]
    total: StatementRow
    csv_url: str
    panel: MonthPanel | None
    error: FormError | None


@dataclass(frozen=True, slots=True)
class Quantity:
    label: str
    quantity: int


@dataclass(frozen=True, slots=True)
class PaperLine:
    """`title` and `detail` name a line that no event made; of usage they are "" and the names stand."""

    project: str | None
    workflow: str | None
    provider: str
    model: str
    quantities: tuple[Quantity, ...]
    events: int
    unpriced_events: int
    cost_usd: Decimal | None
    amount: str | None
    url: str
    title: str = ""
    detail: str = ""
    dispute_url: str = ""


@dataclass(frozen=True, slots=True)
class PaperSection:
    """`kind` is usage (one section a project), unattributed, late, unpriced (subtotal None), or what no event made."""

    kind: str
    title: str
    note: str
    lines: tuple[PaperLine, ...]
    more_lines: int
    events: int
    unpriced_events: int
    subtotal_usd: Decimal | None
    subtotal: str | None


@dataclass(frozen=True, slots=True)
class Figure:
    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class MeterRow:
    """`rate`: USD per million units as listed; "" where it changed within the month or is not known."""

    model: str
    provider: str
    label: str
    quantity: int
    rate: str
    cost_usd: Decimal


@dataclass(frozen=True, slots=True)
class StatementPage:
    """`organization_name` and `timezone` are the document's: those of now may be others."""

    id: str
    organization_name: str
    timezone: str
    team: str | None
    team_name: str
    status: str
    month_label: str
    first_day: date
    last_day: date
    as_of: datetime
    currency: str
    rate: str
    sections: tuple[PaperSection, ...]
    figures: tuple[Figure, ...]
    meters: tuple[MeterRow, ...]
    meters_usd: Decimal
    total_usd: Decimal | None
    total: str | None
    total_url: str
    sha256: str
    downloads: tuple[tuple[str, str], ...]
    disputes: tuple[DisputeRow, ...]
