"""Events that are refused one by one, between neighbours that are stored."""

import json
from collections.abc import Iterator
from datetime import timedelta

from tests.ingest.authoring import ACCEPTED, Author, Case

TEXT_FIELDS = (
    "provider", "model", "operation", "region", "team", "project", "workflow", "workflow_version",
    "task_type", "user", "environment", "run_id", "parent_run_id", "escalated_from", "tool_name",
    "error_type", "prefix_hash", "request_hash", "reservation_id", "model_served", "stop_reason",
    "tool_call_hash", "prompt_version", "request_id",
)  # fmt: skip
COUNT_FIELDS = ("step", "attempt", "latency_ms", "retrieved_tokens", "tool_result_tokens")
CHOICE_FIELDS = ("service_tier", "status", "outcome")

# What no integer field may hold, as JSON text, and the code it earns.
NOT_COUNTS = {
    "negative": ("-1", "out_of_range"),
    "above_the_limit": ("1000000000001", "out_of_range"),
    "two_to_63": ("9223372036854775808", "out_of_range"),
    "two_to_64": ("18446744073709551616", "out_of_range"),
    "of_4000_digits": ("9" * 4000, "out_of_range"),
    "of_5000_digits": ("9" * 5000, "out_of_range"),
    "of_minus_5000_digits": ("-" + "9" * 5000, "out_of_range"),
    "fraction": ("1.5", "wrong_type"),
    "whole_float": ("1.0", "wrong_type"),
    "exponent": ("1e3", "wrong_type"),
    "overflowing_exponent": ("1e400", "wrong_type"),
    "minus_zero_float": ("-0.0", "wrong_type"),
    "true": ("true", "wrong_type"),
    "digits_in_a_string": ('"12"', "wrong_type"),
    "array": ("[1]", "wrong_type"),
    "object": ("{}", "wrong_type"),
}


def hostile_events(author: Author) -> Iterator[Case]:
    makers = (_strings, _event_ids, _integers, _choices, _times, _usages, _tags, _costs, _missing)
    for make in makers:
        yield from make(author)


def _strings(author: Author) -> Iterator[Case]:
    for field in TEXT_FIELDS:
        for name, text, code in (
            ("number", "1", "wrong_type"),
            ("empty", '""', "empty_string"),
            ("of_257", json.dumps("é" * 257), "string_too_long"),
            ("with_nul", '"a\\u0000b"', "invalid_character"),
        ):
            yield author.between_good_ones(f"{field}_{name}", code, **{field: text})
    for name, text, code in (
        ("true", "true", "wrong_type"),
        ("array", '["a"]', "wrong_type"),
        ("object", "{}", "wrong_type"),
        ("fraction", "1.5", "wrong_type"),
        ("of_1000000", json.dumps("a" * 60_000), "string_too_long"),
        ("with_escape_sequence", '"\\u001b[2J"', "invalid_character"),
        ("with_escaped_newline", '"a\\nb"', "invalid_character"),
        ("with_escaped_tab", '"a\\tb"', "invalid_character"),
        ("with_delete", '"a\x7fb"', "invalid_character"),
        ("with_raw_c1_control", '"a\x85b"', "invalid_character"),
        ("with_escaped_c1_control", '"a\\u009fb"', "invalid_character"),
        ("with_lone_high_surrogate", '"\\ud800"', "invalid_character"),
        ("with_lone_low_surrogate", '"\\uDC00x"', "invalid_character"),
        ("with_reversed_pair", '"\\ude00\\ud83d"', "invalid_character"),
        ("with_two_high_surrogates", '"\\ud83d\\ud83d\\ude00"', "invalid_character"),
        ("of_256_astral", json.dumps("😀" * 256), ACCEPTED),
        ("of_256", json.dumps("a" * 256), ACCEPTED),
        ("with_right_to_left_override", '"\\u202egnp.exe"', ACCEPTED),
        ("with_quote_and_backslash", json.dumps("\"'\\; DROP TABLE usage_event; --"), ACCEPTED),
        ("with_escaped_backslash_before_a_surrogate", '"\\\\ud800"', ACCEPTED),
        ("null", "null", ACCEPTED),
    ):
        yield author.between_good_ones(f"team_{name}", code, team=text)
    yield author.between_good_ones("unknown_field_with_lone_surrogate", ACCEPTED, extra='"\\ud800"')
    yield author.between_good_ones("unknown_name_lone_surrogate", ACCEPTED, extra='1,"\\udfff":1')
    yield author.between_good_ones("unknown_field_with_huge_number", ACCEPTED, extra="9" * 5000)


