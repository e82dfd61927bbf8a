"""What can be done about a plan's cost: each lever is a plan in, a plan out, and their savings are reckoned jointly.

A lever pulls at each step where it makes a run cheaper, by the cost model, and leaves the plan as it is elsewhere. None
prunes context by a window: where a cache works that costs more, since what has moved is no prefix of anything
(docs/planner.md, "Levers"). What a lever does to quality the model does not know, and each says whether it may.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from apps.planner.estimate import cost_per_run
from apps.planner.loops import Array, smallest_bound
from apps.planner.prices import CHEAPER_AT_MOST
from apps.planner.ranges import draw_values
from apps.planner.shapes import CALLS_MAX, CacheLife, Cards, Compaction, ModelChoice, Plan, Range, Saving, Step
from apps.planner.spend import spend

ESCALATION_RATE = Range(0.08, 0.15, 0.35)
ESCALATION_MULTIPLE = Range(1.0, 1.0, 1.5)
REUSE_RATE = Range(0.90, 0.98, 0.995)
DRAWS = 2_000
# A summary loses what it leaves out: not for less than this part of the step's cost.
COMPACTION_SAVES_MIN = 0.01


@dataclass(frozen=True, slots=True)
class Settings:
    """How far each lever is pulled.

    cheaper           model -> smaller ones that a cascade may try first; of them the first one that has a card and
                      costs at most `CHEAPER_AT_MOST` of the step
    batch_share       share of runs that their owner lets wait; 0: nobody said that any may
    """

    cheaper: Mapping[ModelChoice, tuple[ModelChoice, ...]] = field(default_factory=dict)
    escalation_rate: Range = ESCALATION_RATE
    escalation_multiple: Range = ESCALATION_MULTIPLE
    reuse_rate: Range = REUSE_RATE
    retry_rate: float = 0.02
    tool_results_to: float = 0.6
    retrieved_to: float = 0.5
    compaction_threshold_tokens: int = 24_000
    compaction_summary_tokens: int = 2_000
    batch_share: float = 0.0


DEFAULTS = Settings()


@dataclass(frozen=True, slots=True)
class Route:
    """A step that would try another model before its own."""

    step: str
    model: ModelChoice
    first: ModelChoice


@dataclass(frozen=True, slots=True)
class Lever:
    """One lever of the waterfall; amounts are USD in the first month, at the likely inputs where nothing else is said.

    name             bound_loops, limit_retries, trim_tool_results, trim_retrieved, cache, compact, route, batch
    alone_usd        what it saves where it is the only one pulled
    joint_after_usd  the month's cost once this one and all before it are pulled
    saving           what it saves on top of those before it: P10, at the likely inputs, P90; below 0 where it may cost
                     more than it saves
    advised          pulled; where not, nothing changes and `reason` says why
    label            answers_unchanged or quality_unverified: whether it may change what is answered
    routes           of `route`: what it would try first, step by step
    """

    name: str
    alone_usd: float
    joint_after_usd: float
    saving: Saving
    advised: bool
    reason: str
    label: str
    routes: tuple[Route, ...] = ()


Pull = Callable[[Step, Plan, Cards, Settings], list[Step]]


def waterfall(plan: Plan, cards: Cards, seed: int, settings: Settings = DEFAULTS) -> tuple[Lever, ...]:
    """Every lever in the order in which they build on each other, reckoned jointly.

    Savings do not add up: half of a context that a cache has made cheap is worth less than half of it was. So each is
    reckoned on what those before it left; `saving.likely` add up to the whole, and `alone_usd` do not.
    """
    before, base = plan, _month(plan, cards)
    drawn, usd, found = _drawn_months(plan, cards, seed), base, []
    for name, pull in LEVERS.items():
        alone = base - _month(pull(plan, cards, settings), cards)
        after = pull(before, cards, settings)
        advised = after != before
        if not advised:
            found.append(Lever(name, alone, usd, Saving(0.0, 0.0, 0.0), False, _WHY_NOT[name], _label(name)))
            continue
        after_usd, after_drawn = _month(after, cards), _drawn_months(after, cards, seed)
        saving = _saving(drawn - after_drawn, usd - after_usd)
        routes = _routes(before, after)
        why = " ".join((_why_route(routes, settings) if routes else _WHAT[name], *_CAVEAT[_label(name)]))
        found.append(Lever(name, alone, after_usd, saving, True, why, _label(name), routes))
        before, usd, drawn = after, after_usd, after_drawn
    return tuple(found)


def bound_loops(plan: Plan, cards: Cards, settings: Settings = DEFAULTS) -> Plan:
    """Bounds calls where at most 5 % of runs are cut: what those were to do is lost, and not in the saving."""
    return _pulled(plan, cards, settings, _bounded)


def limit_retries(plan: Plan, cards: Cards, settings: Settings = DEFAULTS) -> Plan:
    """Attempts that fail, down to `retry_rate`."""
    return _pulled(plan, cards, settings, _with_fewer_retries)


def trim_tool_results(plan: Plan, cards: Cards, settings: Settings = DEFAULTS) -> Plan:
    """Tool results, down to `tool_results_to` of themselves, where a later call reads them."""
    return _pulled(plan, cards, settings, _with_shorter_results)


def trim_retrieved(plan: Plan, cards: Cards, settings: Settings = DEFAULTS) -> Plan:
    """Retrieved context, down to `retrieved_to` of itself."""
    return _pulled(plan, cards, settings, _with_less_retrieved)


def cache(plan: Plan, cards: Cards, settings: Settings = DEFAULTS) -> Plan:
    """The cheapest of 5 minutes, an hour and no cache at all; whether a prefix is cached then comes from the arrivals.

    A cache that was measured is only ever turned off: how it would do at another life nobody knows.
    """
    return _pulled(plan, cards, settings, _cached)


def compact(plan: Plan, cards: Cards, settings: Settings = DEFAULTS) -> Plan:
    """A summary in place of a long context, where it saves: with a cache beyond some 30 calls."""
    return _pulled(plan, cards, settings, _compacted, least=COMPACTION_SAVES_MIN)


def route(plan: Plan, cards: Cards, settings: Settings = DEFAULTS) -> Plan:
    """A cascade: the small model first, and the model of the plan where runs escalate."""
    return _pulled(plan, cards, settings, _cascaded)


def batch(plan: Plan, cards: Cards, settings: Settings = DEFAULTS) -> Plan:
    """The batch price for the share of runs that may wait, which only their owner knows."""
    return _pulled(plan, cards, settings, _batched)


LEVERS: Mapping[str, Callable[[Plan, Cards, Settings], Plan]] = {
    "bound_loops": bound_loops,
    "limit_retries": limit_retries,
    "trim_tool_results": trim_tool_results,
    "trim_retrieved": trim_retrieved,
    "cache": cache,
    "compact": compact,
    "route": route,
    "batch": batch,
}
_WHAT = {
    "bound_loops": "Bounds calls so that at most 5 % of runs are cut; what those would have done is lost.",
    "limit_retries": "Fewer failed attempts.",
    "trim_tool_results": "Shorter tool results, which every later call reads again.",
    "trim_retrieved": "Less retrieved context, which every call reads again.",
    "cache": "The life of the cache that costs least at these arrivals.",
    "compact": "A summary in place of a long context.",
    "batch": "The batch price for runs that may wait.",
}
_WHY_NOT = {
    "bound_loops": "No loop is long enough, or all are bounded already.",
    "limit_retries": "Attempts fail too rarely for it.",
    "trim_tool_results": "No call reads a tool result again.",
    "trim_retrieved": "Nothing is retrieved.",
    "cache": "The cache is as cheap as it gets, or the prompt too short or too rarely reused for one.",
    "compact": "Contexts stay too short: their summaries would cost what they save.",
    "route": "No smaller model of the provider has a price here that makes the step cost half or less.",
    "batch": "Nobody said that runs may wait, or no batch price is known.",
}


UNCHANGED, UNVERIFIED = "answers_unchanged", "quality_unverified"
_CAVEAT: Mapping[str, tuple[str, ...]] = {UNCHANGED: (), UNVERIFIED: ("Cost only: quality is unverified.",)}


def _label(name: str) -> str:
    return UNCHANGED if name in ("limit_retries", "cache", "batch") else UNVERIFIED


def _routes(before: Plan, after: Plan) -> tuple[Route, ...]:
    pairs = zip(before.steps, after.steps, strict=True)
    return tuple(Route(new.name, old.model, new.model) for old, new in pairs if old.model != new.model)


def _why_route(routes: Sequence[Route], settings: Settings) -> str:
    tried = "; ".join(f"{route.first.model} before {route.model.model} in {route.step}" for route in routes)
    rate = settings.escalation_rate
    return (
        f"A smaller model first: {tried}. Assumed, not measured: {rate.likely:.0%} of runs ({rate.low:.0%} to"
        f" {rate.high:.0%}) are done again by the larger one."
    )


def swap_model(plan: Plan, old: ModelChoice, new: ModelChoice) -> Plan:
    """The plan with `new` wherever `old` stands; as itself where it stands nowhere."""
    steps = (
        replace(
            step,
            model=new if step.model == old else step.model,
            escalates_to=new if step.escalates_to == old else step.escalates_to,
        )
        for step in plan.steps
    )
    return replace(plan, steps=tuple(steps))


def change_cap(plan: Plan, step: str, calls_max: int) -> Plan:
    """The plan with another bound on one step's calls; KeyError where no step has the name."""
    if step not in {one.name for one in plan.steps}:
        raise KeyError(step)
    steps = (replace(one, calls_max=calls_max) if one.name == step else one for one in plan.steps)
    return replace(plan, steps=tuple(steps))


