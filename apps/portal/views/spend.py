from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import cast

from django.http import HttpResponse, HttpResponseRedirect

from apps.core.errors import DomainError
from apps.core.meters import TOKENS_CACHED, TOKENS_IN, TOKENS_OUT
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.planner.actuals_sql import CUTS
from apps.portal import formats
from apps.portal.access import Visit, organization_page
from apps.portal.charts import Chart, Drawn
from apps.portal.explorer import (
    GROUPS,
    Asked,
    added,
    granularities,
    is_tag,
    read_asked,
)
from apps.portal.filters import chips_of, label_of
from apps.portal.pages import Crumb, Option, Select, Tab
from apps.portal.pages_spend import FilterForm, LabelCell, SpendPage, SpendRow
from apps.portal.ranges import pairs_of, query_string
from apps.portal.spending import over_time, ratio, spend_chart
from apps.reports import dimensions
from apps.reports.dimensions import is_possible
from apps.reports.selectors import COSTS, ROWS_MAX, Spend, Sums, meter_sum, spend, tag_keys
from apps.reports.view_queries import CHARTS, GRANULARITIES
from apps.reports.views import list_views
from apps.teams.selectors import list_teams

ROWS_SHOWN = 100
VALUES_SHOWN = 50
# Filters that say of runs what they say of their calls.
OF_RUNS = frozenset({"team", "project", "workflow", "environment", "user", "run_id", "parent_run_id"})


@dataclass(frozen=True, slots=True)
class Answer:
    """`not_compared` says why the period before has no answer where this one has."""

    table: Spend
    chart: Chart | None
    not_compared: str = ""


@organization_page(section="spend", permission=Permission.VIEW_SPEND, within_team=True)
def explorer(visit: Visit) -> HttpResponse:
    asked, wrong = read_asked(visit), ""
    if "add" in visit.request.GET:
        try:
            return HttpResponseRedirect(_url(visit, asked.filtered(added(asked, visit.request.GET))))
        except DomainError as error:
            wrong = error.detail
    try:
        answer = _answer(visit, asked)
        refusal = ""
    except DomainError as error:
        answer, refusal = None, error.detail
    as_of = answer.table.as_of if answer else None
    return visit.render(
        "portal/spend.html",
        frame=visit.frame("Explorer", Crumb("Explorer"), span=asked.span, as_of=as_of, compares=True),
        spend=_page(visit, asked, answer, refusal, wrong),
        error=wrong,
    )


@organization_page(section="spend", permission=Permission.VIEW_SPEND, within_team=True)
def spend_values(visit: Visit) -> HttpResponse:
    """What to suggest for a filter: the values that occur in the range, with these filters, the largest first."""
    asked, name = read_asked(visit), visit.request.GET.get("add", "")
    try:
        dimensions.check(name, "add")
        question = replace(asked.question, group_by=(name,), before=None, limit=VALUES_SHOWN, measures=COSTS)
        values = _values(asked, name, spend(visit.org, question))
    except DomainError:
        # Too long a range for events: a value can still be typed.
        values = ()
    return visit.render("portal/_values.html", values=values)


def _values(asked: Asked, name: str, answer: Spend) -> tuple[tuple[str, str], ...]:
    found = dict.fromkeys(row.groups[0] for row in answer.rows if row.groups[0])
    return tuple((value, asked.label(name, value) or value) for value in list(found)[:VALUES_SHOWN])


def _url(visit: Visit, asked: Asked) -> str:
    return visit.url("spend", asked.parameters)


def _answer(visit: Visit, asked: Asked) -> Answer:
    """The table and the chart of one question. Raises `DomainError` where it cannot be answered."""
    not_compared = ""
    question = replace(asked.question, limit=ROWS_SHOWN)
    try:
        table = spend(visit.org, question)
    except DomainError as error:
        if question.before is None:
            raise
        table, not_compared = spend(visit.org, replace(question, before=None)), error.detail
    has_any = table.total.events or (table.before and table.before.events)
    chart = _chart(visit, asked, table) if has_any and asked.cut != "none" else None
    return Answer(table, chart, not_compared)


