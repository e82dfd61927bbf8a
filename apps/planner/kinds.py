"""Which kinds of calls of observed runs become steps of a plan, and what becomes of the others. Pure.

A kind is what shares a task type and a model; calls that were escalated to a larger model are one kind with those of
the smaller one. Workflows that people work in have a long tail of them: some dozens that together are a few per cent of
the cost. The largest become steps; the others are folded into what a run costs beside its steps, in dollars, so that
the plan's total stays that of the runs.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apps.planner.cascade import calls_alike
from apps.planner.inputs import COLUMNS, column, row_of
from apps.planner.moments import Floats
from apps.planner.observed import ObservedRun, ObservedStep
from apps.planner.shapes import STEPS_MAX, Cards, ModelChoice
from apps.planner.widths import step_costs

# So many become steps at the most: a plan may have `STEPS_MAX`, and whoever edits it needs room.
KEPT_MAX = 16


@dataclass(frozen=True, slots=True, order=True)
class Kind:
    """`escalated_from` names the smaller model of calls that were escalated; "": they were not."""

    name: str
    model: ModelChoice
    escalated_from: str = ""


@dataclass(frozen=True, slots=True)
class Folded:
    """Kinds of calls that became no step.

    run_usd   what they cost a run, which is in the plan's other cost; None: none of them has a price
    share     of what all kinds cost that have a price, steps included; None: nothing has one
    unpriced  calls of models without a price, by model: they are in no figure
    """

    kinds: int
    run_usd: float | None
    share: float | None
    unpriced: Mapping[ModelChoice, int]


@dataclass(frozen=True, slots=True)
class Calls:
    """The sums of `COLUMNS` by run and kind, where a run has any: (entries, columns), and which of both it is.

    `cascades` has the kind that each kind escalates to, by their numbers.
    """

    kinds: Sequence[Kind]
    cascades: Mapping[int, int]
    runs: int
    run: NDArray[np.int64]
    kind: NDArray[np.int64]
    rows: Floats

    def usd(self, cards: Cards) -> Floats:
        """What each entry costs at the cards, (entries,); kinds without one cost NaN."""
        usd = np.full(len(self.rows), np.nan)
        for at, kind in enumerate(self.kinds):
            if kind.model in cards:
                own = self.kind == at
                usd[own] = step_costs(self.rows[own], cards[kind.model])
        return usd

    def sums(self, kept: Sequence[int]) -> Floats:
        """(runs, kept kinds, columns): zeros where a run has none of a kind."""
        place = np.full(len(self.kinds), -1)
        place[list(kept)] = np.arange(len(kept))
        own = place[self.kind] >= 0
        sums = np.zeros((self.runs, len(kept), len(COLUMNS)))
        np.add.at(sums, (self.run[own], place[self.kind[own]]), self.rows[own])
        return sums


def calls_of(runs: Sequence[ObservedRun], *, with_cascades: bool = True) -> Calls:
    """At least one run, each with a step."""
    pairs = _cascades(runs) if with_cascades else {}
    larger = {large: small for small, large in pairs.items()}

    def kind_of(step: ObservedStep) -> Kind:
        kind = Kind(step.name, step.model, step.escalated_from or "")
        return kind if kind in larger else Kind(step.name, step.model)

    steps = [(at, step) for at, run in enumerate(runs) for step in run.steps]
    found = [kind_of(step) for _, step in steps]
    kinds = sorted(set(found))
    number = {kind: at for at, kind in enumerate(kinds)}
    return Calls(
        kinds=kinds,
        cascades={number[small]: number[large] for small, large in pairs.items()},
        runs=len(runs),
        run=np.array([at for at, _ in steps]),
        kind=np.array([number[kind] for kind in found]),
        rows=np.array([row_of(step) for _, step in steps], dtype=np.float64),
    )


def _cascades(runs: Sequence[ObservedRun]) -> dict[Kind, Kind]:
    """The kind that each kind escalates to: of several the one that most runs went to, if it makes calls alike.

    A model that itself was escalated to is the small one of no other: a plan's cascade has two models.
    """
    counts: dict[Kind, list[int]] = defaultdict(list)
    for run in runs:
        for step in run.steps:
            counts[Kind(step.name, step.model, step.escalated_from or "")].append(step.calls)
    pairs: dict[Kind, Kind] = {}
    for large in sorted((kind for kind in counts if kind.escalated_from), key=lambda kind: (-len(counts[kind]), kind)):
        small = next((kind for kind in sorted(counts) if _is_smaller(kind, large)), None)
        if small is not None and small not in pairs and calls_alike(counts[small], counts[large]):
            pairs[small] = large
    return pairs


def _is_smaller(kind: Kind, large: Kind) -> bool:
    if kind.escalated_from or kind.name != large.name or kind.model == large.model:
        return False
    return large.escalated_from in (kind.model.model, f"{kind.model.provider}/{kind.model.model}")


def largest(calls: Calls, usd: Floats, known: Collection[int]) -> list[int]:
    """Which kinds become steps, in their order: those that cost the most, and then those `known` to an earlier plan.

    `usd` (entries,) has no NaN: what has no price takes part by its tokens. What a kind escalates to counts with it.
    """
    by_kind = np.bincount(calls.kind, weights=usd, minlength=len(calls.kinds))
    for small, large in calls.cascades.items():
        by_kind[small] += by_kind[large]
    ranked = sorted(steps_of(calls), key=lambda at: (-by_kind[at], at))
    chosen, rest = ranked[:KEPT_MAX], ranked[KEPT_MAX:]
    return sorted(chosen + [at for at in rest if at in known][: STEPS_MAX - KEPT_MAX])


def steps_of(calls: Calls) -> list[int]:
    """The kinds that may be steps: all but those that others escalate to."""
    larger = set(calls.cascades.values())
    return [at for at in range(len(calls.kinds)) if at not in larger]


def folded(calls: Calls, kept: Sequence[int], cards: Cards) -> tuple[Floats, Folded | None]:
    """What the other kinds cost each run, (runs,), and what is said of them; None: there are none."""
    rest = ~np.isin(calls.kind, [*kept, *(calls.cascades[at] for at in kept if at in calls.cascades)])
    if not rest.any():
        return np.zeros(calls.runs), None
    usd = calls.usd(cards)
    is_priced = ~np.isnan(usd)
    by_run = np.zeros(calls.runs)
    np.add.at(by_run, calls.run[rest & is_priced], usd[rest & is_priced])
    total = float(usd[is_priced].sum())
    unpriced: dict[ModelChoice, int] = {}
    attempts = column(calls.rows, "attempts")
    for at in np.flatnonzero(rest & ~is_priced):
        model = calls.kinds[calls.kind[at]].model
        unpriced[model] = unpriced.get(model, 0) + int(attempts[at])
    said = Folded(
        kinds=len(steps_of(calls)) - len(kept),
        run_usd=float(by_run.mean()) if (rest & is_priced).any() else None,
        share=float(by_run.sum()) / total if total > 0 else None,
        unpriced=dict(sorted(unpriced.items())),
    )
    return by_run, said
