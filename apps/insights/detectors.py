"""The detectors: what a reading says against its own history. Formulae and figures: docs/signals.md.

The drift rule is the one-sided cumulative sum of Page (1954, "Continuous inspection schemes", Biometrika 41).
"""

from dataclasses import dataclass, replace

import numpy as np

from apps.insights.baselines import DAYS_GROWN, DAYS_MIN, DAYS_YOUNG, Baseline, Block, baseline, block, sample_of
from apps.insights.bursts import evaluate_spend
from apps.insights.settings import DEFAULTS, Settings
from apps.insights.signals import BASELINE_DAYS, Flags, Floats, Kind, Readings, Rule, Signal, State, Status, Verdicts

EVALUATIONS = 24  # that the closing rule looks back over
# A longer incident is the new normal, bit by bit: its later days come into the baseline and close it.
INCIDENT_DAYS = 21
DRIFT_DAYS_MIN = 10  # left in a baseline without the days of a drift; below, they stay in
LASTING_SHARE = 0.25  # of a usual day's observations, below which a day is no evidence to the lasting rule
FRESH_DAYS = 7  # of a series that was never evaluated, taken into the drift rule at once


def evaluate(readings: Readings, state: State, settings: Settings = DEFAULTS) -> Verdicts:
    """Judge every series of one signal as of `readings.hour`.

    Evaluating twice at one hour, or leaving up to a week out, gives the drift state that evaluating each hour gives.
    The window rule reads what it needs from the hours themselves: nothing of it is carried but that an alarm is open.
    """
    if readings.signal.kind is Kind.SPEND:
        return evaluate_spend(readings, state, settings)
    days, hours = block(readings.signal, readings.daily), block(readings.signal, readings.hourly)
    included = _included(readings, state)
    drift = _fold(readings, days, included, state, settings)
    base = _baseline(days, _without_drift(included, drift, readings.today), hours, settings)
    now = _windows(hours, base, settings)
    return _decide(readings, base, now, drift, days, included, settings)


# The baseline: which days


def _included(readings: Readings, state: State) -> Flags:
    shape = readings.daily.n.shape
    included = np.ones(shape, dtype=bool) if readings.excluded is None else ~readings.excluded
    ordinals = readings.today - shape[1] + np.arange(shape[1])
    with np.errstate(invalid="ignore"):
        began = readings.today - np.ceil((readings.hour - state.since) / 24.0)[:, None]
        incident = (ordinals >= began) & (ordinals < began + INCIDENT_DAYS)
    return np.asarray(included & ~(incident & (state.rule > 0)[:, None]))


def _without_drift(included: Flags, state: State, today: int) -> Flags:
    """Days of a drift under suspicion would hide it; they are left out while enough others are left."""
    ordinals = today - included.shape[1] + np.arange(included.shape[1])
    with np.errstate(invalid="ignore"):
        before = included & ~(ordinals >= state.drift_since[:, None])
    enough = before[:, -BASELINE_DAYS:].sum(axis=1) >= DRIFT_DAYS_MIN
    return np.where(enough[:, None], before, included)


def _baseline(days: Block, included: Flags, hours: Block | None, settings: Settings) -> Baseline:
    return baseline(
        days, included, hours, tau_share=settings.tau_share, tau_log=settings.tau_log, tail=settings.tau_tail
    )


# The drift rule: a sum over days


def _fold(readings: Readings, days: Block, included: Flags, state: State, settings: Settings) -> State:
    columns = days.n.shape[1]
    through = np.where(np.isnan(state.drift_through), readings.today - 1 - FRESH_DAYS, state.drift_through)
    for column in range(max(columns - FRESH_DAYS, 1), columns):
        ordinal = readings.today - columns + column
        due = through < ordinal
        if not due.any():
            continue
        usual = _without_drift(included[:, :column], state, ordinal)
        base = _baseline(days.days(slice(0, column)), usual, None, settings)
        state = _add_day(state, due, ordinal, _day_z(days, column, base, settings), settings)
        through = np.where(due, ordinal, through)
    return State(state.cusum, state.drift_since, np.fmax(through, readings.today - 1), state.since, state.rule)


