"""Days that are over are summed up by what only events hold; the answers are those of the events, to the last decimal.

`tests.reports.test_spend` has the law; here is what it does not come by.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import pytest

from apps.organizations.models import Organization
from apps.reports.selectors import SpendQuestion, Sums, spend
from apps.teams.services import create_team
from apps.usage import facets, facets_sql, services, tasks
from tests.database import as_worker
from tests.usage.ledger import Aside, Books, accept, as_owner, open_books, post, reconcile, retain, roll, rows, sum_up
from tests.world import make_event

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=3)


@pytest.fixture
def books() -> Books:
    return open_books()


def at_noon(days: int = 0, **said: Any) -> dict[str, Any]:
    return make_event(occurred_at=(NOON + timedelta(days=days)).isoformat(), **said)


def events_by(books: Books, dimension: str, **asked: str) -> dict[str | None, int]:
    """The number of events by value, from a midnight to now."""
    start = NOON.replace(hour=0) - timedelta(days=2)
    answer = books.api.get("spend", group_by=dimension, **{"from": start.isoformat(), **asked})
    assert answer.status_code == 200, answer.content
    return {row[dimension]: row["events"] for row in answer.json()["rows"]}


def marked(books: Books) -> dict[datetime, tuple[list[str], list[str]]]:
    return {row["day_start"]: (row["facets"], row["left_out"]) for row in rows("usage_facetday", books.org)}


def test_days_that_are_over_are_summed_up_once(books: Books) -> None:
    books.api.send(at_noon(operation="chat"), at_noon(operation="chat", tags={"a": "1"}), make_event(operation="chat"))
    assert sum_up(books.org) == 1
    assert marked(books) == {NOON.replace(hour=0): (["operation", "tags.a"], [])}
    assert sum_up(books.org) == 0
    assert events_by(books, "operation") == {"chat": 3}
    assert events_by(books, "tags.a") == {"1": 1, None: 2}
    assert events_by(books, "region") == {None: 3}


def test_the_answer_is_read_from_the_sums(books: Books) -> None:
    books.api.send(at_noon(operation="chat"))
    sum_up(books.org)
    as_owner("UPDATE usage_facetrollup SET value = 'changed' WHERE organization_id = %s", books.org.pk)
    assert events_by(books, "operation") == {"changed": 1}
    # Hours are finer than the sums, and so are two facets at once.
    assert events_by(books, "operation", granularity="hour") == {"chat": 1}
    assert events_by(books, "operation", **{"tags.a": ""}) == {"chat": 1}


def test_what_comes_late_is_in_the_next_answer(books: Books) -> None:
    books.api.send(at_noon(operation="chat"), at_noon(-1, operation="chat"))
    sum_up(books.org)
    books.api.send(at_noon(operation="embeddings"))
    assert events_by(books, "operation") == {"chat": 2, "embeddings": 1}
    roll(books.org)
    assert list(marked(books)) == [NOON.replace(hour=0) - timedelta(days=1)]
    assert events_by(books, "operation") == {"chat": 2, "embeddings": 1}
    assert sum_up(books.org) == 1
    assert events_by(books, "operation") == {"chat": 2, "embeddings": 1}
    assert reconcile(books.org) == []


def test_money_that_moved_is_where_it_is_now(books: Books) -> None:
    team = create_team(org=books.org, slug="search")
    books.api.send(at_noon(event_id="a", team="lost", operation="chat"))
    roll(books.org)
    post(books.org, "a", cost_usd=Decimal("0.5"), team="search", team_id=team.pk)
    sum_up(books.org)
    asked = {"from": NOON.replace(hour=0).isoformat(), "group_by": "operation,team"}
    [row] = books.api.get("spend", **asked).json()["rows"]
    assert (row["operation"], row["team"], Decimal(row["cost_usd"])) == ("chat", "search", Decimal("0.5"))
    assert reconcile(books.org) == []


@pytest.mark.parametrize("turn", ["facets_of", "sum_up", "note_day"])
def test_events_that_come_while_a_day_is_summed_up_are_not_missed(books: Books, turn: str) -> None:
    """Stored and committed by another connection at each turn of the work; the move of their deltas waits for it."""
    books.api.send(at_noon(operation="chat", run_id="r"))
    real: Callable[..., Any] = getattr(facets_sql, turn)
    came: list[Any] = []

    def interrupted(*given: Any, **named: Any) -> Any:
        if not came:
            came.append(turn)
            with Aside(lambda: books.api.send(at_noon(operation="late", run_id="r2"))):
                pass
            with Aside(lambda: roll(books.org)) as move:
                pass
            assert move.result == 0, "a delta was moved while its day was summed up"
        return real(*given, **named)

    with patch.object(facets_sql, turn, interrupted):
        assert sum_up(books.org) == 1
    assert events_by(books, "operation") == {"chat": 1, "late": 1}
    assert events_by(books, "run_id") == {"r": 1, "r2": 1}
    roll(books.org)
    assert marked(books) == {}
    assert events_by(books, "operation") == {"chat": 1, "late": 1}


def test_a_facet_with_as_many_values_as_events_is_left_to_them(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facets, "ROWS_MIN", 1)
    books.api.send(*(at_noon(operation="chat", run_id=f"r{n}", tags={"request": str(n)}) for n in range(4)))
    sum_up(books.org)
    assert marked(books) == {NOON.replace(hour=0): (["operation"], ["run_id", "tags.request"])}
    assert events_by(books, "run_id") == {f"r{n}": 1 for n in range(4)}
    assert events_by(books, "tags.request") == {str(n): 1 for n in range(4)}
    assert events_by(books, "tags.other") == {None: 4}
    assert reconcile(books.org) == []


def test_of_many_tags_the_most_frequent_are_summed_up(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facets, "TAGS_MAX", 1)
    books.api.send(at_noon(tags={"a": "1", "b": "1"}), at_noon(tags={"b": "1", "c": "1"}))
    sum_up(books.org)
    assert marked(books) == {NOON.replace(hour=0): (["tags.b"], ["tags."])}
    assert events_by(books, "tags.b") == {"1": 2}
    assert events_by(books, "tags.c") == {"1": 1, None: 1}


def test_a_range_may_be_long_where_its_days_are_summed_up(books: Books) -> None:
    """Days without an event count for nothing, before the first one and between."""
    accept(books, *(at_noon(-2 * n, operation="chat") for n in range(40)))
    year = {"from": (NOON - timedelta(days=365)).isoformat()}
    refused = books.api.get("spend", group_by="operation", **year)
    assert (refused.status_code, refused.json()["code"]) == (400, "range_too_long")
    sum_up(books.org)
    books.api.send(make_event(operation="chat"))
    assert events_by(books, "operation", **year) == {"chat": 41}


def test_each_period_may_be_a_month_of_events(books: Books) -> None:
    """Two facets at once are answered from events; what is compared with is a period of its own."""
    accept(books, *(at_noon(-n, operation="chat", region="eu") for n in range(58)))
    asked = SpendQuestion(
        start=NOON - timedelta(days=29),
        end=NOON + timedelta(days=1),
        group_by=("operation", "region"),
        before=(NOON - timedelta(days=59), NOON - timedelta(days=29)),
    )
    answer = spend(books.org, asked)
    assert (answer.total.events, answer.before.events if answer.before else 0) == (30, 28)


def test_where_nothing_happened_there_is_an_answer(books: Books) -> None:
    asked = SpendQuestion(
        start=NOON, end=NOON + timedelta(days=1), group_by=("operation",), before=(NOON - timedelta(days=1), NOON)
    )
    answer = spend(books.org, asked)
    assert (answer.rows, answer.total.events, answer.before) == ([], 0, Sums())


def test_nothing_finer_than_rollups_outlives_the_events(books: Books) -> None:
    Organization.objects.filter(pk=books.org.pk).update(retention_months=1)
    books.org.refresh_from_db()
    before = services.oldest_kept(books.org, datetime.now(UTC))
    ages = (timedelta(days=40), timedelta(hours=1), -timedelta(hours=1))
    accept(books, *(make_event(occurred_at=(before - age).isoformat(), operation="chat") for age in ages))
    assert sum_up(books.org) == 3
    retain(books.org)
    assert list(marked(books)) == [before]
    assert {row["day_start"] for row in rows("usage_facetrollup", books.org)} == {before}
    assert sum_up(books.org) == 0
    assert reconcile(books.org) == []


def test_the_reconciler_sees_sums_that_are_wrong(books: Books) -> None:
    books.api.send(at_noon(operation="chat"))
    sum_up(books.org)
    as_owner("UPDATE usage_facetrollup SET cost_usd = cost_usd + 1 WHERE organization_id = %s", books.org.pk)
    day = NOON.replace(hour=0)
    assert reconcile(books.org) == [{"check": "facet", "facet": "operation", "day_start": day}]
    as_owner("DELETE FROM usage_facetrollup WHERE organization_id = %s", books.org.pk)
    assert reconcile(books.org) == [{"check": "facet", "facet": "operation", "day_start": day}]


def test_the_worker_sums_up_every_organization(books: Books) -> None:
    books.api.send(at_noon(operation="chat"))
    with as_worker():
        tasks.sum_up_days(books.org.pk)
    assert list(marked(books)) == [NOON.replace(hour=0)]
    with patch.object(tasks.sum_up_days, "apply_async") as sent:
        tasks.sum_up_all_days()
    assert (books.org.pk,) in [call.args[0] for call in sent.call_args_list]
