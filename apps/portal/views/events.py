from collections.abc import Iterable, Mapping

from django.http import HttpResponse

from apps.core.cursors import cursor_of
from apps.core.errors import DomainError, NotFound
from apps.core.meters import METERS
from apps.core.money import sum_usd
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.portal import formats
from apps.portal.access import Visit, organization_page
from apps.portal.filters import chips_of, filters_of, label_of, names_of_keys
from apps.portal.pages import (
    AttributionLine,
    Crumb,
    EventPage,
    EventRow,
    EventsPage,
    FieldLine,
    Found,
    MeterLine,
    Option,
    PostingLine,
    PriceRef,
    Select,
    TextField,
)
from apps.portal.ranges import Span
from apps.portal.views.spend import CACHED, OUTPUT, PROMPT
from apps.pricing.catalog import EPOCH
from apps.pricing.cost import Price, explain
from apps.pricing.selectors import prices_by_id
from apps.reports import dimensions
from apps.reports.selectors import SpendQuestion, spend
from apps.teams.selectors import list_projects, list_teams, list_workflows
from apps.usage.models import Event, Posting
from apps.usage.selectors import (
    ATTRIBUTED,
    Position,
    attributed_to,
    event_by_id,
    find_events,
    known_filters,
    parse_position,
    postings_of,
)

PAGE_ROWS = 50
FIELDS = ("team", "project", "workflow", "model", "user", "run_id", "event_id")
STATUSES = ("", "ok", "error", "cancelled")
METER_LABELS = {
    "cache_write_5m_tokens": "Cache write, 5 min",
    "cache_write_1h_tokens": "Cache write, 1 h",
    "audio_milliseconds": "Audio, milliseconds",
}


@organization_page(section="events", permission=Permission.VIEW_EVENTS)
def events(visit: Visit) -> HttpResponse:
    span = visit.span()
    filters = filters_of(visit.request.GET, known_filters())
    after = _position(visit.request.GET.get("cursor"))
    with tenant(visit.org):
        listed = find_events(visit.org, start=span.start, end=span.end, filters=filters, limit=PAGE_ROWS, after=after)
        suggestions = _suggestions(visit)
    here = {**filters, **span.parameters}
    following = {**here, "cursor": cursor_of(listed.following)} if listed.following else None
    page = EventsPage(
        hidden=tuple(
            (name, value)
            for name, value in here.items()
            if name not in (*FIELDS, "status") or (value == "" and name != "status")
        ),
        fields=tuple(
            TextField(name, label_of(name), filters.get(name, ""), suggestions.get(name, ())) for name in FIELDS
        ),
        selects=(_status_select(filters.get("status", "")),),
        chips=chips_of(
            filters, names_of_keys(visit.org, filters), lambda left: visit.url("events", {**left, **span.parameters})
        ),
        found=_found(visit, span, filters),
        rows=tuple(_row(visit, event) for event in listed.events),
        first_url=visit.url("events", here) if after else None,
        next_url=visit.url("events", following) if following else None,
    )
    return visit.render("portal/events.html", frame=visit.frame("Events", Crumb("Events"), span=span), events=page)


def _position(cursor: str | None) -> Position | None:
    """Where a page before ended; None where the text is no cursor of ours."""
    try:
        return parse_position(cursor) if cursor else None
    except DomainError:
        return None


def _found(visit: Visit, span: Span, filters: Mapping[str, str]) -> Found | None:
    """The sum of the whole list, where rollups know it: counting events would take as long as there are many."""
    known = {*dimensions.SPEND, *dimensions.USER}
    if not filters.keys() <= known or dimensions.source_of(filters) == dimensions.SOURCE_EVENTS:
        return None
    total = spend(visit.org, SpendQuestion(start=span.start, end=span.end, filters=filters)).total
    return Found(total.events, total.unpriced_events, total.cost_usd)


def _suggestions(visit: Visit) -> dict[str, tuple[str, ...]]:
    return {
        "team": tuple(team.slug for team in list_teams(visit.org)),
        "project": tuple(project.slug for project, _ in list_projects(visit.org, visit.at)),
        "workflow": tuple(workflow.slug for workflow in list_workflows(visit.org)),
    }


def _status_select(chosen: str) -> Select:
    return Select("status", "Status", tuple(Option(value, value or "any", value == chosen) for value in STATUSES))


def _row(visit: Visit, event: Event) -> EventRow:
    return EventRow(
        occurred_at=event.occurred_at,
        team=attributed_to(event, "team"),
        project=attributed_to(event, "project"),
        workflow=attributed_to(event, "workflow"),
        provider=event.provider,
        model=event.model,
        input_tokens=sum(getattr(event, meter) for meter in PROMPT),
        cached_tokens=sum(getattr(event, meter) for meter in CACHED),
        output_tokens=sum(getattr(event, meter) for meter in OUTPUT),
        cost_usd=event.cost_usd,
        status=event.status,
        url=visit.url_below("events", event.event_id),
    )


