"""Plans fitted from runs: what they recover, what they make of little, and how far they say that they may be off."""

import math
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.planner.estimate import cost_per_run, draw
from apps.planner.fit import Evidence, fit, status_of
from apps.planner.moments import lognormal_quantiles, quantiles, slope_weights
from apps.planner.observed import ObservedCall, ObservedRun, SlopeSums, step_of_calls
from apps.planner.shapes import ModelChoice, Plan, Range
from apps.planner.shrink import blend
from apps.planner.volume import growth, runs_per_month, success_rate
from tests.planner.observing import CARDS, LARGE, MONDAY, SMALL, SUPPORT, cost_usd, exactly, simulated, step_usd


def run_of(name: str, *calls: ObservedCall, day: date = MONDAY, model: ModelChoice = LARGE) -> ObservedRun:
    return ObservedRun(name, day, (step_of_calls("answer", model, calls),))


# --- what a fit recovers ----------------------------------------------------------------------------------


def test_it_recovers_the_plan_that_runs_followed() -> None:
    step = fit(simulated(SUPPORT, 4000, 1), cards=CARDS).plan.steps[0]
    known = SUPPORT.steps[0]
    assert (step.name, step.model, step.cache) == ("answer", LARGE, "5m")
    for name, within in (
        ("calls", 0.03), ("dispersion", 0.1), ("prefix_tokens", 0.001), ("input_tokens", 0.25), ("output_tokens", 0.02),
        ("retrieved_tokens", 0.001), ("tool_result_tokens", 0.1), ("prefix_cached_rate", 0.02), ("reuse_rate", 0.02),
    ):  # fmt: skip
        assert getattr(step, name).likely == pytest.approx(getattr(known, name).likely, rel=within), name


@pytest.mark.parametrize("seed", range(8))
def test_the_known_cost_lies_in_the_interval_about_as_often_as_it_says(seed: int) -> None:
    true = cost_per_run(SUPPORT, CARDS).usd
    fits = [fit(simulated(SUPPORT, 120, 100 * seed + number), cards=CARDS) for number in range(5)]
    drawn = [draw(found.plan, CARDS, seed=1, draws=500, months=1).run for found in fits]
    assert sum(run.p10 <= true <= run.p90 for run in drawn) >= 3
    assert all(run.p90 / run.p10 < 2 for run in drawn)


def test_the_closed_form_bills_what_the_runs_were_billed() -> None:
    second = replace(SUPPORT.steps[0], name="summary", model=SMALL, cache="off", runs_share=Range.exact(0.3))
    runs = simulated(replace(SUPPORT, steps=(SUPPORT.steps[0], second)), 300, 2)
    found = fit(runs, cards=CARDS)
    assert cost_per_run(found.plan, CARDS).usd == pytest.approx(cost_usd(runs), rel=1e-4)
    assert abs(found.replay_gap) < 1e-4
    assert found.observed_usd is not None
    assert found.observed_usd.mean == pytest.approx(cost_usd(runs))
    assert found.plan.steps[1].runs_share.likely == pytest.approx(0.3, abs=0.08)


def test_loops_of_three_lengths_are_three_steps_that_together_are_the_runs() -> None:
    runs = simulated(SUPPORT, 300, 3)
    found = fit(runs, cards=CARDS, classes=3)
    assert len(found.plan.steps) == 3
    assert all(step.name.startswith("answer, ") for step in found.plan.steps)
    assert sum(step.runs_share.likely for step in found.plan.steps) == pytest.approx(1)
    assert cost_per_run(found.plan, CARDS).usd == pytest.approx(cost_usd(runs), rel=1e-3)


