"""A step's inputs from the sums of its runs, by moments. Pure.

Functions take sums over runs with the columns of `COLUMNS` last, (..., columns), so that one run of the arithmetic
gives the estimate and every resample of it. Formulae: the cost model's closed form, solved for its inputs.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from apps.planner.moments import Floats, dispersion
from apps.planner.observed import ObservedStep
from apps.planner.shapes import Range, Step

COLUMNS = (
    "runs", "calls", "calls_sq", "attempts", "prompt", "read", "write_5m", "write_1h", "output", "reasoning",
    "retrieved", "firsts", "first_prompt", "first_hits", "first_cached", "prefix", "batch", "billed_runs", "billed",
    "sxx", "sxy",
)  # fmt: skip
_AT = {name: at for at, name in enumerate(COLUMNS)}
RETRY_RATE_MAX = 0.95
# What a plan may say: the limits of its fields.
CALLS_MAX = 1_000
DISPERSION_MAX = 100.0


def with_inputs(step: Step, inputs: Mapping[str, Range]) -> Step:
    """The step with these of its ranges; the names are those of its fields."""
    ranges: dict[str, Any] = dict(inputs)
    return replace(step, **ranges)


def column(sums: Floats, name: str) -> Floats:
    return sums[..., _AT[name]]


def row_of(step: ObservedStep) -> list[float]:
    """The sums of `COLUMNS` of what one run did in one step."""
    slope, first = step.slope, step.first_prompt_tokens
    cached = (step.first_cached_tokens or 0) if first is not None else 0
    sxx = sxy = 0.0
    if slope is not None and slope.n > 1:
        sxx = slope.xx - slope.x**2 / slope.n
        sxy = slope.xy - slope.x * slope.y / slope.n
    return [
        1, step.calls, step.calls**2, step.attempts, step.prompt_tokens, step.cache_read_tokens,
        step.cache_write_5m_tokens, step.cache_write_1h_tokens, step.output_tokens, step.reasoning_tokens,
        step.retrieved_tokens, first is not None, first or 0, cached > 0, cached, step.prefix_tokens, step.batch_calls,
        step.billed_usd is not None, step.billed_usd or 0.0, sxx, sxy,
    ]  # fmt: skip


def retry_multiple(rate: Floats, retries_max: int, billed_share: float) -> Floats:
    """What retries make of a cost: M = 1 + f ((1 - r^(K+1)) / (1 - r) - 1)."""
    attempts = (1 - rate ** (retries_max + 1)) / (1 - rate)
    return np.asarray(1 + billed_share * (attempts - 1))


def inputs_of(sums: Floats, all_runs: Floats, retries_max: int, billed_share: float) -> Mapping[str, Floats]:
    """The inputs of a step, by the names that a plan's step gives them.

    `sums` is (..., columns) over the runs that were looked at and `all_runs` (...) how many they are, with or without
    the step. Where a resample holds no run of the step, its inputs are NaN.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        runs, calls = column(sums, "runs"), column(sums, "calls")
        mean = calls / runs
        variance = np.maximum(0, column(sums, "calls_sq") / runs - mean**2) * runs / np.maximum(runs - 1, 1)
        retry_rate = np.clip(1 - calls / column(sums, "attempts"), 0, RETRY_RATE_MAX)
        billed = calls * retry_multiple(retry_rate, retries_max, billed_share)
        found: dict[str, Floats] = {
            "runs_share": runs / all_runs,
            "calls": mean,
            "dispersion": np.minimum(dispersion(runs, mean, variance), DISPERSION_MAX),
            "retry_rate": retry_rate,
            "output_tokens": column(sums, "output") / billed,
            "reasoning_tokens": column(sums, "reasoning") / billed,
            "batch_share": column(sums, "batch") / column(sums, "attempts"),
        }
        return found | _context(sums, found, billed)


def _context(sums: Floats, found: Mapping[str, Floats], billed: Floats) -> dict[str, Floats]:
    """What the prompts hold. The slope is that of the runs; the level makes the closed form read what they read.

    Not the intercept: long runs grow slower than short ones (contexts are compacted), so slope and intercept of all
    runs together miss what they read; one of the two has to give.
    """
    runs, mean = column(sums, "runs"), found["calls"]
    pairs = found["dispersion"] * (mean - 1) + mean**2 - mean
    prompt = column(sums, "prompt") / billed * mean
    steep = np.where(column(sums, "sxx") > 0, column(sums, "sxy") / np.maximum(column(sums, "sxx"), 1e-300), 0.0)
    tool = np.maximum(0.0, steep - found["output_tokens"])
    growth = tool + found["output_tokens"]
    base = (prompt - growth / 2 * pairs) / mean
    # No room for a prompt below the growth: the growth is as steep as the runs leave it.
    hits, firsts = column(sums, "first_hits"), column(sums, "firsts")
    prefix = np.where(hits > 0, column(sums, "first_cached") / np.maximum(hits, 1), column(sums, "prefix") / runs)
    first = np.where(firsts > 0, column(sums, "first_prompt") / np.maximum(firsts, 1), prefix)
    floor = np.minimum(np.minimum(first, np.maximum(prefix, 1.0)), prompt / mean)
    steepest = np.where(pairs > 0, 2 * (prompt - floor * mean) / np.maximum(pairs, 1e-300), 0.0)
    tool = np.where(base < floor, np.maximum(0.0, steepest - found["output_tokens"]), tool)
    growth = tool + found["output_tokens"]
    base = np.maximum(0.0, (prompt - growth / 2 * pairs) / mean)
    prefix = np.minimum(prefix, base)
    retrieved = np.minimum(column(sums, "retrieved") / billed * mean, base - prefix)
    reread = (mean - 1) * base + growth / 2 * (pairs - 2 * (mean - 1))
    rate = np.where(firsts > 0, hits / np.maximum(firsts, 1), 0.0)
    read = column(sums, "read") / billed * mean - prefix * rate
    return {
        "prefix_tokens": prefix,
        "input_tokens": base - prefix - retrieved,
        "retrieved_tokens": retrieved,
        "tool_result_tokens": tool,
        "prefix_cached_rate": rate,
        "reuse_rate": np.clip(np.where(reread > 0, read / np.maximum(reread, 1e-300), 0.0), 0, 1),
    }
