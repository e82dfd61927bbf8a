"""What was done, measured: 14 and 30 days after it took effect, against what the same work cost before."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import date, datetime, timedelta

from django.utils import timezone

from apps.core.periods import local_start
from apps.core.tenancy import limit_time, tenant
from apps.insights import facts_sql, realized
from apps.insights.facts_sql import DayRow
from apps.insights.models_savings import Adoption
from apps.insights.realized import Day, Realized
from apps.insights.recommendations import Kind
from apps.insights.recommending import usd_of
from apps.insights.savings_seen import READING_TIMEOUT_MS, WINDOW_DAYS
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar

AFTER_DAYS = (14, 30)
# Of an organization in one turn: the rest waits for tomorrow's.
MEASURED_MAX = 200
IN_RUNS_MIN = 0.8
# With more calls without a price than this on either side, what is known of the rest says too little of the whole.
UNPRICED_MAX = 0.05
# What a change to the number of calls would hide where work is counted in calls.
NEEDS_RUNS = frozenset({Kind.REUSE_ANSWERS, Kind.BOUND_LOOPS, Kind.DEAD_SPEND, Kind.COMPACT_CONTEXT})
Unit = Adoption.Unit


def measure(org_id: int) -> int:
    """Measure the adoptions that are due; how many were. Measured again, it says the same. Locks: each adoption."""
    org, now = Organization.objects.get(pk=org_id), timezone.now()
    with tenant(org):
        due = [row.pk for row in _due(org, now)[:MEASURED_MAX]]
    for pk in due:
        with tenant(org):
            limit_time(READING_TIMEOUT_MS)
            row = Adoption.objects.for_org(org).select_for_update().get(pk=pk)
            # Somebody may have taken it back meanwhile.
            days = _next(org, row, now)
            if days is not None and row.withdrawn_at is None:
                _measure(org, row, days, now)
    return len(due)


def _due(org: Organization, now: datetime) -> list[Adoption]:
    """Index: insights_adoption_newest."""
    longest = max(AFTER_DAYS)
    rows = Adoption.objects.for_org(org).filter(
        withdrawn_at=None, measured_days__lt=longest, adopted_at__lte=now - timedelta(days=min(AFTER_DAYS))
    )
    return [row for row in rows.order_by("-adopted_at", "-id") if _next(org, row, now) is not None]


def _next(org: Organization, row: Adoption, now: datetime) -> int | None:
    """The longest measurement that is due now."""
    over = realized.days_over(row.adopted_at, now, calendar(org).zone_at(row.adopted_at))
    return max((days for days in AFTER_DAYS if row.measured_days < days <= over), default=None)


def _measure(org: Organization, row: Adoption, days: int, now: datetime) -> None:
    unit, found, figures = _reckon(org, row, days)
    row.unit, row.measured_days, row.measured_at = unit, days, now
    row.why = found if isinstance(found, str) else ""
    if isinstance(found, Realized):
        row.realized_low_usd, row.realized_usd, row.realized_high_usd = map(
            usd_of, (found.low, found.likely, found.high)
        )
    row.measurements = {**row.measurements, str(days): figures}
    row.save(
        update_fields=[
            "unit", "measured_days", "measured_at", "why", "realized_low_usd", "realized_usd", "realized_high_usd",
            "measurements",
        ]
    )  # fmt: skip


def _reckon(org: Organization, row: Adoption, days: int) -> tuple[str, Realized | str, dict[str, object]]:
    """The unit, what was realized or why that is not known, and what it was reckoned from."""
    clock = calendar(org)
    zone = clock.zone_at(row.adopted_at)
    # The day of the change belongs to neither side.
    day = row.adopted_at.astimezone(zone).date()
    before, until = (local_start(zone, day + timedelta(days=shift)) for shift in (-WINDOW_DAYS, 0))
    since, end = (local_start(zone, day + timedelta(days=shift)) for shift in (1, days + 1))
    unit = _unit(org.pk, row, before, until)
    unpriced = [facts_sql.unpriced_share(org.pk, row.workflow_id, *span) for span in ((before, until), (since, end))]
    if max(unpriced) > UNPRICED_MAX:
        return unit or Unit.CALLS, "unpriced", {"why": "unpriced", "unpriced_shares": unpriced}
    if unit is None:
        return Unit.CALLS, "no_runs", {"why": "no_runs"}
    read = facts_sql.call_days if unit == Unit.CALLS else facts_sql.run_days
    earlier = _days(read(org.pk, row.workflow_id, before, until, zone.key), unit)
    later = _days(read(org.pk, row.workflow_id, since, end, zone.key), unit)
    costs = realized.unit_costs([one for groups in earlier.values() for one in groups])
    units = sum(one.units for groups in earlier.values() for one in groups)
    if unit == Unit.SUCCESSES and not units:
        return unit, "no_outcomes", {"why": "no_outcomes"}
    spans = [later.get((day + timedelta(days=number)).isoformat(), []) for number in range(1, days + 1)]
    found = realized.measure(costs, units, spans)
    figures: dict[str, object] = {"unit_usd": costs, "units_before": units}
    if isinstance(found, str):
        return unit, found, {**figures, "why": found}
    own, others = _own_share(org, row, days)
    first = min(date.fromisoformat(said) for said in earlier)
    spent = sum(one.usd for groups in earlier.values() for one in groups) / (day - first).days
    figures |= {"share": own, "shared_with": others, "volume": found.expected_usd / days / spent if spent > 0 else 1.0}
    found = replace(found, low=found.low * own, likely=found.likely * own, high=found.high * own)
    return unit, found, {**asdict(found), **figures}


def _own_share(org: Organization, row: Adoption, days: int) -> tuple[float, int]:
    """Which part of what a workflow saved is this change's, and how many others there were beside it.

    By what was predicted of each, and of how much of the days compared it was in force on one side alone: a change of
    the same day counts in full, one of two weeks before or after by half.
    """
    near = Adoption.objects.for_org(org).filter(
        workflow_id=row.workflow_id,
        withdrawn_at=None,
        adopted_at__gt=row.adopted_at - timedelta(days=WINDOW_DAYS),
        adopted_at__lt=row.adopted_at + timedelta(days=days),
    )
    others, own = 0.0, max(float(row.predicted_likely_usd), 0.0)
    counted = [one for one in near if one.pk != row.pk]
    for one in counted:
        later = (one.adopted_at - row.adopted_at) / timedelta(days=1)
        weight = 1 - later / days if later >= 0 else 1 + later / WINDOW_DAYS
        others += weight * max(float(one.predicted_likely_usd), 0.0)
    return (own / (own + others) if own > 0 else 1.0), len(counted)


def _unit(org_id: int, row: Adoption, start: datetime, end: datetime) -> Unit | None:
    """What the workflow's work is counted in; None where only runs would tell, and calls name none."""
    calls, in_runs = facts_sql.calls_with_runs(org_id, row.workflow_id, start, end)
    if in_runs >= IN_RUNS_MIN * calls and in_runs:
        return Unit.SUCCESSES if row.kind == Kind.DEAD_SPEND else Unit.RUNS
    return None if row.kind in NEEDS_RUNS else Unit.CALLS


def _days(rows: Sequence[DayRow], unit: Unit) -> dict[str, list[Day]]:
    """By day. Successes are one group: what failed elsewhere is a part of what they cost."""
    found: dict[str, list[Day]] = defaultdict(list)
    for row in rows:
        units = row.succeeded if unit == Unit.SUCCESSES else row.units
        group = "" if unit == Unit.SUCCESSES else row.group
        found[row.day.isoformat()].append(Day(group, float(units), float(row.usd)))
    return found
