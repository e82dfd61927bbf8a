"""What POST /api/v1/events answers: one outcome per event, counts that add up, and every spelling of a batch."""

import gzip
import json
from decimal import Decimal
from typing import Any

import pytest

from tests.world import Api, make_event

COUNTS = ("accepted", "duplicates", "conflicts", "rejected")
NDJSON = "application/x-ndjson"


def counts(answer: dict[str, Any]) -> tuple[int, ...]:
    return tuple(answer[name] for name in COUNTS)


def statuses(answer: dict[str, Any]) -> list[tuple[int, str, str, str | None]]:
    return [(one["index"], one["event_id"], one["status"], one.get("code")) for one in answer["results"]]


def test_it_answers_a_plain_batch_with_counts_alone(api: Api) -> None:
    assert api.send(make_event(), make_event()) == {
        "accepted": 2, "duplicates": 0, "conflicts": 0, "rejected": 0, "unpriced": 0, "results": [],
    }  # fmt: skip


def test_it_answers_each_event_of_a_mixed_batch(api: Api) -> None:
    known = make_event(event_id="known")
    api.send(known)
    answer = api.send(
        make_event(event_id="new"),
        known,
        {**known, "model": "claude-opus-4-1"},
        make_event(event_id="unpriced", model="nobody-sells-this"),
        make_event(event_id="bad", step=-1),
        make_event(event_id=None),
    )
    assert counts(answer) == (2, 1, 1, 2)
    assert answer["unpriced"] == 1
    assert statuses(answer) == [
        (1, "known", "duplicate", None),
        (2, "known", "conflict", "event_conflict"),
        (3, "unpriced", "accepted", "unpriced"),
        (4, "bad", "rejected", "out_of_range"),
        (5, None, "rejected", "missing_field"),
    ]
    by_index = {one["index"]: one for one in answer["results"]}
    assert by_index[4]["param"] == "step"
    assert by_index[5]["param"] == "event_id"
    assert "known" in by_index[2]["detail"]


def test_a_conflict_changes_nothing(api: Api) -> None:
    event = make_event(event_id="one", team="search")
    api.send(event)
    before = api.get("events", event_id="one").json()
    answer = api.send({**event, "usage": {"input_tokens": 999_999}})
    assert counts(answer) == (0, 0, 1, 0)
    assert api.get("events", event_id="one").json() == before
    assert api.get("spend").json()["total"]["events"] == 1


@pytest.mark.parametrize(
    "spelling",
    [
        {"occurred_at": "2026-05-20T14:00:00+02:00"},
        {"occurred_at": "2026-05-20T12:00:00.000Z"},
        {"status": "ok", "attempt": 1},
        {"usage": {"output_tokens": 100, "input_tokens": 1000, "searches": 0}},
        {"team": None, "tags": {}},
        {"cost_usd": "0.50"},
    ],
    ids=lambda spelling: "+".join(spelling),
)
def test_another_spelling_of_the_same_event_is_a_duplicate(api: Api, spelling: dict[str, Any]) -> None:
    event = make_event(occurred_at="2026-05-20T12:00:00Z", cost_usd="0.5")
    assert api.send(event)["accepted"] == 1
    answer = api.post("events", [{**event, **spelling}]).json()
    assert counts(answer) == (0, 1, 0, 0)


def test_the_same_id_twice_in_a_batch_answers_as_two_requests_would(api: Api) -> None:
    event = make_event(event_id="twice")
    answer = api.send(event, event, {**event, "team": "other"}, event)
    assert counts(answer) == (1, 2, 1, 0)
    assert [(index, status) for index, _, status, _ in statuses(answer)] == [
        (1, "duplicate"),
        (2, "conflict"),
        (3, "duplicate"),
    ]
    assert api.get("spend").json()["total"]["events"] == 1


def test_a_rejected_event_leaves_its_id_to_the_next_one(api: Api) -> None:
    event = make_event(event_id="again", step=7)
    answer = api.send({**event, "step": "one"}, event, event)
    assert counts(answer) == (1, 1, 0, 1)
    assert [(index, status) for index, _, status, _ in statuses(answer)] == [(0, "rejected"), (2, "duplicate")]
    assert api.get("events", event_id="again").json()["data"][0]["step"] == 7


