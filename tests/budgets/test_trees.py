"""Runs whose place in a tree is learned while others use them."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal

import pytest

from apps.budgets.counting import reconcile
from apps.budgets.models import RunTally
from apps.budgets.services import set_run_bound
from apps.core.tenancy import tenant
from tests.api.budgets import elsewhere, wait_for
from tests.api.test_decisions import COST, allowed, api, budget, denied, org
from tests.api.test_leases import taken
from tests.database import hanging_up
from tests.world import make_event

__all__ = ["api", "org"]  # fixtures


@pytest.fixture(autouse=True)
def bound(org):
    set_run_bound(org=org, workflow="agent", bounds={"max_children": 1, "max_cost_usd": "100"}, actor="test")


@contextmanager
def held_up(one):
    """Whoever gets as far as the budget's counter waits there while the block lasts."""
    with elsewhere() as blocker:
        blocker.execute("SELECT FROM budgets_counter WHERE budget_id = %s FOR UPDATE", [one.pk])
        yield
        blocker.rollback()


def event(run, parent=None, **fields):
    return make_event(workflow="agent", run_id=run, parent_run_id=parent, **fields)


def tree(org):
    """By run: its parent, its root, its children, what its tree has spent and holds."""
    with tenant(org):
        rows = RunTally.objects.for_org(org)
        return {
            row.run_id: (row.parent_run_id, row.root_run_id, row.children, row.spent_usd, row.held_usd) for row in rows
        }


def waiting(count):
    """Whether so many wait for others here."""
    with elsewhere() as connection:
        (found,) = connection.execute(
            "SELECT count(*) FROM pg_locks JOIN pg_stat_activity a USING (pid)"
            " WHERE NOT granted AND a.datname = current_database()"
        ).fetchone()
    return found >= count


def test_a_parent_that_begins_with_its_child_is_found_by_both(org, api):
    one = budget(org)
    allowed(api, estimate_usd="0")
    with ThreadPoolExecutor(2) as pool:
        with held_up(one):
            child = pool.submit(hanging_up(api.send), event("child", "parent"))
            wait_for(lambda: waiting(1))
            parent = pool.submit(hanging_up(api.send), event("parent", "top"))
            wait_for(lambda: waiting(2))
        assert (child.result()["accepted"], parent.result()["accepted"]) == (1, 1)
    api.send(event("parent", "top"))
    assert tree(org) == {
        "top": (None, "top", 1, 3 * COST, 0),
        "parent": ("top", "top", 1, 0, 0),
        "child": ("parent", "top", 0, 0, 0),
    }


def test_a_refused_decision_forgets_no_run_that_another_made(org, api):
    one = budget(org)
    allowed(api, estimate_usd="0")
    with ThreadPoolExecutor(2) as pool:
        with held_up(one):
            first = pool.submit(hanging_up(api.send), event("run", "one parent"))
            wait_for(lambda: waiting(1))
            other = {"workflow": "agent", "run_id": "run", "parent_run_id": "another"}
            second = pool.submit(hanging_up(denied), api, "budget_exceeded", estimate_usd="5", **other)
            wait_for(lambda: waiting(2))
        assert first.result()["accepted"] == 1
        second.result()
    assert tree(org) == {
        "one parent": (None, "one parent", 1, COST, 0),
        "run": ("one parent", "one parent", 0, 0, 0),
        "another": (None, "another", 0, 0, 0),
    }


def test_a_lease_is_returned_while_its_run_finds_its_parent(org, api):
    one = budget(org)
    lease = taken(api, "0.5", workflow="agent", run_id="run")
    with ThreadPoolExecutor(2) as pool:
        with held_up(one):
            used = pool.submit(hanging_up(api.send), event("run", "top"))
            wait_for(lambda: waiting(1))
            back = pool.submit(
                hanging_up(api.post), f"leases/{lease['lease_id']}/return", {"unused_usd": "0.4", "unused_steps": 0}
            )
            wait_for(lambda: waiting(2))
        assert used.result()["accepted"] == 1
        assert back.result().status_code == 200, back.result().content
    assert tree(org) == {"top": (None, "top", 1, COST, Decimal("0.1")), "run": ("top", "top", 0, 0, 0)}
    assert reconcile(org) == []


def deadlocks():
    with elsewhere() as connection:
        connection.execute("SELECT pg_stat_force_next_flush()")
        (found,) = connection.execute(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
    return found


def test_batches_of_many_trees_wait_for_each_other_in_one_order(org, api):
    before = deadlocks()
    roots = [f"{letter}-root" for letter in "mn"]
    api.send(*(event(root) for root in roots))

    @hanging_up
    def send(number):
        # By name, the first of one batch has the root of the last of another.
        first, last = roots if number % 2 else reversed(roots)
        for turn in range(8):
            api.send(event(f"a-{number}-{turn}", first), event(f"z-{number}-{turn}", last))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(send, range(6)))
    assert [row[3] for run, row in tree(org).items() if run in roots] == [49 * COST, 49 * COST]
    assert deadlocks() == before
