"""Budgets, raises, bounds, stops, crossings and reservations as they stand. Inside `tenant(org)` where not said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from django.db.models import Count, F, Q, QuerySet, Window
from django.db.models.functions import RowNumber
from msgspec import Meta

from apps.budgets.models import NAME_LENGTH_MAX, Budget, Counter, Crossing, Raise, Reservation, RunBound, Stop
from apps.budgets.rules import EACH, Budgets
from apps.budgets.watch import watched_of
from apps.core.cursors import invalid_cursor, position_of
from apps.core.errors import DomainError, NotFound
from apps.core.periods import Calendar
from apps.core.tenancy import HasPk
from apps.core.text import is_name
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar
from apps.teams.selectors import workflow_by_slug

PAGE_MAX = 200
SUBJECTS_MAX = 200
SUBJECTS_LISTED = 10
PAST_PERIODS_MAX = 12

_Instant = Annotated[datetime, Meta(tz=True)]
_Id = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Position = tuple[_Instant, UUID]


@dataclass(frozen=True, slots=True)
class Standing:
    """A budget with its period [start, end), None outside a fixed range, that period's counters and raises in force.

    `counters` are those with the least left, of `subjects` in all; what nothing was spent or held of has none. An
    ended budget stands as it did when it ended.
    """

    budget: Budget
    period: tuple[datetime, datetime] | None
    counters: Sequence[Counter]
    subjects: int
    raises: Sequence[Raise]


def running_budgets(org: HasPk, team: str | None = None) -> QuerySet[Budget]:
    """Budgets that have not ended, by name; with a team, those whose scope lies within it, whatever else it says."""
    rows = Budget.objects.for_org(org).filter(ended_at=None).order_by("name", "id")
    if team is None:
        return rows
    # In a scope, a slug that ends so is the beginning of others.
    return rows.none() if team.endswith(EACH) else rows.filter(scope__team=team)


def find_budgets(
    org: HasPk,
    *,
    limit: int,
    cursor: str = "",
    mode: str = "",
    period: str = "",
    dimension: str = "",
    ended: str = "false",
) -> "Page":
    """By name; `dimension` is one that the scope names.

    Raises `DomainError` (`cursor_invalid`, `mode_unknown`, `period_unknown`, `ended_invalid`).
    """
    if ended not in ("true", "false"):
        raise DomainError("ended_invalid", f"ended is '{ended}': write true or false.", param="ended")
    rows = Budget.objects.for_org(org).filter(ended_at__isnull=ended == "false")
    if mode:
        rows = rows.filter(mode=_choice(mode, Budget.Mode.values, "mode"))
    if period:
        rows = rows.filter(period=_choice(period, Budget.Period.values, "period"))
    if dimension:
        rows = rows.filter(scope__has_key=dimension)
    if cursor:
        name, budget_id = position_of(cursor, tuple[str, _Id])
        if not is_name(name, NAME_LENGTH_MAX):
            raise invalid_cursor()
        rows = rows.filter(Q(name__gt=name) | Q(name=name, id__gt=budget_id))
    found = list(rows.order_by("name", "id")[: limit + 1])
    last = found[limit - 1] if len(found) > limit else None
    return Page(found[:limit], None if last is None else (last.name, last.pk))


def named_like(org: HasPk, text: str, limit: int) -> list[Budget]:
    """Budgets that have not ended and whose name holds the text, by name."""
    rows = Budget.objects.for_org(org).filter(ended_at=None, name__icontains=text)
    return list(rows.order_by("name", "id")[:limit])


def standings(org: Organization, budgets: Sequence[Budget], at: datetime, *, subjects_max: int) -> list[Standing]:
    """How budgets stand at an instant, each with up to `subjects_max` counters, in a fixed number of queries."""
    clock = calendar(org)
    periods = {budget.pk: _periods(budget, clock, at, 1) for budget in budgets}
    counters: dict[int, list[Any]] = {budget.pk: [] for budget in budgets}
    for row in _fullest(org, {budget_id: [start for start, _ in found] for budget_id, found in periods.items()}):
        if row.place <= subjects_max:
            counters[row.budget_id].append(row)
    raises: dict[int, list[Raise]] = {budget.pk: [] for budget in budgets}
    in_force = Raise.objects.for_org(org).filter(budget_id__in=raises, state="approved", expires_at__gt=at)
    for asked in in_force.order_by("expires_at", "id"):
        raises[asked.budget_id].append(asked)
    return [
        Standing(
            budget,
            next(iter(periods[budget.pk]), None),
            counters[budget.pk],
            counters[budget.pk][0].subjects if counters[budget.pk] else 0,
            raises[budget.pk],
        )
        for budget in budgets
    ]


def past_counters(org: Organization, budget: Budget, at: datetime) -> list[Counter]:
    """The counters of the `PAST_PERIODS_MAX` periods before the current one, newest first; of each period those with
    the least left, at most `SUBJECTS_LISTED`.
    """
    starts = [start for start, _ in _periods(budget, calendar(org), at, PAST_PERIODS_MAX + 1)[1:]]
    rows = [row for row in _fullest(org, {budget.pk: starts}) if row.place <= SUBJECTS_LISTED]
    return sorted(rows, key=lambda row: row.period_start, reverse=True)


def _periods(budget: Budget, clock: Calendar, at: datetime, count: int) -> list[tuple[datetime, datetime]]:
    """The budget's period that holds an instant and those before it, `count` in all; a range has one."""
    watched = watched_of(budget)
    rules = Budgets.of([watched])
    at = at if budget.ended_at is None else min(at, budget.ended_at)
    found: list[tuple[datetime, datetime]] = []
    while len(found) < count and (bounds := rules.bounds(watched, clock, at)) is not None:
        found.append(bounds)
        at = bounds[0] - datetime.resolution
    return found


