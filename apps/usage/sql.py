"""Statements of the fact store. All need `tenant(org)` around them.

Rows travel as one JSON parameter and become rows of the table's own type in Postgres: one value to bind
instead of sixty thousand. Every statement also names the organization (wall one) and stays inside the SQL
that Citus accepts: inserts ON CONFLICT, counts from RETURNING.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

import msgspec
from django.db import connection

from apps.core.meters import METERS, PROMPT_METERS
from apps.usage import runs_sql
from apps.usage.deltas import (
    EVENT_COLUMNS,
    MEASURES,
    PRICED_BY,
    RUN_SUMS,
    SPEND_DIMENSIONS,
    USER_DIMENSIONS,
    Deltas,
    EventRow,
    NewEvent,
)

_encode = msgspec.json.Encoder(decimal_format="string").encode

EPOCH_MONTH = date(1970, 1, 1)


class OpenMonth(NamedTuple):
    first_open_month: date
    previewed_at: datetime | None


def open_month(org_id: int, *, closing: bool = False) -> OpenMonth:
    """The month row, held FOR SHARE so that no month can be closed before this transaction ends.

    With `closing` it is held FOR UPDATE: no batch is stored meanwhile.
    """
    lock = "UPDATE" if closing else "SHARE"
    with connection.cursor() as cursor:
        for _ in range(2):
            cursor.execute(
                f"SELECT first_open_month, previewed_at FROM usage_openmonth WHERE organization_id = %s FOR {lock}",
                [org_id],
            )
            if row := cursor.fetchone():
                return OpenMonth(*row)
            cursor.execute(
                "INSERT INTO usage_openmonth (organization_id, first_open_month) VALUES (%s, %s)"
                " ON CONFLICT (organization_id) DO NOTHING",
                [org_id, EPOCH_MONTH],
            )
    raise AssertionError("the month row was inserted and is not there")


def set_open_month(org_id: int, month: date) -> None:
    """Everything before `month` is closed. The caller holds the month row FOR UPDATE."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE usage_openmonth SET first_open_month = %s WHERE organization_id = %s", [month, org_id])


def insert_keys(org_id: int, events: Iterable[NewEvent]) -> set[str]:
    """The event ids that are new. Sorted by id: overlapping batches lock in one order. Index: the primary key."""
    keys = [
        {
            "event_id": row.event_id,
            "fingerprint": f"\\x{fingerprint.hex()}",
            "occurred_at": row.occurred_at,
            "hour_start": row.hour_start,
        }
        for row, fingerprint in sorted(events, key=lambda event: event.row.event_id)
    ]
    columns = ("organization_id", "event_id", "fingerprint", "occurred_at", "hour_start")
    return {event_id for (event_id,) in insert_rows("usage_eventkey", columns, (), org_id, keys, returning="event_id")}


def fingerprints(org_id: int, event_ids: Sequence[str]) -> dict[str, bytes]:
    """The stored payload fingerprint of each of these ids. Index: the primary key."""
    if not event_ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT event_id, fingerprint FROM usage_eventkey WHERE organization_id = %s AND event_id = ANY(%s)",
            [org_id, list(event_ids)],
        )
        return {event_id: bytes(fingerprint) for event_id, fingerprint in cursor.fetchall()}


def insert_events(org_id: int, rows: Sequence[EventRow]) -> None:
    """Store rows that the caller knows to be new."""
    stored = insert_rows("usage_event", EVENT_COLUMNS, METERS, org_id, rows)
    assert len(stored) == len(rows), "a new key had an old event"


_BUCKETS = ("organization_id", "hour_start", "day_start", "booked_month")
_DELTA = ("delta_id", "grain", *_BUCKETS, *SPEND_DIMENSIONS, *MEASURES)
_USER_DELTA = ("delta_id", "grain", *_BUCKETS, *USER_DIMENSIONS, *MEASURES)
_POSTING = (
    "cause", "event_id", "side", "reason", "actor", "posted_at", "occurred_at", "user_name", "run_id", *PRICED_BY,
    *_BUCKETS, *SPEND_DIMENSIONS, *MEASURES,
)  # fmt: skip


