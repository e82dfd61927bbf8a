"""GET /api/v1/spend: what it answers, what it refuses and how."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.organizations.models import Organization
from apps.reports import selectors
from apps.teams.services import create_team
from tests.api.tenants import make_api, make_org
from tests.database import owner_url
from tests.usage.ledger import accept, open_books, roll
from tests.world import Api, make_event


def spend(api: Api, **query: Any) -> dict[str, Any]:
    """A good answer; `start` and `end` are from and to."""
    asked = {{"start": "from", "end": "to"}.get(name, name): value for name, value in query.items()}
    response = api.get("spend", **asked)
    assert response.status_code == 200, response.content
    answer: dict[str, Any] = response.json()
    return answer


def days_ago(days: float) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat()


# --- the answer -----------------------------------------------------------------------------------------


def test_it_says_what_was_asked_and_what_it_sums_to(api: Api) -> None:
    start, end = "2026-01-05T10:15:00Z", "2026-01-06T00:00:00Z"
    assert spend(api, start=start, end=end, group_by="team,model", granularity="day") | {"as_of": None} == {
        "from": start,
        "to": end,
        "granularity": "day",
        "group_by": ["team", "model"],
        "basis": "occurred",
        "as_of": None,
        "source": "rollups",
        "rows": [],
        "total": {
            "events": 0, "cost_usd": "0.000000000000", "unpriced_events": 0, "errors": 0, "retries": 0,
            "escalations": 0, "input_tokens": 0, "cache_read_tokens": 0, "cache_write_5m_tokens": 0,
            "cache_write_1h_tokens": 0, "output_tokens": 0, "reasoning_tokens": 0, "audio_input_tokens": 0,
            "audio_output_tokens": 0, "image_input_tokens": 0, "image_output_tokens": 0, "requests": 0, "images": 0,
            "audio_milliseconds": 0, "characters": 0, "searches": 0, "audio_cache_read_tokens": 0,
            "image_cache_read_tokens": 0, "video_milliseconds": 0, "file_searches": 0, "code_sessions": 0, "pages": 0,
        },
        "next": None,
    }  # fmt: skip


def test_it_asks_of_this_month_until_now_by_default(api: Api) -> None:
    api.send(make_event(), make_event(occurred_at=days_ago(31.5)))
    answer = spend(api)
    now = datetime.now(UTC)
    assert datetime.fromisoformat(answer["from"]) == now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    assert timedelta(0) <= now - datetime.fromisoformat(answer["to"]) < timedelta(minutes=1)
    assert (answer["total"]["events"], answer["rows"][0]["bucket"]) == (1, None)


def test_the_default_month_is_the_organizations(org: Organization) -> None:
    api = make_api(make_org("Asia/Kolkata"))
    begins = datetime.fromisoformat(spend(api)["from"])
    assert (begins.hour, begins.minute) == (18, 30)


def test_an_acknowledged_event_is_in_the_next_answer(api: Api) -> None:
    before = datetime.now(UTC)
    for count in (1, 2, 3):
        api.send(make_event(user="u"))
        assert spend(api)["total"]["events"] == count
        assert spend(api, group_by="user")["rows"][0]["events"] == count
    assert before <= datetime.fromisoformat(spend(api)["as_of"]) <= datetime.now(UTC)


def test_a_missing_dimension_is_null_and_found_by_nothing(api: Api, org: Organization) -> None:
    create_team(org=org, slug="search")
    create_team(org=org, slug="ads")
    api.send(
        make_event(team="search"), make_event(team="lost"), make_event(), make_event(team="ads", environment="prod")
    )
    roll(org)
    by_team = spend(api, group_by="team")["rows"]
    assert [(row["team"], row["events"]) for row in by_team] == [("ads", 1), ("search", 1), (None, 2)]
    by_name = spend(api, group_by="team,team_name", team="")["rows"]
    assert [(row["team"], row["team_name"]) for row in by_name] == [(None, "lost"), (None, None)]
    assert spend(api, team="search")["total"]["events"] == 1
    assert spend(api, team="lost")["total"]["events"] == 0
    assert spend(api, team_name="lost")["total"]["events"] == 1
    assert spend(api, environment="")["total"]["events"] == 3
    assert spend(api, environment="", team="ads")["total"]["events"] == 0


def test_cost_is_null_where_all_is_unpriced(api: Api) -> None:
    api.send(make_event(model="nobody"), make_event(model="nobody"))
    assert spend(api)["total"]["cost_usd"] is None
    api.send(make_event())
    answer = spend(api, group_by="model")
    assert {row["model"]: row["cost_usd"] for row in answer["rows"]} == {
        "claude-sonnet-4-5": "0.004500000000",
        "nobody": None,
    }
    assert (answer["total"]["cost_usd"], answer["total"]["unpriced_events"]) == ("0.004500000000", 2)


def test_a_free_call_costs_zero_and_is_no_unpriced_one(api: Api) -> None:
    api.send(make_event(usage={"input_tokens": 0}))
    assert (spend(api)["total"]["cost_usd"], spend(api)["total"]["unpriced_events"]) == ("0.000000000000", 0)


def test_every_meter_is_summed(api: Api) -> None:
    usage = {"input_tokens": 3, "cache_read_tokens": 5, "reasoning_tokens": 7, "images": 2, "searches": 10**12}
    api.send(make_event(usage=usage), make_event(usage=usage))
    total = spend(api)["total"]
    assert {name: total[name] for name in usage} == {name: 2 * quantity for name, quantity in usage.items()}


@pytest.mark.parametrize(
    ("asked", "source"),
    [
        ({"group_by": "team,project,workflow,task_type,provider,model"}, "rollups"),
        ({"group_by": "service_tier,environment,api_key,status,priced"}, "rollups"),
        ({"group_by": "user,team,project,workflow,provider,model"}, "rollups"),
        ({"group_by": "user", "model": "claude-sonnet-4-5"}, "rollups"),
        ({"group_by": "user,task_type"}, "events"),
        ({"group_by": "user", "status": "ok"}, "events"),
        ({"group_by": "run_id"}, "events"),
        ({"run_id": "r"}, "events"),
        ({"group_by": "tags.team/lead"}, "events"),
        ({"tags.a.b": "c"}, "events"),
        ({"group_by": "operation,region,outcome,tool_name"}, "events"),
    ],
)
def test_it_says_which_store_answered(api: Api, asked: dict[str, str], source: str) -> None:
    tags = {"team/lead": "ann", "a.b": "c"}
    api.send(make_event(user="u", run_id="r", task_type="coding", tags=tags, operation="chat"), make_event(run_id="r"))
    answer = spend(api, start=days_ago(30), end=days_ago(0), **asked)
    assert answer["source"] == source
    assert answer["total"]["events"] == (1 if "tags.a.b" in asked else 2)


def test_a_page_after_another_shows_every_row_once_and_the_same_total(api: Api) -> None:
    api.send(*(make_event(task_type=f"t{n}", occurred_at=days_ago(n % 3)) for n in range(7)))
    asked = {"start": days_ago(4), "end": days_ago(-1), "group_by": "task_type", "granularity": "day"}
    whole = spend(api, **asked)
    assert (len(whole["rows"]), whole["next"]) == (7, None)
    rows, following = [], {}
    for size in (3, 3, 1):
        page = spend(api, **asked, limit=3, **following)
        assert (len(page["rows"]), page["total"]) == (size, whole["total"])
        rows += page["rows"]
        following = {"cursor": page["next"]}
    assert page["next"] is None
    assert rows == whole["rows"]


def test_an_answer_takes_two_questions_to_the_database(api: Api) -> None:
    api.send(make_event(), make_event(occurred_at=days_ago(2)))
    spend(api)
    with CaptureQueriesContext(connection) as asked:
        spend(api, start=days_ago(3), end=days_ago(0), group_by="team,model", granularity="day")
    plumbing = ("BEGIN", "COMMIT", "SET LOCAL", 'SELECT "organizations_apikey')
    [zones, answer] = [query["sql"] for query in asked if not query["sql"].startswith(plumbing)]
    assert "organizations_zone" in zones
    assert answer.startswith("WITH cut AS")


# --- the booked month -----------------------------------------------------------------------------------


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata", "Pacific/Kiritimati"])
def test_booked_months_are_the_organizations(zone: str) -> None:
    org = make_org(zone)
    api = make_api(org)
    first = datetime.fromisoformat(spend(api)["from"])
    tick = timedelta(microseconds=1)
    api.send(*(make_event(occurred_at=at.isoformat()) for at in (first - tick, first, first)))
    by_month = spend(api, start=(first - timedelta(days=3)).isoformat(), granularity="month")["rows"]
    earlier = datetime.fromisoformat(by_month[0]["bucket"])
    for _ in range(2):
        answer = spend(api, start=earlier.isoformat(), basis="booked", granularity="month")
        buckets = [(datetime.fromisoformat(row["bucket"]), row["events"]) for row in answer["rows"]]
        assert buckets == [(earlier, 1), (first, 2)]
        assert spend(api, basis="booked")["total"]["events"] == 2
        roll(org)


# --- what it refuses ------------------------------------------------------------------------------------

REFUSALS = {
    "no such dimension": ({"group_by": "team,colour"}, "dimension_unknown", "group_by"),
    "a tag without a key": ({"group_by": "tags."}, "dimension_unknown", "group_by"),
    "a tag with a NUL": ({"group_by": "tags.a\0b"}, "dimension_unknown", "group_by"),
    "a dimension twice": ({"group_by": "team,team"}, "group_by_invalid", "group_by"),
    "seven dimensions": (
        {"group_by": "team,project,workflow,provider,model,status,priced"},
        "group_by_invalid",
        "group_by",
    ),
    "no such granularity": ({"granularity": "year"}, "granularity_unknown", "granularity"),
    "no such basis": ({"basis": "paid"}, "basis_unknown", "basis"),
    "no instant": ({"from": "yesterday"}, "from_invalid", "from"),
    "no offset": ({"from": "2026-01-01T00:00:00"}, "from_invalid", "from"),
    "a far year": ({"to": "9999-01-01T00:00:00Z"}, "to_invalid", "to"),
    "an empty range": ({"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "range_empty", "from"),
    "the wrong way round": ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "range_empty", "from"),
    "no such parameter": ({"colour": "red"}, "parameter_unknown", "colour"),
    "a parameter twice": ({"team": ["a", "b"]}, "parameter_repeated", "team"),
    "a NUL": ({"team": "a\0"}, "parameter_invalid", "team"),
    "leaving out of no dimension": ({"not.colour": "red"}, "parameter_unknown", "not.colour"),
    "leaving out too much": ({"not.team": ["a"] * 33}, "parameter_repeated", "not.team"),
    "a long value": ({"team": "a" * 257}, "parameter_invalid", "team"),
    "limit 0": ({"limit": "0"}, "limit_invalid", "limit"),
    "limit 10,001": ({"limit": "10001"}, "limit_invalid", "limit"),
    "no number": ({"limit": "ten"}, "limit_invalid", "limit"),
    "10,001 hours": (
        {"from": "2024-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z", "granularity": "hour"},
        "range_too_long",
        "granularity",
    ),
    "a booked range within a month": ({"from": "2026-01-01T00:00:01Z", "basis": "booked"}, "not_a_month", "from"),
    "a booked range into a month": (
        {"from": "2026-01-01T00:00:00Z", "to": "2026-02-02T00:00:00Z", "basis": "booked"},
        "not_a_month",
        "to",
    ),
    "a booked day": ({"basis": "booked", "granularity": "day"}, "granularity_unknown", "granularity"),
    "booked runs": ({"basis": "booked", "group_by": "run_id"}, "dimension_unknown", "group_by"),
}


@pytest.mark.parametrize(("query", "code", "param"), REFUSALS.values(), ids=REFUSALS)
def test_it_refuses(api: Api, query: dict[str, Any], code: str, param: str) -> None:
    response = api.get("spend", **query)
    assert response.status_code == 400, response.content
    assert response["Content-Type"] == "application/problem+json"
    assert (response.json()["code"], response.json()["param"]) == (code, param)


@pytest.mark.parametrize("position", [b"-1", b"1.5", b'"a"', b"[3]", b"99999999999999999999", b"null", b"\xff"])
def test_it_refuses_a_cursor_that_is_not_ours(api: Api, position: bytes) -> None:
    for cursor in (base64.urlsafe_b64encode(position).decode(), position.hex() + "é"):
        response = api.get("spend", cursor=cursor)
        assert response.status_code == 400, response.content
        assert (response.json()["code"], response.json()["param"]) == ("cursor_invalid", "cursor")


def test_more_than_31_days_of_events_are_refused() -> None:
    books = open_books()
    first = (datetime.now(UTC) - timedelta(days=60)).replace(hour=0, minute=0, second=0, microsecond=0)
    end = first + timedelta(days=31, hours=1)
    accept(books, *(make_event(occurred_at=at.isoformat()) for at in (first, end - timedelta(minutes=30))))
    asked = {"from": first.isoformat(), "group_by": "run_id"}
    assert books.api.get("spend", **asked, to=end.isoformat()).json()["total"]["events"] == 2
    refused = books.api.get("spend", **asked, to=(end + timedelta(microseconds=1)).isoformat())
    assert refused.status_code == 400
    assert (refused.json()["code"], refused.json()["param"]) == ("range_too_long", "from")


def test_a_month_of_31_days_in_which_the_clock_is_moved_back_is_answered_from_events() -> None:
    api = make_api(make_org("Europe/Berlin"))
    answer = spend(api, start="2026-10-01T00:00:00+02:00", end="2026-11-01T00:00:00+01:00", group_by="run_id")
    assert answer["source"] == "events"


@pytest.fixture
def busy_store() -> Iterator[None]:
    """Another session keeps every event for itself."""
    with psycopg.connect(owner_url()) as owner:
        owner.execute("LOCK TABLE usage_event IN ACCESS EXCLUSIVE MODE")
        yield
        owner.rollback()


@pytest.mark.usefixtures("busy_store")
def test_a_slow_question_of_events_says_so_and_what_to_do(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selectors, "EVENTS_TIMEOUT_MS", 50)
    response = api.get("spend", group_by="run_id")
    assert response.status_code == 422
    assert (response.json()["code"], response.json()["param"]) == ("query_too_slow", "group_by")
    assert "shorten the range" in response.json()["detail"]


def test_the_limit_of_five_seconds_ends_with_its_question(api: Api) -> None:
    spend(api, group_by="run_id")
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == ("0",)


def test_amounts_stay_exact_beyond_a_float(api: Api) -> None:
    api.send(*(make_event(usage={"output_tokens": 10**12, "input_tokens": 1}) for _ in range(3)))
    assert Decimal(spend(api)["total"]["cost_usd"]) == 3 * (15 * Decimal(10) ** 6 + Decimal("0.000003"))
