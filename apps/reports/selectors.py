"""Spend, asked by any dimension and any time: what pages, the API and statements read."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import DatabaseError
from django.utils import timezone

from apps.core.errors import DomainError
from apps.core.meters import METERS
from apps.core.periods import GRANULARITIES, Calendar, next_month
from apps.core.retry import is_timeout
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar
from apps.reports import dimensions, sql
from apps.usage.selectors import sealed_before, summed_days, with_sums

ROWS_MAX = 10_000
GROUPS_MAX = 6
BUCKETS_MAX = 10_000
# 31 days: a month of them in which the clock is moved back lasts an hour longer.
EVENTS_SPAN_MAX = timedelta(days=31, hours=1)
EVENTS_TIMEOUT_MS = 5_000
PATIENT_TIMEOUT_MS = 60_000
# What every answer sums: a cost is unknown where all of its events are unpriced.
COSTS = ("events", "cost_usd", "unpriced_events")
# Where keys of tags are looked for, and how many are listed.
TAGGED_EVENTS_MAX, TAG_KEYS_MAX = 2_000, 20
# No retention is shorter than a month.
KEPT_AT_LEAST = timedelta(days=27)


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over some spend. `cost_usd` sums what is priced and is None where nothing is; `meters` by name."""

    events: int = 0
    cost_usd: Decimal | None = Decimal(0)
    unpriced_events: int = 0
    errors: int = 0
    retries: int = 0
    escalations: int = 0
    meters: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SpendRow:
    """One group in one bucket; `groups` in the order of the question, None where the dimension is missing.

    `before`: its events and cost in the period that the question compares with.
    """

    groups: tuple[str | None, ...]
    bucket: datetime | None
    sums: Sums
    before: Sums | None = None


@dataclass(frozen=True, slots=True)
class Spend:
    """The answer. `source` says whether rollups or events gave it; `following` is the offset of more rows.

    `rows` are some of `row_count`; `total` and `before` sum all of them.
    """

    start: datetime
    end: datetime
    granularity: str
    group_by: tuple[str, ...]
    basis: str
    as_of: datetime
    source: str
    rows: list[SpendRow]
    total: Sums
    row_count: int
    following: int | None
    before: Sums | None = None


@dataclass(frozen=True, slots=True)
class SpendQuestion:
    """What is asked. `start` and `end` are any instants, half-open; on basis "booked" they begin months.

    A filter keeps one value of a dimension, an exclusion all but some, what has none among them; "" is the missing
    value. `before` is a period to compare with, where time is not cut. Rows come in their own order, or the `largest`
    first. Nobody sits and waits for a patient one: events may take a minute. `measures` says what to sum, `COSTS` at
    least; the rest is zero.
    """

    start: datetime
    end: datetime
    group_by: tuple[str, ...] = ()
    filters: Mapping[str, str] = field(default_factory=dict)
    granularity: str = "none"
    basis: str = "occurred"
    offset: int = 0
    limit: int = ROWS_MAX
    excluded: Mapping[str, Sequence[str]] = field(default_factory=dict)
    before: tuple[datetime, datetime] | None = None
    largest: bool = False
    is_patient: bool = False
    measures: tuple[str, ...] = sql.SHOWN

    @property
    def names(self) -> tuple[str, ...]:
        """The dimensions that it is about."""
        return (*self.group_by, *self.filters, *self.excluded)

    @property
    def source(self) -> str:
        return dimensions.source_of(self.names)


def spend(org: Organization, question: SpendQuestion) -> Spend:
    """Answer a question of spend in one statement, pending deltas included.

    Raises `DomainError` with a code and the parameter where it cannot be asked so.
    """
    starts, answer = _answer(org, question)
    rows = [_row(question, group, starts) for group in answer.groups]
    more = len(rows) > question.limit
    return replace(
        _without_rows(question, answer),
        rows=rows[: question.limit],
        following=question.offset + question.limit if more else None,
    )


