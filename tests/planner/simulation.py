"""A plan played out: runs that make calls, one after another, and a provider that remembers prompts.

It shares no formula with the planner. A run has its own tokens, a number of calls, gaps, failed attempts; a provider
bills what a prompt has in common with the one before it, while it remembers that, as read and the rest as written.
Arrays hold one value a run, so that the loop is over calls.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apps.planner.shapes import Card, Cards, ModelChoice, Plan, Range, Step

Runs = NDArray[np.float64]
TOKENS_CV = 0.6
HOUR_SECONDS = 3_600.0
MONTH_SECONDS = 730 * HOUR_SECONDS


@dataclass(slots=True)
class Prompt:
    """What each run would send next: the same in all runs, asked and retrieved, appended."""

    prefix: float
    asked: Runs
    retrieved: Runs
    appended: Runs

    @property
    def whole(self) -> Runs:
        return self.prefix + self.asked + self.retrieved + self.appended


class Simulation:
    def __init__(self, plan: Plan, cards: Cards, *, runs: int, seed: int) -> None:
        self.plan, self.cards, self.runs = plan, cards, runs
        self.random = np.random.default_rng(seed)

    def run_usd(self) -> Runs:
        """USD of each run."""
        total = np.full(self.runs, self.plan.other_cost_usd.likely)
        for step in self.plan.steps:
            total += self._step(step) * self._chance(step.runs_share)
        return total

    def _step(self, step: Step) -> Runs:
        batched = self._chance(step.batch_share)
        first = self._model(step, step.model, batched, step.runs_share.likely)
        if step.escalates_to is None:
            return first
        escalated = self._chance(step.escalation_rate)
        large_share = step.runs_share.likely * step.escalation_rate.likely
        large = self._model(step, step.escalates_to, batched, large_share)
        if step.routing == "cascade":
            return first + escalated * step.escalation_multiple.likely * large
        return step.router_cost_usd.likely + np.where(escalated, large, first)

    def _model(self, step: Step, model: ModelChoice, batched: NDArray[np.bool_], share: float) -> Runs:
        """USD of each run at one model. The prompt before it, of another run, may have left the prefix behind."""
        card, calls = self.cards[model], self._calls(step)
        prompt = Prompt(
            step.prefix_tokens.likely, self._tokens(step.input_tokens), self._tokens(step.retrieved_tokens),
            np.zeros(self.runs),
        )  # fmt: skip
        total: Runs = np.zeros(self.runs)
        remembered: Runs = np.asarray(prompt.prefix * self._starts_warm(step, share), dtype=np.float64)
        grown: Runs = np.zeros(self.runs)
        pruned: NDArray[np.bool_] = np.zeros(self.runs, dtype=bool)
        for call in range(int(calls.max())):
            going = calls > call
            if call:
                remembered = prompt.whole
                prompt.appended = prompt.appended + grown
                remembered, pruned, extra = self._shorten(step, card, prompt, remembered)
                total += going * extra * self._attempts(step)
                remembered = remembered * (self.random.random(self.runs) < step.reuse_rate.likely)
            said, thought = self._tokens(step.output_tokens), self._tokens(step.reasoning_tokens)
            usd = self._input_usd(step, card, prompt, remembered, pruned) + card.output * (said + thought)
            total += going * usd * self._attempts(step)
            grown = said + self._tokens(step.tool_result_tokens)
        return np.where(batched, card.batch_factor, 1.0) * total

    def _shorten(
        self, step: Step, card: Card, prompt: Prompt, remembered: Runs
    ) -> tuple[Runs, NDArray[np.bool_], Runs]:
        """Prunes or sums up prompts: what they still have in common with the call before, what moved, what it costs."""
        nothing = np.zeros(self.runs)
        if step.window_tokens is not None:
            moved = prompt.appended > step.window_tokens
            prompt.appended = np.minimum(prompt.appended, step.window_tokens + 1e-6)
            return np.where(moved, prompt.prefix + prompt.asked, remembered), moved, nothing
        if step.compaction is not None:
            over = prompt.appended > step.compaction.threshold_tokens
            warm = self.random.random(self.runs) < step.reuse_rate.likely
            again = card.input if step.cache == "off" else np.where(warm, card.cache_read, self._write(step, card))
            usd = over * (prompt.whole * again + card.output * step.compaction.summary_tokens)
            prompt.appended = np.where(over, step.compaction.summary_tokens, prompt.appended)
            kept = prompt.whole - prompt.appended
            return np.where(over, kept, remembered), np.zeros(self.runs, dtype=bool), usd
        return remembered, np.zeros(self.runs, dtype=bool), nothing

    def _input_usd(self, step: Step, card: Card, prompt: Prompt, remembered: Runs, pruned: NDArray[np.bool_]) -> Runs:
        if step.cache == "off":
            return prompt.whole * card.input
        # Where a window moves, the client marks nothing behind the part that stays.
        marked = np.where(pruned, prompt.prefix + prompt.asked, prompt.whole)
        read = np.minimum(remembered, marked)
        cached = read * card.cache_read + (marked - read) * self._write(step, card)
        usd = cached + (prompt.whole - marked) * card.input
        return np.where(prompt.whole < card.cache_min_tokens, prompt.whole * card.input, usd)

    def _write(self, step: Step, card: Card) -> float:
        return card.cache_write_1h if step.cache == "1h" else card.cache_write_5m

    def _starts_warm(self, step: Step, share: float) -> NDArray[np.bool_]:
        if step.prefix_tokens.likely < self.cards[step.model].cache_min_tokens:
            return np.zeros(self.runs, dtype=bool)
        if step.prefix_cached_rate is not None:
            return self._chance(step.prefix_cached_rate)
        gaps = self.random.exponential(MONTH_SECONDS / (self.plan.runs_per_month.likely * share), self.runs)
        return gaps < {"5m": 300.0, "1h": HOUR_SECONDS}[step.cache] if step.cache != "off" else gaps < 0

    def _attempts(self, step: Step) -> Runs:
        """What one call is billed: 1 and a share of each attempt that failed before it."""
        failed, still = np.zeros(self.runs), np.ones(self.runs, dtype=bool)
        for _ in range(step.retries_max):
            still &= self.random.random(self.runs) < step.retry_rate.likely
            failed += still
        return 1.0 + step.retry_billed_share * failed

    def _calls(self, step: Step) -> NDArray[np.int64]:
        further, phi = step.calls.likely - 1.0, step.dispersion.likely
        if phi > 1:
            found = self.random.negative_binomial(further / (phi - 1.0), 1.0 / phi, self.runs)
        else:
            fixed = int(further) + (self.random.random(self.runs) < further - int(further))
            found = np.where(self.random.random(self.runs) < phi, self.random.poisson(further, self.runs), fixed)
        return np.minimum(1 + found, step.calls_max)

    def _tokens(self, found: Range) -> Runs:
        if not found.likely:
            return np.zeros(self.runs)
        sigma = np.sqrt(np.log1p(TOKENS_CV**2))
        return found.likely * self.random.lognormal(-sigma * sigma / 2, sigma, self.runs)

    def _chance(self, found: Range) -> NDArray[np.bool_]:
        return self.random.random(self.runs) < found.likely
