"""An event counts once: in whatever order, batches, repetitions and at whatever moment of a rollup it arrives."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from threading import Barrier, Thread
from typing import Any

import pytest
import time_machine
from django.db import connections
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.core import retry
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.usage.models import Run
from apps.usage.services import reconcile, roll_up
from tests.api.tenants import make_api, make_org
from tests.database import as_worker
from tests.world import Api, make_event

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
SPAN = {"from": "2026-05-19T00:00:00Z", "to": "2026-05-20T12:00:00Z"}
GROUPINGS: tuple[dict[str, str], ...] = (
    {},
    {"group_by": "team_name,workflow_name,model"},
    {"group_by": "status,environment,priced", "granularity": "hour"},
    {"group_by": "user"},
    {"group_by": "run_id"},
)
STATUSES = ("accepted", "duplicates", "conflicts", "rejected")

tokens = st.integers(0, 10**12)
calls = st.fixed_dictionaries(
    {
        "occurred_at": st.integers(1, 36 * 60 - 1).map(lambda minutes: (NOW - timedelta(minutes=minutes)).isoformat()),
        "model": st.sampled_from(["claude-sonnet-4-5", "claude-opus-4-1", "unknown"]),
        "usage": st.fixed_dictionaries({"input_tokens": tokens, "output_tokens": tokens, "cache_read_tokens": tokens}),
    },
    optional={
        "team": st.sampled_from(["search", "ads"]),
        "workflow": st.sampled_from(["answer", "rank"]),
        "environment": st.just("prod"),
        "status": st.sampled_from(["ok", "error"]),
        "attempt": st.integers(1, 3),
        "user": st.sampled_from(["u1", "u2"]),
        "run_id": st.sampled_from(["r1", "r2"]),
        "step": st.integers(0, 5),
        "outcome": st.sampled_from(["success", "failure"]),
        "escalated_from": st.just("claude-haiku-4-5"),
    },
)


def events_of(drawn: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [make_event(event_id=f"e{number:02}", **fields) for number, fields in enumerate(drawn)]


def roll(org: Organization) -> None:
    with as_worker():
        roll_up(org)


def totals(org: Organization, api: Api) -> list[Any]:
    """Every sum there is of an organization's events, and its runs."""
    answers = [api.get("spend", **SPAN, **grouping).json() for grouping in GROUPINGS]
    shown = [(answer["total"], sorted(answer["rows"], key=str)) for answer in answers]
    roll(org)
    with tenant(org):
        runs = Run.objects.for_org(org).order_by("run_id").values()
        return [*shown, [{**run, "organization_id": None} for run in runs]]


@settings(max_examples=12, deadline=None)
@given(drawn=st.lists(calls, min_size=1, max_size=12), seed=st.integers(0, 2**16))
def test_order_batches_and_repetition_change_no_total(drawn: list[dict[str, Any]], seed: int) -> None:
    events, random = events_of(drawn), Random(seed)
    straight, shuffled = make_org(), make_org()
    with time_machine.travel(NOW, tick=False):
        straight_api, shuffled_api = make_api(straight), make_api(shuffled)
        assert straight_api.send(*events)["accepted"] == len(events)
        accepted = 0
        twice = events * 2
        random.shuffle(twice)
        while twice:
            size = random.randint(1, 5)
            batch, twice = twice[:size], twice[size:]
            accepted += shuffled_api.send(*batch)["accepted"]
            if random.random() < 0.3:
                roll(shuffled)
        assert accepted == len(events)
        assert totals(shuffled, shuffled_api) == totals(straight, straight_api)
    with as_worker():
        assert reconcile(shuffled).agrees
        assert reconcile(straight).agrees


