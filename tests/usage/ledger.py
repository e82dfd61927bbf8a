"""What tests of the fact store share: organizations without people, the worker's turn and the owner's hand."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from threading import Event, Thread
from typing import Any, TypeVar
from uuid import uuid4

from django.db import connections

from apps.ingest.record import Window, read_batch
from apps.ingest.services import BatchResult, accept_batch
from apps.organizations.models import Organization
from apps.organizations.selectors import Principal, principal_for
from apps.usage import facets, services
from apps.usage.deltas import MEASURES, SPEND_DIMENSIONS, USER_DIMENSIONS, grain_of
from apps.usage.sql import EVENT_MEASURES
from tests.api.tenants import make_api, make_org
from tests.database import as_worker
from tests.world import Api, unique

T = TypeVar("T")
QUEUES = ("usage_delta", "usage_userdelta", "usage_rundelta")
WAIT_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Books:
    """An organization and its key; nobody can sign in, which makes it cheap."""

    org: Organization
    api: Api

    @property
    def principal(self) -> Principal:
        return principal_for(self.api.secret, at=datetime.now(UTC))


def open_books(zone: str = "UTC") -> Books:
    org = make_org(zone)
    return Books(org, make_api(org))


def accept(books: Books, *events: Mapping[str, Any], at: datetime | None = None) -> BatchResult:
    """Take events down the road behind the API, whatever their age; `at` (the first event's) is when they come."""
    at = at or min(datetime.fromisoformat(event["occurred_at"]) for event in events)
    anything = Window(datetime.min.replace(tzinfo=UTC), at.replace(year=2100), datetime.min.replace(tzinfo=UTC))
    batch = read_batch(json.dumps(events).encode(), "application/json", anything)
    return accept_batch(principal=books.principal, items=batch.items, received_at=at)


def roll(org: Organization) -> int:
    with as_worker():
        return services.roll_up(org)


def sum_up(org: Organization) -> int:
    with as_worker():
        return facets.sum_up_days(org)


def reconcile(org: Organization) -> list[dict[str, Any]]:
    with as_worker():
        return services.reconcile(org).differences


def retain(org: Organization) -> int:
    with as_worker():
        return services.apply_retention(org.pk)


# --- the owner's hand: no policy binds it ---------------------------------------------------------------


def as_owner(statement: str, *values: Any) -> list[dict[str, Any]]:
    """Run a statement as finops_owner; its rows, none where it returns none."""
    with connections["owner"].cursor() as cursor:
        cursor.execute(statement, values or None)
        if cursor.description is None:
            return []
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def rows(table: str, org: Organization) -> list[dict[str, Any]]:
    return as_owner(f"SELECT * FROM {table} WHERE organization_id = %s ORDER BY {table}::text", org.pk)


def sums(table: str, org: Organization) -> dict[str, Any]:
    """Every measure of the organization, summed over a table of `MEASURES`."""
    columns = ", ".join(f"COALESCE(sum({measure}), 0) AS {measure}" for measure in MEASURES)
    return as_owner(f"SELECT {columns} FROM {table} WHERE organization_id = %s", org.pk)[0]


def pending(org: Organization) -> dict[str, list[dict[str, Any]]]:
    return {queue: rows(queue, org) for queue in QUEUES}


def month_start(month: date) -> datetime:
    return datetime(month.year, month.month, 1, tzinfo=UTC)


# --- postings -------------------------------------------------------------------------------------------


def post(org: Organization, event_id: str, *, cost_usd: Decimal | None = None, **dimensions: Any) -> None:
    """Correct a stored event: what it counted leaves under its old dimensions and comes back under the new ones,
    at another cost where one is given. Postings and their deltas, as they are queued together.
    """
    event = _measured(org, event_id)
    old = {name: event[name] for name in MEASURES}
    new = {**old, "cost_usd": old["cost_usd"] if cost_usd is None else cost_usd}
    if cost_usd is not None:
        new["unpriced_events"] = 0
        dimensions["priced"] = True
    cause = unique("correction")
    sides = [(-1, event, {name: -value for name, value in old.items()}), (1, {**event, **dimensions}, new)]
    for side, where, measures in sides:
        row = {**where, **measures}
        posted = {"cause": cause, "side": side, "reason": "corrected", "actor": "tests", "posted_at": datetime.now(UTC)}
        _insert("usage_posting", {**row, **posted})
        _insert("usage_delta", row | _queued(row, SPEND_DIMENSIONS))
        _insert("usage_userdelta", row | _queued(row, USER_DIMENSIONS))
    if event["run_id"] is not None:
        _insert("usage_rundelta", _run_change(event, {name: new[name] - old[name] for name in MEASURES}))


def _measured(org: Organization, event_id: str) -> dict[str, Any]:
    measures = ", ".join(f"{expression} AS {name}" for name, expression in EVENT_MEASURES.items())
    columns = ", ".join(dict.fromkeys((*SPEND_DIMENSIONS, *USER_DIMENSIONS)))
    [event] = as_owner(
        f"SELECT organization_id, event_id, occurred_at, hour_start, day_start, booked_month, run_id, {columns},"
        f" {measures} FROM usage_event WHERE organization_id = %s AND event_id = %s",
        org.pk, event_id,
    )  # fmt: skip
    return event


def _queued(row: Mapping[str, Any], dimensions: Sequence[str]) -> dict[str, Any]:
    return {"delta_id": uuid4(), "grain": grain_of(tuple(row[name] for name in dimensions))}


def _run_change(event: Mapping[str, Any], measures: Mapping[str, Any]) -> dict[str, Any]:
    zeros = dict.fromkeys(("steps", "slope_n", "slope_step", "slope_step_sq", "slope_input", "slope_step_input"), 0)
    at = {"first_at": event["occurred_at"], "first_event_id": event["event_id"], "last_at": event["occurred_at"]}
    return {**event, **measures, **zeros, **at, "delta_id": uuid4()}


def _insert(table: str, row: Mapping[str, Any]) -> None:
    as_owner(
        f"INSERT INTO {table} SELECT * FROM json_populate_record(NULL::{table}, %s::json)", json.dumps(row, default=str)
    )


# --- several at once ------------------------------------------------------------------------------------


def eventually(look: Callable[[], T | None]) -> T:
    """What `look` finds, once another thread or process has brought it about."""
    for _ in range(WAIT_SECONDS * 20):
        if found := look():
            return found
        Event().wait(0.05)
    raise AssertionError(f"Nothing came of it in {WAIT_SECONDS} seconds.")


class Aside:
    """Work in a thread of its own, with its own connections; leaving the block waits for it."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.result: Any = None
        self.error: Exception | None = None
        self._work = work
        self._thread = Thread(target=self._run)

    def __enter__(self) -> "Aside":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(WAIT_SECONDS)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self.result = self._work()
        except Exception as error:
            self.error = error
        finally:
            connections.close_all()
