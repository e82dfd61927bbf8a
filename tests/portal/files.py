"""Reads files that the portal gives, as a spreadsheet does."""

import csv
import io
import xml.etree.ElementTree as ET
import zipfile


def rows_of(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def book_of(content: bytes) -> list[list[list[str]]]:
    """Of each sheet its rows of texts and numbers as they are written. No cell may be a formula."""
    name = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
    with zipfile.ZipFile(io.BytesIO(content)) as book:
        paths = sorted(path for path in book.namelist() if path.startswith("xl/worksheets/sheet"))
        sheets = [ET.fromstring(book.read(path)) for path in paths]
        shared = "xl/sharedStrings.xml"
        texts = ET.fromstring(book.read(shared)).findall(f"{name}si") if shared in book.namelist() else []
    assert not any(sheet.findall(f".//{name}f") for sheet in sheets)

    def text_of(cell: ET.Element) -> str:
        text = "".join(cell.itertext())
        return "".join(texts[int(text)].itertext()) if cell.get("t") == "s" else text

    return [[[text_of(cell) for cell in row.iter(f"{name}c")] for row in sheet.iter(f"{name}row")] for sheet in sheets]
