"""The PDF of a statement, and its chart as a picture: set by typst, in process, in fonts that come with the project."""

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

import msgspec
import typst

from apps.core.errors import DomainError
from apps.reports.document import Document
from apps.reports.papers.chart import chart_of
from apps.reports.papers.layout import paper_of

_HERE = Path(__file__).parent
# Packages that hold nothing but fonts, and where in them.
_FONTS = (
    ("fontpkg_noto_sans", "files"),
    ("fontpkg_noto_sans_arabic", "files"),
    ("fontpkg_noto_sans_devanagari", "files"),
    ("cvttf_NotoSansCJK_Regular", "."),
)
CHART_PIXELS_PER_INCH = 96
# A thousand lines take more than a second and 100 MB.
PDF_LINES_MAX = 5_000
# What typst remembers for so many compilations is gone after one more.
_REMEMBERED = 10


def statement_pdf(document: Document) -> bytes:
    """A4, with the document's JSON attached. The same document gives the same bytes.

    Names reach typst as data, never as its source: they are what strangers wrote. Raises `DomainError`
    (`too_many_lines`) above `PDF_LINES_MAX` lines.
    """
    if len(document.lines) + len(document.by_meter) > PDF_LINES_MAX:
        raise DomainError(
            "too_many_lines",
            f"A PDF has at most {PDF_LINES_MAX:,} lines, and this statement has more: take it as XLSX or CSV.",
            param="month",
        )
    given = {"paper": _json(paper_of(document)), "document": document.canonical.decode()}
    made = _set("statement.typ", given, "pdf", int(document.as_of.timestamp()))
    _forget()
    return made


def chart_png(document: Document) -> bytes:
    """The chart, 600 pixels wide on white; b"" where the statement has none."""
    chart = chart_of(document)
    return _set("chart.typ", {"chart": _json(chart)}, "png", 0) if chart else b""


def _json(content: object) -> str:
    return msgspec.json.encode(content).decode()


def _set(template: str, given: dict[str, str], kind: Literal["pdf", "png"], at: int) -> bytes:
    """One compiler a call: it is cheap, and no two threads may share one. Raises `typst.TypstError`."""
    compiler = typst.Compiler(
        input=str(_HERE / template), root=str(_HERE), font_paths=_fonts(), ignore_system_fonts=True
    )
    made = compiler.compile(format=kind, ppi=CHART_PIXELS_PER_INCH, sys_inputs=given, timestamp=at)
    assert isinstance(made, bytes)
    return made


def _forget() -> None:
    """Push out of typst's memory what a statement leaves there: 100 MB a thousand lines, for each of the last ten."""
    for _ in range(_REMEMBERED + 1):
        typst.compile(b"", format="svg", font_paths=_fonts(), ignore_system_fonts=True)


@cache
def _fonts() -> typst.Fonts:
    places = [Path(str(files(package))) / folder for package, folder in _FONTS]
    return typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=places)
