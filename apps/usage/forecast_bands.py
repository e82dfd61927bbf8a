"""What a period comes to: spent, the days ahead, what plans say of them, and a band. Pure.

The band holds four times in five. Errors are logarithms of what the rest of a period came to over what was forecast of
it, each over the scale of its series, so that one table of quantiles serves quiet and noisy series (normalized
conformal prediction, Papadopoulos et al., 2002). The table is the organization's own where it has enough errors, else
the one measured on real traces (`python -m bench forecast`). Amounts are USD as floats: estimates, never booked money.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import erf, exp, log, sqrt

import numpy as np

from apps.usage.forecast import Expected, Floats

# A period has five parts, as a month has days 1-5, 6-10, 11-15, 16-20 and 21 on.
BUCKETS = 5
_BUCKET_SHARE = 1 / 6
NOISE_ADDED = 0.1
# P10 and P90 of errors over noise, by part of the period.
PRIOR: tuple[tuple[float, float], ...] = ((-1.24, 1.00), (-0.82, 1.20), (-0.60, 1.39), (-0.64, 1.43), (-0.88, 1.35))
ERRORS_MIN = 24
COVERAGE = 0.8
ADAPTION = 0.02
LEVEL_MIN, LEVEL_MAX = 0.5, 0.975
PROBIT_OF_P90 = 1.2815515655
# A launch or an incident under way: measured coverage falls, so that the band is drawn wider.
UNSETTLED = 1.5
# Data weigh days / (days + this) against the plan, and all from this many days on.
PLAN_DAYS = 14
_LEAST = 1e-9

Quantiles = tuple[float, float]


def bucket_of(elapsed_share: float) -> int:
    """The part of a period, 0 to 4, of a share of it that is over."""
    return int(min(BUCKETS - 1, max(0.0, (elapsed_share - 1e-9) // _BUCKET_SHARE)))


def error_of(forecast_usd: float, came_usd: float, scale: float) -> float | None:
    """The error of a forecast of the rest of a period, over its noise; None where either is nothing."""
    if forecast_usd <= _LEAST or came_usd <= _LEAST:
        return None
    return log(came_usd / forecast_usd) / (scale + NOISE_ADDED)


def quantiles(errors: Sequence[float], bucket: int) -> Quantiles:
    """P10 and P90 of errors over noise of a part of the period: `errors` are the organization's own, in order of time.

    With fewer than `ERRORS_MIN` the prior. Then stretched by the level that would have held four times in five
    (adaptive conformal inference, Gibbs and Candès, 2021).
    """
    low, high = PRIOR[bucket]
    if len(errors) >= ERRORS_MIN:
        low, high = (float(one) for one in np.quantile(np.asarray(errors), (0.1, 0.9)))
        low, high = min(low, -_LEAST), max(high, _LEAST)
    level = COVERAGE
    for error in errors:
        stretch = _stretch(level)
        is_out = not low * stretch <= error <= high * stretch
        level = min(LEVEL_MAX, max(LEVEL_MIN, level + ADAPTION * (is_out - (1 - COVERAGE))))
    return low * _stretch(level), high * _stretch(level)


def _stretch(level: float) -> float:
    return probit((1 + level) / 2) / PROBIT_OF_P90


def probit(share: float) -> float:
    """The standard normal quantile of a share within (0, 1), by halving: to 1e-9."""
    low, high = -8.0, 8.0
    for _ in range(54):
        middle = (low + high) / 2
        low, high = (middle, high) if _phi(middle) < share else (low, middle)
    return (low + high) / 2


def _phi(x: float) -> float:
    return (1 + erf(x / sqrt(2))) / 2


# --- plans -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlanLine:
    """What a plan says of the days ahead: USD a day from day `first` on, up to and without `until`.

    `known_days`: days with spend since the line's first day; None: all of the workflow's.
    """

    kind: str
    first: int
    until: int
    low: float
    likely: float
    high: float
    known_days: int | None = None


@dataclass(frozen=True, slots=True)
class Ahead:
    """USD of the days ahead (h,): what history says after what plans took from it or added, and its layers in sum.

    `plan_low` and `plan_high` are what the plans' P10 and P90 lie below and above.
    """

    days: Floats
    from_history: float
    plan_low: float
    plan_high: float
    layers: Mapping[str, float]
    is_unsettled: bool


def overlay(expected: Expected, shares: Floats, lines: Sequence[PlanLine], prices: Floats | None = None) -> Ahead:
    """Lay plans over the days ahead. `shares` (h,): how much of each day is still ahead, 1 but for today.

    `prices` (h,): what a day's prices make of what it would cost at today's.
    """
    days, trusted = expected.days * shares, np.ones(len(shares))
    plan = np.zeros((3, len(shares)))
    layers: dict[str, float] = {"usage": float(days.sum())}
    if prices is not None and (prices != 1).any():
        days = days * prices
        layers["price"] = float(days.sum()) - layers["usage"]
    is_unsettled = False
    for line in sorted(lines, key=lambda one: ("live", "launch", "price", "retirement").index(one.kind)):
        days_of = slice(max(line.first, 0), max(line.until, 0))
        low, likely, high = (amount * shares[days_of] for amount in (line.low, line.likely, line.high))
        before = float((days * trusted + plan[1]).sum())
        if line.kind in ("live", "launch"):
            known = expected.age if line.known_days is None else line.known_days
            weight = known / (known + PLAN_DAYS) if known < PLAN_DAYS else 1.0
            is_unsettled |= weight < 1 and line.kind == "launch" and bool(likely.size)
            trusted[days_of] = weight
            plan[:, days_of] += (1 - weight) * np.array([low, likely, high])
        elif line.kind == "price":
            plan[:, days_of] += np.array([low, likely, high])
        else:
            trusted[days_of] = 0.0
            plan[:, days_of] = np.array([low, likely, high])
        added = float((days * trusted + plan[1]).sum()) - before
        layers[line.kind] = layers.get(line.kind, 0.0) + added
    left = days * trusted
    total = np.maximum(left + plan[1], 0.0)
    return Ahead(
        days=total,
        from_history=float(left.sum()),
        plan_low=float((plan[1] - plan[0]).sum()),
        plan_high=float((plan[2] - plan[1]).sum()),
        layers=layers,
        is_unsettled=is_unsettled,
    )


# --- the period --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a period comes to, USD: P10, P50 and P90, and the days ahead of P50."""

    spent: float
    p10: float
    p50: float
    p90: float
    days: Floats
    layers: Mapping[str, float] = field(default_factory=dict)


