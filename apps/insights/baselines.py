"""What a series usually is: its level, the noise of a sample, and how far its days lie apart. Formulae:
docs/signals.md.
"""

from dataclasses import dataclass

import numpy as np

from apps.insights.signals import BASELINE_DAYS, Flags, Floats, Kind, Signal, Windows

DAYS_MIN = 7  # usable days below which there is no baseline
DAYS_YOUNG = 14  # of age: before, a series is learning
DAYS_GROWN = 28  # of age: before, gates are doubled
HOURS_MIN = 12  # with at least HOUR_N_MIN observations, to see how calls go together
HOUR_N_MIN = 2.0
DISPERSION_MAX = 100.0
NORMAL = 1.4826  # standard deviations in a median absolute deviation, of a normal distribution
DECILE = 1.2816  # standard deviations up to the ninth decile, of a normal distribution
EVENTS_FEW = 5.0  # a day, below which the median of daily shares jumps between multiples of one event


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Windows with nothing in place of what was not collected, on a scale on which up is worse."""

    signal: Signal
    n: Floats
    total: Floats
    weight: Floats
    square: Floats | None
    collected: Flags

    def level(self, n: Floats, total: Floats, weight: Floats) -> Floats:
        """Share, or mean of logs, of sums; NaN where there is nothing."""
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.signal.kind is Kind.RATIO:
                share = np.where(weight > 0, total / weight, np.nan)
                return 1.0 - share if self.signal.worse < 0 else share
            mean = np.where(n > 0, total / n, np.nan)
            if self.per_success:
                # Half a success more: all runs failing is a very high cost per success, not an unknown one.
                mean = mean - np.log((weight + 0.5) / (n + 1.0))
            return self.signal.worse * mean

    @property
    def per_success(self) -> bool:
        return self.signal.kind is Kind.MEAN and self.weight is not self.n

    def days(self, columns: slice) -> "Block":
        weight = self.n[:, columns] if self.weight is self.n else self.weight[:, columns]
        n = weight if self.weight is self.n else self.n[:, columns]
        square = None if self.square is None else self.square[:, columns]
        return Block(self.signal, n, self.total[:, columns], weight, square, self.collected[:, columns])


def block(signal: Signal, windows: Windows) -> Block:
    n = np.asarray(windows.n, dtype=float)
    given = [each for each in (n, windows.total, windows.weight, windows.square) if each is not None]
    # A logarithm of nothing (a run that cost 0) or a sum that is not a number voids its window, and that alone.
    collected = np.logical_and.reduce([np.isfinite(each) for each in given])
    filled = np.where(collected, n, 0.0)
    weight = filled if windows.weight is None else _filled(windows.weight, collected)
    square = None if windows.square is None else _filled(windows.square, collected)
    return Block(signal, filled, _filled(windows.total, collected), weight, square, collected)


def _filled(values: Floats, collected: Flags) -> Floats:
    return np.where(collected, values, 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """Each of shape (series,). `unit`: variance of one observation; `tau2`: between days, beyond the sample's noise."""

    centre: Floats
    unit: Floats
    tau2: Floats
    n_day: Floats  # observations of a usual day
    n: Floats  # observations in it
    usable: Floats  # days in it
    age: Floats  # days since the first with an observation

    @property
    def known(self) -> Flags:
        return (self.usable >= DAYS_MIN) & ~np.isnan(self.centre)


