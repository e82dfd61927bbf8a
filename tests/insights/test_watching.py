"""Evaluators and lookers that come late, twice, at once, or die: through the doors that beat uses."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest

from apps.core.tenancy import tenant
from apps.insights import fast, services, tasks, watch_sql
from apps.insights.judging import judge
from finops.schedule import SCHEDULE
from tests.database import as_worker, hanging_up
from tests.insights.scenes import DAYS, NOW, WORKFLOW, Scene, look, open_scene, send_between, send_days, usual_run
from tests.usage.ledger import as_owner, rows
from tests.world import make_event, unique

MIDNIGHT = NOW.replace(hour=0)
HOUR = timedelta(hours=1)
# Nobody waits for so long but for somebody who never lets go.
NEVER_SECONDS = 60


def very_dear_run(number: int) -> list[dict[str, Any]]:
    return usual_run(number, steps=24)


@pytest.fixture
def scene() -> Scene:
    return open_scene()


def aside(work: Callable[[], Any]) -> Any:
    """What the work says that another process does meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(hanging_up(work)).result(timeout=NEVER_SECONDS)


def incidents(scene: Scene) -> list[dict[str, Any]]:
    return sorted(rows("insights_incident", scene.org), key=lambda row: row["id"])


def crossings(scene: Scene) -> list[str]:
    return sorted(row["kind"] for row in rows("budgets_crossing", scene.org))


# --- a runaway run, within a minute ---------------------------------------------------------------------


def seconds_between(name: str) -> float:
    tick: Any = SCHEDULE[name]["schedule"]
    return float(tick.run_every.total_seconds())


def test_a_runaway_is_found_at_the_next_tick_after_the_event_that_crosses(scene: Scene) -> None:
    run = unique("run")

    def send(step: int) -> None:
        said = {"workflow": WORKFLOW, "run_id": run, "step": step, "tool_name": "search", "tool_call_hash": "abc"}
        scene.books.api.send(make_event(occurred_at=datetime.now(UTC).isoformat(), **said))
        with as_worker():
            tasks.look_at_runs()

    for step in range(3):
        send(step)
    assert incidents(scene) == []
    send(3)
    (found,) = incidents(scene)
    assert (found["family"], found["tier"], found["runs"]) == ("runaway", "critical", [run])
    (told,) = rows("budgets_crossing", scene.org)
    assert (told["severity"], told["run_id"]) == ("critical", run)
    with as_worker():
        tasks.look_at_runs()
    assert len(incidents(scene)) == 1


def test_the_ticks_between_an_event_and_its_alert_are_less_than_a_minute() -> None:
    # The rest is for a batch on its way, its rollup, and the work of both tasks.
    assert seconds_between("runaway-runs") + seconds_between("alerts") <= 50


def test_where_nothing_was_sent_nothing_is_looked_at(scene: Scene) -> None:
    later = datetime.now(UTC) + timedelta(hours=2)
    with as_worker():
        fast.look(scene.org.pk, at=later)
        with patch("apps.insights.fast._look") as looked:
            fast.look_at_runs(scene.org.pk, at=later + HOUR)
    assert not looked.called


# --- at once --------------------------------------------------------------------------------------------


def test_a_look_does_not_wait_for_an_evaluation_nor_is_an_hour_lost_to_a_look(scene: Scene) -> None:
    look(scene, NOW - HOUR)
    later = NOW + HOUR

    def evaluate() -> Any:
        return look(scene, NOW)

    def look_fast() -> Any:
        with as_worker():
            fast.look(scene.org.pk, at=later)
        return rows("insights_watcher", scene.org)[0]["fast_at"]

    with as_worker(), tenant(scene.org):
        assert watch_sql.take_turn(scene.org.pk, "hour") is not None
        assert aside(look_fast) == later
        assert aside(evaluate) is None
    with as_worker(), tenant(scene.org):
        assert watch_sql.take_turn(scene.org.pk, "look") is not None
        assert aside(evaluate) is not None


