import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from threading import Barrier, Event
from typing import Any

import psycopg
import pytest
from django.db import DataError, OperationalError, connection, connections

from apps.core.meters import PROMPT_METERS
from apps.core.tenancy import tenant
from apps.usage import services, sql
from apps.usage.models import RollupState
from tests.database import as_worker, owner_url
from tests.usage.ledger import (
    Aside,
    Books,
    accept,
    as_owner,
    eventually,
    open_books,
    pending,
    reconcile,
    roll,
    rows,
    sums,
)
from tests.world import Api, World, make_event

ROLLUPS = ("usage_hourrollup", "usage_dayrollup", "usage_userhourrollup", "usage_userdayrollup")
NOTHING: dict[str, list[dict[str, Any]]] = {"usage_delta": [], "usage_userdelta": [], "usage_rundelta": []}


@pytest.fixture
def books() -> Books:
    return open_books()


def test_it_moves_every_delta_and_changes_no_total(world: World) -> None:
    api = world.acme.api
    api.send(
        make_event(team="search", run_id="r1", step=0, user="u1"),
        make_event(team="search", run_id="r1", step=1, attempt=2, status="error"),
        make_event(provider="nobody", model="unknown"),
    )
    before = api.get("spend", group_by="model,status").json()
    with as_worker():
        assert services.roll_up(world.acme.org) == 7
        assert services.roll_up(world.acme.org) == 0
        assert services.reconcile(world.acme.org).differences == []
    after = api.get("spend", group_by="model,status").json()
    assert after["rows"] == before["rows"]
    assert after["total"] == before["total"]
    assert Decimal(after["total"]["cost_usd"]) == Decimal("0.009")
    assert after["total"]["unpriced_events"] == 1
    users = api.get("spend", group_by="user").json()
    assert [row["user"] for row in users["rows"]] == ["u1", None]
    by_run = api.get("spend", group_by="run_id").json()
    assert by_run["source"] == "events"


def test_running_again_changes_no_row(books: Books) -> None:
    tables = (*ROLLUPS, "usage_run")
    books.api.send(make_event(run_id="r", user="u"), make_event(run_id="r", status="error"))
    roll(books.org)
    once = {table: rows(table, books.org) for table in tables}
    roll(books.org)
    assert {table: rows(table, books.org) for table in tables} == once
    assert pending(books.org) == NOTHING


def test_an_empty_queue_moves_nothing_and_writes_nothing(books: Books) -> None:
    assert roll(books.org) == 0
    assert rows("usage_rollupstate", books.org) == []


