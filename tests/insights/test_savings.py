"""Recommendations from calls to ledger, through the API: found, answered, found again, and measured."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine

from apps.core.tenancy import tenant
from apps.insights.models_savings import Recommendation
from apps.organizations.services import issue_key
from tests.insights.desks import LONG, NOON, Desk, set_desk
from tests.world import Api, make_tenant


@pytest.fixture
def desk() -> Desk:
    return set_desk()


@pytest.fixture
def easy(desk: Desk) -> Desk:
    """A desk of which one thing is found: easy work on a large model."""
    desk.easy()
    assert desk.find() == 1
    return desk


def one_of(desk: Desk, **asked: Any) -> dict[str, Any]:
    (row,) = desk.told(**asked).values()
    return row


def answer(desk: Desk, act: str, body: dict[str, Any] | None = None, expect: int = 200) -> dict[str, Any]:
    row = one_of(desk, vanished="all")
    response = desk.tenant.api.post(f"recommendations/{row['id']}/{act}", body or {})
    assert response.status_code == expect, response.content
    said: dict[str, Any] = response.json()
    return said


# --- finding --------------------------------------------------------------------------------------------


def test_easy_work_on_a_large_model_is_found_from_its_own_calls(easy: Desk) -> None:
    """200 calls of 0.5715 USD in 20 days: 171 USD a month, of which a third and 15 % would be left."""
    row = one_of(easy)
    assert (row["kind"], row["workflow"], row["team"], row["state"]) == ("route_down", "triage", "support", "open")
    assert row["evidence"]["to_model"] == "claude-haiku-4-5"
    assert row["evidence"]["calls"] == 200
    scope = Decimal(row["scope_usd"])
    assert scope == pytest.approx(Decimal("114.3") * 30 / 20, rel=Decimal("0.08"))
    assert Decimal(row["headline_usd"]) == Decimal(row["saving_usd"]["p10"])
    assert row["label"] == "quality_unverified"
    assert row["runs_needed"] == 652
    assert row["title"] == "Try claude-haiku-4-5 before claude-sonnet-4-5"


def test_nothing_is_found_of_nothing(desk: Desk) -> None:
    assert desk.find() == 0
    assert desk.told() == {}


def test_unpriced_calls_are_no_saving(desk: Desk) -> None:
    desk.easy(model="nobody-knows-this")
    assert desk.find() == 0


def test_calls_of_no_known_workflow_are_nobodys(desk: Desk) -> None:
    desk.easy(workflow="unheard-of")
    assert desk.find() == 0


def test_repeats_within_a_day_are_found(desk: Desk) -> None:
    """Ten requests, each sent nine times within an hour: eight repeats each. A retry and a failure are none."""
    calls = [
        desk.call(3 + number / 1000, task_type="embedding", request_hash=f"request-{number % 10}")
        for number in range(90)
    ]
    retry = desk.call(3.5, task_type="embedding", request_hash="request-1", attempt=2)
    failure = desk.call(3.6, task_type="embedding", request_hash="request-2", status="error")
    old = desk.call(20, task_type="embedding", request_hash="request-3")
    desk.send(*calls, retry, failure, old)
    desk.find()
    assert desk.told()["reuse_answers"]["evidence"]["repeats"] == 80


def run(desk: Desk, name: str, calls: int, outcome: str, days: float = 4) -> list[dict[str, Any]]:
    """Calls a minute apart, each with the context of those before it."""
    return [
        desk.call(
            days - number / 1440, run_id=name, step=number, task_type="support",
            usage={"input_tokens": 4_000 + 2_000 * number, "output_tokens": 200},
            outcome=outcome if number == calls - 1 else None,
        )
        for number in range(calls)
    ]  # fmt: skip


def test_loops_are_replayed_at_the_bound(desk: Desk) -> None:
    """114 short runs and 6 of 80 calls that fail: what the six spent after the third call is exactly known."""
    short = [event for number in range(114) for event in run(desk, f"short-{number}", 3, "success", 3 + number % 9)]
    long = [event for number in range(6) for event in run(desk, f"long-{number}", 80, "failure")]
    desk.send(*short, *long)
    desk.find()
    row = desk.told()["bound_loops"]
    assert (row["evidence"]["bound"], row["evidence"]["runs_cut"]) == (3, 6)

    def usd(first: int, end: int) -> float:
        return sum((4_000 + 2_000 * number) * 3e-6 + 200 * 15e-6 for number in range(first, end))

    share = 6 * usd(3, 80) / (114 * usd(0, 3) + 6 * usd(0, 80))
    assert row["evidence"]["beyond_share"] == pytest.approx(share)
    assert len(row["runs"]) == 5
    assert all(name.startswith("long-") for name in row["runs"])


def test_what_a_run_sends_again_could_be_cached(desk: Desk) -> None:
    """A run of 40 calls a minute apart: each prompt holds all of the one before."""
    desk.send(*(event for number in range(3) for event in run(desk, f"run-{number}", 40, "success")))
    desk.find()
    row = desk.told()["enable_caching"]
    prompts = [4_000 + 2_000 * number for number in range(40)]
    assert row["evidence"]["reusable_5m"] == pytest.approx(sum(prompts[:-1]) / sum(prompts))
    assert row["label"] == "answers_unchanged"
    assert row["headline_usd"] == row["saving_usd"]["p50"]


def test_calls_of_other_days_do_not_count(desk: Desk) -> None:
    """Today is not over, and 28 days are looked at."""
    desk.send(*(desk.call(days, task_type="classification") for days in [0.5] * 30 + [33] * 30))
    assert desk.find() == 0


def test_it_is_looked_for_once_a_week(easy: Desk) -> None:
    from apps.insights import recommending
    from tests.database import as_worker

    with as_worker():
        assert recommending.find(easy.tenant.org.pk) == 0
    with time_machine.travel(datetime.now(UTC) + timedelta(days=8), tick=False), as_worker():
        assert recommending.find(easy.tenant.org.pk) == 1


# --- found again ----------------------------------------------------------------------------------------


@pytest.fixture
def later() -> Iterator[Any]:
    """Moves the clock of the process; Postgres keeps its own."""
    with time_machine.travel(datetime.now(UTC), tick=False) as clock:
        yield clock


def test_what_is_found_again_stays_the_same_recommendation(easy: Desk) -> None:
    before = one_of(easy)
    easy.easy(200)
    easy.find()
    after = one_of(easy)
    assert after["id"] == before["id"]
    assert after["first_found_at"] == before["first_found_at"]
    assert Decimal(after["scope_usd"]) == pytest.approx(2 * Decimal(before["scope_usd"]), rel=Decimal("0.01"))


def test_what_is_not_found_any_more_vanishes_and_may_come_back(easy: Desk, later: Any) -> None:
    later.shift(timedelta(days=40))
    easy.find()
    assert easy.told() == {}
    assert one_of(easy, vanished="yes")["vanished_at"] is not None
    later.shift(timedelta(days=-40))
    easy.find()
    assert one_of(easy)["vanished_at"] is None


def test_a_dismissed_one_stays_away_for_90_days(easy: Desk, later: Any) -> None:
    answer(easy, "dismiss", {"reason": "quality matters more"})
    easy.find()
    assert one_of(easy)["state"] == "dismissed"
    with tenant(easy.tenant.org):
        rows = Recommendation.objects.for_org(easy.tenant.org)
        rows.update(decided_at=datetime.now(UTC) - timedelta(days=91))
    easy.find()
    row = one_of(easy)
    assert (row["state"], row["reason"], row["decided_at"]) == ("open", "", None)


def test_a_dismissed_one_comes_back_once_its_saving_doubles(easy: Desk) -> None:
    answer(easy, "dismiss", {"reason": "too little"})
    easy.easy(160)
    easy.find()
    assert one_of(easy)["state"] == "dismissed"
    easy.easy(80)
    easy.find()
    assert one_of(easy)["state"] == "open"


# --- answering ------------------------------------------------------------------------------------------


def test_the_ways_of_a_recommendation(easy: Desk) -> None:
    assert answer(easy, "accept")["state"] == "accepted"
    assert answer(easy, "done")["state"] == "done"
    assert answer(easy, "reopen")["state"] == "open"
    assert answer(easy, "dismiss", {"reason": "no"})["state"] == "dismissed"
    assert answer(easy, "accept", expect=409)["code"] == "recommendation_answered"
    assert answer(easy, "reopen")["state"] == "open"


@pytest.mark.parametrize("act", ["accept", "dismiss", "done", "reopen"])
def test_the_same_answer_again_changes_nothing(easy: Desk, act: str) -> None:
    body = {"reason": "no"} if act == "dismiss" else {}
    first, again = answer(easy, act, body), answer(easy, act, body)
    assert again == first
    adopted = easy.tenant.api.get("savings").json()["totals"]["adopted"]
    assert adopted == (1 if act == "done" else 0)


@pytest.mark.parametrize(
    ("act", "body", "status", "code", "param"),
    [
        ("dismiss", {"reason": "no\u0007"}, 400, "reason_invalid", "reason"),
        ("dismiss", {"reason": "x", "hurry": 1}, 400, "field_unknown", "hurry"),
        ("accept", {"hours": "8"}, 400, "implementation_invalid", "hourly_rate_usd"),
        ("accept", {"hours": "-1", "hourly_rate_usd": "100"}, 400, "implementation_invalid", "hours"),
        ("accept", {"hours": "NaN", "hourly_rate_usd": "100"}, 400, "implementation_invalid", "hours"),
        ("accept", {"hours": "a few", "hourly_rate_usd": "100"}, 400, "implementation_invalid", "hours"),
        ("done", {"adopted_at": "2020-01-01T00:00:00Z"}, 400, "adopted_at_invalid", "adopted_at"),
        ("done", {"adopted_at": "2199-01-01T00:00:00Z"}, 400, "adopted_at_invalid", "adopted_at"),
    ],
)
def test_a_wrong_answer_says_what_is_wrong_and_changes_nothing(
    easy: Desk, act: str, body: dict[str, Any], status: int, code: str, param: str
) -> None:
    said = answer(easy, act, body, status)
    assert (said["code"], said["param"]) == (code, param)
    assert one_of(easy)["state"] == "open"


def trial(control: int, tried: int, runs: int = 1_000) -> dict[str, Any]:
    figures = {"control_runs": runs, "control_successes": control, "trial_runs": runs, "trial_successes": tried}
    return {"trial": figures}


def test_a_trial_verifies_quality_and_lifts_the_headline(easy: Desk) -> None:
    assert answer(easy, "accept", trial(950, 900), 422)["code"] == "trial_inconclusive"
    assert answer(easy, "accept", trial(1_001, 900), 400)["code"] == "trial_invalid"
    row = answer(easy, "accept", trial(950, 948))
    assert (row["label"], row["headline_usd"]) == ("quality_verified", row["saving_usd"]["p50"])
    easy.find()
    assert one_of(easy)["label"] == "quality_verified"


def test_what_it_takes_to_do_is_kept_with_it(easy: Desk) -> None:
    assert (
        answer(easy, "accept", {"hours": "8", "hourly_rate_usd": "120.50"})["implementation_usd"] == "964.000000000000"
    )
    answer(easy, "done")
    (adopted,) = easy.tenant.api.get("savings").json()["data"]
    assert adopted["implementation_usd"] == "964.000000000000"


# --- lists ----------------------------------------------------------------------------------------------


def test_lists_are_filtered_and_paged() -> None:
    desk = set_desk(workflows=("triage", "answers", "reports"))
    for number, slug in enumerate(("triage", "answers", "reports")):
        desk.easy(200 + 40 * number, workflow=slug)
    desk.find()
    api = desk.tenant.api
    page = api.get("recommendations", limit=2).json()
    rest = api.get("recommendations", limit=2, cursor=page["next"]).json()
    assert [row["workflow"] for row in page["data"] + rest["data"]] == ["reports", "answers", "triage"]
    assert rest["next"] is None
    for name, value, count in (
        ("workflow", "triage", 1),
        ("team", "support", 3),
        ("team", "nobody", 0),
        ("kind", "batch", 0),
    ):
        assert len(api.get("recommendations", **{name: value}).json()["data"]) == count
    assert api.get("recommendations", state="lost").json()["code"] == "choice_unknown"
    assert api.get("recommendations", cursor="x").json()["code"] == "cursor_invalid"


def test_savings_together_are_less_than_their_sum(desk: Desk) -> None:
    """Repeats that a cheaper model could answer: what is answered once is not routed."""
    events = []
    events = [
        desk.call(3 + number / 1000, task_type="classification", request_hash=f"r-{number % 20}")
        for number in range(200)
    ]
    desk.send(*events)
    desk.find()
    assert set(desk.told()) == {"route_down", "reuse_answers"}
    said = desk.tenant.api.get("savings").json()
    assert said["open"]["counted"] == 2
    scope = Decimal(desk.told()["route_down"]["scope_usd"])
    assert Decimal(said["open"]["saving_usd"]["p50"]) < min(Decimal(said["open"]["sum_usd"]), scope)
    assert said["accepted"]["saving_usd"]["p50"] == "0.000000000000"
    assert said["as_of"] is not None


def test_keys_see_what_they_are_pinned_to(easy: Desk) -> None:
    row = one_of(easy)

    def key(**pins: Any) -> Api:
        return Api(issue_key(org=easy.tenant.org, name="pinned", scopes=["read", "manage"], **pins).secret)

    own, other, project, environment = (
        key(team="support"), key(team="growth"), key(project="tickets"), key(environment="test"),
    )  # fmt: skip
    assert [len(api.get("recommendations").json()["data"]) for api in (own, other, project)] == [1, 0, 1]
    assert environment.get("recommendations").json()["code"] == "pinned_dimension"
    assert other.get(f"recommendations/{row['id']}").status_code == 404
    assert other.post(f"recommendations/{row['id']}/accept", {}).status_code == 404
    assert other.get("recommendations", team="support").json()["code"] == "pinned_dimension"
    assert own.post(f"recommendations/{row['id']}/accept", {}).status_code == 200


def test_charlie_sees_nothing_of_it(easy: Desk) -> None:
    row, charlie = one_of(easy), make_tenant("globex", "charlie").api
    assert charlie.get("recommendations").json()["data"] == []
    for path in ("", "/accept", "/dismiss", "/done", "/reopen"):
        asked = (
            charlie.post(f"recommendations/{row['id']}{path}", {"reason": "x"} if path == "/dismiss" else {})
            if path
            else charlie.get(f"recommendations/{row['id']}")
        )
        assert asked.status_code == 404


# --- the ledger -----------------------------------------------------------------------------------------


def work(desk: Desk, days: range, usage: dict[str, int], a_day: int = 20) -> None:
    """Runs of one call on each of these days before today."""
    calls = [
        desk.call(day, run_id=f"{day}-{number}", task_type="classification", usage=usage)
        for day in days
        for number in range(a_day)
    ]
    desk.send(*calls)


def done(desk: Desk, days_ago: float) -> dict[str, Any]:
    answer(desk, "done", {"adopted_at": (NOON - timedelta(days=days_ago)).isoformat()})
    desk.measure()
    (row,) = desk.tenant.api.get("savings").json()["data"]
    found: dict[str, Any] = row
    return found


def test_what_was_done_is_measured_after_14_days() -> None:
    """A run cost 0.5715 USD before and 0.1515 since: twenty a day save 252 USD a month."""
    desk = set_desk()
    work(desk, range(17, 31), LONG)
    work(desk, range(1, 16), {"input_tokens": 50_000, "output_tokens": 100})
    desk.find()
    row = done(desk, 16)
    assert (row["measured_days"], row["unit"], row["why_not"]) == (14, "runs", "")
    assert Decimal(row["realized_usd"]["p50"]) == pytest.approx(Decimal("252"), rel=Decimal("0.01"))
    totals = desk.tenant.api.get("savings").json()["totals"]
    assert (totals["adopted"], totals["measured"]) == (1, 1)
    assert Decimal(totals["ratio"]) == pytest.approx(
        Decimal(row["realized_usd"]["p50"]) / Decimal(row["predicted_usd"]["p50"]), rel=Decimal("0.001")
    )
    assert desk.measure() == 0


def test_less_work_is_no_saving() -> None:
    """The same runs at the same cost, half as many: nothing was saved."""
    desk = set_desk()
    work(desk, range(17, 31), LONG)
    work(desk, range(1, 16), LONG, 10)
    desk.find()
    row = done(desk, 16)
    assert Decimal(row["realized_usd"]["p50"]) == pytest.approx(Decimal(0), abs=Decimal("0.000001"))


def test_more_work_is_held_against_what_was_predicted_of_it() -> None:
    """Three times the runs save three times as much, which the prediction of one time's work is no less right for."""
    desk = set_desk()
    work(desk, range(17, 31), LONG)
    work(desk, range(1, 16), {"input_tokens": 50_000, "output_tokens": 100}, 60)
    desk.find()
    row = done(desk, 16)
    assert Decimal(row["volume"]) == pytest.approx(Decimal(3), rel=Decimal("0.001"))
    assert Decimal(row["realized_usd"]["p50"]) == pytest.approx(Decimal("756"), rel=Decimal("0.01"))
    totals = desk.tenant.api.get("savings").json()["totals"]
    assert Decimal(totals["at_volume_usd"]) == pytest.approx(3 * Decimal(totals["predicted_usd"]), rel=Decimal("0.001"))
    ratio = Decimal(totals["realized_usd"]) / Decimal(totals["at_volume_usd"])
    assert Decimal(totals["ratio"]) == pytest.approx(ratio, rel=Decimal("0.001"))
    low, high = (3 * Decimal(row["predicted_usd"][part]) for part in ("p10", "p90"))
    assert row["inside"] == (low <= Decimal(row["realized_usd"]["p50"]) <= high)


