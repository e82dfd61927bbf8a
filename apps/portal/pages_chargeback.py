"""What the templates of adjustments, rates and closing read."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from apps.portal.pages_prices import FormError


@dataclass(frozen=True, slots=True)
class AdjustmentRow:
    label: str
    name: str
    team: str | None
    month: str
    booked_month: str
    amount_usd: Decimal
    reason: str
    refers_to: str
    refers_url: str
    booked_at: datetime
    booked_by: str
    statement_url: str


@dataclass(frozen=True, slots=True)
class AdjustmentsPage:
    month_label: str
    rows: tuple[AdjustmentRow, ...]
    is_cut: bool
    kinds: tuple[tuple[str, str], ...]
    teams: tuple[str, ...]
    given: Mapping[str, str]
    error: FormError | None
    may_change: bool
    all_url: str


@dataclass(frozen=True, slots=True)
class RateRow:
    month: str
    currency: str
    rate: str
    source: str
    entered_at: datetime
    entered_by: str


@dataclass(frozen=True, slots=True)
class ChargebackPage:
    """`currency`, `close_after_hours`, `closes_itself`, and the rate's fields hold what was typed, where it was."""

    currency: str
    currencies: tuple[tuple[str, str], ...]
    close_after_hours: str
    closes_itself: bool
    needs_rates: bool
    month: str
    rate_currency: str
    rate: str
    source: str
    rates: tuple[RateRow, ...]
    error: FormError | None
    may_change: bool
