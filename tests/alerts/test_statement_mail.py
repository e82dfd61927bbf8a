"""Statements by mail: who gets which, when, and what is in them."""

from datetime import date, datetime, timedelta
from email import message_from_bytes, policy
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from pypdf import PdfReader

from apps.alerts import mail_letters, mail_rounds, mail_terms, tasks
from apps.core.errors import DomainError
from apps.core.periods import next_month
from apps.core.tenancy import tenant
from apps.organizations.members import change_role, remove_member
from apps.organizations.permissions import Role
from apps.reports.papers import pdf
from apps.teams.services import create_team
from tests.alerts.mailing import MailRoom
from tests.alerts.receivers import Post
from tests.api.tenants import make_org
from tests.database import as_worker
from tests.reports.documents import full_document
from tests.reports.months import MONTH, NAME, NEXT, THIS_MONTH
from tests.usage.ledger import month_start


@pytest.fixture
def room() -> MailRoom:
    return MailRoom()


def html_of(letter: Any) -> str:
    return next(part for part in letter.walk() if part.get_content_type() == "text/html").get_content()


def plain_of(letter: Any) -> str:
    return next(part for part in letter.walk() if part.get_content_type() == "text/plain").get_content()


# --- who ------------------------------------------------------------------------------------------------


def test_a_final_month_goes_to_its_leads_and_to_who_was_added(room: MailRoom, mail: Post) -> None:
    room.spend("search", "search", "ads", None, workflow="answers")
    room.lead("lead@acme.example", "search")
    room.add("cfo@acme.example")
    room.switch_on()
    assert room.work() == 0
    room.close()
    assert room.work() == 2
    assert room.work() == 0
    assert [(one.address, one.state, one.attempts, one.status) for one in room.mails()] == [
        ("cfo@acme.example", "sent", 1, 250), ("lead@acme.example", "sent", 1, 250),
    ]  # fmt: skip
    letters = {letter["To"]: letter for letter in mail.inbox}
    plain, html = plain_of(letters["lead@acme.example"]), html_of(letters["lead@acme.example"])
    for text in (plain, html):
        assert "search" in text
        assert "0.01" in text
        assert "ads" not in text.replace("leads", "")
        assert f"http://testserver/o/{room.org.slug}/statements/{NAME}%3Asearch" in text
        assert "You get this as a lead of search" in text
    files = list(letters["lead@acme.example"].iter_attachments())
    names = [file.get_filename() for file in files]
    assert names == [f"cs-000002-{NAME}-search.pdf", f"cs-000002-{NAME}-search.csv"]
    assert "CS-000002" in PdfReader(BytesIO(files[0].get_content())).pages[0].extract_text()
    assert files[1].get_content().startswith("statement,number")
    assert len(list(letters["cfo@acme.example"].iter_attachments())) == 6
    assert "List-Unsubscribe" not in letters["lead@acme.example"]


def test_a_lead_can_be_switched_off_and_on(room: MailRoom, mail: Post) -> None:
    room.spend("search", "ads")
    room.lead("lead@acme.example", "search", "ads")
    row = room.add("Lead@ACME.example", "team", "search", is_off=True)
    room.switch_on()
    room.close()
    room.work()
    (letter,) = mail.inbox
    assert f"{NAME}%3Aads" in plain_of(letter)
    assert f"{NAME}%3Asearch" not in plain_of(letter)
    mail_terms.remove_recipient(org=room.org, recipient_id=row.pk, actor=None)
    mail_rounds.resend(org=room.org, mail_id=room.mail().pk, actor="ann@acme.example")
    room.work()
    assert f"{NAME}%3Asearch" in plain_of(mail.inbox[1])
    with pytest.raises(DomainError) as refused:
        room.add("nobody@acme.example", "team", "search", is_off=True)
    assert refused.value.code == "not_a_lead"


