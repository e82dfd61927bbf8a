from dataclasses import replace

import pytest

from apps.insights.runaways import Run, Usual, Why, cost_bound_usd, runaways, same_tool_calls

CALM = Run(cost_usd=0.1, steps=5, steps_max=20, attempt_max=1, same_tool_calls=1)
USUAL = Usual(median_usd=0.1, plan_p99_usd=0.5)


def test_a_calm_run_is_none() -> None:
    assert runaways(CALM, USUAL) == []


@pytest.mark.parametrize(
    ("changed", "why", "seen", "allowed"),
    [
        ({"steps": 20}, Why.LOOP_CAP, 20, 20),
        ({"cost_usd": 1.01}, Why.RUN_COST, 1.01, 1.0),
        ({"same_tool_calls": 4}, Why.SAME_TOOL_CALL, 4, 3),
        ({"attempt_max": 5}, Why.RETRIES, 4, 3),
    ],
)
def test_each_rule_speaks_for_itself(changed: dict[str, float], why: Why, seen: float, allowed: float) -> None:
    (found,) = runaways(replace(CALM, **changed), USUAL)  # type: ignore[arg-type]  # fields by name
    assert (found.why, found.seen, found.allowed) == (why, seen, pytest.approx(allowed))


@pytest.mark.parametrize(
    "changed", [{"steps": 19}, {"cost_usd": 1.0}, {"same_tool_calls": 3}, {"attempt_max": 4}, {"same_tool_calls": None}]
)
def test_at_the_bound_it_is_still_calm(changed: dict[str, float]) -> None:
    assert runaways(replace(CALM, **changed), USUAL) == []  # type: ignore[arg-type]  # fields by name


@pytest.mark.parametrize(
    ("usual", "bound"),
    [
        (Usual(0.1, 5.0), 5.0),
        (Usual(0.1, None), 1.0),
        (Usual(None, 0.5), 0.5),
        (Usual(None, None), None),
        (Usual(0.0, None), None),
    ],
)
def test_the_bound_is_the_larger_of_what_is_known(usual: Usual, bound: float | None) -> None:
    assert cost_bound_usd(usual) == (None if bound is None else pytest.approx(bound))


def test_a_run_without_bounds_is_not_stopped_at_any() -> None:
    assert runaways(replace(CALM, steps=10_000, steps_max=None, cost_usd=1e6), Usual(None, None)) == []


def test_the_same_call_is_tool_and_arguments() -> None:
    assert same_tool_calls([("search", "a"), ("search", "b"), ("read", "a"), ("search", "a")]) == 2
    assert same_tool_calls([]) == 0
