"""Incidents, answers, series and marks through the API."""

from datetime import timedelta
from typing import Any

import pytest

from tests.api.tenants import make_api
from tests.insights.scenes import DAYS, NOW, PROJECT, TEAM, WORKFLOW, Scene, look, open_scene, send_between, send_days
from tests.insights.test_evaluating import dear_run
from tests.usage.ledger import rows


@pytest.fixture
def scene() -> Scene:
    """With one open incident."""
    scene = open_scene()
    send_days(scene, DAYS, 1)
    send_between(scene, NOW.replace(hour=0), NOW, dear_run, runs=64)
    look(scene)
    return scene


def listed(scene: Scene, **query: str) -> list[dict[str, Any]]:
    answer = scene.books.api.get("signals", **query)
    assert answer.status_code == 200, answer.content
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


def test_incidents_are_listed_and_read_with_amounts_as_strings(scene: Scene) -> None:
    (found,) = listed(scene)
    assert found == scene.books.api.get(f"signals/{found['id']}").json()
    assert (found["state"], found["scope_kind"], found["scope"]) == ("open", "workflow", WORKFLOW)
    assert isinstance(found["excess_usd"], str)
    assert {"loops_per_run", "cost_per_run"} <= {one["signal"] for one in found["signals"]}
    assert found["runs"]


def test_filters_keep_what_they_name(scene: Scene) -> None:
    kept = ({"state": "live"}, {"state": "open"}, {"team": TEAM}, {"workflow": WORKFLOW}, {"project": PROJECT},
            {"signal": "loops_per_run"}, {"tier": "digest"})  # fmt: skip
    for asked in kept:
        assert len(listed(scene, **asked)) == 1, asked
    for asked in ({"state": "closed"}, {"team": "other"}, {"team": ""}, {"workflow": "x"}, {"signal": "retry_rate"}):
        assert listed(scene, **asked) == [], asked


@pytest.mark.parametrize(("query", "code"), [
    ({"state": "gone"}, "state_unknown"),
    ({"signal": "mood"}, "signal_unknown"),
    ({"tier": "loud"}, "tier_unknown"),
    ({"cursor": "%%%"}, "cursor_invalid"),
    ({"limit": "0"}, "limit_invalid"),
    ({"colour": "red"}, "parameter_unknown"),
])  # fmt: skip
def test_a_list_that_cannot_be_asked_for_says_what_can(query: dict[str, str], code: str) -> None:
    answer = open_scene().books.api.get("signals", **query)
    assert (answer.status_code, answer.json()["code"]) == (400, code)


def test_an_answer_may_be_repeated_and_not_be_changed(scene: Scene) -> None:
    (found,) = listed(scene)
    api = scene.books.api
    taken = api.post(f"signals/{found['id']}/acknowledge", {}).json()
    assert (taken["state"], taken["closed_at"]) == ("acknowledged", None)
    done = api.post(f"signals/{found['id']}/dismiss", {"reason": "a test of ours"})
    assert (done.json()["state"], done.json()["is_useful"]) == ("dismissed", False)
    assert api.post(f"signals/{found['id']}/dismiss", {"reason": "again"}).json() == done.json()
    refused = api.post(f"signals/{found['id']}/resolve", {})
    assert (refused.status_code, refused.json()["code"]) == (409, "incident_ended")


@pytest.mark.parametrize("act", ["expect", "dismiss"])
def test_an_answer_that_silences_needs_a_reason(scene: Scene, act: str) -> None:
    (found,) = listed(scene)
    answer = scene.books.api.post(f"signals/{found['id']}/{act}", {})
    assert (answer.status_code, answer.json()["code"]) == (400, "reason_invalid")
    assert listed(scene)[0]["state"] == "open"


def test_a_pinned_key_reads_and_answers_its_own(scene: Scene) -> None:
    (found,) = listed(scene)
    own, other = make_api(scene.org, team=TEAM), make_api(scene.org, team="other")
    assert [one["id"] for one in own.get("signals").json()["data"]] == [found["id"]]
    assert other.get("signals").json()["data"] == []
    for answer in (
        other.get(f"signals/{found['id']}"),
        other.post(f"signals/{found['id']}/acknowledge", {}),
        other.get(f"workflows/{WORKFLOW}/signals"),
    ):
        assert answer.status_code == 404
    assert own.post(f"signals/{found['id']}/acknowledge", {}).status_code == 200
    assert make_api(scene.org, environment="production").get("signals").status_code == 403


