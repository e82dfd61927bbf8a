"""An organization that keeps less than the installation: its months are sealed, deleted, and still add up."""

from datetime import UTC, date, datetime, timedelta

import pytest

from apps.core.periods import next_month
from apps.organizations.models import Organization
from apps.usage import partitions, services, tasks
from tests.database import as_worker
from tests.usage.ledger import Books, accept, open_books, reconcile, retain, roll, rows
from tests.world import make_event


@pytest.fixture
def books() -> Books:
    """Keeps one month."""
    books = open_books()
    Organization.objects.filter(pk=books.org.pk).update(retention_months=1)
    books.org.refresh_from_db()
    return books


@pytest.fixture
def before(books: Books) -> datetime:
    """The first instant that the organization keeps."""
    return services.oldest_kept(books.org, datetime.now(UTC))


def ids(table: str, books: Books) -> set[str]:
    return {row["event_id"] for row in rows(table, books.org)}


def test_it_keeps_whole_months(before: datetime) -> None:
    this_month = datetime.now(UTC).date().replace(day=1)
    assert next_month(before.date()) == this_month
    assert (before.day, before.hour, before.minute) == (1, 0, 0)


def test_events_go_and_their_keys_outlive_them_by_forty_days(books: Books, before: datetime) -> None:
    ages = {"very-old": timedelta(days=41), "old": timedelta(days=39), "just-old": timedelta(hours=1)}
    events = [make_event(event_id=name, occurred_at=(before - age).isoformat()) for name, age in ages.items()]
    accept(books, *events, make_event(event_id="kept", occurred_at=before.isoformat()))
    roll(books.org)
    assert retain(books.org) == 3
    assert ids("usage_event", books) == {"kept"}
    assert ids("usage_eventkey", books) == {"old", "just-old", "kept"}
    assert reconcile(books.org) == []


def test_every_month_that_goes_is_sealed(books: Books, before: datetime) -> None:
    days = (70, 69, 3, 2, 1)
    accept(books, *(make_event(occurred_at=(before - timedelta(days=day)).isoformat()) for day in days))
    retain(books.org)
    sealed = {seal["month"]: int(seal["events"]) for seal in rows("usage_seal", books.org)}
    expected: dict[date, int] = {}
    month = (before - timedelta(days=70)).date().replace(day=1)
    while month < before.date():
        expected[month] = sum((before - timedelta(days=day)).date().replace(day=1) == month for day in days)
        month = next_month(month)
    assert sealed == expected


def test_it_deletes_in_batches(books: Books, before: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    at = (before - timedelta(days=45)).isoformat()
    accept(books, *(make_event(occurred_at=at) for _ in range(7)))
    monkeypatch.setattr(services, "DELETE_ROWS_MAX", 3)
    assert retain(books.org) == 7
    assert rows("usage_event", books.org) == rows("usage_eventkey", books.org) == []


def test_a_second_time_changes_nothing(books: Books, before: datetime) -> None:
    accept(books, make_event(occurred_at=(before - timedelta(days=5)).isoformat()))
    retain(books.org)
    once = [rows(table, books.org) for table in ("usage_seal", "usage_eventkey")]
    assert retain(books.org) == 0
    assert [rows(table, books.org) for table in ("usage_seal", "usage_eventkey")] == once


def test_spend_of_a_deleted_month_stays(books: Books, before: datetime) -> None:
    accept(books, *(make_event(user="u", occurred_at=(before - timedelta(days=day)).isoformat()) for day in (40, 9, 1)))
    asked = {"from": (before - timedelta(days=62)).isoformat(), "to": before.isoformat(), "granularity": "day"}
    spend = [books.api.get("spend", group_by=name, **asked).json()["rows"] for name in ("model", "user")]
    retain(books.org)  # the deltas still wait: they move after their events are gone
    assert reconcile(books.org) == []
    roll(books.org)
    assert reconcile(books.org) == []
    assert [books.api.get("spend", group_by=name, **asked).json()["rows"] for name in ("model", "user")] == spend
    assert len(spend[0]) == 3


@pytest.mark.parametrize("days", [1, 41])
def test_an_old_event_sent_again_is_too_old(books: Books, before: datetime, days: int) -> None:
    event = make_event(occurred_at=(before - timedelta(days=days)).isoformat())
    accept(books, event)
    roll(books.org)
    retain(books.org)
    answer = books.api.send(event, make_event())
    assert (answer["accepted"], answer["rejected"]) == (1, 1)
    assert (answer["results"][0]["code"], answer["results"][0]["param"]) == ("too_old", "occurred_at")
    assert reconcile(books.org) == []


def test_a_sealed_month_takes_no_event_after_the_retention_was_lengthened(books: Books, before: datetime) -> None:
    accept(books, make_event(occurred_at=(before - timedelta(days=1)).isoformat()))
    retain(books.org)
    Organization.objects.filter(pk=books.org.pk).update(retention_months=None)
    answer = books.api.send(make_event(occurred_at=(before - timedelta(hours=2)).isoformat()))
    assert answer["results"][0]["code"] == "too_old"
    assert reconcile(books.org) == []


def test_an_organization_cannot_keep_more_than_the_installation() -> None:
    books = open_books()
    Organization.objects.filter(pk=books.org.pk).update(retention_months=120)
    books.org.refresh_from_db()
    assert services.retention_months(books.org) == 25


def test_the_daily_task_keeps_each_organization_to_its_retention(books: Books, before: datetime) -> None:
    """Where the installation's retention holds, a key goes too, 40 days after its month was dropped."""
    other = open_books()
    beyond = services.oldest_kept(other.org, datetime.now(UTC)) - timedelta(days=41)
    accept(books, make_event(event_id="old", occurred_at=(before - timedelta(days=1)).isoformat()))
    accept(other, make_event(event_id="stays"))
    with as_worker():
        partitions.create(beyond.date())
    accept(other, make_event(event_id="gone", occurred_at=beyond.isoformat()))
    with as_worker():
        tasks.maintain_partitions()
    assert beyond.date().replace(day=1) not in partitions.months()
    assert ids("usage_event", books) == set()
    assert ids("usage_event", other) == ids("usage_eventkey", other) == {"stays"}
    for one in (books, other):
        roll(one.org)
        assert reconcile(one.org) == []
