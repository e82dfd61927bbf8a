"""How a file of a bill arrives: as a form with a field `file`, or as the body itself."""

from collections.abc import Mapping
from typing import IO, Any

from django.core.exceptions import SuspiciousOperation
from django.http import QueryDict
from rest_framework.parsers import BaseParser, MultiPartParser
from rest_framework.request import Request

from apps.core.errors import DomainError
from apps.reports.bill_readers import BYTES_MAX

# What a form adds to its file.
FORM_BYTES_MAX = 64 * 1024


class RawParser(BaseParser):
    """The body, whatever its type."""

    media_type = "*/*"

    def parse(  # type: ignore[override]  # a file is no mapping
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> bytes:
        body: bytes = stream.read(BYTES_MAX + 1)
        return body


class BillFormParser(MultiPartParser):
    """A form that is not much larger than a bill may be."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        length = int((parser_context or {})["request"].META.get("CONTENT_LENGTH") or 0)
        if length > BYTES_MAX + FORM_BYTES_MAX:
            raise too_large()
        try:
            return super().parse(stream, media_type, dict(parser_context or {}))
        except SuspiciousOperation:  # more fields, files or text than any form of ours has
            raise too_large() from None


def too_large() -> DomainError:
    detail = f"A bill has at most {BYTES_MAX >> 20} MiB: export it by day, or by account."
    return DomainError("bill_too_large", detail, param="file")


def file_of(request: Request) -> tuple[bytes, str, QueryDict]:
    """The file's bytes, its name, and what is said beside it: in the query, and in the form where it is one.

    Raises `DomainError` (bill_too_large, file_missing).
    """
    said = request.query_params.copy()
    if isinstance(request.data, bytes):
        body, name = request.data, ""
    else:
        uploads = request.FILES.getlist("file")
        if len(uploads) != 1:
            detail = f"{len(uploads)} files are in the field `file`: send one, or send the file as the body itself."
            raise DomainError("file_missing", detail, param="file")
        (upload,) = uploads
        body, name = upload.read(BYTES_MAX + 1), str(upload.name)
        for field, values in request.POST.lists():
            for value in values:
                said.appendlist(field, value)
    if len(body) > BYTES_MAX:
        raise too_large()
    if not body:
        raise DomainError("file_missing", "The body is empty: send the file of the bill.", param="file")
    return body, name, said
