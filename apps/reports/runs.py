"""Runs, as lists and as trees: what pages and the API read. Inside `tenant(org)` where not said otherwise.

A run belongs to where its earliest event belongs, as that event was attributed when it arrived. Later events may belong
elsewhere: whoever may read a `Part` alone is told the sums of that, and only how many events there are beside it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from apps.usage import parts_sql, sql
from apps.usage.models import RollupState, Run
from apps.usage.parts_sql import Part
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
    # Events that belong elsewhere than what its reader may see: they are in none of these figures.
    others: int = 0

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
    following: tuple[Any, ...] | None
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
    part: Part | None = None,
) -> RunPage:
    """Runs that began in [start, end) and match every filter of `FILTERS` ("" finds what is missing).

    With a `part` the filters must keep to it, and the figures are of it. Which runs cost most is told by what they
    cost whole: to sum a part of every run of the range would have no limit.

    Raises `DomainError` (`parameter_invalid`, `sort_unknown`, `cursor_invalid`; `query_too_slow` after 5 seconds).
    """
    check_filters(filters)
    if sort not in SORTS:
        raise DomainError("sort_unknown", f"sort is '{sort[:64]}': use {', '.join(SORTS)}.", param="sort")
    after = _position(org, cursor, sort, part) if cursor else None
    found = in_time(
        "Reading runs",
        lambda: runs_sql.list_runs(
            org_id_of(org), filters=filters, span=(start, end), sort=sort, after=after, limit=limit + 1
        ),
    )
    page = [_row(row) for row in found[:limit]]
    last = page[-1] if len(found) > limit else None
    shown = page if part is None else _cut(org, page, part)
    if part is not None and sort == "cost":
        shown = sorted(shown, key=lambda run: run.cost_usd or Decimal(0), reverse=True)
    return RunPage(shown, _place(last, sort) if last else None, rolled_up_at(org, at))


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


def part_of_family(org: HasPk, run_id: str, part: Part) -> Family:
    """A run that belongs to the part, with its figures cut to that, and nothing of the tree around it.

    Raises `NotFound`, also where the run belongs elsewhere.
    """
    row = next(map(_row, read_run(lambda: runs_sql.run_now(org_id_of(org), run_id))), None)
    if row is None or not all(getattr(row, name) in values for name, values in part.items()):
        raise NotFound("run")
    (own,) = _cut(org, [row], part)
    alone = Tree(
        1, own.events, own.steps, own.retries, own.escalations, own.cost_usd or Decimal(0), own.unpriced_events
    )
    return Family(run_id, own, (), alone, None, None, {})


def _cut(org: HasPk, rows: Sequence[RunRow], part: Part) -> list[RunRow]:
    """The same runs with the figures of the part alone, in two statements; a parent elsewhere is not named.

    They are summed from stored events: of those that retention deleted it is not known where they belonged.
    """
    if not rows:
        return []
    org_id, since = org_id_of(org), min(row.first_at for row in rows)
    sums = read_run(lambda: parts_sql.part_sums(org_id, [row.run_id for row in rows], part=part, since=since))
    parents = runs_sql.within(org_id, [row.parent_run_id for row in rows if row.parent_run_id], part)
    return [_cut_row(row, sums.get(row.run_id) or _NOTHING, row.parent_run_id in parents) for row in rows]


_NOTHING: Mapping[str, Any] = {
    **dict.fromkeys((*_COUNTS, *METERS, "others", "cost_usd"), 0), "first_at": None, "last_at": None,
}  # fmt: skip


def _cut_row(row: RunRow, sums: Mapping[str, Any], has_parent: bool) -> RunRow:
    first_at = sums["first_at"] or row.first_at
    return replace(
        row,
        **_figures(sums),
        first_at=first_at,
        last_at=sums["last_at"] or first_at,
        parent_run_id=row.parent_run_id if has_parent else None,
        others=sums["others"],
    )


def bound_places(org: HasPk, found: Family) -> list[Place]:
    """Where the bounds of cost, steps, attempts and seconds fall in the whole tree, child runs included."""
    return read_run(lambda: runs_sql.bound_places(org_id_of(org), found.root_run_id, found.bounds))


def runs_within(org: HasPk, run_ids: Iterable[str], part: Part) -> set[str]:
    """Those of these runs that belong to the part, as they are rolled up."""
    return set(runs_sql.within(org_id_of(org), list(run_ids), part))


def descendants(org: HasPk, run_id: str, start: datetime, end: datetime, part: Part | None = None) -> list[RunRow]:
    """Child runs that began in [start, end), and theirs down to `DEPTH_MAX` levels: at most `CHILDREN_MAX` and one.

    With a `part`, those that belong to it, with the figures of it; below a run that does not, none is looked for.
    """
    found: list[RunRow] = []
    level, span = [run_id], (start, end)
    seen = {run_id}
    for _ in range(DEPTH_MAX):
        room = CHILDREN_MAX + 1 - len(found)
        if not level or not room:
            break
        read = partial(runs_sql.children, org_id_of(org), level, span, part or {}, room)
        below = [row for row in map(_row, read_run(read)) if row.run_id not in seen]
        seen |= {row.run_id for row in below}
        found += below
        level, span = [row.run_id for row in below], (start, datetime.max.replace(tzinfo=start.tzinfo))
    return found if part is None else _cut(org, found, part)


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


def _position(org: HasPk, cursor: str, sort: str, part: Part | None) -> tuple[Any, str]:
    """A cursor by cost holds no cost: of a run that others have calls in, it would be theirs too."""
    if sort == "cost":
        (run_id,) = position_of(cursor, tuple[_RunId])
        cost = runs_sql.within(org_id_of(org), [run_id], part or {}).get(run_id)
        if cost is None:
            raise invalid_cursor()
        return cost, run_id
    at, run_id = position_of(cursor, tuple[_Instant, _RunId])
    if at.utcoffset():
        raise invalid_cursor()
    return at, run_id


def _place(last: RunRow, sort: str) -> tuple[Any, ...]:
    return (last.run_id,) if sort == "cost" else (last.first_at, last.run_id)


def _row(row: Mapping[str, Any]) -> RunRow:
    values: dict[str, Any] = {
        **{name: row[name] for name in _PLAIN},
        **{kind: row[kind] if row[f"{kind}_id"] is not None else None for kind in ("team", "project", "workflow")},
        **_figures(row),
        "user": row["user_name"],
    }
    return RunRow(**values)


def _figures(row: Mapping[str, Any]) -> dict[str, Any]:
    counts = {name: int(row[name]) for name in _COUNTS}
    return {
        **counts,
        "meters": {meter: int(row[meter]) for meter in METERS},
        "cost_usd": None if counts["events"] and counts["unpriced_events"] == counts["events"] else row["cost_usd"],
    }
