"""Reads papers back: the text of a PDF, and where there is ink on its pages."""

import io
import re
import struct
import zlib
from collections.abc import Iterator

import msgspec
import typst
from pypdf import PdfReader

from apps.reports.document import Document
from apps.reports.papers import pdf
from apps.reports.papers.layout import paper_of

PIXELS_PER_INCH = 36


def pages_of(content: bytes) -> list[str]:
    return [page.extract_text() for page in PdfReader(io.BytesIO(content)).pages]


def squeezed(text: str) -> str:
    """Without what depends on where lines break."""
    return re.sub(r"[\s\u200b]+", "", text)


def stands_in_order(text: str, parts: list[str]) -> list[str]:
    """The parts that are not found after the part before them."""
    rest, missing = squeezed(text), []
    for part in map(squeezed, parts):
        _, found, after = rest.partition(part)
        if found:
            rest = after
        else:
            missing.append(part)
    return missing


def inked_columns(document: Document) -> Iterator[tuple[float, float]]:
    """Of each page, the leftmost and the rightmost ink in millimetres; paper is 210 wide."""
    given = {"paper": msgspec.json.encode(paper_of(document)).decode(), "document": ""}
    made = typst.compile(
        str(pdf._HERE / "statement.typ"), root=str(pdf._HERE), font_paths=pdf._fonts(), ignore_system_fonts=True,
        format="png", ppi=float(PIXELS_PER_INCH), sys_inputs=given,
    )  # fmt: skip
    for page in made if isinstance(made, list) else [made]:
        rows = rows_of_pixels(page)
        inked = [x for row in rows for x in range(len(row) // 4) if row[4 * x : 4 * x + 3] != b"\xff\xff\xff"]
        yield min(inked) * 25.4 / PIXELS_PER_INCH, (max(inked) + 1) * 25.4 / PIXELS_PER_INCH


def size_of(png: bytes) -> tuple[int, int]:
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def rows_of_pixels(png: bytes) -> list[bytes]:
    """Rows of RGBA of a PNG with 8 bits a channel."""
    width, _ = size_of(png)
    raw, rows, before = zlib.decompress(_pixels(png)), [], bytes(4 * width)
    for start in range(0, len(raw), 4 * width + 1):
        row = bytearray(raw[start + 1 : start + 1 + 4 * width])
        for at in range(len(row)):
            left, up_left = (row[at - 4], before[at - 4]) if at >= 4 else (0, 0)
            row[at] = (row[at] + _predicted(raw[start], left, before[at], up_left)) & 255
        before = bytes(row)
        rows.append(before)
    return rows


def _pixels(png: bytes) -> bytes:
    assert (png[24], png[25]) == (8, 6), "8 bits, RGBA"
    found, at = b"", 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            found += png[at + 8 : at + 8 + length]
        at += 12 + length
    return found


def _predicted(filter_kind: int, left: int, up: int, up_left: int) -> int:
    if filter_kind < 4:
        return (0, left, up, (left + up) // 2)[filter_kind]
    estimate = left + up - up_left
    return min((left, up, up_left), key=lambda value: abs(estimate - value))
