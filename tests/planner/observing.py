"""Runs made up call by call from a known plan, to be fitted again."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np

from apps.planner.observed import ObservedCall, ObservedRun, ObservedStep, step_of_calls
from apps.planner.shapes import Card, ModelChoice, Plan, Range, Step

LARGE = ModelChoice("anthropic", "large")
SMALL = ModelChoice("anthropic", "small")
CARDS = {
    LARGE: Card(3e-6, 15e-6, 0.3e-6, 3.75e-6, 6e-6, batch_factor=0.5),
    SMALL: Card(0.25e-6, 2e-6, 0.025e-6, 0.3125e-6, 0.5e-6, batch_factor=0.5),
}
MONDAY = date(2026, 6, 1)


def exactly(**inputs: float) -> dict[str, Range]:
    return {name: Range.exact(value) for name, value in inputs.items()}


SUPPORT = Plan(
    steps=(
        Step(
            name="answer",
            model=LARGE,
            **exactly(
                prefix_tokens=3000, input_tokens=500, retrieved_tokens=2500, output_tokens=220, tool_result_tokens=900,
                calls=6, dispersion=2.5, prefix_cached_rate=0.9, reuse_rate=0.95,
            ),
            cache="5m",
            calls_max=60,
        ),
    ),
    runs_per_month=Range.exact(3000),
)  # fmt: skip


def simulated(plan: Plan, count: int, seed: int, *, a_day: int = 100) -> list[ObservedRun]:
    """Runs whose sizes and loops differ as the plan's inputs say; each step is taken by its share of runs."""
    random = np.random.default_rng(seed)
    runs = []
    while len(runs) < count:
        taken = [step for step in plan.steps if random.random() < step.runs_share.likely]
        if steps := tuple(one for step in taken for one in _answered(step, random)):
            runs.append(ObservedRun(f"run-{len(runs):05}", MONDAY + timedelta(len(runs) // a_day), steps))
    return runs


def _answered(step: Step, random: np.random.Generator) -> list[ObservedStep]:
    """A step, and what was escalated of it: a loop of its own at the larger model, `escalation_multiple` as large."""
    first = _step(step, random)
    if step.escalates_to is None or random.random() >= step.escalation_rate.likely:
        return [first]
    again = _step(replace(step, model=step.escalates_to), random)
    fields = (
        "prompt_tokens", "cache_read_tokens", "cache_write_5m_tokens", "output_tokens", "first_prompt_tokens",
        "first_cached_tokens",
    )  # fmt: skip
    more = {name: round((getattr(again, name) or 0) * step.escalation_multiple.likely) for name in fields}
    return [first, replace(again, **more, escalated_from=step.model.model)]


def _step(step: Step, random: np.random.Generator) -> ObservedStep:
    get = {name: getattr(step, name).likely for name in ("calls", "dispersion", "output_tokens", "tool_result_tokens")}
    context = round(
        step.prefix_tokens.likely
        + step.input_tokens.likely * random.gamma(4, 1 / 4)
        + step.retrieved_tokens.likely * random.gamma(4, 1 / 4)
    )
    calls: list[ObservedCall] = []
    before = 0
    for number in range(_loops(get["calls"], get["dispersion"], random)):
        output = round(get["output_tokens"] * random.gamma(4, 1 / 4))
        rate = step.reuse_rate if number else step.prefix_cached_rate
        known = before if number else round(step.prefix_tokens.likely)
        read = known if rate is not None and random.random() < rate.likely and step.cache != "off" else 0
        written = context - read if step.cache != "off" else 0
        calls.append(
            ObservedCall(
                context, read, written, output_tokens=output,
                retrieved_tokens=0 if number else round(step.retrieved_tokens.likely),
            )
        )  # fmt: skip
        before = context
        context += output + round(get["tool_result_tokens"] * random.gamma(4, 1 / 4))
    return step_of_calls(step.name, step.model, calls)


def _loops(mean: float, phi: float, random: np.random.Generator) -> int:
    if mean <= 1:
        return 1
    if phi <= 1:
        return 1 + int(random.poisson(mean - 1))
    return 1 + int(random.negative_binomial((mean - 1) / (phi - 1), 1 / phi))


def cost_usd(runs: list[ObservedRun]) -> float:
    """What the mean run's tokens cost, call by call."""
    return sum(step_usd(step) for run in runs for step in run.steps) / len(runs)


def step_usd(step: ObservedStep) -> float:
    card = CARDS[step.model]
    plain = step.prompt_tokens - step.cache_read_tokens - step.cache_write_5m_tokens
    prompt = plain * card.input + step.cache_read_tokens * card.cache_read
    output = (step.output_tokens + step.reasoning_tokens) * card.output
    return prompt + step.cache_write_5m_tokens * card.cache_write_5m + output
