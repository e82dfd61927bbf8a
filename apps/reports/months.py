"""The life of a month as it stands: its state, what its closing waits for, how an organization closes. Inside
`tenant(org)`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from django.db.models import Q, QuerySet

from apps.core.periods import Calendar, next_month
from apps.core.tenancy import HasPk
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar
from apps.pricing.commitments import FEES
from apps.pricing.selectors import load_terms
from apps.reports import disputes, statements_sql
from apps.reports.chargeback import AMOUNT
from apps.reports.currencies import USD
from apps.reports.models_allocation import AllocationPool
from apps.reports.models_statements import ChargebackTerms, ExchangeRate, MonthStep
from apps.usage.selectors import first_open_month
from apps.usage.sql import EPOCH_MONTH

OPEN, IN_REVIEW, CLOSING, FINAL = "open", "in_review", "closing", "final"
STATES = (OPEN, IN_REVIEW, CLOSING, FINAL)
_STATE_AFTER = {
    MonthStep.Step.REVIEW: IN_REVIEW,
    MonthStep.Step.REOPEN: OPEN,
    MonthStep.Step.FENCE: CLOSING,
    MonthStep.Step.SEAL: FINAL,
}


def terms_of(org: HasPk) -> ChargebackTerms:
    """How the organization's months close; unsaved defaults where it never said."""
    return ChargebackTerms.objects.for_org(org).first() or ChargebackTerms(organization_id=org.pk)


def rate_of(org: HasPk, month: date, currency: str) -> ExchangeRate | None:
    """The rate that holds for a month: the newest that was entered."""
    rates = ExchangeRate.objects.for_org(org).filter(month=month, currency=currency)
    return rates.order_by("-id").first()


def find_rates(org: HasPk, *, month: date | None, after: int | None, limit: int) -> list[ExchangeRate]:
    """Newest first, of one month or of all, before the number `after`."""
    rows = ExchangeRate.objects.for_org(org).order_by("-id")
    if month is not None:
        rows = rows.filter(month=month)
    if after is not None:
        rows = rows.filter(pk__lt=after)
    return list(rows[:limit])


@dataclass(frozen=True, slots=True)
class Money:
    """What a month's amounts are in. `rate` None: no rate is known, and there are no amounts but USD."""

    currency: str
    rate: Decimal | None
    source: str


def money_of(org: HasPk, month: date) -> Money:
    currency = terms_of(org).currency
    if currency == USD:
        return Money(USD, Decimal(1), "")
    found = rate_of(org, month, currency)
    return Money(currency, found.rate, found.source) if found else Money(currency, None, "")


def steps_of(org: HasPk, month: date) -> Sequence[MonthStep]:
    """The steps of a month, newest first."""
    return list(MonthStep.objects.for_org(org).filter(month=month).order_by("-id"))


def fenced(org: HasPk) -> list[date]:
    """Months that wait to be sealed, in order."""
    steps = MonthStep.objects.for_org(org).filter(step__in=(MonthStep.Step.FENCE, MonthStep.Step.SEAL))
    months: dict[str, set[date]] = {MonthStep.Step.FENCE: set(), MonthStep.Step.SEAL: set()}
    for step, month in steps.values_list("step", "month"):
        months[step].add(month)
    return sorted(months[MonthStep.Step.FENCE] - months[MonthStep.Step.SEAL])


def drawn_before(org: HasPk, month: date) -> Mapping[date, Mapping[str, str]]:
    """Of each final month before this one, what each grant and credit took off it: USD by the contract's number."""
    seals = MonthStep.objects.for_org(org).filter(step=MonthStep.Step.SEAL, month__lt=month)
    return {sealed: facts.get("drawn_usd", {}) for sealed, facts in seals.values_list("month", "facts")}


def _moves(org: HasPk) -> QuerySet[MonthStep]:
    """Steps that say a state. A failure says none: it may be noted by one worker after another sealed the month."""
    return MonthStep.objects.for_org(org).exclude(step=MonthStep.Step.FAIL)


def state_of(org: HasPk, month: date) -> str:
    newest = _moves(org).filter(month=month).order_by("-id").first()
    if newest is not None:
        return _STATE_AFTER[MonthStep.Step(newest.step)]
    return OPEN


@dataclass(frozen=True, slots=True)
class Check:
    """Something that must be so before a month may close; `detail` says what is missing and the way out."""

    code: str
    holds: bool
    detail: str


def next_to_close(org: Organization) -> date | None:
    """The first open month that has a line: usage, an adjustment, or, once any month was closed, a fee or an amount
    that is shared. Before that, chargeback begins with the first usage.
    """
    since = first_open_month(org)
    booked = statements_sql.first_booked_month(org.pk, since)
    if since == EPOCH_MONTH:
        return booked
    clock = calendar(org)
    begin = clock.month_start(since)
    fees = (term for term in load_terms(org) if term.kind in FEES and (term.ends_at is None or term.ends_at > begin))
    pools = AllocationPool.objects.for_org(org).filter(
        Q(until_month__isnull=True) | Q(until_month__gt=since), source=AMOUNT
    )
    firsts = [clock.month_of(term.starts_at) for term in fees] + list(pools.values_list("from_month", flat=True))
    charged = [max(first, since) for first in firsts]
    return min([*charged, booked] if booked else charged, default=None)


def closes_at(clock: Calendar, terms: ChargebackTerms, month: date) -> datetime:
    """The first instant at which a month may close."""
    return clock.month_start(next_month(month)) + timedelta(hours=terms.close_after_hours)


def checks_of(org: Organization, month: date, *, at: datetime) -> list[Check]:
    """What the closing of a month waits for, known before it is fenced."""
    clock, terms, money = calendar(org), terms_of(org), money_of(org, month)
    due = closes_at(clock, terms, month)
    local = due.astimezone(clock.zone_at(due))
    return [
        Check(
            "ended",
            at >= due,
            f"The month may close from {local:%Y-%m-%d %H:%M} on, {terms.close_after_hours} hours after its end.",
        ),
        _order_check(org, month),
        Check(
            "rate",
            money.rate is not None,
            _rate_says(money),
        ),
        _disputes(org, month),
    ]


def _disputes(org: Organization, month: date) -> Check:
    waiting = disputes.open_in(org, month)
    said = f"{waiting} of its disputes {'waits' if waiting == 1 else 'wait'} for an answer: reject or move first."
    return Check("disputes", not waiting, said if waiting else "No dispute of it is open.")


def _order_check(org: Organization, month: date) -> Check:
    """Months become final one after the other: each one's year to date and number rest on those before."""
    closing = next((one for one in fenced(org) if one < month), None)
    first = next_to_close(org)
    says = "No earlier month is open."
    if closing is not None:
        says = f"{closing:%Y-%m} is closing: it becomes final first."
    elif first is not None and first < month:
        says = f"{first:%Y-%m} is open and has something to charge: close it first."
    return Check("in_order", closing is None and (first is None or first >= month), says)


def _rate_says(money: Money) -> str:
    currency = money.currency
    if currency == USD:
        return "Statements are in USD: no rate is needed."
    if money.rate is None:
        return f"Statements are in {currency}: enter how many {currency} one USD was."
    return f"One USD was {money.rate.normalize():f} {currency} ({money.source})."
