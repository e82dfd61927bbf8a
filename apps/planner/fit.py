"""A plan out of observed runs: means as they were, ranges as wide as the next period may differ. Pure.

The inputs are moments of the runs (`apps.planner.inputs`), then set right once with the cost model itself, so that the
plan's closed form bills the tokens that the runs were billed. Ranges: `apps.planner.widths`. Fewer runs than an earlier
plan is worth move it little: `apps.planner.shrink`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from apps.planner import volume
from apps.planner.cascade import Escalation, escalating
from apps.planner.inputs import CALLS_MAX, COLUMNS, DISPERSION_MAX, column, inputs_of, with_inputs
from apps.planner.kinds import Calls, Folded, Kind, calls_of, folded, largest, steps_of
from apps.planner.match import BILLED_SHARE, RETRIES_MAX, matched, usd_of
from apps.planner.moments import Floats, quantiles, resampled_sums, slope_weights
from apps.planner.observed import ObservedRun, ObservedStep
from apps.planner.shapes import Card, Cards, ModelChoice, Percentiles, Plan, Range, Step
from apps.planner.shrink import paired, shrunk
from apps.planner.widths import CLUSTERS_FEW, billed_costs, next_mean_spread, range_of, spread_of, step_costs, stretch

Status = Literal["planned", "provisional", "calibrated"]

RUNS_MAX = 50_000
RUNS_PROVISIONAL = 50
RUNS_CALIBRATED = 200
DAYS_CALIBRATED = 3
CLASSES_MAX = 5
RESAMPLES = 200
SEED = 1
# Stands for a model without a price while its tokens are fitted: the proportions that most models' prices have.
NOMINAL = Card(input=1e-6, output=5e-6, cache_read=0.1e-6, cache_write_5m=1.25e-6, cache_write_1h=2e-6)
# A neg-bin's tail beyond so many standard deviations does not matter to its mean.
TAIL = 5
# What differs most from run to run.
UNEVEN = frozenset({"calls", "input_tokens", "output_tokens"})
NAME_MAX = 100


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a plan was fitted from. `days` on which a run began, `weekend_days` of them; `clusters` of runs."""

    runs: int
    clusters: int
    days: int
    weekend_days: int


@dataclass(frozen=True, slots=True)
class Fit:
    """A plan fitted from runs.

    kinds, folded   kinds of calls that were seen; what is said of those that became no step, None: all did
    observed_usd    what single runs cost at the cards, other costs included, without models that have none; None: none
                    has one
    peak_tokens     their longest prompts; None: not known
    replay_gap      how far the fitted plan's closed form lies from what the same calls' tokens cost at the same cards,
                    as a share, before the plan was drawn towards an earlier one
    price_factors   what was billed for a model over what its card makes of the same tokens: prompts beyond a threshold,
                    service tiers, changed prices; in no other figure
    unpriced        models without a card, of steps or folded: steps of theirs are fitted at nominal prices
    """

    plan: Plan
    status: Status
    evidence: Evidence
    kinds: int
    folded: Folded | None
    observed_usd: Percentiles | None
    peak_tokens: Percentiles | None
    replay_gap: float
    price_factors: Mapping[ModelChoice, float]
    unpriced: tuple[ModelChoice, ...]


def status_of(evidence: Evidence, *, weekdays_only: bool = False) -> Status:
    """How far a plan has been held against runs; `weekdays_only` says that the workflow rests at weekends.

    Calibrated counts independent runs: plans of 200 runs in few clusters miss by a third one time in ten.
    """
    if evidence.runs < RUNS_PROVISIONAL:
        return "planned"
    full_week = weekdays_only or evidence.weekend_days > 0
    if evidence.clusters >= RUNS_CALIBRATED and evidence.days >= DAYS_CALIBRATED and full_week:
        return "calibrated"
    return "provisional"


def evidence_of(runs: Sequence[ObservedRun]) -> Evidence:
    days = {run.day for run in runs}
    clusters = {run.cluster or run.run_id for run in runs}
    return Evidence(len(runs), len(clusters), len(days), sum(day.weekday() >= 5 for day in days))


