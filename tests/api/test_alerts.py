"""Channels and deliveries through the API: what is refused and how, and that no secret is shown twice."""

import json
from typing import Any

import pytest

from apps.alerts import services
from apps.alerts.models import Channel
from apps.audit.models import AuditEntry
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.teams.services import create_team
from tests.alerts.desk import Desk
from tests.alerts.receivers import Post, Receiver
from tests.alerts.rooms import ROOMS
from tests.api.tenants import make_api, make_org
from tests.world import Api, unique

MAIL = {"kind": "email", "name": "finance", "target": "cfo@example.com"}
HOOK = {"kind": "webhook", "name": "pager", "target": "https://93.184.215.14/hooks/top-secret-token"}
ROOM = {
    "kind": "chat",
    "name": "room",
    "target": "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
}


def made(api: Api, body: dict[str, Any], **fields: Any) -> dict[str, Any]:
    response = api.post("alerts/channels", {**body, **fields})
    assert response.status_code == 201, response.content
    found: dict[str, Any] = response.json()
    return found


def patch(api: Api, channel: dict[str, Any], body: Any) -> Any:
    return api.client.patch(
        f"/api/v1/alerts/channels/{channel['id']}",
        json.dumps(body),
        content_type="application/json",
        headers=api.headers,
    )


