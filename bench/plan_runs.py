"""The recorded traces as runs that plans can be fitted from, and what those runs cost at the catalog's prices."""

import csv
import gzip
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path

from apps.core.meters import METER_INDEX, METERS
from apps.planner.observed import ObservedCall, ObservedRun, step_of_calls
from apps.planner.shapes import Card, Cards, ModelChoice
from apps.pricing.catalog import STANDARD
from apps.pricing.cost import Price, cost_pico
from apps.pricing.genai import read_snapshot
from apps.pricing.sources import catalog_of

DATA = Path(__file__).parents[2] / "shared" / "data"
AT = datetime(2026, 11, 24, 18, tzinfo=UTC)
# No trace has dates; runs in order are laid on days, many a day, so that their order is kept.
FIRST_DAY = date(2026, 6, 1)
# The card of the worked examples of docs/planner.md, for traces that name no model.
LARGE = ModelChoice("bench", "large")
LARGE_CARD = Card(input=3e-6, output=15e-6, cache_read=0.3e-6, cache_write_5m=3.75e-6, cache_write_1h=6e-6)
# Blocks of the trace's cache simulation: what a last, partial block holds is plain input.
BLOCK_TOKENS = 64

Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class TraceRun:
    """A run as a plan sees it, where it belongs, and what its calls cost one by one.

    `group` holds what must stay on one side of a split: forks of a conversation share calls.
    """

    run: ObservedRun
    workflow: str
    group: str
    calls: tuple[tuple[ModelChoice, ObservedCall], ...]
    gaps_s: tuple[float, ...]
    cost_usd: float


def rows(path: Path) -> Iterator[Row]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


# --- prices -----------------------------------------------------------------------------------------------


@cache
def price(model: ModelChoice) -> Price:
    found = catalog_of(read_snapshot()).find(model.provider, model.model, STANDARD, AT)
    if found is None:
        raise LookupError(f"{model} has no price at {AT:%Y-%m-%d}")
    return found


def card(model: ModelChoice) -> Card:
    """The card of prompts below every threshold: a plan knows no other."""
    if model == LARGE:
        return LARGE_CARD
    rates = price(model).cards[0].rates
    usd = {meter: (rates[at] or 0) / 1e12 for meter, at in METER_INDEX.items()}
    return Card(
        input=usd["input_tokens"],
        output=usd["output_tokens"],
        cache_read=usd["cache_read_tokens"],
        cache_write_5m=usd["cache_write_5m_tokens"],
        cache_write_1h=usd["cache_write_1h_tokens"],
    )


def cards_of(runs: Sequence[TraceRun]) -> Cards:
    return {step.model: card(step.model) for one in runs for step in one.run.steps}


def at_factors(cards: Cards, factors: Mapping[ModelChoice, float]) -> Cards:
    """The cards at what was billed for them: every rate times its model's factor.

    The product keeps the card and says the factor (docs/planner.md, "How well plans predict").
    """
    return {model: _times(card, factors.get(model, 1.0)) for model, card in cards.items()}


def _times(card: Card, factor: float) -> Card:
    return replace(
        card,
        input=card.input * factor,
        output=card.output * factor,
        cache_read=card.cache_read * factor,
        cache_write_5m=card.cache_write_5m * factor,
        cache_write_1h=card.cache_write_1h * factor,
    )


def cost_usd(model: ModelChoice, call: ObservedCall) -> float:
    """As an event of this call is priced: with the rates for long prompts, where the model has them."""
    plain = call.prompt_tokens - call.cache_read_tokens - call.cache_write_5m_tokens
    if model == LARGE:
        prompt = plain * LARGE_CARD.input + call.cache_read_tokens * LARGE_CARD.cache_read
        return prompt + call.cache_write_5m_tokens * LARGE_CARD.cache_write_5m + call.output_tokens * LARGE_CARD.output
    quantities = [0] * len(METERS)
    for meter, tokens in (
        ("input_tokens", plain),
        ("cache_read_tokens", call.cache_read_tokens),
        ("cache_write_5m_tokens", call.cache_write_5m_tokens),
        ("output_tokens", call.output_tokens),
    ):
        quantities[METER_INDEX[meter]] = tokens
    return (cost_pico(price(model), quantities) or 0) / 1e12


def trace_run(
    run_id: str,
    workflow: str,
    calls: Sequence[tuple[ModelChoice, ObservedCall]],
    *,
    group: str | None = None,
    gaps_s: Sequence[float] = (),
    prefix_tokens: int = 0,
) -> TraceRun:
    by_model: dict[ModelChoice, list[ObservedCall]] = defaultdict(list)
    for model, call in calls:
        by_model[model].append(call)
    steps = tuple(
        step_of_calls(
            "calls", model, some, prefix_tokens=prefix_tokens, billed_usd=sum(cost_usd(model, call) for call in some)
        )
        for model, some in by_model.items()
    )
    return TraceRun(
        run=ObservedRun(run_id, FIRST_DAY, steps, cluster=group),
        workflow=workflow,
        group=group or run_id,
        calls=tuple(calls),
        gaps_s=tuple(gaps_s),
        cost_usd=sum(cost_usd(model, call) for model, call in calls),
    )


def in_order(runs: Sequence[TraceRun]) -> list[TraceRun]:
    """Each run on a day of its own, so that order is kept and no status is taken for one that was earned."""
    return [replace(one, run=replace(one.run, day=FIRST_DAY + timedelta(at))) for at, one in enumerate(runs)]


# --- agent_calls ------------------------------------------------------------------------------------------


