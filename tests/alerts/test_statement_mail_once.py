"""One mail per organization, month and recipient: with two clocks, doubled tasks, several workers, and workers that die
at any point.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from apps.alerts import mail_rounds, mail_terms, mail_work, senders
from apps.alerts.mail_work import LEASE
from apps.alerts.models_statement_mail import StatementMail
from apps.alerts.timing import TRIES_MAX
from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from tests.alerts.mailing import MailRoom
from tests.alerts.receivers import Post
from tests.alerts.test_deliveries import in_threads
from tests.database import as_worker
from tests.reports.months import MONTH

ROOT = Path(__file__).parents[2]


@pytest.fixture
def room() -> MailRoom:
    """With a final month, mails of it due to one address, and none made yet."""
    found = MailRoom()
    found.spend("search")
    found.add("cfo@acme.example")
    found.switch_on()
    found.close()
    return found


# --- at once --------------------------------------------------------------------------------------------


def test_two_clocks_doubled_tasks_and_several_workers_send_one_mail_each(mail: Post) -> None:
    room = MailRoom()
    room.spend("search", "ads")
    for number in range(5):
        room.add(f"finance-{number}@acme.example")
    room.lead("lead@acme.example", "search")
    room.switch_on()
    room.close()
    in_threads(lambda: [mail_work.work(room.org.pk, clock=room.clock) for _ in range(2)])
    room.work()
    assert sorted(letter["To"] for letter in mail.inbox) == [one.address for one in room.mails()]
    assert len(mail.inbox) == 6
    assert {(one.state, one.attempts) for one in room.mails()} == {("sent", 1)}
    assert len({letter["Message-ID"] for letter in mail.inbox}) == 6


def test_one_claim_is_one_workers(room: MailRoom, mail: Post) -> None:
    """Whose time was over while it rendered sends nothing once another has begun anew."""
    mail_rounds.make_due(room.org, at=room.now)
    with as_worker():
        slow = mail_work.claim(room.org, at=room.now)
        assert slow is not None
        assert mail_work.claim(room.org, at=room.now) is None
        assert room.later(seconds=LEASE.total_seconds() + 1) == 1
        mail_work.send(slow, room.clock)
    assert len(mail.inbox) == 1
    assert (room.mail().state, room.mail().attempts) == ("sent", 2)


# --- killed ---------------------------------------------------------------------------------------------


def dies(room: MailRoom, mail: Post, point: str) -> None:
    """A worker of its own process that is killed at this point."""
    environment = {
        **os.environ,
        "FINOPS_PROCESS": "worker",
        "DJANGO_SETTINGS_MODULE": "finops.settings",
        "EMAIL_HOST": mail.host,
        "EMAIL_PORT": str(mail.port),
        "EMAIL_USE_TLS": "0",
    }
    command = [sys.executable, "-m", "tests.alerts.dying", point, str(room.org.pk)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize(
    ("point", "left", "arrived", "becomes", "attempts", "in_all"),
    [
        # Nothing has left: another worker begins anew.
        ("rendering", "claimed", 0, "sent", 2, 1),
        ("connected", "claimed", 0, "sent", 2, 1),
        # Committed that it may have arrived: never again by itself, whether it did or not.
        ("handing", "handing", 0, "unclear", 1, 0),
        ("accepted", "handing", 1, "unclear", 1, 1),
        ("recorded", "sent", 1, "sent", 1, 1),
    ],
)
def test_a_worker_that_is_killed_makes_no_second_mail(
    room: MailRoom, mail: Post, point: str, left: str, arrived: int, becomes: str, attempts: int, in_all: int
) -> None:
    dies(room, mail, point)
    assert (room.mail().state, len(mail.inbox)) == (left, arrived)
    room.later(seconds=1)
    assert (room.mail().state, len(mail.inbox)) == (left, arrived)
    for _ in range(3):
        room.later(seconds=LEASE.total_seconds() + 1)
    found = room.mail()
    assert (found.state, found.attempts, len(mail.inbox)) == (becomes, attempts, in_all)
    with tenant(room.org):
        assert mail_rounds.count_unclear(room.org) == (becomes == "unclear")


def test_an_unclear_mail_is_sent_again_by_a_person_and_says_so(room: MailRoom, mail: Post) -> None:
    mail.drops = True
    room.work()
    found = room.mail()
    assert (found.state, found.due_at, len(mail.inbox)) == ("unclear", None, 1)
    assert room.later(days=30) == 0
    mail.drops = False
    mail_rounds.resend(org=room.org, mail_id=found.pk, actor="ann@acme.example")
    assert room.work() == 1
    first, second = mail.inbox
    assert "sent again because somebody asked" in second.get_body(("plain",)).get_content()
    assert second["x-finops-repeat"] == "1"
    assert first["Message-ID"] != second["Message-ID"]
    found = room.mail()
    assert [(one["attempt"], one["state"], one["by"]) for one in found.log] == [
        (1, "unclear", ""), (2, "sent", "ann@acme.example"),
    ]  # fmt: skip


@pytest.mark.parametrize("answer", ["299 somehow", "taken", "200 OK", "250-" + "x" * 9000])
def test_an_answer_that_is_neither_yes_nor_no_is_unclear(room: MailRoom, mail: Post, answer: str) -> None:
    """To try again at once would send it twice where it was a yes."""
    mail.refuses = answer
    room.work()
    assert room.mail().state == "unclear"
    mail.refuses = ""
    assert room.later(days=3) == 0


def test_a_mail_that_may_have_arrived_long_ago_says_so(room: MailRoom, mail: Post, settings: Any) -> None:
    """However many attempts failed between: its log has an end."""
    mail.drops = True
    room.work()
    mail.drops = False
    settings.EMAIL_PORT = 1
    for _ in range(2):
        mail_rounds.resend(org=room.org, mail_id=room.mail().pk, actor="ann@acme.example")
        for _ in range(TRIES_MAX):
            room.later(days=2)
    settings.EMAIL_PORT = mail.port
    mail_rounds.resend(org=room.org, mail_id=room.mail().pk, actor="ann@acme.example")
    room.work()
    assert mail.inbox[1]["x-finops-repeat"] == "1"
    assert len(room.mail().log) == 20


def test_an_answer_that_comes_after_all_is_believed(room: MailRoom, mail: Post) -> None:
    """The time of a worker was over before the mail server answered: it was sent, and that is known then."""
    mail_rounds.make_due(room.org, at=room.now)
    with as_worker():
        claimed = mail_work.claim(room.org, at=room.now)
        assert claimed is not None
        assert mail_work.begin_handing(claimed, room.clock)
    room.later(seconds=LEASE.total_seconds() + 1)
    assert room.mail().state == "unclear"
    with as_worker():
        mail_work.record(claimed, senders.Outcome(sent=False, error="later"), room.clock)
        assert room.mail().state == "unclear"
        mail_work.record(claimed, senders.Outcome(sent=True, status=250), room.clock)
    assert room.mail().state == "sent"


# --- refused --------------------------------------------------------------------------------------------


def test_a_refusal_for_good_is_kept_and_the_address_is_left_alone(room: MailRoom, mail: Post) -> None:
    mail.refuses_addresses = {"cfo@acme.example": "550 no such user"}
    room.work()
    found = room.mail()
    assert (found.state, found.status, found.reply) == ("refused", 550, "550 no such user")
    assert found.bounced_at is not None
    mail.refuses_addresses = {}
    assert room.later(days=3) == 0
    with pytest.raises(DomainError) as refused:
        mail_rounds.resend(org=room.org, mail_id=found.pk, actor=None)
    assert refused.value.code == "address_bounced"
    mail_terms.confirm_address(org=room.org, address="CFO@acme.example", actor=None)
    mail_rounds.resend(org=room.org, mail_id=found.pk, actor=None)
    room.work()
    assert (room.mail().state, len(mail.inbox)) == ("sent", 1)


def test_a_month_of_an_address_that_bounced_says_why_it_was_not_sent(room: MailRoom, mail: Post) -> None:
    with tenant(room.org):
        mail_terms.note_bounce(room.org, "cfo@acme.example", "550 gone")
    room.work()
    assert mail.inbox == []
    assert room.mail().state == "refused"
    assert "550 gone" in room.mail().reply


@pytest.mark.parametrize("reply", ["451 later", "421 bye"])
def test_a_refusal_for_now_is_tried_again(room: MailRoom, mail: Post, reply: str) -> None:
    mail.refuses_addresses = {"cfo@acme.example": reply}
    room.work()
    found = room.mail()
    assert (found.state, found.tries, found.due_at is not None) == ("failed", 1, True)
    assert room.later(seconds=1) == 0
    mail.refuses_addresses = {}
    assert room.later(minutes=10) == 1
    assert (room.mail().state, len(mail.inbox)) == ("sent", 1)


@pytest.mark.parametrize("reply", ["530 5.7.0 authentication required", "554 5.7.1 relay access denied", "535 who"])
def test_that_we_may_not_send_is_no_fault_of_the_address(room: MailRoom, mail: Post, reply: str) -> None:
    """A mail server that is set up wrongly says so of every reader."""
    mail.refuses_addresses = {"cfo@acme.example": reply}
    room.work()
    found = room.mail()
    assert (found.state, found.reply, found.bounced_at) == ("failed", reply, None)
    mail.refuses_addresses = {}
    room.later(minutes=10)
    assert (room.mail().state, len(mail.inbox)) == ("sent", 1)


def test_a_reply_without_a_number_is_no_refusal_for_good(room: MailRoom, mail: Post) -> None:
    room.add("zoe@acme.example")
    mail.refuses_addresses = {"cfo@acme.example": "who is that"}
    room.work()
    assert [(one.address, one.state, one.status) for one in room.mails()] == [
        ("cfo@acme.example", "failed", None), ("zoe@acme.example", "sent", 250),
    ]  # fmt: skip


def test_what_is_refused_as_it_stands_is_not_tried_again_and_is_no_bounce(room: MailRoom, mail: Post) -> None:
    mail.refuses = "554 we think this is spam"
    room.work()
    found = room.mail()
    assert (found.state, found.status, found.bounced_at) == ("refused", 554, None)
    assert "spam" in found.reply


def test_a_server_that_is_away_is_tried_a_few_times_and_no_more(room: MailRoom, mail: Post, settings: Any) -> None:
    settings.EMAIL_PORT = 1
    room.work()
    assert room.mail().state == "failed"
    for _ in range(TRIES_MAX + 3):
        room.later(days=2)
    found = room.mail()
    assert (found.state, found.tries, found.due_at) == ("failed", TRIES_MAX, None)
    settings.EMAIL_PORT = mail.port
    mail_rounds.resend(org=room.org, mail_id=found.pk, actor=None)
    room.work()
    assert (room.mail().state, room.mail().tries, room.mail().attempts) == ("sent", 1, TRIES_MAX + 1)


def test_a_turn_ends_where_the_mail_server_is_away(room: MailRoom, mail: Post, settings: Any) -> None:
    """Each mail would be rendered and wait for the server anew, while other work of the worker waits."""
    room.add("zoe@acme.example")
    settings.EMAIL_PORT = 1
    assert room.work() == 1
    assert sorted((one.state, one.tries) for one in room.mails()) == [("failed", 1), ("queued", 0)]
    settings.EMAIL_PORT = mail.port
    assert room.later(minutes=1) == 2
    assert {one.state for one in room.mails()} == {"sent"}


def test_a_mail_that_cannot_be_made_holds_up_nobody(
    room: MailRoom, mail: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.add("zoe@acme.example")
    real = mail_work.make

    def fails(org: Any, to: Any, *arguments: Any, **named: Any) -> Any:
        if to.address.startswith("cfo"):
            raise RuntimeError("no paper")
        return real(org, to, *arguments, **named)

    monkeypatch.setattr(mail_work, "make", fails)
    room.work()
    assert [(one.address, one.state) for one in room.mails()] == [
        ("cfo@acme.example", "failed"), ("zoe@acme.example", "sent"),
    ]  # fmt: skip
    assert "no paper" not in room.mails()[0].reply


def test_a_mail_whose_makers_all_die_is_given_up(room: MailRoom, mail: Post) -> None:
    mail_rounds.make_due(room.org, at=room.now)
    with tenant(room.org):
        StatementMail.objects.for_org(room.org).update(tries=TRIES_MAX)
    assert room.work() == 0
    assert (room.mail().state, room.mail().due_at) == ("failed", None)


def test_what_is_under_way_is_not_sent_again(room: MailRoom, mail: Post) -> None:
    mail_rounds.make_due(room.org, at=room.now)
    with pytest.raises(DomainError) as refused:
        mail_rounds.resend(org=room.org, mail_id=room.mail().pk, actor=None)
    assert refused.value.code == "mail_under_way"
    assert room.mail().period == MONTH
