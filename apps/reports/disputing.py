"""Raising disputes and answering them. What is moved is booked as a pair that adds up to 0; no event is touched."""

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.audit import services as audit
from apps.core.errors import DomainError, NotFound
from apps.core.money import EXACT, sum_usd, usd_text
from apps.core.periods import local_start, next_month
from apps.core.tenancy import tenant
from apps.core.text import is_name
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar
from apps.reports import adjustments, months, statements_sql
from apps.reports.adjustments import NAME_LENGTH_MAX, AdjustmentDraft
from apps.reports.disputes import about, line_key, line_of, moves_of
from apps.reports.document import USAGE_KINDS, Line, usd
from apps.reports.models_disputes import Dispute
from apps.reports.models_statements import REASON_LENGTH_MAX, Adjustment, MonthStep
from apps.reports.statements import parse_month, statements
from apps.teams.selectors import require_team
from apps.usage.selectors import first_open_month
from apps.usage.services import lock_open_month

# A final statement is disputed within this time of its seal.
WINDOW = timedelta(days=7)
State = Dispute.State
_ANSWER = ["state", "answer", "answered_at", "answered_by"]


@dataclass(frozen=True, slots=True)
class Disputed:
    """Lines of one identity, which are one line but for what a statement splits further."""

    lines: list[Line]

    @property
    def amount_usd(self) -> Decimal:
        return sum_usd(usd(line.cost_usd) for line in self.lines)


def line_as_it_stands(org: Organization, month: date, team: str | None, key: str) -> Disputed:
    """The line of a statement that a key names. Raises `DomainError` (`line_unknown`, `line_unpriced`)."""
    found = statements(org, month, at=timezone.now(), team=team or "", is_bounded=False)
    lines = [line for one in found for line in one.lines if line_key(line_of(line)) == key]
    if not lines:
        raise DomainError(
            "line_unknown",
            f"The statement of {team or 'no team'} for {month:%Y-%m} has no such line: dispute one that it has now.",
            param="line",
        )
    if lines[0].cost_usd is None:
        raise DomainError(
            "line_unpriced", "The line has no price, so it charges nothing: enter a price instead.", param="line"
        )
    return Disputed(lines)


def raise_dispute(*, org: Organization, month: date, team: str | None, key: str, reason: str, actor: object) -> Dispute:
    """Say what is wrong with a line, while its month is not closed or within `WINDOW` of its seal.

    Raises `DomainError` (`line_unknown`, `line_unpriced`, `reason_invalid`, `dispute_open`, `dispute_window_over`,
    `month_closed`, `month_invalid` for a month that has not begun).
    """
    _require_text("reason", reason)
    found = line_as_it_stands(org, month, team, key)
    row = Dispute(
        organization=org,
        month=month,
        team=team,
        line=line_of(found.lines[0]),
        line_key=key,
        amount_usd=found.amount_usd,
        reason=reason,
        raised_at=timezone.now(),
        raised_by=str(actor),
    )
    with tenant(org):
        # A month that is being closed waits, and then sees this dispute.
        lock_open_month(org)
        _require_time(org, month)
        try:
            with transaction.atomic():
                row.save(force_insert=True)
        except IntegrityError:
            raise DomainError(
                "dispute_open", "The line has a dispute that waits for an answer already.", param="line"
            ) from None
        _record(org, row, actor, "chargeback.dispute_raised", amount_usd=usd_text(row.amount_usd), reason=reason)
    return row


def may_be_disputed(org: Organization, month: date) -> bool:
    """Whether a dispute may be raised now. Inside `tenant(org)`."""
    try:
        _require_time(org, month)
    except DomainError:
        return False
    return True


def _require_time(org: Organization, month: date) -> None:
    state = months.state_of(org, month)
    if state == months.CLOSING:
        raise DomainError("month_closed", f"{month:%Y-%m} is closing: dispute it once it is final.", param="month")
    if state != months.FINAL:
        _require_charged(org, month)
        return
    sealed = MonthStep.objects.for_org(org).get(month=month, step=MonthStep.Step.SEAL).at
    if timezone.now() > sealed + WINDOW:
        raise DomainError(
            "dispute_window_over",
            f"{month:%Y-%m} became final on {sealed:%Y-%m-%d}, and its statements could be disputed for"
            f" {WINDOW.days} days: ask finance for an adjustment.",
            param="month",
        )


