"""The limits of months, as forecasts are held against them. Inside `tenant(org)`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from apps.budgets import outlook_sql
from apps.budgets.models import Budget
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar

# One scope: nothing, or one name of one of these.
SCOPES = ("team", "project", "workflow")


@dataclass(frozen=True, slots=True)
class MonthLimit:
    """The least limit that a budget of the month sets its scope, and the least of its hard caps (None: it has none)."""

    budget_id: int
    name: str
    limit_usd: Decimal
    cap_usd: Decimal | None


def month_limits(org: Organization, at: datetime) -> Mapping[tuple[str, str], MonthLimit]:
    """By scope and name, ("organization", "") for all of it; raises and rollover counted in. Two statements."""
    start, _ = calendar(org).period("month", at)
    budgets = [
        (budget, key)
        for budget in Budget.objects.for_org(org).filter(ended_at=None, period=Budget.Period.MONTH).order_by("id")
        if (key := scope_key(budget.scope)) is not None
    ]
    counted = outlook_sql.counts(org.pk, [{"budget_id": one.pk, "period_start": start} for one, _ in budgets], at)
    found: dict[tuple[str, str], MonthLimit] = {}
    for budget, key in budgets:
        limit, before = counted[budget.pk].limit_usd, found.get(key)
        caps = [limit] if budget.mode == Budget.Mode.BLOCK else []
        if before is not None and before.cap_usd is not None:
            caps.append(before.cap_usd)
        tightest = before if before is not None and before.limit_usd <= limit else None
        found[key] = MonthLimit(
            budget_id=tightest.budget_id if tightest else budget.pk,
            name=tightest.name if tightest else budget.name,
            limit_usd=tightest.limit_usd if tightest else limit,
            cap_usd=min(caps, default=None),
        )
    return found


def scope_key(scope: Mapping[str, str]) -> tuple[str, str] | None:
    """Of a budget's scope that is one workflow, project or team, or everything."""
    if not scope:
        return "organization", ""
    [(name, value), *more] = scope.items()
    return None if more or name not in SCOPES or value.endswith("*") else (name, value)
