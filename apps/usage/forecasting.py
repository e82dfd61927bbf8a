"""Months as they are forecast: every workflow of an organization, and its projects, teams and itself as sums of them.

Read from day rollups of the last `HISTORY_DAYS` days, reckoned outside of any transaction, and stored: the last look in
each fifth of the month stays, so that what was said can be held against what came.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
from django.utils import timezone

from apps.core.money import COST_MAX_USD, sum_usd
from apps.core.periods import Calendar, month_before, next_month
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar
from apps.pricing.selectors import load_rate_book
from apps.usage import forecast_sql
from apps.usage.forecast import Expected, Floats, expected_days
from apps.usage.forecast_bands import (
    BUCKETS,
    Ahead,
    Outcome,
    PlanLine,
    Quantiles,
    error_of,
    outcome,
    overlay,
    quantiles,
)
from apps.usage.forecast_days import Days, by_day, days_of, first_day, gaps, hours_of_days
from apps.usage.forecast_prices import FACTOR_MAX, factors
from apps.usage.models_forecast import Forecast, PlannedSpend
from apps.usage.planned import planned_spend

HOURS_DAYS = 28
# What is used of a model, and how much of a workflow is it.
MIX_DAYS = 28
ERROR_MONTHS = 3
# Above this share a sum and what its own series says are worth a look.
DIRECT_OFF = Decimal("0.1")
_PLACES = Decimal("0.000001")


@dataclass(slots=True)
class Series:
    """One workflow, or what names none; `team` and `project` are where it spent last. `values` are USD of past days at
    today's prices, `coming` what the prices of each day ahead add to the last `MIX_DAYS` of them.
    """

    team: str | None
    project: str | None
    workflow: str | None
    values: Floats
    last: datetime | None = None
    spent_usd: Decimal = Decimal(0)
    coming: Floats | float = 0.0

    @property
    def scope(self) -> str:
        return Forecast.Scope.REST if self.workflow is None else Forecast.Scope.WORKFLOW

    @property
    def key(self) -> str:
        # No name holds a control character.
        return self.workflow if self.workflow is not None else f"{self.team or ''}\x1f{self.project or ''}"


@dataclass(slots=True)
class Sum:
    """A project, a team or the organization: what it spent, and what is ahead of the workflows that are in it."""

    scope: str
    key: str
    values: Floats
    team: str | None = None
    project: str | None = None
    spent_usd: Decimal = Decimal(0)
    parts: list[Ahead] = field(default_factory=list)


Where = tuple[str | None, str | None, str | None]


@dataclass(slots=True, eq=False)
class Repriced:
    """What today's prices add to each past day of a line, and those of each day ahead to the last `MIX_DAYS`."""

    past: Floats
    ahead: Floats


@dataclass(frozen=True, slots=True)
class Read:
    """What a forecast is made of."""

    month: date
    days: Days
    lines: Sequence[forecast_sql.Line]
    planned: Sequence[PlannedSpend]
    quantiles: Quantiles
    repriced: Mapping[Where, Repriced]


def forecast_month(org: Organization, at: datetime | None = None) -> int:
    """Forecast the month that holds `at` and store it; how many scopes. May run again at any time."""
    at = at or timezone.now()
    with tenant(org):
        read = _read(org, calendar(org), at)
    rows = [*_rows(read, at)]
    with tenant(org):
        forecast_sql.store(org.pk, read.month, read.days.bucket, at, rows)
    return len(rows)


def _read(org: Organization, clock: Calendar, at: datetime) -> Read:
    month = clock.month_of(at)
    start, end = clock.month_start(month), clock.month_start(next_month(month))
    today = clock.day(at)
    hours = forecast_sql.hours(org.pk, today - timedelta(days=HOURS_DAYS), today)
    days = days_of(clock, start, end, at, hours_of_days(clock, hours))
    lines = forecast_sql.lines(org.pk, first_day(clock, at), start, min(at, end))
    said = forecast_sql.said(org.pk, month_before(month, ERROR_MONTHS), month)
    errors = _errors(said, lines, clock)
    return Read(
        month=month,
        days=days,
        lines=lines,
        planned=planned_spend(org, month, next_month(month) - timedelta(days=1)),
        quantiles=quantiles(errors[days.bucket], days.bucket),
        repriced=_repriced(org, days, first_day(clock, at), today),
    )


