"""The one question of spend, asked of rollups + pending deltas + the ragged edges of events, in one statement.

All need `tenant(org)` around them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import connection
from django.db.backends.utils import CursorWrapper

from apps.core.tenancy import limit_time
from apps.reports.dimensions import EVENTS, SPEND, TAG, USER
from apps.usage.deltas import MEASURES
from apps.usage.facets_sql import POSTED_WITH_EVENT
from apps.usage.sql import EVENT_MEASURES

Range = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Ranges:
    """A time range cut for the stores, as half-open pairs.

    Days and hours from rollups, edges from events; what lies beyond the range in its first and last hour is taken off
    again, from events too.
    """

    days: Sequence[Range] = ()
    hours: Sequence[Range] = ()
    edges: Sequence[Range] = ()
    beyond: Sequence[Range] = ()
    booked: tuple[date, date] | None = None


@dataclass(frozen=True, slots=True)
class FacetRanges:
    """A time range cut for a question about one facet: days summed up by it, days without a value of it, the rest."""

    facet: str
    summed: Sequence[datetime] = ()
    empty: Sequence[datetime] = ()
    rest: Sequence[Range] = ()


@dataclass(frozen=True, slots=True)
class Stores:
    """The tables of one grain."""

    days: str
    hours: str
    pending: str


SPEND_STORES = Stores("usage_dayrollup", "usage_hourrollup", "usage_delta")
USER_STORES = Stores("usage_userdayrollup", "usage_userhourrollup", "usage_userdelta")

ROWS_MADE = 1_000
SHOWN = tuple(measure for measure in MEASURES if not measure.startswith(("ln_", "input_events")))
# What is summed of the period that another is compared with.
COMPARED = ("events", "unpriced_events", "cost_usd")


@dataclass(frozen=True, slots=True)
class Asked:
    """What to group and filter by, how to cut time (no starts: one bucket), and which page of groups.

    Groups come in their own order, or the `largest` first. `measures` are some of `SHOWN`, in its order: each that is
    not asked for saves its sum over every row.
    """

    group_by: Sequence[str]
    filters: Mapping[str, str]
    bucket_starts: Sequence[datetime]
    limit: int
    offset: int
    excluded: Mapping[str, Sequence[str]] = field(default_factory=dict)
    largest: bool = False
    measures: Sequence[str] = SHOWN


class Group(NamedTuple):
    """One group: the number of its bucket (from 1; 0 without buckets), its dimensions, and its sums as asked.

    `before` are the sums of the period that this one is compared with, as in `COMPARED`; empty without one.
    """

    bucket: int
    groups: tuple[str | None, ...]
    sums: tuple[Decimal, ...]
    before: tuple[Decimal, ...]


class Answer(NamedTuple):
    """`as_of` is the snapshot's time; `total` sums all `found` groups, which `groups` are some of."""

    as_of: datetime
    found: int
    total: Group
    groups: Iterator[Group]


def sum_spend(org_id: int, asked: Asked, *, stores: Stores, ranges: Ranges, before: Ranges | None = None) -> Answer:
    """Spend from rollups, pending deltas and the edges of events; with `before`, of that period beside it.

    Index: the primary keys of the rollups, which lead with the organization and the bucket.
    """
    query = Query(org_id, asked)
    parts = _stored_parts(query, stores, ranges)
    return _fetch(query, parts, _stored_parts(query, stores, before) if before else [], asked)


def sum_facet(
    org_id: int, asked: Asked, *, ranges: FacetRanges, timeout_ms: int, before: FacetRanges | None = None
) -> Answer:
    """The question of one facet, from days summed up by it and events; stops after `timeout_ms`.

    Index: the primary key of usage_facetrollup.
    """
    query = Query(org_id, asked)
    limit_time(timeout_ms)
    return _fetch(query, _facet_parts(query, ranges), _facet_parts(query, before) if before else [], asked)


