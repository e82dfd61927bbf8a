"""Providers' bills: importing them, their lines, what they are compared with, and truing up."""

from decimal import Decimal
from typing import Annotated, Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from msgspec import Meta
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import parameters
from apps.api.bill_files import BillFormParser, RawParser, file_of
from apps.api.v1.names import validated
from apps.api.views import Exact, ScopedView, listing
from apps.core.cursors import cursor_of, position_of
from apps.core.money import usd_text
from apps.core.tenancy import tenant
from apps.organizations.permissions import Scope
from apps.reports import invoices, true_ups
from apps.reports.bill_readers import FORMATS
from apps.reports.bill_readers.focus import CATEGORY
from apps.reports.bill_readers.generic import DAY_ORDERS, FIELDS, MARKS
from apps.reports.gaps import BUCKETS, Cell, Day, share_of
from apps.reports.invoices import BillFile
from apps.reports.models_invoices import BillMapping, Invoice
from apps.reports.reconciliation import Reconciliation, Share, reconcile_month, shares

PAGE_MAX, PAGE_DEFAULT = 200, 100
LINES_MAX = 1_000
CELLS_MAX = 1_000
# What is said beside a file.
SAID = ("format", "provider", "month", "number", "per_usd", "source", "days", "category", "mapping")
_Id = Annotated[int, Meta(ge=0, le=2**63 - 1)]
USD: dict[str, Any] = {"help_text": "USD as a decimal string."}


def _asked(name: str, about: str, **more: Any) -> OpenApiParameter:
    return OpenApiParameter(name, str, description=about, **more)


IMPORT = [
    _asked("format", "What the file is.", required=True, enum=list(FORMATS)),
    _asked("mapping", "Of csv: the name of a saved mapping."),
    _asked("provider", "Which provider's lines, where the file has several."),
    _asked("month", "YYYY-MM: which month's lines, or of which month it is where the file does not say so."),
    _asked("number", "The invoice's number."),
    _asked("per_usd", "How many units of the bill's currency one USD is on it; not for a bill in USD."),
    _asked("source", "Who says so."),
    _asked("days", "Whose days its lines have: utc (default) or local, the organization's.", enum=Invoice.Days.values),
    _asked("category", f'Of focus: which service category; default "{CATEGORY}", empty for all.'),
]
FILE = {
    "multipart/form-data": {
        "type": "object", "properties": {"file": {"type": "string", "format": "binary"}}, "required": ["file"],
    },
    "application/octet-stream": OpenApiTypes.BINARY,
}  # fmt: skip


class InvoiceOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    provider = serializers.CharField()
    account = serializers.CharField(help_text="Empty where its lines are of several.")
    month = serializers.CharField()
    number = serializers.CharField()
    format = serializers.CharField()
    currency = serializers.CharField()
    total = serializers.CharField(help_text="In the bill's currency.")
    total_usd = serializers.CharField(help_text="At the bill's own rate.")
    per_usd = serializers.CharField(allow_null=True, help_text="Units of the currency that one USD is.")
    rate_source = serializers.CharField()
    days = serializers.CharField()
    line_count = serializers.IntegerField()
    left_out = serializers.IntegerField(help_text="Rows of the file that are of other services, providers or months.")
    file_name = serializers.CharField()
    sha256 = serializers.CharField(help_text="Of the file as it was sent.")
    state = serializers.CharField(help_text=", ".join(Invoice.State.values))
    imported_at = serializers.DateTimeField()
    imported_by = serializers.CharField()


class InvoiceLineOutput(serializers.Serializer[Any]):
    row = serializers.IntegerField(help_text="Of the file, from 1.")
    day = serializers.DateField(allow_null=True, help_text="Null where it is of the whole month.")
    account = serializers.CharField()
    model = serializers.CharField()
    meter = serializers.CharField(allow_null=True)
    quantity = serializers.IntegerField(allow_null=True, help_text="In the meter's smallest unit.")
    amount = serializers.CharField()
    amount_usd = serializers.CharField()
    kind = serializers.CharField()
    text = serializers.CharField(help_text="What the bill calls it.")


class InvoiceDetailOutput(InvoiceOutput):
    lines = InvoiceLineOutput(many=True)
    next = serializers.CharField(allow_null=True)


