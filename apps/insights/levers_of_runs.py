"""Levers that runs show: where a loop should end, growing contexts, results that are too long, dead spend. Pure.

As in `levers_of_calls`, each answers what it would keep of a workflow's cost, or nothing where its rule does not hold.
No lever prunes a context by a sliding window: where prompts are cached that raises their cost (docs/savings.md).
"""

from collections.abc import Iterator

import numpy as np

from apps.insights import chances
from apps.insights.chances import Floats
from apps.insights.levers_of_calls import JUDGED_MIN
from apps.insights.recommendations import Grade, Kind, Label, Pull
from apps.insights.savings_facts import Cell, Prices, Runs, WorkflowFacts
from apps.planner.estimate import cost_per_run
from apps.planner.shapes import CALLS_MAX, Card, Compaction, Plan, Range, Step

RUNS_MIN = 30
CUT_RUNS_MAX = 0.05
MARGINAL_SUCCESS_MAX = 0.05
LONG_CALLS = 30
LONG_RUNS_MIN = 20
CACHED_MIN = 0.5
GROWTH_MIN = 200.0
COMPACT_AT, COMPACT_ROOM, COMPACT_TO = 24_000, 12_000, 2_000
# P10, P50, P90 of what nobody knows before trying.
COMPACTED = (0.4, 0.7, 0.95)
TRIMMED = (0.5, 0.8, 0.95)
AVOIDABLE_DEAD = (0.3, 0.6, 0.9)
TRIMMED_SHARE_MAX = 0.8
RUNS_SHOWN = 5


def bound_of(calls: Floats) -> int:
    """The smallest bound of calls that cuts at most `CUT_RUNS_MAX` of these runs; 0 without runs."""
    if not len(calls):
        return 0
    # Of 100 runs the 95th may be the last that is not cut.
    return int(np.sort(calls)[int(np.ceil((1 - CUT_RUNS_MAX) * len(calls) - 1e-9)) - 1])


def bound_loops(facts: WorkflowFacts, prices: Prices, seed: int) -> Iterator[Pull]:
    """Runs cut at the bound, replayed: what they spent after it, less the successes that they had after it.

    No share of cost is asked of the runs beyond: a rule that tells only the largest ones seen tells them too large
    (docs/savings.md).
    """
    runs = facts.runs
    if runs.seen < RUNS_MIN or runs.bound < 1 or len(runs.beyond) != runs.seen or not runs.usd.sum() > 0:
        return
    is_long = runs.calls > runs.bound
    tail = float(runs.usd[is_long].sum() / runs.usd.sum())
    succeeded = np.nan_to_num(runs.outcome, nan=0.0)
    lost = succeeded * is_long
    marginal = float(lost.sum() / succeeded.sum()) if succeeded.sum() else 0.0
    is_judged = runs.known >= JUDGED_MIN
    if not runs.beyond.sum() > 0 or (is_judged and marginal >= MARGINAL_SUCCESS_MAX):
        return
    per_success = float(runs.usd.sum() / succeeded.sum()) if succeeded.sum() else 0.0
    rng = chances.generator(seed, facts.workflow, Kind.BOUND_LOOPS)
    # A success that is lost is worth what one costs: the net of both is resampled run by run.
    kept = 1 - chances.ratio_of_sums(rng, runs.beyond - lost * per_success, runs.usd)
    evidence = {
        "bound": runs.bound, "runs": runs.counted, "runs_seen": runs.seen, "runs_cut": int(is_long.sum()),
        "calls_mean": float(runs.calls.mean()), "calls_max": int(runs.calls.max()), "tail_cost_share": tail,
        "beyond_share": float(runs.beyond.sum() / runs.usd.sum()), "outcomes_known": runs.known,
        "marginal_success": marginal if is_judged else None,
    }  # fmt: skip
    yield Pull(
        Kind.BOUND_LOOPS, "", _everywhere(facts, kept, kept), Grade.B, Label.UNVERIFIED, evidence,
        runs=_dearest(runs, runs.beyond),
    )  # fmt: skip


def dead_spend(facts: WorkflowFacts, prices: Prices, seed: int) -> Iterator[Pull]:
    """Runs that failed or were given up: what they cost is known, how much of it can be avoided is not."""
    runs = facts.runs
    wasted = runs.usd * (runs.failed > 0)
    if runs.seen < RUNS_MIN or not wasted.sum() > 0:
        return
    rng = chances.generator(seed, facts.workflow, Kind.DEAD_SPEND)
    share = chances.ratio_of_sums(rng, wasted, runs.usd)
    kept = 1 - chances.share(rng, *AVOIDABLE_DEAD) * share
    evidence = {
        "runs": runs.counted, "runs_seen": runs.seen, "failed_runs": int((runs.failed > 0).sum()),
        "dead_share": float(wasted.sum() / runs.usd.sum()), "avoidable_p50": AVOIDABLE_DEAD[1],
    }  # fmt: skip
    yield Pull(
        Kind.DEAD_SPEND, "", _everywhere(facts, kept, kept), Grade.B, Label.UNVERIFIED, evidence,
        runs=_dearest(runs, wasted),
    )  # fmt: skip


