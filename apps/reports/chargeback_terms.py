"""How an organization's months close, and what a USD was in its currency."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from django.utils import timezone

from apps.audit import services as audit
from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.core.text import is_name
from apps.organizations.models import Organization
from apps.reports import months
from apps.reports.currencies import USD, decimals_of
from apps.reports.models_statements import CLOSE_AFTER_HOURS_MAX, SOURCE_LENGTH_MAX, ChargebackTerms, ExchangeRate
from apps.usage.services import lock_open_month

RATES_AT_ONCE_MAX = 500
_RATE = re.compile(r"\d{1,9}(\.\d{1,10})?", re.ASCII)


def change_terms(
    *, org: Organization, currency: str, close_after_hours: int, closes_itself: bool, actor: object
) -> ChargebackTerms:
    """What is said here holds for every month that is still open.

    Raises `DomainError` (`currency_unknown`, `close_after_hours_invalid`, `month_closed` for another currency while
    a month is closing).
    """
    currency = _currency(currency)
    if not 0 <= close_after_hours <= CLOSE_AFTER_HOURS_MAX:
        raise DomainError(
            "close_after_hours_invalid",
            f"close_after_hours is {close_after_hours}: it is 0 to {CLOSE_AFTER_HOURS_MAX} (15 days).",
            param="close_after_hours",
        )
    said = {"currency": currency, "close_after_hours": close_after_hours, "closes_itself": closes_itself}
    with tenant(org):
        # No month is fenced between what was shown and what is stored.
        lock_open_month(org)
        _require_none_closing(org, currency)
        terms, _ = ChargebackTerms.objects.for_org(org).update_or_create(organization=org, defaults=said)
        audit.record(org=org, actor=actor, action="chargeback.terms_changed", subject=org.slug, data=said)
    return terms


@dataclass(frozen=True, slots=True)
class GivenRate:
    """A rate as somebody gave it: `rate` is a decimal string, units of `currency` for one USD."""

    month: date
    currency: str
    rate: str
    source: str


def enter_rates(*, org: Organization, rates: Sequence[GivenRate], actor: object) -> list[ExchangeRate]:
    """All of them, or none: each replaces what was said of its month and currency before.

    Raises `DomainError` (`currency_unknown`, `rate_invalid`, `source_invalid`, `month_closed`, `too_many_rates`).
    """
    if len(rates) > RATES_AT_ONCE_MAX:
        raise DomainError(
            "too_many_rates", f"{len(rates)} rates: send at most {RATES_AT_ONCE_MAX} at once.", param="rates"
        )
    at = timezone.now()
    rows = [
        ExchangeRate(
            organization=org,
            month=given.month,
            currency=_currency(given.currency),
            rate=_rate(given),
            source=_source(given.source),
            entered_at=at,
            entered_by=str(actor),
        )
        for given in rates
    ]
    with tenant(org):
        first = lock_open_month(org)
        for row in rows:
            require_open(row.month, first)
            row.save(force_insert=True)
            audit.record(
                org=org,
                actor=actor,
                action="chargeback.rate_entered",
                subject=f"{row.month:%Y-%m} {row.currency}",
                data={"rate": f"{row.rate:f}", "source": row.source},
            )
    return rows


def _require_none_closing(org: Organization, currency: str) -> None:
    """What is fenced is stored in the currency whose rate was asked for."""
    closing = months.fenced(org)
    if closing and currency != (stands := months.terms_of(org).currency):
        raise DomainError(
            "month_closed",
            f"{closing[0]:%Y-%m} is closing, in {stands}: change the currency once it is final.",
            param="currency",
        )


def require_open(month: date, first_open: date) -> None:
    """Raises `DomainError` (`month_closed`) for a month of before `first_open`."""
    if month < first_open:
        raise DomainError(
            "month_closed",
            f"{month:%Y-%m} is closed: its statements stay as they are. The first open month is {first_open:%Y-%m}.",
            param="month",
        )


def currency_of(org: Organization) -> str:
    with tenant(org):
        return months.terms_of(org).currency


def _currency(code: str) -> str:
    if decimals_of(code) is None:
        raise DomainError(
            "currency_unknown",
            f"'{code[:16]}' is no currency of ISO 4217 that money is counted in: write it as three capital letters,"
            " such as EUR.",
            param="currency",
        )
    return code


def _rate(given: GivenRate) -> Decimal:
    if given.currency == USD:
        raise DomainError("rate_invalid", "A USD is a USD: enter rates of other currencies.", param="currency")
    if not _RATE.fullmatch(given.rate) or not (rate := Decimal(given.rate)):
        raise DomainError(
            "rate_invalid",
            f"'{given.rate[:40]}' is no rate: write how many {given.currency} one USD was, above 0 and below"
            " 1,000,000,000, with at most 10 decimals.",
            param="rate",
        )
    return rate


def _source(text: str) -> str:
    if not is_name(text, SOURCE_LENGTH_MAX):
        raise DomainError(
            "source_invalid",
            f"Say where the rate is from, in 1 to {SOURCE_LENGTH_MAX} characters: 'ECB, 2026-10-31'.",
            param="source",
        )
    return text
