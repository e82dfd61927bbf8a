"""A lease decides here, never grants more than it holds, and stops before the service would."""

import threading
from collections.abc import Iterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from finops_ai import ApiError, Denied, leases
from finops_ai.allowance import Allowance, RunBounds, Use
from finops_ai.money import text_of, units_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.client.conftest import MakeClient
from tests.client.service import AWAY_FOR_LONG, LOST_ANSWER, Fault, Service

FOR: dict[str, Any] = {"provider": "openai", "model": "gpt-5", "workflow": "rag"}
USED = {"input_tokens": 1200, "output_tokens": 150}
GONE = Fault(409, b'{"code": "reservation_expired", "detail": "Over."}')


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(leases, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def refusal(lease: leases.Lease, **call: Any) -> str:
    with pytest.raises(Denied) as denied:
        lease.call(**{"estimate_usd": "0.10", **call})
    return denied.value.code


# --- arithmetic --------------------------------------------------------------------------------------


amounts = st.decimals(0, 10**9, places=12)


@given(amounts)
def test_an_amount_is_exact_both_ways(amount: Decimal) -> None:
    assert Decimal(text_of(units_of(amount))) == amount
    assert units_of(text_of(units_of(amount))) == units_of(amount)


@pytest.mark.parametrize(
    ("given_amount", "text"),
    [
        ("0.1", "0.1"),
        (3, "3"),
        ("0e5", "0"),
        (Decimal("1E-12"), "0.000000000001"),
        ("1E-13", "0.000000000001"),
        ("1e-999999999", "0.000000000001"),
        ("0.0000000000011", "0.000000000002"),
        ("999999999999999999999999.999999999999", "999999999999999999999999.999999999999"),
    ],
)
def test_a_hold_is_never_smaller_than_its_estimate(given_amount: Any, text: str) -> None:
    assert text_of(units_of(given_amount)) == text


@pytest.mark.parametrize("wrong", ["-1", "NaN", "Infinity", "1e24", "1e999999999", "ten", "", "\0"])
def test_an_amount_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="amount"):
        units_of(wrong)


class Slices(RuleBasedStateMachine):
    """An allowance against plain sums."""

    def __init__(self) -> None:
        super().__init__()
        self.allowance = Allowance()
        self.granted = self.used = 0
        self.held: list[int] = []

    @rule(units=st.integers(0, 100))
    def grant(self, units: int) -> None:
        self.allowance.grant(units, deadline=10)
        self.granted += units

    @rule(units=st.integers(0, 60))
    def take(self, units: int) -> None:
        refused = self.allowance.take(Use(units), at=5)
        if self.granted == 0 and refused == "lease_expired":
            return
        fits = sum(self.held) + units <= self.granted - self.used
        assert (refused is None) is fits
        if refused is None:
            self.held.append(units)

    @rule(units=st.integers(0, 60), at=st.floats(10, 1e9))
    def take_too_late(self, units: int, at: float) -> None:
        assert self.allowance.take(Use(units), at=at) == "lease_expired"

    @rule(data=st.data(), cost=st.integers(0, 200))
    def settle(self, data: st.DataObject, cost: int) -> None:
        if self.held:
            held = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
            self.allowance.settle(held, cost)
            self.used += cost

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        if self.held:
            self.allowance.release(self.held.pop(data.draw(st.integers(0, len(self.held) - 1))))

    @invariant()
    def nothing_is_lost(self) -> None:
        assert self.allowance.left_units == self.granted - self.used - sum(self.held)

    def teardown(self) -> None:
        assert self.allowance.close() == (max(0, self.granted - self.used - sum(self.held)), 0)
        assert self.allowance.close() == (0, 0)
        assert self.allowance.take(Use(0), at=0) == "lease_closed"


Slices.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestSlices = Slices.TestCase


