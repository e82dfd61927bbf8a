"""GET /api/v1/forecasts."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import parameters
from apps.api.views import ScopedView
from apps.budgets.limits import MonthLimit, month_limits
from apps.core.cursors import cursor_of, position_of
from apps.core.errors import DomainError
from apps.core.money import usd_text
from apps.core.periods import Calendar
from apps.core.tenancy import tenant
from apps.organizations.permissions import Scope
from apps.organizations.selectors import calendar
from apps.usage.forecasts import (
    PAGE_MAX,
    Against,
    Position,
    against,
    find_forecasts,
    first_day_of,
    is_direct_off,
    under_cap,
    within_part,
)
from apps.usage.models_forecast import Forecast

NAMES = ("team", "project", "workflow")


class LimitOutput(serializers.Serializer[Any]):
    budget_id = serializers.IntegerField()
    limit_usd = serializers.CharField()
    exceed_probability = serializers.FloatField(help_text="That the month comes to more, 0 to 1.")
    exhausted_on = serializers.DateField(allow_null=True, help_text="The day on which P50 reaches it.")
    exhausted_earliest = serializers.DateField(allow_null=True, help_text="The day on which P90 reaches it.")


class ForecastDayOutput(serializers.Serializer[Any]):
    day = serializers.DateField()
    p50_usd = serializers.CharField()


class ForecastOutput(serializers.Serializer[Any]):
    scope = serializers.ChoiceField(choices=Forecast.Scope.values)
    team = serializers.CharField(allow_null=True)
    project = serializers.CharField(allow_null=True)
    workflow = serializers.CharField(allow_null=True)
    method = serializers.CharField()
    spent_usd = serializers.CharField()
    p10_usd = serializers.CharField()
    p50_usd = serializers.CharField()
    p90_usd = serializers.CharField()
    layers = serializers.DictField(help_text="USD of the rest of the month by usage, live, launch, price, cap, ...")
    direct_usd = serializers.CharField(allow_null=True, help_text="Of sums: what their own series says.")
    direct_differs = serializers.BooleanField(help_text="By more than 10 %.")
    budget = LimitOutput(allow_null=True)
    days = ForecastDayOutput(many=True)


class ForecastsOutput(serializers.Serializer[Any]):
    month = serializers.CharField()
    as_of = serializers.DateTimeField(allow_null=True)
    data = ForecastOutput(many=True)  # type: ignore[assignment]  # the contract's name
    next = serializers.CharField(allow_null=True)


class ForecastsView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(
        operation_id="forecasts_list",
        summary="What a month comes to",
        description="As last forecast, every hour: workflows, what names none (`rest`), and projects, teams and the"
        " organization as sums of those. Of a month that is over, what was said of it last.",
        parameters=[
            OpenApiParameter("month", str, description="YYYY-MM; default: this month."),
            OpenApiParameter("scope", str, enum=Forecast.Scope.values),
            *(OpenApiParameter(name, str, description="Only what belongs to it.") for name in NAMES),
            OpenApiParameter("limit", int, description=f"1 to {PAGE_MAX}, default 100."),
            OpenApiParameter("cursor", str, description="`next` of the page before."),
        ],
        responses=ForecastsOutput,
    )
    def get(self, request: Request) -> Response:
        query, org, at = request.query_params, self.organization, timezone.now()
        _require_no_environment(self.principal.environment)
        asked = parameters.within_pins(
            self.principal, parameters.filters(query, NAMES, {"month", "scope", "limit", "cursor"})
        )
        limit = parameters.integer(query, "limit", 100, minimum=1, maximum=PAGE_MAX)
        after = position_of(query["cursor"], Position) if query.get("cursor") else None
        scope = _scope(query)
        with tenant(org):
            clock = calendar(org)
            this = clock.month_of(at)
            month = parameters.month(query, default=this)
            rows = find_forecasts(org, month, scope=scope, after=after, limit=limit + 1, **asked)
            limits = month_limits(org, at) if month == this else {}
            page = rows[:limit]
            pins = parameters.within_pins(self.principal, {})
            shown = within_part(org, page, {name: [pin] for name, pin in pins.items()} or None, clock, at)
        return Response(
            {
                "month": f"{month:%Y-%m}",
                "as_of": page[0].as_of if page else None,
                "data": [forecast_json(row, limits, clock) for row in shown],
                "next": cursor_of((page[-1].scope, page[-1].key)) if len(rows) > limit else None,
            }
        )


def _require_no_environment(pin: str | None) -> None:
    if pin is not None:
        raise DomainError(
            "pinned_dimension",
            f"This key belongs to environment '{pin}', and months are not forecast by environment: use another key.",
            param="environment",
        )


def _scope(query: Mapping[str, str]) -> str | None:
    scope = query.get("scope")
    if scope is not None and scope not in Forecast.Scope.values:
        raise DomainError(
            "scope_unknown", f"scope is '{scope[:40]}': it is {', '.join(Forecast.Scope.values)}.", param="scope"
        )
    return scope


def forecast_json(row: Forecast, limits: Mapping[tuple[str, str], MonthLimit], clock: Calendar) -> dict[str, Any]:
    limit = limits.get((row.scope, row.key))
    budget = None if limit is None else _limit_json(limit, against(row, limit.limit_usd, clock))
    row = under_cap(row, limit.cap_usd if limit else None)
    first = first_day_of(row.as_of, clock)
    return {
        "scope": row.scope,
        "team": row.team,
        "project": row.project,
        "workflow": row.workflow,
        "method": row.method,
        "spent_usd": usd_text(row.spent_usd),
        "p10_usd": usd_text(row.p10_usd),
        "p50_usd": usd_text(row.p50_usd),
        "p90_usd": usd_text(row.p90_usd),
        "layers": {kind: usd_text(Decimal(amount)) for kind, amount in row.layers.items()},
        "direct_usd": usd_text(row.direct_usd),
        "direct_differs": is_direct_off(row),
        "budget": budget,
        "days": [
            {"day": first + timedelta(days=place), "p50_usd": usd_text(Decimal(amount))}
            for place, amount in enumerate(row.days)
        ],
    }


def _limit_json(limit: MonthLimit, found: Against) -> dict[str, Any]:
    return {
        "budget_id": limit.budget_id,
        "limit_usd": usd_text(found.limit_usd),
        "exceed_probability": round(found.exceeds, 4),
        "exhausted_on": found.on,
        "exhausted_earliest": found.earliest,
    }
