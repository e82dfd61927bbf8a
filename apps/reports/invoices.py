"""Bills that are imported, and the mappings by which CSV files are read.

A bill is one provider's month. A file that holds several says so, and is imported once for each.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from django.db import IntegrityError
from django.utils import timezone

from apps.audit import services as audit
from apps.core.errors import DomainError, NotFound
from apps.core.money import USD_PLACES, sum_usd, usd_text
from apps.core.tenancy import tenant
from apps.core.text import is_name
from apps.organizations.models import Organization
from apps.reports import invoices_sql
from apps.reports.bill_readers import Bill, BillLine, Mapped, read_bill
from apps.reports.bill_readers.focus import CATEGORY
from apps.reports.bill_readers.generic import mapped_of
from apps.reports.bill_readers.lines import WIDE
from apps.reports.bill_readers.words import provider_of
from apps.reports.invoices_sql import LineRow
from apps.reports.models_invoices import (
    MAPPING_NAME_LENGTH_MAX,
    NUMBER_LENGTH_MAX,
    SOURCE_LENGTH_MAX,
    BillMapping,
    Invoice,
    InvoiceLine,
)

USD = "USD"
MAPPINGS_MAX = 100
INVOICES_MAX = 5_000
# No currency is worth ten thousand dollars; what a bill comes to in USD stays within its column.
RATE_MIN = Decimal("0.0001")
BILL_MAX = Decimal(10) ** 18
_PICO = Decimal(1).scaleb(-USD_PLACES)


@dataclass(frozen=True, slots=True)
class BillFile:
    """A file to import, and what is said beside it.

    `provider`, `month` and `number` choose among those of the file, or say what it does not; `per_usd` (with `source`)
    is the bill's own rate, needed unless it is in USD; `days` is of UTC or of the organization's zone ("local").
    """

    format: str
    body: bytes
    file_name: str = ""
    provider: str = ""
    month: date | None = None
    number: str = ""
    per_usd: str = ""
    source: str = ""
    days: str = Invoice.Days.UTC
    category: str = CATEGORY
    mapping: str = ""
    mapped: Mapped | None = None


def import_invoice(*, org: Organization, file: BillFile, actor: object) -> Invoice:
    """The bill with all its lines, or nothing.

    Raises `BillError`, and `DomainError` (invoice_known, bill_mixed, bill_month_unknown, bill_rate_missing,
    bill_rate_invalid, bill_rate_unneeded, days_unknown, number_invalid, mapping_unknown, too_many_invoices).
    """
    _check_said(file)
    bill = read_bill(file.format, file.body, mapped=_mapped(org, file), category=file.category)
    kept, month, provider = _of_one(bill, file)
    currency = _one({line.currency for line in kept}, "currencies", "one file for each currency", "currency")
    per_usd = _rate(file, currency)
    lines = [_stored(line, per_usd) for line in kept]
    accounts = {line.account for line in kept}
    invoice = Invoice(
        organization=org,
        provider=provider,
        account=accounts.pop() if len(accounts) == 1 else "",
        month=month,
        number=file.number.strip() or bill.number[:NUMBER_LENGTH_MAX],
        format=file.format,
        currency=currency,
        total=_bounded(sum_usd(line.amount for line in lines)),
        total_usd=_bounded(sum_usd(line.amount_usd for line in lines)),
        per_usd=per_usd,
        rate_source=file.source.strip(),
        days=file.days,
        line_count=len(lines),
        left_out=bill.left_out + len(bill.lines) - len(kept),
        file_name=file.file_name[:256],
        sha256=hashlib.sha256(file.body).hexdigest(),
        imported_at=timezone.now(),
        imported_by=str(actor)[:254],
    )
    _store(org, invoice, lines, actor)
    return invoice


def _store(org: Organization, invoice: Invoice, lines: Sequence[LineRow], actor: object) -> None:
    try:
        with tenant(org):
            if Invoice.objects.for_org(org).count() >= INVOICES_MAX:
                raise DomainError("too_many_invoices", f"At most {INVOICES_MAX} bills: delete some that are in error.")
            _refuse_known(org, invoice)
            invoice.save(force_insert=True)
            invoices_sql.insert_lines(org.pk, invoice.pk, lines)
            _record(org, actor, "imported", invoice)
    except IntegrityError:
        # Sent twice at once: the other one is there by now.
        with tenant(org):
            _refuse_known(org, invoice)
        raise


def _refuse_known(org: Organization, invoice: Invoice) -> None:
    same = Invoice.objects.for_org(org).filter(provider=invoice.provider, month=invoice.month)
    file = same.filter(sha256=invoice.sha256).first()
    if file is not None:
        detail = (
            f"This file is invoice {file.pk} already, imported on {file.imported_at:%Y-%m-%d} by {file.imported_by}."
        )
        raise DomainError("invoice_known", detail, param="file")
    named = same.filter(account=invoice.account, number=invoice.number).first()
    if named is not None:
        what = f"number '{named.number}'" if named.number else "no number"
        account = f", account '{named.account}'" if named.account else ""
        raise DomainError(
            "invoice_known",
            f"A bill of {named.provider}{account} for {named.month:%Y-%m} with {what} is invoice {named.pk} already:"
            " delete that one first, or give this one a number of its own.",
            param="number",
        )


def _check_said(file: BillFile) -> None:
    if file.days not in Invoice.Days.values:
        raise DomainError("days_unknown", f"'{file.days[:64]}' is no kind of days: use utc or local.", param="days")
    if file.number and not is_name(file.number, NUMBER_LENGTH_MAX):
        detail = f"A bill's number has at most {NUMBER_LENGTH_MAX} printable characters."
        raise DomainError("number_invalid", detail, param="number")


def _mapped(org: Organization, file: BillFile) -> Mapped | None:
    if file.mapped is not None or not file.mapping:
        return file.mapped
    with tenant(org):
        return mapped_of(mapping_named(org, file.mapping).fields)


# --- one provider's month ------------------------------------------------------------------------------


def _of_one(bill: Bill, file: BillFile) -> tuple[list[BillLine], date, str]:
    """The lines of the one month and provider that the file holds, or that were chosen of it."""
    month = file.month or _month_of(bill)
    provider = provider_of(file.provider) if file.provider else ""
    kept = [line for line in bill.lines if _is_of(line, bill, month)]
    if provider:
        kept = [line for line in kept if line.provider == provider]
    if not kept:
        of = f" of {provider}" if provider else ""
        detail = f"The file has no line{of} in {month:%Y-%m}: it is of {_months(bill)}, {_providers(bill.lines)}."
        raise DomainError("bill_empty", detail, param="provider" if provider else "month")
    found = {line.provider for line in kept}
    return kept, month, _one(found, "providers", "which with provider=", "provider")


def _month_of(bill: Bill) -> date:
    months = {bill.month} if bill.month else {line.day.replace(day=1) for line in bill.lines if line.day}
    if not months:
        detail = "The file says no month: name the one that it is of, as month=YYYY-MM."
        raise DomainError("bill_month_unknown", detail, param="month")
    if len(months) > 1:
        detail = f"The file is of {_months(bill)}: say which with month=, and import it once for each."
        raise DomainError("bill_mixed", detail, param="month")
    return months.pop()


def _is_of(line: BillLine, bill: Bill, month: date) -> bool:
    """A bill of one month is so whole, whatever days its lines correct; else lines are of the month of their day."""
    if bill.month is not None or line.day is None:
        return bill.month in (None, month)
    return line.day.replace(day=1) == month


def _months(bill: Bill) -> str:
    months = {line.day.replace(day=1) for line in bill.lines if line.day} if bill.month is None else {bill.month}
    return _listed(f"{month:%Y-%m}" for month in months)


def _providers(lines: Iterable[BillLine]) -> str:
    return _listed({line.provider for line in lines})


def _listed(names: Iterable[str]) -> str:
    found = sorted(names)
    return ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")


def _one(found: set[str], what: str, way_out: str, param: str) -> str:
    if len(found) > 1:
        raise DomainError(
            "bill_mixed", f"The file is of several {what} ({_listed(found)}): give {way_out}.", param=param
        )
    return next(iter(found))


# --- money ---------------------------------------------------------------------------------------------


def _rate(file: BillFile, currency: str) -> Decimal | None:
    """The bill's own rate, None for one in USD."""
    if currency == USD:
        if file.per_usd:
            raise DomainError("bill_rate_unneeded", "The bill is in USD: leave its rate out.", param="per_usd")
        return None
    if not file.per_usd or not file.source.strip():
        detail = f"The bill is in {currency}: say how many {currency} one USD is on it, and who says so."
        raise DomainError("bill_rate_missing", detail, param="source" if file.per_usd else "per_usd")
    if not is_name(file.source.strip(), SOURCE_LENGTH_MAX):
        raise DomainError("bill_rate_invalid", f"A source has at most {SOURCE_LENGTH_MAX} characters.", param="source")
    whole, _, decimals = file.per_usd.partition(".")
    is_number = all(part.isascii() and part.isdigit() for part in (whole, decimals or "0"))
    if not is_number or len(whole) > 12 or len(decimals) > USD_PLACES or Decimal(file.per_usd) < RATE_MIN:
        detail = f"'{file.per_usd[:40]}' is no rate: write how many {currency} one USD is, such as 0.92."
        raise DomainError("bill_rate_invalid", detail, param="per_usd")
    return Decimal(file.per_usd)