def fit(
    runs: Sequence[ObservedRun],
    *,
    cards: Cards,
    earlier: Plan | None = None,
    next_runs: int | None = None,
    window_days: int | None = None,
    weekdays_only: bool = False,
    window_tokens: int | None = None,
    classes: int = 1,
) -> Fit:
    """The plan that these runs followed, in order of time.

    earlier        the plan to draw it towards; None: runs alone speak
    next_runs      how many runs the next period will have; None: as many as these
    window_days    how many days these were looked for in; None: from the first to the last
    window_tokens  the context window, which no prompt exceeds
    classes        splits each step's runs into so many by their number of calls: one loop fits the mean of any runs,
                   but what a bound would save is off where long runs differ from short ones in more than length

    ValueError: no run, a run without steps, more than `RUNS_MAX`, or classes out of 1 to 5.
    """
    _check(runs, classes)
    ordered = sorted(runs, key=lambda run: (run.day, run.run_id))
    if classes > 1:
        ordered = _by_length(ordered, classes)
    seen = _see(calls_of(ordered, with_cascades=classes == 1), ordered, cards, earlier)
    priced = {kind.model: cards.get(kind.model, NOMINAL) for kind in seen.keys}
    plan = _plan(ordered, seen, priced, earlier, next_runs or len(runs), window_days)
    closed = sum(float(usd_of(step, priced)) for step in plan.steps)
    at_cards = float(seen.costs(step_costs, priced).mean())
    if earlier is not None:
        taken = {step.name: int(count) for step, count in zip(plan.steps, seen.taken, strict=False)}
        plan = shrunk(earlier, plan, taken, len(runs), _nominal(earlier, cards) | priced)
    evidence, peaks = evidence_of(ordered), _peaks(ordered)
    return Fit(
        plan=plan,
        status=status_of(evidence, weekdays_only=weekdays_only),
        evidence=evidence,
        kinds=seen.kinds,
        folded=seen.folded,
        observed_usd=_observed(seen, cards),
        peak_tokens=_percentiles(peaks, window_tokens) if peaks.any() else None,
        replay_gap=closed / at_cards - 1 if at_cards > 0 else 0.0,
        price_factors=_price_factors(seen, priced),
        unpriced=tuple(sorted(({kind.model for kind in seen.keys} | _folded_models(seen)) - set(cards))),
    )


def _folded_models(seen: "_Seen") -> set[ModelChoice]:
    return set(seen.folded.unpriced) if seen.folded else set()


def _observed(seen: "_Seen", cards: Cards) -> Percentiles | None:
    """What has a price; what has none is not known, and counts as nothing nowhere."""
    is_known = any(kind.model in cards for kind in seen.keys) or bool(seen.other_usd.any())
    return _percentiles(seen.costs(step_costs, cards) + seen.other_usd) if is_known else None


def _nominal(plan: Plan, cards: Cards) -> dict[ModelChoice, Card]:
    models = [model for step in plan.steps for model in (step.model, step.escalates_to) if model is not None]
    return {model: cards.get(model, NOMINAL) for model in models}


def _check(runs: Sequence[ObservedRun], classes: int) -> None:
    if not 1 <= len(runs) <= RUNS_MAX:
        raise ValueError(f"{len(runs)} runs were given: a plan is fitted from 1 to {RUNS_MAX:,}.")
    bare = next((run.run_id for run in runs if not run.steps), None)
    if bare is not None:
        raise ValueError(f"Run {bare} has no steps: leave it out.")
    if not 1 <= classes <= CLASSES_MAX:
        raise ValueError(f"classes is {classes}: split runs into 1 to {CLASSES_MAX}.")


# --- what was seen ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Seen:
    """Sums of the runs in order, (runs, steps, columns), and of `RESAMPLES` resamples of their clusters.

    `keys` has the kinds that are steps, in the order of `names`, and then what they escalate to; `larger` tells which
    of them that is. `other_usd` (runs,) has what a run cost beside the steps, folded kinds included.
    """

    keys: Sequence[Kind]
    names: Sequence[str]
    larger: Mapping[int, int]
    kinds: int
    folded: Folded | None
    sums: Floats
    clusters: NDArray[np.int64]
    resamples: Floats
    resampled_runs: Floats
    longest: Sequence[int]
    other_usd: Floats

    @property
    def taken(self) -> Floats:
        return np.asarray(column(self.sums, "runs").sum(axis=0))

    def costs(self, cost: Callable[[Floats, Card], Floats], cards: Cards) -> Floats:
        """What each run cost in the steps whose model has a card, (runs,)."""
        total = np.zeros(len(self.sums))
        for at, kind in enumerate(self.keys):
            if kind.model in cards:
                total += cost(self.sums[:, at], cards[kind.model])
        return total


