"""Signals of 5,000 workflows evaluated from readings, hour rollups and run rows, by one process."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from bench.watch_sql import analyze
from bench.worker import in_worker, timed_in_worker

WORKFLOWS = 5_000
DAYS = 28
HOURS = 72
RUNS_AN_HOUR = 2
# A day of a workflow: calls, and runs of three calls.
EVENTS, RUNS = 144, 48
TARGET_SECONDS = 60
AWAY = 50


def measure() -> Iterator[dict[str, Any]]:
    """Fills the stores as a month of use does, and evaluates twice: the first hour of a day, in which the last days are
    summed up again, and the hour after it.
    """
    secret = _organization()
    in_worker(_fill, secret)
    analyze()
    for name in ("first", "next"):
        took = timed_in_worker(_evaluate, secret)
        shared = "" if took.postgres is None else f"{took.own:.1f} s the evaluator, {took.postgres:.1f} s its backend; "
        yield {
            "name": f"watch_{name}_hour",
            "value": round(took.wall if took.processor is None else took.processor, 1),
            "unit": "s" if took.processor is None else "s of one core",
            "detail": f"{WORKFLOWS} workflows with {DAYS} days of readings, {HOURS} live hours and"
            f" {WORKFLOWS * HOURS * RUNS_AN_HOUR} runs; {shared}{took.wall:.1f} s by the clock;"
            f" target {TARGET_SECONDS}",
        }
    yield from _found(secret)


def _organization() -> str:
    from apps.organizations.services import create_organization, issue_key

    org = create_organization(name=f"watch {time.time_ns()}", owner_email="bench@example.com")
    return issue_key(org=org, name="bench", scopes=["read"]).secret


def _fill(org: Any) -> None:
    from apps.core.tenancy import tenant
    from bench.watch_sql import fill

    with tenant(org):
        fill(org.pk, _hour(), workflows=WORKFLOWS, days=DAYS, hours=HOURS, runs=RUNS_AN_HOUR, away=AWAY)


def _hour() -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def _evaluate(org: Any) -> None:
    from apps.insights import evaluating

    done = evaluating.evaluate(org.pk) or evaluating.evaluate(org.pk, at=datetime.now(UTC) + timedelta(hours=1))
    if done is None or done.workflows != WORKFLOWS:
        raise SystemExit(f"The benchmark's workflows were not evaluated: {done}")


def _found(secret: str) -> Iterator[dict[str, Any]]:
    from apps.core.tenancy import tenant
    from apps.insights.models import Incident
    from bench import statements as store

    org = store.principal_for(secret, at=datetime.now(UTC)).organization
    with tenant(org):
        own = Incident.objects.for_org(org).filter(scope_kind="workflow")
        count = own.count()
        away = own.filter(scope__lt=f"w{AWAY:05d}").count()
    yield {
        "name": "watch_incidents",
        "value": away,
        "unit": "incidents",
        "detail": f"of {AWAY} workflows that were moved; {count - away} of the {WORKFLOWS - AWAY} others",
    }
