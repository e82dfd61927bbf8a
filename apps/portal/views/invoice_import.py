"""Importing a bill, and saying once what the columns of a CSV file hold."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.http import HttpResponse, HttpResponseRedirect

from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.portal.access import Visit, organization_page
from apps.portal.pages import Crumb, Option, Select
from apps.portal.pages_invoices import (
    ImportForm,
    MappingField,
    MappingForm,
    MappingRow,
    MappingsPage,
)
from apps.portal.pages_prices import FormError
from apps.portal.views.invoices import DAYS_IN, invoice_url
from apps.reports import invoices as bills
from apps.reports.bill_readers import BYTES_MAX, FORMATS, ROWS_MAX, generic
from apps.reports.bill_readers.focus import CATEGORY
from apps.reports.bill_readers.generic import ALWAYS, DAY_ORDERS, FIELDS, MARKS, NEEDED
from apps.reports.invoices import BillFile
from apps.reports.models_invoices import BillMapping, Invoice
from apps.reports.statements import parse_month

# What is typed beside a file, and sent along with its columns.
SAID = ("provider", "month", "number", "per_usd", "source", "days")
ORDERS = {"ymd": "2026-11-28", "dmy": "28.11.2026 or 28/11/2026", "mdy": "11/28/2026"}
# How a field is called, and what it holds.
LABELS: Mapping[str, tuple[str, str]] = {
    "day": ("Day", "Without one a line is of the whole month."),
    "provider": ("Provider", "Such as openai."),
    "account": ("Account", "A project or workspace of the provider."),
    "model": ("Model", "Without one a line is of the provider as a whole."),
    "meter": ("Meter", "Such as input tokens."),
    "quantity": ("Quantity", "How many units."),
    "unit": ("Unit", "Such as 1M tokens; without one they are single."),
    "amount": ("Amount", "In the bill's currency."),
    "currency": ("Currency", "Three letters, such as USD."),
    "kind": ("Kind", "usage, credit, tax, fee, rounding or other; empty is usage."),
}
# Columns that usually hold a field, in lower case.
_USUAL: Mapping[str, tuple[str, ...]] = {
    "day": ("date", "day", "usage date", "datum"),
    "provider": ("provider", "vendor", "supplier"),
    "account": ("account", "project", "workspace"),
    "model": ("model", "model name"),
    "meter": ("meter", "token type", "type", "item"),
    "quantity": ("quantity", "units", "usage", "tokens"),
    "unit": ("unit", "unit of measure"),
    "amount": ("amount", "cost", "total", "net amount", "betrag"),
    "currency": ("currency",),
    "kind": ("kind", "charge type", "category"),
}
SAMPLE_BYTES_MAX = 200_000
# Each of them is offered for each field.
COLUMNS_MAX = 500
CELL_SHOWN = 60


@organization_page(section="statements", permission=Permission.MANAGE_STATEMENTS, writes=Permission.MANAGE_STATEMENTS)
def invoice_new(visit: Visit) -> HttpResponse:
    request, error = visit.request, None
    given = {name: str(value)[:300] for name, value in request.GET.items()}
    if request.method == "POST":
        given = {name: str(value)[:300] for name, value in request.POST.items()}
        try:
            body, name = _upload(visit)
            if given.get("format") == "csv" and not given.get("mapping"):
                return _columns(visit, _sample_of(body), given)
            return HttpResponseRedirect(_imported(visit, body, name, given))
        except DomainError as wrong:
            error = FormError.of(wrong)
    return _import_page(visit, given, error)


def _upload(visit: Visit) -> tuple[bytes, str]:
    """Raises `DomainError` (file_missing, bill_too_large)."""
    upload = visit.request.FILES.get("file")
    if not isinstance(upload, UploadedFile) or not upload.size:
        raise DomainError(
            "file_missing", "Choose the file of the bill: it holds nothing, or none was sent.", param="file"
        )
    if upload.size > BYTES_MAX:
        limit = f"a bill at most {BYTES_MAX >> 20} MiB: export it by day, or by account."
        detail = f"The file has {upload.size:,} bytes, {limit}"
        raise DomainError("bill_too_large", detail, param="file")
    return upload.read(), str(upload.name)


def _imported(visit: Visit, body: bytes, name: str, given: Mapping[str, str]) -> str:
    """The page of the bill, once it is there."""
    file = BillFile(
        format=given.get("format", ""),
        body=body,
        file_name=name,
        provider=given.get("provider", "").strip(),
        month=parse_month(given["month"].strip()) if given.get("month", "").strip() else None,
        number=given.get("number", "").strip(),
        per_usd=given.get("per_usd", "").strip(),
        source=given.get("source", ""),
        days=given.get("days") or Invoice.Days.UTC,
        category="" if given.get("every_service") else CATEGORY,
        mapping=given.get("mapping", ""),
    )
    made = bills.import_invoice(org=visit.org, file=file, actor=visit.user)
    return f"{invoice_url(visit, made.pk)}/reconciliation"


def _import_page(visit: Visit, given: Mapping[str, str], error: FormError | None) -> HttpResponse:
    with tenant(visit.org):
        names = [row.name for row in bills.list_mappings(visit.org)]
    chosen, days = given.get("mapping", ""), given.get("days", Invoice.Days.UTC)
    format = given.get("format", next(iter(FORMATS)))
    page = ImportForm(
        formats=tuple(Option(name, label, name == format) for name, label in FORMATS.items()),
        mappings=(
            Option("", "a new one: show me its columns", not chosen),
            *(Option(name, name, name == chosen) for name in names),
        ),
        days=tuple(Option(name, label, name == days) for name, label in DAYS_IN.items()),
        given=given,
        error=error,
        mappings_url=visit.url("bill_mappings"),
        mebibytes_max=BYTES_MAX >> 20,
        rows_max=ROWS_MAX,
    )
    crumbs = (Crumb("Bills", visit.url("invoices")), Crumb("Import"))
    frame = visit.frame("Import a bill", *crumbs)
    return visit.render("portal/invoice_new.html", frame=frame, form=page, error=error)


# --- columns of a CSV file -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sample:
    """The columns of a file and its first rows, cut to what is shown."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def text(self) -> str:
        return json.dumps([list(self.columns), [list(row) for row in self.rows]])