def _require_charged(org: Organization, month: date) -> None:
    """What no final statement has charged or will charge has no amount to move."""
    if month > calendar(org).month_of(timezone.now()):
        raise DomainError(
            "month_invalid", f"{month:%Y-%m} has not begun: dispute its lines once it has.", param="month"
        )
    if month < first_open_month(org):
        raise DomainError(
            "month_closed", f"{month:%Y-%m} was passed over as a later month closed: it charges nothing.", param="month"
        )


# --- answers --------------------------------------------------------------------------------------------


def reject(*, org: Organization, dispute_id: int, answer: str, actor: object) -> Dispute:
    """The line stays as it is. Raises `NotFound`, `DomainError` (`reason_invalid`, `dispute_answered`)."""
    _require_text("answer", answer)
    with tenant(org):
        row = _waiting(org, dispute_id)
        _answer(row, State.REJECTED, answer, actor)
        row.save(update_fields=_ANSWER)
        _record(org, row, actor, "chargeback.dispute_rejected", answer=answer)
    return row


@dataclass(frozen=True, slots=True)
class Move:
    """What an answer would book: from the disputing team to another one, in `booked_month`."""

    to_team: str
    from_day: date
    amount_usd: Decimal
    booked_month: date


def preview_move(org: Organization, row: Dispute, *, to_team: str, from_day: str) -> Move:
    """What `move` would book now; `from_day` "" is the first day of the month that the line is of.

    Raises `DomainError` (`dispute_answered`, `team_unknown`, `team_unchanged`, `day_invalid`, `line_unknown`,
    `nothing_to_move`).
    """
    _require_open(row)
    with tenant(org):
        require_team(org, to_team)
        first_open = lock_open_month(org)
    if to_team == row.team:
        raise DomainError("team_unchanged", f"The line is {to_team}'s already: name another team.", param="team")
    day = _day(row, from_day if _is_usage(row) else "")
    return Move(to_team, day, _left_from(org, row, day), max(row.month, first_open))


def move(*, org: Organization, dispute_id: int, to_team: str, from_day: str, answer: str, actor: object) -> Dispute:
    """Book what the line cost from a day on with another team, as two lines that add up to 0.

    Raises `NotFound`, `DomainError` as `preview_move` does, and (`reason_invalid`).
    """
    _require_text("answer", answer)
    with tenant(org):
        row = dispute_of(org, dispute_id)
    found = preview_move(org, row, to_team=to_team, from_day=from_day)
    with tenant(org):
        row = _waiting(org, dispute_id)
        booked = adjustments.book(org=org, lines=_pair(row, found, answer), actor=actor)
        _answer(row, State.MOVED, answer, actor)
        row.to_team, row.from_day, row.moved_usd = found.to_team, found.from_day, found.amount_usd
        row.booked_month = booked[0].booked_month
        row.save(update_fields=[*_ANSWER, "to_team", "from_day", "moved_usd", "booked_month"])
        _record(
            org, row, actor, "chargeback.dispute_moved", answer=answer, to_team=to_team,
            from_day=found.from_day.isoformat(), moved_usd=usd_text(found.amount_usd),
        )  # fmt: skip
    return row


def _pair(row: Dispute, found: Move, answer: str) -> list[AdjustmentDraft]:
    what, since = about(row.line), f"{found.from_day:%Y-%m-%d}"
    names = (
        (row.team, -found.amount_usd, f"To {found.to_team} from {since} on: {what}"),
        (found.to_team, found.amount_usd, f"From {row.team or 'no team'} from {since} on: {what}"),
    )
    return [
        AdjustmentDraft(
            kind=Adjustment.Kind.DISPUTE,
            team=team,
            name=name[:NAME_LENGTH_MAX].strip(),
            cost_usd=amount,
            reason=answer,
            of_month=row.month,
            provider=row.line["provider"] or "",
            model=row.line["model"] or "",
            source=str(row),
        )
        for team, amount, name in names
    ]


