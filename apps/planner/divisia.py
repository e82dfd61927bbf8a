"""Why one cost differs from another: the additive logarithmic mean Divisia index (LMDI-I) over a tree. Pure.

A node's cost is the product of its factors and of what its children sum to. With u the node's cost on either side,
L(a, b) = (a - b) / ln(a / b) and w the weight that its parent gave it, w (u1 - u0) is split into

    w L(u1, u0) ln(x1 / x0)     for each factor x, and
    w L(u1, u0) / L(v1, v0)     the weight of each child, where v is the sum of the children,

so that nothing is left over at any level, and no order of factors matters. One level of it is LMDI-I as in Ang (2005,
"The LMDI approach to decomposition analysis: a practical guide", Energy Policy 33); several are the multilevel
hierarchical form of Xu and Ang (2014, "Multilevel index decomposition analysis", Energy Economics 44). A leaf that one
side lacks thereby keeps what is above it: where a workflow trades one model for another, its volume is still volume.

Zeros take the analytical limits of Ang and Liu (2007, "Handling zero values in the logarithmic mean Divisia index
decomposition approach", Energy Policy 35): the factor that is zero on one side takes the whole difference, several take
equal parts, and a factor that is undefined there, a ratio of nothing, counts as unchanged. What has no logarithm,
a negative cost, gives its difference whole to its first factor.
"""

from collections.abc import Hashable, Iterator
from math import log, log1p
from typing import NamedTuple


class Factor(NamedTuple):
    """What a cost is multiplied by on each side; None where it is a ratio of nothing."""

    name: str
    before: float | None
    after: float | None


class Node(NamedTuple):
    """`before` and `after` are its cost a unit of what its parent multiplies; `label` None takes its parent's."""

    before: float
    after: float
    factors: tuple[Factor, ...]
    children: tuple["Node", ...] = ()
    label: Hashable = None


class Effect(NamedTuple):
    label: Hashable
    factor: str
    amount: float


def log_mean(a: float, b: float) -> float:
    """Of two numbers above 0: between their geometric and their arithmetic mean."""
    low, high = min(a, b), max(a, b)
    excess = (high - low) / low
    # Below this the quotient has no digits left, and the mean is closer than that.
    return (low + high) / 2 if excess < 1e-9 else (high - low) / log1p(excess)


def effects(node: Node, weight: float = 1.0, label: Hashable = None) -> Iterator[Effect]:
    """Parts that add up to weight * (after - before), but for the rounding of doubles."""
    label = node.label if node.label is not None else label
    if node.before > 0 and node.after > 0:
        scale = weight * log_mean(node.before, node.after)
        for name, before, after in node.factors:
            if before is not None and after is not None:
                yield Effect(label, name, scale * (log(after) - log(before)))
        if node.children:
            yield from _of_children(node, scale / log_mean(*_sums(node)), label)
    elif node.before != node.after:
        yield from _one_sided(node, weight, label)


def _one_sided(node: Node, weight: float, label: Hashable) -> Iterator[Effect]:
    """Of a node without cost on one side, or with one that has no logarithm."""
    appeared = [name for name, *sides in node.factors if None not in sides and sides.count(0) == 1]
    if not appeared and node.children and min(node.before, node.after) == 0:
        value, below = (node.after, _sums(node)[1]) if node.after else (node.before, _sums(node)[0])
        yield from _of_children(node, weight * value / below, label)
        return
    appeared = appeared or [node.factors[0].name]
    for name in appeared:
        yield Effect(label, name, weight * (node.after - node.before) / len(appeared))


def _of_children(node: Node, weight: float, label: Hashable) -> Iterator[Effect]:
    for child in node.children:
        yield from effects(child, weight, label)


def _sums(node: Node) -> tuple[float, float]:
    return sum(child.before for child in node.children), sum(child.after for child in node.children)
