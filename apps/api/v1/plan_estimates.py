"""What a plan would come to, without keeping it: estimates, variants side by side, templates, fits of real runs; and
workflows that run without an approved plan."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import parameters
from apps.api.v1.names import validated
from apps.api.v1.plans import ReckonInput, cards_json, reckoned_of, within_plans
from apps.api.views import Exact, ScopedView, listing
from apps.core.money import usd_text
from apps.core.tenancy import tenant
from apps.organizations.permissions import Scope
from apps.planner import fitting, selectors
from apps.planner.definition import plan_json
from apps.planner.reckoning import Reckoned, reckon_changes
from apps.planner.templates import TEMPLATES
from apps.planner.whatif import VARIANTS_MAX, read_changes


class EstimateInput(ReckonInput):
    variants = serializers.JSONField(
        required=False,
        default=None,
        allow_null=True,
        help_text=f"At most {VARIANTS_MAX}: [{{name, swap: {{from, to}}, prices, calls_max, cache, volume}}].",
    )


class ReckonedOutput(serializers.Serializer[Any]):
    definition = serializers.DictField(help_text="In full, with the defaults that were taken.")
    prices_at = serializers.DateTimeField()
    prices = serializers.ListField(child=serializers.DictField())
    unpriced = serializers.ListField(child=serializers.DictField())
    seed = serializers.IntegerField()
    result = serializers.DictField(allow_null=True, help_text="Null: a model has no price.")


class VariantOutput(ReckonedOutput):
    name = serializers.CharField()


class EstimateOutput(ReckonedOutput):
    variants = VariantOutput(many=True)


class TemplateOutput(serializers.Serializer[Any]):
    name = serializers.CharField()
    title = serializers.CharField()
    description = serializers.CharField()
    definition = serializers.DictField()


class FitInput(Exact):
    workflow = serializers.CharField(max_length=256)
    days = serializers.IntegerField(
        required=False, default=fitting.DAYS, help_text=f"Runs that began in these days, 1 to {fitting.DAYS_MAX}."
    )


class FitOutput(ReckonedOutput):
    calibration = serializers.DictField(help_text="Of how many runs, how far that is enough, and what is missing.")


class UnplannedOutput(serializers.Serializer[Any]):
    workflow = serializers.CharField()
    name = serializers.CharField()
    project = serializers.CharField(allow_null=True, help_text="Null to a pinned key that it does not belong to.")
    team = serializers.CharField(allow_null=True)
    events = serializers.IntegerField()
    unpriced_events = serializers.IntegerField()
    cost_usd = serializers.CharField(allow_null=True)
    draft_id = serializers.IntegerField(allow_null=True, help_text="A plan of it that waits for approval.")


class UnplannedListOutput(serializers.Serializer[Any]):
    data = UnplannedOutput(many=True)  # type: ignore[assignment]  # the contract's name
    next = serializers.CharField(allow_null=True)
    start = serializers.DateTimeField()
    end = serializers.DateTimeField()
    workflows = serializers.IntegerField(help_text="Without an approved plan.")
    planned_workflows = serializers.IntegerField()
    planned_usd = serializers.CharField()
    unplanned_usd = serializers.CharField()
    unattributed_usd = serializers.CharField()
    planned_share = serializers.CharField(allow_null=True, help_text="Of all spend; null where nothing was spent.")


class EstimateView(ScopedView):
    scopes = {"POST": Scope.READ}

    @extend_schema(
        operation_id="plans_estimate",
        request=EstimateInput,
        responses=EstimateOutput,
        description="Keeps nothing. Variants are reckoned with the same draws, so that they differ by what changed.",
    )
    def post(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(EstimateInput, request)
        base = reckoned_of(self.principal, given)
        changes = read_changes(given["variants"] or [], base.plan)
        variants = reckon_changes(self.organization, base, changes)
        return Response(
            {
                **reckoned_json(base),
                "variants": [
                    {"name": change.name, **reckoned_json(one)} for change, one in zip(changes, variants, strict=True)
                ],
            }
        )


class TemplatesView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(operation_id="plans_templates", responses=listing(TemplateOutput))
    def get(self, request: Request) -> Response:
        parameters.filters(request.query_params, (), ())
        rows = [
            {
                "name": one.name,
                "title": one.title,
                "description": one.description,
                "definition": plan_json(one.plan),
            }
            for one in TEMPLATES.values()
        ]
        return Response({"data": rows, "next": None})


class FitView(ScopedView):
    scopes = {"POST": Scope.READ}

    @extend_schema(
        operation_id="plans_fit",
        request=FitInput,
        responses=FitOutput,
        description="The plan that the workflow's runs followed. Keeps nothing: send its definition to /plans.",
    )
    def post(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(FitInput, request)
        found = fitting.fit_workflow(self.organization, at=timezone.now(), **given)
        return Response({**reckoned_json(found.reckoned), "calibration": found.calibration})


class UnplannedView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(
        operation_id="plans_missing",
        parameters=[
            OpenApiParameter("team", str, description="Only what this team spent."),
            OpenApiParameter("project", str, description="Only what this project spent."),
        ],
        responses=UnplannedListOutput,
        description=f"Workflows that spent in the last {selectors.UNPLANNED_DAYS} days and have no approved plan, the"
        f" largest first; at most {selectors.UNPLANNED_MAX}.",
    )
    def get(self, request: Request) -> Response:
        asked = within_plans(self.principal, parameters.filters(request.query_params, {"team", "project"}, ()))
        pins = within_plans(self.principal, {})
        teams = [pins["team"]] if "team" in pins else None
        with tenant(self.organization):
            found = selectors.unplanned(self.organization, timezone.now(), **asked)
        return Response(
            {
                "data": [
                    _unplanned_json(selectors.told_to(row, teams=teams, project=pins.get("project")))
                    for row in found.rows
                ],
                "next": None,
                "start": found.start,
                "end": found.end,
                "workflows": found.row_count,
                "planned_workflows": found.planned,
                "planned_usd": usd_text(found.planned_usd),
                "unplanned_usd": usd_text(found.unplanned_usd),
                "unattributed_usd": usd_text(found.unattributed_usd),
                "planned_share": None if found.share is None else f"{found.share:.4f}",
            }
        )


def reckoned_json(found: Reckoned) -> dict[str, Any]:
    return {
        "definition": found.definition,
        "prices_at": found.prices_at,
        **cards_json(found.cards),
        "seed": found.seed,
        "result": found.result,
    }


def _unplanned_json(row: selectors.UnplannedWorkflow) -> dict[str, Any]:
    return {
        "workflow": row.slug,
        "name": row.name,
        "project": row.project,
        "team": row.team,
        "events": row.events,
        "unpriced_events": row.unpriced_events,
        "cost_usd": usd_text(row.cost_usd),
        "draft_id": row.draft.pk if row.draft else None,
    }
