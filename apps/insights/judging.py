"""One evaluation of an organization's arrays: every signal judged, and what it says in dollars. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite

import numpy as np

from apps.insights import excess
from apps.insights.detectors import evaluate
from apps.insights.grids import Grid, prompt_tokens
from apps.insights.signals import (
    DAILY_DAYS,
    HOURLY_HOURS,
    SIGNALS,
    Flags,
    Floats,
    Kind,
    Readings,
    State,
    Status,
    Verdict,
    Verdicts,
)

HOURS_A_DAY = 24
# Growth of the context is paid from the second call on: about half of what a run's prompts cost.
GROWN_PART = 0.5


@dataclass(frozen=True, slots=True)
class Prices:
    """What a workflow's tokens cost now, USD a token: of fresh input, on average of a prompt's, and the multiples."""

    input_usd: float
    prompt_usd: float
    read_multiple: float
    write_multiple: float


@dataclass(frozen=True, slots=True)
class Alarm:
    """A signal of a scope in alarm: the verdict, and what it costs a day beyond the baseline."""

    signal: str
    scope_kind: str
    scope: str
    verdict: Verdict
    excess_usd: float


@dataclass(slots=True, eq=False)
class Known:
    """What an evaluation is told of its scopes beside their sums, by signal; arrays of (scopes,) or (scopes, days)."""

    states: Mapping[str, State] = field(default_factory=dict)
    excluded: Mapping[str, Flags] = field(default_factory=dict)
    plan_high: Mapping[str, Floats] = field(default_factory=dict)
    planned: Floats | None = None
    gate_factor: float = 1.0


def judge(grid: Grid, signals: tuple[str, ...], known: Known, *, hour: int, today: int) -> dict[str, Verdicts]:
    """Every signal's verdicts on every scope. `hour` is in hours since 1970 UTC, `today` an ordinal of days."""
    count = len(grid.scopes)
    if not count:
        return {}
    return {
        key: evaluate(
            _readings(grid, key, known, hour=hour, today=today),
            known.states.get(key) or State.fresh(count),
        )
        for key in signals
    }


def _readings(grid: Grid, key: str, known: Known, *, hour: int, today: int) -> Readings:
    signal = SIGNALS[key]
    daily, hourly = grid.windows(key)
    factor = None if known.gate_factor == 1.0 else np.full(len(grid.scopes), known.gate_factor)
    return Readings(
        signal=signal,
        hour=hour,
        today=today,
        daily=daily,
        hourly=hourly,
        excluded=known.excluded.get(key),
        plan_high=known.plan_high.get(key),
        limit=grid.write_limit() if key == "cache_write_ratio" else None,
        gate_factor=factor,
        planned=known.planned if signal.kind is Kind.SPEND else None,
    )


def forget(states: Mapping[str, State], key: str, places: Flags) -> State | None:
    """The signal's state with that of these scopes as if nothing had been seen."""
    state = states.get(key)
    if state is None or not places.any():
        return state
    rows = state.rows()
    rows[places] = State.fresh(1).rows()
    return State.of_rows(rows)


def quiet(grid: Grid, key: str) -> Flags:
    """Scopes of which the live hours hold no observation of a signal: nothing can be said of them any more."""
    _, hourly = grid.windows(key)
    of = hourly.total if SIGNALS[key].kind is Kind.SPEND else hourly.n
    none: Flags = np.nansum(of[:, -HOURLY_HOURS:], axis=1) <= 0
    return none


def alarms(
    grid: Grid, verdicts: Mapping[str, Verdicts], scope_kind: str, prices: Callable[[str], Prices | None]
) -> list[Alarm]:
    """Those in alarm with their excess. `prices` of a scope are asked for where a signal is paid by the token."""
    found = []
    for key, judged in verdicts.items():
        for place in np.flatnonzero(judged.status == Status.ALARM):
            one, scope = judged.at(int(place)), grid.scopes[int(place)]
            usd = excess_usd(grid, int(place), key, one, prices)
            found.append(Alarm(key, scope_kind, scope, one, usd))
    return found


def excess_usd(grid: Grid, place: int, key: str, verdict: Verdict, prices: Callable[[str], Prices | None]) -> float:
    """What the last day cost beyond the baseline, in USD; 0 where too little ran to say."""
    day = {name: float(grid.last(name, HOURS_A_DAY)[place]) for name in _READ[key]}
    value = verdict.value if isfinite(verdict.value) else 0.0
    usual = verdict.baseline if isfinite(verdict.baseline) else 0.0
    ratio = verdict.excess_ratio if isfinite(verdict.excess_ratio) else 0.0
    if SIGNALS[key].kind is Kind.SPEND:
        # Of an hour's burst, what the last day came to beyond a usual one: a rate of 24 such hours would be a guess.
        value, usual = day["cost_usd"], float(grid.usual_day("cost_usd")[place])
    usd = float(_EXCESS[key](_Day(day, value, usual, ratio, prices, grid.scopes[place])))
    return usd if isfinite(usd) else 0.0


