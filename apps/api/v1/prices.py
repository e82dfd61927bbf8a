"""The price catalog: what stands, what was, and what a call would cost this organization."""

from datetime import datetime
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import parameters
from apps.api.v1.contracts import term_json
from apps.api.v1.events import line_json
from apps.api.v1.names import validated
from apps.api.views import ScopedView, listing
from apps.core.cursors import cursor_of, position_of
from apps.core.errors import DomainError, NotFound
from apps.core.meters import METER_INDEX, METERS, QUANTITY_MAX
from apps.core.money import usd_from_pico, usd_text
from apps.core.tenancy import tenant
from apps.organizations.permissions import Scope
from apps.pricing.browse import PAGE_MAX, Position, model_row, search_catalog
from apps.pricing.catalog import SERVICE_TIERS
from apps.pricing.cost import explain
from apps.pricing.models import Price, PriceFlag
from apps.pricing.provenance import why_unpriced
from apps.pricing.rating import RateBook
from apps.pricing.reviews import under_review
from apps.pricing.selectors import list_prices, load_catalog, load_model_aliases, load_terms

RESERVED = {"search", "provider", "at", "limit", "cursor"}


class PriceOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    provider = serializers.CharField()
    model = serializers.CharField()
    service_tier = serializers.CharField()
    region = serializers.CharField()
    effective_from = serializers.DateTimeField()
    daily_from_minute = serializers.IntegerField()
    daily_until_minute = serializers.IntegerField()
    rates = serializers.DictField(child=serializers.CharField(), help_text="USD per million units.")
    tiers = serializers.ListField(child=serializers.DictField())
    withdrawn = serializers.BooleanField()
    source = serializers.CharField()  # type: ignore[assignment]  # the contract's name
    source_version = serializers.CharField()
    catalog_version = serializers.IntegerField(source="catalog_version_id")


class ModelPricesOutput(serializers.Serializer[Any]):
    provider = serializers.CharField()
    model = serializers.CharField()
    prices = PriceOutput(many=True)
    under_review = serializers.ListField(child=serializers.DictField())


class PriceHistoryOutput(ModelPricesOutput):
    match = serializers.DictField(help_text="How names are recognised as this model.")


class QuoteInput(serializers.Serializer[Any]):
    provider = serializers.CharField(max_length=256)
    model = serializers.CharField(max_length=256)
    service_tier = serializers.ChoiceField(choices=SERVICE_TIERS, required=False, default="standard")
    region = serializers.CharField(max_length=256, required=False, allow_blank=True, default="")
    at = serializers.DateTimeField(required=False, allow_null=True, default=None, help_text="Now, if left out.")
    usage = serializers.DictField(child=serializers.IntegerField(min_value=0, max_value=QUANTITY_MAX))


class QuoteOutput(serializers.Serializer[Any]):
    cost_usd = serializers.CharField(allow_null=True)
    price_id = serializers.IntegerField(allow_null=True)
    contract = serializers.DictField(allow_null=True)
    tier_assumed = serializers.BooleanField()
    lines = serializers.ListField(child=serializers.DictField())
    unpriced = serializers.DictField(allow_null=True)


class PricesView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(
        operation_id="prices_list",
        summary="Search the catalog",
        parameters=[
            OpenApiParameter("search", str, description="Words that the provider or the model's name holds."),
            OpenApiParameter("provider", str, description="Only this provider's."),
            OpenApiParameter("at", datetime, description="Prices in force then; default: now."),
            OpenApiParameter("limit", int, description=f"1 to {PAGE_MAX}, default 50."),
            OpenApiParameter("cursor", str, description="`next` of the page before."),
        ],
        responses=listing(ModelPricesOutput),
    )
    def get(self, request: Request) -> Response:
        query = request.query_params
        parameters.filters(query, (), RESERVED)
        cursor = query.get("cursor")
        page = search_catalog(
            text=_text(query.get("search", ""), "search"),
            provider=_text(query.get("provider", ""), "provider"),
            at=parameters.instant(query, "at", timezone.now()),
            limit=parameters.integer(query, "limit", 50, minimum=1, maximum=PAGE_MAX),
            after=_position(cursor) if cursor else None,
        )
        flags = under_review((model.provider, model.model) for model in page.models)
        data = [
            {
                "provider": model.provider,
                "model": model.model,
                "prices": PriceOutput(model.prices, many=True).data,
                "under_review": [flag_json(flag) for flag in flags.get((model.provider, model.model), ())],
            }
            for model in page.models
        ]
        return Response({"data": data, "next": cursor_of(page.following) if page.following else None})


