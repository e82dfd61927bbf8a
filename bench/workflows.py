"""Rows of hourly sums drawn on real backgrounds, and the faults that are put into them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apps.insights.signals import DAILY_DAYS, Kind, Signal, Windows
from bench.backgrounds import DAY, Calls, Client, Floats

EVALUATED_DAYS = 30
DAYS = DAILY_DAYS + EVALUATED_DAYS
HOURS = DAYS * DAY
FIRST = DAILY_DAYS * DAY  # first hour that is evaluated
ONSETS = (FIRST + 8 * DAY, FIRST + 20 * DAY)  # ten days are left behind the latest
Draw = np.random.Generator


@dataclass(frozen=True, slots=True)
class Fault:
    """`factor`: of the odds of a share, of the mean of logs; reached at once, or after `ramp_days` days (by so much
    more each day, where `daily`).
    """

    name: str
    factor: float = 1.0
    ramp_days: float = 0.0
    daily: bool = False
    growth: float = 1.0  # of volume, over 30 days


@dataclass(frozen=True, slots=True)
class Row:
    """What a row is: `onset` is the hour of the fault, -1 without one; `level`: the usual share, where it is one."""

    per_day: int
    trace: str
    client: str
    fault: Fault | None
    onset: int


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """(rows, HOURS) each, as `signals.Windows` wants them; `effect`: what the real traffic did, in logs (of odds)."""

    signal: Signal
    rows: tuple[Row, ...]
    hours: Windows
    effect: Floats

    def moved_itself(self, row: int, hour: int) -> bool:
        """Whether the day before `hour` lay beyond the signal's gate of the 28 before it, by the real traffic alone."""
        weight = self.hours.n[row, : hour // DAY * DAY].reshape(-1, DAY)[-28:]
        days = (weight * self.effect[row, : hour // DAY * DAY].reshape(-1, DAY)[-28:]).sum(axis=1)
        last, n = slice(hour - DAY, hour), np.fmax(self.hours.n[row, hour - DAY : hour].sum(), 1.0)
        usual = float(np.median(days[weight.sum(axis=1) > 0] / weight.sum(axis=1)[weight.sum(axis=1) > 0]))
        now = float((self.hours.n[row, last] * self.effect[row, last]).sum() / n)
        return self.signal.worse * (now - usual) > float(np.log1p(self.signal.gate))

    def day_sums(self) -> Windows:
        def days(values: Floats | None) -> Floats | None:
            return None if values is None else np.nansum(values.reshape(len(values), -1, DAY), axis=2)

        n = days(self.hours.n)
        total = days(self.hours.total)
        assert n is not None
        assert total is not None
        return Windows(n, total, days(self.hours.weight), days(self.hours.square))


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Observations of one signal in the order of a trace; prefix sums give any stretch of them at once."""

    name: str
    n: int
    total: Floats
    weight: Floats
    square: Floats

    @classmethod
    def of(cls, name: str, values: Floats, weight: Floats | None = None) -> "Source":
        """`values`: numerators with `weight`, else logs."""
        each = np.ones(len(values)) if weight is None else weight
        return cls(name, len(values), _prefix(values), _prefix(each), _prefix(values**2))


def _prefix(values: Floats) -> Floats:
    return np.concatenate([[0.0], np.cumsum(values)])


def _stretch(sums: Floats, begin: NDArray[np.int64], n: NDArray[np.int64]) -> Floats:
    size = len(sums) - 1
    end = begin + n
    whole: Floats = (end // size) * sums[-1] + sums[end % size] - sums[begin]
    return whole


def runs_of(calls: Calls) -> tuple[Floats, Floats]:
    """Calls and USD of each run."""
    return np.bincount(calls.run).astype(float), np.bincount(calls.run, calls.usd).astype(float)


def rare(values: Floats, share: float) -> Floats:
    """The dearest `share` of the calls, in trace order: a rare property that comes in the bursts of the real one."""
    return (values > np.quantile(values, 1.0 - share)).astype(float)


def source_of(key: str, name: str, calls: Calls) -> Source | None:
    """The observations of a signal in a trace; None where the trace does not have them."""
    per_run, usd_run = runs_of(calls)
    agents = name == "agents"
    if key == "loops_per_run":
        return Source.of(name, np.log(per_run)) if agents else None
    if key == "cost_per_run":
        return Source.of(name, np.log(usd_run))
    if key == "input_tokens_per_call":
        return Source.of(name, np.log(calls.input_tokens))
    if key == "cache_hit_rate":
        return Source.of(name, calls.cached_tokens, calls.input_tokens) if calls.cached_tokens.any() else None
    if key == "unattributed_share":
        marked = rare(np.modf(calls.input_tokens * 0.618034 + calls.output_tokens * 0.414214)[0], 0.02)
        return Source.of(name, calls.usd * marked, calls.usd)
    if key == "escalation_rate":
        return Source.of(name, rare(usd_run + 1e-9 * np.arange(len(usd_run)), 0.08))
    return Source.of(name, rare(calls.output_tokens + 1e-6 * np.arange(len(calls.usd)), 0.02))


def draw(
    signal: Signal, sources: Sequence[Source], clients: Sequence[Client], plan: Sequence[tuple[int, Fault | None]],
    random: Draw,
) -> Rows:  # fmt: skip
    """A row for each (observations a day, fault) of `plan`, its source and client by lot."""
    made: list[Row] = []
    drawn: list[tuple[Floats, ...]] = []
    for per_day, fault in plan:
        source, client = sources[int(random.integers(len(sources)))], clients[int(random.integers(len(clients)))]
        onset = -1 if fault is None else int(random.integers(*ONSETS))
        row = Row(per_day, source.name, client.name, fault, onset)
        made.append(row)
        drawn.append(_hours(signal, source, client, row, random))
    n, total, weight, square, effect = (np.stack(each) for each in zip(*drawn, strict=True))
    mean = signal.kind is Kind.MEAN
    windows = Windows(n, total, None if mean else weight, square if mean else None)
    return Rows(signal, tuple(made), windows, effect)


def _hours(signal: Signal, source: Source, client: Client, row: Row, random: Draw) -> tuple[Floats, ...]:
    volume, effect = client.stretch(DAYS, int(random.integers(14)))
    hour = np.arange(HOURS)
    since = np.where(row.onset < 0, -1, hour - row.onset)
    fault = row.fault or Fault("none")
    growth = np.where(since >= 0, fault.growth ** (np.fmax(since, 0) / (30 * DAY)), 1.0)
    n = random.poisson(np.minimum(volume * row.per_day * growth, 200_000.0))
    begin = random.integers(0, source.n, HOURS)
    total, weight, square = (_stretch(sums, begin, n) for sums in (source.total, source.weight, source.square))
    shift = effect + np.where(since >= 0, _strength(fault, since), 0.0)
    if signal.kind is Kind.MEAN:
        total, square = total + n * shift, square + 2 * total * shift + n * shift**2
    else:
        total = _shifted(total, weight, np.clip(source.total[-1] / source.weight[-1], 1e-4, 1 - 1e-4),
                         shift if signal.worse > 0 else effect - (shift - effect), n.astype(float), random)  # fmt: skip
    return n.astype(float), total, weight, square, effect


def _strength(fault: Fault, since: NDArray[np.int64]) -> Floats:
    days = np.fmax(since, 0) / DAY
    if fault.daily:
        return np.asarray(np.log(fault.factor) * days)
    return np.asarray(np.log(fault.factor) * (np.minimum(days / fault.ramp_days, 1.0) if fault.ramp_days else 1.0))


def _shifted(total: Floats, weight: Floats, share: float, shift: Floats, n: Floats, random: Draw) -> Floats:
    """The numerator after the odds of the share moved by exp(shift): events by lot, the noise of a sample of n kept."""
    odds = share / (1.0 - share) * np.exp(shift)
    moved = odds / (1.0 + odds)
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = np.where(n > 0, weight / np.fmax(n, 1), 0.0)
        more = np.clip((moved - share) / (1.0 - share), 0.0, 1.0)
        less = np.clip(moved / share, 0.0, 1.0)
        hits = np.where(unit > 0, np.clip(np.rint(total / np.where(unit > 0, unit, 1.0)), 0, n), 0).astype(int)
        gained = random.binomial(np.fmax(n - hits, 0).astype(int), more) * unit
        lost = random.binomial(hits, 1.0 - less) * unit
    return np.clip(total + np.where(moved > share, gained, -lost), 0.0, weight)


# Gaps: faults of the collection, in place of one of the workflow


@dataclass(frozen=True, slots=True)
class Gap:
    """Of the hours [0, `hours`) after the onset those are lost whose place in `of` hours is at least `kept`."""

    name: str
    hours: int
    kept: int = 0
    of: int = DAY

    def lost(self, since: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.asarray((since >= 0) & (since < self.hours) & (since % self.of >= self.kept))


def gapped(rows: Rows, places: NDArray[np.int64], gap: Gap) -> Rows:
    """These rows again, the same in all but the hours that a gap at their onset takes."""
    onset = np.array([rows.rows[int(at)].onset for at in places])
    lost = gap.lost(np.arange(HOURS) - onset[:, None])

    def left(values: Floats | None) -> Floats | None:
        return None if values is None else np.where(lost, 0.0, values[places])

    hours = Windows(np.where(lost, 0.0, rows.hours.n[places]), np.where(lost, 0.0, rows.hours.total[places]),
                    left(rows.hours.weight), left(rows.hours.square))  # fmt: skip
    return Rows(rows.signal, tuple(rows.rows[int(at)] for at in places), hours, rows.effect[places])