def test_unpriced_is_listed_and_never_zero(api: Api) -> None:
    answer = api.send(make_event(event_id="unknown", provider="nobody", model="unknown"), make_event())
    assert (answer["accepted"], answer["unpriced"]) == (2, 1)
    assert answer["results"] == [{"index": 0, "event_id": "unknown", "status": "accepted", "code": "unpriced"}]
    total = api.get("spend").json()["total"]
    assert (total["events"], total["unpriced_events"]) == (2, 1)
    assert Decimal(total["cost_usd"]) == Decimal("0.0045")
    found = api.get("events", event_id="unknown").json()["data"][0]
    assert (found["unpriced"], found["cost_usd"], found["price"]) == (True, None, None)


def test_unknown_fields_are_ignored_and_named_once(api: Api) -> None:
    answer = api.send(make_event(colour="blue"), make_event(colour="red", prompt="secret words"))
    assert counts(answer) == (2, 0, 0, 0)
    assert len(answer["warnings"]) == 2
    assert ["colour" in warning for warning in answer["warnings"]] == [True, False]
    assert "secret words" not in str(api.get("events").json())


@pytest.mark.parametrize(
    ("wrap", "content_type"),
    [
        (lambda events: json.dumps(events), "application/json"),
        (lambda events: json.dumps(events, indent=2), "application/json; charset=utf-8"),
        (lambda events: json.dumps({"events": events}), "application/json"),
        (lambda events: json.dumps({"sender": "sdk", "events": events}), "application/json"),
        (lambda events: json.dumps(events), "text/plain"),
        (lambda events: "\n".join(map(json.dumps, events)), NDJSON),
        (lambda events: "\r\n\r\n".join(map(json.dumps, events)) + "\r\n", NDJSON),
    ],
    ids=["array", "indented", "object", "object_with_more", "any_type", "ndjson", "ndjson_crlf"],
)
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
def test_it_takes_a_batch_in_every_spelling(api: Api, wrap: Any, content_type: str, compressed: bool) -> None:
    events = [make_event(event_id=f"é{number}") for number in range(3)]
    body = wrap(events).encode()
    encoding = {"Content-Encoding": "gzip"} if compressed else {}
    response = api.post("events", gzip.compress(body) if compressed else body, content_type=content_type, **encoding)
    assert response.status_code == 202
    assert response["Content-Type"] == "application/json"
    assert counts(response.json()) == (3, 0, 0, 0)
    assert {event["event_id"] for event in api.get("events").json()["data"]} == {"é0", "é1", "é2"}


@pytest.mark.parametrize("body", [[], {"events": []}], ids=["array", "object"])
def test_no_events_are_a_batch_too(api: Api, body: Any) -> None:
    response = api.post("events", body)
    assert (response.status_code, counts(response.json())) == (202, (0, 0, 0, 0))


def test_a_bad_line_of_ndjson_is_its_own_rejection(api: Api) -> None:
    good = json.dumps(make_event(event_id="good"))
    response = api.post("events", f"{{nope\n{good}\n".encode(), content_type=NDJSON)
    assert response.status_code == 202
    assert counts(response.json()) == (1, 0, 0, 1)
    assert statuses(response.json()) == [(0, None, "rejected", "not_json")]


def test_it_takes_a_full_batch_and_no_event_more(api: Api) -> None:
    events = [make_event() for _ in range(1001)]
    response = api.post("events", events)
    assert (response.status_code, response.json()["code"]) == (413, "too_many_events")
    assert api.get("spend").json()["total"]["events"] == 0
    assert counts(api.send(*events[:1000])) == (1000, 0, 0, 0)
    assert counts(api.send(*events[500:1000])) == (0, 500, 0, 0)


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_other_methods_are_problems(api: Api, method: str) -> None:
    response = getattr(api.client, method)("/api/v1/events", headers=api.headers)
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    assert "POST" in response["Allow"]


def test_a_body_of_unknown_length_is_refused_and_not_read_as_empty(api: Api) -> None:
    answer = api.client.generic(
        "POST",
        "/api/v1/events",
        content_type="application/x-ndjson",
        headers={**api.headers, "Transfer-Encoding": "chunked"},
    )
    assert (answer.status_code, answer.json()["code"]) == (411, "length_required")
