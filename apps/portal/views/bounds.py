"""Run bounds: what a run of each workflow may do at most."""

from collections.abc import Mapping

from django.http import HttpResponse, HttpResponseRedirect

from apps.alerts.selectors import told_of
from apps.budgets import services
from apps.budgets.models import Crossing, RunBound
from apps.budgets.selectors import find_crossings, list_bounds
from apps.budgets.services import BOUNDS
from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.portal import formats
from apps.portal.access import Visit, organization_page
from apps.portal.pages import Crumb
from apps.portal.pages_budgets import BoundField, BoundRow, BoundsPage
from apps.portal.pages_prices import FormError
from apps.portal.told import crossing_row
from apps.teams.selectors import list_workflows

# What people call a bound, and what it counts.
LABELS = {
    "max_cost_usd": ("Cost, USD", "of the run and its child runs, spent and held"),
    "max_steps": ("Steps", "LLM calls of the run and its child runs, retries not counted"),
    "max_attempts": ("Attempts", "of one step, the first included"),
    "max_depth": ("Depth", "of child runs below the first run"),
    "max_children": ("Child runs", "that one run may start"),
    "max_seconds": ("Seconds", "since the first decision or event, child runs included"),
    "max_same_tool_calls": ("Same tool calls", "with identical arguments in one run"),
}
REACHED_SHOWN = 20


@organization_page(section="bounds", permission=Permission.VIEW_SPEND, writes=Permission.MANAGE_BUDGETS)
def bounds(visit: Visit) -> HttpResponse:
    """The list; its form sets a workflow's bounds, which an address with `workflow` fills in."""
    error = None
    given = {"workflow": str(visit.request.GET.get("workflow", ""))[:300]}
    if visit.request.method == "POST":
        given = {name: str(visit.request.POST.get(name, ""))[:300].strip(" ") for name in ("workflow", *BOUNDS)}
        try:
            services.set_run_bound(
                org=visit.org, workflow=given["workflow"], bounds=_bounds_of(given), actor=visit.user
            )
            return HttpResponseRedirect(visit.url("bounds"))
        except DomainError as wrong:
            error = FormError.of(wrong)
    page = _page(visit, given, error)
    return visit.render(
        "portal/bounds.html", frame=visit.frame("Run bounds", Crumb("Run bounds")), bounds=page, error=error
    )


@organization_page(section="bounds", permission=Permission.VIEW_SPEND, writes=Permission.MANAGE_BUDGETS, is_act=True)
def bound_remove(visit: Visit, workflow: str) -> HttpResponse:
    services.remove_run_bound(org=visit.org, workflow=workflow, actor=visit.user)
    return HttpResponseRedirect(visit.url("bounds"))


def _bounds_of(given: Mapping[str, str]) -> dict[str, object]:
    """Whole numbers as such; what is none stays text, for the service to refuse it by name."""
    return {name: _number(name, given[name]) for name in BOUNDS if given[name]}


def _number(name: str, text: str) -> object:
    is_whole = name != "max_cost_usd" and text.isascii() and text.isdigit() and len(text) < 19
    return int(text) if is_whole else text


def _page(visit: Visit, given: Mapping[str, str], error: FormError | None) -> BoundsPage:
    with tenant(visit.org):
        rows = list_bounds(visit.org)
        workflows = tuple(workflow.slug for workflow in list_workflows(visit.org))
        reached = find_crossings(visit.org, limit=REACHED_SHOWN, kind=Crossing.Kind.RUN_BOUND).rows
        told = told_of(visit.org, [row.crossing_id for row in reached])
    chosen = next((row for row in rows if row.workflow.slug == given["workflow"]), None)
    return BoundsPage(
        headings=tuple(label for label, _ in LABELS.values()),
        rows=tuple(_row(visit, row) for row in rows),
        reached=tuple(crossing_row(visit, row, told) for row in reached),
        workflows=workflows,
        workflow=given["workflow"],
        fields=tuple(
            BoundField(name, label, says, given.get(name, _text(chosen, name) if chosen else ""))
            for name, (label, says) in LABELS.items()
        ),
        error=error,
        may_change=visit.may(Permission.MANAGE_BUDGETS),
    )


def _text(row: RunBound, name: str) -> str:
    """A bound as it is typed; "" where it does not bind."""
    value = getattr(row, name)
    if value is None:
        return ""
    return formats.digits(value).replace(formats.THIN, "") if name == "max_cost_usd" else str(value)


def _shown(row: RunBound, name: str) -> str:
    if name == "max_cost_usd" and row.max_cost_usd is not None:
        return formats.money(row.max_cost_usd)
    return _text(row, name) or formats.NONE


def _row(visit: Visit, row: RunBound) -> BoundRow:
    slug = row.workflow.slug
    return BoundRow(
        workflow=slug,
        cells=tuple((label, _shown(row, name)) for name, (label, _) in LABELS.items()),
        changed_by=row.changed_by,
        changed_at=row.changed_at,
        edit_url=visit.url("bounds", {"workflow": slug}) + "#set",
        remove_url=f"{visit.url_below('bounds', slug)}/remove",
    )
