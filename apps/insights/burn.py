"""Budget burn: spend against the planned spend of the same hours of the week, over two windows at once.

Shape of the rules: multi-window, multi-burn-rate alerts of error budgets (Beyer et al., The Site Reliability Workbook,
2018, chapter 5); thresholds: docs/signals.md.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from apps.insights.baselines import median
from apps.insights.signals import Flags, Floats

WEEK = 168


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


def weekly_plan(hourly_usd: Floats, budget_usd: Floats, hours: int) -> Floats:
    """USD planned for each hour of the week, shape (budgets, 168): a period of `hours` spends the budget exactly.

    `hourly_usd`: past spend, shape (budgets, whole weeks x 168), NaN where not collected; an hour of the week weighs
    the median of its weeks, a tenth of it spread flat so that no hour is planned at nothing. Without a history: flat.
    """
    weeks = np.asarray(hourly_usd, dtype=float).reshape(len(budget_usd), -1, WEEK)
    usual = np.nan_to_num(median(weeks.swapaxes(1, 2)))
    total = usual.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(total > 0, 0.9 * usual / total + 0.1 / WEEK, 1.0 / WEEK)
    plan: Floats = shares * (budget_usd * WEEK / hours)[:, None]
    return plan


def planned_in(plan: Floats, ends: float, minutes: int) -> Floats:
    """USD planned for the `minutes` before `ends` (hours into the week, 0 to 168), per budget."""
    begins = ends - minutes / 60.0
    edges = np.arange(np.floor(begins), np.ceil(ends))
    overlap = np.minimum(edges + 1.0, ends) - np.maximum(edges, begins)
    planned: Floats = plan[:, edges.astype(int) % WEEK] @ overlap
    return planned
