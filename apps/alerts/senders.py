"""Sending one message by mail, as a signed request or into a chat room. Each says what became of it and never raises
for what another machine did; none is called inside a transaction.
"""

import re
import secrets
import smtplib
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parseaddr, parsedate_to_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.mail.backends.smtp import EmailBackend
from django.utils.encoding import punycode
from standardwebhooks import Webhook

from apps.alerts.chat import room_of
from apps.alerts.messages import Message, clean
from apps.alerts.transport import Answer, NoAnswer, NotSent, Outbound
from apps.core.errors import DomainError

SECRET_BYTES = 32
ANSWER_KEPT = 300
# Looked through for what is secret before it is cut: a cut token would not be found.
ANSWER_READ = 4096
SECRET_LENGTH_MIN = 6
REFUSALS_KEPT = 1000
SMTP_OK = 250
SESSION_OVER = (421, b"the session was over")
USER_AGENT = "FinOps-for-AI/1"
REPEAT_HEADER = "x-finops-repeat"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An address that the mail server did not take, by its own reply."""

    address: str
    status: int
    answer: str

    @property
    def is_permanent(self) -> bool:
        """552 in reply to an address means too many of them (RFC 5321, 4.5.3.1.10): it is worth another try."""
        return self.status >= 500 and self.status != 552

    @property
    def is_of_sender(self) -> bool:
        """Whether it is that we may not send, whoever the mail is to: without signing in (RFC 4954), or by what the
        server allows (RFC 3463, 5.7.x), such as "relay access denied".
        """
        return self.status in (530, 535, 538) or self.answer.startswith("5.7.")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one try. `may_have_arrived`: it was sent and nobody said what became of it.

    Of a mail, `accepted` counts the addresses that the server took; the `refused` ones it did not. `is_content`: the
    server took the addresses and not what was to be sent to them. `is_away`: there is no session with the mail server,
    whatever is to be sent.
    """

    sent: bool
    status: int | None = None
    error: str = ""
    answer: str = ""
    may_have_arrived: bool = False
    retry_after: timedelta | None = None
    gone: bool = False
    accepted: int = 0
    refused: tuple[Refusal, ...] = ()
    is_content: bool = False
    is_away: bool = False


def new_secret() -> str:
    """A signing secret as Standard Webhooks spells one, of `SECRET_BYTES` random bytes."""
    return "whsec_" + b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def webhook_id(message_id: UUID) -> str:
    return f"msg_{message_id.hex}"


def mail_id(message_id: UUID) -> str:
    host = urlsplit(settings.BASE_URL).hostname or "localhost"
    return f"<{message_id.hex}@{host}>"


def send_mail(
    addresses: Sequence[str], message: Message, message_id: UUID, *, is_repeat: bool, only: Sequence[str] | None = None
) -> Outcome:
    """One mail that names all of the addresses, for those of them that are in `only`; None: for all."""
    recipients = [address for address in addresses if only is None or address in only]
    if not recipients:
        return Outcome(sent=True)
    headers = {"Message-ID": mail_id(message_id), "Auto-Submitted": "auto-generated"}
    if is_repeat:
        headers[REPEAT_HEADER] = "1"
    mail = EmailMultiAlternatives(message.subject, message.text, None, list(addresses), headers=headers)
    mail.attach_alternative(message.html, "text/html")
    return send_letter(mail, recipients)


def send_letter(
    mail: EmailMultiAlternatives, recipients: list[str], *, before: Callable[[], bool] | None = None
) -> Outcome:
    """Send one mail to these addresses. `before` is asked once the mail server answers, right before it is given the
    mail; where it says no, nothing is sent.
    """
    recipients = list(map(_on_the_wire, recipients))
    connection = get_connection()
    try:
        connection.open()
    except (smtplib.SMTPException, OSError) as error:
        return Outcome(sent=False, error=_said(error), is_away=True)
    try:
        if before is not None and not before():
            return Outcome(sent=False, error="it is no longer this process's to send")
        refused = _hand_over(connection, mail, recipients)
    except smtplib.SMTPRecipientsRefused as error:
        # Nobody has it, those that were not asked for any more either.
        refused = {address: error.recipients.get(address, SESSION_OVER) for address in recipients}
    except smtplib.SMTPServerDisconnected as error:
        return Outcome(sent=False, error=_said(error), may_have_arrived=True)
    except smtplib.SMTPResponseException as error:
        is_content = isinstance(error, smtplib.SMTPDataError)
        # Neither yes nor no: a line without end, or what is no refusal, in the place where a mail is taken.
        is_unread = type(error) is smtplib.SMTPResponseException or (is_content and not 400 <= error.smtp_code < 600)
        return Outcome(
            sent=False,
            status=None if is_unread else _code(error.smtp_code),
            error=_said(error),
            is_content=is_content,
            may_have_arrived=is_unread,
        )
    except smtplib.SMTPException as error:
        return Outcome(sent=False, error=_said(error))
    except OSError as error:
        return Outcome(sent=False, error=_said(error), may_have_arrived=True)
    finally:
        # What was accepted stays accepted, whatever becomes of the goodbye.
        _close(connection)
    return _by_address(recipients, refused)


def _on_the_wire(address: str) -> str:
    """As SMTP spells it: of an account's address the domain may have letters that are not ASCII."""
    name, _, domain = address.rpartition("@")
    return f"{name}@{punycode(domain)}"


