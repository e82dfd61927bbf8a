"""The work of a re-rating: one batch of events priced again, counted, and, when posting, posted."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from typing import Any

from django.utils import timezone

from apps.core.meters import METERS
from apps.core.money import usd_from_pico, usd_text
from apps.core.periods import HOUR, Calendar
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar
from apps.pricing.catalog import Catalog
from apps.pricing.rating import RateBook, Rated
from apps.pricing.rules import RULE_SETS
from apps.pricing.selectors import build_catalog, load_model_aliases, load_terms
from apps.usage import rerating_sql, sql
from apps.usage.deltas import MEASURES, PRICED_BY, SPEND_DIMENSIONS, Posted, grain_of, posted_row
from apps.usage.models import Event, Posting, Rerating
from apps.usage.postings import Cause, Current, current, history_of, post
from apps.usage.rerating import BEGINNING, RUNNING, State, change, digest_of, is_overtaken, record, totals_of

EVENTS_A_BATCH = 2_000
WORK_SECONDS = 240

_COST, _UNPRICED = MEASURES.index("cost_usd"), MEASURES.index("unpriced_events")
_QUANTITIES = slice(1, 1 + len(METERS))
# Columns that never change after an event is stored; what else filters, postings may change.
_FIXED_FILTERS = ("provider", "model", "service_tier", "environment")
_MOVING_FILTERS = ("team", "project", "workflow")
_COLUMNS = (
    *SPEND_DIMENSIONS, *PRICED_BY, *METERS, "cost_usd", "event_id", "occurred_at", "hour_start", "day_start",
    "booked_month", "region", "user", "run_id", "parent_run_id", "step", "attempt", "outcome", "escalated_from",
    "ln_input_micro",
)  # fmt: skip


def work(org: Organization, *, seconds: int = WORK_SECONDS) -> bool:
    """Work on the organization's re-rating for a while; True where more of it is left.

    One process at a time works on one: another returns at once.
    """
    until = time.monotonic() + seconds
    while _step(org):
        if time.monotonic() >= until:
            return True
    return False


def _step(org: Organization) -> bool:
    """One batch; False where there is nothing more to do here and now."""
    with tenant(org):
        running = Rerating.objects.for_org(org).filter(state__in=RUNNING)
        rerating = running.select_for_update(skip_locked=True).first()
        if rerating is None:
            if not running.exists():
                _clear_flag(org)
            return False
        if rerating.previewed_at is None:
            _begin(org, rerating)
        book = _book(org, rerating)
        if book is None:
            change(org, rerating, state=State.STALE)
            record(org, rerating, rerating.posted_by or rerating.actor, "stale", {"scanned": rerating.scanned})
            return True
        # Names that became known are posted while nobody holds the month row, so never between reading and posting.
        first_open = sql.open_month(org.pk).first_open_month
        batch = _Batch.read(org, rerating, first_open)
        batch.price(book)
        if rerating.state == State.POSTING:
            post(org, batch.postings())
        rerating_sql.add_lines(org.pk, batch.lines())
        _advance(org, rerating, batch.events)
    return True


def _begin(org: Organization, rerating: Rerating) -> None:
    sql.open_month(org.pk, closing=True)
    filters = {name: value for name, value in rerating.filters.items() if name in _FIXED_FILTERS}
    change(
        org,
        rerating,
        previewed_at=rerating_sql.mark_previewed(org.pk, timezone.now()),
        book_digest=digest_of(load_terms(org), load_model_aliases(org)),
        expected=rerating_sql.expected_events(org.pk, rerating.start, rerating.end, filters),
    )


def _book(org: Organization, rerating: Rerating) -> RateBook | None:
    """The prices that the preview saw; None where they are no longer the organization's."""
    terms, aliases = load_terms(org), load_model_aliases(org)
    digest = digest_of(terms, aliases)
    if digest != rerating.book_digest or (rerating.phase == State.POSTING and is_overtaken(org, rerating)):
        return None
    key = (org.pk, rerating.catalog_version, rerating.rule_set, digest)
    if key not in _books:
        _books.clear()
        _books[key] = RateBook(_catalog(rerating.catalog_version, rerating.rule_set), terms, aliases)
    return _books[key]


