"""Statements as they are read: final ones as they were stored, the others as drafts."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from django.db.models import Q

from apps.core.errors import DomainError, NotFound
from apps.core.money import sum_usd
from apps.core.periods import Calendar, next_month
from apps.core.tenancy import HasPk, tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar
from apps.pricing.selectors import load_terms
from apps.reports import months
from apps.reports.adjustments import adjusted_by_team
from apps.reports.document import Document, document_of, usd
from apps.reports.drafts import contract_lines, draft_documents
from apps.reports.models_statements import MonthStep, Statement
from apps.reports.selectors import COSTS, ROWS_MAX, SpendQuestion, Sums, spend

_MONTH = re.compile(r"(19[89]\d|20\d\d|21\d\d)-(0[1-9]|1[0-2])")


def parse_month(text: str) -> date:
    """The month that YYYY-MM says. Raises `DomainError` (`month_invalid`)."""
    found = _MONTH.fullmatch(text)
    if not found:
        raise DomainError("month_invalid", f"month is '{text[:64]}': write it as YYYY-MM.", param="month")
    return date(int(found[1]), int(found[2]), 1)


def statements(
    org: Organization, month: date, *, at: datetime, team: str | None = None, is_bounded: bool = True
) -> list[Document]:
    """The month's statements by team, the one of no team last: as stored once the month is final, else drafts.

    `team` restricts to one; "" is the one of no team. Raises `DomainError` (`too_many_lines`) as `drafts` does, and
    above `ROWS_MAX` lines in all, unless whoever asks shows no lines or writes a file (`is_bounded` False).
    """
    with tenant(org, repeatable_read=True):
        if months.state_of(org, month) == months.FINAL:
            found = final_statements(org, month, None if team is None else [team or None])
        else:
            found = draft_documents(org, month, at=at, team=team)
    if is_bounded and sum(len(one.lines) for one in found) > ROWS_MAX:
        raise DomainError(
            "too_many_lines",
            f"The month has more than {ROWS_MAX} lines: ask for one team with team=, or for a file.",
            param="month",
        )
    return found


def final_statements(org: HasPk, month: date, teams: Collection[str | None] | None = None) -> list[Document]:
    """The stored documents of a month by number, all of them or of these teams (None: of no team); none before it is
    final. Inside `tenant(org)`.
    """
    rows = Statement.objects.for_org(org).filter(month=month).order_by("number")
    if teams is not None:
        named = Q(team__in=[team for team in teams if team is not None])
        rows = rows.filter(named | Q(team__isnull=True) if None in teams else named)
    return [document_of(bytes(row.document)) for row in rows]


def final_teams(org: HasPk, month: date) -> list[str | None]:
    """Whose statements a final month has. Inside `tenant(org)`."""
    return list(Statement.objects.for_org(org).filter(month=month).order_by("number").values_list("team", flat=True))


def sealed_since(org: HasPk, since: datetime, until: datetime) -> list[date]:
    """Months that became final within (since, until], in order. Inside `tenant(org)`."""
    seals = MonthStep.objects.for_org(org).filter(step=MonthStep.Step.SEAL, at__gt=since, at__lte=until)
    return list(seals.order_by("month").values_list("month", flat=True))


def stored_statements(org: Organization, month: date) -> Sequence[Statement]:
    """The final statements of a month by number, without their documents; none before it is final."""
    with tenant(org):
        return list(Statement.objects.for_org(org).filter(month=month).order_by("number").defer("document"))


def statement_by_id(org: Organization, statement_id: str, *, at: datetime) -> Document:
    """The statement that an id ("2026-10:search") or a number ("CS-000012") of ours names. Raises `NotFound`."""
    if statement_id.startswith("CS-"):
        return _by_number(org, statement_id)
    month_text, colon, team = statement_id.partition(":")
    try:
        month = parse_month(month_text)
    except DomainError:
        raise NotFound("statement") from None
    # Postgres knows no text with a NUL in it.
    found = statements(org, month, at=at, team=team) if colon and "\0" not in team else []
    if not found:
        raise NotFound("statement")
    return found[0]


def _by_number(org: Organization, label: str) -> Document:
    digits = label.removeprefix("CS-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        raise NotFound("statement")
    with tenant(org):
        row = Statement.objects.for_org(org).filter(number=int(digits)).first()
    if row is None:
        raise NotFound("statement")
    return document_of(bytes(row.document))


@dataclass(frozen=True, slots=True)
class MonthTotal:
    """What a month's statements come to, unattributed spend included. `total_usd` None: nothing of it has a price."""

    month: date
    state: str
    statements: int
    events: int
    unpriced_events: int
    unattributed_usd: Decimal | None
    unattributed_events: int
    total_usd: Decimal | None


def month_total(org: Organization, month: date) -> MonthTotal:
    """The sums of `statements`, whatever the number of their lines.

    Raises `DomainError` (`too_many_lines`) as `contract_lines.drawn_until` does.
    """
    with tenant(org, repeatable_read=True):
        clock, state = calendar(org), months.state_of(org, month)
        if state == months.FINAL:
            return _final_total(month, stored_statements(org, month))
        answer = spend(org, _booked(month, clock))
        found = list(contract_lines(org, month, clock, months.money_of(org, month), load_terms(org)))
        costs = [usd(line.cost_usd) for line in found]
        adjusted = adjusted_by_team(org, month)
        costs += adjusted.values()
        teams = {row.groups[0] for row in answer.rows} | {line.team for line in found} | adjusted.keys()
    nobody = next((row.sums for row in answer.rows if row.groups == (None,)), Sums())
    usage = answer.total.cost_usd
    return MonthTotal(
        month=month,
        state=state,
        statements=len(teams),
        events=answer.total.events,
        unpriced_events=answer.total.unpriced_events,
        unattributed_usd=nobody.cost_usd,
        unattributed_events=nobody.events,
        total_usd=None if usage is None and not costs else sum_usd([usage or Decimal(0), *costs]),
    )


def _final_total(month: date, stored: Sequence[Statement]) -> MonthTotal:
    """As the statements were stored, whatever contracts and pools became since."""
    totals = [row.total_usd for row in stored if row.total_usd is not None]
    nobody = next((row for row in stored if row.team is None), None)
    return MonthTotal(
        month=month,
        state=months.FINAL,
        statements=len(stored),
        events=sum(row.events for row in stored),
        unpriced_events=sum(row.unpriced_events for row in stored),
        unattributed_usd=_usage_of(nobody),
        unattributed_events=nobody.events if nobody else 0,
        total_usd=sum_usd(totals) if totals else None,
    )


def _usage_of(row: Statement | None) -> Decimal | None:
    """None where nothing of it has a price."""
    if row is None:
        return Decimal(0)
    return None if row.events and row.events == row.unpriced_events else row.usage_usd


def _booked(month: date, clock: Calendar) -> SpendQuestion:
    return SpendQuestion(
        start=clock.month_start(month),
        end=clock.month_start(next_month(month)),
        group_by=("team",),
        filters={},
        basis="booked",
        limit=ROWS_MAX,
        measures=COSTS,
    )
