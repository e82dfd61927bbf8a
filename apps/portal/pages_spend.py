"""What the explorer and its exports read: one frozen value per page."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from apps.portal.charts import Chart
from apps.portal.formats import Change
from apps.portal.pages import Chip, Select, Tab


@dataclass(frozen=True, slots=True)
class LabelCell:
    """`url` shows the page with this value as a filter, `exclude_url` without the value."""

    value: str | None
    url: str
    exclude_url: str


@dataclass(frozen=True, slots=True)
class SpendRow:
    """`previous_usd` and `change` where the page is compared with the period before."""

    labels: tuple[LabelCell, ...]
    swatch: str
    events: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    share: Decimal | None
    cost_usd: Decimal | None
    unpriced_events: int
    url: str
    previous_usd: Decimal | None = None
    change: Change | None = None


@dataclass(frozen=True, slots=True)
class FilterForm:
    """Adds a filter. `values` suggests those of the chosen dimension; `values_url` those of another.

    After a refusal it holds what was typed, and `error` says what is wrong.
    """

    hidden: tuple[tuple[str, str], ...]
    dimension: Select
    values: tuple[tuple[str, str], ...]
    values_url: str
    value: str
    excludes: bool
    error: str


@dataclass(frozen=True, slots=True)
class SpendPage:
    """`rows` are the largest of `row_count`.

    `refusal` says why the question has no answer; the controls stay, so that it can be asked otherwise.
    `not_compared` says why only the period before has none. `runs_url` lists the runs of the range that have the page's
    filters, where runs can be filtered so, and `months_url` says why the month differs from the one before.
    """

    title: str
    chart_title: str
    hidden: tuple[tuple[str, str], ...]
    selects: tuple[Select, ...]
    chips: tuple[Chip, ...]
    adding: FilterForm
    runs_url: str | None
    views: tuple[Tab, ...]
    views_url: str
    save_url: str
    exports_url: str
    months_url: str | None
    query: str
    headings: tuple[str, ...]
    rows: tuple[SpendRow, ...]
    row_count: int
    total: SpendRow
    chart: Chart | None
    compared_with: str
    not_compared: str
    source: str
    refusal: str


@dataclass(frozen=True, slots=True)
class ViewRow:
    """A saved view. `name` and `error` are what was typed and why it was refused, after a refusal.

    `may_hide`: whether it can be its maker's alone, which one that a key made cannot.
    `has_left`: its maker is no member any more, so that whoever may change it may make it theirs.
    """

    name: str
    url: str
    maker: str | None
    has_left: bool
    is_shared: bool
    may_hide: bool
    act_url: str | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class ViewsPage:
    """`query` is the address to save, where the page was asked to; `shown` says in words what it shows."""

    rows: tuple[ViewRow, ...]
    query: str
    shown: str
    name: str
    is_shared: bool
    error: str
    explorer_url: str


@dataclass(frozen=True, slots=True)
class ExportRow:
    """`progress` of 0 to 1 while it is written; `file_url` where it can be fetched, until `kept_until`."""

    id: int
    title: str
    format: str
    person: str | None
    asked_at: datetime
    state: str
    says: str
    progress: Decimal | None
    error: str
    size: str
    file_url: str | None
    kept_until: datetime | None
    delete_url: str


@dataclass(frozen=True, slots=True)
class FocusForm:
    """Days as they were typed, or those of last month; `error` stands by the field that it is about."""

    first_day: str
    last_day: str
    basis: str
    error: str = ""
    field: str = ""


@dataclass(frozen=True, slots=True)
class ExportsPage:
    """`is_working`: something is not finished yet, and the page looks again by itself."""

    rows: tuple[ExportRow, ...]
    focus: FocusForm
    is_working: bool
    url: str
    explorer_url: str
