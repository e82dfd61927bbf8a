"""What the templates about prices read: one frozen value per page, in the words of the page."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Self

from apps.accounts.models import User
from apps.core.errors import DomainError


@dataclass(frozen=True, slots=True)
class FormError:
    """What was wrong with a form, at which field ("" where it is none's)."""

    field: str
    detail: str

    @classmethod
    def of(cls, wrong: DomainError) -> Self:
        return cls(wrong.param or "", wrong.detail)


# --- catalog -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model and its standard price, USD per million; rates None where there is none. `own` is what a contract of the
    organization makes of its input rate, None where there is none.
    """

    provider: str
    model: str
    url: str
    input: Decimal | None
    cache_read: Decimal | None
    output: Decimal | None
    other: str
    long_from: int | None
    service_tiers: tuple[str, ...]
    source: str
    differs_percent: Decimal | None
    contract: str


@dataclass(frozen=True, slots=True)
class PricesPage:
    text: str
    provider: str
    providers: tuple[str, ...]
    rows: tuple[ModelRow, ...]
    version: int
    next_url: str | None
    first_url: str | None


@dataclass(frozen=True, slots=True)
class RateCell:
    label: str
    usd_per_million: Decimal


@dataclass(frozen=True, slots=True)
class PriceLine:
    """One row that a model has had. `state` is in force, coming, earlier, superseded or withdrawn."""

    id: int
    state: str
    service_tier: str
    region: str
    effective_from: datetime | None
    window: str
    rates: tuple[RateCell, ...]
    tiers: tuple[tuple[int, tuple[RateCell, ...]], ...]
    source: str
    version: int


@dataclass(frozen=True, slots=True)
class Opinion:
    """A meter on which two sources differ."""

    meter: str
    ours: Decimal
    theirs: Decimal


@dataclass(frozen=True, slots=True)
class Review:
    id: int
    kind: str
    name: str
    service_tier: str
    other: str
    percent: Decimal
    opinions: tuple[Opinion, ...]
    flagged_at: datetime
    verdict: str
    note: str
    decided_by: str
    decided_at: datetime | None


@dataclass(frozen=True, slots=True)
class ModelPage:
    provider: str
    model: str
    names: tuple[str, ...]
    chart: Mapping[str, Any] | None
    sentence: str
    lines: tuple[PriceLine, ...]
    reviews: tuple[Review, ...]
    contracts: tuple["ContractRow", ...]
    events_url: str


# --- contracts -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ContractRow:
    """`state` is in force, coming or ended; `terms` says in words what was agreed."""

    id: int
    kind: str
    name: str
    scope: str
    terms: str
    state: str
    starts_at: datetime
    ends_at: datetime | None
    used_usd: Decimal | None
    left_usd: Decimal | None
    end_url: str


@dataclass(frozen=True, slots=True)
class AliasRow:
    provider: str
    name: str
    means: str
    remove_url: str


@dataclass(frozen=True, slots=True)
class ContractsPage:
    rows: tuple[ContractRow, ...]
    aliases: tuple[AliasRow, ...]
    kinds: tuple[tuple[str, str, str], ...]
    may_change: bool
    error: FormError | None
    given: Mapping[str, str]
    alias_url: str
    today: date


@dataclass(frozen=True, slots=True)
class ContractForm:
    kind: str
    label: str
    says: str
    fields: tuple[str, ...]
    kinds: tuple[tuple[str, str, str], ...]
    meters: tuple[tuple[str, str, bool], ...]
    service_tiers: tuple[str, ...]
    teams: tuple[str, ...]
    models: tuple[str, ...]
    given: Mapping[str, str]
    error: FormError | None
    rerate_url: str


# --- re-rating -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReratingRow:
    url: str
    reason: str
    actor: str
    created_at: datetime
    state: str
    difference_usd: Decimal


@dataclass(frozen=True, slots=True)
class ReratingsPage:
    rows: tuple[ReratingRow, ...]
    may_change: bool
    new_url: str


@dataclass(frozen=True, slots=True)
class ReratingForm:
    versions: tuple[tuple[int, str], ...]
    filters: tuple[tuple[str, str], ...]
    given: Mapping[str, str]
    error: FormError | None


@dataclass(frozen=True, slots=True)
class ReratingLineRow:
    team: str | None
    month: date
    booked_month: date
    events: int
    newly_priced: int
    newly_unpriced: int
    before_usd: Decimal
    after_usd: Decimal
    difference_usd: Decimal
    posted_usd: Decimal


@dataclass(frozen=True, slots=True)
class ReratingPage:
    id: str
    state: str
    says: str
    reason: str
    actor: str
    created_at: datetime
    posted_by: str | None
    posted_at: datetime | None
    start: datetime
    end: datetime
    scope: str
    version: int
    scanned: int
    expected: int
    share: Decimal
    running: bool
    lines: tuple[ReratingLineRow, ...]
    models: tuple[tuple[str, int, Decimal], ...]
    events: int
    newly_priced: int
    newly_unpriced: int
    before_usd: Decimal
    after_usd: Decimal
    difference_usd: Decimal
    posted_events: int
    posted_usd: Decimal
    left_usd: Decimal
    acts: tuple[tuple[str, str], ...] = field(default=())


# --- waiting -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WaitingRow:
    """A model without a price, why, and the two ways to give it one."""

    provider: str
    model: str
    events: int
    events_url: str
    meters: tuple[tuple[str, int], ...]
    first_day: datetime | None
    last_day: datetime | None
    code: str
    reason: str
    suggestions: tuple[str, ...]
    price_url: str
    rerate_url: str


@dataclass(frozen=True, slots=True)
class DeclaredPage:
    models: tuple[Any, ...]
    events: tuple[tuple[Any, str], ...]


# --- operator ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VersionRow:
    id: int
    source: str
    source_version: str
    loaded_at: datetime
    models_added: int
    prices_added: int


@dataclass(frozen=True, slots=True)
class ReviewsPage:
    user: User
    open: tuple[Review, ...]
    decided: tuple[Review, ...]
    versions: tuple[VersionRow, ...]
    error: FormError | None
    flag: int | None
    given: Mapping[str, str]
    meters: tuple[tuple[str, str], ...]
