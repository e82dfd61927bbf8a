"""A whole organization over gaps in what was delivered: nothing of a steady workflow may alarm."""

import numpy as np

from apps.insights.grids import WORKFLOW_SIGNALS, Grid
from apps.insights.judging import Known, alarms, judge
from apps.insights.signals import DAILY_DAYS, HOURLY_HOURS, SPEND_HOURS, Floats
from apps.insights.sums import NAMES, PLACE

DAYS = 42
FIRST = DAILY_DAYS * 24
BEGINS = FIRST + 29
HOURLY = range(FIRST, FIRST + 6 * 24)
SIGNALS = (*WORKFLOW_SIGNALS, "spend_per_hour")
# Of each delivery: the hours of which only a part came, and which part.
DELIVERIES = {
    "whole": (slice(0, 0), 1.0),
    "6 hours missing": (slice(BEGINS, BEGINS + 6), 0.0),
    "a day missing": (slice(BEGINS, BEGINS + 24), 0.0),
    "3 days missing": (slice(BEGINS, BEGINS + 72), 0.0),
    "half an hour's": (slice(BEGINS, BEGINS + 1), 0.5),
}
# Of an hour of 100 runs with 4 calls each.
USUAL = {
    "events": 400.0, "runs": 100.0, "step_runs": 100.0, "escalated_runs": 12.0, "retries": 12.0, "capped_runs": 4.0,
    "input_events": 400.0, "write_events": 200.0, "slope_runs": 100.0, "cost_runs": 100.0, "judged_cost_runs": 100.0,
    "succeeded_runs": 90.0, "input_tokens": 4e5, "cache_read_tokens": 3e5, "cache_write_5m_tokens": 1e5,
    "output_tokens": 1e5, "cost_usd": 8.0, "run_usd": 8.0, "cost_runs_usd": 8.0, "judged_cost_usd": 8.0,
    "escalated_usd": 3.0, "dead_usd": 0.4,
}  # fmt: skip
BY_DAY = ("escalated_runs", "retries", "capped_runs", "dead_usd", "cache_write_5m_tokens")
# Mean and variance of a log, and what it is of.
LOGS = {
    "ln_steps": (1.3, 0.1, "step_runs"), "ln_input": (7.6, 0.3, "input_events"), "ln_slope": (6.0, 0.3, "slope_runs"),
    "ln_cost": (-2.7, 0.4, "cost_runs"), "ln_judged": (-2.7, 0.4, "judged_cost_runs"),
}  # fmt: skip


def steady(loops: float = 1.0, begins: int = BEGINS) -> Floats:
    """(names, hours): days apart by 2 %, nights of half the volume and of other calls; `loops` times the steps at the
    end.
    """
    hours = np.arange(24 * DAYS)
    night = hours % 24 < 8
    volume = np.where(night, 0.6, 1.2) * np.repeat(np.random.default_rng(3).normal(1.0, 0.02, DAYS), 24)
    sums = np.zeros((len(NAMES), len(hours)))
    for name, value in USUAL.items():
        sums[PLACE[name]] = value * volume * (np.where(night, 0.7, 1.2) if name in BY_DAY else 1.0)
    for name, (mean, variance, of) in LOGS.items():
        logs = (
            mean + np.where(night, -0.15, 0.1) + np.where((hours >= begins) & (name == "ln_steps"), np.log(loops), 0.0)
        )
        sums[PLACE[f"{name}_micro"]] = logs * USUAL[of] * volume * 1e6
        sums[PLACE[f"{name}_sq_pico"]] = (logs**2 + variance) * USUAL[of] * volume * 1e12
    return sums


def delivered(name: str) -> Floats:
    hours, part = DELIVERIES[name]
    sums = steady()
    sums[:, hours] *= part
    return sums


def alarms_of(scopes: dict[str, Floats]) -> set[tuple[str, str]]:
    """(scope, signal) of all that alarmed in six days, judged hour by hour."""
    sums = np.stack(list(scopes.values()), axis=1)
    days = sums.reshape(*sums.shape[:2], DAYS, 24).sum(axis=3)
    known, found = Known(), set()
    for hour in HOURLY:
        past = days[:, :, hour // 24 - DAILY_DAYS : hour // 24]
        grid = Grid.empty(list(scopes), past[PLACE["events"]].sum(axis=0) > 0)
        grid.daily, grid.hourly = past, sums[:, :, hour - HOURLY_HOURS : hour]
        grid.spend = sums[PLACE["cost_usd"], :, hour - SPEND_HOURS : hour]
        verdicts = judge(grid, SIGNALS, known, hour=hour, today=hour // 24)
        known.states = {key: said.state for key, said in verdicts.items()}
        found |= {(alarm.scope, alarm.signal) for alarm in alarms(grid, verdicts, "workflow", lambda scope: None)}
    return found


def test_a_gap_in_one_workflow_alarms_nothing_and_a_change_beside_it_does() -> None:
    scopes = {name: delivered(name) for name in DELIVERIES} | {"loops doubled": steady(loops=2.0)}
    assert alarms_of(scopes) == {("loops doubled", "loops_per_run")}


def test_a_gap_in_the_whole_organization_alarms_nothing() -> None:
    """Days of which nothing came have no readings at all."""
    assert alarms_of({"all": delivered("3 days missing")}) == set()
