"""Budgets that burn: spend of the last minutes to days against what is planned for these hours."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np

from apps.budgets.models import Budget
from apps.budgets.selectors import find_budgets, standings
from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.insights import fatigue, incidents
from apps.insights.burn import RULES, WINDOWS_MINUTES, Urgency, burn
from apps.insights.burn_plans import HourPlan, plans_of
from apps.insights.fatigue import Tier
from apps.insights.incidents import TIERS, Round, note
from apps.insights.models import Incident, ScopeKind
from apps.insights.signals import Floats
from apps.insights.telling import RANK
from apps.organizations.models import Organization
from apps.reports.selectors import SpendQuestion, spend

# In order of name; of an organization with more, the others are watched by their thresholds alone.
BUDGETS_MAX = 100
PERIODS = (Budget.Period.WEEK, Budget.Period.MONTH, Budget.Period.QUARTER, Budget.Period.YEAR)
# What rollups hold: a tag would have to be looked for in events.
PLAIN = frozenset({"team", "project", "workflow", "provider", "model", "environment", "task_type"})
# Over so many days the organization's own spend is taken, of which a share is the gate of a notice.
ORG_DAYS = 28
_COST = ("events", "unpriced_events", "cost_usd")
_LONG = tuple(sorted({rule.long_minutes for rule in RULES}))


@dataclass(frozen=True, slots=True)
class Burning:
    """`usd_a_day`: beyond the plan, at the rate of the window of `minutes` that fired; the others of the last day."""

    budget: Budget
    urgency: Urgency
    multiple: float
    share: float
    minutes: int
    spent_usd: float
    planned_usd: float
    usd_a_day: float


def org_usd(org: Organization, at: datetime) -> float:
    """What the organization spends in a day, in the mean of weeks. Inside `tenant(org)`."""
    question = SpendQuestion(start=at - timedelta(days=ORG_DAYS), end=at, filters={}, measures=_COST)
    return float(spend(org, question).total.cost_usd or 0) / ORG_DAYS


def burns(org: Organization, at: datetime) -> list[Burning]:
    """Budgets of weeks and longer whose scope is one of plain names. Transactions of its own."""
    with tenant(org):
        budgets = [one for one in find_budgets(org, limit=BUDGETS_MAX).rows if _is_watched(one)]
        standing = standings(org, budgets, at, subjects_max=0)
        found = [_spending(org, one.budget, one.period, at) for one in standing if one.period is not None]
    worth = [one for one in found if one is not None]
    plans = plans_of(org, [(one.budget, *one.period) for one in worth], at) if worth else {}
    said = [_burning(one, plans[one.budget.pk], at) for one in worth]
    return [one for one in said if one is not None]


def _is_watched(budget: Budget) -> bool:
    plain = all(name in PLAIN and "*" not in str(value) for name, value in budget.scope.items())
    return budget.period in PERIODS and plain and budget.amount_usd > 0


@dataclass(frozen=True, slots=True)
class _Spending:
    budget: Budget
    period: tuple[datetime, datetime]
    spent: dict[int, Floats]


def _spending(org: Organization, budget: Budget, period: tuple[datetime, datetime], at: datetime) -> _Spending | None:
    """What went in each window; None where the long ones took too little for a word."""
    amount = float(budget.amount_usd)
    spent: dict[int, Floats] = {minutes: np.array([np.nan]) for minutes in WINDOWS_MINUTES}
    for minutes in _LONG:
        spent[minutes] = np.array([_spent(org, budget, at - timedelta(minutes=minutes), at)])
    worth = [rule for rule in RULES if spent[rule.long_minutes][0] >= _least(rule.multiple, rule.long_minutes, amount)]
    for rule in worth:
        if np.isnan(spent[rule.short_minutes][0]):
            spent[rule.short_minutes] = np.array([_spent(org, budget, at - timedelta(minutes=rule.short_minutes), at)])
    return _Spending(budget, period, spent) if worth else None


def _burning(one: _Spending, plan: HourPlan, at: datetime) -> Burning | None:
    planned = {minutes: np.array([plan.between(at - timedelta(minutes=minutes), at)]) for minutes in WINDOWS_MINUTES}
    said = burn(one.spent, planned, np.array([float(one.budget.amount_usd)]))
    if said.urgency[0] == Urgency.NONE:
        return None
    rule = RULES[int(said.rule[0])]
    beyond = one.spent[rule.long_minutes][0] - planned[rule.long_minutes][0]
    return Burning(
        budget=one.budget,
        urgency=Urgency(int(said.urgency[0])),
        multiple=float(said.multiple[0]),
        share=float(said.spent_share[0]),
        minutes=rule.long_minutes,
        spent_usd=float(one.spent[1440][0]),
        planned_usd=float(planned[1440][0]),
        usd_a_day=float(beyond) * 1440 / rule.long_minutes,
    )


def _least(multiple: float, minutes: int, amount: float) -> float:
    """What `burn` holds to be worth a word of a window."""
    return 0.25 * multiple * amount * minutes / (30 * 1440)


def _spent(org: Organization, budget: Budget, start: datetime, end: datetime) -> float:
    question = SpendQuestion(start=start, end=end, filters=budget.scope, measures=_COST)
    try:
        return float(spend(org, question).total.cost_usd or 0)
    except DomainError:
        return float("nan")


def tier_of(found: Burning, gates: fatigue.Gates) -> Tier:
    """A page has no gate but what anybody's notice has: a budget of a cent burns fast and wakes nobody."""
    is_critical = found.urgency is Urgency.PAGE and found.usd_a_day >= fatigue.NOTIFY_USD
    return fatigue.tier(found.usd_a_day, gates, critical=is_critical)