def _repriced(org: Organization, days: Days, since: datetime, today: datetime) -> dict[Where, Repriced]:
    """By line, of those that use a model whose price changed within the history or will within the month."""
    found: dict[Where, Repriced] = {}
    mixes = forecast_sql.mixes(org.pk, today - timedelta(days=MIX_DAYS), today)
    changed = factors(load_rate_book(org), mixes, days.past, days.ahead) if mixes else {}
    for line in forecast_sql.lines_of(org.pk, since, today, list(changed)) if changed else ():
        of_model = changed[line.provider, line.model, line.service_tier]
        spent = by_day(days, dict(zip(line.days, line.costs, strict=True)))
        one = found.setdefault(
            (line.team, line.project, line.workflow), Repriced(np.zeros(len(days.past)), np.zeros(len(days.ahead)))
        )
        one.past += spent * (of_model.past - 1)
        one.ahead += float((spent * of_model.past)[-MIX_DAYS:].sum()) * (of_model.ahead - 1)
    return found


def _at_prices(read: Read, line: forecast_sql.Line) -> Floats:
    """USD of the line's past days, at today's prices."""
    values = by_day(read.days, dict(zip(line.days, line.costs, strict=True)))
    one = read.repriced.get((line.team, line.project, line.workflow))
    return values if one is None else values + one.past


def _prices(values: Floats, coming: Floats | float) -> Floats | None:
    """What prices make of each day ahead; None: nothing."""
    recent = float(values[-MIX_DAYS:].sum())
    if isinstance(coming, float) or recent <= 0:
        return None
    return np.clip(1 + coming / recent, 0.0, FACTOR_MAX)


def _errors(
    said: Iterable[forecast_sql.Said], lines: Iterable[forecast_sql.Line], clock: Calendar
) -> list[list[float]]:
    """By part of the month, what workflows' forecasts of months that are over were off by, in order of time."""
    came: dict[tuple[str, date], float] = defaultdict(float)
    for line in lines:
        if line.workflow is not None:
            for day, cost in zip(line.days, line.costs, strict=True):
                came[line.workflow, clock.month_of(day)] += cost
    errors: list[list[float]] = [[] for _ in range(BUCKETS)]
    for one in said:
        error = error_of(one.rest_usd, came[one.key, one.month] - one.spent_usd, one.noise)
        if error is not None:
            errors[one.bucket].append(error)
    return errors


# --- series and sums ---------------------------------------------------------------------------------


def _rows(read: Read, at: datetime) -> Iterator[dict[str, Any]]:
    series = _series(read)
    total = np.sum([one.values for one in series], axis=0) if series else np.zeros(len(read.days.past))
    missing = gaps(read.days, total)
    sums: dict[tuple[str, str], Sum] = {}
    for line in read.lines:
        for name, key, team, project in _sums_of(line.team, line.project):
            one = sums.setdefault((name, key), Sum(name, key, np.zeros(len(read.days.past)), team, project))
            one.values += _at_prices(read, line)
            one.spent_usd = sum_usd((one.spent_usd, line.spent_usd))
    for each in series:
        expected = _expected(read.days, each.values, missing)
        planned = [row for row in read.planned if row.workflow == each.workflow]
        lines = plan_lines(planned, read.days, each.values, missing)
        ahead = overlay(expected, read.days.shares, lines, _prices(each.values, each.coming))
        for name, key, team, project in _sums_of(each.team, each.project):
            empty = Sum(name, key, np.zeros(len(read.days.past)), team, project)
            sums.setdefault((name, key), empty).parts.append(ahead)
        found = outcome(float(each.spent_usd), ahead, expected.scale, read.quantiles)
        yield _row(read, at, each, found, expected, None)
    for one in sums.values():
        expected = _expected(read.days, one.values, missing)
        found = outcome(float(one.spent_usd), _together(one.parts, read.days), expected.scale, read.quantiles)
        direct = float(one.spent_usd) + float((expected.days * read.days.shares).sum()) * _dearer(one.parts)
        yield _row(read, at, one, found, expected, direct)


