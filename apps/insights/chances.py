"""What is not known of a saving, as draws: rates, shares and means, from a fixed seed. Pure.

Every function takes the generator it draws from, so that the same facts give the same figures. Arrays are float64, one
value a draw.
"""

import math
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DRAWS = 4_000
RESAMPLES = 400
# The normal deviate of P90, by which a triple of P10, P50 and P90 becomes two half normals.
Z90 = 1.2815515655446004
# One-sided 5 %, power 80 %, rounded as tables of non-inferiority trials do (Blackwelder, 1982).
Z_ALPHA, Z_POWER = 1.645, 0.84
MARGIN = 0.03
_EDGE = 1e-6


def generator(seed: int, *parts: object) -> np.random.Generator:
    """A generator of its own for each thing that is drawn: one more of them leaves the others as they are."""
    return np.random.default_rng([seed, crc32("|".join(map(str, parts)).encode())])


def share(rng: np.random.Generator, low: float, likely: float, high: float, draws: int = DRAWS) -> Floats:
    """A share from 0 to 1 of which P10, P50 and P90 are given: two half normals on the log-odds."""
    if low == high:
        return np.full(draws, likely)
    lowest, middle, highest = (_log_odds(value) for value in (low, likely, high))
    return 1 / (1 + np.exp(-_two_piece(rng, lowest, middle, highest, draws)))


def _log_odds(share: float) -> float:
    inside = min(max(share, _EDGE), 1 - _EDGE)
    return math.log(inside / (1 - inside))


def factor(rng: np.random.Generator, low: float, likely: float, high: float, draws: int = DRAWS) -> Floats:
    """A positive factor of which P10, P50 and P90 are given: two half normals on the logarithm."""
    if low == high:
        return np.full(draws, likely)
    return np.exp(_two_piece(rng, math.log(low), math.log(likely), math.log(high), draws))


def _two_piece(rng: np.random.Generator, low: float, likely: float, high: float, draws: int) -> Floats:
    z = rng.standard_normal(draws)
    return likely + z / Z90 * np.where(z < 0, likely - low, high - likely)


def rate(rng: np.random.Generator, hits: float, trials: float, *, prior: tuple[float, float] = (0.5, 0.5)) -> Floats:
    """Draws from the Beta posterior of a rate; `prior` are imagined hits and misses (Jeffreys unless given)."""
    hits = min(max(hits, 0.0), trials)
    return rng.beta(prior[0] + hits, prior[1] + trials - hits, DRAWS)


def ratio_of_sums(rng: np.random.Generator, parts: Floats, wholes: Floats) -> Floats:
    """Draws of what sum(parts) / sum(wholes) will be for as many again as were sampled; 0 where the whole is 0.

    The bootstrap's deviation counts twice: once for what the sample does not know of its workflow, and once for what
    the next ones will differ by. A single observation says nothing of the next one: it is drawn as it is, and the
    caller's own minimum of runs keeps it from being told.
    """
    count, total = len(wholes), wholes.sum()
    if not count or not total > 0:
        return np.zeros(DRAWS)
    chosen = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    whole = chosen @ wholes
    found = parts.sum() / total
    ratios = np.divide(chosen @ parts, whole, out=np.full(RESAMPLES, found), where=whole > 0)
    drawn: Floats = np.minimum(rng.choice(ratios, DRAWS) + rng.choice(ratios, DRAWS) - found, 1.0)
    return drawn


def quantiles(draws: Floats) -> tuple[float, float, float]:
    """P10, P50 and P90."""
    low, likely, high = np.quantile(draws, (0.1, 0.5, 0.9))
    return float(low), float(likely), float(high)


# --- quality --------------------------------------------------------------------------------------------


def runs_needed(success: float, margin: float = MARGIN) -> int:
    """Runs per arm until a trial would show that successes fell by less than `margin`, if they did not fall at all.

    Non-inferiority of two shares, one-sided 5 %, power 80 %: n = (1.645 + 0.84)^2 * 2 p (1 - p) / margin^2, for a
    success share p kept within 0.5 to 0.99, where fewer runs would be asked for than anybody should rely on.
    """
    if not 0 < margin < 1:
        raise ValueError(f"the margin is {margin}: a share above 0 and below 1")
    p = min(max(success, 0.5), 0.99)
    # Rounded before it is lifted, so that what floats add is no run.
    return math.ceil(round((Z_ALPHA + Z_POWER) ** 2 * 2 * p * (1 - p) / margin**2, 6))


def is_not_worse(
    control: tuple[int, int], trial: tuple[int, int], margin: float = MARGIN, *, z: float = Z_ALPHA
) -> bool:
    """Whether (successes, runs) of a trial are shown to lie less than `margin` below the control's.

    Agresti and Caffo's interval of a difference: one success and one failure added to each arm, so that an arm without
    failures is not taken for certain.
    """
    shares = [(hits + 1, runs + 2) for hits, runs in (control, trial)]
    if any(runs <= 2 or hits > runs for hits, runs in shares):
        return False
    before, after = (hits / runs for hits, runs in shares)
    spread = math.sqrt(sum(p * (1 - p) / runs for p, (_, runs) in zip((before, after), shares, strict=True)))
    return after - before - z * spread > -margin
