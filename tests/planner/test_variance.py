"""Plan against actual by LMDI: exact, order-free, anti-symmetric, and of use where one side lacks something."""

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from itertools import permutations
from math import log, prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.money import sum_usd
from apps.planner.divisia import Factor, Node, effects, log_mean
from apps.planner.shapes import ModelChoice
from apps.planner.variance import (
    CACHE,
    CLASSES,
    CONTEXT,
    LINES,
    LOOPS,
    MIX,
    NEW,
    OTHER,
    OUTPUT,
    PRICE,
    PROMPT_CLASSES,
    RETIRED,
    RETRIES,
    ROUTING,
    VOLUME,
    ClassUse,
    ModelUse,
    Variance,
    WorkflowUse,
    explain,
    in_cents,
)

LARGE, SMALL = ModelChoice("acme", "large"), ModelChoice("acme", "small")
# USD a token: fresh, read from a cache, written to one, answered.
CARDS = {LARGE: (3e-6, 3e-7, 3.75e-6, 15e-6), SMALL: (2.5e-7, 2.5e-8, 3.125e-7, 2e-6)}


def usd(amount: float) -> Decimal:
    return Decimal(f"{amount:.12f}")


def use(
    model: ModelChoice = LARGE, attempts: float = 100, *, tokens: float = 1000, hit: float = 0, written: float = 0,
    output: float = 100, price: float = 1, retries: float = 0, escalations: float = 0, other: str = "0",
) -> ModelUse:  # fmt: skip
    """A model's month: tokens and output an attempt, parts of the prompt from and to the cache, a price level."""
    prompt = attempts * tokens
    quantities = (prompt * (1 - hit - written), prompt * hit, prompt * written, attempts * output)
    names = ("input", "cache_read", "cache_write_5m", "output")
    classes = {
        name: ClassUse(quantity, usd(quantity * rate * price))
        for name, quantity, rate in zip(names, quantities, CARDS[model], strict=True)
        if quantity
    }
    return ModelUse(model, attempts, retries, escalations, classes, Decimal(other))


def workflow(*models: ModelUse, name: str | None = "triage", runs: float | None = 50) -> WorkflowUse:
    return WorkflowUse(name, runs, models)


def lines(found: Variance) -> dict[str, Decimal]:
    return {line.kind: line.usd for line in found.lines}


def whole(found: Variance) -> dict[str, int]:
    return {line.kind: round(line.usd) for line in found.lines}


# --- the worked example ----------------------------------------------------------------------------------


def example_side(
    runs: float, share: float, loops: float, large: float, context: float, hit: float, output: float, price: float
) -> list[WorkflowUse]:
    """Two workflows on two models; the second loops, escalates and reads half as much."""
    found = []
    for name, part, scale in (("support", share, 1.0), ("triage", 1 - share, 0.5)):
        calls = runs * part * loops * scale
        models = [
            use(model, calls * routed, tokens=context * scale, hit=hit, written=0.05, output=output, price=price)
            for model, routed in ((LARGE, large * scale), (SMALL, 1 - large * scale))
        ]
        found.append(workflow(*models, name=name, runs=runs * part))
    return found


EXAMPLE = (
    example_side(181_023, 0.3, 5, 0.2, 6000, 0.7, 250, 1.0),
    example_side(234_815, 0.38394, 5.9664, 0.30486, 7114.3, 0.4855, 264.94, 0.92256),
)


def test_the_worked_example_comes_out_to_the_dollar() -> None:
    found = explain(*EXAMPLE)
    assert (round(found.before_usd), round(found.after_usd)) == (1263, 3961)
    assert whole(found) == {
        VOLUME: 611, MIX: 326, LOOPS: 415, ROUTING: 637, CONTEXT: 249, CACHE: 596, OUTPUT: 50, PRICE: -186,
    }  # fmt: skip


def test_one_level_over_all_leaves_says_nearly_the_same_where_both_sides_have_every_leaf() -> None:
    flat, found = flat_effects(*EXAMPLE), lines(explain(*EXAMPLE))
    for line, amount in flat.items():
        assert float(found[line]) == pytest.approx(amount, rel=0.05)


