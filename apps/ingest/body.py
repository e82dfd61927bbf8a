"""The body of a request, taken apart into events: bounded, exact, refused with a reason.

Nothing is built from a body before its size is known to be harmless: an array is cut into at most
`EVENTS_MAX` slices, and only a slice of at most `EVENT_BYTES_MAX` is decoded, one at a time.

    status  code                  when
    ------  --------------------  -----------------------------------------------------------------------
    415     unsupported_encoding  Content-Encoding is neither gzip nor identity
    413     body_too_large        over 8 MiB on the wire or decoded, or over 64 KiB around "events"
    413     compression_ratio     over 1 MiB decoded at more than 100:1
    413     too_many_events       over 1,000 events
    400     gzip_invalid          broken, truncated, followed by other bytes, or compressed twice
    400     not_utf8              invalid UTF-8; names the byte
    400     not_json              a syntax error; names the byte
    400     too_deep              an event nests over 8 levels
    400     duplicate_key         a key appears twice in one object, however it is spelled
    400     not_an_array          valid JSON, but neither an array nor an object with an "events" array
    400     bare_event            one event that is not inside an array

In NDJSON a line answers for itself: its not_utf8, not_json, too_deep and duplicate_key refuse the line
alone. So does event_too_large, for a line or an element over 64 KiB, which is refused unread.
"""

import json
import re
import zlib
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import msgspec

BODY_BYTES_MAX = 8 * 2**20
WIRE_BYTES_MAX = 8 * 2**20
EVENT_BYTES_MAX = 64 * 2**10
EVENTS_MAX = 1_000
DEPTH_MAX = 8

# Ordinary telemetry compresses 10 to 40 times; small bodies may repeat themselves as they like.
RATIO_MAX = 100
RATIO_FREE_BYTES = 2**20

NDJSON_TYPES = frozenset(
    {
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/x-jsonl",
        "application/jsonlines",
        "application/x-jsonlines",
    }
)

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WBITS = 31
_ENVELOPE_DEPTH = 2
_SPACES = b" \t\r\n"
_LINE = re.compile(rb"[^ \t\r\n][^\n]*")
# A key with its colon, any other string, or a bracket. Possessive: a long string must cost no memory.
_TOKEN = re.compile(rb'("[^"\\]*+(?:\\.[^"\\]*+)*+")(\s*+:\s*+)?|[\[\]{}]')
# Alternatives in this order, so that an escaped backslash or a proper pair is stepped over whole.
_ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\."
)
# An integer with more digits is out of every range, whatever they are.
_INTEGER_DIGITS_KEPT = 40


