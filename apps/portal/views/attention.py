"""What waits for a person: models that nobody priced, costs that differ from what was declared."""

from django.http import HttpResponse

from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.portal.access import Visit, organization_page
from apps.portal.pages import Crumb, UnpricedPage
from apps.portal.pages_prices import DeclaredPage, WaitingRow
from apps.portal.ranges import Span
from apps.portal.spending import question, ratio
from apps.portal.views.events import meter_label
from apps.reports.declared import declared_costs
from apps.reports.selectors import spend
from apps.reports.unpriced import UnpricedModel, unpriced_models

ROWS_SHOWN = 100


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
