"""The page of statements by mail: settings, recipients, previews, tests, and the log."""

from typing import Any

import pytest

from apps.accounts.services import get_or_create_user
from apps.alerts import mail_rounds, mail_terms
from apps.audit.models import AuditEntry
from apps.core.tenancy import tenant
from apps.organizations.permissions import Role
from apps.organizations.services import add_member
from tests.alerts.mailing import MailRoom
from tests.alerts.receivers import Post
from tests.portal.conftest import client_of
from tests.reports.months import NAME
from tests.world import unique

TERMS = {"act": "terms", "hours_after": "2", "weekly_day": "4", "weekly_hour": "9", "preview_days": "3"}


class Desk:
    """Ann of finance on the page of an organization."""

    def __init__(self) -> None:
        self.room = MailRoom()
        self.ann = get_or_create_user(email=f"{unique('ann')}@people.example")
        add_member(org=self.room.org, user=self.ann, role=Role.FINANCE, actor=None)
        self.client = client_of(self.ann)
        self.url = f"/o/{self.room.org.slug}/statements/mail"

    def post(self, path: str = "", **given: str) -> Any:
        return self.client.post(self.url + path, given)

    def text(self, path: str = "") -> str:
        response = self.client.get(self.url + path)
        assert response.status_code == 200, response.content
        return str(response.content.decode())


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_settings_are_kept_and_shown(desk: Desk) -> None:
    assert desk.post(**TERMS, monthly="on", weekly="on").status_code == 302
    with tenant(desk.room.org):
        terms = mail_terms.terms_of(desk.room.org)
        assert (terms.monthly, terms.weekly, terms.preview, terms.hours_after) == (True, True, False, 2)
        since = terms.monthly_since
    text = desk.text()
    assert 'name="monthly" checked' in text
    assert 'value="4" selected' in text
    desk.post(**TERMS, monthly="on")
    with tenant(desk.room.org):
        terms = mail_terms.terms_of(desk.room.org)
        assert (terms.weekly, terms.monthly_since) == (False, since)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({**TERMS, "hours_after": "241"}, "it is 0 to 240"),
        ({**TERMS, "hours_after": "soon"}, "is no number"),
        ({"act": "add", "address": "nobody", "covers": "everything"}, "is no mail address"),
        ({"act": "add", "address": "a@b.example", "covers": "team", "team": ""}, "There is no team"),
        ({"act": "add", "address": "a@b.example", "covers": "x"}, "covers is"),
        ({"act": "send", "month": "2026-13"}, "write it as YYYY-MM"),
        ({"act": "send", "month": NAME}, "is not final"),
        ({"act": "test", "month": "x"}, "write it as YYYY-MM"),
    ],
)
def test_what_is_wrong_is_said_by_its_form_and_changes_nothing(desk: Desk, given: dict[str, str], words: str) -> None:
    response = desk.post(**given)
    assert response.status_code == 400
    assert words in response.content.decode()
    for typed in (value for name, value in given.items() if name in ("address", "hours_after", "month")):
        assert typed in response.content.decode()
    with tenant(desk.room.org):
        assert mail_terms.recipients(desk.room.org) == []
        assert mail_rounds.find_mails(desk.room.org, limit=1) == []


def test_an_act_that_is_none_is_refused(desk: Desk) -> None:
    assert desk.post(act="explode").status_code == 400
    assert desk.post("/recipients/999999/remove").status_code == 404
    assert desk.post("/999999/resend").status_code == 404
    assert desk.client.get(f"{desk.url}/preview?to=stranger@x.example").status_code == 404
    assert desk.client.get(f"{desk.url}/preview?month=x").status_code == 400


def test_a_recipient_is_added_switched_off_and_taken_away(desk: Desk) -> None:
    desk.room.lead("lead@acme.example", "search")
    desk.post(act="add", address="Auditor@elsewhere.example", covers="everything")
    text = desk.text()
    assert "auditor@elsewhere.example" in text
    assert "no member" in text
    assert "search, as its lead" in text
    desk.post(act="off", address="lead@acme.example", covers="team", team="search")
    assert "switched off" in desk.text()
    with tenant(desk.room.org):
        rows = mail_terms.recipients(desk.room.org)
    for row in rows:
        assert desk.post(f"/recipients/{row.pk}/remove").status_code == 302
    text = desk.text()
    assert "auditor@elsewhere.example" not in text
    assert "switched off" not in text
    with tenant(desk.room.org):
        entries = AuditEntry.objects.for_org(desk.room.org).filter(action__startswith="statement_mail.")
        assert sorted(entries.values_list("action", flat=True)) == [
            "statement_mail.recipient_added", "statement_mail.recipient_added",
            "statement_mail.recipient_removed", "statement_mail.recipient_removed",
        ]  # fmt: skip


