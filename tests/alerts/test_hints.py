"""Who crosses a line is told of at once: the request that wrote the crossing asks a worker for it, and waits for
nobody.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from apps.alerts import tasks
from tests.alerts.desk import Desk
from tests.alerts.hints import broker, hints
from tests.alerts.receivers import Receiver
from tests.api.tenants import make_api, make_org
from tests.api.test_decisions import SONNET, allowed, budget, decide, denied
from tests.database import as_worker
from tests.usage.ledger import eventually
from tests.world import Api, make_event, unique

BROKER_HANGS_SECONDS = 2


def settle_above(api: Api, _: Any) -> None:
    held = allowed(api, team="search", estimate_usd="0.0001")
    event = make_event(team="search")
    assert api.post(f"reservations/{held['reservation_id']}/settle", {"event": event}).status_code == 200


def report_ungoverned(api: Api, _: Any) -> None:
    now = datetime.now(UTC)
    body = {"events": 1, "amount_usd": "0.5", "from": (now - timedelta(minutes=1)).isoformat(), "to": now.isoformat()}
    assert api.post("unavailable-allowances", body).status_code == 200


def ask_raise(api: Api, one: Any) -> None:
    until = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    body = {"amount_usd": "1", "expires_at": until, "reason": "Launch"}
    assert api.post(f"budgets/{one.pk}/raises", body).status_code == 201


def stop(api: Api, _: Any) -> None:
    assert api.post("stops", {"kind": "organization", "target": "", "reason": "A loop"}).status_code == 201


def lower(api: Api, one: Any) -> None:
    api.send(make_event())
    response = api.client.patch(
        f"/api/v1/budgets/{one.pk}", '{"amount_usd": "0.001"}', content_type="application/json", headers=api.headers
    )
    assert response.status_code == 200, response.content


def refuse_lease(api: Api, _: Any) -> None:
    body = {"request_id": unique("r"), **SONNET, "amount_usd": "5", "ttl_seconds": 10}
    assert api.ask("leases", body).json()["decision"] == "deny"


@pytest.mark.parametrize(
    "act",
    [
        lambda api, _: denied(api, "budget_exceeded", estimate_usd="5"),
        lambda api, _: api.send(*(make_event() for _ in range(120))),
        settle_above,
        refuse_lease,
        report_ungoverned,
        ask_raise,
        stop,
        lower,
    ],
    ids=["refused", "threshold", "overrun", "lease", "ungoverned", "raise", "stop", "lowered"],
)
def test_what_crosses_a_line_asks_for_it_to_be_told(act: Callable[[Api, Any], object]) -> None:
    org = make_org()
    api = make_api(org)
    one = budget(org, "1", thresholds=[50])
    assert hints(org) == 0
    act(api, one)
    eventually(lambda: hints(org))


def test_what_crosses_nothing_new_asks_for_nothing(django_assert_num_queries: Any) -> None:
    org = make_org()
    api = make_api(org)
    budget(org, "1", thresholds=[50])
    allowed(api, estimate_usd="0.1")
    api.send(make_event())
    denied(api, "budget_exceeded", estimate_usd="5")
    eventually(lambda: hints(org))
    for _ in range(3):
        denied(api, "budget_exceeded", estimate_usd="5")
        api.send(make_event())
        allowed(api, estimate_usd="0.0001")
    tasks._hints.submit(int).result()  # what was asked for before has gone out
    assert hints(org) == 1


def test_a_hint_that_a_worker_takes_brings_the_message(desk: Desk, hook: Receiver) -> None:
    desk.channel("webhook", hook.url)
    budget(desk.org, "1")
    denied(make_api(desk.org), "budget_exceeded", estimate_usd="5")
    eventually(lambda: hints(desk.org))
    with as_worker():
        tasks.tell(desk.org.pk)
    assert len(hook.requests) == 1


def test_a_broker_that_hangs_holds_up_nobody_and_loses_nothing(desk: Desk, hook: Receiver) -> None:
    desk.channel("webhook", hook.url)
    budget(desk.org, "1")
    api = make_api(desk.org)
    allowed(api, estimate_usd="0.1")
    # As a machine does that swaps or is cut off: it takes commands and answers none.
    broker().client_pause(BROKER_HANGS_SECONDS * 1000)
    began = time.monotonic()
    for _ in range(100):
        tasks.hint_tell(desk.org.pk)
    assert time.monotonic() - began < BROKER_HANGS_SECONDS / 4
    assert decide(api, estimate_usd="5").json()["decision"] == "deny"
    desk.now = datetime.now(UTC)
    desk.work()
    assert len(hook.requests) == 1
