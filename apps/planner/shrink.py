"""A fitted plan drawn towards the plan that was there before: few runs move it little. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from apps.planner.inputs import with_inputs
from apps.planner.match import usd_of
from apps.planner.moments import Z90
from apps.planner.shapes import STEPS_MAX, Cards, ModelChoice, Plan, Range, Step
from apps.planner.widths import PROBABILITIES, range_of

# How many runs the earlier plan is worth.
RUNS_MEAN = 20
RUNS_PROBABILITY = 50
RUNS_ALONE = 200
_ESCALATION = ("escalation_rate", "escalation_multiple")
HALVINGS = 12

STEP_INPUTS = (
    "prefix_tokens", "input_tokens", "retrieved_tokens", "output_tokens", "reasoning_tokens", "tool_result_tokens",
    "calls", "dispersion", "retry_rate", "prefix_cached_rate", "reuse_rate", "batch_share", "runs_share",
)  # fmt: skip


def paired(earlier: Sequence[Step], steps: Sequence[Step]) -> Mapping[str, Step]:
    """The earlier step of each fitted one, by its name: same name and model, else name, else model, else alone."""
    left = list(earlier)
    found: dict[str, Step] = {}
    for same in (_same_step, _same_name, _same_model):
        for step in steps:
            alike = [one for one in left if same(one, step)]
            if step.name not in found and len(alike) == 1:
                found[step.name] = alike[0]
                left.remove(alike[0])
    if not found and len(earlier) == len(steps) == 1:
        found[steps[0].name] = earlier[0]
    return found


def _same_step(one: Step, other: Step) -> bool:
    return one.name == other.name and one.model == other.model


def _same_name(one: Step, other: Step) -> bool:
    return one.name == other.name


def _same_model(one: Step, other: Step) -> bool:
    return one.model == other.model


def blend(name: str, earlier: Range, fitted: Range, runs: int, strength: float = 1.0) -> Range:
    """(n0 plan + n observed) / (n0 + n), and as wide as both are, by the same weights; n0 times `strength`.

    `RUNS_ALONE` runs speak for themselves: a template may be off by 8, and a tenth of that is too much for a plan that
    is called calibrated.
    """
    worth = RUNS_PROBABILITY if name in PROBABILITIES else RUNS_MEAN
    share = _share_of_runs(runs, worth * strength)
    likely = earlier.likely * (1 - share) + fitted.likely * share
    spread = math.hypot(share * _spread(name, fitted), (1 - share) * _spread(name, earlier))
    return range_of(name, likely, spread)


def _spread(name: str, wide: Range) -> float:
    """Half of P10 to P90 in standard deviations of the logarithm, or of the logit."""
    if wide.is_exact or wide.low <= 0 or (name in PROBABILITIES and wide.high >= 1):
        return 0.0
    low, high = math.log(wide.low), math.log(wide.high)
    if name in PROBABILITIES:
        low, high = low - math.log1p(-wide.low), high - math.log1p(-wide.high)
    return (high - low) / (2 * Z90)


def _share_of_runs(runs: int, worth: float) -> float:
    return runs / (worth + runs) if worth > 0 and runs < RUNS_ALONE else 1.0


def shrunk(earlier: Plan, fitted: Plan, taken: Mapping[str, int], runs: int, cards: Cards) -> Plan:
    """The fitted plan drawn towards the earlier one; `taken` has how many of the `runs` took each step.

    The cost of a run is a mean as well, and its inputs multiply: were each drawn as far as it may be, a hundred runs
    against a template that is off by 6 would come out a third too cheap. So inputs are drawn no further than takes the
    cost to (n0 plan + n observed) / (n0 + n).
    """
    before, after = _usd(earlier, cards), _usd(fitted, cards)
    share = _share_of_runs(runs, RUNS_MEAN)
    target = before * (1 - share) + after * share
    found, strength = _drawn(earlier, fitted, taken, runs, 1.0), 1.0
    if min(_usd(found, cards), after) < target < max(_usd(found, cards), after):
        below = 0.0
        for _ in range(HALVINGS):
            middle = (below + strength) / 2
            tried = _usd(_drawn(earlier, fitted, taken, runs, middle), cards)
            below, strength = (middle, strength) if (tried < target) == (after < target) else (below, middle)
        found = _drawn(earlier, fitted, taken, runs, strength)
    return found


def _usd(plan: Plan, cards: Cards) -> float:
    return sum(float(usd_of(step, cards)) for step in plan.steps)


def _drawn(earlier: Plan, fitted: Plan, taken: Mapping[str, int], runs: int, strength: float) -> Plan:
    """A step that no run took stays in the plan by the share that the earlier plan is still worth, and leaves it once
    `RUNS_ALONE` runs did without. One that the earlier plan did not have is as seen.
    """
    before = paired(earlier.steps, fitted.steps)
    models = {step.model for step in fitted.steps}
    steps = [
        _drawn_step(before.get(step.name), step, taken[step.name], runs, strength, models) for step in fitted.steps
    ]
    known = {step.name for step in before.values()} | {step.name for step in steps}
    left = 1 - _share_of_runs(runs, RUNS_PROBABILITY * strength)
    if left > 0:
        missing = [step for step in earlier.steps if step.name not in known][: STEPS_MAX - len(steps)]
        steps += [replace(step, runs_share=step.runs_share.times(left)) for step in missing]
    return replace(
        fitted,
        steps=tuple(steps),
        success_rate=blend("success_rate", earlier.success_rate, fitted.success_rate, runs),
        other_cost_usd=blend("other_cost_usd", earlier.other_cost_usd, fitted.other_cost_usd, runs),
    )


def _drawn_step(
    earlier: Step | None, step: Step, taken: int, runs: int, strength: float, models: set[ModelChoice]
) -> Step:
    if earlier is None:
        return step
    blended: dict[str, Range] = {}
    step = _still_escalating(earlier, step, taken, models)
    names: tuple[str, ...] = STEP_INPUTS
    if step.routing == earlier.routing == "cascade" and step.escalates_to == earlier.escalates_to:
        names += _ESCALATION
    for name in names:
        was, seen = getattr(earlier, name), getattr(step, name)
        if was is not None and seen is not None:
            blended[name] = blend(name, was, seen, runs if name == "runs_share" else taken, strength)
    blended["calls"] = blended["calls"].at_most(step.calls_max)
    return with_inputs(step, blended)


def _still_escalating(earlier: Step, step: Step, taken: int, models: set[ModelChoice]) -> Step:
    """A cascade whose runs did not escalate yet: few of them are no sign that none will."""
    if earlier.routing != "cascade" or step.routing != "none" or taken >= RUNS_ALONE or earlier.escalates_to in models:
        return step
    return replace(
        step, routing="cascade", escalates_to=earlier.escalates_to, escalation_rate=Range.exact(0.0),
        escalation_multiple=earlier.escalation_multiple,
    )  # fmt: skip
