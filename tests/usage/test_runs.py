"""A run is the same whatever the order in which its events arrive, and however they are cut into batches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.core.tenancy import tenant
from apps.usage.models import Run
from tests.usage.ledger import Books, open_books, reconcile, roll
from tests.world import make_event

START = (datetime.now(UTC) - timedelta(days=2)).replace(minute=0, second=0, microsecond=0)


@pytest.fixture
def books() -> Books:
    return open_books()


def runs_of(books: Books) -> dict[str, Run]:
    with tenant(books.org):
        return {run.run_id: run for run in Run.objects.for_org(books.org)}


# --- in any order ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Arrival:
    """Events in their order of arrival; a batch ends after each of `cuts`, and rollups run after each of `rolls`."""

    events: Sequence[dict[str, Any]]
    cuts: frozenset[int]
    rolls: frozenset[int]


@st.composite
def calls(draw: st.DrawFn, n: int) -> dict[str, Any]:
    # Few instants, so that ties are common: ids break them, and capitals sort before small letters.
    return make_event(
        event_id=f"{draw(st.sampled_from('aBé'))}{n}",
        occurred_at=(START + timedelta(minutes=draw(st.integers(0, 2)))).isoformat(),
        run_id=draw(st.sampled_from(["r1", "r2"])),
        parent_run_id=draw(st.sampled_from([None, "p1", "p2"])),
        step=draw(st.none() | st.integers(0, 5)),
        attempt=draw(st.integers(1, 3)),
        outcome=draw(st.sampled_from([None, "success", "failure", "unknown"])),
        workflow=draw(st.sampled_from([None, "rag", "chat"])),
        user=draw(st.sampled_from([None, "u1"])),
        environment=draw(st.sampled_from([None, "prod"])),
        status=draw(st.sampled_from(["ok", "error"])),
        usage={"input_tokens": draw(st.integers(0, 10**5)), "cache_read_tokens": draw(st.integers(0, 10**3))},
    )


@st.composite
def arrivals(draw: st.DrawFn) -> Arrival:
    count = draw(st.integers(1, 10))
    events = draw(st.permutations([draw(calls(n)) for n in range(count)]))
    some = st.frozensets(st.integers(0, count - 1))
    return Arrival(events, draw(some), draw(some))


@settings(max_examples=40, deadline=None)
@given(arrivals())
def test_a_run_is_the_same_in_any_order_of_arrival(arrival: Arrival) -> None:
    books = open_books()
    batch: list[dict[str, Any]] = []
    for index, event in enumerate(arrival.events):
        batch.append(event)
        if index in arrival.cuts | {len(arrival.events) - 1}:
            books.api.send(*batch)
            batch = []
        if index in arrival.rolls:
            roll(books.org)
    roll(books.org)
    assert reconcile(books.org) == []
    runs = runs_of(books)
    assert {run_id: shown(run) for run_id, run in runs.items()} == {
        run_id: expected([event for event in arrival.events if event["run_id"] == run_id])
        for run_id in {event["run_id"] for event in arrival.events}
    }


def shown(run: Run) -> dict[str, Any]:
    names = (
        "parent_run_id", "workflow", "user", "environment", "outcome", "first_at", "last_at", "events", "steps",
        "retries", "errors", "cost_usd", "input_tokens", "slope_n", "slope_step", "slope_step_sq", "slope_input",
        "slope_step_input",
    )  # fmt: skip
    return {name: getattr(run, name) for name in names}


def expected(events: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The run that these events are, by plain sums."""
    in_order = sorted(events, key=lambda event: (event["occurred_at"], event["event_id"]))
    first, last = in_order[0], in_order[-1]
    outcomes = [event["outcome"] for event in in_order if "outcome" in event]
    points = [(event["step"], sum(event["usage"].values())) for event in events if "step" in event]
    usage = [event["usage"] for event in events]
    return {
        **{name: first.get(name) for name in ("parent_run_id", "workflow", "user", "environment")},
        "outcome": outcomes[-1] if outcomes else None,
        "first_at": datetime.fromisoformat(first["occurred_at"]),
        "last_at": datetime.fromisoformat(last["occurred_at"]),
        "events": len(events),
        "steps": sum(event["attempt"] == 1 for event in events),
        "retries": sum(event["attempt"] > 1 for event in events),
        "errors": sum(event["status"] == "error" for event in events),
        "input_tokens": sum(one["input_tokens"] for one in usage),
        "cost_usd": sum(map(cost_of, usage)),
        "slope_n": len(points),
        "slope_step": sum(x for x, _ in points),
        "slope_step_sq": sum(x * x for x, _ in points),
        "slope_input": sum(y for _, y in points),
        "slope_step_input": sum(x * y for x, y in points),
    }  # fmt: skip


