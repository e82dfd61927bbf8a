from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import TypeVar

from django.db.models import Count, Q, QuerySet

from apps.core.errors import DomainError, NotFound
from apps.core.tenancy import HasPk
from apps.core.text import is_name
from apps.teams.attribution import Names, Owned, Rule
from apps.teams.models import (
    NAME_LENGTH_MAX,
    Alias,
    AttributionRule,
    Named,
    Ownership,
    Project,
    Team,
    Workflow,
)

PAGE_MAX = 1_000

N = TypeVar("N", bound=Named)


def load_names(org: HasPk) -> Names:
    """Everything attribution needs, in six queries."""
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
        rules=load_rules(org),
    )


def load_rules(org: HasPk) -> tuple[Rule, ...]:
    """The rules in the order in which they are tried."""
    return tuple(
        Rule(
            id=row.pk,
            name=row.name,
            when=row.when,
            team=row.team.slug if row.team else None,
            project=row.project.slug if row.project else None,
            workflow=row.workflow.slug if row.workflow else None,
            since=row.since,
            version=row.facts_version,
        )
        for row in list_rules(org)
    )


def list_rules(org: HasPk) -> list[AttributionRule]:
    rows = AttributionRule.objects.for_org(org).select_related("team", "project", "workflow")
    return list(rows.order_by("position"))


def rule_by_id(org: HasPk, rule_id: int) -> AttributionRule:
    """Raises `NotFound`."""
    rows = AttributionRule.objects.for_org(org).select_related("team", "project", "workflow")
    row = rows.filter(pk=rule_id).first()
    if row is None:
        raise NotFound("attribution rule")
    return row


def team_by_slug(org: HasPk, slug: str) -> Team | None:
    return _by_slug(Team.objects.for_org(org), slug)


def project_by_slug(org: HasPk, slug: str) -> Project | None:
    return _by_slug(Project.objects.for_org(org), slug)


def workflow_by_slug(org: HasPk, slug: str) -> Workflow | None:
    return _by_slug(Workflow.objects.for_org(org).select_related("project"), slug)


def _by_slug(rows: QuerySet[N], slug: str) -> N | None:
    """None also for what can be no slug: Postgres refuses to compare a NUL."""
    return rows.filter(slug=slug).first() if is_name(slug, NAME_LENGTH_MAX) else None


def require_team(org: HasPk, slug: str) -> Team:
    """Raises `DomainError` (`team_unknown`) where no team has the slug."""
    return _known(team_by_slug(org, slug), "team", slug)


def require_project(org: HasPk, slug: str) -> Project:
    """Raises `DomainError` (`project_unknown`) where no project has the slug."""
    return _known(project_by_slug(org, slug), "project", slug)


def require_workflow(org: HasPk, slug: str) -> Workflow:
    """Raises `DomainError` (`workflow_unknown`) where no workflow has the slug."""
    return _known(workflow_by_slug(org, slug), "workflow", slug)


def _known(found: N | None, kind: str, slug: str) -> N:
    if found is None:
        code = {"team": "team_unknown", "project": "project_unknown"}.get(kind, "workflow_unknown")
        raise DomainError(code, f"There is no {kind} '{slug[:NAME_LENGTH_MAX]}': create it first.", param=kind)
    return found


def list_teams(org: HasPk) -> list[Team]:
    return list(Team.objects.for_org(org).order_by("slug"))


def list_projects(org: HasPk, at: datetime) -> list[tuple[Project, str | None]]:
    """Each project with the slug of the team that owns it at `at`."""
    projects = list(Project.objects.for_org(org).order_by("slug"))
    return owned(org, projects, at)


def list_workflows(org: HasPk) -> list[Workflow]:
    return list(Workflow.objects.for_org(org).select_related("project").order_by("slug"))


# --- pages of lists ---


def find_teams(org: HasPk, *, text: str = "", after: str = "", limit: int) -> list[Team]:
    """Teams after a slug, in order of slug, whose slug or name holds the text. Index: teams_team_slug_once."""
    return list(_paged(Team.objects.for_org(org), text, after)[:limit])


def find_projects(org: HasPk, *, text: str = "", after: str = "", limit: int) -> list[Project]:
    """As `find_teams`. Index: teams_project_slug_once."""
    return list(_paged(Project.objects.for_org(org), text, after)[:limit])


def find_workflows(org: HasPk, *, text: str = "", after: str = "", limit: int) -> list[Workflow]:
    """As `find_teams`, with their projects. Index: teams_workflow_slug_once."""
    return list(_paged(Workflow.objects.for_org(org).select_related("project"), text, after)[:limit])


def _paged(rows: QuerySet[N], text: str, after: str) -> QuerySet[N]:
    if text:
        rows = rows.filter(Q(slug__icontains=text) | Q(name__icontains=text))
    return rows.filter(slug__gt=after).order_by("slug")


def find_aliases(org: HasPk, *, after: tuple[str, str] = ("", ""), limit: int) -> list[Alias]:
    """Aliases after a (kind, name), in that order. Index: teams_alias_means_one_thing."""
    kind, name = after
    rows = Alias.objects.for_org(org).filter(Q(kind__gt=kind) | Q(kind=kind, name__gt=name))
    return list(rows.order_by("kind", "name")[:limit])


# --- who owns what ---


def owned(org: HasPk, projects: Collection[Project], at: datetime) -> list[tuple[Project, str | None]]:
    """Each of these projects with the slug of the team that owns it at `at`."""
    rows = Ownership.objects.for_org(org).select_related("team").filter(project__in=projects, during__contains=at)
    owner = {row.project_id: row.team.slug for row in rows}
    return [(project, owner.get(project.pk)) for project in projects]


def ownerships_of(org: HasPk, project: Project) -> list[Ownership]:
    """Who owned a project when, oldest first, moves that have not come yet included."""
    return list(Ownership.objects.for_org(org).select_related("team").filter(project=project).order_by("during"))


def ownerships_by(org: HasPk, team: Team, limit: int) -> list[Ownership]:
    """What a team owns, owned and will own, the newest first."""
    rows = Ownership.objects.for_org(org).select_related("project").filter(team=team)
    return list(rows.order_by("-during", "pk")[:limit])


def count_projects(org: HasPk, teams: Iterable[Team], at: datetime) -> dict[int, int]:
    """How many projects each of these teams owns at `at`, by the team's id."""
    rows = Ownership.objects.for_org(org).filter(team__in=list(teams), during__contains=at)
    return dict(rows.values_list("team_id").annotate(Count("pk")))


def count_workflows(org: HasPk, projects: Iterable[Project]) -> dict[int, int]:
    """How many workflows each of these projects has, by the project's id."""
    rows = Workflow.objects.for_org(org).filter(project__in=list(projects))
    return dict(rows.values_list("project_id").annotate(Count("pk")))


def workflows_of(org: HasPk, project: Project, limit: int) -> list[Workflow]:
    return list(Workflow.objects.for_org(org).filter(project=project).order_by("slug")[:limit])


def workflows_owned(org: HasPk, user_id: int) -> list[Workflow]:
    """The workflows that a person answers for, by slug."""
    return list(Workflow.objects.for_org(org).filter(owner_id=user_id).order_by("slug"))
