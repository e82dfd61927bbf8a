from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import starmap
from typing import Annotated, TypeVar

from django.db import DatabaseError
from django.db.models import F, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from msgspec import Meta

from apps.core.cursors import invalid_cursor, position_of
from apps.core.errors import DomainError
from apps.core.periods import HOUR
from apps.core.retry import is_timeout
from apps.core.tenancy import HasPk, limit_time, org_id_of
from apps.usage import facets_sql, parts_sql, sql
from apps.usage.models import Delta, Event, EventKey, OpenMonth, Posting, Rerating, RollupState
from apps.usage.parts_sql import Part

T = TypeVar("T")

EVENTS_PAGE_MAX = 1_000
FIND_TIMEOUT_MS = 5_000
BACKLOG_COUNTED = 10_000

# What events can be found by, beside time: the columns of the contract's dimensions.
EVENT_FILTERS: dict[str, str] = {
    "event_id": "event_id",
    "run_id": "run_id",
    "parent_run_id": "parent_run_id",
    "user": "user",
    "task_type": "task_type",
    "provider": "provider",
    "model": "model",
    "service_tier": "service_tier",
    "environment": "environment",
    "api_key": "key_id",
    "status": "status",
    "operation": "operation",
    "region": "region",
    "workflow_version": "workflow_version",
    "tool_name": "tool_name",
    "error_type": "error_type",
    "outcome": "outcome",
    "stop_reason": "stop_reason",
    "prompt_version": "prompt_version",
    "escalated_from": "escalated_from",
    "model_served": "model_served",
    "request_id": "request_id",
    "team_name": "now_team",
    "project_name": "now_project",
    "workflow_name": "now_workflow",
}
ATTRIBUTED = ("team", "project", "workflow")


_Instant = Annotated[datetime, Meta(tz=True)]
Position = tuple[_Instant, _Instant, Annotated[str, Meta(pattern=r"^[^\x00]*$")]]


def parse_position(cursor: str) -> Position:
    """Where a page ended. Raises `DomainError` (`cursor_invalid`) for a text that is no cursor of ours."""
    found: Position = position_of(cursor, Position)
    # Ours are in UTC; an odd offset may lie outside what Postgres holds.
    if any(at.utcoffset() for at in found[:2]):
        raise invalid_cursor()
    return found


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events from newest to oldest; `following` is the position after the last one, None at the end."""

    events: list[Event]
    following: Position | None


def in_time(what: str, read: Callable[[], T], way_out: str = "shorten the range") -> T:
    """What `read` reads, in the caller's `tenant(org)`. Raises `DomainError` (`query_too_slow`) after 5 seconds."""
    limit_time(FIND_TIMEOUT_MS)
    try:
        return read()
    except DatabaseError as error:
        if is_timeout(error):
            raise DomainError(
                "query_too_slow", f"{what} took longer than 5 seconds: {way_out}.", param="from"
            ) from error
        raise


def read_run(read: Callable[[], T]) -> T:
    """`in_time`, of one run."""
    return in_time("Reading a run", read, "read its events by their time, at most some hours at once")


def first_open_month(org: HasPk) -> date:
    """The first month that something can still be booked in; before any was closed, one before all usage."""
    row = OpenMonth.objects.for_org(org).first()
    return row.first_open_month if row else sql.EPOCH_MONTH


def sealed_before(org: HasPk) -> datetime:
    return sql.sealed_before(org_id_of(org))


def summed_days(org: HasPk, start: datetime, end: datetime) -> list[facets_sql.Day]:
    """The days that begin in [start, end) and are summed up by facets, in order."""
    return facets_sql.summed_days(org_id_of(org), start, end)


def with_sums(org: HasPk, spans: Sequence[facets_sql.Range]) -> list[facets_sql.Range]:
    """The spans, each cut to its days that have any event, counted or on its way to be; those without fall away."""
    return facets_sql.with_sums(org_id_of(org), spans)


def last_event_at(org: HasPk) -> datetime | None:
    """When the newest event happened. Index: the primary key, backwards."""
    newest = Event.objects.for_org(org).order_by("-hour_start", "-occurred_at", "-event_id").only("occurred_at").first()
    return newest.occurred_at if newest else None


@dataclass(frozen=True, slots=True)
class Backlog:
    """Sums that wait to be rolled up, at most `BACKLOG_COUNTED` of them, and when that last happened."""

    waiting: int
    rolled_at: datetime | None


def backlog(org: HasPk) -> Backlog:
    state = RollupState.objects.for_org(org).first()
    waiting = Delta.objects.for_org(org)[:BACKLOG_COUNTED].count()
    return Backlog(waiting, state.rolled_at if state else None)


def open_reratings(org: HasPk) -> list[Rerating]:
    """Re-ratings that somebody or something has to go on with, newest first; at most a hundred."""
    done = (Rerating.State.POSTED, Rerating.State.STALE)
    return list(Rerating.objects.for_org(org).exclude(state__in=done).order_by("-created_at")[:100])


def postings_of(org: HasPk, event_id: str) -> list[Posting]:
    """What changed an event's money after it was stored, oldest first."""
    return list(Posting.objects.for_org(org).filter(event_id=event_id).order_by("posted_at", "side"))