@given(st.lists(st.tuples(st.integers(0, 2) | st.none(), st.integers(1, 3))), st.integers(0, 4), st.integers(1, 3))
def test_steps_and_attempts_within_bounds(calls: list[tuple[int | None, int]], steps: int, attempts: int) -> None:
    allowance = Allowance()
    allowance.grant(0, deadline=1, run=RunBounds(steps=steps, max_attempts=attempts))
    made = [(step, attempt) for step, attempt in calls if allowance.take(Use(0, step, attempt), at=0) is None]
    assert all(attempt <= attempts for _, attempt in made)
    assert all([step for step, _ in made].count(number) <= attempts for number in range(3))
    first = [(step, attempt) for index, (step, attempt) in enumerate(made)
             if attempt == 1 and (step is None or step not in [step for step, _ in made[:index]])]  # fmt: skip
    assert len(first) <= steps


# --- through the client ------------------------------------------------------------------------------


def test_calls_under_a_lease_ask_nobody(service: Service, make_client: MakeClient) -> None:
    client = make_client(flush_seconds=60)
    with client.lease("0.50", **FOR, team="search", ttl_seconds=30) as lease:
        for _ in range(5):
            with lease.call(estimate_usd="0.10", step=1) as call:
                call.record(USED)
        assert (refusal(lease), lease.left_usd) == ("lease_used_up", 0)
    assert client.flush(10)
    assert [request.path for request in service.requests] == ["leases", "events", f"leases/{lease.lease_id}/return"]
    assert service.requests[0].body | {"request_id": ""} == {
        **FOR, "team": "search", "request_id": "", "amount_usd": "0.5", "ttl_seconds": 30,
    }  # fmt: skip
    assert {event["reservation_id"] for event in service.events.values()} == {lease.lease_id}
    assert {(event["workflow"], event["team"], event["step"]) for event in service.events.values()} == {
        ("rag", "search", 1)
    }
    assert service.returned == {lease.lease_id: "0"}


def test_what_no_call_used_is_given_back(service: Service, make_client: MakeClient) -> None:
    client = make_client(flush_seconds=60)
    with client.lease("1", **FOR) as lease:
        with lease.call(estimate_usd="0.10") as call:
            call.record(USED)
        with lease.call(estimate_usd="0.20") as call:
            call.record(USED, cost_usd="0.05")
        with pytest.raises(RuntimeError), lease.call(estimate_usd="0.30"):
            raise RuntimeError("upstream")
        under_way = lease.call(estimate_usd="0.40")
    with under_way:
        under_way.record(USED)
    assert client.flush(10)
    assert service.returned == {lease.lease_id: "0.45"}
    assert len(service.events) == 3
    assert service.released == set()
    assert refusal(lease) == "lease_closed"


def test_a_call_that_cost_more_than_its_hold_shrinks_the_rest(make_client: MakeClient) -> None:
    with make_client().lease("1", **FOR) as lease:
        with lease.call(estimate_usd="0.10") as call:
            call.record(USED, cost_usd="1.25")
        assert lease.left_usd == Decimal("-0.25")
        assert refusal(lease, estimate_usd="0") == "lease_used_up"


def test_the_caller_s_prices_make_holds_and_costs(make_client: MakeClient) -> None:
    def cost(model: str, usage: Any) -> Decimal | None:
        return (usage["input_tokens"] * Decimal(2) + usage["output_tokens"] * Decimal(8)) / 1_000_000

    with make_client().lease("0.01", **FOR, cost=cost) as lease:
        with lease.call(input_tokens=1000, max_output_tokens=500) as call:
            assert lease.left_usd == Decimal("0.004")
            call.record(provider_usage={"input_tokens": 1000, "output_tokens": 100})
        assert lease.left_usd == Decimal("0.0072")


def test_prices_that_fail_count_as_the_hold(service: Service, make_client: MakeClient) -> None:
    client = make_client()
    with client.lease("1", **FOR, cost=lambda _model, usage: usage["not there"]) as lease:
        with lease.call(estimate_usd="0.10") as call:
            call.record(USED)
        assert lease.left_usd == Decimal("0.9")
    assert client.flush(10)
    assert len(service.events) == 1


