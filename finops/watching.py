"""What is logged and measured of every task: connected to Celery's signals by being imported."""

import inspect
import time
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import structlog
from celery import Task
from celery.signals import (
    after_task_publish,
    beat_init,
    before_task_publish,
    heartbeat_sent,
    task_failure,
    task_postrun,
    task_prerun,
)
from django.conf import settings
from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars

from apps.core.metrics import BEAT_TICK_AT, TASK_SECONDS, TASK_SUCCESS_AT, WORKER_SEEN_AT
from finops import figures

log = structlog.get_logger(__name__)

SEEN_SECONDS = 15
OUTCOMES = {"SUCCESS": "success", "RETRY": "retry"}


AnyTask: TypeAlias = "Task[Any, Any]"


class Started(NamedTuple):
    at: float
    # What the lines of whoever called carried, where a task is run in place.
    around: Mapping[str, Any]


_started: dict[str, Started] = {}
_is_beat = False
_seen_at = 0.0


@before_task_publish.connect
def carry_request_id(headers: dict[str, Any], **_: object) -> None:
    """A task that a request asked for says so in its lines."""
    if request_id := get_contextvars().get("request_id"):
        headers["request_id"] = request_id


@task_prerun.connect
def begin(task_id: str, task: AnyTask, args: Any, kwargs: Any, **_: object) -> None:
    _started[task_id] = Started(time.perf_counter(), get_contextvars())
    facts = {
        "task_id": task_id,
        "task": task.name,
        "organization_id": _organization_id(task, args or (), kwargs or {}),
        "request_id": (task.request.headers or {}).get("request_id"),
    }
    clear_contextvars()
    bind_contextvars(**{name: value for name, value in facts.items() if value is not None})


def _organization_id(task: AnyTask, args: Any, kwargs: Mapping[str, Any]) -> Any:
    place = _place_of_organization(task)
    return kwargs.get("organization_id", args[place] if place is not None and place < len(args) else None)


@cache
def _place_of_organization(task: AnyTask) -> int | None:
    names = list(inspect.signature(task.run).parameters)
    return names.index("organization_id") if "organization_id" in names else None


@task_postrun.connect
def end(task_id: str, task: AnyTask, state: str | None = None, **_: object) -> None:
    """Measure the run, say its one line, and leave nothing of it to the next task in this thread."""
    started = _started.pop(task_id, None)
    if started is None:
        return
    seconds = time.perf_counter() - started.at
    outcome = OUTCOMES.get(state or "", "failure")
    TASK_SECONDS.observe(seconds, task.name, outcome)
    if outcome == "success":
        TASK_SUCCESS_AT.note(int(time.time()), task.name)
    log.info("task", outcome=outcome, duration_ms=round(seconds * 1000, 1))
    clear_contextvars()
    bind_contextvars(**started.around)
    figures.push()


@task_failure.connect
def count_killed(sender: AnyTask, task_id: str, **_: object) -> None:
    """A run that was killed for its time, or died, ends in no process: the worker that notices counts it."""
    if task_id not in _started:
        TASK_SECONDS.observe(0, sender.name, "killed")
        figures.push()


@beat_init.connect
def be_beat(**_: object) -> None:
    global _is_beat
    _is_beat = True


@after_task_publish.connect
def note_tick(sender: str, **_: object) -> None:
    if _is_beat:
        BEAT_TICK_AT.note(int(time.time()), sender)
        figures.push()


@heartbeat_sent.connect
def note_worker(**_: object) -> None:
    """Celery beats every 2 seconds; that often nobody asks."""
    global _seen_at
    if time.monotonic() - _seen_at >= SEEN_SECONDS:
        _seen_at = time.monotonic()
        WORKER_SEEN_AT.note(int(time.time()), settings.QUEUE)
        figures.push()
