"""/spend is the plain sum over the events: in every zone, over any range, however much of it was summed up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.reports.dimensions import SPEND, USER
from apps.reports.selectors import SpendQuestion, Sums, spend
from apps.teams.services import create_team
from tests.usage.ledger import Books, open_books, reconcile, roll, sum_up
from tests.world import make_event, unique

ZONES = ("UTC", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe")
KNOWN_TEAMS = ("search", "ads")
QUARTER = timedelta(minutes=15)
LAST_YEAR = datetime.now(UTC).year - 1

# What an event may say of each dimension; filters ask for these too, and for what is missing.
VALUES: dict[str, tuple[Any, ...]] = {
    "team": (None, *KNOWN_TEAMS, "lost"),
    "task_type": (None, "coding"),
    "environment": (None, "prod", "Ünïcode"),
    "status": ("ok", "error"),
    "user": (None, "u1", "u2"),
    "run_id": (None, "r1"),
    "operation": (None, "chat"),
    "tags.cost centre": (None, "a/b"),
}
ASKED = (*VALUES, "team_name", "provider", "model", "priced")
SUMS = ("events", "cost_usd", "unpriced_events", "errors", "retries", "escalations", "input_tokens", "output_tokens")


@dataclass(frozen=True, slots=True)
class Question:
    start: timedelta
    end: timedelta
    group_by: Sequence[str] = ()
    filters: Mapping[str, str] = field(default_factory=dict)
    granularity: str = "none"
    excluded: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Case:
    """Events and questions around an instant at which the zone's clock is moved; so many events are `rolled` up."""

    zone: str
    shift: datetime
    events: Sequence[Mapping[str, Any]]
    rolled: int
    questions: Sequence[Question]


@lru_cache
def shifts(zone: str) -> list[datetime]:
    """When last year's clocks were moved in the zone; its first midnight of June where they never are."""
    local = ZoneInfo(zone)
    start = datetime(LAST_YEAR, 1, 1, tzinfo=UTC)
    hours = [start + timedelta(minutes=30 * n) for n in range(365 * 48)]
    moved = [b for a, b in pairwise(hours) if a.astimezone(local).utcoffset() != b.astimezone(local).utcoffset()]
    return moved or [datetime(LAST_YEAR, 6, 1, tzinfo=local).astimezone(UTC)]


# --- what is drawn --------------------------------------------------------------------------------------

# Mostly near the shift, mostly on no boundary.
OFFSETS = st.one_of(
    st.integers(-3 * 86400, 3 * 86400).map(lambda seconds: timedelta(seconds=seconds)),
    st.integers(-7200, 7200).map(lambda seconds: timedelta(seconds=seconds)),
    st.integers(-100, 100).map(lambda halves: timedelta(minutes=30 * halves)),
)


@st.composite
def calls(draw: st.DrawFn, shift: datetime) -> dict[str, Any]:
    said = {name: draw(st.sampled_from(values)) for name, values in VALUES.items()}
    tag = said.pop("tags.cost centre")
    return make_event(
        **said,
        occurred_at=(shift + draw(OFFSETS)).isoformat(),
        model=draw(st.sampled_from(["claude-sonnet-4-5", "nobody"])),
        usage={"input_tokens": draw(st.integers(0, 10**5)), "output_tokens": draw(st.integers(0, 10**5))},
        attempt=draw(st.integers(1, 2)),
        escalated_from=draw(st.sampled_from([None, "claude-haiku-4-5"])),
        tags={"cost centre": tag} if tag else None,
    )


@st.composite
def questions(draw: st.DrawFn) -> Question:
    start, end = sorted(draw(st.lists(OFFSETS, min_size=2, max_size=2, unique=True)))
    names = st.lists(st.sampled_from(ASKED), unique=True, max_size=3)
    filters = {
        name: draw(st.sampled_from([value or "" for value in VALUES[name]]))
        for name in draw(st.lists(st.sampled_from(list(VALUES)), unique=True, max_size=2))
    }
    excluded = {
        name: draw(st.lists(st.sampled_from([value or "" for value in VALUES[name]]), unique=True, min_size=1))
        for name in draw(st.lists(st.sampled_from(list(VALUES)), unique=True, max_size=2))
    }
    granularity = draw(st.sampled_from(["none", "hour", "day", "week", "month"]))
    return Question(start, end, draw(names), filters, granularity, excluded)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    zone = draw(st.sampled_from(ZONES))
    shift = draw(st.sampled_from(shifts(zone)))
    events = draw(st.lists(calls(shift), min_size=1, max_size=8))
    asked = draw(st.lists(questions(), min_size=1, max_size=4))
    return Case(zone, shift, events, draw(st.integers(0, len(events))), asked)


