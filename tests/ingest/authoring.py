"""What a case of the hostile corpus is, and who writes its events."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

JSON = "application/json"
NDJSON = "application/x-ndjson"
ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True)
class Refused:
    """The whole body is an error; nothing is stored."""

    status: int
    code: str


@dataclass(frozen=True, slots=True)
class Answered:
    """202: for each event in order `accepted`, or the code of its rejection."""

    outcomes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    body: bytes
    expected: Refused | Answered
    content_type: str = JSON
    content_encoding: str | None = None


@dataclass(frozen=True, slots=True)
class Author:
    """Writes events that differ from a good one in exactly what the case is about."""

    now: datetime

    def members(self, event_id: str, /, **changes: str | None) -> str:
        """The members of an event, without braces; `changes` are JSON texts, None leaves a member out."""
        good = {
            "event_id": json.dumps(event_id),
            "occurred_at": json.dumps((self.now - timedelta(hours=1)).isoformat()),
            "provider": '"openai"',
            "model": '"gpt-4o-mini"',
            "usage": '{"input_tokens":10,"output_tokens":5}',
        }
        texts = {name: text for name, text in {**good, **changes}.items() if text is not None}
        return ",".join(f"{json.dumps(name)}:{text}" for name, text in texts.items())

    def event(self, event_id: str, /, **changes: str | None) -> str:
        return f"{{{self.members(event_id, **changes)}}}"

    def between_good_ones(self, name: str, code: str, /, **changes: str | None) -> Case:
        """Three events; the second is refused with `code`."""
        events = [self.event(f"{name}-0"), self.event(f"{name}-1", **changes), self.event(f"{name}-2")]
        return Case(name, f"[{','.join(events)}]".encode(), Answered((ACCEPTED, code, ACCEPTED)))

    def alone(self, name: str, code: str, /, **changes: str | None) -> Case:
        return Case(name, f"[{self.event(name, **changes)}]".encode(), Answered((code,)))
