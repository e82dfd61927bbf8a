"""Cards of the overview about what was spent. Each function makes one, or None where it has nothing to say."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from apps.budgets.forecast import run_rate
from apps.budgets.models import Budget
from apps.budgets.outlook import Standing
from apps.core.periods import next_month
from apps.portal import formats, spending
from apps.portal.changes import LEAST_SHARE, Moved, largest_changes
from apps.portal.charts import Ahead, Drawn
from apps.portal.homes import Home
from apps.portal.pages_overview import ChangeRow, Changes, Figures, Forecast, Nothing, OverTime, Top, TopRow
from apps.portal.spending import by_cost, question, ratio, summed_cost
from apps.portal.views.budgets import budget_url
from apps.reports.selectors import COSTS
from apps.reports.view_queries import COMPARE, PREVIOUS
from apps.usage.forecasting import usd as estimate
from apps.usage.forecasts import as_it_stands

TOP_ROWS = 5
# What one looks at next: of what a value of the dimension is made.
MADE_OF = {"team": "workflow", "workflow": "model", "model": "workflow"}


def nothing(home: Home) -> Nothing | None:
    if home.spend.total.events:
        return None
    last = home.last_event_at
    day = {} if last is None else dict.fromkeys(("from", "to"), last.astimezone(home.span.zone).date().isoformat())
    return Nothing(last, home.visit.url("overview", day))


def figures(home: Home) -> Figures | None:
    total, before, span = home.spend.total, home.spend.before, home.span
    if not total.events:
        return None
    unattributed = [row.sums for row in home.spend.rows if row.groups == (None,) and row.sums.events]
    sees_all = home.visit.team is None
    return Figures(
        label=_label(home),
        previous_label=span.previous_label,
        total_usd=total.cost_usd,
        events=total.events,
        unpriced_events=total.unpriced_events,
        unattributed_usd=summed_cost(unattributed),
        unattributed_events=sum(sums.events for sums in unattributed),
        change=formats.change(total.cost_usd, before.cost_usd) if before and before.events else None,
        forecast=_forecast(home),
        spend_url=home.url("spend"),
        events_url=home.url("events"),
        unattributed_url=home.url("unattributed") if sees_all else "",
        unpriced_url=home.url("unpriced") if sees_all else home.url("events", {"priced": "false"}),
    )


def _label(home: Home) -> str:
    span = home.span
    return f"{span.first_day:%B} so far" if span.preset == "month" else f"{span.label[0].upper()}{span.label[1:]}"


def _forecast(home: Home) -> Forecast | None:
    """Of the whole month, where the range is the month so far; without a forecast at its run rate."""
    visit, spent = home.visit, home.spend.total.cost_usd
    if home.span.preset != "month" or spent is None:
        return None
    start, end = visit.calendar.period("month", visit.at)
    limit, usd, band = _month_limit(home), run_rate(spent, start, end, visit.at), None
    if home.ahead is not None:
        found = as_it_stands(home.ahead, spent)
        usd, band = estimate(found.p50), (estimate(found.p10), estimate(found.p90))
    return Forecast(
        usd=usd,
        band_usd=band,
        last_day=next_month(visit.calendar.month_of(visit.at)) - timedelta(days=1),
        spent_usd=spent,
        limit_usd=limit.limit_usd if limit else None,
        limit_name=limit.budget.name if limit else "",
        limit_url=budget_url(visit, limit.budget.pk) if limit and visit.team is None else "",
        url=visit.url("forecast"),
    )


def _month_limit(home: Home) -> Standing | None:
    """The budget that watches just this spend over the month; of several the one with the least limit."""
    scope = home.visit.cut({})
    same = [
        one for one in home.standings if one.budget.period == Budget.Period.MONTH and dict(one.budget.scope) == scope
    ]
    return min(same, key=lambda one: one.limit_usd, default=None)


def over_time(home: Home) -> OverTime | None:
    """Spend by team; of the month so far it adds up, against its forecast and its limit."""
    span = home.span
    if not home.spend.total.events:
        return None
    asked = question(span, ("team",), span.granularity, home.visit.cut({}))
    answer = spending.over_time(home.visit.org, replace(asked, measures=COSTS))
    forecast = _forecast(home)
    ahead = _ahead(home, forecast) if forecast else None
    drawn: Drawn = "sum" if ahead else "stacked"
    chart = spending.spend_chart(answer, span, home.teams, home.visit.at, drawn=drawn, ahead=ahead)
    return OverTime(
        title=f"{span.first_day:%B} added up, by team" if ahead else f"Spend by team per {span.granularity}",
        url=home.url("spend", {"group_by": "team"}),
        chart=chart,
    )


def _ahead(home: Home, forecast: Forecast) -> Ahead:
    _, end = home.visit.calendar.period("month", home.visit.at)
    return Ahead(
        end.astimezone(home.span.zone), forecast.usd, forecast.limit_usd, forecast.limit_name, forecast.band_usd
    )


def changes(home: Home) -> Changes | None:
    """The largest changes since the period before; None where there was none, or nothing since."""
    before = home.spend.before
    if not home.spend.total.events or before is None or not before.events:
        return None
    cut = home.visit.cut({})
    # What the page is cut to is all there is: it says what the total says.
    found = largest_changes({name: answer for name, answer in home.answers.items() if name not in cut})
    return Changes(
        previous_label=home.span.previous_label,
        url=home.url("spend", {"group_by": next(name for name in home.answers if name not in cut), **_COMPARED}),
        rows=tuple(ChangeRow(moved, _change_url(home, moved)) for moved in found),
        least_share=LEAST_SHARE,
    )


_COMPARED = {COMPARE: PREVIOUS}


def _change_url(home: Home, moved: Moved) -> str:
    """What it is made of, compared in the same way."""
    asked = {"group_by": MADE_OF[moved.dimension], moved.dimension: moved.value or ""}
    return home.url("spend", {**asked, **_COMPARED})


def top(title: str, dimension: str) -> Callable[[Home], Top | None]:
    def card(home: Home) -> Top | None:
        return _top(home, title, dimension) if home.spend.total.events else None

    return card


def _top(home: Home, title: str, dimension: str) -> Top:
    answer = home.answers[dimension]
    # What only the period before has is no part of this one.
    spent = [row for row in answer.rows if row.sums.events or row.sums.cost_usd]
    return Top(
        title=title,
        dimension=dimension,
        url=home.url("spend", {"group_by": dimension}),
        rows=tuple(
            TopRow(
                label=row.groups[0],
                cost_usd=row.sums.cost_usd,
                events=row.sums.events,
                share=ratio(row.sums.cost_usd, answer.total.cost_usd),
                unpriced_events=row.sums.unpriced_events,
                url=home.url("events", {dimension: row.groups[0] or ""}),
            )
            for row in sorted(spent, key=by_cost)[:TOP_ROWS]
        ),
    )