def test_a_preview_is_the_mail_and_can_do_nothing(desk: Desk) -> None:
    desk.room.spend("search", "ads")
    desk.room.close()
    desk.room.lead("lead@acme.example", "search")
    response = desk.client.get(f"{desk.url}/preview?month={NAME}&to=lead@acme.example")
    page = response.content.decode()
    assert response.status_code == 200
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    assert "sandbox" in policy
    assert "script" not in policy
    assert f"{NAME}%3Asearch" in page
    assert f"{NAME}%3Aads" not in page
    whole = desk.client.get(f"{desk.url}/preview?month={NAME}").content.decode()
    assert f"{NAME}%3Aads" in whole


def test_a_test_goes_to_whoever_asks(desk: Desk, mail: Post) -> None:
    desk.room.spend("search")
    assert desk.post(act="test", month=NAME).status_code == 302
    desk.room.work()
    (letter,) = mail.inbox
    assert letter["To"] == desk.ann.email
    assert "test of" in desk.text()


def test_the_log_shows_a_refusal_and_sends_again_once_it_is_confirmed(desk: Desk, mail: Post) -> None:
    room = desk.room
    room.spend("search")
    desk.post(act="add", address="cfo@acme.example", covers="everything")
    room.close()
    mail.refuses_addresses = {"cfo@acme.example": "550 no such user here"}
    assert desk.post(act="send", month=NAME).status_code == 302
    room.work()
    text = desk.text()
    assert "550 no such user here" in text
    assert "bounced" in text
    found = room.mail()
    refused = desk.post(f"/{found.pk}/resend")
    assert (refused.status_code, "confirm the address" in refused.content.decode()) == (400, True)
    mail.refuses_addresses = {}
    assert desk.post(act="confirm", address="cfo@acme.example").status_code == 302
    assert desk.post(f"/{found.pk}/resend").status_code == 302
    room.work()
    assert len(mail.inbox) == 1
    assert room.mail().state == "sent"
    assert f"asked by {desk.ann}" in desk.text()


def test_an_unclear_mail_is_flagged(desk: Desk, mail: Post) -> None:
    desk.room.spend("search")
    desk.room.add("cfo@acme.example")
    desk.room.close()
    desk.post(act="send", month=NAME)
    mail.drops = True
    desk.room.work()
    assert "Nobody knows whether 1 mail arrived" in desk.text()
    assert "cfo@acme.example" in desk.text("?state=unclear")
    assert "No mail is in this state" in desk.text("?state=sent")


def test_the_log_has_pages(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.portal.views.statement_mail.ROWS", 2)
    for number in range(5):
        desk.room.add(f"reader-{number}@acme.example")
    desk.room.spend("search")
    desk.room.close()
    desk.post(act="send", month=NAME)
    seen, path = [], ""
    while True:
        text = desk.text(path)
        log = text[text.index('id="log"') :]
        seen += [f"reader-{number}" for number in range(5) if f"reader-{number}@" in log]
        if 'rel="next"' not in log:
            break
        path = "?" + log.split('rel="next" href="')[1].split('"')[0].split("?")[1].replace("&amp;", "&")
    assert sorted(seen) == [f"reader-{number}" for number in range(5)]
    assert "reader-0" in desk.text("?cursor=nonsense")


def test_who_may_not_change_sees_no_forms_and_a_lead_sees_nothing(desk: Desk) -> None:
    for role, status in ((Role.VIEWER, 200), (Role.LEAD, 403)):
        person = get_or_create_user(email=f"{unique('p')}@people.example")
        teams = ["search"] if role == Role.LEAD else []
        add_member(org=desk.room.org, user=person, role=role, actor=None, teams=teams)
        client = client_of(person)
        response = client.get(desk.url)
        assert response.status_code == status
        assert 'name="act"' not in response.content.decode()
        assert client.get(f"{desk.url}/preview").status_code == 403
        assert client.post(desk.url, TERMS).status_code == 403
