"""The home of each kind of person: which cards it has is said in `homes`."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from django.http import HttpResponse

from apps.budgets.ahead import with_forecasts
from apps.budgets.outlook import standings
from apps.budgets.selectors import running_budgets
from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.portal.access import Visit, organization_page
from apps.portal.homes import HOMES, Home
from apps.portal.pages_overview import Card, OverviewPage
from apps.portal.ranges import Span
from apps.portal.spending import question
from apps.portal.views import overview_bills, overview_control, overview_spend
from apps.portal.views.joining import first_event_page
from apps.reports.selectors import COSTS, Spend, spend
from apps.teams.selectors import list_teams
from apps.usage.forecasts import forecast_of, is_fresh
from apps.usage.models_forecast import Forecast
from apps.usage.selectors import last_event_at

MEASURES: Mapping[str, tuple[str, ...]] = {
    "team": COSTS,
    "workflow": (*COSTS, "retries", "escalations"),
    "model": COSTS,
}
# What makes each card, None where it has nothing to say; its template is called like it.
CARDS: Mapping[str, Callable[[Home], Any]] = {
    "stops": overview_control.stops,
    "month": overview_control.month,
    "coverage": overview_bills.coverage,
    "own_workflows": overview_control.own_workflows,
    "nothing": overview_spend.nothing,
    "figures": overview_spend.figures,
    "over_time": overview_spend.over_time,
    "changes": overview_spend.changes,
    "budgets": overview_control.budgets,
    "signals": overview_control.signals,
    "teams": overview_spend.top("Teams", "team"),
    "workflows": overview_spend.top("Workflows", "workflow"),
    "models": overview_spend.top("Models", "model"),
}


@organization_page(section="overview", permission=Permission.VIEW_SPEND, within_team=True)
def overview(visit: Visit) -> HttpResponse:
    home = _home(visit)
    is_new = home.last_event_at is None and visit.team is None
    page = OverviewPage(
        first=first_event_page(visit) if is_new else None,
        rows=() if is_new else tuple(_rows(home)),
    )
    frame = visit.frame("Overview", span=home.span, as_of=home.spend.as_of)
    return visit.render("portal/overview.html", frame=frame, overview=page)


def _rows(home: Home) -> Iterator[tuple[Card, ...]]:
    for names in HOMES[home.visit.membership.role]:
        made = ((name, CARDS[name](home)) for name in names)
        if row := tuple(Card(f"portal/overview/{name}.html", value) for name, value in made if value is not None):
            yield row


def _home(visit: Visit) -> Home:
    span, org = visit.span(), visit.org
    with tenant(org):
        home = Home(
            visit=visit,
            span=span,
            answers=_answers(visit, span),
            teams=[team.slug for team in list_teams(org)],
            standings=standings(org, visit.at, running_budgets(org, visit.team)),
            ahead=_ahead(visit),
            # Of a lead's team alone it would take looking at its events one by one.
            last_event_at=last_event_at(org) if visit.team is None else None,
        )
    return replace(home, standings=with_forecasts(org, home.standings, visit.calendar, visit.at))


def _ahead(visit: Visit) -> Forecast | None:
    scope, key = ("organization", "") if visit.team is None else ("team", visit.team)
    row = forecast_of(visit.org, visit.calendar.month_of(visit.at), scope, key)
    return row if row is not None and is_fresh(row, visit.at) else None


def _answers(visit: Visit, span: Span) -> dict[str, Spend]:
    try:
        return _asked(visit, span, compared=True)
    except DomainError:
        # The period before begins or ends within an hour of which no event is kept any more.
        return _asked(visit, span, compared=False)


def _asked(visit: Visit, span: Span, *, compared: bool) -> dict[str, Spend]:
    before = (span.previous_start, span.previous_end) if compared else None
    asked = {
        dimension: replace(question(span, (dimension,), filters=visit.cut({})), before=before, measures=measures)
        for dimension, measures in MEASURES.items()
    }
    return {dimension: spend(visit.org, one) for dimension, one in asked.items()}