def insert_deltas(org_id: int, deltas: Deltas) -> None:
    insert_rows("usage_delta", _DELTA, MEASURES, org_id, deltas.spend)
    insert_rows("usage_userdelta", _USER_DELTA, MEASURES, org_id, deltas.users)
    insert_rows("usage_rundelta", ("delta_id", *runs_sql.COLUMNS), runs_sql.SUMS, org_id, deltas.runs)


def insert_rows(
    table: str,
    columns: Sequence[str],
    zeros: Sequence[str],
    org_id: int,
    rows: Sequence[Mapping[str, Any] | EventRow],
    returning: str = "1",
    on_conflict: str = "DO NOTHING",
) -> list[tuple[Any, ...]]:
    """Insert rows of the organization, by default where their key is new; what was inserted comes back.

    A column that a row leaves out is 0 where `zeros` names it, else NULL.
    """
    if not rows:
        return []
    names = ", ".join(columns)
    base = _encode({"organization_id": org_id, **dict.fromkeys(zeros, 0)}).decode()
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} AS r ({names}) SELECT {names} FROM json_populate_recordset("
            f"json_populate_record(NULL::{table}, %s::json), %s::json) ON CONFLICT {on_conflict} RETURNING {returning}",
            [base, _encode(rows).decode()],
        )
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


def insert_postings(org_id: int, rows: Sequence[Mapping[str, Any]]) -> set[tuple[str, int]]:
    """The (event id, side) pairs that this cause had not posted yet. Index: the primary key."""
    stored = insert_rows("usage_posting", _POSTING, MEASURES, org_id, rows, returning="cause, event_id, side")
    keys = ("cause", "event_id", "side")
    uncounted = [dict(zip(keys, row, strict=True)) for row in stored]
    insert_rows("usage_uncountedposting", ("organization_id", *keys), (), org_id, uncounted)
    return {(event_id, side) for _, event_id, side in stored}


def days_of_unknown_names(org_id: int) -> tuple[datetime, datetime] | None:
    """The first and the last day in which an event named a team, project or workflow that was not known then."""
    unknown = " OR ".join(f"({kind} IS NOT NULL AND {kind}_id IS NULL)" for kind in ("team", "project", "workflow"))
    days = " UNION ALL ".join(
        f"SELECT day_start FROM {table} WHERE organization_id = %(org)s AND ({unknown})"
        for table in ("usage_dayrollup", "usage_delta")
    )
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT min(day_start), max(day_start) FROM ({days}) AS days", {"org": org_id})
        first, last = cursor.fetchone()
    return None if first is None else (first, last)


# --- moving deltas -----------------------------------------------------------------------------------


def has_pending(org_id: int) -> bool:
    """Whether any delta waits. Index: the primary keys."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM usage_delta WHERE organization_id = %(org)s)"
            " OR EXISTS (SELECT FROM usage_userdelta WHERE organization_id = %(org)s)"
            " OR EXISTS (SELECT FROM usage_rundelta WHERE organization_id = %(org)s)",
            {"org": org_id},
        )
        pending: bool = cursor.fetchone()[0]
        return pending


def take_rollup_turn(org_id: int, *, waits: bool = False) -> bool:
    """Whether this transaction may move the deltas; False while another one does and this one does not wait."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO usage_rollupstate (organization_id) VALUES (%s) ON CONFLICT (organization_id) DO NOTHING",
            [org_id],
        )
        lock = "FOR UPDATE" if waits else "FOR UPDATE SKIP LOCKED"
        cursor.execute(f"SELECT 1 FROM usage_rollupstate WHERE organization_id = %s {lock}", [org_id])
        return cursor.fetchone() is not None


def note_rollup(org_id: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE usage_rollupstate SET rolled_at = clock_timestamp() WHERE organization_id = %s", [org_id]
        )


def move_spend_deltas(org_id: int, limit: int) -> int:
    """Move up to `limit` deltas into hour and day rollups; how many were moved.

    What is summed up of their days by facet no longer holds every event, and is forgotten with it.
    """
    forgotten = (
        "DELETE FROM usage_facetday WHERE organization_id = %(org)s"
        " AND day_start IN (SELECT day_start FROM taken) RETURNING 1"
    )
    return _move("usage_delta", "usage_hourrollup", "usage_dayrollup", SPEND_DIMENSIONS, org_id, limit, forgotten)


