import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from apps.ingest.management.commands.replay import Progress, parse_end
from apps.ingest.sending import TRIES, Sender, SendError, send_all

NOW = datetime(2026, 5, 20, 9, 30, 12, 345, tzinfo=UTC)
KEY = "aif_live_x"


class Api:
    """A small API on a real socket: it remembers bodies, and plays its turns before it accepts."""

    def __init__(self, turns: list[tuple[int, dict[str, str], bytes]]) -> None:
        self.turns = turns
        self.bodies: list[list[dict[str, Any]]] = []
        self.seen: set[str] = set()
        self.lock = threading.Lock()
        self.url = ""

    def answer(self, body: list[dict[str, Any]]) -> tuple[int, dict[str, str], bytes]:
        with self.lock:
            self.bodies.append(body)
            if self.turns:
                return self.turns.pop(0)
            fresh = {event["event_id"] for event in body} - self.seen
            self.seen |= fresh
            return 202, {}, answer(accepted=len(fresh), duplicates=len(body) - len(fresh))


def answer(**counts: Any) -> bytes:
    empty = {"accepted": 0, "duplicates": 0, "conflicts": 0, "rejected": 0, "unpriced": 0, "results": []}
    return json.dumps(empty | counts).encode()


@contextmanager
def running(api: Api) -> Iterator[Api]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            assert self.headers["Authorization"] == f"Bearer {KEY}"
            packed = self.rfile.read(int(self.headers["Content-Length"]))
            status, headers, text = api.answer(json.loads(gzip.decompress(packed)))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def events(count: int) -> Iterator[dict[str, Any]]:
    return ({"event_id": f"e{number}"} for number in range(count))


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_it_sends_the_same_batch_again_when_told_to_wait(status: int) -> None:
    waits: list[float] = []
    with running(Api([(status, {"Retry-After": "3"}, b"{}"), (status, {}, b"{}")])) as api:
        sent = Sender(api.url, KEY, wait=waits.append).send([{"event_id": "a"}])
    assert sent.accepted == 1
    assert api.bodies == [[{"event_id": "a"}]] * 3
    assert waits == [3.0, 1.0]


def test_it_waits_no_longer_than_its_bound() -> None:
    waits: list[float] = []
    with running(Api([(429, {"Retry-After": "86400"}, b"{}")])) as api:
        Sender(api.url, KEY, wait=waits.append).send([{"event_id": "a"}])
    assert waits == [30.0]


def test_it_gives_up_on_an_address_where_nobody_listens() -> None:
    waits: list[float] = []
    with running(Api([])) as api:
        pass
    with pytest.raises(SendError, match=f"Gave up after {TRIES} tries"):
        Sender(api.url, KEY, wait=waits.append).send([{"event_id": "a"}])
    assert len(waits) == TRIES - 1
    assert waits == sorted(waits)


def test_it_stops_at_another_refusal_with_its_detail() -> None:
    problem = json.dumps({"title": "No", "code": "key_revoked", "detail": "The key was revoked."}).encode()
    with (
        running(Api([(401, {}, problem)])) as api,
        pytest.raises(SendError, match="HTTP 401 key_revoked: The key was revoked"),
    ):
        send_all(events(10), sender=Sender(api.url, KEY), batch_events=5, clients=1, report=ignore)
    assert api.bodies[0] == list(events(5))


def test_it_says_so_when_the_answer_is_not_the_apis() -> None:
    with (
        running(Api([(200, {}, b"<html>welcome</html>")])) as api,
        pytest.raises(SendError, match="is this the address of the API"),
    ):
        Sender(api.url, KEY).send([])


@pytest.mark.parametrize("clients", [1, 3])
def test_every_event_is_sent_once_and_reported(clients: int) -> None:
    reports: list[int] = []
    with running(Api([])) as api:
        sender = Sender(api.url, KEY)
        tally = send_all(events(95), sender=sender, batch_events=10, clients=clients, report=reports.append)
    assert (tally.accepted, tally.duplicates, tally.failed) == (95, 0, False)
    assert sorted(len(body) for body in api.bodies) == [5] + [10] * 9
    assert reports[-1] == 95


def test_the_summary_counts_rejections_by_code() -> None:
    refused = [{"index": i, "event_id": f"e{i}", "status": "rejected", "code": "too_old"} for i in range(2)]
    refused.append({"index": 2, "event_id": "e2", "status": "rejected", "code": "bad_usage"})
    text = answer(accepted=1, rejected=3, unpriced=1, results=refused)
    with running(Api([(202, {}, text)])) as api:
        tally = send_all(events(4), sender=Sender(api.url, KEY), batch_events=4, clients=1, report=ignore)
    assert tally.failed
    assert tally.summary(2.0) == (
        "accepted 1, duplicates 0, conflicts 0, rejected 3 (too_old 2, bad_usage 1), unpriced 1,"
        " 2.0 seconds, 2 events/s"
    )
    assert tally.problems[0] == "rejected e0: too_old"


