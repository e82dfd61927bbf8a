"""Lines of the log: whose they are, one for each request and each task, nothing carried over, nothing private."""

import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import structlog
from celery import shared_task
from django.conf import settings as site_settings
from django.db import DatabaseError
from django.test import Client
from structlog.contextvars import get_contextvars

from apps.alerts.tasks import _hints, hint_tell
from apps.organizations.services import create_organization
from apps.usage import tasks
from apps.usage.services import for_each_of
from finops import figures
from finops import logging as finops_logging
from tests.finops.reading import TOKEN, now
from tests.portal.conftest import client_of
from tests.world import World, make_event, unique

log = structlog.get_logger(__name__)

Lines = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What production would write to stderr, as it is now; `lines(event)` are those of one event."""
    root = logging.getLogger()
    before = root.handlers, root.level
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(finops_logging.formatter(json=True))
    root.handlers = [handler]
    root.setLevel(logging.INFO)

    def found(event: str = "") -> list[dict[str, Any]]:
        rows = [json.loads(line) for line in written.getvalue().splitlines()]
        return [row for row in rows if not event or row["event"] == event]

    yield found
    root.handlers = before[0]
    root.setLevel(before[1])


def ids(line: dict[str, Any]) -> dict[str, Any]:
    names = ("request_id", "organization_id", "key_id", "user_id", "task_id", "task")
    return {name: line[name] for name in names if name in line}


# --- requests ---


def test_a_request_of_the_api_has_one_line_with_its_ids(world: World, lines: Lines) -> None:
    response = world.acme.api.get("teams")
    (line,) = lines("request")
    assert (line["method"], line["route"], line["status"], line["level"]) == ("GET", "api:teams", 200, "info")
    assert line["duration_ms"] > 0
    assert line["request_id"] == response["X-Request-Id"]
    assert line["organization_id"] == world.acme.org.pk
    assert "key_id" in line


@pytest.mark.parametrize("path", ["decisions", "events"])
def test_so_have_the_two_hot_ones_every_time(world: World, lines: Lines, path: str) -> None:
    body = {"request_id": unique("r"), "provider": "anthropic", "model": "claude-sonnet-4-5", "estimate_usd": "0"}
    for _ in range(3):
        world.acme.api.ask(path, body if path == "decisions" else [make_event()])
    found = [line for line in lines("request") if line["status"] < 300]
    assert len(found) == 3
    assert {(line["organization_id"], line["route"]) for line in found} == {(world.acme.org.pk, f"api:{path}")}
    assert all("key_id" in line for line in found)


def test_a_request_of_a_page_names_the_person_by_number(world: World, lines: Lines) -> None:
    client_of(world.bob).get(f"/o/{world.acme.org.slug}/events", headers={"X-Request-Id": "seen-by-the-proxy"})
    *_, line = lines("request")
    assert ids(line) == {
        "request_id": "seen-by-the-proxy", "organization_id": world.acme.org.pk, "user_id": world.bob.pk,
    }  # fmt: skip


def test_a_stranger_is_named_and_the_organization_is_not(world: World, lines: Lines) -> None:
    client_of(world.charlie).get(f"/o/{world.acme.org.slug}/events")
    *_, line = lines("request")
    assert (line["status"], ids(line).keys()) == (404, {"request_id", "user_id"})


def test_nothing_of_a_request_is_left_to_the_next_in_its_thread(world: World, lines: Lines) -> None:
    world.acme.api.get("teams")
    assert get_contextvars() == {}
    Client().get("/healthz")
    client_of(world.charlie).get("/no-such-page")
    own, health, *_, missing = lines("request")
    assert ids(health).keys() == {"request_id"}
    assert (missing["route"], missing["status"]) == ("none", 404)
    assert len({line["request_id"] for line in (own, health, missing)}) == 3


def test_no_line_holds_the_address_that_was_asked_for(world: World, lines: Lines) -> None:
    secret = unique("someones-event")
    client_of(world.alice).get(f"/o/{world.acme.org.slug}/events/{secret}?user=ann")
    world.acme.api.get(f"contracts/{secret}")
    assert secret not in json.dumps(lines())


def test_a_failure_carries_the_ids_of_its_request(world: World, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(f"no mail to {world.alice.email} with {world.acme.api.secret}")

    monkeypatch.setattr("apps.api.v1.names.selectors.find_teams", fail)
    response = world.acme.api.get("teams")
    assert response.status_code == 500
    (line,) = lines("unexpected error")
    assert ids(line) == ids(lines("request")[0])
    assert line["request_id"] == response.json()["request_id"]
    assert "RuntimeError: no mail to [hidden] with [hidden]" in line["exception"]


# --- tasks ---


@shared_task(name="usage.tests_fail")
def failing(organization_id: int) -> None:
    log.warning("about to fail")
    raise DatabaseError("never")


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "push", lambda: None)


@pytest.mark.usefixtures("quiet")
def test_a_run_of_a_task_has_one_line_with_its_ids(world: World, lines: Lines) -> None:
    org_id = world.acme.org.pk
    done = tasks.roll_up.apply((org_id,), headers={"request_id": "asked-for-it"})
    (line,) = lines("task")
    assert (line["outcome"], line["level"]) == ("success", "info")
    assert ids(line) == {
        "request_id": "asked-for-it", "task_id": done.id, "task": "usage.roll_up", "organization_id": org_id,
    }  # fmt: skip


@pytest.mark.usefixtures("quiet")
def test_every_line_of_a_task_carries_them_also_where_it_fails(lines: Lines) -> None:
    done = failing.apply(kwargs={"organization_id": 7})
    assert get_contextvars() == {}
    (said,) = lines("about to fail")
    (line,) = lines("task")
    assert line["outcome"] == "failure"
    assert ids(said) == ids(line) == {"task_id": done.id, "task": "usage.tests_fail", "organization_id": 7}
    traced = [row for row in lines() if "DatabaseError: never" in row.get("exception", "")]
    assert [ids(row) for row in traced] == [ids(line)]


@pytest.mark.usefixtures("quiet")
def test_a_task_that_is_run_in_place_gives_its_caller_back_what_it_had(lines: Lines) -> None:
    with structlog.contextvars.bound_contextvars(request_id="outer", key_id=3):
        failing.apply((7,))
        assert get_contextvars() == {"request_id": "outer", "key_id": 3}


@pytest.mark.usefixtures("quiet")
def test_tasks_in_threads_keep_theirs_apart(lines: Lines) -> None:
    together = Barrier(4)

    @shared_task(name="usage.tests_meet")
    def meeting(organization_id: int) -> None:
        together.wait(10)
        log.warning("met")
        together.wait(10)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: meeting.apply((number,)), range(4)))
    met = {line["task_id"]: line["organization_id"] for line in lines("met")}
    ended = {line["task_id"]: line["organization_id"] for line in lines("task")}
    assert met == ended
    assert sorted(met.values()) == [0, 1, 2, 3]


@pytest.mark.usefixtures("quiet")
def test_work_on_each_organization_names_it(lines: Lines) -> None:
    def work(org_id: int) -> None:
        log.warning("at work")
        if org_id == 2:
            raise DatabaseError("not this one")

    for_each_of([1, 2, 3], work)
    assert [line["organization_id"] for line in lines("at work")] == [1, 2, 3]
    assert [line["organization_id"] for line in lines("work on an organization failed")] == [2]
    assert get_contextvars() == {}


def waiting_in(queue: str) -> list[dict[str, Any]]:
    return [json.loads(message)["headers"] for message in figures.redis().lrange(site_settings.QUEUES[queue], 0, -1)]


def test_a_task_knows_the_request_that_asked_for_it(world: World) -> None:
    org_id = world.acme.org.pk
    response = world.acme.api.post("events", [make_event()])
    (headers,) = [one for one in waiting_in("long") if one["argsrepr"] == f"({org_id},)"]
    assert headers["request_id"] == response["X-Request-Id"]


def test_so_does_one_that_is_asked_for_beside_the_request() -> None:
    org = create_organization(name=unique("beside"), owner_email="a@beside.example")
    with structlog.contextvars.bound_contextvars(request_id="beside-the-request"):
        hint_tell(org.pk)
    _hints.submit(lambda: None).result()
    (headers,) = [one for one in waiting_in("alerts") if one["argsrepr"] == f"({org.pk},)"]
    assert headers["request_id"] == "beside-the-request"


@contextmanager
def worker(queue: str, written: Path) -> Iterator[None]:
    """A real worker on this process's database, which writes its log as production does."""
    environment = {
        **os.environ, "FINOPS_PROCESS": "worker", "FINOPS_QUEUE": queue, "FINOPS_EMBEDDED": "0", "LOG_LEVEL": "INFO",
        "DJANGO_SETTINGS_MODULE": "finops.settings",
    }  # fmt: skip
    celery = str(Path(sys.executable).parent / "celery")
    command = [celery, "-A", "finops", "worker", "--concurrency", "1", "--loglevel", "INFO"]
    with written.open("w") as log_file:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=log_file)
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def lines_in(written: Path, task: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in written.read_text().splitlines() if line.startswith("{")]
    return [row for row in rows if row["event"] == "task" and row["task"] == task]


