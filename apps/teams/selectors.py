from collections import defaultdict
from datetime import UTC, datetime
from typing import TypeVar

from django.db.models import QuerySet

from apps.core.tenancy import HasPk
from apps.core.text import is_name
from apps.teams.attribution import Names, Owned
from apps.teams.models import NAME_LENGTH_MAX, Alias, Named, Ownership, Project, Team, Workflow

N = TypeVar("N", bound=Named)


def load_names(org: HasPk) -> Names:
    """Everything attribution needs, in five queries."""
    owners: dict[str, list[Owned]] = defaultdict(list)
    for ownership in Ownership.objects.for_org(org).select_related("project", "team").order_by("during"):
        since = ownership.during.lower or datetime.min.replace(tzinfo=UTC)
        owners[ownership.project.slug].append(Owned(since, ownership.during.upper, ownership.team.slug))
    workflows = Workflow.objects.for_org(org).select_related("project")
    return Names(
        teams=dict(Team.objects.for_org(org).values_list("slug", "id")),
        projects=dict(Project.objects.for_org(org).values_list("slug", "id")),
        workflows={workflow.slug: workflow.pk for workflow in workflows},
        owners={slug: tuple(rows) for slug, rows in owners.items()},
        project_of={workflow.slug: workflow.project.slug for workflow in workflows},
        aliases={(row.kind, row.name): row.slug for row in Alias.objects.for_org(org)},
    )


def team_by_slug(org: HasPk, slug: str) -> Team | None:
    return _by_slug(Team.objects.for_org(org), slug)


def project_by_slug(org: HasPk, slug: str) -> Project | None:
    return _by_slug(Project.objects.for_org(org), slug)


def workflow_by_slug(org: HasPk, slug: str) -> Workflow | None:
    return _by_slug(Workflow.objects.for_org(org).select_related("project"), slug)


def _by_slug(rows: QuerySet[N], slug: str) -> N | None:
    """None also for what can be no slug: Postgres refuses to compare a NUL."""
    return rows.filter(slug=slug).first() if is_name(slug, NAME_LENGTH_MAX) else None


def list_teams(org: HasPk) -> list[Team]:
    return list(Team.objects.for_org(org).order_by("slug"))


def list_projects(org: HasPk, at: datetime) -> list[tuple[Project, str | None]]:
    """Each project with the slug of the team that owns it at `at`."""
    owner = {
        row.project_id: row.team.slug
        for row in Ownership.objects.for_org(org).select_related("team").filter(during__contains=at)
    }
    return [(project, owner.get(project.pk)) for project in Project.objects.for_org(org).order_by("slug")]


def list_aliases(org: HasPk) -> list[Alias]:
    return list(Alias.objects.for_org(org).order_by("kind", "name"))


def list_workflows(org: HasPk) -> list[Workflow]:
    return list(Workflow.objects.for_org(org).select_related("project").order_by("slug"))
