"""What a run of a workflow may do, and what happens to models without a price."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import parameters
from apps.api.v1.budgets import AMOUNT
from apps.api.v1.names import validated
from apps.api.views import Exact, Quoted, ScopedView, listing
from apps.budgets import selectors, services
from apps.budgets.models import RunBound
from apps.budgets.reading import require_amount
from apps.budgets.services import BOUNDS
from apps.core.money import usd_text
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.permissions import Scope
from apps.organizations.services import change_settings


class RunBoundInput(Exact):
    max_cost_usd = Quoted(required=False, allow_null=True, default=None, **AMOUNT)
    max_steps = serializers.IntegerField(required=False, allow_null=True, default=None)
    max_attempts = serializers.IntegerField(required=False, allow_null=True, default=None)
    max_depth = serializers.IntegerField(required=False, allow_null=True, default=None)
    max_children = serializers.IntegerField(required=False, allow_null=True, default=None)
    max_seconds = serializers.IntegerField(required=False, allow_null=True, default=None)
    max_same_tool_calls = serializers.IntegerField(required=False, allow_null=True, default=None)


class RunBoundOutput(RunBoundInput):
    workflow = serializers.CharField()
    changed_at = serializers.DateTimeField()
    changed_by = serializers.CharField()


class PolicyInput(Exact):
    unpriced_policy = serializers.CharField(max_length=10, help_text=", ".join(Organization.UnpricedPolicy.values))


class RunBoundsView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(operation_id="run_bounds_list", responses=listing(RunBoundOutput))
    def get(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        with tenant(self.organization):
            rows = selectors.list_bounds(self.organization)
        return Response({"data": [bound_json(row) for row in rows], "next": None})


class RunBoundView(ScopedView):
    scopes = {"GET": Scope.READ, "PUT": Scope.MANAGE, "DELETE": Scope.MANAGE}

    @extend_schema(operation_id="run_bounds_get", responses=RunBoundOutput)
    def get(self, request: Request, workflow: str) -> Response:
        parameters.require_unpinned(self.principal)
        with tenant(self.organization):
            row = selectors.bound_of(self.organization, workflow)
        return Response(bound_json(row))

    @extend_schema(
        operation_id="run_bounds_set",
        request=RunBoundInput,
        responses=RunBoundOutput,
        description="In place of those it had; null does not bind.",
    )
    def put(self, request: Request, workflow: str) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(RunBoundInput, request)
        if given["max_cost_usd"] is not None:
            given["max_cost_usd"] = require_amount(given["max_cost_usd"], "max_cost_usd")
        services.set_run_bound(org=self.organization, workflow=workflow, bounds=given, actor=self.principal)
        with tenant(self.organization):
            row = selectors.bound_of(self.organization, workflow)
        return Response(bound_json(row))

    @extend_schema(operation_id="run_bounds_remove", responses={204: None})
    def delete(self, request: Request, workflow: str) -> Response:
        parameters.require_unpinned(self.principal)
        services.remove_run_bound(org=self.organization, workflow=workflow, actor=self.principal)
        return Response(status=204)


class UnpricedPolicyView(ScopedView):
    scopes = {"GET": Scope.READ, "PUT": Scope.MANAGE}

    @extend_schema(operation_id="unpriced_policy_get", responses=PolicyInput)
    def get(self, request: Request) -> Response:
        return Response({"unpriced_policy": self.organization.unpriced_policy})

    @extend_schema(operation_id="unpriced_policy_set", request=PolicyInput, responses=PolicyInput)
    def put(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(PolicyInput, request)
        org = change_settings(org=self.organization, actor=self.principal, **given)
        return Response({"unpriced_policy": org.unpriced_policy})


def bound_json(row: RunBound) -> dict[str, Any]:
    return {
        "workflow": row.workflow.slug,
        **{name: getattr(row, name) for name in BOUNDS},
        "max_cost_usd": usd_text(row.max_cost_usd),
        "changed_at": row.changed_at,
        "changed_by": row.changed_by,
    }