def spend_streamed(org: Organization, question: SpendQuestion) -> tuple[Spend, Iterator[SpendRow]]:
    """The answer without its rows, and the rows one by one: of the same snapshot, whenever they are read."""
    starts, answer = _answer(org, question)
    return _without_rows(question, answer), (_row(question, group, starts) for group in answer.groups)


def _answer(org: Organization, question: SpendQuestion) -> tuple[list[datetime], sql.Answer]:
    # Which days are summed up by a facet, and their sums, are read one after the other: of one snapshot.
    with tenant(org, repeatable_read=question.source == dimensions.SOURCE_EVENTS):
        clock = calendar(org)
        check_question(question, clock)
        starts = _bucket_starts(question, clock)
        return starts, _ask(org, question, clock, starts)


def _without_rows(question: SpendQuestion, answer: sql.Answer) -> Spend:
    return Spend(
        start=question.start,
        end=question.end,
        granularity=question.granularity,
        group_by=question.group_by,
        basis=question.basis,
        as_of=answer.as_of,
        source="events" if question.source == dimensions.SOURCE_EVENTS else "rollups",
        rows=[],
        total=_sums(question, answer.total),
        row_count=answer.found,
        following=None,
        before=_before(answer.total),
    )


def _row(question: SpendQuestion, group: sql.Group, starts: Sequence[datetime]) -> SpendRow:
    bucket = starts[group.bucket - 1] if starts else None
    return SpendRow(group.groups, bucket, _sums(question, group), _before(group))


def meter_sum(sums: Sums, meters: Sequence[str]) -> int:
    return sum(sums.meters.get(meter, 0) for meter in meters)


def tag_keys(org: Organization, *, start: datetime, end: datetime, team: str | None = None) -> list[str]:
    """Keys of tags to ask by: at most `TAG_KEYS_MAX`, of the range's latest events, the most frequent first."""
    with tenant(org):
        return sql.tag_keys(org.pk, span=(start, end), team=team, events=TAGGED_EVENTS_MAX, limit=TAG_KEYS_MAX)


def this_month(org: Organization, at: datetime, *, whole: bool = False) -> tuple[datetime, datetime]:
    """From the start of the organization's month to `at`, or to the month's end where it is `whole`."""
    with tenant(org):
        clock = calendar(org)
    month = clock.month_of(at)
    return clock.month_start(month), clock.month_start(next_month(month)) if whole else at


def current_month(org: Organization, at: datetime) -> date:
    """The organization's local month at `at`."""
    with tenant(org):
        return calendar(org).month_of(at)


def check_question(question: SpendQuestion, clock: Calendar) -> None:
    """Raise `DomainError` with a code and the parameter where it cannot be asked so."""
    for name in question.group_by:
        dimensions.check(name, "group_by")
    for name in question.filters:
        dimensions.check(name, name)
    for name in question.excluded:
        dimensions.check(name, f"{dimensions.NOT}{name}")
    if len(question.group_by) > GROUPS_MAX or len(set(question.group_by)) < len(question.group_by):
        raise DomainError("group_by_invalid", f"Group by at most {GROUPS_MAX} different dimensions.", param="group_by")
    if question.granularity not in (*GRANULARITIES, "none"):
        raise DomainError(
            "granularity_unknown",
            f"'{question.granularity}' is no granularity: use {', '.join(GRANULARITIES)} or none.",
            param="granularity",
        )
    if question.basis not in ("occurred", "booked"):
        raise DomainError("basis_unknown", f"'{question.basis}' is no basis: use occurred or booked.", param="basis")
    if question.start >= question.end:
        raise DomainError(
            "range_empty",
            f"from ({question.start.isoformat()}) must lie before to ({question.end.isoformat()}).",
            param="from",
        )
    if question.basis == "booked":
        _check_booked(question, clock)


