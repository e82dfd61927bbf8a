"""What messages say, and that no name says anything else."""

import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.alerts.messages import PAYLOAD_BYTES_MAX, TYPES, Notice, Place, message_of, payload_of, said, usd
from apps.budgets.models import Crossing
from tests.alerts.desk import FACTS

AT = datetime(2026, 11, 27, 12, 30, tzinfo=UTC)
PLACE = Place("Acme", "acme", ZoneInfo("Europe/Berlin"), "https://finops.example")
KINDS = [*Crossing.Kind.values, "test", "something new"]
TAGS = {"html", "head", "meta", "title", "body", "table", "tr", "td", "h1", "h2", "p", "a", "div", "span", "hr"}
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "x\r\nBcc: everybody@example.com\r\n\r\nbody",
    "<!channel> <@U123> @everyone @here #general",
    "<https://evil.example|Open the page>",
    "[Open the page](https://evil.example/login)",
    "www.evil.example and evil.example/login and mailto:x@evil.example",
    "javascript:alert(1)",
    "\u202egnp.exe\u202c \u200b\u2066x",
    "a" * 10_000,
    "\x00\x1b[31m",
    "&lt;b&gt; &amp;",
    "tel:+491234 sms:1",
]


def notice(kind: str = "threshold", severity: str = "warning", /, **facts: Any) -> Notice:
    return Notice("c1", kind, severity, AT, team="search", budget_id=7, run_id=None, facts={**FACTS, **facts})


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attributes if name in ("href", "src")]
        assert not any(name.startswith("on") for name, _ in attributes)


def test_a_threshold_says_what_how_bad_what_next_and_where() -> None:
    message = message_of([notice()], PLACE)
    assert message.subject == "[warning] Budget “Search, monthly” has reached 80 % of its limit · Acme"
    assert message.text.splitlines() == [
        "80.12 USD of 100.00 USD is spent, and 1.50 USD more is held for calls under way.",
        "Scope: team search",
        "Limit: 100.00 USD",
        "Spent: 80.12 USD",
        "Held: 1.50 USD",
        "Period: 1 Nov 2026 01:00 to 1 Dec 2026 01:00",
        "When: 27 Nov 2026 13:30 (Europe/Berlin)",
        "At the limit, calls that would go beyond it are refused.",
        "https://finops.example/o/acme/budgets",
    ]


