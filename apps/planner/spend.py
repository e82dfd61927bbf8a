"""What a flow of tokens costs at a card: cached or not, retried, routed, batched. Formulae: docs/planner.md."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from apps.planner.loops import Array
from apps.planner.shapes import Card, Cards, ModelChoice, Plan, Step
from apps.planner.tokens import Flow, flow

HOURS_A_MONTH = 730.0
CACHE_HOURS = {"5m": 5 / 60, "1h": 1.0}
CLASSES = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning")


@dataclass(frozen=True, slots=True)
class Share:
    """One model's part of a step: the share of runs that reach it, and what such a run has of it."""

    step: str
    model: ModelChoice
    reach: Array
    calls: Array
    attempts: Array
    tokens: Mapping[str, Array]
    usd_by_class: Mapping[str, Array]

    @property
    def usd(self) -> Array:
        """USD of a run that reaches the model."""
        return np.asarray(sum(self.usd_by_class.values()))


@dataclass(frozen=True, slots=True)
class Spend:
    """USD of one run of the plan; `router` by step, USD of a run that takes the step."""

    shares: tuple[Share, ...]
    router: Mapping[str, Array]
    taken: Mapping[str, Array]
    other: Array

    @property
    def usd(self) -> Array:
        models = sum((share.reach * share.usd for share in self.shares), np.zeros(()))
        return np.asarray(models + sum(self.taken[step] * usd for step, usd in self.router.items()) + self.other)


def spend(plan: Plan, cards: Cards, values: Mapping[str, Array]) -> Spend:
    """Expected spend of one run at the values of the plan's inputs, which broadcast; KeyError: a model has no card."""
    shares = tuple(share for step in plan.steps for share in _shares(step, cards, values))
    return Spend(
        shares,
        {step.name: _router_usd(step, values) for step in plan.steps},
        {step.name: values[f"{step.name}.runs_share"] for step in plan.steps},
        values["other_cost_usd"],
    )


def _router_usd(step: Step, values: Mapping[str, Array]) -> Array:
    return values[f"{step.name}.router_cost_usd"] if step.routing == "router" else np.zeros(())


def _shares(step: Step, cards: Cards, values: Mapping[str, Array]) -> list[Share]:
    """Who answers which share of runs: alone, the small model always and the large one again, or one of the two."""
    taken, found = values[f"{step.name}.runs_share"], flow(step, values)
    one = np.ones(())
    if step.escalates_to is None:
        return [_share(step, step.model, cards, values, found, taken, one)]
    escalated = values[f"{step.name}.escalation_rate"]
    cascade = step.routing == "cascade"
    first = taken if cascade else taken * (1.0 - escalated)
    carried = values[f"{step.name}.escalation_multiple"] if cascade else one
    return [
        _share(step, step.model, cards, values, found, first, one),
        _share(step, step.escalates_to, cards, values, found, taken * escalated, carried),
    ]


def _share(
    step: Step, model: ModelChoice, cards: Cards, values: Mapping[str, Array], found: Flow, reach: Array, carried: Array
) -> Share:
    card = cards[model]
    again = _again(values[f"{step.name}.retry_rate"], step.retries_max)
    billed = carried * (1.0 + step.retry_billed_share * again)
    tokens = {name: billed * amount for name, amount in _by_class(step, card, values, found, reach).items()}
    prices = _prices(card)
    # One factor for both: a batch halves what a run costs, whatever it is made of.
    priced = 1.0 - values[f"{step.name}.batch_share"] * (1.0 - card.batch_factor)
    usd = {name: amount * (priced * prices[name]) for name, amount in tokens.items()}
    calls = found.calls + found.summaries
    return Share(step.name, model, reach, calls, calls * (1.0 + again), tokens, usd)


def _prices(card: Card) -> dict[str, float]:
    return {
        "input": card.input,
        "cache_read": card.cache_read,
        "cache_write_5m": card.cache_write_5m,
        "cache_write_1h": card.cache_write_1h,
        "output": card.output,
        "reasoning": card.output,
    }


def _again(rate: Array, retries_max: int) -> Array:
    """Expected attempts after the first: r + r^2 + ... + r^K, which needs no case for r = 1."""
    again = np.zeros_like(rate)
    for _ in range(retries_max):
        again = rate * (1.0 + again)
    return again


def _by_class(step: Step, card: Card, values: Mapping[str, Array], found: Flow, reach: Array) -> dict[str, Array]:
    """Tokens of each class of a run at one model, before retries."""
    out = {"output": found.output, "reasoning": found.reasoning}
    everything = found.first_prompt + found.reread + found.appended + found.shifted
    if step.cache == "off":
        return {"input": everything, **out}
    cached = found.first_prompt >= card.cache_min_tokens
    starts_cached = _starts_cached(step, values, reach) * (found.prefix >= card.cache_min_tokens)
    kept = values[f"{step.name}.reuse_rate"]
    read = found.prefix * starts_cached + found.reread * kept
    written = found.first_prompt - found.prefix * starts_cached + found.reread * (1.0 - kept) + found.appended
    return {
        "input": np.where(cached, found.shifted, everything),
        "cache_read": np.where(cached, read, 0.0),
        f"cache_write_{step.cache}": np.where(cached, written, 0.0),
        **out,
    }


def _starts_cached(step: Step, values: Mapping[str, Array], reach: Array) -> Array:
    """h: measured, or the chance that the run before started within the cache's life, at even arrivals."""
    if step.prefix_cached_rate is not None:
        return values[f"{step.name}.prefix_cached_rate"]
    an_hour = values["runs_per_month"] * reach / HOURS_A_MONTH
    return -np.expm1(-an_hour * CACHE_HOURS[step.cache])