def test_a_real_worker_says_and_counts_what_it_does(settings: Any, tmp_path: Path) -> None:
    settings.METRICS_TOKEN = TOKEN
    before, written = now(), tmp_path / "log"
    with worker("prompt", written), structlog.contextvars.bound_contextvars(request_id="from-the-site"):
        asked = tasks.measure.apply_async()
        deadline = time.monotonic() + 60
        while not (found := lines_in(written, "usage.measure")) and time.monotonic() < deadline:
            time.sleep(0.2)
    (line,) = [row for row in found if row["task_id"] == asked.id]
    assert (line["outcome"], line["request_id"]) == ("success", "from-the-site")
    after, names = now(), {"task": "usage.measure", "outcome": "success"}
    assert after("finops_task_seconds_count", **names) == before("finops_task_seconds_count", **names) + len(found)
    assert after("finops_task_success_timestamp_seconds", task="usage.measure") == pytest.approx(time.time(), abs=60)
    assert after("finops_measured_timestamp_seconds", app="usage") == pytest.approx(time.time(), abs=60)
    assert after("finops_worker_seen_timestamp_seconds", queue="prompt") == pytest.approx(time.time(), abs=90)


# --- what is private ---


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("mail to alice@acme.example failed", "mail to [hidden] failed"),
        ("Key (email)=(Bob.O+x@mail.acme.example) exists", "Key (email)=([hidden]) exists"),
        ("the key aif_live_f2R3wcvIrhcKxeXO8lJIbp8jHk1TNo", "the key [hidden]"),
        ("sent Authorization: Bearer some.token-1=", "sent Authorization: Bearer [hidden]"),
        ("signed by whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "signed by [hidden]"),
        ("redis://:pass%40word@10.0.0.1:6379/0", "redis://[hidden]@10.0.0.1:6379/0"),
        ("postgresql://finops_app:secret@db/finops", "postgresql://[hidden]@db/finops"),
        ("50 % of 3 @ 2", "50 % of 3 @ 2"),
    ],
)
def test_no_line_holds_what_is_private(lines: Lines, said: str, written: str) -> None:
    log.warning("said", nested={"deep": [said]})
    logging.getLogger("somebody.else").warning("%s", said)
    ours, theirs = lines()
    assert ours["nested"] == {"deep": [written]}
    assert theirs["event"] == written