def test_a_workflow_has_its_signals_by_day_with_baseline_and_band(scene: Scene) -> None:
    look(scene, NOW + timedelta(hours=13))
    asked = {"from": (NOW - timedelta(days=20)).isoformat(), "to": (NOW + timedelta(hours=13)).isoformat()}
    answer = scene.books.api.get(f"workflows/{WORKFLOW}/signals", **asked)
    assert answer.status_code == 200, answer.content
    series = {one["signal"]: one["points"] for one in answer.json()["data"]}
    loops = series["loops_per_run"]
    assert len(loops) == 20
    assert loops[0]["value"] == pytest.approx(2.88, abs=0.2)
    assert loops[-1]["value"] == pytest.approx(9.0)
    assert loops[-1]["low"] < loops[-1]["baseline"] < loops[-1]["high"] < 9
    assert loops[-1]["status"] == "alarm"
    assert "escalation_rate" in series


def test_a_series_is_asked_for_within_its_limits(scene: Scene) -> None:
    api = scene.books.api
    assert api.get("workflows/nobody/signals").status_code == 404
    long = api.get(f"workflows/{WORKFLOW}/signals", **{"from": "2026-01-01T00:00:00Z", "to": "2026-09-01T00:00:00Z"})
    assert (long.status_code, long.json()["code"]) == (400, "range_too_long")


# --- marks ----------------------------------------------------------------------------------------------


def mark(**said: Any) -> dict[str, Any]:
    return {
        "kind": "event", "name": "Sale", "starts_at": (NOW - timedelta(days=1)).isoformat(),
        "ends_at": (NOW + timedelta(days=1)).isoformat(), **said,
    }  # fmt: skip


def test_a_mark_is_set_changed_and_removed() -> None:
    api = open_scene().books.api
    made = api.post("marks", mark(scope_kind="workflow", scope=WORKFLOW))
    assert made.status_code == 201, made.content
    number = made.json()["id"]
    assert api.get("marks").json()["data"] == [made.json()]
    assert api.call("put", f"marks/{number}", mark(name="Long sale")).json()["name"] == "Long sale"
    assert api.call("delete", f"marks/{number}").status_code == 204
    assert api.get("marks").json()["data"] == []
    assert api.call("delete", f"marks/{number}").status_code == 404


@pytest.mark.parametrize(("said", "code"), [
    ({"kind": "mood"}, "kind_unknown"),
    ({"name": "a\nb"}, "name_invalid"),
    ({"scope_kind": "workflow", "scope": "nobody"}, "scope_unknown"),
    ({"scope_kind": "planet"}, "scope_unknown"),
    ({"scope": "answers"}, "scope_unknown"),
    ({"ends_at": "2020-01-01T00:00:00Z"}, "range_empty"),
    ({"ends_at": "2029-01-01T00:00:00Z"}, "range_too_long"),
])  # fmt: skip
def test_a_mark_that_makes_no_sense_changes_nothing(said: dict[str, Any], code: str) -> None:
    scene = open_scene()
    answer = scene.books.api.post("marks", mark(**said))
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert rows("insights_mark", scene.org) == []


def test_a_mark_explains_volume_and_not_units() -> None:
    scene = open_scene()
    send_days(scene, DAYS, 1)
    # The same runs, twenty times as many.
    send_between(scene, NOW.replace(hour=0), NOW, runs=640)
    assert scene.books.api.post("marks", mark()).status_code == 201
    look(scene)
    assert listed(scene) == []
    send_between(scene, NOW, NOW + timedelta(hours=12), dear_run, runs=640)
    look(scene, NOW + timedelta(hours=12))
    (found,) = listed(scene)
    assert "spend_per_hour" not in {one["signal"] for one in found["signals"]}
