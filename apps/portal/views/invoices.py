"""Providers' bills: a month's list with what of it was metered, and one bill with its lines."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from itertools import islice

from django.http import HttpResponse, HttpResponseRedirect

from apps.core.cursors import cursor_of, position_of
from apps.core.errors import DomainError
from apps.core.money import sum_usd
from apps.core.periods import month_before
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.portal.access import Visit, organization_page
from apps.portal.pages import Crumb, Tab
from apps.portal.pages_invoices import InvoiceLineRow, InvoicePage, InvoiceRow, InvoicesPage, ProviderRow
from apps.portal.views.events import meter_label
from apps.reports import invoices as bills
from apps.reports.bill_readers import FORMATS
from apps.reports.gaps import share_of
from apps.reports.models_invoices import Invoice, InvoiceLine
from apps.reports.reconciliation import MonthBills, Reconciliation, reconcile_month
from apps.reports.statements import parse_month

MONTHS_SHOWN = 6
ROWS_SHOWN = 100
FIRST_YEAR = 1980
CURSOR_MAX = 2**31 - 1
DAYS_IN = {"utc": "UTC", "local": "the organization's zone"}


@organization_page(section="statements", permission=Permission.VIEW_STATEMENTS)
def invoices(visit: Visit) -> HttpResponse:
    month = _month(visit)
    before = _position(visit)
    with tenant(visit.org):
        found = bills.find_invoices(visit.org, month=month, before=before, limit=ROWS_SHOWN + 1)
    compared = reconcile_month(visit.org, month)
    here = {"month": f"{month:%Y-%m}"}
    shown = found[:ROWS_SHOWN]
    more = len(found) > ROWS_SHOWN
    may_change = visit.may(Permission.MANAGE_STATEMENTS)
    page = InvoicesPage(
        month_label=f"{month:%B %Y}",
        months=tuple(_tabs(visit, month)),
        coverage=compared.coverage,
        billed_usd=sum_usd(one.gap.billed_usd for one in compared.found),
        metered_usd=sum_usd(one.gap.metered_usd for one in compared.found),
        providers=tuple(islice(_providers(visit, compared), ROWS_SHOWN)),
        rows=tuple(_row(visit, invoice) for invoice in shown),
        next_url=visit.url("invoices", {**here, "cursor": cursor_of(shown[-1].pk)}) if more else None,
        first_url=visit.url("invoices", here) if before is not None else None,
        new_url=visit.url("invoice_new", here) if may_change else "",
        mappings_url=visit.url("bill_mappings"),
    )
    return visit.render("portal/invoices.html", frame=visit.frame("Bills", Crumb("Bills")), invoices=page)


def _month(visit: Visit) -> date:
    """The one that is asked for, else the last that is over: bills come when a month is."""
    try:
        return parse_month(visit.request.GET.get("month", ""))
    except DomainError:
        return month_before(visit.calendar.month_of(visit.at))


def _position(visit: Visit) -> int | None:
    try:
        found = position_of(visit.request.GET["cursor"], int) if "cursor" in visit.request.GET else None
    except DomainError:
        return None
    return found if found is None or 0 <= found < 2**63 else None


def _tabs(visit: Visit, chosen: date) -> Iterator[Tab]:
    this = visit.calendar.month_of(visit.at)
    shown = sorted({chosen, *(month_before(this, back) for back in range(MONTHS_SHOWN))}, reverse=True)
    for month in shown:
        yield Tab(f"{month:%b %Y}", visit.url("invoices", {"month": f"{month:%Y-%m}"}), month == chosen)
    earlier = month_before(shown[-1])
    if earlier.year >= FIRST_YEAR:
        yield Tab("Earlier", visit.url("invoices", {"month": f"{earlier:%Y-%m}"}), False)


def _providers(visit: Visit, compared: MonthBills) -> Iterator[ProviderRow]:
    for one in compared.found:
        yield provider_row(visit, one)
    for provider, usd in compared.without_bill.items():
        yield ProviderRow(provider, 0, None, usd, None, None, None, "", "")


def provider_row(visit: Visit, one: Reconciliation) -> ProviderRow:
    return ProviderRow(
        provider=one.provider,
        bills=len(one.invoices),
        billed_usd=one.gap.billed_usd,
        metered_usd=one.gap.metered_usd,
        gap_usd=one.gap.gap_usd,
        gap_share=share_of(one.gap.gap_usd, one.gap.billed_usd),
        coverage=one.coverage,
        verdict=one.gap.verdict,
        url=reconciliation_url(visit, one.invoices[0].pk),
    )


def invoice_url(visit: Visit, invoice_id: int) -> str:
    return visit.url_below("invoices", str(invoice_id))


def reconciliation_url(visit: Visit, invoice_id: int) -> str:
    return f"{invoice_url(visit, invoice_id)}/reconciliation"


def title_of(invoice: Invoice) -> str:
    return invoice.number or f"Bill {invoice.pk}"


def _row(visit: Visit, invoice: Invoice) -> InvoiceRow:
    return InvoiceRow(
        title=title_of(invoice),
        provider=invoice.provider,
        account=invoice.account,
        format=FORMATS.get(invoice.format, invoice.format),
        line_count=invoice.line_count,
        currency=invoice.currency,
        total=invoice.total,
        total_usd=invoice.total_usd,
        state=invoice.state,
        imported_at=invoice.imported_at,
        url=invoice_url(visit, invoice.pk),
        reconciliation_url=reconciliation_url(visit, invoice.pk),
    )


# --- one bill ------------------------------------------------------------------------------------------


@organization_page(section="statements", permission=Permission.VIEW_STATEMENTS)
def invoice(visit: Visit, invoice_id: int) -> HttpResponse:
    after = min(_position(visit) or 0, CURSOR_MAX)
    with tenant(visit.org):
        row = bills.invoice_by_id(visit.org, invoice_id)
        lines = bills.find_lines(visit.org, row, after=after, limit=ROWS_SHOWN + 1)
    page = _invoice_page(visit, row, lines, after)
    crumbs = (Crumb("Bills", visit.url("invoices", {"month": f"{row.month:%Y-%m}"})), Crumb(page.title))
    title = f"{page.title}, {row.provider}, {page.month_label}"
    return visit.render("portal/invoice.html", frame=visit.frame(title, *crumbs), invoice=page)


def _invoice_page(visit: Visit, row: Invoice, lines: list[InvoiceLine], after: int) -> InvoicePage:
    here = invoice_url(visit, row.pk)
    more = len(lines) > ROWS_SHOWN
    may_delete = visit.may(Permission.MANAGE_STATEMENTS) and row.state != Invoice.State.TRUED_UP
    return InvoicePage(
        title=title_of(row),
        provider=row.provider,
        account=row.account,
        month_label=f"{row.month:%B %Y}",
        number=row.number,
        format=FORMATS.get(row.format, row.format),
        file_name=row.file_name,
        sha256=row.sha256,
        currency=row.currency,
        total=row.total,
        total_usd=row.total_usd,
        rate="" if row.per_usd is None else f"{_plain(row.per_usd)} {row.currency} a USD",
        rate_source=row.rate_source,
        days=DAYS_IN[row.days],
        line_count=row.line_count,
        left_out=row.left_out,
        state=row.state,
        imported_at=row.imported_at,
        imported_by=row.imported_by,
        lines=tuple(_line(line) for line in lines[:ROWS_SHOWN]),
        next_url=f"{here}?cursor={cursor_of(lines[ROWS_SHOWN - 1].number)}" if more else None,
        first_url=here if after else None,
        reconciliation_url=f"{here}/reconciliation",
        delete_url=f"{here}/delete" if may_delete else "",
    )


def _plain(number: Decimal) -> str:
    return format(number.normalize(), "f")


def _line(line: InvoiceLine) -> InvoiceLineRow:
    return InvoiceLineRow(
        row=line.row,
        day=line.day,
        account=line.account,
        model=line.model,
        meter=meter_label(line.meter) if line.meter else "",
        quantity=line.quantity,
        amount=line.amount,
        amount_usd=line.amount_usd,
        kind=line.kind,
        text=line.text,
    )


@organization_page(
    section="statements", permission=Permission.VIEW_STATEMENTS, writes=Permission.MANAGE_STATEMENTS, is_act=True
)
def invoice_delete(visit: Visit, invoice_id: int) -> HttpResponse:
    with tenant(visit.org):
        month = bills.invoice_by_id(visit.org, invoice_id).month
    bills.delete_invoice(org=visit.org, invoice_id=invoice_id, actor=visit.user)
    return HttpResponseRedirect(visit.url("invoices", {"month": f"{month:%Y-%m}"}))
