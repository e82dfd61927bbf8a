"""The signals of a scope: what is watched, in which form it is read, and what is said of it.

Pure: arrays in, arrays out. A *series* is one scope (a workflow, mostly) under one signal; every array has the series
first, and a whole organization is evaluated in one call per signal (`detectors.evaluate`). Definitions, formulae and
measured figures: docs/signals.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Number = TypeVar("Number", float, Floats)

BASELINE_DAYS = 28
# A week more than the baseline: days that were not evaluated in time are each judged by the 28 days before them.
DAILY_DAYS = 35
# Twice a day and a night more: the closing rule looks at 24 evaluations, each of which looks back over 24 hours.
HOURLY_HOURS = 72
SPEND_HOURS = 28 * 24


class Kind(StrEnum):
    RATIO = "ratio"
    MEAN = "mean"
    SPEND = "spend"


class Status(IntEnum):
    """What an evaluation says; the order is that of urgency."""

    SILENT = 0  # the sample of the last day is too small: nothing is said, neither good nor bad
    FINE = 1
    LEARNING = 2  # too little history: judged by the plan alone, if there is one
    GATED = 3  # beyond the noise, but less than is worth a person's time
    ALARM = 4


class Rule(IntEnum):
    """Which detector holds a series open."""

    NONE = 0
    WINDOW = 1  # the last 24 or 6 hours
    DRIFT = 2  # many days, each a little
    PLAN = 3  # above the P90 of the plan, while there is no history
    LIMIT = 4  # above a fixed level
    BURST = 5  # an hour of spend
    LASTING = 6  # days on end above all before, however far days lie apart


@dataclass(frozen=True, slots=True)
class Signal:
    """`sample` and `gate` as of docs/signals.md: the least observations of a window and of a baseline, the least
    change.

    `worse`: +1 where a higher reading is worse, -1 where a lower one is. A ratio that is worse when it falls is judged
    by its complement (cache misses for cache hits), and `gate` is relative to that.
    """

    key: str
    kind: Kind
    worse: int
    sample: int
    baseline_sample: int
    gate: float
    least_usd: float = 0.0  # excess a day below which nothing is said, whatever the tier
    limit: float | None = None  # a level that is wrong by itself, without any baseline


# Of the price of an input token.
WRITE_SURCHARGE_5M, WRITE_SURCHARGE_1H = 0.25, 1.0
READ_DISCOUNT = 0.9


def write_share_max(surcharge: Number) -> Number:
    """Cache writes as a share of writes and reads (tokens), beyond which caching costs more than it saves.

    A read saves `READ_DISCOUNT`, a write costs `surcharge` more: they break even at (w - 1) / (1 - rho) reads a write,
    0.28 with 5 minutes and 1.11 with an hour, which are 3.6 and 0.9 writes a read.
    """
    return READ_DISCOUNT / (READ_DISCOUNT + surcharge)


def _catalogue(*signals: Signal) -> Mapping[str, Signal]:
    return MappingProxyType({signal.key: signal for signal in signals})


SIGNALS = _catalogue(
    # n: runs started on the low tier; total: those that reached a higher one.
    Signal("escalation_rate", Kind.RATIO, +1, 50, 200, 0.20),
    # Calls whose prompt is at least the provider's minimum. n: calls; total: cache_read tokens; weight: input +
    # cache_read + cache_write tokens.
    Signal("cache_hit_rate", Kind.RATIO, -1, 50, 200, 0.15),
    # n: calls with a cache write; total: cache_write tokens; weight: cache_write + cache_read. `limit` is that of 5
    # minutes; `Grid.write_limit` gives each series that of how long it writes for.
    Signal("cache_write_ratio", Kind.RATIO, +1, 30, 200, 0.30, limit=write_share_max(WRITE_SURCHARGE_5M)),
    # n: runs; total: the sum of ln(LLM calls), square: of its squares.
    Signal("loops_per_run", Kind.MEAN, +1, 30, 200, 0.15),
    # n: runs; total: runs that were stopped at a bound.
    Signal("capped_share", Kind.RATIO, +1, 50, 200, 0.30),
    # n: attempts; total: attempts above the first.
    Signal("retry_rate", Kind.RATIO, +1, 50, 200, 0.30),
    # n: calls (or runs, each with its mean call); sums of ln(whole prompt in tokens).
    Signal("input_tokens_per_call", Kind.MEAN, +1, 30, 200, 0.15),
    # n: runs of at least two calls; sums of ln(tokens added per step).
    Signal("context_growth", Kind.MEAN, +1, 30, 200, 0.20),
    # n: runs; sums of ln(USD).
    Signal("cost_per_run", Kind.MEAN, +1, 30, 200, 0.20),
    # As cost_per_run, and weight: the runs of known outcome that succeeded, of n with a known outcome.
    Signal("cost_per_success", Kind.MEAN, +1, 30, 200, 0.20),
    # n: calls; total: USD without a valid team and workflow; weight: USD.
    Signal("unattributed_share", Kind.RATIO, +1, 50, 200, 0.30, least_usd=50.0),
    # n: calls; total: tokens of calls without a price; weight: tokens.
    Signal("unpriced_share", Kind.RATIO, +1, 1, 200, 0.30, limit=0.005),
    # n: runs; total: USD of runs that failed, were cancelled or never consumed; weight: USD.
    Signal("dead_spend", Kind.RATIO, +1, 30, 200, 0.30, least_usd=10.0),
    # total: USD of each hour.
    Signal("spend_per_hour", Kind.SPEND, +1, 0, 0, 0.30),
)


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Sums per series and window (a day or an hour), oldest first; each array has the shape (series, windows).

    | field | RATIO | MEAN | SPEND |
    |---|---|---|---|
    | n | observations (calls, runs, attempts) | observations | not read |
    | total | numerator | sum of ln x | USD |
    | weight | denominator (= n where things are counted) | successes, for a mean per success; else None | None |
    | square | sum of squared weights, where known; else None | sum of (ln x) squared | None |

    NaN: not collected. 0 in `n`: collected, and nothing ran. Neither ever raises an alarm.
    """

    n: Floats
    total: Floats
    weight: Floats | None = None
    square: Floats | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """One signal of many series, as of the hour `hour`.

    `daily`: whole days before today, today excluded, the last one yesterday (DAILY_DAYS of them, NaN or 0 before the
    first; not read for SPEND). `hourly`: the last HOURLY_HOURS whole hours, today's among them (SPEND: SPEND_HOURS).
    `excluded`: days that are no part of a baseline (inside a closed incident, before a re-baseline), the shape of
    `daily`, or None; days of the open incident are left out by `state`. `plan_high`: the P90 of the plan in the
    signal's own unit, NaN where there is none. `limit`: per series in place of the signal's own, NaN for it.
    `gate_factor`: what fatigue control raised the gate by, 1 where it did not. `planned`: SPEND, the planned rate of
    now as a multiple of the trailing week's (a launch, a planned growth), 1 where nothing is planned: volume that was
    announced is no anomaly.
    """

    signal: Signal
    hour: int  # hours since 1970 UTC at which the last of `hourly` ends
    today: int  # ordinal of the organization's day that `hour` lies in
    daily: Windows
    hourly: Windows
    excluded: Flags | None = None
    plan_high: Floats | None = None
    limit: Floats | None = None
    gate_factor: Floats | None = None
    planned: Floats | None = None


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """What an evaluation hands to the next; each of shape (series,), NaN: none.

    `cusum`: sum of the drift rule. `drift_since`: first day (ordinal) of the drift it sums. `drift_through`: last day
    in it; days are taken in once, in order, however many have passed. `since`: hour (since 1970 UTC) at which what
    raised the alarm began, as estimated when it was raised; `rule`: the Rule that raised it.
    """

    cusum: Floats
    drift_since: Floats
    drift_through: Floats
    since: Floats
    rule: Floats

    @classmethod
    def fresh(cls, series: int) -> Self:
        nothing = np.full(series, np.nan)
        return cls(np.zeros(series), nothing, nothing.copy(), nothing.copy(), np.zeros(series))

    @classmethod
    def of_rows(cls, rows: Floats) -> Self:
        """From `rows()`: shape (series, 5), in the order of the fields."""
        return cls(*(np.array(column, dtype=float) for column in np.asarray(rows, dtype=float).T))

    def rows(self) -> Floats:
        return np.stack([getattr(self, field.name) for field in fields(self)], axis=1)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One series. Readings and band are in the signal's own unit (a share of 1; a geometric mean; USD an hour)."""

    status: Status
    value: float  # of the last 24 hours (SPEND: of the last hour); NaN: too small a sample
    baseline: float
    low: float  # the band in which a day's value is unremarkable
    high: float
    z24: float  # positive is worse
    z6: float
    excess_ratio: float  # how much worse than the baseline, 0.5: by half; of the complement where lower is worse
    sample: float  # observations in the last 24 hours
    rule: Rule
    since: float  # hours since 1970 UTC at which this alarm began (DRIFT: at which the drift began); NaN: no alarm


@dataclass(frozen=True, slots=True, eq=False)
class Verdicts:
    """All series of one evaluation; each of shape (series,). `state` is handed to the next one."""

    status: NDArray[np.int64]
    value: Floats
    baseline: Floats
    low: Floats
    high: Floats
    z24: Floats
    z6: Floats
    excess_ratio: Floats
    sample: Floats
    rule: NDArray[np.int64]
    since: Floats
    opened: Flags  # this evaluation opened it
    closed: Flags  # this evaluation closed it: z24 stayed under 1.5 for 24 hours
    state: State

    def __len__(self) -> int:
        return len(self.status)

    def at(self, series: int) -> Verdict:
        return Verdict(
            status=Status(int(self.status[series])),
            value=float(self.value[series]),
            baseline=float(self.baseline[series]),
            low=float(self.low[series]),
            high=float(self.high[series]),
            z24=float(self.z24[series]),
            z6=float(self.z6[series]),
            excess_ratio=float(self.excess_ratio[series]),
            sample=float(self.sample[series]),
            rule=Rule(int(self.rule[series])),
            since=float(self.since[series]),
        )
