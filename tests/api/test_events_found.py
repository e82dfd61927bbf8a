"""GET /api/v1/events: every filter, pages that hold each event once, and parameters that cannot be read."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.core.cursors import cursor_of
from apps.organizations.models import Organization
from apps.organizations.services import issue_key
from apps.teams.services import create_project, create_team, create_workflow
from apps.usage.selectors import known_filters
from tests.api.tenants import make_api
from tests.world import Api, make_event, unique

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
STRANGE = 'Zoë & Söhne/50% + "quotes" \' \\ %00 _ ünï'


def found(api: Api, **query: Any) -> list[str]:
    """Ids of the events that a query finds, in order."""
    with time_machine.travel(NOW, tick=False):
        response = api.get("events", **query)
    assert response.status_code == 200, response.json()
    return [event["event_id"] for event in response.json()["data"]]


def send(api: Api, *events: dict[str, Any]) -> None:
    with time_machine.travel(NOW, tick=False):
        assert api.send(*events)["accepted"] == len(events)


def event(event_id: str, at: datetime = NOW - timedelta(hours=1), **fields: Any) -> dict[str, Any]:
    return make_event(event_id=event_id, occurred_at=at.isoformat(), **fields)


# --- Filters -----------------------------------------------------------------------------------------------

TEXTS = (
    "run_id", "parent_run_id", "user", "task_type", "model", "environment", "operation", "region", "workflow_version",
    "tool_name", "error_type", "stop_reason", "prompt_version", "escalated_from", "model_served", "request_id",
)  # fmt: skip
CHOICES = {"service_tier": ("batch", "flex"), "status": ("error", "cancelled"), "outcome": ("failure", "success")}
FILTERS = [
    *((name, STRANGE, "another") for name in TEXTS),
    *((name, *values) for name, values in CHOICES.items()),
    ("provider", "mistral", "cohere"),
]


@pytest.mark.parametrize(("name", "value", "another"), FILTERS, ids=[name for name, *_ in FILTERS])
def test_it_finds_events_by_a_field(api: Api, name: str, value: str, another: str) -> None:
    send(api, event("this", **{name: value}), event("other", **{name: another}), event("silent"))
    assert found(api, **{name: value}) == ["this"]
    assert found(api, **{name: another}) == ["other"]
    assert found(api, **{name: "never said"}) == []
    left = set(found(api, **{f"not.{name}": value}))
    assert left == {"other", "silent"}
    assert set(found(api, **{f"not.{name}": [value, another]})) == {"silent"}
    if name not in ("model", "provider", "status"):
        assert found(api, **{name: ""}) == ["silent"]
        assert set(found(api, **{f"not.{name}": ""})) == {"this", "other"}


@pytest.mark.parametrize("kind", ["team", "project", "workflow"])
def test_it_finds_events_by_whose_they_are_and_by_the_name_they_said(org: Organization, api: Api, kind: str) -> None:
    create_team(org=org, slug="known")
    create_workflow(org=org, slug="known", project=create_project(org=org, slug="known"))
    send(api, event("this", **{kind: "known"}), event("other", **{kind: "unknown"}))
    assert found(api, **{kind: "known"}) == ["this"]
    assert found(api, **{kind: ""}) == ["other"]
    assert found(api, **{kind: "unknown"}) == []
    assert found(api, **{f"not.{kind}": "known"}) == ["other"]
    assert found(api, **{f"not.{kind}": ""}) == ["this"]
    assert len(found(api, **{f"not.{kind}": "unknown"})) == 2
    assert found(api, **{f"{kind}_name": "known"}) == ["this"]
    assert found(api, **{f"{kind}_name": "unknown"}) == ["other"]


def test_it_finds_events_by_tag(api: Api) -> None:
    send(
        api, event("both", tags={"k": "v", "plan": STRANGE}), event("one", tags={"k": "w"}), event("none"),
    )  # fmt: skip
    assert found(api, **{"tags.k": "v"}) == ["both"]
    assert found(api, **{"tags.plan": STRANGE}) == ["both"]
    assert found(api, **{"tags.k": "w", "tags.plan": STRANGE}) == []
    assert found(api, **{"tags.K": "v"}) == []
    assert found(api, **{"tags.k": ""}) == ["none"]
    assert set(found(api, **{"not.tags.k": "v"})) == {"one", "none"}
    assert set(found(api, **{"not.tags.k": ""})) == {"one", "both"}


def test_it_finds_events_by_key_price_and_several_filters_at_once(org: Organization, api: Api) -> None:
    issued = issue_key(org=org, name="other", scopes=["ingest"])
    send(api, event("ours", team="a", user="u"), event("unpriced", model="unknown", team="a"))
    send(Api(issued.secret), event("theirs", team="a", user="u"))
    assert found(api, api_key=issued.key.pk) == ["theirs"]
    assert found(api, api_key="9" * 18) == []
    assert found(api, priced="false") == ["unpriced"]
    assert set(found(api, priced="true")) == {"ours", "theirs"}
    assert found(api, **{"not.priced": "true"}) == ["unpriced"]
    assert set(found(api, **{"not.api_key": issued.key.pk})) == {"ours", "unpriced"}
    assert found(api, user="u", team_name="a", api_key=issued.key.pk) == ["theirs"]


def test_every_filter_is_tried() -> None:
    tried = {name for name, *_ in FILTERS} | {"event_id", "api_key", "priced"}
    tried |= {f"{kind}{end}" for kind in ("team", "project", "workflow") for end in ("", "_name")}
    assert tried == set(known_filters())


def test_it_finds_an_event_by_its_id_and_a_run_by_its_own_at_any_time(org: Organization, api: Api) -> None:
    long_ago = NOW - timedelta(days=400)
    send(api, event("old", long_ago, run_id="r"), event("new", run_id="r"), event("ahead", NOW + timedelta(minutes=4)))
    assert found(api) == ["new"]
    assert found(api, event_id="old") == ["old"]
    assert found(api, event_id="ahead") == ["ahead"]
    assert found(api, event_id="never") == []
    assert found(api, event_id="old", user="somebody") == []
    assert found(api, run_id="r") == ["new", "old"]
    assert found(api, run_id="r", **{"from": "2026-01-01T00:00:00Z"}) == ["new"]


def test_from_is_included_and_to_is_not(api: Api) -> None:
    hour = timedelta(hours=1)
    instants = {"a": NOW - 3 * hour, "b": NOW - 2 * hour, "c": NOW - hour}
    send(api, *(event(name, at) for name, at in instants.items()))
    for start, end, expected in (
        ("a", "c", ["b", "a"]),
        ("b", "c", ["b"]),
    ):
        query = {"from": instants[start].isoformat(), "to": instants[end].isoformat()}
        assert found(api, **query) == expected
    assert found(api, **{"from": "2026-05-20T12:00:00+02:00"}) == ["c", "b"]
    for start, end in (("b", "b"), ("c", "a")):
        refused = api.get("events", **{"from": instants[start].isoformat(), "to": instants[end].isoformat()})
        assert (refused.status_code, refused.json()["code"]) == (400, "range_empty")
    assert found(api, to=(NOW - hour + timedelta(microseconds=1)).isoformat()) == ["c", "b", "a"]


def test_an_event_is_shown_as_it_was_sent(api: Api) -> None:
    sent = event(
        "all", operation="chat", service_tier="standard", region="eu", team="t", project="p", workflow="w",
        workflow_version="7", task_type="coding", user="u", environment="prod", tags={"a": "b"}, run_id="r",
        parent_run_id="pr", step=0, attempt=2, escalated_from="haiku", tool_name="grep", status="error",
        error_type="timeout", outcome="failure", latency_ms=12, prefix_hash="ph", request_hash="rh",
        reservation_id="res", model_served="claude-sonnet-4-5-20250929", stop_reason="end_turn", tool_call_hash="tc",
        prompt_version="pv", retrieved_tokens=5, tool_result_tokens=6, request_id="rq",
    )  # fmt: skip
    send(api, sent)
    with time_machine.travel(NOW, tick=False):
        shown = api.get("events").json()["data"][0]
    usage = sent.pop("usage")
    assert shown["meters"] == usage
    assert datetime.fromisoformat(shown["occurred_at"]) == datetime.fromisoformat(sent.pop("occurred_at"))
    assert {name: shown.get(name) for name in sent} == sent


# --- Pages -------------------------------------------------------------------------------------------------


def walk(api: Api, **query: Any) -> list[str]:
    """Every page's events, from `next` to `next`."""
    ids: list[str] = []
    page: dict[str, Any] = {"next": None}
    while True:
        cursor = {"cursor": page["next"]} if page["next"] else {}
        with time_machine.travel(NOW, tick=False):
            page = api.get("events", **query, **cursor).json()
        assert len(page["data"]) <= query["limit"]
        ids += [one["event_id"] for one in page["data"]]
        assert len(set(ids)) == len(ids)
        if page["next"] is None:
            return ids
        assert len(page["data"]) == query["limit"]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    minutes=st.lists(st.integers(0, 150), min_size=1, max_size=12),
    limit=st.integers(1, 5),
)
def test_pages_hold_each_event_once_newest_first(org: Organization, minutes: list[int], limit: int) -> None:
    api = make_api(org)
    user = unique("page")
    events = [
        event(f"{user}-{number:02}", NOW - timedelta(minutes=1 + minute // 10 * 10), user=user)
        for number, minute in enumerate(minutes)
    ]
    with time_machine.travel(NOW, tick=False):
        api.send(*events)
    newest_first = sorted(events, key=lambda one: (one["occurred_at"], one["event_id"]), reverse=True)
    assert walk(api, limit=limit, user=user) == [one["event_id"] for one in newest_first]


def test_a_page_goes_on_where_it_stopped_though_new_events_came(api: Api) -> None:
    send(api, *(event(f"e{number}", NOW - timedelta(minutes=number)) for number in range(1, 5)))
    with time_machine.travel(NOW, tick=False):
        first = api.get("events", limit=2).json()
    send(api, event("newer", NOW - timedelta(seconds=1)))
    assert [one["event_id"] for one in first["data"]] == ["e1", "e2"]
    assert found(api, limit=2, cursor=first["next"]) == ["e3", "e4"]


# --- Parameters that cannot be read ------------------------------------------------------------------------

AT = "2026-05-20T11:00:00Z"


@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ({"from": "yesterday"}, "from_invalid", "from"),
        ({"from": ""}, "from_invalid", "from"),
        ({"from": "2026-05-20"}, "from_invalid", "from"),
        ({"from": "2026-05-20T11:00:00"}, "from_invalid", "from"),
        ({"from": "0001-01-01T00:00:00+14:00"}, "from_invalid", "from"),
        ({"to": "9999-12-31T23:59:59Z"}, "to_invalid", "to"),
        ({"to": "\0"}, "to_invalid", "to"),
        ({"limit": "0"}, "limit_invalid", "limit"),
        ({"limit": "-1"}, "limit_invalid", "limit"),
        ({"limit": "1001"}, "limit_invalid", "limit"),
        ({"limit": "1.5"}, "limit_invalid", "limit"),
        ({"limit": "٣"}, "limit_invalid", "limit"),
        ({"limit": "9" * 5000}, "limit_invalid", "limit"),
        ({"cursor": "nonsense"}, "cursor_invalid", "cursor"),
        ({"cursor": "é"}, "cursor_invalid", "cursor"),
        ({"cursor": cursor_of(1)}, "cursor_invalid", "cursor"),
        ({"cursor": cursor_of([AT, AT, 1])}, "cursor_invalid", "cursor"),
        ({"cursor": cursor_of([AT, AT])}, "cursor_invalid", "cursor"),
        ({"cursor": cursor_of([AT, AT, "\0"])}, "cursor_invalid", "cursor"),
        ({"cursor": cursor_of([AT[:-1], AT, "e"])}, "cursor_invalid", "cursor"),
        ({"cursor": cursor_of([[[[AT]]]])}, "cursor_invalid", "cursor"),
        ({"cursor": cursor_of(["0001-01-01T00:00:00+23:59", AT, "e"])}, "cursor_invalid", "cursor"),
        ({"colour": "blue"}, "parameter_unknown", "colour"),
        ({"TEAM": "search"}, "parameter_unknown", "TEAM"),
        ({"tags.": "x"}, "parameter_unknown", "tags."),
        ({"organization_id": "1"}, "parameter_unknown", "organization_id"),
        ({"team__isnull": "1"}, "parameter_unknown", "team__isnull"),
        ({"team": ["a", "b"]}, "parameter_repeated", "team"),
        ({"team": "a\0b"}, "parameter_invalid", "team"),
        ({"team": "a" * 257}, "parameter_invalid", "team"),
        ({"tags.a\0": "b"}, "parameter_invalid", "tags.a\0"),
        ({"api_key": "abc"}, "parameter_invalid", "api_key"),
        ({"api_key": "9" * 30}, "parameter_invalid", "api_key"),
        ({"api_key": "²"}, "parameter_invalid", "api_key"),
        ({"api_key": ""}, "parameter_invalid", "api_key"),
        ({"priced": "maybe"}, "parameter_invalid", "priced"),
        ({"priced": ""}, "parameter_invalid", "priced"),
        ({"not.colour": "blue"}, "parameter_unknown", "not.colour"),
        ({"not.limit": "1"}, "parameter_unknown", "not.limit"),
        ({"not.team": "a\0b"}, "parameter_invalid", "not.team"),
        ({"not.team": ["a"] * 33}, "parameter_repeated", "not.team"),
        ({"not.api_key": "abc"}, "parameter_invalid", "api_key"),
    ],
    ids=lambda value: (
        "-".join(f"{name}={text[:12]!r}" for name, text in value.items()) if isinstance(value, dict) else ""
    ),
)
def test_a_parameter_that_cannot_be_read_is_named(api: Api, query: dict[str, Any], code: str, param: str) -> None:
    response = api.get("events", **query)
    problem = response.json()
    assert (response.status_code, problem["code"], problem["param"]) == (400, code, param)
    assert response["Content-Type"] == "application/problem+json"


def test_a_cursor_of_another_organization_shows_nothing_of_it(api: Api) -> None:
    send(api, event("ours"))
    stranger = cursor_of([NOW.isoformat(), NOW.isoformat(), "theirs"])
    assert found(api, cursor=stranger) == ["ours"]
