"""What a caller asks before a call: read, checked and fingerprinted.

A field that is not known is refused here, unlike in an event: a mistyped dimension would slip past its budget.
"""

from decimal import Decimal
from hashlib import blake2b
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from apps.budgets.decisions import Asked
from apps.budgets.estimates import tokens
from apps.budgets.reading import AMOUNT_MAX_USD
from apps.core.errors import DomainError
from apps.ingest.body import Unreadable, read_one
from apps.ingest.faults import Instant, reason, require_plain_text
from apps.ingest.record import Count, Ordinal, Outcome, ServiceTier, Tags, Text, amount

RequestId = Annotated[str, Meta(min_length=1, max_length=128)]

_encode_sorted = msgspec.json.Encoder(order="sorted").encode


class _Planned(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The dimensions of an event, of a call that was not made yet."""

    request_id: RequestId
    provider: Text
    model: Text
    service_tier: ServiceTier | None = None
    team: Text | None = None
    project: Text | None = None
    workflow: Text | None = None
    workflow_version: Text | None = None
    task_type: Text | None = None
    user: Text | None = None
    environment: Text | None = None
    tags: Tags | None = None
    operation: Text | None = None
    region: Text | None = None
    run_id: Text | None = None
    parent_run_id: Text | None = None


class DecisionRequest(_Planned, kw_only=True, forbid_unknown_fields=True):
    step: Count | None = None
    attempt: Ordinal | None = 1
    escalated_from: Text | None = None
    tool_name: Text | None = None
    tool_call_hash: Text | None = None
    prompt_version: Text | None = None
    ttl_seconds: Annotated[int, Meta(ge=10, le=3600)] | None = 600
    estimate_usd: Text | None = None
    input_tokens: Count | None = None
    max_output_tokens: Count | None = None


class LeaseRequest(_Planned, kw_only=True, forbid_unknown_fields=True):
    amount_usd: Text
    ttl_seconds: Annotated[int, Meta(ge=5, le=60)] | None = 30
    steps: Annotated[int, Meta(ge=0, le=1_000_000)] | None = 0


class RenewalRequest(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    request_id: RequestId
    amount_usd: Text
    ttl_seconds: Annotated[int, Meta(ge=5, le=60)] | None = 30


class ReturnRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    unused_usd: Text
    unused_steps: Annotated[int, Meta(ge=0, le=1_000_000)] | None = 0


class ExtendRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    ttl_seconds: Annotated[int, Meta(ge=10, le=3600)]


class ReleaseRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    pass


class UngovernedRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Calls that a client let through between two instants while no decision could be had."""

    events: Count
    amount_usd: Text
    start: Instant = msgspec.field(name="from")
    end: Instant = msgspec.field(name="to")
    reason: Text | None = None


class RunRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    status: Literal["running", "ended"]
    outcome: Outcome | None = None
    units: Count | None = None


S = TypeVar("S", bound=msgspec.Struct)


def read(body: bytes, shape: type[S]) -> S:
    """The one object of a body. Raises `DomainError` (the codes of `record` and `field_unknown`)."""
    raw = read_one(body or b"{}")
    if isinstance(raw, Unreadable):
        raise DomainError(raw.code, raw.detail)
    if not isinstance(raw.value, dict):
        raise DomainError("not_an_object", "The body must be one JSON object.")
    known = shape.__struct_encode_fields__
    for name in raw.value:
        if name not in known:
            raise DomainError(
                "field_unknown", f"'{name[:64]!s}' is no field here: use {', '.join(known) or 'none'}.", param=name[:64]
            )
    try:
        value = msgspec.convert(raw.value, shape)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise reason(shape, raw.value, error) from None
    if not raw.plain:
        require_plain_text(value)
    return value


def asked_of_decision(request: DecisionRequest) -> Asked:
    """Raises `DomainError` (`estimate_usd_invalid`, `estimate_incomplete`)."""
    quantities = None
    if (request.input_tokens is None) != (request.max_output_tokens is None):
        missing = "max_output_tokens" if request.max_output_tokens is None else "input_tokens"
        raise DomainError(
            "estimate_incomplete", f"Send input_tokens and max_output_tokens together: {missing} is missing.",
            param=missing,
        )  # fmt: skip
    if request.input_tokens is not None and request.max_output_tokens is not None:
        quantities = tokens(request.input_tokens, request.max_output_tokens)
    return Asked(
        **_dimensions(request),
        step=request.step,
        attempt=request.attempt or 1,
        tool_call_hash=request.tool_call_hash,
        estimate_usd=None if request.estimate_usd is None else usd(request.estimate_usd, "estimate_usd"),
        quantities=quantities,
        ttl_seconds=request.ttl_seconds or 600,
        fingerprint=fingerprint(request),
    )


def asked_of_lease(request: LeaseRequest) -> Asked:
    """Raises `DomainError` (`amount_usd_invalid`)."""
    return Asked(
        **_dimensions(request),
        kind="lease",
        steps=request.steps or 0,
        estimate_usd=usd(request.amount_usd, "amount_usd"),
        ttl_seconds=request.ttl_seconds or 30,
        fingerprint=fingerprint(request),
    )


def _dimensions(request: _Planned) -> dict[str, Any]:
    return {
        **{
            name: getattr(request, name)
            for name in (
                "request_id", "provider", "model", "service_tier", "team", "project", "workflow", "task_type", "user",
                "environment", "run_id", "parent_run_id",
            )
        },
        "tags": request.tags or {},
    }  # fmt: skip


def fingerprint(request: msgspec.Struct) -> bytes:
    """16 bytes that are equal for two requests that say the same."""
    return blake2b(_encode_sorted(request), digest_size=16).digest()


def usd(text: str, field: str) -> Decimal:
    """Raises `DomainError` (`<field>_invalid`)."""
    found = amount(text, field)
    assert found is not None
    if found > AMOUNT_MAX_USD:
        raise DomainError(
            f"{field}_invalid", f"{field} is {text[:64]}: no hold is larger than {AMOUNT_MAX_USD:f} USD.", param=field
        )
    return found
