from dataclasses import replace

import pytest

from apps.planner.estimate import cost_per_run
from apps.planner.levers import (
    LEVERS,
    Settings,
    bound_loops,
    cache,
    change_cap,
    compact,
    route,
    swap_model,
    waterfall,
)
from apps.planner.shapes import Compaction, Plan, Range
from tests.planner.plans import CARDS, CASCADE, HAIKU_CLASS, LARGE, SMALL, card, changed, open_plan, plan, step

ORDER = ["bound_loops", "limit_retries", "trim_tool_results", "trim_retrieved", "cache", "compact", "route", "batch"]
WARM = {"cache": "5m", "prefix_cached_rate": 0.9, "reuse_rate": 0.98}
EXAMPLE = Settings(
    cheaper={LARGE: (SMALL,)},
    escalation_rate=Range.exact(0.15),
    escalation_multiple=Range.exact(1.0),
    reuse_rate=Range.exact(0.98),
    tool_results_to=5 / 9,
    retrieved_to=12 / 25,
)
TRYING = Settings(cheaper={LARGE: (HAIKU_CLASS, SMALL)})
LONG_TAIL = {"dispersion": 2.5, "retry_rate": 0.06, "retry_billed_share": 1}


def by_name(found: Plan, settings: Settings = EXAMPLE) -> dict:
    return {lever.name: lever for lever in waterfall(found, CARDS, 1, settings)}


def test_levers_build_on_each_other() -> None:
    found = waterfall(plan("support", **LONG_TAIL), CARDS, 1, EXAMPLE)

    assert [lever.name for lever in found] == ORDER == list(LEVERS)
    base = 100_000 * cost_per_run(plan("support", **LONG_TAIL), CARDS).usd
    # Month by month each bar ends where the next one begins, and the last one is the plan with all of them pulled.
    assert base - sum(lever.saving.likely for lever in found) == pytest.approx(found[-1].joint_after_usd)
    pulled = plan("support", **LONG_TAIL)
    for lever in LEVERS.values():
        pulled = lever(pulled, CARDS, EXAMPLE)
    assert 100_000 * cost_per_run(pulled, CARDS).usd == pytest.approx(found[-1].joint_after_usd)
    assert 1 - found[-1].joint_after_usd / base == pytest.approx(0.94, abs=0.006)


def test_savings_alone_claim_more_than_there_is() -> None:
    found = waterfall(plan("support", **LONG_TAIL), CARDS, 1, EXAMPLE)

    base = 100_000 * cost_per_run(plan("support", **LONG_TAIL), CARDS).usd
    assert sum(lever.alone_usd for lever in found) > 1.5 * base
    assert sum(lever.saving.likely for lever in found) < base


def test_a_saving_is_uncertain_where_its_inputs_are() -> None:
    found = {lever.name: lever for lever in waterfall(open_plan(), CARDS, 1, TRYING)}

    assert found["route"].saving.low < found["route"].saving.likely < found["route"].saving.high
    assert found["cache"].saving.low < found["cache"].saving.likely < found["cache"].saving.high


def test_the_same_seed_gives_the_same_waterfall() -> None:
    assert waterfall(open_plan(), CARDS, 5) == waterfall(open_plan(), CARDS, 5)
    assert waterfall(open_plan(), CARDS, 5) != waterfall(open_plan(), CARDS, 6)


@pytest.mark.parametrize("name", ["bound_loops", "limit_retries", "trim_retrieved", "batch", "compact"])
def test_a_lever_that_changes_nothing_says_why(name: str) -> None:
    lever = by_name(plan("triage", retrieved_tokens=0))[name]

    assert not lever.advised
    assert lever.reason
    assert lever.saving.likely == lever.alone_usd == 0


def test_the_bound_cuts_at_most_a_twentieth_of_runs() -> None:
    geometric = plan("support", dispersion=6)

    assert bound_loops(geometric, CARDS).steps[0].calls_max == 17
    assert bound_loops(changed(geometric, calls_max=12), CARDS).steps[0].calls_max == 12
    assert bound_loops(plan("support", dispersion=6, calls_max=20), CARDS).steps[0].calls_max == 17


def test_pruning_by_a_window_is_never_advised() -> None:
    for found in (plan("coding", calls=60), plan("coding", calls=60, **WARM), open_plan("coding", calls_max=60)):
        for lever in LEVERS.values():
            found = lever(found, CARDS, EXAMPLE)  # one after the other
        assert found.steps[0].window_tokens is None


