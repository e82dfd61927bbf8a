"""The one rounding of a line: exact before, half-even after, in currencies of 0, 2, 3 and 4 decimals."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.money import sum_usd
from apps.reports.currencies import converted, currency_names, decimals_of

DECIMALS = st.sampled_from((0, 2, 3, 4))
AMOUNTS = st.integers(-(10**34), 10**34).map(lambda pico: Decimal(pico).scaleb(-12))
RATES = st.integers(1, 10**22 - 1).map(lambda units: Decimal(units).scaleb(-10))


def rounded(exact: Fraction, decimals: int) -> Decimal:
    """Python's own rounding of fractions is half-even and exact."""
    return Decimal(round(exact * 10**decimals)).scaleb(-decimals)


@given(AMOUNTS, RATES, DECIMALS)
def test_it_rounds_the_exact_product_once(usd: Decimal, rate: Decimal, decimals: int) -> None:
    assert converted(usd, rate, decimals) == rounded(Fraction(usd) * Fraction(rate), decimals)


@given(st.lists(AMOUNTS, max_size=20), RATES, DECIMALS)
def test_lines_add_up_to_a_total_of_whole_minor_units(lines: list[Decimal], rate: Decimal, decimals: int) -> None:
    amounts = [converted(usd, rate, decimals) for usd in lines]
    total = sum((Fraction(amount) for amount in amounts), Fraction(0))
    assert (total * 10**decimals).denominator == 1
    off = abs(total - sum((Fraction(usd) * Fraction(rate) for usd in lines), Fraction(0)))
    assert off <= Fraction(len(lines), 2 * 10**decimals)


@given(AMOUNTS, RATES, DECIMALS)
def test_what_is_taken_off_is_rounded_as_what_is_charged(usd: Decimal, rate: Decimal, decimals: int) -> None:
    assert sum_usd((converted(usd, rate, decimals), converted(-usd, rate, decimals))) == 0


@pytest.mark.parametrize(
    ("code", "decimals"), [("JPY", 0), ("USD", 2), ("KWD", 3), ("CLF", 4), ("XAU", None), ("XTS", None), ("usd", None)]
)
def test_decimals_are_those_of_iso_4217(code: str, decimals: int | None) -> None:
    assert decimals_of(code) == decimals
    assert (code in currency_names()) == (decimals is not None)
