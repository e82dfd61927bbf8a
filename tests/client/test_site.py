"""The client against the site itself: what it sends is counted once, and what is refused is told."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from finops_ai import Client, Rejected

from tests.site import Site
from tests.world import World, unique

HOUR = timedelta(hours=1)
EVENT: dict[str, Any] = {
    "provider": "anthropic",
    "model": "claude-sonnet-4-5",
    "usage": {"input_tokens": 1000, "output_tokens": 100},
}


def test_events_through_a_spool_are_counted_once(site: Site, world: World, tmp_path: Path) -> None:
    ids = [unique("client") for _ in range(25)]
    now = datetime.now(UTC)
    with Client(site.url, world.acme.api.secret, spool_dir=tmp_path, batch_events=10, flush_seconds=60) as client:
        for _ in range(2):
            for event_id in ids:
                client.record({**EVENT, "event_id": event_id, "occurred_at": now.isoformat(), "team": "search"})
        client.record({**EVENT, "event_id": "no-offset", "occurred_at": "2026-01-15T12:00:00"})
        assert client.flush(30)
        assert client.stats.rejected == 1
    spend = world.acme.api.get("spend", **{"from": (now - HOUR).isoformat(), "to": (now + HOUR).isoformat()}).json()
    assert (spend["total"]["events"], Decimal(spend["total"]["cost_usd"])) == (25, 25 * Decimal("0.0045"))


def test_the_site_s_refusals_reach_the_callback(site: Site, world: World) -> None:
    refused: list[Rejected] = []
    with Client(site.url, world.acme.api.secret, on_rejected=refused.append, flush_seconds=60) as client:
        good = client.record(EVENT)
        client.record({**EVENT, "event_id": "bad", "usage": {"colours": 1}})
        assert client.flush(30)
    assert [(one.body["event_id"], one.code, one.param) for one in refused] == [
        ("bad", "unknown_meter", "usage.colours")
    ]
    (found,) = world.acme.api.get("events", event_id=good).json()["data"]
    assert found["meters"] == EVENT["usage"]


def test_a_key_that_is_refused_is_told_and_not_tried_again(site: Site) -> None:
    refused: list[Rejected] = []
    with Client(site.url, "aif_live_wrong", on_rejected=refused.append, flush_seconds=60) as client:
        client.record(EVENT)
        assert client.flush(30)
    assert [one.code for one in refused] == ["key_invalid"]


def test_hostile_texts_are_refused_one_by_one(site: Site, world: World) -> None:
    refused: list[Rejected] = []
    hostile = ["", "\0", "a\nb", "\ud800", "x" * 300, "x" * 70_000]
    with Client(site.url, world.acme.api.secret, on_rejected=refused.append, flush_seconds=60) as client:
        for text in ["fine", *hostile, "größer 🙂"]:
            client.record({**EVENT, "user": text})
        assert client.flush(30)
        assert (client.stats.sent, client.stats.rejected) == (2, len(hostile))
    assert [one.body["user"] for one in refused] == hostile
