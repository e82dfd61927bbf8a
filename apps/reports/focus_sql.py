"""The groups of a FOCUS file, from day rollups and pending deltas. Both need `tenant(org)` around them."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, NamedTuple

from django.db import connection

from apps.core.meters import METERS
from apps.core.money import pico_from_usd
from apps.reports.focus import Calls
from apps.reports.sql import SPEND_STORES, Asked, Query, Range

# What calls are told apart by, in the order of `Calls`.
GROUPED_BY = (
    "team", "project", "workflow", "task_type", "provider", "model", "service_tier", "environment", "api_key", "status",
)  # fmt: skip
GROUPS_AT_A_TIME = 2_000
_SUMMED = ("events", "cost_usd", *METERS)
# The day, the month and what calls are told apart by.
_KEYS = 2 + len(GROUPED_BY)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whole days by when calls occurred, or whole months, [first, last), by when they were booked; and which calls."""

    days: Range | None = None
    months: tuple[date, date] | None = None
    filters: Mapping[str, str] = field(default_factory=dict)
    excluded: Mapping[str, Sequence[str]] = field(default_factory=dict)


class Extent(NamedTuple):
    """How much a file is about: at most so many groups of priced calls, and calls of unknown price, in none of them."""

    groups: int
    unpriced_events: int


def extent(org_id: int, wanted: Wanted) -> Extent:
    query = _query(org_id, wanted, ("priced",))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FILTER (WHERE g0 = 'true'), COALESCE(sum(unpriced_events), 0)"
            f" FROM ({_union(query, wanted, ('unpriced_events',))}) AS parts",
            query.values,
        )
        groups, unpriced_events = cursor.fetchone()
    return Extent(groups, int(unpriced_events))


def calls(org_id: int, wanted: Wanted) -> Generator[Calls, None, None]:
    """Day by day, from a cursor of the server: however many there are, few are here at a time. To be closed in time."""
    query = _query(org_id, replace(wanted, filters={**wanted.filters, "priced": "true"}), GROUPED_BY)
    keys = ("at", "booked_month", *(f"g{index}" for index in range(len(GROUPED_BY))))
    # A zero is not fetched: of most meters a group has none.
    sums = ", ".join(f"NULLIF(sum({name}), 0)" for name in _SUMMED)
    with connection.chunked_cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(keys)}, {sums} FROM ({_union(query, wanted, ('booked_month', *_SUMMED))}) AS parts"
            f" GROUP BY {', '.join(keys)} ORDER BY {', '.join(f'{key} NULLS LAST' for key in keys)}",
            query.values,
        )
        while found := cursor.fetchmany(GROUPS_AT_A_TIME):
            yield from map(_calls, found)


def _query(org_id: int, wanted: Wanted, group_by: Sequence[str]) -> Query:
    return Query(org_id, Asked(group_by, wanted.filters, (), limit=0, offset=0, excluded=wanted.excluded))


def _union(query: Query, wanted: Wanted, selected: Sequence[str]) -> str:
    """Index: the primary key of usage_dayrollup, or usage_dayrollup_booked."""
    column, span = ("day_start", wanted.days) if wanted.days else ("booked_month", wanted.months)
    assert span is not None
    within = query.within(column, span)
    stores = (SPEND_STORES.days, SPEND_STORES.pending)
    return " UNION ALL ".join(query.part(store, "day_start", selected, within) for store in stores)


def _calls(row: tuple[Any, ...]) -> Calls:
    keys, (events, cost_usd, *quantities) = row[:_KEYS], row[_KEYS:]
    used = {meter: int(quantity) for meter, quantity in zip(METERS, quantities, strict=True) if quantity is not None}
    cost_pico = 0 if cost_usd is None else pico_from_usd(cost_usd)
    return Calls._make((*keys, int(events or 0), cost_pico, used))