def test_compaction_is_for_long_loops_where_a_cache_works() -> None:
    assert compact(plan("coding", calls=20, **WARM), CARDS) == plan("coding", calls=20, **WARM)
    assert compact(plan("coding", calls=40, **WARM), CARDS).steps[0].compaction == Compaction(24_000, 2_000)
    # Without a cache all of the context is paid for at every call, and it pays much sooner.
    assert compact(plan("coding", calls=20), CARDS).steps[0].compaction == Compaction(24_000, 2_000)


def test_a_cache_is_advised_for_as_long_as_it_pays() -> None:
    alone = {"calls": 1, "prefix_tokens": 3_000, "input_tokens": 50, "retrieved_tokens": 0}

    # Arrivals an hour on the prefix: 200, 6 and 0.1.
    assert cache(plan("support", runs=146_000, **alone), CARDS).steps[0].cache == "5m"
    assert cache(plan("support", runs=4_380, **alone), CARDS).steps[0].cache == "1h"
    assert cache(plan("support", runs=73, **alone), CARDS).steps[0].cache == "off"


def test_a_cache_with_a_broken_prefix_is_turned_off() -> None:
    broken = plan("support", cache="5m", prefix_cached_rate=0.0, reuse_rate=0.0)

    assert cache(broken, CARDS).steps[0].cache == "off"
    assert cache(plan("support", **WARM), CARDS) == plan("support", **WARM)


def test_a_prompt_below_the_provider_s_minimum_is_not_cached() -> None:
    small = plan("support", calls=1, prefix_tokens=500, retrieved_tokens=0)

    assert cache(small, CARDS) == small


def test_a_cascade_tries_the_smallest_step_down_that_halves_the_cost() -> None:
    found = route(plan("support"), CARDS, TRYING).steps[0]

    assert (found.model, found.escalates_to, found.routing) == (HAIKU_CLASS, LARGE, "cascade")
    assert route(plan("support"), {**CARDS, HAIKU_CLASS: card(1.6, 8)}, TRYING).steps[0].model == SMALL
    assert route(plan("support"), {**CARDS, HAIKU_CLASS: card(1.6, 8), SMALL: card(3, 15)}, TRYING) == plan("support")
    assert route(plan("support", **CASCADE), CARDS, TRYING) == plan("support", **CASCADE)


def test_a_model_without_a_card_is_not_tried() -> None:
    known = {model: found for model, found in CARDS.items() if model != HAIKU_CLASS}

    assert route(plan("support"), known, TRYING).steps[0].model == SMALL
    assert route(plan("support"), {LARGE: CARDS[LARGE]}, TRYING) == plan("support")
    assert route(plan("support"), CARDS) == plan("support")


def test_a_cascade_that_would_escalate_too_often_is_not_advised() -> None:
    often = Settings(cheaper={LARGE: (HAIKU_CLASS,)}, escalation_rate=Range.exact(0.7))

    assert route(plan("support"), CARDS, often) == plan("support")  # 0.67 is where it stops to pay


def test_only_runs_that_may_wait_are_batched() -> None:
    assert not by_name(plan("triage"))["batch"].advised

    lever = by_name(plan("triage"), replace(EXAMPLE, batch_share=0.5))["batch"]

    assert lever.advised
    assert lever.alone_usd == pytest.approx(0.25 * 6_750)


def test_levers_pull_at_each_step_where_they_save() -> None:
    two = Plan((step("triage", calls=1), step("support", calls=6)), Range.exact(100_000))

    pulled = cache(two, CARDS)

    assert [one.cache for one in pulled.steps] == ["5m", "5m"]
    # One call alone needs no bound.
    assert [one.calls_max for one in bound_loops(changed(two, dispersion=2.5), CARDS).steps] == [1_000, 13]


def test_what_if_another_model_another_bound() -> None:
    found = plan("support", **CASCADE)

    swapped = swap_model(found, LARGE, HAIKU_CLASS)
    assert (swapped.steps[0].model, swapped.steps[0].escalates_to) == (SMALL, HAIKU_CLASS)
    assert swap_model(found, HAIKU_CLASS, LARGE) == found
    assert change_cap(found, "support", 4).steps[0].calls_max == 4
    with pytest.raises(KeyError):
        change_cap(found, "billing", 4)
