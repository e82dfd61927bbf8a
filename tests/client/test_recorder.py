"""Events reach the service once for the books, whatever happens on the way."""

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from finops_ai import Client, FinopsError, QueueFull, Rejected

from tests.client.conftest import MakeClient
from tests.client.service import AWAY, LOST_ANSWER, RESET, Fault, Service

EVENT: dict[str, Any] = {"provider": "openai", "model": "gpt-5", "usage": {"input_tokens": 1}}


def record(client: Client, count: int) -> list[str]:
    return [client.record({**EVENT, "step": number}) for number in range(count)]


def test_events_go_in_compressed_batches_in_their_order(service: Service, make_client: MakeClient) -> None:
    client = make_client(batch_events=100, flush_seconds=60)
    ids = record(client, 250)
    assert client.flush(10)
    assert list(service.events) == ids
    assert [len(request.body) for request in service.to("events")] == [100, 100, 50]
    assert {request.headers["Content-Encoding"] for request in service.to("events")} == {"gzip"}
    assert (client.stats.waiting, client.stats.sent) == (0, 250)


def test_an_event_leaves_by_its_age_alone(service: Service, make_client: MakeClient) -> None:
    stored = threading.Event()
    service.rejects = lambda _event: stored.set()
    record(make_client(batch_events=100, flush_seconds=0.02), 1)
    assert stored.wait(10)


@pytest.mark.parametrize(
    "fault",
    [
        AWAY,
        RESET,
        LOST_ANSWER,
        Fault(429),
        Fault(500, b"oops"),
        Fault(200, b"<p>hello"),
        Fault(400, b'{"code": "body_unreadable", "detail": "The body broke off. Send the same request again."}'),
        Fault(404, b"<h1>default backend"),
        Fault(401, b'{"message": "Sign in to the gateway."}'),
        Fault(301, headers=(("Location", "/elsewhere"),)),
    ],
)
def test_a_batch_is_sent_again_as_it_was(service: Service, make_client: MakeClient, fault: Fault) -> None:
    client = make_client(flush_seconds=60)
    service.faults["events"].extend([fault, fault])
    ids = record(client, 5)
    assert client.flush(10)
    first, second, third = service.to("events")
    assert first.body == second.body == third.body
    assert list(service.events) == ids
    assert service.duplicates == (10 if fault is LOST_ANSWER else 0)


def test_it_waits_as_long_as_the_service_asks_for(service: Service, make_client: MakeClient) -> None:
    client = make_client(flush_seconds=60)
    service.faults["events"].append(Fault(503, headers=(("Retry-After", "1"),)))
    record(client, 1)
    assert client.flush(20)
    first, second = service.to("events")
    assert second.at - first.at >= 1


def test_a_flush_does_not_wait_for_a_long_pause(service: Service, make_client: MakeClient) -> None:
    client = make_client(backoff_seconds=10_000, flush_seconds=0.01)
    service.faults["events"].append(AWAY)
    record(client, 1)
    while not service.to("events"):
        assert client.stats.waiting
    assert client.flush(10)


def test_what_is_refused_for_good_is_reported_and_not_sent_again(service: Service, make_client: MakeClient) -> None:
    refused: list[Rejected] = []
    client = make_client(on_rejected=refused.append, flush_seconds=60)
    service.faults["events"].append(Fault(403, b'{"code": "scope_missing", "detail": "Needs ingest.", "param": "key"}'))
    ids = record(client, 2)
    assert client.flush(10)
    assert len(service.to("events")) == 1
    assert [(one.body["event_id"], one.code, one.param) for one in refused] == [
        (event_id, "scope_missing", "key") for event_id in ids
    ]
    assert (client.stats.rejected, client.stats.sent, client.stats.waiting) == (2, 0, 0)


def test_one_refused_event_does_not_touch_its_neighbors(service: Service, make_client: MakeClient) -> None:
    refused: list[Rejected] = []

    def on_rejected(rejected: Rejected) -> None:
        refused.append(rejected)
        raise RuntimeError("a callback that fails stops nothing")

    client = make_client(on_rejected=on_rejected, flush_seconds=60)
    service.rejects = lambda event: (
        {"code": "out_of_range", "param": "step", "detail": "."} if event["step"] == 1 else None
    )
    ids = record(client, 3)
    assert client.flush(10)
    assert list(service.events) == [ids[0], ids[2]]
    assert [(one.path, one.body["event_id"], one.code) for one in refused] == [("events", ids[1], "out_of_range")]


