"""Spend as pages ask for it and draw it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from apps.core.money import sum_usd
from apps.organizations.models import Organization
from apps.portal.charts import Ahead, Chart, Drawn, SpendPoint, spend_over_time
from apps.portal.charts import Span as ChartSpan
from apps.portal.ranges import Span
from apps.reports.selectors import Spend, SpendQuestion, SpendRow, Sums, spend

HALF = {"hour": timedelta(minutes=30), "day": timedelta(hours=12), "week": timedelta(days=3.5), "month": timedelta(15)}


def question(
    span: Span, group_by: tuple[str, ...], granularity: str = "none", filters: Mapping[str, str] | None = None
) -> SpendQuestion:
    return SpendQuestion(
        start=span.start, end=span.end, group_by=group_by, granularity=granularity, filters=filters or {}
    )


def summed_cost(sums: Sequence[Sums]) -> Decimal | None:
    """The sum of what is priced; None where nothing is."""
    priced = [one.cost_usd for one in sums if one.cost_usd is not None]
    return sum_usd(priced) if priced else None


def by_cost(row: SpendRow) -> tuple[Decimal, int]:
    return -(row.sums.cost_usd or Decimal(0)), -row.sums.events


def ratio(part: Decimal | int | None, whole: Decimal | int | None) -> Decimal | None:
    return None if part is None or not whole else Decimal(part) / Decimal(whole)


def over_time(org: Organization, asked: SpendQuestion) -> Spend:
    """Spend cut by time; where its groups are too many for one answer, all of them together."""
    answer = spend(org, asked)
    return answer if answer.following is None else spend(org, replace(asked, group_by=()))


def spend_chart(
    answer: Spend,
    span: Span,
    order: Sequence[str],
    at: datetime,
    none_label: str = "unattributed",
    *,
    drawn: Drawn = "stacked",
    previous: Spend | None = None,
    ahead: Ahead | None = None,
) -> Chart:
    """The answer's dimension over time; `previous` is what all of it came to in the period before, cut alike."""
    points = [
        SpendPoint(row.bucket, row.groups[0] if row.groups else "all", row.sums.cost_usd)
        for row in answer.rows
        if row.bucket is not None
    ]
    covered = ChartSpan(
        start=span.start.astimezone(span.zone),
        end=span.end.astimezone(span.zone),
        granularity=answer.granularity,  # type: ignore[arg-type]  # never "none" here
        at=at.astimezone(span.zone),
    )
    return spend_over_time(
        points,
        span=covered,
        order=order,
        none_label=none_label,
        drawn=drawn,
        buckets=() if drawn == "stacked" else list(span.calendar.starts(answer.granularity, span.start, span.end)),
        previous=_moved(previous, span) if previous else None,
        ahead=ahead,
    )


def _moved(previous: Spend, span: Span) -> dict[datetime, Decimal]:
    """What the period before came to, at the buckets of this one that lie as far from its beginning.

    Where months differ in length, what lies beyond the end of this period is left out.
    """
    moved = dict.fromkeys(span.calendar.starts(previous.granularity, span.start, span.end), Decimal(0))
    # On the wall clock: a day stays a day where the clock was moved between the two.
    gap = _wall(span.start, span) - _wall(span.previous_start, span)
    for row in previous.rows:
        assert row.bucket is not None
        # Its middle falls into the bucket that it lies over most.
        local = _wall(row.bucket, span) + gap + HALF[previous.granularity]
        middle = max(local.replace(tzinfo=span.zone).astimezone(UTC), span.start)
        bucket = span.calendar.start(previous.granularity, middle)
        if bucket in moved:
            moved[bucket] += row.sums.cost_usd or Decimal(0)
    return moved


def _wall(at: datetime, span: Span) -> datetime:
    return at.astimezone(span.zone).replace(tzinfo=None)
