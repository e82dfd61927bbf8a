"""What a plan tells forecasts: that its workflow will spend so much a day from its launch on, month by month."""

from calendar import monthrange
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal

from apps.organizations.models import Organization
from apps.planner.models import Plan, PlanVersion
from apps.usage.planned import Planned, set_planned_spend

_CENT_MILLIONTH = Decimal("0.000001")


def announce(org: Organization, plan: Plan, version: PlanVersion) -> None:
    """In place of what the plan said before; without a launch date it says nothing. Inside `tenant(org)`."""
    set_planned_spend(org, plan.pk, list(_lines(plan, version)))


def withdraw(org: Organization, plan: Plan, ends_on: date | None) -> None:
    """The plan says nothing any more, or that its workflow spends nothing from a day on. Inside `tenant(org)`."""
    zero = Decimal(0)
    ends = [] if ends_on is None else [_line(plan, "retirement", ends_on, None, (zero, zero, zero))]
    set_planned_spend(org, plan.pk, ends)


def _lines(plan: Plan, version: PlanVersion) -> Iterator[Planned]:
    """A line for each month of the result, counted from the day of the launch."""
    if plan.launch_on is None or version.result is None:
        return
    kind = "live" if plan.state == Plan.State.LIVE else "launch"
    for number, month in enumerate(version.result["months"]):
        first, after = month_later(plan.launch_on, number), month_later(plan.launch_on, number + 1)
        days = (after - first).days
        amounts = tuple(_a_day(month[name], days) for name in ("p10_usd", "p50_usd", "p90_usd"))
        yield _line(plan, kind, first, after - timedelta(days=1), amounts)


def _line(plan: Plan, kind: str, first: date, last: date | None, amounts: tuple[Decimal, ...]) -> Planned:
    low, likely, high = amounts
    return Planned(
        kind=kind,
        workflow=plan.workflow_slug,
        workflow_id=plan.workflow_id,
        team=plan.team.slug if plan.team else None,
        project=plan.project.slug if plan.project else None,
        first_day=first,
        last_day=last,
        low_usd=low,
        likely_usd=likely,
        high_usd=high,
    )


def _a_day(text: str, days: int) -> Decimal:
    return (Decimal(text) / days).quantize(_CENT_MILLIONTH, rounding=ROUND_HALF_EVEN)


def month_later(day: date, months: int) -> date:
    """The same day so many months on, or the last of a shorter month."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))
