"""The closed form against runs played out call by call; they share no formula."""

from dataclasses import replace

import numpy as np
import pytest

from apps.planner.estimate import cost_per_run, draw
from apps.planner.shapes import Range
from tests.planner.grid import GRID
from tests.planner.plans import CARDS, plan
from tests.planner.simulation import TOKENS_CV, Simulation

RUNS = 60_000
CLOSE = 0.02


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

    one_run = draw(found, CARDS, seed=3, draws=10, tokens_cv=TOKENS_CV).one_run
    assert one_run.p99 == pytest.approx(np.quantile(played, 0.99), rel=0.06)


def test_runs_of_one_call_differ_by_their_tokens() -> None:
    # Nothing is retrieved: what is, differs with what is asked in the estimate and by itself in the simulation.
    found = plan("support", calls=1, input_tokens=3_000, retrieved_tokens=0)

    played = Simulation(found, CARDS, runs=RUNS, seed=5).run_usd()

    one_run = draw(found, CARDS, seed=3, draws=10, tokens_cv=TOKENS_CV).one_run
    for level, usd in ((0.1, one_run.p10), (0.5, one_run.p50), (0.9, one_run.p90), (0.99, one_run.p99)):
        assert usd == pytest.approx(np.quantile(played, level), rel=0.06)


def test_a_month_is_its_runs() -> None:
    found = replace(GRID["cache, measured"], runs_per_month=Range.exact(500.0))

    months = Simulation(found, CARDS, runs=500 * 200, seed=8).run_usd().reshape(200, 500).sum(axis=1)
    month = draw(found, CARDS, seed=3, draws=20_000).months[0]

    # The estimate's month wavers by volume too: 8 % beside the runs' own.
    own = months.std() / months.mean()
    expected = float(np.hypot(own, 0.08))
    assert month.mean == pytest.approx(months.mean(), rel=CLOSE)
    assert (month.p90 - month.p10) / (2 * 1.2816 * month.mean) == pytest.approx(expected, rel=0.1)
