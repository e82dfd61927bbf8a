"""Spend by the hour on real backgrounds: bursts, replays, a weekend's job, planned growth, and the usual alarms beside
ours.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.insights.detectors import evaluate
from apps.insights.signals import DAILY_DAYS, SIGNALS, SPEND_HOURS, Readings, State, Windows
from bench.backgrounds import DAY, Floats, clients, nab_hours, traces
from bench.detection import Openings, interval
from bench.workflows import DAYS, FIRST, HOURS, ONSETS

# Factor, usual hours added, hours.
FAULTS = {
    "x1.5 a day": (1.5, 0.0, 24), "x2 a day": (2.0, 0.0, 24), "x3 6 h": (3.0, 0.0, 6), "x5 6 h": (5.0, 0.0, 6),
    "replay 6 h": (2.0, 0.0, 6), "weekend job": (1.0, 3.0, 8),
}  # fmt: skip


def backgrounds(half: int, random: np.random.Generator) -> dict[str, Floats]:
    """USD an hour, (series, HOURS): calls of real clients at the cost of real calls; and tweets, the burstiest there
    are.
    """
    served = []
    for client in clients()[half::2]:
        volume, _ = client.stretch(DAYS, int(random.integers(14)))
        usd = traces()[("azure_code", "azure_conv", "mooncake")[random.integers(3)]].usd
        n = random.poisson(volume * 3_000)
        served.append([usd[random.integers(0, len(usd), calls)].sum() for calls in n])
    tweets = [series for name, series in sorted(nab_hours().items()) if "Twitter" in name][half::2]
    return {
        "servegen": np.array(served),
        "nab_twitter": np.stack([_to_and_fro(np.nan_to_num(each)) for each in tweets]),
    }


def _to_and_fro(series: Floats) -> Floats:
    own = len(series)
    return np.asarray(np.concatenate([series, series[-2::-1]])[np.arange(HOURS) % (2 * own - 1)])


def watch(usd: Floats, planned: Floats | None = None) -> Openings:
    """Ours, each hour; `planned`: (HOURS,) multiple of the trailing week's rate that the plan expects."""
    state = State.fresh(len(usd))
    openings: Openings = [[] for _ in usd]
    none = np.zeros((len(usd), DAILY_DAYS))
    for hour in range(FIRST, HOURS + 1):
        past = usd[:, hour - SPEND_HOURS : hour]
        multiple = None if planned is None else np.full(len(usd), planned[hour - 1])
        readings = Readings(SIGNALS["spend_per_hour"], hour, hour // DAY, Windows(none, none),
                            Windows(np.zeros_like(past), past), planned=multiple)  # fmt: skip
        verdicts = evaluate(readings, state)
        state = verdicts.state
        for row in np.flatnonzero(verdicts.opened):
            openings[row].append(hour)
    return openings


def day_over_day(usd: Floats) -> Openings:
    sums = usd.reshape(len(usd), -1, DAY).sum(axis=2)
    return [[(day + 1) * DAY for day in range(DAILY_DAYS, DAYS) if row[day] > 1.5 * row[day - 1] > 0] for row in sums]


def rolling_sigma(usd: Floats) -> Openings:
    openings: Openings = [[] for _ in usd]
    was = np.zeros(len(usd), dtype=bool)
    for hour in range(FIRST, HOURS):
        past = usd[:, hour - 168 : hour]
        over = usd[:, hour] > past.mean(axis=1) + 3 * past.std(axis=1)
        for row in np.flatnonzero(over & ~was):
            openings[row].append(hour + 1)
        was = over
    return openings


def measure(series: int, half: int) -> Iterator[dict[str, Any]]:
    detectors = {"ours": watch, "+50 % day over day": day_over_day, "rolling 3 sigma": rolling_sigma}
    random = np.random.default_rng(half)
    for name, all_usd in backgrounds(half, random).items():
        usd = all_usd[:series]
        onset = {fault: random.integers(*ONSETS, len(usd)) for fault in FAULTS}
        onset["weekend job"] = onset["weekend job"] // (7 * DAY) * 7 * DAY + 5 * DAY + 2
        rows = np.concatenate([usd, *(_hit(usd, onset[fault], *shape) for fault, shape in FAULTS.items())])
        found = {key: of(rows) for key, of in detectors.items()}
        opened = {key: [openings[at : at + len(usd)] for at in range(0, len(rows), len(usd))]
                  for key, openings in found.items()}  # fmt: skip
        yield from _lines(name, opened, onset)
    yield from _growth(series, half)


def _hit(usd: Floats, onset: NDArray[np.int64], factor: float, added: float, hours: int) -> Floats:
    hour = np.arange(HOURS)
    within = (hour >= onset[:, None]) & (hour < onset[:, None] + hours)
    return np.where(within, factor * usd + added * usd.mean(axis=1, keepdims=True), usd)


def _lines(
    name: str, opened: dict[str, list[Openings]], onset: dict[str, NDArray[np.int64]]
) -> Iterator[dict[str, Any]]:
    quiet = {key: np.array([float(len(row)) for row in found[0]]) for key, found in opened.items()}
    low, high = interval(quiet["ours"], lambda values: float(values.mean()))
    others = "; ".join(f"{key} {values.mean():.2f}" for key, values in quiet.items() if key != "ours")
    yield {
        "name": f"signals_spend_{name}_false_openings", "value": round(float(quiet["ours"].mean()), 2),
        "unit": "a series in 30 days", "detail": f"{len(quiet['ours'])} series, 95 % {low:.2f} to {high:.2f}; {others}",
    }  # fmt: skip
    for at, (fault, (_, _, hours)) in enumerate(FAULTS.items(), start=1):
        caught = {key: _caught(found[at], onset[fault], hours) for key, found in opened.items()}
        yield {
            "name": f"signals_spend_{name}_{fault.replace(' ', '_')}", "value": round(caught["ours"], 2),
            "unit": "recall within the fault",
            "detail": "; ".join(f"{key} {share:.2f}" for key, share in caught.items() if key != "ours"),
        }  # fmt: skip


def _caught(openings: Openings, onset: NDArray[np.int64], hours: int) -> float:
    """An alarm that was open already, for no reason, has not caught it."""
    return float(np.mean([any(0 < hour - begins <= hours for hour in row)
                          for row, begins in zip(openings, onset, strict=True)]))  # fmt: skip


def _growth(series: int, half: int) -> Iterator[dict[str, Any]]:
    """Tenfold in 30 days: with its plan it must open no more than without growth; without one it should be seen."""
    usd = backgrounds(half, np.random.default_rng(half))["servegen"][:series]
    multiple = 10.0 ** (np.fmax(np.arange(HOURS) - FIRST, 0) / (30 * DAY))
    week = np.array([multiple[max(hour - 168, 0) : hour + 1].mean() for hour in range(HOURS)])
    grown = usd * multiple
    openings = {
        "planned": watch(grown, multiple / week), "unplanned": watch(grown), "without growth": watch(usd),
    }  # fmt: skip
    each = {name: float(np.mean([len(row) for row in rows])) for name, rows in openings.items()}
    yield {
        "name": "signals_spend_tenfold_growth_planned", "value": round(each["planned"], 2),
        "unit": "openings a series in 30 days",
        "detail": f"without growth {each['without growth']:.2f}, grown without a plan {each['unplanned']:.2f}",
    }  # fmt: skip
