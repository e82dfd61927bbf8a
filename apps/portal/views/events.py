import json
from collections.abc import Collection, Iterable
from decimal import Decimal
from urllib.parse import quote

from django.http import HttpResponse

from apps.core.cursors import cursor_of
from apps.core.errors import DomainError, NotFound
from apps.core.meters import TOKENS_CACHED, TOKENS_IN, TOKENS_OUT
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.portal import formats
from apps.portal.access import Visit, organization_page
from apps.portal.filters import Filters, chips_of, label_of, names_of_keys
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
    Select,
    TextField,
    WorkingPage,
)
from apps.portal.ranges import Span, pairs_of
from apps.pricing.catalog import EPOCH
from apps.pricing.cost import CostLine
from apps.pricing.rules import product
from apps.reports import dimensions
from apps.reports.runs import runs_within
from apps.reports.selectors import SpendQuestion, spend
from apps.teams.models import AttributionRule
from apps.teams.selectors import list_projects, list_rules, list_teams, list_workflows
from apps.usage.models import Event, Posting
from apps.usage.provenance import CurrentCost, Explanation, Working, current_costs, explain_event
from apps.usage.selectors import ATTRIBUTED, Position, attributed_to, find_events, known_filters, parse_position

PAGE_ROWS = 50
FIELDS = ("team", "project", "workflow", "model", "user", "run_id", "event_id")
STATUSES = ("", "ok", "error", "cancelled")
METER_LABELS = {
    "cache_write_5m_tokens": "Cache write, 5 min",
    "cache_write_1h_tokens": "Cache write, 1 h",
    "audio_milliseconds": "Audio, milliseconds",
    "video_milliseconds": "Video, milliseconds",
    "audio_cache_read_tokens": "Cache read, audio",
    "image_cache_read_tokens": "Cache read, images",
}


