"""The cards and agents of the worked examples of docs/planner.md, as plans."""

from dataclasses import replace
from typing import Any

from apps.planner.ranges import STEP_INPUTS
from apps.planner.shapes import Card, ModelChoice, Plan, Range, Step

LARGE, SMALL, HAIKU_CLASS = (ModelChoice("acme", name) for name in ("large", "small", "haiku-class"))


def card(input_usd: float, output_usd: float, **changed: Any) -> Card:
    """Prices in USD a million tokens; reading a cache costs 0.1, writing 1.25 and 2 times the input."""
    rate = input_usd * 1e-6
    named: dict[str, Any] = {
        "input": rate, "output": output_usd * 1e-6, "cache_read": 0.1 * rate, "cache_write_5m": 1.25 * rate,
        "cache_write_1h": 2 * rate, "cache_min_tokens": 1_024, "batch_factor": 0.5,
    }  # fmt: skip
    return Card(**{**named, **changed})


CARDS = {LARGE: card(3, 15), SMALL: card(0.25, 2), HAIKU_CLASS: card(1, 5)}

# calls, S, U, R, O, T
AGENTS = {
    "triage": (4, 2_000, 400, 1_500, 150, 500),
    "support": (6, 3_000, 500, 2_500, 220, 900),
    "research": (10, 3_500, 500, 0, 250, 1_200),
    "coding": (20, 6_000, 1_000, 0, 300, 1_200),
}
CACHED: dict[str, Any] = {"cache": "5m", "prefix_cached_rate": Range.exact(0.9)}
CASCADE: dict[str, Any] = {
    "model": SMALL,
    "routing": "cascade",
    "escalates_to": LARGE,
    "escalation_rate": Range.exact(0.15),
}


def step(agent: str, **changed: Any) -> Step:
    calls, prefix, asked, retrieved, output, tools = (Range.exact(value) for value in AGENTS[agent])
    named: dict[str, Any] = {
        "name": agent, "model": LARGE, "prefix_tokens": prefix, "input_tokens": asked, "retrieved_tokens": retrieved,
        "output_tokens": output, "tool_result_tokens": tools, "calls": calls, "calls_max": 1_000,
    }  # fmt: skip
    return Step(**{**named, **{key: _range(key, value) for key, value in changed.items()}})


def plan(agent: str, *, runs: float = 100_000, **changed: Any) -> Plan:
    return Plan((step(agent, **changed),), Range.exact(runs))


def changed(found: Plan, **changes: Any) -> Plan:
    """The plan with other inputs in each of its steps."""
    ranges = {key: _range(key, value) for key, value in changes.items()}
    return replace(found, steps=tuple(replace(step, **ranges) for step in found.steps))


def _range(name: str, value: Any) -> Any:
    return Range.exact(value) if name in STEP_INPUTS and isinstance(value, int | float) else value


def open_plan(agent: str = "support", **changed: Any) -> Plan:
    """The support agent with every input open."""
    ranges: dict[str, Any] = {
        "prefix_tokens": Range(2_500, 3_000, 4_000), "input_tokens": Range(300, 500, 900),
        "retrieved_tokens": Range(2_000, 2_500, 3_500), "output_tokens": Range(160, 220, 330),
        "tool_result_tokens": Range(500, 900, 2_000), "calls": Range(4, 6, 9), "dispersion": Range(1.5, 2.5, 4),
        "calls_max": 15, "retry_rate": Range(0.01, 0.03, 0.10), "reuse_rate": Range(0.90, 0.98, 0.995),
    }  # fmt: skip
    found = plan(agent, **{**ranges, **changed})
    runs, growth, success = Range(60_000, 100_000, 220_000), Range(1.0, 1.05, 1.2), Range(0.8, 0.9, 0.95)
    return replace(found, runs_per_month=runs, growth=growth, success_rate=success)
