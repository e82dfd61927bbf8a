"""Spend per hour against its own week. Formulae and figures: docs/signals.md."""

from dataclasses import dataclass

import numpy as np

from apps.insights.baselines import DAYS_GROWN, DAYS_YOUNG, DECILE, NORMAL, median, quantile
from apps.insights.settings import Settings
from apps.insights.signals import Flags, Floats, Readings, Rule, State, Status, Verdicts

WEEK = 168
EVALUATIONS = 24
WEEKS_MIN = 2
SMALL = 0.1  # of a usual hour: what an hour without spend counts as, so that its log is one


@dataclass(frozen=True, slots=True, eq=False)
class _Usual:
    """Of the last 24 hours; (series, EVALUATIONS), `scale` and `age` (in days) (series,)."""

    expected: Floats
    residual: Floats
    scale: Floats
    age: Floats


def evaluate_spend(readings: Readings, state: State, settings: Settings) -> Verdicts:
    """An hour is held against the median of the same hour of other weeks, at the level of its own week."""
    usual = _usual(readings, settings)
    usd = readings.hourly.total[:, -EVALUATIONS:]
    learning = usual.age < DAYS_YOUNG
    gate = readings.signal.gate * np.where(usual.age < DAYS_GROWN, 2.0, 1.0)
    if readings.gate_factor is not None:
        gate = gate * readings.gate_factor
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(learning[:, None], np.nan, usual.residual / usual.scale[:, None])
        change = np.expm1(usual.residual)
        over = (z > settings.spend_z) & (change > gate[:, None])
        at_once = (z > settings.spend_z_once) & (change > np.fmax(settings.spend_ratio_once, gate[:, None]))
        still = z >= settings.z_calm
    raised = np.where((over[:, -1] & over[:, -2]) | at_once[:, -1], float(Rule.BURST), 0.0)
    # Of 24 single hours one or two lie this far up by chance; a quarter of them does not.
    calm = (4 * still.sum(axis=1) < EVALUATIONS) & ~over.any(axis=1) & (2 * (~np.isnan(z)).sum(axis=1) >= EVALUATIONS)
    return _verdicts(readings, state, usual, z, raised, calm, (over[:, -1], learning, usd))


def _usual(readings: Readings, settings: Settings) -> _Usual:
    total = np.asarray(readings.hourly.total, dtype=float)
    series, hours = total.shape
    weeks = hours // WEEK
    if weeks < WEEKS_MIN:
        nothing = np.full((series, EVALUATIONS), np.nan)
        return _Usual(nothing, nothing, np.full(series, np.nan), np.zeros(series))
    usd = total[:, hours - weeks * WEEK :].reshape(series, weeks, WEEK)
    planned = np.ones(series) if readings.planned is None else np.fmax(np.nan_to_num(readings.planned, nan=1.0), 1.0)
    level = median(np.where(usd > 0, usd, np.nan))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = usd / level[..., None]
        # Each week against the others: in its own median an hour would hide itself.
        others = np.stack([median(np.delete(share, week, axis=1).swapaxes(1, 2)) for week in range(weeks)], axis=1)
        residual = np.log(share + SMALL) - np.log(others + SMALL)
    flat = residual.reshape(series, weeks * WEEK)
    past = flat[:, -2 * WEEK : -EVALUATIONS]
    apart = past - median(past)[:, None]
    scale = np.fmax(NORMAL * median(np.abs(apart)), settings.tau_tail * quantile(apart, 0.9) / DECILE)
    expected = (others * level[..., None]).reshape(series, -1)[:, -EVALUATIONS:] * planned[:, None]
    now = flat[:, -EVALUATIONS:] - np.log(planned)[:, None]
    return _Usual(expected, now, np.fmax(scale, settings.spend_floor), _age(total))


def _age(usd: Floats) -> Floats:
    """Days since the first hour that cost anything; a month that is whole but for a first quiet weekend is a month."""
    spent = usd > 0
    first = np.where(spent.any(axis=1), spent.argmax(axis=1), usd.shape[1])
    return np.asarray(np.where(first < 3 * 24, usd.shape[1], usd.shape[1] - first) / 24.0)


def _verdicts(
    readings: Readings, state: State, usual: _Usual, z: Floats, raised: Floats, calm: Flags,
    now: tuple[Flags, Flags, Floats],
) -> Verdicts:  # fmt: skip
    over, learning, usd = now
    was = state.rule > 0
    opened, closed = ~was & (raised > 0), was & calm & (raised == 0)
    rule = np.where(opened, raised, np.where(closed, 0.0, state.rule))
    since = np.where(opened, readings.hour - 1.0, np.where(closed, np.nan, state.since))
    silent = np.isnan(usd[:, -1])
    status = np.select(
        [rule > 0, learning, silent, over], [Status.ALARM, Status.LEARNING, Status.SILENT, Status.GATED], Status.FINE
    )
    width = np.exp(2.0 * usual.scale)
    last = usual.expected[:, -1]
    return Verdicts(
        status=status.astype(np.int64),
        value=usd[:, -1],
        baseline=last,
        low=last / width,
        high=last * width,
        z24=z[:, -1],
        z6=z[:, -1],
        excess_ratio=np.expm1(usual.residual[:, -1]),
        sample=np.nansum(usd, axis=1),
        rule=rule.astype(np.int64),
        since=since,
        opened=opened,
        closed=closed,
        state=State(state.cusum, state.drift_since, state.drift_through, since, rule),
    )