# --- the plain sum --------------------------------------------------------------------------------------


def plain_sum(case: Case, question: Question) -> dict[tuple[Any, ...], list[Any]]:
    """By (bucket, *groups): the sums in the order of `SUMS`."""
    found: dict[tuple[Any, ...], list[Any]] = {}
    for event in case.events:
        at = datetime.fromisoformat(event["occurred_at"])
        if not case.shift + question.start <= at < case.shift + question.end:
            continue
        if any((said(event, name) or "") != value for name, value in question.filters.items()):
            continue
        if any((said(event, name) or "") in values for name, values in question.excluded.items()):
            continue
        key = (bucket(case.zone, question.granularity, at), *(said(event, name) for name in question.group_by))
        found[key] = [a + b for a, b in zip(found.get(key, [0] * len(SUMS)), counted(event), strict=True)]
    return found


def said(event: Mapping[str, Any], name: str) -> str | None:
    """The event's value of a dimension, as /spend shows it."""
    if name == "team":
        return event.get("team") if event.get("team") in KNOWN_TEAMS else None
    if name == "team_name":
        return event.get("team")
    if name == "priced":
        return "false" if event["model"] == "nobody" else "true"
    if name.startswith("tags."):
        tag: str | None = event.get("tags", {}).get(name.removeprefix("tags."))
        return tag
    return event.get(name)


def counted(event: Mapping[str, Any]) -> list[Any]:
    tokens, unpriced = event["usage"], event["model"] == "nobody"
    # USD 3 and USD 15 per million.
    cost = Decimal(0) if unpriced else Decimal(3 * tokens["input_tokens"] + 15 * tokens["output_tokens"]) / 10**6
    return [
        1,
        cost,
        int(unpriced),
        int(event["status"] == "error"),
        int(event["attempt"] > 1),
        int("escalated_from" in event),
        tokens["input_tokens"],
        tokens["output_tokens"],
    ]


@cache
def bucket(zone: str, granularity: str, at: datetime) -> datetime | None:
    """Where the hour, day, week or month of `at` begins: the last quarter hour that follows another one's."""
    if granularity == "none":
        return None
    start = at.replace(minute=at.minute - at.minute % 15, second=0, microsecond=0)
    while label(zone, granularity, start - QUARTER) == label(zone, granularity, start):
        start -= QUARTER
    return start


@cache
def label(zone: str, granularity: str, at: datetime) -> tuple[Any, ...]:
    local = at.astimezone(ZoneInfo(zone))
    return {
        "hour": (local.date(), local.hour, local.utcoffset()),
        "day": (local.date(),),
        "week": local.isocalendar()[:2],
        "month": (local.year, local.month),
    }[granularity]


# --- the law --------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(cases())
def test_spend_is_the_plain_sum_over_the_events(case: Case) -> None:
    books = open_books(case.zone)
    for slug in KNOWN_TEAMS:
        create_team(org=books.org, slug=slug)
    # Ids of this example alone: what Hypothesis drew may be sent again in another organization.
    sent = [{**event, "event_id": unique("e")} for event in case.events]
    if case.rolled:
        books.api.send(*sent[: case.rolled])
        roll(books.org)
        sum_up(books.org)
    if case.rolled < len(sent):
        books.api.send(*sent[case.rolled :])
    for question in case.questions:
        check(case, question, ask(books, case, question))
    roll(books.org)
    for question in case.questions:
        check(case, question, ask(books, case, question))
    sum_up(books.org)
    assert reconcile(books.org) == []
    for question in case.questions:
        check(case, question, ask(books, case, question))
        check_compared(books, case, question)


