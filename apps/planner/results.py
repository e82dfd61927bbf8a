"""A result as JSON: what a version keeps and the API answers. Pure.

Estimates are floats up to here. As they leave, an amount becomes a decimal string with 6 decimals; shares, multiples
and correlations stay numbers. Everything is in USD.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Context, Decimal
from typing import Any

from apps.planner.levers import ESCALATION_MULTIPLE, ESCALATION_RATE, Lever
from apps.planner.prices import PlanCard
from apps.planner.shapes import Estimate, ModelChoice, ModelCost, Percentiles, Plan, StepCost

PLACES = Decimal("0.000001")
CENT = Decimal("0.01")
CONTEXTS_SHOWN = 100
PERCENTILES = ("mean", "p10", "p50", "p90", "p99")
_WIDE = Context(prec=60)


def usd_of(value: float, quantum: Decimal = PLACES, rounding: str = ROUND_HALF_EVEN) -> Decimal:
    """An estimate as an amount. Raises ValueError for what is no number."""
    if not math.isfinite(value):
        raise ValueError(f"an estimate came to {value}")
    return Decimal(repr(value)).quantize(quantum, rounding=rounding, context=_WIDE)


def amount(value: float) -> str:
    return f"{usd_of(value):f}"


def result_json(
    plan: Plan,
    estimate: Estimate,
    levers: Sequence[Lever],
    budget_usd: Decimal | None,
    cards: Sequence[PlanCard],
) -> dict[str, Any]:
    """Everything that a page shows of a plan."""
    likely = estimate.likely
    return {
        "run": percentiles_json(estimate.run),
        "success": None if estimate.success is None else percentiles_json(estimate.success),
        "one_run": percentiles_json(estimate.one_run),
        "months": [
            {"month": number, **percentiles_json(month)} for number, month in enumerate(estimate.months, start=1)
        ],
        # The year's percentiles are not its months' added up, and are not claimed.
        "year_mean_usd": amount(sum(month.mean for month in estimate.months)),
        "budget_usd": None if budget_usd is None else f"{budget_usd:f}",
        "over_budget": _share(estimate.over_budget),
        "over_budget_months": None
        if estimate.over_budget_months is None
        else [_share(share) for share in estimate.over_budget_months],
        "drivers": [
            {
                "name": driver.name,
                "low_usd": amount(driver.low_usd),
                "high_usd": amount(driver.high_usd),
                "correlation": round(driver.correlation, 3),
            }
            for driver in estimate.drivers
        ],
        "likely_usd": amount(likely.usd),
        "chatbot_usd": amount(likely.chatbot_usd),
        "chatbot_multiple": None if estimate.chatbot_multiple is None else round(estimate.chatbot_multiple, 2),
        "steps": [_step_json(step) for step in likely.steps],
        "other_usd": amount(likely.other_usd),
        "loops": [
            {
                "step": loop.step,
                "context_tokens": [round(tokens) for tokens in loop.context_tokens[:CONTEXTS_SHOWN]],
                "calls_mean": round(loop.calls_mean, 3),
                "calls_p50": loop.calls_p50,
                "calls_p99": loop.calls_p99,
                "cut_share": _share(loop.cut_share),
                "calls_max_advised": loop.calls_max_advised,
            }
            for loop in estimate.loops
        ],
        "levers": [lever_json(lever) for lever in levers],
        "warnings": list(_long_prompts(plan, estimate, {card.model: card.over_prompt_tokens for card in cards})),
        "advice": _advice_json(plan, estimate),
    }


def _long_prompts(
    plan: Plan, estimate: Estimate, thresholds: Mapping[ModelChoice, int | None]
) -> Iterator[dict[str, Any]]:
    """Calls of likely prompts beyond the length from which a model costs more: they are reckoned at the lower rates."""
    for step, loop in zip(plan.steps, estimate.loops, strict=True):
        for model in dict.fromkeys((step.model, step.escalates_to)):
            over = None if model is None else thresholds.get(model)
            if model is None or over is None:
                continue
            pairs = zip(loop.context_tokens, loop.reached, strict=True)
            share = sum(reached for tokens, reached in pairs if tokens > over) / sum(loop.reached)
            if round(share, 4) <= 0:
                continue
            yield {
                "code": "long_prompts",
                "step": step.name,
                **_model_of(model),
                "over_prompt_tokens": over,
                "calls_share": _share(share),
                "detail": f"{step.name}: {share:.0%} of the calls to {model.model} send more than {over:,} tokens:"
                " such calls cost more than is reckoned here.",
            }


def percentiles_json(found: Percentiles) -> dict[str, str]:
    return {f"{name}_usd": amount(getattr(found, name)) for name in PERCENTILES}


def _step_json(step: StepCost) -> dict[str, Any]:
    return {
        "name": step.name,
        "usd": amount(step.usd),
        "router_usd": amount(step.router_usd),
        "models": [_model_json(model) for model in step.models],
    }


def _model_json(model: ModelCost) -> dict[str, Any]:
    return {
        "provider": model.model.provider,
        "model": model.model.model,
        "runs_share": _share(model.runs_share),
        "calls": round(model.calls, 4),
        "attempts": round(model.attempts, 4),
        "usd": amount(model.usd),
        "classes": {
            name: {"tokens": round(one.tokens, 2), "usd": amount(one.usd)} for name, one in model.classes.items()
        },
    }


def lever_json(lever: Lever) -> dict[str, Any]:
    saving = lever.saving
    return {
        "name": lever.name,
        "alone_usd": amount(lever.alone_usd),
        "joint_after_usd": amount(lever.joint_after_usd),
        "saving_usd": {part: amount(getattr(saving, part)) for part in ("low", "likely", "high")},
        "advised": lever.advised,
        "reason": lever.reason,
        "label": lever.label,
        "routes": [
            {"step": route.step, "model": _model_of(route.model), "first": _model_of(route.first)}
            for route in lever.routes
        ],
        "assumed": _assumed_json() if lever.routes else None,
    }


def _model_of(model: ModelChoice) -> dict[str, str]:
    return {"provider": model.provider, "model": model.model}


def _assumed_json() -> dict[str, Any]:
    """What a cascade's saving rests on and nobody measured."""
    assumed = {"escalation_rate": ESCALATION_RATE, "escalation_multiple": ESCALATION_MULTIPLE}
    return {name: {"low": one.low, "likely": one.likely, "high": one.high} for name, one in assumed.items()}


def _advice_json(plan: Plan, estimate: Estimate) -> dict[str, Any]:
    """Rounded up to the cent: what is asked for must suffice."""
    advice = estimate.advice
    return {
        "budget_usd": f"{usd_of(advice.budget_usd, CENT, ROUND_CEILING):f}",
        "cap_usd": f"{usd_of(advice.cap_usd, CENT, ROUND_CEILING):f}",
        "run_cost_max_usd": f"{usd_of(advice.run_cost_max_usd, PLACES, ROUND_CEILING):f}",
        "steps_max": sum(step.calls_max for step in plan.steps),
        "attempts_max": max(step.retries_max for step in plan.steps) + 1,
        "calls_max": dict(advice.calls_max),
    }


def _share(share: float | None) -> float | None:
    return None if share is None else round(share, 4)


def decimal_at(found: Mapping[str, Any], *path: str | int) -> Decimal:
    """An amount of a stored result."""
    value: Any = found
    for name in path:
        value = value[name]
    return Decimal(value)