def move_user_deltas(org_id: int, limit: int) -> int:
    return _move("usage_userdelta", "usage_userhourrollup", "usage_userdayrollup", USER_DIMENSIONS, org_id, limit)


def _move(
    queue: str, hours: str, days: str, dimensions: Sequence[str], org_id: int, limit: int, beside: str = "SELECT 1"
) -> int:
    """Take and add in one statement: a delta is pending or rolled up, never both, never neither."""
    hour = _upsert(hours, ("hour_start", "day_start"), ("hour_start",), dimensions)
    day = _upsert(days, ("day_start",), ("day_start",), dimensions)
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH taken AS ({runs_sql.TAKEN.format(queue=queue)}), hours AS ({hour}), days AS ({day}),"
            f" beside AS ({beside})"
            " SELECT count(*), (SELECT count(*) FROM hours), (SELECT count(*) FROM days) FROM taken",
            {"org": org_id, "limit": limit},
        )
        moved: int = cursor.fetchone()[0]
        return moved


def _upsert(table: str, buckets: Sequence[str], key: Sequence[str], dimensions: Sequence[str]) -> str:
    by = ", ".join(("organization_id", *buckets, "booked_month", "grain", *dimensions))
    sums = ", ".join(f"sum({measure})" for measure in MEASURES)
    added = ", ".join(f"{measure} = r.{measure} + EXCLUDED.{measure}" for measure in MEASURES)
    target = ", ".join(("organization_id", *key, "booked_month", "grain"))
    return (
        f"INSERT INTO {table} AS r ({by}, {', '.join(MEASURES)}) SELECT {by}, {sums} FROM taken"
        f" GROUP BY {by} ORDER BY {target} ON CONFLICT ({target}) DO UPDATE SET {added} RETURNING 1"
    )


# --- reconciliation ----------------------------------------------------------------------------------

EVENT_MEASURES: dict[str, str] = {
    "events": "1",
    **{meter: meter for meter in METERS},
    "cost_usd": "COALESCE(cost_usd, 0)",
    "unpriced_events": "(cost_usd IS NULL)::int",
    "errors": "(status = 'error')::int",
    "retries": "(attempt > 1)::int",
    "escalations": "(escalated_from IS NOT NULL)::int",
    "input_events": "(ln_input_micro IS NOT NULL)::int",
    "ln_input_micro": "COALESCE(ln_input_micro, 0)",
    "ln_input_sq_pico": "COALESCE(ln_input_micro::bigint * ln_input_micro, 0)",
}
_PROMPT = f"({' + '.join(PROMPT_METERS)})"
_RUN_EVENT_SUMS: dict[str, str] = {
    "steps": "(attempt = 1)::int",
    "slope_n": "(step IS NOT NULL)::int",
    "slope_step": "COALESCE(step, 0)",
    "slope_step_sq": "COALESCE(step::numeric * step, 0)",
    "slope_input": f"CASE WHEN step IS NULL THEN 0 ELSE {_PROMPT} END",
    "slope_step_input": f"COALESCE(step::numeric * {_PROMPT}, 0)",
    **EVENT_MEASURES,
}


