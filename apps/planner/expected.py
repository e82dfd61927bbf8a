"""What a plan says of the units that signals watch, with what is not known of its inputs. Pure.

Each figure is drawn as the cost of a plan is (docs/planner.md): the closed form at every draw, then a percentile of the
draws. They are arithmetic means of runs and calls. A signal reads geometric ones, which are never above them, so that a
workflow that does as planned is not taken for one that does worse.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from apps.planner.loops import Array
from apps.planner.ranges import draw_values
from apps.planner.shapes import Cards, Plan
from apps.planner.spend import Share, spend

# P90 of so many strata wavers by about a hundredth of the range; a result's 5,000 are for its tails.
DRAWS = 1_000
# The percentile on the side that is worse: most are worse when they rise.
WORSE = {
    "cost_per_run": 90, "loops_per_run": 90, "escalation_rate": 90, "retry_rate": 90, "input_tokens_per_call": 90,
    "cache_hit_rate": 10,
}  # fmt: skip
_PROMPT = ("input", "cache_read", "cache_write_5m", "cache_write_1h")


def worst_expected(plan: Plan, cards: Cards, *, seed: int) -> dict[str, float]:
    """By signal, the worst tenth begins here: the P90 of what is worse when it rises, the P10 of what when it falls.

    cost_per_run: USD, without what is no call of a model (`other_cost_usd`); loops_per_run: calls; escalation_rate:
    share of runs; retry_rate: of attempts; input_tokens_per_call: whole prompts; cache_hit_rate: of prompt tokens.
    KeyError: a model without a card.
    """
    values, _ = draw_values(plan, seed=seed, draws=DRAWS)
    found = spend(plan, cards, values)
    calls = _sum(share.reach * share.calls for share in found.shares)
    attempts = _sum(share.reach * share.attempts for share in found.shares)
    prompt = _sum(share.reach * _prompt(share) for share in found.shares)
    read = _sum(share.reach * share.tokens.get("cache_read", np.zeros(())) for share in found.shares)
    drawn = {
        "cost_per_run": found.usd - found.other,
        "loops_per_run": calls,
        "escalation_rate": _escalated(plan, values),
        "retry_rate": _over(attempts - calls, attempts),
        "input_tokens_per_call": _over(prompt, calls),
        "cache_hit_rate": _over(read, prompt),
    }
    return {name: float(np.percentile(drawn[name], WORSE[name])) for name in WORSE}


def _prompt(share: Share) -> Array:
    return _sum(share.tokens.get(name, np.zeros(())) for name in _PROMPT)


def _escalated(plan: Plan, values: Mapping[str, Array]) -> Array:
    """Runs in which any step went to the larger model."""
    spared = np.ones(())
    for step in plan.steps:
        if step.escalates_to is not None:
            taken, rate = values[f"{step.name}.runs_share"], values[f"{step.name}.escalation_rate"]
            spared = spared * (1.0 - taken * rate)
    return np.asarray(1.0 - spared)


def _sum(parts: Iterable[Array]) -> Array:
    return np.asarray(sum(parts, np.zeros(())))


def _over(part: Array, whole: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(whole > 0, part / whole, 0.0))
