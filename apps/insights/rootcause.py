"""Where a change in spend lies: the one or two dimensions whose leaves changed by one ratio, the others by none.

The generalized ripple effect (Li et al., "Generic and robust localization of multi-dimensional root causes", ISSRE
2019), searched exhaustively over cells of one and two dimensions. *What kind* of change it is (volume, loops, cache,
...) is the planner's variance by factor; this says where. Formulae and figures: docs/signals.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from apps.insights.signals import Flags, Floats

TOP = 3
SHARE_MIN = 0.25
DIMENSION_PENALTY = 0.02
DIMENSIONS_MAX = 8
LEAVES_MAX = 20_000
SHORTLIST = 12

Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Leaves:
    """`codes`: (leaves, dimensions), the value of each dimension as an index from 0. `expected`, `actual`: USD,
    (leaves,).

    Leaves are the finest cells; beyond LEAVES_MAX the caller keeps the dearest and sums the others into one leaf.
    """

    dimensions: tuple[str, ...]
    codes: Codes
    expected: Floats
    actual: Floats


@dataclass(frozen=True, slots=True)
class Cause:
    """`cell`: (dimension, code) of one or two dimensions. `share`: of the whole excess. `ratio`: actual to expected in
    it.

    `score`: the share of the leaves' deviation it removes, less 0.02 a dimension.
    """

    cell: tuple[tuple[str, int], ...]
    excess_usd: float
    share: float
    ratio: float
    score: float


@dataclass(frozen=True, slots=True)
class Causes:
    """`ranked`: the likeliest cells, each as the only cause. `together`: what explains it jointly, by turns."""

    excess_usd: float
    ranked: tuple[Cause, ...]
    together: tuple[Cause, ...]


def search(leaves: Leaves) -> Causes:
    """Causes that hold at least a quarter of the excess; none where nothing does.

    Raises ValueError beyond LEAVES_MAX leaves or DIMENSIONS_MAX dimensions.
    """
    if len(leaves.expected) > LEAVES_MAX or len(leaves.dimensions) > DIMENSIONS_MAX:
        raise ValueError(f"a search takes at most {LEAVES_MAX} leaves of {DIMENSIONS_MAX} dimensions")
    excess = float((leaves.actual - leaves.expected).sum())
    if not len(leaves.expected) or not excess:
        return Causes(excess, (), ())
    expected = _floored(leaves)
    ranked = _rank(leaves, expected, excess)
    return Causes(excess, tuple(cause for cause, _ in ranked[:TOP]), _together(leaves, expected, excess, ranked))


def _floored(leaves: Leaves) -> Floats:
    """A leaf that was never expected changed by a very large ratio, not by an infinite one."""
    least = 0.01 * float(np.mean(np.abs(leaves.actual) + np.abs(leaves.expected)))
    return np.fmax(leaves.expected, least)


@dataclass(frozen=True, slots=True, eq=False)
class _Cells:
    """All cells of one choice of dimensions; `index`: the cell of each leaf; the others of shape (cells,)."""

    columns: tuple[int, ...]
    index: Codes
    excess: Floats
    score: Floats


def _rank(leaves: Leaves, expected: Floats, excess: float) -> list[tuple[Cause, Flags]]:
    """Best first, cells of the same leaves named once, by the fewest dimensions."""
    usual = _usual_ratio(leaves.actual, expected)
    found: list[tuple[float, _Cells, int]] = []
    for columns in _choices(len(leaves.dimensions)):
        cells = _score(leaves, expected, usual, columns)
        kept = np.flatnonzero(cells.excess * np.sign(excess) >= SHARE_MIN * abs(excess))
        found += [(float(cells.score[cell]), cells, int(cell)) for cell in kept]
    found.sort(key=lambda each: (-each[0], len(each[1].columns)))
    causes: list[tuple[Cause, Flags]] = []
    for _, cells, cell in found[: 4 * SHORTLIST]:
        inside = cells.index == cell
        if not any(np.array_equal(inside, other) for _, other in causes):
            causes.append((_cause(leaves, expected, excess, cells.columns, inside), inside))
        if len(causes) == SHORTLIST:
            break
    return sorted(causes, key=lambda each: -each[0].score)


def _choices(dimensions: int) -> list[tuple[int, ...]]:
    return [(one,) for one in range(dimensions)] + list(combinations(range(dimensions), 2))


def _usual_ratio(actual: Floats, expected: Floats) -> float:
    """The median ratio, each leaf by what was expected of it: cents do not outvote dollars."""
    if not len(actual):
        return 1.0
    ratio = actual / expected
    order = np.argsort(ratio)
    weight = np.cumsum(expected[order])
    return float(ratio[order][np.searchsorted(weight, 0.5 * weight[-1])])


def _score(leaves: Leaves, expected: Floats, usual: float, columns: tuple[int, ...]) -> _Cells:
    index = leaves.codes[:, columns[0]]
    for column in columns[1:]:
        index = index * (int(leaves.codes[:, column].max()) + 1) + leaves.codes[:, column]
    if len(columns) > 1:
        index = np.unique(index, return_inverse=True)[1]
    actual = leaves.actual
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.bincount(index, actual) / np.bincount(index, expected)
    before = np.abs(actual - usual * expected)
    after = np.abs(actual - np.nan_to_num(ratio)[index] * expected)
    removed = np.bincount(index, before - after) / max(float(before.sum()), 1e-12)
    excess = np.bincount(index, actual - leaves.expected).astype(float)
    return _Cells(columns, index, excess, removed - DIMENSION_PENALTY * len(columns))


def _cause(leaves: Leaves, expected: Floats, excess: float, columns: tuple[int, ...], inside: Flags) -> Cause:
    """Scored again with the median of the leaves outside: a large cell would have moved the median of all."""
    actual, rest = leaves.actual, ~inside
    usual = _usual_ratio(actual[rest], expected[rest])
    ratio = float(actual[inside].sum() / expected[inside].sum())
    before = float(np.abs(actual - usual * expected).sum())
    after = float(np.abs(actual[inside] - ratio * expected[inside]).sum())
    after += float(np.abs(actual[rest] - usual * expected[rest]).sum())
    first = int(np.argmax(inside))
    moved = float((actual[inside] - leaves.expected[inside]).sum())
    return Cause(
        cell=tuple((leaves.dimensions[column], int(leaves.codes[first, column])) for column in columns),
        excess_usd=moved,
        share=moved / excess,
        ratio=ratio,
        score=1.0 - after / max(before, 1e-12) - DIMENSION_PENALTY * len(columns),
    )


def _together(
    leaves: Leaves, expected: Floats, excess: float, ranked: Sequence[tuple[Cause, Flags]]
) -> tuple[Cause, ...]:
    """The best cause, then the best of the leaves outside it, while that is still a quarter of the whole."""
    causes: list[Cause] = []
    while ranked and len(causes) < TOP:
        best, inside = ranked[0]
        if best.excess_usd * np.sign(excess) < SHARE_MIN * abs(excess):
            break
        causes.append(replace(best, share=best.excess_usd / excess))
        rest = ~inside
        leaves = Leaves(leaves.dimensions, leaves.codes[rest], leaves.expected[rest], leaves.actual[rest])
        expected = expected[rest]
        left = float((leaves.actual - leaves.expected).sum())
        if left * np.sign(excess) < SHARE_MIN * abs(excess):
            break
        ranked = _rank(leaves, expected, left)
    return tuple(causes)
