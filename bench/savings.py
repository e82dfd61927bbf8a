"""Recommendations on real traces: `python -m bench savings`.

What two calls of one run have in common is guessed from token counts; traces that hold hashes of prompt blocks say
how well. A bound on loops is fitted on half of the conversations and held against the other half.
"""

import csv
import gzip
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from apps.insights.catalogue import LEVERS
from apps.insights.levers_of_runs import bound_loops, bound_of, dead_spend
from apps.insights.recommendations import Kind, found_of
from apps.insights.savings_facts import Cell, Prices, Runs, WorkflowFacts
from apps.planner.shapes import Card, ModelChoice

DATA = Path(__file__).parents[2] / "shared" / "data"
TTLS = {"5m": (300.0, "cached_input_tokens_ttl5m"), "1h": (3_600.0, "cached_input_tokens_ttl1h")}
CACHED_FROM = 1_024
SPLITS = 200
MODEL = ModelChoice("bench", "large")
# Of the worked examples of docs/planner.md.
CARD = Card(3e-6, 15e-6, 0.3e-6, 3.75e-6, 6e-6)
PRICES = Prices({MODEL: CARD})


class Call(NamedTuple):
    """`at` in seconds; `cached` is what of the prompt was there before, by block hashes."""

    at: float
    prompt: int
    cached: int
    output: int


def measure() -> Iterator[dict[str, Any]]:
    """One line a figure; a trace that is not beside the project is named, and left out."""
    yield from _prefixes_of_agents()
    yield from _prefixes_of_chats()
    yield from _coverage()


def _rows(name: str) -> list[dict[str, str]]:
    path = DATA / name
    if not path.exists():
        return []
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _line(name: str, value: float, unit: str, detail: str) -> dict[str, Any]:
    return {"name": name, "value": round(value, 4), "unit": unit, "detail": detail}


def _absent(name: str, trace: str) -> dict[str, Any]:
    return {"name": name, "value": None, "unit": "", "detail": f"{trace} is not beside the project"}


# --- prefixes -------------------------------------------------------------------------------------------


def reusable(calls: Sequence[Call], seconds: float) -> int:
    """Tokens that come again within so long, as `facts_sql.calls` reckons them: the shorter of two prompts in a row."""
    return sum(
        min(one.prompt, before.prompt)
        for before, one in pairwise(calls)
        if one.at - before.at <= seconds and min(one.prompt, before.prompt) >= CACHED_FROM
    )


def _prefixes_of_agents() -> Iterator[dict[str, Any]]:
    rows = _rows("agent_calls.csv.gz")
    if not rows:
        yield _absent("savings_prefix_agents", "agent_calls.csv.gz")
        return
    for ttl, (seconds, column) in TTLS.items():
        sessions: dict[tuple[str, str], list[Call]] = defaultdict(list)
        for row in rows:
            call = Call(float(row["t_s"]), int(row["input_tokens"]), int(row[column]), 0)
            sessions[row["conversation_id"], row["model"]].append(call)
        yield _compared(f"savings_prefix_agents_{ttl}", [sorted(calls) for calls in sessions.values()], seconds)


def _prefixes_of_chats() -> Iterator[dict[str, Any]]:
    """The trace knows a cache without end alone, and it is an hour long."""
    rows = _rows("mooncake_conversation.csv.gz")
    if not rows:
        yield _absent("savings_prefix_chats", "mooncake_conversation.csv.gz")
        return
    sessions: dict[str, list[Call]] = defaultdict(list)
    for row in rows:
        call = Call(float(row["t_s"]), int(row["input_tokens"]), int(row["cached_input_tokens"] or 0), 0)
        sessions[row["conversation_id"]].append(call)
    calls = [sorted(one) for one in sessions.values()]
    yield _compared("savings_prefix_chats_1h", calls, TTLS["1h"][0])
    prompts = sum(call.prompt for one in calls for call in one)
    share = sum(reusable(one, TTLS["5m"][0]) for one in calls) / prompts
    yield _line("savings_prefix_chats_5m", share, "share", "of prompt tokens; the trace has no hashes at this lifetime")


def _compared(name: str, sessions: Sequence[Sequence[Call]], seconds: float) -> dict[str, Any]:
    prompts = sum(call.prompt for calls in sessions for call in calls)
    guessed = sum(reusable(calls, seconds) for calls in sessions) / prompts
    known = sum(call.cached for calls in sessions for call in calls) / prompts
    return _line(name, guessed, "share", f"of prompt tokens by counts; {known:.4f} by block hashes")