def test_two_changes_of_one_workflow_share_what_it_saved() -> None:
    """Repeats and a smaller model, done the same day: the workflow saves 252 USD a month, and not twice that."""
    desk = set_desk()
    again = {"request_hash": "a" * 64}
    for day in range(17, 31):
        desk.send(*(desk.call(day, run_id=f"{day}-{n}", task_type="classification", **again) for n in range(20)))
    desk.find()
    rows = desk.told()
    assert {"reuse_answers", "route_down"} <= set(rows)
    work(desk, range(1, 16), {"input_tokens": 50_000, "output_tokens": 100})
    for kind in ("reuse_answers", "route_down"):
        body = {"adopted_at": (NOON - timedelta(days=16)).isoformat()}
        assert desk.tenant.api.post(f"recommendations/{rows[kind]['id']}/done", body).status_code == 200
    assert desk.measure() == 2
    said = desk.tenant.api.get("savings").json()
    assert [row["shared_with"] for row in said["data"]] == [1, 1]
    assert Decimal(said["totals"]["realized_usd"]) == pytest.approx(Decimal("252"), rel=Decimal("0.01"))
    one, two = said["data"]
    assert Decimal(one["realized_usd"]["p50"]) / Decimal(two["realized_usd"]["p50"]) == pytest.approx(
        Decimal(one["predicted_usd"]["p50"]) / Decimal(two["predicted_usd"]["p50"]), rel=Decimal("0.001")
    )