def _stored(line: BillLine, per_usd: Decimal | None) -> LineRow:
    """The one rounding of a bill's line, half-even to 12 decimals: of its amount, and of that in USD."""
    amount = WIDE.quantize(line.amount, _PICO)
    usd = amount if per_usd is None else WIDE.quantize(WIDE.divide(line.amount, per_usd), _PICO)
    return LineRow(
        line.row, line.day, line.account, line.model, line.meter, line.quantity, amount, usd, line.kind, line.text
    )


def _bounded(total: Decimal) -> Decimal:
    if total.copy_abs() >= BILL_MAX:
        raise DomainError("bill_row_invalid", f"The bill comes to {total:.2E}, which no bill does.", param="file")
    return total


# --- what is there -------------------------------------------------------------------------------------


def invoice_by_id(org: Organization, invoice_id: int) -> Invoice:
    """Inside `tenant(org)`. Raises `NotFound`."""
    found = Invoice.objects.for_org(org).filter(pk=invoice_id).first()
    if found is None:
        raise NotFound("invoice")
    return found


def find_invoices(
    org: Organization, *, month: date | None = None, provider: str = "", before: int | None = None, limit: int
) -> list[Invoice]:
    """Newest first, those before an id. Inside `tenant(org)`."""
    rows = Invoice.objects.for_org(org).order_by("-id")
    if month is not None:
        rows = rows.filter(month=month)
    if provider:
        rows = rows.filter(provider=provider_of(provider))
    if before is not None:
        rows = rows.filter(pk__lt=before)
    return list(rows[:limit])


