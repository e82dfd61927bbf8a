"""What the command palette finds beside pages: things of the organization by their names, runs by their ids."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

from django.http import HttpResponse

from apps.budgets.selectors import named_like
from apps.core.tenancy import tenant
from apps.core.text import is_name
from apps.organizations.permissions import ROLE_PERMISSIONS, Permission
from apps.organizations.selectors import find_members
from apps.portal.access import Visit, organization_page
from apps.portal.pages_search import Found, Kind, Thing
from apps.portal.rail import LABELS, may_open
from apps.reports.runs import run_ids_from
from apps.reports.views import list_views
from apps.teams.models import Named
from apps.teams.selectors import find_projects, find_teams, find_workflows

# Of each kind.
FOUND_MAX = 5
TEXT_LENGTH_MAX = 256
NAMES: Mapping[str, Callable[..., Sequence[Named]]] = {
    "teams": find_teams,
    "projects": find_projects,
    "workflows": find_workflows,
}


@organization_page(section="overview", permission=Permission.VIEW_SPEND, within_team=True)
def search(visit: Visit) -> HttpResponse:
    """A fragment: of each kind that the visitor may open, the first few whose name holds the text."""
    text = visit.request.GET.get("q", "").strip()[:TEXT_LENGTH_MAX]
    # What cannot be written down is nobody's name.
    kinds = _kinds(visit, text) if is_name(text, TEXT_LENGTH_MAX) else ()
    found = Found(text, tuple(kind for kind in kinds if kind.things))
    return visit.render("portal/_found.html", found=found)


def _kinds(visit: Visit, text: str) -> Iterator[Kind]:
    if visit.teams is not None:
        yield _kind("Teams", _led(visit, text))
    for page in NAMES:
        if _opens(visit, page):
            yield _kind(LABELS[page], _named(visit, page, text))
    if _opens(visit, "budgets"):
        yield _kind("Budgets", _budgets(visit, text))
    if _opens(visit, "members"):
        yield _kind("Members", _members(visit, text))
    yield _kind("Views", _views(visit, text))
    if _opens(visit, "runs"):
        yield _kind("Runs", _runs(visit, text))


def _kind(title: str, things: Iterator[Thing]) -> Kind:
    return Kind(title, tuple(islice(things, FOUND_MAX)))


def _opens(visit: Visit, page: str) -> bool:
    return may_open(page, ROLE_PERMISSIONS[visit.membership.role], visit.teams is not None)


def _led(visit: Visit, text: str) -> Iterator[Thing]:
    """A lead's teams, which have no page of their own for leads."""
    for team in visit.teams or ():
        if _holds(team, text):
            yield Thing(team, visit.url("spend", {"team": team}))


def _named(visit: Visit, page: str, text: str) -> Iterator[Thing]:
    with tenant(visit.org):
        rows = NAMES[page](visit.org, text=text, limit=FOUND_MAX)
    for row in rows:
        yield Thing(row.slug, visit.url_below(page, row.slug), row.name if row.name != row.slug else "")


def _budgets(visit: Visit, text: str) -> Iterator[Thing]:
    with tenant(visit.org):
        rows = named_like(visit.org, text, FOUND_MAX)
    for row in rows:
        yield Thing(row.name, visit.url_below("budgets", str(row.pk)))


def _members(visit: Visit, text: str) -> Iterator[Thing]:
    rows, _ = find_members(visit.org, search=text, limit=FOUND_MAX)
    for row in rows:
        yield Thing(row.user.email, visit.url("members", {"q": row.user.email}), row.user.name)


def _views(visit: Visit, text: str) -> Iterator[Thing]:
    for view in list_views(visit.org, visit.user, visit.teams):
        if _holds(view.name, text):
            yield Thing(view.name, f"{visit.url('spend')}?{view.query}")


def _runs(visit: Visit, text: str) -> Iterator[Thing]:
    with tenant(visit.org):
        found = run_ids_from(visit.org, text, teams=visit.teams, limit=FOUND_MAX)
    for run_id in found:
        yield Thing(run_id, visit.url_below("runs", run_id))


def _holds(name: str, text: str) -> bool:
    return text.casefold() in name.casefold()
