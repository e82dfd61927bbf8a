"""Exact money.

A rate is micro-USD per million units (a price rounded once to 6 decimals); a cost is pico-USD
(10^-12 USD). Both are integers, so rate x quantity is exact at 12 decimals with no rounding at all.
At the seams money is a `Decimal` in USD with 12 decimals, as the columns are NUMERIC(38,12).
"""

from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow

USD_PLACES = 12
RATE_PLACES = 6

# A row's money must stay below this: `'NaN' >= 0` and `'Infinity' >= 0` are true in Postgres.
COST_MAX_USD = Decimal(10) ** 24

EXACT = Context(prec=38, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
_ROUNDING = Context(prec=60, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow])
_RATE_QUANTUM = Decimal(1).scaleb(-RATE_PLACES)


def usd_from_pico(pico: int) -> Decimal:
    """USD with exactly 12 decimals. Raises `decimal.Inexact` above 38 digits."""
    return EXACT.scaleb(Decimal(pico), -USD_PLACES)


def pico_from_usd(usd: Decimal) -> int:
    """Pico-USD. Raises `decimal.Inexact` where the amount has more than 12 decimals."""
    return int(EXACT.to_integral_exact(EXACT.scaleb(usd, USD_PLACES)))


def rate_from_usd_per_million(price: Decimal) -> int:
    """Micro-USD per million units: the one rounding of a price, half-even to 6 decimals."""
    return int(_ROUNDING.scaleb(price.quantize(_RATE_QUANTUM, context=_ROUNDING), RATE_PLACES))


def sum_usd(amounts: Iterable[Decimal]) -> Decimal:
    """Their exact sum. The default context would round at 28 digits."""
    total = Decimal(0)
    for amount in amounts:
        total = EXACT.add(total, amount)
    return total


def usd_text(usd: Decimal | None) -> str | None:
    """The JSON form of an amount: a plain decimal string, 12 decimals; None stays None."""
    return None if usd is None else format(usd.quantize(Decimal(1).scaleb(-USD_PLACES), context=EXACT), "f")


def split(total: int, weights: Sequence[int]) -> list[int]:
    """Parts of a total in proportion to weights from 0 on, which add up to it exactly: the largest remainders, and of
    equals the first, get what flooring left over. Raises `ValueError` where all weights are 0 and the total is not.
    """
    whole = sum(weights)
    if not whole:
        if total:
            raise ValueError("nothing to split by")
        return [0] * len(weights)
    parts = [total * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: (-(total * weights[i] % whole), i))
    for index in by_remainder[: total - sum(parts)]:
        parts[index] += 1
    return parts
