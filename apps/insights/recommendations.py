"""Recommendations: what a workflow could save a month, from its own runs reckoned again with one thing changed. Pure.

A lever of the catalogue (`levers_of_calls`, `levers_of_runs`) looks at a workflow's facts and, where its rule holds,
answers a `Pull`: which share of each model's prompt and answer cost would be left (`kept`), in draws, and what it would
cost besides. From there on all are alike: dollars, the interval, what is too little to be told, and what several of
them save together. Formulae: docs/savings.md; they are those of the cost model in `apps.planner.estimate`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from apps.insights import chances
from apps.insights.chances import DRAWS, Floats
from apps.insights.savings_facts import Prices, WorkflowFacts
from apps.planner.shapes import Saving

SAVING_MIN_USD = 20.0
SAVING_MIN_SHARE = 0.01
# A page reckons two totals: two hundred of ten cells each took 0.25 s, of 4,000 draws a second.
DRAWS_TOGETHER = 1_000
# Of one workflow: the largest ones; more would be read by nobody.
FOUND_MAX = 20
# Where nobody says how runs end, trials are planned for this share of successes.
SUCCESS_ASSUMED = 0.95


class Kind(StrEnum):
    ROUTE_DOWN = "route_down"
    DIRECT_ROUTE = "direct_route"
    ENABLE_CACHING = "enable_caching"
    FIX_CACHING = "fix_caching"
    DISABLE_CACHING = "disable_caching"
    CACHE_TTL = "cache_ttl"
    BATCH = "batch"
    BOUND_LOOPS = "bound_loops"
    BOUND_RETRIES = "bound_retries"
    COMPACT_CONTEXT = "compact_context"
    TRIM_TOOL_RESULTS = "trim_tool_results"
    TRIM_RETRIEVED = "trim_retrieved"
    REUSE_ANSWERS = "reuse_answers"
    DEAD_SPEND = "dead_spend"
    CUT_ANSWERS = "cut_answers"
    CHANGE_PROVIDER = "change_provider"


class Grade(StrEnum):
    """A: what happened, priced again. B: a model of it with the workflow's own figures. C: an experiment is needed."""

    A = "A"
    B = "B"
    C = "C"


class Label(StrEnum):
    """What is known of quality: the answers stay the same, a trial showed them no worse, or nobody knows."""

    UNCHANGED = "answers_unchanged"
    VERIFIED = "quality_verified"
    UNVERIFIED = "quality_unverified"


# Of what excludes each other in one cell, the larger counts: a call goes to one model, and a run that is cut short has
# no long context left to compact.
EXCLUSIVE = {
    Kind.ROUTE_DOWN: "model",
    Kind.DIRECT_ROUTE: "model",
    Kind.CHANGE_PROVIDER: "model",
    Kind.BOUND_LOOPS: "length",
    Kind.COMPACT_CONTEXT: "length",
}


@dataclass(frozen=True, slots=True)
class Pull:
    """A lever pulled. `kept` maps a cell's key to the shares of its prompt and of its answer cost that are left.

    `extra_usd` is what it costs besides, over the days that were looked at. `segment` tells two of one kind apart.
    """

    kind: Kind
    segment: str
    kept: Mapping[str, tuple[Floats, Floats]]
    grade: Grade
    label: Label
    evidence: Mapping[str, object]
    extra_usd: Floats | float = 0.0
    runs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Effect:
    """What is left of one cell's cost: USD a month of its prompts and answers, and P10, P50, P90 of the share kept."""

    cell: str
    prompt_usd: float
    answer_usd: float
    prompt_kept: tuple[float, float, float]
    answer_kept: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Found:
    """A recommendation. `scope_usd` is what the workflow costs a month now.

    `runs_needed` says how many runs each arm of a trial needs before quality counts as verified; None: it is not at
    stake. `extra_usd` is P10, P50 and P90 of what it costs besides, a month.
    """

    kind: Kind
    workflow: str
    segment: str
    saving: Saving
    scope_usd: float
    grade: Grade
    label: Label
    evidence: Mapping[str, object]
    effects: tuple[Effect, ...]
    extra_usd: tuple[float, float, float] = (0.0, 0.0, 0.0)
    runs_needed: int | None = None
    runs: tuple[str, ...] = ()

    @property
    def headline(self) -> float:
        return headline(self.saving, self.label)


def headline(saving: Saving, label: str) -> float:
    """The one figure that is told: P50 where quality is verified or cannot change, else P10."""
    return saving.low if label == Label.UNVERIFIED else saving.likely