def _fullest(org: HasPk, starts: Mapping[int, Sequence[datetime]]) -> list[Any]:
    """Counters of budgets' periods, those with the least left first: at most `SUBJECTS_MAX` of each, with their `place`
    and the number of all `subjects`. Index: budgets_counter_once.
    """
    by_start: dict[datetime, list[int]] = {}
    for budget_id, of_budget in starts.items():
        for start in of_budget:
            by_start.setdefault(start, []).append(budget_id)
    if not by_start:
        return []
    wanted = Q()
    for start, budget_ids in by_start.items():
        wanted |= Q(period_start=start, budget_id__in=budget_ids)
    partition = [F("budget_id"), F("period_start")]
    left = F("limit_usd") - F("spent_usd") - F("held_usd")
    rows = Counter.objects.for_org(org).filter(wanted)
    rows = rows.annotate(
        place=Window(RowNumber(), partition_by=partition, order_by=[left.asc(), F("subject").asc()]),
        subjects=Window(Count("counter_id"), partition_by=partition),
    )
    return list(rows.filter(place__lte=SUBJECTS_MAX).order_by("budget_id", "period_start", "place"))


def list_ended(org: HasPk, limit: int) -> list[Budget]:
    """Budgets that ended, the last one first."""
    return list(Budget.objects.for_org(org).exclude(ended_at=None).order_by("-ended_at")[:limit])


def list_raises(org: HasPk, budget_id: int, limit: int = PAGE_MAX) -> list[Raise]:
    """Newest first."""
    return list(Raise.objects.for_org(org).filter(budget_id=budget_id).order_by("-asked_at", "-id")[:limit])


def asked_raises(org: HasPk, at: datetime) -> QuerySet[Raise]:
    """Raises that wait for an answer and would still be good for something, the oldest first."""
    rows = Raise.objects.for_org(org).select_related("budget").filter(state=Raise.State.ASKED, expires_at__gt=at)
    return rows.filter(budget__ended_at=None).order_by("asked_at", "id")


def list_bounds(org: HasPk) -> list[RunBound]:
    return list(RunBound.objects.for_org(org).select_related("workflow").order_by("workflow__slug"))


def bound_of(org: HasPk, workflow: str) -> RunBound:
    """Raises `NotFound`."""
    found = workflow_by_slug(org, workflow)
    row = RunBound.objects.for_org(org).select_related("workflow").filter(workflow=found).first() if found else None
    if row is None:
        raise NotFound("run bound")
    return row


def list_stops(org: HasPk, *, standing: str = "true") -> list[Stop]:
    """Newest first; those that stand, or all. Raises `DomainError` (`standing_invalid`)."""
    if standing not in ("true", "false"):
        raise DomainError("standing_invalid", f"standing is '{standing}': write true or false.", param="standing")
    rows = Stop.objects.for_org(org).order_by("-stopped_at", "-id")
    return list(rows.filter(lifted_at=None) if standing == "true" else rows[:PAGE_MAX])