def test_who_answers_while_an_hour_is_evaluated_neither_waits_nor_is_overruled(scene: Scene) -> None:
    send_days(scene, DAYS, 1)
    send_between(scene, MIDNIGHT, NOW, very_dear_run, runs=96)
    look(scene)
    (one,) = incidents(scene)
    answered: list[Any] = []

    def answer() -> Any:
        with patch("apps.insights.services.timezone.now", return_value=NOW + timedelta(minutes=6)):
            return services.answer(
                org=scene.org, incident_id=one["id"], act="dismiss", reason="a test of ours", actor="ann"
            )

    def slow(*arguments: Any, **named: Any) -> Any:
        if not answered:
            answered.append(aside(answer))
        return judge(*arguments, **named)

    with patch("apps.insights.evaluating.judge", slow):
        assert look(scene, NOW + HOUR) is not None
    assert [row["state"] for row in incidents(scene)] == ["dismissed"]
    assert crossings(scene) == ["signal_opened"]


def test_what_a_killed_evaluator_left_is_done_once_by_the_next(scene: Scene) -> None:
    send_days(scene, DAYS, 1)
    send_between(scene, MIDNIGHT, NOW, very_dear_run, runs=96)
    killed = patch("apps.insights.evaluating.watch_sql.note_hour", side_effect=KeyboardInterrupt)
    with killed, pytest.raises(KeyboardInterrupt):
        look(scene)
    assert (incidents(scene), crossings(scene)) == ([], [])
    assert look(scene) is not None
    assert look(scene) is None
    assert (len(incidents(scene)), crossings(scene)) == (1, ["signal_opened"])


# --- after an outage ------------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [6, 72])
def test_after_an_outage_of_its_own_it_says_since_when_and_has_every_day(scene: Scene, hours: int) -> None:
    send_days(scene, DAYS, 1)
    send_between(scene, MIDNIGHT, NOW - 5 * HOUR)
    send_between(scene, NOW - 5 * HOUR, NOW, very_dear_run, runs=96)
    assert look(scene, NOW - hours * HOUR) is not None
    assert incidents(scene) == []
    assert look(scene) is not None
    (found,) = incidents(scene)
    assert found["opened_at"] == NOW
    assert NOW - 7 * HOUR <= found["since"] <= NOW - 3 * HOUR
    days = {row["day_start"] for row in rows("insights_reading", scene.org) if row["workflow"] == WORKFLOW}
    assert days == {MIDNIGHT - timedelta(days=day) for day in range(1, DAYS + 1)}


def test_what_came_and_went_while_nobody_looked_is_not_told(scene: Scene) -> None:
    send_days(scene, DAYS, 3)
    look(scene, MIDNIGHT - 48 * HOUR)
    send_between(scene, MIDNIGHT - 48 * HOUR, MIDNIGHT - 42 * HOUR, very_dear_run, runs=96)
    send_between(scene, MIDNIGHT - 42 * HOUR, NOW)
    assert look(scene) is not None
    assert [row for row in incidents(scene) if row["closed_at"] is None] == []


# --- names that go --------------------------------------------------------------------------------------


def test_an_incident_of_a_name_that_nothing_is_counted_under_is_over(scene: Scene) -> None:
    send_days(scene, DAYS, 1)
    send_between(scene, MIDNIGHT, NOW, very_dear_run, runs=96)
    look(scene)
    for table in ("usage_hourrollup", "usage_dayrollup", "usage_run"):
        as_owner(f"UPDATE {table} SET workflow = 'replies' WHERE organization_id = %s RETURNING 1", scene.org.pk)
    look(scene, NOW + HOUR)
    before, after = (row for row in incidents(scene) if row["scope_kind"] == "workflow")
    assert (before["scope"], before["state"]) == (WORKFLOW, "closed")
    assert "nothing is counted under this name" in json.loads(before["history"])[-1]["what"]
    assert (after["scope"], after["state"]) == ("replies", "open")
    states = {row["scope"]: json.loads(row["states"]) for row in rows("insights_watch", scene.org)}
    assert states[WORKFLOW] == {}