def _sample_of(body: bytes) -> Sample:
    columns, rows = generic.first_rows(body)
    sample = Sample(columns, [[cell[:CELL_SHOWN] for cell in row] for row in rows])
    if len(columns) > COLUMNS_MAX or len(sample.text) > SAMPLE_BYTES_MAX:
        detail = f"The file has too many columns to choose from: leave all but {COLUMNS_MAX} out."
        raise DomainError("bill_unreadable", detail, param="file")
    return sample


def _sample_sent(text: str) -> Sample:
    """What our own form sent along; a form of somebody else's has no columns."""
    try:
        columns, rows = json.loads(text[:SAMPLE_BYTES_MAX])
        return Sample(
            [_writable(name) for name in columns[:COLUMNS_MAX]],
            [[_writable(cell) for cell in row[:COLUMNS_MAX]] for row in rows[: generic.ROWS_SHOWN]],
        )
    except (ValueError, TypeError, LookupError, RecursionError):
        return Sample([], [])


def _writable(cell: object) -> str:
    """JSON may hold half a surrogate pair, which no page can."""
    return str(cell).encode(errors="replace").decode()


@organization_page(section="statements", permission=Permission.VIEW_STATEMENTS, writes=Permission.MANAGE_STATEMENTS)
def bill_mappings(visit: Visit) -> HttpResponse:
    """The list; the form of a file's columns saves one, and imports the file where it was chosen again."""
    if visit.request.method == "POST":
        return _save(visit, {name: str(value) for name, value in visit.request.POST.items()})
    may_change = visit.may(Permission.MANAGE_STATEMENTS)
    with tenant(visit.org):
        rows = tuple(_mapping_row(visit, row) for row in bills.list_mappings(visit.org))
    page = MappingsPage(rows, may_change, f"{visit.url('invoice_new')}?format=csv" if may_change else "")
    crumbs = (Crumb("Bills", visit.url("invoices")), Crumb("Mappings"))
    frame = visit.frame("How CSV bills are read", *crumbs)
    return visit.render("portal/bill_mappings.html", frame=frame, mappings=page)