def _day_z(days: Block, column: int, base: Baseline, settings: Settings) -> Floats:
    day = days.days(slice(column, column + 1))
    level = day.level(day.n, day.total, day.weight)[:, 0]
    z = _z(level, sample_of(day)[:, 0], np.full(len(level), 24.0), base, days.signal, settings)
    enough = (day.n[:, 0] >= days.signal.sample) & (base.age >= DAYS_YOUNG) & (base.usable >= DAYS_MIN)
    return np.where(enough, z, np.nan)


def _add_day(state: State, due: Flags, ordinal: int, z: Floats, settings: Settings) -> State:
    known = due & ~np.isnan(z)
    step = np.fmin(z, settings.cusum_clip) - settings.cusum_k
    grown = np.clip(state.cusum + np.where(known, step, 0.0), 0.0, 2.0 * settings.cusum_h)
    # An open alarm has said it already; what it holds open is not summed again.
    cusum = np.where(due & (state.rule > 0), 0.0, np.where(known, grown, state.cusum))
    since = np.where(known & (state.cusum <= 0.0), ordinal, state.drift_since)
    since = np.where(cusum > 0.0, since, np.nan)
    return State(cusum, since, state.drift_through, state.since, state.rule)


def _drifted(readings: Readings, days: Block, base: Baseline, state: State, settings: Settings) -> tuple[Flags, Floats]:
    """Whether the sum is over its bound, and the change pooled over the days it sums."""
    ordinals = readings.today - days.n.shape[1] + np.arange(days.n.shape[1])
    with np.errstate(invalid="ignore"):
        summed = ordinals >= state.drift_since[:, None]
    n, total, weight = (np.where(summed, each, 0.0).sum(axis=1) for each in (days.n, days.total, days.weight))
    change = _change(days.level(n, total, weight), base, readings.signal)
    return state.cusum > settings.cusum_h, change


# The lasting rule: days on end


