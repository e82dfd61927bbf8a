"""The score of the Numenta Anomaly Benchmark (Lavin and Ahmad, "Evaluating Real-time Anomaly Detection Algorithms",
ICMLA 2015), standard profile, over those of its real series that lie beside the project.

Of each labelled window the earliest detection counts, the more the earlier; each detection outside costs, the less the
closer it follows a window. 0 is a detector that says nothing, 100 one that finds every window at its first record.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from apps.insights.detectors import evaluate
from apps.insights.signals import DAILY_DAYS, HOURLY_HOURS, SIGNALS, Kind, Readings, Signal, State, Windows
from bench.backgrounds import DAY, Floats, read

HIT, FALSE, MISS = 1.0, 0.11, 1.0  # weights of the standard profile
PROBATION, PROBATION_MAX = 0.15, 750
FAR = 3.0  # widths behind a window, from which on a detection is wholly false
RECORDS = 5_000  # of a series, beyond which several make one hour of our clock
GATE = SIGNALS["input_tokens_per_call"].gate


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """`windows`: first and last record of each labelled window."""

    name: str
    values: Floats
    hours: Floats  # since the first record
    windows: tuple[tuple[int, int], ...]

    @property
    def probation(self) -> int:
        return int(min(PROBATION * len(self.values), PROBATION_MAX))


@cache
def series() -> tuple[Series, ...]:
    rows: dict[str, list[tuple[np.datetime64, float]]] = defaultdict(list)
    for row in read("nab_series"):
        rows[row["series"]].append((np.datetime64(row["timestamp"].replace(" ", "T"), "s"), float(row["value"])))
    found = []
    for index in read("nab_index"):
        at = np.array([when for when, _ in rows[index["series"]]])
        limits = [[np.datetime64(each[:19].replace(" ", "T"), "s") for each in pair]
                  for pair in json.loads(index["windows"])]  # fmt: skip
        windows = tuple((int(at.searchsorted(first)), int(at.searchsorted(last))) for first, last in limits)
        hours = (at - at[0]).astype(float) / 3600.0
        found.append(Series(index["series"], np.array([value for _, value in rows[index["series"]]]), hours, windows))
    return tuple(found)


# The score


def sigmoid(position: Floats) -> Floats:
    """1 at the left edge of a window (-1), nearly; 0 at its right edge, -1 behind it."""
    return np.where(position >= FAR, -1.0, 2.0 / (1.0 + np.exp(5.0 * np.fmin(position, FAR))) - 1.0)


def raw_score(one: Series, detected: Sequence[int]) -> tuple[float, int]:
    """(score, windows that count) of one series; records of the probation neither count nor cost."""
    judged = sorted({record for record in detected if record >= one.probation})
    windows = [each for each in one.windows if each[1] >= one.probation]
    total, inside = 0.0, set()
    for first, last in windows:
        within = [record for record in judged if first <= record <= last]
        inside.update(within)
        if not within:
            total -= MISS
            continue
        width = last - first + 1.0
        best = sigmoid(np.array([-(last - within[0] + 1.0) / width]))[0]
        total += HIT * float(best / sigmoid(np.array([-1.0]))[0])
    for record in set(judged) - inside:
        before = [each for each in one.windows if each[1] < record]
        behind = FAR
        if before:
            first, last = before[-1]
            behind = (record - last) / max(last - first, 1.0)
        total += FALSE * float(sigmoid(np.array([behind]))[0])
    return total, len(windows)


def score(found: Sequence[tuple[Series, Sequence[int]]]) -> float:
    """0 for a detector without a detection, 100 for the perfect one."""
    each = [raw_score(one, detected) for one, detected in found]
    windows = sum(count for _, count in each)
    return 100.0 * (sum(raw for raw, _ in each) + MISS * windows) / ((HIT + MISS) * windows)


# The detectors


def clocked(all_series: Sequence[Series], gate: float = GATE) -> list[list[int]]:
    """Records at which our window and drift rules opened, up or down, with a record (or a few) for an hour."""
    steps = [-(-len(one.values) // RECORDS) for one in all_series]
    hours = max(len(one.values) // step for one, step in zip(all_series, steps, strict=True))
    lead = DAILY_DAYS * DAY
    n, total = np.zeros((2, len(all_series), lead + (hours // DAY + 1) * DAY))
    for at, (one, step) in enumerate(zip(all_series, steps, strict=True)):
        usual = float(np.median(np.abs(one.values[: one.probation]))) or 1.0
        whole = len(one.values) // step * step
        level = np.arcsinh(one.values[:whole] / usual).reshape(-1, step).mean(axis=1)
        n[at, lead : lead + len(level)], total[at, lead : lead + len(level)] = 1.0, level
    opened = [_opened(Signal("nab", Kind.MEAN, worse, 1, 1, gate), n, total, hours) for worse in (+1, -1)]
    return [sorted({(hour - lead) * step - 1 for way in opened for hour in way[at]}) for at, step in enumerate(steps)]


def _opened(signal: Signal, n: Floats, total: Floats, hours: int) -> list[list[int]]:
    square = total**2
    days = [each.reshape(len(n), -1, DAY).sum(axis=2) for each in (n, total, square)]
    state = State.fresh(len(n))
    opened: list[list[int]] = [[] for _ in n]
    first = DAILY_DAYS * DAY
    for hour in range(first + 1, first + hours + 1):
        today = hour // DAY
        past, last = slice(today - DAILY_DAYS, today), slice(hour - HOURLY_HOURS, hour)
        readings = Readings(
            signal, hour, today, Windows(days[0][:, past], days[1][:, past], None, days[2][:, past]),
            Windows(n[:, last], total[:, last], None, square[:, last]),
        )  # fmt: skip
        verdicts = evaluate(readings, state)
        state = verdicts.state
        for row in np.flatnonzero(verdicts.opened):
            opened[row].append(hour)
    return opened


def measure() -> Iterator[dict[str, Any]]:
    found = list(zip(series(), clocked(series()), strict=True))
    windows = sum(raw_score(one, ())[1] for one, _ in found)
    yield {
        "name": "signals_nab_standard", "value": round(score(found), 1), "unit": "of 100, standard profile",
        "detail": f"{len(found)} real series, {windows} windows; window and drift rules as they are, a record for an "
        "hour; the aim is 50",
    }  # fmt: skip
