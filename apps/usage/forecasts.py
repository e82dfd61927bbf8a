"""Reading stored forecasts, inside `tenant(org)`."""

from collections.abc import Collection, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

import numpy as np
from django.db.models import Q, QuerySet, Subquery

from apps.core.money import sum_usd
from apps.core.periods import Calendar
from apps.core.tenancy import HasPk, org_id_of
from apps.usage.forecast import HISTORY_DAYS
from apps.usage.forecast_bands import Outcome, capped, exceeds, exhausted_on
from apps.usage.forecasting import DIRECT_OFF, usd
from apps.usage.models_forecast import Forecast
from apps.usage.parts_sql import Part
from apps.usage.shared import own_alone

PAGE_MAX = 500
# Forecasts are made every hour; what is older than this, or made of too little, is not held against anything.
FRESH = timedelta(hours=3)
UNLEARNED = ("none", "mean")
Position = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Against:
    """A forecast held against a limit: the probability that the month exceeds it, the day on which it is reached as
    expected, and the day on which it may be at the earliest (P90). None: not within the month.
    """

    limit_usd: Decimal
    exceeds: float
    on: date | None
    earliest: date | None


def latest(org: HasPk | int, month: date) -> QuerySet[Forecast]:
    """What was last said of a month, every scope of it. Index: the primary key."""
    rows = Forecast.objects.for_org(org).filter(month=month)
    newest = rows.filter(scope=Forecast.Scope.ORGANIZATION).order_by("-bucket").values("bucket")[:1]
    return rows.filter(bucket=Subquery(newest))


def find_forecasts(
    org: HasPk | int,
    month: date,
    *,
    scope: str | None = None,
    team: str | None = None,
    project: str | None = None,
    workflow: str | None = None,
    after: Position | None = None,
    limit: int = PAGE_MAX,
) -> list[Forecast]:
    """By scope and key, those that belong to the names given; a project of a team belongs to both."""
    asked = {"scope": scope, "team": team, "project": project, "workflow": workflow}
    rows = latest(org, month).filter(**{name: value for name, value in asked.items() if value is not None})
    if after is not None:
        rows = rows.filter(Q(scope__gt=after[0]) | Q(scope=after[0], key__gt=after[1]))
    return list(rows.order_by("scope", "key")[:limit])


def largest(org: HasPk | int, month: date, scopes: Collection[str], team: str | None, limit: int) -> list[Forecast]:
    rows = latest(org, month).filter(scope__in=scopes)
    if team is not None:
        rows = rows.filter(team=team)
    return list(rows.order_by("-p50_usd", "scope", "key")[:limit])


def of_teams(org: HasPk | int, month: date) -> list[Forecast]:
    """What was last said of every team, and of all of it."""
    return list(latest(org, month).filter(scope__in=(Forecast.Scope.ORGANIZATION, Forecast.Scope.TEAM)))


def forecast_of(org: HasPk | int, month: date, scope: str, key: str) -> Forecast | None:
    """What was last said of one scope."""
    rows = Forecast.objects.for_org(org_id_of(org)).filter(month=month, scope=scope, key=key)
    return rows.order_by("-bucket").first()


def within_part(
    org: HasPk | int, rows: Sequence[Forecast], part: Part | None, clock: Calendar, at: datetime
) -> list[Forecast]:
    """Without the workflows and projects that others than the part spend on: their forecasts are of all spend.

    `part` None: all of them. Looked at is what they were made of.
    """
    if part is None or not rows:
        return list(rows)
    since = clock.month_start(min(row.month for row in rows)) - timedelta(days=HISTORY_DAYS + 1)
    kinds = (Forecast.Scope.WORKFLOW, Forecast.Scope.PROJECT)
    alone = {
        kind: own_alone(org, str(kind), [row.key for row in rows if row.scope == kind], part, since, at)
        for kind in kinds
    }
    return [row for row in rows if row.scope not in kinds or row.key in alone[Forecast.Scope(row.scope)]]


def is_direct_off(row: Forecast) -> bool:
    """Whether a sum and what its own series says differ by more than a tenth."""
    return row.direct_usd is not None and abs(row.direct_usd - row.p50_usd) > DIRECT_OFF * abs(row.p50_usd)


def under_cap(row: Forecast, cap_usd: Decimal | None) -> Forecast:
    """The same where a hard cap refuses what goes beyond it; the layer `cap` says what that takes away."""
    if cap_usd is None or row.p90_usd <= cap_usd:
        return row
    found, row = capped(_outcome(row), float(cap_usd)), copy(row)
    most = max(cap_usd, row.spent_usd)
    row.layers = {**row.layers, "cap": str(min(row.p50_usd, most) - row.p50_usd)}
    row.p10_usd, row.p50_usd, row.p90_usd = (min(one, most) for one in (row.p10_usd, row.p50_usd, row.p90_usd))
    row.days = [str(usd(day)) for day in found.days.tolist()]
    return row


def against(row: Forecast, limit_usd: Decimal, clock: Calendar) -> Against:
    found, limit = _outcome(row), float(limit_usd)
    ahead = found.p50 - found.spent
    stretch = (found.p90 - found.spent) / ahead if ahead > 0 else 1.0
    return Against(
        limit_usd=limit_usd,
        exceeds=exceeds(found.spent, found.p10, found.p50, found.p90, limit),
        on=_day(row, clock, exhausted_on(found.spent, found.days, limit)),
        earliest=_day(row, clock, exhausted_on(found.spent, found.days, limit, stretch)),
    )


def is_fresh(row: Forecast, at: datetime) -> bool:
    """Whether it still speaks of `at`, and knows more than the run rate does: a week of history, or a plan."""
    is_planned = any(Decimal(amount) for kind, amount in row.layers.items() if kind != "usage")
    is_learned = row.method not in UNLEARNED or is_planned
    return is_learned and timedelta(0) <= at - row.as_of < FRESH


def as_it_stands(row: Forecast, spent_usd: Decimal, beside_usd: Decimal = Decimal(0)) -> Outcome:
    """The same figures as were stored, so that every page says one number; none below what is spent by now.

    `beside_usd` was spent too and is nothing that a forecast knows of.
    """
    spent = float(spent_usd)
    p10, p50, p90 = (max(float(one + beside_usd), spent) for one in (row.p10_usd, row.p50_usd, row.p90_usd))
    days = np.array([float(day) for day in row.days])
    ahead = float(days.sum())
    return Outcome(spent, p10, p50, p90, days * ((p50 - spent) / ahead if ahead > 0 else 0.0))


def _outcome(row: Forecast) -> Outcome:
    spent, p10, p50, p90 = (float(one) for one in (row.spent_usd, row.p10_usd, row.p50_usd, row.p90_usd))
    return Outcome(spent, p10, p50, p90, np.array([float(day) for day in row.days]))


def _day(row: Forecast, clock: Calendar, place: int | None) -> date | None:
    return None if place is None else first_day_of(row.as_of, clock) + timedelta(days=place)


def first_day_of(as_of: datetime, clock: Calendar) -> date:
    """The day that is the first of `days`."""
    return as_of.astimezone(clock.zone_at(as_of)).date()


def path_of(row: Forecast) -> list[Decimal]:
    """What is spent by the end of each day ahead, as expected."""
    path, total = [], row.spent_usd
    for day in row.days:
        total = sum_usd((total, Decimal(day)))
        path.append(total)
    return path