def cost_of(usage: Mapping[str, int]) -> Decimal:
    """USD 3 and USD 0.30 per million."""
    return (3 * Decimal(usage["input_tokens"]) + Decimal("0.3") * usage["cache_read_tokens"]) / 10**6


# --- one by one -----------------------------------------------------------------------------------------


def test_a_retry_is_an_attempt_and_no_step(books: Books) -> None:
    books.api.send(
        make_event(run_id="r", step=0),
        make_event(run_id="r", step=1, attempt=1, status="error"),
        make_event(run_id="r", step=1, attempt=2, status="error"),
        make_event(run_id="r", step=1, attempt=3),
    )
    roll(books.org)
    run = runs_of(books)["r"]
    assert (run.events, run.steps, run.retries, run.errors) == (4, 2, 2, 2)


@pytest.mark.parametrize("late", [0, 1])
def test_an_explicit_outcome_stands_until_a_later_event_says_another(books: Books, late: int) -> None:
    said = [
        make_event(run_id="r", outcome="failure", occurred_at=START.isoformat()),
        make_event(run_id="r", outcome="success", occurred_at=(START + timedelta(minutes=5)).isoformat()),
        make_event(run_id="r", occurred_at=(START + timedelta(minutes=9)).isoformat()),
    ]
    first = said.pop(late)
    books.api.send(*said)
    roll(books.org)
    books.api.send(first)
    roll(books.org)
    run = runs_of(books)["r"]
    assert run.outcome == "success"
    assert run.outcome_at == START + timedelta(minutes=5)
    assert run.last_at == START + timedelta(minutes=9)


def test_a_child_run_names_its_parent(books: Books) -> None:
    books.api.send(make_event(run_id="main"), make_event(run_id="child", parent_run_id="main"))
    roll(books.org)
    runs = runs_of(books)
    assert (runs["main"].parent_run_id, runs["child"].parent_run_id) == (None, "main")


def test_a_run_across_days_stays_one(books: Books) -> None:
    for day in range(3):
        at = START - timedelta(days=day)
        books.api.send(make_event(run_id="long", step=day, occurred_at=at.isoformat()))
        roll(books.org)
    run = runs_of(books)["long"]
    assert (run.first_at, run.last_at, run.steps) == (START - timedelta(days=2), START, 3)


def test_the_sums_give_the_slope_of_input_on_step(books: Books) -> None:
    points = [(0, 1000), (1, 1450), (2, 1980), (5, 3333), (5, 3100)]
    books.api.send(*(make_event(run_id="r", step=x, usage={"input_tokens": y}) for x, y in points))
    roll(books.org)
    run = runs_of(books)["r"]
    found = Fraction(run.slope_n * run.slope_step_input - run.slope_step * run.slope_input) / Fraction(
        run.slope_n * run.slope_step_sq - run.slope_step**2
    )
    mean_x = Fraction(sum(x for x, _ in points), len(points))
    mean_y = Fraction(sum(y for _, y in points), len(points))
    assert found == sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


def test_an_event_without_a_run_makes_none(books: Books) -> None:
    books.api.send(make_event())
    roll(books.org)
    assert runs_of(books) == {}
