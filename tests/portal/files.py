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
        sheets = [ET.fromstring(book.read(f"xl/worksheets/sheet{number}.xml")) for number in (1, 2)]
    assert not any(sheet.findall(f".//{name}f") for sheet in sheets)
    return [
        [["".join(cell.itertext()) for cell in row.iter(f"{name}c")] for row in sheet.iter(f"{name}row")]
        for sheet in sheets
    ]