def check_compared(books: Books, case: Case, question: Question) -> None:
    """Two periods asked of at once are the two asked of one by one, and the largest come first."""
    asked = SpendQuestion(
        case.shift + question.start,
        case.shift + question.end,
        tuple(question.group_by),
        question.filters,
        excluded=question.excluded,
    )
    earlier = replace(asked, start=asked.start - timedelta(days=1), end=asked.start)
    now, before = spend(books.org, asked), spend(books.org, earlier)
    both = spend(books.org, replace(asked, before=(earlier.start, earlier.end), largest=True))
    assert (both.total, both.row_count) == (now.total, len(both.rows))
    assert both.before == shortened(before.total)
    assert {row.groups: row.sums for row in both.rows if row.sums.events} == {row.groups: row.sums for row in now.rows}
    was = {row.groups: shortened(row.sums) for row in before.rows}
    assert {row.groups: row.before for row in both.rows if row.before != Sums()} == was
    costs = [row.sums.cost_usd or 0 for row in both.rows]
    assert costs == sorted(costs, reverse=True)


def shortened(sums: Sums) -> Sums:
    return Sums(events=sums.events, cost_usd=sums.cost_usd, unpriced_events=sums.unpriced_events)


def ask(books: Books, case: Case, question: Question) -> dict[str, Any]:
    response = books.api.get(
        "spend",
        **question.filters,
        **{f"not.{name}": values for name, values in question.excluded.items()},
        **{"from": (case.shift + question.start).isoformat(), "to": (case.shift + question.end).isoformat()},
        group_by=",".join(question.group_by),
        granularity=question.granularity,
    )
    assert response.status_code == 200, response.content
    answer: dict[str, Any] = response.json()
    return answer


def check(case: Case, question: Question, answer: Mapping[str, Any]) -> None:
    expected = plain_sum(case, question)
    names = {*question.group_by, *question.filters, *question.excluded}
    assert answer["source"] == ("rollups" if names <= SPEND.keys() or names <= USER.keys() else "events")
    assert [group_of(row, question) for row in answer["rows"]] == sorted(
        expected, key=lambda key: [(value is None, value or "") for value in key]
    )
    for row in answer["rows"]:
        assert sums_of(row) == expected[group_of(row, question)]
    total = [sum(column) for column in zip(*expected.values(), strict=True)] if expected else [0] * len(SUMS)
    assert sums_of(answer["total"]) == total


def group_of(row: Mapping[str, Any], question: Question) -> tuple[Any, ...]:
    begins = None if row["bucket"] is None else datetime.fromisoformat(row["bucket"])
    return (begins, *(row[name] for name in question.group_by))


def sums_of(row: Mapping[str, Any]) -> list[Any]:
    """In the order of `SUMS`; a cost is null exactly where nothing is priced."""
    all_unpriced = row["events"] > 0 and row["unpriced_events"] == row["events"]
    assert (row["cost_usd"] is None) == all_unpriced
    return [Decimal(row[name] or 0) if name == "cost_usd" else row[name] for name in SUMS]


# --- days that are not 24 hours ---------------------------------------------------------------------------


@pytest.mark.parametrize(("shift", "hours"), [(0, 23), (1, 25)], ids=["spring", "autumn"])
def test_a_day_of_a_moved_clock_is_one_bucket(shift: int, hours: int) -> None:
    zone = ZoneInfo("America/New_York")
    day = shifts("America/New_York")[shift].astimezone(zone).replace(hour=0, minute=0, second=0)
    books = open_books("America/New_York")
    start, end = day.astimezone(UTC), (day + timedelta(days=1)).astimezone(UTC)
    assert end - start == timedelta(hours=hours)
    every_hour = [start + timedelta(hours=n, minutes=59) for n in range(-1, hours + 1)]
    books.api.send(*(make_event(occurred_at=at.isoformat()) for at in every_hour))
    roll(books.org)
    around = {"from": (start - timedelta(hours=1)).isoformat(), "to": (end + timedelta(hours=1)).isoformat()}
    days = books.api.get("spend", granularity="day", **around).json()["rows"]
    assert [row["events"] for row in days] == [1, hours, 1]
    by_hour = books.api.get("spend", granularity="hour", **around).json()["rows"]
    assert [datetime.fromisoformat(row["bucket"]) for row in by_hour] == [at.replace(minute=0) for at in every_hour]
