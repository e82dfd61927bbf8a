"""The fast path: what is wrong with one run by itself, with no history and no statistics. Rules: docs/signals.md."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

MEDIAN_MULTIPLE = 10.0
SAME_CALLS_MAX = 3
RETRIES_MAX = 3


class Why(StrEnum):
    LOOP_CAP = "loop_cap"
    RUN_COST = "run_cost"
    SAME_TOOL_CALL = "same_tool_call"
    RETRIES = "retries"


@dataclass(frozen=True, slots=True)
class Run:
    """`attempt_max`: the highest attempt of one step, 1 without a retry. `same_tool_calls`: the most calls of one tool
    with one argument hash, or None where no hashes are sent. `steps_max`: the run's bound, None without one.
    """

    cost_usd: float
    steps: int
    steps_max: int | None
    attempt_max: int
    same_tool_calls: int | None


@dataclass(frozen=True, slots=True)
class Usual:
    """Of the workflow; None where it is not known."""

    median_usd: float | None
    plan_p99_usd: float | None


@dataclass(frozen=True, slots=True)
class Runaway:
    why: Why
    seen: float
    allowed: float


def runaways(run: Run, usual: Usual) -> list[Runaway]:
    """Each rule that the run broke. A workflow without a median and without a plan has no bound on its run's cost."""
    found = []
    if run.steps_max is not None and run.steps >= run.steps_max:
        found.append(Runaway(Why.LOOP_CAP, run.steps, run.steps_max))
    bound = cost_bound_usd(usual)
    if bound is not None and run.cost_usd > bound:
        found.append(Runaway(Why.RUN_COST, run.cost_usd, bound))
    if run.same_tool_calls is not None and run.same_tool_calls > SAME_CALLS_MAX:
        found.append(Runaway(Why.SAME_TOOL_CALL, run.same_tool_calls, SAME_CALLS_MAX))
    if run.attempt_max - 1 > RETRIES_MAX:
        found.append(Runaway(Why.RETRIES, run.attempt_max - 1, RETRIES_MAX))
    return found


def cost_bound_usd(usual: Usual) -> float | None:
    """The larger of ten medians and the plan's P99."""
    known = [
        bound
        for bound in (
            None if not usual.median_usd else MEDIAN_MULTIPLE * usual.median_usd,
            usual.plan_p99_usd,
        )
        if bound is not None
    ]
    return max(known, default=None)


def same_tool_calls(hashes: Iterable[tuple[str, str]]) -> int:
    """The most calls of one (tool, argument hash)."""
    counts: dict[tuple[str, str], int] = {}
    for call in hashes:
        counts[call] = counts.get(call, 0) + 1
    return max(counts.values(), default=0)
