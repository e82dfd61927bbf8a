"""What a body is refused for, and that nothing slips through the quick way of reading it."""

import gzip
import json
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from apps.ingest.body import (
    BODY_BYTES_MAX,
    DEPTH_MAX,
    EVENT_BYTES_MAX,
    EVENTS_MAX,
    BodyError,
    RawEvent,
    Unreadable,
    inflate,
    split_events,
)
from apps.ingest.record import UsageRecord, Window, read_batch
from tests.ingest.hostile import ACCEPTED, Answered, Case, Refused, hostile_cases

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WINDOW = Window.around(NOW, oldest_kept=NOW - timedelta(days=760))
CHUNK_BYTES = 64 * 1024


def chunks(body: bytes) -> Iterator[bytes]:
    return (body[start : start + CHUNK_BYTES] for start in range(0, len(body), CHUNK_BYTES))


def values(body: bytes, content_type: str = "application/json") -> list[object]:
    raws = list(split_events(body, content_type))
    assert all(isinstance(raw, RawEvent) for raw in raws)
    return [raw.value for raw in raws if isinstance(raw, RawEvent)]


def refusal(body: bytes, content_type: str = "application/json") -> BodyError:
    with pytest.raises(BodyError) as caught:
        list(split_events(body, content_type))
    return caught.value


# --- The hostile corpus ----------------------------------------------------------------------------------


def test_the_corpus_is_large_and_its_names_are_unique() -> None:
    names = [case.name for case in hostile_cases(NOW)]
    assert len(names) >= 220
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("case", hostile_cases(NOW), ids=lambda case: case.name)
def test_it_answers_a_hostile_body(case: Case) -> None:
    assert answer(case) == case.expected


def answer(case: Case) -> Refused | Answered:
    try:
        batch = read_batch(inflate(chunks(case.body), case.content_encoding), case.content_type, WINDOW)
    except BodyError as error:
        return Refused(error.status, error.code)
    return Answered(tuple(ACCEPTED if isinstance(item, UsageRecord) else item.code for item in batch.items))


# --- The wire --------------------------------------------------------------------------------------------


def test_it_stops_reading_a_body_without_end() -> None:
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += CHUNK_BYTES
            yield bytes(CHUNK_BYTES)

    with pytest.raises(BodyError, match=f"more than {BODY_BYTES_MAX} bytes on the wire"):
        inflate(endless(), None)
    assert read <= BODY_BYTES_MAX + CHUNK_BYTES


def test_a_bomb_costs_no_memory() -> None:
    bomb = next(case for case in hostile_cases(NOW) if case.name == "gzip_bomb_of_1_gib").body
    tracemalloc.start()
    try:
        with pytest.raises(BodyError):
            inflate([bomb], "gzip")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 32 * 2**20


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"[]," * 2_700_000 + b"[]]",
        b"[" + b"1," * 4_000_000 + b"1]",
        b"[" * 8_000_000,
        b"\n1" * 4_000_000,
    ],
    ids=["arrays", "numbers", "nesting", "lines"],
)
@pytest.mark.parametrize("content_type", ["application/json", "application/x-ndjson"])
def test_small_values_in_great_number_cost_no_memory(body: bytes, content_type: str) -> None:
    tracemalloc.start()
    try:
        for _ in suppressed(split_events, body, content_type):
            pass
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 2.5 * BODY_BYTES_MAX


def suppressed(split: Any, *arguments: Any) -> Iterator[object]:
    try:
        yield from split(*arguments)
    except BodyError:
        return


@pytest.mark.parametrize("encoding", [None, "", "identity", " Identity "])
def test_a_body_without_encoding_is_itself(encoding: str | None) -> None:
    assert inflate([b"[", b"", b"]"], encoding) == b"[]"


@given(body=st.binary(max_size=2_000).filter(lambda body: not body.startswith(b"\x1f\x8b")), data=st.data())
def test_gzip_is_undone_however_it_is_cut(body: bytes, data: st.DataObject) -> None:
    packed = gzip.compress(body)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(packed)), max_size=5)))
    pieces = [packed[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(packed)], strict=True)]
    assert inflate(pieces, "gzip") == body


def test_it_allows_a_body_that_repeats_itself() -> None:
    body = b"[" + b" " * 900_000 + b"]"
    assert inflate([gzip.compress(body)], "x-gzip") == body


