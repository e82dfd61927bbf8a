"""A plan as JSON, and back. Pure.

Everything that a caller may write is checked here: a bad value is named by its path ("steps[1].calls.low") with the way
out. What is left out takes its default. An uncertain value is a number, which is exact, or
{"low", "likely", "high"}: its 10th, 50th and 90th percentile. Amounts are decimal strings in USD.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from apps.planner.reading import amount_of, choice_of, invalid, name_of, number_of, object_of, plain_text, whole_of
from apps.planner.shapes import CALLS_MAX, RETRIES_MAX, STEPS_MAX, Compaction, ModelChoice, Plan, Range, Step

STEP_NAME_MAX = 100
MODEL_NAME_MAX = 256
TOKENS_MAX = 10_000_000
RUNS_MAX = 1_000_000_000
GROWTH_MAX = 10
USD_MAX = 1_000_000
RANGE_PARTS = ("low", "likely", "high")
CACHES = ("off", "5m", "1h")
ROUTINGS = ("none", "cascade", "router")


@dataclass(frozen=True, slots=True)
class Limits:
    """What an uncertain value may be, and what it is where nobody says."""

    lowest: float
    highest: float
    default: tuple[float, float, float]
    is_usd: bool = False


def _exactly(value: float) -> tuple[float, float, float]:
    return (value, value, value)


# Defaults of the cost model's inputs: the first three numbers are P10, P50 and P90.
STEP_RANGES: Mapping[str, Limits] = {
    "prefix_tokens": Limits(0, TOKENS_MAX, (1500, 3000, 8000)),
    "input_tokens": Limits(0, TOKENS_MAX, (300, 500, 900)),
    "retrieved_tokens": Limits(0, TOKENS_MAX, _exactly(0)),
    "output_tokens": Limits(0, TOKENS_MAX, (160, 220, 330)),
    "reasoning_tokens": Limits(0, TOKENS_MAX, _exactly(0)),
    "tool_result_tokens": Limits(0, TOKENS_MAX, _exactly(0)),
    "calls": Limits(1, CALLS_MAX, _exactly(1)),
    "dispersion": Limits(0, 100, (1.5, 2.5, 4)),
    "retry_rate": Limits(0, 0.95, (0.01, 0.03, 0.1)),
    "reuse_rate": Limits(0, 1, (0.9, 0.98, 0.995)),
    "escalation_rate": Limits(0, 1, (0.08, 0.15, 0.35)),
    "escalation_multiple": Limits(0, 100, (1, 1.2, 1.5)),
    "router_cost_usd": Limits(0, USD_MAX, _exactly(0), is_usd=True),
    "batch_share": Limits(0, 1, _exactly(0)),
    "runs_share": Limits(0, 1, _exactly(1)),
}
PLAN_RANGES: Mapping[str, Limits] = {
    "runs_per_month": Limits(0, RUNS_MAX, _exactly(0)),
    "growth": Limits(0.01, GROWTH_MAX, (1, 1.05, 1.2)),
    "success_rate": Limits(0.001, 1, _exactly(0.9)),
    "other_cost_usd": Limits(0, USD_MAX, _exactly(0), is_usd=True),
}
CACHED_RATE = Limits(0, 1, _exactly(0))
CALLS_CAP_DEFAULT = 15
RETRIES_DEFAULT = 2
BILLED_SHARE_DEFAULT = 0.5

_STEP_FIELDS = (
    "name", "model", *STEP_RANGES, "calls_max", "retries_max", "retry_billed_share", "cache", "prefix_cached_rate",
    "routing", "escalates_to", "compaction", "window_tokens",
)  # fmt: skip
_PLAN_FIELDS = ("steps", *PLAN_RANGES)


# --- reading --------------------------------------------------------------------------------------------


def read_plan(given: Any) -> Plan:
    """The plan that a JSON object describes. Raises `DomainError` (`plan_invalid`) with the path of what is wrong."""
    fields = object_of(given, "", _PLAN_FIELDS)
    if "runs_per_month" not in fields:
        raise invalid("runs_per_month", "is missing: say how many runs a month there will be.")
    steps = fields.get("steps")
    if not isinstance(steps, Sequence) or isinstance(steps, str) or not 1 <= len(steps) <= STEPS_MAX:
        raise invalid("steps", f"is a list of 1 to {STEPS_MAX} steps.")
    read = tuple(_step(step, f"steps[{place}]") for place, step in enumerate(steps))
    names = [step.name for step in read]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise invalid(f"steps[{place}].name", f"is '{name}' a second time: give each step a name of its own.")
    return Plan(steps=read, **{name: _range(fields, name, "", limits) for name, limits in PLAN_RANGES.items()})


def _step(given: Any, path: str) -> Step:
    fields = object_of(given, path, _STEP_FIELDS)
    ranges = {name: _range(fields, name, path, limits) for name, limits in STEP_RANGES.items()}
    calls_max = whole_of(fields.get("calls_max", CALLS_CAP_DEFAULT), f"{path}.calls_max", 1, CALLS_MAX)
    if ranges["calls"].likely > calls_max:
        raise invalid(
            f"{path}.calls",
            f"is {plain_text(ranges['calls'].likely)} a run, and calls_max stops a run at {calls_max}: raise calls_max"
            " or lower calls.",
        )
    routing = choice_of(fields.get("routing", "none"), f"{path}.routing", ROUTINGS)
    larger = fields.get("escalates_to")
    escalates_to = None if larger is None else model_of(larger, f"{path}.escalates_to")
    if (routing == "none") != (escalates_to is None):
        way_out = "leave it out" if routing == "none" else "name the model that hard calls go to"
        raise invalid(f"{path}.escalates_to", f"does not go with routing '{routing}': {way_out}.")
    cached, window = fields.get("prefix_cached_rate"), fields.get("window_tokens")
    if window is not None and fields.get("compaction") is not None:
        raise invalid(f"{path}.window_tokens", "does not go with compaction: leave one of the two out.")
    return Step(
        name=name_of(fields.get("name"), f"{path}.name", STEP_NAME_MAX),
        model=model_of(fields.get("model"), f"{path}.model"),
        calls_max=calls_max,
        retries_max=whole_of(fields.get("retries_max", RETRIES_DEFAULT), f"{path}.retries_max", 0, RETRIES_MAX),
        retry_billed_share=number_of(
            fields.get("retry_billed_share", BILLED_SHARE_DEFAULT), f"{path}.retry_billed_share", 0, 1
        ),
        cache=choice_of(fields.get("cache", "off"), f"{path}.cache", CACHES),
        prefix_cached_rate=None if cached is None else _range(fields, "prefix_cached_rate", path, CACHED_RATE),
        routing=routing,
        escalates_to=escalates_to,
        compaction=_compaction(fields.get("compaction"), f"{path}.compaction"),
        window_tokens=None if window is None else whole_of(window, f"{path}.window_tokens", 1, TOKENS_MAX),
        **ranges,
    )


def _compaction(given: Any, path: str) -> Compaction | None:
    if given is None:
        return None
    fields = object_of(given, path, ("threshold_tokens", "summary_tokens"))
    threshold, summary = (
        whole_of(fields.get(name), f"{path}.{name}", 1, TOKENS_MAX) for name in ("threshold_tokens", "summary_tokens")
    )
    if summary >= threshold:
        raise invalid(
            f"{path}.summary_tokens", f"is {summary}: a summary is shorter than the {threshold} tokens it stands for."
        )
    return Compaction(threshold, summary)


def model_of(given: Any, path: str) -> ModelChoice:
    fields = object_of(given, path, ("provider", "model"))
    return ModelChoice(*(name_of(fields.get(name), f"{path}.{name}", MODEL_NAME_MAX) for name in ("provider", "model")))


def _range(fields: Mapping[str, Any], name: str, path: str, limits: Limits) -> Range:
    where = f"{path}.{name}" if path else name
    given = fields.get(name)
    if given is None:
        return Range(*limits.default)
    one = amount_of if limits.is_usd else number_of
    if not isinstance(given, Mapping):
        return Range(*_exactly(one(given, where, limits.lowest, limits.highest)))
    parts = object_of(given, where, RANGE_PARTS)
    low, likely, high = (one(parts.get(part), f"{where}.{part}", limits.lowest, limits.highest) for part in RANGE_PARTS)
    if low > likely:
        raise invalid(
            f"{where}.low", f"is {plain_text(low)}, above likely ({plain_text(likely)}): write low <= likely <= high."
        )
    if likely > high:
        raise invalid(
            f"{where}.high", f"is {plain_text(high)}, below likely ({plain_text(likely)}): write low <= likely <= high."
        )
    return Range(low, likely, high)


# --- a plan that nobody wrote --------------------------------------------------------------------------------


def bounded(plan: Plan) -> Plan:
    """A fitted plan within the limits of what people may write: it can then be revised like any other."""
    steps = []
    for step in plan.steps:
        ranges: dict[str, Any] = {name: _within(getattr(step, name), limits) for name, limits in STEP_RANGES.items()}
        ranges["calls"] = ranges["calls"].at_most(step.calls_max)
        steps.append(replace(step, **ranges))
    ranges = {name: _within(getattr(plan, name), limits) for name, limits in PLAN_RANGES.items()}
    return replace(plan, steps=tuple(steps), **ranges)


def _within(value: Range, limits: Limits) -> Range:
    """As many digits as a person would write, so that what is read back is what was written."""
    digits = [_rounded(min(max(one, limits.lowest), limits.highest)) for one in (value.low, value.likely, value.high)]
    return Range(*digits)


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


# --- writing --------------------------------------------------------------------------------------------


def plan_json(plan: Plan) -> dict[str, Any]:
    """The plan in full, defaults included; `read_plan` of it is the plan again."""
    return {
        "steps": [step_json(step) for step in plan.steps],
        **{name: _range_json(getattr(plan, name), limits) for name, limits in PLAN_RANGES.items()},
    }


def step_json(step: Step) -> dict[str, Any]:
    cached, compaction, to = step.prefix_cached_rate, step.compaction, step.escalates_to
    return {
        "name": step.name,
        "model": _model_json(step.model),
        **{name: _range_json(getattr(step, name), limits) for name, limits in STEP_RANGES.items()},
        "calls_max": step.calls_max,
        "retries_max": step.retries_max,
        "retry_billed_share": _plain(step.retry_billed_share),
        "cache": step.cache,
        "prefix_cached_rate": None if cached is None else _range_json(cached, CACHED_RATE),
        "routing": step.routing,
        "escalates_to": None if to is None else _model_json(to),
        "compaction": None
        if compaction is None
        else {"threshold_tokens": compaction.threshold_tokens, "summary_tokens": compaction.summary_tokens},
        "window_tokens": step.window_tokens,
    }


def _model_json(model: ModelChoice) -> dict[str, str]:
    return {"provider": model.provider, "model": model.model}


def _range_json(value: Range, limits: Limits) -> Any:
    plain: Callable[[float], Any] = plain_text if limits.is_usd else _plain
    if value.low == value.high:
        return plain(value.likely)
    return {part: plain(getattr(value, part)) for part in RANGE_PARTS}


def _plain(value: float) -> int | float:
    return int(value) if float(value).is_integer() else value