def _hand_over(connection: Any, mail: EmailMultiAlternatives, recipients: list[str]) -> Mapping[str, tuple[int, bytes]]:
    """Send it; the addresses that were refused beside others that were not, which Django keeps to itself."""
    if not isinstance(connection, EmailBackend):
        connection.send_messages([mail])
        return {}
    letter = mail.message().as_bytes(linesep="\r\n")  # type: ignore[call-arg]  # Django's takes it
    sender = parseaddr(mail.from_email)[1]
    refused: Mapping[str, tuple[int, bytes]] = connection.connection.sendmail(sender, recipients, letter)  # type: ignore[union-attr]  # it is open
    return refused


def _by_address(recipients: Sequence[str], refused: Mapping[str, tuple[int, bytes]]) -> Outcome:
    refusals = tuple(
        Refusal(address, status, clean(answer.decode("utf-8", "replace"), ANSWER_KEPT))
        for address, (status, answer) in refused.items()
    )
    accepted = len(recipients) - len(refusals)
    if not refusals:
        return Outcome(sent=True, status=SMTP_OK, accepted=accepted)
    said = "; ".join(
        f"{one.address}: {one.status} {one.answer}{' (for good)' if one.is_permanent else ''}" for one in refusals
    )
    return Outcome(
        sent=False,
        status=_code(refusals[0].status),
        error=clean(f"refused {len(refusals)} of {len(recipients)} addresses: {said}", REFUSALS_KEPT),
        accepted=accepted,
        refused=refusals,
    )


def _code(said: int) -> int | None:
    """None for what smtplib calls -1: a reply without a number."""
    return said if said > 0 else None


def _close(connection: object) -> None:
    try:
        connection.close()  # type: ignore[attr-defined]  # every backend has it
    except (smtplib.SMTPException, OSError):
        return


def send_webhook(
    url: str, signing: list[str], body: str, message_id: UUID, *, at: datetime, is_repeat: bool, outbound: Outbound
) -> Outcome:
    """A request signed as Standard Webhooks 1.0 says, once by each secret. Only 2xx is success; 410 is `gone`."""
    identity = webhook_id(message_id)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "webhook-id": identity,
        "webhook-timestamp": str(int(at.timestamp())),
        # The library reads the clock of a datetime as UTC, whatever its zone.
        "webhook-signature": " ".join(Webhook(one).sign(identity, at.astimezone(UTC), body) for one in signing),
    }
    if is_repeat:
        headers[REPEAT_HEADER] = "1"
    try:
        answer = outbound.request("POST", url, headers, body.encode())
    except NotSent as error:
        return Outcome(sent=False, error=clean(error, ANSWER_KEPT))
    except NoAnswer as error:
        return Outcome(sent=False, error=clean(error, ANSWER_KEPT), may_have_arrived=True)
    return _outcome(answer, at, url)


def send_chat(url: str, message: Message, *, at: datetime, is_repeat: bool, outbound: Outbound) -> Outcome:
    """A message into a room; a repeat says so in its first line, since a chat has no ids."""
    title = f"(repeat) {message.subject}" if is_repeat else message.subject
    try:
        room = room_of(url)
        taken, answer = room.send(outbound, title=title, text=message.text)
    except DomainError as refused:
        return Outcome(sent=False, error=clean(refused.detail, ANSWER_KEPT))
    except NotSent as error:
        return Outcome(sent=False, error=clean(error, ANSWER_KEPT))
    except NoAnswer as error:
        return Outcome(sent=False, error=clean(error, ANSWER_KEPT), may_have_arrived=True)
    outcome = _outcome(answer, at, url)
    if outcome.sent and not taken:
        return replace(outcome, sent=False, error=f"{room.service} answered {answer.status} and did not take it")
    return outcome


def _outcome(answer: Answer, at: datetime, url: str) -> Outcome:
    done = 200 <= answer.status < 300
    body = clean(_without_secrets(answer.body[:ANSWER_READ].decode("utf-8", "replace"), url), ANSWER_KEPT)
    return Outcome(
        sent=done,
        status=answer.status,
        error="" if done else _status_words(answer.status),
        answer=body,
        retry_after=None if done else _retry_after(answer.headers, at),
        gone=answer.status == HTTPStatus.GONE,
    )


def _without_secrets(text: str, url: str) -> str:
    """The text without what is secret of the URL: many a server says in a 404 which path was asked for."""
    said = url.partition("://")[2]
    own = said.partition("/")[2] if url.startswith("http") else said
    parts = {part for read in (own, unquote(own)) for part in [read, *re.split(r"[/?&=:@#,;\s]+", read)]}
    for part in sorted((part for part in parts if len(part) >= SECRET_LENGTH_MIN), key=len, reverse=True):
        text = text.replace(part, "…")
    return text


def _status_words(status: int) -> str:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "unknown status"
    redirect = "; redirects are not followed" if 300 <= status < 400 else ""
    return f"{status} {phrase}{redirect}"


def _retry_after(headers: Mapping[str, str], at: datetime) -> timedelta | None:
    """How long the receiver asks to wait: seconds, or a date of HTTP."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text[:9]), 10**8))
    try:
        wanted = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return (wanted if wanted.tzinfo else wanted.replace(tzinfo=UTC)) - at


def _said(error: Exception) -> str:
    return clean(f"{type(error).__name__}: {error}", ANSWER_KEPT)
