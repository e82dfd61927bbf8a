"""What a workflow's calls were like on one side of a comparison: the figures behind the lines of a variance. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from apps.planner.shapes import ModelChoice
from apps.planner.variance import CLASSES, OUTPUT_CLASSES, PROMPT_CLASSES, ModelUse, WorkflowUse


@dataclass(frozen=True, slots=True)
class Measures:
    """Of priced calls. None where there was nothing to divide by.

    runs                 None: nobody knows
    calls_per_run        calls that a run wanted: neither retries nor escalations
    attempts_per_call    1.0 without retries
    escalated_share      calls that a larger model answered again, of those wanted
    context_tokens       prompt of an attempt
    cached_share         of prompt tokens, what was read from a cache
    output_tokens        answered and thought, an attempt
    usd_per_million      USD per million tokens of all classes, as it came to
    usd_per_run          all priced cost, other meters too
    """

    runs: float | None
    calls: float
    calls_per_run: float | None
    attempts_per_call: float | None
    escalated_share: float | None
    context_tokens: float | None
    cached_share: float | None
    output_tokens: float | None
    usd_per_million: float | None
    usd_per_run: float | None
    model_shares: Mapping[ModelChoice, float]


def measure(use: WorkflowUse) -> Measures:
    attempts = sum(model.attempts for model in use.models)
    retries = sum(model.retries for model in use.models)
    escalations = sum(model.escalations for model in use.models)
    answers = attempts - retries
    calls = answers - escalations
    tokens = {name: _tokens(use.models, name) for name in CLASSES}
    prompt = sum(tokens[name] for name in PROMPT_CLASSES)
    text_usd = sum(float(one.usd) for model in use.models for one in model.classes.values())
    return Measures(
        runs=use.runs,
        calls=calls,
        calls_per_run=_ratio(calls, use.runs),
        attempts_per_call=_ratio(attempts, answers),
        escalated_share=_ratio(escalations, calls),
        context_tokens=_ratio(prompt, attempts),
        cached_share=_ratio(tokens["cache_read"], prompt),
        output_tokens=_ratio(sum(tokens[name] for name in OUTPUT_CLASSES), attempts),
        usd_per_million=_ratio(text_usd * 1e6, sum(tokens.values())),
        usd_per_run=_ratio(float(use.usd), use.runs),
        model_shares={model.model: model.attempts / attempts for model in use.models if model.attempts},
    )


def _tokens(models: tuple[ModelUse, ...], name: str) -> float:
    return sum(model.classes[name].tokens for model in models if name in model.classes)


def _ratio(over: float, under: float | None) -> float | None:
    return over / under if under else None