def trim(facts: WorkflowFacts, prices: Prices, seed: int) -> Iterator[Pull]:
    """Tool results, or retrieved context, longer than what three quarters of the other workflows get by with.

    A result stays in every later prompt of its run: n calls carry n (n - 1) / 2 of them. What was retrieved at the
    start is in each of the n.
    """
    steps = facts.runs.steps
    ways = (
        (Kind.TRIM_TOOL_RESULTS, facts.tool_tokens, facts.peers_tool_tokens, steps * (steps - 1) / 2),
        (Kind.TRIM_RETRIEVED, facts.retrieved_tokens, facts.peers_retrieved_tokens, steps),
    )
    for kind, own, peers, times in ways:
        if (
            own is None
            or peers is None
            or own <= peers
            or facts.runs.seen < RUNS_MIN
            or not facts.runs.prompt.sum() > 0
        ):
            continue
        rng = chances.generator(seed, facts.workflow, kind)
        shed = np.minimum(chances.ratio_of_sums(rng, (own - peers) * times, facts.runs.prompt), TRIMMED_SHARE_MAX)
        kept = 1 - shed * chances.share(rng, *TRIMMED)
        evidence = {
            "tokens": own, "peers_p75": peers, "runs": facts.runs.counted, "runs_seen": facts.runs.seen,
            "shed_share": float(np.median(shed)),
        }  # fmt: skip
        yield Pull(kind, "", _everywhere(facts, kept, np.ones(chances.DRAWS)), Grade.C, Label.UNVERIFIED, evidence)


def compact_context(facts: WorkflowFacts, prices: Prices, seed: int) -> Iterator[Pull]:
    """Long cached loops whose context keeps growing: a summary in its place, by the cost model's closed form."""
    runs = facts.runs
    is_long = (runs.steps > LONG_CALLS) & (runs.usd > 0)
    main = _main_cell(facts, prices)
    if main is None or int(is_long.sum()) < LONG_RUNS_MIN or main.cache_read < CACHED_MIN * main.prompt:
        return
    slope = float(np.median(runs.slope[is_long]))
    card = prices.cards[main.choice]
    if slope < GROWTH_MIN:
        return
    step = _long_step(runs, is_long, main, slope)
    plain = _run_usd(step, card)
    base = step.prefix_tokens.likely
    compaction = Compaction(int(max(COMPACT_AT, base + COMPACT_ROOM)), COMPACT_TO)
    compacted = _run_usd(step, card, compaction)
    if not 0 < compacted < plain:
        return
    rng = chances.generator(seed, facts.workflow, Kind.COMPACT_CONTEXT)
    long_cost = chances.ratio_of_sums(rng, runs.usd * is_long, runs.usd)
    kept = 1 - long_cost * (1 - compacted / plain) * chances.share(rng, *COMPACTED)
    evidence = {
        "model": main.model, "long_runs": int(is_long.sum()), "runs": runs.counted, "runs_seen": runs.seen,
        "calls_mean": step.calls.likely, "growth_tokens": slope, "compact_at": compaction.threshold_tokens,
        "compact_to": COMPACT_TO, "cost_ratio": compacted / plain,
    }  # fmt: skip
    yield Pull(
        Kind.COMPACT_CONTEXT, "", _everywhere(facts, kept, kept), Grade.C, Label.UNVERIFIED, evidence,
        runs=_dearest(runs, runs.usd * is_long),
    )  # fmt: skip


def _long_step(runs: Runs, is_long: np.ndarray, main: Cell, slope: float) -> Step:
    """The long runs as one step of a plan: their mean loop, what they begin with and what each call adds."""
    calls = runs.steps[is_long]
    mean = float(calls.mean())
    begun = runs.prompt[is_long] / calls - slope * (calls - 1) / 2
    output = min(main.output / main.calls, slope)
    return Step(
        name="loop",
        model=main.choice,
        prefix_tokens=Range.exact(max(0.0, float(np.median(begun)))),
        input_tokens=Range.exact(0.0),
        output_tokens=Range.exact(output),
        tool_result_tokens=Range.exact(slope - output),
        calls=Range.exact(mean),
        dispersion=Range.exact(float(calls.var()) / (mean - 1)),
        calls_max=CALLS_MAX,
        cache="5m",
        prefix_cached_rate=Range.exact(0.0),
    )


def _run_usd(step: Step, card: Card, compaction: Compaction | None = None) -> float:
    if compaction is not None:
        names = {name: getattr(step, name) for name in step.__dataclass_fields__}
        step = Step(**{**names, "compaction": compaction})
    return cost_per_run(Plan((step,), Range.exact(1.0)), {step.model: card}).usd


def _main_cell(facts: WorkflowFacts, prices: Prices) -> Cell | None:
    """The cell that most of the workflow's dollars go to."""
    priced = [cell for cell in facts.cells if prices.card(cell) is not None and cell.prompt > 0]
    return max(priced, key=lambda cell: (cell.usd, cell.key), default=None)


def _everywhere(facts: WorkflowFacts, prompt: Floats, answer: Floats) -> dict[str, tuple[Floats, Floats]]:
    return {cell.key: (prompt, answer) for cell in facts.cells}


def _dearest(runs: Runs, by: Floats) -> tuple[str, ...]:
    """The runs that show it most."""
    order = [index for index in np.argsort(-by, kind="stable")[:RUNS_SHOWN] if by[index] > 0]
    return tuple(runs.ids[index] for index in order) if runs.ids else ()


LEVERS = (bound_loops, dead_spend, trim, compact_context)
