"""Early warning on real backgrounds: faults put into real traffic, what finds them, how late, and how often for
nothing.

`python -m bench signals` (few rows, part of the whole bench) and `python -m bench signals-full`. Thresholds were tuned
on the first half of every trace and every other client; what is printed is the other half.
"""

import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.insights.signals import SIGNALS, Signal
from bench import bursts, culprits, nab, tenants
from bench.backgrounds import DAY, Client, Floats, clients, present, traces
from bench.detection import (
    Openings,
    daily_levels,
    delays,
    false_openings,
    fixed_percentage,
    interval,
    three_sigma,
    watch,
)
from bench.workflows import Fault, Gap, Row, Rows, Source, draw, gapped, source_of

HELD_OUT = 1
VOLUMES = (100, 1_000, 10_000)
STEADY = 0.08  # scatter of a client's days, in logs, up to which it counts as steady
# Tails: 30 hours each up to a day's end.
GAPS = (
    Gap("gap of 6 h", 6), Gap("gap of 36 h", 36), Gap("gap of 3 days", 72), Gap("every other hour", 48, kept=1, of=2),
    Gap("tails of days", 54, kept=6),
)  # fmt: skip
WHOLE = Fault("whole")  # nothing but an onset, at which a gap is cut into a copy
A_GAP = 3  # every third whole row has one of the gaps: each is cut into as many rows as grow
GROWTH = Fault("tenfold volume", growth=10.0)
FAULTS: dict[str, tuple[Fault, ...]] = {
    "escalation_rate": (Fault("x1.5", 1.57), Fault("x2", 2.19), Fault("ramp to x1.5", 1.57, ramp_days=7)),
    "cache_hit_rate": (Fault("prefix break", 3.6),),
    "loops_per_run": (Fault("x1.5", 1.5), Fault("x2", 2.0)),
    "retry_rate": (Fault("storm x3", 3.13), Fault("storm x5", 5.44)),
    "input_tokens_per_call": (Fault("x1.5", 1.5), Fault("drift 3 percent a day", 1.03, daily=True)),
    "cost_per_run": (Fault("model x3 price", 3.0),),
    "unattributed_share": (Fault("missing tags", 5.44),),
}


@dataclass(frozen=True, slots=True)
class Size:
    quiet: int  # rows without a fault, per signal and volume
    faulty: int  # rows of each fault and volume
    series: int  # of spend per background
    tenants: int
    trials: int  # of the root cause, per kind


QUICK, FULL = Size(30, 15, 8, 4, 20), Size(200, 100, 30, 24, 200)


def measure(size: Size = QUICK, half: int = HELD_OUT) -> Iterator[dict[str, Any]]:
    if not present():
        yield {"name": "signals", "value": None, "unit": "", "detail": "no traces beside the project: nothing measured"}
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # means of empty days, in the two usual alarms
        for key, faults in FAULTS.items():
            yield from _signal(key, faults, size, half)
        yield from bursts.measure(size.series, half)
        yield from nab.measure()
        yield from tenants.measure(size.tenants, half)
        yield from culprits.measure(size.trials, half)


def sources(key: str, half: int) -> list[Source]:
    found = (source_of(key, name, calls.half(half)) for name, calls in traces().items())
    return [source for source in found if source is not None]


def steady(client: Client) -> bool:
    weight = np.fmax(client.volume.sum(axis=1), 1e-9)
    days = (client.effect * client.volume).sum(axis=1) / weight
    return bool(1.4826 * np.median(np.abs(days - np.median(days))) <= STEADY)