def test_a_body_of_exactly_the_limit_is_allowed() -> None:
    body = b" " * BODY_BYTES_MAX
    assert inflate(chunks(body), None) == body
    text = bytes(range(97, 107)) * (BODY_BYTES_MAX // 20) + b"1234567890" * (BODY_BYTES_MAX // 20)
    with pytest.raises(BodyError, match="expands"):
        inflate(chunks(gzip.compress(text)), "gzip")


@pytest.mark.parametrize(
    ("tail", "detail"),
    [(b"x", "followed by other bytes at byte {}"), (None, "ends too early, at byte {}")],
    ids=["garbage", "truncated"],
)
def test_it_names_the_byte_of_a_bad_gzip_stream(tail: bytes | None, detail: str) -> None:
    packed = gzip.compress(b"[]")
    body = packed[:-3] if tail is None else packed + tail
    for pieces in ([body], [body[:5], body[5:]], [bytes([byte]) for byte in body]):
        with pytest.raises(BodyError, match=detail.format(min(len(packed), len(body)))):
            inflate(pieces, "gzip")


# --- The envelope ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b'[{"a":1},{"b":2}]',
        b' [ {"a" : 1} ,\n{"b":2} ] ',
        b'{"events":[{"a":1},{"b":2}]}',
        b'\n{ "sent_by" : "x", "events" : [ {"a":1}, {"b":2} ] , "n": [1] }',
        b'{"x":{"events":[3]},"events":[{"a":1},{"b":2}],"y":"events"}',
    ],
)
def test_an_array_may_stand_in_an_object(body: bytes) -> None:
    assert values(body) == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize("content_type", ["application/x-ndjson", "application/jsonl", "Application/NDJSON;v=1"])
def test_ndjson_is_one_event_a_line(content_type: str) -> None:
    assert values(b'{"a":1}\r\n\r\n \n{"b":"\\n"} ', content_type) == [{"a": 1}, {"b": "\n"}]


@pytest.mark.parametrize(
    "content_type", [None, "", "application/json", "application/json; charset=utf-8", "text/plain"]
)
def test_everything_else_is_json(content_type: str | None) -> None:
    assert [raw.value for raw in split_events(b"[1]", content_type) if isinstance(raw, RawEvent)] == [1]


def test_a_bad_line_is_refused_alone() -> None:
    first, bad, last = split_events(b'{"a":1}\n{"a":1,"a":2}\n{"a":3}', "application/x-ndjson")
    assert isinstance(first, RawEvent)
    assert isinstance(bad, Unreadable)
    assert isinstance(last, RawEvent)
    assert bad.code == "duplicate_key"


def test_an_oversized_event_is_refused_alone_and_unread() -> None:
    large = b'{"a":1,"a":"' + b"x" * EVENT_BYTES_MAX + b'"}'
    first, bad = split_events(b'[{"a":1},' + large + b"]", None)
    assert isinstance(first, RawEvent)
    assert isinstance(bad, Unreadable)
    assert bad.code == "event_too_large"
    assert str(len(large)) in bad.detail


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'[{"a":"\xff"}]', "at byte 7 "),
        (b'[{"a":1},,]', "byte 9"),
        (b'[{},{},{"a":1,"a":2}]', "Event 2: "),
        (b'[{},{"a":' + b"[" * 8 + b"]" * 8 + b"}]", "Event 1: "),
        (b"  " + b"[" * 100_000, "at byte 12."),
        (b'{"a":1,"a":2,"events":[]}', 'Around "events": '),
        (b'[{"a"', "5 bytes"),
        (b"\xef\xbb\xbf[]", "byte 0"),
    ],
)
def test_it_names_the_place_of_the_fault(body: bytes, place: str) -> None:
    assert place in refusal(body).detail


def test_a_line_names_the_byte_of_its_fault() -> None:
    faults = list(split_events('{"é":nope}\n{"é":"\\x"}'.encode(), "application/x-ndjson"))
    assert [fault.detail[:26] for fault in faults if isinstance(fault, Unreadable)] == [
        "Not valid JSON at byte 6: ",
        "Not valid JSON at byte 7: ",
    ]


def test_a_bare_event_is_told_how_to_travel() -> None:
    error = refusal(b'{"event_id":"a"}')
    assert (error.status, error.code) == (400, "bare_event")
    assert "array" in error.detail


def test_the_number_of_events_is_limited() -> None:
    assert len(values(b"[" + b",".join([b"{}"] * EVENTS_MAX) + b"]")) == EVENTS_MAX
    assert refusal(b"[" + b",".join([b"{}"] * (EVENTS_MAX + 1)) + b"]").status == 413
    assert refusal(b"{}\n" * (EVENTS_MAX + 1), "application/x-ndjson").status == 413


# --- Exactness -------------------------------------------------------------------------------------------

