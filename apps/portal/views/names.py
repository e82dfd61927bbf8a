"""Teams, projects and workflows: three lists that read alike."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse, HttpResponseRedirect

from apps.core.cursors import cursor_of, position_of
from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.core.text import is_name
from apps.organizations.permissions import Permission
from apps.organizations.selectors import members_by_id
from apps.portal.access import Visit, organization_page
from apps.portal.pages import Crumb
from apps.portal.pages_names import NameForm, NameRow, NamesPage, Spent
from apps.portal.pages_prices import FormError
from apps.portal.scopes import known_slugs
from apps.reports.selectors import SpendQuestion, Sums, spend
from apps.teams import selectors, services
from apps.teams.models import NAME_LENGTH_MAX, Named

ROWS = 50
GIVEN_MAX = 600


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the three, in words; `of` is the kind of thing that it belongs to."""

    kind: str
    kinds: str
    says: str
    find: Callable[..., Sequence[Named]]
    of: str = ""
    holds: str = ""


TEAM = Kind(
    "team",
    "teams",
    "A team owns projects, over ranges of time. It has a statement every month, and budgets if you like.",
    selectors.find_teams,
    holds="Projects",
)
PROJECT = Kind(
    "project",
    "projects",
    "A project belongs to a team and holds workflows. It may change hands on a day of your choice.",
    selectors.find_projects,
    of="team",
    holds="Workflows",
)
WORKFLOW = Kind(
    "workflow",
    "workflows",
    "A workflow is an agent, a pipeline or a feature of a project: what makes the calls.",
    selectors.find_workflows,
    of="project",
)


@organization_page(section="teams", permission=Permission.VIEW_SPEND, writes=Permission.MANAGE_NAMES)
def teams(visit: Visit) -> HttpResponse:
    return _list(visit, TEAM)


@organization_page(section="projects", permission=Permission.VIEW_SPEND, writes=Permission.MANAGE_NAMES)
def projects(visit: Visit) -> HttpResponse:
    return _list(visit, PROJECT)


@organization_page(section="workflows", permission=Permission.VIEW_SPEND, writes=Permission.MANAGE_NAMES)
def workflows(visit: Visit) -> HttpResponse:
    return _list(visit, WORKFLOW)


def given_of(visit: Visit) -> dict[str, str]:
    return {name: str(value)[:GIVEN_MAX] for name, value in visit.request.POST.items()}


def create(visit: Visit, kind: str, *, slug: str, name: str, of: str) -> Named:
    """A team, a project of a team ("": of none yet) or a workflow of a project. Raises `DomainError` like these, and
    `kind_unknown`.
    """
    named: dict[str, Any] = {"org": visit.org, "slug": slug, "name": name, "actor": visit.user}
    with tenant(visit.org):
        match kind:
            case "team":
                return services.create_team(**named)
            case "project":
                team = selectors.require_team(visit.org, of) if of else None
                return services.create_project(**named, team=team)
            case "workflow":
                return services.create_workflow(**named, project=selectors.require_project(visit.org, of))
            case _:
                raise services.kind_unknown(kind)


def _list(visit: Visit, kind: Kind) -> HttpResponse:
    form = NameForm()
    if visit.request.method == "POST":
        given = given_of(visit)
        try:
            made = create(
                visit, kind.kind, slug=given.get("slug", "").strip(" "), name=given.get("name", "").strip(" "),
                of=given.get("of", "").strip(" "),
            )  # fmt: skip
            return HttpResponseRedirect(visit.url_below(kind.kinds, made.slug))
        except DomainError as wrong:
            form = NameForm(given, FormError("of" if wrong.param == kind.of else wrong.param or "", wrong.detail))
    title = kind.kinds.capitalize()
    return visit.render(
        "portal/names.html", frame=visit.frame(title, Crumb(title)), names=_page(visit, kind, form), error=form.error
    )


def _page(visit: Visit, kind: Kind, form: NameForm) -> NamesPage:
    text = visit.request.GET.get("q", "").strip(" ")
    text = text if is_name(text, NAME_LENGTH_MAX) else ""
    after = slug_after(visit)
    with tenant(visit.org):
        found = list(kind.find(visit.org, text=text, after=after, limit=ROWS + 1))
    here = {"q": text} if text else {}
    following = {**here, "cursor": cursor_of(found[ROWS - 1].slug)} if len(found) > ROWS else None
    return NamesPage(
        kind=kind.kind,
        kinds=kind.kinds,
        says=kind.says,
        of=kind.of.capitalize(),
        holds=kind.holds,
        has_owners=kind is WORKFLOW,
        rows=_rows(visit, kind, found[:ROWS]),
        is_empty=not found and not text and not after,
        text=text,
        form=form,
        choices=known_slugs(visit, kind.of)[kind.of] if kind.of else (),
        month=month_words(visit),
        may_change=visit.may(Permission.MANAGE_NAMES),
        first_url=visit.url(kind.kinds, here) if after else None,
        next_url=visit.url(kind.kinds, following) if following else None,
    )


def slug_after(visit: Visit) -> str:
    """The slug that a page goes on after; "" where the cursor is none of ours."""
    try:
        after: str = position_of(visit.request.GET.get("cursor", ""), str)
    except DomainError:
        return ""
    return after if is_name(after, NAME_LENGTH_MAX) else ""


def month_words(visit: Visit) -> str:
    return f"{visit.at.astimezone(visit.calendar.zone_at(visit.at)):%B} so far"


def _rows(visit: Visit, kind: Kind, found: Sequence[Named]) -> tuple[NameRow, ...]:
    spent = spent_by(visit, kind.kind)
    of, holds, owners = _relations(visit, kind, found)
    return tuple(
        NameRow(
            slug=named.slug,
            name=named.name,
            url=visit.url_below(kind.kinds, named.slug),
            spent=spent(named.slug),
            of=of.get(named.pk),
            of_url=visit.url_below(f"{kind.of}s", slug) if (slug := of.get(named.pk)) else "",
            holds=holds.get(named.pk, 0),
            owner=owners.get(named.pk, ""),
        )
        for named in found
    )


Relations = tuple[Mapping[int, str], Mapping[int, int], Mapping[int, str]]


def _relations(visit: Visit, kind: Kind, found: Sequence[Any]) -> Relations:
    """By id: the slug of what each belongs to, how many belong to it, and the address of its owner."""
    org = visit.org
    with tenant(org):
        if kind is TEAM:
            return {}, selectors.count_projects(org, found, visit.at), {}
        if kind is PROJECT:
            owned = {project.pk: team for project, team in selectors.owned(org, found, visit.at) if team}
            return owned, selectors.count_workflows(org, found), {}
    people = members_by_id(org, [workflow.owner_id for workflow in found if workflow.owner_id is not None])
    owners = {workflow.pk: people[workflow.owner_id].email for workflow in found if workflow.owner_id in people}
    return {workflow.pk: workflow.project.slug for workflow in found}, {}, owners


def spent_by(visit: Visit, kind: str, only: str | None = None) -> Callable[[str], Spent]:
    """What was spent this month by each team, project or workflow, or by one of them."""
    month = visit.month()
    filters = {} if only is None else {kind: only}
    answer = spend(visit.org, SpendQuestion(start=month.start, end=month.end, group_by=(kind,), filters=filters))
    sums = {row.groups[0]: row.sums for row in answer.rows}

    def of(slug: str) -> Spent:
        found = sums.get(slug, Sums())
        return Spent(found.events, found.unpriced_events, found.cost_usd, visit.url("events", {kind: slug}))

    return of
