"""The file of an export, as it is sent to whoever fetches it."""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.reports import sheets
from apps.reports.focus import CONTENT_TYPE as FOCUS_TYPE
from apps.reports.models import Export, ExportPart

UNPACKED_BYTES = 2**20
CONTENT_TYPES = {**sheets.CONTENT_TYPES, Export.Format.FOCUS.value: FOCUS_TYPE}
_ENDINGS = {Export.Format.FOCUS.value: "focus.csv"}
_UNSAFE_IN_FILES = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class File:
    """A file to send. `is_packed`: its pieces are gzip; `size_bytes` None: what they add up to is not known before."""

    name: str
    content_type: str
    is_packed: bool
    size_bytes: int | None
    pieces: Iterator[bytes]


def file_of(org: Organization, export: Export, *, takes_gzip: bool) -> File:
    """The file, piece by piece, each in a transaction of its own: whoever fetches it may be slow."""
    is_kept_packed = export.format == Export.Format.FOCUS
    pieces = _pieces(org, export)
    return File(
        name=file_name(export.title, export.format),
        content_type=CONTENT_TYPES[export.format],
        is_packed=is_kept_packed and takes_gzip,
        size_bytes=None if is_kept_packed and not takes_gzip else export.size_bytes,
        pieces=_unpacked(pieces) if is_kept_packed and not takes_gzip else pieces,
    )


def file_name(title: str, format: str) -> str:
    name = _UNSAFE_IN_FILES.sub("-", title.lower()).strip("-")[:120]
    return f"{name}.{_ENDINGS.get(format, format)}"


def _pieces(org: Organization, export: Export) -> Iterator[bytes]:
    number = 0
    while True:
        with tenant(org):
            part = ExportPart.objects.for_org(org).filter(export_id=export.pk, number=number).first()
        if part is None:
            return
        yield bytes(part.body)
        number += 1


def _unpacked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """A piece of the file may hold a hundred times its size: it is unpacked a piece at a time."""
    unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    for piece in pieces:
        packed = piece
        while packed:
            yield unpacking.decompress(packed, UNPACKED_BYTES)
            packed = unpacking.unconsumed_tail
    yield unpacking.flush()
