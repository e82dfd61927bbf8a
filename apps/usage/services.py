import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

import structlog
from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import DatabaseError
from django.utils import timezone
from structlog.contextvars import bound_contextvars

from apps.core.metrics import RECONCILIATIONS
from apps.core.periods import month_before, next_month
from apps.core.tenancy import HasPk, org_id_of, tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import facts_version, organization_ids
from apps.organizations.services import touch_facts
from apps.usage import facets_sql, partitions, runs_sql, sql
from apps.usage.deltas import EventRow, NewEvent, deltas_of

log = structlog.get_logger(__name__)

T = TypeVar("T")

ROLL_UP_DELTAS_MAX = 5_000
# A busy organization gives the others their turn; what is left moves with the next hint or sweep.
ROLL_UP_TURNS_MAX = 100
DELETE_ROWS_MAX = 10_000
KEYS_OUTLIVE_EVENTS = timedelta(days=40)
SWEEP_SLICE = 500
FACET_DAYS_DELETED_MAX = 10


class FactsChanged(Exception):
    """Names, owners or zones changed since the events were attributed by them: read them and attribute again."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """The rows whose id is new, to be written in this transaction, and the fingerprint of every id of the batch."""

    rows: list[EventRow]
    fingerprints: dict[str, bytes]


def claim_events(*, org: Organization, events: Sequence[NewEvent]) -> Claimed:
    """Take the ids that are new, in the caller's `tenant(org)` transaction; `write_events` stores their rows.

    Ids are distinct. Locks: the month row, then event keys in order of id. Raises `FactsChanged` where
    `org.facts_version`, by which the events were attributed, is no longer the newest.
    """
    org_id = org.pk
    if not events:
        return Claimed([], {})
    month = sql.open_month(org_id)
    if facts_version(org_id) != org.facts_version:
        raise FactsChanged
    new_ids = sql.insert_keys(org_id, events)
    new = [event.row for event in events if event.row.event_id in new_ids]
    for row in new:
        row.booked_month = max(row.booked_month, month.first_open_month)
        if month.previewed_at is not None and row.received_at <= month.previewed_at:
            # A re-rating posts on the events that it previewed, and finds them again by when they were received.
            row.received_at = month.previewed_at + timedelta(microseconds=1)
    known = [event.row.event_id for event in events if event.row.event_id not in new_ids]
    fingerprints = {event.row.event_id: event.fingerprint for event in events if event.row.event_id in new_ids}
    return Claimed(new, fingerprints | sql.fingerprints(org_id, known))


def closing_month(org: HasPk) -> date:
    """The first open month. From here to the end of the caller's transaction no usage is stored, none is under way, and
    no month closes.
    """
    return sql.open_month(org.pk, closing=True).first_open_month


def opening_month(org: HasPk) -> None:
    """Whoever begins to close the month, or changes what usage is counted by, waits for the caller's transaction."""
    sql.open_month(org.pk)


def lock_open_month(org: HasPk) -> date:
    """The first open month; no month closes before the caller's transaction ends."""
    return sql.open_month(org.pk).first_open_month


def fence(org: HasPk, month: date) -> None:
    """Nothing is booked in a month, or in one before it, after the caller's transaction.

    It waits for batches and postings under way, which are still booked in it; all later ones see the next month.
    """
    if sql.open_month(org.pk, closing=True).first_open_month <= month:
        sql.set_open_month(org.pk, next_month(month))


def sealed_since(org_id: int) -> datetime:
    """Events of before this instant may be gone. Inside `tenant(org)`."""
    return sql.sealed_before(org_id)


def write_events(org: HasPk, rows: Sequence[EventRow]) -> None:
    """Store claimed rows and queue their sums."""
    if rows:
        sql.insert_events(org.pk, rows)
        sql.insert_deltas(org.pk, deltas_of(rows))


def roll_up(org: HasPk | int, *, turns_max: int = ROLL_UP_TURNS_MAX) -> int:
    """Move the organization's pending deltas into its rollups; how many were moved.

    One process at a time moves one organization's: another returns at once. Running it again, or twice at
    once, changes nothing, and a crash leaves every delta where it was.
    """
    org_id = org_id_of(org)
    moved = 0
    for _ in range(turns_max):
        with tenant(org_id):
            if not sql.has_pending(org_id) or not sql.take_rollup_turn(org_id):
                return moved
            moved += sum(
                move(org_id, ROLL_UP_DELTAS_MAX)
                for move in (sql.move_spend_deltas, sql.move_user_deltas, runs_sql.move_run_deltas)
            )
            sql.note_rollup(org_id)
    return moved


def sweep() -> int:
    """Roll up every organization, in slices of the directory: finds what lost hints left; how many deltas moved."""
    return sum(for_each_organization(roll_up))


def for_each_organization(work: Callable[[int], T]) -> list[T]:
    """What `work` says of each organization; one in which it fails is logged and does not hold up the others."""
    return for_each_of(every_organization(), work)


def for_each_of(org_ids: Sequence[int], work: Callable[[int], T]) -> list[T]:
    """`for_each_organization`, of these."""
    done: list[T] = []
    for org_id in org_ids:
        with bound_contextvars(organization_id=org_id):
            try:
                done.append(work(org_id))
            except SoftTimeLimitExceeded:
                raise
            except Exception:
                log.exception("work on an organization failed", work=work.__name__, organization_id=org_id)
    return done


