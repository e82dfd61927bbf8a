"""Closing a month: review, the fence, the proof, the seal.

    fence   in one short transaction first_open_month moves on: whatever commits later is booked in the next month
    drain   what was booked in the month and is pending is rolled up
    prove   events + postings = rollups, and the drafts' usage = what is booked, difference 0
    seal    every statement is stored with its number and hash, and the month is final, in one transaction

Each step may be done again, or by two at once: a fence moves a month once, and a seal is unique.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import structlog
from django.db import DataError, IntegrityError
from django.db.models import Max
from django.utils import timezone
from psycopg.errors import UniqueViolation

from apps.audit import services as audit
from apps.core.errors import DomainError
from apps.core.money import sum_usd, usd_text
from apps.core.periods import month_before
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar
from apps.reports import months, statements_sql
from apps.reports.document import CREDIT_KINDS, Document, usd
from apps.reports.drafts import draft_documents
from apps.reports.models_statements import MonthStep, Statement
from apps.reports.months import CLOSING, FINAL, IN_REVIEW, OPEN
from apps.usage import services as usage

log = structlog.get_logger(__name__)

Step = MonthStep.Step
ITSELF = "closes itself"


def begin_review(*, org: Organization, month: date, actor: object) -> None:
    """Drafts are looked over; leads are asked. Raises `DomainError` (`month_not_over`, `month_closed`)."""
    with tenant(org):
        _lock(org)
        state = months.state_of(org, month)
        _require_unclosed(month, state)
        if calendar(org).month_of(timezone.now()) <= month:
            raise DomainError("month_not_over", f"{month:%Y-%m} is not over: review it once it is.", param="month")
        if state == OPEN:
            _note(org, month, Step.REVIEW, actor)


def reopen(*, org: Organization, month: date, actor: object) -> None:
    """Back from review. Raises `DomainError` (`month_closed`)."""
    with tenant(org):
        _lock(org)
        state = months.state_of(org, month)
        _require_unclosed(month, state)
        if state == IN_REVIEW:
            _note(org, month, Step.REOPEN, actor)


def fence(*, org: Organization, month: date, actor: object) -> None:
    """Nothing is booked in the month from here on; `seal` does the rest. Fencing it again changes nothing.

    Raises `DomainError` (`month_not_ready`, with what the closing waits for).
    """
    with tenant(org):
        _lock(org)
        if months.state_of(org, month) in (CLOSING, FINAL):
            return
        missing = [check for check in months.checks_of(org, month, at=timezone.now()) if not check.holds]
        if missing:
            raise DomainError("month_not_ready", " ".join(check.detail for check in missing), param="month")
        usage.fence(org, month)
        _note(org, month, Step.FENCE, actor)


def _lock(org: Organization) -> None:
    """One step at a time: whoever else changes this month, or books in it, waits for the caller's transaction."""
    usage.closing_month(org)


def _require_unclosed(month: date, state: str) -> None:
    if state in (CLOSING, FINAL):
        raise DomainError("month_closed", f"{month:%Y-%m} is {state}: it stays closed.", param="month")


def _note(org: Organization, month: date, step: Step, actor: object, *, note: str = "", **facts: object) -> None:
    MonthStep.objects.for_org(org).create(
        organization=org, month=month, step=step, at=timezone.now(), by=str(actor), note=note, facts=facts
    )
    audit.record(org=org, actor=actor, action=f"chargeback.month_{step.value}", subject=f"{month:%Y-%m}", data=facts)


# --- the seal -------------------------------------------------------------------------------------------


def work(org: Organization, *, at: datetime) -> int:
    """Seal what is fenced, and fence what closes itself and may; how many months became final."""
    with tenant(org):
        waiting = months.fenced(org)
    sealed = 0
    for fenced in waiting:
        if not seal(org, fenced):
            # The months after it rest on it.
            return sealed
        sealed += 1
    month = _due(org, at)
    if month is not None:
        fence(org=org, month=month, actor=ITSELF)
        sealed += seal(org, month)
    return sealed


def _due(org: Organization, at: datetime) -> date | None:
    """The month that is next to close by itself, where that may be now."""
    with tenant(org):
        if not months.terms_of(org).closes_itself:
            return None
        month = months.next_to_close(org)
        if month is None or month > month_before(calendar(org).month_of(at)):
            return None
        return month if all(check.holds for check in months.checks_of(org, month, at=at)) else None


