"""Months that close while others work: events that arrive, late and out of order, and workers that seal at once."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from threading import Barrier, Event
from typing import Any, TypeVar

from django.db import connections

from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.reports import closing
from apps.reports.models_statements import MonthStep, Statement
from apps.teams.services import create_team
from tests.api.tenants import make_api, make_org
from tests.database import as_worker
from tests.reports.months import MIDDLE, MONTH, NAME, NEXT, booked, state, statements, work
from tests.usage.ledger import month_start, reconcile, roll
from tests.world import Api, make_event

T = TypeVar("T")
SENDERS, BATCHES, BATCH = 4, 12, 8


def at_once(*acts: Callable[[], T]) -> list[T]:
    """Each act in a thread of its own, begun together."""
    barrier = Barrier(len(acts))

    def begun(act: Callable[[], T]) -> T:
        try:
            barrier.wait()
            return act()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(acts)) as pool:
        return [future.result() for future in [pool.submit(begun, act) for act in acts]]


def test_each_event_around_the_close_stands_on_one_statement() -> None:
    org = make_org()
    create_team(org=org, slug="search")
    closed = Event()

    def sender(number: int) -> Callable[[], int]:
        api = make_api(org)

        def send() -> int:
            sent = 0
            for batch in range(BATCHES):
                if batch == BATCHES // 2 and number == 0:
                    api.post(f"statements/months/{NAME}/close", {})
                    closed.set()
                # Newest first, in the month and in the next, and some of them twice.
                instants = [MIDDLE + timedelta(days=20 - number - n, minutes=batch) for n in range(BATCH)]
                events = [
                    make_event(event_id=f"{number}-{batch}-{n}", team="search", occurred_at=at.isoformat())
                    for n, at in enumerate(instants)
                ]
                for repeated in (events, events[:2]):
                    answer = api.send(*repeated)
                    sent += answer["accepted"]
            return sent

        return send

    def worker() -> int:
        sealed = 0
        while not (closed.is_set() and sealed):
            roll(org)
            sealed += work(org)
        return sealed

    *sent, sealed = at_once(*(sender(number) for number in range(SENDERS)), worker)
    assert (sum(sent), sealed) == (SENDERS * BATCHES * BATCH, 1)
    api = make_api(org)
    assert state(api)["state"] == "final"
    check_each_once(org, api)
    roll(org)
    check_each_once(org, api)
    assert reconcile(org) == []


def check_each_once(org: Organization, api: Api) -> None:
    """Every event is on the statement of the month it is booked in, and late where it happened before that."""
    with tenant(org), connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT booked_month, occurred_at < %s AND booked_month > %s, count(*) FROM usage_event"
            " WHERE organization_id = %s GROUP BY 1, 2",
            [month_start(NEXT), MONTH, org.pk],
        )
        stored = {(month, late): count for month, late, count in cursor.fetchall()}
    lines: Counter[tuple[Any, bool]] = Counter()
    for month in (MONTH, NEXT):
        found = statements(api, month)["search"]
        for line in found["lines"]:
            lines[month, line["kind"] == "late"] += line["events"]
        assert Decimal(found["usage_usd"]) == booked(api, month)
    assert dict(lines) == stored
    assert sum(stored.values()) == SENDERS * BATCHES * BATCH
    assert stored[MONTH, False]
    assert stored[NEXT, True], "nothing came late: the test proves nothing"


def test_workers_that_seal_at_once_make_one_month_final_once() -> None:
    org = make_org()
    create_team(org=org, slug="search")
    api = make_api(org)
    api.send(*(make_event(team=team, occurred_at=MIDDLE.isoformat()) for team in ("search", "search", "lost")))
    api.post(f"statements/months/{NAME}/close", {})

    def seal() -> int:
        with as_worker():
            return closing.seal(org, MONTH)

    assert sorted(at_once(*[seal] * 4)).count(True) == 1
    with tenant(org):
        assert [row.number for row in Statement.objects.for_org(org).order_by("number")] == [1, 2]
        assert MonthStep.objects.for_org(org).filter(step="seal").count() == 1
        assert not MonthStep.objects.for_org(org).filter(step="fail").exists()


def test_a_fence_waits_for_a_batch_under_way_and_takes_it_in() -> None:
    """A batch that read the month before the fence is booked in it, however long it takes."""
    org = make_org()
    create_team(org=org, slug="search")
    api = make_api(org)
    fenced = Event()

    def batch() -> None:
        with tenant(org), connections["default"].cursor() as cursor:
            cursor.execute("SELECT FROM usage_openmonth WHERE organization_id = %s FOR SHARE", [org.pk])
            assert not fenced.wait(0.3), "the fence did not wait"

    def fence() -> None:
        response = api.post(f"statements/months/{NAME}/close", {})
        fenced.set()
        assert response.status_code == 202

    api.send(make_event(team="search", occurred_at=MIDDLE.isoformat()))
    at_once(batch, lambda: (Event().wait(0.1), fence())[1])
    assert work(org) == 1
