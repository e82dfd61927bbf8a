"""Lines of bills by the thousand, and what was metered beside them. All need `tenant(org)` around them."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import islice
from typing import Any, NamedTuple

from django.db import connection

from apps.core.meters import METERS
from apps.core.tenancy import limit_time
from apps.reports.booked_sql import TEAM, counted

TIMEOUT_MS = 20_000
LINES_AT_ONCE = 5_000

# What one row of usage says of its day, in the order of `MeteredRow`.
_SUMS = ", ".join(f"sum({meter})" for meter in METERS)
_METERS = ", ".join(METERS)
# Days of the organization's zone are rolled up; days in UTC are made of hours.
_STORES = {
    "local": ("usage_dayrollup", "day_start", "day_start"),
    "utc": ("usage_hourrollup", "hour_start", "date_trunc('day', hour_start, 'UTC')"),
}


class LineRow(NamedTuple):
    """A line to store; `amount_usd` at the bill's rate."""

    row: int
    day: date | None
    account: str
    model: str
    meter: str
    quantity: int | None
    amount: Decimal
    amount_usd: Decimal
    kind: str
    text: str


class BilledRow(NamedTuple):
    """Lines of one provider that are alike, summed up; `quantity` is null where one does not say its own."""

    invoice_id: int
    day: date | None
    model: str
    meter: str
    kind: str
    quantity: int | None
    amount: Decimal
    amount_usd: Decimal


class MeteredRow(NamedTuple):
    """What was metered of a model on a day, which begins at `day_start`."""

    provider: str
    model: str
    day_start: datetime
    events: int
    cost_usd: Decimal
    quantities: tuple[int, ...]


def insert_lines(org_id: int, invoice_id: int, lines: Iterable[LineRow]) -> int:
    """Store lines under numbers from 1; how many. One statement for `LINES_AT_ONCE`."""
    waiting, number = iter(lines), 0
    types = ("int", "date", "text", "text", "text", "bigint", "numeric", "numeric", "text", "text")
    arrays = ", ".join(f"%s::{kind}[]" for kind in ("int", *types))
    columns = ", ".join(LineRow._fields)
    with connection.cursor() as cursor:
        while some := list(islice(waiting, LINES_AT_ONCE)):
            numbers = list(range(number + 1, number + len(some) + 1))
            number += len(some)
            cursor.execute(
                f"INSERT INTO reports_invoiceline (organization_id, invoice_id, number, {columns})"
                f" SELECT %s, %s, line.* FROM unnest({arrays}) AS line",
                [org_id, invoice_id, numbers, *(list(column) for column in zip(*some, strict=True))],
            )
    return number


def billed(org_id: int, invoices: Sequence[int]) -> list[BilledRow]:
    """Index: the primary key of reports_invoiceline."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT invoice_id, day, model, meter, kind,"
            " CASE WHEN count(quantity) = count(*) THEN sum(quantity) END, sum(amount), sum(amount_usd)"
            " FROM reports_invoiceline WHERE organization_id = %s AND invoice_id = ANY(%s)"
            " GROUP BY invoice_id, day, model, meter, kind",
            [org_id, list(invoices)],
        )
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return [BilledRow._make((*row[:5], None if row[5] is None else int(row[5]), row[6], row[7])) for row in rows]


def metered(org_id: int, days: str, start: datetime, end: datetime, *, limit: int) -> list[MeteredRow]:
    """Usage by provider, model and day ("utc" or "local") that occurred in [start, end), pending deltas included.

    At most `limit` rows. Index: the primary keys of the rollups.
    """
    table, at, day = _STORES[days]
    scope = f"organization_id = %(org)s AND {at} >= %(start)s AND {at} < %(end)s"
    columns = f"provider, model, {day} AS day_start, events, cost_usd, {_METERS}"
    parts = " UNION ALL ".join(f"SELECT {columns} FROM {store} WHERE {scope}" for store in (table, "usage_delta"))
    rows = _rows(
        f"SELECT provider, model, day_start, sum(events), sum(cost_usd), {_SUMS} FROM ({parts}) AS parts"
        " GROUP BY provider, model, day_start LIMIT %(limit)s",
        {"org": org_id, "start": start, "end": end, "limit": limit},
    )
    return [
        MeteredRow(row[0], row[1], row[2], int(row[3]), row[4], tuple(int(quantity) for quantity in row[5:]))
        for row in rows
    ]


def metered_by_team(org_id: int, start: datetime, end: datetime) -> list[tuple[str, str, str | None, Decimal]]:
    """(provider, model, team, cost) of local days in [start, end), the team null where spend is unattributed."""
    parts = counted(f"provider, model, {TEAM}, cost_usd", "day_start >= %(start)s AND day_start < %(end)s")
    return _rows(
        f"SELECT provider, model, team, sum(cost_usd) FROM ({parts}) AS parts GROUP BY provider, model, team",
        {"org": org_id, "start": start, "end": end},
    )


def _rows(statement: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    limit_time(TIMEOUT_MS)
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found