def flat_effects(before: Sequence[WorkflowUse], after: Sequence[WorkflowUse]) -> dict[str, float]:
    """sum of L(C1, C0) ln(x1 / x0) over leaves (workflow, model, token class), as the formula stands."""
    found: dict[str, float] = defaultdict(float)
    for chains in zip(leaves(before), leaves(after), strict=True):
        costs = [prod(chain.values()) for chain in chains]
        for factor in chains[0]:
            found[factor] += log_mean(*costs) * log(chains[1][factor] / chains[0][factor])
    return found


def leaves(side: Sequence[WorkflowUse]) -> list[dict[str, float]]:
    chains = []
    runs = sum(use.runs or 0 for use in side)
    for one in side:
        calls = sum(model.attempts for model in one.models)
        for model in one.models:
            prompt = sum(model.classes[name].tokens for name in PROMPT_CLASSES if name in model.classes)
            for name, leaf in model.classes.items():
                is_read = name in PROMPT_CLASSES
                chains.append(
                    {
                        VOLUME: runs,
                        MIX: (one.runs or 0) / runs,
                        LOOPS: calls / (one.runs or 0),
                        ROUTING: model.attempts / calls,
                        CONTEXT: prompt / model.attempts if is_read else 1,
                        CACHE: leaf.tokens / prompt if is_read else 1,
                        OUTPUT: 1 if is_read else leaf.tokens / model.attempts,
                        PRICE: float(leaf.usd) / leaf.tokens,
                    }
                )
    return chains


# --- what one side lacks ---------------------------------------------------------------------------------


def test_a_workflow_that_trades_its_model_keeps_its_volume() -> None:
    """One level over leaves gives all to routing here: a leaf of which one side is 0 weighs nothing."""
    before, after = workflow(use(LARGE, 100), runs=50), workflow(use(SMALL, 200), runs=100)
    found = explain([before], [after])
    assert float(lines(found)[VOLUME]) == pytest.approx(log_mean(float(before.usd), float(after.usd)) * log(2))
    assert set(lines(found)) == {VOLUME, ROUTING}
    assert found.change_usd == sum_usd(line.usd for line in found.lines) == after.usd - before.usd


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        (use(LARGE), use(SMALL), ROUTING),
        (use(output=0), use(output=100), OUTPUT),
        (use(tokens=0), use(tokens=1000), CONTEXT),
        (use(price=0), use(price=1), PRICE),
        (use(), use(other="3.5"), OTHER),
        (use(), use(hit=0.5), CACHE),
        (use(attempts=100), use(attempts=100, retries=20), RETRIES),
        (use(attempts=100, escalations=0), use(attempts=100, escalations=20), ROUTING),
        (use(attempts=50), use(attempts=100), LOOPS),
        (use(tokens=500), use(tokens=1000), CONTEXT),
        (use(output=50), use(output=100), OUTPUT),
        (use(price=1), use(price=0.9), PRICE),
    ],
)  # fmt: skip
def test_one_change_is_one_line(before: ModelUse, after: ModelUse, line: str) -> None:
    found = explain([workflow(before)], [workflow(after)])
    if line in (RETRIES, ROUTING) and before.model == after.model:
        # As many attempts, so that fewer calls were wanted and each was made more often.
        assert lines(found) == {LOOPS: -lines(found)[line], line: lines(found)[line]}
        assert lines(found)[line] > 0
    else:
        assert lines(found) == {line: found.change_usd}


def test_twice_the_runs_are_all_volume() -> None:
    found = explain([workflow(use(attempts=100), runs=50)], [workflow(use(attempts=200), runs=100)])
    assert lines(found) == {VOLUME: found.change_usd}
    assert found.controllable_usd == 0


def test_runs_that_move_to_the_dearer_workflow_are_mix() -> None:
    dear, cheap = workflow(use(LARGE), name="a"), workflow(use(SMALL), name="b")
    more, fewer = workflow(use(LARGE, 150), name="a", runs=75), workflow(use(SMALL, 50), name="b", runs=25)
    found = explain([dear, cheap], [more, fewer])
    assert lines(found) == {MIX: found.change_usd}
    assert found.change_usd > 0