class BucketOutput(serializers.Serializer[Any]):
    bucket = serializers.CharField(help_text=", ".join(BUCKETS))
    usd = serializers.CharField()
    share = serializers.CharField(allow_null=True, help_text="Of what was billed for usage.")
    booked_usd = serializers.CharField(help_text="Trued up already.")
    remaining_usd = serializers.CharField()


class CellOutput(serializers.Serializer[Any]):
    model = serializers.CharField(help_text='"" where the bill names none.')
    meter = serializers.CharField(allow_null=True)
    billed_usd = serializers.CharField()
    metered_usd = serializers.CharField()
    gap_usd = serializers.CharField()
    billed_quantity = serializers.IntegerField(allow_null=True)
    metered_quantity = serializers.IntegerField(allow_null=True)
    buckets = serializers.DictField(child=serializers.CharField(), help_text="What the gap is made of.")


class DayOutput(serializers.Serializer[Any]):
    day = serializers.DateField()
    billed_usd = serializers.CharField()
    metered_usd = serializers.CharField()
    gap_usd = serializers.CharField()
    verdict = serializers.CharField()


class ReconciliationOutput(serializers.Serializer[Any]):
    provider = serializers.CharField()
    month = serializers.CharField()
    invoices = serializers.ListField(child=serializers.IntegerField(), help_text="All bills of provider and month.")
    days_in = serializers.CharField(help_text="Whose days these are: utc or local.")
    verdict = serializers.CharField(help_text="agrees (within tolerances) or look.")
    billed_usd = serializers.CharField(help_text="At the month's rate where the bill is in another currency.")
    metered_usd = serializers.CharField()
    gap_usd = serializers.CharField()
    coverage = serializers.CharField(allow_null=True, help_text="Share of billed usage that was metered.")
    buckets = BucketOutput(many=True, help_text="They add up to gap_usd.")
    cells = CellOutput(many=True, help_text=f"The {CELLS_MAX} with the largest gaps.")
    cells_left_out = serializers.IntegerField()
    days = DayOutput(many=True, help_text="Of all models, or with model= of one.")


class BorneOutput(serializers.Serializer[Any]):
    bucket = serializers.CharField()
    kind = serializers.CharField(help_text="Of the statement's line.")
    team = serializers.CharField(allow_null=True, help_text="Null: the statement without a team.")
    cost_usd = serializers.CharField()


class TrueUpInput(Exact):
    buckets = serializers.ListField(
        child=serializers.CharField(max_length=20), required=False, default=list(BUCKETS),
        help_text=f"Which to book, all by default: {', '.join(BUCKETS)}.",
    )  # fmt: skip


class TrueUpOutput(serializers.Serializer[Any]):
    booked_month = serializers.CharField(allow_null=True, help_text="Whose statements have the lines; null: a preview.")
    shares = BorneOutput(many=True)


class BillMappingInput(Exact):
    name = serializers.CharField(max_length=100, help_text="A mapping of this name gets other fields.")
    mapped = serializers.DictField(
        child=serializers.CharField(max_length=200, allow_blank=True),
        help_text=f'Column names, or "=" and what is the same for every row: {", ".join(FIELDS)}; day_order'
        f" ({', '.join(DAY_ORDERS)}), decimal_mark ({' or '.join(MARKS)}).",
    )


class BillMappingOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    mapped = serializers.DictField(child=serializers.CharField())
    saved_at = serializers.DateTimeField()
    saved_by = serializers.CharField()


