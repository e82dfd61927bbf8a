from dataclasses import dataclass, replace
from datetime import timedelta

from django.http import HttpResponse

from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.portal.access import Visit, organization_page
from apps.portal.charts import Chart
from apps.portal.filters import chips_of, filters_of, label_of, names_of_keys
from apps.portal.pages import Crumb, LabelCell, Option, Select, SpendPage, SpendRow
from apps.portal.ranges import Span
from apps.portal.views.overview import by_cost, over_time, ratio, spend_chart
from apps.reports import dimensions
from apps.reports.selectors import Spend, SpendQuestion, Sums, spend
from apps.teams.selectors import list_teams

GROUPS = (
    "team", "project", "workflow", "task_type", "provider", "model", "service_tier", "environment", "api_key", "status",
    "user", "operation", "outcome", "stop_reason",
)  # fmt: skip
GRANULARITIES = ("hour", "day", "week", "month", "none")
# More bars than this many days of hours are too thin to see.
HOURLY_SPAN_MAX = timedelta(days=31)
FILTERS = frozenset({*dimensions.SPEND, *dimensions.USER, *dimensions.EVENTS})
ROWS_SHOWN = 100
PROMPT = ("input_tokens", "audio_input_tokens", "image_input_tokens")
CACHED = (
    "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "audio_cache_read_tokens",
    "image_cache_read_tokens",
)  # fmt: skip
OUTPUT = ("output_tokens", "reasoning_tokens", "audio_output_tokens", "image_output_tokens")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the explorer's controls say; `granularity` "" follows the range. `key_names` are of API keys, by value."""

    group_by: str
    then_by: str
    granularity: str
    filters: dict[str, str]
    key_names: dict[str, str]

    @property
    def groups(self) -> tuple[str, ...]:
        return (self.group_by, self.then_by) if self.then_by else (self.group_by,)

    @property
    def parameters(self) -> dict[str, str]:
        chosen = {"group_by": self.group_by, "then_by": self.then_by, "granularity": self.granularity}
        return {**{name: value for name, value in chosen.items() if value}, **self.filters}

    def shown(self, groups: tuple[str | None, ...]) -> tuple[str | None, ...]:
        """The values of a row as a person knows them."""
        return tuple(
            self.key_names.get(value, value) if name == "api_key" and value else value
            for name, value in zip(self.groups, groups, strict=False)
        )


@dataclass(frozen=True, slots=True)
class Answer:
    table: Spend
    chart: Chart | None


@organization_page(section="spend", permission=Permission.VIEW_SPEND, within_team=True)
def explorer(visit: Visit) -> HttpResponse:
    span = visit.span()
    asked = _asked(visit, span)
    try:
        answer = _answer(visit, span, asked)
        refusal = ""
    except DomainError as error:
        answer, refusal = None, error.detail
    as_of = answer.table.as_of if answer else None
    return visit.render(
        "portal/spend.html",
        frame=visit.frame("Explorer", Crumb("Explorer"), span=span, as_of=as_of),
        spend=_page(visit, span, asked, answer, refusal),
    )


def _asked(visit: Visit, span: Span) -> Asked:
    query = visit.request.GET
    group_by = query.get("group_by", "team")
    then_by = query.get("then_by", "")
    granularity = query.get("granularity", "")
    filters = visit.cut(filters_of(query, FILTERS))
    return Asked(
        group_by=group_by if group_by in GROUPS else "team",
        then_by=then_by if then_by in GROUPS and then_by != group_by else "",
        granularity=granularity if granularity in _granularities(span) else "",
        filters=filters,
        key_names=names_of_keys(visit.org, (group_by, then_by, *filters)),
    )


def _granularities(span: Span) -> tuple[str, ...]:
    return GRANULARITIES if span.end - span.start <= HOURLY_SPAN_MAX else GRANULARITIES[1:]