def baseline(
    days: Block, included: Flags, hours: Block | None, *, tau_share: float, tau_log: float, tail: float
) -> Baseline:
    """Of the last BASELINE_DAYS columns; `hours` tell how far calls of one hour go together, without them they do not.

    centre: the median of daily levels, or the pooled one where events are few. tau squared: the robust variance of the
    daily levels less the mean noise of their samples, at least `tau_share` of p (1 - p), or `tau_log`, squared.
    """
    age = _age(days.n > 0)  # of all columns: a workflow that rests on Sundays is not young on each fourth Monday
    days = days.days(slice(-BASELINE_DAYS, None))
    included = included[:, -BASELINE_DAYS:]
    busy = included & (days.n > 0)
    n_day = np.nan_to_num(median(np.where(busy, days.n, np.nan)))
    # A day of a few calls says nothing of a workflow that makes thousands: a gap in the collection, mostly.
    busy &= days.n >= 0.1 * n_day[:, None]
    n, total, weight = (np.where(busy, each, 0.0).sum(axis=1) for each in (days.n, days.total, days.weight))
    pooled = days.level(n, total, weight)
    levels = np.where(busy, days.level(days.n, days.total, days.weight), np.nan)
    centre = median(levels)
    unit = _unit(days, busy, n, weight, pooled)
    if hours is not None:
        unit = unit * dispersion(hours, unit)
    if days.signal.kind is Kind.RATIO:
        few = median(np.where(busy, levels * days.n, np.nan)) < EVENTS_FEW
        centre = np.where(few, pooled, centre)
        floor = (tau_share * centre * (1.0 - centre)) ** 2
    else:
        floor = np.full(len(centre), tau_log**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = unit * np.where(busy, 1.0 / sample_of(days), 0.0).sum(axis=1) / busy.sum(axis=1)
    apart = levels - centre[:, None]
    upward = np.fmax(quantile(apart, 0.9), 0.0) / DECILE
    spread = np.fmax(NORMAL * median(np.abs(apart)), tail * upward) ** 2
    return Baseline(
        centre=centre,
        unit=unit,
        tau2=np.fmax(np.fmax(spread - noise, 0.0), floor),
        n_day=n_day,
        n=n,
        usable=busy.sum(axis=1).astype(float),
        age=age,
    )


def sample_of(of: Block) -> Floats:
    """The observations a window is worth: fewer where some weigh much more than others (Kish's effective sample)."""
    if of.signal.kind is Kind.RATIO and of.square is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(of.square > 0, np.fmin(of.weight**2 / of.square, of.n), 0.0)
    return of.n


def dispersion(hours: Block, unit: Floats) -> Floats:
    """How many times the noise of independent calls the hours scatter: calls of one conversation come together, and
    some weigh much more than others. By moments, over the hours before the last day; 1 at the least, where hours are
    few too.
    """
    past = hours.days(slice(None, -24))
    level = past.level(past.n, past.total, past.weight)
    busy = past.n >= HOUR_N_MIN
    n = np.where(busy, past.n, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (n * np.nan_to_num(level)).sum(axis=1) / n.sum(axis=1)
        apart = np.where(busy, n * (level - mean[:, None]) ** 2, 0.0).sum(axis=1)
        times = apart / np.fmax(busy.sum(axis=1) - 1.0, 1.0) / unit
    enough = (busy.sum(axis=1) >= HOURS_MIN) & np.isfinite(times)
    return np.where(enough, np.clip(times, 1.0, DISPERSION_MAX), 1.0)


def _unit(days: Block, busy: Flags, n: Floats, weight: Floats, pooled: Floats) -> Floats:
    if days.signal.kind is Kind.RATIO:
        # Never nothing: a rate that was 0 for weeks still has a noise, that of half an event in its whole sample.
        with np.errstate(divide="ignore"):
            share = np.clip(pooled, 0.5 / np.fmax(n, 1.0), 1.0 - 0.5 / np.fmax(n, 1.0))
        return np.asarray(share * (1.0 - share))
    square = np.zeros_like(days.n) if days.square is None else days.square
    with np.errstate(divide="ignore", invalid="ignore"):
        within = np.where(busy & (days.n > 0), square - days.total**2 / days.n, 0.0).sum(axis=1)
        unit = np.fmax(within / np.fmax(n - busy.sum(axis=1), 1.0), 0.0)
        if days.per_success:
            rate = np.clip((weight + 0.5) / (n + 1.0), 1e-6, 1.0)
            unit = unit + (1.0 - rate) / rate
    return np.asarray(unit)


def _age(any_call: Flags) -> Floats:
    columns = any_call.shape[1]
    if not columns:
        return np.zeros(len(any_call))
    return np.where(any_call.any(axis=1), columns - any_call.argmax(axis=1), 0).astype(float)


def quantile(values: Floats, share: float) -> Floats:
    """Along the last axis, NaN left out: the least value that `share` of them do not exceed."""
    ordered = np.sort(values, axis=-1)
    count = (~np.isnan(ordered)).sum(axis=-1)
    at = np.clip(np.ceil(share * count).astype(int) - 1, 0, max(values.shape[-1] - 1, 0))
    found: Floats = np.take_along_axis(ordered, at[..., None], axis=-1)[..., 0]
    return found


def median(values: Floats) -> Floats:
    """Along the last axis, NaN left out; NaN where nothing is left. Several times as fast as numpy's nanmedian."""
    if not values.shape[-1]:
        return np.full(values.shape[:-1], np.nan)
    ordered = np.sort(values, axis=-1)  # NaN last
    count = (~np.isnan(ordered)).sum(axis=-1)
    upper = np.take_along_axis(ordered, np.minimum(count // 2, values.shape[-1] - 1)[..., None], axis=-1)[..., 0]
    lower = np.take_along_axis(ordered, np.maximum((count - 1) // 2, 0)[..., None], axis=-1)[..., 0]
    middle: Floats = np.where(count > 0, 0.5 * (lower + upper), np.nan)
    return middle