def _event_ids(author: Author) -> Iterator[Case]:
    for name, text, code in (
        ("of_128", json.dumps("i" * 128), ACCEPTED),
        ("of_129", json.dumps("i" * 129), "string_too_long"),
        ("empty", '""', "empty_string"),
        ("number", "1", "wrong_type"),
        ("with_nul", '"\\u0000"', "invalid_character"),
        ("with_lone_surrogate", '"\\udfff"', "invalid_character"),
    ):
        yield author.between_good_ones(f"event_id_{name}", code, event_id=text)


def _integers(author: Author) -> Iterator[Case]:
    for name, (text, code) in NOT_COUNTS.items():
        yield author.between_good_ones(f"input_tokens_{name}", code, usage=f'{{"input_tokens":{text}}}')
        yield author.between_good_ones(f"step_{name}", code, step=text)
    for field in COUNT_FIELDS:
        yield author.between_good_ones(f"{field}_as_float", "wrong_type", **{field: "1.0"})
        yield author.between_good_ones(f"{field}_below", "out_of_range", **{field: "-1"})
    yield author.between_good_ones("attempt_zero", "out_of_range", attempt="0")
    yield author.between_good_ones("attempt_null", ACCEPTED, attempt="null")
    yield author.between_good_ones("step_zero", ACCEPTED, step="0")
    yield author.between_good_ones("step_minus_zero", ACCEPTED, step="-0")
    yield author.between_good_ones("step_at_the_limit", ACCEPTED, step="1000000000000")


def _choices(author: Author) -> Iterator[Case]:
    for field in CHOICE_FIELDS:
        for name, text, code in (
            ("unknown", '"nope"', "invalid_choice"),
            ("empty", '""', "invalid_choice"),
            ("in_capitals", '"OK"', "invalid_choice"),
            ("lone_surrogate", '"\\ud800"', "invalid_choice"),
            ("number", "1", "wrong_type"),
            ("array", "[]", "wrong_type"),
            ("null", "null", ACCEPTED),
        ):
            yield author.between_good_ones(f"{field}_{name}", code, **{field: text})