def _series(read: Read) -> list[Series]:
    """A workflow that moved to another team is one series; one that only a plan knows is empty."""
    found: dict[tuple[str, ...], Series] = {}
    for line in read.lines:
        name = line.workflow
        key = (name,) if name is not None else ("", line.team or "", line.project or "")
        one = found.setdefault(key, Series(line.team, line.project, name, np.zeros(len(read.days.past))))
        one.values += _at_prices(read, line)
        if (changed := read.repriced.get((line.team, line.project, name))) is not None:
            one.coming = one.coming + changed.ahead
        one.spent_usd = sum_usd((one.spent_usd, line.spent_usd))
        if one.last is None or line.days[-1] > one.last:
            one.team, one.project, one.last = line.team, line.project, line.days[-1]
    for row in read.planned:
        if (row.workflow,) not in found and row.kind == PlannedSpend.Kind.LAUNCH:
            empty = np.zeros(len(read.days.past))
            found[row.workflow,] = Series(row.team, row.project, row.workflow, empty)
    return list(found.values())


def _dearer(parts: Sequence[Ahead]) -> float:
    """What coming prices make of the parts' usage: so much they make of the sum's own series too."""
    usage = sum(part.layers["usage"] for part in parts)
    return 1 + sum(part.layers.get("price", 0.0) for part in parts) / usage if usage > 0 else 1.0


def _sums_of(team: str | None, project: str | None) -> Iterator[tuple[str, str, str | None, str | None]]:
    yield Forecast.Scope.ORGANIZATION, "", None, None
    if team is not None:
        yield Forecast.Scope.TEAM, team, team, None
    if project is not None:
        yield Forecast.Scope.PROJECT, project, team, project


def _expected(days: Days, values: Floats, missing: "np.ndarray[Any, np.dtype[np.bool_]]") -> Expected:
    known = np.where(missing, np.nan, values)
    return expected_days(known, days.past_places, days.ahead_places)


def plan_lines(
    rows: Sequence[PlannedSpend], days: Days, values: Floats, missing: "np.ndarray[Any, np.dtype[np.bool_]]"
) -> list[PlanLine]:
    """What plans say of one workflow's days ahead; `values` is its spend by past day, `missing` where none is known."""
    if not days.ahead_dates:
        return []
    today, ahead = days.ahead_dates[0], len(days.ahead)
    spent = np.flatnonzero(values > 0)
    age = int((~missing[spent[0] :]).sum()) if len(spent) else 0
    lines = []
    for row in rows:
        first = (row.first_day - today).days
        until = ahead if row.last_day is None else (row.last_day - today).days + 1
        lines.append(
            PlanLine(
                kind=row.kind,
                first=first,
                until=min(until, ahead),
                low=float(row.low_usd),
                likely=float(row.likely_usd),
                high=float(row.high_usd),
                known_days=min(age, max(0, -first)) if row.kind == PlannedSpend.Kind.LAUNCH else None,
            )
        )
    return lines


def _together(parts: Sequence[Ahead], days: Days) -> Ahead:
    layers: dict[str, float] = defaultdict(float)
    for part in parts:
        for kind, usd in part.layers.items():
            layers[kind] += usd
    return Ahead(
        days=np.sum([part.days for part in parts], axis=0) if parts else np.zeros(len(days.ahead)),
        from_history=sum(part.from_history for part in parts),
        plan_low=sum(part.plan_low for part in parts),
        plan_high=sum(part.plan_high for part in parts),
        layers=layers or {"usage": 0.0},
        is_unsettled=False,
    )


# --- rows --------------------------------------------------------------------------------------------


def usd(amount: float) -> Decimal:
    """An estimate at 6 decimals, within what a column holds."""
    most = float(COST_MAX_USD) / 10
    return Decimal(repr(float(np.clip(amount, -most, most)))).quantize(_PLACES)


def _row(
    read: Read, at: datetime, one: Series | Sum, found: Outcome, expected: Expected, direct: float | None
) -> dict[str, Any]:
    p50 = one.spent_usd + sum((usd(day) for day in found.days.tolist()), Decimal(0))
    return {
        "month": read.month,
        "scope": one.scope,
        "key": one.key,
        "bucket": read.days.bucket,
        "team": one.team,
        "project": one.project,
        "workflow": one.workflow if isinstance(one, Series) else None,
        "as_of": at,
        "method": expected.method,
        "spent_usd": one.spent_usd,
        # What was spent has more decimals than an estimate.
        "p10_usd": max(min(usd(found.p10), p50), one.spent_usd),
        "p50_usd": p50,
        "p90_usd": max(usd(found.p90), p50),
        "direct_usd": None if direct is None else usd(direct),
        "noise_ppm": round(expected.scale * 1e6),
        "layers": {kind: str(usd(amount)) for kind, amount in found.layers.items()},
        "days": [str(usd(day)) for day in found.days.tolist()],
    }
