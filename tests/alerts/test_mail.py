"""A mail to several people, of whom the server takes some and refuses others."""

from typing import Any

import pytest

from tests.alerts.desk import Desk
from tests.alerts.receivers import Post


def test_an_address_that_is_refused_for_now_is_tried_again_and_nobody_gets_a_mail_twice(desk: Desk, mail: Post) -> None:
    desk.channel("email", "cfo@example.com, full@example.com, gone@example.com")
    desk.cross()
    mail.refuses_addresses = {"full@example.com": "452 mailbox full", "gone@example.com": "550 no such user"}
    desk.work()
    found = desk.delivery()
    assert (found.state, found.tries, mail.envelopes) == ("pending", 1, [["cfo@example.com"]])
    assert "full@example.com: 452 mailbox full; gone@example.com: 550 no such user (for good)" in found.error
    mail.refuses_addresses = {"full@example.com": "452 mailbox full"}
    desk.later(minutes=1)
    assert desk.delivery().state == "pending"
    mail.refuses_addresses = {}
    desk.later(minutes=6)
    found = desk.delivery()
    assert (found.state, found.is_repeat, found.error) == (
        "sent", False, "refused for good: gone@example.com: 550 no such user"
    )  # fmt: skip
    assert mail.envelopes == [["cfo@example.com"], ["full@example.com"]]
    assert len({letter["Message-ID"] for letter in mail.inbox}) == 1
    assert [(entry["accepted"], len(entry["refused"])) for entry in found.log] == [(1, 2), (0, 1), (1, 0)]


@pytest.mark.parametrize(
    ("replies", "state"),
    [
        ({"a@example.com": "550 no"}, "sent"),
        ({"a@example.com": "550 no", "b@example.com": "551 no"}, "failed"),
        ({"a@example.com": "550 no", "b@example.com": "552 too many"}, "pending"),
        ({"a@example.com": "421 bye"}, "pending"),
    ],
)
def test_what_is_refused_for_good_is_not_tried_again(
    desk: Desk, mail: Post, replies: dict[str, str], state: str
) -> None:
    desk.channel("email", "a@example.com, b@example.com")
    desk.cross()
    mail.refuses_addresses = replies
    desk.work()
    found = desk.delivery()
    assert (found.state, bool(found.next_attempt_at)) == (state, state == "pending")
    assert "a@example.com" in found.error
    assert len(mail.envelopes) == (state == "sent")
    mail.refuses_addresses = {}
    desk.later(days=1)
    assert len(took := [one for envelope in mail.envelopes for one in envelope]) == len(set(took))
    assert desk.delivery().state == ("failed" if state == "failed" else "sent")


def test_a_server_that_is_away_after_it_took_some_addresses_is_waited_for(
    desk: Desk, mail: Post, settings: Any
) -> None:
    desk.channel("email", "cfo@example.com, full@example.com")
    desk.cross()
    mail.refuses_addresses = {"full@example.com": "452 mailbox full"}
    desk.work()
    settings.EMAIL_PORT, mail.refuses_addresses = 1, {}
    desk.later(minutes=1)
    assert desk.delivery().state == "pending"
    settings.EMAIL_PORT = mail.port
    desk.later(hours=1)
    assert desk.delivery().state == "sent"
    assert mail.envelopes == [["cfo@example.com"], ["full@example.com"]]