@pytest.mark.parametrize(
    ("kind", "facts", "title", "part"),
    [
        ("threshold", {"threshold": 100}, "has reached its limit", "are refused until 1 Dec 2026"),
        ("threshold", {"threshold": 120, "mode": "notify"}, "120 %", "this budget only tells"),
        ("threshold", {"threshold": 100, "mode": "downgrade"}, "its limit", "cheaper models"),
        ("forecast", {"run_rate_usd": "140.5"}, "on course for 80 %", "140.50 USD by 1 Dec 2026"),
        ("refused", {"hold_usd": "0.0123456"}, "refuses calls", "asked for 0.01235 USD"),
        ("overrun", {"cost_usd": "2", "over_usd": "1"}, "cost more than was held", "cost 2.00 USD, 1.00 USD more"),
        ("settled_late", {"cost_usd": "2"}, "settled late", "after its hold had expired"),
        ("raise_asked", {"asked_by": "bob", "amount_usd": "50"}, "More is asked for", "bob asks for 50.00 USD"),
        ("run_bound", {"run_id": "r-1", "bound": "max_steps", "limit": "40", "workflow": "agent"}, "bound: steps",
         "40 (steps) as a run of workflow agent"),
        ("stopped", {"kind": "team", "target": "search", "actor": "alice", "reason": "loop"}, "stop for team search",
         "alice stopped it"),
        ("lifted", {"kind": "organization", "target": ""}, "the whole organization is lifted", "as before"),
        ("ungoverned", {"amount_usd": "3"}, "without a decision", "3.00 USD"),
        ("test", {"channel": "ops"}, "A test of channel “ops”", "arrive here"),
    ],
)  # fmt: skip
def test_each_kind_has_its_words(kind: str, facts: dict[str, Any], title: str, part: str) -> None:
    message = message_of([notice(kind, **facts)], PLACE)
    assert title in message.subject
    assert part in message.text
    assert json.loads(payload_of(notice(kind, **facts), PLACE))["type"] == TYPES[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_without_facts_still_says_something(kind: str) -> None:
    message = message_of([Notice("c1", kind, "nonsense", AT)], PLACE)
    assert message.subject.endswith(" · Acme")
    assert "None" not in message.text + message.subject
    assert "https://finops.example/o/acme/" in message.text


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("kind", KINDS)
def test_no_name_becomes_a_link_a_mention_markup_or_a_header(kind: str, name: str) -> None:
    facts = dict.fromkeys(
        ("budget", "reason", "asked_by", "workflow", "run_id", "target", "actor", "bound", "channel", "threshold"), name
    )
    one = Notice("c1", kind, "critical", AT, team=name, facts={**FACTS, **facts, "scope": {name: name}})
    message = message_of([one], Place(name, "acme", PLACE.zone, PLACE.site))
    assert len(message.subject) <= 200
    for text in (message.subject, *message.text.splitlines()):
        assert text.isprintable() or "\u2060" in text
        assert not re.search(r"[\x00-\x1f\x7f\u202a-\u202e\u2066-\u2069]", text)
    plain = re.sub(r"https://finops\.example/o/acme/\S*", "OURS", message.text)
    assert not re.search(r"https?://|www\.\w|\w\.example|@\w|<[!@#h]|\]\(|javascript:\w|mailto:\w|tel:\+?\d", plain)
    reader = Links()
    reader.feed(message.html)
    assert reader.tags <= TAGS
    assert all(link.startswith("https://finops.example/o/acme/") for link in reader.links)
    assert len(reader.links) == 2


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
_NAMES = st.sampled_from([*FACTS, "run_rate_usd", "bound", "limit", "kind", "target", "expires_at", "amount_usd"])


@settings(deadline=None)
@given(st.sampled_from(KINDS), st.dictionaries(_NAMES | st.text(max_size=5), _JSON, max_size=8), st.text())
def test_it_never_fails_whatever_the_facts_are(kind: str, facts: dict[str, Any], team: str) -> None:
    one = Notice("c1", kind, "warning", AT, team=team, run_id=team, facts=facts)
    message_of([one, one], PLACE)
    assert message_of([one], PLACE).subject
    assert len(payload_of(one, PLACE).encode()) < PAYLOAD_BYTES_MAX


def test_a_payload_stays_small_and_says_that_it_was_cut() -> None:
    long = notice(reason="é" * 30_000)
    body = json.loads(payload_of(long, PLACE))
    assert len(body["data"]["facts"]["reason"]) == 500
    many = notice(**{f"x{index}": "a" * 400 for index in range(100)})
    assert json.loads(payload_of(many, PLACE))["data"]["facts"] == {"truncated": True}


def test_a_payload_holds_names_as_they_are() -> None:
    body = json.loads(payload_of(notice(budget="a.b <@c>"), PLACE))
    assert body["data"]["facts"]["budget"] == "a.b <@c>"
    assert body["timestamp"] == "2026-11-27T12:30:00+00:00"
    assert (body["data"]["severity"], body["data"]["team"], body["data"]["budget_id"]) == ("warning", "search", 7)


def test_a_digest_names_the_worst_and_how_many_are_left_out() -> None:
    message = message_of([notice("threshold", "info"), *[notice("threshold", "critical")] * 69], PLACE)
    assert message.subject == "[critical] 70 alerts · Acme"
    assert "And 20 more" in message.text
    assert "And 20 more" in message.html


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0", "0.00 USD"), ("0.000000000001", "0.000000000001 USD"), ("0.05", "0.05 USD"), ("-3", "-3.00 USD"),
        ("1234567.891", "1,234,567.89 USD"), ("NaN", "unknown"), ("Infinity", "unknown"), ("x", "unknown"),
        (None, "unknown"), ("1e999999", "unknown"), ("9" * 60, "unknown"),
    ],
)  # fmt: skip
def test_amounts_are_short_and_never_wrong(value: Any, text: str) -> None:
    assert usd(value) == text


def test_a_run_with_a_hostile_id_keeps_the_link_ours() -> None:
    found = said(Notice("c1", "run_bound", "critical", AT, run_id="x&next=//evil#\x00"), PLACE)
    assert found.url == "https://finops.example/o/acme/events?range=30d&run_id=x%26next%3D%2F%2Fevil%23"