@organization_page(section="events", permission=Permission.VIEW_EVENTS)
def event(visit: Visit, event_id: str) -> HttpResponse:
    with tenant(visit.org):
        found = event_by_id(visit.org, event_id)
        if found is None:
            raise NotFound("event")
        postings = postings_of(visit.org, event_id)
    price = prices_by_id([found.price_id]).get(found.price_id) if found.price_id is not None else None
    crumbs = (Crumb("Events", visit.url("events")), Crumb("Event"))
    return visit.render(
        "portal/event.html",
        frame=visit.frame(f"Event {event_id}", *crumbs),
        event=_page(visit, found, price, postings),
    )


def _page(visit: Visit, event: Event, price: Price | None, postings: list[Posting]) -> EventPage:
    adjustments = sum_usd(posting.cost_usd for posting in postings)
    return EventPage(
        event_id=event.event_id,
        provider=event.provider,
        model=event.model,
        cost_usd=None if event.cost_usd is None else sum_usd([event.cost_usd, adjustments]),
        declared_cost_usd=event.declared_cost_usd,
        meters=tuple(_meter_lines(event, price)),
        postings=tuple(map(_posting_line, postings)),
        price=_price_ref(event, price) if price is not None else None,
        attribution=tuple(_attribution_lines(event)),
        fields=tuple(_field_lines(visit, event, names_of_keys(visit.org, ("api_key",)))),
    )


def _price_ref(event: Event, price: Price) -> PriceRef:
    assumed = f" (no price for {event.service_tier})" if event.tier_assumed else ""
    return PriceRef(
        provider=price.provider,
        model=f"{price.model}, {price.service_tier}{assumed}",
        source=price.source,
        version=price.source_version,
        effective_from=price.effective_from if price.effective_from > EPOCH else None,
    )


def _meter_lines(event: Event, price: Price | None) -> Iterable[MeterLine]:
    quantities = [getattr(event, meter) for meter in METERS]
    if price is None:
        for meter, quantity in zip(METERS, quantities, strict=True):
            if quantity:
                yield MeterLine(meter_label(meter), quantity, None, None)
        return
    for line in explain(price, quantities):
        label = meter_label(line.meter)
        if line.rate_from and line.rate_from != line.meter:
            label = f"{label} (at the rate of {meter_label(line.rate_from).lower()})"
        yield MeterLine(label, line.quantity, line.rate_usd_per_million, line.cost_usd)


def meter_label(meter: str) -> str:
    return METER_LABELS.get(meter) or meter.removesuffix("_tokens").replace("_", " ").capitalize()


DERIVED = {"team": "Owned the project at the time of the event", "project": "The project of the workflow"}


def _attribution_lines(event: Event) -> Iterable[AttributionLine]:
    for name in ATTRIBUTED:
        now, said = attributed_to(event, name), (event.sent or {}).get(name, getattr(event, name))
        if said is None:
            reason = DERIVED[name] if now else "The event names none, and none follows from what it names"
        elif now is None:
            reason = f"Sent as '{said}', which this organization does not know"
        else:
            reason = "Sent with the event" if said == now else f"Sent as '{said}', which is mapped to it"
        yield AttributionLine(name.capitalize(), now, reason)


def _posting_line(posting: Posting) -> PostingLine:
    names = [getattr(posting, name) for name in ATTRIBUTED if getattr(posting, f"{name}_id") is not None]
    place = ", ".join(names) or "unattributed"
    return PostingLine(
        reason=f"{posting.reason}: {'from' if posting.side < 0 else 'to'} {place}",
        booked_at=posting.posted_at,
        actor=posting.actor,
        cost_usd=posting.cost_usd,
    )


_CODES = (
    "run_id", "parent_run_id", "request_id", "prefix_hash", "request_hash", "tool_call_hash", "reservation_id",
    "model_served",
)  # fmt: skip
_PLAIN = (
    "operation", "service_tier", "region", "workflow_version", "task_type", "user", "environment", "step", "attempt",
    "escalated_from", "tool_name", "status", "error_type", "outcome", "stop_reason", "prompt_version",
    "retrieved_tokens", "tool_result_tokens",
)  # fmt: skip


def _field_lines(visit: Visit, event: Event, key_names: Mapping[str, str]) -> Iterable[FieldLine]:
    zone = visit.calendar.zone_at(event.occurred_at).key
    sent = event.sent or {}
    yield FieldLine("Occurred", formats.instant(event.occurred_at, zone))
    yield FieldLine("Received", formats.instant(event.received_at, zone))
    yield FieldLine("Booked in", f"{event.booked_month:%B %Y}")
    yield FieldLine("API key", key_names.get(str(event.key_id), str(event.key_id)))
    yield FieldLine("Provider", sent.get("provider") or event.provider)
    yield FieldLine("Model", event.model, code=True)
    for name in (*_CODES, *_PLAIN):
        value = getattr(event, name)
        if value is not None:
            door = visit.url("events", {name: value}) if name in ("run_id", "parent_run_id", "user") else None
            yield FieldLine(label_of(name), str(value), code=name in _CODES, url=door)
    if event.latency_ms is not None:
        yield FieldLine("Latency", f"{formats.count(event.latency_ms)} ms")
    for key, value in sorted((event.tags or {}).items()):
        yield FieldLine(f"Tag {key}", value, code=True)
