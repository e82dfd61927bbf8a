"""What the calls of one run send and get, in expectation over how many there are.

B = S + U + R is the first prompt, a = O + T what a call appends. Call i (from 0) sends B + what was appended before;
its weight is P(N > i), which makes sums over calls expectations: sum P(N > i) = E[N], sum i P(N > i) = E[N(N-1)]/2.
Formulae: docs/planner.md, "The formulae".
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from apps.planner.loops import Array, survival
from apps.planner.shapes import Compaction, Step


@dataclass(frozen=True, slots=True)
class Flow:
    """Tokens of a run that takes the step, split by what a cache can do with them.

    first_prompt   B, sent by the first call
    prefix         S, the part of it that another run may have left cached
    reread         what the call before sent already
    appended       what is new in each later call
    shifted        what a sliding window has moved: no longer a prefix of anything
    """

    calls: Array
    summaries: Array
    first_prompt: Array
    prefix: Array
    reread: Array
    appended: Array
    shifted: Array
    output: Array
    reasoning: Array


def flow(step: Step, values: Mapping[str, Array]) -> Flow:
    """The flow of a step at the values of its inputs, which broadcast."""
    get = {name: values[f"{step.name}.{name}"] for name in _TOKENS}
    kept = get["prefix_tokens"] + get["input_tokens"]
    base, grown = kept + get["retrieved_tokens"], get["output_tokens"] + get["tool_result_tokens"]
    shares = survival(values[f"{step.name}.calls"], values[f"{step.name}.dispersion"], step.calls_max)
    if step.compaction is not None:
        sums = _compacted(shares, base, grown, step.compaction)
        summed_up = sums.summaries * step.compaction.summary_tokens
    elif step.window_tokens is not None:
        sums, summed_up = _windowed(shares, base, kept, grown, step.window_tokens), _NOTHING
    else:
        sums, summed_up = _all_kept(shares, base, grown), _NOTHING
    return Flow(
        calls=sums.calls,
        summaries=sums.summaries,
        first_prompt=base,
        prefix=get["prefix_tokens"],
        reread=sums.reread,
        appended=sums.appended,
        shifted=sums.shifted,
        output=sums.calls * get["output_tokens"] + summed_up,
        reasoning=sums.calls * get["reasoning_tokens"],
    )


def contexts(step: Step, values: Mapping[str, Array]) -> tuple[float, ...]:
    """The prompt of call 1, 2, ... calls_max of one run whose every call is as the values say."""
    get = {name: float(values[f"{step.name}.{name}"]) for name in _TOKENS}
    base = get["prefix_tokens"] + get["input_tokens"] + get["retrieved_tokens"]
    appended, found = 0.0, [base]
    for _ in range(1, step.calls_max):
        appended += get["output_tokens"] + get["tool_result_tokens"]
        if step.compaction is not None and appended > step.compaction.threshold_tokens:
            appended = step.compaction.summary_tokens
        if step.window_tokens is not None:
            appended = min(appended, step.window_tokens)
        found.append(base + appended)
    return tuple(found)


_TOKENS = (
    "prefix_tokens", "input_tokens", "retrieved_tokens", "output_tokens", "reasoning_tokens", "tool_result_tokens",
)  # fmt: skip


@dataclass(slots=True)
class _Sums:
    """Expected sums over the calls of a run."""

    calls: Array
    reread: Array
    appended: Array
    shifted: Array
    summaries: Array


def _all_kept(shares: Iterator[Array], base: Array, grown: Array) -> _Sums:
    """Every call sends all that was appended before it."""
    calls, pairs = next(shares), _NOTHING
    for i, share in enumerate(shares):
        calls = calls + share
        if i:
            pairs = pairs + i * share
    later = calls - 1.0
    return _Sums(calls, later * base + pairs * grown, later * grown, _NOTHING, _NOTHING)


def _windowed(shares: Iterator[Array], base: Array, kept: Array, grown: Array, window: int) -> _Sums:
    """Once the window has moved only S + U stand where the call before had them; R and the window are sent anew."""
    calls, reread, appended, shifted = next(shares), _NOTHING, _NOTHING, _NOTHING
    for i, share in enumerate(shares, 1):
        calls = calls + share
        whole = i * grown <= window
        reread = reread + share * np.where(whole, base + (i - 1) * grown, kept)
        appended = appended + share * np.where(whole, grown, 0.0)
        shifted = shifted + share * np.where(whole, 0.0, base - kept + window)
    return _Sums(calls, reread, appended, shifted, _NOTHING)


def _compacted(shares: Iterator[Array], base: Array, grown: Array, compaction: Compaction) -> _Sums:
    """A saw-tooth: what exceeds the threshold is read once more to be summed up, and the summary takes its place."""
    sums = _Sums(next(shares), _NOTHING, _NOTHING, _NOTHING, _NOTHING)
    held = np.zeros_like(base + grown)
    for share in shares:
        before, held = held, held + grown
        over = held > compaction.threshold_tokens
        sums.calls = sums.calls + share
        sums.reread = sums.reread + share * (base + np.where(over, base + held, before))
        sums.appended = sums.appended + share * np.where(over, compaction.summary_tokens, grown)
        sums.summaries = sums.summaries + share * over
        held = np.where(over, compaction.summary_tokens, held)
    return sums


_NOTHING: Array = np.zeros(())
