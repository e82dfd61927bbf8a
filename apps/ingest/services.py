"""The road of an event, on one page.

`accept_batch`: decode and validate (record.py) -> attribute (teams) -> price (pricing) -> in one transaction: claim the
id (usage), settle reservations (budgets), store and queue the sums (usage), count in runs and budgets (budgets) ->
answer per event. Every other shape that comes in becomes a `UsageRecord` first and takes this road.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from apps.budgets import booking as booking_of
from apps.budgets.estimates import assumed_costs
from apps.budgets.watch import load_watch
from apps.core.meters import METER_INDEX, METERS, PROMPT_METERS
from apps.core.metrics import EVENTS
from apps.core.money import usd_from_pico
from apps.core.periods import Slot
from apps.core.retry import RETRIES, StoreUnavailable, with_retries
from apps.core.tenancy import tenant
from apps.ingest.record import Rejection, UsageRecord, Window
from apps.organizations.permissions import Scope
from apps.organizations.selectors import PINS, Principal
from apps.pricing.catalog import canonical_provider
from apps.pricing.rating import RateBook, Rated
from apps.pricing.rules import RULES
from apps.pricing.selectors import load_catalog
from apps.teams.attribution import (
    Attribution,
    Call,
    Names,
    attribute,
    call_of,
    first_match,
    given_by,
    lacks_a_name,
)
from apps.teams.services import create_on_first_sight
from apps.usage import services as usage
from apps.usage.deltas import EventRow, NewEvent, ln_micro
from apps.usage.facts import Facts, load_facts

_PROMPT = tuple(METER_INDEX[meter] for meter in PROMPT_METERS)


@dataclass(frozen=True, slots=True)
class EventResult:
    """What became of one event: accepted, duplicate, conflict or rejected."""

    index: int
    event_id: str | None
    status: str
    code: str | None = None
    param: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class BatchResult:
    """Counts over the batch; `results` holds all but the plainly accepted, in order.

    `crossed`: people are to be told of what it did to budgets.
    """

    accepted: int
    duplicates: int
    conflicts: int
    rejected: int
    unpriced: int
    results: list[EventResult] = field(default_factory=list)
    crossed: bool = False


def window_for(principal: Principal, at: datetime) -> Window:
    """Which `occurred_at` the principal may send at `at`."""
    org = principal.organization
    kept = max(usage.oldest_kept(org, at), load_facts(org).sealed_before)
    return Window.around(at, oldest_kept=kept, backfill=Scope.BACKFILL in principal.scopes)


def accept_batch(
    *, principal: Principal, items: Sequence[UsageRecord | Rejection], received_at: datetime
) -> BatchResult:
    """Attribute, price, store and count a batch once; a repeat of the same event changes nothing.

    Raises `StoreUnavailable` where nothing could be stored: the same batch may be sent again.
    """
    for _ in range(RETRIES + 1):
        try:
            return _counted(_accept(principal, items, received_at))
        except usage.FactsChanged:
            principal.organization.refresh_from_db()
    raise StoreUnavailable("names kept changing")


def _counted(result: BatchResult) -> BatchResult:
    for name, count in (
        ("accepted", result.accepted),
        ("duplicate", result.duplicates),
        ("conflict", result.conflicts),
        ("rejected", result.rejected),
    ):
        if count:
            EVENTS.add(name, by=count)
    return result


def _accept(principal: Principal, items: Sequence[UsageRecord | Rejection], received_at: datetime) -> BatchResult:
    org = principal.organization
    facts, catalog = load_facts(org), load_catalog()
    kept = max(usage.oldest_kept(org, received_at), facts.sealed_before)
    pins = {name: pin for name in PINS if (pin := getattr(principal, name)) is not None}
    claims = [
        item if isinstance(item, Rejection) else _claim(item, index, pins, facts, kept)
        for index, item in enumerate(items)
    ]
    if org.create_names_on_first_sight:
        facts = _known_after_first_sight(principal, claims, facts)
    book = facts.book(catalog)
    events: dict[str, NewEvent] = {}
    for claim in claims:
        if isinstance(claim, UsageRecord) and claim.event_id not in events:
            row = _row(claim, principal, facts, book, received_at)
            events[claim.event_id] = NewEvent(row, claim.fingerprint)

    watch = load_watch(org)
    assume = assumed_costs(org, book)

    def store() -> Stored:
        with tenant(org):
            claimed = usage.claim_events(org=org, events=list(events.values()))
            booking = booking_of.prepare(org=org, watch=watch, rows=claimed.rows, assume=assume)
            usage.write_events(org, claimed.rows)
            crossed = booking_of.book(org=org, watch=watch, booking=booking)
        return Stored({row.event_id for row in claimed.rows}, claimed.fingerprints, booking.warnings, crossed)

    return _answer(claims, events, with_retries(store))


class Stored(NamedTuple):
    """Ids that are new, the stored fingerprint of every id, what is odd about an event that was accepted, and whether
    people are to be told of what the batch did to budgets.
    """

    new: set[str]
    fingerprints: Mapping[str, bytes]
    warnings: Mapping[str, tuple[str, str]]
    crossed: bool


def _claim(
    record: UsageRecord, index: int, pins: Mapping[str, str], facts: Facts, kept: datetime
) -> UsageRecord | Rejection:
    """The record, or its rejection: where its hour begins before what is `kept`, or where it claims a team, project
    or environment that is not the key's own.
    """
    if facts.calendar.slot(record.occurred_at).hour_start < kept:
        detail = f"Events of before {kept.isoformat()} are no longer kept."
        return Rejection(index, record.event_id, "too_old", "occurred_at", detail)
    for dimension, pin in pins.items():
        claimed = getattr(record, dimension)
        if claimed is not None and _meant(dimension, claimed, facts.names) != _meant(dimension, pin, facts.names):
            return Rejection(
                index,
                record.event_id,
                "pinned_dimension",
                dimension,
                f"This key belongs to {dimension} '{pin}' and cannot send events of '{claimed}'.",
            )
    return record


def _meant(kind: str, name: str | None, names: Names) -> str | None:
    """The slug that a name in an event was mapped to, else the name itself."""
    return names.aliases.get((kind, name), name) if name else None


class Placed(NamedTuple):
    """What a record says, read by the facts and the catalog in force at its instant."""

    where: Attribution
    provider: str
    rated: Rated
    cost_usd: Decimal | None
    slot: Slot
    sent: dict[str, str | None]


def _row(record: UsageRecord, principal: Principal, facts: Facts, book: RateBook, received_at: datetime) -> EventRow:
    """The stored form of a record: attributed at its instant and priced once, by the price in force then."""
    at = record.occurred_at
    where = attribute(
        principal.team or record.team, principal.project or record.project, record.workflow, facts.names, at
    )
    provider = canonical_provider(record.provider)
    rule = None
    if facts.names.rules and lacks_a_name(where):
        rule = first_match(facts.names.rules, _as_call(record, principal, provider))
        where = given_by(rule, where, facts.names, at)
    rated = book.rate(provider, record.model, record.service_tier or "", record.region or "", at, record.quantities)
    cost_usd = None if rated.cost_pico is None else usd_from_pico(rated.cost_pico)
    sent = {
        name: getattr(record, name)
        for name in ("team", "project", "workflow")
        if getattr(record, name) != getattr(where, name)
    }
    if rule is not None and sent:
        sent["rule"] = str(rule.id)
    if provider != record.provider:
        sent["provider"] = record.provider
    placed = Placed(where, provider, rated, cost_usd, facts.calendar.slot(at), sent)
    return _as_row(record, principal, received_at, placed)


def _as_call(record: UsageRecord, principal: Principal, provider: str) -> Call:
    """The record as rules see it."""
    return call_of(
        workflow=record.workflow,
        user=record.user,
        api_key=principal.key_id,
        environment=principal.environment or record.environment,
        provider=provider,
        model=record.model,
        task_type=record.task_type,
        tags=record.tags,
    )


def _as_row(record: UsageRecord, principal: Principal, received_at: datetime, placed: Placed) -> EventRow:
    """Column by column: this is the hot line of the road, and a dict on the way costs a tenth of it."""
    where, (price, quantities, _) = placed.where, placed.rated
    return EventRow(
        organization_id=principal.organization.pk,
        event_id=record.event_id,
        occurred_at=record.occurred_at,
        hour_start=placed.slot.hour_start,
        day_start=placed.slot.day_start,
        booked_month=placed.slot.month,
        received_at=received_at,
        provider=placed.provider,
        model=record.model,
        key_id=principal.key_id,
        status=record.status,
        attempt=record.attempt,
        priced=placed.cost_usd is not None,
        team=where.team,
        team_id=where.team_id,
        project=where.project,
        project_id=where.project_id,
        workflow=where.workflow,
        workflow_id=where.workflow_id,
        sent=placed.sent or None,
        task_type=record.task_type,
        service_tier=record.service_tier,
        environment=principal.environment or record.environment,
        user_name=record.user,
        workflow_version=record.workflow_version,
        operation=record.operation,
        region=record.region,
        tags=record.tags or None,
        run_id=record.run_id,
        parent_run_id=record.parent_run_id,
        step=record.step,
        escalated_from=record.escalated_from,
        tool_name=record.tool_name,
        error_type=record.error_type,
        outcome=record.outcome,
        latency_ms=record.latency_ms,
        prefix_hash=record.prefix_hash,
        request_hash=record.request_hash,
        reservation_id=record.reservation_id,
        model_served=record.model_served,
        stop_reason=record.stop_reason,
        tool_call_hash=record.tool_call_hash,
        prompt_version=record.prompt_version,
        retrieved_tokens=record.retrieved_tokens,
        tool_result_tokens=record.tool_result_tokens,
        request_id=record.request_id,
        usage_sent=record.usage_sent,
        declared_cost_usd=record.cost_usd,
        price_id=None if price is None else price.id,
        tier_assumed=True if price is not None and price.tier_assumed else None,
        contract_id=None if price is None else price.contract_id,
        rule_set=None if price is None else RULES.number,
        cost_usd=placed.cost_usd,
        # Set where budgets count it.
        budget_at=None,
        assumed_cost_usd=None,
        ln_input_micro=ln_micro(sum([quantities[index] for index in _PROMPT])),
        **dict(zip(METERS, quantities, strict=True)),
    )


def _known_after_first_sight(principal: Principal, claims: Sequence[UsageRecord | Rejection], facts: Facts) -> Facts:
    """Facts that know every name of the batch, created where they were not known."""
    org, names = principal.organization, facts.names
    seen = {
        (
            _meant("team", principal.team or claim.team, names),
            _meant("project", principal.project or claim.project, names),
            _meant("workflow", claim.workflow, names),
        )
        for claim in claims
        if isinstance(claim, UsageRecord)
    }
    unknown = [
        (team, project, workflow)
        for team, project, workflow in seen
        if (team and team not in names.teams)
        or (project and project not in names.projects)
        or (workflow and project and workflow not in names.workflows)
    ]
    if not unknown:
        return facts

    with_retries(lambda: create_on_first_sight(org=org, seen=unknown, actor=principal))
    org.refresh_from_db(fields=["facts_version"])
    return load_facts(org)


def _answer(claims: Sequence[UsageRecord | Rejection], events: dict[str, NewEvent], stored: Stored) -> BatchResult:
    """One answer per event; an id that comes twice in a batch is answered as in two requests."""
    counts = {"accepted": 0, "duplicate": 0, "conflict": 0, "rejected": 0}
    unpriced = 0
    results: list[EventResult] = []
    fresh = set(stored.new)
    for index, claim in enumerate(claims):
        if isinstance(claim, Rejection):
            result = EventResult(index, claim.event_id, "rejected", claim.code, claim.param, claim.detail)
        elif claim.event_id in fresh:
            fresh.remove(claim.event_id)
            is_unpriced = events[claim.event_id].row.cost_usd is None
            unpriced += is_unpriced
            if remark := stored.warnings.get(claim.event_id):
                result = EventResult(index, claim.event_id, "accepted", remark[0], "reservation_id", remark[1])
            else:
                result = EventResult(index, claim.event_id, "accepted", "unpriced" if is_unpriced else None)
        elif stored.fingerprints.get(claim.event_id) == claim.fingerprint:
            result = EventResult(index, claim.event_id, "duplicate")
        else:
            result = _conflict(index, claim)
        counts[result.status] += 1
        if result.status != "accepted" or result.code:
            results.append(result)
    return BatchResult(
        accepted=counts["accepted"],
        duplicates=counts["duplicate"],
        conflicts=counts["conflict"],
        rejected=counts["rejected"],
        unpriced=unpriced,
        results=results,
        crossed=stored.crossed,
    )


def _conflict(index: int, record: UsageRecord) -> EventResult:
    return EventResult(
        index,
        record.event_id,
        "conflict",
        "event_conflict",
        "event_id",
        f"Event '{record.event_id}' is stored with another payload; nothing was changed."
        " Send a correction under a new event_id.",
    )