def _left_from(org: Organization, row: Dispute, day: date) -> Decimal:
    """What the line cost from the day on, less what earlier disputes moved of it: what came since moves from their day.

    Never of the other sign than the cost: nobody gets back what they never bore, where a line cost less later.
    """
    with tenant(org):
        moved = moves_of(org, row)
    since = min((one.from_day for one in moved if one.from_day is not None), default=day)
    if since < day:
        detail = f"An earlier dispute moved the line from {since} on: name that day, and what was booked since moves."
        raise DomainError("nothing_to_move", detail, param="from_day")
    cost, before = _cost_from(org, row, day), sum_usd(one.moved_usd for one in moved if one.moved_usd is not None)
    left = EXACT.subtract(cost, before)
    if not left or (left < 0) != (cost < 0):
        detail = (
            f"Nothing is left to move: the line costs {cost.normalize():f} USD from {day} on, and earlier disputes"
            f" moved {before.normalize():f} USD of it."
        )
        raise DomainError("nothing_to_move", detail, param="from_day")
    return left


def _cost_from(org: Organization, row: Dispute, day: date) -> Decimal:
    """What the line cost from the day to the end of its month; all of it where no event made it."""
    if not _is_usage(row):
        return line_as_it_stands(org, row.month, row.team, row.line_key).amount_usd
    with tenant(org):
        clock = calendar(org)
        month = _line_month(row)
        begin, end = clock.month_start(month), clock.month_start(next_month(month))
        names = {name: row.line[name] for name in ("project", "workflow", "provider", "model")}
        return statements_sql.cost_from(
            org.pk,
            row.month,
            team=row.team,
            names=names,
            start=local_start(clock.zone_at(begin), day),
            # Usage of the month itself has no end: what is booked in it is on the line.
            end=end if row.line["of_month"] else None,
        )


def _is_usage(row: Dispute) -> bool:
    return row.line["kind"] in USAGE_KINDS


def _line_month(row: Dispute) -> date:
    return parse_month(row.line["of_month"]) if row.line["of_month"] else row.month


def _day(row: Dispute, text: str) -> date:
    first = _line_month(row)
    try:
        day = date.fromisoformat(text) if text else first
    except ValueError:
        day = date.min
    if not first <= day < next_month(first):
        last = next_month(first) - timedelta(days=1)
        raise DomainError(
            "day_invalid", f"'{text[:20]}' is no day of the line's month: write {first} to {last}.", param="from_day"
        )
    return day


def dispute_of(org: Organization, dispute_id: int) -> Dispute:
    """Raises `NotFound`. Inside `tenant(org)`."""
    row = Dispute.objects.for_org(org).filter(pk=dispute_id).first() if dispute_id < 2**63 else None
    if row is None:
        raise NotFound("dispute")
    return row


def _waiting(org: Organization, dispute_id: int) -> Dispute:
    dispute_of(org, dispute_id)
    row = Dispute.objects.for_org(org).select_for_update().get(pk=dispute_id)
    _require_open(row)
    return row


def _require_open(row: Dispute) -> None:
    if row.state != State.OPEN:
        raise DomainError("dispute_answered", f"It was {row.state} by {row.answered_by} already.", param="dispute_id")


def _answer(row: Dispute, state: State, answer: str, actor: object) -> None:
    row.state, row.answer, row.answered_at, row.answered_by = state, answer, timezone.now(), str(actor)


def _require_text(name: str, text: str) -> None:
    if not is_name(text, REASON_LENGTH_MAX):
        raise DomainError("reason_invalid", f"Give the {name}, in 1 to {REASON_LENGTH_MAX} characters.", param=name)


def _record(org: Organization, row: Dispute, actor: object, action: str, **data: object) -> None:
    subject = f"{row.month:%Y-%m}:{row.team or ''}"
    audit.record(org=org, actor=actor, action=action, subject=subject, data={"line": about(row.line), **data})
