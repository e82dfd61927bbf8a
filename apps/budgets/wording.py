"""What a reason of a refusal says to people: which rule, its figures, and what to do. Pure."""

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from apps.budgets.rules import describe

Reason = Mapping[str, Any]

_RUN = "Run '{run_id}' {what}: end it, or raise the bound of its workflow."
_BOUNDS: dict[str, str] = {
    "run_steps": "took {used} of {limit} steps",
    "run_attempts": "tried this step {used} of {limit} times",
    "run_depth": "is nested deeper than {limit} levels",
    "run_children": "has started {used} of {limit} child runs",
    "run_seconds": "has run for {used} of {limit} seconds",
    "run_same_tool_calls": "made this tool call with the same arguments {used} of {limit} times",
}


def worded(reasons: Sequence[Reason], name_of: Callable[[int], str]) -> list[dict[str, Any]]:
    """Each reason with a sentence in `detail`; `name_of` gives a budget's name."""
    return [{**reason, "detail": _detail(reason, name_of)} for reason in reasons]


def usd(text: str | Decimal) -> str:
    """An amount as a sentence shows it: two decimals, more where it has them."""
    amount = Decimal(text).normalize()
    _, _, exponent = amount.as_tuple()
    places = max(2, -int(exponent))
    return f"{amount:.{places}f} USD"


def subject_words(subject: str) -> str:
    """Whose counter it is: "user ann", from the JSON object that a counter keeps."""
    return describe(json.loads(subject))


def _detail(reason: Reason, name_of: Callable[[int], str]) -> str:
    code = reason["code"]
    if code == "budget_exceeded":
        subject = f" for {subject_words(reason['subject'])}" if reason["subject"] else ""
        return (
            f"Budget '{name_of(reason['budget_id'])}'{subject} has {usd(reason['remaining_usd'])} left of"
            f" {usd(reason['limit_usd'])}: {usd(reason['spent_usd'])} spent, {usd(reason['held_usd'])} held. It resets"
            f" at {reason['resets_at']}. Ask for a raise, wait, or use a cheaper model."
        )
    if code == "stopped":
        what = f"{reason['kind']} '{reason['target']}'" if reason["target"] else "the organization"
        return f"{what[0].upper()}{what[1:]} was stopped: {reason['because']}. Somebody with the right to may lift it."
    if code == "lease_over":
        return f"The lease was over at {reason['expires_at']}, or its budgets changed: take a new one."
    if code == "run_ended":
        return f"Run '{reason['run_id']}' ended at {reason['ended_at']}: use a run_id of its own for another run."
    if code == "run_cost":
        what = f"spent {usd(reason['used'])} and holds {usd(reason['held'])} of {usd(reason['limit'])}"
    else:
        what = _BOUNDS[code].format(**reason)
    return _RUN.format(run_id=reason["run_id"], what=what)
