"""Mails that come back: delivery status notifications (RFC 3464), as a mail server pipes them in."""

from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message

from django.utils import timezone

from apps.alerts.mail_rounds import mail_by_id
from apps.alerts.mail_terms import note_bounce
from apps.alerts.mail_tokens import HEADER, Attempt, attempt_in
from apps.alerts.mail_work import entry_of, logged
from apps.alerts.messages import clean
from apps.alerts.models_statement_mail import StatementMail
from apps.audit import services as audit
from apps.core.errors import DomainError, NotFound
from apps.core.tenancy import tenant
from apps.organizations.models import Organization

MESSAGE_BYTES_MAX = 10 * 1024 * 1024
REPORT_LENGTH_MAX = 500
# RFC 3464, 2.3.3.
ACTIONS = frozenset({"failed", "delayed", "delivered", "relayed", "expanded"})


@dataclass(frozen=True, slots=True)
class Report:
    """What a notification says of an attempt: `action` is "failed", "delayed", ...; `status` as "5.1.1"."""

    attempt: Attempt
    action: str
    status: str
    diagnostic: str

    @property
    def has_failed(self) -> bool:
        """The mail came back: with 5.x for what the address is, with 4.x after tries that all failed."""
        return self.action == "failed"

    @property
    def is_permanent(self) -> bool:
        return self.has_failed and self.status.startswith("5")

    def __str__(self) -> str:
        return clean(f"{self.status} {self.diagnostic}".strip() or self.action, REPORT_LENGTH_MAX)


def read_report(message: bytes) -> Report:
    """What a message says of a mail of ours.

    Raises `DomainError` (`message_too_large`, `not_a_report`, `mail_not_ours`).
    """
    if len(message) > MESSAGE_BYTES_MAX:
        raise DomainError("message_too_large", f"The message has more than {MESSAGE_BYTES_MAX} bytes.")
    try:
        return _read(message)
    except RecursionError:
        raise DomainError("not_a_report", "The message has parts in parts in parts without end.") from None


def _read(message: bytes) -> Report:
    whole = message_from_bytes(message)
    status = next((part for part in whole.walk() if part.get_content_type() == "message/delivery-status"), None)
    if status is None or not isinstance(status.get_payload(), list):
        raise DomainError("not_a_report", "The message has no delivery status (RFC 3464).")
    attempt = _attempt(whole)
    if attempt is None:
        raise DomainError("mail_not_ours", "The message is about no statement mail of this installation.")
    # The first block is of the message, each that follows of a recipient: our mails have one.
    blocks = [block for block in status.get_payload() if isinstance(block, Message)]
    of = next((block for block in blocks if _action(block) in ACTIONS), None)
    if of is None:
        raise DomainError("not_a_report", "The delivery status does not say what became of a recipient.")
    return Report(
        attempt=attempt,
        action=_action(of),
        status=clean(str(of.get("Status", "")).strip().split(" ")[0], 12),
        diagnostic=clean(str(of.get("Diagnostic-Code", "")).partition(";")[2], REPORT_LENGTH_MAX),
    )


def _action(block: Message) -> str:
    return str(block.get("Action", "")).strip().lower()


def _attempt(whole: Message) -> Attempt | None:
    """By the mail that comes back, whole or its headers alone."""
    for part in whole.walk():
        if part.get_content_type() == "text/rfc822-headers":
            headers = part.get_payload(decode=True)
            returned: Message = message_from_bytes(headers if isinstance(headers, bytes) else b"")
        elif part.get_content_type() == "message/rfc822" and part.is_multipart():
            returned = part.get_payload(0)  # type: ignore[assignment]  # of this type it is a message
        else:
            continue
        for name in (HEADER, "Message-ID"):
            if found := attempt_in(str(returned.get(name, ""))):
                return found
    return None


def record_bounce(message: bytes) -> tuple[StatementMail, Report]:
    """Write a notification into the log of its mail, which is marked where it came back; of a permanent failure, its
    address gets nothing more until somebody confirms it. Twice is once.

    Raises `DomainError` as `read_report` does, and `NotFound` for a mail that is gone.
    """
    report = read_report(message)
    org = Organization.objects.filter(pk=report.attempt.org_id).first()
    if org is None:
        raise NotFound("mail")
    at = timezone.now()
    with tenant(org):
        mail = mail_by_id(org, report.attempt.mail_id, to_change=True)
        entry = {
            **entry_of(mail, "bounced" if report.has_failed else report.action, str(report), at, None),
            "attempt": report.attempt.number,
            "by": "",
        }
        known = {(one["attempt"], one["state"], one["reply"]) for one in mail.log}
        if (entry["attempt"], entry["state"], entry["reply"]) in known:
            return mail, report
        mail.log = logged(mail, entry)
        # What is said of an attempt before the last one says nothing of the last.
        if report.has_failed and report.attempt.number == mail.attempts:
            mail.bounced_at, mail.reply = at, str(report)
        mail.save(update_fields=["log", "bounced_at", "reply"])
        if report.is_permanent:
            note_bounce(org, mail.address, str(report))
            data = {"address": mail.address, "status": report.status}
            audit.record(org=org, actor="mail", action="statement_mail.bounced", subject=f"mail {mail.pk}", data=data)
    return mail, report
