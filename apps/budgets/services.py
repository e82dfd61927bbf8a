"""Budgets, raises, run bounds and stops: what people set, each audited, in one transaction with what follows of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.audit import services as audit
from apps.budgets import housekeeping_sql, spent_sql, sql
from apps.budgets.booking import Change, apply
from apps.budgets.history import WINDOW
from apps.budgets.models import NAME_LENGTH_MAX, REASON_LENGTH_MAX, Budget, Raise, Reservation, RunBound, Stop
from apps.budgets.reading import (
    read_scope,
    require_amount,
    require_downgrade,
    require_range,
    require_target,
    require_text,
    require_thresholds,
)
from apps.budgets.rules import Budgets, CounterKey, Watched
from apps.budgets.spent_sql import Spent
from apps.budgets.watch import watched_of
from apps.core.errors import DomainError, NotFound
from apps.core.money import pico_from_usd, usd_text
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import Principal, calendar
from apps.organizations.services import note_budgeted, touch_facts
from apps.teams.selectors import workflow_by_slug
from apps.usage.services import closing_month

BUDGETS_MAX = 2_000
# Of one budget, those that wait or count.
RAISES_MAX = 100
STOPPED_RUNS_MAX = 1_000
# Events are accepted that say they happened so much later than now.
EVENTS_AHEAD_MAX = timedelta(minutes=5)
# As long as an event may come late.
RESERVATIONS_KEPT = timedelta(days=40)
FORGET_AT_ONCE = 1_000
BOUNDS = (
    "max_cost_usd", "max_steps", "max_attempts", "max_depth", "max_children", "max_seconds", "max_same_tool_calls",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class BudgetTerms:
    """What a budget is made of, as a caller gives it. `downgrade_to` and amounts are as `Budget` keeps them."""

    name: str
    period: str
    amount_usd: Decimal
    mode: str = "notify"
    scope: Mapping[str, str] = field(default_factory=dict)
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    downgrade_to: Mapping[str, str] | None = None
    thresholds: Sequence[int] = (50, 80, 100)
    forecast_thresholds: Sequence[int] = ()
    rollover: bool = False


def create_budget(*, org: Organization, terms: BudgetTerms, actor: object) -> Budget:
    """A budget, whose current period begins with what was already spent and is held in it.

    No usage is stored meanwhile. A cap that begins above its limit has the excess as overrun. Raises `DomainError`:
    `name_invalid`, `name_known`, `scope_*`, `period_unknown`, `range_invalid`, `amount_invalid`, `mode_unknown`,
    `downgrade_invalid`, `thresholds_invalid`, `too_many_budgets`.
    """
    with tenant(org):
        closing_month(org)
        fields = _fields(org, terms)
        if Budget.objects.for_org(org).filter(ended_at=None).count() >= BUDGETS_MAX:
            raise DomainError("too_many_budgets", f"An organization has at most {BUDGETS_MAX} budgets: end one first.")
        _require_name_free(org, terms.name)
        budget = Budget(organization=org, created_by=str(actor), **fields)
        _save_once(budget)
        note_budgeted(org)
        touch_facts(org)
        _begin(org, budget)
        audit.record(org=org, actor=actor, action="budgets.created", subject=budget.name, data=_audited(fields))
    org.refresh_from_db()
    return budget


def change_budget(*, org: Organization, budget_id: int, changes: Mapping[str, Any], actor: object) -> Budget:
    """Change name, amount, mode, thresholds or rollover. What is above a lower limit becomes overrun.

    The scope and the period stay: end the budget and create another. Raises like `create_budget`, `NotFound`, and
    `DomainError` (`budget_ended`, `field_fixed`).
    """
    with tenant(org):
        budget = _locked(org, budget_id)
        before = _terms_of(budget)
        fixed = set(changes) & {"scope", "period", "starts_at", "ends_at"}
        for name in sorted(fixed):
            asked = read_scope(org, changes[name]) if name == "scope" else changes[name]
            if asked != getattr(before, name):
                raise DomainError(
                    "field_fixed", f"{name} of a budget does not change: end it and create another.", param=name
                )
        if changes.get("mode", before.mode) != before.mode:
            # Where calls were sent to means nothing in another mode.
            changes = {"downgrade_to": None, **changes}
        terms = BudgetTerms(**{name: changes.get(name, getattr(before, name)) for name in BudgetTerms.__slots__})
        fields = _fields(org, terms)
        if terms.name != budget.name:
            _require_name_free(org, terms.name)
        for name, value in fields.items():
            setattr(budget, name, value)
        _save_once(budget)
        touch_facts(org)
        sql.relimit_all(org.pk, budget.pk)
        audit.record(org=org, actor=actor, action="budgets.changed", subject=budget.name, data=_audited(fields))
    org.refresh_from_db()
    return budget


def end_budget(*, org: Organization, budget_id: int, actor: object) -> Budget:
    """From now on nothing is counted or refused by it; its past stays. Ending it twice changes nothing."""
    with tenant(org):
        budget = _locked(org, budget_id, ended=True)
        if budget.ended_at is None:
            budget.ended_at = timezone.now()
            budget.save(update_fields=["ended_at"])
            touch_facts(org)
            audit.record(org=org, actor=actor, action="budgets.ended", subject=budget.name)
    org.refresh_from_db()
    return budget


def budget_by_id(org: Organization, budget_id: int) -> Budget:
    """Inside `tenant(org)`. Raises `NotFound`."""
    budget = Budget.objects.for_org(org).filter(pk=budget_id).first()
    if budget is None:
        raise NotFound("budget")
    return budget


def _begin(org: Organization, budget: Budget) -> None:
    """Open the current period's counters with what is spent and held already, and the next one's where events may
    have come for it.
    """
    watched = watched_of(budget)
    clock = calendar(org)
    budgets = Budgets.of([watched])
    instants = (budget.created_at, budget.created_at + EVENTS_AHEAD_MAX)
    periods = dict.fromkeys(bounds for at in instants if (bounds := budgets.bounds(watched, clock, at)))
    spent = {bounds: spent_sql.spent_in(org.pk, budget.scope, *bounds) for bounds in periods}
    # Last, since decisions wait from here on.
    sql.await_decisions(org.pk)
    for bounds, found in spent.items():
        _begin_period(org, budget, watched, bounds, found)


def _begin_period(
    org: Organization, budget: Budget, watched: Watched, bounds: tuple[datetime, datetime], spent: Sequence[Spent]
) -> None:
    start, end = bounds
    changes: dict[str, Change] = {}
    if "*" not in watched.scope.values():
        changes[""] = Change()
    for one in spent:
        changes[one.subject] = Change(
            spent=pico_from_usd(one.spent_usd),
            assumed=pico_from_usd(one.assumed_usd),
            events=one.events,
            unpriced=one.unpriced_events,
        )
    held = _held_already(org, watched, start, end)
    for subject, rows in held.items():
        changes.setdefault(subject, Change()).held = sum(pico_from_usd(row.held_usd) for row in rows)
    ids = sql.open_counters(org.pk, [CounterKey(budget.pk, start, end, subject) for subject in changes])
    limit = pico_from_usd(budget.amount_usd)
    for change in changes.values():
        # For a cap this is what exceeds it from the beginning.
        change.overrun = max(0, change.spent + change.held - limit)
    apply(org, {ids[budget.pk, start, subject]: change for subject, change in changes.items()})
    for subject, rows in held.items():
        for row in rows:
            counters = [*row.counters, ids[budget.pk, start, subject]]
            Reservation.objects.for_org(org).filter(reservation_id=row.reservation_id).update(counters=counters)


def _held_already(org: Organization, watched: Watched, start: datetime, end: datetime) -> dict[str, list[Reservation]]:
    """Live reservations of the scope, decided in the period, locked in the order of their ids; by subject."""
    found: dict[str, list[Reservation]] = {}
    live = Reservation.objects.for_org(org).filter(state="held", decided_at__gte=start, decided_at__lt=end)
    for row in live.order_by("reservation_id").select_for_update():
        subject = watched.subject(row.call)
        if subject is not None:
            found.setdefault(subject, []).append(row)
    return found


def _fields(org: Organization, terms: BudgetTerms) -> dict[str, Any]:
    """The columns of a budget. Raises `DomainError`."""
    name = require_text(terms.name, "name", NAME_LENGTH_MAX)
    if terms.period not in Budget.Period.values:
        raise DomainError(
            "period_unknown", f"period is '{terms.period}': use {', '.join(Budget.Period.values)}.", param="period"
        )
    if terms.mode not in Budget.Mode.values:
        raise DomainError("mode_unknown", f"mode is '{terms.mode}': use {', '.join(Budget.Mode.values)}.", param="mode")
    require_range(terms.period, terms.starts_at, terms.ends_at, terms.rollover)
    return {
        "name": name,
        "scope": read_scope(org, terms.scope),
        "period": terms.period,
        "starts_at": terms.starts_at,
        "ends_at": terms.ends_at,
        "amount_usd": require_amount(terms.amount_usd, "amount_usd"),
        "mode": terms.mode,
        "downgrade_to": require_downgrade(org, terms.mode, terms.downgrade_to),
        "thresholds": require_thresholds(terms.thresholds, "thresholds"),
        "forecast_thresholds": require_thresholds(terms.forecast_thresholds, "forecast_thresholds"),
        "rollover": terms.rollover,
    }


def _require_name_free(org: Organization, name: str) -> None:
    if Budget.objects.for_org(org).filter(name=name.strip(), ended_at=None).exists():
        raise DomainError("name_known", f"There is a budget '{name}' already: choose another name.", param="name")


def _save_once(budget: Budget) -> None:
    try:
        with transaction.atomic():
            budget.save()
    except IntegrityError:  # somebody took the name meanwhile
        raise DomainError("name_known", f"There is a budget '{budget.name}' already.", param="name") from None


def _locked(org: Organization, budget_id: int, *, ended: bool = False) -> Budget:
    budget = Budget.objects.for_org(org).select_for_update().filter(pk=budget_id).first()
    if budget is None:
        raise NotFound("budget")
    if budget.ended_at is not None and not ended:
        raise DomainError("budget_ended", f"Budget '{budget.name}' ended at {budget.ended_at.isoformat()}.")
    return budget


def _terms_of(budget: Budget) -> BudgetTerms:
    return BudgetTerms(**{name: getattr(budget, name) for name in BudgetTerms.__slots__})


def _audited(fields: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in fields.items() if name != "name"}
    for name, value in shown.items():
        if isinstance(value, Decimal):
            shown[name] = usd_text(value)
        elif isinstance(value, datetime):
            shown[name] = value.isoformat()
    return shown


# --- raises ----------------------------------------------------------------------------------------------


def ask_raise(
    *,
    org: Organization,
    budget_id: int,
    amount_usd: Decimal | str,
    expires_at: datetime,
    reason: str,
    actor: object,
    approved: bool = False,
) -> Raise:
    """More for a budget until an instant: to be approved, or `approved` at once by an actor who may.

    Raises `NotFound`, `DomainError` (`amount_invalid`, `expires_at_invalid`, `reason_invalid`, `budget_ended`,
    `too_many_raises`).
    """
    now = timezone.now()
    if not now < expires_at <= now + timedelta(days=366):
        raise DomainError(
            "expires_at_invalid",
            f"expires_at is {expires_at.isoformat()}: a raise ends within a year from now.",
            param="expires_at",
        )
    with tenant(org):
        budget = _locked(org, budget_id)
        standing = Raise.objects.for_org(org).filter(budget=budget, expires_at__gt=now)
        if standing.exclude(state=Raise.State.REFUSED).count() >= RAISES_MAX:
            raise DomainError(
                "too_many_raises", f"Of a budget at most {RAISES_MAX} raises wait or count: change its amount instead."
            )
        asked = Raise(
            organization=org,
            budget=budget,
            amount_usd=require_amount(amount_usd, "amount_usd"),
            expires_at=expires_at,
            reason=require_text(reason, "reason", REASON_LENGTH_MAX),
            asked_by=str(actor),
        )
        asked.save()
        data = {"amount_usd": usd_text(asked.amount_usd), "expires_at": expires_at.isoformat(), "reason": asked.reason}
        audit.record(org=org, actor=actor, action="budgets.raise_asked", subject=budget.name, data=data)
        if approved:
            _decide(org, budget, asked, Raise.State.APPROVED, actor)
        else:
            sql.cross_raise(org.pk, asked, budget)
    return asked


def decide_raise(*, org: Organization, raise_id: int, approve: bool, actor: object) -> Raise:
    """Approve or refuse, once. Raises `NotFound`, `DomainError` (`raise_decided`, `raise_expired`, `budget_ended`)."""
    with tenant(org):
        asked = Raise.objects.for_org(org).filter(pk=raise_id).first()
        if asked is None:
            raise NotFound("raise")
        budget = _locked(org, asked.budget_id)
        asked = Raise.objects.for_org(org).select_for_update().get(pk=raise_id)
        wanted = Raise.State.APPROVED if approve else Raise.State.REFUSED
        if asked.state not in (Raise.State.ASKED, wanted):
            raise DomainError("raise_decided", f"This raise was {asked.state} by {asked.decided_by} before.")
        if asked.state == Raise.State.ASKED:
            if approve and asked.expires_at <= sql.database_now():
                raise DomainError(
                    "raise_expired", f"This raise was asked for until {asked.expires_at.isoformat()}: ask for another."
                )
            _decide(org, budget, asked, wanted, actor)
    return asked


def _decide(org: Organization, budget: Budget, asked: Raise, state: str, actor: object) -> None:
    asked.state, asked.decided_by, asked.decided_at = state, str(actor), timezone.now()
    asked.save(update_fields=["state", "decided_by", "decided_at"])
    if state == Raise.State.APPROVED:
        sql.relimit_all(org.pk, budget.pk)
    data = {"amount_usd": usd_text(asked.amount_usd), "expires_at": asked.expires_at.isoformat()}
    audit.record(org=org, actor=actor, action=f"budgets.raise_{state}", subject=budget.name, data=data)


def end_raises(org_id: int) -> int:
    """Take raises that have expired out of the limits they raised; how many limits. Decisions do so themselves."""
    with tenant(org_id):
        return sql.relimit_due(org_id)


# --- run bounds ------------------------------------------------------------------------------------------


def set_run_bound(*, org: Organization, workflow: str, bounds: Mapping[str, Any], actor: object) -> RunBound:
    """The bounds of a workflow's runs, in place of those it had; one that is missing or None does not bind.

    Raises `DomainError`: `workflow_unknown`, `bound_unknown`, `bound_invalid`, `bounds_missing`.
    """
    given = {name: value for name, value in bounds.items() if value is not None}
    for name, value in given.items():
        if name not in BOUNDS:
            raise DomainError("bound_unknown", f"There is no bound '{name}': use {', '.join(BOUNDS)}.", param=name)
        if name == "max_cost_usd":
            require_amount(value, name)
        elif not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
            raise DomainError("bound_invalid", f"{name} is {value!r}: write a whole number from 0 on.", param=name)
    if not given:
        raise DomainError("bounds_missing", f"Give at least one of {', '.join(BOUNDS)}.", param="workflow")
    with tenant(org):
        found = workflow_by_slug(org, workflow)
        if found is None:
            raise DomainError("workflow_unknown", f"There is no workflow '{workflow}'.", param="workflow")
        values = {**dict.fromkeys(BOUNDS), **given, "changed_by": str(actor)}
        row, _ = RunBound.objects.for_org(org).update_or_create(
            organization=org, workflow=found, defaults=values, create_defaults=values
        )
        note_budgeted(org)
        touch_facts(org)
        data = {name: str(value) for name, value in given.items()}
        audit.record(org=org, actor=actor, action="budgets.run_bound_set", subject=workflow, data=data)
    org.refresh_from_db()
    return row


def remove_run_bound(*, org: Organization, workflow: str, actor: object) -> None:
    """Raises `NotFound`."""
    with tenant(org):
        found = workflow_by_slug(org, workflow)
        deleted, _ = RunBound.objects.for_org(org).filter(workflow=found).delete() if found else (0, {})
        if not deleted:
            raise NotFound("run bound")
        touch_facts(org)
        audit.record(org=org, actor=actor, action="budgets.run_bound_removed", subject=workflow)
    org.refresh_from_db()


# --- emergency stop --------------------------------------------------------------------------------------


def stop(*, org: Organization, kind: str, target: str, reason: str, actor: object) -> Stop:
    """Grant no decision for the organization, a team, workflow, key or run, from the next one on.

    Stopping it twice changes nothing. Raises `DomainError`: `stop_kind_unknown`, `target_unknown`, `reason_invalid`,
    `too_many_stops`.
    """
    if kind not in Stop.Kind.values:
        raise DomainError("stop_kind_unknown", f"kind is '{kind}': use {', '.join(Stop.Kind.values)}.", param="kind")
    with tenant(org):
        target = require_target(org, kind, target)
        row, is_new = Stop.objects.for_org(org).get_or_create(
            organization=org,
            kind=kind,
            target=target,
            lifted_at=None,
            defaults={
                "reason": require_text(reason, "reason", REASON_LENGTH_MAX),
                "stopped_by": str(actor),
                "stopped_at": timezone.now(),
            },
        )
        if is_new:
            # The others are at most as many as there are names and keys, and the organization can always be stopped.
            if kind == Stop.Kind.RUN and _stopped_runs(org) > STOPPED_RUNS_MAX:
                raise DomainError(
                    "too_many_stops",
                    f"At most {STOPPED_RUNS_MAX} runs are stopped at once: lift some, or stop their workflow or key.",
                )
            sql.cross_stop(org.pk, row, "stopped", str(actor))
            subject = f"{kind} {target}".strip()
            audit.record(org=org, actor=actor, action="budgets.stopped", subject=subject, data={"reason": row.reason})
    return row


def _stopped_runs(org: Organization) -> int:
    return Stop.objects.for_org(org).filter(kind=Stop.Kind.RUN, lifted_at=None).count()


def lift(*, org: Organization, stop_id: int, actor: object) -> Stop:
    """Decisions are granted again. Lifting twice changes nothing. Raises `NotFound`."""
    with tenant(org):
        row = Stop.objects.for_org(org).select_for_update().filter(pk=stop_id).first()
        if row is None:
            raise NotFound("stop")
        if row.lifted_at is None:
            row.lifted_at, row.lifted_by = timezone.now(), str(actor)
            row.save(update_fields=["lifted_at", "lifted_by"])
            sql.cross_stop(org.pk, row, "lifted", str(actor))
            audit.record(org=org, actor=actor, action="budgets.lifted", subject=f"{row.kind} {row.target}".strip())
    return row


# --- without a decision ----------------------------------------------------------------------------------


def report_ungoverned(
    *, principal: Principal, events: int, amount_usd: Decimal, start: datetime, end: datetime, reason: str
) -> None:
    """What a client let through while no decision could be had: told once for a key and a time.

    The calls themselves are booked by their events. Raises `DomainError` (`range_invalid`).
    """
    if start > end:
        raise DomainError("range_invalid", f"to ({end.isoformat()}) must not lie before from.", param="to")
    org = principal.organization
    facts = {
        "key_id": principal.key_id,
        "key": principal.key_name,
        "events": events,
        "amount_usd": amount_usd,
        "from": start,
        "to": end,
        "reason": reason,
    }
    with tenant(org):
        sql.cross_ungoverned(org.pk, f"{principal.key_id}:{start.isoformat()}:{end.isoformat()}", facts)


# --- housekeeping ----------------------------------------------------------------------------------------


def reckon_step_costs(org_id: int) -> int:
    """What steps usually cost, from the events of the last weeks; how many figures."""
    with tenant(org_id):
        return housekeeping_sql.reckon_step_costs(org_id, WINDOW)


def forget_reservations(org_id: int) -> int:
    """Delete reservations that were closed and decided `RESERVATIONS_KEPT` ago; how many."""
    forgotten = 0
    while True:
        with tenant(org_id):
            count = housekeeping_sql.forget_reservations(org_id, RESERVATIONS_KEPT, FORGET_AT_ONCE)
        forgotten += count
        if count < FORGET_AT_ONCE:
            return forgotten
