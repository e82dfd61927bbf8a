"""What the days ahead of a series of spend come to. Pure numpy, and deterministic.

A series is USD by day, oldest first, NaN where nothing is known (a gap in collecting is not zero demand). Places in the
week are integers from 0 to `season` - 1. The method is that of its age, in days since its first spend:

- `mean` below `PROFILE_DAYS`, and below `INTERMITTENT_DAYS` with spend on fewer than half of them: their mean;
- `intermittent`: spend on fewer than half of the days; the mean of the last four weeks;
- `profile`: the profile of the week times a level. The level is an average over means of the last 1 to 56 days, each
  weighted by how well it would have done from earlier days;
- `trend` from `TREND_DAYS` on: the same with three drifts for each level: none, half of and the whole slope.

Incidents are cut before (Hampel, 1974). The average in the place of one level (Bates and Granger, 1969), and of Theta,
is what the traces asked for: `docs/forecast.md` has the figures.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.integer[Any]]

SEASON = 7
HISTORY_DAYS = 120
PROFILE_DAYS = 7
TREND_DAYS = 60
# A series with spend on fewer of its days has no level that a logarithm could follow.
BUSY_SHARE = 0.5
INTERMITTENT_DAYS = 28
HAMPEL_REACH = 7
HAMPEL_MADS = 10.0
MAD_TO_SIGMA = 1.4826
# A day of a place in the week says no more than this many times what is usual around it.
RATIO_MAX = 4.0
# A place of the week with less of a usual day than this has no spend.
EMPTY_PLACE = 0.02
WINDOWS = (1, 3, 7, 14, 28, 56)
DRIFTS = (0.0, 0.5, 1.0)
# What is believed of each drift before it was tried.
DRIFT_PRIOR = (1.5, 1.0, 0.5)
SLOPE_DAYS = 90
# No drift is believed beyond this a day: x 2.2 in a month.
SLOPE_MAX = float(np.log(2.2)) / 30
# A drift goes on for a month, and is level from there: nobody has seen further.
DRIFT_DAYS = 31
# Earlier days that levels are tried from, by how far they lie back, and how far is looked ahead from them.
ORIGINS_BACK = range(3, 46, 4)
HORIZON = 14
ORIGIN_DAYS_MIN = 7
TREND_ORIGIN_DAYS_MIN = 30
ERROR_FLOOR = 0.05
SCALE_MIN, SCALE_MAX = 0.05, 1.5
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Expected:
    """USD of each day ahead, what method said so, the scale of its errors (`_scale`, of logarithms), and the days that
    were known since the first spend.
    """

    days: Floats
    method: str
    scale: float
    age: int


def expected_days(values: Floats, places: Ints, ahead: Ints, season: int = SEASON) -> Expected:
    """What the days ahead come to, from whole days in the past.

    `values` (n,) USD, `places` (n,) and `ahead` (h,) in [0, season). Below zero counts as zero: a correction says
    nothing about demand. A series that never spent comes to nothing.
    """
    values, places = _of_age(np.asarray(values, dtype=float), np.asarray(places))
    ahead = np.asarray(ahead)
    known = ~np.isnan(values)
    age = int(known.sum())
    if not age:
        return Expected(np.zeros(len(ahead)), "none", SCALE_MAX, 0)
    values = np.maximum(values, 0.0)
    is_busy = np.mean(values[known] > 0) >= BUSY_SHARE
    if age < (PROFILE_DAYS if is_busy else INTERMITTENT_DAYS):
        return Expected(np.full(len(ahead), np.nanmean(values)), "mean", SCALE_MAX / 2, age)
    if not is_busy:
        recent = values[-INTERMITTENT_DAYS:]
        usual = 0.0 if np.isnan(recent).all() else float(np.nanmean(recent))
        return Expected(np.full(len(ahead), usual), "intermittent", SCALE_MAX, age)
    flat, profile = _flattened(values, places, season)
    is_long = len(flat) >= TREND_DAYS
    path, miss = _path(flat, len(ahead), np.array(DRIFTS if is_long else DRIFTS[:1]))
    return Expected(path * profile[ahead], "trend" if is_long else "profile", _scale(_noise(flat), miss), age)


def _of_age(values: Floats, places: Ints) -> tuple[Floats, Ints]:
    """From the first spend on, at most `HISTORY_DAYS`."""
    spent = np.flatnonzero(np.nan_to_num(values) > 0)
    first = max(int(spent[0]), len(values) - HISTORY_DAYS) if len(spent) else len(values)
    return values[first:], places[first:]


# --- the week, and what is left without it -----------------------------------------------------------


def _flattened(values: Floats, places: Ints, season: int) -> tuple[Floats, Floats]:
    """What each day came to without its place in the week and without incidents (n,), and the profile (season,)."""
    rough = week_profile(values, places, season)
    flat = _cut(_without(values, rough[places]))
    cleaned = np.where(np.isnan(values), np.nan, flat * rough[places])
    profile = week_profile(cleaned, places, season)
    return _without(flat * rough[places], profile[places]), profile


def week_profile(values: Floats, places: Ints, season: int = SEASON) -> Floats:
    """How each place of a week stands to the week around it (season,), of mean 1.

    As far as the places differ by more than what is by chance (James and Stein): without that, all are 1.
    """
    around = _moving_mean(_bridged(values), season)
    ratio = np.where(around > 0, np.minimum(values / np.maximum(around, _TINY), RATIO_MAX), np.nan)
    profile, counts, squares = np.ones(season), np.zeros(season), 0.0
    for place in range(season):
        mine = ratio[places == place]
        mine = mine[~np.isnan(mine)]
        if len(mine):
            middle = np.median(mine) if len(mine) > 2 else mine.mean()
            profile[place] = (middle + mine.mean()) / 2
            squares += float(((mine - profile[place]) ** 2).sum())
            counts[place] = len(mine)
    noise = squares / max(counts.sum() - (counts > 0).sum(), 1)
    share = 1 - noise / np.maximum(counts, 0.5) / max(float(np.var(profile)), 1e-9)
    profile = np.maximum(1 + (profile - 1) * np.clip(share, 0, 1), 0)
    mean = float(profile.mean())
    return profile / mean if mean > 0 else np.ones(season)


def _without(values: Floats, usual: Floats) -> Floats:
    """Values over what is usual; a day on which nothing is usual lies between its neighbours."""
    is_told = usual > EMPTY_PLACE
    return _bridged(np.where(is_told, values / np.maximum(usual, EMPTY_PLACE), np.nan))


def _cut(flat: Floats) -> Floats:
    """Days further from their neighbours than `HAMPEL_MADS` deviations, by their logarithm, brought back to that."""
    logs = np.log(np.maximum(flat, max(float(flat.max()) * 1e-6, _TINY)))
    usual = _rolling_median(logs, HAMPEL_REACH)
    away = logs - usual
    reach = HAMPEL_MADS * max(MAD_TO_SIGMA * float(np.median(np.abs(away))), 0.05)
    return np.where(np.abs(away) > reach, np.exp(usual + np.clip(away, -reach, reach)), flat)


def _bridged(values: Floats) -> Floats:
    """Gaps filled in a straight line."""
    known = ~np.isnan(values)
    if known.all():
        return values
    if not known.any():
        return np.zeros(len(values))
    return np.interp(np.arange(len(values)), np.flatnonzero(known), values[known])


def _moving_mean(values: Floats, width: int) -> Floats:
    """The mean of the `width` values around each; at the ends of the first and the last `width`."""
    n, reach = len(values), width // 2
    sums = np.concatenate([[0.0], np.cumsum(values)])
    low = np.clip(np.arange(n) - reach, 0, max(n - width, 0))
    high = np.minimum(low + width, n)
    mean: Floats = np.maximum(sums[high] - sums[low], 0.0) / (high - low)
    return mean


def _rolling_median(values: Floats, reach: int) -> Floats:
    """Of the `reach` values to either side, mirrored at the ends."""
    reach = min(reach, len(values) - 1)
    padded = np.concatenate([values[:reach][::-1], values, values[len(values) - reach :][::-1]])
    median: Floats = np.median(sliding_window_view(padded, 2 * reach + 1), axis=1)
    return median


def _scale(noise: float, miss: float) -> float:
    """What errors are held against: the noise of days and how far off fortnights were, half each."""
    return noise if np.isnan(miss) else float(np.clip((noise + miss) / 2, SCALE_MIN, SCALE_MAX))


def _noise(flat: Floats) -> float:
    """The deviation of a day's logarithm around those of its neighbours."""
    logs = np.log(np.maximum(flat, max(float(flat.max()) * 1e-6, _TINY)))
    away = np.clip(logs - _rolling_median(logs, HAMPEL_REACH), -SCALE_MAX, SCALE_MAX)
    return float(np.clip(np.sqrt(np.mean(away**2)), SCALE_MIN, SCALE_MAX))


