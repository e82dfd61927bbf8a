"""Exports through the API: files of spend and FOCUS files, written by a worker."""

from typing import Annotated, Any

from django.http import StreamingHttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from msgspec import Meta
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import parameters
from apps.api.v1.names import validated
from apps.api.views import Exact, ScopedView, listing
from apps.core.cursors import cursor_of, position_of
from apps.core.errors import DomainError
from apps.organizations.permissions import Scope
from apps.organizations.selectors import Principal
from apps.reports import exporting
from apps.reports.export_files import file_of
from apps.reports.models import Export
from apps.reports.selectors import SpendQuestion
from apps.reports.tasks import hint_export

PAGE_MAX, PAGE_DEFAULT = 200, 100
# More parts of a question than anybody asks are a mistake.
NAMES_MAX = 32
PAGED = [
    OpenApiParameter("limit", int, description=f"1 to {PAGE_MAX}, default {PAGE_DEFAULT}."),
    OpenApiParameter("cursor", str, description="`next` of the page before."),
]
_Position = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_VALUE: dict[str, Any] = {"max_length": parameters.VALUE_LENGTH_MAX, "allow_blank": True, "trim_whitespace": False}


class ExportInput(Exact):
    format = serializers.CharField(max_length=64, help_text="csv, xlsx or focus_csv.")
    locals()["from"] = serializers.CharField(max_length=64, help_text="First instant; of a FOCUS file: begins a day.")
    to = serializers.CharField(max_length=64, help_text="First instant no longer included.")
    group_by = serializers.ListField(
        child=serializers.CharField(max_length=300),
        required=False,
        default=list,
        max_length=NAMES_MAX,
        help_text="Dimensions, 1 to 6; of a FOCUS file: none.",
    )
    filters = serializers.DictField(
        child=serializers.CharField(**_VALUE),
        required=False,
        default=dict,
        help_text='Dimensions with the one value to keep; "": what has none.',
    )
    excluded = serializers.DictField(
        child=serializers.ListField(child=serializers.CharField(**_VALUE), max_length=NAMES_MAX),
        required=False,
        default=dict,
        help_text="Dimensions with the values to leave out.",
    )
    basis = serializers.CharField(required=False, default="occurred", max_length=64, help_text="occurred or booked.")


class ExportOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    title = serializers.CharField()
    format = serializers.CharField()
    state = serializers.ChoiceField(choices=Export.State.choices)
    locals()["from"] = serializers.DateTimeField()
    to = serializers.DateTimeField()
    group_by = serializers.ListField(child=serializers.CharField())
    filters = serializers.DictField(child=serializers.CharField(allow_blank=True))
    excluded = serializers.DictField(child=serializers.ListField(child=serializers.CharField(allow_blank=True)))
    basis = serializers.CharField()
    rows = serializers.IntegerField(allow_null=True, help_text="Once they are known.")
    rows_done = serializers.IntegerField()
    unpriced_events = serializers.IntegerField(
        allow_null=True, help_text="Calls without a known price; a FOCUS file has no row for them."
    )
    size_bytes = serializers.IntegerField(help_text="As it is kept; a FOCUS file is kept packed.")
    error = serializers.CharField(allow_blank=True)
    made_by = serializers.CharField(help_text='"key:" and a number.')
    asked_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True)


class ExportsView(ScopedView):
    scopes = {"GET": Scope.READ, "POST": Scope.READ}

    @extend_schema(
        operation_id="exports_list",
        parameters=PAGED,
        responses=listing(ExportOutput),
        description="What keys asked for, the newest first. A pinned key gets what is filtered by all its pins.",
    )
    def get(self, request: Request) -> Response:
        parameters.filters(request.query_params, (), ("limit", "cursor"))
        limit = parameters.integer(request.query_params, "limit", PAGE_DEFAULT, minimum=1, maximum=PAGE_MAX)
        cursor = request.query_params.get("cursor")
        within = parameters.within_pins(self.principal, {})
        before = position_of(cursor, _Position) if cursor else None
        found = exporting.exports_of_keys(self.organization, within=within, before=before, limit=limit + 1)
        following = cursor_of(found[limit - 1].pk) if len(found) > limit else None
        return Response({"data": [export_json(export) for export in found[:limit]], "next": following})

    @extend_schema(
        operation_id="exports_create",
        request=ExportInput,
        responses={202: ExportOutput},
        description="A worker writes it: ask for it until its `state` is done or failed. A pinned key exports its own.",
    )
    def post(self, request: Request) -> Response:
        asked = _asked(self.principal, validated(ExportInput, request))
        exporting.check_asked(self.organization, asked)
        export = exporting.ask_export(org=self.organization, asked=asked)
        hint_export(self.organization.pk)
        return Response(export_json(export), status=202)