def last_month(org: Organization) -> date | None:
    """The last month that there is a bill of. Inside `tenant(org)`. Index: reports_invoice_month."""
    return Invoice.objects.for_org(org).order_by("-month").values_list("month", flat=True).first()


def find_lines(org: Organization, invoice: Invoice, *, after: int = 0, limit: int) -> list[InvoiceLine]:
    """In the order of the file, those after a number. Inside `tenant(org)`."""
    rows = InvoiceLine.objects.for_org(org).filter(invoice_id=invoice.pk, number__gt=after)
    return list(rows.order_by("number")[:limit])


def delete_invoice(*, org: Organization, invoice_id: int, actor: object) -> None:
    """With its lines. Raises `NotFound`, and `DomainError` (`invoice_trued_up`) once anything of it was booked."""
    with tenant(org):
        invoice = Invoice.objects.for_org(org).select_for_update().filter(pk=invoice_id).first()
        if invoice is None:
            raise NotFound("invoice")
        if invoice.state == Invoice.State.TRUED_UP:
            raise DomainError(
                "invoice_trued_up",
                f"Invoice {invoice.pk} was trued up and stays: import what corrects it, and true up again.",
            )
        InvoiceLine.objects.for_org(org).filter(invoice_id=invoice.pk).delete()
        _record(org, actor, "deleted", invoice)
        invoice.delete()


