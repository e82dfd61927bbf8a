"""Draws of uncertain inputs: P10, P50 and P90 are those of the range, whatever lies between and beyond is smooth.

What is positive is a two-piece lognormal, a share a two-piece logit-normal. A side that touches 0 or 1 has
no such form: a share keeps the logarithm of its distance to the other edge, anything else is half a normal
distribution, and both are cut at the edge. Draws are stratified (Latin hypercube), so percentiles waver less than those
of independent draws; each input has a stream of its own, so that two plans that differ in one are drawn alike in all
others.
"""

from collections.abc import Mapping
from functools import lru_cache
from statistics import NormalDist
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from apps.planner.shapes import Plan, Point, Range

Array = NDArray[np.float64]

PLAN_INPUTS = ("runs_per_month", "growth", "success_rate", "other_cost_usd")
STEP_INPUTS = (
    "prefix_tokens", "input_tokens", "retrieved_tokens", "output_tokens", "reasoning_tokens", "tool_result_tokens",
    "calls", "dispersion", "retry_rate", "prefix_cached_rate", "reuse_rate", "escalation_rate", "escalation_multiple",
    "router_cost_usd", "batch_share", "runs_share",
)  # fmt: skip
SHARES = frozenset(
    {"success_rate", "retry_rate", "prefix_cached_rate", "reuse_rate", "escalation_rate", "batch_share", "runs_share"}
)
_P90 = NormalDist().inv_cdf(0.9)
_LOG_MAX = 100.0  # e^100: beyond any quantity, and products of several are still floats


def inputs(plan: Plan) -> dict[str, Range]:
    """Every input of a plan: "field" of the plan, "step.field" of a step."""
    found = {name: getattr(plan, name) for name in PLAN_INPUTS}
    for step in plan.steps:
        found |= {f"{step.name}.{name}": getattr(step, name) for name in STEP_INPUTS if getattr(step, name) is not None}
    return found


def is_share(name: str) -> bool:
    return name.rpartition(".")[2] in SHARES


def values_at(plan: Plan, point: Point) -> dict[str, Array]:
    return {name: np.asarray(found.at(point), dtype=float) for name, found in inputs(plan).items()}


def drawn(found: Range, z: Array, *, share: bool) -> Array:
    """The values of a range at standard normal scores."""
    low, likely, high = ((min(value, 1.0) if share else value) for value in (found.low, found.likely, found.high))
    top = 1.0 if share else np.inf
    if low > 0 and high < top:
        start, middle, end = (_stretched(value, share=share) for value in (low, likely, high))
        return _shrunk(middle + z * (np.where(z < 0, middle - start, end - middle) / _P90), share=share)
    sides = (_side(likely, edge, np.abs(z), share=share, top=top) for edge in (low, high))
    return np.where(z < 0, *sides)


def _side(likely: float, edge: float, distance: Array, *, share: bool, top: float) -> Array:
    """From the middle to one edge and beyond it, never to the other edge of what a share may be."""
    lower, upper = min(likely, edge), max(likely, edge)
    if lower > 0 and upper < top:
        middle, end = _stretched(likely, share=share), _stretched(edge, share=share)
        return _shrunk(middle + distance * ((end - middle) / _P90), share=share)
    if share and lower > 0:
        scored = np.log(likely) + distance * (np.log(edge / likely) / _P90)
        return np.asarray(np.minimum(np.exp(scored), 1.0))
    if share and upper < 1:
        return 1.0 - _side(1.0 - likely, 1.0 - edge, distance, share=True, top=1.0)
    return np.clip(likely + distance * ((edge - likely) / _P90), 0.0, top)


def _shrunk(scored: Array, *, share: bool) -> Array:
    bounded = np.clip(scored, -_LOG_MAX, _LOG_MAX)
    return 1.0 / (1.0 + np.exp(-bounded)) if share else np.exp(bounded)


def _stretched(value: float, *, share: bool) -> float:
    return float(np.log(value / (1.0 - value)) if share else np.log(value))


@lru_cache(maxsize=4)
def scores(draws: int) -> Array:
    """The normal scores of the middles of `draws` equal strata, rising."""
    found = np.array([NormalDist().inv_cdf((k + 0.5) / draws) for k in range(draws)])
    found.flags.writeable = False
    return found


def stream(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, crc32(name.encode())])


def draw_values(plan: Plan, *, seed: int, draws: int) -> tuple[dict[str, Array], Mapping[str, NDArray[np.int64]]]:
    """Values of every input, and the ranks of those that are uncertain."""
    values: dict[str, Array] = {}
    ranks: dict[str, NDArray[np.int64]] = {}
    for name, found in inputs(plan).items():
        if found.is_exact:
            values[name] = np.asarray(found.likely, dtype=float)
            continue
        ranks[name] = stream(seed, name).permutation(draws)
        values[name] = drawn(found, scores(draws)[ranks[name]], share=is_share(name))
    return values, ranks
