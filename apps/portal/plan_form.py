"""A plan as a form: fields named by their path in the definition ("steps[0].calls.low"), and back.

Shares are written in per cent, amounts in USD. Of an uncertain value low and high may be left empty: it is then exact.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from apps.core.errors import DomainError
from apps.planner.definition import CACHES, RANGE_PARTS, ROUTINGS
from apps.planner.reading import invalid
from apps.planner.shapes import STEPS_MAX
from apps.portal import formats
from apps.portal.pages_prices import FormError

NUMBER, PER_CENT, USD = "number", "per cent", "USD"
TEXT_MAX = 300


@dataclass(frozen=True, slots=True)
class Input:
    """One input of the cost model in words. `kind` says how it is written; `is_range`: low, likely and high."""

    name: str
    label: str
    unit: str
    says: str
    kind: str = NUMBER
    is_range: bool = True


@dataclass(frozen=True, slots=True)
class Group:
    title: str
    inputs: tuple[Input, ...]
    is_folded: bool = False


STEP_GROUPS = (
    Group(
        "What a call reads",
        (
            Input("prefix_tokens", "Stable prefix", "tokens", "System prompt, tool schemas, examples: always the same"),
            Input("input_tokens", "Task", "tokens", "What this run is asked"),
            Input("retrieved_tokens", "Retrieved context", "tokens", "Documents fetched before the first call"),
        ),
    ),
    Group(
        "What a call writes",
        (
            Input("output_tokens", "Visible output", "tokens a call", "Sent back with the next call"),
            Input("reasoning_tokens", "Reasoning", "tokens a call", "Billed as output, not sent back"),
            Input("tool_result_tokens", "Tool result", "tokens a call", "Appended after each call"),
        ),
    ),
    Group(
        "Loop",
        (
            Input("calls", "Calls a run", "calls", "On average, before the bound cuts any"),
            Input("dispersion", "Spread of calls", "×", "Variance over (calls − 1): 0 fixed, 1 random, 3 long tails"),
            Input("calls_max", "At most", "calls", "The bound: a run is stopped after so many", is_range=False),
        ),
    ),
    Group(
        "Cache",
        (
            Input("prefix_cached_rate", "Prefix found cached", "%", "When a run begins; empty: by arrivals", PER_CENT),
            Input("reuse_rate", "Cached between calls", "%", "The next call comes before the cache forgets", PER_CENT),
        ),
    ),
    Group(
        "Retries",
        (
            Input("retry_rate", "Attempts that fail", "%", "And are sent again", PER_CENT),
            Input("retries_max", "At most", "retries", "", is_range=False),
            Input("retry_billed_share", "Billed of a failed attempt", "%", "", PER_CENT, is_range=False),
        ),
        is_folded=True,
    ),
    Group(
        "Routing",
        (
            Input("escalation_rate", "Runs that escalate", "%", "To the model named above", PER_CENT),
            Input("escalation_multiple", "Cost of an escalated run", "×", "Of the larger model's own; cascade only"),
            Input("router_cost_usd", "Choosing costs", "USD a run", "Router only", USD),
        ),
        is_folded=True,
    ),
    Group(
        "More",
        (
            Input("runs_share", "Runs that take this step", "%", "", PER_CENT),
            Input("batch_share", "May wait for a batch", "%", "", PER_CENT),
            Input("compaction.threshold_tokens", "Compact above", "tokens", "Empty: never", is_range=False),
            Input("compaction.summary_tokens", "to a summary of", "tokens", "", is_range=False),
            Input("window_tokens", "Window", "tokens", "What a call still sees of what was appended", is_range=False),
        ),
        is_folded=True,
    ),
)  # fmt: skip
PLAN_INPUTS = (
    Input("runs_per_month", "Runs a month", "runs", "In the first month"),
    Input("growth", "Growth", "× a month", "1.05: five per cent more each month"),
    Input("success_rate", "Runs that succeed", "%", "", PER_CENT),
    Input("other_cost_usd", "Other cost", "USD a run", "Search, databases, tool fees", USD),
)
_STEP_INPUTS = tuple(one for group in STEP_GROUPS for one in group.inputs)
LABELS = {one.name: one.label for one in (*_STEP_INPUTS, *PLAN_INPUTS)} | {"budget_usd": "Your budget"}
CACHE_LABELS = dict(zip(CACHES, ("off", "5 minutes", "1 hour"), strict=True))
ROUTING_LABELS = dict(
    zip(ROUTINGS, ("one model", "cascade: small first, then again large", "router: one of the two"), strict=True)
)


_WHAT_IF = {
    "swap.from": "The model to replace",
    "swap.to": "The model to take",
    "prices": "The change of prices",
    "volume": "The number of runs",
    "cache": "The cache",
}


def worded(wrong: DomainError) -> FormError:
    """The error with the field's name in place of its path, which still says where it is."""
    path, detail = wrong.param or "", wrong.detail
    if not path or not detail.startswith(path):
        return FormError(path, detail)
    return FormError(path, f"{_words_of(path)}{detail.removeprefix(path)}")


def _words_of(path: str) -> str:
    place, _, rest = path.partition("].")
    if place.startswith("variants["):
        known = next((words for name, words in _WHAT_IF.items() if rest.startswith(name)), "")
        return known or f"The bound of {rest.rpartition('.')[2]}"
    name, part = path, ""
    if place.startswith("steps[") and rest:
        name = rest
    if name.rpartition(".")[2] in RANGE_PARTS:
        name, _, part = name.rpartition(".")
    words = LABELS.get(name, name.replace("_", " ").replace(".", ", "))
    words = f"{words}, {part}" if part else words
    return f"Step {int(place[6:]) + 1}, {words}:" if name != path and place.startswith("steps[") else words