def _pulled(plan: Plan, cards: Cards, settings: Settings, pull: Pull, least: float = 0.0) -> Plan:
    """The plan with each step replaced by the cheapest of what the lever offers for it, where that saves."""
    return replace(plan, steps=tuple(_cheapest(step, plan, cards, settings, pull, least) for step in plan.steps))


def _cheapest(step: Step, plan: Plan, cards: Cards, settings: Settings, pull: Pull, least: float) -> Step:
    offers = [(_step_usd(one, plan, cards), place, one) for place, one in enumerate(pull(step, plan, cards, settings))]
    if not offers:
        return step
    usd, _, cheapest = min(offers, key=lambda offer: offer[:2])
    return cheapest if usd < _step_usd(step, plan, cards) * (1.0 - least) - 1e-15 else step


def _step_usd(step: Step, plan: Plan, cards: Cards) -> float:
    return cost_per_run(Plan((step,), plan.runs_per_month), cards).usd


def _bounded(step: Step, plan: Plan, cards: Cards, settings: Settings) -> list[Step]:
    bound = smallest_bound(step.calls.likely, step.dispersion.likely, CALLS_MAX)
    return [replace(step, calls_max=bound)] if bound < step.calls_max else []


def _with_fewer_retries(step: Step, plan: Plan, cards: Cards, settings: Settings) -> list[Step]:
    return [replace(step, retry_rate=step.retry_rate.at_most(settings.retry_rate))]