def test_new_and_retired_workflows_have_lines_of_their_own() -> None:
    stays, goes, comes = workflow(use(), name="stays"), workflow(use(), name="goes"), workflow(use(), name=None)
    found = explain([stays, goes], [comes, stays])
    assert lines(found) == {NEW: comes.usd, RETIRED: -goes.usd}
    assert [part.workflow for line in found.lines for part in line.parts] == [None, "goes"]


def test_unpriced_is_not_zero() -> None:
    unpriced = ModelUse(SMALL, 0, unpriced_calls=300)
    found = explain([workflow(use(LARGE), use(SMALL, 40))], [workflow(use(LARGE), unpriced)])
    assert found.lines == ()
    assert found.before_usd == found.after_usd == use(LARGE).usd
    (apart,) = found.apart
    assert (apart.before_calls, apart.after_calls) == (40, 300)
    assert (apart.before_usd, apart.after_usd) == (use(SMALL, 40).usd, None)


def test_a_model_that_one_side_does_not_know_is_zero_there() -> None:
    (apart,) = explain([workflow(use(LARGE))], [workflow(use(LARGE), ModelUse(SMALL, 0, unpriced_calls=3))]).apart
    assert (apart.before_calls, apart.before_usd) == (0, 0)


def test_without_runs_calls_are_the_volume() -> None:
    found = explain([workflow(use(attempts=100), runs=50)], [workflow(use(attempts=300), runs=None)])
    assert found.by_calls == ("triage",)
    assert lines(found) == {VOLUME: found.change_usd}


def test_a_workflow_counted_in_calls_does_not_disturb_those_counted_in_runs() -> None:
    counted = [workflow(use(attempts=100), name="a", runs=10)], [workflow(use(attempts=100), name="a", runs=10)]
    uncounted = [workflow(use(attempts=9), name="b", runs=None)], [workflow(use(attempts=900), name="b", runs=None)]
    found = explain(*(left + right for left, right in zip(counted, uncounted, strict=True)))
    assert {part.workflow for line in found.lines for part in line.parts} == {"b"}


def test_nothing_on_either_side_is_no_change() -> None:
    assert explain([], []) == Variance(Decimal(0), Decimal(0), Decimal(0), ())


def test_a_correction_below_zero_has_no_logarithm_and_still_adds_up() -> None:
    taken_back = ModelUse(SMALL, 10, classes={"input": ClassUse(100, Decimal("-5"))})
    found = explain([workflow(use(LARGE), use(SMALL))], [workflow(use(LARGE), taken_back)])
    assert sum_usd(line.usd for line in found.lines) == found.change_usd


# --- laws ------------------------------------------------------------------------------------------------

AMOUNTS = st.decimals(0, 10**7, places=12).filter(lambda amount: amount == 0 or amount > Decimal("1e-9"))
CLASS_USES = st.builds(ClassUse, st.integers(1, 10**12).map(float), AMOUNTS)


@st.composite
def model_uses(draw: st.DrawFn, model: ModelChoice) -> ModelUse:
    attempts = draw(st.integers(1, 10**7))
    return ModelUse(
        model,
        float(attempts),
        float(draw(st.integers(0, attempts))),
        float(draw(st.integers(0, attempts))),
        draw(st.dictionaries(st.sampled_from(CLASSES), CLASS_USES)),
        draw(AMOUNTS),
        float(draw(st.integers(0, 3))),
    )


@st.composite
def sides(draw: st.DrawFn) -> list[WorkflowUse]:
    names = draw(st.lists(st.sampled_from(["a", "b", "c", None]), unique=True))
    found = []
    for name in names:
        models = draw(st.lists(st.sampled_from([LARGE, SMALL, ModelChoice("acme", "new")]), unique=True))
        uses = [
            ModelUse(model, 0, unpriced_calls=3) if draw(st.integers(0, 9)) == 0 else draw(model_uses(model))
            for model in models
        ]
        found.append(WorkflowUse(name, draw(st.none() | st.integers(0, 10**8).map(float)), tuple(uses)))
    return found


@given(sides(), sides())
def test_lines_add_up_to_the_change_exactly(before: list[WorkflowUse], after: list[WorkflowUse]) -> None:
    found = explain(before, after)
    assert sum_usd(line.usd for line in found.lines) == found.change_usd
    for line in found.lines:
        assert sum_usd(part.usd for part in line.parts) == line.usd
    apart = sum_usd(one.before_usd or Decimal(0) for one in found.apart)
    assert found.before_usd + apart == sum_usd(one.usd for one in before)