@pytest.mark.parametrize(
    ("body", "code", "param", "said"),
    [
        ({"kind": "pigeon"}, "channel_kind_unknown", "kind", "'pigeon'"),
        ({"kind": "\ud800"}, None, "kind", ""),
        ({**MAIL, "name": " "}, None, "name", ""),
        ({**MAIL, "name": "a\nb"}, "name_invalid", "name", ""),
        ({**MAIL, "name": "\ud800"}, None, "name", ""),
        ({**MAIL, "name": "a\x00b"}, None, "name", ""),
        ({**MAIL, "target": "cfo"}, "address_invalid", "target", "'cfo'"),
        ({**MAIL, "target": "cfo@example.com\r\nBcc: all@example.com"}, "address_invalid", "target", "Bcc:"),
        ({**MAIL, "target": "müller@example.com"}, "address_invalid", "target", "müller"),
        ({**MAIL, "target": "root@localhost"}, "address_invalid", "target", "root@localhost"),
        ({**MAIL, "target": "root@[10.0.0.1]"}, "address_invalid", "target", "root@["),
        ({**MAIL, "target": "root@10.0.0.1"}, "address_invalid", "target", "root@10"),
        ({**MAIL, "target": '"|sh"@example.com'}, "address_invalid", "target", "|sh"),
        ({**MAIL, "target": '"a\x01b"@example.com'}, None, "target", ""),
        ({**MAIL, "target": "root%localhost@example.com"}, "address_invalid", "target", "root%"),
        ({**MAIL, "target": ",".join(f"a{n}@example.com" for n in range(21))}, "address_invalid", "target", "21"),
        ({**MAIL, "target": ", ,"}, "address_invalid", "target", "0"),
        ({**MAIL, "target": "x" * 9000}, None, "target", ""),
        ({**MAIL, "target": {"a": 1}}, None, "target", ""),
        ({**MAIL, "team": "ghosts"}, "team_unknown", "team", "'ghosts'"),
        ({**MAIL, "team": "\ud800"}, None, "team", ""),
        ({**MAIL, "min_severity": "loud"}, "severity_unknown", "min_severity", "'loud'"),
        ({**MAIL, "digest": "weekly"}, "digest_unknown", "digest", "'weekly'"),
        ({**MAIL, "quiet_from": "22:00"}, "quiet_hours_invalid", "quiet_until", ""),
        ({**MAIL, "quiet_from": "22:00", "quiet_until": "22:00"}, "quiet_hours_invalid", "quiet_until", ""),
        ({**MAIL, "quiet_from": "25:00", "quiet_until": "07:00"}, None, "quiet_from", ""),
        ({**HOOK, "target": "https://10.0.0.1/"}, "url_refused", "target", "'10.0.0.1'"),
        ({**HOOK, "target": "https://user:pw@93.184.215.14/"}, "url_invalid", "target", "password"),
        ({**HOOK, "target": "http://93.184.215.14/"}, "url_refused", "target", "https"),
        ({**HOOK, "target": "cfo@example.com"}, "url_invalid", "target", "https://"),
        ({**HOOK, "digest": "daily"}, "channel_field_unused", "digest", "at once"),
        ({**HOOK, "quiet_from": "22:00", "quiet_until": "07:00"}, "channel_field_unused", "quiet_from", "at once"),
        ({**ROOM, "target": "json://127.0.0.1/"}, "chat_unknown", "target", "Slack"),
        ({**ROOM, "target": "file:///etc/passwd"}, "chat_unknown", "target", "Slack"),
        ({**ROOM, "target": "syslog://"}, "chat_unknown", "target", "Slack"),
        ({**ROOM, "target": "https://example.com/hook"}, "chat_unknown", "target", "Slack"),
        ({**ROOM, "target": "mailto://a:b@example.com"}, "chat_unknown", "target", "Slack"),
        ({**ROOM, "target": "slack://short"}, "url_invalid", "target", "Slack"),
        ({**ROOM, "target": "mmosts://127.0.0.1/3ccdd113474722377935511f"}, "url_refused", "target", "127.0.0.1"),
        ({**ROOM, "target": "mmost://93.184.215.14/3ccdd113474722377935511f"}, "url_refused", "target", "https"),
        ({**ROOM, "target": "rockets://[::1]/3ccdd113/474722377935511fc85d3dd4"}, None, "target", ""),
        ({**ROOM, "target": "slack://a b"}, "url_invalid", "target", "blanks"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_named_and_changes_nothing(
    org: Organization, api: Api, body: dict[str, Any], code: str | None, param: str, said: str
) -> None:
    response = api.post("alerts/channels", {**MAIL, **body})
    assert response.status_code == 400, response.content
    error = response.json()
    assert (error["code"], error["param"]) == (code or error["code"], param)
    assert said in error["detail"]
    assert api.get("alerts/channels").json()["data"] == []


def test_a_channel_is_made_changed_disabled_enabled_and_deleted(org: Organization, api: Api) -> None:
    create_team(org=org, slug="search")
    one = made(
        api, MAIL, team="search", min_severity="warning", quiet_from="22:00", quiet_until="07:00", digest="daily"
    )
    assert one["secret"] is None
    assert (one["target"], one["team"], one["quiet_from"]) == ("cfo@example.com", "search", "22:00")
    changed = patch(api, one, {"name": "money", "team": None, "quiet_from": None, "quiet_until": None}).json()
    assert (changed["name"], changed["team"], changed["quiet_from"]) == ("money", None, None)
    assert (changed["digest"], changed["min_severity"], changed["target"]) == ("daily", "warning", "cfo@example.com")
    path = f"alerts/channels/{one['id']}"
    assert api.post(f"{path}/disable", {}).json()["state"] == "disabled"
    refused = api.post(f"{path}/test", {})
    assert (refused.status_code, refused.json()["code"]) == (409, "channel_disabled")
    assert api.post(f"{path}/enable", {}).json()["disabled_reason"] is None
    refused = api.post(f"{path}/rotate", {})
    assert (refused.status_code, refused.json()["code"]) == (409, "channel_without_secret")
    assert api.client.delete(f"/api/v1/{path}", headers=api.headers).status_code == 204
    assert api.get(path).status_code == 404
    assert made(api, MAIL, name="money")["id"] != one["id"]


def test_a_name_is_taken_once_and_there_are_not_more_than_fifty(api: Api) -> None:
    for number in range(50):
        made(api, MAIL, name=f"n{number}")
    taken = patch(api, api.get("alerts/channels").json()["data"][0], {"name": "n1"})
    assert (taken.status_code, taken.json()["code"]) == (409, "name_taken")
    many = api.post("alerts/channels", {**MAIL, "name": "one more"})
    assert (many.status_code, many.json()["code"]) == (422, "too_many_channels")


def test_secrets_are_shown_once_and_stand_in_no_answer_log_or_audit_entry(org: Organization, api: Api) -> None:
    hook, room = made(api, HOOK), made(api, ROOM)
    second = api.post(f"alerts/channels/{hook['id']}/rotate", {}).json()
    assert second["secret"].startswith("whsec_")
    assert second["secret"] != hook["secret"]
    assert second["previous_secret_until"] is not None
    patch(api, hook, {"name": "other", "target": HOOK["target"] + "-2"})
    secrets = [hook["secret"], second["secret"], "top-secret-token", "TIiajkdnlazkcOXrIdevi7FQ", "A1BRTD4JD"]
    texts = [
        api.get("alerts/channels").content.decode(),
        api.get(f"alerts/channels/{hook['id']}").content.decode(),
        api.get(f"alerts/channels/{room['id']}").content.decode(),
        json.dumps({**room, **{name: hook[name] for name in hook if name != "secret"}}),
    ]
    with tenant(org):
        texts.append(repr(list(AuditEntry.objects.for_org(org).values_list("action", "subject", "data"))))
    assert [secret for secret in secrets for text in texts if secret in text] == []
    assert "channels.rotated" in texts[-1]
    assert (hook["target"], room["target"]) == ("https://93.184.215.14/…oken", "Slack …i7FQ")


def test_deleting_a_channel_wipes_what_is_secret_of_it(org: Organization, api: Api) -> None:
    hook = made(api, HOOK)
    api.post(f"alerts/channels/{hook['id']}/rotate", {})
    api.client.delete(f"/api/v1/alerts/channels/{hook['id']}", headers=api.headers)
    with tenant(org):
        (row,) = Channel.objects.for_org(org)
    assert (row.target, row.secret, row.previous_secret) == ("", "", "")


def test_a_test_arrives_and_is_in_the_log(hook: Receiver, mail: Post) -> None:
    desk = Desk()
    api = make_api(desk.org)
    one, two = made(api, HOOK, target=hook.url), made(api, MAIL)
    for channel in (one, two):
        response = api.post(f"alerts/channels/{channel['id']}/test", {})
        assert (response.status_code, response.json()["state"]) == (202, "pending")
    desk.later(seconds=1)
    body = json.loads(hook.requests[0].body)
    assert (body["type"], body["data"]["facts"]) == ("channel.test", {"channel": "pager"})
    assert "A test of channel “finance”" in mail.inbox[0]["Subject"]
    found = api.get("alerts/deliveries", channel=one["id"]).json()["data"]
    assert [(row["state"], row["tries"], row["kind"], row["log"][0]["status"]) for row in found] == [
        ("sent", 1, "test", 204)
    ]
    assert found[0]["message_id"] == hook.requests[0].headers["webhook-id"]
    assert api.get(f"alerts/deliveries/{found[0]['id']}").json() == found[0]
    again = api.post(f"alerts/deliveries/{found[0]['id']}/retry", {})
    assert (again.status_code, again.json()["code"]) == (409, "delivery_sent")


def test_only_so_many_tests_wait(api: Api) -> None:
    one = made(api, HOOK)
    answers = [api.post(f"alerts/channels/{one['id']}/test", {}) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [202] * 5 + [409]
    assert answers[-1].json()["code"] == "tests_waiting"


def test_a_failed_delivery_is_retried_by_hand_but_not_while_it_is_sent(hook: Receiver) -> None:
    desk = Desk()
    api = make_api(desk.org)
    desk.channel("webhook", hook.url)
    desk.cross()
    hook.will_answer(500)
    desk.work()
    (row,) = api.get("alerts/deliveries", state="pending").json()["data"]
    assert row["error"] == "500 Internal Server Error"
    assert api.post(f"alerts/deliveries/{row['id']}/retry", {}).status_code == 202
    services.claim(desk.org.pk, at=desk.delivery().next_attempt_at)
    busy = api.post(f"alerts/deliveries/{row['id']}/retry", {})
    assert (busy.status_code, busy.json()["code"]) == (409, "delivery_under_way")


def test_the_log_is_read_page_by_page(hook: Receiver) -> None:
    desk = Desk()
    api = make_api(desk.org)
    desk.channel("webhook", hook.url)
    for _ in range(5):
        desk.cross()
    desk.work()
    ids, cursor = [], ""
    while cursor is not None:
        page = api.get("alerts/deliveries", limit=2, **({"cursor": cursor} if cursor else {})).json()
        ids += [row["id"] for row in page["data"]]
        cursor = page["next"]
    assert len(ids) == len(set(ids)) == 5


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"state": "lost"}, "state_unknown"),
        ({"channel": "x"}, "parameter_invalid"),
        ({"channel": "9" * 19}, "parameter_invalid"),
        ({"limit": "0"}, "limit_invalid"),
        ({"cursor": "x"}, "cursor_invalid"),
        ({"team": "x"}, "parameter_unknown"),
        ({"state": "a\x00"}, "parameter_invalid"),
    ],
)
def test_a_question_that_cannot_be_meant_is_named(api: Api, query: dict[str, str], code: str) -> None:
    response = api.get("alerts/deliveries", **query)
    assert (response.status_code, response.json()["code"]) == (400, code)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "alerts/channels/{}"), ("delete", "alerts/channels/{}"), ("patch", "alerts/channels/{}"),
        ("post", "alerts/channels/{}/test"), ("post", "alerts/channels/{}/rotate"),
        ("post", "alerts/channels/{}/enable"), ("post", "alerts/channels/{}/disable"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("number", ["0", "9" * 18, "9" * 30])
def test_a_channel_that_is_not_there_is_not_found(api: Api, method: str, path: str, number: str) -> None:
    response = getattr(api.client, method)(
        f"/api/v1/{path.format(number)}",
        headers=api.headers,
        **({} if method == "get" else {"data": "{}", "content_type": "application/json"}),
    )
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_who_only_reads_changes_nothing_and_who_is_pinned_sees_nothing() -> None:
    org = make_org()
    one = made(make_api(org), MAIL)
    reader, pinned = make_api(org, "read"), make_api(org, "read", "manage", environment=unique("env"))
    assert reader.get("alerts/channels").status_code == 200
    for act in ("test", "rotate", "enable", "disable"):
        assert reader.post(f"alerts/channels/{one['id']}/{act}", {}).json()["code"] == "scope_missing"
    assert reader.post("alerts/channels", MAIL).json()["code"] == "scope_missing"
    assert patch(reader, one, {}).json()["code"] == "scope_missing"
    for path in ("alerts/channels", f"alerts/channels/{one['id']}", "alerts/deliveries"):
        assert pinned.get(path).json()["code"] == "pinned_dimension"


@pytest.mark.parametrize("service", ROOMS)
def test_urls_of_known_services_are_taken(api: Api, service: str) -> None:
    assert made(api, ROOM, target=ROOMS[service])["kind"] == "chat"
