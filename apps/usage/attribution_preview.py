"""What a mapping, a new name or a rule would move, before it is made: a dry run of the postings.

It looks at what is stored of the last `REACH`, newest first, at most `EVENTS_MAX` events and `SECONDS_MAX`; where that
is not enough it says how far back it came.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from time import monotonic
from typing import Any, NamedTuple

from django.db import DatabaseError

from apps.core.money import sum_usd
from apps.core.periods import HOUR
from apps.core.retry import is_timeout
from apps.core.tenancy import limit_time, tenant
from apps.organizations.models import Organization
from apps.teams.attribution import KINDS, Names, Owned
from apps.teams.rulebook import REACH, RuleTerms, draft
from apps.teams.selectors import load_names, require_project, require_team
from apps.teams.services import check_mapping, check_name, kind_unknown
from apps.usage.models import Event, Posting
from apps.usage.postings import News, history_of, is_there, may_move, whereabouts

EVENTS_MAX = 20_000
EVENTS_A_BATCH = 2_000
SECONDS_MAX = 4
STATEMENT_TIMEOUT_MS = 2_000
# The id of what is not made yet.
NOT_MADE = -1
_LOOKED_AT = (
    "organization_id", "hour_start", "occurred_at", "event_id", "sent", "user", "key_id", "environment", "provider",
    "model", "task_type", "tags", "priced", "cost_usd", *KINDS, *(f"{kind}_id" for kind in KINDS),
)  # fmt: skip


class Place(NamedTuple):
    """Slugs; None where a call is attributed to none."""

    team: str | None
    project: str | None
    workflow: str | None


@dataclass(frozen=True, slots=True)
class Flow:
    """Events that would go from one place to another. `cost_usd` sums what is priced, None where nothing is."""

    before: Place
    after: Place
    events: int
    unpriced_events: int
    cost_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class Preview:
    """Most events first. What is stored of [start, end) was looked at; `is_cut`: there is more before `start`."""

    start: datetime
    end: datetime
    is_cut: bool
    flows: tuple[Flow, ...]

    @property
    def events(self) -> int:
        return sum(flow.events for flow in self.flows)

    @property
    def unpriced_events(self) -> int:
        return sum(flow.unpriced_events for flow in self.flows)

    @property
    def cost_usd(self) -> Decimal | None:
        costs = [flow.cost_usd for flow in self.flows if flow.cost_usd is not None]
        return sum_usd(costs) if costs or not self.flows else None


def preview_mapping(org: Organization, *, kind: str, name: str, slug: str, at: datetime) -> Preview:
    """What mapping a name would move. Raises what `map_name` raises."""
    with tenant(org):
        check_mapping(org, kind=kind, name=name, slug=slug)
        names = load_names(org)
    names = replace(names, aliases={**names.aliases, (kind, name): slug})
    return _look(org, names, News({kind: [name]}), at)


def preview_creation(org: Organization, *, kind: str, slug: str, belongs_to: str, at: datetime) -> Preview:
    """What a team, a project (of a team, "" for none) or a workflow (of a project) of that slug would move.

    Raises `DomainError` (`kind_unknown`, `slug_invalid`, `team_unknown`, `project_unknown`).
    """
    if kind not in KINDS:
        raise kind_unknown(kind)
    check_name(kind, "slug", slug)
    with tenant(org):
        if kind == "workflow":
            require_project(org, belongs_to)
        elif kind == "project" and belongs_to:
            require_team(org, belongs_to)
        names = load_names(org)
    known: Mapping[str, int] = getattr(names, f"{kind}s")
    changes: dict[str, Any] = {f"{kind}s": {**known, slug: known.get(slug, NOT_MADE)}}
    if kind == "workflow":
        changes["project_of"] = {**names.project_of, slug: belongs_to}
    elif kind == "project" and belongs_to:
        since_ever = at - 2 * REACH
        changes["owners"] = {**names.owners, slug: (Owned(since_ever, None, belongs_to),)}
    return _look(org, replace(names, **changes), News({kind: [slug]}), at)


def preview_rule(org: Organization, *, terms: RuleTerms, at: datetime, replaces: int | None = None) -> Preview:
    """What a rule would give, last of all or in the place of another. Raises what making it raises."""
    with tenant(org):
        rules = draft(org=org, terms=terms, at=at, replaces=replaces)
        names = replace(load_names(org), rules=rules)
    newest = max(rules, key=lambda rule: rule.version)
    return _look(org, names, News({}, (newest,)), at)


def _look(org: Organization, names: Names, news: News, at: datetime) -> Preview:
    start, until = at - REACH, monotonic() + SECONDS_MAX
    found: dict[tuple[Place, Place], list[Decimal | None]] = {}
    looked_at, after = 0, None
    while looked_at < EVENTS_MAX and monotonic() < until:
        try:
            with tenant(org):
                page = _page(org, news, start, at, after)
                history = history_of(org, [event.event_id for event in page])
        except DatabaseError as error:
            if not is_timeout(error):
                raise
            break
        for event in page:
            _note(found, event, history[event.event_id], names, news)
        if len(page) < EVENTS_A_BATCH:
            return Preview(start, at, False, _flows(found))
        looked_at, after = looked_at + len(page), page[-1]
    return Preview(after.occurred_at if after else at, at, True, _flows(found))


def _page(org: Organization, news: News, start: datetime, end: datetime, after: Event | None) -> list[Event]:
    """The next older events that may move. Index: the primary key, backwards."""
    limit_time(STATEMENT_TIMEOUT_MS)
    found = Event.objects.for_org(org).filter(
        may_move(news), hour_start__gt=start - HOUR, occurred_at__gte=start, occurred_at__lt=end
    )
    if after is not None:
        found = found.filter(pk__lt=after.pk)
    return list(found.order_by("-hour_start", "-occurred_at", "-event_id").only(*_LOOKED_AT)[:EVENTS_A_BATCH])


def _note(
    found: dict[tuple[Place, Place], list[Decimal | None]],
    event: Event,
    earlier: Iterable[Posting],
    names: Names,
    news: News,
) -> None:
    """Add what an event costs now to where it would go, if it would go anywhere."""
    postings = list(earlier)
    now: Any = next((posting for posting in reversed(postings) if posting.side == 1), event)
    where, _ = whereabouts(event, now, names, news.rules)
    if is_there(where, now):
        return
    costs = [event.cost_usd or Decimal(0), *(posting.cost_usd for posting in postings)]
    found.setdefault((_place(now), _place(where)), []).append(sum_usd(costs) if now.priced else None)


def _place(one: Any) -> Place:
    return Place(*(getattr(one, kind) if getattr(one, f"{kind}_id") is not None else None for kind in KINDS))


def _flows(found: Mapping[tuple[Place, Place], list[Decimal | None]]) -> tuple[Flow, ...]:
    flows = []
    for (before, after), costs in found.items():
        priced = [cost for cost in costs if cost is not None]
        flows.append(Flow(before, after, len(costs), len(costs) - len(priced), sum_usd(priced) if priced else None))
    return tuple(sorted(flows, key=lambda flow: (-flow.events, str(flow))))
