"""What the month comes to: everything or one part of it drawn, and teams and workflows in a table."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal

from django.http import HttpResponse

from apps.budgets.limits import MonthLimit, month_limits
from apps.budgets.outlook import spend_series
from apps.core.periods import next_month
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.portal import formats
from apps.portal.access import Visit, organization_page
from apps.portal.forecast_chart import forecast_chart
from apps.portal.pages import Crumb
from apps.portal.pages_forecast import ForecastChart, ForecastPage, ForecastRow, LayerRow
from apps.portal.views.budgets import budget_url
from apps.usage.forecasts import UNLEARNED, against, forecast_of, is_direct_off, largest, under_cap, within_part
from apps.usage.models_forecast import Forecast, PlannedSpend
from apps.usage.planned import planned_spend

ROWS_SHOWN = 100
PARTS = ("workflow", "project", "team")
LAYERS = {
    "usage": "As usage goes on",
    "live": "Plans of young workflows",
    "launch": "Launches planned",
    "price": "Prices that change",
    "retirement": "Workflows that end",
    "cap": "What a cap refuses",
}
METHODS = {
    "none": "no history yet",
    "mean": "less than a week of history",
    "intermittent": "spends on few days",
    "profile": "weekly profile",
    "trend": "weekly profile and trend",
}

Limits = Mapping[tuple[str, str], MonthLimit]


@organization_page(section="forecast", permission=Permission.VIEW_SPEND, within_team=True)
def forecast(visit: Visit) -> HttpResponse:
    org, month = visit.org, visit.calendar.month_of(visit.at)
    with tenant(org):
        whole = _whole(visit)
        rows = largest(org, month, ("team", "workflow"), visit.team, 2 * ROWS_SHOWN)
        rows = within_part(org, rows, visit.part, visit.calendar, visit.at)
        limits = month_limits(org, visit.at)
        last = next_month(month) - timedelta(days=1)
        planned = planned_spend(org, month, last)
    teams = [row for row in rows if row.scope == Forecast.Scope.TEAM][:ROWS_SHOWN]
    workflows = [row for row in rows if row.scope == Forecast.Scope.WORKFLOW][:ROWS_SHOWN]
    is_part = whole is not None and (whole.scope, whole.key) != _everything(visit)
    page = ForecastPage(
        month=f"{month:%B %Y}",
        whole=None if whole is None else _row(visit, whole, limits),
        is_learning=whole is not None and whole.method in UNLEARNED,
        direct_usd=whole.direct_usd if whole is not None and is_direct_off(whole) else None,
        layers=() if whole is None else _layers(_capped(whole, limits)),
        chart=None if whole is None else _chart(visit, _capped(whole, limits), planned, limits),
        teams=tuple(_row(visit, row, limits) for row in teams),
        workflows=tuple(_row(visit, row, limits) for row in workflows),
        is_part=is_part,
        most=ROWS_SHOWN,
        back_url=visit.url("forecast"),
        as_of=whole.as_of if whole is not None else None,
    )
    crumbs = (Crumb("Forecast", page.back_url), Crumb(whole.key)) if is_part and whole else (Crumb("Forecast"),)
    return visit.render("portal/forecast.html", frame=visit.frame("Forecast", *crumbs), forecast=page)


def _everything(visit: Visit) -> tuple[str, str]:
    return ("organization", "") if visit.team is None else ("team", visit.team)


def _whole(visit: Visit) -> Forecast | None:
    """What is asked for, where there is such a thing and they may see it; else everything that they may see."""
    month = visit.calendar.month_of(visit.at)
    for scope in PARTS:
        asked = str(visit.request.GET.get(scope, ""))
        row = forecast_of(visit.org, month, scope, asked) if asked and "\x00" not in asked else None
        is_theirs = row is not None and visit.team in (None, row.team)
        if row is not None and is_theirs and within_part(visit.org, [row], visit.part, visit.calendar, visit.at):
            return row
    return forecast_of(visit.org, month, *_everything(visit))


def _row(visit: Visit, row: Forecast, limits: Limits) -> ForecastRow:
    limit = limits.get((row.scope, row.key))
    held = None if limit is None else against(row, limit.limit_usd, visit.calendar)
    row = _capped(row, limits)
    return ForecastRow(
        label=row.key or "Everything",
        team=row.team or "",
        url=visit.url("forecast", {row.scope: row.key}) if row.key else visit.url("forecast"),
        note=METHODS.get(row.method, row.method),
        spent_usd=row.spent_usd,
        low_usd=row.p10_usd,
        expected_usd=row.p50_usd,
        high_usd=row.p90_usd,
        limit_usd=limit.limit_usd if limit else None,
        limit_url=budget_url(visit, limit.budget_id) if limit and visit.team is None else "",
        odds=formats.odds(held.exceeds) if held else "",
        reached_on=held.on if held else None,
        earliest_on=held.earliest if held else None,
    )


def _layers(row: Forecast) -> tuple[LayerRow, ...]:
    found = row.layers
    return tuple(LayerRow(label, Decimal(found[kind])) for kind, label in LAYERS.items() if Decimal(found.get(kind, 0)))


def _capped(row: Forecast, limits: Limits) -> Forecast:
    limit = limits.get((row.scope, row.key))
    return under_cap(row, limit.cap_usd if limit else None)


def _chart(visit: Visit, row: Forecast, planned: Sequence[PlannedSpend], limits: Limits) -> ForecastChart | None:
    scope = {row.scope: row.key} if row.key else {}
    start = visit.calendar.start("month", visit.at)
    points = spend_series(visit.org, scope, "day", start, row.as_of)
    if points is None:
        return None
    of_it = [one for one in planned if not scope or getattr(one, row.scope) == row.key]
    limit = limits.get((row.scope, row.key))
    return forecast_chart(row, points, of_it, limit.limit_usd if limit else None, visit.calendar)
