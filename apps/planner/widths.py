"""How wide a fitted input's range is: P10 and P90 of what the next period's mean will be. Pure.

Not how much one run differs from the next. Each input's spread is its own, from resamples of clusters; but inputs are
seen together (a resample with longer loops has another level of prompts) while a plan draws them apart from each other.
So all spreads are stretched by one factor, such that inputs drawn apart leave the cost of a run as open as it is.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from apps.planner.inputs import column
from apps.planner.match import usd_of
from apps.planner.moments import Z90, Floats, drift_variance, student_z
from apps.planner.shapes import Card, Cards, Range, Step

PROBABILITIES = frozenset(
    {"runs_share", "retry_rate", "prefix_cached_rate", "reuse_rate", "batch_share", "escalation_rate", "success_rate"}
)
FAR = 5.0
# However few runs: P90 is at most 3.6 times the likely value, odds 13 times.
SPREAD_MAX = 1.0
LOGIT_SPREAD_MAX = 2.0
# Means of consecutive periods differ by this much (one standard deviation) where too few were seen to tell.
DRIFT = 0.05
BLOCK_RUNS = 25
BLOCKS_MAX = 8
# With so few clusters a resample says nothing of what the others would have been like.
CLUSTERS_FEW = 5
RUN_CV = 1.07
# Less is the rounding of sums.
NOISE = 1e-6
STRETCH_MAX = 20.0
ROUNDS = 3


def spread_of(name: str, likely: float, resampled: Floats) -> float:
    """Standard deviation of an input's logarithm (of a probability: of its logit) over resamples, (draws,).

    Resamples that lie further off than `FAR` times are taken for so far: an input that few runs have is missing from
    some, and nothing has no logarithm.
    """
    seen = resampled[np.isfinite(resampled)]
    if not len(seen) or likely <= 0 or (name in PROBABILITIES and likely >= 1):
        return 0.0
    if name not in PROBABILITIES:
        spread = float(np.log(np.clip(seen, likely / FAR, likely * FAR)).std())
    else:
        seen = np.clip(seen, likely / FAR, 1 - (1 - likely) / FAR)
        spread = float((np.log(seen) - np.log1p(-seen)).std())
    return spread if spread >= NOISE else 0.0


def range_of(name: str, likely: float, spread: float) -> Range:
    """P10 to P90 around `likely`; nothing that is zero, or certain, is anything else."""
    if spread < NOISE or likely <= 0 or (name in PROBABILITIES and likely >= 1):
        return Range.exact(likely)
    spread = min(spread, LOGIT_SPREAD_MAX if name in PROBABILITIES else SPREAD_MAX)
    if name not in PROBABILITIES:
        low, high = likely * math.exp(-Z90 * spread), likely * math.exp(Z90 * spread)
        return Range(max(1.0, low) if name == "calls" else low, likely, high)
    odds = math.log(likely / (1 - likely))
    low, high = (1 / (1 + math.exp(-odds + sign * Z90 * spread)) for sign in (1, -1))
    return Range(min(low, likely), likely, max(high, likely))


def next_mean_spread(costs: Floats, clusters: NDArray[np.int64], resampled: Floats, next_runs: float) -> float:
    """Standard deviation of the log of the next period's mean cost of a run, as of this one's.

    `costs` (runs,) in order of time, `clusters` (runs,), `resampled` (draws,) means over resamples; the next period
    has `next_runs` runs of its own. Sampling of both periods, and the drift between periods.
    """
    runs, count = len(costs), int(clusters.max()) + 1
    sampling = float(np.log(resampled[resampled > 0]).std()) if (resampled > 0).any() else 0.0
    if count < CLUSTERS_FEW:
        sampling = max(sampling, RUN_CV / math.sqrt(count))
    if sampling < NOISE:
        return 0.0
    drift = max(DRIFT**2, _drift(costs, sampling**2 * runs))
    return math.sqrt(sampling**2 * (1 + runs / next_runs) + drift) * student_z(count) / Z90


def _drift(costs: Floats, variance_of_one: float) -> float:
    """Between consecutive blocks of runs, beyond what blocks of that size differ by chance."""
    blocks = min(BLOCKS_MAX, len(costs) // BLOCK_RUNS)
    if blocks < 2:
        return 0.0
    means = np.array([block.mean() for block in np.array_split(costs, blocks)])
    if not (means > 0).all():
        return 0.0
    return drift_variance(np.log(means), np.full(blocks, variance_of_one * blocks / len(costs)))


def stretch(steps: Sequence[Step], spreads: Mapping[str, Mapping[str, float]], cards: Cards, target: float) -> float:
    """The factor on all spreads at which inputs drawn apart leave the run's cost `target` open.

    `spreads` go by the step's name and the input's; `target` is a standard deviation of the cost's logarithm.
    """
    at_likely = {step.name: float(usd_of(step, cards)) for step in steps}
    total = sum(at_likely.values())
    if total <= 0 or target <= 0:
        return 1.0
    factor = 1.0
    for _ in range(ROUNDS):
        moves = [_moves(step, spreads[step.name], factor, cards, total - at_likely[step.name]) for step in steps]
        apart = math.sqrt(sum(float((move**2).sum()) for move in moves))
        if apart == 0:
            return 1.0
        factor = min(factor * target / apart, STRETCH_MAX)
    return factor


def _moves(step: Step, spreads: Mapping[str, float], factor: float, cards: Cards, others_usd: float) -> Floats:
    """What each input of a step moves the log of the run's cost by, in standard deviations, (inputs,)."""
    wide = {name: range_of(name, getattr(step, name).likely, spread * factor) for name, spread in spreads.items()}
    open_ = [name for name, found in wide.items() if not found.is_exact]
    if not open_:
        return np.zeros(0)
    values = {}
    for at, name in enumerate(open_):
        values[name] = np.full(2 * len(open_), wide[name].likely)
        values[name][2 * at : 2 * at + 2] = wide[name].low, wide[name].high
    usd = others_usd + np.broadcast_to(usd_of(step, cards, **values), (2 * len(open_),))
    if not (usd > 0).all():
        return np.zeros(0)
    return np.asarray(np.log(usd[1::2] / usd[::2]) / (2 * Z90))


def step_costs(sums: Floats, card: Card) -> Floats:
    """What a step's sums cost at a card, (..., columns) to (...)."""
    read, short, long = (column(sums, name) for name in ("read", "write_5m", "write_1h"))
    plain = np.maximum(0, column(sums, "prompt") - read - short - long)
    prompt = plain * card.input + read * card.cache_read + short * card.cache_write_5m + long * card.cache_write_1h
    output = (column(sums, "output") + column(sums, "reasoning")) * card.output
    batched = column(sums, "batch") / np.maximum(column(sums, "attempts"), 1)
    return np.asarray((prompt + output) * (1 - batched * (1 - card.batch_factor)))


def billed_costs(sums: Floats, card: Card) -> Floats:
    """What a step's sums were billed: as they say, or at the card where not all of them do."""
    if (column(sums, "billed_runs") == column(sums, "runs")).all():
        return column(sums, "billed")
    return step_costs(sums, card)
