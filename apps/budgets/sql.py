"""Statements of counters, holds and runs. All need `tenant(org)` around them.

The functions that they call are in `functions/`; amounts travel as decimal strings.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from django.db import connection

from apps.budgets.models import Budget, Raise, Stop
from apps.budgets.rules import CounterKey

_encode = msgspec.json.Encoder(decimal_format="string").encode


def json_text(value: Any) -> str:
    return _encode(value).decode()


def open_counters(org_id: int, keys: Iterable[CounterKey]) -> dict[tuple[int, datetime, str], int]:
    """The id of each counter, made where it is missing. Index: budgets_counter_once."""
    watch = [key._asdict() for key in keys]
    if not watch:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT budget_id, period_start, subject, counter_id FROM budgets_open(%s, clock_timestamp(), %s::jsonb)",
            [org_id, json_text(watch)],
        )
        return {(budget_id, start, subject): counter_id for budget_id, start, subject, counter_id in cursor.fetchall()}


class HeldRow(NamedTuple):
    """A reservation that this transaction has locked. `is_live`: its hold is not over by the database's clock."""

    reservation_id: UUID
    kind: str
    state: str
    is_live: bool
    decided_at: datetime
    held_usd: Decimal
    counters: list[int]
    run_id: str | None
    steps: int
    call: dict[str, str]


def lock_reservations(org_id: int, ids: Sequence[UUID]) -> dict[str, HeldRow]:
    """Those of these reservations that exist, locked in the order of their ids. Index: the primary key."""
    if not ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT reservation_id, kind, state, state = 'held' AND release_at > clock_timestamp(), decided_at,"
            " held_usd, counters, run_id, steps, call::text FROM budgets_reservation"
            " WHERE organization_id = %s AND reservation_id = ANY(%s) ORDER BY reservation_id FOR UPDATE",
            [org_id, list(ids)],
        )
        found = cursor.fetchall()
    return {str(row[0]): HeldRow._make((*row[:-1], msgspec.json.decode(row[-1]))) for row in found}


def apply_changes(org_id: int, changes: Sequence[Mapping[str, Any]]) -> bool:
    """Add signed amounts to counters; thresholds that they pass become crossings. Whether there are new ones."""
    return _call("budgets_apply", org_id, changes)


def apply_run_changes(org_id: int, changes: Sequence[Mapping[str, Any]]) -> bool:
    """Add signed amounts to runs, sorted by run_id; bounds that they reach become crossings. Whether there are new
    ones.
    """
    return _call("budgets_apply_runs", org_id, changes)


def _call(function: str, org_id: int, changes: Sequence[Mapping[str, Any]]) -> bool:
    if not changes:
        return False
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {function}(%s, clock_timestamp(), %s::jsonb) IS NULL, budgets_crossed(%s)",
            [org_id, json_text(changes), org_id],
        )
        crossed: bool = cursor.fetchone()[1]
        return crossed


def settle_reservations(org_id: int, settled: Sequence[Mapping[str, Any]]) -> None:
    """Write what events did to reservations that this transaction has locked.

    [{reservation_id, state, freed, cost, overrun, steps, event_id, is_late}]; a state of null stays as it is.
    """
    if not settled:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE budgets_reservation r SET state = COALESCE(s.state, r.state), held_usd = r.held_usd - s.freed,"
            " closed_at = CASE WHEN s.state IS NULL THEN r.closed_at ELSE clock_timestamp() END,"
            " cost_usd = COALESCE(r.cost_usd, 0) + s.cost, overrun_usd = r.overrun_usd + s.overrun,"
            " steps = r.steps - s.steps, event_id = COALESCE(r.event_id, s.event_id), is_late = r.is_late OR s.is_late"
            " FROM jsonb_to_recordset(%s::jsonb) AS s(reservation_id uuid, state text, freed numeric, cost numeric,"
            "  overrun numeric, steps integer, event_id text, is_late boolean)"
            " WHERE r.organization_id = %s AND r.reservation_id = s.reservation_id",
            [json_text(settled), org_id],
        )


