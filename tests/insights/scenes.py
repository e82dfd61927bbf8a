"""A workflow with weeks of usual days behind it, sent as clients send it, and an evaluator's turn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from apps.insights import evaluating
from apps.insights.evaluating import Evaluated
from apps.teams import services
from tests.database import as_worker
from tests.usage.ledger import Books, accept, open_books, roll
from tests.world import make_event, unique

# A noon after which a whole day and more has passed.
NOW = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=2)
DAYS = 29
RUNS_A_DAY = 32
BATCH = 900
TEAM, PROJECT, WORKFLOW = "search", "rag", "answers"

Run = Callable[[int], Sequence[dict[str, Any]]]


@dataclass(frozen=True)
class Scene:
    books: Books
    now: datetime

    @property
    def org(self) -> Any:
        return self.books.org


def open_scene(*workflows: str) -> Scene:
    books = open_books()
    name_workflows(books, *(workflows or (WORKFLOW,)))
    return Scene(books, NOW)


def name_workflows(books: Books, *workflows: str, team: str = TEAM, project: str = PROJECT) -> None:
    owner = services.create_team(org=books.org, slug=team, name=team, actor="tests")
    of = services.create_project(org=books.org, slug=project, name=project, team=owner, actor="tests")
    for slug in workflows:
        services.create_workflow(org=books.org, slug=slug, name=slug, project=of, actor="tests")


def usual_run(number: int, *, steps: int = 0, **said: Any) -> list[dict[str, Any]]:
    """Two to four calls of about nine cents each; each call adds to the context."""
    count = steps or 2 + number % 3
    run = unique("run")
    return [
        {
            "workflow": WORKFLOW,
            "run_id": run,
            "step": step,
            "usage": {"input_tokens": 25_000 + 600 * step + 10 * (number % 7), "output_tokens": 900},
            "task_type": "answer" if number % 2 else "search",
            "environment": "production",
            **({"outcome": "success"} if step == count - 1 else {}),
            **said,
        }
        for step in range(count)
    ]


def send_days(scene: Scene, first: int, last: int, run: Run = usual_run, *, runs: int = RUNS_A_DAY) -> None:
    """Runs of whole days, `first` to `last` before now's own day (both included), spread over each."""
    midnight = scene.now.replace(hour=0)
    for day in range(first, last - 1, -1):
        send_between(scene, midnight - timedelta(days=day), midnight - timedelta(days=day - 1), run, runs=runs)


def send_between(scene: Scene, start: datetime, end: datetime, run: Run = usual_run, *, runs: int = RUNS_A_DAY) -> None:
    """So many runs a day, from an instant to another."""
    count = max(round(runs * (end - start) / timedelta(days=1)), 1)
    events = [
        make_event(occurred_at=(start + number * (end - start) / count + timedelta(seconds=step)).isoformat(), **said)
        for number in range(count)
        for step, said in enumerate(run(number))
    ]
    for first in range(0, len(events), BATCH):
        accept(scene.books, *events[first : first + BATCH])
    roll(scene.org)


def look(scene: Scene, at: datetime | None = None) -> Evaluated | None:
    with as_worker():
        return evaluating.evaluate(scene.org.pk, at=at or scene.now)


def look_each_hour(scene: Scene, start: datetime, end: datetime) -> list[Evaluated]:
    hours = round((end - start) / timedelta(hours=1))
    found = [look(scene, start + number * timedelta(hours=1)) for number in range(hours + 1)]
    return [one for one in found if one is not None]


def approve(scene: Scene, **step: Any) -> None:
    """A plan of the workflow: runs of three calls such as `usual_run` makes, but for what is said of the step."""
    planned = {
        "name": "answer",
        "model": {"provider": "anthropic", "model": "claude-sonnet-4-5"},
        "input_tokens": 25_600,
        "output_tokens": 900,
        "calls": 3,
        **step,
    }
    body = {"steps": [planned], "runs_per_month": 1_000}
    made = scene.books.api.post("plans", {"name": unique("plan"), "workflow": WORKFLOW, "definition": body})
    assert made.status_code == 201, made.content
    done = scene.books.api.post(f"plans/{made.json()['id']}/approve", {"version": 1})
    assert done.status_code == 200, done.content