class ExportView(ScopedView):
    scopes = {"GET": Scope.READ, "DELETE": Scope.READ}

    @extend_schema(operation_id="exports_get", responses=ExportOutput)
    def get(self, request: Request, export_id: int) -> Response:
        within = parameters.within_pins(self.principal, {})
        return Response(export_json(exporting.export_of_keys(self.organization, export_id, within=within)))

    @extend_schema(
        operation_id="exports_delete",
        responses={204: None},
        description="One that this key asked for, whatever its state.",
    )
    def delete(self, request: Request, export_id: int) -> Response:
        exporting.delete_export_of_key(org=self.organization, export_id=export_id, key=self.principal)
        return Response(status=204)


class FileRenderer(JSONRenderer):
    """Lets a client ask for a file by Accept; an error is still a problem in JSON."""

    media_type = "*/*"


class ExportFileView(ScopedView):
    renderer_classes = [JSONRenderer, FileRenderer]
    scopes = {"GET": Scope.READ}

    @extend_schema(
        operation_id="exports_file",
        responses={
            (200, "text/csv"): OpenApiTypes.STR,
            (200, "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"): OpenApiTypes.BINARY,
        },
        description="The file, once `state` is done. A FOCUS file comes packed to who accepts gzip.",
    )
    def get(self, request: Request, export_id: int) -> StreamingHttpResponse:
        within = parameters.within_pins(self.principal, {})
        export = exporting.export_of_keys(self.organization, export_id, within=within)
        if export.state != Export.State.DONE:
            raise DomainError("export_not_ready", f"The export {export_id} is {export.state}: it has no file.")
        file = file_of(self.organization, export, takes_gzip="gzip" in request.headers.get("Accept-Encoding", ""))
        response = StreamingHttpResponse(file.pieces, content_type=file.content_type)
        response["Content-Disposition"] = f'attachment; filename="{file.name}"'
        if file.is_packed:
            response["Content-Encoding"] = "gzip"
        if file.size_bytes is not None:
            response["Content-Length"] = str(file.size_bytes)
        response["X-Unpriced-Events"] = str(export.unpriced_events or 0)
        return response


def _asked(principal: Principal, given: dict[str, Any]) -> exporting.Asked:
    now = timezone.now()
    start, end = (parameters.instant(given, name, now) for name in ("from", "to"))
    filters = parameters.within_pins(principal, given["filters"])
    question = SpendQuestion(
        start=start,
        end=end,
        group_by=tuple(given["group_by"]),
        filters=filters,
        excluded={name: tuple(values) for name, values in given["excluded"].items()},
        basis=given["basis"],
    )
    return exporting.Asked(
        actor=principal,
        title=_title(question, given["format"]),
        format=given["format"],
        question=question,
        team=filters.get("team", ""),
    )


def _title(question: SpendQuestion, kind: str) -> str:
    what = "FOCUS 1.2" if kind == Export.Format.FOCUS else f"Spend by {' and '.join(question.group_by)}"
    return f"{what[:200]}, {question.start:%Y-%m-%d} to {question.end:%Y-%m-%d}"


def export_json(export: Export) -> dict[str, Any]:
    question = exporting.read_question(export.question)
    is_done = export.state == Export.State.DONE
    return {
        "id": export.pk,
        "title": export.title,
        "format": export.format,
        "state": export.state,
        "from": question.start,
        "to": question.end,
        "group_by": question.group_by,
        "filters": question.filters,
        "excluded": question.excluded,
        "basis": question.basis,
        "rows": export.row_count,
        "rows_done": export.rows_done,
        "unpriced_events": export.unpriced_events,
        "size_bytes": export.size_bytes,
        "error": export.error,
        "made_by": export.made_by,
        "asked_at": export.asked_at,
        "finished_at": export.finished_at,
        "expires_at": export.finished_at + exporting.KEPT if is_done and export.finished_at else None,
    }
