"""What changes after an event is stored: rows that take its money from one place and put it in another.

An event is never edited. A move repeats the event's measures under the dimensions it leaves (side -1) and
under those it comes to (side 1), and flows through the delta queue like any batch. One cause posts once per
event and side, so running it again changes nothing.

What moves is what came with a name that is known now, or mapped anew, and what a new rule gives names to. Nothing else
does: a project that changes hands, a workflow that goes to another project, an alias or a rule that is removed leave
stored spend where it is.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.db.models import Q
from django.utils import timezone

from apps.core.money import pico_from_usd
from apps.core.tenancy import HasPk, tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import facts_version
from apps.organizations.services import note_names_posted
from apps.teams.attribution import (
    ANY,
    KINDS,
    TAG,
    Attribution,
    Call,
    Names,
    Rule,
    attribute,
    call_of,
    first_match,
    given_by,
    lacks_a_name,
)
from apps.teams.selectors import load_names
from apps.usage import sql
from apps.usage.deltas import MEASURES, Posted, deltas_of_postings, measures_of, posted_row
from apps.usage.models import Event, Posting

EVENTS_A_BATCH = 500
DAY = timedelta(days=1)
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
    """Move the spend of events whose names were unknown when they came and are known now, and give names by rules that
    are new; how many events moved.

    Reads the names at `org.facts_version`, in batches of `EVENTS_A_BATCH`, each a transaction of its own.
    """
    with tenant(org):
        # Waits for batches that were attributed before the names changed; what comes later knows the change.
        sql.open_month(org.pk, closing=True)
        names = load_names(org)
        span = sql.days_of_unknown_names(org.pk)
    news = News(
        {kind: sorted(known_names(names, kind)) for kind in KINDS},
        tuple(rule for rule in names.rules if rule.version > org.names_posted_version),
    )
    span = _span(span, news.rules)
    moved = 0
    after: Event | None = None
    while span is not None:
        with tenant(org):
            first_open = sql.open_month(org.pk, closing=True).first_open_month
            if facts_version(org.pk) != org.facts_version:
                return moved  # names changed again: the next run reads them
            # What is posted on an event is read in order of time: now, while nobody else can post on these.
            cause = Cause(f"names:{org.facts_version}", "A name became known", "names", timezone.now())
            page = _page(org, news, span, after)
            moved += _post_moves(org, page, names, news, cause, first_open)
        if len(page) < EVENTS_A_BATCH:
            break
        after = page[-1]
    note_names_posted(org)
    return moved


@dataclass(frozen=True, slots=True)
class News:
    """Why events may move: names by kind that events can come with and that are known, and rules that are new."""

    known: Mapping[str, Sequence[str]]
    rules: tuple[Rule, ...] = ()


def _span(days: tuple[datetime, datetime] | None, rules: Sequence[Rule]) -> tuple[datetime, datetime] | None:
    """The days in which events are looked for: those of unknown names, and those that new rules reach."""
    if not rules:
        return days
    first, last = min(rule.since for rule in rules) - DAY, timezone.now() + DAY
    return (first, last) if days is None else (min(first, days[0]), max(last, days[1]))


def known_names(names: Names, kind: str) -> set[str]:
    """What an event may call a team, project or workflow that is known: its slug or an alias."""
    slugs = {"team": names.teams, "project": names.projects, "workflow": names.workflows}[kind]
    return {*slugs, *(name for alias_kind, name in names.aliases if alias_kind == kind)}


def may_move(news: News) -> Q:
    """Events that may move: no fewer than do, since what a rule says of a name is looked at again in `whereabouts`."""
    found = Q()
    for kind, names in news.known.items():
        found |= Q(**{f"{kind}_id__isnull": True, f"{kind}__in": names})
    for rule in news.rules:
        lacking = Q()
        for kind in KINDS:
            if getattr(rule, kind) is not None:
                lacking |= Q(**{f"{kind}__isnull": True})
        matching = Q(occurred_at__gte=rule.since)
        for dimension, wanted in rule.when.items():
            matching &= _like(dimension, wanted)
        found |= lacking & matching
    return found


def _like(dimension: str, wanted: str) -> Q:
    """A rule's condition on columns."""
    begins, beginning = wanted.endswith(ANY), wanted.removesuffix(ANY)
    if dimension.startswith(TAG):
        key = dimension.removeprefix(TAG)
        return Q(tags__has_key=key) if begins else Q(tags__contains={key: wanted})
    if dimension == "api_key":
        return Q() if begins else Q(key_id=int(wanted))
    if dimension in ("provider", "model"):
        return Q(**{f"{dimension}__istartswith": beginning}) if begins else Q(**{f"{dimension}__iexact": wanted})
    look = "startswith" if begins else "exact"
    found = Q(**{f"{dimension}__{look}": beginning})
    # A mapped name is stored as its slug, beside the name as sent.
    return found | Q(**{f"sent__workflow__{look}": beginning}) if dimension == "workflow" else found