_books: dict[tuple[int, int, int, str], RateBook] = {}


@lru_cache(2)
def _catalog(version: int, rule_set: int) -> Catalog:
    return build_catalog(version, RULE_SETS[rule_set])


@dataclass(slots=True)
class _Priced:
    """An event of which the cost changes."""

    event: Any
    was: Current
    now: Rated
    booked_month: date

    @property
    def before_pico(self) -> int | None:
        return None if self.was.measures[_UNPRICED] else self.was.measures[_COST]

    @property
    def difference_pico(self) -> int:
        return (self.now.cost_pico or 0) - self.was.measures[_COST]


@dataclass(slots=True)
class _Batch:
    rerating: Rerating
    cause: Cause
    first_open: date
    calendar: Calendar
    events: list[Any]
    histories: Mapping[str, list[Posting]]
    changed: list[_Priced] = field(default_factory=list)

    @classmethod
    def read(cls, org: Organization, rerating: Rerating, first_open: date) -> "_Batch":
        cause = Cause(f"rerate:{rerating.rerating_id}", rerating.reason, rerating.posted_by or "", timezone.now())
        events = _page(org, rerating)
        has_postings = Posting.objects.for_org(org).exists()
        return cls(
            rerating,
            cause,
            first_open,
            calendar(org),
            events,
            history_of(org, [event.event_id for event in events]) if has_postings else {},
        )

    def price(self, book: RateBook) -> None:
        filters = {name: value for name, value in self.rerating.filters.items() if name not in _FIXED_FILTERS}
        for event in self.events:
            was = current(event, self.histories.get(event.event_id, ()))
            if any(not _is_met(name, value, was) for name, value in filters.items()):
                continue
            quantities = tuple(was.measures[_QUANTITIES])
            now = book.rate(
                event.provider, event.model, event.service_tier or "", event.region or "", event.occurred_at, quantities
            )
            before = None if was.measures[_UNPRICED] else was.measures[_COST]
            if (now.cost_pico, now.quantities) != (before, quantities):
                booked = max(event.booked_month, self.first_open)
                self.changed.append(_Priced(event, was, now, booked))

    def postings(self) -> list[Posted]:
        return [row for priced in self.changed for row in _rows(priced, self.cause, self.rerating.rule_set)]

    def lines(self) -> list[dict[str, Any]]:
        """What the batch adds to each line: to its preview, or to what is posted of it."""
        posting = self.rerating.state == State.POSTING
        found: dict[tuple[Any, ...], dict[str, Any]] = {}
        for priced in self.changed:
            event, now = priced.event, priced.was.now
            team = now.team if now.team_id is not None else None
            key = (team, self.calendar.slot(event.occurred_at).month, event.provider, event.model)
            line = found.setdefault(key, dict.fromkeys(rerating_sql.ADDED, 0) | {"booked_month": priced.booked_month})
            _count(line, priced, posting=posting)
        return [_line(self.rerating, key, line) for key, line in found.items()]


def _count(line: dict[str, Any], priced: _Priced, *, posting: bool) -> None:
    if posting:
        line["posted_events"] += 1
        line["posted_usd"] += priced.difference_pico
        return
    line["events"] += 1
    line["before_usd"] += priced.before_pico or 0
    line["after_usd"] += priced.now.cost_pico or 0
    line["newly_priced"] += priced.before_pico is None and priced.now.cost_pico is not None
    line["newly_unpriced"] += priced.before_pico is not None and priced.now.cost_pico is None


def _line(rerating: Rerating, key: tuple[Any, ...], line: Mapping[str, Any]) -> dict[str, Any]:
    team, month, provider, model = key
    amounts = {name: usd_from_pico(value) for name, value in line.items() if name.endswith("_usd")}
    return {
        "rerating_id": rerating.rerating_id,
        "grain": grain_of((team, month, provider, model)),
        "team": team,
        "month": month,
        "provider": provider,
        "model": model,
        **line,
        **amounts,
    }


