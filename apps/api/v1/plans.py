"""Plans: what a workflow will cost, version by version, who approved it, and what is made of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.alerts.tasks import hint_tell
from apps.api import parameters
from apps.api.v1.months import RowId
from apps.api.v1.names import validated
from apps.api.views import Exact, Quoted, ScopedView, listing
from apps.budgets.reading import require_amount
from apps.core.cursors import cursor_of, position_of
from apps.core.errors import DomainError, NotFound
from apps.core.tenancy import tenant
from apps.organizations.permissions import Scope
from apps.organizations.selectors import Principal, calendar
from apps.planner import controls, selectors, services
from apps.planner.definition import read_plan
from apps.planner.models import Plan, PlanDecision, PlanVersion
from apps.planner.prices import read_supposed
from apps.planner.reckoning import SEED, Reckoned, reckon
from apps.planner.selectors import PAGE_MAX
from apps.planner.services import PlanTerms
from apps.planner.templates import TEMPLATES

LISTED = [
    OpenApiParameter("state", str, enum=Plan.State.values),
    OpenApiParameter("workflow", str, description="Only the plans of this workflow."),
    OpenApiParameter("team", str, description="Only this team's."),
    OpenApiParameter("project", str, description="Only this project's."),
    OpenApiParameter("limit", int, description=f"1 to {PAGE_MAX}, default 100."),
    OpenApiParameter("cursor", str, description="`next` of the page before."),
]
SLUG: dict[str, Any] = {"max_length": 256, "required": False, "allow_blank": True, "allow_null": True, "default": ""}


class ReckonInput(Exact):
    definition = serializers.JSONField(help_text="Steps, volume, success rate: docs/planner.md has every field.")
    prices_at = serializers.DateTimeField(
        required=False, allow_null=True, default=None, help_text="Prices of this instant; left out: now."
    )
    prices = serializers.JSONField(
        required=False,
        default=None,
        allow_null=True,
        help_text="Supposed prices: [{provider, model, rates, batch_factor}].",
    )
    seed = serializers.IntegerField(required=False, default=SEED, help_text="The same seed gives the same result.")
    budget_usd = Quoted(
        max_length=40, required=False, allow_null=True, default=None, help_text="A month: says how likely it is over."
    )


class PlanInput(ReckonInput):
    name = serializers.CharField(max_length=100)
    workflow = serializers.CharField(max_length=256, help_text="As events will say it; it need not exist yet.")
    team = serializers.CharField(**SLUG, help_text="Left out: whoever owns the workflow's project.")
    project = serializers.CharField(**SLUG, help_text="Left out: the workflow's.")
    owner = serializers.CharField(**SLUG, help_text="The address of a member who answers for it.")
    launch_on = serializers.DateField(required=False, allow_null=True, default=None)
    template = serializers.ChoiceField(
        choices=sorted(TEMPLATES), required=False, allow_null=True, default=None, help_text="What it was made from."
    )
    note = serializers.CharField(max_length=500, required=False, allow_blank=True, default="")


class PlanChangeInput(Exact):
    name = serializers.CharField(max_length=100, required=False)
    workflow = serializers.CharField(max_length=256, required=False, help_text="As it is: it does not change.")
    team = serializers.CharField(max_length=256, required=False, allow_blank=True)
    project = serializers.CharField(max_length=256, required=False, allow_blank=True)
    owner = serializers.CharField(max_length=256, required=False, allow_blank=True, help_text="Empty: nobody.")
    launch_on = serializers.DateField(required=False, allow_null=True)


class PlanVersionInput(ReckonInput):
    base_version = serializers.IntegerField(help_text="The newest version, which this one is made from.")
    note = serializers.CharField(max_length=500, required=False, allow_blank=True, default="")


class PlanApproveInput(Exact):
    version = serializers.IntegerField(help_text="The newest one.")
    conditions = serializers.CharField(max_length=2_000, required=False, allow_blank=True, default="")


class PlanRejectInput(Exact):
    version = serializers.IntegerField(help_text="The newest one.")
    reason = serializers.CharField(max_length=2_000)


class PlanRetireInput(Exact):
    reason = serializers.CharField(max_length=2_000, required=False, allow_blank=True, default="")
    ends_on = serializers.DateField(
        required=False, allow_null=True, default=None, help_text="The day from which the workflow runs no more."
    )


class PlanControlsInput(Exact):
    controls = serializers.ListField(
        child=serializers.CharField(max_length=40),
        required=False,
        default=lambda: list(controls.CONTROLS),
        help_text=f"Of {', '.join(controls.CONTROLS)}; left out: all.",
    )
    month = serializers.IntegerField(required=False, default=1, help_text="Which month of the plan the amounts are of.")


class PlanSummaryOutput(serializers.Serializer[Any]):
    version = serializers.IntegerField(help_text="The approved one, of a draft the newest.")
    run_usd = serializers.CharField(allow_null=True, help_text="P50; null: a model has no price.")
    month_usd = serializers.DictField(child=serializers.CharField(), allow_null=True, help_text="Of the first month.")


class PlanOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    workflow = serializers.CharField()
    workflow_known = serializers.BooleanField(help_text="Whether the organization has a workflow of this name.")
    team = serializers.CharField(allow_null=True)
    project = serializers.CharField(allow_null=True)
    owner = serializers.CharField(allow_null=True)
    launch_on = serializers.DateField(allow_null=True)
    state = serializers.ChoiceField(choices=Plan.State.values)
    version = serializers.IntegerField(help_text="The newest one.")
    approved_version = serializers.IntegerField(allow_null=True)
    conditions = serializers.CharField()
    approved_at = serializers.DateTimeField(allow_null=True)
    approved_by = serializers.CharField()
    launched_at = serializers.DateTimeField(allow_null=True)
    retired_at = serializers.DateTimeField(allow_null=True)
    calibration = serializers.DictField(allow_null=True, help_text="What real runs say; null: nobody looked yet.")
    budget_id = serializers.IntegerField(allow_null=True)
    cap_id = serializers.IntegerField(allow_null=True)
    created_at = serializers.DateTimeField()
    created_by = serializers.CharField()
    estimate = PlanSummaryOutput(allow_null=True)


class PlanVersionOutput(serializers.Serializer[Any]):
    number = serializers.IntegerField()
    definition = serializers.DictField()
    prices_at = serializers.DateTimeField()
    prices = serializers.ListField(child=serializers.DictField())
    seed = serializers.IntegerField()
    unpriced = serializers.ListField(child=serializers.DictField(), help_text="Models without a price.")
    result = serializers.DictField(allow_null=True, help_text="Null: a model has no price.")
    origin = serializers.ChoiceField(choices=PlanVersion.Origin.values)
    note = serializers.CharField()
    created_at = serializers.DateTimeField()
    created_by = serializers.CharField()


class PlanDecisionOutput(serializers.Serializer[Any]):
    act = serializers.ChoiceField(choices=PlanDecision.Act.values)
    version = serializers.IntegerField()
    note = serializers.CharField()
    own = serializers.BooleanField(help_text="Approved by who made the version.")
    at = serializers.DateTimeField()
    actor = serializers.CharField()


class PlanDetailOutput(PlanOutput):
    newest = PlanVersionOutput()
    decisions = PlanDecisionOutput(many=True)


class PlansView(ScopedView):
    scopes = {"GET": Scope.READ, "POST": Scope.MANAGE}

    @extend_schema(operation_id="plans_list", parameters=LISTED, responses=listing(PlanOutput))
    def get(self, request: Request) -> Response:
        query = request.query_params
        known = {"state", "workflow", "team", "project"}
        asked = within_plans(self.principal, parameters.filters(query, known, {"limit", "cursor"}))
        limit = parameters.integer(query, "limit", 100, minimum=1, maximum=PAGE_MAX)
        team = asked.pop("team", None)
        with tenant(self.organization):
            rows = selectors.find_plans(
                self.organization,
                teams=None if team is None else [team],
                after=position_of(query["cursor"], RowId) if query.get("cursor") else None,
                limit=limit + 1,
                **asked,
            )
            standing = selectors.standing_versions(self.organization, rows[:limit])
            told_to(self.principal, rows[:limit])
        following = cursor_of(rows[limit - 1].pk) if len(rows) > limit else None
        return Response({"data": [plan_json(row, standing.get(row.pk)) for row in rows[:limit]], "next": following})

    @extend_schema(operation_id="plans_create", request=PlanInput, responses={201: PlanDetailOutput})
    def post(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(PlanInput, request)
        row = services.create_plan(
            org=self.organization,
            terms=PlanTerms(
                name=given["name"],
                workflow=given["workflow"],
                launch_on=given["launch_on"],
                **{name: given[name] or "" for name in ("team", "project", "owner")},
            ),
            reckoned=reckoned_of(self.principal, given),
            origin=PlanVersion.Origin.TEMPLATE if given["template"] else PlanVersion.Origin.FORM,
            note=given["note"],
            actor=self.principal,
        )
        return Response(detail_of(self.principal, row.pk), status=201)


class PlanView(ScopedView):
    scopes = {"GET": Scope.READ, "PATCH": Scope.MANAGE}

    @extend_schema(operation_id="plans_get", responses=PlanDetailOutput)
    def get(self, request: Request, plan_id: int) -> Response:
        return Response(detail_of(self.principal, plan_id))

    @extend_schema(
        operation_id="plans_change",
        request=PlanChangeInput,
        responses=PlanDetailOutput,
        description="Its name, team, project, owner and launch date; what it says is changed by a new version.",
    )
    def patch(self, request: Request, plan_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        changes = validated(PlanChangeInput, request)
        services.change_plan(org=self.organization, plan_id=plan_id, changes=changes, actor=self.principal)
        return Response(detail_of(self.principal, plan_id))


class PlanVersionsView(ScopedView):
    scopes = {"GET": Scope.READ, "POST": Scope.MANAGE}

    @extend_schema(
        operation_id="plans_versions",
        responses=listing(PlanVersionOutput),
        description=f"Newest first, at most {selectors.VERSIONS_SHOWN}.",
    )
    def get(self, request: Request, plan_id: int) -> Response:
        with tenant(self.organization):
            plan = seen(self.principal, plan_id)
            rows = selectors.versions_of(self.organization, plan)
        return Response({"data": [version_json(row) for row in rows], "next": None})

    @extend_schema(operation_id="plans_revise", request=PlanVersionInput, responses={201: PlanVersionOutput})
    def post(self, request: Request, plan_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(PlanVersionInput, request)
        row = services.revise_plan(
            org=self.organization,
            plan_id=plan_id,
            base=given["base_version"],
            reckoned=reckoned_of(self.principal, given),
            origin=PlanVersion.Origin.FORM,
            note=given["note"],
            actor=self.principal,
        )
        return Response(version_json(row), status=201)


class PlanVersionView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(operation_id="plans_version", responses=PlanVersionOutput)
    def get(self, request: Request, plan_id: int, number: int) -> Response:
        with tenant(self.organization):
            row = selectors.version_of(self.organization, seen(self.principal, plan_id), number)
        return Response(version_json(row))


class PlanApproveView(ScopedView):
    scopes = {"POST": Scope.MANAGE}

    @extend_schema(operation_id="plans_approve", request=PlanApproveInput, responses=PlanDetailOutput)
    def post(self, request: Request, plan_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(PlanApproveInput, request)
        services.approve_plan(org=self.organization, plan_id=plan_id, actor=self.principal, **given)
        return Response(detail_of(self.principal, plan_id))


class PlanRejectView(ScopedView):
    scopes = {"POST": Scope.MANAGE}

    @extend_schema(operation_id="plans_reject", request=PlanRejectInput, responses=PlanDetailOutput)
    def post(self, request: Request, plan_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(PlanRejectInput, request)
        services.reject_plan(org=self.organization, plan_id=plan_id, actor=self.principal, **given)
        return Response(detail_of(self.principal, plan_id))


class PlanLaunchView(ScopedView):
    scopes = {"POST": Scope.MANAGE}

    @extend_schema(operation_id="plans_launch", request=None, responses=PlanDetailOutput)
    def post(self, request: Request, plan_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        services.launch_plan(org=self.organization, plan_id=plan_id, actor=self.principal)
        return Response(detail_of(self.principal, plan_id))


class PlanRetireView(ScopedView):
    scopes = {"POST": Scope.MANAGE}

    @extend_schema(operation_id="plans_retire", request=PlanRetireInput, responses=PlanDetailOutput)
    def post(self, request: Request, plan_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(PlanRetireInput, request)
        services.retire_plan(org=self.organization, plan_id=plan_id, actor=self.principal, **given)
        return Response(detail_of(self.principal, plan_id))


class PlanControlsView(ScopedView):
    scopes = {"POST": Scope.MANAGE}

    @extend_schema(
        operation_id="plans_budgets",
        request=PlanControlsInput,
        responses=PlanDetailOutput,
        description="Its budget (P90 of a month), its cap (P99) and the bounds of its runs, or what is there brought in"
        " step with the approved version. Again changes nothing.",
    )
    def post(self, request: Request, plan_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(PlanControlsInput, request)
        controls.make_controls(
            org=self.organization,
            plan_id=plan_id,
            wanted=given["controls"],
            month=given["month"],
            actor=self.principal,
        )
        hint_tell(self.organization.pk)
        return Response(detail_of(self.principal, plan_id))


# --- what they share ------------------------------------------------------------------------------------


def within_plans(principal: Principal, asked: Mapping[str, str]) -> dict[str, str]:
    """The filters, and a key's pins. A plan is of no environment: a key that is pinned to one reads none."""
    found = parameters.within_pins(principal, asked)
    if "environment" in found:
        raise DomainError(
            "pinned_dimension",
            f"This key belongs to environment '{found['environment']}'; plans are of whole workflows.",
            param="environment",
        )
    return found