def _chart(visit: Visit, asked: Asked, table: Spend) -> Chart:
    question = replace(asked.question, granularity=asked.cut, before=None, largest=False, measures=COSTS)
    # More groups than an answer has rows are not asked for: cut by time they are no fewer.
    group_by = (asked.group_by,) if table.row_count <= ROWS_MAX else ()
    cut = over_time(visit.org, replace(question, group_by=group_by))
    cut = replace(cut, rows=[replace(row, groups=asked.shown(row.groups)) for row in cut.rows])
    with tenant(visit.org):
        order = [team.slug for team in list_teams(visit.org)] if asked.group_by == "team" else []
    span = asked.span
    earlier = replace(question, start=span.previous_start, end=span.previous_end, group_by=())
    return spend_chart(
        cut,
        span,
        order,
        visit.at,
        "unattributed" if asked.group_by == "team" else f"no {label_of(asked.group_by).lower()}",
        drawn=cast("Drawn", asked.chart),
        previous=spend(visit.org, earlier) if table.before else None,
    )


def _page(visit: Visit, asked: Asked, answer: Answer | None, refusal: str, wrong: str) -> SpendPage:
    words = " and ".join(label_of(name).lower() for name in asked.groups)
    table, chart = (answer.table, answer.chart) if answer else (None, None)
    tags = _tags(visit, asked)
    compared = table is not None and table.before is not None
    return SpendPage(
        title=f"Spend by {words}",
        chart_title=f"Spend by {label_of(asked.group_by).lower()} per {asked.cut}",
        hidden=tuple((name, value) for name, value in pairs_of(asked.parameters) if name not in (*CONTROLS, "cursor")),
        selects=_selects(asked, tags),
        chips=chips_of(asked.filters, asked.key_names, lambda left: _url(visit, asked.filtered(left))),
        adding=_adding(visit, asked, table, tags, wrong),
        runs_url=_runs_url(visit, asked),
        views=_views(visit, asked),
        views_url=visit.url("views"),
        save_url=visit.url("views", {"save": query_string(asked.parameters).removeprefix("?")}),
        exports_url=visit.url("exports"),
        months_url=_months_url(visit, asked),
        query=query_string(asked.parameters).removeprefix("?"),
        headings=tuple(label_of(name) for name in asked.groups),
        rows=tuple(_rows(visit, asked, table, chart)) if table else (),
        row_count=table.row_count if table else 0,
        total=_row(visit, asked, (), *((table.total, table.total, table.before) if table else (Sums(), Sums(), None))),
        chart=chart,
        compared_with=asked.span.previous_label if compared else "",
        not_compared=answer.not_compared if answer else "",
        source=table.source if table else "",
        refusal=refusal,
    )


def _runs_url(visit: Visit, asked: Asked) -> str | None:
    """The runs behind the page; None where runs cannot be filtered so. Of no run there is no list."""
    only = asked.filters.only
    if asked.filters.but or not only.keys() <= OF_RUNS or only.get("run_id") == "":
        return None
    return visit.url("runs", {**only, **asked.span.parameters})


def _months_url(visit: Visit, asked: Asked) -> str | None:
    """Why the month in which the range ends differs from the one before; None where that cannot be filtered so."""
    only = asked.filters.only
    if asked.filters.but or not only.keys() <= set(CUTS) or not all(only.values()):
        return None
    month = (asked.span.end - timedelta(microseconds=1)).astimezone(asked.span.start.tzinfo)
    return visit.url("month_changes", {**only, "month": f"{month:%Y-%m}"})


def _views(visit: Visit, asked: Asked) -> tuple[Tab, ...]:
    here = query_string(asked.parameters)
    return tuple(
        Tab(view.name, f"{visit.url('spend')}?{view.query}", f"?{view.query}" == here)
        for view in list_views(visit.org, visit.user, visit.teams)
    )


CONTROLS = ("group_by", "then_by", "granularity", "chart")


