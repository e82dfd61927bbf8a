"""What holds of every plan: more of anything costs no less, and no input, however wide, breaks the arithmetic."""

from dataclasses import fields, replace
from math import isfinite
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.planner.estimate import cost_per_run, draw
from apps.planner.levers import Settings, bound_loops, cache, compact, route, waterfall
from apps.planner.loops import reached, smallest_bound, survival
from apps.planner.ranges import SHARES, drawn, scores, values_at
from apps.planner.shapes import CALLS_MAX, Card, Compaction, Plan, Range, Step
from tests.planner.plans import CARDS, LARGE, SMALL, open_plan, plan

SLACK = 1 + 1e-9
TRYING = Settings(cheaper={LARGE: (SMALL,)})
amounts = st.one_of(st.just(0.0), st.floats(1.0, 50_000.0))
rates = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(1e-6, 1 - 1e-6))


def ranges(values: st.SearchStrategy[float]) -> st.SearchStrategy[Range]:
    triples = st.lists(values, min_size=3, max_size=3).map(lambda three: Range(*sorted(three)))
    return st.one_of(values.map(Range.exact), triples)


@st.composite
def steps(draw: Any, name: str = "step") -> Step:
    routing = draw(st.sampled_from(["none", "cascade", "router"]))
    shortened = draw(st.sampled_from([None, None, "window", "compaction"]))
    return Step(
        name=name,
        model=LARGE if routing == "none" else SMALL,
        prefix_tokens=draw(ranges(amounts)),
        input_tokens=draw(ranges(amounts)),
        retrieved_tokens=draw(ranges(amounts)),
        output_tokens=draw(ranges(amounts)),
        reasoning_tokens=draw(ranges(amounts)),
        tool_result_tokens=draw(ranges(amounts)),
        calls=draw(ranges(st.floats(1.0, 60.0))),
        dispersion=draw(ranges(st.one_of(st.just(0.0), st.just(1.0), st.floats(0.01, 50.0)))),
        calls_max=draw(st.integers(1, 60)),
        retry_rate=draw(ranges(rates)),
        retries_max=draw(st.integers(0, 4)),
        retry_billed_share=draw(rates),
        cache=draw(st.sampled_from(["off", "5m", "1h"])),
        prefix_cached_rate=draw(st.one_of(st.none(), ranges(rates))),
        reuse_rate=draw(ranges(rates)),
        routing=routing,
        escalates_to=None if routing == "none" else LARGE,
        escalation_rate=draw(ranges(rates)),
        escalation_multiple=draw(ranges(st.floats(1.0, 3.0))),
        router_cost_usd=draw(ranges(st.one_of(st.just(0.0), st.floats(1e-6, 0.01)))),
        batch_share=draw(ranges(rates)),
        compaction=Compaction(10_000, draw(st.integers(0, 12_000))) if shortened == "compaction" else None,
        window_tokens=draw(st.integers(0, 20_000)) if shortened == "window" else None,
        runs_share=draw(ranges(rates)),
    )


@st.composite
def plans(draw: Any) -> Plan:
    many = draw(st.integers(1, 3))
    return Plan(
        tuple(draw(steps(name=f"step {place}")) for place in range(many)),
        draw(ranges(st.one_of(st.just(0.0), st.floats(0.1, 1e7)))),
        growth=draw(ranges(st.one_of(st.just(0.0), st.floats(0.1, 3.0)))),
        success_rate=draw(ranges(rates)),
        other_cost_usd=draw(ranges(st.one_of(st.just(0.0), st.floats(1e-6, 1.0)))),
    )


def usd(found: Plan, cards: Any = CARDS) -> float:
    return cost_per_run(found, cards).usd


def only(found: Plan, **changes: Any) -> Plan:
    first, *rest = found.steps
    return replace(found, steps=(replace(first, **changes), *rest))


@settings(max_examples=40, deadline=None)
@given(plans(), st.integers(0, 2**31))
def test_every_plan_has_an_estimate_in_order(found: Plan, seed: int) -> None:
    estimate = draw(found, CARDS, seed=seed, draws=200, months=3, budget_usd=1_000.0)

    all_percentiles = [estimate.run, estimate.one_run, *estimate.months, *filter(None, [estimate.success])]
    for one in all_percentiles:
        assert 0 <= one.p10 <= one.p50 <= one.p90 <= one.p99
        assert all(isfinite(value) for value in (one.mean, one.p10, one.p99))
    assert estimate.over_budget is not None
    assert 0 <= estimate.over_budget <= 1
    assert all(-1 <= driver.correlation <= 1 and isfinite(driver.swing_usd) for driver in estimate.drivers)
    assert estimate == draw(found, CARDS, seed=seed, draws=200, months=3, budget_usd=1_000.0)


