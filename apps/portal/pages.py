"""What the templates read: one frozen value per page, in the words of the page."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from apps.accounts.models import User
from apps.portal.pages_prices import WaitingRow
from apps.portal.rail import RailGroup
from apps.portal.rail import Tab as Tab

# --- frame -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OrgRef:
    name: str
    slug: str
    timezone: str


@dataclass(frozen=True, slots=True)
class OrgLink:
    name: str
    slug: str
    url: str
    active: bool


@dataclass(frozen=True, slots=True)
class Crumb:
    """The last crumb has no url: it is this page."""

    label: str
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Range:
    """The range control. `hidden` are the page's other parameters, carried by the form of dates.

    `compare` turns the comparison with the period before on or off, on pages that have one.
    """

    label: str
    first_day: date
    last_day: date
    timezone: str
    as_of: datetime
    presets: tuple[Tab, ...]
    hidden: tuple[tuple[str, str], ...]
    previous_url: str | None
    next_url: str | None
    compare: Tab | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    org: OrgRef
    organizations: tuple[OrgLink, ...]
    user: User
    section: str
    title: str
    breadcrumbs: tuple[Crumb, ...]
    at: datetime
    range: Range | None
    closes_at: datetime | None
    rail: tuple[RailGroup, ...]
    tabs: tuple[Tab, ...]


@dataclass(frozen=True, slots=True)
class NoPermission:
    """`who` are the addresses of people who can give it."""

    what: str
    permission: str
    role: str
    who: tuple[str, ...]


# --- controls ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Option:
    """`disabled`: shown so that nobody looks for it elsewhere, with the reason in its label."""

    value: str
    label: str
    selected: bool
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class Select:
    name: str
    label: str
    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class TextField:
    name: str
    label: str
    value: str
    suggestions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter, or an exclusion, that can be removed; value None: the dimension is missing."""

    label: str
    value: str | None
    remove_url: str
    excludes: bool = False


# --- events ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EventRow:
    occurred_at: datetime
    team: str | None
    project: str | None
    workflow: str | None
    run_id: str | None
    run_url: str
    provider: str
    model: str
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_usd: Decimal | None
    status: str
    url: str


@dataclass(frozen=True, slots=True)
class Found:
    """What all pages of a list of events come to."""

    events: int
    unpriced_events: int
    cost_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class EventsPage:
    """`found` is None where rollups do not know the sum of these filters."""

    hidden: tuple[tuple[str, str], ...]
    fields: tuple[TextField, ...]
    selects: tuple[Select, ...]
    chips: tuple[Chip, ...]
    found: Found | None
    rows: tuple[EventRow, ...]
    first_url: str | None
    next_url: str | None


@dataclass(frozen=True, slots=True)
class MeterLine:
    """One meter's part of a cost; `why` says whose rate it is and by which rule."""

    label: str
    quantity: int
    usd_per_million: Decimal | None
    why: str
    cost_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class WorkingPage:
    """How a cost came about: its lines, and the facts behind the rates as (label, text, url)."""

    lines: tuple[MeterLine, ...]
    cost_usd: Decimal | None
    adds_up: bool
    facts: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class PostingLine:
    reason: str
    booked_at: datetime
    actor: str | None
    cost_usd: Decimal


@dataclass(frozen=True, slots=True)
class AttributionLine:
    label: str
    value: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class FieldLine:
    label: str
    value: str
    code: bool = False
    url: str | None = None


@dataclass(frozen=True, slots=True)
class EventPage:
    """`now` is the working of the current cost; `stored` the one at arrival where postings changed it since."""

    event_id: str
    provider: str
    model: str
    now: WorkingPage
    stored: WorkingPage | None
    unpriced: str
    declared_cost_usd: Decimal | None
    declared_difference_usd: Decimal | None
    postings: tuple[PostingLine, ...]
    sent: str
    attribution: tuple[AttributionLine, ...]
    fields: tuple[FieldLine, ...]


# --- to settle ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UnpricedPage:
    events: int
    share: Decimal | None
    rows: tuple[WaitingRow, ...]
    row_count: int
    url: str
    may_change: bool
    alias_url: str
