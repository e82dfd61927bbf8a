"""What decisions and booking need to know of an organization's budgets, kept per process until it changes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from apps.budgets.models import Budget, RunBound
from apps.budgets.rules import Budgets, Downgrade, Watched
from apps.core.periods import Calendar
from apps.organizations.kept import KeptByFacts
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar


@dataclass(frozen=True, slots=True)
class Watch:
    """`has_bounds`: some workflow bounds its runs. `counter_ids` remembers where counters were found."""

    budgets: Budgets
    calendar: Calendar
    has_bounds: bool
    counter_ids: dict[tuple[int, Any, str], int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.budgets) or self.has_bounds


def _load(org: Organization) -> Watch:
    if not org.is_budgeted:
        return Watch(Budgets(), calendar(org), False)
    return Watch(
        Budgets.of(watched(Budget.objects.for_org(org).filter(ended_at=None).order_by("id"))),
        calendar(org),
        RunBound.objects.for_org(org).exists(),
    )


load_watch = KeptByFacts(_load)


def watched(budgets: Any) -> Iterator[Watched]:
    for budget in budgets:
        yield watched_of(budget)


def watched_of(budget: Budget) -> Watched:
    return Watched(
        id=budget.pk,
        name=budget.name,
        scope=budget.scope,
        period=budget.period,
        mode=budget.mode,
        since=budget.created_at,
        starts_at=budget.starts_at,
        ends_at=budget.ends_at,
        downgrade_to=downgrade_of(budget.downgrade_to),
    )


def downgrade_of(stored: Mapping[str, str] | None) -> Downgrade | None:
    if stored is None:
        return None
    amounts = {name: Decimal(stored[name]) for name in ("input_usd", "output_usd") if name in stored}
    return Downgrade(stored.get("provider", ""), stored.get("model", ""), **amounts)
