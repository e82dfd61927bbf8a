"""The catalogue of recommendations: tables of cases, and laws that no facts may break."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.insights import chances, levers_of_calls
from apps.insights.catalogue import recommend
from apps.insights.levers_of_runs import bound_of
from apps.insights.recommendations import Effect, Found, Grade, Kind, Label, Saving, Standing, headline, together
from apps.insights.savings_facts import Escalated, Prices, Runs, WorkflowFacts
from apps.planner.shapes import Card
from tests.insights.seen import (
    ELSEWHERE,
    FREE_WRITES,
    LARGE,
    LARGE_CARD,
    PRICES,
    SMALL,
    SMALL_CARD,
    cell,
    facts,
    runs,
)


def found(seen: WorkflowFacts, prices: Prices = PRICES) -> dict[str, Found]:
    return {one.kind: one for one in recommend(seen, prices, seed=7)}


# --- quality --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("success", "margin", "needed"),
    [
        (0.95, 0.05, 235),
        (0.95, 0.03, 652),
        (0.95, 0.02, 1_467),
        (0.9, 0.05, 445),
        (0.9, 0.03, 1_236),
        (0.9, 0.02, 2_779),
    ],
)
def test_a_trial_needs_as_many_runs_as_the_table_says(success: float, margin: float, needed: int) -> None:
    assert chances.runs_needed(success, margin) == needed


@pytest.mark.parametrize(
    ("control", "trial", "is_shown"),
    [
        ((950, 1_000), (951, 1_000), True),
        ((950, 1_000), (900, 1_000), False),
        ((95, 100), (95, 100), False),  # too few to tell
        ((0, 0), (0, 0), False),
        ((5, 3), (3, 3), False),  # more successes than runs
    ],
)
def test_quality_is_verified_by_enough_runs_alone(
    control: tuple[int, int], trial: tuple[int, int], is_shown: bool
) -> None:
    assert chances.is_not_worse(control, trial) is is_shown


def test_the_headline_is_cautious_until_quality_is_verified() -> None:
    saving = Saving(10.0, 20.0, 30.0)
    assert [headline(saving, label) for label in Label] == [20.0, 20.0, 10.0]


# --- one lever at a time --------------------------------------------------------------------------------

EASY: dict[str, Any] = {"task_type": "classification", "output_p90": 120.0}


def test_easy_work_goes_to_the_cheaper_model_first() -> None:
    """By hand: prompts and answers at 1/12 and 2/15 of the price, 1.1 times the tokens, 15 % escalated at full cost."""
    seen = facts(cell(**EASY))
    one = found(seen)[Kind.ROUTE_DOWN]
    left = 1e8 * 0.25e-6 * 1.1 + 2e6 * 2e-6 * 1.1 + 0.15 * seen.usd
    assert one.saving.likely == pytest.approx((seen.usd - left) * 30 / 28, rel=0.05)
    assert one.saving.low < one.saving.likely < one.saving.high < seen.month_usd
    assert (one.grade, one.label, one.runs_needed) == (Grade.C, Label.UNVERIFIED, 652)
    assert one.headline == one.saving.low


@pytest.mark.parametrize(
    "other",
    [
        {"task_type": "coding"},
        {"output_p90": 900.0},
        {"output_p90": None},
        {"calls": 20},
        {"task_type": None},
    ],
    ids=lambda other: str(other),
)
def test_other_work_stays_where_it_is(other: dict[str, Any]) -> None:
    assert Kind.ROUTE_DOWN not in found(facts(cell(**{**EASY, **other})))


def test_work_that_often_fails_stays_where_it_is() -> None:
    outcomes = np.array([1.0] * 80 + [0.0] * 20)
    assert Kind.ROUTE_DOWN not in found(facts(cell(**EASY), runs=runs([1.0] * 100, outcome=outcomes)))
    assert Kind.ROUTE_DOWN in found(facts(cell(**EASY), runs=runs([1.0] * 100)))
    assert Kind.ROUTE_DOWN not in found(facts(cell(**EASY), runs=runs([4.0] * 100)))


@pytest.mark.parametrize(("escalated", "is_told"), [(6_000, False), (9_000, False), (9_900, True)])
def test_a_cascade_that_nearly_always_escalates_goes_straight_up(escalated: int, is_told: bool) -> None:
    """10,000 calls at 0.01 USD, escalated at 0.1 USD: the break-even is 90 %."""
    small = cell(SMALL, SMALL_CARD, usd=100.0, task_type="support")
    up = Escalated("small", "anthropic", "large", "support", "", escalated, escalated * 0.1)
    large = cell(usd=escalated * 0.1, task_type="support")
    one = found(facts(small, large, escalated=(up,))).get(Kind.DIRECT_ROUTE)
    assert (one is not None) is is_told
    if one is not None:
        assert one.saving.likely == pytest.approx((100 - 100 * 0.1) * 30 / 28, rel=0.03)


@pytest.mark.parametrize(("card", "share"), [(LARGE_CARD, 0.087), (FREE_WRITES, 0.264)])
def test_writing_everything_to_the_cache_eats_most_of_what_it_saves(
    card: Card, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where 29.3 % of tokens come again, 8.7 % of input cost is saved at 1.25 a write, and 26.4 % at 1."""
    monkeypatch.setattr(levers_of_calls, "ATTAINED", (1.0, 1.0, 1.0))
    seen = facts(cell(card=card, eligible=1e8, reusable_5m=0.293e8, reusable_1h=0.293e8, output=0))
    one = found(seen, Prices({LARGE: card}))[Kind.ENABLE_CACHING]
    assert one.saving.likely == pytest.approx(share * seen.month_usd, rel=0.01)
    assert one.label == Label.UNCHANGED
    assert one.runs_needed is None


