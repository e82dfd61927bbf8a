"""What the templates about providers' bills read: one frozen value per page, in the words of the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from apps.portal.pages import Option, Select, Tab
from apps.portal.pages_prices import FormError


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """A provider in a month. Without a bill `billed_usd`, `gap_usd` and `coverage` are None and `verdict` is ""."""

    provider: str
    bills: int
    billed_usd: Decimal | None
    metered_usd: Decimal
    gap_usd: Decimal | None
    gap_share: Decimal | None
    coverage: Decimal | None
    verdict: str
    url: str


@dataclass(frozen=True, slots=True)
class InvoiceRow:
    title: str
    provider: str
    account: str
    format: str
    line_count: int
    currency: str
    total: Decimal
    total_usd: Decimal
    state: str
    imported_at: datetime
    url: str
    reconciliation_url: str


@dataclass(frozen=True, slots=True)
class InvoicesPage:
    """`coverage` None: no bill of the month says anything of usage. `new_url` "": who looks imports nothing."""

    month_label: str
    months: tuple[Tab, ...]
    coverage: Decimal | None
    billed_usd: Decimal
    metered_usd: Decimal
    providers: tuple[ProviderRow, ...]
    rows: tuple[InvoiceRow, ...]
    next_url: str | None
    first_url: str | None
    new_url: str
    mappings_url: str


@dataclass(frozen=True, slots=True)
class ImportForm:
    """`given` is what was typed; `columns` are empty until a CSV file was shown to be mapped."""

    formats: tuple[Option, ...]
    mappings: tuple[Option, ...]
    days: tuple[Option, ...]
    given: Mapping[str, str]
    error: FormError | None
    mappings_url: str
    mebibytes_max: int
    rows_max: int


@dataclass(frozen=True, slots=True)
class MappingField:
    """A field of a line: the column that holds it, or `always` what is the same for every row."""

    name: str
    label: str
    says: str
    needed: bool
    select: Select
    always: str
    error: str


@dataclass(frozen=True, slots=True)
class MappingForm:
    """The columns of a file with its first rows, and a choice for each field. `header` and `sample` are sent along."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    sample: str
    fields: tuple[MappingField, ...]
    orders: tuple[Option, ...]
    marks: tuple[Option, ...]
    hidden: tuple[tuple[str, str], ...]
    error: FormError | None
    url: str


@dataclass(frozen=True, slots=True)
class MappingRow:
    id: int
    name: str
    says: str
    saved_at: datetime
    saved_by: str
    import_url: str
    remove_url: str


@dataclass(frozen=True, slots=True)
class MappingsPage:
    rows: tuple[MappingRow, ...]
    may_change: bool
    new_url: str


@dataclass(frozen=True, slots=True)
class InvoiceLineRow:
    row: int
    day: date | None
    account: str
    model: str
    meter: str
    quantity: int | None
    amount: Decimal
    amount_usd: Decimal
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class InvoicePage:
    """`rate` "" of a bill in USD; `delete_url` "" where who looks may not, or it was trued up."""

    title: str
    provider: str
    account: str
    month_label: str
    number: str
    format: str
    file_name: str
    sha256: str
    currency: str
    total: Decimal
    total_usd: Decimal
    rate: str
    rate_source: str
    days: str
    line_count: int
    left_out: int
    state: str
    imported_at: datetime
    imported_by: str
    lines: tuple[InvoiceLineRow, ...]
    next_url: str | None
    first_url: str | None
    reconciliation_url: str
    delete_url: str


# --- reconciliation ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BucketRow:
    """`share` is of what was billed for usage; `is_chosen`: it is ticked in the form."""

    name: str
    label: str
    says: str
    usd: Decimal
    share: Decimal | None
    booked_usd: Decimal
    remaining_usd: Decimal
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class CellRow:
    """`model` "" is what the bill names no model for; `why` says which buckets its gap is in."""

    model: str
    meter: str
    billed_usd: Decimal
    metered_usd: Decimal
    gap_usd: Decimal
    billed_quantity: int | None
    metered_quantity: int | None
    why: str
    days_url: str
    events_url: str


@dataclass(frozen=True, slots=True)
class DayRow:
    day: date
    billed_usd: Decimal
    metered_usd: Decimal
    gap_usd: Decimal
    gap_share: Decimal | None
    verdict: str
    events_url: str


@dataclass(frozen=True, slots=True)
class ShareRow:
    """What one team bears: its `parts` are (kind of line, USD)."""

    team: str | None
    parts: tuple[tuple[str, Decimal], ...]
    usd: Decimal


@dataclass(frozen=True, slots=True)
class ReconciliationPage:
    """`model` "": days are of all. `true_up_url` "": who looks books nothing. `shares` are of the chosen buckets."""

    provider: str
    month_label: str
    bills: tuple[tuple[str, str], ...]
    days_in: str
    verdict: str
    billed_usd: Decimal
    metered_usd: Decimal
    gap_usd: Decimal
    gap_share: Decimal | None
    coverage: Decimal | None
    buckets: tuple[BucketRow, ...]
    cells: tuple[CellRow, ...]
    cells_left_out: int
    model: str
    all_days_url: str
    days: tuple[DayRow, ...]
    shares: tuple[ShareRow, ...]
    shares_usd: Decimal
    left_usd: Decimal
    is_anything_left: bool
    true_up_url: str
    here: str
    chosen: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class CoverageRow:
    provider: str
    coverage: Decimal | None
    verdict: str
    url: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """The last month with a bill; `rows` are some of its providers, those least covered first."""

    month_label: str
    coverage: Decimal | None
    gap_usd: Decimal
    rows: tuple[CoverageRow, ...]
    row_count: int
    without_bill: int
    url: str
