"""The page of one workflow: what it costs, what its signals say, and who answers for it.

What others know of a workflow stands between the figures and the forms, part by part: each part of `PARTS` is a
template below `portal/workflow/` and a function that makes what it is shown with (`part` in the template), inside
`tenant(org)`; None leaves the part out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse

from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.organizations.selectors import member_emails, members_by_id
from apps.portal.access import Visit, organization_page
from apps.portal.pages_names import MovePreview, NameForm, NamePage
from apps.portal.saving_rows import workflow_part
from apps.portal.scopes import SUGGESTIONS_MAX, known_slugs
from apps.portal.views import workflow_signals
from apps.portal.views.against import plan_part
from apps.portal.views.name import found_or_404, page_of, rename_act, spent_of, stays_of
from apps.portal.views.names import month_words
from apps.teams import selectors, services
from apps.teams.models import Project, Workflow


@dataclass(frozen=True, slots=True)
class Part:
    template: str
    shown: Any


PARTS: tuple[tuple[str, Callable[[Visit, Workflow], Any]], ...] = (
    ("_economics.html", workflow_signals.economics),
    ("_plan.html", plan_part),
    ("_signals.html", workflow_signals.signals),
    ("_recommendations.html", workflow_part),
)


@organization_page(section="workflows", permission=Permission.VIEW_SPEND, writes=Permission.MANAGE_NAMES)
def workflow(visit: Visit, workflow: str) -> HttpResponse:
    with tenant(visit.org):
        found = found_or_404(selectors.workflow_by_slug(visit.org, workflow))
    assert isinstance(found, Workflow)

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
    return page_of(visit, found, acts, lambda *shown: _page(visit, found, *shown), parts=lambda: _parts(visit, found))


def _parts(visit: Visit, found: Workflow) -> tuple[Part, ...]:
    with tenant(visit.org):
        shown = [Part(f"portal/workflow/{template}", make(visit, found)) for template, make in PARTS]
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