def _see(calls: Calls, runs: Sequence[ObservedRun], cards: Cards, earlier: Plan | None) -> _Seen:
    steps = steps_of(calls)
    names = dict(zip(steps, _step_names([calls.kinds[at] for at in steps]), strict=True))
    planned = {(step.name, step.model) for step in earlier.steps} if earlier is not None else set()
    known = {at for at, name in names.items() if (name, calls.kinds[at].model) in planned}
    kept = largest(calls, calls.usd({kind.model: cards.get(kind.model, NOMINAL) for kind in calls.kinds}), known)
    beside, fold = folded(calls, kept, cards)
    small = [at for at in kept if at in calls.cascades]
    every = [*kept, *(calls.cascades[at] for at in small)]
    keys, sums = [calls.kinds[at] for at in every], calls.sums(every)
    for step in range(len(keys)):
        weights = slope_weights(column(sums[:, step], "sxx"), column(sums[:, step], "sxy"))
        sums[:, step, COLUMNS.index("sxx")] *= weights
        sums[:, step, COLUMNS.index("sxy")] *= weights
    seen: dict[str, int] = {}
    clusters = np.array([seen.setdefault(run.cluster or run.run_id, len(seen)) for run in runs])
    counted = np.concatenate([sums.reshape(len(runs), -1), np.ones((len(runs), 1))], axis=1)
    drawn = resampled_sums(counted, clusters, draws=RESAMPLES, seed=SEED)
    return _Seen(
        keys=keys,
        names=[names[at] for at in kept],
        larger={kept.index(at): len(kept) + place for place, at in enumerate(small)},
        kinds=len(steps),
        folded=fold,
        sums=sums,
        clusters=clusters,
        resamples=drawn[:, :-1].reshape(RESAMPLES, *sums.shape[1:]),
        resampled_runs=drawn[:, -1],
        longest=[int(count) for count in column(sums, "calls").max(axis=0)],
        other_usd=np.array([run.other_cost_usd for run in runs]) + beside,
    )


def _by_length(runs: Sequence[ObservedRun], classes: int) -> list[ObservedRun]:
    """The runs with each step's name telling how long its loop was, in `classes` of about as many runs each."""
    lengths: dict[tuple[str, ModelChoice], list[int]] = {}
    for run in runs:
        for step in run.steps:
            lengths.setdefault((step.name, step.model), []).append(step.calls)
    edges = {
        key: np.quantile(calls, np.arange(1, classes) / classes, method="inverted_cdf")
        for key, calls in lengths.items()
    }

    def named(step: ObservedStep) -> ObservedStep:
        bounds = np.unique(edges[step.name, step.model])
        number = int(np.searchsorted(bounds, step.calls))
        low = int(bounds[number - 1]) + 1 if number else 1
        says = f"{low} to {int(bounds[number])}" if number < len(bounds) else f"{low} and more"
        suffix = f", {says} calls"
        return replace(step, name=step.name[: NAME_MAX - len(suffix)] + suffix)

    return [replace(run, steps=tuple(map(named, run.steps))) for run in runs]


# --- the plan ---------------------------------------------------------------------------------------------


def _plan(
    runs: Sequence[ObservedRun],
    seen: _Seen,
    cards: Cards,
    earlier: Plan | None,
    next_runs: int,
    window_days: int | None,
) -> Plan:
    bare = [_bare_step(name, kind.model) for name, kind in zip(seen.names, seen.keys, strict=False)]
    before = paired(earlier.steps, bare) if earlier is not None else {}
    steps: dict[str, Step] = {}
    spreads: dict[str, Mapping[str, float]] = {}
    for at, step in enumerate(bare):
        fitted, wavers = _fitted_step(step, before.get(step.name), seen, at, cards)
        if at in seen.larger:
            fitted, more = escalating(fitted, _escalation(seen, at), cards)
            wavers = {**wavers, **more}
        steps[step.name], spreads[step.name] = fitted, wavers
    costs, resampled = seen.costs(billed_costs, cards), np.zeros(RESAMPLES)
    for at, kind in enumerate(seen.keys):
        resampled += billed_costs(seen.resamples[:, at], cards[kind.model]) / seen.resampled_runs
    target = next_mean_spread(costs, seen.clusters, resampled, next_runs)
    factor = stretch(list(steps.values()), spreads, cards, target)
    wide = [_widened(step, spreads[step.name], factor) for step in steps.values()]
    return Plan(
        steps=tuple(wide),
        runs_per_month=volume.runs_per_month(runs, window_days),
        growth=volume.growth(runs, earlier.growth if earlier is not None else None),
        success_rate=volume.success_rate(runs, earlier.success_rate if earlier is not None else None),
        other_cost_usd=volume.mean_range("other_cost_usd", seen.other_usd),
    )


def _escalation(seen: _Seen, at: int) -> Escalation:
    large = seen.larger[at]
    return Escalation(
        large=seen.keys[large].model,
        runs=len(seen.sums),
        at_small=seen.sums[:, at].sum(axis=0),
        at_large=seen.sums[:, large].sum(axis=0),
        small_drawn=seen.resamples[:, at],
        large_drawn=seen.resamples[:, large],
    )