def test_an_estimate_that_cannot_be_priced_here_is_an_error(make_client: MakeClient) -> None:
    with make_client().lease("1", **FOR) as lease, pytest.raises(ValueError, match="estimate_usd"):
        lease.call(input_tokens=10, max_output_tokens=10)


@pytest.mark.parametrize("other", [{"workflow": "chat"}, {"team": "ads"}, {"run_id": "run-2"}, {"tags": {"a": "b"}}])
def test_a_lease_is_for_its_dimensions_only(make_client: MakeClient, other: dict[str, Any]) -> None:
    with make_client().lease("1", **FOR, run_id="run-1") as lease:
        lease.call(estimate_usd="0.10", workflow="rag", run_id="run-1")
        with pytest.raises(ValueError, match="The lease is for"):
            lease.call(estimate_usd="0.10", **other)


def test_many_threads_never_hold_more_than_the_slice(service: Service, make_client: MakeClient) -> None:
    client = make_client(flush_seconds=60)
    made: list[int] = []
    with client.lease("1", **FOR) as lease:
        barrier = threading.Barrier(16)

        def spend() -> None:
            barrier.wait()
            while True:
                try:
                    call = lease.call(estimate_usd="0.003")
                except Denied:
                    return
                made.append(1)
                with call:
                    call.record(USED)

        threads = [threading.Thread(target=spend) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(made), lease.left_usd) == (333, Decimal("0.001"))
    assert client.flush(10)
    assert (len(service.events), len(service.to("leases")), service.returned) == (333, 2, {lease.lease_id: "0.001"})


def test_it_stops_a_second_before_the_service_counting_from_before_it_asked(
    service: Service, make_client: MakeClient, clock: Clock
) -> None:
    real = service._leased
    service._leased = lambda body: (setattr(clock, "now", clock.now + 4), real(body))[1]  # type: ignore[method-assign]
    with make_client().lease("1", **FOR, ttl_seconds=30) as lease:
        assert clock.now == 1004
        clock.now = 1028.9
        lease.call(estimate_usd="0.10")
        clock.now = 1029
        assert refusal(lease) == "lease_expired"


def test_it_believes_a_shorter_time_and_a_smaller_amount(
    service: Service, make_client: MakeClient, clock: Clock
) -> None:
    service.lease = {"ttl_seconds": 10, "amount_usd": "0.15"}
    with make_client().lease("1", **FOR, ttl_seconds=30) as lease:
        lease.call(estimate_usd="0.10")
        assert refusal(lease) == "lease_used_up"
        clock.now += 9
        assert refusal(lease) == "lease_expired"


def test_it_never_uses_more_than_it_asked_for(service: Service, make_client: MakeClient) -> None:
    service.lease = {"amount_usd": "100", "ttl_seconds": 600}
    with make_client().lease("0.15", **FOR) as lease:
        assert lease.left_usd == Decimal("0.15")


def test_a_refused_lease_says_why(service: Service, make_client: MakeClient) -> None:
    service.lease = {"decision": "deny", "lease_id": None, "reasons": [{"code": "budget_exceeded", "detail": "No."}]}
    with pytest.raises(Denied, match="budget_exceeded"):
        make_client().lease("1", **FOR)


def test_a_lease_for_a_cheaper_model_gives_calls_that(service: Service, make_client: MakeClient) -> None:
    service.lease = {"decision": "downgrade", "model": "gpt-5-mini"}
    with make_client().lease("1", **FOR) as lease, lease.call(estimate_usd="0.10") as call:
        assert (call.model, call.decision) == ("gpt-5-mini", "downgrade")


def test_a_lease_whose_answer_was_lost_is_one_lease(service: Service, make_client: MakeClient) -> None:
    service.faults["leases"].append(LOST_ANSWER)
    with make_client().lease("1", **FOR):
        assert len(service.to("leases")) == 2
        assert len(service.answers) == 1


