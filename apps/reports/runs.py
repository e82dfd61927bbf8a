"""Runs, as lists and as trees: what pages and the API read. Inside `tenant(org)` where not said otherwise.

A run belongs to where its earliest event belongs, as that event was attributed when it arrived.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import islice
from typing import Annotated, Any

from msgspec import Meta

from apps.budgets.models import RunBound, RunTally
from apps.budgets.services import BOUNDS
from apps.core.cursors import invalid_cursor, position_of
from apps.core.errors import DomainError, NotFound
from apps.core.meters import METERS
from apps.core.tenancy import HasPk, org_id_of
from apps.reports import runs_sql
from apps.reports.runs_sql import Place, Tree
from apps.usage import sql
from apps.usage.models import RollupState, Run
from apps.usage.selectors import in_time, read_run

PAGE_MAX = 200
IDS_SCANNED = 200
FILTERS = ("workflow", "team", "project", "environment", "user", "outcome", "status", "run_id", "parent_run_id", "with")
CHOICES: Mapping[str, tuple[str, ...]] = {
    "outcome": ("success", "failure", "unknown"),
    "status": ("running", "ended"),
    "with": runs_sql.WITH,
}
SORTS = tuple(runs_sql.SORTS)
# Child runs that are listed in the tree of one page, and how deep below it.
CHILDREN_MAX = 50
DEPTH_MAX = 3
# What a model read, and what of it came from a cache.
CONTEXT_METERS = ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")

_PLAIN = (
    "run_id", "parent_run_id", "workflow_id", "environment", "outcome", "units", "ended_at", "first_at", "last_at",
)  # fmt: skip
_COUNTS = ("events", "steps", "retries", "escalations", "errors", "unpriced_events")
_Instant = Annotated[datetime, Meta(tz=True)]
_RunId = Annotated[str, Meta(pattern=r"^[^\x00]*$")]
_Cost = Annotated[str, Meta(pattern=r"^-?[0-9]{1,26}\.[0-9]{12}$")]


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run and the sums over its own events, child runs apart. `cost_usd` is None where nothing of it has a price.

    `outcome`, `units` and `ended_at` are what its caller said; where that is nothing, its events say the outcome.
    """

    run_id: str
    parent_run_id: str | None
    team: str | None
    project: str | None
    workflow: str | None
    workflow_id: int | None
    environment: str | None
    user: str | None
    outcome: str | None
    units: int | None
    ended_at: datetime | None
    first_at: datetime
    last_at: datetime
    events: int
    steps: int
    retries: int
    escalations: int
    errors: int
    meters: Mapping[str, int]
    cost_usd: Decimal | None
    unpriced_events: int
    # The sum that runs are sorted by: 0 where `cost_usd` is None.
    priced_usd: Decimal

    @property
    def status(self) -> str:
        return "running" if self.ended_at is None else "ended"

    @property
    def duration(self) -> timedelta:
        """From its first event to its last."""
        return self.last_at - self.first_at

    @property
    def context_tokens(self) -> int:
        return sum(self.meters[meter] for meter in CONTEXT_METERS)

    @property
    def cache_hit_share(self) -> Decimal | None:
        return cache_hit_share(self.meters)


@dataclass(frozen=True, slots=True)
class RunPage:
    """`following` is the position after the last run, None at the end; `as_of` None: nothing was rolled up yet."""

    runs: Sequence[RunRow]
    following: tuple[Any, str] | None
    as_of: datetime | None


@dataclass(frozen=True, slots=True)
class Family:
    """A run, its parent and so on up to the root; the bounds that hold for it, and what they have counted on the root.

    `run` is None where no event named it; `tally` where neither a decision nor a bound has.
    """

    run_id: str
    run: RunRow | None
    ancestors: Sequence[str]
    tree: Tree
    tally: RunTally | None
    root_tally: RunTally | None
    bounds: Mapping[str, Any]

    @property
    def root_run_id(self) -> str:
        return self.ancestors[-1] if self.ancestors else self.run_id


def cache_hit_share(meters: Mapping[str, int]) -> Decimal | None:
    """What was read from a cache of all that was read; None where nothing was."""
    context = sum(meters[meter] for meter in CONTEXT_METERS)
    return Decimal(meters["cache_read_tokens"]) / context if context else None


def check_filters(filters: Mapping[str, str]) -> None:
    """Values that only some filters take. Raises `DomainError` with code `parameter_invalid`."""
    for name, choices in CHOICES.items():
        value = filters.get(name)
        if value is not None and value not in choices and not (value == "" and name == "outcome"):
            raise DomainError("parameter_invalid", f"{name} is '{value[:64]}': write {', '.join(choices)}.", param=name)


def find_runs(
    org: HasPk,
    *,
    start: datetime,
    end: datetime,
    filters: Mapping[str, str],
    sort: str = "newest",
    cursor: str = "",
    limit: int,
    at: datetime,
) -> RunPage:
    """Runs that began in [start, end) and match every filter of `FILTERS` ("" finds what is missing).

    Raises `DomainError` (`parameter_invalid`, `sort_unknown`, `cursor_invalid`; `query_too_slow` after 5 seconds).
    """
    check_filters(filters)
    if sort not in SORTS:
        raise DomainError("sort_unknown", f"sort is '{sort[:64]}': use {', '.join(SORTS)}.", param="sort")
    after = _position(cursor, sort) if cursor else None
    found = in_time(
        "Reading runs",
        lambda: runs_sql.list_runs(
            org_id_of(org), filters=filters, span=(start, end), sort=sort, after=after, limit=limit + 1
        ),
    )
    page = [_row(row) for row in found[:limit]]
    last = page[-1] if len(found) > limit else None
    return RunPage(page, _place(last, sort) if last else None, rolled_up_at(org, at))


