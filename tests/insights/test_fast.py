"""The fast path: runs that run away and budgets that burn, without history but what a usual run costs."""

import json
from datetime import timedelta
from typing import Any

from apps.insights import fast
from tests.api.budgets import create
from tests.database import as_worker
from tests.insights.scenes import NOW, WORKFLOW, Scene, approve, look, open_scene, send_between, send_days, usual_run
from tests.usage.ledger import accept, rows
from tests.world import make_event, unique

MINUTE = timedelta(minutes=1)


def watch(scene: Scene, at: Any = NOW) -> int:
    with as_worker():
        return fast.look(scene.org.pk, at=at)


def send_run(scene: Scene, calls: int, *, at: Any = NOW - 10 * MINUTE, **said: Any) -> str:
    run = unique("run")
    accept(
        scene.books,
        *(
            make_event(
                occurred_at=(at + number * timedelta(seconds=2)).isoformat(),
                **{"workflow": WORKFLOW, "run_id": run, "step": number, **said},
            )
            for number in range(calls)
        ),
    )
    return run


def incidents(scene: Scene) -> list[dict[str, Any]]:
    return rows("insights_incident", scene.org)


def usual_days() -> Scene:
    scene = open_scene()
    send_days(scene, 3, 1)
    look(scene)
    return scene


def test_a_run_of_ten_times_the_usual_cost_is_told_of_at_once() -> None:
    scene = usual_days()
    run = send_run(scene, 40, usage={"input_tokens": 60_000, "output_tokens": 2_000})
    assert watch(scene) == 1
    (found,) = incidents(scene)
    assert (found["family"], found["tier"], found["scope"]) == ("runaway", "critical", WORKFLOW)
    assert found["runs"] == [run]
    (told,) = rows("budgets_crossing", scene.org)
    assert (told["kind"], told["severity"], told["run_id"]) == ("signal_opened", "critical", run)


def test_before_anything_is_usual_the_plan_says_what_a_run_may_cost() -> None:
    scene = open_scene()
    send_run(scene, 12, usage={"input_tokens": 60_000, "output_tokens": 2_000})
    assert watch(scene) == 0
    approve(scene)
    send_run(scene, 12, usage={"input_tokens": 60_000, "output_tokens": 2_000}, at=NOW)
    assert watch(scene, NOW + 5 * MINUTE) == 1
    assert json.loads(incidents(scene)[0]["signals"])[0]["rule"] == "run_cost"


def test_what_a_plan_allows_is_no_runaway_however_cheap_the_usual_run() -> None:
    scene = usual_days()
    approve(scene, calls=60, calls_max=100, input_tokens=60_000)
    send_run(scene, 40, usage={"input_tokens": 60_000, "output_tokens": 2_000})
    assert watch(scene) == 0


def test_more_of_the_same_workflow_is_the_same_incident() -> None:
    scene = usual_days()
    send_run(scene, 40, usage={"input_tokens": 60_000, "output_tokens": 2_000})
    watch(scene)
    send_run(scene, 40, usage={"input_tokens": 60_000, "output_tokens": 2_000}, at=NOW)
    assert watch(scene, NOW + 5 * MINUTE) == 0
    (found,) = incidents(scene)
    assert len(found["runs"]) == 2
    assert len(rows("budgets_crossing", scene.org)) == 1
    assert watch(scene, NOW + timedelta(hours=26)) == 0
    assert incidents(scene)[0]["state"] == "closed"


def test_the_same_tool_call_again_and_again_is_a_runaway() -> None:
    scene = open_scene()
    send_run(scene, 4, tool_name="search", tool_call_hash="abc")
    assert watch(scene) == 1
    scene = open_scene()
    send_run(scene, 3, tool_name="search", tool_call_hash="abc")
    assert watch(scene) == 0


def test_a_step_that_is_tried_again_and_again_is_a_runaway() -> None:
    scene = open_scene()
    run = unique("run")
    for attempt in range(1, 6):
        send_run(scene, 1, run_id=run, step=0, attempt=attempt)
    assert watch(scene) == 1
    assert incidents(scene)[0]["fix"] == "retry_policy"


def test_usual_runs_are_left_alone() -> None:
    scene = usual_days()
    send_between(scene, NOW - 14 * MINUTE, NOW, usual_run, runs=900)
    assert watch(scene) == 0
    assert incidents(scene) == []


def test_a_budget_that_burns_is_critical() -> None:
    scene = usual_days()
    create(scene.books.api, amount_usd="300", mode="notify")
    usage = {"input_tokens": 0, "output_tokens": 100_000}
    send_run(scene, 60, at=NOW - 4 * MINUTE, run_id=None, step=None, usage=usage)
    watch(scene)
    (found,) = [row for row in incidents(scene) if row["family"] == "budget"]
    assert (found["scope_kind"], found["tier"], found["signal"]) == ("organization", "critical", "burn")
    assert found["excess_usd"] > 80


def test_a_later_look_at_runs_takes_nothing_from_a_budget_that_burns() -> None:
    scene = usual_days()
    create(scene.books.api, amount_usd="300", mode="notify")
    usage = {"input_tokens": 0, "output_tokens": 100_000}
    send_run(scene, 60, at=NOW - 4 * MINUTE, run_id=None, step=None, usage=usage)
    with as_worker():
        fast.look_at_runs(scene.org.pk, at=NOW + MINUTE)
    watch(scene)
    assert [row["family"] for row in incidents(scene) if row["family"] == "budget"] == ["budget"]


def test_a_budget_of_tags_is_left_to_its_thresholds() -> None:
    scene = usual_days()
    create(scene.books.api, amount_usd="1", mode="notify", scope={"tags.customer": "c-1"})
    send_run(scene, 5, at=NOW - 4 * MINUTE, tags={"customer": "c-1"}, usage={"output_tokens": 100_000})
    assert watch(scene) in (0, 1)
    assert [row for row in incidents(scene) if row["family"] == "budget"] == []
