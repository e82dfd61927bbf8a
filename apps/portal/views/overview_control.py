"""Cards of the overview about what to act on. Each function makes one, or None where it has nothing to say."""

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from apps.budgets.outlook import Standing
from apps.budgets.selectors import asked_raises, count_bounded, count_stops
from apps.core.errors import DomainError
from apps.core.money import sum_usd
from apps.core.periods import month_before, next_month
from apps.core.tenancy import tenant
from apps.insights.selectors import PAGE_MAX, dearest, open_signals
from apps.insights.shared import cut_incidents
from apps.portal import formats
from apps.portal.budget_words import meter, state_words
from apps.portal.homes import Home
from apps.portal.pages_budgets import State
from apps.portal.pages_overview import BudgetsAtRisk, MonthStatus, OwnWorkflow, OwnWorkflows, RiskRow, Stops
from apps.portal.pages_signals import OpenSignalsCard
from apps.portal.signal_rows import row_of
from apps.portal.spending import ratio
from apps.portal.views.budgets import budget_url, spend_url, whose, worst_first
from apps.reports.selectors import SpendRow, Sums
from apps.reports.statements import MonthTotal, month_total
from apps.teams.models import Workflow
from apps.teams.selectors import workflows_owned
from apps.usage.rerating import count_unposted

ROWS_SHOWN = 5
SIGNALS_SHOWN = 3
BOUNDED_WITHIN = timedelta(hours=24)


def stops(home: Home) -> Stops | None:
    visit = home.visit
    with tenant(visit.org):
        standing = count_stops(visit.org)
        bounded = count_bounded(visit.org, visit.at - BOUNDED_WITHIN)
    if not standing and not bounded:
        return None
    return Stops(standing, visit.url("stop"), bounded, visit.url("bounds"))


def signals(home: Home) -> OpenSignalsCard | None:
    """The dearest incidents; None where there is none."""
    visit = home.visit
    with tenant(visit.org):
        found = open_signals(visit.org, teams=None if visit.team is None else [visit.team])
        most = SIGNALS_SHOWN if visit.team is None else PAGE_MAX
        rows = dearest(visit.org, team=visit.team, limit=most) if found.count else []
        rows = cut_incidents(visit.org, visit.calendar, rows, visit.part, visit.at)
    if not found.count:
        return None
    if visit.team is not None:
        # Without what is withheld.
        found = replace(found, excess_usd=sum_usd(one.excess_usd for one in rows if one.excess_usd is not None))
    return OpenSignalsCard(
        count=found.count,
        critical=found.critical,
        excess_usd=found.excess_usd,
        rows=tuple(row_of(visit, one) for one in rows[:SIGNALS_SHOWN]),
        url=visit.url("signals"),
    )


# --- budgets -----------------------------------------------------------------------------------------


def budgets(home: Home) -> BudgetsAtRisk | None:
    """The worst budgets; None where there is none at all."""
    if not home.standings:
        return None
    found = sorted((one for one in home.standings if one.is_at_risk), key=worst_first)
    return BudgetsAtRisk(
        rows=tuple(_risk(home, one) for one in found[:ROWS_SHOWN]),
        row_count=len(found),
        budgets=len(home.standings),
        url=home.visit.url("budgets") if home.visit.team is None else "",
    )


def _risk(home: Home, one: Standing) -> RiskRow:
    visit, budget = home.visit, one.budget
    scope = {**budget.scope, **(json.loads(one.subject) if one.subject else {})}
    return RiskRow(
        name=budget.name,
        # The pages of budgets are of the whole organization.
        url=budget_url(visit, budget.pk)
        if visit.team is None
        else spend_url(visit, scope, one.start, min(one.end, visit.at)),
        whose=whose(one),
        state=_state(one),
        meter=meter(one.spent_usd, one.held_usd, one.limit_usd),
        taken_usd=one.spent_usd + one.held_usd,
        limit_usd=one.limit_usd,
    )


