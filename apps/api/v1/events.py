"""GET /api/v1/events: the events behind any number, with what each cost and why."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import parameters
from apps.api.views import ScopedView
from apps.core.cursors import cursor_of
from apps.core.errors import DomainError
from apps.core.meters import METERS
from apps.core.money import usd_text
from apps.core.tenancy import tenant
from apps.organizations.permissions import Scope
from apps.pricing.contracts import Term
from apps.pricing.cost import CostLine, Price, explain
from apps.pricing.rules import FIRST_RULES
from apps.pricing.selectors import load_terms
from apps.reports.selectors import this_month
from apps.usage.models import Event
from apps.usage.provenance import CurrentCost, current_costs, prices_of
from apps.usage.selectors import (
    ATTRIBUTED,
    EVENTS_PAGE_MAX,
    attributed_to,
    find_events,
    known_filters,
    parse_position,
)

RESERVED = {"from", "to", "limit", "cursor"}
# What happens later than this is refused at the door, so a search by id need not look further.
AHEAD_MAX = timedelta(days=1)
# Filters with an index of their own: without `from`, they look at all that is kept.
FOUND_AT_ANY_TIME = ("event_id", "run_id")
KEY_ID_DIGITS_MAX = 18
AS_SENT = (
    "operation", "service_tier", "region", "team", "project", "workflow", "workflow_version", "task_type", "user",
    "environment", "tags", "run_id", "parent_run_id", "step", "attempt", "escalated_from", "tool_name", "status",
    "error_type", "outcome", "latency_ms", "prefix_hash", "request_hash", "reservation_id", "model_served",
    "stop_reason", "tool_call_hash", "prompt_version", "retrieved_tokens", "tool_result_tokens", "request_id",
)  # fmt: skip


class EventListOutput(serializers.Serializer[Any]):
    data = serializers.ListField(child=serializers.DictField())  # type: ignore[assignment]  # the contract's name
    next = serializers.CharField(allow_null=True)


class EventsView(ScopedView):
    scopes = {"GET": Scope.READ}

    @property
    def allowed_methods(self) -> list[str]:
        """POST on the same path is a plain view."""
        return [*super().allowed_methods, "POST"]

    @extend_schema(
        operation_id="events_list",
        summary="Find events",
        description="Events as they were sent, newest first, with meters, cost and price. `not.<dimension>`, such as"
        " `not.team=search`, leaves out one value; empty: what has none. It may be given several times.",
        parameters=[
            OpenApiParameter(
                "from",
                datetime,
                description="First instant; default: start of this month, or the oldest event with"
                f" {' or '.join(FOUND_AT_ANY_TIME)}.",
            ),
            OpenApiParameter("to", datetime, description="First instant no longer included; default: now."),
            OpenApiParameter("limit", int, description=f"1 to {EVENTS_PAGE_MAX}, default 100."),
            OpenApiParameter("cursor", str, description="`next` of the page before."),
            *(
                OpenApiParameter(name, str, description="Only events with this value; empty: missing.")
                for name in known_filters()
            ),
        ],
        responses=EventListOutput,
    )
    def get(self, request: Request) -> Response:
        query = request.query_params
        asked = parameters.filters(query, known_filters(), RESERVED, tags=True, exclusive=True)
        excluded = parameters.exclusions(query, known_filters(), RESERVED)
        filters = parameters.within_pins(self.principal, asked)
        _check([filters, *({name: value} for name, values in excluded.items() for value in values)])
        now = timezone.now()
        month_start, _ = this_month(self.organization, now)
        cursor = query.get("cursor")
        everything = any(filters.get(name) for name in FOUND_AT_ANY_TIME)
        start = datetime(1971, 1, 1, tzinfo=now.tzinfo) if everything else month_start
        start = parameters.instant(query, "from", start)
        end = parameters.instant(query, "to", now + AHEAD_MAX if everything else now)
        parameters.require_order(start, end)
        with tenant(self.organization):
            page = find_events(
                self.organization,
                start=start,
                end=end,
                filters=filters,
                excluded=excluded,
                limit=parameters.integer(query, "limit", 100, minimum=1, maximum=EVENTS_PAGE_MAX),
                after=parse_position(cursor) if cursor else None,
            )
            costs = current_costs(self.organization, page.events)
            terms = load_terms(self.organization) if any(cost.contract_id for cost in costs.values()) else []
        following = cursor_of(page.following) if page.following else None
        return Response({"data": list(event_json(page.events, costs, terms)), "next": following})


def _check(asked: Iterable[Mapping[str, str]]) -> None:
    """Values that only some filters take. Raises `DomainError` with code `parameter_invalid`."""
    for filters in asked:
        key, priced = filters.get("api_key", "0"), filters.get("priced", "true")
        if not (key.isascii() and key.isdigit() and len(key) <= KEY_ID_DIGITS_MAX):
            raise _invalid("api_key", key, "the number of a key, as `api_key` shows it")
        if priced not in ("true", "false"):
            raise _invalid("priced", priced, "true or false")


def _invalid(name: str, value: str, wanted: str) -> DomainError:
    return DomainError("parameter_invalid", f"{name} is '{value[:64]}': write {wanted}.", param=name)


def event_json(
    events: Sequence[Event], costs: Mapping[str, CurrentCost], terms: Iterable[Term]
) -> Iterable[dict[str, Any]]:
    """The JSON of events at what they cost now, their prices looked up once."""
    prices = prices_of(events, costs, terms)
    for event in events:
        yield _json(event, costs[event.event_id], prices[event.event_id])


def _json(event: Event, cost: CurrentCost, price: Price | None) -> dict[str, Any]:
    sent = event.sent or {}
    fields = {name: sent[name] if name in sent else getattr(event, name) for name in AS_SENT}
    return {
        "event_id": event.event_id,
        "occurred_at": event.occurred_at,
        "received_at": event.received_at,
        "provider": sent.get("provider", event.provider),
        "model": event.model,
        **{name: value for name, value in fields.items() if value is not None},
        "api_key": event.key_id,
        "attributed": {kind: attributed_to(event, kind) for kind in ATTRIBUTED},
        "booked_month": f"{event.booked_month:%Y-%m}",
        "meters": {meter: quantity for meter, quantity in zip(METERS, cost.quantities, strict=True) if quantity},
        "cost_usd": usd_text(cost.cost_usd),
        "declared_cost_usd": usd_text(event.declared_cost_usd),
        "unpriced": cost.cost_usd is None,
        "price": _price_json(price, cost) if price else None,
    }


def _price_json(price: Price, cost: CurrentCost) -> dict[str, Any]:
    return {
        "id": price.id,
        "provider": price.provider,
        "model": price.model,
        "service_tier": price.service_tier,
        "region": price.region,
        "tier_assumed": cost.tier_assumed,
        "contract_id": price.contract_id,
        "rule_set": cost.rule_set or FIRST_RULES.number,
        "effective_from": price.effective_from,
        "source": price.source,
        "source_version": price.source_version,
        "lines": [line_json(line) for line in explain(price, cost.quantities)],
    }


def line_json(line: CostLine) -> dict[str, Any]:
    return {
        "meter": line.meter,
        "quantity": line.quantity,
        "usd_per_million": usd_text(line.rate_usd_per_million),
        "rate_of": line.rate_from,
        "rule": line.rule,
        "cost_usd": usd_text(line.cost_usd),
    }