def find_events(
    org: HasPk,
    *,
    start: datetime,
    end: datetime,
    filters: Mapping[str, str],
    limit: int,
    after: Position | None = None,
    excluded: Mapping[str, Sequence[str]] | None = None,
) -> EventPage:
    """Events of [start, end) that match every filter and have no value that is `excluded`, newest first.

    A filter is a name of `EVENT_FILTERS`, "team", "project" or "workflow" ("" finds the unattributed),
    "priced" ("true" or "false"), or "tags.<key>". Index: the primary key, or usage_event_run by run. Raises
    `DomainError` (`query_too_slow`) after 5 seconds.
    """
    found = _where_now(org).filter(occurred_at__gte=start, occurred_at__lt=end)
    if "event_id" in filters:
        key = EventKey.objects.for_org(org).filter(event_id=filters["event_id"]).first()
        if key is None:
            return EventPage([], None)
        found = found.filter(hour_start=key.hour_start)
    else:
        # An hour begins at most an hour before what it holds: lets Postgres skip the other months.
        found = found.filter(hour_start__gt=start - HOUR, hour_start__lt=end)
    for name, value in filters.items():
        found = found.filter(_condition(name, value))
    for name, values in (excluded or {}).items():
        for value in values:
            found = found.filter(_exclusion(name, value))
    if after is not None:
        found = found.filter(pk__lt=(org_id_of(org), *after))
    newest = found.order_by("-hour_start", "-occurred_at", "-event_id")[: limit + 1]
    events = in_time("Finding events", lambda: list(newest))
    page = events[:limit]
    last = page[-1] if len(events) > limit else None
    return EventPage(page, (last.hour_start, last.occurred_at, last.event_id) if last else None)


def run_events(
    org: HasPk,
    run_id: str,
    *,
    since: datetime,
    limit: int,
    after: tuple[datetime, str] | None = None,
    part: Part | None = None,
) -> list[Event]:
    """A run's events in the order of their time, of the part alone if one is given, none of an hour before that of
    `since`. Index: usage_event_run.
    """
    events = _where_now(org).filter(*starmap(_of_part, part.items())) if part else Event.objects.for_org(org)
    found = events.filter(run_id=run_id, hour_start__gt=since - HOUR)
    if after is not None:
        at, event_id = after
        found = found.filter(occurred_at__gte=at).exclude(occurred_at=at, event_id__lte=event_id)
    return read_run(lambda: list(found.order_by("occurred_at", "event_id")[:limit]))


def first_events(
    org: HasPk, run_ids: Sequence[str], *, since: datetime, limit: int, part: Part | None = None
) -> list[Event]:
    """The first `limit` events of each of these runs, in the order of their time; of the part alone if one is given."""
    if not run_ids:
        return []
    org_id = org_id_of(org)
    first = read_run(lambda: parts_sql.first_events(org_id, run_ids, part=part or {}, since=since - HOUR, limit=limit))
    keys = [(org_id, *key) for key in first]
    return list(Event.objects.for_org(org).filter(pk__in=keys).order_by("occurred_at", "event_id"))


def event_by_id(org: HasPk, event_id: str) -> Event | None:
    key = EventKey.objects.for_org(org).filter(event_id=event_id).first()
    if key is None:
        return None
    return _where_now(org).filter(hour_start=key.hour_start, occurred_at=key.occurred_at, event_id=event_id).first()


def attributed_to(event: Event, kind: str) -> str | None:
    """The team, project or workflow that an event found here belongs to now; None where it is unattributed."""
    label: str | None = getattr(event, f"now_{kind}")
    return label if getattr(event, f"now_{kind}_id") is not None else None


def _where_now(org: HasPk) -> QuerySet[Event]:
    """Events with where their money is, and whether they are priced, as stored or by postings.

    Index: usage_posting_event.
    """
    events = Event.objects.for_org(org)
    columns = [name for kind in ATTRIBUTED for name in (kind, f"{kind}_id")]
    if not Posting.objects.for_org(org).exists():
        return events.annotate(now_priced=F("priced"), **{f"now_{name}": F(name) for name in columns})
    latest = Posting.objects.for_org(org).filter(event_id=OuterRef("event_id"), side=1).order_by("-posted_at")
    # A move only ever makes an unknown name known, so what it leaves empty is as the event says.
    return events.annotate(
        now_priced=Coalesce(Subquery(latest.values("priced")[:1]), F("priced")),
        **{f"now_{name}": Coalesce(Subquery(latest.values(name)[:1]), F(name)) for name in columns},
    )


def _condition(name: str, value: str) -> Q:
    if name in ATTRIBUTED:
        is_nobodys = Q(**{f"now_{name}_id__isnull": True})
        return is_nobodys if value == "" else Q(**{f"now_{name}": value}) & ~is_nobodys
    if name == "priced":
        return Q(now_priced=value == "true") if value else Q(now_priced__isnull=True)
    if name.startswith("tags."):
        key = name.removeprefix("tags.")
        return Q(tags__isnull=True) | ~Q(tags__has_key=key) if value == "" else Q(tags__contains={key: value})
    column = EVENT_FILTERS[name]
    return Q(**{f"{column}__isnull": True}) if value == "" else Q(**{column: value})


def _of_part(name: str, values: Sequence[str]) -> Q:
    if name not in ATTRIBUTED:
        return Q(**{f"{name}__in": values})
    return Q(**{f"now_{name}__in": values, f"now_{name}_id__isnull": False})


def _exclusion(name: str, value: str) -> Q:
    """Everything that the condition does not find: what has no value too, which SQL's NOT would leave out."""
    return ~_condition(name, value) if value == "" else ~_condition(name, value) | _condition(name, "")


def known_filters() -> Sequence[str]:
    return (*ATTRIBUTED, *EVENT_FILTERS, "priced")
