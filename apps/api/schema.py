"""What drf-spectacular cannot see: API keys, and the plain views of events and decisions."""

import re
from typing import Any

import msgspec
from drf_spectacular.extensions import OpenApiAuthenticationExtension

from apps.core.meters import METERS, QUANTITY_MAX
from apps.ingest.asking import (
    DecisionRequest,
    ExtendRequest,
    LeaseRequest,
    ReleaseRequest,
    RenewalRequest,
    ReturnRequest,
    RunRequest,
    UngovernedRequest,
)
from apps.ingest.settling import SettleRequest

_STRING = {"type": "string", "minLength": 1, "maxLength": 256}
_INTEGER = {"type": "integer", "minimum": 0, "maximum": QUANTITY_MAX}
_STRINGS = (
    "operation", "region", "team", "project", "workflow", "workflow_version", "task_type", "user", "environment",
    "run_id", "parent_run_id", "escalated_from", "tool_name", "error_type", "prefix_hash", "request_hash",
    "reservation_id", "model_served", "stop_reason", "tool_call_hash", "prompt_version", "request_id",
)  # fmt: skip
_INTEGERS = ("step", "latency_ms", "retrieved_tokens", "tool_result_tokens")

USAGE_EVENT: dict[str, Any] = {
    "type": "object",
    "description": "One LLM call. Exactly one of usage and provider_usage.",
    "required": ["event_id", "occurred_at", "provider", "model"],
    "properties": {
        "event_id": {**_STRING, "maxLength": 128},
        "occurred_at": {"type": "string", "format": "date-time"},
        "provider": _STRING,
        "model": _STRING,
        "usage": {
            "type": "object",
            "description": "Disjoint quantities.",
            "properties": dict.fromkeys(METERS, _INTEGER),
            "additionalProperties": False,
        },
        "provider_usage": {"type": "object", "description": "The provider's own usage object."},
        "usage_format": {
            "type": "string",
            "enum": [
                "openai_chat", "openai_responses", "anthropic", "gemini", "bedrock", "mistral", "cohere",
                "openai_compatible",
            ],
        },
        "service_tier": {"type": "string", "enum": ["standard", "batch", "flex", "priority"]},
        "status": {"type": "string", "enum": ["ok", "error", "cancelled"], "default": "ok"},
        "outcome": {"type": "string", "enum": ["success", "failure", "unknown"]},
        "attempt": {**_INTEGER, "minimum": 1, "default": 1},
        "tags": {"type": "object", "maxProperties": 64, "additionalProperties": _STRING},
        "cost_usd": {"type": "string", "description": "Declared cost, kept beside ours."},
        **dict.fromkeys(_STRINGS, _STRING),
        **dict.fromkeys(_INTEGERS, _INTEGER),
    },
}  # fmt: skip

_COUNTS = ("accepted", "duplicates", "conflicts", "rejected", "unpriced")
BATCH_RESULT: dict[str, Any] = {
    "type": "object",
    "required": [*_COUNTS, "results"],
    "properties": {
        **{name: {"type": "integer"} for name in _COUNTS},
        "results": {
            "type": "array",
            "description": "Every event but the plainly accepted.",
            "items": {
                "type": "object",
                "properties": {
                    "index": {"type": "integer"},
                    "event_id": {"type": ["string", "null"]},
                    "status": {"type": "string", "enum": ["accepted", "duplicate", "conflict", "rejected"]},
                    "code": {"type": "string"},
                    "param": {"type": "string"},
                    "detail": {"type": "string"},
                },
            },
        },
        "warnings": {"type": "array", "items": {"type": "string"}},
    },
}

PROBLEM: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "param": {"type": "string"},
        "instance": {"type": "string"},
        "request_id": {"type": "string"},
    },
}


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # drf-spectacular ships none
    target_class = "apps.api.authentication.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "aif_live_..."}


Endpoint = tuple[str, str, str, Any]


def add_handed_on(endpoints: list[Endpoint]) -> list[Endpoint]:
    """Reads that the plain view of a write on the same path hands on to a view of REST framework."""
    from apps.api.v1.events import EventsView
    from apps.api.v1.runs import RunView

    reads = {"/api/v1/events": EventsView, "/api/v1/runs/{run_id}": RunView}
    return [*endpoints, *((path, path, "GET", view.as_view()) for path, view in reads.items())]