def take_in(work: Round, found: Burning) -> None:
    """Open an incident of the budget's scope, or renew the one that is there."""
    kind, scope = scope_of(found.budget.scope)
    usd = incidents.estimate(max(found.spent_usd - found.planned_usd, 0.0))
    live = next((one for one in work.live_of(kind, scope) if one.family == "budget"), None)
    tier = tier_of(found, work.gates)
    if live is not None:
        live.last_seen_at, live.excess_usd = work.at, usd
        live.peak_usd = max(live.peak_usd or Decimal(0), usd)
        live.signals = [_entry(found, live.since, usd)]
        if tier is not Tier.NONE and RANK[TIERS[tier]] > RANK[live.tier]:
            live.tier = TIERS[tier]
            note(live, work.at, f"burns faster: {live.tier}")
            work.raised.append(live)
        live.save()
        return
    if tier is Tier.NONE:
        return
    lately = [one for one in work.ended if (one.scope_kind, one.scope, one.family) == (kind, scope, "budget")]
    if any(one.closed_at and incidents.is_cooling(work, one, float(usd), of=one.closed_at) for one in lately):
        return
    since = work.at - timedelta(minutes=found.minutes)
    incident = Incident(
        organization_id=work.org_id,
        scope_kind=kind,
        scope=scope,
        team=found.budget.scope.get("team"),
        project=found.budget.scope.get("project"),
        family="budget",
        signal="burn",
        tier=TIERS[tier],
        opened_at=work.at,
        since=since,
        last_seen_at=work.at,
        signals=[_entry(found, since, usd)],
        excess_usd=usd,
        peak_usd=usd,
        cause={"cells": [], "factors": [], "words": f"budget {found.budget.name}"},
        fix="budget",
    )
    note(incident, work.at, f"opened: {found.share:.1%} of budget {found.budget.name} in {found.minutes} minutes")
    incidents.store(work, incident)


def _entry(found: Burning, since: datetime, usd: Decimal) -> dict[str, object]:
    return {
        "signal": "burn",
        "in_alarm": True,
        "value": incidents.number(found.multiple),
        "baseline": 1.0,
        "low": None,
        "high": incidents.number(RULES[-1].multiple),
        "change": None,
        "sample": None,
        "rule": f"{found.minutes} minutes",
        "since": since.isoformat(),
        "excess_usd": f"{usd:f}",
        "budget": found.budget.pk,
        "budget_name": found.budget.name,
        "share": incidents.number(found.share),
    }


def scope_of(scope: Mapping[str, str]) -> tuple[str, str]:
    """The finest thing of a budget's scope that a person can be sent to; else the organization."""
    for kind in (ScopeKind.WORKFLOW, ScopeKind.PROJECT, ScopeKind.TEAM):
        if kind in scope:
            return str(kind), scope[kind]
    return str(ScopeKind.ORGANIZATION), ""
