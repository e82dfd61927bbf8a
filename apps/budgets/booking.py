"""What usage does to budgets, in the transaction that stores it.

    spent   + the cost, of each counter and run that the event falls under
    held    - what its reservation let go of, of each counter that held it
    overrun + the part of the cost that no live hold of the counter covered

An event counts at `budget_at`: the instant of its decision, else when it happened. The first event of a reservation
settles it; a lease is used by every event of its dimensions until it is used up. Amounts are pico-USD here.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from apps.budgets import sql
from apps.budgets.rules import TAG, CounterKey, lowered
from apps.budgets.sql import HeldRow
from apps.budgets.watch import Watch
from apps.core.money import pico_from_usd, usd_from_pico
from apps.core.tenancy import HasPk
from apps.usage.deltas import EventRow

COUNTERS_REMEMBERED = 50_000

# What an unpriced call is assumed to cost, pico-USD; None: nothing is known of it.
Assume = Callable[[EventRow], int | None]


@dataclass(slots=True)
class Change:
    """Signed amounts for one counter."""

    spent: int = 0
    held: int = 0
    overrun: int = 0
    assumed: int = 0
    events: int = 0
    unpriced: int = 0


@dataclass(slots=True)
class RunChange:
    parent_run_id: str | None = None
    workflow: str | None = None
    workflow_id: int | None = None
    team: str | None = None
    spent: int = 0
    held: int = 0
    overrun: int = 0
    steps: int = 0
    steps_held: int = 0
    attempt: int = 0
    counts: dict[tuple[str, str], int] = field(default_factory=dict)


@dataclass(slots=True)
class Settling:
    """A reservation, and what the batch has done to it so far."""

    row: HeldRow
    left: int
    state: str | None = None
    freed: int = 0
    cost: int = 0
    overrun: int = 0
    steps: int = 0
    event_id: str | None = None
    is_late: bool = False


@dataclass(frozen=True, slots=True)
class Booking:
    """What one batch does to budgets. `warnings` by event id: (code, sentence)."""

    counters: dict[CounterKey, Change] = field(default_factory=lambda: defaultdict(Change))
    freed: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    # What reservations covered of a counter's cost, if they hold there: known once the counter's id is.
    covered: dict[CounterKey, list[tuple[int, "Settling"]]] = field(default_factory=lambda: defaultdict(list))
    runs: dict[str, RunChange] = field(default_factory=lambda: defaultdict(RunChange))
    settling: dict[str, Settling] = field(default_factory=dict)
    warnings: dict[str, tuple[str, str]] = field(default_factory=dict)


def call_of(row: EventRow) -> dict[str, str | None]:
    """A stored call as scopes name it: what is unattributed has no team, project or workflow."""
    call: dict[str, str | None] = {
        "team": row.team if row.team_id else None,
        "project": row.project if row.project_id else None,
        "workflow": row.workflow if row.workflow_id else None,
        "user": row.user_name,
        "api_key": str(row.key_id),
        "task_type": row.task_type,
        "provider": lowered(row.provider),
        "model": lowered(row.model),
        "environment": row.environment,
    }
    for name, value in (row.tags or {}).items():
        call[TAG + name] = value
    return call


def prepare(*, org: HasPk, watch: Watch, rows: Sequence[EventRow], assume: Assume) -> Booking:
    """Lock the reservations that events name and reckon what the events do, in the caller's `tenant(org)`.

    Sets `budget_at` and `assumed_cost_usd` of the rows, which are not stored yet.
    """
    booking = Booking()
    ids = sorted({found for row in rows if (found := _uuid(row.reservation_id)) is not None})
    booking.settling.update(
        (name, Settling(held, pico_from_usd(held.held_usd)))
        for name, held in sql.lock_reservations(org.pk, ids).items()
    )
    for row in rows:
        row.budget_at = row.assumed_cost_usd = None
        settling = None
        if row.reservation_id is not None:
            settling = booking.settling.get(str(_uuid(row.reservation_id)))
            if settling is None:
                detail = f"There is no reservation '{row.reservation_id}': the event is booked without a hold."
                booking.warnings[row.event_id] = ("reservation_unknown", detail)
        if settling is None and not watch:
            continue
        _book(booking, watch, row, settling, assume)
    return booking


def _book(booking: Booking, watch: Watch, row: EventRow, settling: Settling | None, assume: Assume) -> None:
    at = row.occurred_at
    if settling is not None:
        at = row.budget_at = settling.row.decided_at
    call = call_of(row)
    over = watch.budgets.over(call, watch.calendar, at)
    cost = 0 if row.cost_usd is None else pico_from_usd(row.cost_usd)
    assumed = 0
    if row.cost_usd is None and over:
        assumed = assume(row) or 0
        row.assumed_cost_usd = usd_from_pico(assumed) if assumed else None
        cost = assumed
    covered = 0
    counts_step = True
    if settling is not None:
        covered, counts_step = _use(booking, settling, row, call, cost)
    for _, key in over:
        change = booking.counters[key]
        change.spent += cost
        change.overrun += cost
        change.assumed += assumed
        change.events += 1
        change.unpriced += row.cost_usd is None
        if settling is not None and covered:
            booking.covered[key].append((covered, settling))
    if row.run_id is not None and (watch.has_bounds or (settling is not None and settling.row.run_id)):
        _run(booking.runs[row.run_id], row, settling, cost, covered, counts_step)


def _use(
    booking: Booking, settling: Settling, row: EventRow, call: Mapping[str, str | None], cost: int
) -> tuple[int, bool]:
    """Use the reservation for an event: what of its cost was held, and whether its step was not counted before."""
    held = settling.row
    if held.kind == "lease":
        return _use_lease(booking, settling, row, call, cost)
    if settling.state is not None or held.state in ("settled", "released"):
        state = settling.state or held.state
        detail = f"The reservation '{row.reservation_id}' was {state} before: the event is booked without a hold."
        booking.warnings[row.event_id] = (f"reservation_{state}", detail)
        settling.cost += cost
        settling.overrun += cost
        return 0, True
    settling.state = "settled"
    settling.event_id = row.event_id
    settling.cost += cost
    settling.is_late = not held.is_live
    covered = min(cost, settling.left) if held.is_live else 0
    settling.overrun += cost - covered
    _free(booking, settling, settling.left)
    return covered, False


def _use_lease(
    booking: Booking, settling: Settling, row: EventRow, call: Mapping[str, str | None], cost: int
) -> tuple[int, bool]:
    held = settling.row
    covered = 0
    if held.call != {name: value for name, value in call.items() if value is not None}:
        detail = f"The lease '{row.reservation_id}' is for other dimensions: the event is booked without a hold."
        booking.warnings[row.event_id] = ("lease_dimensions", detail)
    elif held.state != "held" or not held.is_live:
        settling.is_late = True
        detail = f"The lease '{row.reservation_id}' was over: the event is booked without a hold."
        booking.warnings[row.event_id] = ("lease_over", detail)
    else:
        covered = min(cost, settling.left)
        _free(booking, settling, covered)
    settling.cost += cost
    settling.overrun += cost - covered
    return covered, True


def _free(booking: Booking, settling: Settling, amount: int) -> None:
    settling.left -= amount
    settling.freed += amount
    for counter_id in settling.row.counters:
        booking.freed[counter_id] += amount
    if settling.row.run_id is not None:
        booking.runs[settling.row.run_id].held -= amount


def _run(
    change: RunChange, row: EventRow, settling: Settling | None, cost: int, covered: int, counts_step: bool
) -> None:
    change.parent_run_id = row.parent_run_id or change.parent_run_id
    if row.workflow_id:
        change.workflow, change.workflow_id = row.workflow, row.workflow_id
    change.team = row.team if row.team_id else change.team
    change.spent += cost
    is_own = settling is not None and settling.row.run_id == row.run_id
    change.overrun += cost - (covered if is_own else 0)
    if is_own and not counts_step:
        return
    change.attempt = max(change.attempt, row.attempt)
    if row.attempt == 1:
        change.steps += 1
        if settling is not None and is_own and settling.row.steps > settling.steps:
            settling.steps += 1
            change.steps_held -= 1
    for kind, name in (("step", row.step), ("tool", row.tool_call_hash)):
        if name is not None:
            counted = (kind, str(name))
            change.counts[counted] = change.counts.get(counted, 0) + 1


def book(*, org: HasPk, watch: Watch, booking: Booking) -> bool:
    """Write it: reservations, then runs, then counters; each in the order of its ids. Whether people are to be told."""
    sql.settle_reservations(org.pk, [_settled(one) for one in booking.settling.values() if _touched(one)])
    bound = sql.apply_run_changes(
        org.pk, [_run_json(run_id, change) for run_id, change in sorted(booking.runs.items(), key=_by_code_point)]
    )
    ids = counter_ids(org, watch, booking.counters)
    changes: dict[int, Change] = defaultdict(Change)
    for key, change in booking.counters.items():
        counter_id = ids[key[0], key[1], key[3]]
        for covered, settling in booking.covered.get(key, ()):
            if counter_id in settling.row.counters:
                change.overrun -= covered
        changes[counter_id] = change
    for counter_id, freed in booking.freed.items():
        changes[counter_id].held -= freed
    crossed = apply(org, changes)
    return _cross(org, booking) or crossed or bound


def apply(org: HasPk, changes: Mapping[int, Change]) -> bool:
    """Add the changes to counters, by id; whether thresholds were crossed."""
    return sql.apply_changes(
        org.pk,
        [
            {
                "counter_id": counter_id,
                **{
                    name: str(usd_from_pico(amount)) if name in ("spent", "held", "overrun", "assumed") else amount
                    for name, amount in asdict(change).items()
                },
            }
            for counter_id, change in sorted(changes.items())
        ],
    )


def counter_ids(org: HasPk, watch: Watch, keys: Iterable[CounterKey]) -> dict[tuple[int, datetime, str], int]:
    """The counters' ids by (budget, start, subject); those that are not remembered are opened."""
    known = watch.counter_ids
    short = {(key.budget_id, key.period_start, key.subject): key for key in keys}
    missing = [key for name, key in short.items() if name not in known]
    opened = sql.open_counters(org.pk, missing)
    found = {name: known.get(name) or opened[name] for name in short}
    if opened and len(known) < COUNTERS_REMEMBERED:
        # Not before they are committed: a counter that was rolled back has no row to add to.
        transaction.on_commit(lambda: known.update(opened))
    return found


