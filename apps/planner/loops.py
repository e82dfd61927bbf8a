"""How many calls a run makes: 1 + a negative binomial, cut at a bound; for one mean or for an array of them at once.

With m = mean - 1 the count of further calls has mean m and variance phi * m: Poisson at phi = 1, longer tails above.
Below 1 no such distribution exists; there it is a mixture of Poisson and the fixed count, which has that mean at
every phi and the variance within 1/4. A bound cuts runs, it does not choose among them: N becomes min(N, calls_max).
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CUT_SHARE = 0.05  # a bound that cuts more runs than this stops work, not loops
NEGLIGIBLE = 1e-12
# Beyond it the first probability is too small for a float even in halves. A mean is taken as no larger than this
# allows, which is above any bound by ten standard deviations: such a loop ends at its bound all the same.
_EXPONENT_MAX = 1_400.0


def survival(mean: Array, dispersion: Array, calls_max: int) -> Iterator[Array]:
    """P(N > 0), P(N > 1), ... P(N > calls_max - 1); ends early once no run is left.

    Panjer's recursion p(k) = (a + b/k) p(k-1). Its start is split into two equal factors, one of which is multiplied
    in at the end, so that a loop of a thousand calls does not begin below the smallest float.
    """
    poisson = np.minimum(dispersion, 1.0)  # the share of the mixture that is not the fixed count
    further, half, a, b = _panjer(np.maximum(mean, 1.0) - 1.0, np.maximum(dispersion, 1.0) - 1.0)
    some_fixed, some_random = bool(np.any(poisson < 1.0)), bool(np.any(poisson > 0.0))
    probability, below = half, np.zeros_like(half)
    yield np.ones_like(half)
    for k in range(1, calls_max):
        left = (1.0 - poisson) * np.clip(further - k + 1.0, 0.0, 1.0) if some_fixed else np.zeros(())
        if some_random:
            below = below + probability
            left = left + poisson * np.maximum(1.0 - below * half, 0.0)
            probability = probability * (a + b / k)
        yield np.asarray(left)
        if left.max() < NEGLIGIBLE:
            return


def _panjer(further: Array, excess: Array) -> tuple[Array, Array, Array, Array]:
    """The mean, the square root of p(0) = exp(-m ln(phi) / (phi - 1)), a and b; at phi = 1 those of Poisson."""
    small = excess < 1e-9
    rate = np.where(small, 1.0, np.log1p(excess) / np.where(small, 1.0, excess))
    bounded = np.minimum(further, _EXPONENT_MAX / rate)
    return bounded, np.exp(-0.5 * bounded * rate), excess / (1.0 + excess), (bounded - excess) / (1.0 + excess)


def reached(mean: float, dispersion: float, calls_max: int) -> Array:
    """The same for one loop: share of runs that make call 1, 2, ... calls_max."""
    shares = np.zeros(calls_max)
    for k, share in enumerate(survival(np.asarray(mean), np.asarray(dispersion), calls_max)):
        shares[k] = share
    return shares


def smallest_bound(mean: float, dispersion: float, limit: int, cut_share: float = CUT_SHARE) -> int:
    """The smallest number of calls that at most `cut_share` of runs exceed; `limit` where more do even there."""
    shares = reached(mean, dispersion, limit + 1)
    return max(1, int(np.argmax(shares <= cut_share)) if shares[-1] <= cut_share else limit)


def calls_at(shares: Array, levels: Array) -> NDArray[np.intp]:
    """Calls of the runs at these levels from 0 (longest) to 1: N > i where the level is below P(N > i)."""
    return 1 + np.searchsorted(-shares[1:], -levels, side="left")