def _times(author: Author) -> Iterator[Case]:
    invalid, future, too_old = "occurred_at_invalid", "occurred_at_in_future", "too_old"
    for name, text, code in (
        ("without_offset", "2026-01-01T00:00:00", invalid),
        ("date_only", "2026-01-01", invalid),
        ("without_seconds", "2026-01-01T00:00Z", invalid),
        ("words", "yesterday", invalid),
        ("empty", "", invalid),
        ("epoch_in_a_string", "1767225600", invalid),
        ("month_13", "2026-13-01T00:00:00Z", invalid),
        ("february_30", "2026-02-30T00:00:00Z", invalid),
        ("hour_24", "2026-01-01T24:00:00Z", invalid),
        ("leap_second", "2016-12-31T23:59:60Z", invalid),
        ("offset_of_24_hours", "2026-01-01T00:00:00+24:00", invalid),
        ("year_zero", "0000-01-01T00:00:00Z", invalid),
        ("year_294277", "294277-01-01T00:00:00Z", invalid),
        ("negative_year", "-2026-01-01T00:00:00Z", invalid),
        ("arabic_digits", "٢٠٢٦-01-01T00:00:00Z", invalid),
        ("leading_space", " 2026-01-01T00:00:00Z", invalid),
        ("nul_inside", "2026-01-01T00:00:00\0Z", invalid),
        ("lone_surrogate", "2026-01-01T00:00:00\ud800", invalid),
        ("huge", "2" * 60_000, invalid),
        ("year_9999", "9999-12-31T23:59:59Z", future),
        ("year_9999_west", "9999-12-31T23:59:59.999999-14:00", future),
        ("year_1", "0001-01-01T00:00:00Z", too_old),
        ("year_1_east", "0001-01-01T00:00:00+14:00", too_old),
        ("epoch", "1970-01-01T00:00:00Z", too_old),
    ):
        yield author.between_good_ones(f"occurred_at_{name}", code, occurred_at=json.dumps(text))
    for name, shift, code in (
        ("in_6_minutes", timedelta(minutes=6), future),
        ("in_4_minutes", timedelta(minutes=4), ACCEPTED),
        ("34_days_ago", timedelta(days=-34), ACCEPTED),
        ("36_days_ago", timedelta(days=-36), "occurred_at_too_old"),
        ("4_years_ago", timedelta(days=-1461), too_old),
    ):
        text = json.dumps((author.now + shift).isoformat())
        yield author.between_good_ones(f"occurred_at_{name}", code, occurred_at=text)
    for name, text in {"number": "1767225600", "float": "1.5", "true": "true", "object": "{}"}.items():
        yield author.between_good_ones(f"occurred_at_{name}", "wrong_type", occurred_at=text)


def _usages(author: Author) -> Iterator[Case]:
    for name, usage, code in (
        ("array", "[]", "wrong_type"),
        ("string", '"10"', "wrong_type"),
        ("number", "10", "wrong_type"),
        ("unknown_meter", '{"input_tokens":1,"tokens":2}', "unknown_meter"),
        ("unknown_meter_null", '{"tokens":null}', "unknown_meter"),
        ("empty_meter_name", '{"":1}', "unknown_meter"),
        ("meter_name_with_nul", '{"\\u0000":1}', "unknown_meter"),
        ("meter_name_lone_surrogate", '{"\\ud800":1}', "unknown_meter"),
        ("meter_name_in_capitals", '{"INPUT_TOKENS":1}', "unknown_meter"),
        ("meter_in_an_object", '{"input_tokens":{"value":1}}', "wrong_type"),
        ("empty", "{}", ACCEPTED),
        ("null_meter", '{"input_tokens":null}', ACCEPTED),
        ("null", "null", "usage_missing"),
        ("missing", None, "usage_missing"),
    ):
        yield author.between_good_ones(f"usage_{name}", code, usage=usage)
    shape = '{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}'
    yield author.between_good_ones("usage_and_provider_usage", "usage_ambiguous", provider_usage=shape)
    for name, provider_usage, usage_format, code in (
        ("good", shape, None, ACCEPTED),
        ("number", "1", None, "wrong_type"),
        ("array", "[]", None, "wrong_type"),
        ("null", "null", None, "usage_missing"),
        ("unknown_format", shape, '"nope"', "invalid_choice"),
        ("format_lone_surrogate", shape, '"\\ud800"', "invalid_choice"),
        ("key_lone_surrogate", '{"\\ud800":1,"prompt_tokens":1}', None, "invalid_character"),
        ("format_number", shape, "1", "wrong_type"),
        ("lone_surrogate", shape[:-1] + ',"note":"\\ud800"}', None, "invalid_character"),
        ("empty", "{}", None, "usage_unrecognized"),
        ("negative", '{"prompt_tokens":-1,"completion_tokens":1}', None, "usage_invalid"),
        ("float", '{"prompt_tokens":1.5,"completion_tokens":1}', None, "usage_invalid"),
        ("5000_digits", f'{{"prompt_tokens":{"9" * 5000},"completion_tokens":1}}', None, "usage_invalid"),
        ("overflow", '{"prompt_tokens":1e400,"completion_tokens":1}', None, "usage_invalid"),
        ("string", '{"prompt_tokens":"1","completion_tokens":1}', None, "usage_invalid"),
    ):
        yield author.between_good_ones(
            f"provider_usage_{name}",
            code,
            usage=None,
            provider_usage=provider_usage,
            usage_format=usage_format,
        )


