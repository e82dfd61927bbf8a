"""The queue on disk: nothing that was put is lost to a crash, and nothing else comes out of it."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from finops_ai import QueueFull
from finops_ai.queue import Limits, MemoryQueue, Queue, Segment
from finops_ai.spool import Spool, readable
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.client.conftest import MakeClient
from tests.client.service import AWAY, Service

SOURCE = Path(__file__).parents[2] / "clients/python/src"
EVENT: dict[str, Any] = {"provider": "openai", "model": "gpt-5", "usage": {"input_tokens": 1}}


def line(text: str) -> bytes:
    return json.dumps(["POST", "events", {"user": text}]).encode()


texts = st.text(max_size=8)


@given(st.lists(texts, max_size=6).map(lambda found: [line(text) for text in found]), st.data())
def test_a_segment_that_ends_at_any_byte_gives_the_whole_entries_before_it(
    lines: list[bytes], data: st.DataObject
) -> None:
    content = b"".join(one + b"\n" for one in lines)
    end = data.draw(st.integers(0, len(content)))
    whole = content[:end].count(b"\n")
    torn = end > 0 and not content[:end].endswith(b"\n")
    assert readable(content[:end]) == (lines[:whole], int(torn))


@given(st.lists(st.one_of(texts.map(line), st.binary(max_size=20).map(lambda found: found.replace(b"\n", b"")))))
def test_a_line_that_is_no_entry_is_passed_over(lines: list[bytes]) -> None:
    entries, damaged = readable(b"".join(one + b"\n" for one in lines))
    assert len(entries) + damaged == len(lines)
    for entry in entries:
        assert isinstance(json.loads(entry)[2], dict)
    assert [one for one in lines if one in entries] == entries


class Queues(RuleBasedStateMachine):
    """A queue against a list: the same entries in the same order, within the bound, whatever is done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.queue: Queue = self.made()
        self.model: deque[bytes] = deque()
        self.in_hand: tuple[Segment, list[bytes]] | None = None
        self.number = 0

    def made(self) -> Queue:
        return Spool(Limits(400, segment_entries=3, segment_bytes=150), root=Path(self.folder.name))

    @rule(size=st.integers(0, 120))
    def put(self, size: int) -> None:
        self.number += 1
        entry = line(f"{self.number:04d}" + "x" * size)
        self.queue.put(entry + b"\n")
        self.model.append(entry)
        kept = self.in_hand[1] if self.in_hand else []
        while sum(len(one) + 1 for one in self.model) > 400 or len(self.model) > len(self.queue):
            # What is dropped is the oldest that is not being sent.
            del self.model[len(kept)]

    @rule()
    def seal(self) -> None:
        self.queue.seal()

    @rule()
    def sync(self) -> None:
        self.queue.sync()

    @precondition(lambda self: self.in_hand is None)
    @rule()
    def take(self) -> None:
        self.in_hand = self.queue.take()
        if self.in_hand is None:
            assert not self.model
        else:
            assert self.in_hand[1] == [*self.model][: len(self.in_hand[1])]
            assert self.in_hand[1]

    @precondition(lambda self: self.in_hand is not None)
    @rule()
    def discard(self) -> None:
        assert self.in_hand is not None
        segment, lines = self.in_hand
        self.queue.discard(segment)
        for _ in lines:
            self.model.popleft()
        self.in_hand = None

    @rule(garbage=st.binary(max_size=10))
    def crash(self, garbage: bytes) -> None:
        """The process is gone; the last write may have been torn. Another process finds what it left."""
        assert isinstance(self.queue, Spool)
        path = self.queue._path(self.queue._open) if self.queue._open else None
        self.queue.let_go()
        if path is not None and path.exists():
            with path.open("ab") as file:
                file.write(garbage.replace(b"\n", b""))
        self.queue = self.made()
        self.in_hand = None

    @invariant()
    def it_holds_what_the_model_holds(self) -> None:
        assert len(self.queue) == len(self.model)

    def teardown(self) -> None:
        self.queue.close()
        assert isinstance(self.queue, Spool)
        self.queue = self.made()
        found = []
        while (taken := self.queue.take()) is not None:
            found += taken[1]
            self.queue.discard(taken[0])
        assert found == [*self.model]
        self.queue.close()
        assert list(Path(self.folder.name).iterdir()) == []
        self.folder.cleanup()


class MemoryQueues(Queues):
    def made(self) -> Queue:
        return MemoryQueue(Limits(400, segment_entries=3, segment_bytes=150))

    @precondition(lambda self: False)
    @rule()
    def crash(self) -> None:  # type: ignore[override]  # memory survives nothing
        return

    def teardown(self) -> None:
        self.folder.cleanup()


Queues.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
MemoryQueues.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestSpool = Queues.TestCase
TestMemory = MemoryQueues.TestCase


