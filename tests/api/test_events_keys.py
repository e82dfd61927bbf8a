"""Who may send and read events: every way to be refused, and what a key's pins make of an event."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from apps.api.throttling import require_rate
from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.organizations import keys
from apps.organizations.models import ApiKey, Organization
from apps.organizations.selectors import principal_for
from apps.organizations.services import issue_key, revoke_key
from apps.teams.services import create_project, create_team, map_name
from tests.api.processes import another_process
from tests.api.tenants import make_api, make_org
from tests.world import Api, World, make_event

NOW = datetime(2026, 5, 20, 12, 30, 15, tzinfo=UTC)


def call(api: Api, method: str, **headers: str) -> Any:
    if method == "GET":
        return api.client.get("/api/v1/events", headers={**api.headers, **headers})
    return api.post("events", [make_event()], **headers)


# --- Refused ---------------------------------------------------------------------------------------------

WELL_FORMED = keys.new_secret()
MISTYPED = WELL_FORMED[:-1] + ("a" if WELL_FORMED[-1] != "a" else "b")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("header", "code"),
    [
        pytest.param(None, "key_missing", id="no_header"),
        pytest.param("", "key_missing", id="empty_header"),
        pytest.param("Bearer", "key_missing", id="scheme_alone"),
        pytest.param("Bearer   ", "key_missing", id="spaces"),
        pytest.param("Basic dXNlcjpwYXNz", "key_missing", id="another_scheme"),
        pytest.param(WELL_FORMED, "key_missing", id="no_scheme"),
        pytest.param("Bearer nonsense", "key_invalid", id="nonsense"),
        pytest.param("Bearer aif_live_", "key_invalid", id="prefix_alone"),
        pytest.param(f"Bearer {MISTYPED}", "key_invalid", id="mistyped"),
        pytest.param(f"Bearer {WELL_FORMED} {WELL_FORMED}", "key_invalid", id="two_keys"),
        pytest.param(f"Bearer {WELL_FORMED}é", "key_invalid", id="not_ascii"),
        pytest.param(f"Bearer {'a' * 5000}", "key_invalid", id="long"),
        pytest.param(f"Bearer {WELL_FORMED}", "key_invalid", id="unknown"),
    ],
)
def test_it_refuses_who_sends_no_known_key(api: Api, method: str, header: str | None, code: str) -> None:
    headers = {} if header is None else {"Authorization": header}
    response = api.client.generic(method, "/api/v1/events", b"[]", headers=headers)
    assert (response.status_code, response.json()["code"]) == (401, code)
    assert response["WWW-Authenticate"].startswith("Bearer")


def test_a_mistyped_key_costs_no_query(api: Api, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(0):
        response = call(Api(MISTYPED), "POST")
    assert response.status_code == 401


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_may_be_spelled_in_any_case(api: Api, scheme: str) -> None:
    response = api.client.get("/api/v1/events", headers={"Authorization": f"{scheme} {api.secret}"})
    assert response.status_code == 200


def test_every_problem_has_the_same_shape_and_names_its_request(api: Api) -> None:
    response = call(Api("nonsense"), "POST", **{"X-Request-Id": "trace.of-the_client-1"})
    assert response["Content-Type"] == "application/problem+json"
    assert response["X-Request-Id"] == "trace.of-the_client-1"
    problem = response.json()
    assert problem == {
        "type": "about:blank",
        "title": "Unauthorized",
        "status": 401,
        "code": "key_invalid",
        "detail": problem["detail"],
        "instance": "/api/v1/events",
        "request_id": "trace.of-the_client-1",
    }
    assert call(Api("nonsense"), "GET").json().keys() == problem.keys()


@pytest.mark.parametrize("given", [None, "short", "a" * 65, "with space", "<script>alert(1)</script>"])
def test_a_request_without_a_usable_id_gets_one(api: Api, given: str | None) -> None:
    headers = {} if given is None else {"X-Request-Id": given}
    first, second = (call(api, method, **headers)["X-Request-Id"] for method in ("GET", "POST"))
    assert len(first) == len(second) == 32
    assert first != second


def test_a_revoked_key_is_refused_by_the_next_request_in_every_process(org: Organization) -> None:
    issued = issue_key(org=org, name="leaked", scopes=["ingest", "read"])
    api = Api(issued.secret)
    with another_process() as site:
        assert site.post("events", api.secret, [make_event()]).status == 202
        assert call(api, "POST").status_code == 202
        revoke_key(org=org, key_id=issued.key.pk, actor=None)
        answer = site.post("events", api.secret, [make_event()])
        assert (answer.status, answer.body["code"]) == (401, "key_revoked")
    for method in ("GET", "POST"):
        assert (call(api, method).status_code, call(api, method).json()["code"]) == (401, "key_revoked")
    assert make_api(org).get("spend").json()["total"]["events"] == 2


def test_a_key_expires_at_its_instant(org: Organization) -> None:
    with time_machine.travel(NOW - timedelta(days=1), tick=False):
        api = make_api(org, expires_at=NOW)
    with time_machine.travel(NOW - timedelta(microseconds=1), tick=False):
        assert call(api, "POST").status_code == 202
    with time_machine.travel(NOW, tick=False):
        response = call(api, "POST")
    assert (response.status_code, response.json()["code"]) == (401, "key_expired")
    assert NOW.isoformat() in response.json()["detail"]


@pytest.mark.parametrize(
    ("scopes", "may_send", "may_read"),
    [
        (("ingest",), True, False),
        (("read",), False, True),
        (("ingest", "read"), True, True),
        (("decide", "manage", "backfill"), False, False),
    ],
)
def test_a_key_may_do_what_its_scopes_say(
    org: Organization, scopes: tuple[str, ...], may_send: bool, may_read: bool
) -> None:
    api = make_api(org, *scopes)
    for method, may, status in (("POST", may_send, 202), ("GET", may_read, 200)):
        response = call(api, method)
        if may:
            assert response.status_code == status
        else:
            assert (response.status_code, response.json()["code"]) == (403, "scope_missing")


def test_a_suspended_organization_is_refused(org: Organization, api: Api) -> None:
    Organization.objects.filter(pk=org.pk).update(state=Organization.State.SUSPENDED)
    for method in ("GET", "POST"):
        response = call(api, method)
        assert (response.status_code, response.json()["code"]) == (403, "organization_suspended")
    Organization.objects.filter(pk=org.pk).update(state=Organization.State.ACTIVE)
    assert call(api, "POST").status_code == 202


def test_a_key_sees_its_own_organization_alone(api: Api) -> None:
    api.send(make_event(event_id="theirs"))
    stranger = make_api(make_org())
    assert stranger.get("events", event_id="theirs").json()["data"] == []
    assert stranger.send(make_event(event_id="theirs", team="other"))["accepted"] == 1


def test_every_answer_is_private_and_runs_nothing(api: Api) -> None:
    answers = [api.get("spend"), api.get("nothing"), api.post("events", [make_event()]), api.post("decisions", {})]
    answers += [Client().get("/api/v1/spend"), Client().post("/api/v1/events"), Client().get("/api/v1/schema")]
    for response in answers:
        assert response["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert response["X-Content-Type-Options"] == "nosniff"
        assert response["X-Frame-Options"] == "DENY"
        assert response["Cache-Control"] == "no-store"
        assert response["X-Request-Id"]
        assert int(response["Content-Length"]) == len(response.content)
        assert not response.cookies


def test_a_session_opens_nothing_of_the_api(world: World) -> None:
    browser = Client()
    browser.force_login(world.alice)
    assert browser.get("/api/v1/spend").status_code == 401
    assert "script-src" in browser.get("/api/v1/docs")["Content-Security-Policy"]


# --- Limited, noted --------------------------------------------------------------------------------------


def test_it_limits_a_keys_requests_in_a_minute(org: Organization, api: Api, settings: Settings) -> None:
    settings.API_REQUESTS_PER_MINUTE = 3
    other = make_api(org)
    with time_machine.travel(NOW, tick=False):
        assert [call(api, method).status_code for method in ("GET", "POST", "GET")] == [200, 202, 200]
        for method in ("GET", "POST"):
            response = call(api, method)
            assert (response.status_code, response.json()["code"]) == (429, "rate_limited")
            assert response["Retry-After"] == "45"
        assert call(other, "POST").status_code == 202
    with time_machine.travel(NOW + timedelta(seconds=45), tick=False):
        assert call(api, "POST").status_code == 202


def test_the_limit_is_exact_though_a_process_counts_by_shares(api: Api, settings: Settings) -> None:
    settings.API_REQUESTS_PER_MINUTE = 1007
    key_id = principal_for(api.secret, at=NOW).key_id

    def send_200() -> int:
        passed = 0
        for _ in range(200):
            with suppress(DomainError):
                require_rate(key_id)
                passed += 1
        return passed

    with time_machine.travel(NOW, tick=False), ThreadPoolExecutor(8) as pool:
        senders = [pool.submit(send_200) for _ in range(8)]
        assert sum(sender.result() for sender in senders) == 1007


def test_nobody_is_refused_while_redis_is_away(api: Api) -> None:
    with another_process(REDIS_URL="unix:///nowhere/redis.sock", API_REQUESTS_PER_MINUTE="1") as site:
        for _ in range(3):
            assert site.post("events", api.secret, [make_event()]).status == 202
    assert api.get("spend").json()["total"]["events"] == 3


def test_it_notes_when_a_key_was_last_used(org: Organization) -> None:
    issued = issue_key(org=org, name="noted", scopes=["ingest"])

    def last_used_after_a_call(at: datetime) -> datetime | None:
        with time_machine.travel(at, tick=False):
            call(Api(issued.secret), "POST")
        with tenant(org):
            return ApiKey.objects.for_org(org).get(pk=issued.key.pk).last_used_at

    assert last_used_after_a_call(NOW) == NOW
    assert last_used_after_a_call(NOW + timedelta(seconds=59)) == NOW
    assert last_used_after_a_call(NOW + timedelta(hours=1)) == NOW + timedelta(hours=1)


# --- Pinned ----------------------------------------------------------------------------------------------

PINS = [("team", "search"), ("project", "rag"), ("environment", "production")]


@pytest.mark.parametrize(("dimension", "pin"), PINS)
def test_a_pin_is_filled_in_and_cannot_be_overridden(org: Organization, api: Api, dimension: str, pin: str) -> None:
    answer = make_api(org, **{dimension: pin}).send(
        make_event(event_id="silent"),
        make_event(event_id="agrees", **{dimension: pin}),
        make_event(event_id="claims", **{dimension: "another"}),
        make_event(event_id="in_capitals", **{dimension: pin.upper()}),
    )
    assert (answer["accepted"], answer["rejected"]) == (2, 2)
    for one in answer["results"]:
        assert (one["code"], one["param"]) == ("pinned_dimension", dimension)
        assert pin in one["detail"]
    name = dimension if dimension == "environment" else f"{dimension}_name"
    found = api.get("events", **{name: pin}).json()["data"]
    assert {event["event_id"] for event in found} == {"silent", "agrees"}


def test_a_pinned_project_decides_the_team(org: Organization) -> None:
    search = create_team(org=org, slug="search")
    create_project(org=org, slug="rag", team=search)
    make_api(org, project="rag").send(make_event(event_id="one"))
    found = make_api(org).get("events").json()["data"][0]
    assert found["attributed"] == {"team": "search", "project": "rag", "workflow": None}


def test_a_name_that_means_the_pinned_team_claims_no_other(org: Organization) -> None:
    create_team(org=org, slug="search")
    create_team(org=org, slug="ads")
    for name, slug in (("srch", "search"), ("adz", "ads")):
        map_name(org=org, kind="team", name=name, slug=slug, actor=None)
    answer = make_api(org, team="search").send(
        make_event(event_id="means_it", team="srch"), make_event(event_id="means_another", team="adz")
    )
    assert [(one["event_id"], one["code"]) for one in answer["results"]] == [("means_another", "pinned_dimension")]


def test_a_rejection_for_its_pin_leaves_the_id_to_other_keys(org: Organization, api: Api) -> None:
    event = make_event(event_id="ours", team="ads")
    assert make_api(org, team="search").send(event)["rejected"] == 1
    assert api.send(event)["accepted"] == 1
