"""Bodies that mean harm, each with the one right answer: a whole-body error, or an outcome per event.

Most cases stand a bad event between two good ones: its neighbours must be stored. Event ids are unique
over the corpus, so that all of it can be sent to one organization.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from datetime import datetime
from random import Random

from tests.ingest.authoring import ACCEPTED, NDJSON, Answered, Author, Case, Refused
from tests.ingest.hostile_events import hostile_events

__all__ = ["ACCEPTED", "Answered", "Case", "Refused", "hostile_cases"]

BAD_UTF8 = {
    "lone_continuation": b"\x80",
    "overlong_slash": b"\xc0\xaf",
    "overlong_nul": b"\xc0\x80",
    "overlong_of_3": b"\xe0\x80\xaf",
    "overlong_of_4": b"\xf0\x80\x80\xaf",
    "surrogate": b"\xed\xa0\x80",
    "surrogate_pair": b"\xed\xa0\xbd\xed\xb8\x80",
    "beyond_unicode": b"\xf4\x90\x80\x80",
    "truncated_of_2": b"\xc3",
    "truncated_of_3": b"\xe2\x82",
    "truncated_of_4": b"\xf0\x9f\x98",
    "never_a_byte_fe": b"\xfe",
    "never_a_byte_ff": b"\xff",
}

NOT_JSON = {
    "empty": b"",
    "spaces": b"  \r\n ",
    "word": b"hello",
    "html": b"<html></html>",
    "form": b"event_id=a&model=b",
    "unclosed_array": b"[",
    "unclosed_object": b'[{"a": 1',
    "unclosed_string": b'["abc',
    "closing_only": b"]",
    "mismatched": b"[}",
    "trailing_comma": b"[{},]",
    "trailing_comma_in_object": b'[{"a":1,}]',
    "two_values": b"[] []",
    "trailing_word": b"[]x",
    "single_quotes": b"[{'a':1}]",
    "bare_key": b"[{a:1}]",
    "number_key": b"[{1:2}]",
    "missing_colon": b'[{"a" 1}]',
    "comment": b"[/* no */]",
    "raw_nul_in_string": b'[{"a":"\x00"}]',
    "raw_newline_in_string": b'[{"a":"x\ny"}]',
    "raw_tab_in_string": b'[{"a":"x\ty"}]',
    "raw_nul_outside": b"[\x00]",
    "only_nul": b"\x00" * 1000,
    "bad_escape": b'[{"a":"\\x41"}]',
    "short_unicode_escape": b'[{"a":"\\u12"}]',
    "leading_zero": b'[{"step":01}]',
    "leading_plus": b'[{"step":+1}]',
    "hex": b'[{"step":0x10}]',
    "bare_point": b'[{"step":1.}]',
    "leading_point": b'[{"step":.5}]',
    "nan": b'[{"step":NaN}]',
    "infinity": b'[{"step":Infinity}]',
    "minus_infinity": b'[{"step":-Infinity}]',
    "python_none": b'[{"step":None}]',
    "capital_true": b'[{"step":True}]',
    "undefined": b'[{"step":undefined}]',
    "byte_order_mark": b"\xef\xbb\xbf[]",
    "form_feed": b"[\x0c]",
    "no_break_space": b"[\xc2\xa0]",
    "ndjson_as_json": b'{"a":1}\n{"a":2}',
    "envelope_cut_short": b'{"events":[{}]',
    "envelope_without_comma": b'{"events":[{} {}]}',
}

# Objects with a key twice, in each position; `@` becomes the members of a good event.
DUPLICATES = {
    "in_the_event": '[{@,"step":1,"step":2}]',
    "equal_value": '[{@,"step":1,"step":1}]',
    "of_a_required_key": '[{@,"event_id":"other"}]',
    "of_an_unknown_key": '[{@,"x":1,"x":2}]',
    "in_usage": '[{@,"u":{"input_tokens":1,"input_tokens":2}}]',
    "in_tags": '[{@,"tags":{"a":"1","a":"2"}}]',
    "in_an_array": '[{@,"x":[{"a":1,"a":2}]}]',
    "deep_inside": '[{@,"x":{"x":{"x":{"a":1,"a":2}}}}]',
    "empty_keys": '[{@,"x":{"":1,"":2}}]',
    "spaced": '[{@,"x":{"a":1,"a"  :2}}]',
    "spaced_with_newlines": '[{@,"x":{"a":1,"a"\r\n\t:2}}]',
    "escaped": '[{@,"x":{"a":1,"\\u0061":2}}]',
    "both_escaped": '[{@,"x":{"\\u0061":1,"\\u0061":2}}]',
    "escaped_in_two_ways": '[{@,"x":{"/":1,"\\/":2}}]',
    "escaped_pair": '[{@,"x":{"😀":1,"\\ud83d\\ude00":2}}]',
    "with_an_escaped_colon_to_make_up_for_it": '[{@,"x":{"a":1,"a":"\\u003a"}}]',
    "with_a_colon_dropped_along": '[{@,"x":{"a":"::","a":"\\u003a\\u003A\\u003a"}}]',
    "of_lone_surrogates": '[{@,"x":{"\\ud800":1,"\\ud800":2}}]',
    "of_events": '{"events":[{@}],"events":[]}',
    "of_events_escaped": '{"events":[],"\\u0065vents":[{@}]}',
    "in_the_envelope": '{"x":1,"events":[{@}],"x":2}',
    "inside_an_ignored_key": '{"events":[{@}],"x":{"a":1,"a":2}}',
}


def hostile_cases(now: datetime) -> list[Case]:
    """The corpus, its times relative to `now` (aware)."""
    author = Author(now)
    makers = (
        _syntax,
        _utf8,
        _depth,
        _duplicate_keys,
        _shapes,
        _sizes,
        _compressions,
        _ndjson,
        hostile_events,
    )
    return [case for make in makers for case in make(author)]


def _syntax(author: Author) -> Iterator[Case]:
    for name, body in NOT_JSON.items():
        yield Case(f"not_json_{name}", body, Refused(400, "not_json"))
    good = author.event("after-a-good-one").encode()
    yield Case("not_json_after_a_good_event", b"[" + good + b",{]", Refused(400, "not_json"))


def _utf8(author: Author) -> Iterator[Case]:
    for name, bad in BAD_UTF8.items():
        body = f"[{author.event(f'utf8-{name}', team=json.dumps('@'))}]".encode().replace(b"@", b"x" + bad)
        yield Case(f"not_utf8_{name}", body, Refused(400, "not_utf8"))
    text = f"[{author.event('utf16')}]"
    yield Case("not_utf8_outside_a_string", b"[\xff]", Refused(400, "not_utf8"))
    yield Case("not_utf8_in_a_key", b'[{"\xff":1}]', Refused(400, "not_utf8"))
    yield Case("utf16_with_mark", text.encode("utf-16"), Refused(400, "not_utf8"))
    yield Case("utf16_without_mark", text.encode("utf-16-le"), Refused(400, "not_json"))
    yield Case("utf32", text.encode("utf-32-le"), Refused(400, "not_json"))
    yield Case("latin1", text.replace("gpt", "modèle").encode("latin-1"), Refused(400, "not_utf8"))


def _depth(author: Author) -> Iterator[Case]:
    deep, refused = 100_000, Refused(400, "too_deep")
    yield Case("deep_arrays", b"[" * deep + b"]" * deep, refused)
    yield Case("deep_arrays_unclosed", b"[" * deep, refused)
    yield Case("deep_objects", b'{"a":' * deep + b"1" + b"}" * deep, refused)
    yield Case("deep_objects_in_an_array", b"[" + b'{"a":' * deep + b"1" + b"}" * deep + b"]", refused)
    yield Case("deep_both", b'[{"a":' * deep + b"1" + b"}]" * deep, refused)
    yield Case("deep_envelope", b'{"events":' * deep + b"[]" + b"}" * deep, refused)
    yield Case("deep_ignored_key", b'{"events":[],"x":' + b"[" * deep + b"]" * deep + b"}", refused)
    for levels, expected in ((7, Answered((ACCEPTED,))), (8, refused), (900, refused)):
        for name, opening, closing in (("array", "[", "]"), ("object", '{"a":', "}")):
            nested = opening * levels + "1" + closing * levels
            body = f"[{author.event(f'{name}-{levels}', extra=nested)}]".encode()
            yield Case(f"{name}_of_{levels}_in_an_event", body, expected)
    for levels, expected in ((9, Answered(())), (10, refused)):
        ignored = b'{"events":[],"x":' + b"[" * levels + b"]" * levels + b"}"
        yield Case(f"array_of_{levels}_in_an_ignored_key", ignored, expected)
    brackets = author.event("brackets", team=json.dumps("[{" * 100))
    yield Case("brackets_in_a_string_are_text", f"[{brackets}]".encode(), Answered((ACCEPTED,)))


def _duplicate_keys(author: Author) -> Iterator[Case]:
    for name, template in DUPLICATES.items():
        body = template.replace("@", author.members(f"duplicate-{name}"))
        yield Case(f"duplicate_key_{name}", body.encode(), Refused(400, "duplicate_key"))
    good = author.event("duplicate-good", usage=None, extra='{"a":":","b":"\\":"}', provider_usage='{"input_tokens":1}')
    yield Case("colons_in_strings_are_no_keys", f"[{good}]".encode(), Answered((ACCEPTED,)))


def _shapes(author: Author) -> Iterator[Case]:
    not_array = Refused(400, "not_an_array")
    for name, body in {
        "null": b"null", "true": b"true", "number": b"12", "string": b'"events"', "empty_object": b"{}",
        "object_without_events": b'{"data":[]}', "events_null": b'{"events":null}',
        "events_object": b'{"events":{}}',
        "events_string": b'{"events":"[]"}', "events_number": b'{"events":1}',
    }.items():  # fmt: skip
        yield Case(f"shape_{name}", body, not_array)
    yield Case("shape_bare_event", author.event("bare").encode(), Refused(400, "bare_event"))
    yield Case("shape_empty_array", b" [ ] ", Answered(()))
    yield Case("shape_empty_events", b'{"events":[]}', Answered(()))
    for name, text in {"null": "null", "number": "1", "string": '"a"', "true": "true", "array": "[]"}.items():
        events = f"[{author.event(f'shape-{name}-0')},{text},{author.event(f'shape-{name}-2')}]"
        yield Case(f"element_{name}", events.encode(), Answered((ACCEPTED, "not_an_object", ACCEPTED)))
    yield Case("element_empty_object", b"[{}]", Answered(("missing_field",)))
    event = author.event("envelope")
    around = f'{{"note":"\\"events\\":[1]","x":["events",{{"events":[2]}}],"events":[{event}],"y":null}}'
    yield Case("events_among_ignored_keys", around.encode(), Answered((ACCEPTED,)))
    escaped = f'{{"\\u0065vents":[{author.event("envelope-escaped")}]}}'
    yield Case("events_key_escaped", escaped.encode(), Answered((ACCEPTED,)))


def _sizes(author: Author) -> Iterator[Case]:
    too_large, too_many = Refused(413, "body_too_large"), Refused(413, "too_many_events")
    yield Case("size_20_mb_of_spaces", b" " * 20_000_000, too_large)
    yield Case("size_20_mb_of_events", b"[" + b"{}," * 6_666_666 + b"{}]", too_large)
    yield Case("size_one_byte_over", b"[" + b" " * (8 * 2**20 - 1) + b"]", too_large)
    yield Case("size_8_mib_of_spaces", b"[" + b" " * (8 * 2**20 - 2) + b"]", Answered(()))
    yield Case("size_8_mib_of_numbers", b"[" + b"1," * (4 * 2**20 - 2) + b"1]", too_many)
    yield Case("size_8_mib_string", b'["' + b"a" * (8 * 2**20 - 4) + b'"]', Answered(("event_too_large",)))
    yield Case("size_8_mib_of_escapes", b'["' + b"\\\\" * (4 * 2**20 - 2) + b'"]', Answered(("event_too_large",)))
    yield Case("size_around_events", b'{"x":"' + b"a" * 2**17 + b'","events":[]}', too_large)
    yield Case("events_1001", b"[" + b"{}," * 1000 + b"{}]", too_many)
    yield Case("events_1001_in_an_envelope", b'{"events":[' + b"{}," * 1000 + b"{}]}", too_many)
    yield Case("events_1000", b"[" + b"{}," * 999 + b"{}]", Answered(("missing_field",) * 1000))
    yield author.between_good_ones("event_of_65_kib", "event_too_large", extra=json.dumps("a" * 65 * 1024))
    yield author.between_good_ones("event_of_2_mib", "event_too_large", extra=json.dumps("a" * 2 * 2**20))
    yield author.between_good_ones("event_of_60_kib", ACCEPTED, extra=json.dumps("a" * 60 * 1024))
    yield author.between_good_ones("many_small_values", ACCEPTED, extra="[" + "[]," * 20_000 + "[]]")
    keys = ",".join(f'"k{number}":1' for number in range(5_000))
    yield author.between_good_ones("many_unknown_keys", ACCEPTED, extra=f"1,{keys}")


def _compressions(author: Author) -> Iterator[Case]:
    def case(name: str, body: bytes, expected: Refused | Answered, encoding: str = "gzip") -> Case:
        return Case(f"gzip_{name}", body, expected, content_encoding=encoding)

    invalid, text = Refused(400, "gzip_invalid"), f"[{author.event('gzip')}]".encode()
    packed = gzip.compress(text)
    yield case("good", packed, Answered((ACCEPTED,)))
    yield case("empty", b"", invalid)
    yield case("not_gzip", text, invalid)
    yield case("truncated", packed[: len(packed) // 2], invalid)
    yield case("without_trailer", packed[:-8], invalid)
    yield case("wrong_checksum", packed[:-8] + b"\0\0\0\0" + packed[-4:], invalid)
    yield case("wrong_length", packed[:-4] + b"\0\0\0\0", invalid)
    yield case("trailing_garbage", packed + b"garbage", invalid)
    yield case("two_members", packed + gzip.compress(b" "), invalid)
    yield case("twice", gzip.compress(packed), invalid)
    yield case("of_zlib", zlib.compress(text), invalid)
    yield case("bomb_of_1_gib", _bomb(2**30), Refused(413, "compression_ratio"))
    yield case("bomb_in_a_bomb", gzip.compress(_bomb(2**29)), invalid)
    yield case("of_9_mib_that_hardly_compresses", _barely_compressible(9 * 2**20), Refused(413, "body_too_large"))
    yield case("of_an_empty_array", gzip.compress(b"[]"), Answered(()))
    yield case("of_not_json", gzip.compress(b"hello"), Refused(400, "not_json"))
    for encoding in ("br", "deflate", "zstd", "gzip, gzip", "x" * 500):
        yield Case(
            f"encoding_{encoding[:12]}",
            packed,
            Refused(415, "unsupported_encoding"),
            content_encoding=encoding,
        )
    yield Case("gzip_unannounced", packed, invalid)
    identity = f"[{author.event('identity')}]".encode()
    yield Case("encoding_identity", identity, Answered((ACCEPTED,)), content_encoding="Identity")


def _bomb(size: int) -> bytes:
    """A gzip stream of `size` zeros (whole MiB) without its trailer, made from one flushed block."""
    press = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = press.compress(bytes(2**20)) + press.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" + block * (size // 2**20)


def _barely_compressible(size: int) -> bytes:
    """`size` bytes of text that gzip halves at most."""
    return gzip.compress(Random(size).randbytes(size // 2).hex().encode(), compresslevel=1)


def _ndjson(author: Author) -> Iterator[Case]:
    def mixed(name: str, line: bytes, *codes: str, end: bytes = b"\n") -> Case:
        good = [author.event(f"line-{name}-{number}").encode() for number in (0, 2)]
        outcomes = (ACCEPTED, *codes, ACCEPTED)
        return Case(f"ndjson_{name}", end.join([good[0], line, good[1]]), Answered(outcomes), NDJSON)

    yield mixed("blank_lines", b"\n   \n\t\r\n")
    yield mixed("crlf", author.event("line-crlf").encode(), ACCEPTED, end=b"\r\n")
    yield mixed("bad_line", b"{nope", "not_json")
    yield mixed("cut_line", b'{"event_id":"a', "not_json")
    yield mixed("nan", b'{"step":NaN}', "not_json")
    yield mixed("bad_utf8", b'{"event_id":"\xff"}', "not_utf8")
    yield mixed("raw_nul", b'{"event_id":"\x00"}', "not_json")
    yield mixed("form_feed", b"\x0c{}", "not_json")
    yield mixed("byte_order_mark", b"\xef\xbb\xbf{}", "not_json")
    yield mixed("duplicate_key", b'{"a":1,"a":2}', "duplicate_key")
    yield mixed("deep", b"[" * 60_000, "too_deep")
    yield mixed("nine_levels", b'{"a":' + b"[" * 8 + b"]" * 8 + b"}", "too_deep")
    yield mixed("array_line", b"[{}]", "not_an_object")
    yield mixed("envelope_line", b'{"events":[]}', "missing_field")
    yield mixed("two_events_on_a_line", b"{} {}", "not_json")
    yield mixed("trailing_comma", b"{},", "not_json")
    yield mixed("event_over_two_lines", b'{"a":\n1}', "not_json", "not_json")
    yield mixed("line_of_65_kib", b'"' + b"a" * 65 * 1024 + b'"', "event_too_large")
    yield mixed("lone_surrogate_in_an_id", b'{"event_id":"\\ud800"}', "missing_field")
    for alias in ("application/ndjson", "application/jsonl", "APPLICATION/X-NDJSON; charset=utf-8"):
        body = f"{author.event(f'alias-{alias[:18]}')}\n".encode()
        yield Case(f"ndjson_as_{alias}", body, Answered((ACCEPTED,)), alias)
    yield Case("ndjson_empty", b"", Answered(()), NDJSON)
    yield Case("ndjson_only_newlines", b"\r\n" * 100_000, Answered(()), NDJSON)
    yield Case("ndjson_1001_lines", b"x\n" * 1001, Refused(413, "too_many_events"), NDJSON)
    yield Case("ndjson_8_mib_of_lines", b"1\n" * (4 * 2**20), Refused(413, "too_many_events"), NDJSON)
    yield Case("ndjson_20_mb", b"{}\n" * 6_700_000, Refused(413, "body_too_large"), NDJSON)
    yield Case("ndjson_array", b"[]", Answered(("not_an_object",)), NDJSON)