def test_a_renewal_that_nobody_answers_is_asked_for_again_as_it_was(
    service: Service, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "AWAY_SECONDS", 0.0)
    client = make_client(timeout=0.05)
    with client.lease("0.05", **FOR, auto_renew=True) as lease:
        lease.call(estimate_usd="0.05")
        service.always["leases"] = LOST_ANSWER
        for amount in ("0.01", "0.02", "0.08"):
            assert refusal(lease, estimate_usd=amount) == "store_unavailable"
        service.always.clear()
        assert len(service.answers) == 2, "the service holds slices of which nobody knows"
        lease.call(estimate_usd="0.08")
    assert [answer["amount_usd"] for answer in service.answers.values()] == ["0.05", "0.05", "0.08"]


def test_another_lease_that_nobody_answers_is_no_renewal_of_the_one_before(
    service: Service, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "AWAY_SECONDS", 0.0)
    client = make_client(timeout=0.05, flush_seconds=60)
    with client.lease("0.05", **FOR, auto_renew=True) as lease:
        lease.call(estimate_usd="0.05")
        service.faults["leases"].append(GONE)
        service.always["leases"] = LOST_ANSWER
        for _ in range(3):
            assert refusal(lease, estimate_usd="0.01") == "store_unavailable"
        service.always.clear()
        lease.call(estimate_usd="0.01")
    first, renewal, *others = service.to("leases")
    assert renewal.path == f"{first.path}/{service.answers[first.body['request_id']]['lease_id']}/renew"
    taken = [request for request in others if not request.path.endswith("/return")]
    assert {(request.path, request.body["request_id"]) for request in taken} == {
        ("leases", taken[0].body["request_id"])
    }
    assert len(service.answers) == 2, "the service holds slices of which nobody knows"


# --- renewal -----------------------------------------------------------------------------------------


def test_it_renews_when_it_is_used_up_or_over(service: Service, make_client: MakeClient, clock: Clock) -> None:
    lease_id = service.lease["lease_id"] = "lease-1"
    with make_client(flush_seconds=60).lease("0.25", **FOR, auto_renew=True) as lease:
        for _ in range(3):
            lease.call(estimate_usd="0.10")
        assert lease.left_usd == Decimal("0.20")
        clock.now += 30
        lease.call(estimate_usd="0.10")
        lease.call(estimate_usd="3")
    renewals = service.to(f"leases/{lease_id}/renew")
    assert [request.body["amount_usd"] for request in renewals] == ["0.25", "0.25", "3"]
    assert len({request.body["request_id"] for request in renewals}) == 3
    assert set(renewals[0].body) == {"request_id", "amount_usd", "ttl_seconds"}


@pytest.mark.parametrize("over", ["fault", "answer"])
def test_after_a_lease_that_is_over_it_takes_another(service: Service, make_client: MakeClient, over: str) -> None:
    client = make_client(flush_seconds=60)
    with client.lease("0.15", **FOR, auto_renew=True) as lease:
        first = lease.lease_id
        under_way = lease.call(estimate_usd="0.10")
        if over == "fault":
            service.faults["leases"].append(GONE)
        else:
            real = service._leased
            service._leased = lambda body: (  # type: ignore[method-assign]
                real(body)
                if "provider" in body
                else {"decision": "deny", "lease_id": None, "reasons": [{"code": "lease_over", "detail": "."}]}
            )
        with lease.call(estimate_usd="0.12") as call:
            call.record(USED)
        with under_way:
            under_way.record(USED)
        second = lease.lease_id
    assert client.flush(10)
    assert first != second
    assert service.returned == {first: "0.05", second: "0.03"}
    assert sorted(event["reservation_id"] for event in service.events.values()) == sorted([first, second])


def test_many_threads_renew_once_for_all(service: Service, make_client: MakeClient) -> None:
    client = make_client(flush_seconds=60)
    with client.lease("0.16", **FOR, auto_renew=True) as lease:
        barrier = threading.Barrier(16)

        def spend() -> None:
            barrier.wait()
            for _ in range(2):
                with lease.call(estimate_usd="0.01") as call:
                    call.record(USED)

        threads = [threading.Thread(target=spend) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(service.to("leases")), lease.left_usd) == (2, 0)


