"""Real traces as the background of signals: what calls are like, when they come, and how their days differ.

A row is one workflow: its hours are drawn from one real client's hours of real days in their real order (to and fro, as
the traces are shorter than a baseline), its calls from contiguous stretches of one real trace, so that calls that
belong together come together. What the traces do not have (retries, escalations) is a rare property of theirs at the
same rate.
"""

import csv
import gzip
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DATA = Path(__file__).parents[2] / "shared" / "data"
DAY = 24
# USD per million tokens, of a large and a small model: input, read from the cache, output.
LARGE, SMALL = (3.0, 0.3, 15.0), (0.25, 0.025, 2.0)
MODELS_PER_DAY = 4
Floats = NDArray[np.float64]


def present() -> bool:
    return (DATA / "servegen_usage_10min.csv.gz").exists()


def read(name: str) -> Iterator[dict[str, str]]:
    with gzip.open(DATA / f"{name}.csv.gz", "rt") as file:
        yield from csv.DictReader(file)


# Calls and runs: trace order is kept


@dataclass(frozen=True, slots=True, eq=False)
class Calls:
    """Of one trace, each of shape (calls,); `runs`: (first call, calls) of each run, where the trace has runs."""

    input_tokens: Floats
    cached_tokens: Floats
    output_tokens: Floats
    prices: Floats  # (calls, 3)
    run: NDArray[np.int64]

    @property
    def usd(self) -> Floats:
        fresh = self.input_tokens - self.cached_tokens
        tokens = np.stack([fresh, self.cached_tokens, self.output_tokens], axis=1)
        return np.asarray((tokens * self.prices).sum(axis=1) / 1e6)

    def half(self, half: int) -> "Calls":
        """The first or the second half of the runs (of the calls, where each is its own)."""
        middle = int(self.run.max()) // 2
        chosen = self.run <= middle if half == 0 else self.run > middle
        run = np.unique(self.run[chosen], return_inverse=True)[1]
        return Calls(
            self.input_tokens[chosen], self.cached_tokens[chosen], self.output_tokens[chosen], self.prices[chosen], run
        )


@cache
def traces() -> dict[str, Calls]:
    azure = list(read("azure_llm_2023"))
    found = {
        f"azure_{service}": _calls([row for row in azure if row["service"] == service], "", _each)
        for service in ("code", "conv")
    }
    found["mooncake"] = _calls(list(read("mooncake_conversation")), "cached_input_tokens", _each)
    agents = [row for row in read("agent_calls") if int(row["input_tokens"]) > 0]
    found["agents"] = _calls(agents, "cached_input_tokens_ttl5m", lambda row: row["conversation_id"] + row["user_turn"])
    return found


def _each(row: dict[str, str]) -> str:
    return str(id(row))


def _calls(rows: list[dict[str, str]], cached: str, run_of: Any) -> Calls:
    def column(name: str) -> Floats:
        return np.array([float(row[name] or 0) for row in rows]) if name else np.zeros(len(rows))

    order: dict[str, int] = {}
    run = np.array([order.setdefault(run_of(row), len(order)) for row in rows])
    large = np.array(["haiku" not in row.get("model", "") for row in rows])
    prices = np.where(large[:, None], LARGE, SMALL)
    return Calls(
        np.fmax(column("input_tokens"), 1.0), column(cached), np.fmax(column("output_tokens"), 1.0), prices, run
    )


# Hours: when calls come, and how far a client's hours lie from its usual call


@dataclass(frozen=True, slots=True, eq=False)
class Client:
    """`volume`: calls an hour, (days, 24), a day's mean is 1. `effect`: log of the mean call against the usual."""

    name: str
    volume: Floats
    effect: Floats

    def stretch(self, days: int, begin: int) -> tuple[Floats, Floats]:
        """`days` days to and fro from `begin` on: volume and effect, (days x 24,)."""
        own = len(self.volume)
        there_and_back = np.concatenate([np.arange(own), np.arange(own - 2, 0, -1)]) if own > 2 else np.arange(own)
        which = there_and_back[(begin + np.arange(days)) % len(there_and_back)]
        return self.volume[which].ravel(), self.effect[which].ravel()


@cache
def clients() -> tuple[Client, ...]:
    """ServeGen's clients that were there all the days; hours that the publisher did not collect stay empty."""
    hourly: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(lambda: [0.0, 0.0]))
    for row in read("servegen_usage_10min"):
        if row["pool"] in ("m-small", "m-mid", "m-large") and row["input_tokens"]:
            cell = hourly[row["client_id"]][int(float(row["t_s"])) // 3600]
            cell[0] += float(row["requests"])
            cell[1] += float(row["input_tokens"])
    return tuple(_client(name, hours) for name, hours in sorted(hourly.items()) if len(hours) >= 6 * DAY)


def _client(name: str, hours: dict[int, list[float]]) -> Client:
    requests, tokens = np.zeros(8 * DAY), np.zeros(8 * DAY)
    for hour, (calls, total) in hours.items():
        if hour < 8 * DAY:
            requests[hour], tokens[hour] = calls, total
    with np.errstate(divide="ignore", invalid="ignore"):
        effect = np.log(np.where(requests > 0, tokens / requests, np.nan))
    effect = np.nan_to_num(effect - np.nanmedian(effect))
    volume = requests / requests.sum() * 8
    return Client(name, volume.reshape(-1, DAY), effect.reshape(-1, DAY))


@cache
def nab_hours() -> dict[str, Floats]:
    """NAB's series by the hour, (hours,): the mean of an hour's values; gaps are NaN."""
    sums: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in read("nab_series"):
        at = np.datetime64(row["timestamp"].replace(" ", "T"), "h")
        sums[row["series"]][int(at.astype(int))].append(float(row["value"]))
    found = {}
    for name, hours in sums.items():
        first = min(hours)
        values = np.full(max(hours) - first + 1, np.nan)
        for hour, cell in hours.items():
            values[hour - first] = float(np.mean(cell))
        found[name] = values
    return found