def sealed_before(org_id: int) -> datetime:
    """Events whose hour begins before this instant may be deleted and are accounted for by seals."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT COALESCE((max(month) + interval '1 month') AT TIME ZONE 'UTC', 'epoch'::timestamptz)"
            " FROM usage_seal WHERE organization_id = %s",
            [org_id],
        )
        before: datetime = cursor.fetchone()[0]
        return before


def unbalanced_spend(org_id: int, since: datetime) -> list[dict[str, Any]]:
    """Buckets in which events + postings differ from hour rollups + pending deltas: empty when all is well."""
    return _unbalanced("usage_hourrollup", "usage_delta", SPEND_DIMENSIONS, org_id, since)


def unbalanced_users(org_id: int, since: datetime) -> list[dict[str, Any]]:
    return _unbalanced("usage_userhourrollup", "usage_userdelta", USER_DIMENSIONS, org_id, since)


def _unbalanced(
    hours: str, queue: str, dimensions: Sequence[str], org_id: int, since: datetime
) -> list[dict[str, Any]]:
    by = ", ".join(("hour_start", "day_start", "booked_month", *dimensions))
    signed = {table: ", ".join(f"{sign}{m} AS {m}" for m in MEASURES) for table, sign in ((hours, "-"), (queue, "-"))}
    from_events = ", ".join(f"{expression} AS {name}" for name, expression in EVENT_MEASURES.items())
    scope = "WHERE organization_id = %(org)s AND hour_start >= %(since)s"
    parts = [
        f"SELECT {by}, {from_events} FROM usage_event {scope}",
        f"SELECT {by}, {', '.join(MEASURES)} FROM usage_posting {scope}",
        *(f"SELECT {by}, {columns} FROM {table} {scope}" for table, columns in signed.items()),
    ]
    return _differences(parts, by, {"org": org_id, "since": since})


def unbalanced_days(org_id: int) -> list[dict[str, Any]]:
    """Days in which the day rollups differ from the sum of their hours."""
    return [
        row
        for hours, days in (
            ("usage_hourrollup", "usage_dayrollup"),
            ("usage_userhourrollup", "usage_userdayrollup"),
        )
        for row in _differences(
            [
                f"SELECT day_start, booked_month, grain, {', '.join(MEASURES)} FROM {hours}"
                " WHERE organization_id = %(org)s",
                f"SELECT day_start, booked_month, grain, {', '.join(f'-{m}' for m in MEASURES)} FROM {days}"
                " WHERE organization_id = %(org)s",
            ],
            "day_start, booked_month, grain",
            {"org": org_id},
        )
    ]


def unbalanced_runs(org_id: int, since: datetime) -> list[dict[str, Any]]:
    """Runs whose sums differ from their events'; runs that began before `since` may have lost events to retention."""
    from_events = ", ".join(f"{expression} AS {name}" for name, expression in _RUN_EVENT_SUMS.items())
    posted = ", ".join([*(f"0 AS {name}" for name in RUN_SUMS), *MEASURES])
    minus = ", ".join(f"-{name} AS {name}" for name in runs_sql.SUMS)
    begun = "SELECT run_id FROM {} WHERE organization_id = %(org)s AND first_at < %(since)s"
    before = f"{begun.format('usage_run')} UNION ALL {begun.format('usage_rundelta')}"
    scope = f"WHERE organization_id = %(org)s AND run_id IS NOT NULL AND NOT (run_id IN ({before}))"
    parts = [
        f"SELECT run_id, {from_events} FROM usage_event {scope}",
        f"SELECT run_id, {posted} FROM usage_posting {scope}",
        f"SELECT run_id, {minus} FROM usage_run {scope}",
        f"SELECT run_id, {minus} FROM usage_rundelta {scope}",
    ]
    return _differences(parts, "run_id", {"org": org_id, "since": since}, runs_sql.SUMS)


def unbalanced_seals(org_id: int, since: datetime) -> list[dict[str, Any]]:
    """Months before `since` whose seal + postings differ from rollups + pending deltas, or that have no seal."""
    month = "date_trunc('month', hour_start AT TIME ZONE 'UTC')::date"
    minus = ", ".join(f"-{measure} AS {measure}" for measure in MEASURES)
    scope = "WHERE organization_id = %(org)s AND hour_start < %(since)s"
    parts = [
        f"SELECT month, {', '.join(MEASURES)} FROM usage_seal WHERE organization_id = %(org)s",
        f"SELECT {month} AS month, {', '.join(MEASURES)} FROM usage_posting {scope}",
        *(f"SELECT {month} AS month, {minus} FROM {table} {scope}" for table in ("usage_hourrollup", "usage_delta")),
    ]
    return _differences(parts, "month", {"org": org_id, "since": since})


DIFFERENCES_MAX = 20