def test_work_that_lost_its_price_is_no_saving() -> None:
    desk = set_desk()
    work(desk, range(17, 31), LONG)
    work(desk, range(1, 16), LONG, 18)
    desk.find()
    desk.send(*(desk.call(day, run_id=f"new-{day}-{n}", model="house-model-7") for day in range(1, 16) for n in (1, 2)))
    row = done(desk, 16)
    assert (row["realized_usd"], row["volume"], row["why_not"]) == (None, None, "unpriced")


def test_the_same_days_are_not_measured_twice() -> None:
    desk = set_desk()
    work(desk, range(33, 46), LONG)
    work(desk, range(1, 33), {"input_tokens": 150_000, "output_tokens": 100})
    desk.find()
    first = done(desk, 32)
    assert first["measured_days"] == 30
    answer(desk, "reopen")
    body = {"adopted_at": (NOON - timedelta(days=20)).isoformat()}
    refused = answer(desk, "done", body, expect=400)
    assert (refused["code"], refused["param"]) == ("adopted_at_invalid", "adopted_at")
    assert "in the ledger since" in refused["detail"]
    assert one_of(desk)["state"] == "open"
    assert answer(desk, "done")["state"] == "done"
    assert desk.tenant.api.get("savings").json()["totals"]["adopted"] == 2


