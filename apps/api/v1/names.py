"""Teams, projects, workflows, and the mapping of names seen in events."""

from collections.abc import Sequence
from typing import Any, TypeVar

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import parameters
from apps.api.views import Exact, ScopedView, listing
from apps.core.cursors import cursor_of, invalid_cursor, position_of
from apps.core.errors import NotFound
from apps.core.tenancy import tenant
from apps.core.text import is_name
from apps.organizations.models import Organization
from apps.organizations.permissions import Scope
from apps.organizations.selectors import members_by_id
from apps.teams import selectors, services
from apps.teams.models import NAME_LENGTH_MAX, Named, Project, Workflow
from apps.teams.selectors import PAGE_MAX

N = TypeVar("N", bound=Named)

PAGED = [
    OpenApiParameter("limit", int, description=f"1 to {PAGE_MAX}, default {PAGE_MAX}."),
    OpenApiParameter("cursor", str, description="`next` of the page before."),
]


class NameInput(serializers.Serializer[Any]):
    slug = serializers.CharField(max_length=256)
    name = serializers.CharField(max_length=256, required=False, default="")


class RenameInput(Exact):
    name = serializers.CharField(max_length=256, help_text="For people. The slug, which events say, never changes.")


class NameOutput(serializers.Serializer[Any]):
    slug = serializers.CharField()
    name = serializers.CharField()
    created_at = serializers.DateTimeField()


def _cost_centre() -> serializers.CharField:
    return serializers.CharField(
        max_length=64, required=False, allow_null=True, help_text="What the general ledger calls the team."
    )


class TeamInput(NameInput):
    cost_centre = _cost_centre()


class TeamChange(Exact):
    name = serializers.CharField(max_length=256, required=False)
    cost_centre = _cost_centre()


class TeamOutput(NameOutput):
    cost_centre = serializers.CharField(allow_null=True)


class ProjectInput(NameInput):
    team = serializers.CharField(max_length=256, required=False, allow_null=True, default=None)


class ProjectOutput(NameOutput):
    team = serializers.CharField(allow_null=True)


class MoveInput(serializers.Serializer[Any]):
    team = serializers.CharField(max_length=256)
    at = serializers.DateTimeField(required=False, default=None, allow_null=True)


class WorkflowInput(NameInput):
    project = serializers.CharField(max_length=256)


class WorkflowChange(Exact):
    name = serializers.CharField(max_length=256, required=False)
    owner = serializers.CharField(
        max_length=256, required=False, allow_null=True, help_text="The email address of a member; null for nobody."
    )


class WorkflowMoveInput(Exact):
    project = serializers.CharField(max_length=256)


class WorkflowOutput(NameOutput):
    project = serializers.CharField()
    owner = serializers.CharField(allow_null=True, help_text="The member who answers for it.")


class MappingInput(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=["team", "project", "workflow"])
    name = serializers.CharField(max_length=256)
    slug = serializers.CharField(max_length=256)


