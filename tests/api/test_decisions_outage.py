"""Postgres is gone, or hangs: every decision says so within a second, and nothing is guessed."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

import psycopg
import pytest
from django.db import connection

from apps.core import tenancy
from apps.core.deadline import watchdog
from tests.api.test_decisions import SONNET, allowed, api, budget, figures, org
from tests.api.test_events_outage import out_of_reach, refused
from tests.world import unique

__all__ = ["api", "org"]  # fixtures


def test_no_store_no_answer(org, api):
    budget(org)
    allowed(api, estimate_usd="0.1")  # the key is known to this process
    with out_of_reach():
        refused(decide(api, estimate_usd="0.1"))
        refused(api.post("leases", {"request_id": "r", "provider": "a", "model": "b", "amount_usd": "1"}))
    allowed(api, estimate_usd="0.1")


def test_a_session_that_is_lost_on_the_way_holds_nothing_or_once(org, api):
    one = budget(org)
    allowed(api, estimate_usd="0.1")
    asked = {"request_id": "again", "estimate_usd": "0.1"}
    with hanging_backend():
        refused(decide(api, **asked))
    allowed(api, **asked)
    allowed(api, **asked)
    assert figures(org, one)[1] == Decimal("0.2")


def decide(api, **fields):
    """Asked once."""
    return api.post("decisions", {"request_id": unique("req"), **SONNET, **fields})


@contextmanager
def hanging_backend() -> Iterator[None]:
    """This thread's session on a server that has stopped to work, as a machine does that swaps or is cut off."""
    connection.ensure_connection()
    pid = connection.connection.info.backend_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_server_that_hangs_is_cut_off(org, api):
    budget(org)
    allowed(api, estimate_usd="0.1")
    with hanging_backend():
        refused(decide(api, estimate_usd="0.1"))
    allowed(api, estimate_usd="0.1")


def test_a_lock_that_is_held_too_long_is_no_reason_to_wait(org, api):
    """A budget's counter is held by another session: the decision is given up, and decided when it is free."""
    one = budget(org)
    with psycopg.connect(os.environ["DATABASE_URL"]) as other:
        other.execute(f"SET LOCAL app.org = '{org.pk}'")
        other.execute("SELECT 1 FROM budgets_counter WHERE budget_id = %s FOR UPDATE", [one.pk])
        refused(decide(api, estimate_usd="0.1"))
        other.rollback()
    allowed(api, estimate_usd="0.1")


def test_the_watchdog_cuts_the_one_that_is_late(org):
    late = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
    with watchdog.watching(late, 0.05), pytest.raises(psycopg.OperationalError):
        late.execute("SELECT pg_sleep(1)")
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as quick:
        with watchdog.watching(quick, 30), watchdog.watching(quick, 60):
            quick.execute("SELECT 1")
        assert quick.execute("SELECT 2").fetchone() == (2,)


def test_a_connection_that_the_server_closed_is_not_handed_out(org, api):
    budget(org)
    allowed(api, estimate_usd="0.1")
    connection.close()  # as at the end of a request: it goes back to the pool
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE usename = current_user AND datname = current_database() AND pid <> pg_backend_pid()"
        )
    allowed(api, estimate_usd="0.1")


def test_ask_is_its_own_transaction(org):
    assert tenancy.ask(org, "SELECT current_setting('app.org')") == str(org.pk)
    with tenancy.tenant(org), pytest.raises(tenancy.TenancyError):
        tenancy.ask(org, "SELECT 1")
    with pytest.raises(Exception, match="division by zero"):
        tenancy.ask(org, "SELECT 1/%s", [0])
    text = "'; DROP TABLE budgets_counter; --\\"
    assert tenancy.ask(org, "SELECT %s::text", [text]) == text
