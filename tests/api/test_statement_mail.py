"""Statements by mail through the API."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest
from django.db import connections

from apps.alerts import mail_rounds, mail_terms
from apps.core.tenancy import tenant
from tests.alerts.mailing import MailRoom
from tests.alerts.receivers import Post
from tests.api.tenants import make_api
from tests.reports.months import MONTH, NAME
from tests.world import Api


@pytest.fixture
def room() -> MailRoom:
    return MailRoom()


@pytest.fixture
def api(room: MailRoom) -> Api:
    return room.api


OFF = {
    "monthly": False, "hours_after": 0, "weekly": False, "weekly_day": 0, "weekly_hour": 8, "preview": False,
    "preview_days": 3,
}  # fmt: skip


def statuses_at_once(asks: Callable[[], list[int]]) -> set[int]:
    def one(_: int) -> list[int]:
        try:
            return asks()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        return {status for found in pool.map(one, range(6)) for status in found}


def test_settings_are_off_until_they_are_put(api: Api) -> None:
    assert api.get("statements/mail").json() == OFF
    said = {**OFF, "monthly": True, "hours_after": 24}
    assert api.call("put", "statements/mail", said).json() == said
    assert api.get("statements/mail").json() == said
    assert api.call("put", "statements/mail", {}).json() == OFF


def test_settings_may_be_put_for_the_first_time_by_several_at_once(api: Api) -> None:
    assert statuses_at_once(lambda: [api.call("put", "statements/mail", {"monthly": True}).status_code]) == {200}


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"hours_after": 241}, "hours_after_invalid"),
        ({"weekly_day": 7}, "weekly_day_invalid"),
        ({"weekly_hour": -1}, "weekly_hour_invalid"),
        ({"preview_days": 11}, "preview_days_invalid"),
        ({"hours": 1}, "field_unknown"),
        ({"hours_after": "soon"}, "invalid"),
    ],
)
def test_settings_that_cannot_be_are_refused(api: Api, said: dict[str, Any], code: str) -> None:
    response = api.call("put", "statements/mail", said)
    assert (response.status_code, response.json()["code"]) == (400, code)


def test_recipients_are_listed_added_and_taken_away(room: MailRoom, api: Api) -> None:
    room.lead("lead@acme.example", "search")
    added = api.post("statements/recipients", {"address": "CFO@x.example", "covers": "everything"})
    assert added.status_code == 201
    assert {**added.json(), "id": 0} == {
        "id": 0, "address": "cfo@x.example", "covers": "everything", "team": None, "is_off": False,
        "is_member": False, "bounce": None,
    }  # fmt: skip
    again = api.post("statements/recipients", {"address": "cfo@x.example", "covers": "everything"})
    assert again.json()["id"] == added.json()["id"]
    off = {"address": "lead@acme.example", "covers": "team", "team": "search", "is_off": True}
    listed = api.get("statements/recipients").json()["data"]
    assert [(one["address"], one["id"] is None) for one in listed] == [
        ("cfo@x.example", False), ("lead@acme.example", True),
    ]  # fmt: skip
    row = api.post("statements/recipients", off).json()
    assert [one["is_off"] for one in api.get("statements/recipients").json()["data"]] == [False, True]
    for one in (row, added.json()):
        assert api.call("delete", f"statements/recipients/{one['id']}").status_code == 204
        assert api.call("delete", f"statements/recipients/{one['id']}").status_code == 404
    assert [one["address"] for one in api.get("statements/recipients").json()["data"]] == ["lead@acme.example"]


def test_recipients_are_added_and_listed_by_several_at_once(api: Api) -> None:
    numbers = count()

    def ask() -> list[int]:
        found = []
        for _ in range(5):
            said = {"address": f"reader-{next(numbers)}@x.example", "covers": "everything"}
            found += [api.post("statements/recipients", said).status_code, api.get("statements/recipients").status_code]
        return found

    assert statuses_at_once(ask) == {200, 201}
    assert len(api.get("statements/recipients").json()["data"]) == 30


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        ({"address": "x", "covers": "everything"}, 400, "address_invalid"),
        ({"address": "x@y.example", "covers": "all"}, 400, "covers_unknown"),
        ({"address": "x@y.example", "covers": "team", "team": "no"}, 400, "team_unknown"),
        ({"address": "x@y.example", "covers": "unattributed", "team": "search"}, 400, "team_unused"),
        ({"address": "x@y.example", "covers": "team", "team": "search", "is_off": True}, 400, "not_a_lead"),
        ({"covers": "everything"}, 400, "invalid"),
    ],
)
def test_a_recipient_that_cannot_be_is_refused(api: Api, said: dict[str, Any], status: int, code: str) -> None:
    response = api.post("statements/recipients", said)
    assert (response.status_code, response.json()["code"]) == (status, code)


def test_an_address_that_bounced_is_confirmed(room: MailRoom, api: Api) -> None:
    room.add("cfo@x.example")
    assert api.post("statements/recipients/confirm", {"address": "cfo@x.example"}).status_code == 404
    with tenant(room.org):
        mail_terms.note_bounce(room.org, "cfo@x.example", "550 no")
    assert api.get("statements/recipients").json()["data"][0]["bounce"] == "550 no"
    assert api.post("statements/recipients/confirm", {"address": "CFO@x.example"}).status_code == 204
    assert api.get("statements/recipients").json()["data"][0]["bounce"] is None


def test_mails_are_listed_by_page_and_sent_again(room: MailRoom, api: Api, mail: Post) -> None:
    for number in range(3):
        room.add(f"reader-{number}@x.example")
    room.spend("search")
    room.close()
    mail_rounds.send_month(org=room.org, month=MONTH, actor=None)
    room.work()
    seen, cursor = [], ""
    while True:
        page = api.get("statements/mails", limit=2, month=NAME, **({"cursor": cursor} if cursor else {})).json()
        seen += page["data"]
        cursor = page["next"]
        if cursor is None:
            break
    assert len(seen) == len({one["id"] for one in seen}) == 3
    assert {one["state"] for one in seen} == {"sent"}
    assert seen[0]["log"][0]["status"] == 250
    again = api.post(f"statements/mails/{seen[0]['id']}/resend", {})
    assert (again.status_code, again.json()["state"]) == (202, "queued")
    busy = api.post(f"statements/mails/{seen[0]['id']}/resend", {})
    assert (busy.status_code, busy.json()["code"]) == (409, "mail_under_way")
    room.work()
    assert len(mail.inbox) == 4
    assert api.get("statements/mails", state="sent").json()["data"][0]["attempts"] >= 1
    assert api.post("statements/mails/999999999/resend", {}).status_code == 404


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"state": "lost"}, "state_unknown"),
        ({"month": "x"}, "month_invalid"),
        ({"limit": 0}, "limit_invalid"),
        ({"limit": 201}, "limit_invalid"),
        ({"cursor": "x"}, "cursor_invalid"),
        ({"colour": "red"}, "parameter_unknown"),
    ],
)
def test_questions_that_cannot_be_are_refused(api: Api, query: dict[str, Any], code: str) -> None:
    response = api.get("statements/mails", **query)
    assert (response.status_code, response.json()["code"]) == (400, code)


def test_a_key_of_a_team_or_without_the_scope_is_refused(room: MailRoom) -> None:
    reader = make_api(room.org, "read")
    assert reader.get("statements/mail").status_code == 200
    assert reader.call("put", "statements/mail", {}).json()["code"] == "scope_missing"
    assert reader.post("statements/recipients", {}).json()["code"] == "scope_missing"