def every_organization() -> Sequence[int]:
    ids: list[int] = []
    while page := organization_ids(after=ids[-1] if ids else 0, limit=SWEEP_SLICE):
        ids += page
    return ids


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Differences between what is stored and what is counted; no rows: they agree to the last decimal."""

    organization_id: int
    differences: list[dict[str, Any]] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        return not self.differences


def reconcile(org: HasPk | int) -> Reconciliation:
    """Prove events + postings = rollups + pending deltas for one organization, in one snapshot."""
    org_id = org_id_of(org)
    with tenant(org_id, repeatable_read=True):
        since = sql.sealed_before(org_id)
        checks = {
            "spend": sql.unbalanced_spend(org_id, since),
            "user": sql.unbalanced_users(org_id, since),
            "day": sql.unbalanced_days(org_id),
            "run": sql.unbalanced_runs(org_id, since),
            "seal": sql.unbalanced_seals(org_id, since),
            "facet": facets_sql.unbalanced_days(org_id),
        }
    differences = [{"check": check, **row} for check, rows in checks.items() for row in rows]
    RECONCILIATIONS.add("usage", "differs" if differences else "agrees")
    if differences:
        log.error(
            "events and rollups differ",
            organization_id=org_id,
            differences=json.loads(json.dumps(differences, default=str)),
        )
    return Reconciliation(org_id, differences)


def maintain_partitions(*, today: date) -> None:
    """Partitions three months ahead; months beyond the installation's retention sealed and dropped.

    A month that cannot be made or dropped now is logged and does not hold up the others.
    """
    this_month = today.replace(day=1)
    oldest = month_before(this_month, settings.RETENTION_MONTHS)
    existing = partitions.months()
    wanted = months_between(oldest, month_before(this_month, -partitions.MONTHS_AHEAD - 1))
    for month in wanted:
        if month not in existing:
            _logged(partitions.create, month)
    for expired in (month for month in existing if month < oldest):
        _logged(_drop_month, expired)
    if partitions.default_holds_events():
        log.error("events lie in the default partition: see the runbook", partition="usage_event_default")


def _drop_month(month: date) -> None:
    for org_id in every_organization():
        _seal(Organization.objects.get(pk=org_id), month)
    partitions.detach(month)
    log.info("month of events dropped", month=month.isoformat())


def _logged(work: Callable[[date], None], month: date) -> None:
    try:
        work(month)
    except DatabaseError:
        log.exception("a month's partition could not be changed", work=work.__name__, month=month.isoformat())


def retention_months(org: Organization) -> int:
    return min(org.retention_months or settings.RETENTION_MONTHS, settings.RETENTION_MONTHS)


def oldest_kept(org: Organization, at: datetime) -> datetime:
    """Events of before this instant are not kept: the first of a UTC month."""
    month = month_before(at.astimezone(UTC).date().replace(day=1), retention_months(org))
    return datetime(month.year, month.month, month.day, tzinfo=UTC)


def apply_retention(org_id: int) -> int:
    """Seal and delete what the organization no longer keeps; how many events went. Keys go 40 days after them."""
    org = Organization.objects.get(pk=org_id)
    before = oldest_kept(org, timezone.now())
    while _seal_next(org, before):
        pass
    with tenant(org):
        oldest = sql.oldest_event_month(org_id)
    expired = oldest is not None and oldest < before.date()
    deleted = _in_batches(org, sql.delete_events, before) if expired else 0
    _in_batches(org, sql.delete_keys, before - KEYS_OUTLIVE_EVENTS)
    while _forget_facets(org, before):
        pass
    return deleted


def _forget_facets(org: Organization, before: datetime) -> bool:
    """Of events that may be gone, nothing finer than the rollups stays."""
    with tenant(org):
        days = facets_sql.days_before(org.pk, before, FACET_DAYS_DELETED_MAX)
        facets_sql.forget_days(org.pk, days)
    return bool(days)


def _seal_next(org: Organization, before: datetime) -> bool:
    """Seal the oldest month of events of before an instant that has no seal; False where there is none."""
    with tenant(org):
        sql.open_month(org.pk, closing=True)
        oldest = sql.oldest_event_month(org.pk)
        sealed = sql.sealed_months(org.pk)
        expired = [] if oldest is None else months_between(oldest, before.date())
        month = next((month for month in expired if month not in sealed), None)
        if month is not None:
            _seal(org, month)
    return month is not None


def _seal(org: Organization, month: date) -> None:
    """Write what a month of events sums to. No batch is stored meanwhile, and later ones know that it is sealed."""
    with tenant(org):
        sql.open_month(org.pk, closing=True)
        sql.seal(org.pk, month, next_month(month))
        touch_facts(org)


def months_between(first: date, end: date) -> list[date]:
    """The first days of the months in [first, end)."""
    months: list[date] = []
    while first < end:
        months.append(first)
        first = next_month(first)
    return months


def _in_batches(org: Organization, delete: Callable[[int, datetime, int], int], before: datetime) -> int:
    total = 0
    while True:
        with tenant(org):
            deleted = delete(org.pk, before, DELETE_ROWS_MAX)
        total += deleted
        if deleted < DELETE_ROWS_MAX:
            return total