# --- levels and drifts -------------------------------------------------------------------------------


def _path(flat: Floats, ahead: int, drifts: Floats) -> tuple[Floats, float]:
    """The days ahead (ahead,) without their week: a geometric mean over levels and drifts, weighted by their errors.

    And by how much that would have missed fortnights, from earlier days: the root mean square of logarithms, NaN where
    there is no earlier day.
    """
    n, sums = len(flat), np.concatenate([[0.0], np.cumsum(flat)])
    logs = np.log(np.maximum(flat, max(float(flat.max()) * 1e-4, _TINY)))
    least = TREND_ORIGIN_DAYS_MIN if len(drifts) > 1 else ORIGIN_DAYS_MIN
    origins = np.array([n - back for back in ORIGINS_BACK if n - back >= least], dtype=int)
    away = _away(sums, logs, origins, drifts)
    weights = _weights(np.sqrt((away**2).mean(axis=0)) if len(origins) else away.sum(axis=0), len(drifts))
    together = (away * weights).sum(axis=(1, 2))
    miss = float(np.sqrt((together**2).mean())) if len(origins) else float("nan")
    now = _said(sums, logs, np.array([n]), drifts, np.minimum(np.arange(1, ahead + 1), DRIFT_DAYS))[0]
    path: Floats = np.exp((weights[:, :, None] * now).sum(axis=(0, 1)))
    return path, miss