def _save(visit: Visit, given: Mapping[str, str]) -> HttpResponse:
    sample = _sample_sent(given.get("sample", ""))
    try:
        saved = bills.save_mapping(
            org=visit.org, name=given.get("name", ""), fields=_mapped(given, sample), actor=visit.user
        )
        if not visit.request.FILES.get("file"):
            return HttpResponseRedirect(visit.url("invoice_new", {"format": "csv", "mapping": saved.name}))
        body, name = _upload(visit)
        said = {**given, "format": "csv", "mapping": saved.name}
        return HttpResponseRedirect(_imported(visit, body, name, said))
    except DomainError as wrong:
        return _columns(visit, sample, given, FormError.of(wrong))


def _mapped(given: Mapping[str, str], sample: Sample) -> dict[str, object]:
    """A field is what is typed as the same for every row, else the chosen column."""
    fields: dict[str, object] = {name: given.get(name, "") for name in ("day_order", "decimal_mark") if given.get(name)}
    for name in FIELDS:
        always, column = given.get(f"always.{name}", "").strip(), given.get(f"column.{name}", "")
        fields[name] = f"{ALWAYS}{always}" if always else column if column in sample.columns else ""
    return fields


def _columns(visit: Visit, sample: Sample, given: Mapping[str, str], error: FormError | None = None) -> HttpResponse:
    order, mark = given.get("day_order", "ymd"), given.get("decimal_mark", ".")
    page = MappingForm(
        name=given.get("name", ""),
        columns=sample.columns,
        rows=sample.rows,
        sample=sample.text,
        fields=tuple(_fields(sample, given, error)),
        orders=tuple(Option(name, f"as {ORDERS[name]}", name == order) for name in DAY_ORDERS),
        marks=tuple(Option(one, f"1{'.' if one == ',' else ','}234{one}56", one == mark) for one in MARKS),
        hidden=tuple((name, given.get(name, "")) for name in SAID),
        error=error,
        url=visit.url("bill_mappings"),
    )
    crumbs = (Crumb("Bills", visit.url("invoices")), Crumb("Import", visit.url("invoice_new")), Crumb("Columns"))
    frame = visit.frame("What the columns hold", *crumbs)
    return visit.render("portal/bill_mapping.html", frame=frame, form=page, error=error)


def _fields(sample: Sample, given: Mapping[str, str], error: FormError | None) -> Iterator[MappingField]:
    was_sent = "sample" in given
    for name in FIELDS:
        label, says = LABELS[name]
        chosen = given.get(f"column.{name}", "") if was_sent else _usual(name, sample.columns)
        options = (Option("", "—", not chosen), *(Option(one, one, one == chosen) for one in sample.columns if one))
        yield MappingField(
            name=name,
            label=label,
            says=says,
            needed=name in NEEDED,
            select=Select(f"column.{name}", f"{label}, column", options),
            always=given.get(f"always.{name}", ""),
            error=error.detail if error and error.field == name else "",
        )


def _usual(name: str, columns: Sequence[str]) -> str:
    return next((column for column in columns if column.strip().lower() in _USUAL[name]), "")


def _mapping_row(visit: Visit, row: BillMapping) -> MappingRow:
    said: dict[str, Any] = row.fields
    says = ", ".join(f"{LABELS[name][0].lower()} {_said(said[name])}" for name in FIELDS if said.get(name))
    return MappingRow(
        id=row.pk,
        name=row.name,
        says=says,
        saved_at=row.saved_at,
        saved_by=row.saved_by,
        import_url=visit.url("invoice_new", {"format": "csv", "mapping": row.name}),
        remove_url=f"{visit.url('bill_mappings')}/{row.pk}/remove",
    )


def _said(column: str) -> str:
    return f"always “{column.removeprefix(ALWAYS)}”" if column.startswith(ALWAYS) else f"from “{column}”"


@organization_page(
    section="statements", permission=Permission.VIEW_STATEMENTS, writes=Permission.MANAGE_STATEMENTS, is_act=True
)
def bill_mapping_remove(visit: Visit, mapping_id: int) -> HttpResponse:
    bills.remove_mapping(org=visit.org, mapping_id=mapping_id, actor=visit.user)
    return HttpResponseRedirect(visit.url("bill_mappings"))
