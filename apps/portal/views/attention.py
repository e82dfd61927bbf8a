"""What waits for a person: names that nobody mapped, models that nobody priced."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal

from django.http import HttpResponse

from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.portal.access import Visit, organization_page
from apps.portal.pages import Crumb, UnattributedPage, UnattributedRow, UnpricedPage
from apps.portal.pages_prices import DeclaredPage, WaitingRow
from apps.portal.ranges import Span
from apps.portal.views.events import meter_label
from apps.portal.views.overview import question, ratio, summed_cost
from apps.reports.declared import declared_costs
from apps.reports.selectors import SpendQuestion, Sums, spend
from apps.reports.unpriced import UnpricedModel, unpriced_models

ROWS_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Seen:
    """A group over the range: the local days it was first and last seen on where they are known, and its sums."""

    groups: tuple[str | None, ...]
    first: date | None
    last: date | None
    parts: tuple[Sums, ...]

    @property
    def events(self) -> int:
        return sum(part.events for part in self.parts)

    @property
    def unpriced_events(self) -> int:
        return sum(part.unpriced_events for part in self.parts)

    @property
    def cost_usd(self) -> Decimal | None:
        return summed_cost(self.parts)


@organization_page(section="unattributed", permission=Permission.VIEW_SPEND)
def unattributed(visit: Visit) -> HttpResponse:
    span = visit.span()
    everything = spend(visit.org, question(span, ("team",)))
    nobody = next((row.sums for row in everything.rows if row.groups == (None,)), Sums())
    rows = [row for kind in ("team", "project", "workflow") for row in _names(visit, span, kind)]
    page = UnattributedPage(
        events=nobody.events,
        cost_usd=nobody.cost_usd,
        share=ratio(nobody.cost_usd, everything.total.cost_usd),
        rows=tuple(rows[:ROWS_SHOWN]),
        row_count=len(rows),
        url=visit.url("events", {"team": "", **span.parameters}),
    )
    frame = visit.frame("Unattributed", Crumb("Unattributed"), span=span, as_of=everything.as_of)
    return visit.render("portal/unattributed.html", frame=frame, unattributed=page)


def _names(visit: Visit, span: Span, kind: str) -> Iterable[UnattributedRow]:
    for seen in _seen(visit, span, replace(question(span, (f"{kind}_name",)), filters={kind: ""})):
        name = seen.groups[0]
        # A project or a workflow is optional; only a name that leads nowhere needs somebody.
        if name is None and kind != "team":
            continue
        yield UnattributedRow(
            kind=kind,
            name=name,
            first_seen=seen.first,
            last_seen=seen.last,
            events=seen.events,
            cost_usd=seen.cost_usd,
            unpriced_events=seen.unpriced_events,
            url=visit.url("events", {kind: "", f"{kind}_name": name or "", **span.parameters}),
        )


@organization_page(section="unpriced", permission=Permission.VIEW_SPEND)
def unpriced(visit: Visit) -> HttpResponse:
    span = visit.span()
    everything = spend(visit.org, question(span, ()))
    models = unpriced_models(visit.org, start=span.start, end=span.end)
    page = UnpricedPage(
        events=everything.total.unpriced_events,
        share=ratio(everything.total.unpriced_events, everything.total.events),
        rows=tuple(_waiting(visit, span, model) for model in models[:ROWS_SHOWN]),
        row_count=len(models),
        url=visit.url("events", {"priced": "false", **span.parameters}),
        may_change=visit.may(Permission.MANAGE_PRICES),
        alias_url=visit.url("contracts"),
    )
    frame = visit.frame("Unpriced", Crumb("Unpriced"), span=span, as_of=everything.as_of)
    return visit.render("portal/unpriced.html", frame=frame, unpriced=page)


def _waiting(visit: Visit, span: Span, found: UnpricedModel) -> WaitingRow:
    scope = {"provider": found.provider, "model": found.model}
    days = {"from": span.first_day.isoformat(), "to": span.last_day.isoformat()}
    rerate = {**scope, "priced": "false", **days, "reason": f"A price for {found.model}"}
    starts = {"kind": "price", "name": found.model, "starts": days["from"]}
    return WaitingRow(
        provider=found.provider,
        model=found.model,
        events=found.events,
        events_url=visit.url("events", {**scope, "priced": "false", **span.parameters}),
        meters=tuple((meter_label(meter), quantity) for meter, quantity in found.meters.items()),
        first_day=found.first_day,
        last_day=found.last_day,
        code=found.reason.code,
        reason=found.reason.detail,
        suggestions=found.reason.suggestions,
        price_url=visit.url("contract_new", {**scope, **starts}),
        rerate_url=visit.url("rerating_new", rerate),
    )


@organization_page(section="declared", permission=Permission.VIEW_SPEND)
def declared(visit: Visit) -> HttpResponse:
    span = visit.span()
    with tenant(visit.org):
        found = declared_costs(visit.org, start=span.start, end=span.end)
    page = DeclaredPage(
        models=tuple(found.models),
        events=tuple((event, visit.url_below("events", event.event_id)) for event in found.events),
    )
    frame = visit.frame("Declared costs", Crumb("Declared costs"), span=span)
    return visit.render("portal/declared.html", frame=frame, declared=page)


def _seen(visit: Visit, span: Span, asked: SpendQuestion) -> list[Seen]:
    """Each group of the answer, most events first. Where days make it too long for one answer, they are left out."""
    by_day = spend(visit.org, replace(asked, granularity="day"))
    if by_day.following is not None:
        rows = spend(visit.org, asked).rows
        found = [Seen(row.groups, None, None, (row.sums,)) for row in rows if row.sums.events]
        return sorted(found, key=lambda seen: -seen.events)
    groups: dict[tuple[str | None, ...], list[tuple[date, Sums]]] = {}
    for row in by_day.rows:
        if row.sums.events and row.bucket is not None:
            groups.setdefault(row.groups, []).append((_local_day(span, row.bucket), row.sums))
    found = [Seen(group, days[0][0], days[-1][0], tuple(sums for _, sums in days)) for group, days in groups.items()]
    return sorted(found, key=lambda seen: -seen.events)


def _local_day(span: Span, bucket: datetime) -> date:
    return max(bucket.astimezone(span.calendar.zone_at(bucket)).date(), span.first_day)
