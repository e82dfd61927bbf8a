"""Make the shipped sample again from the full trace files: `python -m apps.ingest.demo.build TRACES`.

The choice is by hash and by stride, so the same traces always give the same sample, byte for byte.
"""

import csv
import gzip
import io
import sys
from collections.abc import Iterator
from pathlib import Path

from apps.ingest.demo.places import draw

SAMPLE = Path(__file__).parent / "sample"

# One conversation of this many is taken; those with sub-agents always are, unless they are very long.
CONVERSATIONS_TAKEN_OF = 4
CONVERSATION_CALLS_MAX = 300
STRIDES = {"resampled_events_deepseek_r1": 56, "azure_llm_2023": 5, "aider_llm_calls": 1}

Line = list[str]


def build(traces: Path) -> None:
    _write("agent_calls", _conversations(_read(traces, "agent_calls")))
    for name, stride in STRIDES.items():
        header, *lines = _read(traces, name)
        _write(name, [header, *lines[::stride]])


def _read(traces: Path, name: str) -> list[Line]:
    with gzip.open(traces / f"{name}.csv.gz", "rt", encoding="utf-8", newline="") as text:
        return list(csv.reader(text))


def _conversations(lines: list[Line]) -> list[Line]:
    """Whole conversations only."""
    header, *calls = lines
    name, agent = header.index("conversation_id"), header.index("agent_id")
    by_conversation: dict[str, list[Line]] = {}
    for call in calls:
        by_conversation.setdefault(call[name], []).append(call)
    taken = [
        group
        for conversation, group in by_conversation.items()
        if len(group) <= CONVERSATION_CALLS_MAX
        and (any(call[agent] != "main" for call in group) or draw("sample", conversation) % CONVERSATIONS_TAKEN_OF == 0)
    ]
    return [header, *_flat(taken)]


def _flat(groups: list[list[Line]]) -> Iterator[Line]:
    for group in groups:
        yield from group


def _write(name: str, lines: list[Line]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    packed = gzip.compress(text.getvalue().encode(), compresslevel=9, mtime=0)
    (SAMPLE / f"{name}.csv.gz").write_bytes(packed)
    sys.stdout.write(f"{name}: {len(lines) - 1} rows, {len(packed)} bytes\n")


if __name__ == "__main__":
    build(Path(sys.argv[1]))