class InvoicesView(ScopedView):
    scopes = {"GET": Scope.READ, "POST": Scope.MANAGE}
    parser_classes = [BillFormParser, RawParser]

    @extend_schema(
        operation_id="invoices_list",
        responses=listing(InvoiceOutput),
        parameters=[
            OpenApiParameter("month", str, description="YYYY-MM."),
            OpenApiParameter("provider", str),
            OpenApiParameter("limit", int, description=f"1 to {PAGE_MAX}, default {PAGE_DEFAULT}."),
            OpenApiParameter("cursor", str, description="`next` of the page before."),
        ],
        description="Newest first.",
    )
    def get(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        query = request.query_params
        asked = parameters.filters(query, ("provider",), ("month", "limit", "cursor"))
        month = parameters.month(query) if "month" in query else None
        limit = parameters.integer(query, "limit", PAGE_DEFAULT, minimum=1, maximum=PAGE_MAX)
        cursor = query.get("cursor")
        before: int | None = position_of(cursor, _Id) if cursor else None
        with tenant(self.organization):
            found = invoices.find_invoices(
                self.organization, month=month, provider=asked.get("provider", ""), before=before, limit=limit + 1
            )
        following = cursor_of(found[limit - 1].pk) if len(found) > limit else None
        return Response({"data": [invoice_json(row) for row in found[:limit]], "next": following})

    @extend_schema(
        operation_id="invoices_import",
        parameters=IMPORT,
        request=FILE,
        responses={201: InvoiceOutput},
        description="The file as the body, or in the field `file` of a form; gzip is read. Imported whole or not at"
        " all, and once: sent again it is 409 invoice_known.",
    )
    def post(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        body, name, said = file_of(request)
        given: dict[str, Any] = dict(parameters.filters(said, SAID, ()))
        month = parameters.month(said) if "month" in given else None
        given.pop("month", None)
        file = BillFile(format=given.pop("format", ""), body=body, file_name=name, month=month, **given)
        invoice = invoices.import_invoice(org=self.organization, file=file, actor=self.principal)
        return Response(invoice_json(invoice), status=201)


class InvoiceView(ScopedView):
    scopes = {"GET": Scope.READ, "DELETE": Scope.MANAGE}

    @extend_schema(
        operation_id="invoices_get",
        responses=InvoiceDetailOutput,
        parameters=[
            OpenApiParameter("limit", int, description=f"Lines: 1 to {LINES_MAX}, default {PAGE_DEFAULT}."),
            OpenApiParameter("cursor", str, description="`next` of the page before."),
        ],
        description="With its lines, in the order of the file.",
    )
    def get(self, request: Request, invoice_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        query = request.query_params
        parameters.filters(query, (), ("limit", "cursor"))
        limit = parameters.integer(query, "limit", PAGE_DEFAULT, minimum=1, maximum=LINES_MAX)
        cursor = query.get("cursor")
        after: int = position_of(cursor, _Id) if cursor else 0
        with tenant(self.organization):
            invoice = invoices.invoice_by_id(self.organization, invoice_id)
            lines = invoices.find_lines(self.organization, invoice, after=min(after, 2**31 - 1), limit=limit + 1)
        following = cursor_of(lines[limit - 1].number) if len(lines) > limit else None
        shown = list(invoices.lines_of(lines[:limit]))
        return Response({**invoice_json(invoice), "lines": shown, "next": following})

    @extend_schema(operation_id="invoices_delete", responses={204: None}, description="While nothing was trued up.")
    def delete(self, request: Request, invoice_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        invoices.delete_invoice(org=self.organization, invoice_id=invoice_id, actor=self.principal)
        return Response(status=204)


class ReconciliationView(ScopedView):
    scopes = {"GET": Scope.READ}

    @extend_schema(
        operation_id="invoices_reconciliation",
        responses=ReconciliationOutput,
        parameters=[OpenApiParameter("model", str, description="Days of this model alone.")],
        description="Of the invoice's provider and month, with all bills of both.",
    )
    def get(self, request: Request, invoice_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        asked = parameters.filters(request.query_params, ("model",), ())
        found = self.found(invoice_id)
        days = found.gap.model_days.get(asked["model"], ()) if "model" in asked else found.gap.days
        return Response({**reconciliation_json(found), "days": [_day(day) for day in days]})

    def found(self, invoice_id: int) -> Reconciliation:
        with tenant(self.organization):
            invoice = invoices.invoice_by_id(self.organization, invoice_id)
        (found,) = reconcile_month(self.organization, invoice.month, invoice.provider).found
        return found


class TrueUpView(ReconciliationView):
    scopes = {"GET": Scope.READ, "POST": Scope.MANAGE}

    @extend_schema(
        operation_id="invoices_true_up_preview",
        responses=TrueUpOutput,
        parameters=[],
        description="Who would bear what is left of each bucket. Nothing is booked.",
    )
    def get(self, request: Request, invoice_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        parameters.filters(request.query_params, (), ())
        found = self.found(invoice_id)
        with tenant(self.organization):
            parts = shares(self.organization, found)
        return Response({"booked_month": None, "shares": [_share(part) for part in parts]})

    @extend_schema(
        operation_id="invoices_true_up",
        request=TrueUpInput,
        responses={201: TrueUpOutput},
        description="Books what is left as adjustments, in the month while it is open, else in the first open one.",
    )
    def post(self, request: Request, invoice_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(TrueUpInput, request)
        done = true_ups.true_up(
            org=self.organization, invoice_id=invoice_id, actor=self.principal, buckets=given["buckets"]
        )
        month = f"{done.booked_month:%Y-%m}"
        return Response({"booked_month": month, "shares": [_share(part) for part in done.shares]}, status=201)


class MappingsView(ScopedView):
    scopes = {"GET": Scope.READ, "POST": Scope.MANAGE}

    @extend_schema(
        operation_id="invoice_mappings_list",
        responses=listing(BillMappingOutput),
        description=f"By name; at most {invoices.MAPPINGS_MAX}.",
    )
    def get(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        with tenant(self.organization):
            rows = invoices.list_mappings(self.organization)
        return Response({"data": [_mapping(row) for row in rows], "next": None})

    @extend_schema(operation_id="invoice_mappings_save", request=BillMappingInput, responses={201: BillMappingOutput})
    def post(self, request: Request) -> Response:
        parameters.require_unpinned(self.principal)
        given = validated(BillMappingInput, request)
        row = invoices.save_mapping(
            org=self.organization, name=given["name"], fields=given["mapped"], actor=self.principal
        )
        return Response(_mapping(row), status=201)


class MappingView(ScopedView):
    scopes = {"DELETE": Scope.MANAGE}

    @extend_schema(operation_id="invoice_mappings_remove", responses={204: None})
    def delete(self, request: Request, mapping_id: int) -> Response:
        parameters.require_unpinned(self.principal)
        invoices.remove_mapping(org=self.organization, mapping_id=mapping_id, actor=self.principal)
        return Response(status=204)


# --- shapes --------------------------------------------------------------------------------------------


def invoice_json(row: Invoice) -> dict[str, Any]:
    return {
        **{name: getattr(row, name) for name in InvoiceOutput().get_fields() if hasattr(row, name)},
        "month": f"{row.month:%Y-%m}",
        "total": format(row.total, "f"),
        "total_usd": usd_text(row.total_usd),
        "per_usd": None if row.per_usd is None else format(row.per_usd.normalize(), "f"),
    }


def reconciliation_json(found: Reconciliation) -> dict[str, Any]:
    gap, remaining = found.gap, found.remaining_usd
    cells = sorted(gap.cells, key=lambda cell: (-cell.gap_usd.copy_abs(), cell.model, cell.meter))
    return {
        "provider": found.provider,
        "month": f"{found.month:%Y-%m}",
        "invoices": [invoice.pk for invoice in found.invoices],
        "days_in": found.days,
        "verdict": gap.verdict,
        "billed_usd": usd_text(gap.billed_usd),
        "metered_usd": usd_text(gap.metered_usd),
        "gap_usd": usd_text(gap.gap_usd),
        "coverage": _text(found.coverage),
        "buckets": [
            {
                "bucket": name,
                "usd": usd_text(usd),
                "share": _text(share_of(usd, gap.usage_usd)),
                "booked_usd": usd_text(found.booked_usd.get(name, Decimal(0))),
                "remaining_usd": usd_text(remaining[name]),
            }
            for name, usd in gap.buckets.items()
        ],
        "cells": [_cell(cell) for cell in cells[:CELLS_MAX]],
        "cells_left_out": max(len(cells) - CELLS_MAX, 0),
    }


def _cell(cell: Cell) -> dict[str, Any]:
    return {
        "model": cell.model,
        "meter": cell.meter or None,
        "billed_usd": usd_text(cell.billed_usd),
        "metered_usd": usd_text(cell.metered_usd),
        "gap_usd": usd_text(cell.gap_usd),
        "billed_quantity": cell.billed_quantity,
        "metered_quantity": cell.metered_quantity,
        "buckets": {name: usd_text(usd) for name, usd in cell.buckets.items() if usd},
    }


def _day(day: Day) -> dict[str, Any]:
    return {
        "day": day.day,
        "billed_usd": usd_text(day.billed_usd),
        "metered_usd": usd_text(day.metered_usd),
        "gap_usd": usd_text(day.gap_usd),
        "verdict": day.verdict,
    }


def _share(part: Share) -> dict[str, Any]:
    return {"bucket": part.bucket, "kind": part.kind, "team": part.team, "cost_usd": usd_text(part.usd)}


def _mapping(row: BillMapping) -> dict[str, Any]:
    return {"id": row.pk, "name": row.name, "mapped": row.fields, "saved_at": row.saved_at, "saved_by": row.saved_by}


def _text(share: Decimal | None) -> str | None:
    return None if share is None else format(share, "f")
