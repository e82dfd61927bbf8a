import numpy as np
import pytest

from apps.insights.rootcause import LEAVES_MAX, Leaves, search

NAMES = ("team", "workflow", "model", "user")


def leaves(*faults: tuple[dict[str, int], float], seed: int = 1, noise: float = 0.1) -> Leaves:
    """2,000 leaves; workflow w lies in team w % 4. Each fault: a cell and the ratio its leaves changed by."""
    random = np.random.default_rng(seed)
    workflow = random.integers(20, size=2_000)
    codes = np.stack([workflow % 4, workflow, random.integers(5, size=2_000), random.integers(50, size=2_000)], axis=1)
    expected = random.lognormal(0, 1, 2_000)
    actual = expected * random.lognormal(-(noise**2) / 2, noise, 2_000)
    for cell, ratio in faults:
        inside = np.all([codes[:, NAMES.index(name)] == code for name, code in cell.items()], axis=0)
        actual = np.where(inside, ratio * actual, actual)
    return Leaves(NAMES, codes, expected, actual)


@pytest.mark.parametrize(
    "cell",
    [
        {"team": 2},
        {"workflow": 7},
        {"model": 3},
        {"user": 11},
        {"workflow": 4, "model": 1},
        {"team": 1, "model": 0},
    ],
)
@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_one_fault_is_named_first(cell: dict[str, int], noise: float) -> None:
    found = search(leaves((cell, 3.0), noise=noise))
    assert dict(found.ranked[0].cell) == cell
    assert found.ranked[0].ratio == pytest.approx(3.0, rel=0.2)
    assert 0.5 < found.ranked[0].share < 1.5  # the noise of the other leaves is the rest
    assert found.ranked[0].excess_usd == pytest.approx(found.ranked[0].share * found.excess_usd)


def test_a_fall_is_explained_as_a_rise_is() -> None:
    assert search(leaves(({"workflow": 7}, 0.2))).ranked[0].cell == (("workflow", 7),)


def test_a_workflow_is_named_and_not_its_team() -> None:
    assert search(leaves(({"workflow": 6}, 3.0))).ranked[0].cell == (("workflow", 6),)


def test_one_cell_has_one_name() -> None:
    """Workflow 7 is workflow 7 of team 3: said once, in as few words as it takes."""
    cells = [cause.cell for cause in search(leaves(({"workflow": 7}, 3.0))).ranked]
    assert (("team", 3), ("workflow", 7)) not in cells


def test_two_faults_are_told_together() -> None:
    found = search(leaves(({"workflow": 7}, 4.0), ({"model": 2}, 2.0)))
    assert {cause.cell for cause in found.together} == {(("workflow", 7),), (("model", 2),)}


def test_a_growth_of_all_has_no_culprit_that_stands_out() -> None:
    grown = leaves()
    found = search(Leaves(NAMES, grown.codes, grown.expected, 2.0 * grown.actual))
    assert all(cause.score < 0.1 for cause in found.ranked)


def test_a_large_cell_does_not_become_the_usual_one() -> None:
    random = np.random.default_rng(2)
    codes = np.stack([(random.random(1_000) < 0.7).astype(int), random.integers(10, size=1_000)], axis=1)
    expected = np.ones(1_000)
    found = search(Leaves(("region", "model"), codes, expected, np.where(codes[:, 0] == 1, 2.0, 1.0)))
    assert found.ranked[0].cell == (("region", 1),)
    assert found.ranked[0].ratio == pytest.approx(2.0)


def test_what_was_never_expected_is_named() -> None:
    usual = leaves()
    new = np.zeros_like(usual.codes) + np.array([0, 20, 0, 0])
    found = search(
        Leaves(
            NAMES,
            np.concatenate([usual.codes, new[:50]]),
            np.concatenate([usual.expected, np.zeros(50)]),
            np.concatenate([usual.actual, np.full(50, 20.0)]),
        )
    )
    assert found.ranked[0].cell == (("workflow", 20),)


@pytest.mark.parametrize("actual", [np.ones(3), np.zeros(0)])
def test_nothing_to_explain(actual: np.ndarray) -> None:  # type: ignore[type-arg]
    found = search(Leaves(("team",), np.zeros((len(actual), 1), dtype=np.int64), actual, actual))
    assert (found.ranked, found.together) == ((), ())


def test_too_many_leaves_are_refused() -> None:
    many = LEAVES_MAX + 1
    with pytest.raises(ValueError, match=str(LEAVES_MAX)):
        search(Leaves(("team",), np.zeros((many, 1), dtype=np.int64), np.ones(many), np.ones(many)))


def test_at_most_three_and_the_best_first() -> None:
    ranked = search(leaves(({"team": 2}, 2.0))).ranked
    assert len(ranked) <= 3
    assert [cause.score for cause in ranked] == sorted((cause.score for cause in ranked), reverse=True)


def test_the_order_of_the_leaves_does_not_matter() -> None:
    one = leaves(({"workflow": 4, "model": 1}, 3.0))
    order = np.random.default_rng(1).permutation(len(one.expected))
    other = Leaves(NAMES, one.codes[order], one.expected[order], one.actual[order])
    assert search(one).ranked[0].cell == search(other).ranked[0].cell
    assert search(one).ranked[0].excess_usd == pytest.approx(search(other).ranked[0].excess_usd)