def _cross(org: HasPk, booking: Booking) -> bool:
    crossed = False
    for one in booking.settling.values():
        if not (one.overrun or one.is_late):
            continue
        kind = "settled_late" if one.is_late else "overrun"
        facts = {
            "reservation_id": one.row.reservation_id,
            "cost_usd": usd_from_pico(one.cost),
            "over_usd": usd_from_pico(one.overrun),
        }
        crossed = sql.cross_counters(org.pk, kind, "warning", one.row.counters, facts) or crossed
    return crossed


def _touched(one: Settling) -> bool:
    return bool(one.state or one.freed or one.cost or one.overrun or one.is_late)


def _settled(one: Settling) -> dict[str, Any]:
    return {
        "reservation_id": one.row.reservation_id,
        "state": one.state,
        "freed": usd_from_pico(one.freed),
        "cost": usd_from_pico(one.cost),
        "overrun": usd_from_pico(one.overrun),
        "steps": one.steps,
        "event_id": one.event_id,
        "is_late": one.is_late,
    }


def _run_json(run_id: str, change: RunChange) -> dict[str, Any]:
    return {
        "run_id": run_id,
        **asdict(change),
        **{name: usd_from_pico(getattr(change, name)) for name in ("spent", "held", "overrun")},
        "counts": [{"kind": kind, "name": name, "n": n} for (kind, name), n in sorted(change.counts.items())],
    }


def _by_code_point(item: tuple[str, Any]) -> bytes:
    return item[0].encode()


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text is not None and len(text) == 36 else None
    except ValueError:
        return None