def test_a_bound_cuts_long_runs_of_another_kind_where_classes_tell_them_apart() -> None:
    """Long runs with short prompts: one loop for all of them is off, classes are not."""
    short = [
        run_of(f"s{n}", *(ObservedCall(90_000 + 2000 * i, output_tokens=100) for i in range(4))) for n in range(60)
    ]
    long = [run_of(f"l{n}", *(ObservedCall(9000 + 150 * i, output_tokens=100) for i in range(60))) for n in range(60)]
    left = (sum(90_000 + 2000 * i for i in range(4)) + sum(9000 + 150 * i for i in range(10))) / 2 * 3e-6
    left += (4 + 10) / 2 * 100 * 15e-6
    gaps = {}
    for classes in (1, 2):
        plan = fit(short + long, cards=CARDS, classes=classes).plan
        plan = replace(plan, steps=tuple(replace(step, calls_max=min(10, step.calls_max)) for step in plan.steps))
        gaps[classes] = abs(cost_per_run(plan, CARDS).usd / left - 1)
    assert gaps[2] < 0.05 < gaps[1]


def test_what_is_cached_in_part_costs_what_it_did() -> None:
    """A client that caches its prefix alone pays the input price for the rest, not the write price."""
    calls = [ObservedCall(10_000 + 1000 * i, 4000 if i else 0, 0 if i else 4000, output_tokens=300) for i in range(8)]
    found = fit([run_of(f"run-{n}", *calls) for n in range(60)], cards=CARDS)
    assert abs(found.replay_gap) < 0.02


def test_prices_that_no_card_has_become_a_factor() -> None:
    """Prompts beyond a threshold were billed at twice the card."""
    runs = [
        replace(run, steps=tuple(replace(step, billed_usd=2 * cost_usd([run])) for step in run.steps))
        for run in simulated(SUPPORT, 60, 4)
    ]
    found = fit(runs, cards=CARDS)
    assert found.price_factors == {LARGE: pytest.approx(2)}
    assert cost_per_run(found.plan, CARDS).usd == pytest.approx(cost_usd(runs), rel=1e-4), "the plan stays at the card"
    assert found.observed_usd is not None
    assert found.observed_usd.mean == pytest.approx(cost_usd(runs))


# --- little, nothing, and the odd -------------------------------------------------------------------------


def test_runs_that_are_all_alike_leave_nothing_open() -> None:
    runs = [
        run_of(f"run-{n}", *(ObservedCall(5000 + 1000 * i, output_tokens=200) for i in range(6))) for n in range(60)
    ]
    found = fit(runs, cards=CARDS)
    step = found.plan.steps[0]
    assert step.calls == Range.exact(6)
    assert step.dispersion == Range.exact(0)
    assert step.cache == "off"
    assert step.tool_result_tokens.likely == pytest.approx(800, rel=0.01)
    assert abs(found.replay_gap) < 1e-6
    run = draw(found.plan, CARDS, seed=1, draws=100, months=1).run
    assert run.p90 == pytest.approx(run.p10)


def test_one_run_is_a_plan_that_knows_how_little_it_knows() -> None:
    found = fit([run_of("only", *(ObservedCall(5000 + 1000 * i, output_tokens=200) for i in range(6)))], cards=CARDS)
    assert found.status == "planned"
    assert found.evidence == Evidence(runs=1, clusters=1, days=1, weekend_days=0)
    assert abs(found.replay_gap) < 1e-4
    run = draw(found.plan, CARDS, seed=1, draws=500, months=1).run
    assert run.p90 / run.p10 > 3


def test_runs_of_one_call() -> None:
    runs = [run_of(f"run-{n}", ObservedCall(2000 + 10 * n, output_tokens=100 + n)) for n in range(80)]
    found = fit(runs, cards=CARDS)
    step = found.plan.steps[0]
    assert step.calls.likely == 1
    assert step.calls_max == 1
    assert step.tool_result_tokens == Range.exact(0)
    assert step.input_tokens.likely == pytest.approx(2395)
    assert step.input_tokens.low < 2395 < step.input_tokens.high
    assert cost_per_run(found.plan, CARDS).usd == pytest.approx(cost_usd(runs))


