"""A run as a tree with a time axis: steps in order, attempts below them, child runs below the step before. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from apps.portal import formats
from apps.portal.meters import METER_GROUPS
from apps.portal.pages_budgets import State
from apps.portal.pages_runs import Bar, Segment, TreeRow

# Narrower than this a bar is not seen, percent.
BAR_MIN = Decimal("0.8")
LEVELS_MAX = 8
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Call:
    """One event of a run. `costs` follow `METER_GROUPS` and are None where there is no price.

    `number` is its place in the run, from 1; None in a child run, whose calls are not counted here.
    """

    event_id: str
    number: int | None
    run_id: str
    step: int | None
    attempt: int
    occurred_at: datetime
    latency_ms: int | None
    model: str
    tool_name: str | None
    escalated_from: str | None
    status: str
    error_type: str | None
    quantities: tuple[int, ...]
    context_tokens: int
    cache_hit_share: Decimal | None
    output_tokens: int
    cost_usd: Decimal | None
    costs: tuple[Decimal | None, ...]
    url: str

    @property
    def ends_at(self) -> datetime:
        return self.occurred_at + timedelta(milliseconds=self.latency_ms or 0)

    @property
    def label(self) -> str:
        """What it is called where it stands alone."""
        if self.step is not None:
            return f"Step {self.step}"
        return "Call" if self.number is None else f"Call {self.number}"


@dataclass(frozen=True, slots=True)
class Branch:
    """A child run: its own line, its first calls, and how many more there are."""

    run_id: str
    parent_run_id: str
    started_at: datetime
    last_at: datetime
    line: TreeRow
    calls: Sequence[Call]
    more: str


@dataclass(frozen=True, slots=True)
class Axis:
    start: datetime
    end: datetime

    def bar(self, start: datetime, end: datetime, parts: Sequence[tuple[str, Decimal]], says: str) -> Bar:
        """A bar from start to end, cut by the shares of its parts: (swatch, size)."""
        whole = max(Decimal((self.end - self.start) // MICROSECOND), Decimal(1))
        width = max(Decimal((end - start) // MICROSECOND) / whole * 100, BAR_MIN)
        at = min(Decimal((start - self.start) // MICROSECOND) / whole * 100, 100 - width)
        total = sum((size for _, size in parts), Decimal(0))
        shares = [(swatch, size / total) for swatch, size in parts if size] if total else [("none", Decimal(1))]
        segments = []
        for swatch, share in shares:
            segments.append(Segment(_percent(at), _percent(width * share), swatch))
            at += width * share
        return Bar(says, tuple(segments))


def axis_of(calls: Sequence[Call], branches: Sequence[Branch]) -> Axis | None:
    """From the first to the last of what is shown; None where that is nothing."""
    starts = [*(call.occurred_at for call in calls), *(branch.started_at for branch in branches)]
    ends = [*(call.ends_at for call in calls), *(branch.last_at for branch in branches)]
    return Axis(min(starts), max(ends)) if starts else None


def tree(
    run_id: str, calls: Sequence[Call], branches: Sequence[Branch], places: Mapping[str, Sequence[str]], zone: str
) -> tuple[TreeRow, ...]:
    """The lines of a run. `places` are the sentences of bounds by the event that is the first beyond them."""
    axis = axis_of(calls, branches)
    if axis is None:
        return ()
    return tuple(_Grown(axis, branches, places, zone).run(run_id, calls, 1))


@dataclass(frozen=True, slots=True)
class _Grown:
    axis: Axis
    branches: Sequence[Branch]
    places: Mapping[str, Sequence[str]]
    zone: str

    def run(self, run_id: str, calls: Sequence[Call], level: int) -> Iterator[TreeRow]:
        """A child run stands below the step that began last before it."""
        waiting = [branch for branch in self.branches if branch.parent_run_id == run_id]
        for step in _steps(calls):
            while waiting and waiting[0].started_at < step[0].occurred_at:
                yield from self.branch(waiting.pop(0), level + 1)
            yield from self.step(step, level)
        for branch in waiting:
            yield from self.branch(branch, level + 1)

    def step(self, calls: Sequence[Call], level: int) -> Iterator[TreeRow]:
        if len(calls) == 1:
            yield from self.call(calls[0], level, calls[0].label)
            return
        yield _summed(calls, level)
        for call in calls:
            yield from self.call(call, level + 1, f"Attempt {call.attempt}")

    def call(self, call: Call, level: int, label: str) -> Iterator[TreeRow]:
        for sentence in self.places.get(call.event_id, ()):
            yield TreeRow("bound", min(level, LEVELS_MAX), sentence)
        yield TreeRow(
            kind="call",
            level=min(level, LEVELS_MAX),
            label=label,
            detail=", ".join(part for part in (call.model, call.tool_name and f"tool {call.tool_name}") if part),
            url=call.url,
            marks=tuple(_marks(call)),
            bar=self._bar(call),
            context_tokens=call.context_tokens,
            cache_hit_share=call.cache_hit_share,
            output_tokens=call.output_tokens,
            cost_usd=call.cost_usd,
            cost_url=call.url,
            status=call.status,
        )

    def branch(self, branch: Branch, level: int) -> Iterator[TreeRow]:
        line = branch.line
        says = f"{formats.clock(branch.started_at, self.zone)}, {line.detail}"
        bar = self.axis.bar(branch.started_at, branch.last_at, (), says)
        yield replace(line, level=min(level, LEVELS_MAX), bar=bar)
        yield from self.run(branch.run_id, branch.calls, level + 1)
        if branch.more:
            yield TreeRow("more", min(level + 1, LEVELS_MAX), branch.more, url=line.url)

    def _bar(self, call: Call) -> Bar:
        took = (
            formats.duration(timedelta(milliseconds=call.latency_ms)) if call.latency_ms is not None else "no latency"
        )
        parts = [(group.swatch, cost or Decimal(0)) for group, cost in zip(METER_GROUPS, call.costs, strict=True)]
        says = f"{formats.clock(call.occurred_at, self.zone)}, {took}"
        return self.axis.bar(call.occurred_at, call.ends_at, parts, says)


def _steps(calls: Iterable[Call]) -> list[list[Call]]:
    """Calls of one step together, in the order of its first; a call that names no step is a step of its own."""
    steps: list[list[Call]] = []
    known: dict[int, list[Call]] = {}
    for call in calls:
        if call.step is not None and call.step in known:
            known[call.step].append(call)
            continue
        steps.append([call])
        if call.step is not None:
            known[call.step] = steps[-1]
    return steps


def _summed(calls: Sequence[Call], level: int) -> TreeRow:
    priced = [call.cost_usd for call in calls if call.cost_usd is not None]
    return TreeRow(
        kind="step",
        level=min(level, LEVELS_MAX),
        label=calls[0].label,
        detail=f"{len(calls)} attempts",
        output_tokens=sum(call.output_tokens for call in calls),
        context_tokens=sum(call.context_tokens for call in calls),
        cost_usd=sum(priced, Decimal(0)) if priced else None,
        unpriced_events=len(calls) - len(priced),
    )


def _marks(call: Call) -> Iterator[State]:
    if call.attempt > 1:
        yield State("retry", "", f"Attempt {call.attempt} of its step.")
    if call.escalated_from is not None:
        yield State("escalation", "", f"It went to {call.model} after {call.escalated_from}.")
    if call.status != "ok":
        yield State(
            call.status, "bad" if call.status == "error" else "risk", call.error_type or f"It is {call.status}."
        )


def _percent(size: Decimal) -> str:
    return f"{size:.2f}%"
