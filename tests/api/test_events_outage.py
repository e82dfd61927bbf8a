"""Postgres goes away at every point of a request: the client is told to send again, and nothing is half stored."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.db import connection, connections

from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.usage.models import Event, EventKey
from apps.usage.services import reconcile
from tests.api.tenants import make_api, make_org
from tests.database import as_worker
from tests.world import Api, make_event

EVENTS = 3


@contextmanager
def lost_after(statement: int) -> Iterator[list[str]]:
    """Postgres ends this thread's session once a statement was answered, counting from 0; the statements so far."""
    seen: list[str] = []

    def execute(run: Callable[..., Any], sql: str, parameters: Any, many: bool, context: dict[str, Any]) -> Any:
        answer = run(sql, parameters, many, context)
        if len(seen) == statement:
            with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.connection.info.backend_pid])
        seen.append(sql)
        return answer

    connection.close()
    with connection.execute_wrapper(execute):
        yield seen
    connection.close()
    # A session that was lost after its last answer still looks sound to the pool.
    connection.close_pool()


@contextmanager
def out_of_reach() -> Iterator[None]:
    """Nobody listens where Postgres should be."""
    before = connections["default"]
    options = {name: value for name, value in before.settings_dict["OPTIONS"].items() if name != "pool"}
    nowhere = {**before.settings_dict, "HOST": "/nowhere", "OPTIONS": options}
    connections["default"] = type(before)(nowhere, "default")
    try:
        yield
    finally:
        connections["default"] = before


def refused(response: Any) -> None:
    assert (response.status_code, response.json()["code"]) == (503, "store_unavailable")
    assert response["Content-Type"] == "application/problem+json"
    assert int(response["Retry-After"]) > 0


def batch(**fields: Any) -> list[dict[str, Any]]:
    return [make_event(run_id="r1", user="u1", **fields) for _ in range(EVENTS)]


def stored(org: Organization) -> int:
    with tenant(org):
        events = Event.objects.for_org(org).count()
        assert EventKey.objects.for_org(org).count() == events
        return events


@pytest.mark.parametrize("creates_names", [False, True])
def test_a_session_lost_after_any_statement_stores_nothing_and_the_same_batch_again_stores_all(
    creates_names: bool,
) -> None:
    org = make_org(create_names_on_first_sight=creates_names)
    statement = 0
    while True:
        # A fresh key each time, so that its last use is noted, and a team that nobody knows.
        api, sent = make_api(org), batch(team=f"team-{statement}")
        with lost_after(statement) as seen:
            response = api.post("events", sent)
        if response.status_code == 202:
            break
        refused(response)
        assert stored(org) == statement * EVENTS
        assert api.send(*sent)["accepted"] == EVENTS
        statement += 1
    assert statement == len(seen) > 10
    assert stored(org) == (statement + 1) * EVENTS == api.get("spend").json()["total"]["events"]
    with as_worker():
        assert reconcile(org).agrees


def test_reading_says_so_too(api: Api) -> None:
    api.send(*batch())
    statement = 0
    while True:
        with lost_after(statement):
            response = api.get("events")
        if response.status_code == 200:
            break
        refused(response)
        statement += 1
    assert statement > 3


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_postgres_out_of_reach_is_told_at_once(org: Organization, api: Api, method: str) -> None:
    with out_of_reach():
        refused(api.get("events") if method == "GET" else api.post("events", batch()))
    assert stored(org) == 0


def test_what_nobody_foresaw_is_a_problem_too(api: Api) -> None:
    def fail(run: Callable[..., Any], sql: str, parameters: Any, many: bool, context: dict[str, Any]) -> Any:
        raise ZeroDivisionError("a secret of ours")

    with connection.execute_wrapper(fail):
        responses = [api.get("events"), api.post("events", batch())]
    for response in responses:
        assert (response.status_code, response.json()["code"]) == (500, "internal_error")
        assert response["Content-Type"] == "application/problem+json"
        assert response.json()["request_id"] == response["X-Request-Id"]
        assert "secret" not in response.content.decode()