def _state(one: Standing) -> State:
    """Why it is listed: one that is fine has reached a threshold."""
    if one.state != "fine":
        return state_words(one.state, one.budget.mode)
    return State(f"past {one.threshold_percent}{formats.THIN}%", "", "It has reached a threshold of its own.")


# --- an engineer's workflows -------------------------------------------------------------------------


def own_workflows(home: Home) -> OwnWorkflows:
    """Of the person who looks; those with the most spend first."""
    visit = home.visit
    with tenant(visit.org):
        found = workflows_owned(visit.org, visit.user.pk)
    spent = {row.groups[0]: row for row in home.answers["workflow"].rows}
    nothing = SpendRow((None,), None, Sums(), Sums())
    rows = [(workflow, spent.get(workflow.slug, nothing)) for workflow in found]
    rows.sort(key=lambda pair: (-(pair[1].sums.cost_usd or Decimal(0)), -pair[1].sums.events))
    before = home.spend.before
    return OwnWorkflows(
        rows=tuple(_own(home, *pair) for pair in rows[:ROWS_SHOWN]),
        row_count=len(rows),
        compared_with=home.span.previous_label if before and before.events else "",
        url=visit.url("workflows"),
    )


def _own(home: Home, workflow: Workflow, row: SpendRow) -> OwnWorkflow:
    sums, here = row.sums, {"workflow": workflow.slug}
    return OwnWorkflow(
        slug=workflow.slug,
        name=workflow.name,
        url=home.visit.url_below("workflows", workflow.slug),
        events=sums.events,
        unpriced_events=sums.unpriced_events,
        retry_share=ratio(sums.retries, sums.events),
        escalation_share=ratio(sums.escalations, sums.events),
        retries_url=home.url("runs", {**here, "with": "retries"}),
        escalations_url=home.url("runs", {**here, "with": "escalations"}),
        runs_url=home.url("runs", here),
        cost_usd=sums.cost_usd,
        change=_change(home, row),
        events_url=home.url("events", here),
    )


def _change(home: Home, row: SpendRow) -> formats.Change | None:
    """None where there is nothing to compare, of the workflow or of anything."""
    whole, before = home.spend.before, row.before
    if not whole or not whole.events or not before or not (row.sums.events or before.events):
        return None
    return formats.change(row.sums.cost_usd, before.cost_usd)


# --- the month of finance ----------------------------------------------------------------------------


def month(home: Home) -> MonthStatus | None:
    """The last month that is over, or this one where that has nothing; None where neither has, or it is too much."""
    visit = home.visit
    this = visit.calendar.month_of(visit.at)
    try:
        found = month_total(visit.org, month_before(this))
        if not found.statements:
            found = month_total(visit.org, this)
    except DomainError:
        return None
    return _month(home, found, so_far=found.month == this) if found.statements else None


def _month(home: Home, found: MonthTotal, *, so_far: bool) -> MonthStatus:
    visit, clock = home.visit, home.visit.calendar
    following = next_month(found.month)
    with tenant(visit.org):
        reratings = count_unposted(visit.org, clock.month_start(found.month), clock.month_start(following))
        asked = asked_raises(visit.org, visit.at)
        raises, oldest = asked.count(), asked.first()
    days = {"from": found.month.isoformat(), "to": (following - timedelta(days=1)).isoformat()}
    waiting = (found.unpriced_events, found.unattributed_events, reratings, raises)
    return MonthStatus(
        label=f"{found.month:%B %Y}",
        so_far=so_far,
        waiting=sum(1 for one in waiting if one),
        unpriced_events=found.unpriced_events,
        unpriced_url=visit.url("unpriced", days),
        unattributed_usd=found.unattributed_usd,
        unattributed_events=found.unattributed_events,
        unattributed_url=visit.url("unattributed", days),
        reratings=reratings,
        reratings_url=visit.url("reratings"),
        raises=raises,
        raises_url=budget_url(visit, oldest.budget_id) if oldest else visit.url("budgets"),
        oldest_raise=oldest.budget.name if oldest else "",
        statements=found.statements,
        total_usd=found.total_usd,
        statements_url=visit.url("statements", {"month": f"{found.month:%Y-%m}"}),
    )
