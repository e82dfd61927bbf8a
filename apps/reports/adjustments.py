"""Adjustments: amounts of a statement that no event made. Append-only; what was wrong is followed by its opposite."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from django.db import IntegrityError, transaction
from django.db.models import Sum
from django.utils import timezone

from apps.audit import services as audit
from apps.core.errors import DomainError
from apps.core.money import COST_MAX_USD, usd_text
from apps.core.tenancy import tenant
from apps.core.text import is_name
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar
from apps.reports.models_statements import REASON_LENGTH_MAX, REQUEST_ID_LENGTH_MAX, Adjustment, Statement
from apps.teams.selectors import require_team
from apps.usage.services import lock_open_month

# What a person may book by hand; the others are made by bills and disputes.
BY_HAND = (Adjustment.Kind.ADJUSTMENT, Adjustment.Kind.CREDIT_NOTE)
NAME_LENGTH_MAX = 256
PAGE_MAX = 200
# What tells one adjustment from another.
_SAID = ("kind", "of_month", "team", "provider", "model", "name", "cost_usd", "reason", "refers_to", "source")
_AMOUNT = re.compile(r"-?\d{1,12}(\.\d{1,12})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class AdjustmentDraft:
    """An amount to book for a team (None: no team's) in `of_month`, or in the first open month after it.

    `refers_to` is the number of a final statement ("CS-000012"); `source` what made it ("invoice:12"). What is sent
    again under one `request_id` is booked once.
    """

    kind: str
    team: str | None
    name: str
    cost_usd: Decimal
    reason: str
    of_month: date
    provider: str = ""
    model: str = ""
    refers_to: str = ""
    source: str = ""
    request_id: str = ""


def signed_usd(text: str) -> Decimal:
    """An amount above or below 0, with at most 12 decimals. Raises `DomainError` (`amount_invalid`)."""
    if not _AMOUNT.fullmatch(text) or not (amount := Decimal(text)):
        raise DomainError(
            "amount_invalid",
            f"'{text[:40]}' is no amount to book: write USD above or below 0, with at most 12 digits before the point"
            " and 12 behind it, such as -12.50.",
            param="amount_usd",
        )
    return amount


def book(*, org: Organization, lines: Sequence[AdjustmentDraft], actor: object) -> list[Adjustment]:
    """All of them, or none; one that was booked under its `request_id` before is answered as it stands.

    Raises `DomainError` (`amount_invalid`, `reason_invalid`, `name_invalid`, `team_unknown`, `statement_unknown`,
    `request_id_invalid`, `request_id_conflict`, `month_invalid` for a month that has not begun).
    """
    at = timezone.now()
    with tenant(org):
        _require_begun(lines, calendar(org).month_of(at))
        first_open = lock_open_month(org)
        rows = [_row(org, line) for line in lines]
        for row in rows:
            row.booked_month = max(row.of_month, first_open)
            row.booked_at, row.booked_by = at, str(actor)
        return [_booked(org, row, actor) for row in rows]


def _booked(org: Organization, row: Adjustment, actor: object) -> Adjustment:
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        known = Adjustment.objects.for_org(org).filter(request_id=row.request_id).first()
        if row.request_id is None or known is None:
            raise
        return _same(known, row)
    audit.record(
        org=org,
        actor=actor,
        action="chargeback.adjusted",
        subject=f"{row.booked_month:%Y-%m}:{row.team or ''}",
        data={"kind": row.kind, "name": row.name, "cost_usd": usd_text(row.cost_usd), "reason": row.reason},
    )
    return row


def _same(known: Adjustment, row: Adjustment) -> Adjustment:
    if any(getattr(known, name) != getattr(row, name) for name in _SAID):
        raise DomainError(
            "request_id_conflict",
            f"The request_id '{row.request_id}' has booked another adjustment: use a new one.",
            param="request_id",
        )
    return known


def _require_begun(lines: Sequence[AdjustmentDraft], this_month: date) -> None:
    """What is booked can only be taken back where it stands: a slip of the year would stand there for decades."""
    for line in lines:
        if line.of_month > this_month:
            raise DomainError("month_invalid", f"{line.of_month:%Y-%m} has not begun.", param="month")


def _row(org: Organization, line: AdjustmentDraft) -> Adjustment:
    if not line.cost_usd or abs(line.cost_usd) >= COST_MAX_USD:
        raise DomainError(
            "amount_invalid", f"{line.cost_usd} is no amount to book: it is above or below 0.", param="amount_usd"
        )
    if not is_name(line.name, NAME_LENGTH_MAX):
        raise DomainError("name_invalid", f"Name the line, in 1 to {NAME_LENGTH_MAX} characters.", param="name")
    if not is_name(line.reason, REASON_LENGTH_MAX):
        raise DomainError("reason_invalid", f"Give the reason, in 1 to {REASON_LENGTH_MAX} characters.", param="reason")
    if line.request_id and not is_name(line.request_id, REQUEST_ID_LENGTH_MAX):
        raise DomainError(
            "request_id_invalid",
            f"A request_id has at most {REQUEST_ID_LENGTH_MAX} characters, no control ones.",
            param="request_id",
        )
    if line.team is not None:
        require_team(org, line.team)
    refers_to = line.refers_to
    if line.kind == Adjustment.Kind.CREDIT_NOTE or (line.kind in BY_HAND and refers_to):
        refers_to = _statement_named(org, line)
    return Adjustment(
        organization=org,
        kind=line.kind,
        of_month=line.of_month,
        team=line.team,
        provider=line.provider,
        model=line.model,
        name=line.name,
        cost_usd=line.cost_usd,
        reason=line.reason,
        refers_to=refers_to,
        source=line.source,
        request_id=line.request_id or None,
    )


def _statement_named(org: Organization, line: AdjustmentDraft) -> str:
    """The final statement of its team and month that a line names; a credit note takes something off it."""
    digits = line.refers_to.removeprefix("CS-")
    number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 18 else 0
    statement = Statement.objects.for_org(org).filter(number=number).first()
    if statement is None or statement.team != line.team or statement.month != line.of_month:
        raise DomainError(
            "statement_unknown",
            f"'{line.refers_to[:32]}' is no final statement of this team and month: name the one that is corrected,"
            " such as CS-000012.",
            param="refers_to",
        )
    if line.kind == Adjustment.Kind.CREDIT_NOTE and line.cost_usd > 0:
        raise DomainError(
            "amount_invalid",
            f"{line.cost_usd:f} would be charged: what a credit note gives back is below 0.",
            param="amount_usd",
        )
    return str(statement)


def find_adjustments(org: Organization, *, month: date | None, after: int | None, limit: int) -> list[Adjustment]:
    """Newest first, of one booked month or of all, before the number `after`. Inside `tenant(org)`."""
    rows = Adjustment.objects.for_org(org).order_by("-id")
    if month is not None:
        rows = rows.filter(booked_month=month)
    if after is not None:
        rows = rows.filter(pk__lt=after)
    return list(rows[:limit])


def adjusted_by_team(org: Organization, month: date) -> dict[str | None, Decimal]:
    """What each team's adjustments booked in a month come to. Inside `tenant(org)`."""
    rows = Adjustment.objects.for_org(org).filter(booked_month=month)
    return dict(rows.values_list("team").annotate(Sum("cost_usd")))