class BodyError(Exception):
    """The whole body is refused; `status` is 400, 413 or 415."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail


class RawEvent(msgspec.Struct, frozen=True, gc=False):
    """One event as JSON values, without duplicate keys and at most `DEPTH_MAX` deep.

    `plain` certifies that no string in it holds a control character or a lone surrogate.
    """

    value: object
    plain: bool = False


class Unreadable(msgspec.Struct, frozen=True, gc=False):
    """One event that is refused by itself, before it could be decoded."""

    code: str
    detail: str


def inflate(chunks: Iterable[bytes], content_encoding: str | None) -> bytes:
    """The decoded body; holds at most `BODY_BYTES_MAX` and stops reading `chunks` at the first excess.

    Raises `BodyError`: unsupported_encoding, body_too_large, compression_ratio, gzip_invalid.
    """
    encoding = (content_encoding or "identity").strip().lower()
    wire = _at_most(WIRE_BYTES_MAX, chunks, "on the wire")
    if encoding == "identity":
        body = b"".join(wire)
    elif encoding in ("gzip", "x-gzip"):
        body = b"".join(_at_most(BODY_BYTES_MAX, _gunzip(wire), "decoded"))
    else:
        raise BodyError(
            415,
            "unsupported_encoding",
            f"Content-Encoding {encoding[:64]!r} is not supported; send gzip, or no encoding at all.",
        )
    if body.startswith(_GZIP_MAGIC):
        raise BodyError(
            400,
            "gzip_invalid",
            f"The body is still gzip after Content-Encoding {encoding} was undone; compress it once and "
            "send Content-Encoding: gzip.",
        )
    return body


def split_events(body: bytes, content_type: str | None) -> Iterator[RawEvent | Unreadable]:
    """The events in order, decoded one at a time while the caller iterates.

    NDJSON where `content_type` says so; anything else is read as JSON: an array, or an object whose
    "events" is one (its other keys are ignored). No events at all is a valid body.
    Raises `BodyError`, also during the iteration.
    """
    media_type = (content_type or "").partition(";")[0].strip().lower()
    if media_type in NDJSON_TYPES:
        return _read_lines(_lines(body))
    return _read_elements(_elements(body))


# --- The wire ------------------------------------------------------------------------------------------


def _at_most(bytes_max: int, chunks: Iterable[bytes], where: str) -> Iterator[bytes]:
    total = 0
    for chunk in chunks:
        total += len(chunk)
        if total > bytes_max:
            raise BodyError(
                413,
                "body_too_large",
                f"The body has more than {bytes_max} bytes {where}; split it into several requests.",
            )
        yield chunk


def _gunzip(chunks: Iterable[bytes]) -> Iterator[bytes]:
    stream = zlib.decompressobj(wbits=_GZIP_WBITS)
    wire_bytes = size = 0
    for chunk in filter(None, chunks):
        if stream.eof:
            raise _gzip_invalid(f"is followed by other bytes at byte {wire_bytes}")
        wire_bytes += len(chunk)
        try:
            piece = stream.decompress(chunk, BODY_BYTES_MAX + 1 - size)
        except zlib.error:
            raise _gzip_invalid(f"is broken, after {size} decoded bytes") from None
        if stream.unused_data:
            raise _gzip_invalid(f"is followed by other bytes at byte {wire_bytes - len(stream.unused_data)}")
        size += len(piece)
        if size > RATIO_FREE_BYTES and size > RATIO_MAX * wire_bytes:
            raise BodyError(
                413,
                "compression_ratio",
                f"The body expands over {RATIO_MAX} times; send it uncompressed, or in smaller requests.",
            )
        yield piece
    if not stream.eof:
        raise _gzip_invalid(f"ends too early, at byte {wire_bytes}")


def _gzip_invalid(fault: str) -> BodyError:
    return BodyError(400, "gzip_invalid", f"The gzip stream {fault}; send one complete gzip member.")


# --- A body into slices --------------------------------------------------------------------------------


_ABSENT = msgspec.Raw()


class _Envelope(msgspec.Struct):
    events: msgspec.Raw = _ABSENT
    event_id: msgspec.Raw = _ABSENT


# An array read as a struct stops at the first element too many, before a longer list is built.
_Slots = msgspec.defstruct(
    "_Slots",
    [(f"event_{index}", msgspec.Raw, _ABSENT) for index in range(EVENTS_MAX)],
    array_like=True,
    forbid_unknown_fields=True,
)

_SLOTS: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_Slots)
_ENVELOPE: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_Envelope)
_ANYTHING: msgspec.json.Decoder[Any] = msgspec.json.Decoder(msgspec.Raw)


def _lines(body: bytes) -> list[bytes]:
    lines = [match[0].rstrip(_SPACES) for match in islice(_LINE.finditer(body), EVENTS_MAX + 1)]
    if len(lines) > EVENTS_MAX:
        raise _too_many_events()
    return lines


def _elements(body: bytes) -> list[bytes]:
    """The elements of the events array, each as it stands in the body."""
    if body.startswith(BOM_UTF8):
        raise BodyError(400, "not_json", "The body starts with a byte order mark at byte 0; send it without.")
    if not body.isascii():
        _text(body)
    masked = _mask_lone_surrogates(body)
    start, stop = 0, len(body)
    first = body.lstrip(_SPACES)[:1]
    if first == b"{":
        start, stop = _events_span(body, masked)
    elif first != b"[":
        _skim(_ANYTHING, masked)
        raise _not_an_array("The body")
    slots = msgspec.structs.astuple(_skim(_SLOTS, masked[start:stop]))
    elements = [bytes(slot) for slot in slots if slot is not _ABSENT]
    return elements if masked is body else _unmask(elements, body, masked, start)


def _events_span(body: bytes, masked: bytes) -> tuple[int, int]:
    """Where the array of an envelope starts and stops; what stands around it is read in full."""
    envelope = _skim(_ENVELOPE, masked)
    array = bytes(envelope.events)
    if envelope.events is _ABSENT and envelope.event_id is not _ABSENT:
        raise BodyError(400, "bare_event", "The body is one event; wrap it in an array: [{...}].")
    if not array.startswith(b"["):
        raise _not_an_array('"events"' if array else 'The body is an object without "events":')
    if len(body) - len(array) > EVENT_BYTES_MAX:
        raise BodyError(
            413,
            "body_too_large",
            f'What stands around "events" has more than {EVENT_BYTES_MAX} bytes; drop it.',
        )
    start = next(
        token.end()
        for token, depth in _tokens(masked)
        if depth == 1 and token[2] and msgspec.json.decode(token[1]) == "events"
    )
    stop = start + len(array)
    if masked[start:stop] != array:
        raise _duplicate_key("events")
    try:
        _read_exactly(body[:start] + b"null" + body[stop:], DEPTH_MAX + _ENVELOPE_DEPTH)
    except BodyError as error:
        raise BodyError(error.status, error.code, f'Around "events": {error.detail}') from None
    return start, stop


def _tokens(text: bytes) -> Iterator[tuple[re.Match[bytes], int]]:
    """Keys, strings and brackets of valid JSON, each with the depth after it."""
    depth = 0
    for token in _TOKEN.finditer(text):
        if token[0] in (b"{", b"["):
            depth += 1
        elif token[0] in (b"}", b"]"):
            depth -= 1
        yield token, depth


def _skim(decoder: msgspec.json.Decoder[Any], text: bytes) -> Any:
    """Slices of `text` by a decoder of `Raw`s, which checks the syntax of all of it and builds nothing."""
    try:
        return decoder.decode(text)
    except msgspec.ValidationError:
        raise _too_many_events() from None
    except msgspec.DecodeError as error:
        raise BodyError(400, "not_json", f"The body, {len(text)} bytes, is not valid JSON: {error}.") from None
    except RecursionError:
        depth_max = DEPTH_MAX + _ENVELOPE_DEPTH
        byte = next(token.start() for token, depth in _tokens(text) if depth > depth_max)
        raise BodyError(400, "too_deep", f"Nests deeper than {depth_max} levels at byte {byte}.") from None


def _mask_lone_surrogates(body: bytes) -> bytes:
    """The body itself, or a copy of the same length with NUL for each lone surrogate escape.

    A lone surrogate refuses its event, but to the skimming decoder it is a syntax error of the body.
    """
    if b"\\ud" not in body and b"\\uD" not in body:
        return body
    masked = None
    for escape in _ESCAPE.finditer(body):
        if escape[1]:
            masked = masked or bytearray(body)
            masked[escape.start() : escape.end()] = b"\\u0000"
    return body if masked is None else bytes(masked)


def _unmask(elements: list[bytes], body: bytes, masked: bytes, start: int) -> list[bytes]:
    """The same slices, cut out of `body`. Between two elements stand only spaces and a comma."""
    originals = []
    position = masked.index(b"[", start) + 1
    for element in elements:
        position = masked.index(element, position)
        originals.append(body[position : position + len(element)])
        position += len(element)
    return originals


# --- A slice into an event -----------------------------------------------------------------------------


def _nested(depth: int) -> Any:
    """The type of JSON values that nest at most `depth` levels."""
    scalar: Any = None | bool | int | float | str
    value = scalar
    for _ in range(depth):
        value = scalar | dict.__class_getitem__((str, value)) | list.__class_getitem__(value)
    return value


_CONTAINERS = (dict, list)
_EVENT: msgspec.json.Decoder[object] = msgspec.json.Decoder(_nested(DEPTH_MAX))
_encode = msgspec.json.Encoder().encode


def _read_lines(lines: list[bytes]) -> Iterator[RawEvent | Unreadable]:
    for line in lines:
        try:
            yield read_one(line)
        except BodyError as error:
            yield Unreadable(error.code, error.detail)


def _read_elements(elements: list[bytes]) -> Iterator[RawEvent | Unreadable]:
    for index, element in enumerate(elements):
        try:
            yield read_one(element)
        except BodyError as error:
            raise BodyError(error.status, error.code, f"Event {index}: {error.detail}") from None


def read_one(text: bytes) -> RawEvent | Unreadable:
    """One event, or another request of one object.

    Written again it has as many colons as before, or a duplicate key took one along. Only an escaped colon
    could make up for that one; such a text is read the exact way, which is slower.
    """
    if len(text) > EVENT_BYTES_MAX:
        return Unreadable(
            "event_too_large",
            f"The event has {len(text)} bytes; the limit is {EVENT_BYTES_MAX}: leave all text out.",
        )
    try:
        value = _EVENT.decode(text)
        again = _encode(value)
    except (msgspec.DecodeError, ValueError):
        return RawEvent(_read_exactly(text, DEPTH_MAX))
    if text.count(b":") != again.count(b":") or b"\\u003" in text:
        return RawEvent(_read_exactly(text, DEPTH_MAX))
    return RawEvent(value, _is_plain(again))


def _is_plain(json_text: bytes) -> bool:
    """Whether no string holds a control character: the encoder escapes those below U+0020 only."""
    if b"\\" in json_text or b"\x7f" in json_text:
        return False
    return json_text.isascii() or json_text.decode().isprintable()


def _read_exactly(text: bytes, depth_max: int) -> object:
    """The value of any JSON text. Raises `BodyError`: not_utf8, not_json, too_deep, duplicate_key."""
    decoded = _text(text)
    try:
        value: object = _EXACT.decode(decoded)
    except json.JSONDecodeError as error:
        byte = len(decoded[: error.pos].encode())
        raise BodyError(400, "not_json", f"Not valid JSON at byte {byte}: {error.msg}.") from None
    except RecursionError:
        raise _too_deep(depth_max) from None
    if _is_deeper(value, depth_max):
        raise _too_deep(depth_max)
    return value


def _is_deeper(value: object, depth_max: int) -> bool:
    level = [value] if isinstance(value, _CONTAINERS) else []
    for _ in range(depth_max):
        level = [
            child
            for container in level
            for child in (container.values() if isinstance(container, dict) else container)
            if isinstance(child, _CONTAINERS)
        ]
    return bool(level)


def _object_of_unique_keys(members: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(members)
    if len(value) < len(members):
        raise _duplicate_key(Counter(key for key, _ in members).most_common(1)[0][0])
    return value


def _refuse_constant(name: str) -> None:
    raise BodyError(400, "not_json", f"{name} is not a JSON value; leave the field out where nothing is known.")


_EXACT = json.JSONDecoder(
    object_pairs_hook=_object_of_unique_keys,
    parse_constant=_refuse_constant,
    parse_int=lambda digits: int(digits[:_INTEGER_DIGITS_KEPT]),
)


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise BodyError(
            400, "not_utf8", f"Not valid UTF-8 at byte {error.start} (0x{body[error.start]:02x}); send UTF-8."
        ) from None


def _too_many_events() -> BodyError:
    return BodyError(
        413, "too_many_events", f"The body has more than {EVENTS_MAX} events; split it into several requests."
    )


def _too_deep(depth_max: int) -> BodyError:
    return BodyError(400, "too_deep", f"Nests deeper than {depth_max} levels; send usage and dimensions only.")


def _duplicate_key(key: str) -> BodyError:
    return BodyError(400, "duplicate_key", f"The key {key[:64]!a} appears twice in one object; send each key once.")


def _not_an_array(what: str) -> BodyError:
    return BodyError(
        400,
        "not_an_array",
        f'{what} is not an array of events; send [...], or {{"events": [...]}}, or NDJSON.',
    )
