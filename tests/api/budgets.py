"""Budgets through the API, and who waits for whom behind it."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import sleep

import psycopg

from tests.database import owner_url
from tests.world import unique


def create(api, **fields):
    given = {"name": unique("budget"), "period": "month", "amount_usd": "1", "mode": "block", **fields}
    response = api.post("budgets", given)
    assert response.status_code == 201, response.content
    return response.json()


def shown(api, budget):
    return api.get(f"budgets/{budget['id']}").json()


def figures(api, budget):
    (row,) = shown(api, budget)["counters"]
    return tuple(Decimal(row[name]) for name in ("limit_usd", "spent_usd", "held_usd", "overrun_usd"))


def patch(api, budget, **changes):
    return api.client.patch(
        f"/api/v1/budgets/{budget['id']}", changes, content_type="application/json", headers=api.headers
    )


def changed(api, budget, **changes):
    response = patch(api, budget, **changes)
    assert response.status_code == 200, response.content
    return response.json()


def in_hours(hours):
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()


@contextmanager
def elsewhere():
    """The database as its owner, on a connection of its own."""
    with psycopg.connect(owner_url()) as connection:
        yield connection


def wait_for(is_so):
    for _ in range(600):
        if is_so():
            return
        sleep(0.001)
    raise AssertionError("it did not come to that")


def is_waiting(lock):
    """Whether somebody here waits for such a lock."""
    with elsewhere() as connection:
        (waiting,) = connection.execute(
            "SELECT count(*) FROM pg_locks JOIN pg_stat_activity a USING (pid)"
            " WHERE NOT granted AND locktype = %s AND a.datname = current_database()",
            [lock],
        ).fetchone()
    return waiting > 0