def test_a_refused_batch_is_divided_until_only_what_is_wrong_is_refused(
    service: Service, make_client: MakeClient
) -> None:
    refused: list[Rejected] = []
    client = make_client(on_rejected=refused.append, flush_seconds=60)
    service.faults["events"].extend([Fault(413, b"<h1>Too large")] * 3)
    first, *others = record(client, 4)
    assert client.flush(10)
    assert [(one.body["event_id"], one.code) for one in refused] == [(first, "http_413")]
    assert list(service.events) == others
    assert [len(request.body) for request in service.to("events")] == [4, 2, 1, 1, 2]


def test_a_disk_that_cannot_sync_keeps_nothing_from_the_service(
    service: Service, make_client: MakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_client(spool_dir=tmp_path)
    service.faults["events"].append(AWAY)

    def fsync(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    ids = record(client, 3)
    assert client.flush(10)
    assert list(service.events) == ids


@pytest.mark.parametrize("key", ["", " ", "aif_live_\nkey", "aif_live_ключ"])
def test_a_key_that_is_none_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ValueError, match="api_key") as refused:
        Client("http://localhost", key)
    assert not key.strip() or key not in str(refused.value)


def test_a_key_from_a_file_may_end_its_line(service: Service) -> None:
    with Client(service.url, "aif_live_key\n") as client:
        client.record(EVENT)
    assert len(service.events) == 1


def test_a_run_that_cannot_be_is_refused_where_it_is_named(client: Client) -> None:
    with pytest.raises(ValueError, match="70000 characters"):
        client.put_run("r" * 70_000)


def test_a_release_of_what_is_over_is_no_news(service: Service, client: Client) -> None:
    service.faults["reservations"].append(Fault(409, b'{"code": "reservation_expired", "detail": "."}'))
    with client.call(provider="openai", model="gpt-5"):
        pass
    assert client.flush(10)
    assert (client.stats.rejected, client.stats.waiting) == (0, 0)


def test_a_full_queue_raises_where_chosen(service: Service, make_client: MakeClient) -> None:
    service.always["events"] = AWAY
    client = make_client(queue_bytes_max=1000, when_full="raise", flush_seconds=60)
    with pytest.raises(QueueFull, match="1000 bytes"):
        record(client, 50)
    kept = client.stats.waiting
    assert 0 < kept < 50
    assert client.stats.dropped == 0
    service.always.clear()
    assert client.flush(10)
    assert [event["step"] for event in service.events.values()] == list(range(kept))


def test_a_full_queue_drops_the_oldest_counts_and_tells(
    service: Service, make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client(queue_bytes_max=1000, batch_events=1, flush_seconds=60, backoff_seconds=60)
    service.always["events"] = AWAY
    ids = record(client, 50)
    kept = client.stats.waiting
    assert client.stats.dropped == 50 - kept
    told = [record.getMessage() for record in caplog.records if "dropped" in record.getMessage()]
    assert told[0] == "1 entries are dropped and will never be counted: 1000 bytes are full."
    assert len(told) == client.stats.dropped.bit_length()
    service.always.clear()
    assert not client.flush(10), "not all that was recorded is with the service"
    assert client.flush(10)
    in_hand, *newest = service.events
    assert newest == ids[-len(newest) :]
    assert in_hand in ids
    assert len(service.events) == kept


def test_an_event_larger_than_the_queue_is_refused(make_client: MakeClient) -> None:
    with pytest.raises(QueueFull):
        make_client(queue_bytes_max=100, when_full="raise").record({**EVENT, "user": "x" * 200})
    client = make_client(queue_bytes_max=100)
    client.record({**EVENT, "user": "x" * 200})
    assert (client.stats.dropped, client.stats.waiting) == (1, 0)


@pytest.mark.parametrize("value", [float("nan"), object(), {1, 2}])
def test_what_json_cannot_hold_is_refused_where_it_is_recorded(client: Client, value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        client.record({**EVENT, "user": value})
    assert client.stats.waiting == 0


def test_closing_delivers_and_ends(service: Service, make_client: MakeClient) -> None:
    client = make_client(flush_seconds=60)
    ids = record(client, 3)
    assert client.close(10)
    assert client.close(10)
    assert list(service.events) == ids
    with pytest.raises(FinopsError, match="closed"):
        client.record(EVENT)


def test_closing_says_when_something_was_left(service: Service, make_client: MakeClient) -> None:
    service.always["events"] = AWAY
    client = make_client()
    record(client, 3)
    assert not client.close(0.1)
    assert not client.close(0.1), "closing it again delivered nothing"
