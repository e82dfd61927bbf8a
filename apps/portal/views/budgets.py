"""The budgets of an organization: how each stands, when they begin anew, and what unpriced calls under caps are."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from django.http import HttpResponse, HttpResponseRedirect

from apps.budgets.ahead import with_forecasts
from apps.budgets.models import Budget
from apps.budgets.outlook import Standing, spend_of_list, standings, ungoverned
from apps.budgets.outlook_sql import Point
from apps.budgets.rules import TAG, describe
from apps.budgets.selectors import count_stops, list_ended
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.organizations.services import change_settings
from apps.portal.access import Visit, organization_page
from apps.portal.budget_pictures import spark
from apps.portal.budget_words import MODES, PERIODS, meter, state_words, subject_words
from apps.portal.filters import names_of_keys
from apps.portal.pages import Crumb
from apps.portal.pages_budgets import BudgetRow, BudgetsPage, PolicyChoice, Reset

ROWS_SHOWN = 200
RESETS_SHOWN = 8
ENDED_SHOWN = 20
# Dimensions that the explorer filters by the same name.
EXPLORED = frozenset(
    {"team", "project", "workflow", "user", "api_key", "task_type", "provider", "model", "environment"}
)
# The worst first.
ORDER = ("refusing", "over", "at_risk", "fine", "waiting", "past")
POLICIES = (
    ("refuse", "Refuse", "A call whose model has no price gets no leave under a cap. Nothing can slip by; a new model"
     " waits until it has a price."),
    ("ceiling", "Count it as the family's dearest", "It is held and counted at the highest price of its model family,"
     " and marked as assumed until a price is known. Without a family it is refused."),
    ("allow", "Allow and flag", "It goes through and is listed as unpriced. It counts as nothing until it is priced, so"
     " a cap can be overrun by it."),
)  # fmt: skip


@organization_page(section="budgets", permission=Permission.VIEW_SPEND)
def budgets(visit: Visit) -> HttpResponse:
    with tenant(visit.org):
        found = standings(visit.org, visit.at)
        ended = list_ended(visit.org, ENDED_SHOWN)
        let_through = ungoverned(visit.org, visit.calendar.start("month", visit.at), visit.at)
        stops = count_stops(visit.org)
    key_names = names_of_keys(visit.org, {name for one in found for name in one.budget.scope})
    found = with_forecasts(visit.org, found, visit.calendar, visit.at)
    found.sort(key=worst_first)
    series = spend_of_list(visit.org, found[:ROWS_SHOWN], visit.calendar, visit.at)
    page = BudgetsPage(
        rows=tuple(_row(visit, one, key_names, series.get(one.budget.pk)) for one in found[:ROWS_SHOWN]),
        row_count=len(found),
        resets=tuple(_resets(visit, found)),
        ended=tuple((one.name, budget_url(visit, one.pk), one.ended_at) for one in ended if one.ended_at),
        stops=stops,
        ungoverned=let_through,
        may_change=visit.may(Permission.MANAGE_BUDGETS),
        new_url=visit.url("budget_new"),
        stop_url=visit.url("stop"),
        held_url=visit.url("reservations", {"state": "held"}),
        policy=tuple(
            PolicyChoice(value, label, says, visit.org.unpriced_policy == value) for value, label, says in POLICIES
        ),
        policy_url=visit.url("unpriced_policy"),
    )
    return visit.render("portal/budgets.html", frame=visit.frame("Budgets", Crumb("Budgets")), budgets=page)


@organization_page(section="budgets", permission=Permission.VIEW_SPEND, writes=Permission.MANAGE_BUDGETS, is_act=True)
def unpriced_policy(visit: Visit) -> HttpResponse:
    policy = str(visit.request.POST.get("unpriced_policy", ""))[:64]
    change_settings(org=visit.org, actor=visit.user, unpriced_policy=policy)
    return HttpResponseRedirect(visit.url("budgets"))


def budget_url(visit: Visit, budget_id: int) -> str:
    return visit.url_below("budgets", str(budget_id))


def scope_words(budget: Budget, key_names: Mapping[str, str]) -> str:
    """The scope in words, an API key by its name."""
    scope = dict(budget.scope)
    if "api_key" in scope:
        scope["api_key"] = key_names.get(scope["api_key"], scope["api_key"])
    return describe(scope)


def worst_first(one: Standing) -> tuple[int, Decimal, str]:
    """The key to sort by."""
    return ORDER.index(one.state), -_taken(one), one.budget.name


def _taken(one: Standing) -> Decimal:
    return (one.spent_usd + one.held_usd) / one.limit_usd if one.limit_usd else Decimal(0)


def _row(visit: Visit, one: Standing, key_names: Mapping[str, str], points: Sequence[Point] | None) -> BudgetRow:
    budget = one.budget
    left = one.limit_usd - one.spent_usd - one.held_usd
    scope = {**budget.scope, **(json.loads(one.subject) if one.subject else {})}
    return BudgetRow(
        name=budget.name,
        url=budget_url(visit, budget.pk),
        scope=scope_words(budget, key_names),
        mode=MODES[budget.mode][0],
        period=PERIODS[budget.period],
        resets_at=resets_at(one),
        state=state_words(one.state, budget.mode),
        meter=meter(one.spent_usd, one.held_usd, one.limit_usd, budget.thresholds),
        spark=None if points is None else spark(one, points, visit.at, visit.calendar.zone_at(visit.at)),
        limit_usd=one.limit_usd,
        spent_usd=one.spent_usd,
        held_usd=one.held_usd,
        remaining_usd=max(Decimal(0), left),
        over_usd=max(Decimal(0), -left),
        expected_usd=one.expected_usd,
        is_forecast=one.ahead is not None,
        spend_url=spend_url(visit, scope, one.start, min(one.end, visit.at)),
        whose=whose(one),
    )


def whose(one: Standing) -> str:
    """Whose figures stand for a budget in which each subject has a limit of its own."""
    if not one.is_each:
        return ""
    if not one.subjects:
        return "nobody yet"
    return f"{subject_words(one.subject)}, with the least left of {one.subjects}"


def resets_at(one: Standing) -> datetime | None:
    """When the next period begins; a fixed range has none."""
    return one.end if one.state != "past" and one.budget.period != Budget.Period.RANGE else None


def _resets(visit: Visit, found: Sequence[Standing]) -> list[Reset]:
    by_time: dict[datetime, list[tuple[str, str]]] = defaultdict(list)
    for one in found:
        if (at := resets_at(one)) is not None:
            by_time[at].append((one.budget.name, budget_url(visit, one.budget.pk)))
    return [Reset(at, tuple(sorted(names))) for at, names in sorted(by_time.items())[:RESETS_SHOWN]]


def spend_url(visit: Visit, scope: Mapping[str, str], start: datetime, end: datetime) -> str | None:
    """The explorer with the scope as filters; None where it has no such filter. "*" groups by the dimension."""
    exact = {name: value for name, value in scope.items() if not value.endswith("*")}
    each = [name for name, value in scope.items() if value == "*"]
    if any(name not in EXPLORED and not name.startswith(TAG) for name in scope) or len(exact) + len(each) < len(scope):
        return None
    zone = visit.calendar.zone_at(visit.at)
    days = {
        "from": start.astimezone(zone).date().isoformat(),
        "to": max(start, end - timedelta(microseconds=1)).astimezone(zone).date().isoformat(),
    }
    grouped = dict(zip(("group_by", "then_by"), (name for name in each if name in EXPLORED), strict=False))
    return visit.url("spend", {**exact, **grouped, **days})
