"""Exact amounts: integers of 10^-12 USD inside, decimal strings outside."""

from decimal import Decimal, InvalidOperation

Amount = Decimal | str | int

PLACES = 12
_UNITS_PER_USD = 1_000_000_000_000
_DIGITS_MAX = 24


def units_of(amount: Amount, name: str = "amount") -> int:
    """An amount in USD as integer units of 10^-12 USD, rounded up to the next unit: a hold is never too small.

    Raises `TypeError` for a float, whose digits are not the ones that were written, and `ValueError` for what is no
    number from 0 to below 10^24.
    """
    if isinstance(amount, bool) or not isinstance(amount, Decimal | str | int):
        raise TypeError(f"{name} is {amount!r}: give a Decimal, a string such as '0.05', or an int.")
    try:
        value = Decimal(amount)
    except InvalidOperation:
        raise ValueError(f"{name} is {amount!r}: give a decimal number such as '0.05'.") from None
    if not value.is_finite() or value < 0 or value.adjusted() >= _DIGITS_MAX:
        raise ValueError(f"{name} is {amount!r}: give an amount in USD from 0 to below 10^{_DIGITS_MAX}.")
    if value.adjusted() < -PLACES:
        return 1 if value else 0
    numerator, denominator = value.as_integer_ratio()
    return -(-numerator * _UNITS_PER_USD // denominator)


def text_of(units: int) -> str:
    """Units as a decimal string, without trailing zeros."""
    whole, part = divmod(abs(units), _UNITS_PER_USD)
    text = f"{whole}.{part:0{PLACES}d}".rstrip("0").rstrip(".")
    return f"-{text}" if units < 0 else text


def usd_of(units: int) -> Decimal:
    return Decimal(text_of(units))