def seal(org: Organization, month: date) -> bool:
    """Make a fenced month final, if what it rests on agrees; whether it became so.

    What does not agree is noted and logged, and nothing is stored.
    """
    usage.roll_up(org)
    with tenant(org):
        if months.state_of(org, month) != CLOSING or statements_sql.has_pending(org.pk, month):
            return False
    found = usage.reconcile(org)
    if not found.agrees:
        checks = ", ".join(sorted({str(difference["check"]) for difference in found.differences}))
        _fail(org, month, f"{len(found.differences)} differences between events and rollups ({checks}): see the log.")
        return False
    try:
        with tenant(org, repeatable_read=True):
            _store(org, month)
    except DomainError as error:
        _fail(org, month, error.detail)
        return False
    except (ArithmeticError, AssertionError):
        _fail(org, month, "Its statements could not be computed, by an error of ours: see the log.")
        raise
    except (IntegrityError, DataError) as error:
        # Of what is unique, another process stored it since the snapshot: the next tick sees that.
        if not isinstance(error.__cause__, UniqueViolation):
            _fail(org, month, "A sum of a statement is larger than an amount may be.")
        return False
    return True


def _store(org: Organization, month: date) -> None:
    at = timezone.now()
    drafts = draft_documents(org, month, at=at)
    _prove(org, month, drafts)
    last = Statement.objects.for_org(org).aggregate(last=Max("number"))["last"] or 0
    final = [
        msgspec.structs.replace(draft, number=number, status=FINAL, as_of=at)
        for number, draft in enumerate(drafts, start=last + 1)
    ]
    for document in final:
        _insert(org, month, document)
    _note(
        org,
        month,
        Step.SEAL,
        ITSELF,
        statements=len(final),
        events=sum(one.events for one in final),
        usage_usd=usd_text(sum_usd(Decimal(one.usage_usd) for one in final)),
        total_usd=usd_text(sum_usd(usd(one.total_usd) for one in final)),
        **_drawn(final),
    )


def _drawn(final: Sequence[Document]) -> dict[str, Any]:
    """What grants and credits took off the month, by the contract's number: gone for every month that follows."""
    drawn: dict[str, Decimal] = defaultdict(Decimal)
    for line in (line for one in final for line in one.lines if line.kind in CREDIT_KINDS):
        number = line.source.removeprefix("contract:")
        drawn[number] = sum_usd((drawn[number], -usd(line.cost_usd)))
    return {"drawn_usd": {number: f"{amount:f}" for number, amount in drawn.items()}} if drawn else {}


def _insert(org: Organization, month: date, document: Document) -> None:
    assert document.number is not None
    Statement.objects.for_org(org).create(
        organization=org,
        number=document.number,
        month=month,
        team=document.team,
        events=document.events,
        unpriced_events=document.unpriced_events,
        usage_usd=Decimal(document.usage_usd),
        total_usd=None if document.total_usd is None else Decimal(document.total_usd),
        currency=document.currency,
        total=None if document.total is None else Decimal(document.total),
        sha256=document.sha256,
        document=document.canonical,
        sealed_at=document.as_of,
    )


def _prove(org: Organization, month: date, drafts: Sequence[Document]) -> None:
    """Raises `DomainError` (`statements_differ`) where the drafts are not, to the last decimal, what is booked."""
    booked = sum_usd(statements_sql.usage_by_team(org.pk, month, month).values())
    stated = sum_usd(Decimal(draft.usage_usd) for draft in drafts)
    if booked != stated:
        raise DomainError(
            "statements_differ", f"Statements come to {stated} USD of usage, and {booked} is booked.", param="month"
        )


def _fail(org: Organization, month: date, why: str) -> None:
    """Say once why a month does not become final; the page shows it, and the next tick tries again."""
    log.error("month not sealed", organization_id=org.pk, month=f"{month:%Y-%m}", why=why)
    with tenant(org):
        if months.state_of(org, month) != CLOSING:
            return
        newest = months.steps_of(org, month)[0]
        if (newest.step, newest.note) != (Step.FAIL, why):
            _note(org, month, Step.FAIL, ITSELF, note=why)


@dataclass(frozen=True, slots=True)
class MonthState:
    """A month as people see it: its state, what its closing waits for, and its steps, newest first."""

    month: date
    state: str
    closes_at: datetime
    checks: Sequence[months.Check]
    steps: Sequence[MonthStep]

    @property
    def is_ready(self) -> bool:
        return self.state in (OPEN, IN_REVIEW) and all(check.holds for check in self.checks)


def month_state(org: Organization, month: date, *, at: datetime) -> MonthState:
    with tenant(org):
        state = months.state_of(org, month)
        due = months.closes_at(calendar(org), months.terms_of(org), month)
        checks = months.checks_of(org, month, at=at) if state in (OPEN, IN_REVIEW) else []
        return MonthState(month, state, due, checks, months.steps_of(org, month))
