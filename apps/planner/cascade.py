"""Escalations of observed runs as a cascade: the small model answers first, and some runs go to the large one. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from apps.planner.inputs import column
from apps.planner.match import usd_of
from apps.planner.moments import Floats
from apps.planner.shapes import Cards, ModelChoice, Range, Step
from apps.planner.widths import spread_of, step_costs

# What a plan may say.
MULTIPLE_MAX = 100.0
# A cascade says that the large model makes the calls of the small one: beyond so many times as many, or as few, it is
# a step of its own.
CALLS_ALIKE = 2.0
Input = Literal["escalation_rate", "escalation_multiple"]


@dataclass(frozen=True, slots=True)
class Escalation:
    """Sums (columns,) of `runs` runs at the small model and the large one, and (draws, columns) of their resamples."""

    large: ModelChoice
    runs: int
    at_small: Floats
    at_large: Floats
    small_drawn: Floats
    large_drawn: Floats


def calls_alike(small: Sequence[int], large: Sequence[int]) -> bool:
    """Whether the large model was called about as often in a run as the small one; both have at least one run."""
    ratio = (sum(large) / len(large)) / (sum(small) / len(small))
    return 1 / CALLS_ALIKE <= ratio <= CALLS_ALIKE


def escalating(step: Step, seen: Escalation, cards: Cards) -> tuple[Step, dict[str, float]]:
    """The small model's step with its escalations, and the spread of their inputs.

    The rate is the share of its runs that went to the large model. The multiple is what takes the closed form of those
    to what the large model's tokens cost, so that the step bills what both were billed.
    """
    rate, multiple = _rate(seen.at_small, seen.at_large), _relative(seen.at_small, seen.at_large, seen.large, cards)
    step = replace(
        step, routing="cascade", escalates_to=seen.large, escalation_rate=Range.exact(float(rate)),
        escalation_multiple=Range.exact(1.0),
    )  # fmt: skip
    alone = usd_of(replace(step, routing="none", escalates_to=None), cards)
    once = float(usd_of(step, cards) - alone)
    target = float(step_costs(seen.at_large, cards[seen.large])) / seen.runs
    k = min(target / once, MULTIPLE_MAX) if once > 0 else 1.0
    drawn = _relative(seen.small_drawn, seen.large_drawn, seen.large, cards) * (k / multiple if multiple > 0 else 1.0)
    spreads = {
        "escalation_rate": spread_of("escalation_rate", float(rate), _rate(seen.small_drawn, seen.large_drawn)),
        "escalation_multiple": spread_of("escalation_multiple", k, drawn),
    }
    return replace(step, escalation_multiple=Range.exact(k)), spreads


def _rate(small: Floats, large: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.minimum(column(large, "runs") / column(small, "runs"), 1.0)


def _relative(small: Floats, large: Floats, model: ModelChoice, cards: Cards) -> Floats:
    """A run at the large model over one at the small one, both at the large one's prices."""
    with np.errstate(divide="ignore", invalid="ignore"):
        again = step_costs(large, cards[model]) / column(large, "runs")
        return np.asarray(again / (step_costs(small, cards[model]) / column(small, "runs")))