def _page(org: Organization, news: News, span: tuple[datetime, datetime], after: Event | None) -> list[Event]:
    """The next events, by primary key, that may move."""
    found = Event.objects.for_org(org).filter(may_move(news), day_start__gte=span[0], day_start__lte=span[1])
    if after is not None:
        found = found.filter(pk__gt=after.pk)
    return list(found.order_by("hour_start", "occurred_at", "event_id")[:EVENTS_A_BATCH])


def _post_moves(
    org: Organization, events: Sequence[Event], names: Names, news: News, cause: Cause, first_open: date
) -> int:
    history = history_of(org, [event.event_id for event in events])
    rows = [row for event in events for row in _move(event, history[event.event_id], names, news, cause, first_open)]
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


def _move(
    event: Event, earlier: Sequence[Posting], names: Names, news: News, cause: Cause, first_open: date
) -> Iterable[Posted]:
    """The two sides of a move, or none where the event already is where its names say."""
    found = current(event, earlier)
    now, measures = found.now, found.measures
    where, rule = whereabouts(event, now, names, news.rules)
    if is_there(where, now):
        return
    shared = cause.columns(max(event.booked_month, first_open))
    if rule is not None:
        shared["reason"] = f"The rule '{rule.name}'"
    yield posted_row(event, now, {**shared, "side": -1}, [-measure for measure in measures])
    yield posted_row(event, now, {**shared, **where._asdict(), "side": 1}, measures)


def is_there(where: Attribution, now: Any) -> bool:
    return all(getattr(where, f"{kind}_id") == getattr(now, f"{kind}_id") for kind in KINDS)


def whereabouts(event: Event, now: Any, names: Names, rules: tuple[Rule, ...]) -> tuple[Attribution, Rule | None]:
    """Where an event that is `now` somewhere belongs by these names and by these of their rules, which are new; and
    the rule, where one gives it something.
    """
    # From the labels as they came: a derived or pinned one is known already and stays.
    where = _steady(event, now, attribute(event.team, event.project, event.workflow, names, event.occurred_at))
    if not rules or not lacks_a_name(where):
        return where, None
    rule = first_match(names.rules, call_of_stored(event))
    if rule not in rules or event.occurred_at < rule.since:
        return where, None
    found = given_by(rule, where, names, event.occurred_at)
    return found, rule if found != where else None


def _steady(event: Event, now: Any, where: Attribution) -> Attribution:
    """`where` but for what stays as it is now: a name whose meaning was taken away, and a project or a team that the
    event did not say, while what it followed from is the same.
    """
    found: dict[str, Any] = {}
    follows = False
    for kind in ("workflow", "project", "team"):
        is_now = getattr(now, f"{kind}_id")
        is_then = getattr(where, f"{kind}_id")
        stays = is_now is not None and (is_then is None or (follows and getattr(event, kind) is None))
        found |= {name: getattr(now if stays else where, name) for name in (kind, f"{kind}_id")}
        follows = found[f"{kind}_id"] == is_now
    return Attribution(**found)


def call_of_stored(event: Event) -> Call:
    return call_of(
        workflow=(event.sent or {}).get("workflow", event.workflow),
        user=event.user,
        api_key=event.key_id,
        environment=event.environment,
        provider=event.provider,
        model=event.model,
        task_type=event.task_type,
        tags=event.tags,
    )


def _measures(posting: Posting) -> list[int]:
    values: list[Any] = [getattr(posting, name) for name in MEASURES]
    return [pico_from_usd(value) if index == _COST else int(value) for index, value in enumerate(values)]
