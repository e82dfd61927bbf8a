"""One usage event: validated, its usage read into disjoint meters, and fingerprinted.

    code                     when (param is a dotted path, such as usage.input_tokens)
    -----------------------  ------------------------------------------------------------------------------
    not_an_object            the element is not a JSON object
    missing_field            a required field is absent or null
    wrong_type               another JSON type is due: 1.0, "1" and true are not integers
    out_of_range             an integer outside its range
    empty_string             a string without a character
    string_too_long          over 256 characters (event_id: 128)
    invalid_character        a control character or a lone surrogate in a string
    invalid_choice           not one of the values listed
    too_many_tags            over 64 tags
    occurred_at_invalid      not RFC 3339, or without an offset
    occurred_at_in_future    over 5 minutes ahead
    occurred_at_too_old      over 35 days back, without the backfill scope
    too_old                  older than the installation keeps events
    usage_missing            neither usage nor provider_usage
    usage_ambiguous          both
    unknown_meter            a name in usage that is no meter
    cost_usd_invalid         not a plain decimal string, negative, over 12 decimals, or 10^24 and more

The codes of `Unreadable` (apps.ingest.body) and of `UsageError` (apps.pricing.normalize) appear unchanged.
A null in an optional field is the same as its absence. Fields that are not named here are dropped unread.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import blake2b
from itertools import islice
from typing import Annotated, Any, Literal, Self

import msgspec
from msgspec import Meta
from msgspec.structs import astuple

from apps.core.errors import DomainError
from apps.core.meters import METER_INDEX, METERS, QUANTITY_MAX
from apps.core.money import COST_MAX_USD, EXACT, USD_PLACES
from apps.ingest.body import RawEvent, Unreadable, split_events
from apps.ingest.faults import (
    CONTROL,
    Instant,
    invalid_character,
    label,
    reason,
    require_plain_text,
    shown,
)
from apps.pricing.catalog import canonical_provider
from apps.pricing.kept_usage import conditions_of, kept_usage
from apps.pricing.normalize import UsageError, normalize_usage, usage_format_for

EVENT_ID_LENGTH_MAX = 128
STRING_LENGTH_MAX = 256
TAGS_MAX = 64
WARNINGS_MAX = 20
FUTURE_MAX = timedelta(minutes=5)
PAST_MAX = timedelta(days=35)

_FINGERPRINT_BYTES = 16
_AMOUNT_DIGITS = COST_MAX_USD.adjusted()
_AMOUNT = re.compile(rf"[0-9]{{1,{_AMOUNT_DIGITS}}}(\.[0-9]{{1,{USD_PLACES}}})?")

EventId = Annotated[str, Meta(min_length=1, max_length=EVENT_ID_LENGTH_MAX)]
Text = Annotated[str, Meta(min_length=1, max_length=STRING_LENGTH_MAX)]
Count = Annotated[int, Meta(ge=0, le=QUANTITY_MAX)]
Ordinal = Annotated[int, Meta(ge=1, le=QUANTITY_MAX)]
Tags = Annotated[dict[Text, Text], Meta(max_length=TAGS_MAX)]
ServiceTier = Literal["standard", "batch", "flex", "priority", "fast"]
Status = Literal["ok", "error", "cancelled"]
Outcome = Literal["success", "failure", "unknown"]
UsageFormat = Literal[
    "openai_chat",
    "openai_responses",
    "anthropic",
    "gemini",
    "bedrock",
    "mistral",
    "cohere",
    "openai_compatible",
]


class _Call(msgspec.Struct, omit_defaults=True, gc=False):
    """What an event says about its call, kept as sent."""

    event_id: EventId
    occurred_at: Instant
    provider: Text
    model: Text
    operation: Text | None = None
    service_tier: ServiceTier | None = None
    region: Text | None = None
    team: Text | None = None
    project: Text | None = None
    workflow: Text | None = None
    workflow_version: Text | None = None
    task_type: Text | None = None
    user: Text | None = None
    environment: Text | None = None
    run_id: Text | None = None
    parent_run_id: Text | None = None
    step: Count | None = None
    escalated_from: Text | None = None
    tool_name: Text | None = None
    error_type: Text | None = None
    outcome: Outcome | None = None
    latency_ms: Count | None = None
    prefix_hash: Text | None = None
    request_hash: Text | None = None
    reservation_id: Text | None = None
    model_served: Text | None = None
    stop_reason: Text | None = None
    tool_call_hash: Text | None = None
    prompt_version: Text | None = None
    retrieved_tokens: Count | None = None
    tool_result_tokens: Count | None = None
    request_id: Text | None = None


class UsageRecord(_Call, frozen=True, kw_only=True, gc=False):  # type: ignore[misc]  # unlike a dataclass, a Struct may freeze here
    """A usage event as the rest of the house knows it.

    `occurred_at` is UTC; `quantities` follow `METERS`; `usage_sent` is what is kept of the provider's own object;
    `cost_usd` is the client's own figure.
    `fingerprint` (16 bytes) is equal for two events that say the same, however they spell it.
    """

    status: Status
    attempt: int
    tags: dict[str, str]
    quantities: tuple[int, ...]
    usage_sent: dict[str, Any] | None
    cost_usd: Decimal | None
    fingerprint: bytes


class _Event(_Call, kw_only=True, gc=False):
    """The event on the wire. Normalized, its sorted encoding without defaults is what is fingerprinted."""

    status: Status | None = "ok"
    attempt: Ordinal | None = 1
    tags: Tags | None = None
    usage: dict[str, Count | None] | None = None
    provider_usage: dict[str, Any] | None = None
    usage_format: UsageFormat | None = None
    cost_usd: Text | None = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """One event that is refused; `event_id` is None where it could not be read."""

    index: int
    event_id: str | None
    code: str
    param: str | None
    detail: str


@dataclass(frozen=True, slots=True)
class Window:
    """The instants an event may carry; `backfill` lifts `earliest`, never `oldest_kept`."""

    earliest: datetime
    latest: datetime
    oldest_kept: datetime
    backfill: bool = False

    @classmethod
    def around(cls, now: datetime, *, oldest_kept: datetime, backfill: bool = False) -> Self:
        return cls(now - PAST_MAX, now + FUTURE_MAX, oldest_kept, backfill)


@dataclass(frozen=True, slots=True)
class Batch:
    """The events of one body in order: `items[i]` answers for event i."""

    items: list[UsageRecord | Rejection]
    warnings: list[str]


def read_batch(body: bytes, content_type: str | None, window: Window) -> Batch:
    """Every event of a decoded body. Raises `BodyError` where the body cannot be read as events."""
    items: list[UsageRecord | Rejection] = []
    unknown: dict[str, None] = {}
    for index, raw in enumerate(split_events(body, content_type)):
        if isinstance(raw, Unreadable):
            items.append(Rejection(index, None, raw.code, None, raw.detail))
            continue
        items.append(read_event(raw, index, window))
        value = raw.value
        if isinstance(value, dict) and len(unknown) <= WARNINGS_MAX and not _FIELDS.issuperset(value):
            unknown |= dict.fromkeys(name for name in value if name not in _FIELDS)
    return Batch(items, _warnings(unknown))


def read_event(raw: RawEvent, index: int, window: Window) -> UsageRecord | Rejection:
    try:
        return _record(raw, window)
    except (DomainError, UsageError) as error:
        return Rejection(index, _readable_id(raw.value), error.code, error.param, error.detail)


def _record(raw: RawEvent, window: Window) -> UsageRecord:
    event = _event(raw)
    _require_in_window(event.occurred_at, window)
    quantities, usage_format = _read_usage(event)
    cost_usd = amount(event.cost_usd, "cost_usd")
    event.occurred_at = event.occurred_at.astimezone(UTC)
    event.status = event.status or "ok"
    event.attempt = event.attempt or 1
    event.tags = event.tags or None
    event.cost_usd = None if cost_usd is None else format(cost_usd.normalize(EXACT), "f")
    fingerprint = _fingerprint(event)
    usage_sent = None
    if event.provider_usage is not None and usage_format is not None:
        usage_sent = kept_usage(event.provider_usage, usage_format)
        tier, region = conditions_of(event.provider_usage, usage_format)
        # What the event says itself goes before what its usage object says.
        event.service_tier = event.service_tier or tier  # type: ignore[assignment]
        event.region = event.region or region
    return UsageRecord(
        *astuple(event)[:_FIELDS_AS_SENT],
        status=event.status,
        attempt=event.attempt,
        tags=event.tags or {},
        quantities=quantities,
        usage_sent=usage_sent,
        cost_usd=cost_usd,
        fingerprint=fingerprint,
    )


def _event(raw: RawEvent) -> _Event:
    if not isinstance(raw.value, dict):
        raise DomainError("not_an_object", f"An event must be an object, not {shown(raw.value)}.")
    # A name or a value that is no Unicode text stops msgspec where it has to compare it.
    value = raw.value if raw.plain else {name: raw.value[name] for name in raw.value if name in _FIELDS}
    try:
        event = msgspec.convert(value, _Event)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise reason(_Event, value, error) from None
    if not raw.plain:
        require_plain_text(event)
    return event


def _require_in_window(occurred_at: datetime, window: Window) -> None:
    if occurred_at > window.latest:
        code, way_out = "occurred_at_in_future", f"the latest accepted is {window.latest.isoformat()}"
    elif occurred_at < window.oldest_kept:
        code, way_out = "too_old", f"events are kept from {window.oldest_kept.isoformat()} on"
    elif occurred_at < window.earliest and not window.backfill:
        code = "occurred_at_too_old"
        way_out = f"before {window.earliest.isoformat()} a key with the backfill scope is needed"
    else:
        return
    raise DomainError(code, f"occurred_at {occurred_at.isoformat()} is out of time: {way_out}.", param="occurred_at")


def _read_usage(event: _Event) -> tuple[tuple[int, ...], str | None]:
    """Quantities in the order of `METERS`, and the shape of the provider's object, None where meters were sent.

    Leaves only the meters above zero in `event.usage`.
    """
    if event.usage is not None:
        if event.provider_usage is not None:
            raise DomainError(
                "usage_ambiguous", "Both usage and provider_usage are given; send one of them.", param="usage"
            )
        quantities = [0] * len(METERS)
        for name, quantity in event.usage.items():
            if name not in METER_INDEX:
                raise _unknown_meter(name)
            quantities[METER_INDEX[name]] = quantity or 0
        event.usage = {name: quantity for name, quantity in event.usage.items() if quantity}
        return tuple(quantities), None
    if event.provider_usage is None:
        raise DomainError(
            "usage_missing", "Neither usage nor provider_usage is given; send one of them.", param="usage"
        )
    provider = canonical_provider(event.provider)
    usage_format = event.usage_format or usage_format_for(provider, event.provider_usage)
    return normalize_usage(event.provider_usage, usage_format, provider=provider), usage_format


def _unknown_meter(name: str) -> DomainError:
    return DomainError(
        "unknown_meter",
        f"{shown(name)} is not a meter; the meters are {', '.join(METERS)}.",
        param=f"usage.{label(name)}",
    )


def amount(text: str | None, field: str) -> Decimal | None:
    """USD as a plain decimal string; None stays None. Raises `DomainError` (`<field>_invalid`)."""
    if text is None:
        return None
    if not _AMOUNT.fullmatch(text):
        raise DomainError(
            f"{field}_invalid",
            f'{field} {shown(text)} is not an amount; send a plain decimal string such as "0.0125", '
            f"from 0 to below 10^{_AMOUNT_DIGITS} with at most {USD_PLACES} decimals.",
            param=field,
        )
    return Decimal(text)


def _fingerprint(event: _Event) -> bytes:
    try:
        text = _encode_sorted(event)
    except UnicodeEncodeError:
        # Every other string was checked; the provider's own object is kept out of the record, so not it.
        raise invalid_character("provider_usage") from None
    return blake2b(text, digest_size=_FINGERPRINT_BYTES).digest()


def _readable_id(value: object) -> str | None:
    event_id = value.get("event_id") if isinstance(value, dict) else None
    if isinstance(event_id, str) and 0 < len(event_id) <= EVENT_ID_LENGTH_MAX and not CONTROL.search(event_id):
        return event_id
    return None


def _warnings(unknown: Iterable[str]) -> list[str]:
    warnings = [f"The unknown field {label(name)} was ignored." for name in islice(unknown, WARNINGS_MAX + 1)]
    if len(warnings) > WARNINGS_MAX:
        warnings[WARNINGS_MAX] = "More unknown fields were ignored."
    return warnings


_encode_sorted = msgspec.json.Encoder(order="sorted").encode
_FIELDS = frozenset(_Event.__struct_fields__)
_FIELDS_AS_SENT = len(_Call.__struct_fields__)
