"""Budget burn: spend against the planned spend of the same hours, over two windows at once.

Shape of the rules: multi-window, multi-burn-rate alerts of error budgets (Beyer et al., The Site Reliability Workbook,
2018, chapter 5); thresholds: docs/signals.md.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from apps.insights.signals import Flags, Floats
from apps.usage.forecast import Ints, expected_hours

FLAT = 0.1


class Urgency(IntEnum):
    NONE = 0
    TICKET = 1
    PAGE = 2


@dataclass(frozen=True, slots=True)
class BurnRule:
    """`multiple` times the planned rate, over the long window and still over the short one; minutes."""

    multiple: float
    long_minutes: int
    short_minutes: int
    urgency: Urgency


RULES = (
    BurnRule(14.4, 60, 5, Urgency.PAGE),
    BurnRule(6.0, 360, 30, Urgency.PAGE),
    BurnRule(3.0, 1440, 120, Urgency.TICKET),
    BurnRule(1.5, 4320, 360, Urgency.TICKET),
)
WINDOWS_MINUTES = tuple(sorted({minutes for rule in RULES for minutes in (rule.long_minutes, rule.short_minutes)}))


@dataclass(frozen=True, slots=True, eq=False)
class Burn:
    """Each of shape (budgets,). `rule`: index into RULES of the most urgent one that fired, -1 where none did.

    `multiple`: of the planned rate over that rule's long window (else over the last day); `spent_share`: of the budget
    that went in it.
    """

    urgency: NDArray[np.int64]
    rule: NDArray[np.int64]
    multiple: Floats
    spent_share: Floats


def burn(spent: dict[int, Floats], planned: dict[int, Floats], budget_usd: Floats) -> Burn:
    """`spent` and `planned`: USD per budget in the last so many minutes, for each of WINDOWS_MINUTES.

    NaN in `spent` (not collected) fires nothing. A window in which nothing was planned burns infinitely once anything
    is spent; whether that is worth a word is decided by what it takes of the budget.
    """
    series = len(budget_usd)
    urgency, chosen = np.zeros(series, dtype=np.int64), np.full(series, -1, dtype=np.int64)
    multiple = _rate(spent[1440], planned[1440])
    share = _share(spent[1440], budget_usd)
    for index in reversed(range(len(RULES))):
        rule = RULES[index]
        fired = _fired(rule, spent, planned, budget_usd)
        urgency = np.where(fired, int(rule.urgency), urgency)
        chosen = np.where(fired, index, chosen)
        multiple = np.where(fired, _rate(spent[rule.long_minutes], planned[rule.long_minutes]), multiple)
        share = np.where(fired, _share(spent[rule.long_minutes], budget_usd), share)
    return Burn(urgency, chosen, multiple, share)


def _fired(rule: BurnRule, spent: dict[int, Floats], planned: dict[int, Floats], budget_usd: Floats) -> Flags:
    with np.errstate(invalid="ignore"):
        both = np.ones(len(budget_usd), dtype=bool)
        for minutes in (rule.long_minutes, rule.short_minutes):
            both &= _rate(spent[minutes], planned[minutes]) > rule.multiple
        # A quiet hour of the plan makes a large multiple of little money: the long window must also have taken what the
        # multiple takes of a month, at a quarter of the average rate.
        worth = spent[rule.long_minutes] >= 0.25 * rule.multiple * budget_usd * rule.long_minutes / (30 * 1440)
        fired: Flags = both & worth
    return fired


def _rate(spent: Floats, planned: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(planned > 0, spent / planned, np.where(spent > 0, np.inf, np.where(spent == 0, 0.0, np.nan)))


def _share(spent: Floats, budget_usd: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(budget_usd > 0, spent / budget_usd, np.nan)


def planned_hours(days_usd: Floats, places: Ints, shares: Floats, edges: Floats, usd_an_hour: float) -> Floats:
    """USD planned for each 24th of days, shape (days, 24), with a tenth spread flat: no hour is planned at nothing.

    `days_usd` (days,): what each comes to; `places` (days,) in the week; `shares` (7, 24): how such days are spent over
    their hours; `edges` (days + 1,): where days begin and the last one ends, in hours; `usd_an_hour`: of a flat plan.
    """
    flat = usd_an_hour * np.diff(edges)[:, None] / 24
    planned: Floats = (1 - FLAT) * expected_hours(days_usd, places, shares) + FLAT * flat
    return planned


def planned_in(hours: Floats, edges: Floats, begins: float, ends: float) -> float:
    """USD planned for [begins, ends), in hours on the scale of `edges` (days + 1,), by `hours` (days, 24).

    A day of 23 or 25 hours is its 24 hours stretched; before the first day and after the last nothing is planned.
    """
    within = edges[:-1, None] + np.diff(edges)[:, None] * np.arange(24) / 24
    at = np.concatenate([within.ravel(), edges[-1:]])
    upto = np.concatenate([[0.0], np.cumsum(hours)])
    return float(np.interp(ends, at, upto) - np.interp(begins, at, upto))
