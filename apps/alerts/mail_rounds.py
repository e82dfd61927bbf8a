"""Which statement mails are due, as rows: one per recipient and period, made in one transaction.

A round is made once (`alerts_mailround_once`), and a mail of it once more so (`alerts_statementmail_once`): two clocks,
or one task that runs twice, make the same rows as one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.utils import timezone

from apps.alerts.mail_terms import Audience, audiences, note_mailer, terms_of
from apps.alerts.models_statement_mail import Kind, Mailbox, MailRound, MailTerms, StatementMail
from apps.audit import services as audit
from apps.core.errors import DomainError, NotFound
from apps.core.periods import Calendar, next_month
from apps.core.tenancy import HasPk, tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar
from apps.reports import months
from apps.reports.statements import final_teams, sealed_since

State = StatementMail.State
# A digest that could not be made in time is left out: the next one says more.
DIGEST_LATE_MAX = timedelta(hours=24)
PREVIEW_HOUR = 8
TESTS_PER_HOUR_MAX = 10
PAGE_MAX = 200


@dataclass(frozen=True, slots=True)
class Round:
    kind: str
    period: date


def due_rounds(org: Organization, at: datetime) -> list[Round]:
    """What is due and was not made yet. Inside `tenant(org)`."""
    terms = terms_of(org)
    due = [*_monthly(org, terms, at), *_weekly(calendar(org), terms, at), *_preview(calendar(org), terms, at)]
    if not due:
        return []
    known = MailRound.objects.for_org(org).filter(period__in=[one.period for one in due])
    made = set(known.values_list("kind", "period"))
    return [one for one in due if (one.kind, one.period) not in made]


def _monthly(org: Organization, terms: MailTerms, at: datetime) -> Iterable[Round]:
    if terms.monthly and terms.monthly_since is not None:
        for month in sealed_since(org, terms.monthly_since, at - timedelta(hours=terms.hours_after)):
            yield Round(Kind.MONTHLY, month)


def _weekly(clock: Calendar, terms: MailTerms, at: datetime) -> Iterable[Round]:
    """About the seven local days before the one on which it is sent."""
    if not terms.weekly or terms.weekly_since is None:
        return
    today = at.astimezone(clock.zone_at(at)).date()
    day = today - timedelta(days=(today.weekday() - terms.weekly_day) % 7)
    due = _local(clock, at, day, terms.weekly_hour)
    if terms.weekly_since < due <= at < due + DIGEST_LATE_MAX:
        yield Round(Kind.WEEKLY, day - timedelta(days=7))


def _preview(clock: Calendar, terms: MailTerms, at: datetime) -> Iterable[Round]:
    if not terms.preview or terms.preview_since is None:
        return
    month = clock.month_of(at)
    day = next_month(month) - timedelta(days=terms.preview_days)
    due = _local(clock, at, day, PREVIEW_HOUR)
    if terms.preview_since < due <= at < due + DIGEST_LATE_MAX:
        yield Round(Kind.PREVIEW, month)


def _local(clock: Calendar, at: datetime, day: date, hour: int) -> datetime:
    """By the clock on the wall, also on a day on which that is changed."""
    return datetime.combine(day, time(hour), tzinfo=clock.zone_at(at)).astimezone(UTC)


def make_due(org: Organization, *, at: datetime) -> int:
    """Make the mails that are due; how many."""
    with tenant(org):
        due = due_rounds(org, at)
    return sum(_make(org, one, at) for one in due)


def _make(org: Organization, due: Round, at: datetime) -> int:
    with tenant(org):
        # Whoever comes second waits here until the first is done, and then finds it made.
        made, is_new = MailRound.objects.for_org(org).get_or_create(
            organization=org, kind=due.kind, period=due.period, defaults={"made_at": at, "mails": 0}
        )
        if not is_new:
            return 0
        mails = [_mail(org, due, one, at) for one in _who(org, due)]
        StatementMail.objects.for_org(org).bulk_create(mails, ignore_conflicts=True)
        made.mails = len(mails)
        made.save(update_fields=["mails"])
        return len(mails)


def _who(org: Organization, due: Round) -> list[Audience]:
    """Who has something to get; of the digests, those who did not decline and whose address is good."""
    found = [one for one in audiences(org).values() if not one.is_empty]
    if due.kind != Kind.MONTHLY:
        return [one for one in found if not one.declines(due.kind) and not one.has_bounced]
    teams = final_teams(org, due.period)
    return [one for one in found if any(map(one.covers, teams))]


def _mail(org: Organization, due: Round, to: Audience, at: datetime, *, asked_by: str = "") -> StatementMail:
    """A row to send, or of an address that bounced one that says why nothing is sent."""
    mail = StatementMail(
        organization=org, kind=due.kind, period=due.period, address=to.address, made_at=at, due_at=at, asked_by=asked_by
    )
    if to.has_bounced and to.mailbox is not None:
        mail.state, mail.due_at = State.REFUSED, None
        mail.reply = f"not sent: the address bounced ({to.mailbox.bounce}). Confirm it, then send again."
    return mail


# --- what people ask for --------------------------------------------------------------------------------


def send_month(*, org: Organization, month: date, actor: object) -> int:
    """Mail a final month now to every recipient who has no mail of it; how many that are.

    Raises `DomainError` (`month_not_final`).
    """
    at, due = timezone.now(), Round(Kind.MONTHLY, month)
    with tenant(org):
        if months.state_of(org, month) != months.FINAL:
            raise DomainError("month_not_final", f"{month:%Y-%m} is not final: close it first.", param="month")
        had = StatementMail.objects.for_org(org).filter(kind=due.kind, period=month)
        known = set(had.values_list("address", flat=True))
        mails = [_mail(org, due, one, at, asked_by=str(actor)) for one in _who(org, due) if one.address not in known]
        StatementMail.objects.for_org(org).bulk_create(mails, ignore_conflicts=True)
        MailRound.objects.for_org(org).get_or_create(
            organization=org, kind=due.kind, period=month, defaults={"made_at": at, "mails": len(mails)}
        )
        note_mailer(org)
        data = {"mails": len(mails)}
        audit.record(org=org, actor=actor, action="statement_mail.month_sent", subject=f"{month:%Y-%m}", data=data)
    return len(mails)


def send_test(*, org: Organization, month: date, address: str, actor: object) -> StatementMail:
    """The mail of a month as who gets everything would see it, to whoever asks. Raises `DomainError`
    (`too_many_tests`).
    """
    at = timezone.now()
    with tenant(org):
        lately = StatementMail.objects.for_org(org).filter(kind=Kind.TEST, made_at__gt=at - timedelta(hours=1))
        if lately.count() >= TESTS_PER_HOUR_MAX:
            raise DomainError("too_many_tests", f"At most {TESTS_PER_HOUR_MAX} tests an hour: wait a little.")
        mail = _mail(org, Round(Kind.TEST, month), Audience(address.lower()), at, asked_by=str(actor))
        mail.save()
        note_mailer(org)
        audit.record(org=org, actor=actor, action="statement_mail.tested", subject=f"{month:%Y-%m}")
    return mail


def resend(*, org: Organization, mail_id: int, actor: object) -> StatementMail:
    """One more attempt, which says that somebody asked for it.

    Raises `NotFound` and `DomainError` (`mail_under_way`, `address_bounced`).
    """
    at = timezone.now()
    with tenant(org):
        mail = mail_by_id(org, mail_id, to_change=True)
        if mail.due_at is not None:
            raise DomainError("mail_under_way", "This mail is waiting or being sent: look again in a few minutes.")
        if Mailbox.objects.for_org(org).filter(address=mail.address, bounced_at__isnull=False).exists():
            raise DomainError(
                "address_bounced", f"{mail.address} bounced: confirm the address before you send to it again."
            )
        mail.state, mail.due_at, mail.claim, mail.tries, mail.asked_by = State.QUEUED, at, None, 0, str(actor)[:320]
        mail.bounced_at = None
        mail.save(update_fields=["state", "due_at", "claim", "tries", "asked_by", "bounced_at"])
        note_mailer(org)
        data = {"address": mail.address, "attempt": mail.attempts + 1}
        audit.record(org=org, actor=actor, action="statement_mail.resent", subject=f"mail {mail.pk}", data=data)
    return mail


# --- the log --------------------------------------------------------------------------------------------


def mail_by_id(org: HasPk, mail_id: int, *, to_change: bool = False) -> StatementMail:
    """Raises `NotFound`. Inside `tenant(org)`."""
    rows = StatementMail.objects.for_org(org)
    rows = rows.select_for_update() if to_change else rows
    found = rows.filter(pk=mail_id).first() if mail_id < 2**63 else None
    if found is None:
        raise NotFound("mail")
    return found


def find_mails(
    org: HasPk, *, limit: int, state: str = "", month: date | None = None, after: int | None = None
) -> list[StatementMail]:
    """Newest first, before the number `after`. Raises `DomainError` (`state_unknown`). Inside `tenant(org)`."""
    rows = StatementMail.objects.for_org(org).order_by("-id")
    if state:
        if state not in State.values:
            raise DomainError(
                "state_unknown", f"state is '{state[:64]}': use {', '.join(State.values)}.", param="state"
            )
        rows = rows.filter(state=state)
    if month is not None:
        rows = rows.filter(period__gte=month, period__lt=next_month(month))
    return list((rows if after is None else rows.filter(pk__lt=after))[:limit])


def count_unclear(org: HasPk) -> int:
    """Mails of which nobody knows whether they arrived. Inside `tenant(org)`."""
    return StatementMail.objects.for_org(org).filter(state=State.UNCLEAR).count()
