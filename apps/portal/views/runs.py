"""The list of runs."""

from datetime import timedelta
from typing import Any

from django.http import HttpResponse

from apps.core.cursors import cursor_of
from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.portal import formats
from apps.portal.access import Visit, organization_page
from apps.portal.filters import Filters, chips_of, filters_of, label_of
from apps.portal.pages import Crumb, Option, Select, Tab, TextField
from apps.portal.pages_budgets import State
from apps.portal.pages_runs import RunLine, RunsPage
from apps.reports.runs import CHOICES, FILTERS, RunPage, RunRow, check_filters, find_runs, has_runs
from apps.teams.selectors import list_projects, list_teams, list_workflows

PAGE_ROWS = 50
FIELDS = ("workflow", "team", "project", "user", "run_id")
SORTS = {"newest": "Newest", "cost": "Most expensive"}
# A run that nobody ended and that was heard of so lately is taken to be under way.
UNDER_WAY = timedelta(hours=1)
OUTCOMES = {
    "success": State("success", "", "Its caller or its last event says so."),
    "failure": State("failure", "risk", "Its caller or its last event says so."),
    "unknown": State("unknown", "", "Its caller or its last event says that it does not know."),
}
RUNNING = State("running", "open", "Nobody ended it, and its last call was less than an hour ago.")
ENDED = State("ended", "", "Its caller ended it and said no outcome.")


@organization_page(section="runs", permission=Permission.VIEW_EVENTS, within_team=True)
def runs(visit: Visit) -> HttpResponse:
    span, query = visit.span(), visit.request.GET
    filters = visit.cut(_filters(visit))
    sort = query.get("sort", "newest")
    sort = sort if sort in SORTS else "newest"
    here = {**filters, **({"sort": sort} if sort != "newest" else {}), **span.parameters}
    cursor = query.get("cursor", "")
    with tenant(visit.org):
        found, is_first = _found(visit, filters, sort, cursor)
        never_used = not found.runs and visit.team is None and not has_runs(visit.org)
        fields = tuple(_fields(visit, filters))
    following = {**here, "cursor": cursor_of(found.following)} if found.following else None
    page = RunsPage(
        hidden=_hidden(here),
        fields=fields,
        selects=tuple(_select(name, filters.get(name)) for name in CHOICES),
        chips=chips_of(Filters(filters), {}, lambda left: visit.url("runs", {**_without(here, *filters), **left.only})),
        sorts=tuple(
            Tab(
                label,
                visit.url("runs", {**_without(here, "sort"), **({} if name == "newest" else {"sort": name})}),
                name == sort,
            )
            for name, label in SORTS.items()
        ),
        levels=tuple(_levels(visit, here)),
        rows=tuple(_line(visit, run) for run in found.runs),
        never_used=never_used,
        first_url=None if is_first else visit.url("runs", here),
        next_url=visit.url("runs", following) if following else None,
    )
    frame = visit.frame("Runs", Crumb("Runs"), span=span, as_of=found.as_of)
    return visit.render("portal/runs.html", frame=frame, runs=page)


def _filters(visit: Visit) -> dict[str, str]:
    """What can be read of the query; a value that no run can have is no filter."""
    found = filters_of(visit.request.GET, FILTERS)
    # A form sends what was not chosen as "".
    chosen = {name: value for name, value in found.items() if value or name not in (*CHOICES, "run_id")}
    return {name: value for name, value in chosen.items() if name in FILTERS and _is_possible(name, value)}


def _is_possible(name: str, value: str) -> bool:
    try:
        check_filters({name: value})
    except DomainError:
        return False
    return True


def _found(visit: Visit, filters: dict[str, str], sort: str, cursor: str) -> tuple[RunPage, bool]:
    """The page that a cursor names, else the first; whether it is the first."""
    span = visit.span()
    asked: dict[str, Any] = {
        "start": span.start,
        "end": span.end,
        "filters": filters,
        "sort": sort,
        "limit": PAGE_ROWS,
        "at": visit.at,
        "part": visit.part,
    }
    try:
        return find_runs(visit.org, cursor=cursor, **asked), not cursor
    except DomainError as error:
        if error.code != "cursor_invalid":
            raise
        return find_runs(visit.org, **asked), True


def _without(here: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in here.items() if name not in names}


def _hidden(here: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """What the form carries along: all that it has no field for, and what is missing on purpose."""
    return tuple(
        (name, value)
        for name, value in here.items()
        if name not in (*FIELDS, *CHOICES) or (value == "" and name in FIELDS)
    )


def _fields(visit: Visit, filters: dict[str, str]) -> list[TextField]:
    # Most names belong to other teams than a lead's.
    suggestions: dict[str, tuple[str, ...]] = (
        {}
        if visit.team is not None
        else {
            "workflow": tuple(workflow.slug for workflow in list_workflows(visit.org)),
            "team": tuple(team.slug for team in list_teams(visit.org)),
            "project": tuple(project.slug for project, _ in list_projects(visit.org, visit.at)),
        }
    )
    return [TextField(name, label_of(name), filters.get(name, ""), suggestions.get(name, ())) for name in FIELDS]


def _select(name: str, chosen: str | None) -> Select:
    values = ("", *CHOICES[name])
    words = {"": "anything" if name == "with" else "any"}
    return Select(
        name, label_of(name), tuple(Option(value, words.get(value, value), value == chosen) for value in values)
    )


def _levels(visit: Visit, here: dict[str, str]) -> list[Tab]:
    parent = here.get("parent_run_id")
    rest = _without(here, "parent_run_id")
    tabs = [
        Tab("All runs", visit.url("runs", rest), parent is None),
        Tab("Without a parent", visit.url("runs", {**rest, "parent_run_id": ""}), parent == ""),
    ]
    return [*tabs, Tab("Child runs of one", visit.url("runs", here), True)] if parent else tabs


def _line(visit: Visit, run: RunRow) -> RunLine:
    return RunLine(
        run_id=run.run_id,
        url=visit.url_below("runs", run.run_id),
        parent_run_id=run.parent_run_id,
        parent_url=visit.url_below("runs", run.parent_run_id) if run.parent_run_id else "",
        workflow=run.workflow,
        started_at=run.first_at,
        duration=took(run),
        steps=run.steps,
        retries=run.retries,
        escalations=run.escalations,
        cache_hit_share=run.cache_hit_share,
        cost_usd=run.cost_usd,
        unpriced_events=run.unpriced_events,
        others=run.others,
        state=state_of(visit, run),
    )


def took(run: RunRow) -> str:
    """From its first call to its last; an em dash where it has one only."""
    return formats.NONE if run.first_at == run.last_at else formats.duration(run.duration)


def state_of(visit: Visit, run: RunRow) -> State | None:
    """How it went, else how far it is; None where nobody said either."""
    if run.outcome in OUTCOMES:
        return OUTCOMES[run.outcome]
    if run.ended_at is not None:
        return ENDED
    return RUNNING if run.last_at > visit.at - UNDER_WAY else None
