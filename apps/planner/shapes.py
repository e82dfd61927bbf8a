"""What a plan is and what comes out of it: values only, floats, because estimates are not money.

Units: tokens, calls, runs, USD, shares from 0 to 1. Ranges are checked for sense where people enter them; here only
what arithmetic cannot do without is checked, and raises ValueError.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Literal, Self

Point = Literal["low", "likely", "high"]
CacheLife = Literal["off", "5m", "1h"]
Routing = Literal["none", "cascade", "router"]

STEPS_MAX = 20
CALLS_MAX = 1_000  # the largest `calls_max` of a step
RETRIES_MAX = 20


@dataclass(frozen=True, slots=True)
class Range:
    """An uncertain input by its P10, P50 and P90; an exact value has all three equal."""

    low: float
    likely: float
    high: float

    def __post_init__(self) -> None:
        if not all(isfinite(value) for value in (self.low, self.likely, self.high)):
            raise ValueError(f"a range needs finite numbers, not {self.low}, {self.likely}, {self.high}")
        if not 0 <= self.low <= self.likely <= self.high:
            raise ValueError(f"a range rises from 0 up, not {self.low}, {self.likely}, {self.high}")

    @classmethod
    def exact(cls, value: float) -> Self:
        return cls(value, value, value)

    @property
    def is_exact(self) -> bool:
        return self.low == self.likely == self.high

    def at(self, point: Point) -> float:
        return {"low": self.low, "likely": self.likely, "high": self.high}[point]

    def times(self, factor: float) -> "Range":
        return Range(self.low * factor, self.likely * factor, self.high * factor)

    def at_most(self, limit: float) -> "Range":
        return Range(min(self.low, limit), min(self.likely, limit), min(self.high, limit))


ZERO = Range(0.0, 0.0, 0.0)
ONE = Range(1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True, order=True)
class ModelChoice:
    provider: str
    model: str


@dataclass(frozen=True, slots=True)
class Card:
    """Prices of one model at a date, in USD a token; what is batched costs `batch_factor` times as much.

    A provider that takes nothing extra for writing to its cache has the input price as write price. What is shorter
    than `cache_min_tokens` is not cached.
    """

    input: float
    output: float
    cache_read: float
    cache_write_5m: float
    cache_write_1h: float
    cache_min_tokens: int = 1_024
    batch_factor: float = 1.0


Cards = Mapping[ModelChoice, Card]


@dataclass(frozen=True, slots=True)
class Compaction:
    """Once more than `threshold_tokens` were appended to the first prompt, a summary takes their place.

    Writing it is a call of its own: it reads the whole context and puts out `summary_tokens`.
    """

    threshold_tokens: int
    summary_tokens: int


@dataclass(frozen=True, slots=True)
class Step:
    """One place of a workflow that calls a model, once or in a loop.

    name                  unique within the plan
    model                 what answers; the small one where runs escalate
    prefix_tokens         S, the same in every run: system prompt, tool schemas, examples
    input_tokens          U, what this run is asked
    retrieved_tokens      R, context fetched before the first call
    output_tokens         visible output of one call, sent back in the next one
    reasoning_tokens      billed as output, not sent back; beside `output_tokens`, not part of them
    tool_result_tokens    T, appended after each call
    calls                 mean LLM calls of a run that takes the step, before `calls_max` cuts any
    dispersion            phi: variance of calls = phi * (mean - 1); 0 fixed, 1 Poisson, more: long tails
    calls_max             the bound: a run is cut after so many calls
    retry_rate            chance that an attempt fails and is sent again, at most `retries_max` times
    retry_billed_share    share of a failed attempt that is billed
    cache                 "off", or how long the provider keeps a prefix after its last use
    prefix_cached_rate    h, chance that the prefix is cached when a run starts; None: from the arrivals
    reuse_rate            q, chance that the next call of a run comes before the cache forgets
    routing               "cascade": small first, then again large; "router": one of the two
    escalation_rate       share of runs that go to `escalates_to`
    escalation_multiple   k, cost of an escalated run as a multiple of the large model's own run (cascade only)
    router_cost_usd       what choosing costs a run (router only)
    batch_share           share of runs that may wait for the batch price
    compaction            summary in place of a long context, or None
    window_tokens         how much of what was appended a call still sees, or None for all
    runs_share            share of runs that take this step at all
    """

    name: str
    model: ModelChoice
    prefix_tokens: Range
    input_tokens: Range
    retrieved_tokens: Range = ZERO
    output_tokens: Range = ZERO
    reasoning_tokens: Range = ZERO
    tool_result_tokens: Range = ZERO
    calls: Range = ONE
    dispersion: Range = ZERO
    calls_max: int = 15
    retry_rate: Range = ZERO
    retries_max: int = 2
    retry_billed_share: float = 0.5
    cache: CacheLife = "off"
    prefix_cached_rate: Range | None = None
    reuse_rate: Range = ONE
    routing: Routing = "none"
    escalates_to: ModelChoice | None = None
    escalation_rate: Range = ZERO
    escalation_multiple: Range = ONE
    router_cost_usd: Range = ZERO
    batch_share: Range = ZERO
    compaction: Compaction | None = None
    window_tokens: int | None = None
    runs_share: Range = ONE

    def __post_init__(self) -> None:
        if not 1 <= self.calls_max <= CALLS_MAX:
            raise ValueError(f"step {self.name!r}: calls_max is {self.calls_max}, not 1 to {CALLS_MAX}")
        if not 0 <= self.retries_max <= RETRIES_MAX:
            raise ValueError(f"step {self.name!r}: retries_max is {self.retries_max}, not 0 to {RETRIES_MAX}")
        if (self.routing == "none") != (self.escalates_to is None):
            raise ValueError(f"step {self.name!r}: routing {self.routing!r} and escalates_to do not agree")
        if self.compaction is not None and self.window_tokens is not None:
            raise ValueError(f"step {self.name!r} both compacts and prunes by a window; choose one")


@dataclass(frozen=True, slots=True)
class Plan:
    """A workflow before it exists: its steps in the order in which a run takes them.

    growth            volume of a month as a multiple of the month before
    success_rate      share of runs that do what they were started for
    other_cost_usd    what a run costs beside tokens: search, databases, tools
    """

    steps: tuple[Step, ...]
    runs_per_month: Range
    growth: Range = ONE
    success_rate: Range = ONE
    other_cost_usd: Range = ZERO

    def __post_init__(self) -> None:
        if not 1 <= len(self.steps) <= STEPS_MAX:
            raise ValueError(f"a plan has 1 to {STEPS_MAX} steps, not {len(self.steps)}")
        if len({step.name for step in self.steps}) < len(self.steps):
            raise ValueError("two steps of the plan have the same name")


@dataclass(frozen=True, slots=True)
class ClassCost:
    """Billed tokens of one class and what they cost, a run."""

    tokens: float
    usd: float


@dataclass(frozen=True, slots=True)
class ModelCost:
    """What one model does in one step, in expectation over all runs of the plan.

    `calls` counts logical calls, `attempts` retries too. Tokens are what is billed: failed attempts by their billed
    share. `usd` are after the batch price.
    """

    step: str
    model: ModelChoice
    runs_share: float
    calls: float
    attempts: float
    input: ClassCost
    cache_read: ClassCost
    cache_write_5m: ClassCost
    cache_write_1h: ClassCost
    output: ClassCost
    reasoning: ClassCost
    usd: float

    @property
    def classes(self) -> dict[str, ClassCost]:
        names = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class StepCost:
    """One step, a run of the plan. `usd` = its models + `router_usd`."""

    name: str
    usd: float
    router_usd: float
    models: tuple[ModelCost, ...]


@dataclass(frozen=True, slots=True)
class RunCost:
    """Expected cost of one run at one point. `usd` = steps + `other_usd`; success_usd None: no run succeeds."""

    usd: float
    success_usd: float | None
    other_usd: float
    steps: tuple[StepCost, ...]
    chatbot_usd: float
    chatbot_multiple: float | None

    @property
    def models(self) -> tuple[ModelCost, ...]:
        return tuple(model for step in self.steps for model in step.models)


@dataclass(frozen=True, slots=True)
class Percentiles:
    mean: float
    p10: float
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True)
class Saving:
    """What a change saves, USD a month: P10, in the middle, P90."""

    low: float
    likely: float
    high: float


@dataclass(frozen=True, slots=True)
class Driver:
    """What one uncertain input moves: a month's cost, averaged over the months, at its P10 and at its P90.

    `name` is "step.field", or "field" for the plan's own inputs. `correlation` is Spearman's, with that same cost.
    """

    name: str
    low_usd: float
    high_usd: float
    correlation: float

    @property
    def swing_usd(self) -> float:
        return abs(self.high_usd - self.low_usd)


@dataclass(frozen=True, slots=True)
class Loop:
    """One step's loop at the likely inputs.

    context_tokens    prompt of call 1, 2, ... calls_max
    reached           share of runs (of those that take the step) that make call 1, 2, ... calls_max
    calls_p50, _p99   calls of a run, under the bound
    cut_share         share of runs that calls_max cuts
    calls_max_advised smallest bound that cuts at most 5 % of runs
    """

    step: str
    context_tokens: tuple[float, ...]
    reached: tuple[float, ...]
    calls_mean: float
    calls_p50: int
    calls_p99: int
    cut_share: float
    calls_max_advised: int


@dataclass(frozen=True, slots=True)
class Advice:
    """What to ask for and where to stop: P90 and P99 of the first month, and P99 of one run."""

    budget_usd: float
    cap_usd: float
    run_cost_max_usd: float
    calls_max: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a plan costs, with what is not known of it.

    run, success      the mean cost of a run, and of a successful one: how far the inputs leave it open
    one_run           single runs at the likely inputs: how much one differs from the next
    months            month 1, 2, ...: both, and how much volume wavers
    over_budget       chance that month 1 exceeds the budget; over_budget_months: month by month; None: no budget
    drivers           uncertain inputs, the largest swing first
    """

    seed: int
    draws: int
    likely: RunCost
    run: Percentiles
    success: Percentiles | None
    one_run: Percentiles
    run_cv: float
    months: tuple[Percentiles, ...]
    over_budget: float | None
    over_budget_months: tuple[float, ...] | None
    drivers: tuple[Driver, ...]
    chatbot_multiple: float | None
    loops: tuple[Loop, ...]
    advice: Advice