def cross_counters(org_id: int, kind: str, severity: str, counter_ids: Iterable[int], facts: Mapping[str, Any]) -> bool:
    """Say once for each counter that something of a kind happened in its period; whether it was not said before."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO budgets_crossing (organization_id, crossing_id, kind, subject, severity, team, budget_id,"
            " crossed_at, facts)"
            " SELECT c.organization_id, uuidv7(), %s, c.counter_id::text, %s, budgets_team(c, b), b.id,"
            "  clock_timestamp(), budgets_facts(c, b) || %s::jsonb"
            " FROM budgets_counter c JOIN budgets_budget b ON b.organization_id = c.organization_id"
            "  AND b.id = c.budget_id"
            " WHERE c.organization_id = %s AND c.counter_id = ANY(%s)"
            " ON CONFLICT (organization_id, kind, subject) DO NOTHING",
            [kind, severity, json_text(facts), org_id, list(counter_ids)],
        )
        return bool(cursor.rowcount)


def cross_raise(org_id: int, asked: Raise, budget: Budget) -> None:
    """Say that somebody asks for more."""
    facts = {
        "budget": budget.name,
        "budget_id": budget.pk,
        "scope": budget.scope,
        "amount_usd": asked.amount_usd,
        "expires_at": asked.expires_at,
        "reason": asked.reason,
        "asked_by": asked.asked_by,
    }
    _cross(org_id, "raise_asked", f"raise:{asked.pk}", "info", budget.scope.get("team"), facts, budget.pk)


def cross_stop(org_id: int, stop: Stop, kind: str, actor: str) -> None:
    """Say that something was stopped, or that a stop was lifted."""
    facts = {"kind": stop.kind, "target": stop.target, "reason": stop.reason, "actor": actor}
    severity = "critical" if kind == "stopped" else "info"
    team = stop.target if stop.kind == Stop.Kind.TEAM else None
    _cross(org_id, kind, f"stop:{stop.pk}", severity, team, facts)


def cross_ungoverned(org_id: int, subject: str, facts: Mapping[str, Any]) -> None:
    """Say that a client let calls through without a decision."""
    _cross(org_id, "ungoverned", subject, "warning", None, facts)


def _cross(
    org_id: int,
    kind: str,
    subject: str,
    severity: str,
    team: str | None,
    facts: Mapping[str, Any],
    budget_id: int | None = None,
) -> None:
    team = None if team == "*" else team
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO budgets_crossing (organization_id, crossing_id, kind, subject, severity, team, budget_id,"
            " crossed_at, facts) VALUES (%s, uuidv7(), %s, %s, %s, %s, %s, clock_timestamp(), %s::jsonb)"
            " ON CONFLICT (organization_id, kind, subject) DO NOTHING",
            [org_id, kind, subject, severity, team, budget_id, json_text(facts)],
        )


def free(org_id: int, ids: Sequence[UUID], state: str) -> int:
    """Let go of what these reservations hold, where they are held; how many were."""
    return _free(org_id, list(ids), state, False, len(ids))


def free_due(org_id: int, limit: int) -> int:
    """Let go of holds whose time is over; how many were. Index: budgets_reservation_due."""
    return _free(org_id, None, "expired", True, limit)


def _free(org_id: int, ids: list[UUID] | None, state: str, due: bool, limit: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT budgets_free(%s, %s::uuid[], %s, %s, %s)", [org_id, ids, state, due, limit])
        freed: int = cursor.fetchone()[0]
        return freed


def extend(org_id: int, reservation_id: UUID, ttl_seconds: int) -> datetime | None:
    """The new expiry; None where nothing is held any more."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT budgets_extend(%s, %s, %s)", [org_id, reservation_id, ttl_seconds])
        expires_at: datetime | None = cursor.fetchone()[0]
        return expires_at


def await_decisions(org_id: int) -> None:
    """From here to the end of the caller's transaction no decision is made, and none is under way."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT budgets_decision_turn(%s, true) IS NULL", [org_id])


def relimit_all(org_id: int, budget_id: int) -> None:
    """Reckon the limit of the budget's current counters again."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT budgets_relimit_all(%s, %s, clock_timestamp())", [org_id, budget_id])


def relimit_due(org_id: int) -> int:
    """Reckon the limits anew in which a raise has expired, of periods that are not over; how many.

    Index: budgets_counter_raised.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT counter_id FROM budgets_counter WHERE organization_id = %s AND limit_until <= clock_timestamp()"
            " AND period_end > clock_timestamp() ORDER BY counter_id FOR UPDATE",
            [org_id],
        )
        ids = [counter_id for (counter_id,) in cursor.fetchall()]
        for counter_id in ids:
            cursor.execute("SELECT budgets_relimit(%s, %s, clock_timestamp()) IS NULL", [org_id, counter_id])
        return len(ids)


def database_now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
        return now


# --- leases and runs ---------------------------------------------------------------------------------


def return_lease(org_id: int, lease_id: UUID, unused_usd: Decimal, unused_steps: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT budgets_return(%s, %s, %s, %s)", [org_id, lease_id, unused_usd, unused_steps])


def put_run(org_id: int, run_id: str, *, is_ended: bool, outcome: str | None, units: int | None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO budgets_runtally AS r (organization_id, run_id, root_run_id, depth, started_at, last_at,"
            " ended_at, outcome, units, children, steps, steps_held, spent_usd, held_usd, overrun_usd, reached)"
            " VALUES (%(org)s, %(run)s, %(run)s, 0, clock_timestamp(), clock_timestamp(),"
            "  CASE WHEN %(ended)s THEN clock_timestamp() END, %(outcome)s, %(units)s, 0, 0, 0, 0, 0, 0, '{}')"
            " ON CONFLICT (organization_id, run_id) DO UPDATE SET"
            "  ended_at = CASE WHEN %(ended)s THEN COALESCE(r.ended_at, EXCLUDED.ended_at) END,"
            "  outcome = COALESCE(EXCLUDED.outcome, r.outcome), units = COALESCE(EXCLUDED.units, r.units)",
            {"org": org_id, "run": run_id, "ended": is_ended, "outcome": outcome, "units": units},
        )
