"""The page of one workflow: what it costs, what its signals say, and who answers for it.

What others know of a workflow stands between the figures and the forms, part by part: each part of `PARTS` is a
template below `portal/workflow/` and a function that makes what it is shown with (`part` in the template) from what the
reader may see, inside `tenant(org)`; None leaves the part out. A lead sees what is of their teams (`Sight`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse

from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.organizations.selectors import member_emails, members_by_id
from apps.portal import formats
from apps.portal.access import Visit, organization_page
from apps.portal.pages_names import MovePreview, NameForm, NamePage
from apps.portal.saving_rows import workflow_part
from apps.portal.scopes import SUGGESTIONS_MAX, known_slugs
from apps.portal.views import workflow_signals
from apps.portal.views.against import plan_part
from apps.portal.views.name import found_or_404, page_of, rename_act, spent_of, stays_of
from apps.portal.views.names import month_words
from apps.portal.workflow_access import Sight, sight_of, spent_by_teams
from apps.teams import selectors, services
from apps.teams.models import Project, Workflow


@dataclass(frozen=True, slots=True)
class Part:
    template: str
    shown: Any


PARTS: tuple[tuple[str, Callable[[Visit, Workflow, Sight], Any]], ...] = (
    ("_economics.html", workflow_signals.economics),
    ("_plan.html", plan_part),
    ("_signals.html", workflow_signals.signals),
    ("_recommendations.html", workflow_part),
)


@organization_page(
    section="workflows", permission=Permission.VIEW_SPEND, writes=Permission.MANAGE_NAMES, within_team=True
)
def workflow(visit: Visit, workflow: str) -> HttpResponse:
    with tenant(visit.org):
        found = found_or_404(selectors.workflow_by_slug(visit.org, workflow))
        assert isinstance(found, Workflow)
        sight = sight_of(visit, found)

    def move(given: Mapping[str, str]) -> None:
        services.move_workflow(org=visit.org, workflow=found, project=_project(visit, given), actor=visit.user)

    def preview(given: Mapping[str, str]) -> MovePreview:
        to = _project(visit, given)
        is_there = to.pk == found.project_id
        return MovePreview(to.slug, None, is_there, stays_of(visit, "workflow", found.slug, "project"))

    def own(given: Mapping[str, str]) -> None:
        email = given.get("owner", "").strip(" ")
        services.set_workflow_owner(org=visit.org, workflow=found, email=email, actor=visit.user)

    acts = {"rename": rename_act(visit, found), "move": move, "preview": preview, "owner": own}

    def page(act: str, form: NameForm, looked: MovePreview | None) -> NamePage:
        return _page(visit, found, act, form, looked) if sight.teams is None else _part_page(visit, found, sight)

    return page_of(visit, found, acts, page, parts=lambda: _parts(visit, found, sight))


def _parts(visit: Visit, found: Workflow, sight: Sight) -> tuple[Part, ...]:
    with tenant(visit.org):
        shown = [Part(f"portal/workflow/{template}", make(visit, found, sight)) for template, make in PARTS]
    return tuple(part for part in shown if part.shown is not None)


def _project(visit: Visit, given: Mapping[str, str]) -> Project:
    with tenant(visit.org):
        return selectors.require_project(visit.org, given.get("to", "").strip(" "))


def _page(visit: Visit, found: Workflow, act: str, form: NameForm, looked: MovePreview | None) -> NamePage:
    of = found.project.slug
    owner = members_by_id(visit.org, [found.owner_id]).get(found.owner_id) if found.owner_id else None
    given = form if form.given else NameForm({"owner": owner.email if owner else ""})
    slug = found.slug
    return NamePage(
        kind="workflow",
        slug=slug,
        name=found.name,
        above=("Project", of, visit.url_below("projects", of)),
        facts=(
            ("Owner", owner.email if owner else "nobody", ""),
            ("Models", "what its calls go to", visit.url("spend", {"workflow": slug, "group_by": "model"})),
            ("Run bounds", "what one run of it may do", visit.url("bounds", {"workflow": slug}) + "#set"),
        ),
        month=month_words(visit),
        spent=spent_of(visit, "workflow", slug),
        spend_url=visit.url("spend", {"workflow": slug, "group_by": "model"}),
        act=act,
        form=given,
        may_change=visit.may(Permission.MANAGE_NAMES),
        choices=known_slugs(visit, "project")["project"],
        members=tuple(member_emails(visit.org, SUGGESTIONS_MAX)),
        move=looked,
    )


def _part_page(visit: Visit, found: Workflow, sight: Sight) -> NamePage:
    """What a lead sees of it: of other teams neither figures nor names, their project and its owner among them."""
    slug, is_own = found.slug, sight.owner is not None
    teams, spent = spent_by_teams(visit, slug)
    one = {"team": teams[0][0] if teams else sight.team}
    links = {} if len(teams) > 1 else {"workflow": slug, "group_by": "model", **one}
    people = members_by_id(visit.org, [found.owner_id]) if is_own and found.owner_id else {}
    facts = [
        *((f"Team {team}", f"{formats.money(each.cost_usd)} USD", each.url) for team, each in teams if len(teams) > 1),
        *([("Owner", next((user.email for user in people.values()), "nobody"), "")] if is_own else []),
        ("Runs", "each with the calls of your teams", visit.url("runs", {"workflow": slug, "team": sight.team})),
        ("Forecast", "what this month comes to", visit.url("forecast", {"workflow": slug, "team": sight.team})),
    ]
    return NamePage(
        kind="workflow",
        slug=slug,
        name=found.name,
        above=("Project", found.project.slug if is_own else "not of your teams", ""),
        facts=tuple(facts),
        month=month_words(visit),
        spent=spent,
        spend_url=visit.url("spend", links) if links else "",
        act="",
        form=NameForm(),
        may_change=False,
        of=f"by {'your teams' if len(teams) > 1 else one['team']}",
    )