def _said(sums: Floats, logs: Floats, origins: Ints, drifts: Floats, steps: Ints) -> Floats:
    """Logarithms (origins, drifts, windows, steps) that each drift and level says from each origin."""
    windows = np.array(WINDOWS)
    low = np.maximum(origins[:, None] - windows, 0)
    width = origins[:, None] - low
    levels = np.log(np.maximum((sums[origins][:, None] - sums[low]) / width, _TINY))
    slopes = np.array([_slope(logs[:origin]) if len(drifts) > 1 else 0.0 for origin in origins])
    # A mean stands for the middle of its days, and drifts from there.
    far = steps + (width[:, :, None] - 1) / 2
    said: Floats = levels[:, None, :, None] + drifts[None, :, None, None] * (slopes[:, None, None] * far)[:, None]
    return said


def _slope(logs: Floats) -> float:
    """The slope a day of a straight line through the logarithms, within what is believed."""
    logs = logs[-SLOPE_DAYS:]
    x = np.arange(len(logs)) - (len(logs) - 1) / 2
    return float(np.clip((x @ logs) / (x @ x), -SLOPE_MAX, SLOPE_MAX))


def _away(sums: Floats, logs: Floats, origins: Ints, drifts: Floats) -> Floats:
    """What each would have missed of the `HORIZON` days after each origin: logarithms (origins, drifts, windows)."""
    n = len(logs)
    until = np.minimum(origins + HORIZON, n)
    came = np.log(np.maximum((sums[until] - sums[origins]) / np.maximum(until - origins, 1), _TINY))
    said = np.exp(_said(sums, logs, origins, drifts, np.arange(1, HORIZON + 1)))
    is_before = np.arange(1, HORIZON + 1) <= (until - origins)[:, None]
    mean = (said * is_before[:, None, None, :]).sum(axis=3) / np.maximum(until - origins, 1)[:, None, None]
    away: Floats = np.clip(np.log(np.maximum(mean, _TINY)) - came[:, None, None], -5, 5)
    return away


def _weights(errors: Floats, drifts: int) -> Floats:
    """(drifts, windows), of sum 1."""
    of_drift = np.array(DRIFT_PRIOR[:drifts]) / (errors.mean(axis=1) + ERROR_FLOOR / 2) ** 3
    of_window = 1 / (errors + ERROR_FLOOR)
    of_window /= of_window.sum(axis=1, keepdims=True)
    weights: Floats = of_drift[:, None] / of_drift.sum() * of_window
    return weights


# --- hours -------------------------------------------------------------------------------------------


def hour_shares(hours: Floats, places: Ints, season: int = SEASON) -> Floats:
    """How a day of each place in the week is spent over its hours (season, 24), each row of sum 1.

    `hours` (n, 24) USD of n days, NaN where nothing is known; `places` (n,). Rows are drawn to the mean day by the
    weight of one day, and that one to a flat day.
    """
    known = np.maximum(np.nan_to_num(np.asarray(hours, dtype=float)), 0.0)
    totals = known.sum(axis=1)
    shares = known[totals > 0] / totals[totals > 0][:, None]
    mine = np.asarray(places)[totals > 0]
    mean = (shares.sum(axis=0) + 1 / 24) / (len(shares) + 1)
    rows = [(shares[mine == place].sum(axis=0) + mean) / (np.sum(mine == place) + 1) for place in range(season)]
    return np.array(rows)


def expected_hours(days: Floats, ahead: Ints, shares: Floats) -> Floats:
    """USD of every hour (h, 24) of days ahead (h,) in places (h,): the plan that burn rates are held against."""
    planned: Floats = np.asarray(days)[:, None] * shares[np.asarray(ahead)]
    return planned