def add_plain_views(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Add the ingestion operation and its shapes to the document."""
    schemas = result.setdefault("components", {}).setdefault("schemas", {})
    schemas.update({"UsageEvent": USAGE_EVENT, "BatchResult": BATCH_RESULT, "Problem": PROBLEM})
    event = {"$ref": "#/components/schemas/UsageEvent"}
    many = {"type": "array", "items": event, "maxItems": 1000}
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    result["paths"].setdefault("/api/v1/events", {})["post"] = {
        "operationId": "events_create",
        "summary": "Store usage events",
        "description": "Up to 1,000 events and 8 MiB decoded; gzip accepted. Sending an event again changes nothing.",
        "tags": ["events"],
        "security": [{"apiKey": []}],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"oneOf": [many, {"type": "object", "properties": {"events": many}}]}},
                "application/x-ndjson": {"schema": {"type": "string"}},
            },
        },
        "responses": {
            "202": {
                "description": "Each event's fate.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/BatchResult"}}},
            },
            **{
                status: {"description": text, "content": problem}
                for status, text in {
                    "400": "The body cannot be read as events; nothing was stored.",
                    "401": "No valid API key.",
                    "403": "The key lacks the ingest scope.",
                    "413": "The body is too large; nothing was stored.",
                    "415": "The encoding is not supported.",
                    "429": "Too many requests.",
                    "503": "Nothing was stored; send the same request again.",
                }.items()
            },
        },
    }
    add_decisions(result, problem)
    return result


# Path, method, operation, what it does, and the shape of its body.
DECISIONS: tuple[tuple[str, str, str, str, type[msgspec.Struct]], ...] = (
    ("decisions", "post", "decisions_create", "Ask before a call, and hold its cost", DecisionRequest),
    (
        "reservations/{reservation_id}/settle",
        "post",
        "reservation_settle",
        "Book a call and end its hold",
        SettleRequest,
    ),
    ("reservations/{reservation_id}/release", "post", "reservation_release", "Give a hold back", ReleaseRequest),
    ("reservations/{reservation_id}/extend", "post", "reservation_extend", "Hold for longer", ExtendRequest),
    ("leases", "post", "leases_create", "Hold a slice of budgets for many calls", LeaseRequest),
    ("leases/{lease_id}/renew", "post", "lease_renew", "Add to a lease", RenewalRequest),
    ("leases/{lease_id}/return", "post", "lease_return", "Give back what no call used", ReturnRequest),
    ("unavailable-allowances", "post", "ungoverned_report", "Report calls made without a decision", UngovernedRequest),
    ("runs/{run_id}", "put", "run_update", "Say that a run is running or ended", RunRequest),
)


def add_decisions(result: dict[str, Any], problem: dict[str, Any]) -> None:
    """Operations of plain views; the shapes of their bodies are those that read them."""
    shapes, components = msgspec.json.schema_components(
        [shape for *_, shape in DECISIONS], ref_template="#/components/schemas/{name}"
    )
    result["components"]["schemas"].update(components)
    for (path, method, operation, summary, _), shape in zip(DECISIONS, shapes, strict=True):
        parameters = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"{(\w+)}", path)
        ]
        result["paths"].setdefault(f"/api/v1/{path}", {})[method] = {
            "operationId": operation,
            "summary": summary,
            "tags": [path.partition("/")[0]],
            "security": [{"apiKey": []}],
            "parameters": parameters,
            "requestBody": {"required": True, "content": {"application/json": {"schema": shape}}},
            "responses": {
                "200": {"description": "The answer.", "content": {"application/json": {"schema": {"type": "object"}}}},
                **{
                    status: {"description": text, "content": problem}
                    for status, text in {
                        "400": "A field is wrong; nothing was changed.",
                        "401": "No valid API key.",
                        "403": "The key lacks the scope, or is pinned to something else.",
                        "404": "There is no such thing in this organization.",
                        "409": "It was closed before, or its id was used for another request.",
                        "429": "Too many requests.",
                        "503": "The store does not answer; send the same request again.",
                    }.items()
                },
            },
        }