class PriceHistoryView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(
        operation_id="prices_history",
        summary="A model's prices",
        description="Every row a model has had, superseded and withdrawn ones included: latest start first.",
        responses=PriceHistoryOutput,
    )
    def get(self, request: Request, provider: str, model: str) -> Response:
        known = None if "\0" in provider + model else model_row(provider, model)
        if known is None:
            raise NotFound("model in the catalog")
        rows: list[Price] = list(list_prices(known.provider, known.model))
        flags = under_review([(known.provider, known.model)])
        return Response(
            {
                "provider": known.provider,
                "model": known.model,
                "match": known.match,
                "prices": PriceOutput(rows, many=True).data,
                "under_review": [flag_json(flag) for flag in flags.get((known.provider, known.model), ())],
            }
        )


class QuoteView(ScopedView):
    scopes = {"POST": Scope.READ}

    @extend_schema(
        operation_id="prices_quote",
        summary="What a call would cost",
        description="By the catalog and this organization's contracts; nothing is stored.",
        request=QuoteInput,
        responses=QuoteOutput,
    )
    def post(self, request: Request) -> Response:
        given = validated(QuoteInput, request)
        for meter in given["usage"]:
            if meter not in METER_INDEX:
                detail = f"'{meter[:64]}' is not a meter; the meters are {', '.join(METERS)}."
                raise DomainError("unknown_meter", detail, param="usage")
        with tenant(self.organization):
            terms, aliases = load_terms(self.organization), load_model_aliases(self.organization)
        book = RateBook(load_catalog(), terms, aliases)
        quantities = tuple(given["usage"].get(meter, 0) for meter in METERS)
        call = (
            given["provider"],
            given["model"],
            given["service_tier"],
            given["region"],
            given["at"] or timezone.now(),
        )
        rated = book.rate(*call, quantities)
        return Response(_quote_json(book, call, rated))


def _quote_json(book: RateBook, call: tuple[str, str, str, str, datetime], rated: Any) -> dict[str, Any]:
    price, quantities, pico = rated
    reason = why_unpriced(book, *call, quantities) if pico is None else None
    term = book.terms.get(price.contract_id) if price else None
    return {
        "cost_usd": None if pico is None else usd_text(usd_from_pico(pico)),
        "price_id": price and price.id,
        "contract": term and term_json(term),
        "tier_assumed": bool(price and price.tier_assumed),
        "lines": [line_json(line) for line in explain(price, quantities)] if price else [],
        "unpriced": reason and {"code": reason.code, "detail": reason.detail, "suggestions": reason.suggestions},
    }


def flag_json(flag: PriceFlag) -> dict[str, Any]:
    return {
        "kind": flag.kind,
        "service_tier": flag.service_tier,
        "region": flag.region,
        "other_source": flag.other_source,
        "other_version": flag.other_version,
        "difference_percent": format(flag.difference_percent, "f"),
        "ours": flag.ours,
        "theirs": flag.theirs,
        "flagged_at": flag.flagged_at,
    }


def _position(cursor: str) -> Position:
    found: Position = position_of(cursor, tuple[str, str])
    if any("\0" in part for part in found):
        raise DomainError(
            "cursor_invalid", "This cursor is not one of ours: send `next` back as you got it.", param="cursor"
        )
    return found


def _text(value: str, name: str) -> str:
    if "\0" in value or len(value) > parameters.VALUE_LENGTH_MAX:
        raise DomainError(
            "parameter_invalid",
            f"{name} holds a NUL or more than {parameters.VALUE_LENGTH_MAX} characters.",
            param=name,
        )
    return value