def tag_keys(org_id: int, *, span: Range, team: str | None, events: int, limit: int) -> list[str]:
    """Keys of tags that the range's latest `events` have, the most frequent first; with `team`, those of its events.

    Index: the primary key of events, backwards. A move only ever makes an unknown name known, so that what an event
    says of its team at first is a team's own.
    """
    start, end = span
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH latest AS (SELECT tags, team, team_id FROM usage_event WHERE organization_id = %(org)s"
            " AND hour_start > %(start)s::timestamptz - interval '1 hour' AND hour_start < %(end)s"
            " AND occurred_at >= %(start)s AND occurred_at < %(end)s"
            " ORDER BY hour_start DESC, occurred_at DESC, event_id DESC LIMIT %(events)s)"
            " SELECT key FROM latest, LATERAL jsonb_object_keys(tags) AS key"
            " WHERE %(team)s::text IS NULL OR (team_id IS NOT NULL AND team = %(team)s)"
            " GROUP BY key ORDER BY count(*) DESC, key LIMIT %(limit)s",
            {"org": org_id, "start": start, "end": end, "team": team, "events": events, "limit": limit},
        )
        return [key for (key,) in cursor.fetchall()]


class Query:
    """Groups, conditions and bound values that every part of the union shares."""

    def __init__(
        self, org_id: int, asked: Asked, *, facet: str | None = None, values: dict[str, Any] | None = None
    ) -> None:
        """`facet` is what to read for a dimension that only events hold; `values` are bound with another query's."""
        group_by, filters, excluded = asked.group_by, asked.filters, asked.excluded
        self.asked, self.facet = asked, facet
        self.values: dict[str, Any] = {"org": org_id} if values is None else values
        self.group_by = group_by
        self.measures = asked.measures
        self.asks_of_events = any(name in EVENTS or name.startswith(TAG) for name in (*group_by, *filters, *excluded))
        self.groups = ", ".join(f"{self._expression(name)} AS g{index}" for index, name in enumerate(group_by))
        self.conditions = [
            "organization_id = %(org)s",
            *(self._condition(*pair) for pair in filters.items()),
            *(self._exclusion(name, value) for name, values in excluded.items() for value in values),
        ]

    def of_facet(self, expression: str) -> "Query":
        """The same question, asked of a table in which the facet's value is this expression."""
        return Query(self.values["org"], self.asked, facet=expression, values=self.values)

    def bind(self, value: Any) -> str:
        name = f"v{len(self.values)}"
        self.values[name] = value
        return f"%({name})s"

    def _expression(self, name: str) -> str:
        if self.facet is not None and (name in EVENTS or name.startswith(TAG)):
            return self.facet
        if name.startswith(TAG):
            return f"tags->>{self.bind(name.removeprefix(TAG))}"
        return SPEND.get(name) or USER.get(name) or EVENTS[name]

    def _condition(self, name: str, value: str) -> str:
        expression = self._expression(name)
        return f"({expression}) IS NULL" if value == "" else f"({expression}) = {self.bind(value)}"

    def _exclusion(self, name: str, value: str) -> str:
        """What has no value stays in, unless it is that which is excluded."""
        expression = self._expression(name)
        if value == "":
            return f"({expression}) IS NOT NULL"
        return f"({expression}) IS DISTINCT FROM {self.bind(value)}"

    def part(self, table: str, at: str, measures: Sequence[str], *conditions: str) -> str:
        columns = ", ".join(filter(None, [f"{at} AS at", self.groups, *measures]))
        return f"SELECT {columns} FROM {table} WHERE {' AND '.join((*self.conditions, *conditions))}"

    def within(self, column: str, span: tuple[Any, Any]) -> str:
        return f"{column} >= {self.bind(span[0])} AND {column} < {self.bind(span[1])}"


def _stored_parts(query: Query, stores: Stores, ranges: Ranges) -> list[str]:
    parts = _rollup_parts(query, stores, ranges)
    parts += [part for edge in ranges.edges for part in _event_parts(query, edge)]
    parts += [part for span in ranges.beyond for part in _event_parts(query, span, sign="-")]
    return parts


def _rollup_parts(query: Query, stores: Stores, ranges: Ranges) -> list[str]:
    if ranges.booked is not None:
        booked = query.within("booked_month", ranges.booked)
        # The middle of a month lies in its bucket in every zone, its first midnight in UTC does not.
        at = "(booked_month + 14)::timestamptz"
        return [query.part(table, at, query.measures, booked) for table in (stores.days, stores.pending)]
    stored = [(stores.days, "day_start", span) for span in ranges.days]
    stored += [(stores.hours, "hour_start", span) for span in ranges.hours]
    stored += [(stores.pending, "hour_start", span) for span in (*ranges.days, *ranges.hours)]
    return [query.part(table, at, query.measures, query.within(at, span)) for table, at, span in stored]