# --- coverage -------------------------------------------------------------------------------------------


class Seen(NamedTuple):
    """One conversation: what each of its calls cost, and its group (forks are no independent evidence)."""

    group: str
    usd: tuple[float, ...]


def _conversations() -> list[Seen]:
    by_id: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in _rows("agent_calls.csv.gz"):
        prompt, read = int(row["input_tokens"]), int(row["cached_input_tokens_ttl5m"])
        usd = read * CARD.cache_read + (prompt - read) * CARD.cache_write_5m + int(row["output_tokens"]) * CARD.output
        by_id[row["conversation_id"]].append((float(row["t_s"]), usd))
    groups = {row["conversation_id"]: row["fork_group"] for row in _rows("agent_conversations.csv.gz")}
    return [Seen(groups.get(name) or name, tuple(usd for _, usd in sorted(calls))) for name, calls in by_id.items()]


def _coverage() -> Iterator[dict[str, Any]]:
    """Bounds and dead spend, predicted on half of the conversations and replayed on the other half, many times.

    No conversation says how it ended: the shorter half of a coin's throws stands for failures.
    """
    seen = _conversations()
    if not seen:
        yield _absent("savings_coverage", "agent_calls.csv.gz")
        return
    rng = np.random.default_rng(20260101)
    groups = sorted({one.group for one in seen})
    failed = {one: float(rng.random() < 0.2) for one in groups}
    for kind, lever in ((Kind.BOUND_LOOPS, bound_loops), (Kind.DEAD_SPEND, dead_spend)):
        assert lever in LEVERS
        inside, ratios = 0, []
        for _ in range(SPLITS):
            first = set(rng.permutation(groups)[: len(groups) // 2])
            halves = [[one for one in seen if (one.group in first) is side] for side in (True, False)]
            told = _predicted(kind, lever, halves[0], failed)
            if told is None:
                continue
            came = _came(kind, halves[1], failed, told["bound"])
            inside += told["low"] <= came <= told["high"]
            ratios.append(came / told["likely"])
        if not ratios:
            yield _line(f"savings_coverage_{kind}", 0.0, "share", "nothing was told in any split")
            continue
        detail = f"of {len(ratios)} splits in P10 to P90; realized over predicted: median {np.median(ratios):.3f}"
        yield _line(f"savings_coverage_{kind}", inside / len(ratios), "share", detail)


def _runs(seen: Sequence[Seen], failed: dict[str, float], bound: int | None = None) -> Runs:
    calls = np.array([float(len(one.usd)) for one in seen])
    limit = bound_of(calls) if bound is None else bound
    return Runs(
        counted=len(seen),
        calls=calls,
        steps=calls,
        usd=np.array([sum(one.usd) for one in seen]),
        outcome=np.full(len(seen), np.nan),
        prompt=np.ones(len(seen)),
        slope=np.zeros(len(seen)),
        failed=np.array([failed[one.group] for one in seen]),
        bound=limit,
        beyond=np.array([sum(one.usd[limit:]) for one in seen]),
    )


def _predicted(kind: Kind, lever: Any, seen: Sequence[Seen], failed: dict[str, float]) -> dict[str, Any] | None:
    """The predicted saving as a share of cost."""
    runs = _runs(seen, failed)
    cell = Cell(MODEL.provider, MODEL.model, calls=1_000, usd=1e6, input=1.0, output=1.0)
    facts = WorkflowFacts("bench", 30.0, (cell,), runs)
    for pull in lever(facts, PRICES, 0):
        if (found := found_of(pull, facts, PRICES)) is not None:
            low, likely, high = (value / 1e6 for value in (found.saving.low, found.saving.likely, found.saving.high))
            return {"low": low, "likely": likely, "high": high, "bound": runs.bound}
    return None


def _came(kind: Kind, seen: Sequence[Seen], failed: dict[str, float], bound: int) -> float:
    """What the other half would have saved, as a share of its cost; of dead spend the middle is taken as avoidable."""
    runs = _runs(seen, failed, bound)
    if kind == Kind.BOUND_LOOPS:
        return float(runs.beyond.sum() / runs.usd.sum())
    return float(0.6 * (runs.usd * runs.failed).sum() / runs.usd.sum())
