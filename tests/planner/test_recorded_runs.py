"""Plans fitted from recorded runs, and held against others."""

from pathlib import Path

import pytest

from apps.ingest.demo import places
from apps.planner.estimate import cost_per_run
from apps.planner.fit import fit
from bench import plan_runs, plans

SAMPLE = Path(places.__file__).parent / "sample"


def test_the_closed_form_replays_recorded_agents() -> None:
    found = plans.workflows(plan_runs.by_kind(plan_runs.agent_runs(SAMPLE)))
    assert set(found) >= {"main"}
    for some in found.values():
        cards = plan_runs.cards_of(some)
        fitted = fit([one.run for one in some], cards=cards)
        closed = cost_per_run(fitted.plan, plan_runs.at_factors(cards, fitted.price_factors)).usd
        assert abs(fitted.replay_gap) < 0.002
        assert closed == pytest.approx(plans.mean_usd(some), rel=0.002)


def test_halves_of_recorded_conversations_predict_each_other() -> None:
    if not (plan_runs.DATA / "agent_calls.csv.gz").exists():
        pytest.skip("agent_calls.csv.gz is not there: the full traces lie beside the project, not in it")
    ((ordered, shuffled),) = plans.predictions(_main_agents(), halves=12)
    assert (ordered.fitted >= 200, ordered.status) == (True, "provisional"), "of 117 groups of conversations"
    assert ordered.is_covered
    assert abs(ordered.error) < 0.1
    figures = plans.errors(shuffled)
    assert figures["median_error"] < 16
    assert figures["covered"] >= 60


def _main_agents() -> list[plan_runs.TraceRun]:
    return [one for one in plan_runs.by_kind(plan_runs.agent_runs()) if one.workflow == "main"]