def seen(principal: Principal, plan_id: int) -> Plan:
    """The plan, where it lies within the key's pins. Raises `NotFound`. Inside `tenant(org)`."""
    pins = within_plans(principal, {})
    row = selectors.plan_by_id(principal.organization, plan_id)
    for name, value in pins.items():
        held = getattr(row, name)
        if held is None or held.slug != value:
            raise NotFound("plan")
    return row


def told_to(principal: Principal, plans: Sequence[Plan]) -> None:
    """Takes from plans what a key's pins leave out. Inside `tenant(org)`."""
    part = {name: [pin] for name, pin in within_plans(principal, {}).items()} or None
    org = principal.organization
    selectors.without_others(org, calendar(org), plans, part, timezone.now())


def reckoned_of(principal: Principal, given: Mapping[str, Any]) -> Reckoned:
    """The definition of a body at its prices."""
    budget = given["budget_usd"]
    return reckon(
        principal.organization,
        read_plan(given["definition"]),
        at=given["prices_at"] or timezone.now(),
        supposed=read_supposed(given["prices"] or []),
        seed=given["seed"],
        budget_usd=None if budget is None else require_amount(budget, "budget_usd"),
    )


def detail_of(principal: Principal, plan_id: int) -> dict[str, Any]:
    org = principal.organization
    with tenant(org):
        plan = seen(principal, plan_id)
        told_to(principal, [plan])
        newest = selectors.version_of(org, plan, plan.latest)
        standing = selectors.standing_versions(org, [plan])
        decisions = selectors.decisions_of(org, plan)
    return {
        **plan_json(plan, standing.get(plan.pk)),
        "newest": version_json(newest),
        "decisions": [
            {
                "act": one.act,
                "version": one.version,
                "note": one.note,
                "own": one.is_own,
                "at": one.at,
                "actor": one.actor,
            }
            for one in decisions
        ],
    }


