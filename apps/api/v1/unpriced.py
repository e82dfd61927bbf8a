"""What has no price, and what clients declare that differs from ours."""

from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from django.http import QueryDict
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import parameters
from apps.api.views import ScopedView
from apps.core.errors import DomainError
from apps.core.money import usd_text
from apps.core.tenancy import tenant
from apps.organizations.permissions import Scope
from apps.reports.declared import DEFAULT_PERCENT, DEFAULT_USD, DeclaredEvent, DeclaredModel, declared_costs
from apps.reports.selectors import this_month
from apps.reports.unpriced import UnpricedModel, unpriced_models

RANGE = [
    OpenApiParameter("from", datetime, description="First instant; default: start of this month."),
    OpenApiParameter("to", datetime, description="First instant no longer included; default: now."),
]


class UnpricedOutput(serializers.Serializer[Any]):
    provider = serializers.CharField()
    model = serializers.CharField()
    events = serializers.IntegerField()
    meters = serializers.DictField(child=serializers.IntegerField())
    first_day = serializers.DateTimeField(allow_null=True)
    last_day = serializers.DateTimeField(allow_null=True)
    reason = serializers.DictField()


class UnpricedListOutput(serializers.Serializer[Any]):
    data = UnpricedOutput(many=True)  # type: ignore[assignment]  # the contract's name
    next = serializers.CharField(allow_null=True)


class DeclaredModelOutput(serializers.Serializer[Any]):
    provider = serializers.CharField()
    model = serializers.CharField()
    events = serializers.IntegerField()
    unpriced_events = serializers.IntegerField()
    differing_events = serializers.IntegerField()
    declared_usd = serializers.CharField()
    ours_usd = serializers.CharField()
    difference_usd = serializers.CharField()


class DeclaredEventOutput(serializers.Serializer[Any]):
    event_id = serializers.CharField()
    occurred_at = serializers.DateTimeField()
    provider = serializers.CharField()
    model = serializers.CharField()
    declared_usd = serializers.CharField()
    ours_usd = serializers.CharField()
    difference_usd = serializers.CharField()


class DeclaredOutput(serializers.Serializer[Any]):
    models = DeclaredModelOutput(many=True)
    events = DeclaredEventOutput(many=True)


class UnpricedView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(operation_id="unpriced", summary="Unpriced usage", parameters=RANGE, responses=UnpricedListOutput)
    def get(self, request: Request) -> Response:
        query = request.query_params
        parameters.filters(query, (), {"from", "to"})
        start, end = _range_of(self, query)
        pins = parameters.within_pins(self.principal, {})
        found = unpriced_models(self.organization, start=start, end=end, filters=pins)
        return Response({"data": [_unpriced_json(model) for model in found], "next": None})


class CostDifferencesView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(
        operation_id="cost_differences",
        summary="Declared costs that differ from ours",
        parameters=[
            *RANGE,
            OpenApiParameter("over_percent", str, description=f"Of ours; default {DEFAULT_PERCENT}."),
            OpenApiParameter("over_usd", str, description=f"And by more than this; default {DEFAULT_USD}."),
        ],
        responses=DeclaredOutput,
    )
    def get(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        query = request.query_params
        parameters.filters(query, (), {"from", "to", "over_percent", "over_usd"})
        start, end = _range_of(self, query)
        percent = _amount(query, "over_percent", DEFAULT_PERCENT)
        usd = _amount(query, "over_usd", DEFAULT_USD)
        with tenant(self.organization):
            found = declared_costs(self.organization, start=start, end=end, over_percent=percent, over_usd=usd)
        return Response(
            {
                "models": [_declared_json(model, DeclaredModelOutput) for model in found.models],
                "events": [_declared_json(event, DeclaredEventOutput) for event in found.events],
            }
        )


def _range_of(view: ScopedView, query: QueryDict) -> tuple[datetime, datetime]:
    now = timezone.now()
    month_start, _ = this_month(view.organization, now)
    start, end = parameters.instant(query, "from", month_start), parameters.instant(query, "to", now)
    parameters.require_order(start, end)
    return start, end


def _amount(query: QueryDict, name: str, default: Decimal) -> Decimal:
    text = query.get(name)
    if text is None:
        return default
    try:
        value = Decimal(text) if len(text) <= 20 else None
    except InvalidOperation:
        value = None
    if value is None or not value.is_finite() or not 0 <= value <= 10**9 or value.as_tuple().exponent < -12:  # type: ignore[operator]  # finite
        raise DomainError(
            f"{name}_invalid", f"{name} is '{text[:64]}': write a decimal from 0 to a billion.", param=name
        )
    return value


def _unpriced_json(found: UnpricedModel) -> dict[str, Any]:
    reason = found.reason
    return {
        "provider": found.provider,
        "model": found.model,
        "events": found.events,
        "meters": found.meters,
        "first_day": found.first_day,
        "last_day": found.last_day,
        "reason": {
            "code": reason.code,
            "detail": reason.detail,
            "meters": reason.meters,
            "suggestions": reason.suggestions,
        },
    }


def _declared_json(found: DeclaredModel | DeclaredEvent, shape: type[serializers.Serializer[Any]]) -> dict[str, Any]:
    values = {name: getattr(found, name) for name in shape().get_fields()}
    return {name: usd_text(value) if name.endswith("_usd") else value for name, value in values.items()}