def test_it_moves_a_long_queue_in_steps(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(7):
        books.api.send(make_event(event_id=f"e{n}", run_id=f"r{n}"))
    monkeypatch.setattr(services, "ROLL_UP_DELTAS_MAX", 3)
    assert roll(books.org) == 21
    assert pending(books.org) == NOTHING
    assert reconcile(books.org) == []
    assert sums("usage_dayrollup", books.org)["events"] == 7


def test_it_remembers_when_it_last_moved_deltas(books: Books) -> None:
    started = datetime.now(UTC)
    books.api.send(make_event())
    roll(books.org)
    with tenant(books.org):
        state = RollupState.objects.for_org(books.org).get()
    assert started <= state.rolled_at <= datetime.now(UTC)


def test_a_commit_held_open_for_five_seconds_loses_nothing(books: Books) -> None:
    held = [make_event(team="held", run_id="held", user="u") for _ in range(20)]
    stored, release = Event(), Event()

    def hold() -> None:
        with tenant(books.org):
            accept(books, *held)
            stored.set()
            release.wait(20)

    books.api.send(make_event())  # later transactions commit before the held one, and are rolled up before it
    with Aside(hold) as holder:
        assert stored.wait(20)
        for _ in range(10):
            release.wait(0.5)
            books.api.send(make_event(run_id="quick"))
            roll(books.org)
        assert sums("usage_hourrollup", books.org)["events"] == 11
        release.set()
    assert holder.error is None
    assert books.api.get("spend").json()["total"]["events"] == 31
    roll(books.org)
    assert reconcile(books.org) == []
    for table in ROLLUPS:
        assert sums(table, books.org)["events"] == 31, table
    assert sums("usage_run", books.org)["events"] == 30


def test_two_rollers_at_once_move_each_delta_once(books: Books) -> None:
    for n in range(10):
        books.api.send(*(make_event(run_id=f"r{n}-{m}", user=f"u{m}") for m in range(10)))
    queued = sum(map(len, pending(books.org).values()))
    together = Barrier(2)

    def move() -> int:
        together.wait(10)
        return roll(books.org)

    with Aside(move) as one, Aside(move) as other:
        pass
    assert (one.error, other.error) == (None, None)
    assert one.result + other.result == queued
    assert reconcile(books.org) == []
    assert sums("usage_hourrollup", books.org)["events"] == 100


def test_it_returns_at_once_while_another_process_moves(books: Books) -> None:
    books.api.send(make_event())
    roll(books.org)
    books.api.send(make_event())
    taken, release = Event(), Event()

    def take() -> None:
        with as_worker(), tenant(books.org):
            assert sql.take_rollup_turn(books.org.pk)
            taken.set()
            release.wait(20)

    with Aside(take) as taker:
        assert taken.wait(20)
        before = pending(books.org)
        assert roll(books.org) == 0
        assert pending(books.org) == before
        release.set()
    assert taker.error is None
    assert roll(books.org) > 0


def test_a_roller_killed_in_mid_statement_leaves_every_delta_where_it_was(books: Books) -> None:
    books.api.send(make_event(event_id="first", run_id="r", user="u"))
    roll(books.org)
    books.api.send(make_event(event_id="second", run_id="r", user="u"))
    queued, moved = pending(books.org), rows("usage_hourrollup", books.org)
    with psycopg.connect(owner_url()) as owner:
        owner.execute("SELECT 1 FROM usage_dayrollup WHERE organization_id = %s FOR UPDATE", [books.org.pk])
        with Aside(lambda: roll(books.org)) as roller:
            eventually(_kill_what_waits_for_a_row)
        owner.rollback()
    assert isinstance(roller.error, OperationalError)
    assert pending(books.org) == queued
    assert rows("usage_hourrollup", books.org) == moved
    assert reconcile(books.org) == []
    assert roll(books.org) == sum(map(len, queued.values()))
    assert reconcile(books.org) == []


def _kill_what_waits_for_a_row() -> bool:
    with as_worker(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND usename = current_user AND wait_event_type = 'Lock' AND query LIKE 'WITH taken%'"
        )
        return cursor.fetchone() is not None


def test_a_failure_in_the_last_statement_undoes_the_others(books: Books) -> None:
    books.api.send(make_event(run_id="r", user="u"))
    books.api.send(make_event(run_id="r", user="u"))
    # Each fits the column, their sum does not.
    as_owner("UPDATE usage_rundelta SET cost_usd = 9e25 WHERE organization_id = %s", books.org.pk)
    queued = pending(books.org)
    with pytest.raises(DataError, match="overflow"):
        roll(books.org)
    assert pending(books.org) == queued
    assert rows("usage_hourrollup", books.org) == []
    as_owner("UPDATE usage_rundelta SET cost_usd = 0.0045 WHERE organization_id = %s", books.org.pk)
    roll(books.org)
    assert reconcile(books.org) == []


def test_four_clients_with_overlapping_batches_in_other_orders_see_no_deadlock(books: Books) -> None:
    events = [
        make_event(event_id=f"e{n:03}", run_id=f"r{n % 9}", team=f"t{n % 3}", user=f"u{n % 5}", step=n)
        for n in range(120)
    ]
    together = Barrier(5)
    done = Event()

    def send(seed: int) -> list[dict[str, Any]]:
        api, order = Api(books.api.secret), random.Random(seed).sample(events, len(events))
        together.wait(10)
        try:
            return [api.send(*order[start:end]) for start, end in pairwise(range(0, 121, 20))]
        finally:
            connections.close_all()

    def keep_rolling() -> None:
        together.wait(10)
        while not done.is_set():
            roll(books.org)

    with Aside(keep_rolling) as roller, ThreadPoolExecutor(4) as clients:
        try:
            answers = [answer for batch in clients.map(send, range(4)) for answer in batch]
        finally:
            done.set()
    assert roller.error is None
    assert sum(answer["accepted"] for answer in answers) == 120
    assert sum(answer["duplicates"] for answer in answers) == 3 * 120
    assert reconcile(books.org) == []
    roll(books.org)
    assert reconcile(books.org) == []
    assert sums("usage_dayrollup", books.org)["events"] == 120
    assert books.api.get("spend").json()["total"]["cost_usd"] == "0.540000000000"


def test_moments_of_the_log_of_the_prompt_are_exact(books: Books) -> None:
    prompts = [{"input_tokens": 1}, {"input_tokens": 7, "cache_read_tokens": 10**12}, {"image_input_tokens": 1023}]
    without = [{"output_tokens": 9}, {"input_tokens": 0}]
    books.api.send(*(make_event(usage=usage) for usage in (*prompts, *without)))
    roll(books.org)
    lns = [round(Decimal(sum(usage.get(meter, 0) for meter in PROMPT_METERS)).ln() * 1_000_000) for usage in prompts]
    for table in ("usage_hourrollup", "usage_dayrollup", "usage_userdayrollup"):
        found = sums(table, books.org)
        assert found["input_events"] == 3
        assert found["ln_input_micro"] == sum(lns)
        assert found["ln_input_sq_pico"] == sum(ln * ln for ln in lns)