@given(sides(), sides())
def test_each_workflow_adds_up_for_itself(before: list[WorkflowUse], after: list[WorkflowUse]) -> None:
    """So that a team's lines are the sums of its workflows'."""
    found = explain(before, after)
    by_workflow: dict[str | None, Decimal] = defaultdict(Decimal)
    for line in found.lines:
        for part in line.parts:
            by_workflow[part.workflow] += part.usd
    for one in found.apart:
        by_workflow[one.workflow] += (one.after_usd or Decimal(0)) - (one.before_usd or Decimal(0))
    old, new = ({use.workflow: use.usd for use in side} for side in (before, after))
    for name, amount in by_workflow.items():
        assert amount == new.get(name, Decimal(0)) - old.get(name, Decimal(0))


@given(sides(), sides())
def test_the_way_back_is_the_negative(before: list[WorkflowUse], after: list[WorkflowUse]) -> None:
    there, back = (lines(explain(*pair)) for pair in ((before, after), (after, before)))
    opposite = {NEW: RETIRED, RETIRED: NEW}
    assert {opposite.get(kind, kind): -amount for kind, amount in back.items()} == there


@given(sides(), sides(), st.randoms(use_true_random=False))
def test_the_order_of_what_is_compared_changes_nothing(
    before: list[WorkflowUse], after: list[WorkflowUse], rng
) -> None:  # type: ignore[no-untyped-def]  # hypothesis has no type for it
    first = explain(before, after)
    for side in (before, after):
        rng.shuffle(side)
        side[:] = [WorkflowUse(one.workflow, one.runs, tuple(reversed(one.models))) for one in side]
    again = explain(before, after)
    assert lines(again) == lines(first)


def test_the_order_of_factors_changes_nothing() -> None:
    factors = [Factor("a", 2, 3), Factor("b", 5, 4), Factor("c", 1, 7)]
    found = [
        sorted((effect.factor, round(effect.amount, 9)) for effect in effects(Node(10, 84, order)))
        for order in permutations(factors)
    ]
    assert all(one == found[0] for one in found)
    assert sum(amount for _, amount in found[0]) == pytest.approx(74)


def test_two_factors_that_were_nothing_share_the_difference() -> None:
    node = Node(0, 12, (Factor("a", 0, 3), Factor("b", 0, 4), Factor("c", 2, 1)))
    assert [(one.factor, one.amount) for one in effects(node)] == [("a", 6), ("b", 6)]


def test_what_was_nothing_below_is_handed_down_whole() -> None:
    """Calls were free: no factor of theirs was 0, so the difference lies in the prices of what they read and wrote."""
    below = (Node(0, 3, (Factor("read", 0, 3),)), Node(0, 1, (Factor("written", 0, 1),)))
    node = Node(0, 40, (Factor("calls", 7, 10),), below)
    assert [(one.factor, one.amount) for one in effects(node)] == [("read", 30), ("written", 10)]


@given(st.floats(1e-9, 1e9), st.floats(1e-9, 1e9))
def test_the_logarithmic_mean_lies_between_the_geometric_and_the_arithmetic(a: float, b: float) -> None:
    assert (a * b) ** 0.5 * (1 - 1e-9) <= log_mean(a, b) == log_mean(b, a) <= (a + b) / 2 * (1 + 1e-9)


@given(st.lists(st.decimals(-(10**9), 10**9, places=12)))
def test_cents_add_up_to_the_cents_of_the_sum(amounts: list[Decimal]) -> None:
    cents = in_cents(amounts)
    assert abs(sum_usd(cents) - sum_usd(amounts)) <= Decimal("0.005")
    assert all(abs(cent - amount) < Decimal("0.01") for cent, amount in zip(cents, amounts, strict=True))


def test_lines_stand_in_one_order() -> None:
    found = [line.kind for line in explain(*EXAMPLE).lines]
    assert found == [line for line in LINES if line in found]


def test_a_line_is_large_from_a_hundred_dollars_and_a_fiftieth_of_the_plan() -> None:
    found = explain(*EXAMPLE)
    assert [line.kind for line in found.lines if not found.is_large(line)] == [OUTPUT]
