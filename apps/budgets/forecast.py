"""What a budget's period comes to at its run rate, and what a budget would have done to spend of the past. Pure.

The run rate is all that is known of the future here: what was spent goes on as it did on average since the period
began. Amounts are USD, reckoned in pico-USD and so exact up to the one rounding of the run rate (half-even, 12
decimals).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from apps.core.money import pico_from_usd, usd_from_pico

# Before this part of the period is over, its first hours say more of chance than of the period.
SENSIBLE_PART = 10
AT_RISK_PERCENT = 80
_MICROSECOND = timedelta(microseconds=1)


def is_sensible(start: datetime, end: datetime, at: datetime) -> bool:
    """Whether enough of the period [start, end) has passed for a run rate: one tenth of it."""
    return (at - start) * SENSIBLE_PART >= end - start


def run_rate(spent_usd: Decimal, start: datetime, end: datetime, at: datetime) -> Decimal | None:
    """spent / elapsed x length: what [start, end) comes to if it goes on as it did until `at`.

    None before a tenth of the period has passed. After its end it is what was spent.
    """
    if not is_sensible(start, end, at):
        return None
    if at >= end:
        return spent_usd
    length, elapsed = (end - start) // _MICROSECOND, (at - start) // _MICROSECOND
    return usd_from_pico(round(Fraction(pico_from_usd(spent_usd) * length, elapsed)))


def reaches_at(spent_usd: Decimal, limit_usd: Decimal, start: datetime, at: datetime) -> datetime | None:
    """When the limit is reached at the run rate; None where nothing was spent, or it is reached already."""
    spent, limit = pico_from_usd(spent_usd), pico_from_usd(limit_usd)
    if spent <= 0 or limit <= spent or at <= start:
        return None
    needed = (at - start) // _MICROSECOND * limit // spent
    days = needed // 86_400_000_000
    return None if days > 3660 else start + timedelta(microseconds=needed)


@dataclass(frozen=True, slots=True)
class Step:
    """Spend of one hour or day that begins at `start`."""

    start: datetime
    cost_usd: Decimal
    calls: int


@dataclass(frozen=True, slots=True)
class Reached:
    """A threshold, and the hour or day in which it was reached; None: it was not."""

    percent: int
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Replay:
    """What one period would have come to.

    `spent_usd` is what was spent, `kept_usd` what of it a cap would have let through. `full_at` is the hour or day
    from which calls no longer fitted; `beyond_usd` and `beyond_calls` came after.
    """

    spent_usd: Decimal
    kept_usd: Decimal
    thresholds: tuple[Reached, ...]
    full_at: datetime | None
    beyond_usd: Decimal
    beyond_calls: int


def replay(steps: Iterable[Step], *, limit_usd: Decimal, thresholds: Sequence[int], is_cap: bool) -> Replay:
    """Run a limit over spend in the order of time.

    Of the hour or day that does not fit, what fits is kept, and the calls of the rest are taken in proportion to
    their cost, rounded up. A cap's thresholds look at what it kept, since what it refused was never spent.
    """
    limit = pico_from_usd(limit_usd)
    spent = kept = beyond = calls = 0
    full_at: datetime | None = None
    reached: dict[int, datetime] = {}
    for step in steps:
        cost = pico_from_usd(step.cost_usd)
        fits = min(cost, max(0, limit - kept))
        spent, kept = spent + cost, kept + fits
        if cost > fits:
            full_at = full_at or step.start
            beyond += cost - fits
            calls += -(-step.calls * (cost - fits) // cost)
        counted = kept if is_cap else spent
        for percent in thresholds:
            if percent not in reached and counted > 0 and counted * 100 >= limit * percent:
                reached[percent] = step.start
    return Replay(
        spent_usd=usd_from_pico(spent),
        kept_usd=usd_from_pico(kept),
        thresholds=tuple(Reached(percent, reached.get(percent)) for percent in thresholds),
        full_at=full_at,
        beyond_usd=usd_from_pico(beyond),
        beyond_calls=calls,
    )


def state_of(mode: str, *, spent_usd: Decimal, held_usd: Decimal, limit_usd: Decimal, rate_usd: Decimal | None) -> str:
    """How a budget stands: "refusing" (a cap with nothing left), "over", "at_risk" (80 % spent or held, or a run rate
    above the limit) or "fine".
    """
    spent, taken, limit = (pico_from_usd(usd) for usd in (spent_usd, spent_usd + held_usd, limit_usd))
    if mode == "block" and taken >= limit:
        return "refusing"
    if spent >= limit and spent > 0:
        return "over"
    is_near = limit > 0 and taken * 100 >= limit * AT_RISK_PERCENT
    return "at_risk" if is_near or (rate_usd is not None and rate_usd > limit_usd) else "fine"