def run_ids_from(org: HasPk, beginning: str, *, teams: Collection[str] | None = None, limit: int) -> list[str]:
    """Ids of runs that begin so, one that is just that first; with `teams`, of runs of these. Index: the primary key.

    They are looked for among the `IDS_SCANNED` that follow the text, however the database sorts text.
    """
    rows = Run.objects.for_org(org).filter(run_id__gte=beginning).order_by("run_id")
    near = rows.values_list("run_id", "team", "team_id")[:IDS_SCANNED]
    found = (
        run_id
        for run_id, team, team_id in near
        if run_id.startswith(beginning) and (teams is None or (team_id is not None and team in teams))
    )
    return list(islice(found, limit))


def has_runs(org: HasPk) -> bool:
    return Run.objects.for_org(org).exists()


def family(org: HasPk, run_id: str) -> Family:
    """A run with what waits to be rolled up included, and what there is above it. Raises `NotFound`."""
    org_id = org_id_of(org)
    row = next(map(_row, read_run(lambda: runs_sql.run_now(org_id, run_id))), None)
    tally = RunTally.objects.for_org(org).filter(run_id=run_id).first()
    above = runs_sql.ancestors(org_id, run_id, row.parent_run_id if row else None)
    tree = read_run(lambda: runs_sql.tree_sums(org_id, run_id))
    if row is None and tally is None and not tree.runs:
        raise NotFound("run")
    root_id = above[-1] if above else run_id
    root = RunTally.objects.for_org(org).filter(run_id=tally.root_run_id).first() if tally else None
    return Family(run_id, row, above, tree, tally, root, _bounds(org, row, tally, root, root_id))


def bound_places(org: HasPk, found: Family) -> list[Place]:
    """Where the bounds of cost, steps, attempts and seconds fall in the whole tree, child runs included."""
    return read_run(lambda: runs_sql.bound_places(org_id_of(org), found.root_run_id, found.bounds))


def descendants(org: HasPk, run_id: str, start: datetime, end: datetime) -> list[RunRow]:
    """Child runs that began in [start, end), and theirs down to `DEPTH_MAX` levels: at most `CHILDREN_MAX` and one."""
    found: list[RunRow] = []
    level, span = [run_id], (start, end)
    seen = {run_id}
    for _ in range(DEPTH_MAX):
        room = CHILDREN_MAX + 1 - len(found)
        if not level or not room:
            break
        read = partial(runs_sql.children, org_id_of(org), level, span, room)
        below = [row for row in map(_row, read_run(read)) if row.run_id not in seen]
        seen |= {row.run_id for row in below}
        found += below
        level, span = [row.run_id for row in below], (start, datetime.max.replace(tzinfo=start.tzinfo))
    return found


def rolled_up_at(org: HasPk, at: datetime) -> datetime | None:
    """How fresh lists of runs are: `at` where nothing waits, else when deltas were last moved."""
    if not sql.has_pending(org_id_of(org)):
        return at
    return RollupState.objects.for_org(org).values_list("rolled_at", flat=True).first()


def _bounds(
    org: HasPk, row: RunRow | None, tally: RunTally | None, root: RunTally | None, root_id: str
) -> dict[str, Any]:
    """The tighter ones of the run's own workflow and of its root's, as decisions hold them."""
    ids = [one.workflow_id for one in (row, tally, root) if one is not None]
    if row is not None and root_id != row.run_id:
        ids += [one["workflow_id"] for one in runs_sql.run_now(org_id_of(org), root_id)]
    rows = list(RunBound.objects.for_org(org).filter(workflow_id__in={found for found in ids if found is not None}))
    values = {name: [value for one in rows if (value := getattr(one, name)) is not None] for name in BOUNDS}
    return {name: min(found) if found else None for name, found in values.items()}


def _position(cursor: str, sort: str) -> tuple[Any, str]:
    if sort == "cost":
        cost, run_id = position_of(cursor, tuple[_Cost, _RunId])
        return Decimal(cost), run_id
    at, run_id = position_of(cursor, tuple[_Instant, _RunId])
    if at.utcoffset():
        raise invalid_cursor()
    return at, run_id


def _place(last: RunRow, sort: str) -> tuple[Any, str]:
    return (format(last.priced_usd, ".12f") if sort == "cost" else last.first_at), last.run_id


def _row(row: Mapping[str, Any]) -> RunRow:
    counts = {name: int(row[name]) for name in _COUNTS}
    values: dict[str, Any] = {
        **{name: row[name] for name in _PLAIN},
        **{kind: row[kind] if row[f"{kind}_id"] is not None else None for kind in ("team", "project", "workflow")},
        **counts,
        "user": row["user_name"],
        "meters": {meter: int(row[meter]) for meter in METERS},
        "cost_usd": None if counts["events"] and counts["unpriced_events"] == counts["events"] else row["cost_usd"],
        "priced_usd": row["cost_usd"],
    }
    return RunRow(**values)
