"""Trace files in, events of the public contract out.

A trace is a CSV file, plain or gzip, of one of the kinds in `KINDS`. It is read as a stream, twice: once
to survey its length and span, once to make the events. The same file and the same `Shift` always give
the same events, byte for byte, and the shift is part of every event id: a replay repeated is all
duplicates, and a replay laid elsewhere in time is other events, never a conflict.

A clock is in milliseconds, since the Unix epoch or since the trace's start.
"""

import csv
import gzip
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from typing import Any, TextIO

from apps.core.money import USD_PLACES
from apps.ingest.demo import places
from apps.ingest.demo.sessions import Session
from apps.ingest.timeline import (
    DAY_MS,
    Shift,
    WorkingWeek,
    conversation_starts,
    epoch_ms,
    instant,
    rfc3339,
)

Row = dict[str, str]
Event = dict[str, Any]  # one JSON object of POST /api/v1/events

# Conversations are spread over this many days. A trace longer than FITTING_DAYS is compressed into them,
# since an event may be at most 35 days old.
SPREAD_DAYS = 28
FITTING_DAYS = 30

# The cache simulation of agent_calls counts whole blocks; what a last, partial block holds is never cached.
CACHE_BLOCK_TOKENS = 64


class TraceError(ValueError):
    """The file cannot be read as the trace it is said to be."""


@dataclass(frozen=True, slots=True)
class Survey:
    """A trace as a whole. `conversations_ms` has the length of each, where time is counted within them."""

    rows: int
    first_ms: int
    last_ms: int
    conversations_ms: Mapping[str, int]

    @property
    def span_ms(self) -> int:
        return self.last_ms - self.first_ms


@dataclass(frozen=True, slots=True)
class Kind:
    """How to read one trace: its columns, its clock, and what a row says.

    `identity` names a row within the trace; without it a row is named by the digest of its text.
    `conversation` is the column that time is counted within; `session`, the column that steps and attempts are.
    """

    name: str
    columns: tuple[str, ...]
    clock: Callable[[Row], int]
    describe: Callable[[Row], Event]
    identity: Callable[[Row], str] | None = None
    conversation: str | None = None
    session: str | None = None
    dated: bool = False


@dataclass(frozen=True, slots=True)
class Trace:
    """A surveyed file. `shift` is the one in force: the asked one with its window resolved."""

    path: Path
    kind: Kind
    survey: Survey
    shift: Shift

    def events(self) -> Iterator[Event]:
        """Every row as an event, in the file's order. Raises TraceError naming the first bad row."""
        at = _clock_on(self.kind, self.survey, self.shift)
        seen: Counter[str] = Counter()
        sessions: defaultdict[str, Session] = defaultdict(Session)
        for number, row in enumerate(_rows(self.path, self.kind), start=1):
            try:
                event: Event = {
                    "event_id": f"{self.kind.name}@{self.shift.label}:{_identity(self.kind, row, seen)}",
                    "occurred_at": rfc3339(at(row)),
                    **self.kind.describe(row),
                }
            except (LookupError, ValueError, ArithmeticError) as error:
                raise TraceError(f"Row {number} of {self.path} is not a {self.kind.name} row: {error!r}.") from error
            if self.kind.session is not None:
                event |= sessions[row[self.kind.session]].place(event)
            yield event

    def first_instant(self) -> datetime:
        """No event is earlier."""
        if self.shift.end is None:
            return instant(self.survey.first_ms)
        end = epoch_ms(self.shift.end)
        if self.kind.conversation is not None:
            longest = max(self.survey.conversations_ms.values(), default=0)
            return instant(end - max(longest, self.shift.window_ms))
        return instant(end - (self.shift.window_ms or self.survey.span_ms))


def open_trace(path: Path, shift: Shift, kind_name: str | None = None) -> Trace:
    """Survey a file.

    Raises TraceError where it is absent, of no known kind, lacks columns, or has no dates to keep.
    """
    kind = kind_of(path) if kind_name is None else KINDS[kind_name]
    if shift.end is None and not kind.dated:
        raise TraceError(f"A {kind.name} trace has no dates of its own to keep: shift it to an instant.")
    survey = _survey(path, kind)
    return Trace(path, kind, survey, _resolve(shift, kind, survey))


