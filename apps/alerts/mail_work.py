"""From rows to mails. Of each mail one goes out, whatever dies or doubles on the way.

    queued   -> claimed    a worker renders it; nothing has left, so once its time is over another may begin anew
    claimed  -> handing    committed right before the mail server is given the mail
    handing  -> sent       the server took it
             -> refused    the server will never take it
             -> failed     the server did not take it now: tried again, up to `TRIES_MAX` times
             -> unclear    the connection broke, or the process died, before the answer was committed

`unclear` is the one window in which nobody knows: such a mail is never sent again by itself.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import structlog
from celery.exceptions import SoftTimeLimitExceeded
from django.utils import timezone

from apps.alerts import mail_rounds, senders
from apps.alerts.mail_letters import About, mail_of, make
from apps.alerts.mail_rounds import DIGEST_LATE_MAX
from apps.alerts.mail_terms import DECLINED, Audience, audience_of, mailers, note_bounce
from apps.alerts.mail_tokens import Attempt
from apps.alerts.messages import clean
from apps.alerts.models_statement_mail import Kind, StatementMail
from apps.alerts.senders import Outcome
from apps.alerts.services import LEASE, LOG_MAX
from apps.alerts.timing import TRIES_MAX, retry_at
from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.permissions import Permission, role_may
from apps.organizations.selectors import membership_with_address

log = structlog.get_logger(__name__)

State = StatementMail.State
# One organization's turn.
WORK_SECONDS = 20
MAILS_MAX = 100
REPLY_KEPT = 500
LOST = "the process that sent it is gone: it may have arrived"


@dataclass(slots=True)
class Clock:
    """What the work takes from outside: the time and randomness."""

    now: Callable[[], datetime] = timezone.now
    jitter: Callable[[], int] = field(default=lambda: secrets.randbelow(201) - 100)


@dataclass(frozen=True, slots=True)
class Claimed:
    """A mail that this process may send, and nobody else until its time is over."""

    org: Organization
    mail_id: int
    claim: UUID
    attempt: int
    tries: int
    to: Audience
    about: About
    made_at: datetime
    is_asked: bool

    def is_late(self, at: datetime) -> bool:
        """Whether it is a digest that nobody waits for any more; not one that somebody asked for again."""
        return self.about.kind in DECLINED and not self.is_asked and at >= self.made_at + DIGEST_LATE_MAX


def organizations_with_work(*, at: datetime) -> list[int]:
    """In no order: where there is more work than workers, none is always the last."""
    found = [org_id for org_id in mailers() if _has_work(org_id, at)]
    secrets.SystemRandom().shuffle(found)
    return found


def _has_work(org_id: int, at: datetime) -> bool:
    """Index: alerts_statementmail_due."""
    org = Organization.objects.filter(pk=org_id, state=Organization.State.ACTIVE).first()
    if org is None:
        return False
    with tenant(org):
        waits = StatementMail.objects.for_org(org).filter(due_at__lte=at).exists()
        return waits or bool(mail_rounds.due_rounds(org, at))


def work(org_id: int, *, clock: Clock | None = None) -> int:
    """Make what is due and send it, for `WORK_SECONDS` at most; how many mails were tried."""
    clock = clock or Clock()
    org = Organization.objects.filter(pk=org_id, state=Organization.State.ACTIVE).first()
    if org is None:
        return 0
    mail_rounds.make_due(org, at=clock.now())
    give_up_lost(org, at=clock.now())
    began, tried = time.monotonic(), 0
    while tried < MAILS_MAX and time.monotonic() - began < WORK_SECONDS:
        claimed = claim(org, at=clock.now())
        if claimed is None:
            break
        outcome = send(claimed, clock)
        tried += 1
        if outcome.is_away:
            # The others would wait for it one by one, and whatever else this worker has to do behind them.
            break
    return tried


def claim(org: Organization, *, at: datetime) -> Claimed | None:
    """The mail that has been due for longest, now the caller's; None where none is due."""
    with tenant(org):
        due = StatementMail.objects.for_org(org).filter(due_at__lte=at).exclude(state=State.HANDING)
        mail = due.order_by("due_at", "pk").select_for_update(skip_locked=True).first()
        while mail is not None and mail.tries >= TRIES_MAX:
            _end(mail, State.FAILED, "no try of it ended", at)
            mail = due.order_by("due_at", "pk").select_for_update(skip_locked=True).first()
        if mail is None:
            return None
        mail.state, mail.claim, mail.due_at = State.CLAIMED, uuid4(), at + LEASE
        mail.attempts, mail.tries = mail.attempts + 1, mail.tries + 1
        mail.save(update_fields=["state", "claim", "due_at", "attempts", "tries"])
        assert mail.claim is not None
        return Claimed(
            org=org,
            mail_id=mail.pk,
            claim=mail.claim,
            attempt=mail.attempts,
            tries=mail.tries,
            to=_audience(org, mail),
            about=About(mail.kind, mail.period, is_repeat=_is_repeat(mail), may_be_draft=mail.kind == Kind.TEST),
            made_at=mail.made_at,
            is_asked=bool(mail.asked_by),
        )


def _audience(org: Organization, mail: StatementMail) -> Audience:
    """What the address may see now, not as the mail was made; a test shows what those see who get everything, and goes
    to nobody who may not ask for one any more.
    """
    if mail.kind != Kind.TEST:
        return audience_of(org, mail.address)
    member = membership_with_address(org, mail.address)
    may = member is not None and member.user.is_active and role_may(member.role, Permission.MANAGE_STATEMENTS)
    return Audience(mail.address, everything=may)


def _is_repeat(mail: StatementMail) -> bool:
    """Whether an earlier attempt gave it to a mail server that took it, or may have."""
    return any(map(_may_have_arrived, mail.log))