def _rows(priced: _Priced, cause: Cause, rule_set: int) -> Iterable[Posted]:
    """One row where the event stays priced; where it changes sides, one that takes it out and one that puts it in."""
    price, quantities, cost = priced.now
    was, now = priced.was, priced.was.now
    shared = cause.columns(priced.booked_month)
    by = {
        "price_id": price and price.id,
        "tier_assumed": True if price and price.tier_assumed else None,
        "contract_id": price and price.contract_id,
        "rule_set": rule_set if price else None,
    }
    after = list(was.measures)
    after[_QUANTITIES] = quantities
    after[_COST], after[_UNPRICED] = cost or 0, int(cost is None)
    if after[_UNPRICED] == was.measures[_UNPRICED]:
        difference = [new - old for new, old in zip(after, was.measures, strict=True)]
        yield posted_row(priced.event, now, {**shared, **by, "side": 1}, difference)
        return
    yield posted_row(priced.event, now, {**shared, "side": -1}, [-measure for measure in was.measures])
    yield posted_row(priced.event, now, {**shared, **by, "priced": cost is not None, "side": 1}, after)


def _page(org: Organization, rerating: Rerating) -> list[Any]:
    """The next events of the scope in order of their key; the filters that postings can change are not in it."""
    found = Event.objects.for_org(org).filter(
        occurred_at__gte=rerating.start,
        occurred_at__lt=rerating.end,
        hour_start__gt=rerating.start - HOUR,
        hour_start__lt=rerating.end,
        received_at__lte=rerating.previewed_at,
    )
    for name in _FIXED_FILTERS:
        if name in rerating.filters:
            found = found.filter(**{name: rerating.filters[name] or None})
    if rerating.at_hour is not None:
        found = found.filter(pk__gt=(org.pk, rerating.at_hour, rerating.at_instant, rerating.at_event))
    ordered = found.order_by("hour_start", "occurred_at", "event_id")
    return list(ordered.values_list(*_COLUMNS, named=True)[:EVENTS_A_BATCH])


def _is_met(name: str, value: str, was: Current) -> bool:
    if name == "priced":
        return bool(was.measures[_UNPRICED]) == (value == "false")
    if name in _MOVING_FILTERS:
        found = getattr(was.now, name) if getattr(was.now, f"{name}_id") is not None else None
        return bool(found == (value or None))
    return bool(getattr(was.now, name) == (int(value) if value else None))


def _advance(org: Organization, rerating: Rerating, events: Sequence[Any]) -> None:
    changes: dict[str, Any] = {"scanned": rerating.scanned + len(events), "worked_at": timezone.now()}
    if events:
        last = events[-1]
        changes |= {"at_hour": last.hour_start, "at_instant": last.occurred_at, "at_event": last.event_id}
    if len(events) < EVENTS_A_BATCH:
        _finish(org, rerating, changes)
    else:
        change(org, rerating, **changes)


def _finish(org: Organization, rerating: Rerating, changes: dict[str, Any]) -> None:
    if rerating.state == State.PREVIEWING:
        change(org, rerating, **{**changes, **BEGINNING, "scanned": changes["scanned"], "state": State.PREVIEWED})
        return
    change(org, rerating, **changes, state=State.POSTED, posted_at=timezone.now())
    totals = totals_of(org, rerating.rerating_id)
    data = {"events": totals.posted_events, "difference_usd": usd_text(totals.posted_usd)}
    record(org, rerating, rerating.posted_by, "posted", data)


def _clear_flag(org: Organization) -> None:
    Organization.objects.select_for_update().get(pk=org.pk)
    if not Rerating.objects.for_org(org).filter(state__in=RUNNING).exists():
        Organization.objects.filter(pk=org.pk).update(is_rerating=False)
