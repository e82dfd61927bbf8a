"""What the explorer's address asks: dimensions, filters, how time is cut and drawn, and with what it is compared."""

from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import chain

from django.http import QueryDict

from apps.core.errors import DomainError
from apps.core.meters import TOKENS_CACHED, TOKENS_IN, TOKENS_OUT
from apps.portal.access import Visit
from apps.portal.filters import Filters, names_of_keys, read_filters
from apps.portal.ranges import Parameters, Span, read_span
from apps.reports import dimensions
from apps.reports.dimensions import is_possible
from apps.reports.selectors import COSTS, SpendQuestion
from apps.reports.view_queries import CHARTS, COMPARE, GRANULARITIES, PREVIOUS

GROUPS = (
    "team", "project", "workflow", "task_type", "provider", "model", "service_tier", "environment", "api_key", "status",
    "user", "operation", "outcome", "stop_reason", "run_id", "parent_run_id", "workflow_version", "prompt_version",
    "tool_name", "error_type", "escalated_from", "model_served", "region", "priced", "team_name", "project_name",
    "workflow_name",
)  # fmt: skip
# More bars than this many days of hours are too thin to see. A day may have 25.
HOURLY_SPAN_MAX = timedelta(days=7, hours=1)
# What the table and its exports show.
MEASURES = (*COSTS, *TOKENS_IN, *TOKENS_CACHED, *TOKENS_OUT)
FILTERS = frozenset({*dimensions.SPEND, *dimensions.USER, *dimensions.EVENTS})


@dataclass(frozen=True, slots=True)
class Asked:
    """What the explorer's controls say; `granularity` "" follows the range. `key_names` are of API keys, by value."""

    span: Span
    group_by: str
    then_by: str
    granularity: str
    chart: str
    compares: bool
    filters: Filters
    key_names: dict[str, str]

    @property
    def groups(self) -> tuple[str, ...]:
        return (self.group_by, self.then_by) if self.then_by else (self.group_by,)

    @property
    def cut(self) -> str:
        """How time is cut."""
        return self.granularity or self.span.granularity

    @property
    def parameters(self) -> Parameters:
        """As the address says it; what is as by default says nothing but the first dimension."""
        chosen = {
            "group_by": self.group_by,
            "then_by": self.then_by,
            "granularity": self.granularity,
            "chart": self.chart if self.chart != CHARTS[0] else "",
            COMPARE: PREVIOUS if self.compares else "",
        }
        said = {name: value for name, value in chosen.items() if value}
        return {**said, **self.filters.parameters, **self.span.parameters}

    @property
    def question(self) -> SpendQuestion:
        """Of the table: every group over the whole range."""
        return SpendQuestion(
            start=self.span.start,
            end=self.span.end,
            group_by=self.groups,
            filters=self.filters.only,
            excluded=self.filters.but,
            before=(self.span.previous_start, self.span.previous_end) if self.compares else None,
            largest=True,
            measures=MEASURES,
        )

    def filtered(self, filters: Filters) -> "Asked":
        return replace(self, filters=filters)

    def shown(self, groups: tuple[str | None, ...]) -> tuple[str | None, ...]:
        """The values of a row as a person knows them."""
        return tuple(self.label(name, value) for name, value in zip(self.groups, groups, strict=False))

    def label(self, name: str, value: str | None) -> str | None:
        return self.key_names.get(value, value) if name == "api_key" and value else value


def read_asked(visit: Visit, query: QueryDict | None = None) -> Asked:
    """What the page's address, or that of a saved view, asks. What cannot be read is as by default."""
    query = visit.request.GET if query is None else query
    span = read_span(query, visit.calendar, visit.at)
    group_by = _dimension(query, "group_by") or "team"
    then_by = _dimension(query, "then_by")
    granularity = query.get("granularity", "")
    asked = read_filters(query, FILTERS)
    filters = Filters(visit.cut(asked.only), asked.but)
    return Asked(
        span=span,
        group_by=group_by,
        then_by=then_by if then_by != group_by else "",
        granularity=granularity if granularity in granularities(span) else "",
        chart="line" if query.get("chart") == "line" else CHARTS[0],
        compares=query.get(COMPARE) == PREVIOUS,
        filters=filters,
        key_names=names_of_keys(
            visit.org, chain((group_by, then_by, query.get("add", "")), filters.names), visit.teams
        ),
    )


def _dimension(query: QueryDict, name: str) -> str:
    asked = query.get(name, "")
    return asked if asked in GROUPS or (is_tag(asked) and is_possible(asked, "")) else ""


def is_tag(name: str) -> bool:
    return name.startswith(dimensions.TAG) and name != dimensions.TAG


def granularities(span: Span) -> tuple[str, ...]:
    return GRANULARITIES if span.end - span.start <= HOURLY_SPAN_MAX else GRANULARITIES[1:]


def added(asked: Asked, query: QueryDict) -> Filters:
    """The filters with the one that the page's form adds.

    Raises `DomainError` (`dimension_unknown`, or `parameter_invalid` for a value that no event can have).
    """
    name, value = query.get("add", ""), query.get("value", "").strip()
    dimensions.check(name, "add")
    if not is_possible(name, value):
        raise DomainError("parameter_invalid", f"No event can have '{value[:64]}' there.", param="value")
    if query.get("how") == "not":
        return asked.filters.excluding(name, value)
    return asked.filters.keeping({name: value})
