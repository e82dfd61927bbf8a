"""The one part of the demo that no trace recorded: a support desk, whose traffic is steady enough to be watched.

Two workflows. Each of the two changes below is made in the events themselves, so that signals, incidents, plans and
savings find it as they would find a real one, and every figure leads to the calls behind it. `docs/demo.md` says so to
the reader. Pure, and drawn by hash: the same end gives the same events.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from apps.ingest.demo import places
from apps.ingest.demo.places import DRAWS, draw
from apps.ingest.timeline import WorkingWeek, epoch_ms, rfc3339

Event = dict[str, Any]

SUPPORT, TAGGING = "support-agent", "ticket-tagging"
SUPPORT_RUNS_A_DAY, TAGGING_RUNS_A_DAY = 40, 75
# Before the end of the sample: tickets go to the small model first; the date goes in front of the support agent's
# prompt in production, so that no prompt begins like the one before it.
ROUTED_BEFORE = timedelta(days=16)
BROKEN_BEFORE = timedelta(days=8)
LARGE, SMALL = "claude-sonnet-4-5", "claude-haiku-4-5"
ESCALATED_OF_100 = 22
SUCCESS_OF_100 = {SUPPORT: 94, TAGGING: 98}
CACHE_BLOCK_TOKENS = 64
PREFIX_TOKENS = 26_000
ANSWERS = (3, 4, 4, 5, 5, 5, 6, 6, 7, 9)


class Desk(WorkingWeek):
    """Customers ask at weekends too."""

    WEEKDAY = (2,) * 6 + (4, 6, 8, 10, 10, 10, 9, 9, 10, 10, 9, 8, 7, 6, 5, 4, 3, 2)
    WEEKEND = (3,) * 8 + (7,) * 12 + (4,) * 4


@dataclass(frozen=True, slots=True)
class _Run:
    """One ticket. `number(what, low, high)` draws for it."""

    workflow: str
    name: str
    at_ms: int
    end_ms: int
    task_type: str

    def number(self, what: str, low: int, high: int) -> int:
        return low + draw("desk", self.name, what) % (high - low + 1)

    def is_after(self, before: timedelta) -> bool:
        return self.at_ms >= self.end_ms - before // timedelta(milliseconds=1)

    @property
    def environment(self) -> str:
        return places.environment(self.name)

    @property
    def outcome(self) -> str:
        return "success" if self.number("outcome", 1, 100) <= SUCCESS_OF_100[self.workflow] else "failure"


def events(end: datetime, days: int) -> Iterator[Event]:
    """Every call of both workflows in the `days` before `end`, as JSON objects of `POST /api/v1/events`."""
    label = f"{end:%Y%m%dT%H%M%SZ}-{days}d"
    for run in _runs(SUPPORT, SUPPORT_RUNS_A_DAY * days, end, days, "question_answering"):
        yield from _finished(run, label, _answers(run))
    for run in _runs(TAGGING, TAGGING_RUNS_A_DAY * days, end, days, "classification"):
        yield from _finished(run, label, _tags(run))


def _runs(workflow: str, count: int, end: datetime, days: int, task_type: str) -> Iterator[_Run]:
    end_ms = epoch_ms(end)
    # A run's last call is no later than the end.
    week = Desk(end_ms - days * 86_400_000, end_ms)
    for number in range(count):
        name = f"{workflow}-{end:%Y%m%d}-{number:05}"
        at_ms = week.lay(number * DRAWS + draw("desk", "start", name), count * DRAWS, end_ms - 600_000)
        yield _Run(workflow, name, at_ms, end_ms, task_type)


def _finished(run: _Run, label: str, calls: Iterator[Event]) -> Iterator[Event]:
    """The calls with what all of a run's share; the last tells how it ended."""
    made = list(calls)
    for step, call in enumerate(made):
        yield {
            "event_id": f"invented@{label}:{run.name}/{step}",
            "occurred_at": rfc3339(run.at_ms + step * 1_000 * run.number("pace", 15, 50)),
            "provider": "anthropic",
            "team": "support",
            "project": "help-desk",
            "workflow": run.workflow,
            "environment": run.environment,
            "run_id": run.name,
            "step": step,
            "status": "ok",
            "latency_ms": 900 + draw("desk", run.name, "latency", str(step)) % 4_000,
            "tags": {"trace": "invented", "customer_tier": places.customer_tier(run.name)},
            **call,
            **({"outcome": run.outcome} if step == len(made) - 1 else {}),
        }


def _answers(run: _Run) -> Iterator[Event]:
    """The small model tells what a ticket is about; the large one answers it in a few calls, each with what the one
    before it said and looked up.
    """
    said: Event = {"workflow_version": "2.4" if run.is_after(BROKEN_BEFORE) else "2.3"}
    intake = {"input_tokens": run.number("intake", 1_500, 2_600), "output_tokens": run.number("kind", 40, 120)}
    yield {"model": SMALL, "task_type": "classification", "usage": intake, **said}
    is_broken = run.is_after(BROKEN_BEFORE) and run.environment == "prod"
    prompt, before = PREFIX_TOKENS + run.number("ticket", 800, 2_000), 0
    for call in range(ANSWERS[run.number("answers", 0, len(ANSWERS) - 1)]):
        output = run.number(f"output {call}", 220, 560)
        usage = _cached(prompt, 0 if is_broken else before, output)
        yield {"model": LARGE, "task_type": run.task_type, "usage": usage, **said}
        before, prompt = prompt, prompt + output + run.number(f"found {call}", 400, 1_400)


def _cached(prompt: int, before: int, output: int) -> Mapping[str, int]:
    """Whole blocks of the prompt before are read, the other whole blocks written; the rest is plain input."""
    read = before - before % CACHE_BLOCK_TOKENS
    rest = (prompt - read) % CACHE_BLOCK_TOKENS
    return {
        "input_tokens": rest,
        "cache_read_tokens": read,
        "cache_write_5m_tokens": prompt - read - rest,
        "output_tokens": output,
    }


def _tags(run: _Run) -> Iterator[Event]:
    """All to the large model; since the change to the small one, and what that is unsure of to the large one."""
    usage = {"input_tokens": run.number("thread", 14_000, 22_000), "output_tokens": run.number("tags", 60, 150)}
    is_routed = run.is_after(ROUTED_BEFORE)
    yield {"model": SMALL if is_routed else LARGE, "task_type": run.task_type, "usage": usage}
    if is_routed and run.number("unsure", 1, 100) <= ESCALATED_OF_100:
        again = {**usage, "input_tokens": usage["input_tokens"] + run.number("unsure of", 200, 500)}
        yield {"model": LARGE, "task_type": run.task_type, "usage": again, "escalated_from": SMALL}
