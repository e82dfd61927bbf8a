"""What happens around one call: leave before it, an event after it, its hold settled or let go."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any

import pytest
from finops_ai import ApiError, Call, Client, Denied

from tests.client.conftest import MakeClient
from tests.client.service import LOST_ANSWER, Fault, Service

ASKED: dict[str, Any] = {"provider": "openai", "model": "gpt-5", "estimate_usd": "0.02"}
USED = {"input_tokens": 1200, "output_tokens": 150}


def only_event(service: Service, client: Client) -> dict[str, Any]:
    assert client.flush(10)
    (event,) = service.events.values()
    return event


def test_it_asks_before_and_records_after(service: Service, client: Client) -> None:
    with client.call(**ASKED, team="search", tags={"tier": "pro"}, run_id="run-1", step=0) as call:
        call.record(USED, stop_reason="stop")
    event = only_event(service, client)
    asked = service.to("decisions")[0]
    assert asked.headers["Authorization"] == "Bearer aif_live_key"
    assert asked.body | {"request_id": ""} == {
        **ASKED, "request_id": "", "team": "search", "tags": {"tier": "pro"}, "run_id": "run-1", "step": 0,
    }  # fmt: skip
    assert call.held_usd == Decimal("0.02")
    assert event["reservation_id"] == service.answers[asked.body["request_id"]]["reservation_id"]
    said = {name: event[name] for name in ("provider", "model", "team", "tags", "run_id", "step", "usage")}
    assert said == {
        "provider": "openai", "model": "gpt-5", "team": "search", "tags": {"tier": "pro"}, "run_id": "run-1",
        "step": 0, "usage": USED,
    }  # fmt: skip
    assert event["stop_reason"] == "stop"
    assert "status" not in event


def test_the_client_s_own_dimensions_stand_behind_those_of_a_call(service: Service, make_client: MakeClient) -> None:
    client = make_client(dimensions={"team": "search", "environment": "prod"})
    with client.call(**ASKED, team="ads") as call:
        call.record(USED)
    asked = service.to("decisions")[0].body
    assert (asked["team"], asked["environment"]) == ("ads", "prod")


def test_a_downgrade_names_the_model_to_use(service: Service, client: Client) -> None:
    service.decision = {"decision": "downgrade", "model": "gpt-5-mini", "reasons": [{"code": "cheaper", "detail": "."}]}
    with client.call(**ASKED) as call:
        call.record(USED)
    assert (call.decision, call.model, call.reasons[0].code) == ("downgrade", "gpt-5-mini", "cheaper")
    assert only_event(service, client)["model"] == "gpt-5-mini"


def test_a_denial_says_which_budget_and_sends_nothing(service: Service, client: Client) -> None:
    service.decision = {
        "decision": "deny", "reservation_id": None, "held_usd": None,
        "reasons": [{"code": "budget_exceeded", "budget_id": "7", "detail": "Search has 0.01 USD left."}],
        "budgets": [{"id": "7", "limit_usd": "5", "spent_usd": "4.99", "held_usd": "0", "remaining_usd": "0.01",
                     "resets_at": "2026-02-01T00:00:00Z"}],
    }  # fmt: skip
    with pytest.raises(Denied, match=r"Search has 0\.01 USD left") as denied, client.call(**ASKED):
        pytest.fail("The call was made.")
    assert (denied.value.code, denied.value.reasons[0].budget_id) == ("budget_exceeded", "7")
    assert (denied.value.budgets[0].id, denied.value.budgets[0].remaining_usd) == ("7", Decimal("0.01"))
    assert client.flush(10)
    assert service.events == {}


def test_an_answer_that_is_no_decision_allows_nothing(service: Service, client: Client) -> None:
    service.decision = {"decision": "perhaps"}
    with pytest.raises(Denied):
        client.call(**ASKED)
    service.decision = {"reservation_id": None}
    with pytest.raises(Denied, match="store_unavailable"):
        client.call(**ASKED)


def test_an_exception_before_any_usage_releases_the_hold(service: Service, client: Client) -> None:
    with pytest.raises(RuntimeError, match="upstream"), client.call(**ASKED) as call:
        raise RuntimeError("upstream")
    assert client.flush(10)
    assert service.released == {call.hold.id}
    assert service.events == {}


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("bad answer"), "error"), (KeyboardInterrupt(), "cancelled"), (asyncio.CancelledError(), "cancelled")],
)
def test_an_exception_after_usage_records_what_was_used(
    service: Service, client: Client, error: BaseException, status: str
) -> None:
    def use() -> None:
        with client.call(**ASKED) as call:
            call.record(USED)
            raise error

    with pytest.raises(type(error)):
        use()
    event = only_event(service, client)
    assert (event["usage"], event["status"]) == (USED, status)
    assert service.released == set()


def test_what_is_recorded_last_counts(service: Service, client: Client) -> None:
    with client.call(**ASKED) as call:
        call.record({"input_tokens": 1200, "output_tokens": 1}, cost_usd="0.01")
        call.record(provider_usage={"prompt_tokens": 1200, "completion_tokens": 150}, model_served="gpt-5-2026")
    event = only_event(service, client)
    assert event["provider_usage"] == {"prompt_tokens": 1200, "completion_tokens": 150}
    assert not {"usage", "cost_usd"} & set(event)


def test_what_is_recorded_too_late_is_told(service: Service, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with client.call(**ASKED) as call:
        pass
    call.record({"input_tokens": 1200})
    assert "after its block had ended" in caplog.text
    assert client.flush(10)
    assert service.events == {}


def test_a_call_whose_asker_was_cancelled_is_released(service: Service, client: Client) -> None:
    asked, answer = threading.Event(), threading.Event()
    decided = service._decided

    def slow(body: dict[str, Any]) -> dict[str, Any]:
        asked.set()
        assert answer.wait(10)
        return decided(body)

    service._decided = slow  # type: ignore[method-assign]

    async def give_up() -> None:
        asking = asyncio.create_task(client.acall(**ASKED))
        await asyncio.to_thread(asked.wait, 10)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        answer.set()

    asyncio.run(give_up())
    assert client.flush(10)
    (answered,) = service.answers.values()
    assert service.released == {answered["reservation_id"]}


def test_an_answer_that_cannot_be_read_is_not_lost(
    service: Service, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    class Answer:
        def usage(self) -> int:
            return 3

    answer = Answer()
    caplog.set_level("WARNING", logger="finops_ai")
    assert client.governed(**ASKED)(lambda: answer)() is answer
    assert "hold is released" in caplog.text


def test_a_block_that_ends_twice_sends_once(service: Service, client: Client) -> None:
    with client.call(**ASKED) as call:
        call.record(USED)
        call.finish()
    only_event(service, client)
    assert len(service.to("events")) == 1


def test_a_decision_whose_answer_was_lost_is_asked_for_again_by_its_id(service: Service, client: Client) -> None:
    service.faults["decisions"].append(LOST_ANSWER)
    client.call(**ASKED)
    first, second = service.to("decisions")
    assert first.body == second.body
    assert len(service.answers) == 1


@pytest.mark.parametrize("on_unavailable", ["deny", "allow"])
def test_a_request_that_is_wrong_is_never_let_through(
    service: Service, make_client: MakeClient, on_unavailable: str
) -> None:
    client = make_client(on_unavailable=on_unavailable)
    service.faults["decisions"].append(Fault(401, b'{"code": "key_revoked", "detail": "Revoked.", "param": "key"}'))
    with pytest.raises(ApiError) as refused:
        client.call(**ASKED)
    assert (refused.value.status, refused.value.code, refused.value.param) == (401, "key_revoked", "key")
    too_many = b'{"code": "rate_limited", "detail": "Too many."}'
    service.always["decisions"] = Fault(429, too_many, (("Retry-After", "9"),))
    with pytest.raises(Denied) as denied:
        client.call(**ASKED)
    assert denied.value.code == "rate_limited"


@pytest.mark.parametrize("wrong", [{"wrokflow": "rag"}, {"estimate_usd": 0.1}, {"estimate_usd": True}])
def test_a_mistyped_dimension_or_a_float_does_not_reach_the_service(
    service: Service, client: Client, wrong: dict[str, Any]
) -> None:
    with pytest.raises(TypeError):
        client.call(**ASKED | wrong)
    assert service.requests == []


def test_a_record_that_says_nothing_or_too_much_is_an_error(client: Client) -> None:
    with client.call(**ASKED) as call:
        for said in ({}, {"usage": USED, "provider_usage": USED}, {"usage": USED, "colour": "red"}):
            with pytest.raises(TypeError):
                call.record(**said)
        with pytest.raises(TypeError):
            call.record_answer({"text": "no usage"})
        with pytest.raises(TypeError):
            call.record(provider_usage=[1, 2])


def test_a_run_is_ended_after_its_events(service: Service, client: Client) -> None:
    with client.call(**ASKED, run_id="a/b") as call:
        call.record(USED)
    client.put_run("a/b", outcome="success", units=3)
    assert client.flush(10)
    assert [request.path for request in service.requests] == ["decisions", "events", "runs/a%2Fb"]
    assert service.requests[-1].body == {"status": "ended", "outcome": "success", "units": 3}


# --- streams -----------------------------------------------------------------------------------------


def chunks(count: int) -> Iterator[dict[str, Any]]:
    for _ in range(count):
        yield {"choices": [{"delta": {"content": "x"}}], "model": "gpt-5-2026", "usage": None}
    yield {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 99}}


def test_a_stream_to_its_end_has_the_provider_s_figures(service: Service, client: Client) -> None:
    with client.call(**ASKED) as call:
        assert len(list(call.stream(chunks(3)))) == 4
    event = only_event(service, client)
    assert event["provider_usage"] == {"prompt_tokens": 10, "completion_tokens": 99}
    assert event["model_served"] == "gpt-5-2026"
    assert "status" not in event


def test_a_stream_that_is_broken_off_has_used_what_was_emitted(service: Service, client: Client) -> None:
    with client.call(provider="openai", model="gpt-5", input_tokens=700, max_output_tokens=50) as call:
        for number, _chunk in enumerate(call.stream(chunks(9)), start=1):
            if number == 4:
                break
    event = only_event(service, client)
    assert (event["status"], event["usage"]) == ("cancelled", {"input_tokens": 700, "output_tokens": 4})


def test_a_broken_stream_has_no_less_output_than_was_emitted(service: Service, client: Client) -> None:
    def events() -> Iterator[dict[str, Any]]:
        yield {
            "type": "message_start",
            "message": {"model": "claude", "usage": {"input_tokens": 5, "output_tokens": 1}},
        }
        for _ in range(6):
            yield {"type": "content_block_delta", "delta": {"text": "x"}}
        raise ConnectionError("upstream")

    with pytest.raises(ConnectionError), client.call(**ASKED) as call:
        list(call.stream(events()))
    event = only_event(service, client)
    assert (event["status"], event["error_type"]) == ("error", "ConnectionError")
    assert event["provider_usage"] == {"input_tokens": 5, "output_tokens": 6}


def test_a_stream_that_emitted_nothing_releases_its_hold(service: Service, client: Client) -> None:
    with client.call(**ASKED) as call:
        list(call.stream([{"type": "ping"}]))
    assert client.flush(10)
    assert (service.released, service.events) == ({call.hold.id}, {})


# --- the decorator -----------------------------------------------------------------------------------

ANSWER = {"model": "gpt-5-2026", "usage": {"prompt_tokens": 9, "completion_tokens": 3}}


def test_a_decorated_function_is_asked_for_and_recorded(service: Service, client: Client) -> None:
    service.decision = {"decision": "downgrade", "model": "gpt-5-mini"}

    @client.governed(provider="openai", model="gpt-5", input_tokens=len, max_output_tokens=20, workflow="rag")
    def ask(question: str, *, call: Call) -> dict[str, Any]:
        return {**ANSWER, "asked": (question, call.model)}

    assert ask("why?")["asked"] == ("why?", "gpt-5-mini")
    event = only_event(service, client)
    assert service.to("decisions")[0].body["input_tokens"] == len("why?")
    assert (event["provider_usage"], event["workflow"]) == (ANSWER["usage"], "rag")


def test_a_decorated_function_may_record_by_itself(service: Service, client: Client) -> None:
    @client.governed(**ASKED)
    def ask(call: Call) -> str:
        call.record(USED)
        return "text"

    assert ask() == "text"  # type: ignore[call-arg]  # the decorator gives it
    assert only_event(service, client)["usage"] == USED


def test_a_decorated_generator_is_recorded_when_it_is_closed(service: Service, client: Client) -> None:
    @client.governed(**ASKED)
    def ask() -> Iterator[dict[str, Any]]:
        yield from chunks(9)

    stream = ask()
    assert service.requests == []
    next(stream)
    next(stream)
    stream.close()  # type: ignore[attr-defined]  # a generator
    event = only_event(service, client)
    assert (event["status"], event["usage"]["output_tokens"]) == ("cancelled", 2)


def test_decorated_coroutines_and_asynchronous_generators(service: Service, client: Client) -> None:
    @client.governed(**ASKED)
    async def ask() -> dict[str, Any]:
        await asyncio.sleep(0)
        return ANSWER

    @client.governed(**ASKED)
    async def stream(call: Call) -> AsyncIterator[dict[str, Any]]:
        for chunk in chunks(2):
            yield chunk

    async def both() -> int:
        await ask()
        return len([chunk async for chunk in stream()])  # type: ignore[call-arg]  # the decorator gives it

    assert asyncio.run(both()) == 3
    assert client.flush(10)
    assert [event["provider_usage"]["completion_tokens"] for event in service.events.values()] == [3, 99]
