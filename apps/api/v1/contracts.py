"""Contracts: own prices, discounts, capacity, seats, grants and credits; and the organization's own model names."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import parameters
from apps.api.v1.names import validated
from apps.api.views import Quoted, ScopedView, listing
from apps.core.money import usd_text
from apps.core.tenancy import tenant
from apps.organizations.permissions import Scope
from apps.pricing import agreements
from apps.pricing.contracts import KINDS, Term
from apps.pricing.models import Contract
from apps.pricing.selectors import list_model_aliases
from apps.pricing.services import stored_rates, stored_tiers
from apps.reports.contract_lines import allowances
from apps.reports.selectors import current_month

KIND = OpenApiParameter("kind", str, enum=KINDS, description="Only contracts of this kind.")
ACTIVE = OpenApiParameter("active", str, enum=["true", "false"], description="Only those in force now, or not.")
TEXT: dict[str, Any] = {"max_length": 256, "required": False, "allow_blank": True, "default": ""}


class TierInput(serializers.Serializer[Any]):
    over_prompt_tokens = serializers.IntegerField()
    rates = serializers.DictField(child=Quoted(max_length=40))


class ContractInput(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=KINDS)
    name = serializers.CharField(max_length=256)
    provider = serializers.CharField(**TEXT, help_text="Empty: any.")
    model = serializers.CharField(**TEXT, help_text='Empty: any; "gpt-5*" is every name that begins so.')
    service_tier = serializers.CharField(max_length=16, required=False, default="")
    starts_at = serializers.DateTimeField(required=False, allow_null=True, default=None, help_text="Now, if left out.")
    ends_at = serializers.DateTimeField(required=False, allow_null=True, default=None)
    rates = serializers.DictField(
        child=Quoted(max_length=40), required=False, default=dict, help_text="USD per million units."
    )
    tiers = TierInput(many=True, required=False, default=list)
    percent = Quoted(max_length=40, required=False, allow_null=True, default=None)
    amount_usd = Quoted(max_length=40, required=False, allow_null=True, default=None)
    quantity = serializers.IntegerField(required=False, default=1)
    monthly = serializers.BooleanField(required=False, default=False)
    team = serializers.CharField(max_length=256, required=False, allow_null=True, default=None)
    note = serializers.CharField(max_length=500, required=False, allow_blank=True, default="")


class TierOutput(serializers.Serializer[Any]):
    over_prompt_tokens = serializers.IntegerField()
    rates = serializers.DictField(child=serializers.CharField())


class ContractOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    kind = serializers.CharField()
    name = serializers.CharField()
    provider = serializers.CharField()
    model = serializers.CharField()
    service_tier = serializers.CharField()
    starts_at = serializers.DateTimeField()
    ends_at = serializers.DateTimeField(allow_null=True)
    rates = serializers.DictField(child=serializers.CharField())
    tiers = TierOutput(many=True)
    percent = serializers.CharField(allow_null=True)
    amount_usd = serializers.CharField(allow_null=True)
    quantity = serializers.IntegerField()
    monthly = serializers.BooleanField()
    team = serializers.CharField(allow_null=True)
    note = serializers.CharField()
    created_at = serializers.DateTimeField()
    created_by = serializers.CharField()


class EndInput(serializers.Serializer[Any]):
    ends_at = serializers.DateTimeField(required=False, allow_null=True, default=None, help_text="Now, if left out.")


class ModelAliasInput(serializers.Serializer[Any]):
    provider = serializers.CharField(max_length=256)
    name = serializers.CharField(max_length=256)
    to_provider = serializers.CharField(max_length=256)
    to_model = serializers.CharField(max_length=256)


class ModelAliasOutput(ModelAliasInput):
    id = serializers.IntegerField()
    created_at = serializers.DateTimeField()


class ContractsView(ScopedView):
    scopes = {"GET": Scope.READ, "POST": Scope.MANAGE}

    @extend_schema(operation_id="contracts_list", parameters=[KIND, ACTIVE], responses=listing(ContractOutput))
    def get(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        asked = parameters.filters(request.query_params, {"kind", "active"}, ())
        with tenant(self.organization):
            contracts = list(agreements.find_contracts(self.organization, at=timezone.now(), **asked))
        return Response({"data": [contract_json(contract) for contract in contracts], "next": None})

    @extend_schema(
        operation_id="contracts_create",
        request=ContractInput,
        responses={201: ContractOutput},
        description="Calls from its start on are priced by it; a re-rating prices calls that came before again.",
    )
    def post(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(ContractInput, request)
        given["starts_at"] = agreements.in_force_from(given["starts_at"])
        contract = agreements.create_contract(org=self.organization, actor=self.principal, **given)
        return Response(contract_json(contract), status=201)


class ContractDetailOutput(ContractOutput):
    used_usd = serializers.CharField(allow_null=True, help_text="Of a grant or a credit; of a monthly one, this month.")
    left_usd = serializers.CharField(allow_null=True)


class ContractView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(operation_id="contracts_get", responses=ContractDetailOutput)
    def get(self, request: Request, contract_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        with tenant(self.organization):
            contract = agreements.contract_by_id(self.organization, contract_id)
        month = current_month(self.organization, timezone.now())
        found = allowances(self.organization, month).get(contract.pk)
        used, left = (found.used_usd, found.left_usd) if found else (None, None)
        return Response({**contract_json(contract), "used_usd": usd_text(used), "left_usd": usd_text(left)})


class ContractEndView(ScopedView):
    scopes = {"POST": Scope.MANAGE}

    @extend_schema(operation_id="contracts_end", request=EndInput, responses=ContractOutput)
    def post(self, request: Request, contract_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        ends_at = agreements.in_force_from(validated(EndInput, request)["ends_at"])
        contract = agreements.end_contract(
            org=self.organization, contract_id=contract_id, ends_at=ends_at, actor=self.principal
        )
        return Response(contract_json(contract))


class ModelAliasesView(ScopedView):
    scopes = {"GET": Scope.READ, "POST": Scope.MANAGE}

    @extend_schema(operation_id="model_aliases_list", responses=listing(ModelAliasOutput))
    def get(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        with tenant(self.organization):
            aliases = list(list_model_aliases(self.organization))
        return Response({"data": ModelAliasOutput(aliases, many=True).data, "next": None})

    @extend_schema(
        operation_id="model_aliases_set",
        request=ModelAliasInput,
        responses={201: ModelAliasOutput},
        description="From now on calls of the name are priced as the model; setting it again changes it.",
    )
    def post(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(ModelAliasInput, request)
        alias = agreements.set_model_alias(org=self.organization, actor=self.principal, **given)
        return Response(ModelAliasOutput(alias).data, status=201)


class ModelAliasView(ScopedView):
    scopes = {"DELETE": Scope.MANAGE}

    @extend_schema(operation_id="model_aliases_remove", responses={204: None})
    def delete(self, request: Request, alias_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        agreements.remove_model_alias(org=self.organization, alias_id=alias_id, actor=self.principal)
        return Response(status=204)


def term_json(term: Term) -> dict[str, Any]:
    """A term as an explanation names it."""
    return {
        "id": term.id,
        "kind": term.kind,
        "name": term.name,
        "provider": term.provider,
        "model": term.model,
        "service_tier": term.service_tier,
        "starts_at": term.starts_at,
        "ends_at": term.ends_at,
        "rates": stored_rates(term.rates),
        "tiers": stored_tiers(term.tiers),
        "percent": None if term.percent is None else format(term.percent.normalize(), "f"),
    }


def contract_json(contract: Contract) -> dict[str, Any]:
    fields = {field: getattr(contract, field) for field in ContractOutput().get_fields() if hasattr(contract, field)}
    return {
        **fields,
        "percent": None if contract.percent is None else format(contract.percent.normalize(), "f"),
        "amount_usd": usd_text(contract.amount_usd),
        "team": contract.team.slug if contract.team else None,
    }
