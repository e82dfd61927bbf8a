from collections.abc import Iterable, Sequence
from dataclasses import replace

from django.http import HttpResponse

from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.portal import formats
from apps.portal.access import Visit, organization_page
from apps.portal.charts import Chart
from apps.portal.pages import OverviewPage, OverviewSpend, Top, TopRow
from apps.portal.ranges import Span
from apps.portal.spending import by_cost, over_time, question, ratio, spend_chart, summed_cost
from apps.portal.views.joining import first_event_page
from apps.reports.selectors import COSTS, Spend, SpendQuestion, spend
from apps.teams.selectors import list_teams
from apps.usage.selectors import last_event_at

TOP_ROWS = 5
TOPS = (("Teams", "team"), ("Workflows", "workflow"), ("Models", "model"))


@organization_page(section="overview", permission=Permission.VIEW_SPEND, within_team=True)
def overview(visit: Visit) -> HttpResponse:
    span = visit.span()
    by_team = spend(visit.org, question(span, ("team",), filters=visit.cut({})))
    page = _page(visit, span, by_team)
    frame = visit.frame("Overview", span=span, as_of=by_team.as_of)
    return visit.render("portal/overview.html", frame=frame, overview=page)


def _page(visit: Visit, span: Span, by_team: Spend) -> OverviewPage:
    with tenant(visit.org):
        # Of a lead's team alone it would take looking at its events one by one.
        last = last_event_at(visit.org) if visit.team is None else None
        order = [team.slug for team in list_teams(visit.org)]
    day = {} if last is None else dict.fromkeys(("from", "to"), last.astimezone(span.zone).date().isoformat())
    parameters = span.parameters
    total = by_team.total
    return OverviewPage(
        first=first_event_page(visit) if last is None and visit.team is None else None,
        label=_label(span),
        previous_label=span.previous_label,
        granularity=span.granularity,
        spend=_spend(visit, span, by_team),
        chart=_chart(visit, span, order) if total.events else None,
        tops=tuple(_tops(visit, span, by_team)) if total.events else (),
        spend_url=visit.url("spend", parameters),
        events_url=visit.url("events", parameters),
        unattributed_url=visit.url("unattributed", parameters),
        unpriced_url=visit.url("unpriced", parameters),
        last_event_at=last,
        last_event_url=visit.url("overview", day),
    )


def _label(span: Span) -> str:
    return f"{span.first_day:%B} so far" if span.preset == "month" else f"{span.label[0].upper()}{span.label[1:]}"


def _spend(visit: Visit, span: Span, by_team: Spend) -> OverviewSpend:
    unattributed = [row.sums for row in by_team.rows if row.groups == (None,)]
    earlier = SpendQuestion(start=span.previous_start, end=span.previous_end, filters=visit.cut({}))
    before = spend(visit.org, earlier).total
    previous = before.cost_usd if before.events else None
    return OverviewSpend(
        total_usd=by_team.total.cost_usd,
        events=by_team.total.events,
        unpriced_events=by_team.total.unpriced_events,
        unattributed_usd=summed_cost(unattributed),
        unattributed_events=sum(sums.events for sums in unattributed),
        previous_total_usd=previous,
        change=formats.change(by_team.total.cost_usd, previous),
    )


def _tops(visit: Visit, span: Span, by_team: Spend) -> Iterable[Top]:
    for title, dimension in TOPS:
        answer = (
            by_team if dimension == "team" else spend(visit.org, question(span, (dimension,), filters=visit.cut({})))
        )
        yield _top(visit, span, title, dimension, answer)


def _top(visit: Visit, span: Span, title: str, dimension: str, answer: Spend) -> Top:
    largest = sorted(answer.rows, key=by_cost)[:TOP_ROWS]
    return Top(
        title=title,
        dimension=dimension,
        url=visit.url("spend", {"group_by": dimension, **span.parameters}),
        rows=tuple(
            TopRow(
                label=row.groups[0],
                cost_usd=row.sums.cost_usd,
                events=row.sums.events,
                share=ratio(row.sums.cost_usd, answer.total.cost_usd),
                unpriced_events=row.sums.unpriced_events,
                url=visit.url("events", {dimension: row.groups[0] or "", **span.parameters}),
            )
            for row in largest
        ),
    )


def _chart(visit: Visit, span: Span, order: Sequence[str]) -> Chart:
    asked = question(span, ("team",), span.granularity, visit.cut({}))
    answer = over_time(visit.org, replace(asked, measures=COSTS))
    return spend_chart(answer, span, order, visit.at)
