"""A month against its plan, and against another month: what is compared, and what of it can be. Inside no transaction.

A month that is under way is compared as far as it came: with what its plan says of the days that are over and the part
of today, spread evenly, or with as much of the other month.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from apps.core.errors import DomainError
from apps.core.periods import Calendar, next_month
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar
from apps.planner import planned
from apps.planner.actuals import Actuals, RunsKnown, actual_uses, named
from apps.planner.definition import read_plan
from apps.planner.models import Plan, PlanDecision, PlanVersion
from apps.planner.planned import Planned
from apps.planner.prices import Unpriced
from apps.planner.reckoning import priced_of, rate_book
from apps.planner.selectors import version_of
from apps.planner.variance import Variance, WorkflowUse, explain
from apps.pricing.rating import RateBook

# Which version a month is held to.
APPROVED, LATER, DRAFT = "approved", "approved_later", "draft"
# What there is to say.
COMPARED, UNPRICED, NOT_BEGUN, NO_USAGE, NOTHING = "compared", "unpriced", "not_begun", "no_usage", "nothing"


@dataclass(frozen=True, slots=True)
class Compared:
    """What two sides of a month have in common. `end` is where it was compared to: now, while it is under way."""

    month: date
    start: datetime
    end: datetime
    is_so_far: bool
    actuals: Actuals
    variance: Variance | None

    def runs_known(self, workflow: str | None) -> RunsKnown | None:
        return self.actuals.runs.get(workflow)


@dataclass(frozen=True, slots=True)
class Against(Compared):
    """A plan's month. `planned` is None where its version has no price for a model (`unpriced`).

    state    compared; unpriced: the plan has no total; not_begun: its launch is later; no_usage: no call came;
             nothing: neither plan nor call
    basis    approved: held to the version that was approved last before the month's end; approved_later: to the first
             that was approved after it; draft: to the newest, of a plan that nobody approved
    """

    version: int
    basis: str
    state: str
    planned: Planned | None
    month_usd: Decimal | None
    unpriced: tuple[Unpriced, ...]


@dataclass(frozen=True, slots=True)
class MonthOverMonth(Compared):
    """Two months of what was used; `before` is as much of the earlier one as was compared."""

    before_month: date
    before: Actuals


def against_plan(
    org: Organization, plan: Plan, month: date, *, at: datetime, cut: Mapping[str, str] | None = None
) -> Against:
    """The month's usage of the plan's workflow, and why it differs from the plan.

    `cut` leaves of the usage what a reader may see. Raises `DomainError` (`month_invalid`) for a month that has not
    begun, and as `actual_uses` does.
    """
    with tenant(org):
        clock = calendar(org)
        start, end, whole = _span(clock, month, at)
        number, basis = _version(org, plan, whole)
        version = version_of(org, plan, number)
    book = rate_book(org)
    actuals = actual_uses(org, start, end, {**(cut or {}), "workflow": plan.workflow_slug}, book=book)
    so_far, full = (_planned(org, plan, version, clock, (start, until), book) for until in (end, whole))
    state = _state(so_far, actuals)
    uses = actuals.uses or (WorkflowUse(plan.workflow_slug, 0.0, ()),)
    return Against(
        month=month,
        start=start,
        end=end,
        is_so_far=end < whole,
        actuals=actuals,
        variance=explain([so_far.use], uses) if so_far and state != NOTHING else None,
        version=number,
        basis=basis,
        state=state,
        planned=so_far,
        month_usd=full.use.usd if full else None,
        unpriced=priced_of(version.cards, version.prices_at).unpriced,
    )


def month_over_month(
    org: Organization, month: date, before: date, *, at: datetime, cut: Mapping[str, str]
) -> MonthOverMonth:
    """Why a month's usage cost more or less than that of an earlier one.

    Raises `DomainError` (`month_invalid`) where one has not begun, or `before` is not earlier, and as `actual_uses`.
    """
    if before >= month:
        raise DomainError(
            "month_invalid", f"before is {before:%Y-%m}: name a month before {month:%Y-%m}.", param="before"
        )
    with tenant(org):
        clock = calendar(org)
        start, end, whole = _span(clock, month, at)
        before_start, before_end, _ = _span(clock, before, at)
    if end < whole:
        before_end = min(before_end, before_start + (end - start))
    book = rate_book(org)
    earlier = actual_uses(org, before_start, before_end, cut, book=book)
    actuals = actual_uses(org, start, end, cut, book=book)
    found = explain(earlier.uses, actuals.uses) if earlier.calls or actuals.calls else None
    return MonthOverMonth(month, start, end, end < whole, actuals, found, before, earlier)


def _span(clock: Calendar, month: date, at: datetime) -> tuple[datetime, datetime, datetime]:
    """Where the month begins, where it is compared to, and where it ends."""
    start, whole = clock.month_start(month), clock.month_start(next_month(month))
    if at <= start:
        raise DomainError("month_invalid", f"{month:%Y-%m} has not begun: nothing was used in it.", param="month")
    return start, min(at, whole), whole


def _version(org: Organization, plan: Plan, end: datetime) -> tuple[int, str]:
    approvals = PlanDecision.objects.for_org(org).filter(plan=plan, act=PlanDecision.Act.APPROVED)
    in_force = approvals.filter(at__lt=end).order_by("-at", "-pk").first()
    if in_force is not None:
        return in_force.version, APPROVED
    later = approvals.order_by("at", "pk").first()
    return (later.version, LATER) if later else (plan.latest, DRAFT)


def _planned(
    org: Organization,
    plan: Plan,
    version: PlanVersion,
    clock: Calendar,
    span: tuple[datetime, datetime],
    book: RateBook,
) -> Planned | None:
    priced = priced_of(version.cards, version.prices_at)
    if priced.unpriced:
        return None
    definition = read_plan(version.definition)
    runs = planned.planned_runs(definition, _launch(plan, clock), _days(plan, clock, span))
    return planned.planned_use(
        definition, priced.by_model(), plan.workflow_slug, runs, lambda model: named(book, model)
    )


def _launch(plan: Plan, clock: Calendar) -> date | None:
    if plan.launch_on is not None or plan.launched_at is None:
        return plan.launch_on
    return plan.launched_at.astimezone(clock.zone_at(plan.launched_at)).date()


def _days(plan: Plan, clock: Calendar, span: tuple[datetime, datetime]) -> dict[date, float]:
    """The days of the span, of the last one the part that is over; a retired plan says nothing any more."""
    start, end = span
    if plan.retired_at is not None:
        end = min(end, max(start, plan.retired_at))
    found = {}
    for first in clock.starts("day", start, end) if start < end else ():
        after = clock.period("day", first)[1]
        found[first.astimezone(clock.zone_at(first)).date()] = (min(end, after) - first) / (after - first)
    return found


def _state(so_far: Planned | None, actuals: Actuals) -> str:
    if so_far is None:
        return UNPRICED
    if not so_far.runs:
        return NOT_BEGUN if actuals.calls else NOTHING
    return COMPARED if actuals.calls else NO_USAGE
