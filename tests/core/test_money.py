from decimal import Decimal, Inexact, InvalidOperation, Overflow, getcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.money import pico_from_usd, rate_from_usd_per_million, sum_usd, usd_from_pico, usd_text

LARGEST_PICO = 10**38 - 1

picos = st.integers(-LARGEST_PICO, LARGEST_PICO)


@pytest.mark.parametrize(
    ("pico", "usd"),
    [
        (0, "0.000000000000"),
        (1, "0.000000000001"),
        (-1, "-0.000000000001"),
        (4_500_000_000, "0.004500000000"),
        (10**12, "1.000000000000"),
        (LARGEST_PICO, "99999999999999999999999999.999999999999"),
    ],
)
def test_a_pico_dollar_is_the_twelfth_decimal(pico: int, usd: str) -> None:
    assert usd_from_pico(pico) == Decimal(usd)
    assert usd_text(usd_from_pico(pico)) == usd


@given(picos)
def test_it_goes_to_usd_and_back_without_loss(pico: int) -> None:
    assert pico_from_usd(usd_from_pico(pico)) == pico


@pytest.mark.parametrize("pico", [10**38, -(10**38) - 1, 10**60 + 1])
def test_it_refuses_more_than_38_digits_instead_of_rounding(pico: int) -> None:
    with pytest.raises((Inexact, Overflow)):
        usd_from_pico(pico * 10 + 1)


@pytest.mark.parametrize("usd", ["0.0000000000001", "1.9999999999999", "-0.0000000000005"])
def test_it_refuses_a_thirteenth_decimal_instead_of_rounding(usd: str) -> None:
    with pytest.raises(Inexact):
        pico_from_usd(Decimal(usd))
    with pytest.raises(Inexact):
        usd_text(Decimal(usd))


@pytest.mark.parametrize("usd", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_it_refuses_what_is_no_amount(usd: str) -> None:
    with pytest.raises((InvalidOperation, ValueError, OverflowError)):
        pico_from_usd(Decimal(usd))


@pytest.mark.parametrize(
    ("price", "rate"),
    [
        ("0", 0),
        ("3", 3_000_000),
        ("0.075", 75_000),
        ("0.0000005", 0),
        ("0.0000015", 2),
        ("0.0000025", 2),
        ("0.00000250000000000000000000000000000001", 3),
        ("2.4999995", 2_500_000),
        ("2.4999985", 2_499_998),
    ],
)
def test_a_price_is_rounded_once_half_even_to_six_decimals(price: str, rate: int) -> None:
    assert rate_from_usd_per_million(Decimal(price)) == rate


@given(st.integers(0, 10**15), st.integers(0, 10**12))
def test_rate_times_quantity_is_exact(rate: int, quantity: int) -> None:
    """Integers of micro-USD per million units times units are pico-USD: nothing is left to round."""
    usd = usd_from_pico(rate * quantity)
    assert usd * 10**12 == rate * quantity
    assert pico_from_usd(usd) == rate * quantity


@given(st.lists(st.integers(-(10**36), 10**36), max_size=50))
def test_a_sum_is_exact_in_any_order(amounts: list[int]) -> None:
    usd = [usd_from_pico(pico) for pico in amounts]
    assert pico_from_usd(sum_usd(usd)) == sum(amounts)
    assert sum_usd(reversed(usd)) == sum_usd(usd)


def test_a_sum_outgrows_the_default_context() -> None:
    large, small = Decimal(10) ** 23, Decimal("0.000000000001")
    assert getcontext().prec < 36
    assert sum_usd([large, small, -large]) == small


def test_a_sum_beyond_38_digits_is_refused() -> None:
    with pytest.raises(Inexact):
        sum_usd([Decimal(10) ** 26, Decimal("0.000000000001")])


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (None, None),
        (Decimal(0), "0.000000000000"),
        (Decimal("1E+3"), "1000.000000000000"),
        (Decimal("-2.5"), "-2.500000000000"),
        (Decimal("1E-12"), "0.000000000001"),
    ],
)
def test_amounts_are_written_plainly_with_twelve_decimals(usd: Decimal | None, text: str | None) -> None:
    assert usd_text(usd) == text