@settings(max_examples=40, deadline=None)
@given(plans())
def test_the_parts_of_a_run_are_its_cost(found: Plan) -> None:
    run = cost_per_run(found, CARDS)

    models = sum(cost.usd for model in run.models for cost in model.classes.values())
    routers = sum(step.router_usd for step in run.steps)
    assert models + routers + run.other_usd == pytest.approx(run.usd)
    assert sum(step.usd for step in run.steps) + run.other_usd == pytest.approx(run.usd)
    assert all(cost.tokens >= 0 and cost.usd >= 0 for model in run.models for cost in model.classes.values())


@settings(max_examples=50, deadline=None)
@given(
    plans(),
    st.sampled_from(
        [
            "input_tokens", "retrieved_tokens", "output_tokens", "reasoning_tokens", "retry_rate", "runs_share",
            "router_cost_usd", "escalation_multiple",
        ]
    ),
    st.floats(1.0, 5.0),
)  # fmt: skip
def test_more_of_anything_costs_no_less(found: Plan, name: str, factor: float) -> None:
    # A window and a compaction are set off by what is appended, and a cache by how long the prompt is: there more
    # tokens may cost less. Without them nothing may. More runs keep a prefix warm.
    plain = only(found, cache="off", window_tokens=None, compaction=None)
    more = getattr(plain.steps[0], name).times(factor)
    more = more.at_most(1.0) if name in SHARES else more

    assert usd(plain) <= usd(only(plain, **{name: more})) * SLACK


@settings(max_examples=50, deadline=None)
@given(plans(), st.sampled_from([field.name for field in fields(Card)][:5]), st.floats(1.0, 10.0))
def test_a_higher_price_costs_no_less(found: Plan, name: str, factor: float) -> None:
    dearer = {model: replace(one, **{name: getattr(one, name) * factor}) for model, one in CARDS.items()}

    assert usd(found) <= usd(found, dearer) * SLACK


@settings(max_examples=50, deadline=None)
@given(plans(), st.integers(1, 60), st.floats(1.0, 40.0))
def test_a_bound_never_costs_more_and_a_longer_loop_never_less(found: Plan, bound: int, further: float) -> None:
    step = found.steps[0]
    assert usd(only(found, calls_max=min(bound, step.calls_max))) <= usd(found) * SLACK
    longer = Range.exact(step.calls.likely + further)
    assert usd(found) <= usd(only(found, calls=longer)) * SLACK + 1e-12


@settings(max_examples=40, deadline=None)
@given(plans(), st.floats(0.001, 1_000.0))
def test_cost_is_free_of_scale(found: Plan, factor: float) -> None:
    """All prices times x, and what is no token too: all of the estimate times x, and no percentile elsewhere."""
    scaled = {
        model: replace(one, **{f.name: getattr(one, f.name) * factor for f in fields(Card)[:5]})
        for model, one in CARDS.items()
    }
    bare = replace(
        found,
        other_cost_usd=found.other_cost_usd.times(factor),
        steps=tuple(replace(one, router_cost_usd=one.router_cost_usd.times(factor)) for one in found.steps),
    )
    before, after = draw(found, CARDS, seed=1, draws=64, months=2), draw(bare, scaled, seed=1, draws=64, months=2)

    assert after.run.p90 == pytest.approx(before.run.p90 * factor, rel=1e-6)
    assert after.months[1].p50 == pytest.approx(before.months[1].p50 * factor, rel=1e-6)
    assert after.chatbot_multiple == pytest.approx(before.chatbot_multiple)


@settings(max_examples=40, deadline=None)
@given(plans())
def test_no_lever_makes_a_plan_dearer_and_together_they_save_no_more_than_all(found: Plan) -> None:
    base = usd(found)
    for lever in (bound_loops, cache, compact, route):
        assert usd(lever(found, CARDS, TRYING)) <= base * SLACK

    levers = waterfall(found, CARDS, 1, TRYING)

    # Savings alone may claim more than together or less: a bound makes compaction needless, a longer context makes a
    # cache worth more. Only this holds.
    assert levers[-1].joint_after_usd >= 0
    whole = found.runs_per_month.likely * base
    assert sum(one.saving.likely for one in levers) == pytest.approx(
        whole - levers[-1].joint_after_usd, abs=1e-9 * (1 + whole)
    )
    assert all(one.saving.low <= one.saving.likely <= one.saving.high for one in levers)


@settings(max_examples=50, deadline=None)
@given(ranges(st.one_of(st.just(0.0), st.floats(1e-6, 1e9))), st.booleans())
def test_draws_have_the_percentiles_of_their_range(found: Range, share: bool) -> None:
    if share:
        found = Range(*(value / 1e9 for value in (found.low, found.likely, found.high)))

    values = np.sort(drawn(found, scores(10_001), share=share))

    p10, p50, p90 = (values[int(level * 10_001)] for level in (0.1, 0.5, 0.9))
    assert (p10, p50, p90) == pytest.approx((found.low, found.likely, found.high), rel=1e-2, abs=found.high * 2e-2)
    assert values[0] >= 0
    assert not share or values[-1] <= 1
    assert np.all(np.isfinite(values))