def found_of(pull: Pull, facts: WorkflowFacts, prices: Prices) -> Found | None:
    """The recommendation that a pull makes; None where its P10 is too little to be told."""
    scale, saved, effects = facts.to_month, np.zeros(DRAWS), []
    for cell in facts.cells:
        card = prices.card(cell)
        if cell.key not in pull.kept or card is None:
            continue
        prompt_share = cell.prompt_usd(card) / cell.reckoned_usd(card)
        prompt_usd, answer_usd = cell.usd * scale * prompt_share, cell.usd * scale * (1 - prompt_share)
        prompt_kept, answer_kept = (np.broadcast_to(np.asarray(kept, float), DRAWS) for kept in pull.kept[cell.key])
        saved += prompt_usd * (1 - prompt_kept) + answer_usd * (1 - answer_kept)
        quantiles = (chances.quantiles(prompt_kept), chances.quantiles(answer_kept))
        effects.append(Effect(cell.key, prompt_usd, answer_usd, *quantiles))
    extra = np.broadcast_to(np.asarray(pull.extra_usd, float), DRAWS) * scale
    saving = Saving(*chances.quantiles(saved - extra))
    if saving.low < max(SAVING_MIN_USD, SAVING_MIN_SHARE * facts.month_usd):
        return None
    success = facts.runs.success
    return Found(
        kind=pull.kind,
        workflow=facts.workflow,
        segment=pull.segment,
        saving=saving,
        scope_usd=facts.month_usd,
        grade=pull.grade,
        label=pull.label,
        evidence={**pull.evidence, "days": facts.days, "unpriced_calls": facts.unpriced},
        effects=tuple(effects),
        extra_usd=chances.quantiles(extra),
        runs_needed=chances.runs_needed(SUCCESS_ASSUMED if success is None else success)
        if pull.label == Label.UNVERIFIED
        else None,
        runs=pull.runs,
    )


def largest(found: Iterable[Found]) -> list[Found]:
    """By headline, at most `FOUND_MAX` of one workflow."""
    return sorted(found, key=lambda one: (-one.headline, one.kind, one.segment))[:FOUND_MAX]


# --- together -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Standing:
    """A recommendation that counts toward a total, as it is stored."""

    id: int
    kind: str
    workflow: str
    likely_usd: float
    effects: Sequence[Effect]
    extra_usd: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Portfolio:
    """What several save together, USD a month. `sum` adds up their P50s: what the total would be if none overlapped."""

    saving: Saving
    sum: float
    counted: int
    left_out: int


@dataclass(slots=True)
class _Left:
    """What is left of one cell of one workflow, share by share."""

    prompt_usd: float = 0.0
    answer_usd: float = 0.0
    prompt: Floats = field(default_factory=lambda: np.ones(DRAWS_TOGETHER))
    answer: Floats = field(default_factory=lambda: np.ones(DRAWS_TOGETHER))


def together(standing: Sequence[Standing], seed: int = 0) -> Portfolio:
    """The joint saving: in each cell the shares that are left are multiplied, so that no dollar is saved twice.

    Of what excludes each other in a cell (`EXCLUSIVE`) the one with the larger P50 counts. Each recommendation is drawn
    on its own, all of its cells and costs by the same deviate.
    """
    cells: dict[tuple[str, str], _Left] = {}
    taken: set[tuple[str, str, str]] = set()
    extra, counted = np.zeros(DRAWS_TOGETHER), 0
    for one in sorted(standing, key=lambda each: (-each.likely_usd, each.id)):
        group = EXCLUSIVE.get(Kind(one.kind), f"{one.kind} {one.id}")
        places = {(one.workflow, effect.cell, group) for effect in one.effects}
        if places & taken:
            continue
        taken |= places
        counted += 1
        z = chances.generator(seed, one.id).standard_normal(DRAWS_TOGETHER)
        extra += _at(one.extra_usd, z)
        for effect in one.effects:
            left = cells.setdefault((one.workflow, effect.cell), _Left())
            left.prompt_usd = max(left.prompt_usd, effect.prompt_usd)
            left.answer_usd = max(left.answer_usd, effect.answer_usd)
            # A large saving is a small share kept.
            left.prompt = left.prompt * _at(effect.prompt_kept, -z)
            left.answer = left.answer * _at(effect.answer_kept, -z)
    saved = sum(
        (left.prompt_usd * (1 - left.prompt) + left.answer_usd * (1 - left.answer) for left in cells.values()),
        start=np.zeros(DRAWS_TOGETHER),
    )
    total = math.fsum(one.likely_usd for one in standing)
    return Portfolio(Saving(*chances.quantiles(saved - extra)), total, counted, len(standing) - counted)


def _at(triple: tuple[float, float, float], z: Floats) -> Floats:
    """A value of which P10, P50 and P90 are known, at standard normal deviates; none falls below 0."""
    low, likely, high = triple
    drawn: Floats = likely + z / chances.Z90 * np.where(z < 0, likely - low, high - likely)
    return np.maximum(drawn, 0.0)