def _check_booked(question: SpendQuestion, clock: Calendar) -> None:
    for name, instant in (("from", question.start), ("to", question.end)):
        month = clock.month_of(instant)
        if clock.month_start(month) != instant:
            usable = clock.month_start(month if name == "from" else next_month(month))
            raise DomainError(
                "not_a_month",
                f"With basis=booked, {name} begins a month in the organization's zone, such as {usable.isoformat()}.",
                param=name,
            )
    if question.granularity not in ("month", "none"):
        raise DomainError(
            "granularity_unknown", "With basis=booked, granularity is month or none.", param="granularity"
        )
    if question.source == dimensions.SOURCE_EVENTS:
        raise DomainError(
            "dimension_unknown", "With basis=booked, ask for dimensions that rollups hold.", param="group_by"
        )


def _bucket_starts(question: SpendQuestion, clock: Calendar) -> list[datetime]:
    if question.granularity == "none":
        return []
    starts: list[datetime] = []
    for start in clock.starts(question.granularity, question.start, question.end):
        starts.append(start)
        if len(starts) > BUCKETS_MAX:
            raise DomainError(
                "range_too_long",
                f"More than {BUCKETS_MAX} {question.granularity}s: shorten the range or choose a coarser granularity.",
                param="granularity",
            )
    return starts


def _ask(org: Organization, question: SpendQuestion, clock: Calendar, starts: Sequence[datetime]) -> sql.Answer:
    # One row more than asked tells whether there are more.
    asked = sql.Asked(
        question.group_by,
        question.filters,
        starts,
        question.limit + 1,
        question.offset,
        question.excluded,
        question.largest,
        question.measures,
    )
    before = replace(question, start=question.before[0], end=question.before[1]) if question.before else None
    if question.source != dimensions.SOURCE_EVENTS:
        stores = sql.SPEND_STORES if question.source == dimensions.SOURCE_SPEND else sql.USER_STORES
        ranges, earlier = _ranges(question, clock), _ranges(before, clock) if before else None
        _refuse_deleted(org, [span for one in (ranges, earlier) if one for span in (*one.edges, *one.beyond)])
        return sql.sum_spend(org.pk, asked, stores=stores, ranges=ranges, before=earlier)
    cut, cut_before = _facet_ranges(org, question, clock), _facet_ranges(org, before, clock) if before else None
    for one in filter(None, (cut, cut_before)):
        _refuse_long(one.rest)
        _refuse_deleted(org, one.rest)
    try:
        timeout_ms = PATIENT_TIMEOUT_MS if question.is_patient else EVENTS_TIMEOUT_MS
        return sql.sum_facet(org.pk, asked, ranges=cut, timeout_ms=timeout_ms, before=cut_before)
    except DatabaseError as error:
        if is_timeout(error):
            raise DomainError(
                "query_too_slow",
                f"Events took longer than {timeout_ms // 1000} seconds: shorten the range, or ask for dimensions that"
                " rollups hold.",
                param="group_by",
            ) from error
        raise


def _refuse_deleted(org: Organization, spans: Sequence[sql.Range]) -> None:
    """Events answer for these spans: say so where retention deleted them, instead of answering less."""
    oldest = min((start for start, _ in spans), default=None)
    if oldest is None or oldest > timezone.now() - KEPT_AT_LEAST:
        return
    kept_since = sealed_before(org)
    if oldest < kept_since:
        raise DomainError(
            "events_deleted",
            f"Of before {kept_since.isoformat()} only sums by the hour are kept: begin and end at whole hours, and ask"
            " for dimensions that rollups hold.",
            param="from",
        )


def _refuse_long(spans: Sequence[sql.Range]) -> None:
    if sum((end - start for start, end in spans), timedelta()) > EVENTS_SPAN_MAX:
        raise DomainError(
            "range_too_long",
            "This combination of dimensions is answered from events, at most 31 days at a time: shorten from and to.",
            param="from",
        )