def test_a_renewal_that_is_refused_or_gets_no_answer(service: Service, make_client: MakeClient) -> None:
    client = make_client(on_unavailable="allow")
    with client.lease("0.10", **FOR, auto_renew=True) as lease:
        lease.call(estimate_usd="0.10")
        service.lease = {
            "decision": "deny",
            "lease_id": None,
            "reasons": [{"code": "budget_exceeded", "detail": "No."}],
        }
        assert refusal(lease) == "budget_exceeded"
        service.always["leases"] = Fault(400, b'{"code": "field_unknown", "detail": "No."}')
        with pytest.raises(ApiError):
            lease.call(estimate_usd="0.10")
        service.always["leases"] = AWAY_FOR_LONG
        asked = len(service.to("leases"))
        assert not lease.call(estimate_usd="0.10").is_governed
        assert not lease.call(estimate_usd="0.10").is_governed
        assert (len(service.to("leases")), client.stats.let_through) == (asked + 1, 2)


# --- runs --------------------------------------------------------------------------------------------


def test_a_run_s_bounds_are_kept_here(service: Service, make_client: MakeClient, clock: Clock) -> None:
    service.lease["run"] = {
        "cost_remaining_usd": "0.50", "steps": 3, "max_attempts": 2, "max_same_tool_calls": 2,
        "seconds_remaining": 20, "max_depth": None, "max_children": None,
    }  # fmt: skip
    client = make_client(flush_seconds=60)
    with client.lease("1", **FOR, run_id="run-1", steps=3) as lease:
        assert service.to("leases")[0].body["steps"] == 3
        assert lease.left_usd == Decimal("0.50")
        grep = {"estimate_usd": "0.01", "tool_name": "grep", "tool_call_hash": "abc"}
        lease.call(step=0, **grep)
        lease.call(step=0, estimate_usd="0.01")
        assert refusal(lease, step=0) == "run_attempts"
        assert refusal(lease, step=1, attempt=3) == "run_attempts"
        lease.call(step=1, **grep)
        assert refusal(lease, step=2, **grep) == "run_same_tool_calls"
        lease.call(step=2, **grep | {"tool_name": "find"})
        assert refusal(lease, step=3) == "run_steps"
        lease.call(step=2, attempt=2, estimate_usd="0.01")
        assert refusal(lease, step=1, estimate_usd="0.46") == "lease_used_up"
        clock.now += 20
        assert refusal(lease, step=1) == "run_seconds"
    assert client.flush(10)


def test_unused_steps_are_given_back_and_renewed_ones_added(service: Service, make_client: MakeClient) -> None:
    service.lease = {"lease_id": "lease-1", "run": {"steps": 2, "steps_remaining": 9, "cost_remaining_usd": None}}
    client = make_client(flush_seconds=60)
    with client.lease("1", **FOR, run_id="run-1", steps=2, auto_renew=True) as lease:
        for step in range(3):
            lease.call(step=step, estimate_usd="0.01")
    assert client.flush(10)
    assert len(service.to("leases/lease-1/renew")) == 1
    assert service.to("leases/lease-1/return")[0].body == {"unused_usd": "1.97", "unused_steps": 1}


def test_a_run_without_a_bound_on_steps_has_none(service: Service, make_client: MakeClient) -> None:
    service.lease["run"] = {"steps": 0, "steps_remaining": None, "cost_remaining_usd": None, "seconds_remaining": None}
    with make_client().lease("1", **FOR, run_id="run-1") as lease:
        for step in range(5):
            lease.call(step=step, estimate_usd="0.01")


def test_steps_that_were_not_leased_are_refused_without_asking_again(service: Service, make_client: MakeClient) -> None:
    service.lease["run"] = {"steps": 0, "steps_remaining": 7}
    with make_client().lease("1", **FOR, run_id="run-1", auto_renew=True) as lease:
        assert refusal(lease, step=0) == "run_steps"
        assert len(service.to("leases")) == 1