# --- to the form ----------------------------------------------------------------------------------------


def given_of(definition: Mapping[str, Any]) -> dict[str, str]:
    """A definition as the form says it."""
    steps = definition["steps"]
    given = {"steps": str(len(steps))}
    for one in PLAN_INPUTS:
        given |= _texts(one, one.name, definition.get(one.name))
    for place, step in enumerate(steps):
        given |= _step_texts(f"steps[{place}]", step)
    return given


def _step_texts(path: str, step: Mapping[str, Any]) -> dict[str, str]:
    to, compaction = step.get("escalates_to"), step.get("compaction") or {}
    given = {
        f"{path}.name": step["name"],
        f"{path}.model": model_text(step["model"]),
        f"{path}.cache": step["cache"],
        f"{path}.routing": step["routing"],
        f"{path}.escalates_to": model_text(to) if to else "",
    }
    for one in _STEP_INPUTS:
        folder, _, leaf = one.name.partition(".")
        given |= _texts(one, f"{path}.{one.name}", compaction.get(leaf) if leaf else step.get(folder))
    return given


def model_text(model: Mapping[str, str]) -> str:
    return f"{model['provider']}/{model['model']}"


def _texts(one: Input, name: str, value: Any) -> dict[str, str]:
    if not one.is_range:
        return {name: _text(one, value)}
    if isinstance(value, Mapping):
        return {f"{name}.{part}": _text(one, value[part]) for part in RANGE_PARTS}
    return {f"{name}.likely": _text(one, value), f"{name}.low": "", f"{name}.high": ""}


def _text(one: Input, value: Any) -> str:
    if value is None:
        return ""
    if one.kind == USD:
        return str(value)
    return f"{float(value) * (100 if one.kind == PER_CENT else 1):.8f}".rstrip("0").rstrip(".")


# --- from the form --------------------------------------------------------------------------------------


def definition_of(given: Mapping[str, str]) -> dict[str, Any]:
    """What the form says, for `read_plan` to check. Raises `DomainError` (`plan_invalid`) for what is no per cent."""
    return {
        "steps": [_step_of(given, f"steps[{place}]") for place in range(step_count(given))],
        **{one.name: value for one in PLAN_INPUTS if (value := _value(given, one.name, one)) is not None},
    }


def step_count(given: Mapping[str, str]) -> int:
    text = given.get("steps", "")
    return min(int(text), STEPS_MAX) if text.isascii() and text.isdigit() and len(text) < 4 else 0


def _step_of(given: Mapping[str, str], path: str) -> dict[str, Any]:
    step: dict[str, Any] = {
        "name": given.get(f"{path}.name", ""),
        "model": model_of(given.get(f"{path}.model", "")),
        "cache": given.get(f"{path}.cache", "off"),
        "routing": given.get(f"{path}.routing", "none"),
    }
    if to := given.get(f"{path}.escalates_to", "").strip():
        step["escalates_to"] = model_of(to)
    for one in _STEP_INPUTS:
        value = _value(given, f"{path}.{one.name}", one)
        folder, _, leaf = one.name.partition(".")
        if value is not None and leaf:
            step.setdefault(folder, {})[leaf] = value
        elif value is not None:
            step[folder] = value
    return step


def model_of(text: str) -> dict[str, str]:
    """ "anthropic/claude-sonnet-4-5" as provider and model; a model's own name may hold slashes too."""
    provider, _, model = text.strip().partition("/")
    return {"provider": provider.strip(), "model": model.strip()}


def _value(given: Mapping[str, str], name: str, one: Input) -> Any:
    if not one.is_range:
        return _number(given.get(name, ""), name, one)
    low, likely, high = (_number(given.get(f"{name}.{part}", ""), f"{name}.{part}", one) for part in RANGE_PARTS)
    if likely is None and low is None and high is None:
        return None
    if likely is None:
        raise invalid(f"{name}.likely", "is missing: say what is most likely; low and high may be left empty.")
    if low is None and high is None:
        return likely
    return {"low": likely if low is None else low, "likely": likely, "high": likely if high is None else high}


def _number(text: str, path: str, one: Input) -> Any:
    """A number, the text itself where it is an amount or none; None where nothing was written."""
    plain = "".join(text.replace(formats.THIN, "").replace(",", "").split())
    if not plain or one.kind == USD:
        return plain or None
    try:
        number = float(plain)
    except ValueError:
        raise invalid(path, f"is '{text[:40]}': write a number.") from None
    if one.kind == PER_CENT:
        if not 0 <= number <= 100:
            raise invalid(path, f"is '{text[:40]}': write per cent, from 0 to 100.")
        return round(number / 100, 10)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


# --- steps that come and go -----------------------------------------------------------------------------


def with_step(given: Mapping[str, str]) -> dict[str, str]:
    """One step more, which begins as the last one is."""
    count = step_count(given)
    if not 0 < count < STEPS_MAX:
        return dict(given)
    added = dict(_of_step(given, count - 1, count))
    return {**given, **added, f"steps[{count}].name": f"step {count + 1}", "steps": str(count + 1)}


def without_step(given: Mapping[str, str], place: int) -> dict[str, str]:
    """One step less; the last one stays."""
    count = step_count(given)
    if not 0 <= place < count or count == 1:
        return dict(given)
    kept = {name: text for name, text in given.items() if not name.startswith("steps[")}
    for now, before in enumerate(one for one in range(count) if one != place):
        kept |= dict(_of_step(given, before, now))
    return {**kept, "steps": str(count - 1)}


def _of_step(given: Mapping[str, str], place: int, becomes: int) -> Iterator[tuple[str, str]]:
    start = f"steps[{place}]."
    for name, text in given.items():
        if name.startswith(start):
            yield f"steps[{becomes}].{name.removeprefix(start)}", text
