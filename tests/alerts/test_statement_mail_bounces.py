"""Mails that come back: notifications that a mail server pipes into the command."""

import io
import sys
from email.message import EmailMessage
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError

from apps.alerts import mail_bounces, mail_rounds
from apps.alerts.management.commands import record_bounce as command
from apps.audit.models import AuditEntry
from apps.core.tenancy import tenant
from tests.alerts.mailing import MailRoom
from tests.alerts.receivers import Post
from tests.database import as_worker
from tests.reports.months import NEXT


@pytest.fixture
def room(mail: Post) -> MailRoom:
    """With one mail that was sent."""
    found = MailRoom()
    found.spend("search")
    found.add("cfo@acme.example")
    found.switch_on()
    found.close()
    found.work()
    return found


def notification(letter: EmailMessage, status: str, action: str = "failed", *, whole: bool = False) -> bytes:
    """As Postfix writes one: words for people, the delivery status, and what came back."""
    headers = "".join(f"{name}: {str(value).strip()}\r\n" for name, value in letter.items())
    returned = (
        f"Content-Type: message/rfc822\r\n\r\n{headers}\r\nbody"
        if whole
        else (f"Content-Type: text/rfc822-headers\r\n\r\n{headers}")
    )
    return (
        "From: MAILER-DAEMON@mx.example\r\nTo: bounces@finops.example\r\nSubject: Undelivered Mail Returned\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\nMIME-Version: 1.0\r\n\r\n'
        "--b\r\nContent-Type: text/plain\r\n\r\nI am sorry.\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\n"
        "Reporting-MTA: dns; mx.example\r\n\r\n"
        f"Final-Recipient: rfc822; cfo@acme.example\r\nAction: {action}\r\nStatus: {status}\r\n"
        "Diagnostic-Code: smtp; 550 5.1.1 <cfo@acme.example> unknown\r\n\r\n"
        f"--b\r\n{returned}\r\n--b--\r\n"
    ).encode()


def pipe(monkeypatch: pytest.MonkeyPatch, message: bytes) -> str:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(message)))
    with as_worker():
        call_command("record_bounce", stdout=out)
    return out.getvalue()


@pytest.mark.parametrize("whole", [True, False])
def test_a_mail_that_comes_back_is_marked_and_its_address_left_alone(
    room: MailRoom, mail: Post, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    message = notification(mail.inbox[0], "5.1.1", whole=whole)
    said = pipe(monkeypatch, message)
    assert "cfo@acme.example: failed, 5.1.1 550 5.1.1" in said
    pipe(monkeypatch, message)
    found = room.mail()
    assert (found.state, found.bounced_at is not None) == ("sent", True)
    assert [entry["state"] for entry in found.log] == ["sent", "bounced"]
    assert found.reply.startswith("5.1.1 ")
    room.spend_in(NEXT, "search")
    room.close(NEXT)
    room.work()
    assert len(mail.inbox) == 1
    with tenant(room.org):
        bounced = AuditEntry.objects.for_org(room.org).filter(action="statement_mail.bounced")
        assert bounced.count() == 1


def test_a_mail_that_is_delayed_is_noted_and_nothing_more(
    room: MailRoom, mail: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe(monkeypatch, notification(mail.inbox[0], "4.4.1", "delayed"))
    found = room.mail()
    assert (found.bounced_at, found.log[-1]["state"]) == (None, "delayed")


def test_a_mail_that_was_given_up_is_marked_and_its_address_is_sent_to_again(
    room: MailRoom, mail: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader's server was away for days: nothing arrived, and the address may be as good as before."""
    pipe(monkeypatch, notification(mail.inbox[0], "4.4.1", "failed"))
    found = room.mail()
    assert (found.bounced_at is not None, found.log[-1]["state"], found.reply[:5]) == (True, "bounced", "4.4.1")
    mail_rounds.resend(org=room.org, mail_id=found.pk, actor="ann@acme.example")
    room.work()
    assert (len(mail.inbox), room.mail().bounced_at) == (2, None)


def test_a_mail_that_was_delivered_is_not_said_to_be_late(
    room: MailRoom, mail: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe(monkeypatch, notification(mail.inbox[0], "2.0.0", "delivered"))
    found = room.mail()
    assert (found.bounced_at, found.log[-1]["state"]) == (None, "delivered")


def test_a_status_of_any_bytes_is_read(room: MailRoom, mail: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, notification(mail.inbox[0], "5.1\0.1\x1b[31m"))
    assert room.mail().bounced_at is not None


def test_the_mail_server_keeps_a_notification_while_the_database_is_away(
    room: MailRoom, mail: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: bytes) -> Any:
        raise OperationalError("connection refused")

    monkeypatch.setattr(command, "record_bounce", away)
    with pytest.raises(CommandError) as ended:
        pipe(monkeypatch, notification(mail.inbox[0], "5.1.1"))
    assert ended.value.returncode == 75


def test_a_header_of_ours_is_enough_where_the_id_was_replaced(
    room: MailRoom, mail: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    letter = mail.inbox[0]
    letter.replace_header("Message-ID", "<other@mx.example>")
    pipe(monkeypatch, notification(letter, "5.2.1"))
    assert room.mail().bounced_at is not None


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda message: b"hello", "not_a_report"),
        (lambda message: b"", "not_a_report"),
        (lambda message: message.replace(b"Action: failed", b"X: y"), "not_a_report"),
        (lambda message: message.replace(b"Action: failed", b"Action: \xff\0"), "not_a_report"),
        (lambda message: b"Content-Type: message/rfc822\r\n\r\n" * 3000, "not_a_report"),
        (lambda message: message.replace(b".1.", b".2."), "mail_not_ours"),
        (lambda message: message + b"x" * 200, "message_too_large"),
    ],
)
def test_what_is_no_notification_of_ours_changes_nothing(
    room: MailRoom, mail: Post, monkeypatch: pytest.MonkeyPatch, change: Any, code: str
) -> None:
    message = change(notification(mail.inbox[0], "5.1.1"))
    if code == "message_too_large":
        monkeypatch.setattr(mail_bounces, "MESSAGE_BYTES_MAX", 100)
    with pytest.raises(mail_bounces.DomainError) as refused:
        mail_bounces.read_report(message)
    assert refused.value.code == code
    with pytest.raises(CommandError) as ended:
        pipe(monkeypatch, message)
    assert ended.value.returncode == 65
    assert room.mail().bounced_at is None
