"""GET /api/v1/events/{event_id}/explain: how a cost came about, from what was sent to the last decimal."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import parameters
from apps.api.v1.contracts import term_json
from apps.api.v1.events import line_json
from apps.api.views import ScopedView
from apps.core.errors import NotFound
from apps.core.meters import METERS
from apps.core.money import usd_text
from apps.core.tenancy import tenant
from apps.organizations.permissions import Scope
from apps.usage.models import Event, Posting
from apps.usage.provenance import Explanation, Working, explain_event
from apps.usage.selectors import attributed_to


class ExplanationOutput(serializers.Serializer[Any]):
    event_id = serializers.CharField()
    occurred_at = serializers.DateTimeField()
    sent = serializers.DictField(help_text="Names and meters as they were sent.")
    recognised_as = serializers.DictField(allow_null=True, help_text="The model whose prices the name stands for.")
    meters = serializers.DictField(child=serializers.IntegerField(), help_text="As normalized: disjoint.")
    stored = serializers.DictField(help_text="The working when the event was stored.")
    postings = serializers.ListField(child=serializers.DictField(), help_text="What changed since.")
    now = serializers.DictField(help_text="The working today.")
    cost_usd = serializers.CharField(allow_null=True)
    unpriced = serializers.DictField(allow_null=True, help_text="Why there is no cost.")
    declared_cost_usd = serializers.CharField(allow_null=True)
    declared_difference_usd = serializers.CharField(allow_null=True)


class ExplainView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(operation_id="events_explain", summary="Explain a cost", responses=ExplanationOutput)
    def get(self, request: Request, event_id: str) -> Response:
        if "\0" in event_id:
            raise NotFound("event")
        with tenant(self.organization):
            found = explain_event(self.organization, event_id)
        self._require_own(found.event)
        return Response(explanation_json(found))

    def _require_own(self, event: Event) -> None:
        """A pinned key explains what is its own; anything else does not exist for it."""
        for name, pin in parameters.within_pins(self.principal, {}).items():
            own = event.environment if name == "environment" else attributed_to(event, name)
            if own != pin:
                raise NotFound("event")


def explanation_json(found: Explanation) -> dict[str, Any]:
    event = found.event
    return {
        "event_id": event.event_id,
        "occurred_at": event.occurred_at,
        "sent": {
            "provider": (event.sent or {}).get("provider", event.provider),
            "model": event.model,
            "service_tier": event.service_tier,
            "region": event.region,
            "usage": event.usage_sent or {"format": "meters"},
        },
        "recognised_as": _known_as(found),
        "meters": {meter: quantity for meter in METERS if (quantity := getattr(event, meter))},
        "stored": working_json(found.stored),
        "postings": [_posting_json(posting) for posting in found.postings],
        "now": working_json(found.now),
        "cost_usd": usd_text(found.cost_usd),
        "unpriced": None
        if found.unpriced is None
        else {
            "code": found.unpriced.code,
            "detail": found.unpriced.detail,
            "meters": found.unpriced.meters,
            "suggestions": found.unpriced.suggestions,
        },
        "declared_cost_usd": usd_text(event.declared_cost_usd),
        "declared_difference_usd": usd_text(found.declared_difference_usd),
    }


def _known_as(found: Explanation) -> dict[str, Any] | None:
    if found.known_as is None:
        return None
    provider, model, rule = found.known_as
    alias = None if found.alias is None else {"provider": found.alias[0], "model": found.alias[1]}
    return {"provider": provider, "model": model, "rule": rule, "alias": alias}


def working_json(working: Working) -> dict[str, Any]:
    row, price = working.row, working.price
    return {
        "cost_usd": usd_text(working.cost_usd),
        "price": None
        if row is None
        else {
            "id": row.id,
            "provider": row.provider,
            "model": row.model,
            "service_tier": row.service_tier,
            "region": row.region,
            "effective_from": row.effective_from,
            "daily_from_minute": row.daily_from_minute,
            "daily_until_minute": row.daily_until_minute,
            "source": row.source,
            "source_version": row.source_version,
            "catalog_version": row.catalog_version_id,
            "rates": row.rates,
            "tiers": row.tiers,
        },
        "contract": None if working.term is None else term_json(working.term),
        "rule_set": working.rule_set,
        "tier_assumed": working.tier_assumed,
        "percentages": [f"{step.name}: {_percent(step.percent)} %" for step in price.steps] if price else [],
        "over_prompt_tokens": working.over_prompt_tokens,
        "lines": [line_json(line) for line in working.lines],
        "adds_up": working.adds_up,
    }


def _percent(percent: Any) -> str:
    """A fraction of a decimal with six places is written out in full."""
    whole, rest = divmod(percent.numerator * 10**6 // percent.denominator, 10**6)
    return f"{whole}.{rest:06d}".rstrip("0").rstrip(".")


def _posting_json(posting: Posting) -> dict[str, Any]:
    return {
        "reason": posting.reason,
        "actor": posting.actor,
        "posted_at": posting.posted_at,
        "booked_month": f"{posting.booked_month:%Y-%m}",
        "cost_usd": usd_text(posting.cost_usd),
        "side": posting.side,
        "price_id": posting.price_id,
        "contract_id": posting.contract_id,
        "rule_set": posting.rule_set,
        "cause": posting.cause,
    }
