"""Teams, projects, workflows, and the mapping of names seen in events."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import parameters
from apps.api.views import ScopedView, listing
from apps.core.errors import DomainError, NotFound
from apps.core.tenancy import tenant
from apps.organizations.permissions import Scope
from apps.teams import selectors, services
from apps.teams.models import Project, Team


class NameInput(serializers.Serializer[Any]):
    slug = serializers.CharField(max_length=256)
    name = serializers.CharField(max_length=256, required=False, default="")


class TeamOutput(serializers.Serializer[Any]):
    slug = serializers.CharField()
    name = serializers.CharField()
    created_at = serializers.DateTimeField()


class ProjectInput(NameInput):
    team = serializers.CharField(max_length=256, required=False, allow_null=True, default=None)


class ProjectOutput(TeamOutput):
    team = serializers.CharField(allow_null=True)


class MoveInput(serializers.Serializer[Any]):
    team = serializers.CharField(max_length=256)
    at = serializers.DateTimeField(required=False, default=None, allow_null=True)


class WorkflowInput(NameInput):
    project = serializers.CharField(max_length=256)


class WorkflowOutput(TeamOutput):
    project = serializers.CharField()


class MappingInput(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=["team", "project", "workflow"])
    name = serializers.CharField(max_length=256)
    slug = serializers.CharField(max_length=256)


class TeamsView(ScopedView):
    scopes = {"GET": Scope.READ, "POST": Scope.MANAGE}

    @extend_schema(operation_id="teams_list", responses=listing(TeamOutput))
    def get(self, request: Request) -> Response:
        with tenant(self.organization):
            teams = selectors.list_teams(self.organization)
        return Response({"data": TeamOutput(teams, many=True).data, "next": None})

    @extend_schema(operation_id="teams_create", request=NameInput, responses={201: TeamOutput})
    def post(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(NameInput, request)
        team = services.create_team(org=self.organization, actor=self.principal, **given)
        return Response(TeamOutput(team).data, status=201)


class ProjectsView(ScopedView):
    scopes = {"GET": Scope.READ, "POST": Scope.MANAGE}

    @extend_schema(operation_id="projects_list", responses=listing(ProjectOutput))
    def get(self, request: Request) -> Response:
        with tenant(self.organization):
            projects = selectors.list_projects(self.organization, timezone.now())
        return Response({"data": [_project_json(*pair) for pair in projects], "next": None})

    @extend_schema(operation_id="projects_create", request=ProjectInput, responses={201: ProjectOutput})
    def post(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(ProjectInput, request)
        team = self._team(given.pop("team"))
        project = services.create_project(org=self.organization, team=team, actor=self.principal, **given)
        return Response(_project_json(project, team.slug if team else None), status=201)

    def _team(self, slug: str | None) -> Team | None:
        if slug is None:
            return None
        with tenant(self.organization):
            team = selectors.team_by_slug(self.organization, slug)
        if team is None:
            raise DomainError("team_unknown", f"There is no team '{slug}': create it first.", param="team")
        return team


class ProjectMoveView(ScopedView):
    scopes = {"POST": Scope.MANAGE}

    @extend_schema(operation_id="projects_move", request=MoveInput, responses={200: ProjectOutput})
    def post(self, request: Request, slug: str) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(MoveInput, request)
        with tenant(self.organization):
            project = selectors.project_by_slug(self.organization, slug)
            team = selectors.team_by_slug(self.organization, given["team"])
        if project is None:
            raise NotFound("project")
        if team is None:
            raise DomainError("team_unknown", f"There is no team '{given['team']}'.", param="team")
        at = given["at"] or timezone.now()
        services.move_project(org=self.organization, project=project, team=team, at=at, actor=self.principal)
        return Response(_project_json(project, team.slug))


class WorkflowsView(ScopedView):
    scopes = {"GET": Scope.READ, "POST": Scope.MANAGE}

    @extend_schema(operation_id="workflows_list", responses=listing(WorkflowOutput))
    def get(self, request: Request) -> Response:
        with tenant(self.organization):
            workflows = selectors.list_workflows(self.organization)
        data = WorkflowOutput([_workflow_fields(workflow) for workflow in workflows], many=True).data
        return Response({"data": data, "next": None})

    @extend_schema(operation_id="workflows_create", request=WorkflowInput, responses={201: WorkflowOutput})
    def post(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(WorkflowInput, request)
        slug = given.pop("project")
        with tenant(self.organization):
            project = selectors.project_by_slug(self.organization, slug)
        if project is None:
            raise DomainError("project_unknown", f"There is no project '{slug}': create it first.", param="project")
        workflow = services.create_workflow(org=self.organization, project=project, actor=self.principal, **given)
        return Response(WorkflowOutput(_workflow_fields(workflow)).data, status=201)


class AliasesView(ScopedView):
    scopes = {"GET": Scope.READ, "POST": Scope.MANAGE}

    @extend_schema(operation_id="aliases_list", responses=listing(MappingInput))
    def get(self, request: Request) -> Response:
        with tenant(self.organization):
            aliases = selectors.list_aliases(self.organization)
        return Response({"data": MappingInput(aliases, many=True).data, "next": None})

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


def validated(shape: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    serializer = shape(data=request.data)
    serializer.is_valid(raise_exception=True)
    given: dict[str, Any] = serializer.validated_data
    return given


def _project_json(project: Project, team: str | None) -> dict[str, Any]:
    return {**TeamOutput(project).data, "team": team}


def _workflow_fields(workflow: Any) -> dict[str, Any]:
    return {
        "slug": workflow.slug,
        "name": workflow.name,
        "created_at": workflow.created_at,
        "project": workflow.project.slug,
    }