def _facet_ranges(org: Organization, question: SpendQuestion, clock: Calendar) -> sql.FacetRanges:
    """Whole days that are summed up by the one facet of the question, or have no value of it; the rest from events."""
    facet = dimensions.facet_of(question.names) if question.granularity != "hour" else ""
    summed: list[datetime] = []
    empty: list[datetime] = []
    rest: list[sql.Range] = []
    at = question.start
    for day in summed_days(org, question.start, question.end) if facet else ():
        following = _next(clock, "day", day.day_start + timedelta(hours=1))
        if following > question.end or day.leaves_out(facet):
            continue
        (summed if facet in day.facets else empty).append(day.day_start)
        rest.append((at, day.day_start))
        at = following
    rest = with_sums(org, _not_empty([*rest, (at, question.end)]))
    if not (summed or empty or rest):
        # Nothing happened; the answer says so all the same.
        rest = [(question.end, question.end)]
    return sql.FacetRanges(facet, summed, empty, rest)


def _ranges(question: SpendQuestion, clock: Calendar) -> sql.Ranges:
    """Whole days and hours come from rollups; the ragged ends come from events, on the side that is shorter.

    An hour of which most is wanted, and the hour that is not over yet, come from rollups, less what lies beyond.
    """
    if question.basis == "booked":
        return sql.Ranges(booked=(clock.month_of(question.start), clock.month_of(question.end)))
    start, end = question.start, question.end
    first_hour, last_hour = _next(clock, "hour", start), clock.hour(end)
    if first_hour >= last_hour:
        return sql.Ranges(edges=[(start, end)])
    edges, beyond = [(start, first_hour)], []
    if start - clock.hour(start) < first_hour - start:
        edges, first_hour, beyond = [], clock.hour(start), [(clock.hour(start), start)]
    over = _next(clock, "hour", end)
    if over - end < end - last_hour or over > timezone.now():
        last_hour, beyond = over, [*beyond, (end, over)]
    else:
        edges.append((last_hour, end))
    cut: dict[str, Any] = {"edges": _not_empty(edges), "beyond": _not_empty(beyond)}
    first_day, last_day = _next(clock, "day", first_hour), clock.day(last_hour)
    if question.granularity == "hour" or first_day >= last_day:
        return sql.Ranges(hours=[(first_hour, last_hour)], **cut)
    hours = _not_empty([(first_hour, first_day), (last_day, last_hour)])
    return sql.Ranges(days=[(first_day, last_day)], hours=hours, **cut)


def _not_empty(spans: Sequence[sql.Range]) -> list[sql.Range]:
    return [span for span in spans if span[0] < span[1]]


def _next(clock: Calendar, granularity: str, at: datetime) -> datetime:
    """`at` itself where a period begins there, else the beginning of the next one."""
    first = clock.start(granularity, at)
    return at if first == at else next(iter(_after(clock, granularity, first)))


def _after(clock: Calendar, granularity: str, first: datetime) -> Sequence[datetime]:
    return list(clock.starts(granularity, first, first + timedelta(hours=27)))[1:]


def _before(group: sql.Group) -> Sums | None:
    if not group.before:
        return None
    named = dict(zip(sql.COMPARED, group.before, strict=True))
    events, unpriced = int(named["events"]), int(named["unpriced_events"])
    cost = None if events and unpriced == events else named["cost_usd"]
    return Sums(events=events, cost_usd=cost, unpriced_events=unpriced)


def _sums(question: SpendQuestion, group: sql.Group) -> Sums:
    named = dict(zip(question.measures, group.sums, strict=True))
    events, unpriced = int(named["events"]), int(named["unpriced_events"])
    return Sums(
        events=events,
        cost_usd=None if events and unpriced == events else named["cost_usd"],
        unpriced_events=unpriced,
        errors=int(named.get("errors", 0)),
        retries=int(named.get("retries", 0)),
        escalations=int(named.get("escalations", 0)),
        meters={meter: int(named[meter]) for meter in METERS if meter in named},
    )
