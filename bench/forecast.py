"""How well forecasts predict: errors, coverage and time on real traces, beside two baselines.

Months do not fit into traces of one or two weeks. Where a series has them, days are days and a month has 30. In the
others a day plays the week: it is cut into seven slots (of 3 h 26 min), so that the hour of the day stands in the
place of the day of the week, and a "month" has 30 slots. Months begin at every second day or slot after the first 14;
each is forecast as of its 5th, 10th, 15th, 20th and 25th. A slot of which more than half was not collected is missing:
no demand of zero is learned from it, and it counts in no total.

Series are cut into two halves, every other one by name (the prices of one ad exchange together). On the first (`tuned`)
settings were compared and the prior of the bands was taken; all that is not called so is of the second, held out from
both. Pools are sums of the clients of a half. `python -m bench forecast_settings` prints the comparison.
"""

import csv
import gzip
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from apps.usage.forecast import SEASON, Expected, Floats, expected_days
from apps.usage.forecast_bands import NOISE_ADDED, PRIOR, Quantiles, error_of, overlay

DATA = Path(__file__).parents[2] / "shared" / "data"
MONTH, WARM, AS_OF, EVERY = 30, 14, (5, 10, 15, 20, 25), 2
DAILY = ("realAdExchange", "realTweets", "cpu_utilization_asg")
SLOTTED = ("ec2_network", "ec2_disk", "ec2_cpu", "rds_cpu", "grok", "occupancy")
WINDOWS, WINDOWS_A_DAY = 1152, 144
INPUT_USD, OUTPUT_USD = 3.0, 15.0
# A client with less of its pool's traffic has too little for a budget of its own.
LEAST_SHARE = 0.001
# A normal band of 95 % over one of 80 %.
STRETCH_95 = 1.95996 / 1.28155
BASELINES = ("run_rate", "seasonal_naive")


class Case(NamedTuple):
    """A month of a series as of a day: what it came to, and what each method said the rest of it would."""

    series: str
    as_of: int
    came: float
    spent: float
    rest: Mapping[str, float]
    expected: Expected
    days_off: float
    naive_days_off: float
    regime: str


def measure() -> Iterator[dict[str, Any]]:
    if not DATA.exists():
        yield {"name": "forecast", "value": 0, "unit": "cases", "detail": "the traces are not beside the project"}
        return
    began = time.perf_counter()
    tuned, held_out = (cases_of(half) for half in halves())
    for name, cases in held_out.items():
        yield _errors(name, cases)
    every = [case for found in held_out.values() for case in found]
    for regime in ("steady", "rising", "falling"):
        yield _errors(f"regime_{regime}", [case for case in every if case.regime == regime])
    for name, cases in tuned.items():
        yield _errors(f"tuned_{name}", cases)
    yield _band("band", held_out)
    yield _band("tuned_band", tuned)
    yield _prior(tuned)
    yield from _latency()
    seconds = round(time.perf_counter() - began, 1)
    yield {"name": "forecast_time", "value": seconds, "unit": "s", "detail": "all of the above"}


Sets = dict[str, dict[str, Floats]]


def cases_of(half: Sets) -> dict[str, list[Case]]:
    return {
        name: [case for key, values in series.items() for case in _cases(f"{name}/{key}", values)]
        for name, series in half.items()
    }


# --- series ------------------------------------------------------------------------------------------


def halves() -> tuple[Sets, Sets]:
    """What was chosen on, and what is printed."""
    nab, (clients, requests) = _nab(), _servegen()
    whole = {
        "nab_days": {name: _by_day(points) for name, points in nab.items() if any(word in name for word in DAILY)},
        "nab_slots": {name: _by_slot(points) for name, points in nab.items() if any(w in name for w in SLOTTED)},
        "servegen_clients": clients,
    }
    first, second = ({name: _half(series, half) for name, series in whole.items()} for half in (0, 1))
    for half, sets in enumerate((first, second)):
        sets["servegen_pools"] = _pools(_half(requests, half))
    return first, second


