"""Rules that give names to events which say none."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import parameters
from apps.api.v1.names import validated
from apps.api.views import Exact, ScopedView, listing
from apps.core.money import usd_text
from apps.core.tenancy import tenant
from apps.organizations.permissions import Scope
from apps.teams import rulebook, selectors
from apps.teams.models import AttributionRule
from apps.teams.rulebook import RuleTerms
from apps.usage.attribution_preview import Flow, Preview, preview_rule

GIVEN = "A slug; null gives none."
DESCRIPTION = (
    "A rule gives what an event neither says nor what follows from it; of the list the first that matches counts. It"
    " counts for what is stored from now on, and once, within a minute, for what came in the 30 days before and still"
    " lacks the name."
)


class RuleInput(Exact):
    name = serializers.CharField(max_length=100)
    when = serializers.DictField(
        child=serializers.CharField(max_length=256),
        help_text="1 to 10 of workflow (as sent), user, api_key, environment, provider, model, task_type, tags.<key>:"
        " an exact value, or a beginning with a * after it.",
    )
    team = serializers.CharField(max_length=256, required=False, allow_null=True, default=None, help_text=GIVEN)
    project = serializers.CharField(max_length=256, required=False, allow_null=True, default=None, help_text=GIVEN)
    workflow = serializers.CharField(max_length=256, required=False, allow_null=True, default=None, help_text=GIVEN)


class RuleOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    when = serializers.DictField(child=serializers.CharField())
    team = serializers.CharField(allow_null=True)
    project = serializers.CharField(allow_null=True)
    workflow = serializers.CharField(allow_null=True)
    changed_at = serializers.DateTimeField()
    changed_by = serializers.CharField()


class RuleMoveInput(Exact):
    direction = serializers.ChoiceField(choices=["up", "down"])


class PlaceOutput(serializers.Serializer[Any]):
    team = serializers.CharField(allow_null=True)
    project = serializers.CharField(allow_null=True)
    workflow = serializers.CharField(allow_null=True)


class FlowOutput(serializers.Serializer[Any]):
    before = PlaceOutput()
    after = PlaceOutput()
    events = serializers.IntegerField()
    unpriced_events = serializers.IntegerField()
    cost_usd = serializers.CharField(allow_null=True)


class RulePreviewOutput(serializers.Serializer[Any]):
    is_cut = serializers.BooleanField(help_text="There were more events of the 30 days than could be looked at.")
    events = serializers.IntegerField()
    unpriced_events = serializers.IntegerField()
    cost_usd = serializers.CharField(allow_null=True)
    moves = FlowOutput(many=True)

    def get_fields(self) -> dict[str, Any]:
        # "from" is a word of the language. What happened in [from, to) was looked at.
        return {"from": serializers.DateTimeField(), "to": serializers.DateTimeField(), **super().get_fields()}


class RulesView(ScopedView):
    scopes = {"GET": Scope.READ, "POST": Scope.MANAGE}

    @extend_schema(operation_id="attribution_rules_list", responses=listing(RuleOutput))
    def get(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        with tenant(self.organization):
            rows = selectors.list_rules(self.organization)
        return Response({"data": [_rule_json(row) for row in rows], "next": None})

    @extend_schema(
        operation_id="attribution_rules_create",
        request=RuleInput,
        responses={201: RuleOutput},
        description=DESCRIPTION,
    )
    def post(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        row = rulebook.create_rule(org=self.organization, terms=_terms(request), actor=self.principal)
        return Response(_rule_json(row), status=201)


class RulePreviewView(ScopedView):
    scopes = {"POST": Scope.MANAGE}

    @extend_schema(
        operation_id="attribution_rules_preview",
        request=RuleInput,
        responses=RulePreviewOutput,
        description="What the rule would give to what is stored of the last 30 days, as the last of all. Changes"
        " nothing. At most 20,000 events and 4 seconds, newest first.",
    )
    def post(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        looked = preview_rule(self.organization, terms=_terms(request), at=timezone.now())
        return Response(_preview_json(looked))


class RuleView(ScopedView):
    scopes = {"GET": Scope.READ, "PUT": Scope.MANAGE, "DELETE": Scope.MANAGE}

    @extend_schema(operation_id="attribution_rules_get", responses=RuleOutput)
    def get(self, request: Request, rule_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        with tenant(self.organization):
            row = selectors.rule_by_id(self.organization, rule_id)
        return Response(_rule_json(row))

    @extend_schema(
        operation_id="attribution_rules_change",
        request=RuleInput,
        responses=RuleOutput,
        description="Another rule in its place. What the old one gave stays given.",
    )
    def put(self, request: Request, rule_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        row = rulebook.change_rule(org=self.organization, rule_id=rule_id, terms=_terms(request), actor=self.principal)
        return Response(_rule_json(row))

    @extend_schema(
        operation_id="attribution_rules_remove",
        responses={204: None},
        description="From now on it gives nothing; what it gave stays given.",
    )
    def delete(self, request: Request, rule_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        rulebook.remove_rule(org=self.organization, rule_id=rule_id, actor=self.principal)
        return Response(status=204)


class RuleMoveView(ScopedView):
    scopes = {"POST": Scope.MANAGE}

    @extend_schema(
        operation_id="attribution_rules_move",
        request=RuleMoveInput,
        responses=RuleOutput,
        description="One place earlier or later in the list; at its end the rule stays.",
    )
    def post(self, request: Request, rule_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        up = validated(RuleMoveInput, request)["direction"] == "up"
        row = rulebook.move_rule(org=self.organization, rule_id=rule_id, up=up, actor=self.principal)
        return Response(_rule_json(row))


def _terms(request: Request) -> RuleTerms:
    given = validated(RuleInput, request)
    gives = {kind: given[kind] or "" for kind in ("team", "project", "workflow")}
    return RuleTerms(name=given["name"], when=given["when"], **gives)


def _rule_json(row: AttributionRule) -> dict[str, Any]:
    gives = {kind: named.slug if (named := getattr(row, kind)) else None for kind in ("team", "project", "workflow")}
    return {
        "id": row.pk,
        "name": row.name,
        "when": row.when,
        **gives,
        "changed_at": row.changed_at,
        "changed_by": row.changed_by,
    }


def _preview_json(looked: Preview) -> dict[str, Any]:
    return {
        "from": looked.start,
        "to": looked.end,
        "is_cut": looked.is_cut,
        "events": looked.events,
        "unpriced_events": looked.unpriced_events,
        "cost_usd": usd_text(looked.cost_usd),
        "moves": [_flow_json(flow) for flow in looked.flows],
    }


def _flow_json(flow: Flow) -> dict[str, Any]:
    return {
        "before": flow.before._asdict(),
        "after": flow.after._asdict(),
        "events": flow.events,
        "unpriced_events": flow.unpriced_events,
        "cost_usd": usd_text(flow.cost_usd),
    }