def _step_names(kinds: Sequence[Kind]) -> list[str]:
    """Names of steps, told apart by their model where two share one."""
    shared = [kind.name for kind in kinds]
    names: list[str] = []
    for kind in kinds:
        full = kind.name if shared.count(kind.name) == 1 else f"{kind.name} {kind.model.model}"
        while full[:NAME_MAX] in names:
            full = f"{kind.model.provider} {full}"
        names.append(full[:NAME_MAX])
    return names


def _bare_step(name: str, model: ModelChoice) -> Step:
    zero = Range.exact(0.0)
    return Step(name=name, model=model, prefix_tokens=zero, input_tokens=zero)


def _fitted_step(
    step: Step, earlier: Step | None, seen: _Seen, at: int, cards: Cards
) -> tuple[Step, Mapping[str, float]]:
    """The step at its likely inputs, and the spread of each of them."""
    retries_max = earlier.retries_max if earlier is not None else RETRIES_MAX
    billed_share = earlier.retry_billed_share if earlier is not None else BILLED_SHARE
    total = seen.sums[:, at].sum(axis=0)
    found = inputs_of(total, np.array(float(len(seen.sums))), retries_max, billed_share)
    drawn = inputs_of(seen.resamples[:, at], seen.resampled_runs, retries_max, billed_share)
    likely = {name: Range.exact(float(value)) for name, value in found.items()}
    step = replace(
        with_inputs(step, likely), retries_max=retries_max, retry_billed_share=billed_share, cache=_cache(total),
        calls_max=_bound(likely, seen.longest[at], earlier),
        compaction=earlier.compaction if earlier is not None else None,
        window_tokens=earlier.window_tokens if earlier is not None else None,
    )  # fmt: skip
    step = matched(step, total / len(seen.sums), cards)
    took = len(np.unique(seen.clusters[column(seen.sums[:, at], "runs") > 0]))
    spreads = {
        name: max(spread_of(name, float(found[name]), values), _least(name, took)) for name, values in drawn.items()
    }
    return step, spreads


def _least(name: str, clusters: int) -> float:
    """Resamples of next to nothing are all alike: the spread that inputs of so few clusters have at least."""
    return 1 / math.sqrt(clusters) if clusters < CLUSTERS_FEW and name in UNEVEN else 0.0


def _widened(step: Step, spreads: Mapping[str, float], factor: float) -> Step:
    wide = {name: range_of(name, getattr(step, name).likely, spread * factor) for name, spread in spreads.items()}
    wide["calls"] = wide["calls"].at_most(step.calls_max)
    wide["dispersion"] = wide["dispersion"].at_most(DISPERSION_MAX)
    return with_inputs(step, wide)


def _cache(total: Floats) -> Literal["off", "5m", "1h"]:
    read, short, long = (float(column(total, name)) for name in ("read", "write_5m", "write_1h"))
    if read + short + long == 0:
        return "off"
    return "1h" if long > short else "5m"


def _bound(likely: Mapping[str, Range], longest: int, earlier: Step | None) -> int:
    """The earlier plan's bound where runs keep to it; else one that cuts no run that was seen or is to be expected."""
    if earlier is not None and longest <= earlier.calls_max:
        return earlier.calls_max
    mean = likely["calls"].likely
    spread = math.sqrt(likely["dispersion"].likely * max(0.0, mean - 1))
    return min(CALLS_MAX, max(longest, math.ceil(mean + TAIL * spread)))


def _peaks(runs: Sequence[ObservedRun]) -> Floats:
    return np.array([max(step.peak_tokens for step in run.steps) for run in runs], dtype=np.float64)


def _percentiles(values: Floats, ceiling: float | None = None) -> Percentiles:
    return Percentiles(float(values.mean()), *map(float, quantiles(values, (0.1, 0.5, 0.9, 0.99), ceiling=ceiling)))


# --- prices -----------------------------------------------------------------------------------------------


def _price_factors(seen: _Seen, cards: Cards) -> Mapping[ModelChoice, float]:
    at_cards: dict[ModelChoice, float] = {}
    billed: dict[ModelChoice, float] = {}
    for at, kind in enumerate(seen.keys):
        model, total = kind.model, seen.sums[:, at]
        at_cards[model] = at_cards.get(model, 0.0) + float(step_costs(total, cards[model]).sum())
        billed[model] = billed.get(model, 0.0) + float(billed_costs(total, cards[model]).sum())
    return {model: billed[model] / usd if usd > 0 else 1.0 for model, usd in at_cards.items()}