SPACES = st.sampled_from(["", "", "", " ", "\n", "\t  "])
PIECES = st.sampled_from(
    [
        "a", "b", ":", '\\"', "\\\\", "\\/", "/", "{", "]", ",", " ", "é", "😀", "\x7f", "\x9f", "\u202e",
        "\\n", "\\u0061", "\\u003a", "\\u003A", "\\u00e9", "\\ud83d\\ude00", "\\u0000", "\\u009f",
        "\\ud800", "\\udc00x",
    ]
)  # fmt: skip
STRINGS = st.lists(PIECES, max_size=3).map(lambda pieces: f'"{"".join(pieces)}"')
SCALARS = STRINGS | st.sampled_from(["0", "-1", "1.50", "1e400", "true", "null", "9" * 30, "9" * 5_000])


@st.composite
def _container(draw: st.DrawFn, children: st.SearchStrategy[str]) -> str:
    def spaced(text: str) -> str:
        return draw(SPACES) + text + draw(SPACES)

    members = draw(st.lists(children, max_size=3))
    if draw(st.booleans()):
        return f"[{','.join(spaced(member) for member in members) or draw(SPACES)}]"
    keyed = [f"{spaced(draw(STRINGS))}:{spaced(member)}" for member in members]
    return f"{{{','.join(keyed) or draw(SPACES)}}}"


JSON_TEXTS = st.recursive(SCALARS, _container, max_leaves=12)


class DuplicateKey(Exception):
    pass


def exactly(text: str) -> Any:
    def unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in members}) < len(members):
            raise DuplicateKey
        return dict(members)

    return json.loads(text, object_pairs_hook=unique, parse_int=lambda digits: int(digits[:40]))


def depth(value: Any) -> int:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if children is None else 1 + max(map(depth, children), default=0)


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        for member in value.values():
            yield from strings(member)
    elif isinstance(value, list):
        for member in value:
            yield from strings(member)


@settings(max_examples=600)
@given(texts=st.lists(JSON_TEXTS, min_size=1, max_size=3), envelope=st.booleans())
@example(texts=['{"a":1,"a":":"}'], envelope=False)
@example(texts=['{"a":1,"a":"\\u003a"}'], envelope=False)
@example(texts=['{"x":"\\ud800","y":1}', '{"\\ud800":1,"\\ud801":2}'], envelope=True)
def test_it_reads_what_an_exact_parser_reads(texts: list[str], envelope: bool) -> None:
    """Same values, a duplicate found exactly where there is one, and `plain` said only of plain strings."""
    body = f"[{' , '.join(texts)}]"
    sent = (f'{{"n":1, "events":{body}}}' if envelope else body).encode()
    try:
        expected = exactly(body)
    except DuplicateKey:
        assert refusal(sent).code == "duplicate_key"
        return
    if max(map(depth, expected)) > DEPTH_MAX:
        assert refusal(sent).code == "too_deep"
        return
    raws = [raw for raw in split_events(sent, "application/json") if isinstance(raw, RawEvent)]
    assert [raw.value for raw in raws] == expected
    for raw in raws:
        if raw.plain:
            assert not [
                char
                for text in strings(raw.value)
                for char in text
                if ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 or 0xD800 <= ord(char) < 0xE000
            ]


@given(
    levels=st.integers(1, 20),
    opening=st.sampled_from(["[", '{"a":', '[1,{"b":"[[[","a":']),
    tail=st.sampled_from(["", ',"\\ud800"', ',"\\u003a"']),
)
def test_the_depth_of_an_event_is_limited_exactly(levels: int, opening: str, tail: str) -> None:
    closing = {"[": "]", "{": "}", '[1,{"b":"[[[","a":': "}]"}.get(opening, "}")
    text = f"{opening * levels}1{closing * levels}"
    body = f"[[{text}{tail}]]".encode()
    if depth(json.loads(text)) + 1 > DEPTH_MAX:
        assert refusal(body).code == "too_deep"
    else:
        assert len(values(body)) == 1


@settings(max_examples=300)
@given(data=st.data())
def test_any_damage_is_found_or_harmless(data: st.DataObject) -> None:
    """A damaged body is refused exactly when an exact parser of strict JSON refuses it."""
    body = bytearray('[{"a":"é\\u00e9","b":[1,-2.5e3,true]},{"c":{"d":null}}]'.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(1, len(body) - 2))
        body[position : position + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from(
                [b"", b'"', b"\\", b",", b":", b"{", b"}", b"]", b"[", b"\xff", b"\x00", b"0", b" ", b"NaN"]
            )
        )

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        text = bytes(body).decode()
        exactly(text)
        json.loads(text, parse_constant=refuse)
    except (ValueError, DuplicateKey):
        assert refusal(bytes(body)).status == 400
    else:
        assert values(bytes(body)) == exactly(text)
