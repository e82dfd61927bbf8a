import numpy as np
import pytest

from apps.insights.burn import RULES, WINDOWS_MINUTES, Burn, Urgency, burn, planned_in, weekly_plan

MONTH_HOURS = 720
BUDGET = np.array([7_200.0])  # 10 USD an hour when it is flat


def at(rates: dict[int, float]) -> Burn:
    """`rates`: multiples of the flat plan over the last so many minutes; the windows between take the next larger
    one's.
    """
    spent, planned = {}, {}
    for minutes in WINDOWS_MINUTES:
        planned[minutes] = np.array([10.0 * minutes / 60])
        rate = next((rates[key] for key in sorted(rates) if key >= minutes), 1.0)
        spent[minutes] = rate * planned[minutes]
    return burn(spent, planned, BUDGET)


@pytest.mark.parametrize(
    ("rates", "rule"),
    [
        ({4320: 1.0}, -1),
        ({60: 15.0}, 0),
        ({360: 7.0}, 1),
        ({1440: 3.5}, 2),
        ({4320: 1.6}, 3),
        ({4320: 1.4}, -1),
        ({5: 0.0, 60: 15.0, 360: 1.0}, -1),  # over already: the short window is calm
        ({30: 0.5, 360: 7.0}, -1),
        ({5: 20.0}, -1),  # five minutes alone are nothing
    ],
)
def test_both_windows_must_burn(rates: dict[int, float], rule: int) -> None:
    found = at(rates)
    assert found.rule[0] == rule
    assert found.urgency[0] == (RULES[rule].urgency if rule >= 0 else Urgency.NONE)


def test_it_tells_the_rate_and_what_went() -> None:
    found = at({60: 15.0})
    assert found.multiple[0] == pytest.approx(15.0)
    assert found.spent_share[0] == pytest.approx(150.0 / 7_200.0)


def test_a_quiet_hour_makes_a_large_multiple_of_little_money() -> None:
    spent = {minutes: np.array([0.02 * minutes / 60]) for minutes in WINDOWS_MINUTES}
    planned = {minutes: np.array([0.001 * minutes / 60]) for minutes in WINDOWS_MINUTES}
    assert burn(spent, planned, BUDGET).rule[0] == -1


def test_what_was_not_planned_at_all_burns_once_it_is_worth_it() -> None:
    planned = {minutes: np.zeros(1) for minutes in WINDOWS_MINUTES}
    spent = {minutes: np.array([200.0 * minutes / 60]) for minutes in WINDOWS_MINUTES}
    assert burn(spent, planned, BUDGET).urgency[0] == Urgency.PAGE
    assert burn({minutes: np.zeros(1) for minutes in WINDOWS_MINUTES}, planned, BUDGET).urgency[0] == Urgency.NONE


def test_what_was_not_collected_does_not_burn() -> None:
    planned = {minutes: np.array([10.0 * minutes / 60]) for minutes in WINDOWS_MINUTES}
    spent = {minutes: np.array([np.nan]) for minutes in WINDOWS_MINUTES}
    assert burn(spent, planned, BUDGET).rule[0] == -1


def test_budgets_are_judged_one_by_one() -> None:
    planned = {minutes: np.full(2, 10.0 * minutes / 60) for minutes in WINDOWS_MINUTES}
    spent = {minutes: planned[minutes] * np.array([1.0, 20.0]) for minutes in WINDOWS_MINUTES}
    assert list(burn(spent, planned, np.repeat(BUDGET, 2)).rule) == [-1, 0]


def test_the_plan_follows_the_week_and_spends_the_budget() -> None:
    hours = np.zeros((1, 4 * 168))
    hours[:, np.arange(4 * 168) % 24 == 9] = 5.0
    plan = weekly_plan(hours, BUDGET, MONTH_HOURS)
    assert plan.sum() * MONTH_HOURS / 168 == pytest.approx(7_200.0)
    assert plan[0, 9] > 100 * plan[0, 8] > 0.0


@pytest.mark.parametrize("history", [np.zeros((1, 168)), np.full((1, 336), np.nan), np.zeros((1, 0))])
def test_without_a_history_the_plan_is_flat(history: np.ndarray) -> None:  # type: ignore[type-arg]
    assert weekly_plan(history, BUDGET, MONTH_HOURS)[0] == pytest.approx(np.full(168, 10.0))


@pytest.mark.parametrize(
    ("ends", "minutes", "usd"), [(10.0, 60, 9.0), (10.5, 60, 9.5), (1.0, 120, 167.0), (0.25, 30, 41.75)]
)
def test_what_was_planned_in_a_window(ends: float, minutes: int, usd: float) -> None:
    plan = np.arange(168.0)[None, :]
    assert planned_in(plan, ends, minutes)[0] == pytest.approx(usd)
