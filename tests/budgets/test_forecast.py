"""Run rates and replays of the past: tables, and laws that hold for any spend."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.budgets.forecast import Reached, Step, reaches_at, replay, run_rate, state_of

START = datetime(2026, 11, 1, tzinfo=UTC)
END = START + timedelta(days=30)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("spent", "days", "rate"),
    [
        ("0", 3, "0"),
        ("30", 3, "300"),
        ("30", 15, "60"),
        ("30", 30, "30"),
        ("30", 45, "30"),
        ("1", 9, "3.333333333333"),
        ("0.000000000001", 9, "0.000000000003"),
        # Half a pico rounds to even.
        ("0.000000000001", 12, "0.000000000002"),
        ("0.000000000003", 20, "0.000000000004"),
        ("-3", 15, "-6"),
        ("30", 2, None),
        ("30", 0, None),
        ("30", -1, None),
    ],
)
def test_the_run_rate_goes_on_as_it_did(spent, days, rate):
    found = run_rate(Decimal(spent), START, END, START + timedelta(days=days))
    assert found == (None if rate is None else Decimal(rate))


def test_a_run_rate_begins_with_the_tenth_of_the_period():
    tenth = START + timedelta(days=3)
    assert run_rate(Decimal(1), START, END, tenth - timedelta(microseconds=1)) is None
    assert run_rate(Decimal(1), START, END, tenth) == 10


amounts = st.decimals(min_value=0, max_value=10**9, places=12)


@given(spent=amounts, more=amounts, seconds=st.integers(3 * 86_400, 30 * 86_400))
def test_a_run_rate_is_never_below_what_was_spent_and_grows_with_it(spent, more, seconds):
    at = START + timedelta(seconds=seconds)
    one, other = run_rate(spent, START, END, at), run_rate(spent + more, START, END, at)
    assert one is not None
    assert other is not None
    assert spent <= one <= other


@pytest.mark.parametrize(
    ("spent", "limit", "days"),
    [("10", "20", 20), ("10", "30", 30), ("10", "100", 100), ("10", "10", None), ("10", "5", None), ("0", "5", None)],
)
def test_the_limit_is_reached_in_proportion(spent, limit, days):
    found = reaches_at(Decimal(spent), Decimal(limit), START, START + timedelta(days=10))
    assert found == (None if days is None else START + timedelta(days=days))


def test_a_limit_that_is_ages_away_is_not_reached():
    assert reaches_at(Decimal("0.000000000001"), Decimal(10**12), START, END) is None


@pytest.mark.parametrize(
    ("mode", "spent", "held", "limit", "rate", "state"),
    [
        ("notify", "0", "0", "10", None, "fine"),
        ("notify", "7.99", "0", "10", None, "fine"),
        ("notify", "8", "0", "10", None, "at_risk"),
        ("block", "5", "3", "10", None, "at_risk"),
        ("notify", "1", "0", "10", "10", "fine"),
        ("notify", "1", "0", "10", "10.01", "at_risk"),
        ("notify", "10", "0", "10", "9", "over"),
        ("downgrade", "11", "0", "10", None, "over"),
        ("notify", "5", "5", "10", None, "at_risk"),
        ("block", "5", "5", "10", None, "refusing"),
        ("block", "12", "0", "10", None, "refusing"),
        ("block", "0", "0", "0", None, "refusing"),
        ("notify", "0", "0", "0", None, "fine"),
        ("notify", "-1", "0", "0", None, "fine"),
    ],
)
def test_a_budget_stands_as_its_figures_say(mode, spent, held, limit, rate, state):
    found = state_of(
        mode,
        spent_usd=Decimal(spent),
        held_usd=Decimal(held),
        limit_usd=Decimal(limit),
        rate_usd=None if rate is None else Decimal(rate),
    )
    assert found == state


def steps(*costs, calls=10):
    return [Step(START + HOUR * place, Decimal(cost), calls) for place, cost in enumerate(costs)]


def test_a_cap_keeps_what_fits_and_counts_the_rest():
    found = replay(steps("4", "4", "4", "1"), limit_usd=Decimal(10), thresholds=(50, 100, 120), is_cap=True)
    assert (found.spent_usd, found.kept_usd, found.beyond_usd) == (13, 10, 3)
    assert found.full_at == START + 2 * HOUR
    # Half of the third hour's ten calls, and all of the fourth's.
    assert found.beyond_calls == 15
    assert found.thresholds == (Reached(50, START + HOUR), Reached(100, START + 2 * HOUR), Reached(120, None))


def test_what_only_tells_reaches_thresholds_beyond_its_limit():
    found = replay(steps("4", "4", "4", "1"), limit_usd=Decimal(10), thresholds=(100, 120, 140), is_cap=False)
    assert [one.at for one in found.thresholds] == [START + 2 * HOUR, START + 2 * HOUR, None]
    assert found.beyond_usd == 3


def test_a_limit_that_is_spent_to_the_last_is_not_gone_beyond():
    found = replay(steps("4", "6"), limit_usd=Decimal(10), thresholds=(100,), is_cap=True)
    assert found.full_at is None
    assert found.thresholds[0].at == START + HOUR


def test_nothing_spent_reaches_nothing():
    for limit in (Decimal(0), Decimal(10)):
        found = replay(steps("0", "0"), limit_usd=limit, thresholds=(1,), is_cap=True)
        assert (found.full_at, found.beyond_calls, found.thresholds[0].at) == (None, 0, None)


def test_a_limit_of_nothing_lets_nothing_through():
    found = replay(steps("1"), limit_usd=Decimal(0), thresholds=(), is_cap=True)
    assert (found.kept_usd, found.beyond_usd, found.beyond_calls, found.full_at) == (0, 1, 10, START)


costs = st.lists(st.tuples(st.decimals(min_value=0, max_value=10**6, places=12), st.integers(1, 10**6)), max_size=30)


@given(costs=costs, limit=amounts, is_cap=st.booleans())
def test_what_is_kept_and_what_is_beyond_are_all_that_was_spent(costs, limit, is_cap):
    spend = [Step(START + HOUR * place, cost, calls) for place, (cost, calls) in enumerate(costs)]
    found = replay(spend, limit_usd=limit, thresholds=(10, 50, 100), is_cap=is_cap)
    assert found.kept_usd + found.beyond_usd == found.spent_usd == sum((cost for cost, _ in costs), Decimal(0))
    assert found.kept_usd <= limit
    assert (found.full_at is None) == (found.beyond_usd == 0) == (found.beyond_calls == 0)
    assert found.beyond_calls <= sum(calls for _, calls in costs)
    reached = [one.at for one in found.thresholds]
    known = [at for at in reached if at is not None]
    assert known == sorted(known)
    assert reached[: len(known)] == known


@given(costs=costs, limit=amounts, more=amounts)
def test_a_higher_limit_refuses_no_more(costs, limit, more):
    spend = [Step(START + HOUR * place, cost, calls) for place, (cost, calls) in enumerate(costs)]
    low = replay(spend, limit_usd=limit, thresholds=(), is_cap=True)
    high = replay(spend, limit_usd=limit + more, thresholds=(), is_cap=True)
    assert high.beyond_usd <= low.beyond_usd
    assert high.beyond_calls <= low.beyond_calls
