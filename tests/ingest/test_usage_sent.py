"""Where an event names no tier and region its usage object does, and the figures of that object are kept."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from apps.ingest.record import UsageRecord, Window, read_batch

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
WINDOW = Window.around(NOW, oldest_kept=datetime(2024, 5, 1, tzinfo=UTC))
SENT = {"input_tokens": 7, "service_tier": "batch", "inference_geo": "us"}


def record_of(**fields: Any) -> UsageRecord:
    event = {"event_id": "e-1", "occurred_at": NOW, "provider": "anthropic", "model": "claude-opus-4-6", **fields}
    item = read_batch(msgspec.json.encode([event]), "application/json", WINDOW).items[0]
    assert isinstance(item, UsageRecord), item
    return item


def test_the_usage_object_tells_tier_and_region_where_the_event_does_not() -> None:
    record = record_of(provider_usage=SENT)
    assert (record.service_tier, record.region) == ("batch", "us")


def test_what_the_event_says_itself_wins() -> None:
    record = record_of(provider_usage=SENT, service_tier="priority", region="eu")
    assert (record.service_tier, record.region) == ("priority", "eu")


def test_the_fingerprint_is_of_what_was_sent() -> None:
    silent, spoken = record_of(provider_usage=SENT), record_of(provider_usage=SENT, service_tier="batch", region="us")
    assert (silent.service_tier, silent.region) == (spoken.service_tier, spoken.region)
    assert silent.fingerprint != spoken.fingerprint


def test_figures_are_kept_and_text_is_not() -> None:
    record = record_of(provider_usage={**SENT, "answer": "Dear Bob"})
    assert record.usage_sent == {"format": "anthropic", "usage": SENT}


def test_meters_that_were_sent_keep_no_object() -> None:
    assert record_of(usage={"input_tokens": 7}).usage_sent is None