def prompts(plain: float, write: float, write_1h: float, read: float, again: float, later: float) -> dict[str, Any]:
    """Of 10^9 prompt tokens these shares; `again` comes again within 5 minutes, `later` within an hour."""
    shares = {"input": plain, "cache_write_5m": write, "cache_write_1h": write_1h, "cache_read": read}
    return {
        **{name: share * 1e9 for name, share in shares.items()},
        "eligible": 1e9, "reusable_5m": again * 1e9, "reusable_1h": later * 1e9, "output": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("seen", "kind"),
    [
        pytest.param(prompts(1, 0, 0, 0, 0.9, 0.9), Kind.ENABLE_CACHING, id="off"),
        pytest.param(prompts(0, 0.6, 0, 0.4, 0.9, 0.9), Kind.FIX_CACHING, id="broken"),
        pytest.param(prompts(0, 0.9, 0, 0.1, 0.1, 0.1), Kind.DISABLE_CACHING, id="written for nothing"),
        pytest.param(prompts(0, 0.6, 0, 0.4, 0.4, 0.98), Kind.CACHE_TTL, id="forgotten too soon"),
        pytest.param(prompts(0, 0, 0.3, 0.7, 0.8, 0.8), Kind.CACHE_TTL, id="kept too long"),
        pytest.param(prompts(0, 0.1, 0, 0.9, 0.95, 0.95), None, id="as good as it gets"),
        pytest.param(prompts(1, 0, 0, 0, 0.1, 0.1), None, id="every prompt is new"),
        pytest.param({**prompts(1, 0, 0, 0, 0.9, 0.9), "eligible": 0.0}, None, id="too short"),
    ],
)
def test_caching_is_turned_the_way_that_pays(seen: dict[str, Any], kind: Kind | None) -> None:
    told = {one for one in found(facts(cell(**seen))) if "cach" in one}
    assert told == ({kind} if kind else set())


def test_nobody_is_told_to_prune_a_window() -> None:
    assert not [kind for kind in Kind if "window" in kind or "prune" in kind]


def test_what_nobody_waits_for_goes_in_batches() -> None:
    waiting = cell(task_type="evaluation")
    assert found(facts(waiting))[Kind.BATCH].saving.likely == pytest.approx(0.6 * 0.5 * waiting.usd * 30 / 28, rel=0.05)
    assert Kind.BATCH not in found(facts(replace(waiting, by_people=500)))
    assert Kind.BATCH not in found(facts(replace(waiting, service_tier="batch")))
    assert Kind.BATCH not in found(facts(cell(task_type="support")))


def test_repeats_are_told_at_what_they_cost() -> None:
    repeated = cell(task_type="embedding", repeats=2_000, repeats_usd=66.0)
    one = found(facts(repeated))[Kind.REUSE_ANSWERS]
    assert one.saving.likely == pytest.approx(66 * 0.9 * 30 / 28, rel=0.03)
    assert (one.grade, one.label) == (Grade.A, Label.UNVERIFIED)
    assert found(facts(replace(repeated, task_type="chat", repeats_usd=90.0)))[Kind.REUSE_ANSWERS].grade == Grade.B


def test_the_same_model_for_less_elsewhere_is_exact() -> None:
    dear = cell()
    prices = Prices(
        {LARGE: LARGE_CARD, ELSEWHERE: replace(LARGE_CARD, input=2.4e-6, output=12e-6)}, {LARGE: (ELSEWHERE,)}
    )
    one = found(facts(dear), prices)[Kind.CHANGE_PROVIDER]
    assert one.saving.low == one.saving.high == pytest.approx(0.2 * dear.usd * 30 / 28)
    assert (one.grade, one.label, one.headline) == (Grade.A, Label.UNCHANGED, one.saving.likely)