def _record(org: Organization, actor: object, act: str, invoice: Invoice) -> None:
    audit.record(
        org=org,
        actor=actor,
        action=f"invoices.{act}",
        subject=f"{invoice.provider} {invoice.month:%Y-%m}",
        data={
            "invoice": invoice.pk,
            "number": invoice.number,
            "total": format(invoice.total, "f"),
            "currency": invoice.currency,
            "total_usd": usd_text(invoice.total_usd),
            "sha256": invoice.sha256,
        },
    )


# --- mappings ------------------------------------------------------------------------------------------


def list_mappings(org: Organization) -> list[BillMapping]:
    """By name. Inside `tenant(org)`."""
    return list(BillMapping.objects.for_org(org).order_by("name"))


def mapping_named(org: Organization, name: str) -> BillMapping:
    """Inside `tenant(org)`. Raises `DomainError` (`mapping_unknown`)."""
    found = BillMapping.objects.for_org(org).filter(name=name.strip()).first() if "\0" not in name else None
    if found is None:
        raise DomainError("mapping_unknown", f"No mapping is called '{name[:64]}': save it first.", param="mapping")
    return found


def save_mapping(*, org: Organization, name: str, fields: Mapping[str, object], actor: object) -> BillMapping:
    """A new mapping, or another content of one. Raises `DomainError` (mapping_invalid, too_many_mappings)."""
    mapped = mapped_of(fields)
    mapped.check()
    name = name.strip()
    if not is_name(name, MAPPING_NAME_LENGTH_MAX):
        detail = f"Name the mapping, in 1 to {MAPPING_NAME_LENGTH_MAX} characters."
        raise DomainError("mapping_invalid", detail, param="name")
    with tenant(org):
        # First, so that two that are saved at once queue here.
        audit.record(org=org, actor=actor, action="bill_mappings.saved", subject=name, data=mapped.as_json)
        own = BillMapping.objects.for_org(org)
        if not own.filter(name=name).exists() and own.count() >= MAPPINGS_MAX:
            raise DomainError("too_many_mappings", f"At most {MAPPINGS_MAX} mappings: remove one that nobody uses.")
        said = {"fields": mapped.as_json, "saved_at": timezone.now(), "saved_by": str(actor)[:254]}
        row, _ = own.update_or_create(organization=org, name=name, defaults=said)
    return row


def remove_mapping(*, org: Organization, mapping_id: int, actor: object) -> None:
    """Raises `NotFound`. Bills that were read by it stay."""
    with tenant(org):
        row = BillMapping.objects.for_org(org).filter(pk=mapping_id).first()
        if row is None:
            raise NotFound("mapping")
        audit.record(org=org, actor=actor, action="bill_mappings.removed", subject=row.name)
        row.delete()


def lines_of(rows: Iterable[InvoiceLine]) -> Iterator[dict[str, object]]:
    """Lines as the API and files show them."""
    for row in rows:
        yield {
            "row": row.row,
            "day": row.day,
            "account": row.account,
            "model": row.model,
            "meter": row.meter or None,
            "quantity": row.quantity,
            "amount": format(row.amount, "f"),
            "amount_usd": usd_text(row.amount_usd),
            "kind": row.kind,
            "text": row.text,
        }