def _with_shorter_results(step: Step, plan: Plan, cards: Cards, settings: Settings) -> list[Step]:
    return [replace(step, tool_result_tokens=step.tool_result_tokens.times(settings.tool_results_to))]


def _with_less_retrieved(step: Step, plan: Plan, cards: Cards, settings: Settings) -> list[Step]:
    return [replace(step, retrieved_tokens=step.retrieved_tokens.times(settings.retrieved_to))]


def _cached(step: Step, plan: Plan, cards: Cards, settings: Settings) -> list[Step]:
    if step.cache != "off" and step.prefix_cached_rate is not None:
        return [replace(step, cache="off")]
    reuse = settings.reuse_rate if step.cache == "off" else step.reuse_rate
    lives: tuple[CacheLife, ...] = ("off", "5m", "1h")
    return [
        replace(step, cache=life, prefix_cached_rate=None, reuse_rate=reuse) for life in lives if life != step.cache
    ]


def _compacted(step: Step, plan: Plan, cards: Cards, settings: Settings) -> list[Step]:
    threshold, summary = settings.compaction_threshold_tokens, settings.compaction_summary_tokens
    # A window keeps contexts short at its own cost; the two do not go together.
    if step.compaction is not None or step.window_tokens is not None:
        return []
    return [replace(step, compaction=Compaction(threshold, summary))]


def _cascaded(step: Step, plan: Plan, cards: Cards, settings: Settings) -> list[Step]:
    if step.routing != "none":
        return []
    most = CHEAPER_AT_MOST * _step_usd(step, plan, cards)
    named = (model for model in settings.cheaper.get(step.model, ()) if model in cards)
    small = next((model for model in named if _step_usd(replace(step, model=model), plan, cards) <= most), None)
    if small is None:
        return []
    cascade = replace(
        step,
        model=small,
        routing="cascade",
        escalates_to=step.model,
        escalation_rate=settings.escalation_rate,
        escalation_multiple=settings.escalation_multiple,
    )
    return [cascade]


def _batched(step: Step, plan: Plan, cards: Cards, settings: Settings) -> list[Step]:
    share = settings.batch_share
    return [replace(step, batch_share=Range.exact(share))] if share > step.batch_share.likely else []


def _month(plan: Plan, cards: Cards) -> float:
    return plan.runs_per_month.likely * cost_per_run(plan, cards).usd


def _drawn_months(plan: Plan, cards: Cards, seed: int) -> Array:
    values, _ = draw_values(plan, seed=seed, draws=DRAWS)
    usd = values["runs_per_month"] * spend(plan, cards, values).usd
    return np.broadcast_to(usd, (DRAWS,))


def _saving(drawn: Array, likely: float) -> Saving:
    low, high = (float(value) for value in np.quantile(drawn, (0.1, 0.9), method="hazen"))
    return Saving(min(low, likely), likely, max(high, likely))
