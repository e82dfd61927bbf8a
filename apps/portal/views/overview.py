from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.http import HttpResponse

from apps.core.money import sum_usd
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.permissions import Permission
from apps.portal import formats
from apps.portal.access import Visit, organization_page
from apps.portal.charts import Chart, Drawn, SpendPoint, spend_over_time
from apps.portal.charts import Span as ChartSpan
from apps.portal.pages import OverviewPage, OverviewSpend, Top, TopRow
from apps.portal.ranges import Span
from apps.portal.views.joining import first_event_page
from apps.reports.selectors import COSTS, Spend, SpendQuestion, SpendRow, Sums, spend
from apps.teams.selectors import list_teams
from apps.usage.selectors import last_event_at

TOP_ROWS = 5
HALF = {"hour": timedelta(minutes=30), "day": timedelta(hours=12), "week": timedelta(days=3.5), "month": timedelta(15)}
TOPS = (("Teams", "team"), ("Workflows", "workflow"), ("Models", "model"))


@organization_page(section="overview", permission=Permission.VIEW_SPEND, within_team=True)
def overview(visit: Visit) -> HttpResponse:
    span = visit.span()
    by_team = spend(visit.org, question(span, ("team",), filters=visit.cut({})))
    page = _page(visit, span, by_team)
    frame = visit.frame("Overview", span=span, as_of=by_team.as_of)
    return visit.render("portal/overview.html", frame=frame, overview=page)


def question(
    span: Span, group_by: tuple[str, ...], granularity: str = "none", filters: Mapping[str, str] | None = None
) -> SpendQuestion:
    return SpendQuestion(
        start=span.start, end=span.end, group_by=group_by, granularity=granularity, filters=filters or {}
    )


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


def summed_cost(sums: Sequence[Sums]) -> Decimal | None:
    """The sum of what is priced; None where nothing is."""
    priced = [one.cost_usd for one in sums if one.cost_usd is not None]
    return sum_usd(priced) if priced else None


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


def by_cost(row: SpendRow) -> tuple[Decimal, int]:
    return -(row.sums.cost_usd or Decimal(0)), -row.sums.events


def ratio(part: Decimal | int | None, whole: Decimal | int | None) -> Decimal | None:
    return None if part is None or not whole else Decimal(part) / Decimal(whole)


def _chart(visit: Visit, span: Span, order: Sequence[str]) -> Chart:
    asked = question(span, ("team",), span.granularity, visit.cut({}))
    answer = over_time(visit.org, replace(asked, measures=COSTS))
    return spend_chart(answer, span, order, visit.at)


def over_time(org: Organization, asked: SpendQuestion) -> Spend:
    """Spend cut by time; where its groups are too many for one answer, all of them together."""
    answer = spend(org, asked)
    return answer if answer.following is None else spend(org, replace(asked, group_by=()))


def spend_chart(
    answer: Spend,
    span: Span,
    order: Sequence[str],
    at: datetime,
    none_label: str = "unattributed",
    *,
    drawn: Drawn = "stacked",
    previous: Spend | None = None,
) -> Chart:
    """The answer's dimension over time; `previous` is what all of it came to in the period before, cut alike."""
    points = [
        SpendPoint(row.bucket, row.groups[0] if row.groups else "all", row.sums.cost_usd)
        for row in answer.rows
        if row.bucket is not None
    ]
    covered = ChartSpan(
        start=span.start.astimezone(span.zone),
        end=span.end.astimezone(span.zone),
        granularity=answer.granularity,  # type: ignore[arg-type]  # never "none" here
        at=at.astimezone(span.zone),
    )
    return spend_over_time(
        points,
        span=covered,
        order=order,
        none_label=none_label,
        drawn=drawn,
        buckets=list(span.calendar.starts(answer.granularity, span.start, span.end)) if drawn == "line" else (),
        previous=_moved(previous, span) if previous else None,
    )


def _moved(previous: Spend, span: Span) -> dict[datetime, Decimal]:
    """What the period before came to, at the buckets of this one that lie as far from its beginning.

    Where months differ in length, what lies beyond the end of this period is left out.
    """
    moved = dict.fromkeys(span.calendar.starts(previous.granularity, span.start, span.end), Decimal(0))
    # On the wall clock: a day stays a day where the clock was moved between the two.
    gap = _wall(span.start, span) - _wall(span.previous_start, span)
    for row in previous.rows:
        assert row.bucket is not None
        # Its middle falls into the bucket that it lies over most.
        local = _wall(row.bucket, span) + gap + HALF[previous.granularity]
        middle = max(local.replace(tzinfo=span.zone).astimezone(UTC), span.start)
        bucket = span.calendar.start(previous.granularity, middle)
        if bucket in moved:
            moved[bucket] += row.sums.cost_usd or Decimal(0)
    return moved


def _wall(at: datetime, span: Span) -> datetime:
    return at.astimezone(span.zone).replace(tzinfo=None)
