"""Evaluations, from events that clients sent to incidents."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier
from typing import Any
from unittest.mock import patch

import pytest

from apps.core.tenancy import tenant
from apps.insights import digests, services
from apps.insights import incidents as incidents_of
from apps.insights.wording import change_words
from tests.database import as_worker, hanging_up
from tests.insights.scenes import (
    DAYS,
    NOW,
    WORKFLOW,
    Scene,
    approve,
    look,
    open_scene,
    send_between,
    send_days,
    usual_run,
)
from tests.usage.ledger import as_owner, rows

MIDNIGHT = NOW.replace(hour=0)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
def scene() -> Scene:
    return open_scene()


def incidents(scene: Scene) -> list[dict[str, Any]]:
    return rows("insights_incident", scene.org)


def crossings(scene: Scene) -> list[tuple[str, str]]:
    return sorted((row["kind"], row["severity"]) for row in rows("budgets_crossing", scene.org))


def dear_run(number: int) -> list[dict[str, Any]]:
    """Three times the steps of a usual one."""
    return usual_run(number, steps=9)


def very_dear_run(number: int) -> list[dict[str, Any]]:
    """More than ten times the gate of a notice."""
    return usual_run(number, steps=24)


def dear_answers(number: int) -> list[dict[str, Any]]:
    return dear_run(number) if number % 2 else usual_run(number)


# --- before anything is usual ----------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "signals"), [({"calls": 1}, True), ({"calls": 9, "calls_max": 30}, False)])
def test_while_a_workflow_is_learning_its_plan_is_what_counts(
    scene: Scene, step: dict[str, Any], signals: bool
) -> None:
    approve(scene, **step)
    send_days(scene, 4, 1, runs=96)
    send_between(scene, MIDNIGHT, NOW, usual_run, runs=96)
    look(scene, NOW - HOUR)
    look(scene)
    found = [
        one["signal"] for incident in incidents(scene) for one in json.loads(incident["signals"]) if one["in_alarm"]
    ]
    assert ("loops_per_run" in found) is signals
    assert ("cost_per_run" in found) is signals


def test_without_a_plan_a_workflow_that_is_learning_is_left_alone(scene: Scene) -> None:
    send_days(scene, 4, 1, runs=96)
    send_between(scene, MIDNIGHT, NOW, dear_run, runs=96)
    look(scene, NOW - HOUR)
    look(scene)
    assert incidents(scene) == []


# --- what opens -----------------------------------------------------------------------------------------


def test_what_grows_opens_one_incident_that_says_what_where_and_how_much(scene: Scene) -> None:
    send_days(scene, DAYS, 1)
    send_between(scene, MIDNIGHT, NOW, dear_answers, runs=96)
    assert look(scene, NOW - 13 * HOUR) is not None
    assert incidents(scene) == []
    done = look(scene)
    assert done is not None
    assert (done.workflows, done.opened) == (1, 1)
    (found,) = incidents(scene)
    assert (found["scope_kind"], found["scope"], found["team"]) == ("workflow", WORKFLOW, "search")
    assert (found["state"], found["tier"], found["family"]) == ("open", "digest", "loops")
    assert 10 < found["excess_usd"] < 30
    assert NOW - 36 * HOUR <= found["since"] <= NOW
    assert {"loops_per_run", "cost_per_run"} <= {one["signal"] for one in json.loads(found["signals"])}
    assert crossings(scene) == []


def test_what_is_still_there_a_day_later_is_told(scene: Scene) -> None:
    send_days(scene, DAYS, 1)
    send_between(scene, MIDNIGHT, NOW + DAY, dear_answers, runs=96)
    look(scene)
    assert look(scene, NOW + DAY - HOUR) is not None
    assert crossings(scene) == []
    look(scene, NOW + DAY)
    assert crossings(scene) == [("signal_opened", "warning")]
    assert [one["tier"] for one in incidents(scene)] == ["notify"]
    look(scene, NOW + DAY + HOUR)
    assert len(crossings(scene)) == 1


def test_what_is_very_dear_is_told_at_once(scene: Scene) -> None:
    send_days(scene, DAYS, 1)
    send_between(scene, MIDNIGHT, NOW, very_dear_run, runs=96)
    look(scene)
    assert [one["tier"] for one in incidents(scene)] == ["notify"]
    assert crossings(scene) == [("signal_opened", "warning")]


def test_it_says_where_the_change_lies_and_shows_the_runs(scene: Scene) -> None:
    send_days(scene, DAYS, 1)
    send_between(scene, MIDNIGHT, NOW, dear_answers, runs=96)
    look(scene)
    (found,) = incidents(scene)
    cause = json.loads(found["cause"])
    assert cause["cells"][0]["cell"] == {"task_type": "answer"}
    assert cause["words"].startswith("task type answer: ")
    long = as_owner("SELECT run_id FROM usage_run WHERE organization_id = %s AND steps = 9", scene.org.pk)
    assert len(found["runs"]) == 10
    assert set(found["runs"]) <= {row["run_id"] for row in long}
    assert found["fix"] == "bound_loop"


def test_usual_days_open_nothing(scene: Scene) -> None:
    send_days(scene, DAYS, 1)
    send_between(scene, MIDNIGHT, NOW)
    assert look(scene) is not None
    assert incidents(scene) == []


def test_a_first_fortnight_is_learned_from(scene: Scene) -> None:
    send_days(scene, 10, 1)
    send_between(scene, MIDNIGHT, NOW, dear_run, runs=64)
    look(scene)
    assert incidents(scene) == []


def test_an_organization_without_calls_has_nothing_to_evaluate() -> None:
    scene = open_scene()
    done = look(scene)
    assert done is not None
    assert (done.workflows, done.opened) == (0, 0)
    assert look(scene) is None


def test_an_hour_is_evaluated_once(scene: Scene) -> None:
    send_days(scene, DAYS, 1)
    send_between(scene, MIDNIGHT, NOW, very_dear_run, runs=96)
    assert look(scene) is not None
    before = incidents(scene)
    assert look(scene) is None
    assert look(scene, NOW + timedelta(minutes=40)) is None
    assert incidents(scene) == before
    assert look(scene, NOW + HOUR) is not None
    (after,) = incidents(scene)
    assert (after["id"], after["last_seen_at"]) == (before[0]["id"], NOW + HOUR)
    assert len(crossings(scene)) == 1


def test_of_two_evaluators_at_once_one_opens_the_incident(scene: Scene) -> None:
    send_days(scene, DAYS, 1)
    send_between(scene, MIDNIGHT, NOW, very_dear_run, runs=96)
    together = Barrier(4)

    @hanging_up
    def evaluate() -> bool:
        together.wait()
        return look(scene) is not None

    with ThreadPoolExecutor(4) as pool:
        done = [one.result() for one in [pool.submit(evaluate) for _ in range(4)]]
    assert done.count(True) == 1
    assert len(incidents(scene)) == 1
    assert crossings(scene) == [("signal_opened", "warning")]


def test_the_index_keeps_an_incident_single_where_nothing_else_did(scene: Scene) -> None:
    send_days(scene, DAYS, 1)
    send_between(scene, MIDNIGHT, NOW, dear_run, runs=64)
    look(scene)
    as_owner("UPDATE insights_watcher SET hour = NULL WHERE organization_id = %s", scene.org.pk)
    begin = incidents_of.begin

    def blind(*arguments: Any, **named: Any) -> Any:
        return replace(begin(*arguments, **named), live=[])

    with patch("apps.insights.incidents.begin", blind):
        done = look(scene)
    assert done is not None
    assert done.opened == 0
    assert len(incidents(scene)) == 1


# --- what is missing ------------------------------------------------------------------------------------


def test_a_workflow_without_calls_alarms_nobody(scene: Scene) -> None:
    send_days(scene, DAYS, 3)
    for hour in (0, 6, 24, 48):
        look(scene, NOW + hour * HOUR)
    assert incidents(scene) == []


def test_an_incident_of_what_stopped_is_over(scene: Scene) -> None:
    send_days(scene, DAYS, 1)
    send_between(scene, MIDNIGHT, NOW, very_dear_run, runs=96)
    look(scene)
    look(scene, NOW + 60 * HOUR)
    (still,) = incidents(scene)
    assert still["closed_at"] is None
    look(scene, NOW + 73 * HOUR)
    (over,) = incidents(scene)
    assert (over["state"], over["closed_at"]) == ("closed", NOW + 73 * HOUR)
    assert crossings(scene) == [("signal_closed", "info"), ("signal_opened", "warning")]


def test_days_of_which_nothing_came_are_no_part_of_a_baseline(scene: Scene) -> None:
    send_days(scene, DAYS, 12)
    send_days(scene, 7, 1)
    send_between(scene, MIDNIGHT, NOW)
    look(scene)
    assert incidents(scene) == []


# --- what comes late ------------------------------------------------------------------------------------


def readings(scene: Scene) -> dict[Any, int]:
    return {
        row["day_start"]: int(row["runs"]) for row in rows("insights_reading", scene.org) if row["workflow"] == WORKFLOW
    }


def test_a_day_is_written_again_when_something_arrived_late(scene: Scene) -> None:
    send_days(scene, 3, 1)
    look(scene)
    late = MIDNIGHT - timedelta(days=2)
    assert readings(scene)[late] == 32
    send_between(scene, late + 8 * HOUR, late + 9 * HOUR, runs=240)
    look(scene, NOW + HOUR)
    assert readings(scene)[late] == 42


def test_what_callers_say_of_runs_later_is_read_the_next_day(scene: Scene) -> None:
    send_days(scene, 2, 1)
    look(scene)
    day = MIDNIGHT - timedelta(days=1)
    as_owner(
        "UPDATE usage_run SET said_outcome = 'failure' WHERE organization_id = %s AND first_at >= %s",
        scene.org.pk, day,
    )  # fmt: skip
    look(scene, NOW + 24 * HOUR)
    failed = {row["day_start"]: int(row["failed_runs"]) for row in rows("insights_reading", scene.org)}
    assert failed[day] == 0 or failed[day] == 32
    (of_workflow,) = as_owner(
        "SELECT failed_runs, dead_usd = run_usd AS is_dead FROM insights_reading"
        " WHERE organization_id = %s AND workflow = %s AND day_start = %s", scene.org.pk, WORKFLOW, day,
    )  # fmt: skip
    assert (int(of_workflow["failed_runs"]), of_workflow["is_dead"]) == (32, True)


# --- what people say ------------------------------------------------------------------------------------


def opened(scene: Scene, run: Any = dear_run) -> int:
    send_days(scene, DAYS, 1)
    send_between(scene, MIDNIGHT, NOW, run, runs=96)
    look(scene)
    return int(incidents(scene)[0]["id"])


def say(scene: Scene, act: str, incident_id: int) -> None:
    with patch("apps.insights.services.timezone.now", return_value=NOW + timedelta(minutes=5)):
        services.answer(org=scene.org, incident_id=incident_id, act=act, reason="we know", actor="tests")


@pytest.mark.parametrize("act", ["expect", "dismiss", "resolve"])
def test_what_was_answered_does_not_open_again(scene: Scene, act: str) -> None:
    say(scene, act, opened(scene))
    send_between(scene, NOW, NOW + 24 * HOUR, dear_run, runs=64)
    for hour in (1, 2, 12, 24):
        look(scene, NOW + hour * HOUR)
    assert len(incidents(scene)) == 1


def test_what_is_acknowledged_goes_on(scene: Scene) -> None:
    say(scene, "acknowledge", opened(scene))
    look(scene, NOW + HOUR)
    (found,) = incidents(scene)
    assert (found["state"], found["last_seen_at"], found["answered_by"]) == ("acknowledged", NOW + HOUR, "tests")


def test_what_is_expected_is_the_new_normal_and_a_change_from_it_is_seen(scene: Scene) -> None:
    say(scene, "expect", opened(scene))
    for day in range(16):
        start = MIDNIGHT + timedelta(days=day, hours=12 if day == 0 else 0)
        send_between(scene, start, MIDNIGHT + timedelta(days=day + 1), dear_run, runs=32)
    later = MIDNIGHT + timedelta(days=16)
    look(scene, later)
    assert len(incidents(scene)) == 1
    send_between(
        scene, later, later + 12 * HOUR,
        lambda number: [{**said, "usage": {"input_tokens": 90_000, "output_tokens": 900}} for said in dear_run(number)],
        runs=64,
    )  # fmt: skip
    look(scene, later + 12 * HOUR)
    assert [row["state"] for row in sorted(incidents(scene), key=lambda row: row["id"])] == ["expected", "open"]


def test_a_band_that_is_reached_again_closes_it(scene: Scene) -> None:
    opened(scene)
    send_between(scene, NOW, NOW + 60 * HOUR)
    look(scene, NOW + 6 * HOUR)
    assert incidents(scene)[0]["closed_at"] is None
    look(scene, NOW + 60 * HOUR)
    assert incidents(scene)[0]["state"] == "closed"
    for entry in json.loads(incidents(scene)[0]["signals"]):
        assert float(entry["peak"]["excess_usd"]) >= float(entry["excess_usd"]) > 0
        assert " at its peak, where " in change_words(entry)
    # Within a week nobody is told of the same again, unless it doubles.
    send_between(scene, NOW + 60 * HOUR, NOW + 84 * HOUR, dear_run, runs=64)
    look(scene, NOW + 84 * HOUR)
    assert len(incidents(scene)) == 1


def test_feedback_moves_the_gate_once_a_month(scene: Scene) -> None:
    first = opened(scene, very_dear_run)
    as_owner(
        "INSERT INTO insights_incident (organization_id, scope_kind, scope, family, signal, state, tier, opened_at,"
        " since, last_seen_at, closed_at, signals, cause, runs, fix, history, answered_by, reason, is_useful)"
        " SELECT organization_id, scope_kind, 'other', family, signal, 'dismissed', 'notify', opened_at, since,"
        " last_seen_at, opened_at, '[]', '{}', '{}', '', '[]', 'ann', 'noise', false FROM insights_incident"
        " WHERE organization_id = %s", scene.org.pk,
    )  # fmt: skip
    services.rate(org=scene.org, incident_id=first, is_useful=False, actor="tests")
    with as_worker(), tenant(scene.org):
        assert digests.move_gate(scene.org.pk, NOW + HOUR) == 125
        assert digests.move_gate(scene.org.pk, NOW + 2 * HOUR) == 125


# --- what moves together --------------------------------------------------------------------------------


def test_three_workflows_of_a_team_that_move_together_are_one_incident_of_the_team() -> None:
    scene = open_scene("one", "two", "three")

    def every(run: Any) -> Any:
        names = ("one", "two", "three")
        return lambda number: [{**said, "workflow": names[number % 3]} for said in run(number)]

    send_days(scene, DAYS, 1, every(usual_run), runs=99)
    send_between(scene, MIDNIGHT, NOW, every(dear_run), runs=192)
    look(scene)
    found = incidents(scene)
    (team,) = [row for row in found if row["scope_kind"] == "team"]
    below = [row for row in found if row["scope_kind"] == "workflow"]
    assert {row["scope"] for row in below} == {"one", "two", "three"}
    assert {row["parent_id"] for row in below} == {team["id"]}
    assert crossings(scene) == [("signal_opened", "warning")]
