"""Counters against facts: what is posted later is counted once, and a proof finds every difference."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

import pytest
from django.db import connection
from time_machine import travel

from apps.budgets import counting
from apps.budgets.counting import count_postings, reconcile
from apps.budgets.models import Counter
from apps.core.tenancy import tenant
from apps.organizations.services import change_settings
from apps.teams.services import create_team, map_name
from apps.usage.postings import attribute_known_names
from tests.api.test_decisions import COST, allowed, api, budget, counter, figures, org
from tests.database import as_worker, hanging_up
from tests.usage.reratings import contract, rerate
from tests.world import make_event

__all__ = ["api", "org"]  # fixtures


def count(org):
    with as_worker():
        counted = count_postings(org.pk)
        assert reconcile(org) == []
        assert count_postings(org.pk) == 0
    return counted


def test_spend_that_moves_to_a_team_moves_to_its_budget(org, api):
    whole, team = budget(org), budget(org, "0.005", scope={"team": "search"})
    api.send(make_event(team="serach"), make_event(team="search"))
    assert (figures(org, whole), figures(org, team)) == ((2 * COST, 0, 2 * COST), (COST, 0, COST))
    map_name(org=org, kind="team", name="serach", slug="search", actor=None)
    org.refresh_from_db()
    with as_worker():
        assert attribute_known_names(org) == 1
        assert reconcile(org) == []  # what waits is not counted on either side
    assert count(org) == 2
    # Nothing came to the whole; what came to the team was not held there.
    assert (figures(org, whole), figures(org, team)) == ((2 * COST, 0, 2 * COST), (2 * COST, 0, 2 * COST))
    assert (counter(org, whole).events, counter(org, team).events) == (2, 2)


def test_both_sides_of_a_move_are_counted_together(org, api, monkeypatch):
    monkeypatch.setattr(counting, "POSTINGS_AT_ONCE", 1)
    whole = budget(org)
    api.send(make_event(team="serach"), make_event(team="serach"))
    map_name(org=org, kind="team", name="serach", slug="search", actor=None)
    org.refresh_from_db()
    with as_worker():
        assert attribute_known_names(org) == 2
    assert count(org) == 4
    # What left the whole came back to it: nothing was added.
    assert figures(org, whole) == (2 * COST, 0, 2 * COST)


def test_a_budget_that_comes_between_counts_a_posting_once(org, api):
    api.send(make_event(team="serach"))
    map_name(org=org, kind="team", name="serach", slug="search", actor=None)
    org.refresh_from_db()
    with as_worker():
        attribute_known_names(org)
    early = budget(org, scope={"team": "search"})
    assert figures(org, early)[0] == 0
    count(org)
    late = budget(org, scope={"team": "search"})
    assert figures(org, early)[0] == figures(org, late)[0] == COST


def test_a_price_change_of_the_past_changes_what_is_spent(org, api):
    one = budget(org)
    body = allowed(api, estimate_usd="0.01")
    api.send(make_event(reservation_id=body["reservation_id"]), make_event())
    assert figures(org, one) == (2 * COST, 0, COST)
    contract(api, rates={"input_tokens": "1.5", "output_tokens": "7.5"})
    rerate(api, org)
    assert count(org) > 0
    assert figures(org, one) == (COST, 0, COST)
    contract(api, rates={"input_tokens": "30", "output_tokens": "150"}, starts_at="2026-02-01T00:00:00Z")
    rerate(api, org)
    count(org)
    row = counter(org, one)
    assert (row.spent_usd, row.overrun_usd, row.events) == (20 * COST, COST + 19 * COST, 2)


def test_what_stood_for_an_unpriced_call_goes_when_its_price_comes(org, api):
    one = budget(org, "10")
    change_settings(org=org, actor="test", unpriced_policy="ceiling")
    api.send(make_event(model="claude-opulent-9"))
    row = counter(org, one)
    assert row.spent_usd == row.assumed_usd > 0
    with as_worker():
        assert reconcile(org) == []
    contract(api, kind="price", model="claude-opulent-9", rates={"input_tokens": "1", "output_tokens": "1"})
    rerate(api, org)
    count(org)
    row = counter(org, one)
    assert (row.spent_usd, row.assumed_usd, row.unpriced_events) == (Decimal("0.0011"), 0, 0)


def test_postings_and_usage_at_once_are_all_counted(org, api):
    one = budget(org, "10", scope={"team": "search"})
    create_team(org=org, slug="sales")
    api.send(*(make_event(team=f"name{n}") for n in range(40)))
    for n in range(40):
        map_name(org=org, kind="team", name=f"name{n}", slug="search", actor=None)
    org.refresh_from_db()
    with as_worker():
        assert attribute_known_names(org) == 40

    def counted(_):
        with as_worker():
            return count_postings(org.pk)

    with ThreadPoolExecutor(4) as pool:
        sent = [pool.submit(hanging_up(api.send), make_event(team="search")) for _ in range(20)]
        counts = list(pool.map(counted, range(2)))
        assert all(future.result()["accepted"] == 1 for future in sent)
    assert sum(counts) == 80
    count(org)
    assert figures(org, one) == (60 * COST, 0, 60 * COST)


@pytest.mark.parametrize(
    ("damage", "check"),
    [
        ("UPDATE budgets_counter SET spent_usd = spent_usd + 1, overrun_usd = overrun_usd + 1", "spent"),
        ("UPDATE budgets_counter SET events = events + 1", "spent"),
        ("UPDATE budgets_counter SET held_usd = held_usd - 0.000000000001", "held"),
        ("UPDATE budgets_runtally SET held_usd = held_usd + 1", "run_held"),
        ("UPDATE budgets_reservation SET held_usd = held_usd / 2 WHERE state = 'held'", "held"),
    ],
)
def test_the_proof_finds_what_does_not_agree(org, api, damage, check):
    budget(org)
    allowed(api, estimate_usd="0.25", run_id="run", workflow="agent")
    api.send(make_event(user="ann", tags={"feature": "chat"}))
    with as_worker():
        assert reconcile(org) == []
        with tenant(org), connection.cursor() as cursor:
            where = " AND" if "WHERE" in damage else " WHERE"
            cursor.execute(f"{damage}{where} organization_id = %s", [org.pk])
        assert check in {row["check"] for row in reconcile(org)}


@pytest.mark.parametrize(
    "scope",
    [
        {},
        {"team": "search"},
        {"user": "*"},
        {"user": "*", "environment": "production"},
        {"tags.feature": "chat"},
        {"tags.feature": "*", "team": "*"},
        {"model": "claude-*"},
        {"provider": "anthropic", "task_type": "coding"},
        {"workflow": "agent", "project": "web"},
    ],
)
def test_every_kind_of_scope_counts_as_its_proof_does(org, api, scope):
    """Before it exists, and after: by rules in memory and by a question to the facts."""
    kinds = [
        {},
        {"team": "search", "user": "ann", "environment": "production"},
        {"workflow": "agent", "user": "b\"o'b", "tags": {"feature": "chat"}},
        {"team": "search", "tags": {"feature": "é\\"}, "model": "Claude-Haiku-4-5", "task_type": "coding"},
        {"provider": "openai", "model": "gpt-4o", "user": "ann"},
        {"provider": "\u0130nan", "model": "CLAUDE-\u0130"},
    ]
    api.send(*(make_event(**kind) for kind in kinds))
    one = budget(org, "10", scope=scope)
    api.send(*(make_event(**kind) for kind in kinds))
    with as_worker():
        assert reconcile(org) == []
    with tenant(org), connection.cursor() as cursor:
        cursor.execute("SELECT sum(events) FROM budgets_counter WHERE budget_id = %s", [one.pk])
        assert cursor.fetchone()[0] % 2 == 0


def test_a_late_event_of_before_the_budget_is_not_its_own(org, api):
    """The period was over when the budget was made: nothing of it is counted, so nothing is counted in part."""
    one = budget(org, "10", period="day")
    past = (datetime.now(UTC) - timedelta(days=3)).isoformat()
    api.send(make_event(occurred_at=past), make_event())
    assert counter(org, one).events == 1
    with as_worker():
        assert reconcile(org) == []


def test_what_came_for_the_next_period_is_counted_in_it(org, api):
    """A client's clock is ahead: its event lies in the period after the one in which the budget is made."""
    with travel(datetime.now(UTC).replace(hour=23, minute=58), tick=True):
        ahead = (datetime.now(UTC) + timedelta(minutes=4)).isoformat()
        api.send(make_event(occurred_at=ahead), make_event())
        one = budget(org, "10", period="day")
    with tenant(org):
        found = Counter.objects.for_org(org).filter(budget_id=one.pk).order_by("period_start")
        assert [row.events for row in found] == [1, 1]
    with as_worker():
        assert reconcile(org) == []


def test_each_of_five_values_as_long_as_they_may_be_is_counted(org, api):
    random = Random(1)

    def longest() -> str:
        return "".join(chr(random.randrange(0x4E00, 0x9000)) for _ in range(256))

    names = ("user", "task_type", "environment")
    one = budget(org, scope=dict.fromkeys((*names, "tags.first", "tags.second"), "*"))
    call = {**{name: longest() for name in names}, "tags": {"first": longest(), "second": longest()}}
    allowed(api, estimate_usd="0.25", **call)
    assert api.send(make_event(**call))["accepted"] == 1
    assert figures(org, one) == (COST, Decimal("0.25"), COST)
    assert reconcile(org) == []