def queue_for_one_who_goes(room: MailRoom) -> None:
    """A mail that is made, to a reader who is taken off the list before it goes out."""
    room.spend("search")
    row = room.add("friend@elsewhere.example", "team", "search")
    room.switch_on()
    room.close()
    mail_rounds.make_due(room.org, at=room.now)
    mail_terms.remove_recipient(org=room.org, recipient_id=row.pk, actor=None)


def test_a_lead_who_no_longer_leads_gets_nothing(room: MailRoom, mail: Post) -> None:
    """What was queued says what the reader may see as it goes out, not as it was made."""
    queue_for_one_who_goes(room)
    room.work()
    assert mail.inbox == []
    assert (room.mail().state, room.mail().reply) == ("refused", "this address gets none of it any more")


def test_who_gets_another_team_by_now_is_told_of_no_month_that_it_has_no_statement_of(
    room: MailRoom, mail: Post
) -> None:
    queue_for_one_who_goes(room)
    room.add("friend@elsewhere.example", "team", "ads")
    room.work()
    assert mail.inbox == []
    assert (room.mail().state, room.mail().reply) == (
        "refused", "the month has no statement for this address any more",
    )  # fmt: skip


def test_a_lead_may_have_a_domain_that_is_not_ascii(room: MailRoom, mail: Post) -> None:
    room.spend("search")
    room.lead("lead@bücher.example", "search")
    room.switch_on()
    room.close()
    room.work()
    assert (room.mail().address, room.mail().state) == ("lead@bücher.example", "sent")
    assert mail.envelopes == [["lead@xn--bcher-kva.example"]]


def test_nobody_of_another_organization_is_told_anything(mail: Post) -> None:
    one, other = MailRoom(), MailRoom()
    for room, address in ((one, "one@acme.example"), (other, "other@globex.example")):
        room.name("search", f"work-{room.org.slug}")
        room.spend("search", workflow=f"work-{room.org.slug}", usage={"input_tokens": 100_000})
        room.add(address)
        room.switch_on()
        room.close()
    one.work()
    (letter,) = mail.inbox
    assert letter["To"] == "one@acme.example"
    assert f"work-{one.org.slug}" in plain_of(letter)
    assert other.org.slug not in letter.as_string()
    assert other.mails() == []


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"address": "nobody"}, "address_invalid"),
        ({"address": "a@b.example\nBcc: c@d.example"}, "address_invalid"),
        ({"address": "root@localhost"}, "address_invalid"),
        ({"address": f"{'a' * 250}@b.example"}, "address_invalid"),
        ({"address": "a@b.example", "covers": "all"}, "covers_unknown"),
        ({"address": "a@b.example", "covers": "team", "team": "nope"}, "team_unknown"),
        ({"address": "a@b.example", "covers": "team"}, "team_unknown"),
        ({"address": "a@b.example", "covers": "team", "team": "\0"}, "team_unknown"),
        ({"address": "a@b.example", "covers": "everything", "team": "search"}, "team_unused"),
    ],
)
def test_a_recipient_that_cannot_be_is_refused(room: MailRoom, said: dict[str, Any], code: str) -> None:
    with pytest.raises(DomainError) as refused:
        room.add(**said)
    assert refused.value.code == code


def test_recipients_have_an_end(room: MailRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail_terms, "RECIPIENTS_MAX", 1)
    room.add("a@b.example")
    room.add("a@b.example")
    with pytest.raises(DomainError) as refused:
        room.add("b@b.example")
    assert refused.value.code == "too_many_recipients"


# --- when -----------------------------------------------------------------------------------------------


def test_what_was_final_before_it_was_switched_on_is_not_mailed_by_itself(room: MailRoom, mail: Post) -> None:
    room.spend("search")
    room.add("cfo@acme.example")
    room.close()
    room.switch_on()
    assert room.later(days=3) == 0
    assert mail_rounds.send_month(org=room.org, month=MONTH, actor="ann@acme.example") == 1
    assert mail_rounds.send_month(org=room.org, month=MONTH, actor="ann@acme.example") == 0
    assert room.work() == 1
    with pytest.raises(DomainError) as refused:
        mail_rounds.send_month(org=room.org, month=NEXT, actor=None)
    assert refused.value.code == "month_not_final"


