"""Root causes: a fault in one cell of known leaves, simulated and of the real trace; what the search names first."""

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from apps.insights.rootcause import LEAVES_MAX, Leaves, search
from bench.backgrounds import Floats, read, traces

SIZES = {"team": 8, "workflow": 40, "model": 6, "task_type": 10, "user": 150, "environment": 3}
REAL = ("model", "subagent_type", "mode", "input_kind", "stop_reason", "conversation_id")
Codes = np.ndarray[Any, np.dtype[np.int64]]


def simulated(leaves: int, random: np.random.Generator) -> tuple[tuple[str, ...], Codes, Floats]:
    """Workflows lie in teams; users and models are used unevenly, as Zipf has it."""
    columns = {name: _uneven(size, leaves, random) for name, size in SIZES.items()}
    columns["team"] = columns["workflow"] % SIZES["team"]
    return tuple(SIZES), np.stack(list(columns.values()), axis=1), random.lognormal(0.0, 1.0, leaves)


def _uneven(size: int, leaves: int, random: np.random.Generator) -> Codes:
    weight = 1.0 / np.arange(1, size + 1) ** 0.7
    return random.permutation(size)[random.choice(size, leaves, p=weight / weight.sum())]


def real(half: int) -> tuple[tuple[str, ...], Codes, Floats]:
    """The agents' calls summed to leaves of their own dimensions, USD."""
    rows = [row for row in read("agent_calls") if int(row["input_tokens"]) > 0]
    sums: Counter[tuple[str, ...]] = Counter()
    for row, usd in zip(rows, traces()["agents"].usd, strict=True):
        sums[tuple(row[name] for name in REAL)] += float(usd)  # type: ignore[assignment]  # a Counter of USD
    keys = list(sums)
    codes = np.stack([np.unique([key[at] for key in keys], return_inverse=True)[1] for at in range(len(REAL))], axis=1)
    chosen = codes[:, -1] % 2 == half
    return REAL, codes[chosen], np.array([sums[key] for key in keys])[chosen]


def measure(trials: int, half: int) -> Iterator[dict[str, Any]]:
    random = np.random.default_rng(half)
    for noise in (0.1, 0.3):
        for dimensions in (1, 2):
            worlds = (simulated(2_000, random) for _ in range(trials))
            yield _single(f"simulated_{dimensions}d", worlds, dimensions, noise, random)
        yield _single("real_mix_1d", (real(half) for _ in range(min(trials, 20))), 1, noise, random)
        yield _single("real_mix_2d", (real(half) for _ in range(min(trials, 20))), 2, noise, random)
        yield _double(trials, noise, random)
    yield _time(random)


def _noisy(expected: Floats, noise: float, random: np.random.Generator) -> Floats:
    return np.asarray(expected * random.lognormal(-0.5 * noise**2, noise, len(expected)))


def _cell(codes: Codes, usd: Floats, dimensions: int, random: np.random.Generator) -> tuple[dict[int, int], Any]:
    """A cell of 1 to 40 % of the money."""
    while True:
        columns = random.choice(codes.shape[1], dimensions, replace=False)
        leaf = random.choice(len(usd), p=usd / usd.sum())
        inside = (codes[:, columns] == codes[leaf, columns]).all(axis=1)
        if 0.01 <= usd[inside].sum() / usd.sum() <= 0.4:
            return {int(column): int(codes[leaf, column]) for column in columns}, inside


def _single(name: str, worlds: Any, dimensions: int, noise: float, random: np.random.Generator) -> dict[str, Any]:
    first, three, trials = 0, 0, 0
    for names, codes, usd in worlds:
        _, inside = _cell(codes, usd, dimensions, random)
        actual = np.where(inside, random.uniform(1.5, 4.0), 1.0) * _noisy(usd, noise, random)
        ranked = search(Leaves(names, codes, usd, actual)).ranked
        hits = [bool(np.array_equal(_leaves(names, codes, cause.cell), inside)) for cause in ranked]
        first, three, trials = first + any(hits[:1]), three + any(hits), trials + 1
    return {
        "name": f"signals_cause_{name}_noise_{noise:.0%}".replace("%", ""), "value": round(first / trials, 2),
        "unit": "top 1", "detail": f"top 3 {three / trials:.2f}; {trials} trials, leaves changed x1.5 to x4",
    }  # fmt: skip


def _leaves(names: tuple[str, ...], codes: Codes, cell: tuple[tuple[str, int], ...]) -> Any:
    inside = np.ones(len(codes), dtype=bool)
    for name, code in cell:
        inside &= codes[:, names.index(name)] == code
    return inside


def _double(trials: int, noise: float, random: np.random.Generator) -> dict[str, Any]:
    """Two faults at once, neither of which touches the other's leaves: both named by `together`."""
    both, one, done = 0, 0, 0
    while done < trials:
        names, codes, usd = simulated(2_000, random)
        (_, first), (_, second) = (_cell(codes, usd, 1, random) for _ in range(2))
        worth = sorted((usd[first].sum(), usd[second].sum()))
        if (first & second).any() or worth[0] < 0.4 * worth[1]:
            continue
        actual = np.where(first | second, 2.5, 1.0) * _noisy(usd, noise, random)
        found = [_leaves(names, codes, cause.cell) for cause in search(Leaves(names, codes, usd, actual)).together]
        hits = [any(np.array_equal(cell, each) for cell in found) for each in (first, second)]
        both, one, done = both + all(hits), one + any(hits), done + 1
    return {
        "name": f"signals_cause_two_faults_noise_{noise:.0%}".replace("%", ""), "value": round(both / trials, 2),
        "unit": "both named", "detail": f"at least one {one / trials:.2f}; {trials} trials, both x2.5",
    }  # fmt: skip


def _time(random: np.random.Generator) -> dict[str, Any]:
    names, codes, usd = simulated(LEAVES_MAX, random)
    actual = np.where(codes[:, 1] == 3, 2.0, 1.0) * _noisy(usd, 0.3, random)
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        search(Leaves(names, codes, usd, actual))
        seconds.append(time.perf_counter() - began)
    return {
        "name": "signals_cause_time", "value": round(1e3 * float(np.median(seconds)), 1), "unit": "ms",
        "detail": f"{LEAVES_MAX} leaves, {len(names)} dimensions; the aim is 200",
    }  # fmt: skip
