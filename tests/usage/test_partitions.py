"""Events live in months: 25 back and 3 ahead, made and dropped by two functions and by nobody else."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
from django.conf import settings
from django.db import DatabaseError, ProgrammingError

from apps.core.periods import month_before, next_month
from apps.core.tenancy import tenant
from apps.usage import partitions, services, sql
from tests.database import as_worker
from tests.usage.ledger import Books, accept, as_owner, month_start, open_books, reconcile, roll, rows
from tests.world import make_event

THIS_MONTH = datetime.now(UTC).date().replace(day=1)
# Beyond every retention: a test may make and drop it without touching what others see.
ANCIENT = month_before(THIS_MONTH, 40)


@pytest.fixture
def books() -> Books:
    return open_books()


@pytest.fixture
def ancient() -> Iterator[date]:
    with as_worker():
        partitions.create(ANCIENT)
    yield ANCIENT
    as_owner(f"DROP TABLE IF EXISTS usage_event_{ANCIENT:%Y_%m}")


def kept_months() -> list[date]:
    oldest = month_before(THIS_MONTH, settings.RETENTION_MONTHS)
    return services.months_between(oldest, month_before(THIS_MONTH, -partitions.MONTHS_AHEAD - 1))


def test_partitions_cover_the_retention_and_three_months_ahead() -> None:
    assert (len(kept_months()), kept_months()[25]) == (25 + 1 + 3, THIS_MONTH)
    assert set(kept_months()) <= set(partitions.months())


def test_the_default_partition_stays_empty(books: Books) -> None:
    oldest = services.oldest_kept(books.org, datetime.now(UTC))
    for at in (oldest, datetime.now(UTC) + timedelta(minutes=4)):
        assert books.api.send(make_event(occurred_at=at.isoformat()))["accepted"] == 1
    [default] = as_owner("SELECT count(*) FROM usage_event_default WHERE organization_id = %s", books.org.pk)
    assert default["count"] == 0


def test_an_event_lands_in_the_month_of_its_hour(books: Books) -> None:
    month = month_before(THIS_MONTH, 3)
    books.api.send(make_event(event_id="e", occurred_at=month_start(month).isoformat()))
    [found] = as_owner(
        "SELECT tableoid::regclass::text AS name FROM usage_event WHERE organization_id = %s", books.org.pk
    )
    assert found["name"] == f"usage_event_{month:%Y_%m}"


def test_making_a_partition_twice_changes_nothing(ancient: date) -> None:
    before = partitions.months()
    with as_worker():
        partitions.create(ancient)
        partitions.create(ancient.replace(day=17))
    assert partitions.months() == before


def test_the_site_may_not_make_or_drop_partitions() -> None:
    for function in (partitions.create, partitions.detach):
        with pytest.raises(ProgrammingError, match="permission denied for function"):
            function(THIS_MONTH)


def test_nobody_at_run_time_reads_a_partition_by_its_own_name(books: Books) -> None:
    books.api.send(make_event())
    for role in ("finops_app", "finops_worker"):
        [grants] = as_owner(
            "SELECT bool_or(has_table_privilege(%s, inhrelid, 'SELECT, INSERT, UPDATE, DELETE')) AS any"
            " FROM pg_inherits WHERE inhparent = 'usage_event'::regclass",
            role,
        )
        assert grants["any"] is False


def test_maintenance_changes_nothing_where_all_is_there() -> None:
    before = partitions.months()
    with as_worker():
        services.maintain_partitions(today=datetime.now(UTC).date())
    assert partitions.months() == before


def test_maintenance_makes_what_is_missing() -> None:
    last = kept_months()[-1]
    as_owner(f"DROP TABLE usage_event_{last:%Y_%m}")
    assert last not in partitions.months()
    with as_worker():
        services.maintain_partitions(today=datetime.now(UTC).date())
    assert partitions.months() == kept_months()


def test_dropping_a_month_refuses_without_a_seal(books: Books, ancient: date) -> None:
    accept(books, make_event(occurred_at=month_start(ancient).isoformat()))
    with as_worker(), pytest.raises(DatabaseError, match=f"organization {books.org.pk} has events in usage_event_"):
        partitions.detach(ancient)
    assert ancient in partitions.months()


def test_dropping_a_month_that_is_not_there_changes_nothing() -> None:
    before = partitions.months()
    with as_worker():
        partitions.detach(ANCIENT)
    assert partitions.months() == before


def test_a_month_beyond_the_retention_is_sealed_and_dropped(ancient: date) -> None:
    """Every organization's sums stay: rollups, spend and the proof are as before."""
    one, other = open_books(), open_books("Asia/Kolkata")
    for books in (one, other):
        events = [make_event(occurred_at=(month_start(ancient) + timedelta(days=day)).isoformat()) for day in (2, 9, 9)]
        accept(books, *events, make_event(model="nobody", occurred_at=events[0]["occurred_at"]))
        roll(books.org)
    asked = {"from": month_start(ancient).isoformat(), "to": month_start(next_month(ancient)).isoformat()}
    spend = one.api.get("spend", group_by="model", granularity="day", **asked).json()["rows"]
    assert len(spend) == 3
    with as_worker():
        services.maintain_partitions(today=datetime.now(UTC).date())
    assert ancient not in partitions.months()
    assert one.api.get("spend", group_by="model", granularity="day", **asked).json()["rows"] == spend
    for books in (one, other):
        assert rows("usage_event", books.org) == []
        [seal] = rows("usage_seal", books.org)
        assert (seal["month"], seal["events"], seal["unpriced_events"]) == (ancient, 4, 1)
        assert reconcile(books.org) == []


def test_sealing_again_keeps_the_first_seal(books: Books, ancient: date) -> None:
    accept(books, make_event(occurred_at=month_start(ancient).isoformat()))

    def seal() -> None:
        with as_worker(), tenant(books.org):
            sql.seal(books.org.pk, ancient, next_month(ancient))

    seal()
    first = rows("usage_seal", books.org)
    as_owner("DELETE FROM usage_event WHERE organization_id = %s", books.org.pk)
    seal()
    assert rows("usage_seal", books.org) == first
    assert first[0]["events"] == 1


def test_two_months_of_the_same_events_have_the_same_digest(ancient: date) -> None:
    events = [make_event(event_id=f"e{n}", occurred_at=month_start(ancient).isoformat()) for n in range(3)]
    digests = []
    for sent in (events, events[::-1], [*events[:2], {**events[2], "status": "error"}]):
        books = open_books()
        accept(books, *sent)
        with as_worker(), tenant(books.org):
            sql.seal(books.org.pk, ancient, next_month(ancient))
        digests.append(bytes(rows("usage_seal", books.org)[0]["digest"]))
    assert digests[0] == digests[1] != digests[2]


def test_a_seal_is_never_changed_at_run_time(books: Books) -> None:
    for statement in ("UPDATE usage_seal SET events = 0", "DELETE FROM usage_seal"):
        with as_worker(), pytest.raises(DatabaseError, match="permission denied"), tenant(books.org):
            services.sql.connection.cursor().execute(statement)
