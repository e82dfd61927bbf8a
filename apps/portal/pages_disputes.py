"""What the templates of disputes read."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from apps.portal.pages_prices import FormError


@dataclass(frozen=True, slots=True)
class DisputeRow:
    """`now_usd` is what the line comes to now, None where it is gone or was not looked up."""

    id: int
    url: str
    about: str
    team: str | None
    month: str
    statement_url: str
    amount_usd: Decimal
    reason: str
    raised_at: datetime
    raised_by: str
    state: str
    answer: str
    answered_at: datetime | None
    answered_by: str
    to_team: str
    from_day: date | None
    moved_usd: Decimal | None
    booked_month: str


@dataclass(frozen=True, slots=True)
class DisputesPage:
    rows: tuple[DisputeRow, ...]
    states: tuple[tuple[str, str], ...]
    state: str
    team: str
    month: str
    first_url: str
    next_url: str
    statements_url: str


@dataclass(frozen=True, slots=True)
class Preview:
    to_team: str
    from_day: date
    amount_usd: Decimal
    booked_month: str


@dataclass(frozen=True, slots=True)
class DisputePage:
    row: DisputeRow
    now_usd: Decimal | None
    is_gone: bool
    may_answer: bool
    teams: tuple[str, ...]
    first_day: date
    last_day: date
    given: Mapping[str, str]
    preview: Preview | None
    error: FormError | None
    project_url: str


@dataclass(frozen=True, slots=True)
class DisputeNewPage:
    """`about` is "" where no line was chosen, or the one that was is not there."""

    about: str
    team: str
    month: str
    key: str
    month_label: str
    amount_usd: Decimal | None
    reason: str
    back_url: str
    error: FormError | None
