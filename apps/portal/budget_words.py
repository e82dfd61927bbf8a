"""What pages about budgets say: states, modes, periods and crossings in the reader's words."""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from apps.budgets.models import Crossing
from apps.budgets.rules import describe
from apps.insights import wording
from apps.portal import formats
from apps.portal.pages_budgets import Meter, State

MODES = {
    "notify": ("Notify", "Tells people at the thresholds. Every call goes through."),
    "downgrade": (
        "Downgrade",
        "Above the limit, decisions allow cheaper models only. Who does not ask spends on.",
    ),
    "block": ("Block", "A cap: above the limit, decisions refuse calls until the period ends or more is approved."),
}
PERIODS = {
    "day": "every day",
    "week": "every week",
    "month": "every month",
    "quarter": "every quarter",
    "year": "every year",
    "range": "fixed days",
}
STATES = {
    "fine": State("fine", "", "Within its limit, and the run rate stays there."),
    "at_risk": State("at risk", "risk", "80 % of the limit is spent or held, or the run rate goes beyond it."),
    "over": State("over", "bad", "More is spent than the limit. Calls still go through."),
    "refusing": State("refusing", "bad", "Nothing is left: decisions for its calls are refused."),
    "waiting": State("not begun", "open", "Its days have not begun."),
    "past": State("ended", "", "Its days are over."),
}
DOWNGRADING = State("over", "bad", "More is spent than the limit: decisions allow cheaper models only.")


def state_words(state: str, mode: str) -> State:
    return DOWNGRADING if state == "over" and mode == "downgrade" else STATES[state]


def subject_words(subject: str) -> str:
    """Whose counter it is: "user ann"; "" of a scope as a whole."""
    return describe(json.loads(subject)) if subject else ""


def meter(spent: Decimal, held: Decimal, limit: Decimal, thresholds: Sequence[int] = ()) -> Meter:
    """The bar is as long as the limit, or as what is spent and held where that is more."""
    whole = max(limit, spent + held)
    return Meter(
        spent=_width(spent, whole),
        held=_width(held, whole),
        held_from=_width(spent, whole),
        ticks=tuple(_width(limit * percent / 100, whole) for percent in thresholds if limit * percent <= whole * 100),
        is_full=spent + held >= limit and spent + held > 0,
    )


def _width(part: Decimal, whole: Decimal) -> str:
    share = part / whole if whole > 0 else Decimal(0)
    return f"{min(max(share, Decimal(0)), Decimal(1)) * 100:.1f}%"


def crossing_words(row: Crossing) -> str:
    """One sentence of what happened, from the figures of the instant."""
    facts: Mapping[str, Any] = row.facts
    subject = subject_words(str(facts.get("subject") or ""))
    whose = f" for {subject}" if subject else ""
    spent, limit = _usd(facts.get("spent_usd")), _usd(facts.get("limit_usd"))
    match row.kind:
        case "threshold":
            return f"{facts.get('threshold')} % reached{whose}: {spent} of {limit} USD spent"
        case "forecast":
            what = "Forecast" if "forecast_usd" in facts else "Run rate"
            rate = _usd(facts.get("forecast_usd", facts.get("run_rate_usd")))
            return f"{what} reached {facts.get('threshold')} %{whose}: {rate} of {limit} USD by the period's end"
        case "refused":
            return f"First call refused{whose}: {spent} of {limit} USD spent, {_usd(facts.get('held_usd'))} held"
        case "overrun":
            return f"A call cost {_usd(facts.get('over_usd'))} USD more than it held{whose}"
        case "settled_late":
            return f"A call was settled after its hold was over{whose}: {_usd(facts.get('over_usd'))} USD beyond it"
        case "raise_asked":
            return f"{facts.get('asked_by')} asked for {_usd(facts.get('amount_usd'))} USD more"
        case "run_bound":
            workflow = f" of {facts['workflow']}" if facts.get("workflow") else ""
            return f"Run {row.run_id}{workflow} reached its bound on {_bound_words(facts)}"
        case "signal_opened":
            return wording.title(str(facts["signal"]), str(facts["scope_kind"]), str(facts["scope_name"]))
    return str(row.kind).replace("_", " ").capitalize()


_BOUNDS = {
    "steps": "steps",
    "attempts": "attempts of a step",
    "depth": "levels of child runs",
    "children": "child runs",
    "same_tool_calls": "identical tool calls",
}


def _bound_words(facts: Mapping[str, Any]) -> str:
    """What is bounded, and the most of it, with its unit."""
    limit = facts.get("limit")
    if facts["bound"] == "cost":
        return f"cost: {_usd(limit)} USD"
    if facts["bound"] == "seconds":
        return f"time: {_count(limit)} s"
    return f"{_BOUNDS[facts['bound']]}: {_count(limit)}"


def _usd(text: Any) -> str:
    try:
        return formats.money(Decimal(str(text)))
    except InvalidOperation:
        return formats.NONE


def _count(text: Any) -> str:
    try:
        return formats.digits(Decimal(str(text)))
    except InvalidOperation:
        return formats.NONE