def _answer(visit: Visit, span: Span, asked: Asked) -> Answer:
    """The table and the chart of one question. Raises `DomainError` where it cannot be answered."""
    question = SpendQuestion(start=span.start, end=span.end, group_by=asked.groups, filters=asked.filters)
    table = spend(visit.org, question)
    granularity = asked.granularity or span.granularity
    if granularity == "none" or not table.total.events:
        return Answer(table, None)
    cut = over_time(visit.org, replace(question, group_by=(asked.group_by,), granularity=granularity))
    cut = replace(cut, rows=[replace(row, groups=asked.shown(row.groups)) for row in cut.rows])
    with tenant(visit.org):
        order = [team.slug for team in list_teams(visit.org)] if asked.group_by == "team" else []
    none_label = "unattributed" if asked.group_by == "team" else f"no {label_of(asked.group_by).lower()}"
    return Answer(table, spend_chart(cut, span, order, visit.at, none_label))


def _page(visit: Visit, span: Span, asked: Asked, answer: Answer | None, refusal: str) -> SpendPage:
    granularity = asked.granularity or span.granularity
    words = " and ".join(label_of(name).lower() for name in asked.groups)
    chart = answer.chart if answer else None
    total = answer.table.total if answer else Sums()
    rows = sorted(answer.table.rows, key=by_cost) if answer else []
    return SpendPage(
        title=f"Spend by {words}",
        chart_title=f"Spend by {label_of(asked.group_by).lower()} per {granularity}",
        hidden=tuple({**span.parameters, **asked.filters}.items()),
        selects=(
            _select("group_by", "Group by", GROUPS, asked.group_by),
            _select("then_by", "Then by", ("", *GROUPS), asked.then_by),
            _select("granularity", "Per", _granularities(span), granularity),
        ),
        chips=chips_of(asked.filters, asked.key_names, lambda left: visit.url("spend", _with(asked, span, left))),
        headings=tuple(label_of(name) for name in asked.groups),
        rows=tuple(_row(visit, span, asked, row.groups, row.sums, total, chart) for row in rows[:ROWS_SHOWN]),
        row_count=len(rows),
        more_rows=answer is not None and answer.table.following is not None,
        total=_row(visit, span, asked, (), total, total, None),
        chart=chart,
        source=answer.table.source if answer else "",
        refusal=refusal,
    )


def _with(asked: Asked, span: Span, filters: dict[str, str]) -> dict[str, str]:
    return {**replace(asked, filters=filters).parameters, **span.parameters}


def _row(
    visit: Visit,
    span: Span,
    asked: Asked,
    groups: tuple[str | None, ...],
    sums: Sums,
    total: Sums,
    chart: Chart | None,
) -> SpendRow:
    these = {name: value or "" for name, value in zip(asked.groups, groups, strict=False)}
    labels = asked.shown(groups)
    return SpendRow(
        labels=tuple(
            LabelCell(label, visit.url("spend", _with(asked, span, {**asked.filters, name: value})))
            for label, (name, value) in zip(labels, these.items(), strict=True)
        ),
        swatch=chart.swatch_of(labels[0]) if chart and labels else "none",
        events=sums.events,
        input_tokens=meter_sum(sums, PROMPT),
        cached_tokens=meter_sum(sums, CACHED),
        output_tokens=meter_sum(sums, OUTPUT),
        share=ratio(sums.cost_usd, total.cost_usd),
        cost_usd=sums.cost_usd,
        unpriced_events=sums.unpriced_events,
        url=visit.url("events", {**asked.filters, **these, **span.parameters}),
    )


def meter_sum(sums: Sums, meters: tuple[str, ...]) -> int:
    return sum(sums.meters.get(meter, 0) for meter in meters)


def _select(name: str, label: str, values: tuple[str, ...], chosen: str) -> Select:
    labels = {"": "nothing", "none": "no time"}
    options = tuple(Option(value, labels.get(value) or label_of(value).lower(), value == chosen) for value in values)
    return Select(name, label, options)