def _tags(author: Author) -> Iterator[Case]:
    for name, tags, code in (
        ("array", "[]", "wrong_type"),
        ("string", '"a=b"', "wrong_type"),
        ("number_value", '{"a":1}', "wrong_type"),
        ("null_value", '{"a":null}', "wrong_type"),
        ("object_value", '{"a":{"b":"c"}}', "wrong_type"),
        ("array_value", '{"a":["b"]}', "wrong_type"),
        ("empty_key", '{"":"a"}', "empty_string"),
        ("empty_value", '{"a":""}', "empty_string"),
        ("key_of_257", json.dumps({"k" * 257: "v"}), "string_too_long"),
        ("value_of_257", json.dumps({"k": "v" * 257}), "string_too_long"),
        ("65", json.dumps({f"k{n}": "v" for n in range(65)}), "too_many_tags"),
        ("2000", json.dumps({f"k{n}": "v" for n in range(2000)}), "too_many_tags"),
        ("nul_in_key", '{"a\\u0000":"b"}', "invalid_character"),
        ("nul_in_value", '{"a":"\\u0000"}', "invalid_character"),
        ("surrogate_in_key", '{"\\ud800":"b"}', "invalid_character"),
        ("surrogate_in_value", '{"a":"\\udc00"}', "invalid_character"),
        ("two_surrogate_keys", '{"\\ud800":"a","\\ud801":"b"}', "invalid_character"),
        ("64_of_256", json.dumps({f"{n:0256d}": "v" * 256 for n in range(64)}), ACCEPTED),
        ("proto_key", '{"__proto__":"x","constructor":"y"}', ACCEPTED),
        ("null", "null", ACCEPTED),
        ("empty", "{}", ACCEPTED),
    ):
        yield author.between_good_ones(f"tags_{name}", code, tags=tags)


def _costs(author: Author) -> Iterator[Case]:
    for name, text, code in (
        ("number", "0.01", "wrong_type"),
        ("integer", "1", "wrong_type"),
        ("true", "true", "wrong_type"),
        ("object", "{}", "wrong_type"),
        ("empty", '""', "empty_string"),
        ("negative", '"-0.01"', "cost_usd_invalid"),
        ("plus", '"+1"', "cost_usd_invalid"),
        ("nan", '"NaN"', "cost_usd_invalid"),
        ("infinity", '"Infinity"', "cost_usd_invalid"),
        ("exponent", '"1e3"', "cost_usd_invalid"),
        ("huge_exponent", '"1e999999999"', "cost_usd_invalid"),
        ("thirteen_decimals", '"0.0000000000001"', "cost_usd_invalid"),
        ("25_digits", json.dumps("1" + "0" * 24), "cost_usd_invalid"),
        ("250_digits", json.dumps("9" * 250), "cost_usd_invalid"),
        ("comma", '"1,5"', "cost_usd_invalid"),
        ("underscore", '"1_000"', "cost_usd_invalid"),
        ("currency", '"$1"', "cost_usd_invalid"),
        ("space", '" 1"', "cost_usd_invalid"),
        ("newline", '"1\\n"', "invalid_character"),
        ("arabic_digits", '"١٢"', "cost_usd_invalid"),
        ("hex", '"0x10"', "cost_usd_invalid"),
        ("the_largest", json.dumps("9" * 24 + "." + "9" * 12), ACCEPTED),
        ("null", "null", ACCEPTED),
    ):
        yield author.between_good_ones(f"cost_usd_{name}", code, cost_usd=text)


def _missing(author: Author) -> Iterator[Case]:
    for field in ("event_id", "occurred_at", "provider", "model"):
        yield author.between_good_ones(f"{field}_missing", "missing_field", **{field: None})
        yield author.alone(f"{field}_null", "missing_field", **{field: "null"})