def test_calls_without_runs_are_counted_as_calls() -> None:
    desk = set_desk()
    desk.send(*(desk.call(day, task_type="classification") for day in range(1, 31) for _ in range(12)))
    desk.find()
    row = done(desk, 16)
    assert (row["unit"], row["realized_usd"]["p50"]) == ("calls", "0.000000000000")


def test_too_little_work_says_so() -> None:
    desk = set_desk()
    work(desk, range(17, 31), LONG)
    desk.find()
    row = done(desk, 16)
    assert (row["realized_usd"], row["inside"], row["why_not"]) == (None, None, "too_little_since")
    assert desk.tenant.api.get("savings").json()["totals"]["untold"] == 1


def test_it_is_not_measured_before_its_time(easy: Desk) -> None:
    row = done(easy, 10)
    assert row["measured_days"] == 0


def test_what_was_done_in_vain_comes_back(easy: Desk) -> None:
    """It is found again 45 days on; done again, before the first was measured, it counts once."""
    done(easy, 3)
    with tenant(easy.tenant.org):
        Recommendation.objects.for_org(easy.tenant.org).update(decided_at=datetime.now(UTC) - timedelta(days=46))
    easy.find()
    assert one_of(easy)["state"] == "open"
    answer(easy, "done")
    assert easy.tenant.api.get("savings").json()["totals"]["adopted"] == 1


def test_what_is_taken_back_leaves_the_ledger(easy: Desk) -> None:
    done(easy, 3)
    answer(easy, "reopen")
    said = easy.tenant.api.get("savings").json()
    assert (said["data"], said["totals"]["adopted"]) == ([], 0)
    answer(easy, "done")
    assert easy.tenant.api.get("savings").json()["totals"]["adopted"] == 1