def test_runs_that_say_nothing_of_their_first_call_or_their_slope() -> None:
    """A run's own row has sums alone."""
    bare = [
        replace(
            run,
            steps=tuple(replace(s, first_prompt_tokens=None, first_cached_tokens=None, slope=None) for s in run.steps),
        )
        for run in simulated(SUPPORT, 100, 5)
    ]
    assert abs(fit(bare, cards=CARDS).replay_gap) < 1e-4


def test_few_runs_that_happen_to_be_alike_are_no_fixed_loop() -> None:
    runs = [run_of(f"run-{n}", *(ObservedCall(5000, output_tokens=200) for _ in range(6))) for n in range(20)]
    found = fit(runs, cards=CARDS)
    assert found.plan.steps[0].dispersion == Range.exact(1)
    assert abs(found.replay_gap) < 1e-4


def test_retries_are_in_the_tokens_once() -> None:
    call, again = ObservedCall(4000, output_tokens=200), ObservedCall(4000, output_tokens=200, is_retry=True)
    runs = [run_of(f"run-{n}", call, *([again] if n % 5 == 0 else []), call) for n in range(100)]
    found = fit(runs, cards=CARDS)
    step = found.plan.steps[0]
    assert step.retry_rate.likely == pytest.approx(1 - 200 / 220)
    assert step.calls.likely == pytest.approx(2, rel=1e-3)
    assert abs(found.replay_gap) < 1e-4


def test_a_model_without_a_price_is_fitted_and_named() -> None:
    found = fit(simulated(SUPPORT, 60, 6), cards={})
    assert found.unpriced == (LARGE,)
    assert found.plan.steps[0].calls.likely == pytest.approx(6, rel=0.3)


