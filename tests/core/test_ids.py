"""Ids that sort by when they were made, and say so to Postgres."""

import time
from datetime import UTC, datetime
from uuid import UUID

import pytest
from django.db import connection

from apps.core.ids import time_ordered_id


def test_it_is_a_uuid_of_version_7_and_no_other() -> None:
    made = [UUID(time_ordered_id()) for _ in range(1000)]
    assert {(one.version, one.variant) for one in made} == {(7, "specified in RFC 4122")}
    assert len(set(made)) == 1000


def test_a_later_one_sorts_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for milliseconds in (0, 1, 2**40, 2**40 + 1, 2**47):
        monkeypatch.setattr("apps.core.ids.time.time_ns", lambda at=milliseconds: at * 1_000_000)
        found.append(time_ordered_id())
    assert found == sorted(found)


def test_postgres_reads_when_it_was_made() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT uuid_extract_timestamp(%s::uuid)", [time_ordered_id()])
        (at,) = cursor.fetchone()
    assert abs((datetime.fromtimestamp(time.time(), UTC) - at).total_seconds()) < 5