def _signal(key: str, faults: Sequence[Fault], size: Size, half: int) -> Iterator[dict[str, Any]]:
    signal: Signal = dataclasses.replace(SIGNALS[key], least_usd=0.0)  # money is counted for whole tenants, below
    each: list[Fault | None] = [None] * size.quiet + [fault for fault in faults for _ in range(size.faulty)]
    each += [fault for fault in (*(WHOLE,) * A_GAP, GROWTH) for _ in range(max(size.faulty // 2, 5))]
    plan = [(volume, fault) for volume in VOLUMES for fault in each]
    rows = draw(signal, sources(key, half), clients()[half::2], plan, np.random.default_rng(half))
    levels = daily_levels(rows)
    found = {"ours": watch(rows), "+50 % on 7 days": fixed_percentage(levels), "3 sigma": three_sigma(levels)}
    for volume in VOLUMES:
        yield _false(key, volume, rows, found)
        for fault in faults:
            yield _recall(key, volume, fault, rows, found)
    yield from _must_not(key, rows, found["ours"])


def _false(key: str, volume: int, rows: Rows, found: dict[str, Openings]) -> dict[str, Any]:
    chosen = [at for at, row in enumerate(rows.rows) if row.per_day == volume and row.fault is None]
    counts = {name: false_openings(*_these(rows, openings, chosen)) for name, openings in found.items()}
    low, high = interval(counts["ours"], _mean)
    calm = counts["ours"][np.array([rows.rows[at].client in _steady() for at in chosen])]
    others = "; ".join(f"{name} {values.mean():.2f}" for name, values in counts.items() if name != "ours")
    itself = sum(rows.moved_itself(at, hour) for at in chosen for hour in found["ours"][at])
    return {
        "name": f"signals_{key}_{volume}_false_openings", "value": round(_mean(counts["ours"]), 2),
        "unit": "a series in 30 days",
        "detail": f"{len(chosen)} series, 95 % {low:.2f} to {high:.2f}, steady clients {_mean(calm):.2f}; before "
        f"{itself} of {counts['ours'].sum():.0f} the real traffic itself had changed by more than the gate; {others}",
    }  # fmt: skip


def _recall(key: str, volume: int, fault: Fault, rows: Rows, found: dict[str, Openings]) -> dict[str, Any]:
    chosen = [at for at, row in enumerate(rows.rows) if row.per_day == volume and row.fault == fault]
    late = {name: delays(*_these(rows, openings, chosen)) for name, openings in found.items()}
    calm = late["ours"][np.array([rows.rows[at].client in _steady() for at in chosen])]
    low, high = interval(late["ours"], lambda hours: float(np.mean(hours <= 7 * DAY)))
    others = "; ".join(f"{name} {_recalls(hours)}" for name, hours in late.items() if name != "ours")
    return {
        "name": f"signals_{key}_{volume}_{fault.name.replace(' ', '_')}",
        "value": round(float(np.mean(late["ours"] <= 7 * DAY)), 2), "unit": "recall in 7 days",
        "detail": f"95 % {low:.2f} to {high:.2f}; 24 h/48 h/7 d {_recalls(late['ours'])}; "
        f"steady clients {_recalls(calm)}; {others}",
    }  # fmt: skip


def _must_not(key: str, rows: Rows, openings: Openings) -> Iterator[dict[str, Any]]:
    """What the ten days after a gap opened, beside what the same rows did without it; and what a growth did."""
    whole = np.array([at for at, row in enumerate(rows.rows) if row.fault == WHOLE])
    for number, gap in enumerate(GAPS):
        places = whole[number % A_GAP :: A_GAP]
        with_it = _after(rows, places, watch(gapped(rows, places, gap)))
        without_it = _after(rows, places, [openings[at] for at in places])
        more = int((with_it > without_it).sum())
        yield {
            "name": f"signals_{key}_{gap.name.replace(' ', '_')}", "value": round(float(with_it.mean()), 3),
            "unit": "openings a series in ten days", "detail": f"{len(places)} series; the same without it "
            f"{without_it.mean():.3f}; {more} opened more, {int((with_it < without_it).sum())} less",
        }  # fmt: skip
    grown = np.array([at for at, row in enumerate(rows.rows) if row.fault == GROWTH])
    quiet = _mean(false_openings(rows.rows, openings)) / 3.0
    yield {
        "name": f"signals_{key}_{GROWTH.name.replace(' ', '_')}",
        "value": round(float(_after(rows, grown, [openings[at] for at in grown]).mean()), 3),
        "unit": "openings a series in ten days", "detail": f"{len(grown)} series; ten quiet days have {quiet:.3f}",
    }  # fmt: skip


def _after(rows: Rows, places: NDArray[np.int64], openings: Openings) -> Floats:
    """Of each row, what opened in the ten days after its onset."""
    onsets = [rows.rows[int(at)].onset for at in places]
    pairs = zip(onsets, openings, strict=True)
    return np.array([float(sum(0 < hour - onset <= 10 * DAY for hour in each)) for onset, each in pairs])


@cache
def _steady() -> frozenset[str]:
    return frozenset(client.name for client in clients() if steady(client))


def _these(rows: Rows, openings: Openings, chosen: list[int]) -> tuple[list[Row], Openings]:
    return [rows.rows[at] for at in chosen], [openings[at] for at in chosen]


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _recalls(hours: Floats) -> str:
    if not len(hours):
        return "none"
    shares = "/".join(f"{np.mean(hours <= bound):.2f}" for bound in (24, 48, 7 * DAY))
    seen = np.sort(hours)
    middle, late = seen[len(seen) // 2], seen[min(int(0.9 * len(seen)), len(seen) - 1)]
    return f"{shares}, median {_hours(middle)}, P90 {_hours(late)}"


def _hours(value: float) -> str:
    return f"{value:.0f} h" if np.isfinite(value) else "over a week"
