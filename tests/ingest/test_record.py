"""What an event must be, and which events are the same."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import blake2b
from typing import Any, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from apps.core.meters import METER_INDEX, METERS, QUANTITY_MAX
from apps.ingest import record
from apps.ingest.body import RawEvent
from apps.ingest.record import Batch, Rejection, UsageRecord, Window, read_batch, read_event
from apps.pricing.normalize import USAGE_FORMATS
from tests.ingest.hostile_events import CHOICE_FIELDS, COUNT_FIELDS, TEXT_FIELDS

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WINDOW = Window.around(NOW, oldest_kept=NOW - timedelta(days=760))
GOOD: Mapping[str, Any] = {
    "event_id": "evt-1",
    "occurred_at": "2026-03-01T10:00:00Z",
    "provider": "openai",
    "model": "gpt-4o-mini",
    "usage": {"input_tokens": 10, "output_tokens": 5},
}
LEFT_OUT: Any = object()


def event(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**GOOD, **changes}.items() if value is not LEFT_OUT}


def read(**changes: Any) -> UsageRecord | Rejection:
    return read_event(RawEvent(event(**changes)), 0, WINDOW)


def accepted(**changes: Any) -> UsageRecord:
    item = read(**changes)
    assert isinstance(item, UsageRecord), item
    return item


def rejected(**changes: Any) -> Rejection:
    item = read(**changes)
    assert isinstance(item, Rejection), item
    return item


def batch(*events: Any) -> Batch:
    return read_batch(json.dumps(events).encode(), "application/json", WINDOW)


# --- The record ------------------------------------------------------------------------------------------


def test_it_keeps_what_an_event_says() -> None:
    texts = {name: f"the {name}" for name in TEXT_FIELDS}
    counts = {name: number for number, name in enumerate(COUNT_FIELDS, start=1)}
    choices = {"service_tier": "batch", "status": "cancelled", "outcome": "failure"}
    item = accepted(**texts, **counts, **choices, tags={"customer": "Zoë"}, cost_usd="0.0100")
    for name, value in {**texts, **counts, **choices}.items():
        assert getattr(item, name) == value
    assert item.event_id == "evt-1"
    assert item.tags == {"customer": "Zoë"}
    assert item.cost_usd == Decimal("0.01")
    assert len(item.fingerprint) == 16


def test_what_is_left_out_has_its_default() -> None:
    for absent in (LEFT_OUT, None):
        optional = (*TEXT_FIELDS[2:], *COUNT_FIELDS, *CHOICE_FIELDS, "tags", "cost_usd", "provider_usage")
        item = accepted(**dict.fromkeys(optional, absent))
        assert (item.attempt, item.status, item.tags, item.cost_usd) == (1, "ok", {}, None)
        assert (item.team, item.step, item.service_tier, item.outcome) == (None, None, None, None)


@pytest.mark.parametrize(
    ("sent", "instant"),
    [
        ("2026-03-01T10:00:00Z", datetime(2026, 3, 1, 10, tzinfo=UTC)),
        ("2026-03-01t10:00:00z", datetime(2026, 3, 1, 10, tzinfo=UTC)),
        ("2026-03-01T12:30:00.25+02:30", datetime(2026, 3, 1, 10, 0, 0, 250_000, tzinfo=UTC)),
        ("2026-02-28T22:00:00.000001-12:00", datetime(2026, 3, 1, 10, 0, 0, 1, tzinfo=UTC)),
    ],
)
def test_time_becomes_utc(sent: str, instant: datetime) -> None:
    item = accepted(occurred_at=sent)
    assert item.occurred_at == instant
    assert item.occurred_at.tzinfo is UTC


@given(st.dictionaries(st.sampled_from(METERS), st.integers(0, QUANTITY_MAX) | st.none()))
def test_usage_becomes_a_vector_in_the_order_of_the_meters(usage: dict[str, int | None]) -> None:
    quantities = accepted(usage=usage).quantities
    assert quantities == tuple(usage.get(name) or 0 for name in METERS)


@pytest.mark.parametrize("usage_format", [LEFT_OUT, "openai_chat"])
def test_a_provider_usage_object_is_normalized(usage_format: Any) -> None:
    provider_usage = {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "total_tokens": 120,
        "prompt_tokens_details": {"cached_tokens": 60},
    }
    item = accepted(usage=LEFT_OUT, provider_usage=provider_usage, usage_format=usage_format)
    assert item.quantities[METER_INDEX["input_tokens"]] == 40
    assert item.quantities[METER_INDEX["cache_read_tokens"]] == 60
    assert item.quantities[METER_INDEX["output_tokens"]] == 20


def test_the_usage_formats_are_those_that_can_be_normalized() -> None:
    assert get_args(record.UsageFormat) == USAGE_FORMATS


# --- Refusals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "code", "param", "named"),
    [
        ({"model": LEFT_OUT}, "missing_field", "model", "model"),
        ({"model": None}, "missing_field", "model", "model"),
        ({"event_id": "i" * 129}, "string_too_long", "event_id", "129"),
        ({"team": ""}, "empty_string", "team", "team"),
        ({"team": "é" * 257}, "string_too_long", "team", "257"),
        ({"team": 7}, "wrong_type", "team", "7"),
        ({"team": "a\x00"}, "invalid_character", "team", "team"),
        ({"step": True}, "wrong_type", "step", "true"),
        ({"step": 1.0}, "wrong_type", "step", "1.0"),
        ({"step": -1}, "out_of_range", "step", "-1"),
        ({"attempt": 0}, "out_of_range", "attempt", "from 1 "),
        ({"latency_ms": 10**12 + 1}, "out_of_range", "latency_ms", "1000000000001"),
        ({"status": "done"}, "invalid_choice", "status", "cancelled, error, ok"),
        ({"usage": {"input_tokens": "5"}}, "wrong_type", "usage.input_tokens", '"5"'),
        ({"usage": {"tokens": 5}}, "unknown_meter", "usage.tokens", "input_tokens"),
        ({"usage": LEFT_OUT}, "usage_missing", "usage", "provider_usage"),
        ({"provider_usage": {}}, "usage_ambiguous", "usage", "one"),
        ({"tags": {"a": 1}}, "wrong_type", "tags.a", "1"),
        ({"tags": {"": "a"}}, "empty_string", "tags.", "tags"),
        ({"tags": {"k" * 300: "a"}}, "string_too_long", "tags." + "k" * 64, "300"),
        ({"tags": {"\ud800": "a"}}, "invalid_character", "tags.\\ud800", "surrogate"),
        ({"tags": {str(n): "a" for n in range(65)}}, "too_many_tags", "tags", "65"),
        ({"cost_usd": 0.01}, "wrong_type", "cost_usd", "a string"),
        ({"cost_usd": "-1"}, "cost_usd_invalid", "cost_usd", '"-1"'),
        ({"occurred_at": "2026-03-01T10:00:00"}, "occurred_at_invalid", "occurred_at", "offset"),
        (
            {"usage": LEFT_OUT, "provider_usage": {"prompt_tokens": -1}},
            "usage_invalid",
            "provider_usage.prompt_tokens",
            "-1",
        ),
    ],
)
def test_a_refusal_names_the_field_and_the_value(changes: dict[str, Any], code: str, param: str, named: str) -> None:
    item = rejected(**changes)
    assert (item.code, item.param) == (code, param)
    assert named in item.detail
    assert item.event_id == ("evt-1" if "event_id" not in changes else None)


@pytest.mark.parametrize("value", [None, True, 1, "a", [], [{}]])
def test_an_event_is_an_object(value: object) -> None:
    item = read_event(RawEvent(value), 3, WINDOW)
    assert isinstance(item, Rejection)
    assert (item.index, item.event_id, item.code) == (3, None, "not_an_object")


@pytest.mark.parametrize(
    ("age", "backfill", "code"),
    [
        (timedelta(minutes=-5), False, None),
        (timedelta(minutes=-5, microseconds=-1), False, "occurred_at_in_future"),
        (timedelta(minutes=-5, microseconds=-1), True, "occurred_at_in_future"),
        (timedelta(days=35), False, None),
        (timedelta(days=35, microseconds=1), False, "occurred_at_too_old"),
        (timedelta(days=35, microseconds=1), True, None),
        (timedelta(days=760), True, None),
        (timedelta(days=760, microseconds=1), True, "too_old"),
        (timedelta(days=760, microseconds=1), False, "too_old"),
    ],
)
def test_an_event_must_lie_in_the_window(age: timedelta, backfill: bool, code: str | None) -> None:
    window = Window.around(NOW, oldest_kept=NOW - timedelta(days=760), backfill=backfill)
    item = read_event(RawEvent(event(occurred_at=(NOW - age).isoformat())), 0, window)
    assert (item.code if isinstance(item, Rejection) else None) == code
    if code == "occurred_at_too_old":
        assert isinstance(item, Rejection)
        assert "backfill" in item.detail


ODD_STRINGS = st.text(max_size=4) | st.sampled_from(
    ["x" * 257, "\ud800", "\x00", "ok", "2026-03-01T10:00:00+25:00", "1.5"]
)
ODD_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(-2, 2) | st.floats() | ODD_STRINGS,
    lambda children: st.lists(children, max_size=2) | st.dictionaries(ODD_STRINGS, children, max_size=2),
    max_leaves=4,
)
ALL_FIELDS = (*GOOD, *TEXT_FIELDS, *COUNT_FIELDS, *CHOICE_FIELDS, "tags", "provider_usage", "usage_format", "cost_usd")


@settings(max_examples=500)
@example({"occurred_at": "\ud800"})
@example({"status": "\ud800"})
@example({"usage": {"\ud800": 1}})
@given(
    st.dictionaries(
        st.sampled_from(ALL_FIELDS),
        ODD_VALUES | st.dictionaries(st.sampled_from(METERS), ODD_VALUES, max_size=2),
        max_size=3,
    )
)
def test_any_event_is_read_or_refused_with_a_reason(changes: dict[str, Any]) -> None:
    """No value raises, and each fault that msgspec sees is one that can be put into words."""
    item = read(**changes, **{"\ud800": "an unknown name"})
    if isinstance(item, Rejection):
        assert item.param
        assert item.detail.endswith(".")
        json.dumps(item.detail).encode()
        (item.param + (item.event_id or "") + item.detail).encode()
    else:
        assert all(0 <= quantity <= QUANTITY_MAX for quantity in item.quantities)
        assert item.attempt >= 1


# --- The fingerprint -------------------------------------------------------------------------------------


CALL = '"event_id":"evt-1","model":"gpt-4o-mini","occurred_at":"2026-03-01T10:00:00Z"'


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, f'{{{CALL},"provider":"openai","usage":{{"input_tokens":10,"output_tokens":5}}}}'),
        (
            {"usage": {"images": 0}, "tags": {"b": "2", "a": "1"}, "attempt": 2, "step": 0, "cost_usd": "0.50"},
            f'{{"attempt":2,"cost_usd":"0.5",{CALL},"provider":"openai","step":0,"tags":{{"a":"1","b":"2"}},"usage":{{}}}}',
        ),
        (
            {"usage": None, "provider_usage": {"prompt_tokens": 1, "completion_tokens": 2}, "status": "error"},
            f'{{{CALL},"provider":"openai","provider_usage":{{"completion_tokens":2,"prompt_tokens":1}},"status":"error"}}',
        ),
    ],
)  # fmt: skip
def test_the_fingerprint_never_changes(changes: dict[str, Any], text: str) -> None:
    """Stored fingerprints outlive a release: were this text to change, each retry would be a conflict."""
    assert accepted(**changes).fingerprint == blake2b(text.encode(), digest_size=16).digest()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"attempt": 1}),
        ({}, {"attempt": None, "team": None, "status": None, "tags": None}),
        ({}, {"status": "ok"}),
        ({}, {"tags": {}}),
        ({}, {"prompt": "a field nobody knows"}),
        ({}, {"usage": {"output_tokens": 5, "input_tokens": 10, "images": 0, "requests": None}}),
        ({}, {"occurred_at": "2026-03-01T12:00:00.000+02:00"}),
        ({"tags": {"a": "1", "b": "2"}}, {"tags": {"b": "2", "a": "1"}}),
        ({"cost_usd": "1.50"}, {"cost_usd": "001.5000"}),
        ({"cost_usd": "100"}, {"cost_usd": "100.0"}),
        (
            {"usage": None, "provider_usage": {"prompt_tokens": 1, "x": {"a": 1, "b": [2]}}},
            {"usage": None, "provider_usage": {"x": {"b": [2], "a": 1}, "prompt_tokens": 1}},
        ),
    ],
)
def test_two_spellings_of_one_event_are_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert accepted(**one).fingerprint == accepted(**other).fingerprint


@pytest.mark.parametrize(
    "changes",
    [
        {"occurred_at": "2026-03-01T10:00:00.000001Z"},
        {"model": "gpt-4o"},
        {"usage": {"input_tokens": 10, "output_tokens": 6}},
        {"usage": {"input_tokens": 10, "reasoning_tokens": 5}},
        {"usage": {}},
        {"team": "gpt-4o-mini"},
        {"project": "gpt-4o-mini"},
        {"attempt": 2},
        {"step": 0},
        {"status": "error"},
        {"tags": {"a": "1"}},
        {"tags": {"a": "2"}},
        {"tags": {"1": "a"}},
        {"cost_usd": "0"},
        {"cost_usd": "123456789012345678901234.123456789013"},
        {"usage": None, "provider_usage": {"prompt_tokens": 10, "completion_tokens": 5}},
        {"usage": None, "provider_usage": {"prompt_tokens": 10, "completion_tokens": 5}, "usage_format": "openai_chat"},
    ],
)  # fmt: skip
def test_another_payload_has_another_fingerprint(changes: dict[str, Any]) -> None:
    others = [accepted(), accepted(tags={"a": "3"}), accepted(cost_usd="123456789012345678901234.123456789012")]
    assert accepted(**changes).fingerprint not in {other.fingerprint for other in others}


@given(st.data())
def test_order_and_spacing_do_not_matter(data: st.DataObject) -> None:
    sent = event(team="search", tags={"a": "1", "b": "2", "é": "3"}, run_id="r", step=3, cost_usd="0.1")
    shuffled = dict(data.draw(st.permutations(list(sent.items()))))
    shuffled["tags"] = dict(data.draw(st.permutations(list(shuffled["tags"].items()))))
    text = json.dumps([shuffled], indent=data.draw(st.sampled_from([None, 2])), ensure_ascii=data.draw(st.booleans()))
    (item,) = read_batch(text.encode(), "application/json", WINDOW).items
    assert item == read_event(RawEvent(sent), 0, WINDOW)


# --- The batch -------------------------------------------------------------------------------------------


def test_a_batch_answers_for_each_event_in_order() -> None:
    items = batch(event(event_id="a"), event(event_id="b", step=-1), 5, event(event_id="c")).items
    assert [(type(item), getattr(item, "event_id", None)) for item in items] == [
        (UsageRecord, "a"),
        (Rejection, "b"),
        (Rejection, None),
        (UsageRecord, "c"),
    ]
    assert [item.index for item in items if isinstance(item, Rejection)] == [1, 2]


def test_lines_are_counted_without_the_blank_ones() -> None:
    body = f"\n{json.dumps(event())}\n\n{{nope\n".encode()
    _, bad = read_batch(body, "application/x-ndjson", WINDOW).items
    assert isinstance(bad, Rejection)
    assert (bad.index, bad.code, bad.param) == (1, "not_json", None)


def test_unknown_fields_are_dropped_and_named_once() -> None:
    read_events = batch(event(prompt="secret", Team="x"), event(prompt="secret"), event(), event(step=-1, zone="eu"))
    assert read_events.warnings == [
        "The unknown field prompt was ignored.",
        "The unknown field Team was ignored.",
        "The unknown field zone was ignored.",
    ]
    assert "secret" not in repr(read_events.items)


def test_the_warnings_are_limited() -> None:
    warnings = batch(event(**{f"x{number}": 1 for number in range(1_000)})).warnings
    assert len(warnings) == record.WARNINGS_MAX + 1
    assert warnings[-1] == "More unknown fields were ignored."
    assert len(batch(event(**{"x" * 1_000: 1})).warnings[0]) < 120


def test_no_events_are_a_batch() -> None:
    assert batch() == Batch([], [])


def test_a_dropped_provider_usage_takes_its_text_along() -> None:
    item = accepted(usage=None, provider_usage={"prompt_tokens": 1, "completion_tokens": 1, "note": "secret"})
    assert "secret" not in repr(item)