class TeamsView(ScopedView):
    scopes = {"GET": Scope.READ, "POST": Scope.MANAGE}

    @extend_schema(operation_id="teams_list", parameters=PAGED, responses=listing(TeamOutput))
    def get(self, request: Request) -> Response:
        limit, after = _page_asked(request)
        with tenant(self.organization):
            teams = selectors.find_teams(self.organization, after=after, limit=limit + 1)
        return Response({"data": TeamOutput(teams[:limit], many=True).data, "next": _next(teams, limit)})

    @extend_schema(operation_id="teams_create", request=TeamInput, responses={201: TeamOutput})
    def post(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(TeamInput, request)
        team = services.create_team(org=self.organization, actor=self.principal, **given)
        return Response(TeamOutput(team).data, status=201)


class ProjectsView(ScopedView):
    scopes = {"GET": Scope.READ, "POST": Scope.MANAGE}

    @extend_schema(operation_id="projects_list", parameters=PAGED, responses=listing(ProjectOutput))
    def get(self, request: Request) -> Response:
        limit, after = _page_asked(request)
        with tenant(self.organization):
            projects = selectors.find_projects(self.organization, after=after, limit=limit + 1)
            found = selectors.owned(self.organization, projects[:limit], timezone.now())
        return Response({"data": [_project_json(*pair) for pair in found], "next": _next(projects, limit)})

    @extend_schema(operation_id="projects_create", request=ProjectInput, responses={201: ProjectOutput})
    def post(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(ProjectInput, request)
        slug = given.pop("team")
        with tenant(self.organization):
            team = None if slug is None else selectors.require_team(self.organization, slug)
        project = services.create_project(org=self.organization, team=team, actor=self.principal, **given)
        return Response(_project_json(project, team.slug if team else None), status=201)


class TeamView(ScopedView):
    scopes = {"PATCH": Scope.MANAGE}

    @extend_schema(operation_id="teams_change", request=TeamChange, responses=TeamOutput)
    def patch(self, request: Request, slug: str) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(TeamChange, request)
        with tenant(self.organization):  # both or neither
            team = _found(selectors.team_by_slug(self.organization, slug), "team")
            if "name" in given:
                services.rename(org=self.organization, named=team, name=given["name"], actor=self.principal)
            if "cost_centre" in given:
                centre = given["cost_centre"]
                services.set_cost_centre(org=self.organization, team=team, cost_centre=centre, actor=self.principal)
        return Response(TeamOutput(team).data)


class ProjectView(ScopedView):
    scopes = {"PATCH": Scope.MANAGE}

    @extend_schema(operation_id="projects_rename", request=RenameInput, responses=ProjectOutput)
    def patch(self, request: Request, slug: str) -> Response:
        parameters.require_unpinned(self.principal)
        project = _project(self.organization, slug)
        services.rename(org=self.organization, named=project, actor=self.principal, **validated(RenameInput, request))
        return Response(_project_now(self.organization, project))


class ProjectMoveView(ScopedView):
    scopes = {"POST": Scope.MANAGE, "DELETE": Scope.MANAGE}

    @extend_schema(
        operation_id="projects_move",
        request=MoveInput,
        responses={200: ProjectOutput},
        description="From `at` on (default: now). Events that are stored already keep their team.",
    )
    def post(self, request: Request, slug: str) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(MoveInput, request)
        project = _project(self.organization, slug)
        with tenant(self.organization):
            team = selectors.require_team(self.organization, given["team"])
        at = given["at"] or timezone.now()
        services.move_project(org=self.organization, project=project, team=team, at=at, actor=self.principal)
        return Response(_project_json(project, team.slug))

    @extend_schema(
        operation_id="projects_call_off_move",
        responses={200: ProjectOutput},
        description="Forgets the latest move, while its instant has not come.",
    )
    def delete(self, request: Request, slug: str) -> Response:
        parameters.require_unpinned(self.principal)
        project = _project(self.organization, slug)
        services.call_off_move(org=self.organization, project=project, actor=self.principal)
        return Response(_project_now(self.organization, project))


class WorkflowsView(ScopedView):
    scopes = {"GET": Scope.READ, "POST": Scope.MANAGE}

    @extend_schema(operation_id="workflows_list", parameters=PAGED, responses=listing(WorkflowOutput))
    def get(self, request: Request) -> Response:
        limit, after = _page_asked(request)
        with tenant(self.organization):
            workflows = selectors.find_workflows(self.organization, after=after, limit=limit + 1)
        data = _workflows_json(self.organization, workflows[:limit])
        return Response({"data": data, "next": _next(workflows, limit)})

    @extend_schema(operation_id="workflows_create", request=WorkflowInput, responses={201: WorkflowOutput})
    def post(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(WorkflowInput, request)
        with tenant(self.organization):
            project = selectors.require_project(self.organization, given.pop("project"))
        workflow = services.create_workflow(org=self.organization, project=project, actor=self.principal, **given)
        return Response(_workflows_json(self.organization, [workflow])[0], status=201)


class WorkflowView(ScopedView):
    scopes = {"PATCH": Scope.MANAGE}

    @extend_schema(operation_id="workflows_change", request=WorkflowChange, responses=WorkflowOutput)
    def patch(self, request: Request, slug: str) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(WorkflowChange, request)
        workflow = _workflow(self.organization, slug)
        with tenant(self.organization):  # both or neither
            if "name" in given:
                services.rename(org=self.organization, named=workflow, name=given["name"], actor=self.principal)
            if "owner" in given:
                services.set_workflow_owner(
                    org=self.organization, workflow=workflow, email=given["owner"] or "", actor=self.principal
                )
        return Response(_workflows_json(self.organization, [workflow])[0])


class WorkflowMoveView(ScopedView):
    scopes = {"POST": Scope.MANAGE}

    @extend_schema(
        operation_id="workflows_move",
        request=WorkflowMoveInput,
        responses={200: WorkflowOutput},
        description="From now on. Events that are stored already keep their project.",
    )
    def post(self, request: Request, slug: str) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(WorkflowMoveInput, request)
        workflow = _workflow(self.organization, slug)
        with tenant(self.organization):
            project = selectors.require_project(self.organization, given["project"])
        moved = services.move_workflow(org=self.organization, workflow=workflow, project=project, actor=self.principal)
        return Response(_workflows_json(self.organization, [moved])[0])


class AliasesView(ScopedView):
    scopes = {"GET": Scope.READ, "POST": Scope.MANAGE}

    @extend_schema(operation_id="aliases_list", parameters=PAGED, responses=listing(MappingInput))
    def get(self, request: Request) -> Response:
        limit, cursor = _limit(request), request.query_params.get("cursor")
        after = position_of(cursor, tuple[str, str]) if cursor else ("", "")
        with tenant(self.organization):
            aliases = selectors.find_aliases(self.organization, after=after, limit=limit + 1)
        last = aliases[limit - 1] if len(aliases) > limit else None
        following = cursor_of((last.kind, last.name)) if last else None
        return Response({"data": MappingInput(aliases[:limit], many=True).data, "next": following})

    @extend_schema(
        operation_id="aliases_create",
        request=MappingInput,
        responses={201: MappingInput},
        description="From now on the name means the slug; the spend of earlier events moves within a minute.",
    )
    def post(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(MappingInput, request)
        alias = services.map_name(org=self.organization, actor=self.principal, **given)
        return Response(MappingInput(alias).data, status=201)


class AliasView(ScopedView):
    scopes = {"DELETE": Scope.MANAGE}

    @extend_schema(
        operation_id="aliases_remove",
        responses={204: None},
        description="From now on the name means nothing; spend that it moved stays where it is.",
    )
    def delete(self, request: Request, kind: str, name: str) -> Response:
        parameters.require_unpinned(self.principal)
        services.remove_alias(org=self.organization, kind=kind, name=name, actor=self.principal)
        return Response(status=204)


def validated(shape: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    serializer = shape(data=request.data)
    serializer.is_valid(raise_exception=True)
    given: dict[str, Any] = serializer.validated_data
    return given


def _limit(request: Request) -> int:
    return parameters.integer(request.query_params, "limit", PAGE_MAX, minimum=1, maximum=PAGE_MAX)


def _page_asked(request: Request) -> tuple[int, str]:
    """How many rows, and the slug that they come after."""
    cursor = request.query_params.get("cursor")
    after: str = position_of(cursor, str) if cursor else ""
    if after and not is_name(after, NAME_LENGTH_MAX):
        raise invalid_cursor()
    return _limit(request), after


def _next(rows: Sequence[Named], limit: int) -> str | None:
    return cursor_of(rows[limit - 1].slug) if len(rows) > limit else None


def _found(row: N | None, kind: str) -> N:
    if row is None:
        raise NotFound(kind)
    return row


def _project(org: Organization, slug: str) -> Project:
    with tenant(org):
        return _found(selectors.project_by_slug(org, slug), "project")


def _workflow(org: Organization, slug: str) -> Workflow:
    with tenant(org):
        return _found(selectors.workflow_by_slug(org, slug), "workflow")


def _project_now(org: Organization, project: Project) -> dict[str, Any]:
    with tenant(org):
        ((_, team),) = selectors.owned(org, [project], timezone.now())
    return _project_json(project, team)


def _project_json(project: Project, team: str | None) -> dict[str, Any]:
    return {**NameOutput(project).data, "team": team}


def _workflows_json(org: Organization, workflows: Sequence[Workflow]) -> list[dict[str, Any]]:
    owners = members_by_id(org, [workflow.owner_id for workflow in workflows if workflow.owner_id is not None])
    return [
        {
            **NameOutput(workflow).data,
            "project": workflow.project.slug,
            "owner": owner.email if (owner := owners.get(workflow.owner_id or 0)) else None,
        }
        for workflow in workflows
    ]