def plan_json(plan: Plan, standing: PlanVersion | None) -> dict[str, Any]:
    return {
        "id": plan.pk,
        "name": plan.name,
        "workflow": plan.workflow_slug,
        "workflow_known": plan.workflow_id is not None,
        "team": plan.team.slug if plan.team else None,
        "project": plan.project.slug if plan.project else None,
        "owner": plan.owner.email if plan.owner else None,
        "launch_on": plan.launch_on,
        "state": plan.state,
        "version": plan.latest,
        "approved_version": plan.approved,
        "conditions": plan.conditions,
        "approved_at": plan.approved_at,
        "approved_by": plan.approved_by,
        "launched_at": plan.launched_at,
        "retired_at": plan.retired_at,
        "calibration": plan.calibration,
        "budget_id": plan.budget_id,
        "cap_id": plan.cap_id,
        "created_at": plan.created_at,
        "created_by": plan.created_by,
        "estimate": None if standing is None else _summary(standing),
    }


def _summary(version: PlanVersion) -> dict[str, Any]:
    result = version.result
    return {
        "version": version.number,
        "run_usd": result["run"]["p50_usd"] if result else None,
        "month_usd": {name: result["months"][0][f"{name}_usd"] for name in ("p10", "p50", "p90", "p99")}
        if result
        else None,
    }


def version_json(version: PlanVersion) -> dict[str, Any]:
    return {
        "number": version.number,
        "definition": version.definition,
        "prices_at": version.prices_at,
        **cards_json(version.cards),
        "seed": version.seed,
        "result": version.result,
        "origin": version.origin,
        "note": version.note,
        "created_at": version.created_at,
        "created_by": version.created_by,
    }


def cards_json(cards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The prices of a version, and apart from them the models that have none."""
    return {
        "prices": [card for card in cards if card["rates"] is not None],
        "unpriced": [
            {name: card[name] for name in ("provider", "model", "detail")} for card in cards if card["rates"] is None
        ],
    }
