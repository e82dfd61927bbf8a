"""Currencies of statements, and the one rounding of a line. Pure."""

from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, InvalidOperation, Overflow
from functools import cache

from iso4217 import Currency

USD = "USD"
_EXACT_ENOUGH = Context(prec=80, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow])


@cache
def decimals_of(code: str) -> int | None:
    """How many decimals amounts in a currency have; None where the code is not one that money is counted in."""
    try:
        return Currency(code).exponent
    except ValueError:
        return None


@cache
def currency_names() -> dict[str, str]:
    """What each currency that statements can be in is called, by code."""
    known = [currency for currency in Currency if currency.exponent is not None]
    return {currency.code: currency.currency_name for currency in sorted(known, key=lambda one: one.code)}


def converted(usd: Decimal, rate: Decimal, decimals: int) -> Decimal:
    """usd x rate in whole minor units: the one rounding, half-even, of the exact product.

    The product of 38 and 24 digits fits the context, so nothing is rounded before. Nothing is 0, never -0.
    """
    amount = _EXACT_ENOUGH.multiply(usd, rate).quantize(Decimal(1).scaleb(-decimals), context=_EXACT_ENOUGH)
    return amount or abs(amount)