AZURE = "timestamp,service,input_tokens,output_tokens\n" + "".join(
    f"2023-11-16 18:15:{second:02}.000,conv,{second},1\n" for second in range(30)
)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "azure_llm_2023.csv"
    path.write_text(AZURE)
    return path


def replay(trace: Path, url: str, **options: Any) -> str:
    out = StringIO()
    call_command("replay", str(trace), key=KEY, url=url, stdout=out, **options)
    return out.getvalue()


def test_replayed_again_all_are_duplicates(trace: Path) -> None:
    with running(Api([])) as api:
        first = replay(trace, api.url, batch=7, shift_to="2026-05-20T12:00:00Z", backfill=True)
        again = replay(trace, api.url, batch=11, shift_to="2026-05-20T12:00:00Z", backfill=True)
    assert first.startswith("accepted 30, duplicates 0, conflicts 0, rejected 0, unpriced 0, ")
    assert again.startswith("accepted 0, duplicates 30, conflicts 0, rejected 0, unpriced 0, ")
    assert "--shift-to 2026-05-20T12:00:00Z" in first


@pytest.mark.parametrize(
    "options",
    [
        {"shift_to": "2026-05-20T12:00:00Z"},
        {"shift_to": "2026-05-20T12:00:00Z", "window_days": 20},
        {"keep_dates": True},
    ],
)
def test_the_options_it_prints_send_the_same_events(trace: Path, options: dict[str, Any]) -> None:
    with running(Api([])) as api:
        printed = replay(trace, api.url, backfill=True, **options).strip().rpartition("again: ")[2]
        out = StringIO()
        call_command("replay", str(trace), *printed.split(), key=KEY, url=api.url, backfill=True, stdout=out)
    assert out.getvalue().startswith("accepted 0, duplicates 30,")


def test_a_limited_replay_sends_the_first_events_of_the_whole(trace: Path) -> None:
    with running(Api([])) as api:
        replay(trace, api.url, limit=3)
        whole = replay(trace, api.url)
    assert whole.startswith("accepted 27, duplicates 3,")


def test_the_command_fails_when_an_event_is_in_conflict(trace: Path) -> None:
    conflict = {"index": 0, "event_id": "e0", "status": "conflict", "detail": "Another payload."}
    with (
        running(Api([(202, {}, answer(accepted=29, conflicts=1, results=[conflict]))])) as api,
        pytest.raises(CommandError, match="conflict e0: Another payload"),
    ):
        replay(trace, api.url)


def test_old_dates_are_sent_only_when_backfill_is_said(trace: Path) -> None:
    with running(Api([])) as api:
        with pytest.raises(CommandError, match=r"begin on 2023-11-16.*--backfill"):
            replay(trace, api.url, keep_dates=True)
        assert not api.bodies
        assert replay(trace, api.url, keep_dates=True, backfill=True).startswith("accepted 30")


@pytest.mark.parametrize("url", ["ftp://example.com", "example.com", "http://"])
def test_an_address_not_of_the_web_is_refused(trace: Path, url: str) -> None:
    with pytest.raises(CommandError, match="not one of the web"):
        replay(trace, url)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("today", datetime(2026, 5, 20, tzinfo=UTC)),
        ("now", datetime(2026, 5, 20, 9, 30, 12, tzinfo=UTC)),
        ("2026-05-01T12:00:00Z", datetime(2026, 5, 1, 12, tzinfo=UTC)),
        ("2026-05-01T12:00:00+02:00", datetime(2026, 5, 1, 10, tzinfo=UTC)),
    ],
)
def test_the_end_of_a_trace_is_an_instant(text: str, expected: datetime) -> None:
    assert parse_end(text, NOW) == expected


@pytest.mark.parametrize("text", ["yesterday", "2026-05-01T12:00:00", ""])
def test_an_end_without_a_zone_or_sense_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match=r"is not an instant|has no zone"):
        parse_end(text, NOW)


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("out", "shown"),
    [(Terminal(), "[###############---------------] 50 of 100 events"), (StringIO(), "50 of 100 events")],
)
def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(out: StringIO, shown: str) -> None:
    progress = Progress(100, out)
    progress.show(50)
    progress.show(51)
    progress.close()
    assert shown in out.getvalue()
    assert out.getvalue().count("\n") == 1


def ignore(done: int) -> None:
    """Nobody watches."""
