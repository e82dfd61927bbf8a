"""What hints do not reach the sweep finds: every organization in turn, one that fails holding up none."""

from collections.abc import Callable
from typing import Any

import pytest
from celery import current_app
from django.db import connection
from structlog.testing import capture_logs

from apps.usage import services
from tests.database import as_worker
from tests.usage.ledger import as_owner, open_books, pending, reconcile, rows, sums
from tests.world import make_event

NOTHING: dict[str, list[dict[str, Any]]] = {"usage_delta": [], "usage_userdelta": [], "usage_rundelta": []}


def sweep() -> int:
    with as_worker():
        return services.sweep()


def statements_of(work: Callable[[], object]) -> list[str]:
    """What Postgres is asked, but for BEGIN and COMMIT and the slices of the directory."""
    asked: list[str] = []

    def note(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if "organizations_organization" not in sql:
            asked.append(sql)
        return execute(sql, *rest)

    with as_worker(), connection.execute_wrapper(note):  # a list of its own: Django's log forgets after 9,000
        work()
    return asked


def test_it_moves_what_every_organization_left() -> None:
    several = [open_books() for _ in range(3)]
    for books in several:
        books.api.send(make_event(run_id="r"))
    assert sweep() >= 9
    for books in several:
        assert pending(books.org) == NOTHING
        assert reconcile(books.org) == []
    assert sweep() == 0


def test_an_idle_organization_costs_two_statements() -> None:
    """Its name to the row policy, and whether anything waits: thousands of them are a matter of seconds."""
    sweep()
    before = statements_of(services.sweep)
    for _ in range(10):
        open_books()
    after = statements_of(services.sweep)
    assert len(after) - len(before) == 2 * 10
    assert after[-2].startswith("SET LOCAL app.org = ")
    assert after[-1].startswith("SELECT EXISTS ")


def test_it_walks_the_directory_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    several = [open_books() for _ in range(5)]
    monkeypatch.setattr(services, "SWEEP_SLICE", 2)
    assert [books.org.pk for books in several] == list(services.every_organization())[-5:]


def test_an_organization_that_fails_stops_no_other() -> None:
    first, broken, last = (open_books() for _ in range(3))
    for books in (first, broken, last):
        books.api.send(make_event())
        books.api.send(make_event())
    # Each fits the column, their sum does not.
    as_owner("UPDATE usage_delta SET cost_usd = 9e25 WHERE organization_id = %s", broken.org.pk)
    try:
        queued = pending(broken.org)
        with capture_logs() as logged:
            sweep()
        assert pending(broken.org) == queued
    finally:
        as_owner("UPDATE usage_delta SET cost_usd = 0.0045 WHERE organization_id = %s", broken.org.pk)
    said = [(line["log_level"], line["work"]) for line in logged if line["organization_id"] == broken.org.pk]
    assert said == [("error", "roll_up")]
    for books in (first, last):
        assert pending(books.org) == NOTHING
        assert sums("usage_dayrollup", books.org)["events"] == 2


@pytest.fixture
def no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hints go to an address where nobody listens."""
    monkeypatch.setitem(current_app.conf, "broker_write_url", "redis+socket:///nowhere/redis.sock")
    monkeypatch.setattr(current_app, "_pool", None)
    monkeypatch.setattr(current_app.amqp, "_producer_pool", None)


@pytest.mark.usefixtures("no_broker")
def test_a_lost_hint_costs_nothing() -> None:
    books = open_books()
    with capture_logs() as logged:
        assert books.api.send(make_event())["accepted"] == 1
    assert [line["event"] for line in logged if line["log_level"] == "warning"] == ["no broker for the rollup hint"]
    assert books.api.get("spend").json()["total"]["events"] == 1
    assert rows("usage_hourrollup", books.org) == []
    sweep()
    assert pending(books.org) == NOTHING
    assert sums("usage_hourrollup", books.org)["events"] == 1
