"""Events of the shape that an agent platform sends: about 450 bytes, a few teams, many runs."""

import itertools
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

BATCH_EVENTS = 1_000
TEAMS, WORKFLOWS, USERS, STEPS = 8, 24, 40, 20
MODELS = (
    ("anthropic", "claude-sonnet-4-5"),
    ("anthropic", "claude-haiku-4-5"),
    ("anthropic", "claude-opus-4-5-20251101"),
    ("openai", "gpt-5-mini"),
)


def names() -> Iterator[tuple[str, str, str]]:
    """(team, project, workflow) of every workflow."""
    for number in range(WORKFLOWS):
        yield f"team-{number % TEAMS}", f"project-{number % TEAMS}", f"workflow-{number}"


def events(seed: str, *, since: datetime, until: datetime) -> Iterator[dict[str, Any]]:
    """Endless events at random instants of [since, until); ids begin with the seed."""
    dice = random.Random(seed)
    length = (until - since).total_seconds()
    for number in itertools.count():
        provider, model = dice.choice(MODELS)
        run, step = divmod(number, STEPS)
        at = since + timedelta(seconds=(run * 7919.7) % length * 0.99 + step * length * 0.0004)
        yield {
            "event_id": f"{seed}-{number}",
            "occurred_at": at.isoformat(),
            "provider": provider,
            "model": model,
            "usage": {
                "input_tokens": dice.randrange(50, 3_000),
                "cache_read_tokens": dice.randrange(0, 60_000),
                "cache_write_5m_tokens": dice.randrange(0, 2_000),
                "output_tokens": dice.randrange(10, 900),
            },
            "workflow": f"workflow-{run % WORKFLOWS}",
            "task_type": ("coding", "extraction", "summarization")[run % 3],
            "user": f"user-{run % USERS}",
            "environment": "prod",
            "run_id": f"{seed}-run-{run}",
            "step": step,
            "stop_reason": "tool_use",
            "latency_ms": dice.randrange(300, 9_000),
            "tags": {"customer": f"c-{run % 17}", "release": "2026.11"},
        }


def bodies(seed: str, count: int, *, minutes: int = 15) -> list[bytes]:
    """`count` request bodies of `BATCH_EVENTS` events over the last `minutes`, as live traffic is."""
    until = datetime.now(UTC)
    source = events(seed, since=until - timedelta(minutes=minutes), until=until)
    return [json.dumps(list(itertools.islice(source, BATCH_EVENTS))).encode() for _ in range(count)]