def _may_have_arrived(entry: dict[str, Any]) -> bool:
    return entry["state"] in (State.SENT, State.UNCLEAR)


def send(claimed: Claimed, clock: Clock) -> Outcome:
    """Render it, hand it over, and write down what became of it; outside any transaction."""
    try:
        outcome = _send(claimed, clock)
    except SoftTimeLimitExceeded:
        raise
    except DomainError as error:
        outcome = Outcome(sent=False, error=error.detail)
    except Exception as error:  # one mail that cannot be made must keep neither its own end nor the others
        log.exception("a statement mail was not made", organization_id=claimed.org.pk, mail_id=claimed.mail_id)
        outcome = Outcome(sent=False, error=f"{type(error).__name__} here: see the log of the worker")
    record(claimed, outcome, clock)
    return outcome


def _send(claimed: Claimed, clock: Clock) -> Outcome:
    if claimed.to.is_empty or claimed.to.declines(claimed.about.kind):
        return Outcome(sent=False, error="this address gets none of it any more", gone=True)
    if claimed.is_late(clock.now()):
        return Outcome(sent=False, error="it could not go out in time: the next one says more", gone=True)
    if claimed.to.has_bounced:
        return Outcome(sent=False, error="the address bounced: confirm it, then send again", gone=True)
    made = make(claimed.org, claimed.to, claimed.about, at=clock.now())
    if claimed.about.kind == Kind.MONTHLY and made.is_empty:
        return Outcome(sent=False, error="the month has no statement for this address any more", gone=True)
    attempt = Attempt(claimed.org.pk, claimed.mail_id, claimed.attempt)
    letter = mail_of(made, claimed.to.address, attempt)
    return senders.send_letter(letter, [claimed.to.address], before=partial(begin_handing, claimed, clock))


def begin_handing(claimed: Claimed, clock: Clock) -> bool:
    """From this commit on the mail may have arrived; whether it is still the caller's to send."""
    with tenant(claimed.org):
        rows = StatementMail.objects.for_org(claimed.org).filter(
            pk=claimed.mail_id, claim=claimed.claim, state=State.CLAIMED
        )
        return rows.update(state=State.HANDING, due_at=clock.now() + LEASE) == 1


def record(claimed: Claimed, outcome: Outcome, clock: Clock) -> None:
    """What became of an attempt. One that was taken for lost says only that it was sent after all."""
    at = clock.now()
    with tenant(claimed.org):
        rows = StatementMail.objects.for_org(claimed.org).filter(pk=claimed.mail_id, claim=claimed.claim)
        mail = rows.select_for_update().first()
        if mail is None or (mail.state == State.UNCLEAR and not outcome.sent):
            return
        reply = _reply(outcome)
        if outcome.sent:
            mail.sent_at = at
            _end(mail, State.SENT, reply, at, status=outcome.status)
        elif outcome.may_have_arrived and mail.state == State.HANDING:
            _end(mail, State.UNCLEAR, reply, at, status=outcome.status)
            log.error("a statement mail may have arrived", organization_id=claimed.org.pk, mail_id=mail.pk, why=reply)
        elif outcome.gone or _is_refused(outcome):
            if outcome.refused:
                note_bounce(claimed.org, mail.address, reply)
                mail.bounced_at = at
            _end(mail, State.REFUSED, reply, at, status=outcome.status)
        else:
            due = retry_at(claimed.tries, at, jitter=clock.jitter())
            _end(mail, State.FAILED, reply, at, status=outcome.status, due=due)


def _is_refused(outcome: Outcome) -> bool:
    """The address, or the mail itself, for good. That we may not send at all is no reason to give up a statement."""
    if outcome.refused:
        return all(one.is_permanent and not one.is_of_sender for one in outcome.refused)
    return outcome.is_content and (outcome.status or 0) >= 500


def _reply(outcome: Outcome) -> str:
    said = "; ".join(f"{one.status} {one.answer}" for one in outcome.refused)
    return clean(said or outcome.error, REPLY_KEPT)


def _end(
    mail: StatementMail,
    state: str,
    reply: str,
    at: datetime,
    *,
    status: int | None = None,
    due: datetime | None = None,
) -> None:
    """Write down how an attempt ended."""
    mail.state, mail.reply, mail.status, mail.due_at = state, reply, status, due
    mail.log = logged(mail, entry_of(mail, state, reply, at, status))
    mail.save(update_fields=["state", "reply", "status", "due_at", "log", "sent_at", "bounced_at"])


def entry_of(mail: StatementMail, state: str, reply: str, at: datetime, status: int | None) -> dict[str, Any]:
    return {
        "at": at.isoformat(),
        "attempt": mail.attempts,
        "state": state,
        "status": status,
        "reply": reply,
        "by": mail.asked_by,
    }


def logged(mail: StatementMail, entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The log with one more entry. What it has no room for goes, but for the last attempt that may have arrived: what
    is sent after it says so.
    """
    whole = [*mail.log, entry]
    kept, arrived = whole[-LOG_MAX:], [one for one in whole[:-LOG_MAX] if _may_have_arrived(one)]
    return kept if not arrived or any(map(_may_have_arrived, kept)) else [arrived[-1], *kept[1:]]


def give_up_lost(org: Organization, *, at: datetime) -> int:
    """Mails that a process was handing over when it died: nobody knows what became of them. How many."""
    with tenant(org):
        lost = StatementMail.objects.for_org(org).filter(state=State.HANDING, due_at__lte=at)
        found = list(lost.select_for_update(skip_locked=True)[:MAILS_MAX])
        for mail in found:
            _end(mail, State.UNCLEAR, LOST, at)
            log.error("a statement mail may have arrived", organization_id=org.pk, mail_id=mail.pk, why=LOST)
    return len(found)
