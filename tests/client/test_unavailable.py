"""The service is away: calls are refused, or let through, counted and reported."""

import socket
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from finops_ai import Client, Denied

from bench.site import free_port
from tests.client.conftest import MakeClient
from tests.client.service import AWAY, AWAY_FOR_LONG, RESET, Fault, Service

ASKED: dict[str, Any] = {"provider": "openai", "model": "gpt-5"}
USED = {"input_tokens": 1200, "output_tokens": 150}

FAULTS = {
    "503": AWAY,
    "503 with a long Retry-After": AWAY_FOR_LONG,
    "500": Fault(500, b"<h1>Oops</h1>"),
    "502": Fault(502, b""),
    "a page": Fault(200, b"<h1>Sign in to the airport's network</h1>"),
    "a list": Fault(200, b"[]"),
    "a proxy's page": Fault(404, b"<h1>default backend</h1>"),
    "a redirect": Fault(302, b"", (("Location", "/sign-in"),)),
    "a reset": RESET,
}


@pytest.fixture(params=[*FAULTS, "silence", "nobody"])
def away(request: pytest.FixtureRequest, service: Service) -> Iterator[str]:
    """The address of a service that cannot decide."""
    if request.param == "nobody":
        yield f"http://127.0.0.1:{free_port()}"
    elif request.param == "silence":
        with socket.create_server(("127.0.0.1", 0)) as listener:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    else:
        service.always["decisions"] = FAULTS[request.param]
        yield service.url


def test_it_refuses_by_itself(away: str, make_client: MakeClient) -> None:
    client = make_client(url=away, timeout=0.3)
    with pytest.raises(Denied) as denied:
        client.call(**ASKED)
    assert denied.value.code == "store_unavailable"
    assert client.stats.let_through == 0


def test_it_lets_through_and_counts_where_told_so(away: str, make_client: MakeClient) -> None:
    client = make_client(url=away, timeout=0.3, on_unavailable="allow")
    call = client.call(**ASKED, estimate_usd="0.25")
    assert (call.is_governed, call.model, call.hold.id) == (False, "gpt-5", None)
    assert (client.stats.let_through, client.stats.let_through_usd) == (1, Decimal("0.25"))


def test_what_was_let_through_is_flagged_and_reported_with_the_events_afterwards(
    service: Service, make_client: MakeClient
) -> None:
    client = make_client(on_unavailable="allow", flush_seconds=60, cost=lambda _model, _usage: Decimal(2))
    service.always["decisions"], service.always["events"] = AWAY_FOR_LONG, AWAY
    for estimate in ({"estimate_usd": "0.10"}, {"input_tokens": 10, "max_output_tokens": 5}, {}):
        with client.call(**ASKED, **estimate, tags={"tier": "pro"}) as call:
            call.record(USED)
    with pytest.raises(RuntimeError), client.call(**ASKED, estimate_usd="5"):
        raise RuntimeError("nothing was used")
    assert not client.flush(0.2)
    assert service.allowances == {}
    service.always.clear()
    assert client.flush(10)
    assert [event["tags"] for event in service.events.values()] == [{"tier": "pro", "finops_ungoverned": "true"}] * 3
    assert not any("reservation_id" in event for event in service.events.values())
    ((times, report),) = service.allowances.items()
    moments = sorted(request.body["from"] for request in service.to("unavailable-allowances"))
    assert (report["events"], Decimal(report["amount_usd"])) == (3, Decimal("2.10"))
    assert times == (moments[0], report["to"])
    assert report["from"] < report["to"]
    assert "away" in report["reason"]


def test_a_report_whose_answer_was_lost_is_the_same_report(service: Service, make_client: MakeClient) -> None:
    client = make_client(on_unavailable="allow")
    service.always["decisions"] = AWAY_FOR_LONG
    service.faults["unavailable-allowances"].append(Fault(reset=True, commit=True))
    with client.call(**ASKED) as call:
        call.record(USED)
    assert client.flush(10)
    first, second = service.to("unavailable-allowances")
    assert first.body == second.body
    assert len(service.allowances) == 1
    assert len(service.to("events")) == 1


def test_a_lease_s_calls_are_refused_or_let_through_alike(service: Service, make_client: MakeClient) -> None:
    service.always["leases"] = AWAY_FOR_LONG
    with pytest.raises(Denied, match="store_unavailable"):
        make_client().lease("1", **ASKED)
    client = make_client(on_unavailable="allow")
    with client.lease("1", **ASKED, team="search") as lease:
        with lease.call(estimate_usd="0.10") as call:
            call.record(USED)
        assert (lease.lease_id, call.is_governed, client.stats.let_through_usd) == (None, False, Decimal("0.10"))
    # Once for each client: a call under a lease does not ask a service that was away a moment ago.
    assert len({request.body["request_id"] for request in service.to("leases")}) == 2
    assert client.flush(10)
    (event,) = service.events.values()
    assert (event["team"], event["tags"]) == ("search", {"finops_ungoverned": "true"})


def test_many_threads_wait_for_no_connection(service: Service, make_client: MakeClient) -> None:
    """A pool with a limit would time out, and look like a service that is away."""
    client = make_client(timeout=20, on_unavailable="allow")
    gate = threading.Event()
    service.always["decisions"] = Fault(503, wait=gate)
    many = 120
    threads = [threading.Thread(target=lambda: client.call(**ASKED)) for _ in range(many)]
    for thread in threads:
        thread.start()
    while len(service.to("decisions")) < many:
        assert any(thread.is_alive() for thread in threads)
    service.always.clear()
    gate.set()
    for thread in threads:
        thread.join(30)
    assert client.stats.let_through == 0


def test_choices_are_checked(service: Service) -> None:
    for wrong in ({"on_unavailable": "maybe"}, {"when_full": "explode"}, {"batch_events": 0}, {"batch_events": 1001}):
        with pytest.raises(ValueError, match=r"maybe|explode|0|1001"):
            Client(service.url, "key", **wrong)
    with pytest.raises(ValueError, match="https://"):
        Client("finops.example", "key")
