"""What a plan says of a stretch of time: its runs day by day, and its calls by model."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.planner.estimate import cost_per_run
from apps.planner.measures import measure
from apps.planner.planned import days_of, planned_runs, planned_use
from apps.planner.shapes import Card, ModelChoice, Plan, Range, Step

LARGE, SMALL = ModelChoice("acme", "large"), ModelChoice("acme", "small")
CARDS = {
    LARGE: Card(3e-6, 15e-6, 3e-7, 3.75e-6, 6e-6),
    SMALL: Card(2.5e-7, 2e-6, 2.5e-8, 3.125e-7, 5e-7),
}
exact = Range.exact


def step(**fields):
    given = {
        "name": "answer", "model": SMALL, "prefix_tokens": exact(3000), "input_tokens": exact(500),
        "retrieved_tokens": exact(2500), "output_tokens": exact(220), "tool_result_tokens": exact(900),
        "calls": exact(6), "cache": "5m", "prefix_cached_rate": exact(0.9), **fields,
    }  # fmt: skip
    return Step(**given)


def plan(*steps, **fields):
    return Plan(steps or (step(),), **{"runs_per_month": exact(300), **fields})


CASCADE = step(
    retry_rate=exact(0.05), routing="cascade", escalates_to=LARGE, escalation_rate=exact(0.15),
    reasoning_tokens=exact(40),
)  # fmt: skip


@pytest.mark.parametrize("steps", [(step(),), (CASCADE,), (step(), step(name="check", model=LARGE, cache="off"))])
def test_calls_cost_what_a_run_is_estimated_to(steps):
    given = plan(*steps, other_cost_usd=exact(0.01))
    found = planned_use(given, CARDS, "agent", 1000)
    assert float(found.use.usd + found.beside_usd) == pytest.approx(1000 * cost_per_run(given, CARDS).usd, rel=1e-9)
    assert found.beside_usd == Decimal("10")


def test_escalated_calls_and_retries_are_told_apart():
    found = measure(planned_use(plan(CASCADE), CARDS, "agent", 1000).use)
    assert found.calls_per_run == pytest.approx(6, rel=1e-3)
    assert found.escalated_share == pytest.approx(0.15, rel=1e-3)
    assert found.attempts_per_call == pytest.approx(1 + 0.05 + 0.05**2, rel=1e-3)
    assert found.model_shares[LARGE] == pytest.approx(0.15 / 1.15, rel=1e-3)


def test_two_names_of_a_model_are_one():
    two = plan(step(), step(name="check", model=LARGE))
    found = planned_use(two, CARDS, "agent", 10, lambda model: SMALL)
    assert [use.model for use in found.use.models] == [SMALL]


def test_a_model_without_a_card_has_no_plan():
    with pytest.raises(KeyError):
        planned_use(plan(), {LARGE: CARDS[LARGE]}, "agent", 10)


def whole(first, after):
    return dict.fromkeys(days_of(first, after), 1.0)


@pytest.mark.parametrize(
    ("launch", "first", "after", "runs"),
    [
        (date(2026, 1, 1), date(2026, 1, 1), date(2026, 2, 1), 300),
        (date(2026, 1, 1), date(2026, 2, 1), date(2026, 3, 1), 600),
        (date(2026, 1, 1), date(2025, 12, 1), date(2026, 1, 1), 0),
        (date(2026, 1, 15), date(2026, 1, 1), date(2026, 2, 15), 300),
        (date(2026, 1, 15), date(2026, 2, 15), date(2026, 3, 15), 600),
        # The 31st of a shorter month is its last day.
        (date(2026, 1, 31), date(2026, 1, 31), date(2026, 2, 28), 300),
        (date(2026, 1, 31), date(2026, 2, 28), date(2026, 3, 31), 600),
        (None, date(2027, 6, 1), date(2027, 7, 1), 300),
    ],
)
def test_months_are_counted_from_the_launch(launch, first, after, runs):
    assert planned_runs(plan(growth=exact(2)), launch, whole(first, after)) == pytest.approx(runs)


def test_a_part_of_a_day_is_a_part_of_its_runs():
    half = {date(2026, 4, 1): 1.0, date(2026, 4, 2): 0.5}
    assert planned_runs(plan(), date(2026, 4, 1), half) == pytest.approx(15)


@given(st.dates(date(2020, 1, 1), date(2030, 1, 1)), st.integers(0, 400), st.integers(0, 400))
def test_days_add_up_to_the_stretch(launch, before, after):
    first, last = (date.fromordinal(launch.toordinal() + shift) for shift in (-before, after))
    given = plan(growth=exact(1.1))
    each = sum(planned_runs(given, launch, {day: 1.0}) for day in days_of(first, last))
    assert planned_runs(given, launch, whole(first, last)) == pytest.approx(each)