def test_nothing_is_sent_before_the_hours_after_the_seal_are_over(room: MailRoom, mail: Post) -> None:
    room.spend("search")
    room.add("cfo@acme.example")
    room.switch_on(hours_after=240)
    room.close()
    assert room.later(hours=239) == 0
    assert room.later(hours=1.1) == 1


def test_nothing_is_sent_unasked(room: MailRoom, mail: Post) -> None:
    room.spend("search")
    room.add("cfo@acme.example")
    room.close()
    assert room.later(days=40) == 0
    assert room.mails() == []


@pytest.mark.parametrize(
    "said", [{"hours_after": 241}, {"hours_after": -1}, {"weekly_day": 7}, {"weekly_hour": 24}, {"preview_days": 0}]
)
def test_settings_that_cannot_be_are_refused(room: MailRoom, said: dict[str, int]) -> None:
    with pytest.raises(DomainError) as refused:
        room.switch_on(**said)
    (name,) = said
    assert (refused.value.code, refused.value.param) == (f"{name}_invalid", name)


def test_a_digest_goes_out_at_its_hour_once_and_is_ended_by_its_reader(mail: Post) -> None:
    room = MailRoom()
    room.spend("search", at=datetime.now(tz=room.now.tzinfo) - timedelta(minutes=1))
    room.lead("lead@acme.example", "search")
    room.add("cfo@acme.example")
    # The next local Wednesday at 9, whatever today is.
    room.switch_on(monthly=False, weekly=True, weekly_day=2, weekly_hour=9)
    today = room.now.date()
    day = today + timedelta(days=(2 - today.weekday()) % 7 or 7)
    room.now = datetime(day.year, day.month, day.day, 8, 59, tzinfo=room.now.tzinfo)
    assert room.work() == 0
    assert room.later(minutes=1) == 2
    assert room.later(hours=3) == 0
    assert {(one.kind, one.period) for one in room.mails()} == {("weekly", day - timedelta(days=7))}
    letter = next(one for one in mail.inbox if one["To"] == "lead@acme.example")
    assert "so far" in letter["Subject"]
    assert "Last seven days" in plain_of(letter) or "There is nothing on a statement" in plain_of(letter)
    assert list(letter.iter_attachments()) == []
    # The page of who gets what is closed to leads.
    assert "Who gets it" not in plain_of(letter)
    assert "Who gets it" in plain_of(next(one for one in mail.inbox if one["To"] == "cfo@acme.example"))
    assert letter["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    path = urlsplit(letter["List-Unsubscribe"].strip(" <>")).path
    stranger = Client(enforce_csrf_checks=True)
    page = stranger.get(path)
    assert "lead@acme.example" in page.content.decode()
    room.later(days=7)
    assert len([one for one in mail.inbox if one["To"] == "lead@acme.example"]) == 2
    # As a mail program posts it: no page, no cookie, no token of a form.
    one_click = Client(enforce_csrf_checks=True).post(path, {"List-Unsubscribe": "One-Click"})
    assert (one_click.status_code, "You are unsubscribed" in one_click.content.decode()) == (200, True)
    room.later(days=7)
    assert len([one for one in mail.inbox if one["To"] == "lead@acme.example"]) == 2
    assert len([one for one in mail.inbox if one["To"] == "cfo@acme.example"]) == 3
    back = Client(enforce_csrf_checks=True).post(path, {"again": "yes"})
    assert "You are subscribed again" in back.content.decode()
    room.later(days=7)
    assert len([one for one in mail.inbox if one["To"] == "lead@acme.example"]) == 3


@pytest.mark.parametrize("token", ["x", "WzEsImFAYi5jIiwid2Vla2x5Il0:1abc:forged", "%00", "a" * 3000])
def test_a_link_that_is_not_ours_ends_nothing(token: str) -> None:
    for response in (Client().get(f"/unsubscribe/{token}"), Client().post(f"/unsubscribe/{token}")):
        assert response.status_code == 404


def test_the_hour_is_that_of_the_clock_on_the_wall_on_the_day_that_it_is_put_forward(mail: Post) -> None:
    room = MailRoom(org=make_org(zone="Europe/Berlin"))
    room.add("cfo@acme.example")
    room.switch_on(monthly=False, weekly=True, weekly_day=6, weekly_hour=8)
    last_of_march = date(room.now.year + 1, 3, 31)
    sunday = last_of_march - timedelta(days=(last_of_march.weekday() + 1) % 7)
    room.now = datetime(sunday.year, sunday.month, sunday.day, 7, 59, tzinfo=ZoneInfo("Europe/Berlin"))
    assert room.work() == 0
    assert room.later(minutes=1) == 1


def test_a_digest_that_could_not_go_out_in_time_is_left_out(room: MailRoom, mail: Post) -> None:
    room.add("cfo@acme.example")
    room.switch_on(monthly=False, weekly=True, weekly_day=2, weekly_hour=9)
    today = room.now.date()
    day = today + timedelta(days=(2 - today.weekday()) % 7 or 7)
    room.now = datetime(day.year, day.month, day.day, 9, tzinfo=room.now.tzinfo) + timedelta(hours=25)
    assert room.work() == 0


def test_a_digest_that_the_mail_server_did_not_take_in_time_is_left_out(
    room: MailRoom, mail: Post, settings: Any
) -> None:
    """A month "before it ends" that arrives in the next one says what is not so."""
    room.add("cfo@acme.example")
    room.switch_on(monthly=False, preview=True, preview_days=1)
    room.now = month_start(next_month(next_month(THIS_MONTH))) - timedelta(hours=15)
    settings.EMAIL_PORT = 1
    assert room.later(minutes=1) == 1
    for hours in (1, 10):
        room.later(hours=hours)
    assert room.mail().state == "failed"
    settings.EMAIL_PORT = mail.port
    room.later(hours=14)
    assert (room.mail().state, mail.inbox) == ("refused", [])
    assert "could not go out in time" in room.mail().reply
    mail_rounds.resend(org=room.org, mail_id=room.mail().pk, actor="ann@acme.example")
    room.work()
    assert len(mail.inbox) == 1


def test_a_preview_goes_out_before_the_month_ends(room: MailRoom, mail: Post) -> None:
    room.lead("lead@acme.example", "search")
    room.switch_on(monthly=False, preview=True, preview_days=3)
    month = next_month(THIS_MONTH)
    end = month_start(next_month(month))
    room.now = end - timedelta(days=3) + timedelta(hours=7, minutes=59)
    assert room.work() == 0
    assert room.later(minutes=1) == 1
    assert room.later(minutes=1) == 0
    (letter,) = mail.inbox
    assert "before it ends" in letter["Subject"]
    assert "There is nothing on a statement" in plain_of(letter)


# --- what -----------------------------------------------------------------------------------------------


def test_a_mail_says_what_changed_and_why(room: MailRoom, mail: Post) -> None:
    before = date(MONTH.year - (MONTH.month == 1), (MONTH.month - 2) % 12 + 1, 1)
    room.name("search", "answers", "triage")
    room.spend_in(before, "search", workflow="answers", usage={"input_tokens": 900_000, "output_tokens": 0})
    room.spend_in(MONTH, *["search"] * 3, workflow="answers", usage={"input_tokens": 900_000, "output_tokens": 0})
    room.spend_in(MONTH, "search", workflow="triage", usage={"input_tokens": 900_000, "output_tokens": 0})
    room.lead("lead@acme.example", "search")
    room.switch_on()
    room.close(before)
    room.close(MONTH)
    room.work()
    letter = next(one for one in mail.inbox if f"{MONTH:%B %Y}" in one["Subject"])
    plain, html = plain_of(letter), html_of(letter)
    for text in (plain, html):
        assert "What changed and why" in text
        assert "More tokens and calls, each at what it cost before" in text
        assert "New workflow triage" in text
    (picture,) = [part for part in letter.walk() if part.get_content_type() == "image/png"]
    assert picture["Content-ID"] == "<chart-0>"
    assert picture.get_content().startswith(b"\x89PNG")
    assert 'src="cid:chart-0" alt="Bar chart: cost by workflow' in html
    structure = [part.get_content_type() for part in letter.walk() if part.is_multipart()]
    assert structure == ["multipart/mixed", "multipart/alternative", "multipart/related"]


def test_names_are_hostile(room: MailRoom, mail: Post) -> None:
    create_team(org=room.org, slug="bad", name="Bad team <b>x</b> =1+1 https://evil.example @all")
    room.spend("bad")
    room.add("cfo@acme.example")
    room.switch_on()
    room.close()
    room.work()
    (letter,) = mail.inbox
    html = html_of(letter)
    assert "<script" not in html
    assert "<b>x</b>" not in html
    assert "\u202e" not in html + plain_of(letter)
    assert 'href="https://evil' not in html
    assert "https://evil.example" not in plain_of(letter)
    assert "\n" not in letter["Subject"]
    assert "Bad team ‹b›x‹/b›" in letter["Subject"]
    assert "javascript:" not in html
    assert room.mail().state == "sent"


def test_more_than_five_statements_come_as_one_csv_and_links(room: MailRoom, mail: Post) -> None:
    teams = [f"team-{number}" for number in range(6)]
    for slug in teams:
        create_team(org=room.org, slug=slug)
    room.spend(*teams)
    room.add("cfo@acme.example")
    room.switch_on()
    room.close()
    room.work()
    (letter,) = mail.inbox
    (file,) = letter.iter_attachments()
    assert file.get_filename() == f"statements-{NAME}.csv"
    lines = file.get_content().splitlines()
    assert len(lines) == 1 + 2 * 6
    assert sum(line.startswith("statement,") for line in lines) == 1
    assert all(f"{NAME}%3A{slug}" in plain_of(letter) for slug in teams)
    assert "Together:" in plain_of(letter)


@pytest.mark.parametrize(("limit", "names"), [(10, []), (20_000, ["statements-2026-10.csv"])])
def test_files_that_are_too_large_are_left_out(limit: int, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail_letters, "ATTACHED_BYTES_MAX", limit)
    found = mail_letters._files([full_document(lines=3)])
    assert [file.name for file in found] == names


def test_a_statement_whose_pdf_is_too_large_comes_as_csv_and_says_so(
    room: MailRoom, mail: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.spend("search")
    room.add("cfo@acme.example", "team", "search")
    room.switch_on()
    room.close()
    monkeypatch.setattr(mail_letters, "ATTACHED_BYTES_MAX", 8_000)
    room.work()
    (letter,) = mail.inbox
    (file,) = letter.iter_attachments()
    assert file.get_filename() == f"statements-{NAME}.csv"
    assert "Attached: the statement as CSV." in plain_of(letter)


def test_a_statement_with_more_lines_than_a_pdf_takes_is_mailed_with_its_csv(
    room: MailRoom, mail: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.spend("search", "ads")
    room.add("cfo@acme.example")
    room.switch_on()
    room.close()
    monkeypatch.setattr(pdf, "PDF_LINES_MAX", 0)
    room.work()
    assert room.mail().state == "sent"
    (file,) = mail.inbox[0].iter_attachments()
    assert file.get_filename() == f"statements-{NAME}.csv"


def test_what_is_attached_is_as_large_as_the_mail_carries_it(monkeypatch: pytest.MonkeyPatch) -> None:
    (csv,) = [file for file in mail_letters._files([full_document(lines=3)]) if file.name.endswith("csv")]
    monkeypatch.setattr(mail_letters, "ATTACHED_BYTES_MAX", len(csv.content) * 5 // 4)
    assert mail_letters._files([full_document(lines=3)]) == []


def test_a_mail_has_the_headers_of_a_machine_and_an_id_of_its_own(room: MailRoom, mail: Post) -> None:
    room.spend("search")
    room.add("cfo@acme.example")
    room.switch_on()
    room.close()
    room.work()
    (letter,) = mail.inbox
    assert letter["Auto-Submitted"] == "auto-generated"
    row = room.mail()
    # A long id is folded onto the next line.
    assert letter["Message-ID"].strip().startswith(f"<{room.org.pk}.{row.pk}.1.")
    assert letter["X-FinOps-Mail"] in letter["Message-ID"]
    raw = message_from_bytes(letter.as_bytes(), policy=policy.default)
    assert raw["Subject"] == letter["Subject"]


def test_a_test_goes_to_whoever_asks_and_to_nobody_else(
    room: MailRoom, mail: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.spend("search", "ads")
    room.add("cfo@acme.example")
    room.join("ann@acme.example", Role.FINANCE)
    for _ in range(2):
        mail_rounds.send_test(org=room.org, month=MONTH, address="Ann@acme.example", actor="ann@acme.example")
    room.now += timedelta(seconds=5)
    assert room.work() == 2
    assert [letter["To"] for letter in mail.inbox] == ["ann@acme.example"] * 2
    assert mail.inbox[0]["Subject"].startswith("[test] ")
    assert "These are drafts" in plain_of(mail.inbox[0])
    monkeypatch.setattr(mail_rounds, "TESTS_PER_HOUR_MAX", 2)
    with pytest.raises(DomainError) as refused:
        mail_rounds.send_test(org=room.org, month=MONTH, address="ann@acme.example", actor=None)
    assert refused.value.code == "too_many_tests"


def test_a_test_that_waits_goes_to_nobody_who_left_or_may_not_ask_for_it_any_more(
    room: MailRoom, mail: Post, settings: Any
) -> None:
    room.spend("search")
    settings.EMAIL_PORT = 1
    members = []
    for name, role in (("ann", Role.FINANCE), ("bob", Role.ADMIN)):
        members.append(room.join(f"{name}@acme.example", role))
        mail_rounds.send_test(org=room.org, month=MONTH, address=f"{name}@acme.example", actor=None)
    assert [room.later(seconds=5), room.later(seconds=5)] == [1, 1]
    assert {one.state for one in room.mails()} == {"failed"}
    settings.EMAIL_PORT = mail.port
    by: dict[str, Any] = {"org": room.org, "actor": None, "by_role": Role.OWNER}
    remove_member(member_id=members[0].pk, **by)
    change_role(member_id=members[1].pk, role=Role.LEAD, teams=["ads"], **by)
    room.later(days=1)
    assert mail.inbox == []
    assert {one.reply for one in room.mails()} == {"this address gets none of it any more"}


def test_the_tick_asks_for_organizations_with_work_alone(
    room: MailRoom, mail: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle = MailRoom()
    idle.switch_on()
    room.spend("search")
    room.add("cfo@acme.example")
    room.switch_on()
    room.close()
    asked: list[int] = []
    monkeypatch.setattr(tasks.mail_statements_of, "apply_async", lambda args, **_: asked.extend(args))
    with as_worker():
        tasks.mail_statements()
        assert (asked.count(room.org.pk), asked.count(idle.org.pk)) == (1, 0)
        tasks.mail_statements_of(room.org.pk)
        asked.clear()
        tasks.mail_statements()
    assert (asked.count(room.org.pk), len(mail.inbox)) == (0, 1)
    with tenant(room.org):
        assert mail_rounds.count_unclear(room.org) == 0