def _tags(visit: Visit, asked: Asked) -> tuple[str, ...]:
    """Dimensions of tags to choose from: those of late events, and those that are chosen."""
    found = tag_keys(visit.org, start=asked.span.start, end=asked.span.end, team=visit.team)
    usable = (name for key in found if is_possible(name := f"{dimensions.TAG}{key}", ""))
    return tuple(dict.fromkeys((*(name for name in asked.groups if is_tag(name)), *usable)))


def _selects(asked: Asked, tags: Sequence[str]) -> tuple[Select, ...]:
    return (
        _select("group_by", "Group by", (*GROUPS, *tags), asked.group_by),
        _select("then_by", "Then by", ("", *GROUPS, *tags), asked.then_by),
        _per(asked),
        _select("chart", "Chart", CHARTS, asked.chart),
    )


def _select(name: str, label: str, values: Iterable[str], chosen: str) -> Select:
    labels = {"": "nothing", "none": "no time", "stacked": "stacked bars", "line": "lines"}
    options = tuple(Option(value, labels.get(value) or _lower(value), value == chosen) for value in values)
    return Select(name, label, options)


def _per(asked: Asked) -> Select:
    """How time may be cut; hours are too many for a long range, and the control says so."""
    usable = granularities(asked.span)
    every = _select("granularity", "Per", GRANULARITIES, asked.cut)
    options = (
        option if option.value in usable else replace(option, label=f"{option.label}, up to 7 days", disabled=True)
        for option in every.options
    )
    return replace(every, options=tuple(options))


def _lower(name: str) -> str:
    """A dimension within a sentence; the key of a tag is as it was sent."""
    return f"tag {name.removeprefix(dimensions.TAG)}" if is_tag(name) else label_of(name).lower()


def _adding(visit: Visit, asked: Asked, table: Spend | None, tags: Sequence[str], wrong: str) -> FilterForm:
    """The suggestions that the page has anyway: the values that its table is grouped by."""
    query = visit.request.GET
    chosen = query.get("add", "") if wrong else asked.group_by
    return FilterForm(
        hidden=pairs_of(asked.parameters),
        dimension=_select("add", "Dimension", (*GROUPS, *tags), chosen),
        values=_values(asked, asked.group_by, table) if table and chosen == asked.group_by else (),
        values_url=visit.url("spend_values"),
        value=query.get("value", "")[:300] if wrong else "",
        excludes=bool(wrong) and query.get("how") == "not",
        error=wrong,
    )


def _rows(visit: Visit, asked: Asked, table: Spend, chart: Chart | None) -> Iterable[SpendRow]:
    for row in table.rows:
        yield _row(visit, asked, row.groups, row.sums, table.total, row.before, chart)


def _row(
    visit: Visit,
    asked: Asked,
    groups: tuple[str | None, ...],
    sums: Sums,
    total: Sums,
    before: Sums | None,
    chart: Chart | None = None,
) -> SpendRow:
    these = {name: value or "" for name, value in zip(asked.groups, groups, strict=False)}
    labels = asked.shown(groups)
    filters = asked.filters
    return SpendRow(
        labels=tuple(
            LabelCell(
                value=label,
                url=_url(visit, asked.filtered(filters.keeping({name: value}))),
                exclude_url=_url(visit, asked.filtered(filters.excluding(name, value))),
            )
            for label, (name, value) in zip(labels, these.items(), strict=True)
        ),
        swatch=chart.swatch_of(labels[0]) if chart and labels else "none",
        events=sums.events,
        input_tokens=meter_sum(sums, TOKENS_IN),
        cached_tokens=meter_sum(sums, TOKENS_CACHED),
        output_tokens=meter_sum(sums, TOKENS_OUT),
        share=ratio(sums.cost_usd, total.cost_usd),
        cost_usd=sums.cost_usd,
        unpriced_events=sums.unpriced_events,
        url=visit.url("events", {**filters.keeping(these).parameters, **asked.span.parameters}),
        previous_usd=before.cost_usd if before else None,
        change=formats.change(sums.cost_usd, before.cost_usd) if before else None,
    )
