"""Signals in words: names, readings with their units, the sentence of an incident, and what to do about it. Pure.

Texts hold names of the organization as they are; who shows them escapes or defuses them.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

LABELS: Mapping[str, str] = {
    "escalation_rate": "Escalation rate",
    "cache_hit_rate": "Cache-hit rate",
    "cache_write_ratio": "Cache-write share",
    "loops_per_run": "Loops per run",
    "capped_share": "Runs stopped at a bound",
    "retry_rate": "Retry rate",
    "input_tokens_per_call": "Input tokens per call",
    "context_growth": "Context growth per step",
    "cost_per_run": "Cost per run",
    "cost_per_success": "Cost per success",
    "unattributed_share": "Unattributed share",
    "unpriced_share": "Unpriced share",
    "dead_spend": "Dead spend",
    "spend_per_hour": "Spend per hour",
    "burn": "Budget burn",
    "runaway": "Runaway run",
}
SHARES = frozenset(
    {"escalation_rate", "cache_hit_rate", "cache_write_ratio", "capped_share", "retry_rate", "unattributed_share",
     "unpriced_share", "dead_spend"}
)  # fmt: skip
UNITS: Mapping[str, str] = {
    **dict.fromkeys(SHARES, "%"),
    "loops_per_run": "calls",
    "input_tokens_per_call": "tokens",
    "context_growth": "tokens",
    "cost_per_run": "USD",
    "cost_per_success": "USD",
    "spend_per_hour": "USD",
    "burn": "times the plan",
    "runaway": "",
}
# What a reading is made of.
OBSERVATIONS: Mapping[str, str] = {
    **dict.fromkeys(LABELS, "runs"),
    **dict.fromkeys(("cache_hit_rate", "input_tokens_per_call", "unattributed_share", "unpriced_share"), "calls"),
    "cache_write_ratio": "calls that write a cache",
    "retry_rate": "attempts",
    "context_growth": "runs of several calls",
    "cost_per_success": "runs with a known outcome",
}
# What a fix is called, and what it means.
FIXES: Mapping[str, tuple[str, str]] = {
    "route": (
        "Route to a cheaper model",
        "Send what the small model can do to it, and see what escalates.",
    ),
    "cache": (
        "Mend the cache",
        "Keep the beginning of the prompt the same to the byte, and the gaps short.",
    ),
    "bound_loop": ("Bound the loop", "Set a bound on steps for the workflow's runs, and see why they need more."),
    "compact": ("Compact the context", "Sum up what was said once the context is long; cutting breaks the cache."),
    "trim": ("Trim the prompt", "Look at what was added: retrieved text, tool results, examples."),
    "retry_policy": ("Change the retry policy", "Fewer tries with longer pauses; see which error comes back."),
    "dead_runs": ("Stop dead runs earlier", "Runs that fail cost as much as those that succeed: fail them sooner."),
    "names": ("Name what sends", "Events that name no team or workflow: map the name, or set a rule."),
    "prices": ("Add the price", "Calls of a model without a price: map its name, or enter a price."),
    "budget": ("Look at the budget", "Raise it, or stop what spends."),
    "explain": ("Compare the runs", "Open the dearest runs beside those of a usual day."),
}


def learning(key: str, days: int, observations: int) -> str:
    """What a signal still needs before its own past counts; "" where it has learned."""
    needs = [f"{days} more day{'' if days == 1 else 's'}"] if days else []
    needs += [f"{observations:,} more {OBSERVATIONS[key]}"] if observations else []
    return " and ".join(needs)


def label(signal: str) -> str:
    return LABELS.get(signal, signal.replace("_", " "))


def reading(signal: str, value: float | None) -> str:
    """A reading with its unit: "12.3 %", "4.1 calls", "0.214 USD"; an em dash for what is not known."""
    if value is None:
        return "—"
    if signal in SHARES:
        return f"{100 * value:.3g} %"
    unit = UNITS.get(signal, "")
    # Four digits, written out: no reader of costs knows what 9.6e-05 is.
    text = f"{value:,.0f}".replace(",", "\u202f") if abs(value) >= 1000 else f"{Decimal(f'{value:.4g}'):f}"
    return f"{text} {unit}".strip()


def scope_words(kind: str, scope: str) -> str:
    return "the whole organization" if kind == "organization" else f"{kind} {scope}"


def title(signal: str, kind: str, scope: str) -> str:
    """ "Loops per run of workflow answers is off its baseline"."""
    where = scope_words(kind, scope)
    if signal == "runaway":
        return f"A run of {where} runs away"
    if signal == "burn":
        return f"The budget of {where} burns too fast"
    return f"{label(signal)} of {where} is away from its baseline"


def change_words(entry: Mapping[str, Any]) -> str:
    """ "8.3 calls, where 2.9 calls is usual (2.6 to 3.2 calls)"; of what is back in its band, what its peak was."""
    signal = str(entry.get("signal", ""))
    peak = entry.get("peak") if _is_back(entry) else None
    of: Mapping[str, Any] = peak or entry
    value, usual, low, high = (_number(of.get(name)) for name in ("value", "baseline", "low", "high"))
    if signal == "runaway":
        return ""
    if signal == "burn":
        return f"{reading(signal, value)} over {_span(str(entry.get('rule', 'a while')))}"
    words = reading(signal, value) + (" at its peak" if peak else "")
    if usual is not None:
        words += (
            f", where {reading(signal, usual)} is {'the P90 of its plan' if entry.get('rule') == 'plan' else 'usual'}"
        )
    if low is not None and high is not None:
        words += f" ({reading(signal, low).removesuffix(f' {UNITS.get(signal)}')} to {reading(signal, high)})"
    return words


def _is_back(entry: Mapping[str, Any]) -> bool:
    """Whether a reading is no longer away, so that it says nothing of why there is an incident."""
    value, low, high = (_number(entry.get(name)) for name in ("value", "low", "high"))
    is_within = value is not None and low is not None and high is not None and low <= value <= high
    return is_within or entry.get("in_alarm") is False


def _span(rule: str) -> str:
    """Of a window that is said in minutes: "4320 minutes" is 3 days."""
    number, _, unit = rule.partition(" ")
    if unit != "minutes" or not number.isdecimal():
        return rule
    for size, name in ((1440, "day"), (60, "hour")):
        if int(number) % size == 0:
            return f"{int(number) // size} {name}{'' if int(number) == size else 's'}"
    return rule


def fix_words(fix: str) -> tuple[str, str]:
    return FIXES.get(fix, ("", ""))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
