"""The week's digest: what is open, too small for a notice, and told of to nobody."""

import json
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from apps.insights import evaluating
from tests.database import as_worker
from tests.usage.ledger import Books, as_owner, open_books, rows

AUCKLAND = "Pacific/Auckland"
# A Monday of its summer, thirteen hours ahead of UTC.
MONDAY = datetime(2026, 1, 12, 9, 30, tzinfo=ZoneInfo(AUCKLAND))


def put(books: Books, scope: str, usd: str, parent: int | None = None) -> int:
    """An open incident that an evaluation leaves as it is."""
    as_owner(
        "INSERT INTO insights_incident (organization_id, scope_kind, scope, team, family, signal, tier, state,"
        " opened_at, since, last_seen_at, signals, cause, runs, fix, history, answered_by, reason, excess_usd,"
        " parent_id)"
        " VALUES (%s, 'workflow', %s, 'search', 'budget', 'burn', 'digest', 'open', %s, %s, %s, '[]', '{}',"
        " '{}', '', '[]', '', '', %s, %s)",
        books.org.pk, scope, *([MONDAY - timedelta(days=1)] * 3), usd, parent,
    )  # fmt: skip
    return max(row["id"] for row in rows("insights_incident", books.org))


def told(books: Books, at: datetime) -> list[dict[str, Any]]:
    with as_worker():
        evaluating.evaluate(books.org.pk, at=at)
    return [json.loads(row["facts"]) for row in rows("budgets_crossing", books.org) if row["kind"] == "signal_digest"]


@pytest.mark.parametrize(
    ("hours", "digests"), [(-24, 0), (-2, 0), (0, 1), (14, 1), (24, 0)], ids=["Sunday", "7", "9", "23", "Tuesday"]
)
def test_it_is_of_the_organizations_monday(hours: int, digests: int) -> None:
    books = open_books(AUCKLAND)
    put(books, "answers", "6")
    assert len(told(books, MONDAY + timedelta(hours=hours))) == digests


def test_a_week_has_one_and_a_dollar_counts_once() -> None:
    books = open_books(AUCKLAND)
    whole = put(books, "all", "12")
    put(books, "one", "7", parent=whole)
    put(books, "two", "5", parent=whole)
    told(books, MONDAY)
    (facts,) = told(books, MONDAY + timedelta(hours=2))
    assert (facts["incidents"], Decimal(facts["excess_usd"])) == (1, 12)
    assert [line["incident"] for line in facts["lines"]] == [whole]
