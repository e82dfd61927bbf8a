"""Long cached loops: a summary where it pays, by the cost model's closed form."""

from dataclasses import replace

import numpy as np
import pytest

from apps.insights.catalogue import recommend
from apps.insights.recommendations import Found, Kind
from apps.insights.savings_facts import WorkflowFacts
from tests.insights.seen import PRICES, cell, facts, runs

LOOPS = np.array([60.0] * 100 + [5.0] * 100)


def long_loops(calls: np.ndarray = LOOPS, growth: float = 1_500.0, read: float = 1.6e9) -> WorkflowFacts:
    """Runs that begin with 6,000 tokens, and whose context grows with each call."""
    prompts = calls * (6_000 + growth * (calls - 1) / 2)
    seen = runs(list(calls), prompt=prompts, slope=np.full(len(calls), growth))
    return facts(cell(input=1e7, cache_read=read, cache_write_5m=1e8, output=2e7, calls=6_500), runs=seen)


def compacted(seen: WorkflowFacts) -> Found | None:
    return next((one for one in recommend(seen, PRICES) if one.kind == Kind.COMPACT_CONTEXT), None)


def test_long_cached_loops_are_told_to_summarize() -> None:
    one = compacted(long_loops())
    assert one is not None
    assert one.evidence["long_runs"] == 100
    ratio = one.evidence["cost_ratio"]
    assert isinstance(ratio, float)
    # Long runs are 12 of 13 parts of cost; 70 % of what the closed form says is taken.
    assert one.saving.likely == pytest.approx(12 / 13 * (1 - ratio) * 0.7 * one.scope_usd, rel=0.05)


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(long_loops(np.array([20.0] * 200)), id="short"),
        pytest.param(long_loops(growth=50.0), id="hardly growing"),
        pytest.param(long_loops(read=1e7), id="not cached"),
        pytest.param(replace(long_loops(), runs=runs([60.0] * 10)), id="too few"),
    ],
)
def test_others_are_left_alone(seen: WorkflowFacts) -> None:
    assert compacted(seen) is None
