"""The closed form against runs played out call by call; they share no formula."""

from dataclasses import replace

import numpy as np
import pytest

from apps.planner.estimate import cost_per_run, draw
from apps.planner.shapes import Compaction, Plan, Range
from tests.planner.plans import CARDS, LARGE, SMALL, plan, step
from tests.planner.simulation import Simulation

RUNS = 60_000
CLOSE = 0.02
SUPPORT = {"dispersion": 2.5, "retry_rate": 0.06, "calls_max": 15}
CASCADE = {"model": SMALL, "routing": "cascade", "escalates_to": LARGE, "escalation_rate": 0.15}
ROUTER = {**CASCADE, "routing": "router", "router_cost_usd": 0.0004}
WARM = {"cache": "5m", "prefix_cached_rate": 0.9, "reuse_rate": 0.95}

GRID = {
    "one call": plan("triage", calls=1),
    "fixed loop": plan("research"),
    "fixed between two counts": plan("research", calls=9.4),
    "Poisson loop": plan("support", dispersion=1),
    "between fixed and Poisson": plan("support", calls=5.3, dispersion=0.5),
    "long tail": plan("support", dispersion=6, calls_max=200),
    "long tail, cut": plan("support", dispersion=6, calls_max=8),
    "nearly all cut": plan("coding", dispersion=2, calls_max=3),
    "many retries": plan("support", **{**SUPPORT, "retry_rate": 0.5, "retries_max": 5, "retry_billed_share": 0.8}),
    "reasoning": plan("support", **SUPPORT, reasoning_tokens=800),
    "cache, measured": plan("support", **SUPPORT, **WARM),
    "cache for an hour": plan("support", **SUPPORT, **{**WARM, "cache": "1h"}),
    "cache, from few arrivals": plan("support", runs=3_000, **SUPPORT, cache="5m"),
    "cache, from many arrivals": plan("support", runs=50_000, **SUPPORT, cache="5m", reuse_rate=0.8),
    "prefix too short to share": plan("support", **SUPPORT, **WARM, prefix_tokens=600),
    "cascade": plan("support", **SUPPORT, **CASCADE, escalation_multiple=1.3),
    "cached cascade from arrivals": plan("support", runs=9_000, **SUPPORT, **CASCADE, cache="5m"),
    "router": plan("support", **SUPPORT, **ROUTER, **WARM),
    "batch": plan("support", **SUPPORT, batch_share=0.4),
    "window": plan("coding", dispersion=2, window_tokens=9_000, calls_max=60),
    "window and cache": plan("coding", dispersion=2, window_tokens=9_000, calls_max=60, **WARM),
    "compaction": plan("coding", calls=40, dispersion=3, calls_max=120, compaction=Compaction(24_000, 2_000)),
    "compaction and cache": plan(
        "coding", calls=40, dispersion=3, calls_max=120, compaction=Compaction(24_000, 2_000), **WARM
    ),
    "several steps": Plan(
        (step("triage", calls=2.5, dispersion=1.5, calls_max=6), step("support", **SUPPORT, **WARM, runs_share=0.4)),
        Range.exact(20_000),
        other_cost_usd=Range.exact(0.004),
    ),
}


@pytest.mark.parametrize("name", GRID)
def test_the_closed_form_agrees_with_runs_played_out(name: str) -> None:
    found = GRID[name]

    played = Simulation(found, CARDS, runs=RUNS, seed=20260101).run_usd()

    assert cost_per_run(found, CARDS).usd == pytest.approx(float(played.mean()), rel=CLOSE)


@pytest.mark.parametrize("name", ["long tail, cut", "cache, measured", "cascade", "router", "several steps"])
def test_single_runs_have_the_mean_of_the_closed_form(name: str) -> None:
    found = draw(GRID[name], CARDS, seed=3, draws=10)

    assert found.one_run.mean == pytest.approx(found.likely.usd, rel=CLOSE)
    assert found.one_run.p10 <= found.one_run.p50 <= found.one_run.p90 <= found.one_run.p99


def test_the_longest_runs_cost_what_those_played_out_do() -> None:
    found = GRID["long tail"]

    played = Simulation(found, CARDS, runs=RUNS, seed=5).run_usd()

    # Tokens vary from run to run in the simulation and not in the estimate: its tail is a little shorter.
    assert draw(found, CARDS, seed=3, draws=10).one_run.p99 == pytest.approx(np.quantile(played, 0.99), rel=0.06)


def test_a_month_is_its_runs() -> None:
    found = replace(GRID["cache, measured"], runs_per_month=Range.exact(500.0))

    months = Simulation(found, CARDS, runs=500 * 200, seed=8).run_usd().reshape(200, 500).sum(axis=1)
    month = draw(found, CARDS, seed=3, draws=20_000).months[0]

    # The estimate's month wavers by volume too: 8 % beside the runs' own.
    own = months.std() / months.mean()
    expected = float(np.hypot(own, 0.08))
    assert month.mean == pytest.approx(months.mean(), rel=CLOSE)
    assert (month.p90 - month.p10) / (2 * 1.2816 * month.mean) == pytest.approx(expected, rel=0.1)