@settings(max_examples=50, deadline=None)
@given(st.floats(1.0, 1_500.0), st.one_of(st.just(0.0), st.floats(0.0, 200.0)), st.integers(1, CALLS_MAX))
def test_loops_fall_off_from_one_and_keep_their_mean(mean: float, dispersion: float, bound: int) -> None:
    shares = reached(mean, dispersion, bound)

    assert shares[0] == 1
    assert np.all(shares >= 0)
    assert np.all(np.diff(shares) <= 1e-9)
    assert shares.sum() <= mean + 1e-6


@pytest.mark.parametrize("dispersion", [0.0, 0.3, 1.0, 1 + 1e-12, 1.001, 2.5, 6.0, 30.0])
@pytest.mark.parametrize("mean", [1.0, 1.5, 6.0, 40.0])
def test_an_unbounded_loop_has_the_mean_and_variance_that_were_asked_for(mean: float, dispersion: float) -> None:
    shares = reached(mean, dispersion, 4_000)

    places = np.arange(len(shares))
    pairs = 2 * float((places * shares).sum())
    variance = pairs + mean - mean**2
    part = mean - int(mean)
    # Below phi = 1 the fixed count adds what a mean between two counts cannot avoid.
    fixed = max(0.0, 1 - dispersion) * part * (1 - part)
    assert shares.sum() == pytest.approx(mean, rel=1e-6)
    assert variance == pytest.approx(dispersion * (mean - 1) + fixed, rel=1e-4, abs=1e-6)


def test_a_loop_of_a_thousand_calls_does_not_begin_below_the_smallest_float() -> None:
    assert reached(900.0, 1.0, 1_000).sum() == pytest.approx(900, rel=1e-3)
    assert reached(1_300.0, 1.0, 1_000)[-1] == pytest.approx(1.0)
    assert reached(1e6, 2.0, 1_000).sum() == pytest.approx(1_000)
    assert smallest_bound(6.0, 6.0, CALLS_MAX) == 17
    assert smallest_bound(1.0, 6.0, CALLS_MAX) == 1
    assert smallest_bound(5_000.0, 2.0, CALLS_MAX) == CALLS_MAX


def test_many_loops_at_once_are_as_each_alone() -> None:
    means, dispersions = np.array([1.0, 4.0, 9.5, 200.0]), np.array([0.0, 0.5, 3.0, 40.0])

    together = np.array(list(np.broadcast_arrays(*survival(means, dispersions, 50))))

    for place, (mean, dispersion) in enumerate(zip(means, dispersions, strict=True)):
        assert together[:, place] == pytest.approx(reached(mean, dispersion, 50), abs=1e-11)


def test_one_input_changed_leaves_the_draws_of_the_others() -> None:
    """So that what-ifs differ by what was changed and not by chance."""
    found = open_plan()
    other = only(found, retry_rate=Range.exact(0.03), batch_share=Range(0.1, 0.2, 0.3))

    before, after = (
        {driver.name: driver.correlation for driver in draw(one, CARDS, seed=4, draws=2_000).drivers}
        for one in (found, other)
    )

    assert before["runs_per_month"] == pytest.approx(after["runs_per_month"], abs=0.03)
    assert "support.retry_rate" not in after
    assert "support.batch_share" not in before


def test_what_cannot_be_reckoned_is_refused() -> None:
    with pytest.raises(KeyError):
        cost_per_run(plan("support"), {SMALL: CARDS[SMALL]})
    with pytest.raises(ValueError, match="draws"):
        draw(plan("support"), CARDS, seed=1, draws=20_001)
    with pytest.raises(ValueError, match="months"):
        draw(plan("support"), CARDS, seed=1, months=0)
    for wrong in ((1, 2, float("nan")), (3, 2, 1), (-1, 0, 1), (0, 1, float("inf"))):
        with pytest.raises(ValueError, match="range"):
            Range(*wrong)
    for wrong_step in ({"calls_max": 0}, {"calls_max": 1_001}, {"retries_max": 21}, {"routing": "cascade"}):
        with pytest.raises(ValueError, match="support"):
            plan("support", **wrong_step)
    with pytest.raises(ValueError, match="window"):
        plan("support", compaction=Compaction(9_000, 500), window_tokens=5_000)
    with pytest.raises(ValueError, match="same name"):
        Plan((plan("support").steps[0],) * 2, Range.exact(1))
    with pytest.raises(ValueError, match="1 to 20"):
        Plan((), Range.exact(1))


def test_a_success_rate_that_may_be_zero_has_no_cost_a_success() -> None:
    never = replace(plan("support"), success_rate=Range.exact(0.0))

    assert cost_per_run(never, CARDS).success_usd is None
    assert draw(never, CARDS, seed=1, draws=10).success is None
    assert draw(replace(never, success_rate=Range(0.0, 0.5, 0.9)), CARDS, seed=1, draws=10).success is None
    half = replace(never, success_rate=Range.exact(0.5))
    assert draw(half, CARDS, seed=1, draws=10).success.p50 == pytest.approx(2 * 0.1782)
    assert values_at(half, "high")["success_rate"] == 0.5