def _lasted(days: Block, included: Flags, base: Baseline, gate: Floats, settings: Settings) -> Flags:
    """Whether each of the last days lies beyond a multiple of the gate, and above the lowest of as many in a row ever.

    It asks nothing of how far days lie apart: where many are very high, tau says nothing is far. Days with less than a
    quarter of the usual are no evidence, neither of now nor of then: the days before and after one follow each other.
    """
    width = settings.lasting_days
    n, taken = days.n[:, -BASELINE_DAYS:], included[:, -BASELINE_DAYS:]
    whole = taken & (n >= np.fmax(LASTING_SHARE * base.n_day, days.signal.sample)[:, None])
    level = np.where(whole, days.level(days.n, days.total, days.weight)[:, -BASELINE_DAYS:], np.nan)
    level = np.take_along_axis(level, np.argsort(whole, axis=1, kind="stable"), axis=1)
    least = np.lib.stride_tricks.sliding_window_view(level, width, axis=1).min(axis=2)
    now, before = least[:, -1], least[:, :-width]
    known = (~np.isnan(before)).sum(axis=1) >= DAYS_MIN
    most = np.max(np.where(np.isnan(before), -np.inf, before), axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray(known & (now > most) & (_change(now, base, days.signal) > settings.lasting_gates * gate))


# The window rule: 24 evaluations back


@dataclass(frozen=True, slots=True, eq=False)
class _Windows:
    """Each of shape (series, EVALUATIONS), the last one now."""

    level24: Floats
    level6: Floats
    z24: Floats
    z6: Floats
    n24: Floats
    total24: Floats
    onset: Floats  # (series,): hours back at which the present level began


def _windows(hours: Block, base: Baseline, settings: Settings) -> _Windows:
    sums = _sums(hours)
    level24, z24, n24, total24 = _window(hours, sums, 24, base, settings)
    level6, z6, _, _ = _window(hours, sums, 6, base, settings)
    return _Windows(level24, level6, z24, z6, n24, total24, _onset(hours, base, level24[:, -1]))


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """Running sums of the hours, (series, hours + 1): every window is a difference of two of them."""

    n: Floats
    total: Floats
    weight: Floats
    square: Floats | None
    active: Floats
    collected: Floats


def _sums(hours: Block) -> _Sums:
    n = _running(hours.n)
    shares = hours.square is not None and hours.signal.kind is Kind.RATIO
    return _Sums(
        n=n,
        total=_running(hours.total),
        weight=n if hours.weight is hours.n else _running(hours.weight),
        square=_running(hours.square) if shares and hours.square is not None else None,
        active=_running(hours.n > 0),
        collected=_running(hours.collected),
    )


def _running(values: Floats | Flags) -> Floats:
    sums = np.zeros((len(values), values.shape[1] + 1))
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums


def _window(
    hours: Block, sums: _Sums, width: int, base: Baseline, settings: Settings
) -> tuple[Floats, Floats, Floats, Floats]:
    """Level and z of windows of `width` hours; NaN where the sample is too small or half of it is missing."""
    n, total = _trailing(sums.n, width), _trailing(sums.total, width)
    weight = n if sums.weight is sums.n else _trailing(sums.weight, width)
    worth = n
    if sums.square is not None:
        square = _trailing(sums.square, width)
        worth = np.where(square > 0, np.fmin(weight**2 / np.where(square > 0, square, 1.0), n), 0.0)
    active, collected = _trailing(sums.active, width), _trailing(sums.collected, width)
    level = hours.level(n, total, weight)
    # Half the hours of other windows without a call: asleep, or not collected; a part of a day is no day either way.
    whole = (2 * collected >= width) & (2 * active >= _most_active(sums.active, width)[:, None])
    level = np.where((n >= hours.signal.sample) & whole, level, np.nan)
    wide = Baseline(*(getattr(base, name)[:, None] for name in Baseline.__slots__))
    if width < 24:
        wide = replace(wide, tau2=settings.tau_short * wide.tau2)
    return level, _z(level, worth, active, wide, hours.signal, settings), n, total


def _most_active(active: Floats, width: int) -> Floats:
    """Hours with a call in the busiest window of all that the hours hold, of their running sums."""
    if active.shape[1] <= width + 1:
        return np.asarray(active[:, -1])
    return np.asarray((active[:, width:] - active[:, :-width]).max(axis=1))


def _trailing(sums: Floats, width: int) -> Floats:
    """The last EVALUATIONS windows of `width` hours; before the first hour there is nothing."""
    hours = sums.shape[1] - 1
    if hours >= width + EVALUATIONS - 1:
        first = hours - EVALUATIONS + 1
        whole: Floats = sums[:, first:] - sums[:, first - width : hours + 1 - width]
        return whole
    last = hours - np.arange(EVALUATIONS)[::-1]
    trailing: Floats = sums[:, np.maximum(last, 0)] - sums[:, np.maximum(last - width, 0)]
    return trailing


def _z(level: Floats, n: Floats, hours: Floats, base: Baseline, signal: Signal, settings: Settings) -> Floats:
    rho, unit = settings.rho_log, base.unit
    with np.errstate(divide="ignore", invalid="ignore"):
        if signal.kind is Kind.RATIO:
            # A few events scatter upwards further than downwards: their noise is that of a rate between the two.
            between = base.centre + settings.mix * np.fmax(level - base.centre, 0.0)
            mixed = between * (1.0 - between) / np.fmax(base.centre * (1.0 - base.centre), 1e-9)
            rho, unit = settings.rho, unit * np.clip(mixed, 1.0, 4.0)
        variance = unit * (1.0 / n + rho / (0.6 * hours)) + base.tau2
        return np.where(n > 0, (level - base.centre) / np.sqrt(variance), np.nan)


def _change(level: Floats, base: Baseline, signal: Signal) -> Floats:
    """How much worse than the baseline: 0.5 is by half."""
    centre = base.centre if level.ndim == 1 else base.centre[:, None]
    if signal.kind is Kind.RATIO:
        # Against a rate that was never seen, half an event in the whole baseline stands in.
        least = 0.5 / np.fmax(base.n, 1.0)
        return level / np.fmax(centre, least if level.ndim == 1 else least[:, None]) - 1.0
    with np.errstate(over="ignore"):
        return np.expm1(level - centre)


def _onset(hours: Block, base: Baseline, level: Floats) -> Floats:
    """Hours back since which the level lies above the middle between the usual and the present one.

    The least of the running sum of what lies above the middle: the likeliest instant of one step (Page 1954).
    """
    middle = 0.5 * (base.centre + level)
    hourly = hours.level(hours.n, hours.total, hours.weight)
    above = np.nan_to_num((hourly - middle[:, None]) * hours.n)
    sums = np.concatenate([np.zeros((len(above), 1)), np.cumsum(above, axis=1)], axis=1)
    columns = hours.n.shape[1]
    return np.asarray(np.maximum(columns - sums[:, :columns].argmin(axis=1), 1).astype(float))


# The decision


def _decide(
    readings: Readings, base: Baseline, now: _Windows, state: State, days: Block, included: Flags, settings: Settings
) -> Verdicts:
    signal = readings.signal
    learning = ~base.known | (base.age < DAYS_YOUNG) | (base.n < signal.baseline_sample)
    factor = _given(readings.gate_factor, 1.0, len(learning)) * np.where(base.age < DAYS_GROWN, 2.0, 1.0)
    gate = signal.gate * factor
    limit = _given(readings.limit, np.nan if signal.limit is None else signal.limit, len(learning))
    worth = _worth(readings, now, limit)
    z24, z6 = np.where(learning[:, None], np.nan, now.z24), np.where(learning[:, None], np.nan, now.z6)
    with np.errstate(invalid="ignore"):
        far = np.stack([z24 > settings.z24, z6 > settings.z6])
        change = np.stack([_change(now.level24, base, signal), _change(now.level6, base, signal)])
        beyond = np.asarray((far & (change > gate[:, None])).any(axis=0) & worth)
        lasting = change[0] > gate[:, None]
        limited = now.level24 > limit[:, None]
        planned = learning[:, None] & _above_plan(readings, now, base, settings)
        drifted, drift_change = _drifted(readings, days, base, state, settings)
        drifting = drifted & (drift_change > 0.75 * gate) & ~learning & worth[:, -1]
        lasted = _lasted(days, included, base, gate, settings) & lasting[:, -1] & ~learning & worth[:, -1]
    raised = _rules([(Rule.WINDOW, _twice(beyond)), (Rule.LIMIT, _twice(limited & worth)),
                     (Rule.PLAN, _twice(planned & worth)), (Rule.DRIFT, drifting),
                     (Rule.LASTING, lasted)])  # fmt: skip
    still = {Rule.LIMIT: limited, Rule.PLAN: planned, Rule.LASTING: lasting}
    calm = _calm(state.rule, z24, still, now.level24, settings)
    began = np.where(raised == Rule.DRIFT, _drift_hour(readings, state), readings.hour - now.onset)
    began = np.where(raised == Rule.LASTING, readings.hour - 24.0 * settings.lasting_days, began)
    after, opened, closed = _carry(state, raised, calm, began)
    noisy = (_twice(np.asarray(far.any(axis=0))) | drifted) & ~learning
    status = _status(after.rule > 0, learning, np.isnan(now.level24[:, -1]), noisy)
    said = _verdicts(signal, status, base, now, after, opened, closed, (z24, z6), learning)
    return _told_by_plan(readings, said, now, base)


def _given(values: Floats | None, otherwise: float, series: int) -> Floats:
    if values is None:
        return np.full(series, otherwise)
    return np.where(np.isnan(values), otherwise, values)


def _worth(readings: Readings, now: _Windows, limit: Floats) -> Flags:
    """Where there is enough money in it, and, with a fixed limit, where the level is above that at all."""
    least = readings.signal.least_usd
    worth: Flags = now.total24 >= least if least else np.ones(now.total24.shape, dtype=bool)
    if readings.signal.limit is not None:
        with np.errstate(invalid="ignore"):
            worth = worth & (now.level24 > limit[:, None])
    return worth


def _above_plan(readings: Readings, now: _Windows, base: Baseline, settings: Settings) -> Flags:
    """Above the plan's P90 by more than the noise of the sample, in the reading's own unit."""
    high = _plan_level(readings, len(now.level24))
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = high * (1.0 - high) if readings.signal.kind is Kind.RATIO else base.unit
        noise = np.sqrt(np.nan_to_num(unit)[:, None] / now.n24)
        above: Flags = now.level24 > high[:, None] + settings.z_plan * noise
    return above


def _plan_level(readings: Readings, series: int) -> Floats:
    """The plan's P90 on the scale on which up is worse; NaN without one."""
    said = _given(readings.plan_high, np.nan, series)
    with np.errstate(divide="ignore", invalid="ignore"):
        if readings.signal.kind is Kind.RATIO:
            return 1.0 - said if readings.signal.worse < 0 else said
        return np.asarray(readings.signal.worse * np.log(said))


def _told_by_plan(readings: Readings, said: Verdicts, now: _Windows, base: Baseline) -> Verdicts:
    """Whoever is in alarm by the plan is held against it: its P90 stands for the baseline, in value and in excess."""
    by_plan = said.rule == Rule.PLAN
    if not by_plan.any():
        return said
    level = _plan_level(readings, len(said))
    high = _unit(readings.signal, level)
    more = _change(now.level24[:, -1], replace(base, centre=level), readings.signal)
    return replace(
        said,
        baseline=np.where(by_plan, high, said.baseline),
        high=np.where(by_plan & (readings.signal.worse > 0), high, said.high),
        low=np.where(by_plan & (readings.signal.worse < 0), high, said.low),
        excess_ratio=np.where(by_plan, more, said.excess_ratio),
    )


def _twice(fired: Flags) -> Flags:
    twice: Flags = fired[:, -1] & fired[:, -2]
    return twice


def _rules(found: list[tuple[Rule, Flags]]) -> Floats:
    """The first that fired, 0 where none did."""
    return np.select([fired for _, fired in found], [float(rule) for rule, _ in found], default=0.0)


def _calm(rule: Floats, z24: Floats, by_rule: dict[Rule, Flags], level: Floats, settings: Settings) -> Flags:
    """Whether what raised it was gone in each of the last 24 evaluations, half of which must have had a sample."""
    with np.errstate(invalid="ignore"):
        still = z24 >= settings.z_calm
    for each, flags in by_rule.items():
        still = np.where((rule == each)[:, None], flags, still)
    known = (~np.isnan(level)).sum(axis=1)
    calm: Flags = ~still.any(axis=1) & (2 * known >= EVALUATIONS)
    return calm


def _drift_hour(readings: Readings, state: State) -> Floats:
    return readings.hour - 24.0 * (readings.today - state.drift_since)


def _carry(state: State, raised: Floats, calm: Flags, began: Floats) -> tuple[State, Flags, Flags]:
    was = state.rule > 0
    opened, closed = ~was & (raised > 0), was & calm & (raised == 0)
    rule = np.where(opened, raised, np.where(closed, 0.0, state.rule))
    since = np.where(opened, began, np.where(closed, np.nan, state.since))
    cusum = np.where(rule > 0, 0.0, state.cusum)
    return State(cusum, np.where(rule > 0, np.nan, state.drift_since), state.drift_through, since, rule), opened, closed


def _status(alarm: Flags, learning: Flags, silent: Flags, noisy: Flags) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    chosen = np.select(
        [alarm, learning, silent, noisy], [Status.ALARM, Status.LEARNING, Status.SILENT, Status.GATED], Status.FINE
    )
    return chosen.astype(np.int64)


def _verdicts(
    signal: Signal, status: "np.ndarray[tuple[int], np.dtype[np.int64]]", base: Baseline, now: _Windows, state: State,
    opened: Flags, closed: Flags, z: tuple[Floats, Floats], learning: Flags,
) -> Verdicts:  # fmt: skip
    with np.errstate(divide="ignore", invalid="ignore"):
        width = 2.0 * np.sqrt(base.unit / np.where(base.n_day > 0, base.n_day, np.nan) + base.tau2)
    ends = [_unit(signal, base.centre - width), _unit(signal, base.centre + width)]
    unknown = learning | ~base.known
    return Verdicts(
        status=status,
        value=_unit(signal, now.level24[:, -1]),
        baseline=_unit(signal, np.where(base.known, base.centre, np.nan)),
        low=np.where(unknown, np.nan, np.fmin(*ends)),
        high=np.where(unknown, np.nan, np.fmax(*ends)),
        z24=z[0][:, -1],
        z6=z[1][:, -1],
        excess_ratio=np.where(base.known, _change(now.level24[:, -1], base, signal), np.nan),
        sample=now.n24[:, -1],
        rule=state.rule.astype(np.int64),
        since=state.since,
        opened=opened,
        closed=closed,
        state=state,
    )


def _unit(signal: Signal, level: Floats) -> Floats:
    """From the scale on which up is worse back to the signal's own unit."""
    if signal.kind is Kind.RATIO:
        share = np.clip(level, 0.0, 1.0)
        return 1.0 - share if signal.worse < 0 else share
    with np.errstate(over="ignore"):
        return np.exp(signal.worse * level)