def agent_call(row: Row) -> tuple[ModelChoice, ObservedCall]:
    prompt, read = int(row["input_tokens"]), int(row["cached_input_tokens_ttl5m"])
    written = (prompt - read) // BLOCK_TOKENS * BLOCK_TOKENS
    call = ObservedCall(prompt, read, written, output_tokens=int(row["output_tokens"]))
    return ModelChoice("anthropic", row["model"]), call


def agent_runs(data: Path = DATA) -> list[TraceRun]:
    """A run is one agent in one conversation, as in the product; a workflow is the kind of agent on its main model."""
    known = _conversations(data)
    return in_order(
        [
            _agent_run(f"{conversation}/{agent}", kind, found, *known.get(conversation, (conversation, 0)))
            for (conversation, agent, kind), found in _by_agent(data).items()
        ]
    )


def turn_runs(data: Path = DATA) -> list[TraceRun]:
    """The same calls, a run being what the main agent does about one message of a human."""
    known = _conversations(data)
    found: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for (conversation, agent, _), some in _by_agent(data).items():
        for row in some if agent == "main" else ():
            found[conversation, int(row["user_turn"])].append(row)
    return in_order(
        [
            _agent_run(f"{conversation}/{turn}", "turn", some, known.get(conversation, (conversation, 0))[0], 0)
            for (conversation, turn), some in found.items()
        ]
    )


def _conversations(data: Path) -> Mapping[str, tuple[str, int]]:
    """The fork group of each conversation and its stable prefix; a sample may lack the file."""
    path = data / "agent_conversations.csv.gz"
    return {
        row["conversation_id"]: (
            row["fork_group"] or row["conversation_id"],
            int(row["tool_prefix_tokens"] or 0) + int(row["system_prefix_tokens"] or 0),
        )
        for row in (rows(path) if path.exists() else ())
    }


def _by_agent(data: Path) -> Mapping[tuple[str, str, str], list[Row]]:
    found: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows(data / "agent_calls.csv.gz"):
        found[row["conversation_id"], row["agent_id"], row["subagent_type"] or "main"].append(row)
    return found


def _agent_run(run_id: str, kind: str, found: Sequence[Row], group: str, prefix: int) -> TraceRun:
    calls = [agent_call(row) for row in sorted(found, key=lambda row: int(row["call_idx"]))]
    main = Counter(model.model for model, _ in calls).most_common(1)[0][0]
    starts = sorted(float(row["t_s"]) for row in found)
    gaps = [after - before for before, after in pairwise(starts)]
    return trace_run(run_id, f"{kind} {main}", calls, group=group, gaps_s=gaps, prefix_tokens=prefix)


def by_kind(runs: Sequence[TraceRun]) -> list[TraceRun]:
    """One workflow a kind of agent, whatever model each run of it used: its models are the plan's steps."""
    return [replace(one, workflow=one.workflow.split()[0]) for one in runs]


def by_size(runs: Sequence[TraceRun]) -> list[TraceRun]:
    """Workflows split by how long their loop is, as a team keeps its quick questions apart from its large tasks."""

    def size(one: TraceRun) -> str:
        calls = len(one.calls)
        return "up to 20 calls" if calls <= 20 else "21 to 80 calls" if calls <= 80 else "over 80 calls"

    return [replace(one, workflow=f"{one.workflow}, {size(one)}") for one in runs]


# --- the other traces -------------------------------------------------------------------------------------


def chat_runs(data: Path = DATA) -> list[TraceRun]:
    """Conversations of a chat service, in order of their first turn; what was cached is read, the rest written."""
    found: dict[str, list[ObservedCall]] = defaultdict(list)
    for row in rows(data / "mooncake_conversation.csv.gz"):
        prompt, read = int(row["input_tokens"]), int(row["cached_input_tokens"])
        found[row["conversation_id"]].append(
            ObservedCall(prompt, read, prompt - read, output_tokens=int(row["output_tokens"]))
        )
    return in_order([trace_run(name, "mooncake chat", [(LARGE, c) for c in some]) for name, some in found.items()])


def single_runs(data: Path = DATA) -> list[TraceRun]:
    """One call a run, without a cache."""
    return in_order(
        [
            trace_run(
                f"azure {at}", f"azure {row['service']}", [(LARGE, _plain(row["input_tokens"], row["output_tokens"]))]
            )
            for at, row in enumerate(rows(data / "azure_llm_2023.csv.gz"))
        ]
    )


def pair_programming_runs(data: Path = DATA) -> list[TraceRun]:
    """Sessions of one developer over seven months; tokens at the card of the examples, since models came and went."""
    found: dict[str, list[ObservedCall]] = defaultdict(list)
    for row in rows(data / "aider_llm_calls.csv.gz"):
        if int(row["prompt_tokens"] or 0) > 0:
            found[row["session_id"]].append(_plain(row["prompt_tokens"], row["completion_tokens"]))
    return in_order([trace_run(name, "aider session", [(LARGE, c) for c in some]) for name, some in found.items()])


def levels() -> dict[str, list[TraceRun]]:
    """The recorded runs by how finely they are told apart, of each what a workflow of them would be."""
    agents = agent_runs()
    return {
        "agents": agents,
        "agents by length": by_size(agents),
        "turns": turn_runs(),
        "chat": chat_runs(),
        "single calls": single_runs(),
        "pair programming": pair_programming_runs(),
    }


def _plain(prompt: str, output: str) -> ObservedCall:
    return ObservedCall(int(prompt), output_tokens=int(output or 0))