def outcome(spent: float, ahead: Ahead, scale: float, at: Quantiles) -> Outcome:
    """The period of what was spent and what is ahead, with the band of `quantiles`."""
    noise = (scale + NOISE_ADDED) * (UNSETTLED if ahead.is_unsettled else 1.0)
    rest = float(ahead.days.sum())
    below = ahead.from_history * (1 - exp(max(-20.0, at[0] * noise))) + ahead.plan_low
    above = ahead.from_history * (exp(min(20.0, at[1] * noise)) - 1) + ahead.plan_high
    return Outcome(
        spent=spent,
        p10=spent + max(0.0, rest - below),
        p50=spent + rest,
        p90=spent + rest + above,
        days=ahead.days,
        layers={**ahead.layers},
    )


def capped(found: Outcome, cap_usd: float) -> Outcome:
    """The same under a hard cap, which lets no more through; what was spent beyond it stays spent."""
    most = max(cap_usd, found.spent)
    path = np.minimum(found.spent + np.cumsum(found.days), most)
    days = np.diff(np.concatenate([[found.spent], path]))
    taken = min(found.p50, most) - found.p50
    return Outcome(
        spent=found.spent,
        p10=min(found.p10, most),
        p50=min(found.p50, most),
        p90=min(found.p90, most),
        days=days,
        layers={**found.layers, "cap": taken} if taken else found.layers,
    )


def exceeds(spent: float, p10: float, p50: float, p90: float, limit: float) -> float:
    """The probability that a period comes to more than `limit`: two halves of a log-normal through the band."""
    if spent > limit:
        return 1.0
    low, middle, high = (max(one - spent, _LEAST) for one in (p10, p50, p90))
    room = limit - spent
    if room <= _LEAST:
        return 1.0 if high > _LEAST else 0.0
    away = log(room / middle)
    half = log(high / middle) if away > 0 else log(middle / low)
    if half <= _LEAST:
        return 0.5 if abs(away) <= _LEAST else float(away < 0)
    return 1 - _phi(away / half * PROBIT_OF_P90)


def exhausted_on(spent: float, days: Floats, limit: float, stretch: float = 1.0) -> int | None:
    """The place of the day ahead on which `limit` is reached, each day times `stretch`; None: it is not.

    A stretch of (p90 - spent) / (p50 - spent) asks how early it may be.
    """
    if spent >= limit:
        return 0
    reached = np.flatnonzero(spent + np.cumsum(days) * stretch >= limit)
    return int(reached[0]) if len(reached) else None