def test_late_retries_and_cut_answers_are_told() -> None:
    told = found(facts(cell(late_retries=900, late_retries_usd=60.0, cut=1_000, cut_usd=150.0)))
    assert told[Kind.BOUND_RETRIES].saving.likely == pytest.approx(60 * 0.9 * 30 / 28, rel=0.03)
    assert told[Kind.CUT_ANSWERS].saving.likely == pytest.approx(75 * 30 / 28, rel=0.05)


# --- runs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calls", "bound"),
    [([], 0), ([3], 3), ([1] * 95 + [50] * 5, 1), ([1] * 94 + [50] * 6, 50), (list(range(1, 101)), 95)],
)
def test_the_bound_cuts_at_most_one_run_in_twenty(calls: list[float], bound: int) -> None:
    assert bound_of(np.array(calls, float)) == bound
    assert sum(count > bound for count in calls) <= 0.05 * len(calls)


LOOPS = [4.0] * 190 + [100.0] * 10


def looping(**seen: Any) -> Runs:
    made = runs(LOOPS)
    return replace(made, bound=4, beyond=np.maximum(made.calls - 4, 0) * 0.01, **seen)


def test_a_bound_saves_what_was_spent_after_it() -> None:
    """Of 17.6 USD in the sample 9.6 were spent after the fourth call; nothing was lost."""
    failing = np.array([1.0] * 190 + [0.0] * 10)
    seen = facts(cell(), runs=looping(outcome=failing, counted=400))
    one = found(seen)[Kind.BOUND_LOOPS]
    assert one.saving.likely == pytest.approx(9.6 / 17.6 * seen.month_usd, rel=0.06)
    assert one.evidence["runs_cut"] == 10
    assert one.runs[0].startswith("run-19")


def test_a_bound_that_loses_successes_pays_for_them() -> None:
    """8 of 10 long runs succeed, 5 % of all successes would be lost: no bound. 4 of 10 do: the net of what is saved."""
    many = np.array([1.0] * 150 + [0.0] * 40 + [1.0] * 8 + [0.0] * 2)
    assert Kind.BOUND_LOOPS not in found(facts(cell(), runs=looping(outcome=many)))
    few = np.array([1.0] * 190 + [1.0] * 4 + [0.0] * 6)
    seen = facts(cell(), runs=looping(outcome=few))
    net = 9.6 - 4 * 17.6 / 194
    assert found(seen)[Kind.BOUND_LOOPS].saving.likely == pytest.approx(net / 17.6 * seen.month_usd, rel=0.08)


def test_runs_for_nothing_are_told_with_what_can_be_avoided() -> None:
    failed = np.array([0.0] * 80 + [1.0] * 20)
    seen = facts(cell(input=1e9), runs=runs([5.0] * 100, failed=failed))
    one = found(seen)[Kind.DEAD_SPEND]
    assert one.saving.likely == pytest.approx(0.2 * 0.6 * seen.month_usd, rel=0.1)
    assert one.saving.low < 0.08 * seen.month_usd
    assert one.saving.high > 0.15 * seen.month_usd


def test_results_longer_than_those_of_peers_are_trimmed() -> None:
    """10 calls a run carry 45 results: 500 tokens less of each in 100,000 of prompt are 22.5 %."""
    seen = facts(cell(), runs=runs([10.0] * 50, prompt=np.full(50, 1e5)), tool_tokens=1_000.0, peers_tool_tokens=500.0)
    one = found(seen)[Kind.TRIM_TOOL_RESULTS]
    assert one.evidence["shed_share"] == pytest.approx(0.225)
    assert Kind.TRIM_TOOL_RESULTS not in found(replace(seen, peers_tool_tokens=None))
    assert Kind.TRIM_TOOL_RESULTS not in found(replace(seen, tool_tokens=400.0))


# --- too little to be told ------------------------------------------------------------------------------


def test_nothing_is_told_of_nothing() -> None:
    assert recommend(facts(), PRICES) == []
    assert recommend(facts(cell(calls=0, input=0, output=0)), PRICES) == []
    assert recommend(facts(cell(**EASY), days=0.0), PRICES) == []


def test_a_model_without_a_price_has_no_saving_and_is_counted() -> None:
    unpriced = cell(SMALL, SMALL_CARD, usd=0.0, unpriced=10_000, **EASY)
    assert recommend(facts(unpriced), PRICES) == []
    assert recommend(facts(cell(**EASY)), Prices({})) == []
    one = found(facts(cell(**EASY), unpriced))[Kind.ROUTE_DOWN]
    assert one.evidence["unpriced_calls"] == 10_000


def test_one_run_says_nothing() -> None:
    one = runs([100.0], failed=np.ones(1), bound=4, beyond=np.array([0.96]))
    assert not {Kind.BOUND_LOOPS, Kind.DEAD_SPEND} & set(found(facts(cell(), runs=one)))


