"""When an event may have happened, and which hour, day and month it counts in."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine

from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.services import change_zone
from apps.usage.models import Event
from apps.usage.services import apply_retention, reconcile, roll_up
from tests.api.tenants import make_api, make_org
from tests.database import as_worker
from tests.world import Api, make_event

NOW = datetime(2026, 5, 20, 12, 30, 15, 250, tzinfo=UTC)
TICK = timedelta(microseconds=1)
MINUTES_AHEAD = timedelta(minutes=5)
DAYS_BACK = timedelta(days=35)
# 25 months before the month of NOW.
OLDEST = datetime(2024, 4, 1, tzinfo=UTC)


def at(instant: datetime, **fields: Any) -> dict[str, Any]:
    return make_event(occurred_at=instant.isoformat(), **fields)


def code_of(api: Api, instant: datetime) -> str:
    """`accepted`, or the code of the rejection of an event at `instant`, sent NOW."""
    with time_machine.travel(NOW, tick=False):
        answer = api.send(at(instant))
    if answer["accepted"]:
        return "accepted"
    assert answer["results"][0]["param"] == "occurred_at"
    code: str = answer["results"][0]["code"]
    return code


@pytest.mark.parametrize(
    ("instant", "without_backfill", "with_backfill"),
    [
        (NOW, "accepted", "accepted"),
        (NOW + MINUTES_AHEAD, "accepted", "accepted"),
        (NOW + MINUTES_AHEAD + TICK, "occurred_at_in_future", "occurred_at_in_future"),
        (NOW - DAYS_BACK, "accepted", "accepted"),
        (NOW - DAYS_BACK - TICK, "occurred_at_too_old", "accepted"),
        (OLDEST, "occurred_at_too_old", "accepted"),
        (OLDEST - TICK, "too_old", "too_old"),
    ],
)
def test_it_takes_events_of_a_window_of_time(
    org: Organization, instant: datetime, without_backfill: str, with_backfill: str
) -> None:
    assert code_of(make_api(org, "ingest"), instant) == without_backfill
    assert code_of(make_api(org, "ingest", "backfill"), instant) == with_backfill


def test_an_organization_may_keep_less_than_the_installation() -> None:
    api = make_api(make_org(retention_months=2))
    assert code_of(api, datetime(2026, 3, 1, tzinfo=UTC)) == "accepted"
    assert code_of(api, datetime(2026, 3, 1, tzinfo=UTC) - TICK) == "too_old"


def test_an_organization_cannot_keep_more_than_the_installation() -> None:
    api = make_api(make_org(retention_months=120))
    assert code_of(api, OLDEST) == "accepted"
    assert code_of(api, OLDEST - TICK) == "too_old"


def test_a_sealed_month_takes_no_more_events() -> None:
    org = make_org(retention_months=1)
    api = make_api(org)
    with time_machine.travel(NOW, tick=False):
        api.send(at(datetime(2026, 4, 10, tzinfo=UTC)), at(NOW))
    with time_machine.travel(datetime(2026, 6, 2, tzinfo=UTC), tick=False), as_worker():
        roll_up(org)
        assert apply_retention(org.pk) == 1
    Organization.objects.filter(pk=org.pk).update(retention_months=None)
    assert code_of(api, datetime(2026, 4, 30, 23, 59, 59, tzinfo=UTC)) == "too_old"
    assert code_of(api, datetime(2026, 5, 1, tzinfo=UTC)) == "accepted"
    with as_worker():
        roll_up(org)
        assert reconcile(org).agrees


def test_the_same_instant_counts_once_whatever_its_offset(api: Api) -> None:
    with time_machine.travel(NOW, tick=False):
        event = make_event(occurred_at="2026-05-20T12:00:00Z")
        api.send(event)
        answer = api.send({**event, "occurred_at": "2026-05-20T17:45:00+05:45"})
        assert answer["duplicates"] == 1
        assert api.get("events").json()["data"][0]["occurred_at"] == "2026-05-20T12:00:00Z"


@pytest.mark.parametrize(
    ("zone", "instant", "hour", "month"),
    [
        ("UTC", "2026-04-30T23:59:59.999999Z", "2026-04-30T23:00:00Z", "2026-04"),
        ("UTC", "2026-05-01T00:00:00Z", "2026-05-01T00:00:00Z", "2026-05"),
        ("Europe/Berlin", "2026-04-30T21:59:59.999999Z", "2026-04-30T21:00:00Z", "2026-04"),
        ("Europe/Berlin", "2026-04-30T22:00:00Z", "2026-04-30T22:00:00Z", "2026-05"),
        ("America/Los_Angeles", "2026-05-01T06:59:59Z", "2026-05-01T06:00:00Z", "2026-04"),
        ("Asia/Kolkata", "2026-04-30T18:29:59Z", "2026-04-30T17:30:00Z", "2026-04"),
        ("Asia/Kolkata", "2026-04-30T18:30:00Z", "2026-04-30T18:30:00Z", "2026-05"),
    ],
)
def test_it_counts_in_the_organizations_own_hours_and_months(zone: str, instant: str, hour: str, month: str) -> None:
    api = make_api(make_org(zone))
    with time_machine.travel(NOW, tick=False):
        api.send(make_event(occurred_at=instant))
        found = api.get("events", **{"from": "2026-04-30T00:00:00Z"}).json()["data"][0]
        rows = api.get("spend", **{"from": "2026-04-30T00:00:00Z", "granularity": "hour"}).json()["rows"]
    assert found["booked_month"] == month
    assert [row["bucket"] for row in rows] == [hour]


def test_a_change_of_zone_leaves_the_months_before_it_alone(org: Organization, api: Api) -> None:
    with time_machine.travel(NOW, tick=False):
        change_zone(org=org, zone="Asia/Tokyo", effective_month=datetime(2026, 7, 1).date(), actor=None)
    instants = [datetime(2026, 6, 30, 14, 59, 59, tzinfo=UTC), datetime(2026, 6, 30, 15, tzinfo=UTC)]
    with time_machine.travel(datetime(2026, 7, 2, tzinfo=UTC), tick=False):
        api.send(*(at(instant) for instant in instants))
    with tenant(org):
        events = Event.objects.for_org(org).order_by("occurred_at")
        assert [f"{event.booked_month:%Y-%m}" for event in events] == ["2026-06", "2026-07"]


def test_it_finds_an_event_by_id_on_a_leap_day(api: Api) -> None:
    with time_machine.travel(datetime(2028, 2, 29, 12, tzinfo=UTC), tick=False):
        api.send(make_event(event_id="leap"))
        response = api.get("events", event_id="leap")
    assert [event["event_id"] for event in response.json()["data"]] == ["leap"]
