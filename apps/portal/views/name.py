"""The page of one team or one project: what it owns or who owns it, and what can be changed."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from django.http import Http404, HttpResponse, HttpResponseRedirect

from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.portal import formats
from apps.portal.access import Visit, organization_page
from apps.portal.pages import Crumb
from apps.portal.pages_names import MovePreview, NameForm, NamePage, OwnedRow, Spent
from apps.portal.pages_prices import FormError
from apps.portal.scopes import known_slugs
from apps.portal.views.names import given_of, month_words, spent_by
from apps.reports.selectors import SpendQuestion, spend
from apps.teams import selectors, services
from apps.teams.models import Named, Ownership, Project, Team
from apps.teams.rulebook import REACH

OWNED_SHOWN = 200
WORKFLOWS_SHOWN = 100


# --- what all of them do -------------------------------------------------------------------------------


def page_of(
    visit: Visit, named: Named, acts: Mapping[str, Callable[[Mapping[str, str]], MovePreview | None]],
    page: Callable[[str, NameForm, MovePreview | None], NamePage], *,
    parts: Callable[[], Sequence[object]] = tuple,
) -> HttpResponse:  # fmt: skip
    """The page, or what one of its forms does: an act that shows nothing goes back to the page."""
    kinds = f"{type(named).__name__.lower()}s"
    act, form, looked = "", NameForm(), None
    if visit.request.method == "POST":
        given = given_of(visit)
        act = given.get("act", "")
        if act not in acts:
            raise DomainError("invalid", "This form says nothing that can be done here: open the page again.")
        try:
            looked = acts[act](given)
            if looked is None:
                return HttpResponseRedirect(visit.url_below(kinds, named.slug))
            form = NameForm(given)
        except DomainError as wrong:
            form = NameForm(given, FormError.of(wrong))
    shown = page("move" if act == "preview" else act, form, looked)
    # The list is closed to leads.
    lists = () if visit.teams is not None else (Crumb(kinds.capitalize(), visit.url(kinds)),)
    crumbs = (*lists, Crumb(named.name))
    frame = visit.frame(named.name, *crumbs)
    return visit.render("portal/name.html", frame=frame, one=shown, parts=parts(), error=form.error)


def rename_act(visit: Visit, named: Named) -> Callable[[Mapping[str, str]], None]:
    def act(given: Mapping[str, str]) -> None:
        before = named.name
        try:
            services.rename(org=visit.org, named=named, name=given.get("name", "").strip(" "), actor=visit.user)
        except DomainError:
            named.name = before
            raise

    return act


def found_or_404(row: Named | None) -> Named:
    if row is None:
        raise Http404
    return row


def spent_of(visit: Visit, kind: str, slug: str) -> Spent:
    return spent_by(visit, kind, slug)(slug)


def _state(visit: Visit, row: Ownership) -> str:
    since, until = row.during.lower, row.during.upper
    if since is not None and since > visit.at:
        return "coming"
    return "now" if until is None or until > visit.at else "before"


def _owned(visit: Visit, row: Ownership, kinds: str, other: Named) -> OwnedRow:
    return OwnedRow(
        name=other.slug,
        url=visit.url_below(kinds, other.slug),
        state=_state(visit, row),
        since=row.during.lower,
        until=row.during.upper,
    )


def stays_of(visit: Visit, kind: str, slug: str, by: str) -> tuple[tuple[str | None, Spent], ...]:
    """What something spent in the last 30 days, by where it stays whatever is moved now."""
    question = SpendQuestion(start=visit.at - REACH, end=visit.at, group_by=(by,), filters={kind: slug})
    zone = visit.calendar.zone_at(visit.at)
    days = {"from": (visit.at - REACH).astimezone(zone).date(), "to": visit.at.astimezone(zone).date()}
    range_of = {name: day.isoformat() for name, day in days.items()}
    return tuple(
        (
            row.groups[0],
            Spent(
                row.sums.events,
                row.sums.unpriced_events,
                row.sums.cost_usd,
                visit.url("spend", {kind: slug, by: row.groups[0] or "", **range_of}),
            ),
        )
        for row in spend(visit.org, question).rows
        if row.sums.events
    )


# --- a team ------------------------------------------------------------------------------------------


@organization_page(section="teams", permission=Permission.VIEW_SPEND, writes=Permission.MANAGE_NAMES)
def team(visit: Visit, team: str) -> HttpResponse:
    with tenant(visit.org):
        found = found_or_404(selectors.team_by_slug(visit.org, team))
        assert isinstance(found, Team)
        rows = selectors.ownerships_by(visit.org, found, OWNED_SHOWN + 1)
        count = selectors.count_projects(visit.org, [found], visit.at).get(found.pk, 0)

    def charge(given: Mapping[str, str]) -> None:
        centre = given.get("cost_centre", "").strip(" ")
        services.set_cost_centre(org=visit.org, team=found, cost_centre=centre, actor=visit.user)

    def page(act: str, form: NameForm, looked: MovePreview | None) -> NamePage:
        return NamePage(
            kind="team",
            slug=found.slug,
            name=found.name,
            above=("Projects", formats.count(count), "#owned"),
            facts=(
                ("Cost centre", found.cost_centre or "none", ""),
                ("Statements", "this month's, and earlier ones", visit.url("statements")),
            ),
            month=month_words(visit),
            spent=spent_of(visit, "team", found.slug),
            spend_url=visit.url("spend", {"team": found.slug, "group_by": "project"}),
            act=act,
            form=NameForm({"cost_centre": found.cost_centre or "", **form.given}, form.error),
            may_change=visit.may(Permission.MANAGE_NAMES),
            owned=tuple(_owned(visit, row, "projects", row.project) for row in rows[:OWNED_SHOWN]),
            owned_more=len(rows) > OWNED_SHOWN,
        )

    return page_of(visit, found, {"rename": rename_act(visit, found), "cost_centre": charge}, page)


# --- a project ---------------------------------------------------------------------------------------


@organization_page(section="projects", permission=Permission.VIEW_SPEND, writes=Permission.MANAGE_NAMES)
def project(visit: Visit, project: str) -> HttpResponse:
    with tenant(visit.org):
        found = found_or_404(selectors.project_by_slug(visit.org, project))
    assert isinstance(found, Project)

    def move(given: Mapping[str, str]) -> None:
        services.move_project(
            org=visit.org, project=found, team=_team(visit, given), at=_at(visit, given) or visit.at, actor=visit.user
        )

    def preview(given: Mapping[str, str]) -> MovePreview:
        to, at = _team(visit, given), _at(visit, given)
        with tenant(visit.org):
            owner = services.check_move(visit.org, project=found, at=at or visit.at, team=to)
        is_there = owner is not None and owner.team_id == to.pk
        return MovePreview(to.slug, at, is_there, stays_of(visit, "project", found.slug, "team"))

    def call_off(given: Mapping[str, str]) -> None:
        services.call_off_move(org=visit.org, project=found, actor=visit.user)

    acts = {"rename": rename_act(visit, found), "move": move, "preview": preview, "call_off": call_off}
    return page_of(visit, found, acts, lambda *shown: _project_page(visit, found, *shown))


def _team(visit: Visit, given: Mapping[str, str]) -> Team:
    with tenant(visit.org):
        return selectors.require_team(visit.org, given.get("to", "").strip(" "))


def _at(visit: Visit, given: Mapping[str, str]) -> datetime | None:
    """The start of the day that a form names; None where it names none."""
    text = given.get("at", "").strip()
    at = visit.day_start(text) if text else None
    if text and at is None:
        raise DomainError("at_invalid", f"'{text[:64]}' is no day: write it as 2026-11-01.", param="at")
    return at


def _project_page(visit: Visit, found: Project, act: str, form: NameForm, looked: MovePreview | None) -> NamePage:
    with tenant(visit.org):
        rows = selectors.ownerships_of(visit.org, found)
        workflows = selectors.workflows_of(visit.org, found, WORKFLOWS_SHOWN)
        count = selectors.count_workflows(visit.org, [found]).get(found.pk, 0)
    owned = tuple(_owned(visit, row, "teams", row.team) for row in reversed(rows[-OWNED_SHOWN:]))
    now = next((row for row in owned if row.state == "now"), None)
    return NamePage(
        kind="project",
        slug=found.slug,
        name=found.name,
        above=("Team", now.name if now else "none", now.url if now else ""),
        facts=(),
        month=month_words(visit),
        spent=spent_of(visit, "project", found.slug),
        spend_url=visit.url("spend", {"project": found.slug, "group_by": "workflow"}),
        act=act,
        form=form,
        may_change=visit.may(Permission.MANAGE_NAMES),
        owned=owned,
        owned_more=len(rows) > OWNED_SHOWN,
        can_call_off=bool(owned) and owned[0].state == "coming",
        workflows=tuple((row.slug, row.name, visit.url_below("workflows", row.slug)) for row in workflows),
        workflow_count=count,
        choices=known_slugs(visit, "team")["team"],
        move=looked,
    )