@settings(max_examples=15, deadline=None)
@given(
    batches=st.lists(
        st.lists(
            st.one_of(
                st.builds(lambda name, team: make_event(event_id=name, team=team, occurred_at=NOW.isoformat()),
                          st.sampled_from("abcd"), st.sampled_from(["search", "ads"])),
                st.builds(lambda name: make_event(event_id=name, step=-1), st.sampled_from("abcd")),
                st.just("not an event"),
            ),
            max_size=8,
        ),
        max_size=4,
    )
)  # fmt: skip
def test_every_event_sent_has_one_outcome_and_every_id_counts_once(batches: list[list[Any]]) -> None:
    org = make_org()
    accepted = {}
    with time_machine.travel(NOW, tick=False):
        api = make_api(org)
        for batch in batches:
            answer = api.send(*batch)
            assert sum(answer[status] for status in STATUSES) == len(batch)
            listed = Counter(one["status"] for one in answer["results"])
            assert [listed[status] for status in ("duplicate", "conflict", "rejected")] == [
                answer[status] for status in STATUSES[1:]
            ]
            plain = set(range(len(batch))) - {one["index"] for one in answer["results"]}
            assert len(plain) == answer["accepted"]
            for index in plain:
                assert batch[index]["event_id"] not in accepted
                accepted[batch[index]["event_id"]] = batch[index]["team"]
        stored = api.get("events", to=(NOW + timedelta(minutes=1)).isoformat()).json()["data"]
    assert {event["event_id"]: event["team"] for event in stored} == accepted


# --- At once -----------------------------------------------------------------------------------------------

CLIENTS = 4


def send_at_once(batches: list[list[list[dict[str, Any]]]], api: Api) -> list[Any]:
    """Each client sends its own list of batches; every response."""
    ready, responses = Barrier(len(batches)), []

    def send(own: list[list[dict[str, Any]]]) -> None:
        client = Api(api.secret)
        ready.wait()
        responses.extend(client.post("events", batch) for batch in own)
        connections.close_all()

    threads = [Thread(target=send, args=(own,)) for own in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return responses


def test_clients_that_send_the_same_events_in_other_orders_see_no_deadlock(
    org: Organization, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Retries would hide that locks are taken in another order.
    monkeypatch.setattr(retry, "RETRIES", 0)
    events = [make_event(run_id=f"r{one % 7}", team=f"t{one % 5}", user=f"u{one % 3}") for one in range(2400)]
    batches = []
    for client in range(CLIENTS):
        own = events.copy()
        Random(client).shuffle(own)
        batches.append([own[start : start + 800] for start in range(0, len(own), 800)])
    responses = send_at_once(batches, api)
    assert {response.status_code for response in responses} == {202}
    answers = [response.json() for response in responses]
    assert sum(answer["accepted"] for answer in answers) == len(events)
    assert sum(answer["duplicates"] for answer in answers) == (CLIENTS - 1) * len(events)
    roll(org)
    with as_worker():
        assert reconcile(org).agrees
    total = api.get("spend").json()["total"]
    assert total["events"] == len(events)
    assert Decimal(total["cost_usd"]) == len(events) * Decimal("0.0045")


def test_of_different_events_with_one_id_exactly_one_is_stored(api: Api) -> None:
    batches = [[[make_event(event_id="contested", team=f"team-{client}")]] for client in range(CLIENTS)]
    answers = [response.json() for response in send_at_once(batches, api)]
    assert sum(answer["accepted"] for answer in answers) == 1
    assert sum(answer["conflicts"] for answer in answers) == CLIENTS - 1


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
def test_spend_shows_an_acknowledged_event_at_once(zone: str) -> None:
    org = make_org(zone)
    api = make_api(org)
    for count in range(1, 4):
        api.send(make_event(occurred_at=(datetime.now(UTC) - timedelta(hours=count)).isoformat()))
        since = (datetime.now(UTC) - timedelta(days=2)).isoformat()
        assert api.get("spend", **{"from": since}).json()["total"]["events"] == count
        roll(org)
        assert api.get("spend", **{"from": since}).json()["total"]["events"] == count
