"""What evaluations carry from one to the next. All need `tenant(org)` around them."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from django.db import connection

from apps.insights.models import Watch, Watcher

# (kind, scope) to the state of each signal.
Carried = dict[tuple[str, str], dict[str, list[float | None]]]


class Turn(NamedTuple):
    hour: datetime | None
    fast_at: datetime | None
    digest_at: datetime | None
    gate_factor: int
    gate_changed_at: datetime | None


def evaluated_hour(org_id: int) -> datetime | None:
    """The end of the last hour that was evaluated."""
    return Watcher.objects.for_org(org_id).values_list("hour", flat=True).first()


def take_turn(org_id: int, work: str, *, waits: bool = False) -> Turn | None:
    """What stands in the watcher, for whoever does this `work` until the transaction ends; None while another does,
    but for one who waits.

    Not by locking the row: the look of every few seconds and the evaluation of a minute must not wait for each other,
    nor skip what the other is at.
    """
    with connection.cursor() as cursor:
        lock = "pg_advisory_xact_lock" if waits else "pg_try_advisory_xact_lock"
        cursor.execute(f"SELECT {lock}(hashtextextended(%s, %s))", [f"insights.{work}", org_id])
        if cursor.fetchone()[0] is False:
            return None
        cursor.execute(
            "INSERT INTO insights_watcher (organization_id, gate_factor) VALUES (%s, 100)"
            " ON CONFLICT (organization_id) DO NOTHING",
            [org_id],
        )
        cursor.execute(f"SELECT {', '.join(Turn._fields)} FROM insights_watcher WHERE organization_id = %s", [org_id])
        return Turn._make(cursor.fetchone())


def note_hour(org_id: int, hour: datetime) -> None:
    Watcher.objects.for_org(org_id).update(hour=hour)


def carried(org_id: int) -> Carried:
    """Index: the primary key."""
    rows = Watch.objects.for_org(org_id).values_list("scope_kind", "scope", "states")
    return {(kind, scope): states for kind, scope, states in rows.iterator(chunk_size=2_000)}


def keep(org_id: int, rows: Iterable[tuple[str, str, Mapping[str, Any]]], at: datetime) -> None:
    kept = [{"scope_kind": kind, "scope": scope, "states": states} for kind, scope, states in sorted(rows, key=_name)]
    if not kept:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO insights_watch AS w (organization_id, scope_kind, scope, states, changed_at)"
            " SELECT %(org)s, r.scope_kind, r.scope, r.states, %(at)s FROM jsonb_to_recordset(%(rows)s::jsonb)"
            " AS r(scope_kind text, scope text, states jsonb)"
            " ON CONFLICT (organization_id, scope_kind, scope)"
            " DO UPDATE SET states = EXCLUDED.states, changed_at = EXCLUDED.changed_at",
            {"org": org_id, "at": at, "rows": msgspec.json.encode(kept).decode()},
        )


def _name(row: tuple[str, str, Mapping[str, Any]]) -> tuple[str, str]:
    return row[0], row[1]


def has_bands(org_id: int, day: datetime) -> bool:
    """Whether an evaluation at the day's end was kept; also where the day has no readings at all."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) = 0 OR bool_or(bands <> '{}') FROM insights_reading"
            " WHERE organization_id = %s AND day_start = %s AND workflow <> ''",
            [org_id, day],
        )
        found: bool = cursor.fetchone()[0]
        return found


def keep_bands(org_id: int, day: datetime, bands: Mapping[str, Mapping[str, Any]]) -> None:
    """Index: the primary key of insights_reading."""
    rows = [{"workflow": workflow, "bands": of} for workflow, of in bands.items() if of]
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE insights_reading SET bands = r.bands"
            " FROM jsonb_to_recordset(%(rows)s::jsonb) AS r(workflow text, bands jsonb)"
            " WHERE insights_reading.organization_id = %(org)s AND insights_reading.day_start = %(day)s"
            " AND insights_reading.workflow = r.workflow",
            {"org": org_id, "day": day, "rows": msgspec.json.encode(rows).decode()},
        )
