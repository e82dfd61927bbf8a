"""The last turn of a fit: a step set right with the cost model itself, until it bills what its runs were billed. Pure.

Moments give the inputs of a loop without end and of a cache that all of a prompt goes through. A bound, compaction, a
shortest prefix or a prompt that is cached in part make the closed form differ from that, and only it knows by how much.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from apps.planner.inputs import column, with_inputs
from apps.planner.moments import Floats
from apps.planner.ranges import values_at
from apps.planner.shapes import Cards, Plan, Range, Step
from apps.planner.spend import Share, spend

RETRIES_MAX = 2
BILLED_SHARE = 0.5
ROUNDS = 6
PROMPT = ("input", "cache_read", "cache_write_5m", "cache_write_1h")
CLOSE = 1e-6


def usd_of(step: Step, cards: Cards, **inputs: Floats) -> Floats:
    """What a run of the plan spends in one step, at its likely inputs or at these arrays of some of them."""
    return _share(step, cards, inputs)[1]


def _share(step: Step, cards: Cards, inputs: Mapping[str, Floats]) -> tuple[Share, Floats]:
    plan = Plan(steps=(step,), runs_per_month=Range.exact(1.0))
    values = values_at(plan, "likely") | {f"{step.name}.{name}": value for name, value in inputs.items()}
    spent = spend(plan, cards, values)
    return spent.shares[0], spent.usd


@dataclass(frozen=True, slots=True)
class _Bill:
    """What the step's model does in a run, in expectation over all runs."""

    calls: float
    tokens: Mapping[str, float]
    prompt_usd: float

    @property
    def prompt(self) -> float:
        return sum(self.tokens.get(name, 0.0) for name in PROMPT)


def _bill(step: Step, cards: Cards) -> _Bill:
    share, _ = _share(step, cards, {})
    reach = float(share.reach)
    usd = sum(float(share.usd_by_class.get(name, 0.0)) for name in PROMPT)
    tokens = {name: reach * float(amount) for name, amount in share.tokens.items()}
    return _Bill(reach * float(share.calls), tokens, reach * usd)


def matched(step: Step, seen: Floats, cards: Cards) -> Step:
    """The step whose closed form has the calls, prompts, reads and outputs of `seen`: sums a run, (columns,)."""
    for _ in range(ROUNDS):
        before = step
        step = _with_calls(step, seen, cards)
        step = _with_outputs(step, seen, cards)
        step = _with_prompt(step, seen, cards)
        step = _with_reuse(step, seen, cards)
        if _distance(before, step) < CLOSE:
            break
    return step


def _distance(one: Step, other: Step) -> float:
    names = ("calls", "output_tokens", "input_tokens", "prefix_tokens", "tool_result_tokens", "reuse_rate")
    pairs = [(getattr(one, name).likely, getattr(other, name).likely) for name in names]
    return max(float(abs(a - b) / max(abs(a), abs(b), 1.0)) for a, b in pairs)


def _with_calls(step: Step, seen: Floats, cards: Cards) -> Step:
    """Calls before the bound cuts any, such that those after it are the ones that were seen."""
    now, target = _bill(step, cards).calls, float(column(seen, "calls"))
    if now <= 0 or step.calls.likely <= 1:
        return step
    return replace(step, calls=Range.exact(min(max(1.0, step.calls.likely * target / now), float(step.calls_max))))


def _with_outputs(step: Step, seen: Floats, cards: Cards) -> Step:
    now = _bill(step, cards)
    for name in ("output", "reasoning"):
        billed = now.tokens[name]
        field, target = f"{name}_tokens", float(column(seen, name))
        if billed > 0:
            step = with_inputs(step, {field: getattr(step, field).times(target / billed)})
    return step


def _with_prompt(step: Step, seen: Floats, cards: Cards) -> Step:
    """The level of the prompt; where that leaves nothing, what is appended, and last the prefix."""
    target = float(column(seen, "prompt"))
    for field in ("input_tokens", "tool_result_tokens", "retrieved_tokens", "prefix_tokens"):
        now = _bill(step, cards).prompt
        if abs(now - target) <= CLOSE * target:
            break
        at = getattr(step, field).likely
        more = _bill(with_inputs(step, {field: Range.exact(at + 1000.0)}), cards).prompt
        if more > now:
            step = with_inputs(step, {field: Range.exact(max(0.0, at + 1000.0 * (target - now) / (more - now)))})
    return step


def _with_reuse(step: Step, seen: Floats, cards: Cards) -> Step:
    """How often a prompt is read again, such that prompts cost what they did.

    In dollars, not in tokens: a prompt that is cached in part pays the input price for the rest, where the closed form
    takes all of it for written.
    """
    if step.cache == "off":
        return step
    card = cards[step.model]
    read, short, long = (float(column(seen, name)) for name in ("read", "write_5m", "write_1h"))
    plain = max(0.0, float(column(seen, "prompt")) - read - short - long)
    batch = 1 - step.batch_share.likely * (1 - card.batch_factor)
    target = batch * (
        plain * card.input + read * card.cache_read + short * card.cache_write_5m + long * card.cache_write_1h
    )
    never, always = (_bill(replace(step, reuse_rate=Range.exact(q)), cards).prompt_usd for q in (0.0, 1.0))
    if always == never:
        return step
    return replace(step, reuse_rate=Range.exact(min(max(0.0, (target - never) / (always - never)), 1.0)))