def _differences(
    parts: Sequence[str], by: str, parameters: Mapping[str, Any], measures: Sequence[str] = MEASURES
) -> list[dict[str, Any]]:
    """Groups in which the signed parts do not cancel, each with the measures that differ; at most `DIFFERENCES_MAX`."""
    sums = ", ".join(f"sum({measure}) AS {measure}" for measure in measures)
    wrong = " OR ".join(f"sum({measure}) <> 0" for measure in measures)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {by}, {sums} FROM ({' UNION ALL '.join(parts)}) AS parts"
            f" GROUP BY {by} HAVING {wrong} LIMIT {DIFFERENCES_MAX}",
            parameters,
        )
        names = [column.name for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return [{name: value for name, value in row.items() if name not in measures or value != 0} for row in rows]


# --- retention ---------------------------------------------------------------------------------------


def seal(org_id: int, month: date, until: date) -> None:
    """Write what the UTC month [month, until) of events sums to, once.

    The digest is SHA-256 over the digests of the month's hours, each over its (event id, fingerprint) by id.
    """
    sums = ", ".join(f"sum({expression}) AS {name}" for name, expression in EVENT_MEASURES.items())
    totals = ", ".join(f"COALESCE(sum({name}), 0)" for name in EVENT_MEASURES)
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH hours AS (SELECT e.hour_start,"
            "  sha256(string_agg(convert_to(e.event_id, 'UTF8') || k.fingerprint, ''::bytea"
            f'   ORDER BY e.event_id COLLATE "C")) AS digest, {sums}'
            " FROM usage_event e JOIN usage_eventkey k"
            "  ON k.organization_id = e.organization_id AND k.event_id = e.event_id"
            " WHERE e.organization_id = %(org)s"
            "  AND e.hour_start >= %(month)s::timestamp AT TIME ZONE 'UTC'"
            "  AND e.hour_start < %(until)s::timestamp AT TIME ZONE 'UTC'"
            " GROUP BY e.hour_start)"
            f" INSERT INTO usage_seal (organization_id, month, sealed_at, digest, {', '.join(EVENT_MEASURES)})"
            " SELECT %(org)s, %(month)s, clock_timestamp(),"
            f"  sha256(COALESCE(string_agg(digest, ''::bytea ORDER BY hour_start), ''::bytea)), {totals} FROM hours"
            " ON CONFLICT (organization_id, month) DO NOTHING",
            {"org": org_id, "month": month, "until": until},
        )


def sealed_months(org_id: int) -> set[date]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT month FROM usage_seal WHERE organization_id = %s", [org_id])
        return {month for (month,) in cursor.fetchall()}


def oldest_event_month(org_id: int) -> date | None:
    """The UTC month of the organization's oldest event. Index: the primary key."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT date_trunc('month', min(hour_start) AT TIME ZONE 'UTC')::date FROM usage_event"
            " WHERE organization_id = %s",
            [org_id],
        )
        month: date | None = cursor.fetchone()[0]
        return month


def delete_events(org_id: int, before: datetime, limit: int) -> int:
    """Delete the oldest events of before an instant, about `limit` of them and whole hours; how many went.

    A range of the primary key, so that no plan can compare every row with every other.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH oldest AS MATERIALIZED (SELECT hour_start FROM usage_event"
            "  WHERE organization_id = %(org)s AND hour_start < %(before)s"
            "  ORDER BY hour_start, occurred_at, event_id LIMIT %(limit)s)"
            " DELETE FROM usage_event WHERE organization_id = %(org)s AND hour_start < %(before)s"
            "  AND hour_start <= (SELECT max(hour_start) FROM oldest)"
            " RETURNING 1",
            {"org": org_id, "before": before, "limit": limit},
        )
        return len(cursor.fetchall())


def delete_keys(org_id: int, before: datetime, limit: int) -> int:
    """Delete up to `limit` keys of events of before an instant; how many went. Index: usage_eventkey_age."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT event_id FROM usage_eventkey WHERE organization_id = %s AND hour_start < %s LIMIT %s",
            [org_id, before, limit],
        )
        event_ids = [event_id for (event_id,) in cursor.fetchall()]
        if event_ids:
            cursor.execute(
                "DELETE FROM usage_eventkey WHERE organization_id = %s AND event_id = ANY(%s)", [org_id, event_ids]
            )
        return len(event_ids)
