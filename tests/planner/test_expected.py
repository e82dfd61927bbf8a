"""What a plan says of units that signals watch: the worse tenth, in the signal's own unit."""

import pytest

from apps.planner.estimate import cost_per_run, draw
from apps.planner.expected import worst_expected
from apps.planner.shapes import Range
from tests.planner.plans import CACHED, CARDS, CASCADE, changed, open_plan, plan


def test_a_plan_without_doubt_says_its_closed_form() -> None:
    found = plan("support", retry_rate=0.05, **CASCADE)
    said, run = worst_expected(found, CARDS, seed=1), cost_per_run(found, CARDS)
    assert said["cost_per_run"] == pytest.approx(run.usd)
    assert said["loops_per_run"] == pytest.approx(6 * 1.15)
    assert said["escalation_rate"] == pytest.approx(0.15)
    # r + r^2 attempts after the first, of all of them.
    assert said["retry_rate"] == pytest.approx(0.0525 / 1.0525)
    assert said["cache_hit_rate"] == 0


def test_a_cache_that_is_read_is_a_share_of_the_prompt() -> None:
    found = plan("support", **CACHED)
    (model,) = cost_per_run(found, CARDS).models
    prompt = model.input.tokens + model.cache_read.tokens + model.cache_write_5m.tokens
    said = worst_expected(found, CARDS, seed=1)
    assert said["cache_hit_rate"] == pytest.approx(model.cache_read.tokens / prompt)
    assert said["input_tokens_per_call"] == pytest.approx(prompt / 6)


def test_the_worse_side_of_what_is_not_known_is_taken() -> None:
    found = open_plan(cache="5m", prefix_cached_rate=Range(0.5, 0.8, 0.95), **CASCADE)
    found = changed(found, escalation_rate=Range(0.05, 0.15, 0.4))
    said = worst_expected(found, CARDS, seed=1)
    likely = cost_per_run(found, CARDS)
    assert said["cost_per_run"] == pytest.approx(draw(found, CARDS, seed=1).run.p90, rel=0.03)
    assert said["cost_per_run"] > likely.usd
    assert said["escalation_rate"] == pytest.approx(0.4, rel=0.02)
    read, prompt = (
        sum(getattr(model, name).tokens for model in likely.models for name in names)
        for names in (("cache_read",), ("input", "cache_read", "cache_write_5m"))
    )
    assert 0 < said["cache_hit_rate"] < read / prompt
    assert said["loops_per_run"] > 6


def test_a_step_that_not_every_run_takes_counts_by_its_share() -> None:
    said = worst_expected(plan("support", runs_share=0.5, **CASCADE), CARDS, seed=1)
    assert said["escalation_rate"] == pytest.approx(0.075)
    assert said["loops_per_run"] == pytest.approx(3 * 1.15)
