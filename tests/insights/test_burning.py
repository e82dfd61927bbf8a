"""Budgets that burn, or do as they were planned to: what the watcher finds every five minutes."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from apps.insights import fast
from apps.teams.services import create_project, create_team, create_workflow
from apps.usage.planned import Planned, set_planned_spend
from tests.api.budgets import create
from tests.database import as_worker
from tests.usage.ahead import spend_days
from tests.usage.ledger import Books, accept, open_books, roll, rows
from tests.world import make_event

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# A fifteenth that some days have come after.
NOON = (datetime.now(UTC) - timedelta(days=18)).replace(day=15, hour=12, minute=0, second=0, microsecond=0)
MIDNIGHT = NOON.replace(hour=0)
WHERE = {"team": "search", "project": "rag"}
# USD as tokens, at 15 USD a million.
TOKENS = 1e6 / 15


@pytest.fixture
def books() -> Books:
    """Two workflows of one team; one spends 3.60 USD a day, evenly."""
    found = open_books()
    team = create_team(org=found.org, slug="search")
    project = create_project(org=found.org, slug="rag", team=team)
    for slug in ("answers", "backfill"):
        create_workflow(org=found.org, slug=slug, project=project)
    spend_days(found.org, MIDNIGHT - 29 * DAY, ["3.6"] * 24, **WHERE, workflow="answers")
    spend(found, "answers", 3.6, MIDNIGHT - 5 * DAY, NOON)
    return found


def spend(books: Books, workflow: str, usd_a_day: float, start: datetime, end: datetime) -> None:
    """A call each quarter of an hour."""
    usage = {"input_tokens": 0, "output_tokens": round(usd_a_day * TOKENS / 96)}
    events = [
        make_event(occurred_at=(start + number * HOUR / 4).isoformat(), workflow=workflow, run_id=None, usage=usage)
        for number in range(int((end - start) / HOUR * 4))
    ]
    accept(books, *events)
    roll(books.org)


def plan(books: Books, usd_a_day: float, days: int | None, kind: str = "launch", workflow: str = "backfill") -> None:
    amounts = [Decimal(usd_a_day)] * 3
    last = None if days is None else NOON.date() + timedelta(days=days - 1)
    line = Planned(kind, workflow, NOON.date(), *amounts, last_day=last, team="search", project="rag")
    set_planned_spend(books.org, 1, [line])


def burning(books: Books, at: datetime = NOON) -> list[dict[str, Any]]:
    with as_worker():
        fast.look(books.org.pk, at=at)
    return [row for row in rows("insights_incident", books.org) if row["family"] == "budget"]


@pytest.mark.parametrize("scope", [{}, {"team": "search"}, {"workflow": "backfill"}])
@pytest.mark.parametrize(("planned", "tiers"), [(None, ["critical"]), (150, [])])
def test_a_launch_burns_unless_it_is_planned(
    books: Books, scope: dict[str, str], planned: float | None, tiers: list[str]
) -> None:
    """Three days at 150 USD from the fifteenth on, of 600 USD a month."""
    create(books.api, amount_usd="600", mode="notify", scope=scope)
    if planned:
        plan(books, planned, 3)
    spend(books, "backfill", 150, MIDNIGHT, NOON)
    assert [row["tier"] for row in burning(books)] == tiers


def test_a_small_plan_excuses_little(books: Books) -> None:
    create(books.api, amount_usd="600", mode="notify")
    plan(books, 0.5, 3)
    spend(books, "backfill", 150, MIDNIGHT, NOON)
    assert [row["tier"] for row in burning(books)] == ["critical"]


def test_a_plan_of_a_workflow_elsewhere_excuses_nothing(books: Books) -> None:
    create(books.api, amount_usd="600", mode="notify", scope={"workflow": "answers"})
    plan(books, 150, 3)
    spend(books, "answers", 150, MIDNIGHT, NOON)
    assert [row["tier"] for row in burning(books)] == ["critical"]


@pytest.mark.parametrize(("is_planned", "tiers"), [(False, ["notify"]), (True, [])])
def test_a_change_of_prices_burns_unless_it_is_planned(books: Books, is_planned: bool, tiers: list[str]) -> None:
    create(books.api, amount_usd="510", mode="notify")
    if is_planned:
        plan(books, 25, None, kind="price", workflow="answers")
    spend(books, "answers", 28.6, NOON, NOON + 3 * DAY)
    assert [row["tier"] for row in burning(books, NOON + 3 * DAY)] == tiers


def test_the_usual_week_burns_nothing(books: Books) -> None:
    create(books.api, amount_usd="108", mode="notify")
    assert burning(books) == []


@pytest.mark.parametrize(
    ("budget", "usd_a_day", "tiers"), [("0.60", 0.05, []), ("15", 6.5, ["digest"]), ("90", 30, ["critical"])]
)
def test_a_small_budget_that_burns_wakes_nobody(books: Books, budget: str, usd_a_day: float, tiers: list[str]) -> None:
    """More than six times what is planned, whatever it is."""
    create(books.api, amount_usd=budget, mode="notify", scope={"workflow": "backfill"})
    spend(books, "backfill", usd_a_day, MIDNIGHT, NOON)
    assert [row["tier"] for row in burning(books)] == tiers
    assert len(rows("budgets_crossing", books.org)) == tiers.count("critical")


def test_a_budget_that_burns_on_and_dearer_is_told_of(books: Books) -> None:
    create(books.api, amount_usd="15", mode="notify", scope={"workflow": "backfill"})
    spend(books, "backfill", 6.5, MIDNIGHT, NOON)
    burning(books)
    spend(books, "backfill", 60, NOON, NOON + 8 * HOUR)
    assert [row["tier"] for row in burning(books, NOON + 8 * HOUR)] == ["critical"]
    assert "burns faster: critical" in str(burning(books, NOON + 8 * HOUR)[0]["history"])
    kinds = [row["kind"] for row in rows("budgets_crossing", books.org)]
    assert kinds.count("signal_opened") == 1


def test_of_a_large_organization_a_ticket_needs_more(books: Books) -> None:
    """1 % of 2,000 USD a day is 20: a burn of 12 a day is for the digest."""
    create(books.api, amount_usd="510", mode="notify", scope={"workflow": "answers"})
    spend_days(books.org, MIDNIGHT - 24 * DAY, ["2500"] * 24, **WHERE, workflow="backfill")
    spend(books, "answers", 28.6, NOON, NOON + 3 * DAY)
    assert [row["tier"] for row in burning(books, NOON + 3 * DAY)] == ["digest"]