def count_stops(org: HasPk) -> int:
    """Those that stand."""
    return Stop.objects.for_org(org).filter(lifted_at=None).count()


def list_lifted(org: HasPk, limit: int) -> list[Stop]:
    """Stops that were lifted, the last one first."""
    return list(Stop.objects.for_org(org).exclude(lifted_at=None).order_by("-lifted_at", "-id")[:limit])


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of a list; `following` is the position after the last one, None at the end."""

    rows: Sequence[Any]
    following: tuple[Any, ...] | None


def find_crossings(
    org: HasPk, *, limit: int, since: datetime | None = None, cursor: str = "", kind: str = "", budget: str = ""
) -> Page:
    """Newest first, none before `since`. Raises `DomainError` (`cursor_invalid`, `kind_unknown`, `budget_invalid`)."""
    rows = Crossing.objects.for_org(org)
    if since is not None:
        rows = rows.filter(crossed_at__gte=since)
    if kind:
        rows = rows.filter(kind=_choice(kind, Crossing.Kind.values, "kind"))
    if budget:
        rows = rows.filter(budget_id=_number(budget, "budget"))
    return _page(rows, "crossed_at", "crossing_id", limit, cursor)


def count_bounded(org: HasPk, since: datetime) -> int:
    """How many times a run reached one of its bounds since then. Index: budgets_crossing_newest."""
    return Crossing.objects.for_org(org).filter(kind=Crossing.Kind.RUN_BOUND, crossed_at__gte=since).count()


def find_reservations(
    org: HasPk, *, limit: int, cursor: str = "", state: str = "", kind: str = "", run_id: str = "", api_key: str = ""
) -> Page:
    """Newest first. Raises `DomainError` (`cursor_invalid`, `state_unknown`, `kind_unknown`, `api_key_invalid`)."""
    rows = _reservations(org)
    if state:
        rows = rows.filter(state=_choice(state, Reservation.State.values, "state"))
    if kind:
        rows = rows.filter(kind=_choice(kind, Reservation.Kind.values, "kind"))
    if run_id:
        rows = rows.filter(run_id=run_id)
    if api_key:
        rows = rows.filter(key_id=_number(api_key, "api_key"))
    return _page(rows, "decided_at", "reservation_id", limit, cursor)


def has_reservations(org: HasPk) -> bool:
    return Reservation.objects.for_org(org).exists()


def list_reservations(org: HasPk, *, limit: int, state: str = "", run_id: str = "") -> list[Reservation]:
    """Held ones first, then the newest of the others."""
    found = Reservation.objects.for_org(org)
    if run_id:
        found = found.filter(run_id=run_id)
    newest = found.order_by("-decided_at", "-reservation_id")
    held = list(newest.filter(state="held")[:limit]) if state in ("", "held") else []
    others = newest.filter(state=state) if state else newest.exclude(state="held")
    return [*held, *(others[: limit - len(held)] if state != "held" else ())]


def reservation_by_id(org: HasPk, reservation_id: UUID) -> Reservation:
    """Raises `NotFound`."""
    row = _reservations(org).filter(reservation_id=reservation_id).first()
    if row is None:
        raise NotFound("reservation")
    return row


def _reservations(org: HasPk) -> QuerySet[Reservation]:
    """A renewal is part of its lease."""
    return Reservation.objects.for_org(org).exclude(kind=Reservation.Kind.RENEWAL)


def _page(rows: QuerySet[Any], at: str, identity: str, limit: int, cursor: str) -> Page:
    if cursor:
        before_at, before_id = position_of(cursor, Position)
        rows = rows.filter(**{f"{at}__lte": before_at}).exclude(**{at: before_at, f"{identity}__gte": before_id})
    found = list(rows.order_by(f"-{at}", f"-{identity}")[: limit + 1])
    last = found[limit - 1] if len(found) > limit else None
    return Page(found[:limit], None if last is None else (getattr(last, at), getattr(last, identity)))


def _choice(value: str, choices: Sequence[str], field: str) -> str:
    if value not in choices:
        raise DomainError(f"{field}_unknown", f"{field} is '{value}': use {', '.join(choices)}.", param=field)
    return value


def _number(text: str, field: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise DomainError(f"{field}_invalid", f"{field} is '{text[:64]}': write its id.", param=field)
    return int(text)
