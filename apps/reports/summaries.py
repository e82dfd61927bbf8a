"""The figures that stand beside a statement's lines: budget, forecast, year to date, runs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction

from django.db.models import Q, Sum

from apps.budgets.forecast import run_rate
from apps.budgets.limits import month_limits
from apps.budgets.models import Budget
from apps.core.money import EXACT, pico_from_usd, sum_usd, usd_from_pico, usd_text
from apps.core.periods import Calendar, month_before, next_month
from apps.organizations.models import Organization
from apps.reports import months, statements_sql
from apps.reports.document import Summary
from apps.reports.models_statements import Statement
from apps.reports.statements_sql import TeamRuns
from apps.usage.forecasts import is_fresh, of_teams, under_cap
from apps.usage.models_forecast import Forecast
from apps.usage.selectors import first_open_month

_NO_RUNS = TeamRuns(0, Decimal(0), 0)
_NOTHING = Decimal(0)


@dataclass(frozen=True, slots=True)
class Summaries:
    """What is known of every team beside its lines; `earlier_usd` is what the year's months before came to."""

    start: datetime
    end: datetime
    at: datetime
    budgets_usd: Mapping[str, Decimal]
    earlier_usd: Mapping[str | None, Decimal]
    runs: Mapping[str | None, TeamRuns]
    forecasts_usd: Mapping[str | None, Decimal]

    def of(self, team: str | None, *, usage_usd: Decimal, total_usd: Decimal | None) -> Summary:
        total = total_usd or _NOTHING
        budget = None if team is None else self.budgets_usd.get(team)
        over = None if budget is None else EXACT.subtract(total, budget)
        runs = self.runs.get(team, _NO_RUNS)
        return Summary(
            budget_usd=usd_text(budget),
            variance_usd=usd_text(over),
            variance_percent=_percent(over, budget),
            forecast_usd=usd_text(self._forecast(team, usage_usd, total)),
            year_to_date_usd=usd_text(EXACT.add(self.earlier_usd.get(team, _NOTHING), total)),
            runs=runs.runs,
            cost_per_run_usd=_over(runs.cost_usd, runs.runs),
            successful_runs=runs.successful,
            cost_per_successful_run_usd=_over(runs.cost_usd, runs.successful),
        )

    def _forecast(self, team: str | None, usage_usd: Decimal, total_usd: Decimal) -> Decimal | None:
        """Usage as it is forecast, else at its rate; what is beside it is there once."""
        if self.at >= self.end:
            return None
        usage = self.forecasts_usd.get(team)
        if usage is None:
            usage = run_rate(usage_usd, self.start, self.end, self.at)
        return None if usage is None else EXACT.add(max(usage, usage_usd), EXACT.subtract(total_usd, usage_usd))


def load(org: Organization, month: date, clock: Calendar, *, at: datetime, team: str | None) -> Summaries:
    """Inside `tenant(org)`; eight statements at most, whatever the number of teams."""
    start, end = clock.month_start(month), clock.month_start(next_month(month))
    budgets = _budgets(org, start, end)
    has_caps = any(one.mode == Budget.Mode.BLOCK for one in budgets)
    return Summaries(
        start=start,
        end=end,
        at=at,
        budgets_usd=_smallest(budgets),
        earlier_usd=_earlier(org, month),
        runs=statements_sql.runs_by_team(org.pk, start, end, team=team),
        forecasts_usd=_forecasts(org, month, at, has_caps=has_caps) if start <= at < end else {},
    )


def _forecasts(org: Organization, month: date, at: datetime, *, has_caps: bool) -> dict[str | None, Decimal]:
    """What the month's usage of each team comes to, as pages of forecasts and budgets say it; no old forecast.

    What nobody owns is all of it less the teams'.
    """
    rows = [row for row in of_teams(org, month) if is_fresh(row, at)]
    whole = next((row for row in rows if row.scope == Forecast.Scope.ORGANIZATION), None)
    teams = [row for row in rows if row.scope == Forecast.Scope.TEAM]
    limits = month_limits(org, at) if teams and has_caps else {}
    found: dict[str | None, Decimal] = {}
    for row in teams:
        limit = limits.get((row.scope, row.key))
        found[row.key] = under_cap(row, limit.cap_usd if limit else None).p50_usd
    if whole is not None:
        found[None] = EXACT.subtract(whole.p50_usd, sum_usd(row.p50_usd for row in teams))
    return found


def _budgets(org: Organization, start: datetime, end: datetime) -> list[Budget]:
    """The month's budgets whose scope is one team and nothing else."""
    standing = Budget.objects.for_org(org).filter(
        Q(ended_at=None) | Q(ended_at__gt=start), period=Budget.Period.MONTH, created_at__lt=end, scope__has_key="team"
    )
    return [one for one in standing.only("scope", "amount_usd", "mode") if len(one.scope) == 1]


def _smallest(budgets: Iterable[Budget]) -> dict[str, Decimal]:
    """The monthly budget of each team: the smallest that it has."""
    smallest: dict[str, Decimal] = {}
    for one in budgets:
        team = one.scope["team"]
        smallest[team] = min(one.amount_usd, smallest.get(team, one.amount_usd))
    return smallest


def _earlier(org: Organization, month: date) -> dict[str | None, Decimal]:
    """What each team's months of the year before this one came to: final statements, and usage of open months."""
    january, last = month.replace(month=1), month_before(month)
    if month == january:
        return {}
    final = Statement.objects.for_org(org).filter(month__gte=january, month__lte=last)
    earlier: dict[str | None, Decimal] = {
        team: total or _NOTHING for team, total in final.values_list("team").annotate(Sum("total_usd"))
    }
    # A month that is closing is not open any more and not final yet.
    since = max(january, min([*months.fenced(org), first_open_month(org)]))
    if since <= last:
        for team, cost in statements_sql.usage_by_team(org.pk, since, last).items():
            earlier[team] = sum_usd((earlier.get(team, _NOTHING), cost))
    return earlier


def _percent(part: Decimal | None, whole: Decimal | None) -> str | None:
    """Per cent with one decimal, half-even; None where there is no whole."""
    if part is None or not whole:
        return None
    tenths = round(Fraction(pico_from_usd(part) * 1000, pico_from_usd(whole)))
    return f"{Decimal(tenths).scaleb(-1):.1f}"


def _over(cost_usd: Decimal, count: int) -> str | None:
    """A cost each, half-even at 12 decimals."""
    return usd_text(usd_from_pico(round(Fraction(pico_from_usd(cost_usd), count)))) if count else None