def kind_of(path: Path) -> Kind:
    """The kind that the file's name begins with."""
    for name, kind in KINDS.items():
        if path.name.startswith(name):
            return kind
    raise TraceError(f"The name {path.name!r} begins with no known trace; say which it is: {', '.join(KINDS)}.")


# Files


def _rows(path: Path, kind: Kind) -> Iterator[Row]:
    try:
        with _open_text(path) as lines:
            reader = csv.DictReader(lines, restval="")
            missing = sorted(set(kind.columns) - set(reader.fieldnames or ()))
            if missing:
                raise TraceError(f"{path} lacks the columns of a {kind.name} trace: {', '.join(missing)}.")
            yield from reader
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise TraceError(f"{path} cannot be read: {error}.") from error


def _open_text(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def _survey(path: Path, kind: Kind) -> Survey:
    rows, first, last = 0, None, 0
    conversations: dict[str, int] = {}
    for rows, row in enumerate(_rows(path, kind), start=1):
        try:
            at = kind.clock(row)
        except (LookupError, ValueError, ArithmeticError) as error:
            raise TraceError(f"Row {rows} of {path} has no readable time: {error!r}.") from error
        first = at if first is None else min(first, at)
        last = max(last, at)
        if kind.conversation is not None:
            name = row[kind.conversation]
            conversations[name] = max(conversations.get(name, 0), at)
    return Survey(rows, first or 0, last, conversations)


def _identity(kind: Kind, row: Row, seen: Counter[str]) -> str:
    if kind.identity is not None:
        return kind.identity(row)
    text = "\x1f".join(row[column] for column in kind.columns)
    digest = blake2b(text.encode(), digest_size=10).hexdigest()
    seen[digest] += 1
    return digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"


# Time


def _resolve(shift: Shift, kind: Kind, survey: Survey) -> Shift:
    """The shift with its window decided, so that the label tells all that the events depend on."""
    if shift.end is None or shift.window_days is not None:
        return Shift(shift.end, None if shift.end is None else shift.window_days)
    if kind.conversation is not None:
        return Shift(shift.end, SPREAD_DAYS)
    return Shift(shift.end, FITTING_DAYS if survey.span_ms > FITTING_DAYS * DAY_MS else None)


def _clock_on(kind: Kind, survey: Survey, shift: Shift) -> Callable[[Row], int]:
    """Maps a row to its instant."""
    if shift.end is None:
        return kind.clock
    end = epoch_ms(shift.end)
    week = WorkingWeek(end - shift.window_ms, end)
    if kind.conversation is not None:
        starts = conversation_starts(survey.conversations_ms, week)
        column = kind.conversation
        return lambda row: starts[row[column]] + kind.clock(row)
    if shift.window_days is not None and survey.span_ms > 0:
        return lambda row: week.lay(kind.clock(row) - survey.first_ms, survey.span_ms, end)
    offset = end - survey.last_ms
    return lambda row: kind.clock(row) + offset


def _seconds(column: str) -> Callable[[Row], int]:
    def clock(row: Row) -> int:
        return int(Decimal(row[column]).scaleb(3))

    return clock


def _timestamp(row: Row) -> int:
    return epoch_ms(datetime.fromisoformat(row["timestamp"]).replace(tzinfo=UTC))


# What a row says


def _attributes(place: places.Place, owner: str) -> Event:
    said = {"team": place.team, "project": place.project, "workflow": place.workflow}
    return {
        **{name: value for name, value in said.items() if value is not None},
        "environment": places.environment(owner),
    }


def _describe_agent_call(row: Row) -> Event:
    conversation, agent = row["conversation_id"], row["agent_id"]
    place = places.place(places.CODING_AGENTS, owner=conversation, call=conversation)
    read = int(row["cached_input_tokens_ttl5m"])
    uncached = int(row["input_tokens"]) - read
    event: Event = {
        "provider": "anthropic",
        "model": row["model"],
        "usage": {
            "input_tokens": uncached % CACHE_BLOCK_TOKENS,
            "cache_read_tokens": read,
            "cache_write_5m_tokens": uncached - uncached % CACHE_BLOCK_TOKENS,
            "output_tokens": int(row["output_tokens"]),
        },
        **_attributes(place, conversation),
        "user": places.person(place.team, conversation),
        "task_type": _agent_task_type(row),
        "run_id": conversation,
        "step": int(row["call_idx"]),
        "status": "ok",
        "tags": {"trace": "agent_calls", "agent": row["subagent_type"] or "main"},
    }
    if agent != "main":
        event |= {"run_id": f"{conversation}/{agent}", "parent_run_id": conversation}
    if row["stop_reason"]:
        event["stop_reason"] = row["stop_reason"]
    if row["api_s"]:
        event["latency_ms"] = int(Decimal(row["api_s"]).scaleb(3))
    return event


def _agent_task_type(row: Row) -> str:
    """By the sub-agent; in the main agent, a plain text input is a human's message."""
    by_subagent = {"Explore": "exploration", "Plan": "planning"}
    if row["subagent_type"] in by_subagent:
        return by_subagent[row["subagent_type"]]
    return "conversation" if row["input_kind"] == "text" and not row["subagent_type"] else "coding"


# A LiteLLM name is `provider/model`. Names without a provider begin as their maker's models do.
_LITELLM_PROVIDERS = {
    "gemini": "google",
    "vertex_ai": "google",
    "bedrock": "aws",
    "fireworks_ai": "fireworks",
}
_MAKERS = {"claude": "anthropic", "gpt": "openai", "o1": "openai", "o3": "openai", "gemini": "google"}


def provider_and_model(name: str) -> tuple[str, str]:
    """The provider's id and the provider's own model name; a name that tells no provider is `unknown`."""
    prefix, slash, model = name.partition("/")
    if slash:
        return _LITELLM_PROVIDERS.get(prefix, prefix), model.removeprefix("accounts/fireworks/models/")
    for beginning, provider in _MAKERS.items():
        if name.startswith(beginning):
            return provider, name
    return "unknown", name


def _describe_aider_call(row: Row) -> Event:
    session = row["session_id"]
    place = places.place(places.CODING_AGENTS, owner=session, call=session)
    provider, model = provider_and_model(row["main_model"])
    output = int(row["completion_tokens"])
    asked = row["edit_format"] in ("ask", "help")
    event: Event = {
        "provider": provider,
        "model": model,
        "usage": {"input_tokens": int(row["prompt_tokens"]), "output_tokens": output},
        **_attributes(place, session),
        "user": places.person(place.team, session),
        "task_type": "question_answering" if asked else place.task_type,
        "run_id": session,
        "status": "ok" if output else "error",
        "tags": {"trace": "aider_llm_calls", "edit_format": row["edit_format"] or "none"},
    }
    if not output:
        event["error_type"] = "no_completion"
    # The tool computes in floats, and writes 0 for a price it does not know.
    if cost := round(Decimal(row["cost_usd"]), USD_PLACES):
        event["cost_usd"] = format(cost.normalize(), "f")
    return event


_AZURE_MODELS = {"code": "gpt-4o", "conv": "gpt-4o-mini"}


def _describe_azure_call(row: Row) -> Event:
    service = row["service"]
    slugs = places.AUTOCOMPLETE if service == "code" else places.CHAT_SERVICES
    call = f"{row['timestamp']} {row['input_tokens']} {row['output_tokens']}"
    place = places.place(slugs, owner=call, call=call)
    return {
        "provider": "azure",
        "model": _AZURE_MODELS[service],
        "usage": {"input_tokens": int(row["input_tokens"]), "output_tokens": int(row["output_tokens"])},
        **_attributes(place, call),
        "task_type": place.task_type,
        "status": "ok",
        "tags": {"trace": "azure_llm_2023", "service": service, "customer_tier": places.customer_tier(call)},
    }


def _describe_resampled_call(row: Row) -> Event:
    client = row["client_id"]
    call = f"{client} {row['t_s']} {row['input_tokens']}"
    place = places.place(places.REASONING_SERVICES, owner=client, call=call)
    reasoning = int(row["reasoning_tokens"])
    return {
        "provider": "deepseek",
        "model": "deepseek-reasoner",
        "usage": {
            "input_tokens": int(row["input_tokens"]),
            "output_tokens": int(row["output_tokens"]) - reasoning,
            "reasoning_tokens": reasoning,
        },
        **_attributes(place, client),
        "task_type": place.task_type,
        "status": "ok",
        "tags": {
            "trace": "resampled_events_deepseek_r1",
            "client": client,
            "customer_tier": places.customer_tier(client),
        },
    }


# Models of one rate whatever the prompt's length: a window's sum must not pass for one long prompt.
_POOL_MODELS = {
    "m-small": ("openrouter", "qwen/qwen-turbo"),
    "m-mid": ("openrouter", "qwen/qwen3-32b"),
    "m-large": ("openrouter", "qwen/qwen-max"),
    "mm-image": ("openrouter", "qwen/qwen-vl-plus"),
    "deepseek-r1": ("deepseek", "deepseek-reasoner"),
}


def _describe_servegen_window(row: Row) -> Event:
    client = row["client_id"]
    place = places.place(places.MODEL_CLIENTS, owner=client, call=f"{client} {row['t_s']}")
    # Requests alone, at a price per token, would cost nothing; under the pool's own name they are unpriced.
    provider, model = _POOL_MODELS[row["pool"]] if row["input_tokens"] else ("alibaba", row["pool"])
    return {
        "provider": provider,
        "model": model,
        "usage": _servegen_usage(row),
        **_attributes(place, client),
        "task_type": place.task_type,
        "status": "ok",
        "tags": {
            "trace": "servegen_usage_10min",
            "client": client,
            "customer_tier": places.customer_tier(client),
        },
    }


def _servegen_usage(row: Row) -> dict[str, int]:
    """Sums over the window's requests. Where the tokens are not known, the requests alone."""
    usage = {"requests": int(row["requests"])}
    if row["input_tokens"]:
        usage["input_tokens"] = int(row["input_tokens"])
        usage["output_tokens"] = int(row["output_tokens"])
    if row["reasoning_tokens"]:
        usage["reasoning_tokens"] = int(row["reasoning_tokens"])
        usage["output_tokens"] -= usage["reasoning_tokens"]
    if row["image_tokens"]:
        usage["image_input_tokens"] = int(row["image_tokens"])
        usage["input_tokens"] -= usage["image_input_tokens"]
    return usage


_KINDS = (
    Kind(
        name="agent_calls",
        columns=(
            "conversation_id", "agent_id", "subagent_type", "call_idx", "t_s", "model", "input_tokens",
            "cached_input_tokens_ttl5m", "output_tokens", "input_kind", "stop_reason", "api_s",
        ),
        clock=_seconds("t_s"),
        describe=_describe_agent_call,
        identity=lambda row: f"{row['conversation_id']}/{row['agent_id']}/{row['call_idx']}",
        conversation="conversation_id",
    ),
    Kind(
        name="aider_llm_calls",
        columns=(
            "time_unix", "session_id", "main_model", "edit_format",
            "prompt_tokens", "completion_tokens", "cost_usd",
        ),
        clock=_seconds("time_unix"),
        describe=_describe_aider_call,
        session="session_id",
        dated=True,
    ),
    Kind(
        name="azure_llm_2023",
        columns=("timestamp", "service", "input_tokens", "output_tokens"),
        clock=_timestamp,
        describe=_describe_azure_call,
        dated=True,
    ),
    Kind(
        name="resampled_events_deepseek_r1",
        columns=("t_s", "client_id", "input_tokens", "output_tokens", "reasoning_tokens"),
        clock=_seconds("t_s"),
        describe=_describe_resampled_call,
    ),
    Kind(
        name="servegen_usage_10min",
        columns=(
            "pool", "client_id", "t_s", "requests",
            "input_tokens", "output_tokens", "reasoning_tokens", "image_tokens",
        ),
        clock=_seconds("t_s"),
        describe=_describe_servegen_window,
        identity=lambda row: f"{row['client_id']}/{row['t_s']}",
    ),
)  # fmt: skip

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _KINDS}
