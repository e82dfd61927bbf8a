"""What changes after an event is stored: rows that take its money from one place and put it in another.

An event is never edited. A move repeats the event's measures under the dimensions it leaves (side -1) and
under those it comes to (side 1), and flows through the delta queue like any batch. One cause posts once per
event and side, so running it again changes nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.db.models import Q
from django.utils import timezone

from apps.core.money import pico_from_usd
from apps.core.tenancy import HasPk, tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import facts_version
from apps.organizations.services import note_names_posted
from apps.teams.attribution import Names, attribute
from apps.teams.selectors import load_names
from apps.usage import sql
from apps.usage.deltas import MEASURES, Posted, deltas_of_postings, measures_of, posted_row
from apps.usage.models import Event, Posting

EVENTS_A_BATCH = 500
KINDS = ("team", "project", "workflow")
_COST = MEASURES.index("cost_usd")


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something is posted, and the key under which it is posted once."""

    key: str
    reason: str
    actor: str
    at: datetime

    def columns(self, booked_month: date) -> dict[str, Any]:
        return {
            "cause": self.key,
            "reason": self.reason,
            "actor": self.actor,
            "posted_at": self.at,
            "booked_month": booked_month,
        }


def attribute_known_names(org: Organization) -> int:
    """Move the spend of events whose names were unknown when they came and are known now; how many events moved.

    Reads the names at `org.facts_version`, in batches of `EVENTS_A_BATCH`, each a transaction of its own.
    """
    with tenant(org):
        # Waits for batches that were attributed before the names changed; what comes later knows the change.
        sql.open_month(org.pk, closing=True)
        names = load_names(org)
        span = sql.days_of_unknown_names(org.pk)
    newly_known = {kind: sorted(known_names(names, kind)) for kind in KINDS}
    moved = 0
    after: Event | None = None
    while span is not None:
        with tenant(org):
            first_open = sql.open_month(org.pk, closing=True).first_open_month
            if facts_version(org.pk) != org.facts_version:
                return moved  # names changed again: the next run reads them
            # What is posted on an event is read in order of time: now, while nobody else can post on these.
            cause = Cause(f"names:{org.facts_version}", "A name became known", "names", timezone.now())
            page = _page(org, newly_known, span, after)
            moved += _post_moves(org, page, names, cause, first_open)
        if len(page) < EVENTS_A_BATCH:
            break
        after = page[-1]
    note_names_posted(org)
    return moved


def known_names(names: Names, kind: str) -> set[str]:
    """What an event may call a team, project or workflow that is known: its slug or an alias."""
    slugs = {"team": names.teams, "project": names.projects, "workflow": names.workflows}[kind]
    return {*slugs, *(name for alias_kind, name in names.aliases if alias_kind == kind)}


def _page(
    org: Organization, known: dict[str, list[str]], span: tuple[datetime, datetime], after: Event | None
) -> list[Event]:
    """The next events, by primary key, that came with a name unknown then and known now."""
    unknown_then = Q()
    for kind, names in known.items():
        unknown_then |= Q(**{f"{kind}_id__isnull": True, f"{kind}__in": names})
    found = Event.objects.for_org(org).filter(unknown_then, day_start__gte=span[0], day_start__lte=span[1])
    if after is not None:
        found = found.filter(pk__gt=after.pk)
    return list(found.order_by("hour_start", "occurred_at", "event_id")[:EVENTS_A_BATCH])


def _post_moves(org: Organization, events: Sequence[Event], names: Names, cause: Cause, first_open: date) -> int:
    history = history_of(org, [event.event_id for event in events])
    rows = [row for event in events for row in _move(event, history[event.event_id], names, cause, first_open)]
    return post(org, rows) // 2


def post(org: Organization, rows: Sequence[Posted]) -> int:
    """Store the rows that their cause had not posted yet, and queue what they change; how many were new."""
    stored = sql.insert_postings(org.pk, [row.columns for row in rows])
    new = [row for row in rows if (row.columns["event_id"], row.columns["side"]) in stored]
    sql.insert_deltas(org.pk, deltas_of_postings(new))
    return len(new)


def history_of(org: HasPk, event_ids: Sequence[str]) -> dict[str, list[Posting]]:
    """The postings of each of these events, oldest first. Index: usage_posting_event."""
    history: dict[str, list[Posting]] = {event_id: [] for event_id in event_ids}
    for posting in Posting.objects.for_org(org).filter(event_id__in=event_ids).order_by("posted_at", "side"):
        history[posting.event_id].append(posting)
    return history


@dataclass(frozen=True, slots=True)
class Current:
    """What an event is after its postings: `now` says its dimensions and price, `measures` follow `MEASURES`."""

    now: Any
    measures: list[int]


def current(event: Any, earlier: Sequence[Posting]) -> Current:
    """An event, or the columns of one, and its postings, oldest first."""
    measures = measures_of(event)
    for posting in earlier:
        measures = [a + b for a, b in zip(measures, _measures(posting), strict=True)]
    return Current(next((posting for posting in reversed(earlier) if posting.side == 1), event), measures)


def _move(event: Event, earlier: Sequence[Posting], names: Names, cause: Cause, first_open: date) -> Iterable[Posted]:
    """The two sides of a move, or none where the event already is where its names say."""
    found = current(event, earlier)
    now, measures = found.now, found.measures
    # From the labels as they came: a derived or pinned one is known already and stays.
    where = attribute(event.team, event.project, event.workflow, names, event.occurred_at)
    if all(getattr(where, f"{kind}_id") == getattr(now, f"{kind}_id") for kind in KINDS):
        return
    shared = cause.columns(max(event.booked_month, first_open))
    there = {name: getattr(where, name) for kind in KINDS for name in (kind, f"{kind}_id")}
    yield posted_row(event, now, {**shared, "side": -1}, [-measure for measure in measures])
    yield posted_row(event, now, {**shared, **there, "side": 1}, measures)


def _measures(posting: Posting) -> list[int]:
    values: list[Any] = [getattr(posting, name) for name in MEASURES]
    return [pico_from_usd(value) if index == _COST else int(value) for index, value in enumerate(values)]