def _half(series: Mapping[str, Any], half: int) -> dict[str, Any]:
    """Every other one by name."""
    together = {name: re.sub(r"_cp[cm]_results$", "", name) for name in series}
    places = {name: place for place, name in enumerate(sorted(set(together.values())))}
    return {name: found for name, found in series.items() if places[together[name]] % 2 == half}


def _rows(name: str) -> Iterator[dict[str, str]]:
    with gzip.open(DATA / name, "rt") as lines:
        yield from csv.DictReader(lines)


def _nab() -> dict[str, list[tuple[datetime, float]]]:
    found: dict[str, list[tuple[datetime, float]]] = defaultdict(list)
    for row in _rows("nab_series.csv.gz"):
        found[row["series"]].append((datetime.fromisoformat(row["timestamp"]), float(row["value"])))
    return found


def _by_day(points: Sequence[tuple[datetime, float]]) -> Floats:
    first = points[0][0].date()
    return _summed([((at.date() - first).days, value) for at, value in points])


def _by_slot(points: Sequence[tuple[datetime, float]]) -> Floats:
    first = points[0][0].replace(hour=0, minute=0, second=0)
    return _summed([(int((at - first).total_seconds() * SEASON // 86_400), value) for at, value in points])


def _summed(points: Sequence[tuple[int, float]]) -> Floats:
    """Sums by place; where up to half of the points are not there, as if they were like the others."""
    sums, counts = np.zeros(points[-1][0] + 1), np.zeros(points[-1][0] + 1)
    for place, value in points:
        sums[place] += value
        counts[place] += 1
    full = np.median(counts[counts > 0])
    return np.where(counts >= full / 2, sums / np.maximum(counts, 1) * full, np.nan)


class Requests(NamedTuple):
    """Of one client, by ten minutes; `collected` of its pool."""

    pool: str
    requests: Floats
    collected: Floats


def _servegen() -> tuple[dict[str, Floats], dict[str, Requests]]:
    """Cost by slot of clients that are large enough, requests in its place where tokens are not known; and the
    requests of all.
    """
    costs: dict[tuple[str, str], Floats] = defaultdict(lambda: np.zeros(WINDOWS))
    requests: dict[tuple[str, str], Floats] = defaultdict(lambda: np.zeros(WINDOWS))
    collected: dict[str, Floats] = defaultdict(lambda: np.zeros(WINDOWS))
    for row in _rows("servegen_usage_10min.csv.gz"):
        pool, window = row["pool"], int(float(row["t_s"])) // 600
        if pool not in ("m-small", "m-mid", "m-large"):
            continue
        collected[pool][window] = 1
        requests[pool, row["client_id"]][window] = float(row["requests"])
        if row["input_tokens"]:
            cost = float(row["input_tokens"]) * INPUT_USD + float(row["output_tokens"]) * OUTPUT_USD
            costs[pool, row["client_id"]][window] = cost / 1e6
    totals = {pool: sum(mine.sum() for key, mine in requests.items() if key[0] == pool) for pool in collected}
    large = {
        f"{pool}/{client}": _slots(costs.get((pool, client), mine), collected[pool])
        for (pool, client), mine in requests.items()
        if mine.sum() >= LEAST_SHARE * totals[pool]
    }
    every = {f"{pool}/{client}": Requests(pool, mine, collected[pool]) for (pool, client), mine in requests.items()}
    return large, every


def _pools(clients: Mapping[str, Requests]) -> dict[str, Floats]:
    by_pool: dict[str, list[Requests]] = defaultdict(list)
    for one in clients.values():
        by_pool[one.pool].append(one)
    return {
        pool: _slots(np.sum([one.requests for one in mine], axis=0), mine[0].collected)
        for pool, mine in by_pool.items()
    }


def _slots(values: Floats, collected: Floats) -> Floats:
    slot = np.arange(WINDOWS) * SEASON // WINDOWS_A_DAY
    windows = np.bincount(slot)
    known = np.bincount(slot, collected)
    return np.where(known * 2 >= windows, np.bincount(slot, values) / np.maximum(known, 1) * windows, np.nan)


# --- months ------------------------------------------------------------------------------------------


def _cases(name: str, values: Floats) -> Iterator[Case]:
    places = np.arange(len(values)) % SEASON
    for first in range(WARM, len(values) - MONTH + 1, EVERY):
        month = values[first : first + MONTH]
        known = ~np.isnan(month)
        if known.mean() < 0.8 or np.nansum(month) <= 0 or np.mean(values[: first + MONTH] <= 0) > 0.3:
            continue
        for day in AS_OF:
            past = values[: first + day]
            expected = expected_days(past, places[: first + day], places[first + day : first + MONTH])
            ahead, came = known[day:], month[day:]
            spent = float(np.nansum(month[:day]))
            naive = np.nan_to_num(past[-SEASON:])[np.arange(MONTH - day) % SEASON]
            yield Case(
                series=name,
                as_of=day,
                came=float(np.nansum(month)),
                spent=spent,
                rest={
                    "ours": float(expected.days[ahead].sum()),
                    "run_rate": spent / max(int(known[:day].sum()), 1) * int(ahead.sum()),
                    "seasonal_naive": float(naive[ahead].sum()),
                },
                expected=expected,
                days_off=float(np.nansum(np.abs(expected.days - came))),
                naive_days_off=float(np.nansum(np.abs(naive - came))),
                regime=_regime(month, values[first - WARM : first]),
            )


def _regime(month: Floats, before: Floats) -> str:
    """How the month's days stand to those of the two weeks before."""
    usual = float(np.nanmean(before)) if not np.isnan(before).all() else 0.0
    times = float(np.nanmean(month)) / usual if usual > 0 else np.inf
    return "steady" if 0.8 <= times <= 1.25 else "falling" if times < 0.8 else "rising"


def _errors(name: str, cases: Sequence[Case]) -> dict[str, Any]:
    """Percentages by as-of day. `days_off`: errors of single days, over those of the seasonal naive forecast."""
    said = {
        method: {day: np.array([c.spent + c.rest[method] for c in cases if c.as_of == day]) for day in AS_OF}
        for method in ("ours", *BASELINES)
    }
    came = {day: np.array([c.came for c in cases if c.as_of == day]) for day in AS_OF}
    mape = {
        method: {day: float(np.abs(of_day[day] / came[day] - 1).mean()) for day in AS_OF}
        for method, of_day in said.items()
    }
    ours = said["ours"]
    return {
        "name": f"forecast_{name}",
        "value": round(float(np.mean([mape["ours"][day] / mape["run_rate"][day] for day in AS_OF])), 3),
        "unit": "of the run rate's MAPE",
        "detail": {
            "series": len({c.series for c in cases}),
            "months": len(cases) // len(AS_OF),
            "ratio": [round(mape["ours"][day] / mape["run_rate"][day], 2) for day in AS_OF],
            **{f"mape_{method}": [_percent(mape[method][day]) for day in AS_OF] for method in mape},
            "median_ape": [_percent(np.median(np.abs(ours[day] / came[day] - 1))) for day in AS_OF],
            "wape": [_percent(np.abs(ours[day] - came[day]).sum() / came[day].sum()) for day in AS_OF],
            "bias": [_percent(ours[day].sum() / came[day].sum() - 1) for day in AS_OF],
            "days_off": [round(_days_off([c for c in cases if c.as_of == day]), 2) for day in AS_OF],
        },
    }


def _days_off(cases: Sequence[Case]) -> float:
    """The mean over series."""
    sums: dict[str, Floats] = defaultdict(lambda: np.zeros(2))
    for case in cases:
        sums[case.series] += (case.days_off, case.naive_days_off)
    return float(np.mean([ours / naive for ours, naive in sums.values() if naive > 0]))


def _percent(share: float) -> float:
    return round(100 * float(share), 1)


# --- bands -------------------------------------------------------------------------------------------


class Error(NamedTuple):
    name: str
    case: Case
    error: float
    weight: float


def _off(cases: Mapping[str, Sequence[Case]]) -> list[Error]:
    """Each series weighs the same, however many months it has."""
    months: dict[str, int] = defaultdict(int)
    for case in (case for found in cases.values() for case in found):
        months[case.series] += 1
    return [
        Error(name, case, error, 1 / months[case.series])
        for name, of_name in cases.items()
        for case in of_name
        if (error := error_of(case.rest["ours"], case.came - case.spent, case.expected.scale)) is not None
    ]


def _band(name: str, cases: Mapping[str, Sequence[Case]]) -> dict[str, Any]:
    """Bands as an organization without errors of its own has them: of the prior."""
    found = _off(cases)
    by_day = [_judged([one for one in found if one.case.as_of == day], PRIOR[place]) for place, day in enumerate(AS_OF)]
    return {
        "name": f"forecast_{name}",
        "value": round(float(np.mean([judged["held"] for judged in by_day])), 3),
        "unit": "of 80 % bands held",
        "detail": {
            "coverage": [judged["held"] for judged in by_day],
            "coverage_95": [judged["held_95"] for judged in by_day],
            "median_width": [judged["width"] for judged in by_day],
            "interval_score": [judged["score"] for judged in by_day],
            "by_set": {name: [judged["by_set"].get(name) for judged in by_day] for name in cases},
        },
    }


def _judged(found: Sequence[Error], prior: Quantiles) -> dict[str, Any]:
    """Of one as-of day. 95 % bands are 80 % ones, stretched as a normal one would be; the score is over the month."""
    noise = np.array([one.case.expected.scale for one in found]) + NOISE_ADDED
    errors, weights = np.array([one.error for one in found]), np.array([one.weight for one in found])
    rest = np.array([one.case.rest["ours"] / one.case.came for one in found])
    came = np.array([1 - one.case.spent / one.case.came for one in found])
    low, high = (np.exp(quantile * noise) * rest for quantile in prior)
    held = (prior[0] <= errors) & (errors <= prior[1])
    held_95 = (prior[0] * STRETCH_95 <= errors) & (errors <= prior[1] * STRETCH_95)
    score = high - low + 10 * np.maximum(low - came, 0) + 10 * np.maximum(came - high, 0)
    names = np.array([one.name for one in found])
    return {
        "held": round(float(np.average(held, weights=weights)), 2),
        "held_95": round(float(np.average(held_95, weights=weights)), 2),
        "width": round(float(np.median(high - low)), 2),
        "score": round(float(np.average(score, weights=weights)), 2),
        "by_set": {str(name): round(float(held[names == name].mean()), 2) for name in np.unique(names)},
    }


def _prior(cases: Mapping[str, Sequence[Case]]) -> dict[str, Any]:
    """What `forecast_bands.PRIOR` is: P10 and P90 of the errors of the half that settings were chosen on."""
    found = _off(cases)
    measured = [_weighted([one for one in found if one.case.as_of == day], (0.1, 0.9)) for day in AS_OF]
    rounded = [[round(float(quantile), 2) for quantile in quantiles] for quantiles in measured]
    off = max(abs(a - b) for one, other in zip(rounded, PRIOR, strict=True) for a, b in zip(one, other, strict=True))
    return {"name": "forecast_prior", "value": round(off, 2), "unit": "off what is used", "detail": rounded}


def _weighted(found: Sequence[Error], shares: Sequence[float]) -> Floats:
    """Quantiles of errors over noise, by weight."""
    errors, weights = np.array([one.error for one in found]), np.array([one.weight for one in found])
    order = np.argsort(errors)
    at = (np.cumsum(weights[order]) - weights[order] / 2) / weights.sum()
    quantiles: Floats = np.interp(shares, at, errors[order])
    return quantiles


# --- time --------------------------------------------------------------------------------------------


def _latency() -> Iterator[dict[str, Any]]:
    """5,000 series of 120 days, with drifts and plans laid over: one core."""
    random = np.random.default_rng(7)
    places = np.arange(120) % SEASON
    series = np.exp(random.normal(0, 0.4, (5_000, 120)).cumsum(axis=1) * 0.1) * (1 + 0.5 * (places < 5))
    began = time.process_time()
    for values in series:
        overlay(expected_days(values, places, np.arange(25) % SEASON), np.ones(25), ())
    seconds = time.process_time() - began
    yield {"name": "forecast_latency", "value": round(seconds / 5, 3), "unit": "ms a series", "detail": "processor"}
    yield {"name": "forecast_5000_series", "value": round(seconds, 1), "unit": "s", "detail": "at most 60"}
