import numpy as np
import pytest

from apps.insights.burn import RULES, WINDOWS_MINUTES, Burn, Urgency, burn, planned_hours, planned_in

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


def test_hours_are_planned_as_days_are_spent_and_none_at_nothing() -> None:
    shares = np.zeros((7, 24))
    shares[:, 9] = 1.0
    hours = planned_hours(np.array([30.0, 10.0]), np.array([0, 6]), shares, np.array([0.0, 24.0, 48.0]), 1.0)
    assert hours.shape == (2, 24)
    assert hours.sum() == pytest.approx(0.9 * 40.0 + 0.1 * 48.0)
    assert (hours[0, 9], hours[1, 9], hours[0, 8]) == pytest.approx((27.1, 9.1, 0.1))


@pytest.mark.parametrize(
    ("begins", "ends", "usd"),
    [
        (0.0, 24.0, 24.0),
        (9.0, 10.0, 1.0),
        (23.5, 24.5, 0.5 + 24 / 25),
        (24.0, 49.0, 48.0),  # a day of 25 hours spends what a day does
        (-5.0, 1.0, 1.0),
        (48.0, 60.0, 48 / 25),
    ],
)
def test_what_was_planned_in_a_window(begins: float, ends: float, usd: float) -> None:
    hours = np.array([np.full(24, 1.0), np.full(24, 2.0)])
    assert planned_in(hours, np.array([0.0, 24.0, 49.0]), begins, ends) == pytest.approx(usd)