def test_a_disk_that_is_full_leaves_no_half_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(Limits(10_000, when_full="raise"), root=tmp_path)
    spool.put(line("one") + b"\n")
    real = os.write
    with monkeypatch.context() as patch:

        def half(fd: int, data: bytes) -> int:
            real(fd, data[: len(data) // 2])
            raise OSError(28, "No space left on device")

        patch.setattr(os, "write", half)
        with pytest.raises(QueueFull, match="No space"):
            spool.put(line("two") + b"\n")
    spool.put(line("three") + b"\n")
    taken = spool.take()
    assert taken is not None
    assert taken[1] == [line("one"), line("three")]
    spool.close()


def test_what_is_not_a_spool_is_left_alone(service: Service, make_client: MakeClient, tmp_path: Path) -> None:
    foreign = [tmp_path / "datasets" / "train.jsonl", tmp_path / ("ab" * 16) / "mine.jsonl"]
    for path in foreign:
        path.parent.mkdir()
        path.write_text('{"text": "a"}\n')
    (tmp_path / "empty").mkdir()
    client = make_client(spool_dir=tmp_path)
    client.record({"provider": "openai", "model": "gpt-5", "usage": {"input_tokens": 1}})
    assert client.close(10)
    assert [path.read_text() for path in foreign] == ['{"text": "a"}\n'] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ab" * 16, "datasets", "empty"]


# --- processes ---------------------------------------------------------------------------------------

WRITER = """
import sys
from finops_ai import Client

_, url, folder, count, name, seconds = sys.argv
client = Client(url, "aif_live_key", spool_dir=folder, flush_seconds=float(seconds), backoff_seconds=60)
for number in range(int(count)):
    client.record({"event_id": f"{name}-{number}", "provider": "openai", "model": "gpt-5",
                   "usage": {"input_tokens": 1}})
print("recorded", flush=True)
sys.stdin.readline()
"""

LET_GO = """
import gc, sys
from finops_ai import Client

def record():
    client = Client(sys.argv[1], "aif_live_key", flush_seconds=60)
    client.record({"event_id": "kept", "provider": "openai", "model": "gpt-5", "usage": {"input_tokens": 1}})

record()
gc.collect()
"""

FORKED = """
import os, sys
from finops_ai import Client

client = Client(sys.argv[1], "aif_live_key", spool_dir=sys.argv[2] or None, flush_seconds=60)
lease = client.lease("1", provider="openai", model="gpt-5")
call = client.call(provider="openai", model="gpt-5")
def record(name):
    client.record({"event_id": name, "provider": "openai", "model": "gpt-5", "usage": {"input_tokens": 1}})
record("before")
pid = os.fork()
record("child" if pid == 0 else "parent")
if pid == 0:
    try:
        lease.call(estimate_usd="0.1")
    except RuntimeError:
        record("refused")
    lease.close()
    call.finish()
    assert client.close(20)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert client.close(20)
"""


@contextmanager
def writer(
    service: Service, folder: Path, count: int, name: str, flush_seconds: str = "3600"
) -> Iterator["subprocess.Popen[str]"]:
    """A process that has recorded, and waits."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, service.url, str(folder), str(count), name, flush_seconds],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "recorded\n"
        yield process
        process.kill()


def test_what_was_recorded_survives_a_kill(service: Service, make_client: MakeClient, tmp_path: Path) -> None:
    service.always["events"] = AWAY
    with writer(service, tmp_path, 1200, "killed", "0.01") as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    service.always.clear()
    client = make_client(spool_dir=tmp_path)
    client.record({**EVENT, "event_id": "after"})
    assert client.flush(20)
    assert list(service.events) == [*(f"killed-{number}" for number in range(1200)), "after"]
    assert client.close(10)
    assert list(tmp_path.iterdir()) == []


def test_the_living_keep_their_own(service: Service, make_client: MakeClient, tmp_path: Path) -> None:
    with writer(service, tmp_path, 3, "one") as one, writer(service, tmp_path, 3, "two"):
        client = make_client(spool_dir=tmp_path)
        assert client.flush(10)
        assert service.events == {}
        one.send_signal(signal.SIGKILL)
        one.wait()
        second = make_client(spool_dir=tmp_path)
        assert second.flush(10)
        assert list(service.events) == ["one-0", "one-1", "one-2"]


def test_a_process_that_ends_by_itself_delivers(service: Service, tmp_path: Path) -> None:
    with writer(service, tmp_path, 3, "ended") as process:
        process.communicate("\n")
    assert sorted(service.events) == ["ended-0", "ended-1", "ended-2"]


@pytest.mark.parametrize("is_spooled", [True, False])
def test_a_fork_sends_each_event_once_and_uses_no_lease(service: Service, tmp_path: Path, is_spooled: bool) -> None:
    subprocess.run(
        [sys.executable, "-c", FORKED, service.url, str(tmp_path) if is_spooled else ""],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        check=True,
        timeout=60,
    )
    assert sorted(service.events) == ["before", "child", "parent", "refused"]
    assert service.duplicates == 0
    (lease,) = (request for request in service.requests if request.path == "leases")
    (child,) = (request for request in service.to("events") if request.body[0]["event_id"] == "child")
    assert child.port != lease.port
    assert not service.returned, "a child gave back what its parent uses"
    assert not service.released, "a child ended a call of its parent's"


def test_a_client_that_was_let_go_delivers_at_the_end(service: Service) -> None:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    subprocess.run([sys.executable, "-c", LET_GO, service.url], env=environment, check=True, timeout=60)
    assert list(service.events) == ["kept"]


def test_what_is_refused_for_good_is_kept_aside(service: Service, make_client: MakeClient, tmp_path: Path) -> None:
    service.rejects = lambda event: {"code": "out_of_range", "param": "step", "detail": "No."}
    client = make_client(spool_dir=tmp_path)
    event_id = client.record(EVENT)
    assert client.flush(10)
    (kept,) = (tmp_path / "rejected.jsonl").read_text().splitlines()
    kept = json.loads(kept)
    assert (kept["path"], kept["body"]["event_id"], kept["code"]) == ("events", event_id, "out_of_range")