@organization_page(section="events", permission=Permission.VIEW_EVENTS, within_team=True)
def events(visit: Visit) -> HttpResponse:
    span = visit.span()
    filters = visit.filters(known_filters())
    after = _position(visit.request.GET.get("cursor"))
    with tenant(visit.org):
        listed = find_events(
            visit.org,
            start=span.start,
            end=span.end,
            filters=filters.only,
            excluded=filters.but,
            limit=PAGE_ROWS,
            after=after,
        )
        costs = current_costs(visit.org, listed.events)
        doors = _open_runs(visit, listed.events)
        suggestions = _suggestions(visit)
    here = {**filters.parameters, **span.parameters}
    following = {**here, "cursor": cursor_of(listed.following)} if listed.following else None
    page = EventsPage(
        hidden=tuple(
            (name, value)
            for name, value in pairs_of(here)
            if name not in (*FIELDS, "status") or (value == "" and name != "status")
        ),
        fields=tuple(
            TextField(name, label_of(name), filters.only.get(name, ""), suggestions.get(name, ())) for name in FIELDS
        ),
        selects=(_status_select(filters.only.get("status", "")),),
        chips=chips_of(
            filters,
            names_of_keys(visit.org, filters.names, visit.teams),
            lambda left: visit.url("events", {**left.parameters, **span.parameters}),
        ),
        found=_found(visit, span, filters),
        rows=tuple(_row(visit, event, costs[event.event_id], doors) for event in listed.events),
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


def _found(visit: Visit, span: Span, filters: Filters) -> Found | None:
    """The sum of the whole list, where rollups know it: counting events would take as long as there are many."""
    known = {*dimensions.SPEND, *dimensions.USER}
    question = SpendQuestion(start=span.start, end=span.end, filters=filters.only, excluded=filters.but)
    if not known.issuperset(filters.names) or question.source == dimensions.SOURCE_EVENTS:
        return None
    total = spend(visit.org, question).total
    return Found(total.events, total.unpriced_events, total.cost_usd)


def _suggestions(visit: Visit) -> dict[str, tuple[str, ...]]:
    """Nothing for a lead: most of the names belong to other teams."""
    if visit.team is not None:
        return {}
    return {
        "team": tuple(team.slug for team in list_teams(visit.org)),
        "project": tuple(project.slug for project, _ in list_projects(visit.org, visit.at)),
        "workflow": tuple(workflow.slug for workflow in list_workflows(visit.org)),
    }


def _status_select(chosen: str) -> Select:
    return Select("status", "Status", tuple(Option(value, value or "any", value == chosen) for value in STATUSES))


def _open_runs(visit: Visit, events: Iterable[Event]) -> set[str]:
    """Runs that these events name and whose pages open: for a lead, those that the teams began."""
    named = {run_id for event in events for run_id in (event.run_id, event.parent_run_id) if run_id is not None}
    return named if visit.part is None else runs_within(visit.org, named, visit.part)


def _row(visit: Visit, event: Event, cost: CurrentCost, doors: Collection[str]) -> EventRow:
    return EventRow(
        occurred_at=event.occurred_at,
        team=attributed_to(event, "team"),
        project=attributed_to(event, "project"),
        workflow=attributed_to(event, "workflow"),
        run_id=event.run_id,
        run_url=visit.url_below("runs", event.run_id) if event.run_id and event.run_id in doors else "",
        provider=event.provider,
        model=event.model,
        input_tokens=sum(getattr(event, meter) for meter in TOKENS_IN),
        cached_tokens=sum(getattr(event, meter) for meter in TOKENS_CACHED),
        output_tokens=sum(getattr(event, meter) for meter in TOKENS_OUT),
        cost_usd=cost.cost_usd,
        status=event.status,
        url=visit.url_below("events", event.event_id),
    )


@organization_page(section="events", permission=Permission.VIEW_EVENTS, within_team=True)
def event(visit: Visit, event_id: str) -> HttpResponse:
    with tenant(visit.org):
        found = explain_event(visit.org, event_id)
        if visit.team is not None and attributed_to(found.event, "team") not in visit.membership.teams:
            raise NotFound("event")
        doors = _open_runs(visit, [found.event])
    crumbs = (Crumb("Events", visit.url("events")), Crumb("Event"))
    page = _page(visit, found, doors)
    return visit.render("portal/event.html", frame=visit.frame(f"Event {event_id}", *crumbs), event=page)


def _page(visit: Visit, found: Explanation, doors: Collection[str]) -> EventPage:
    event = found.event
    usage = (event.usage_sent or {}).get("usage")
    return EventPage(
        event_id=event.event_id,
        provider=event.provider,
        model=event.model,
        now=_working(visit, found, found.now),
        stored=_working(visit, found, found.stored) if found.postings else None,
        unpriced=found.unpriced.detail if found.unpriced else "",
        declared_cost_usd=event.declared_cost_usd,
        declared_difference_usd=found.declared_difference_usd,
        postings=tuple(map(_posting_line, found.postings)),
        sent=json.dumps(usage, indent=1) if usage else "",
        attribution=tuple(_attribution_lines(visit, event)),
        fields=tuple(_field_lines(visit, event, doors)),
    )


def _working(visit: Visit, found: Explanation, working: Working) -> WorkingPage:
    return WorkingPage(
        lines=tuple(_meter_line(line, working) for line in working.lines),
        cost_usd=working.cost_usd,
        adds_up=working.adds_up,
        facts=tuple(_facts(visit, found, working)),
    )


def _meter_line(line: CostLine, working: Working) -> MeterLine:
    source = f" {meter_label(line.rate_from).lower()}" if line.rate_from and line.rate_from != line.meter else ""
    why = RULES.get(line.rule, line.rule) + (source if line.rule in RULES_WITH_SOURCE else "")
    factor = product(working.price.steps, line.meter) if working.price and line.rule else 1
    if factor != 1:
        why += f", times {formats.per_cent(Decimal(factor.numerator) / factor.denominator)}"
    return MeterLine(meter_label(line.meter), line.quantity, line.rate_usd_per_million, why, line.cost_usd)


# What the rules of `apps.pricing.rules` say, in words.
RULES = {
    "published": "published",
    "contract": "contract",
    "no-fee": "no fee per request",
    "as-input": "none published: as",
    "as-output": "none published: as",
    "as-short-write": "none published: as",
    "as-cache-read": "none published: as",
    "claude-cache-read": "Claude: 10 % of",
    "claude-short-write": "Claude: 125 % of",
    "claude-long-write": "Claude: 200 % of",
    "": "no rate is known",
}
RULES_WITH_SOURCE = frozenset(RULES) - {"published", "contract", "no-fee", ""}
STEPS = {"batch-half": "a batch is half of the standard price", "flex-half": "flex is half of the standard price"}


def _facts(visit: Visit, found: Explanation, working: Working) -> Iterable[tuple[str, str, str]]:
    row, price = working.row, working.price
    if found.known_as is not None:
        provider, model, rule = found.known_as
        how = f"your alias for {found.event.model}" if found.alias else rule
        url = visit.url_below("prices", provider) + f"/{quote(model, safe='')}"
        yield "Recognised as", f"{provider} {model} ({how})", url
    if row is not None:
        where = f", {row.region}" if row.region else ""
        since = "since ever" if row.effective_from <= EPOCH else f"from {row.effective_from:%-d %b %Y}"
        version = f"{row.source} {row.source_version}, catalog version {row.catalog_version_id}, row {row.id}"
        yield "Price", f"{row.service_tier}{where}, {since}", ""
        yield "Source", version, ""
    if working.tier_assumed:
        said = [STEPS[step.name] for step in price.steps if step.name in STEPS] if price else []
        detail = said[0] if said else "the standard price"
        yield "Service tier", f"{found.event.service_tier} has no price of its own: {detail}", ""
    if working.over_prompt_tokens:
        detail = f"prompt over {formats.count(working.over_prompt_tokens)} tokens: the whole call at these rates"
        yield "Threshold", detail, ""
    if working.term is not None:
        percent = f", {formats.digits(working.term.percent)} % off" if working.term.percent else ""
        yield "Contract", f"{working.term.kind}: {working.term.name}{percent}", visit.url("contracts")
    yield "Rules", f"set {working.rule_set}", ""
    yield "Formula", "rate × quantity, each meter on its own, exact to 12 decimals", ""


def meter_label(meter: str) -> str:
    return METER_LABELS.get(meter) or meter.removesuffix("_tokens").replace("_", " ").capitalize()


DERIVED = {"team": "Owned the project at the time of the event", "project": "The project of the workflow"}
FOLLOWS = {"team": "project", "project": "workflow"}


def _attribution_lines(visit: Visit, event: Event) -> Iterable[AttributionLine]:
    rule = _rule_of(visit, event)
    for name in ATTRIBUTED:
        now, said = attributed_to(event, name), (event.sent or {}).get(name, getattr(event, name))
        if said is None:
            reason = _given(event, name, rule) if now else "The event names none, and none follows from what it names"
        elif now is None:
            reason = f"Sent as '{said}', which this organization does not know"
        else:
            reason = "Sent with the event" if said == now else f"Sent as '{said}', which is mapped to it"
        yield AttributionLine(name.capitalize(), now, reason)


def _rule_of(visit: Visit, event: Event) -> AttributionRule | None:
    """The rule that gave the event names when it came, if it still is one."""
    number = (event.sent or {}).get("rule")
    if number is None:
        return None
    with tenant(visit.org):
        return next((rule for rule in list_rules(visit.org) if str(rule.pk) == number), None)


def _given(event: Event, name: str, rule: AttributionRule | None) -> str:
    """Why an event belongs to what it did not say."""
    if getattr(event, f"{name}_id") is None:
        return "Given later: what was posted says why"
    if rule is not None and (gives := getattr(rule, name)) is not None and gives.slug == getattr(event, name):
        return f"Given by the rule '{rule.name}'"
    source = FOLLOWS.get(name)
    if source is not None and getattr(event, f"{source}_id") is not None:
        return DERIVED[name]
    if "rule" in (event.sent or {}):
        return "Given by a rule that was changed or removed since"
    return f"The {name} that the key belongs to"


def _posting_line(posting: Posting) -> PostingLine:
    names = [getattr(posting, name) for name in ATTRIBUTED if getattr(posting, f"{name}_id") is not None]
    place = ", ".join(names) or "unattributed"
    # A change of cost alone moves nothing.
    moved = f": {'from' if posting.side < 0 else 'to'} {place}" if posting.events else ""
    return PostingLine(
        reason=f"{posting.reason}{moved}",
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


def _field_lines(visit: Visit, event: Event, doors: Collection[str]) -> Iterable[FieldLine]:
    key_names = names_of_keys(visit.org, ("api_key",), visit.teams)
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
        # A parent that does not open is another team's: a lead is not told which.
        if value is not None and (name != "parent_run_id" or value in doors):
            yield FieldLine(label_of(name), str(value), code=name in _CODES, url=_door(visit, name, value, doors))
    if event.latency_ms is not None:
        yield FieldLine("Latency", f"{formats.count(event.latency_ms)} ms")
    for key, value in sorted((event.tags or {}).items()):
        yield FieldLine(f"Tag {key}", value, code=True)


def _door(visit: Visit, name: str, value: str, doors: Collection[str]) -> str | None:
    if name in ("run_id", "parent_run_id"):
        return visit.url_below("runs", value) if value in doors else None
    return visit.url("events", {name: value}) if name == "user" else None