def _event_parts(query: Query, span: Range, sign: str = "") -> list[str]:
    """Events and postings of [start, end): the bound on hour_start lets Postgres skip the other months."""
    start, end = span
    time = query.within("occurred_at", span)
    near = f"hour_start > {query.bind(start)}::timestamptz - interval '1 hour' AND hour_start < {query.bind(end)}"
    from_events = [f"{sign}({EVENT_MEASURES[name]}) AS {name}" for name in query.measures]
    from_postings = [f"{sign}{name} AS {name}" for name in query.measures]
    posted = POSTED_WITH_EVENT if query.asks_of_events else "usage_posting"
    return [
        query.part("usage_event", "hour_start", from_events, time, near),
        query.part(posted, "hour_start", from_postings, time),
    ]


def _facet_parts(query: Query, ranges: FacetRanges) -> list[str]:
    parts = [part for span in ranges.rest for part in _event_parts(query, span)]
    if ranges.summed:
        # No value of an event is empty: "" stands for none, which a key cannot be.
        summed = query.of_facet("NULLIF(value, '')")
        days, facet = (query.bind(value) for value in (list(ranges.summed), ranges.facet))
        conditions = f"facet = {facet} AND day_start = ANY({days})"
        parts.append(summed.part("usage_facetrollup", "day_start", query.measures, conditions))
    if ranges.empty:
        conditions = f"day_start = ANY({query.bind(list(ranges.empty))})"
        parts.append(query.of_facet("NULL::text").part("usage_dayrollup", "day_start", query.measures, conditions))
    return parts


def _fetch(query: Query, parts: Sequence[str], before: Sequence[str], asked: Asked) -> Answer:
    cursor = connection.cursor()
    cursor.execute(_statement(query, parts, before, asked), query.values)
    as_of, found, *total = cursor.fetchone()
    return Answer(as_of, found, _group(total, asked), _groups(cursor, asked))


def _groups(cursor: CursorWrapper, asked: Asked) -> Iterator[Group]:
    """Made of the answer, which is here whole, as they are asked for: many of them take more room than their text."""
    with cursor:
        while rows := cursor.fetchmany(ROWS_MADE):
            for row in rows:
                yield _group(row[2:], asked)


def _statement(query: Query, parts: Sequence[str], before: Sequence[str], asked: Asked) -> str:
    """One row that sums everything and counts the groups, then the groups asked for."""
    starts = list(asked.bucket_starts)
    bucket = f"width_bucket(at, {query.bind(starts)}::timestamptz[])" if starts else "0"
    keys = ["bucket", *(f"g{index}" for index in range(len(query.group_by)))]
    now = "FILTER (WHERE NOT is_before)" if before else ""
    sums = {name: f"sum({name}) {now}" for name in query.measures}
    if before:
        sums |= {f"before_{name}": f"sum({name}) FILTER (WHERE is_before)" for name in COMPARED}
    summed = ", ".join(f"COALESCE({text}, 0) AS {name}" for name, text in sums.items())
    is_something = " OR ".join(f"{name} <> 0" for name in sums)
    order = [f"{key} NULLS LAST" for key in keys]
    if asked.largest:
        order = ["cost_usd DESC", *(["before_cost_usd DESC"] if before else []), "events DESC", *order]
    sides = [*(("false", part) for part in parts), *(("true", part) for part in before)]
    together = " UNION ALL ".join(f"SELECT {side} AS is_before, part.* FROM ({part}) AS part" for side, part in sides)
    return (
        f"WITH cut AS (SELECT {bucket} AS bucket, parts.* FROM ({together}) AS parts),"
        f" summed AS (SELECT GROUPING(bucket) = 1 AS is_total, {', '.join(keys)}, {summed} FROM cut"
        f" GROUP BY GROUPING SETS ((), ({', '.join(keys)}))),"
        f" found AS (SELECT * FROM summed WHERE is_total OR {is_something})"
        " (SELECT transaction_timestamp(), (SELECT count(*) - 1 FROM found), * FROM found WHERE is_total) UNION ALL"
        " (SELECT transaction_timestamp(), 0, * FROM found WHERE NOT is_total"
        f" ORDER BY {', '.join(order)} LIMIT {query.bind(asked.limit)} OFFSET {query.bind(asked.offset)})"
    )


def _group(row: Sequence[Any], asked: Asked) -> Group:
    """Of a row from `is_total` on."""
    first = 2 + len(asked.group_by)
    last = first + len(asked.measures)
    return Group(row[1], tuple(row[2:first]), tuple(row[first:last]), tuple(row[last:]))