@dataclass(frozen=True, slots=True)
class _Day:
    """Sums of the last day, the reading against its baseline, and where prices are to be had."""

    sums: Mapping[str, float]
    value: float
    usual: float
    ratio: float
    ask: Callable[[str], Prices | None]
    scope: str

    def __getitem__(self, name: str) -> float:
        return self.sums[name]

    @property
    def prices(self) -> Prices | None:
        return self.ask(self.scope)

    @property
    def prompt(self) -> float:
        return float(prompt_tokens(lambda name: np.array(self.sums[name])))

    def mean(self, total: str, count: str) -> float:
        return self[total] / self[count] if self[count] > 0 else 0.0


def _escalation(day: _Day) -> "excess.Number":
    """An escalated run costs what it does, in place of what the others do."""
    rest = day["runs"] - day["escalated_runs"]
    cheap = (day["run_usd"] - day["escalated_usd"]) / rest if rest > 0 else 0.0
    more = max(day.mean("escalated_usd", "escalated_runs") - cheap, 0.0)
    return excess.escalation_usd(day.value, day.usual, day["runs"], more)


def _cache_hit(day: _Day) -> "excess.Number":
    found = day.prices
    if found is None:
        return 0.0
    return excess.cache_hit_usd(
        day.value, day.usual, day.prompt, found.input_usd,
        read_multiple=found.read_multiple, write_multiple=max(found.write_multiple, 1.0),
    )  # fmt: skip


def _cache_write(day: _Day) -> "excess.Number":
    found = day.prices
    if found is None:
        return 0.0
    written = day["cache_write_5m_tokens"] + day["cache_write_1h_tokens"]
    return excess.cache_write_usd(
        written, day["cache_read_tokens"], found.input_usd,
        read_multiple=found.read_multiple, write_multiple=max(found.write_multiple, 1.0),
    )  # fmt: skip


def _input_tokens(day: _Day) -> "excess.Number":
    """By the arithmetic mean, which is what is paid; the geometric one says by how much it changed."""
    found = day.prices
    mean = day.prompt / day["input_events"] if day["input_events"] > 0 else 0.0
    if found is None:
        return excess.relative_usd(day.ratio, day["cost_usd"])
    return excess.input_tokens_usd(mean, mean / (1.0 + max(day.ratio, 0.0)), day["input_events"], found.prompt_usd)


def _growth(day: _Day) -> "excess.Number":
    found = day.prices
    paid = day["cost_usd"] if found is None else day.prompt * found.prompt_usd
    return GROWN_PART * excess.relative_usd(day.ratio, paid)


_PROMPT = ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")
_READ: dict[str, tuple[str, ...]] = {
    "escalation_rate": ("runs", "escalated_runs", "escalated_usd", "run_usd"),
    "cache_hit_rate": _PROMPT,
    "cache_write_ratio": _PROMPT,
    "loops_per_run": ("run_usd",),
    "capped_share": ("runs", "run_usd"),
    "retry_rate": ("events", "cost_usd"),
    "input_tokens_per_call": (*_PROMPT, "input_events", "cost_usd"),
    "context_growth": (*_PROMPT, "cost_usd"),
    "cost_per_run": ("cost_runs_usd",),
    "cost_per_success": ("judged_cost_usd",),
    "unattributed_share": ("cost_usd",),
    "unpriced_share": ("cost_usd",),
    "dead_spend": ("run_usd",),
    "spend_per_hour": ("cost_usd",),
}
_EXCESS: dict[str, Callable[[_Day], "excess.Number"]] = {
    "escalation_rate": _escalation,
    "cache_hit_rate": _cache_hit,
    "cache_write_ratio": _cache_write,
    "loops_per_run": lambda day: excess.relative_usd(day.ratio, day["run_usd"]),
    "capped_share": lambda day: excess.share_usd(day.value, day.usual, day["run_usd"]),
    "retry_rate": lambda day: excess.retry_usd(day.value, day.usual, day["events"], day.mean("cost_usd", "events")),
    "input_tokens_per_call": _input_tokens,
    "context_growth": _growth,
    "cost_per_run": lambda day: excess.relative_usd(day.ratio, day["cost_runs_usd"]),
    "cost_per_success": lambda day: excess.relative_usd(day.ratio, day["judged_cost_usd"]),
    "unattributed_share": lambda day: excess.share_usd(day.value, day.usual, day["cost_usd"]),
    # Tokens without a price, at what the priced ones cost.
    "unpriced_share": lambda day: day["cost_usd"] * day.value / max(1.0 - day.value, 0.01),
    "dead_spend": lambda day: excess.share_usd(day.value, day.usual, day["run_usd"]),
    "spend_per_hour": lambda day: excess.spend_usd(day.value, day.usual),
}


def excluded_days(count: int, spans: Mapping[int, list[tuple[int, int]]], today: int) -> Flags:
    """(scopes, DAILY_DAYS): the days, as ordinals [from, to), that are no part of a scope's baseline."""
    flags = np.zeros((count, DAILY_DAYS), dtype=bool)
    first = today - DAILY_DAYS
    for place, ranges in spans.items():
        for begins, ends in ranges:
            flags[place, max(begins - first, 0) : max(min(ends - first, DAILY_DAYS), 0)] = True
    return flags
