"""What plans say of signals, for workflows with too little history of their own. Inside `tenant(org)`."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from apps.core.tenancy import HasPk
from apps.insights.baselines import DAYS_YOUNG
from apps.insights.grids import Grid
from apps.insights.signals import BASELINE_DAYS, SIGNALS, Flags, Floats
from apps.planner.definition import read_plan
from apps.planner.expected import WORSE, worst_expected
from apps.planner.models import PlanVersion
from apps.planner.reckoning import priced_of
from apps.planner.results import decimal_at
from apps.planner.selectors import versions_in_force

# Versions never change, and an hour later the same workflows are still learning.
VERSIONS_KEPT = 1_000


def plan_highs(org: HasPk, grid: Grid, excluded: Mapping[str, Flags]) -> Mapping[str, Floats]:
    """By signal, where the plan in force says that a workflow does worse than nine in ten would, in the signal's own
    unit; NaN without a priced plan, and for who has learned (their plan is not read). `excluded` as of `Known`.
    """
    learning = _learning(grid, excluded)
    workflows = [scope for scope, is_learning in zip(grid.scopes, learning, strict=True) if is_learning]
    said = _said(org, workflows) if workflows else {}
    if not said:
        return {}
    nothing = dict.fromkeys(WORSE, np.nan)
    return {key: np.array([said.get(scope, nothing)[key] for scope in grid.scopes]) for key in WORSE}


def plan_p99s(org: HasPk, workflows: Sequence[str]) -> Mapping[str, float]:
    """USD that one run in a hundred exceeds, by workflow with a priced plan in force."""
    versions = versions_in_force(org, workflows) if workflows else {}
    return {
        workflow: float(decimal_at(version.result, "one_run", "p99_usd"))
        for workflow, version in versions.items()
        if version.result is not None
    }


def _learning(grid: Grid, excluded: Mapping[str, Flags]) -> Flags:
    """Whoever may still be learning, of any of the signals that a plan speaks of; detectors decide."""
    learning: Flags = np.zeros(len(grid.scopes), dtype=bool)
    for key in WORSE:
        n = np.nan_to_num(grid.windows(key)[0].n)
        began = np.where((n > 0).any(axis=1), n.shape[1] - (n > 0).argmax(axis=1), 0)
        usual = np.where(excluded[key], 0.0, n) if key in excluded else n
        few = usual[:, -BASELINE_DAYS:].sum(axis=1) < SIGNALS[key].baseline_sample
        learning = learning | (began < DAYS_YOUNG) | few
    return learning


def _said(org: HasPk, workflows: Sequence[str]) -> dict[str, Mapping[str, float]]:
    versions = versions_in_force(org, workflows)
    return {workflow: _kept(_Version(version)) for workflow, version in versions.items() if version.result is not None}


class _Version:
    """What a version says and was priced by, as a key: a version is written once."""

    def __init__(self, row: PlanVersion) -> None:
        self.key = row.organization_id, row.pk, row.created_at
        self.definition, self.cards, self.prices_at, self.seed = row.definition, row.cards, row.prices_at, row.seed

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Version) and self.key == other.key


@lru_cache(maxsize=VERSIONS_KEPT)
def _kept(version: _Version) -> Mapping[str, float]:
    cards = priced_of(version.cards, version.prices_at).by_model()
    return worst_expected(read_plan(version.definition), cards, seed=version.seed)
