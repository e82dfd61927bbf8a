"""Files as they come: unpacked, decoded, and cut into pages or rows. Pure."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from apps.reports.bill_readers.lines import BYTES_MAX, ROWS_MAX, BillError

_GZIP = b"\x1f\x8b"
_FIELD_BYTES_MAX = 64 * 1024
DELIMITERS = (",", ";", "\t")
csv.field_size_limit(_FIELD_BYTES_MAX)


def text_of_file(body: bytes) -> str:
    """The file's text, unpacked where it is gzip. Raises `BillError` (bill_too_large, bill_unreadable)."""
    if body.startswith(_GZIP):
        body = _unpacked(body)
    if len(body) > BYTES_MAX:
        raise _too_large()
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BillError(
            "bill_unreadable", f"Byte {error.start + 1} is not UTF-8: save the file as UTF-8 and send it again.",
            param="file",
        ) from None  # fmt: skip


def _unpacked(body: bytes) -> bytes:
    """Every member of a gzip file, never much more than `BYTES_MAX` of them."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
            found = file.read(BYTES_MAX + 1)
    except (OSError, EOFError, zlib.error):
        detail = "The gzip file is damaged or cut off: send it again whole."
        raise BillError("bill_unreadable", detail, param="file") from None
    if len(found) > BYTES_MAX:
        raise _too_large()
    return found


def _too_large() -> BillError:
    return BillError(
        "bill_too_large", f"A bill has at most {BYTES_MAX >> 20} MiB unpacked: export it by day, or by account.",
        param="file",
    )  # fmt: skip


def json_of(body: bytes) -> Any:
    """The file's JSON with every number that is no integer as an exact `Decimal`."""
    try:
        return json.loads(text_of_file(body), parse_float=exact_number, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        detail = f"The file is not JSON ({str(error)[:80]}): send the answer of the provider's API as it came."
        raise BillError("bill_unreadable", detail, param="file") from None


def exact_number(text: str) -> Decimal:
    """Raises `ValueError` where no `Decimal` has such an exponent."""
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text[:40]} is no number") from None


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number")


def pages(found: Any) -> Iterator[Mapping[str, Any]]:
    """The pages of an answer: one, or an array of all. Raises `BillError` (`bill_incomplete`) where the last says that
    more follow.
    """
    given = found if isinstance(found, list) else [found]
    if not given or not all(isinstance(page, dict) and isinstance(page.get("data"), list) for page in given):
        detail = 'The file has no "data": send the page that the API answered, or an array of all pages.'
        raise BillError("bill_unreadable", detail, param="file")
    if given[-1].get("has_more"):
        detail = 'The last page has "has_more": true: fetch the pages after it and send all as one array.'
        raise BillError("bill_incomplete", detail, param="file")
    yield from given


def results(found: Any) -> Iterator[tuple[int, Mapping[str, Any], Mapping[str, Any]]]:
    """(number from 1, bucket, result) of every result of every page."""
    number = 0
    for page in pages(found):
        for bucket in page["data"]:
            if not isinstance(bucket, dict) or not isinstance(bucket.get("results"), list):
                detail = 'A bucket has no "results": send the answer of the provider\'s API as it came.'
                raise BillError("bill_unreadable", detail, param="file")
            for result in bucket["results"]:
                number += 1
                check_rows(number)
                if not isinstance(result, dict):
                    raise BillError("bill_unreadable", f"Row {number} is no object.", param="file")
                yield number, bucket, result


def check_rows(number: int) -> None:
    if number > ROWS_MAX:
        detail = f"A bill has at most {ROWS_MAX:,} rows: export it by day rather than by hour, or by account."
        raise BillError("bill_too_large", detail, param="file")


def rows(text: str) -> tuple[Sequence[str], Iterator[tuple[int, Mapping[str, str]]]]:
    """The names of a CSV file's columns, and its rows with their numbers (the first below the header is 1)."""
    first = text.split("\n", 1)[0]
    delimiter = max(DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        header = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise _not_csv(1, error) from None
    if len(header) < 2 or len({*header} - {""}) < len(header) - header.count(""):
        detail = "The first row has no two different column names: a CSV file begins with its header."
        raise BillError("bill_unreadable", detail, param="file")
    return header, _rows(reader, header)


def _rows(reader: Any, header: Sequence[str]) -> Iterator[tuple[int, Mapping[str, str]]]:
    number = 0
    try:
        for cells in reader:
            if not any(cells):
                continue
            number += 1
            check_rows(number)
            if len(cells) != len(header):
                detail = f"Row {number} has {len(cells)} cells, the header {len(header)}: quote cells that hold commas."
                raise BillError("bill_unreadable", detail, param="file")
            yield number, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise _not_csv(number + 1, error) from None


def _not_csv(number: int, error: csv.Error) -> BillError:
    return BillError("bill_unreadable", f"Row {number} is no CSV ({str(error)[:80]}).", param="file")