def test_small_savings_are_left_out() -> None:
    """Below 20 USD a month, and below 1 % of what the workflow costs."""
    small = cell(task_type="embedding", repeats=100, repeats_usd=15.0)
    assert Kind.REUSE_ANSWERS not in found(facts(small))
    large = cell(task_type="embedding", usd=50_000.0, repeats=2_000, repeats_usd=400.0)
    assert Kind.REUSE_ANSWERS not in found(facts(large))
    assert Kind.REUSE_ANSWERS in found(facts(replace(large, repeats_usd=800.0)))


def test_the_same_facts_give_the_same_figures() -> None:
    seen = facts(cell(**EASY, eligible=1e8, reusable_5m=0.8e8, reusable_1h=0.9e8), runs=runs([1.0] * 40))
    assert recommend(seen, PRICES, seed=3) == recommend(seen, PRICES, seed=3)


# --- together -------------------------------------------------------------------------------------------


def standing(number: int, kind: Kind, kept: float, *, usd: float = 1_000.0, at: str = "a") -> Standing:
    triple = (kept, kept, kept)
    effect = Effect(at, usd / 2, usd / 2, triple, triple)
    return Standing(number, kind, "triage", usd * (1 - kept), (effect,), (0.0, 0.0, 0.0))


def test_what_overlaps_is_not_saved_twice() -> None:
    """Of 1,000: half, then 40 % of the other half."""
    total = together([standing(1, Kind.DEAD_SPEND, 0.5), standing(2, Kind.REUSE_ANSWERS, 0.6)])
    assert total.saving.likely == pytest.approx(700)
    assert total.sum == pytest.approx(900)


def test_of_two_models_for_the_same_calls_one_counts() -> None:
    routes = [standing(1, Kind.ROUTE_DOWN, 0.2), standing(2, Kind.CHANGE_PROVIDER, 0.9)]
    assert together(routes).saving.likely == pytest.approx(800)
    assert (together(routes).counted, together(routes).left_out) == (1, 1)
    apart = [standing(1, Kind.ROUTE_DOWN, 0.2), standing(2, Kind.CHANGE_PROVIDER, 0.9, at="b")]
    assert together(apart).saving.likely == pytest.approx(900)


def test_nothing_together_is_nothing() -> None:
    assert together([]).saving == Saving(0.0, 0.0, 0.0)


shares = st.floats(0.0, 1.0)
many = st.lists(st.tuples(st.sampled_from(list(Kind)), shares, st.sampled_from("ab")), max_size=6)


@settings(deadline=None, max_examples=50)
@given(many)
def test_together_is_never_more_than_the_sum_or_the_cost(drawn: list[tuple[Kind, float, str]]) -> None:
    each = [standing(number, kind, kept, at=at) for number, (kind, kept, at) in enumerate(drawn)]
    total = together(each)
    cost = 1_000 * len({at for _, _, at in drawn})
    assert -1e-6 <= total.saving.likely <= min(total.sum, cost) + 1e-6
    assert together(each[::-1]) == total
    if each:
        assert total.saving.likely >= max(one.likely_usd for one in each) - 1e-6


amounts = st.floats(0, 1e9)


@settings(deadline=None, max_examples=80)
@given(
    calls=st.integers(0, 10**6),
    tokens=st.tuples(*[amounts] * 8),
    usd=st.floats(0, 1e6),
    parts=st.tuples(*[st.floats(0, 2)] * 3),
    task=st.sampled_from([None, "classification", "evaluation", "chat"]),
    loops=st.lists(st.integers(1, 200), max_size=60),
)
def test_no_facts_break_it(
    calls: int, tokens: tuple[float, ...], usd: float, parts: tuple[float, ...], task: str | None, loops: list[int]
) -> None:
    """Whatever was seen, a saving that is told is finite, in order, worth telling, and at most what is spent."""
    read, write, write_1h, plain, output, eligible, reusable, longer = tokens
    seen = facts(
        cell(
            usd=usd, calls=calls, input=plain, cache_read=read, cache_write_5m=write, cache_write_1h=write_1h,
            output=output, eligible=eligible, reusable_5m=reusable, reusable_1h=longer, task_type=task,
            output_p90=100.0, repeats=calls, repeats_usd=usd * parts[0], cut=calls, cut_usd=usd * parts[1],
            late_retries=calls, late_retries_usd=usd * parts[2],
        ),
        runs=replace(runs(list(map(float, loops))), bound=1, beyond=np.array([0.01 * (n - 1) for n in loops])),
    )  # fmt: skip
    for one in recommend(seen, PRICES):
        figures = (one.saving.low, one.saving.likely, one.saving.high)
        assert all(math.isfinite(figure) for figure in figures)
        assert 20 <= one.saving.low <= one.saving.likely <= one.saving.high <= seen.month_usd * (1 + 1e-9)