def test_two_models_in_one_place_are_two_steps() -> None:
    runs = [
        run_of(f"run-{n}", ObservedCall(2000, output_tokens=100), model=SMALL if n % 4 else LARGE) for n in range(60)
    ]
    steps = {step.name: step for step in fit(runs, cards=CARDS).plan.steps}
    assert set(steps) == {"answer large", "answer small"}
    assert steps["answer small"].runs_share.likely == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("runs", "classes", "says"),
    [
        ([], 1, "0 runs were given"),
        ([ObservedRun("empty", MONDAY, ())], 1, "Run empty has no steps"),
        ([run_of("one", ObservedCall(10))], 9, "split runs into 1 to 5"),
    ],
)
def test_it_refuses_what_is_no_plan(runs: list[ObservedRun], classes: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        fit(runs, cards=CARDS, classes=classes)


def test_a_step_without_a_call_is_none() -> None:
    with pytest.raises(ValueError, match="has no call"):
        step_of_calls("answer", LARGE, [])


# --- escalations ------------------------------------------------------------------------------------------


def cascade(rate: float, multiple: float = 1.0, small: ModelChoice = SMALL) -> Plan:
    known = replace(
        SUPPORT.steps[0], model=small, routing="cascade", escalates_to=LARGE,
        **exactly(escalation_rate=rate, escalation_multiple=multiple, retrieved_tokens=0),
    )  # fmt: skip
    return replace(SUPPORT, steps=(known,))


@pytest.mark.parametrize(("rate", "multiple"), [(0.15, 1.0), (0.3, 1.5), (0.05, 1.2)])
def test_escalations_come_back_as_a_cascade(rate: float, multiple: float) -> None:
    runs = simulated(cascade(rate, multiple), 3000, 11)
    found = fit(runs, cards=CARDS)
    (step,) = found.plan.steps
    assert (step.name, step.model, step.routing, step.escalates_to) == ("answer", SMALL, "cascade", LARGE)
    assert step.escalation_rate.likely == pytest.approx(rate, rel=0.12)
    assert step.escalation_multiple.likely == pytest.approx(multiple, rel=0.1)
    assert cost_per_run(found.plan, CARDS).usd == pytest.approx(cost_usd(runs), rel=1e-4)
    assert abs(found.replay_gap) < 1e-4
    assert (found.kinds, found.folded) == (1, None)


def test_the_known_rate_of_escalation_lies_in_its_interval_about_as_often_as_it_says() -> None:
    rates = [
        fit(simulated(cascade(0.2), 250, 300 + seed), cards=CARDS).plan.steps[0].escalation_rate for seed in range(20)
    ]
    assert all(0 < rate.low < rate.likely < rate.high < 1 for rate in rates)
    assert sum(rate.low <= 0.2 <= rate.high for rate in rates) >= 13
    assert max(rate.high / rate.low for rate in rates) < 4


def test_escalations_that_are_no_cascade_of_two_models_are_steps_of_their_own() -> None:
    """A larger model that nobody called small, calls of another length, and one that was itself escalated to."""
    small, large = simulated(SUPPORT, 60, 12), simulated(SUPPORT, 60, 13)
    own = ModelChoice("anthropic", "own")

    def both(escalated_from: str, calls: int | None = None) -> list[ObservedRun]:
        return [
            replace(
                one,
                steps=(
                    replace(one.steps[0], model=SMALL),
                    replace(other.steps[0], escalated_from=escalated_from, calls=calls or other.steps[0].calls),
                ),
            )
            for one, other in zip(small, large, strict=True)
        ]

    assert len(fit(both("small"), cards=CARDS).plan.steps) == 1
    assert len(fit(both("anthropic/small"), cards=CARDS).plan.steps) == 1
    for runs in (both("another"), both("small", calls=60)):
        found = fit(runs, cards=CARDS)
        assert [(step.name, step.routing) for step in found.plan.steps] == [
            ("answer large", "none"), ("answer small", "none"),
        ]  # fmt: skip
    chain = [
        replace(run, steps=(*run.steps, replace(run.steps[1], model=own, escalated_from="large")))
        for run in both("small")
    ]
    steps = fit(chain, cards={**CARDS, own: CARDS[LARGE]}).plan.steps
    assert sorted((step.model, step.escalates_to) for step in steps) == [(own, None), (SMALL, LARGE)]


def test_a_cascade_without_a_price_for_its_large_model_is_fitted_and_named() -> None:
    found = fit(simulated(cascade(0.2), 100, 14), cards={SMALL: CARDS[SMALL]})
    assert found.plan.steps[0].escalates_to == LARGE
    assert found.unpriced == (LARGE,)


def test_few_runs_that_did_not_escalate_leave_a_planned_cascade_in_the_plan() -> None:
    alone = replace(SUPPORT, steps=(replace(SUPPORT.steps[0], model=SMALL, **exactly(retrieved_tokens=0)),))
    few, many = (fit(simulated(alone, n, 15), cards=CARDS, earlier=cascade(0.2)).plan.steps[0] for n in (50, 200))
    assert (few.routing, few.escalates_to, many.routing) == ("cascade", LARGE, "none")
    assert 0 < few.escalation_rate.likely <= 0.1 + 1e-9, "no further than 50 runs of 100, and less if cost says so"


def test_few_escalations_move_a_planned_rate_little() -> None:
    runs = simulated(cascade(0.6), 50, 16)
    drawn, alone = (fit(runs, cards=CARDS, earlier=one).plan for one in (cascade(0.2), None))
    assert 0.2 < drawn.steps[0].escalation_rate.likely < alone.steps[0].escalation_rate.likely
    planned = cost_per_run(cascade(0.2), CARDS).usd
    assert cost_per_run(drawn, CARDS).usd == pytest.approx(
        (20 * planned + 50 * cost_per_run(alone, CARDS).usd) / 70, rel=0.01
    )


# --- more kinds of calls than a plan has steps --------------------------------------------------------------


def long_tail(kinds: int = 30, *, dominating: int = 1, small: ModelChoice = SMALL) -> list[ObservedRun]:
    """Runs of a main kind of `dominating` calls, and of one of many kinds that are rare and small."""
    runs = []
    for number in range(120):
        main = step_of_calls("main", LARGE, [ObservedCall(9000, output_tokens=300) for _ in range(dominating)])
        rare = step_of_calls(f"task {number % (kinds - 1):02}", small, [ObservedCall(400 + number, output_tokens=50)])
        runs.append(ObservedRun(f"run-{number:03}", MONDAY + timedelta(number // 30), (main, rare)))
    return runs


def test_what_does_not_fit_in_a_plan_is_in_its_other_cost() -> None:
    runs = long_tail()
    found = fit(runs, cards=CARDS)
    assert (found.kinds, len(found.plan.steps)) == (30, 16)
    assert "main" in {step.name for step in found.plan.steps}
    assert cost_per_run(found.plan, CARDS).usd == pytest.approx(cost_usd(runs), rel=1e-4)
    folded, other = found.folded, found.plan.other_cost_usd
    assert folded is not None
    assert folded.kinds == 14
    assert not folded.unpriced
    assert folded.run_usd == pytest.approx(other.likely)
    assert folded.share == pytest.approx(other.likely / cost_usd(runs))
    assert other.low < other.likely < other.high
    names = {step.name for step in found.plan.steps}
    rest = [step_usd(step) for run in runs for step in run.steps if step.name not in names]
    assert folded.run_usd == pytest.approx(sum(rest) / len(runs))
    kept = [step_usd(step) for run in runs for step in run.steps if step.name in names]
    assert max(rest) <= max(kept), "the largest were kept"
    assert found.observed_usd is not None
    assert found.observed_usd.mean == pytest.approx(cost_usd(runs))


def test_calls_without_a_price_that_became_no_step_are_counted_and_not_taken_for_nothing() -> None:
    own = ModelChoice("acme", "own")
    found = fit(long_tail(small=own), cards=CARDS)
    kept = [step for step in found.plan.steps if step.model == own]
    assert len(kept) == 15
    assert found.folded is not None
    assert (found.folded.run_usd, found.folded.share) == (None, 0)
    assert found.folded.unpriced == {own: 56}
    assert found.plan.other_cost_usd == Range.exact(0)
    assert found.unpriced == (own,)
    main = cost_per_run(replace(found.plan, steps=tuple(s for s in found.plan.steps if s.model == LARGE)), CARDS).usd
    assert found.observed_usd is not None
    assert found.observed_usd.mean == pytest.approx(main, rel=1e-4), "no price is invented for the others"
    nothing = fit(long_tail(small=own), cards={})
    assert (nothing.observed_usd, nothing.folded.share if nothing.folded else 0) == (None, None)


def test_one_step_that_is_nearly_all_of_the_cost() -> None:
    runs = long_tail(dominating=40)
    found = fit(runs, cards=CARDS)
    assert found.folded is not None
    assert found.folded.share is not None
    assert 0 < found.folded.share < 0.001
    assert cost_per_run(found.plan, CARDS).usd == pytest.approx(cost_usd(runs), rel=1e-4)


def test_a_step_of_the_earlier_plan_stays_a_step_where_there_is_room() -> None:
    runs = long_tail()
    first = fit(runs, cards=CARDS)
    kept = {step.name for step in first.plan.steps}
    rare = min(step.name for run in runs for step in run.steps if step.name not in kept)
    main, other = (step for step in first.plan.steps if step.name in ("main", min(kept - {"main"})))
    earlier = replace(first.plan, steps=(main, replace(other, name=rare)))
    again = fit(runs, cards=CARDS, earlier=earlier).plan
    assert rare in {step.name for step in again.steps}
    assert len(again.steps) == 17


# --- an earlier plan --------------------------------------------------------------------------------------


def test_few_runs_move_an_earlier_plan_little() -> None:
    earlier = replace(SUPPORT, steps=(replace(SUPPORT.steps[0], **exactly(calls=12)),))
    few, many = (fit(simulated(SUPPORT, n, 7), cards=CARDS, earlier=earlier).plan.steps[0] for n in (5, 2000))
    alone = fit(simulated(SUPPORT, 5, 7), cards=CARDS).plan.steps[0]
    assert few.calls.likely == pytest.approx((20 * 12 + 5 * alone.calls.likely) / 25, rel=0.01)
    assert many.calls.likely == pytest.approx(6, rel=0.05)


def test_the_cost_of_a_run_is_drawn_as_a_mean_is_though_its_inputs_multiply() -> None:
    cheap = exactly(calls=2, prefix_tokens=1500, input_tokens=100, retrieved_tokens=500, tool_result_tokens=100)
    earlier = replace(SUPPORT, steps=(replace(SUPPORT.steps[0], **cheap),))
    runs = simulated(SUPPORT, 60, 10)
    drawn, alone = (cost_per_run(fit(runs, cards=CARDS, earlier=e).plan, CARDS).usd for e in (earlier, None))
    assert drawn == pytest.approx((20 * cost_per_run(earlier, CARDS).usd + 60 * alone) / 80, rel=0.01)


@pytest.mark.parametrize(
    ("name", "runs", "likely"),
    [("calls", 20, 9.0), ("calls", 60, 7.5), ("calls", 0, 12.0), ("calls", 200, 6.0), ("retry_rate", 50, 0.2)],
)
def test_a_mean_is_worth_20_runs_and_a_probability_50(name: str, runs: int, likely: float) -> None:
    earlier, seen = (Range.exact(12), Range.exact(6)) if name == "calls" else (Range.exact(0.1), Range.exact(0.3))
    assert blend(name, earlier, seen, runs).likely == pytest.approx(likely)


def test_a_step_that_no_run_took_leaves_the_plan_slowly() -> None:
    other = replace(SUPPORT.steps[0], name="review", model=SMALL, runs_share=Range.exact(0.5))
    earlier = replace(SUPPORT, steps=(SUPPORT.steps[0], other))
    few, many = (fit(simulated(SUPPORT, n, 8), cards=CARDS, earlier=earlier).plan.steps for n in (50, 200))
    assert [(step.name, step.runs_share.likely) for step in few[1:]] == [("review", 0.25)]
    assert len(many) == 1


def test_an_earlier_bound_stands_where_runs_keep_to_it() -> None:
    runs = [run_of(f"run-{n}", *(ObservedCall(5000, output_tokens=9) for _ in range(1 + n % 4))) for n in range(60)]
    for bound, stands in ((8, True), (3, False)):
        earlier = replace(SUPPORT, steps=(replace(SUPPORT.steps[0], calls_max=bound, **exactly(calls=2)),))
        assert (fit(runs, cards=CARDS, earlier=earlier).plan.steps[0].calls_max == bound) is stands


# --- status -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("runs", "days", "weekend_days", "weekdays_only", "status"),
    [
        (49, 9, 2, False, "planned"),
        (50, 9, 2, False, "provisional"),
        (199, 9, 2, False, "provisional"),
        (200, 9, 2, False, "calibrated"),
        (200, 2, 2, False, "provisional"),
        (200, 3, 1, False, "calibrated"),
        (200, 5, 0, False, "provisional"),
        (200, 5, 0, True, "calibrated"),
    ],
)
def test_status(runs: int, days: int, weekend_days: int, weekdays_only: bool, status: str) -> None:
    evidence = Evidence(runs=runs, clusters=runs, days=days, weekend_days=weekend_days)
    assert status_of(evidence, weekdays_only=weekdays_only) == status


def test_runs_that_one_run_started_are_not_independent() -> None:
    alone = simulated(SUPPORT, 210, 9, a_day=30)
    shared = [replace(run, cluster=f"parent-{number // 3}") for number, run in enumerate(alone)]
    assert [fit(runs, cards=CARDS).status for runs in (alone, shared)] == ["calibrated", "provisional"]


def test_days_and_weekends_are_those_on_which_runs_began() -> None:
    found = fit(simulated(SUPPORT, 210, 9, a_day=30), cards=CARDS)
    assert found.evidence == Evidence(runs=210, clusters=210, days=7, weekend_days=2)
    assert found.status == "calibrated"


# --- statistics -------------------------------------------------------------------------------------------


def test_quantiles_are_the_observations_own_from_200_on() -> None:
    values = np.arange(1, 201, dtype=float)
    assert quantiles(values, [0.5, 0.9]) == pytest.approx(np.quantile(values, [0.5, 0.9]))
    few = quantiles(values[:100], [0.5, 0.9])
    assert few[1] == pytest.approx(np.quantile(values[:100], 0.9))
    assert few[0] != pytest.approx(np.quantile(values[:100], 0.5), rel=1e-3)


def test_a_log_normal_keeps_its_mean_and_p90_and_stops_at_the_window() -> None:
    levels = (np.arange(20_000) + 0.5) / 20_000
    free = lognormal_quantiles(1000, 1800, levels)
    assert free.mean() == pytest.approx(1000, rel=0.01)
    assert np.quantile(free, 0.9) == pytest.approx(1800, rel=0.001)
    assert lognormal_quantiles(1000, 1800, [0.9999], ceiling=2500)[0] <= 2500


def test_a_run_that_was_compacted_does_not_bend_the_slope_of_the_others() -> None:
    sxx = np.full(20, 100.0)
    own = np.array([100.0 + n % 3 for n in range(19)] + [-3000.0])
    weights = slope_weights(sxx, own * sxx)
    assert (weights * own * sxx).sum() / (weights * sxx).sum() == pytest.approx(100.9, abs=0.3)
    assert np.average(own) < 0


def test_slope_sums_are_those_of_a_stored_run() -> None:
    step = step_of_calls("answer", LARGE, [ObservedCall(100 + 50 * n) for n in range(4)])
    assert step.slope == SlopeSums(n=4, x=6, xx=14, y=700, xy=1300)


# --- volume -----------------------------------------------------------------------------------------------


def test_runs_a_month_count_the_days_without_any() -> None:
    runs = [run_of(f"run-{n}", ObservedCall(10), day=MONDAY + timedelta(2 * (n // 10))) for n in range(50)]
    found = runs_per_month(runs, None)
    assert found.likely == pytest.approx(50 / 9 * 365.25 / 12)
    assert runs_per_month(runs, 18).likely == pytest.approx(found.likely / 2)
    assert found.low < found.likely < found.high


def test_growth_is_the_months_multiple_and_needs_two_weeks() -> None:
    runs = [
        run_of(f"run-{day}-{n}", ObservedCall(10), day=MONDAY + timedelta(day))
        for day in range(60)
        for n in range(round(20 * 2 ** (day / 30.4375)))
    ]
    assert growth(runs, None).likely == pytest.approx(2, rel=0.03)
    assert growth(runs[:100], None) == Range(1.0, 1.05, 1.2)
    assert growth(runs[:100], Range.exact(1.5)) == Range.exact(1.5)


def test_growth_of_two_uneven_weeks_stays_near_what_was_planned() -> None:
    counts = [2, 30, 5, 22, 9, 1, 3, 40, 35, 60, 20, 90, 10, 70]
    runs = [
        run_of(f"run-{day}-{n}", ObservedCall(10), day=MONDAY + timedelta(day))
        for day, count in enumerate(counts)
        for n in range(count)
    ]
    found = growth(runs, None)
    # The slope alone is twenty-fold a month.
    assert found.low < 1.05 < found.likely < 1.5
    assert found.high <= 2.2
    assert growth(runs, Range.exact(0.9)).likely < found.likely


def test_success_is_that_of_the_runs_that_say() -> None:
    runs = [replace(run_of(f"{n}", ObservedCall(10)), succeeded=None if n < 50 else n % 4 > 0) for n in range(90)]
    assert success_rate(runs, None).likely == pytest.approx(0.75)
    assert success_rate(runs[:50], Range.exact(0.8)) == Range.exact(0.8)


# --- whatever is observed ---------------------------------------------------------------------------------

tokens = st.integers(0, 200_000)


@st.composite
def calls(draw_: st.DrawFn) -> ObservedCall:
    prompt = draw_(st.integers(1, 200_000))
    read = draw_(st.integers(0, prompt))
    return ObservedCall(
        prompt, read, draw_(st.integers(0, prompt - read)), output_tokens=draw_(tokens), reasoning_tokens=draw_(tokens),
        retrieved_tokens=draw_(st.integers(0, prompt)), is_retry=draw_(st.booleans()), is_batch=draw_(st.booleans()),
    )  # fmt: skip


@st.composite
def observed(draw_: st.DrawFn) -> list[ObservedRun]:
    models = st.sampled_from([LARGE, SMALL])
    return [
        ObservedRun(
            f"run-{number}",
            MONDAY + timedelta(draw_(st.integers(0, 40))),
            tuple(
                step_of_calls("answer", model, draw_(st.lists(calls(), min_size=1, max_size=8)))
                for model in sorted(draw_(st.sets(models, min_size=1)))
            ),
            succeeded=draw_(st.none() | st.booleans()),
            other_cost_usd=draw_(st.floats(0, 10)),
        )
        for number in range(draw_(st.integers(1, 12)))
    ]


@settings(max_examples=60, deadline=None)
@given(observed(), st.integers(1, 3), st.booleans())
def test_any_runs_make_a_plan_whose_ranges_hold(runs: list[ObservedRun], classes: int, has_earlier: bool) -> None:
    found = fit(runs, cards=CARDS, classes=classes, earlier=SUPPORT if has_earlier else None)
    for step in found.plan.steps:
        assert step.calls.low >= 1
        assert step.calls.high <= step.calls_max <= 1000
        assert step.dispersion.high <= 100
        for name in ("retry_rate", "reuse_rate", "batch_share", "runs_share"):
            assert getattr(step, name).high <= 1
    assert math.isfinite(found.replay_gap)
    assert draw(found.plan, CARDS, seed=1, draws=50, months=1).run.p90 >= 0


@settings(max_examples=30, deadline=None)
@given(observed(), st.randoms(use_true_random=False))
def test_the_order_in_which_runs_come_does_not_matter(runs: list[ObservedRun], random: object) -> None:
    shuffled = list(runs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # a Random, which Hypothesis types as object
    assert fit(shuffled, cards=CARDS) == fit(runs, cards=CARDS)


@settings(max_examples=15, deadline=None)
@given(
    st.floats(1, 15), st.floats(1, 4), st.integers(1100, 8000), st.integers(100, 3000), st.integers(0, 2000),
    st.floats(0, 1), st.integers(0, 1000),
)  # fmt: skip
def test_a_plan_comes_back_within_what_its_runs_leave_open(
    mean: float, phi: float, prefix: int, asked: int, tool: int, reuse: float, seed: int
) -> None:
    known = replace(
        SUPPORT.steps[0], calls_max=1000,
        **exactly(
            calls=mean, dispersion=phi, prefix_tokens=prefix, input_tokens=asked, tool_result_tokens=tool,
            reuse_rate=reuse,
        ),
    )  # fmt: skip
    plan = replace(SUPPORT, steps=(known,))
    runs = simulated(plan, 300, seed)
    found = fit(runs, cards=CARDS)
    assert abs(found.replay_gap) < 0.02
    # P10 to P90 stretched to what no 300 runs of this plan leave: four standard deviations.
    run, true = draw(found.plan, CARDS, seed=1, draws=500, months=1).run, cost_per_run(plan, CARDS).usd
    middle, half = math.log(run.p50), math.log(run.p90 / run.p10) / 2
    assert abs(math.log(true) - middle) < 3.2 * half + 0.01
