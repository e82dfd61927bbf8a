"""Channels and deliveries on the pages: adding, changing, testing, rotating, and who may."""

import re

import pytest

from apps.alerts.channels import secret_of
from apps.alerts.models import Channel
from apps.core.encryption import decrypt
from apps.core.tenancy import tenant
from apps.ingest.demo.budgets import furnish_channel
from apps.organizations.permissions import Role
from apps.organizations.services import add_member
from apps.teams.services import create_team
from tests.alerts.desk import Desk
from tests.portal.conftest import HOSTILE_NAME, client_of, make_person, make_shop
from tests.portal.reading import get, text_of

MAIL = {"kind": "email", "name": "Finance", "target": "cfo@example.com", "min_severity": "warning", "digest": "none"}
HOOK = {"kind": "webhook", "name": "Pager", "target": "https://93.184.215.14/hooks/top-secret-token"}


@pytest.fixture
def shop():
    return make_shop("Asia/Kolkata")


def member(shop, role):
    person = make_person(role)
    add_member(org=shop.org, user=person, role=role, actor=None)
    return client_of(person)


@pytest.fixture
def finance(shop):
    return member(shop, Role.FINANCE)


def text(response):
    return response.content.decode()


def stored(shop):
    with tenant(shop.org):
        return list(Channel.objects.for_org(shop.org).filter(deleted_at=None))


def test_a_mail_channel_is_added_changed_and_deleted(shop, finance):
    create_team(org=shop.org, slug="search")
    assert "Nobody is told yet" in text(finance.get(shop.url("alerts")))
    made = finance.post(shop.url("alerts/channels/new"), {**MAIL, "team": "search", "quiet_from": "22:00",
                                                          "quiet_until": "07:00:00"})  # fmt: skip
    assert (made.status_code, made["Location"]) == (302, shop.url("alerts"))
    page = text(finance.get(shop.url("alerts")))
    assert "warnings and what is critical, team search" in page
    assert "quiet from 22:00 to 07:00" in page
    (channel,) = stored(shop)
    url = shop.url(f"alerts/channels/{channel.pk}")
    form = text(finance.get(url))
    assert 'value="cfo@example.com"' in form
    assert 'value="22:00"' in form
    assert "Asia/Kolkata" in form
    changed = finance.post(url, {**MAIL, "name": "Money", "target": "", "digest": "daily"})
    assert changed.status_code == 302
    (channel,) = stored(shop)
    assert (channel.name, decrypt(channel.target), channel.digest, channel.quiet_from, channel.team) == (
        "Money",
        "cfo@example.com",
        "daily",
        None,
        None,
    )
    assert finance.post(f"{url}/delete").status_code == 302
    assert stored(shop) == []
    assert finance.get(url).status_code == 404


def test_a_webhooks_secret_is_shown_once_when_made_and_once_when_rotated(shop, finance):
    made = text(finance.post(shop.url("alerts/channels/new"), HOOK))
    (first,) = re.findall(r"whsec_[\w+/]+=*", made)
    (channel,) = stored(shop)
    assert secret_of(channel) == first
    url = shop.url(f"alerts/channels/{channel.pk}")
    rotated = text(finance.post(f"{url}/rotate"))
    (second,) = re.findall(r"whsec_[\w+/]+=*", rotated)
    assert second != first
    pages = "".join(text(finance.get(page)) for page in (shop.url("alerts"), url, shop.url("alerts/deliveries")))
    assert not re.search(r"whsec_|top-secret", pages)
    assert "https://93.184.215.14/…oken" in pages
    assert "the one before sign until" in pages
    # A changed name keeps the URL, which the form cannot show.
    assert finance.post(url, {"name": "Pager two", "target": ""}).status_code == 302
    assert decrypt(stored(shop)[0].target) == HOOK["target"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kind": "pigeon"}, "&#x27;pigeon&#x27;"),
        ({"target": "cfo"}, "&#x27;cfo&#x27; is no mail address"),
        ({"name": ""}, "1 to 100 characters"),
        ({"team": "ghosts"}, "no team &#x27;ghosts&#x27;"),
        ({"quiet_from": "soon", "quiet_until": "07:00"}, "&#x27;soon&#x27; is no time"),
        ({"quiet_from": "22:00"}, "two different times"),
        ({"name": "a\x00b"}, "1 to 100 characters"),
        ({"kind": "webhook", "target": "https://169.254.169.254/latest"}, "may not be reached"),
        ({"kind": "chat", "target": "file:///etc/passwd"}, "no URL of a chat service"),
        ({"digest": HOSTILE_NAME}, "use none, hourly or daily"),
    ],
)
def test_a_wrong_channel_is_said_kept_and_not_stored(shop, finance, wrong, said):
    response = finance.post(shop.url("alerts/channels/new"), {**MAIL, "name": "as typed", **wrong})
    assert response.status_code == 400
    assert said in text(response)
    assert ("as typed" in text(response)) == ("name" not in wrong)
    assert stored(shop) == []


