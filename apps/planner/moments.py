"""The statistics that a fit stands on: means, quantiles, slopes, resampling by clusters. Pure.

Arrays are float64 with runs along the first axis. Rules and numbers are those of docs/planner.md, "Plans fitted from
runs": expected values are arithmetic means, never those of a log fit, which overstate the mean of such traces.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# With fewer observations a log-normal stands for the quantiles.
EMPIRICAL_MIN = 200
# Residuals beyond this many scales weigh less: 95 % efficient where nothing is wrong.
HUBER = 1.345
HUBER_ROUNDS = 50
DISPERSION_RUNS = 50
NORMAL = NormalDist()
Z90 = NORMAL.inv_cdf(0.9)


def quantiles(values: Floats, probabilities: Sequence[float], *, ceiling: float | None = None) -> Floats:
    """Quantiles of observations: empirical from `EMPIRICAL_MIN` on, else of a log-normal with their mean and P90.

    `ceiling` is what no value can exceed (a context window). Raises ValueError without an observation.
    """
    if not len(values):
        raise ValueError("There are no quantiles of no observation.")
    if len(values) >= EMPIRICAL_MIN:
        return np.quantile(values, probabilities)
    return lognormal_quantiles(float(values.mean()), float(np.quantile(values, 0.9)), probabilities, ceiling=ceiling)


def lognormal_quantiles(
    mean: float, p90: float, probabilities: Sequence[float], *, ceiling: float | None = None
) -> Floats:
    """Quantiles of the log-normal with this mean and P90, truncated at `ceiling`.

    A log-normal's P90 is at most 2.27 times its mean; beyond, the widest one that has the mean is taken. A P90 at or
    below the mean leaves no spread to be seen, and the mean stands for all.
    """
    if mean <= 0 or p90 <= mean:
        return np.full(len(probabilities), max(mean, 0.0))
    spread = Z90 - math.sqrt(max(0.0, Z90**2 - 2 * math.log(p90 / mean)))
    middle = math.log(mean) - spread**2 / 2
    below = 1.0 if ceiling is None else NORMAL.cdf((math.log(max(ceiling, mean)) - middle) / spread)
    inside = [min(max(p * below, 1e-12), 1 - 1e-12) for p in probabilities]
    return np.array([math.exp(middle + spread * NORMAL.inv_cdf(p)) for p in inside])


def dispersion(runs: Floats, mean: Floats, variance: Floats) -> Floats:
    """phi of a shifted negative binomial with var = phi (mean - 1), by moments.

    Of fewer than `DISPERSION_RUNS` at least 1: few runs that happen to be alike are no fixed loop. A floor for
    any number of runs would have a pipeline that always makes three calls make five in some.
    """
    floor = np.where(runs < DISPERSION_RUNS, 1.0, 0.0)
    return np.where(mean > 1, np.maximum(floor, variance / np.maximum(mean - 1, 1e-12)), floor)


def slope_weights(sxx: Floats, sxy: Floats) -> Floats:
    """How much each run says of the common slope: 1, or less where its own slope is far off (Huber).

    `sxx` and `sxy` are a run's centred sums of squares and products, (runs,): centring takes out the run's fixed
    effect, so that a run that began with a long prompt is not taken for a steep one.
    """
    weights = np.ones_like(sxx)
    told = sxx > 0
    if told.sum() < 3:
        return weights
    own = sxy[told] / sxx[told]
    slope = weighted_median(own, sxx[told])
    scale = 1.4826 * weighted_median(np.abs(own - slope), sxx[told])
    if scale <= 0:
        return weights
    for _ in range(HUBER_ROUNDS):
        weights[told] = np.minimum(1.0, HUBER * scale / np.maximum(np.abs(own - slope), 1e-300))
        pull = weights[told] * sxx[told]
        last, slope = slope, float((pull * own).sum() / pull.sum())
        if abs(slope - last) <= 1e-9 * scale:
            break
    return weights


def weighted_median(values: Floats, weights: Floats) -> float:
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, reached[-1] / 2)])


def resampled_sums(sums: Floats, clusters: NDArray[np.int64], *, draws: int, seed: int) -> Floats:
    """Sums over runs in `draws` resamples of whole clusters: (runs, ...) to (draws, ...).

    Runs of one cluster are no independent evidence, so they come and go together.
    """
    count = int(clusters.max()) + 1
    by_cluster = np.zeros((count, *sums.shape[1:]))
    np.add.at(by_cluster, clusters, sums)
    times = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
    return np.tensordot(times.astype(np.float64), by_cluster, axes=1)


def student_z(clusters: int) -> float:
    """P90 of Student's t with `clusters` - 1 degrees of freedom, in standard deviations: few clusters know little.

    By the Cornish-Fisher expansion, within 1 % from 5 degrees of freedom on; fewer count as 2.
    """
    free = max(2, clusters - 1)
    z = Z90
    first = (z**3 + z) / (4 * free)
    second = (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
    return z + first + second


def drift_variance(logs: Floats, sampling: Floats) -> float:
    """Variance between periods' mean logs beyond what sampling explains; never negative.

    `logs` are the logs of the means of consecutive blocks of runs and `sampling` their sampling variances.
    """
    if len(logs) < 2:
        return 0.0
    return max(0.0, float(logs.var(ddof=1) - sampling.mean()))