def test_a_test_is_sent_and_a_failure_is_shown_and_tried_again(shop, finance, hook):
    desk = Desk(shop.org)
    channel = desk.channel("webhook", hook.url)
    hook.will_answer(500, b"<b>out of order</b>")
    sent = finance.post(shop.url(f"alerts/channels/{channel.pk}/test"))
    assert sent["Location"] == shop.url(f"alerts/deliveries?channel={channel.pk}")
    assert "pending" in text(finance.get(sent["Location"]))
    desk.later(seconds=1)
    page = text(finance.get(shop.url("alerts/deliveries?state=pending")))
    assert "500 Internal Server Error" in page
    assert "&lt;b&gt;out of order&lt;/b&gt;" in page
    assert finance.post(shop.url(f"alerts/deliveries/{desk.delivery().delivery_id}/retry")).status_code == 302
    desk.later(seconds=5)
    assert "accepted with 204" in text(finance.get(shop.url("alerts/deliveries?state=sent")))
    again = finance.post(shop.url(f"alerts/deliveries/{desk.delivery().delivery_id}/retry"))
    assert (again.status_code, "nothing to try again" in text(again)) == (400, True)


def test_a_channel_that_answered_410_says_so_and_is_enabled_again(shop, finance, hook):
    desk = Desk(shop.org)
    channel = desk.channel("webhook", hook.url)
    desk.cross()
    hook.will_answer(410)
    desk.work()
    url = shop.url(f"alerts/channels/{channel.pk}")
    assert "410 Gone" in text(finance.get(shop.url("alerts")))
    assert "Nothing is sent" in text(finance.get(url))
    assert finance.post(f"{url}/enable").status_code == 302
    assert "410 Gone" not in text(finance.get(shop.url("alerts")))


def test_the_log_goes_on_page_by_page_and_names_are_only_text(shop, finance, hook):
    desk = Desk(shop.org)
    desk.channel("webhook", hook.url)
    for number in range(51):
        desk.cross(budget=f"{HOSTILE_NAME} {number}")
    desk.work()
    first = get(finance, shop.url("alerts/deliveries"))
    assert len(list(first.rows())) == 50
    assert "<script>alert" not in text(finance.get(shop.url("alerts/deliveries")))
    (older,) = re.findall(r'rel="next" href="([^"]+)"', text(finance.get(shop.url("alerts/deliveries"))))
    assert len(list(get(finance, older.replace("&amp;", "&")).rows())) == 1


@pytest.mark.parametrize("role", [Role.VIEWER, Role.ENGINEER])
def test_who_may_not_change_channels_sees_them_and_no_button(shop, finance, role):
    finance.post(shop.url("alerts/channels/new"), MAIL)
    (channel,) = stored(shop)
    visitor = member(shop, role)
    url = shop.url(f"alerts/channels/{channel.pk}")
    pages = "".join(text(visitor.get(page)) for page in (shop.url("alerts"), url, shop.url("alerts/deliveries")))
    assert "Finance" in pages
    assert not re.search(r"Send a test|>Save<|>Add<|Rotate|Delete", pages)
    assert visitor.get(shop.url("alerts/channels/new")).status_code == 403
    for path in (url, f"{url}/test", f"{url}/delete", shop.url("alerts/channels/new")):
        assert visitor.post(path, MAIL).status_code == 403, path
    assert len(stored(shop)) == 1


def test_an_act_that_is_none_is_not_found(shop, finance):
    finance.post(shop.url("alerts/channels/new"), MAIL)
    (channel,) = stored(shop)
    assert finance.post(shop.url(f"alerts/channels/{channel.pk}/explode")).status_code == 404
    assert finance.post(shop.url(f"alerts/channels/{'9' * 30}/test")).status_code == 404


def test_the_channel_of_the_demo_is_told_of_what_comes_and_not_of_the_past(shop, finance, mail):
    desk = Desk(shop.org)
    desk.cross(severity="critical", budget="Long ago")
    furnish_channel(shop.org, "tests")
    furnish_channel(shop.org, "tests")
    desk.later(seconds=1)
    desk.cross(severity="critical", budget="Growth cap")
    desk.cross(budget="All of it")
    desk.work()
    rows = {text_of(cells[0]): text_of(cells[3]) for cells in get(finance, shop.url("alerts/deliveries")).rows()}
    assert sorted(rows.values()) == ["held", "sent"]
    assert {"Long ago" in title for title in rows} == {False}
    assert ["Growth cap" in letter["Subject"] for letter in mail.inbox] == [True]
    assert "finance@example.com" in get(finance, shop.url("alerts")).text
