"""From readings and live hours to arrays. All need `tenant(org)` around them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from apps.core.periods import Calendar
from apps.insights import readings_sql as sql
from apps.insights.grids import MICRO, Grid
from apps.insights.signals import DAILY_DAYS, HOURLY_HOURS, SPEND_HOURS
from apps.insights.sums import CALLS, NAMES, PLACE, RUNS

# Of an organization, those that spent the most are watched.
WORKFLOWS_MAX = 5_000
HOUR = timedelta(hours=1)
WEEK_HOURS = 168
LEARNED_HOURS = 14 * 24
_CALLED = len(CALLS) + 2  # with write_events and unpriced_tokens
_RAN = len(RUNS)
_FIRST_RUN = PLACE[RUNS[0]]

Ints = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Clock:
    """Where an evaluation stands: `hour` ends the last whole hour, `days` begin the DAILY_DAYS before today."""

    hour: datetime
    today: datetime
    days: tuple[datetime, ...]

    @classmethod
    def at(cls, calendar: Calendar, at: datetime) -> "Clock":
        today = calendar.day(at)
        days = list(calendar.starts("day", today - timedelta(days=DAILY_DAYS + 1), today))
        return cls(calendar.hour(at), today, tuple(days[-DAILY_DAYS:]))

    @property
    def hours_since_1970(self) -> int:
        return int(self.hour.timestamp()) // 3600

    @property
    def ordinal(self) -> int:
        """Of today; days follow one another, whatever the zone."""
        return self.days[-1].toordinal() + 1

    def ordinal_of(self, at: datetime) -> int:
        """Of the day that holds an instant; before the first day, the day before it."""
        place = sum(1 for day in (*self.days, self.today) if day <= at)
        return self.ordinal - len(self.days) - 1 + place


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """`workflows`: one scope each. `whole`: the organization alone. `left_out`: workflows beyond `WORKFLOWS_MAX`."""

    workflows: Grid
    whole: Grid
    left_out: int


def load(org_id: int, clock: Clock) -> Loaded:
    """Everything that an evaluation reads, in arrays: 45 kB a workflow."""
    days = {day: place for place, day in enumerate(clock.days)}
    start = clock.hour - HOURLY_HOURS * HOUR
    known, count = sql.known_workflows(org_id, (clock.days[0], clock.today), (start, clock.hour), limit=WORKFLOWS_MAX)
    collected = np.zeros(DAILY_DAYS, dtype=bool)
    workflows = Grid.empty([row.workflow for row in known], collected)
    workflows.teams = [row.team for row in known]
    workflows.projects = [row.project for row in known]
    whole = Grid.empty([""], collected)
    whole.unattributed = (np.zeros((1, DAILY_DAYS)), np.zeros((1, HOURLY_HOURS)))
    _fill_days(workflows, whole, sql.day_rows(org_id, clock.days[0], clock.today), days, clock)
    calls = sql.hour_calls(org_id, start, HOURLY_HOURS)
    _fill_hours(workflows, calls, sql.hour_runs(org_id, start, HOURLY_HOURS))
    _fill_whole(whole, sql.hour_totals(org_id, start, clock.hour))
    for grid in (workflows, whole):
        _fill_spend(grid, clock)
    return Loaded(workflows, whole, count - len(known))


def _fill_days(
    workflows: Grid, whole: Grid, blocks: Iterator[sql.Rows], days: Mapping[datetime, int], clock: Clock
) -> None:
    index = {name: place for place, name in enumerate(workflows.scopes)}
    first = clock.hour - SPEND_HOURS * HOUR
    for block in blocks:
        by_day: dict[tuple[datetime, int], sql.Rows] = {}
        for row in block:
            if not row[1]:
                _fill_whole_day(whole, row, days, first)
            elif row[1] in index:
                by_day.setdefault((row[0], len(row[3])), []).append(row)
        for (day, _), rows in by_day.items():
            if (place := days.get(day)) is not None:
                scopes = np.array([index[row[1]] for row in rows])
                _fill_day(workflows, scopes, place, rows, round((day - first) / HOUR))


def _fill_whole_day(whole: Grid, row: tuple[Any, ...], days: Mapping[datetime, int], first: datetime) -> None:
    place = days.get(row[0])
    if place is None:
        return
    assert whole.unattributed is not None
    whole.collected[place] = True
    whole.unattributed[0][0, place] = row[2]
    _fill_day(whole, np.zeros(1, dtype=np.int64), place, [row], round((row[0] - first) / HOUR))


def _fill_day(grid: Grid, scopes: Ints, day: int, rows: sql.Rows, begins: int) -> None:
    """Rows of one day, all of as many hours, of which the first is the spend's `begins`th."""
    grid.daily[:, scopes, day] = np.array([row[4:] for row in rows], dtype=float).T
    spent = np.array([row[3] for row in rows], dtype=float) * MICRO
    kept = slice(max(begins, 0), max(min(begins + spent.shape[1], SPEND_HOURS), 0))
    grid.spend[scopes, kept] = spent[:, kept.start - begins : kept.stop - begins]


def _fill_hours(grid: Grid, calls: Iterator[sql.Rows], runs: Iterator[sql.Rows]) -> None:
    index = {name: place for place, name in enumerate(grid.scopes)}
    for blocks, names in ((calls, slice(0, _CALLED)), (runs, slice(_FIRST_RUN, _FIRST_RUN + _RAN))):
        for block in blocks:
            known = [row for row in block if row[0] in index]
            if known:
                scopes, hours = np.array([(index[row[0]], row[1]) for row in known]).T
                grid.hourly[names, scopes, hours] = np.array([row[2:] for row in known], dtype=float).T


def _fill_whole(whole: Grid, totals: Sequence[Sequence[Any]]) -> None:
    assert whole.unattributed is not None
    for hour, unattributed, *sums in totals:
        if 0 <= hour < HOURLY_HOURS:
            whole.hourly[:_CALLED, 0, hour] = sums
            whole.unattributed[1][0, hour] = unattributed


def _fill_spend(grid: Grid, clock: Clock) -> None:
    """Live hours over those of readings: today has none yet, and what arrived late is in both."""
    live = grid.hourly[PLACE["cost_usd"]]
    grid.spend[:, -HOURLY_HOURS:] = live
    # Before the first reading nothing is known, which is not the same as nothing spent.
    if not grid.collected.any():
        grid.spend[:, :-HOURLY_HOURS] = np.nan
        return
    begins = clock.days[int(grid.collected.argmax())]
    unknown = round((begins - (clock.hour - SPEND_HOURS * HOUR)) / HOUR)
    if unknown > 0:
        grid.spend[:, : min(unknown, SPEND_HOURS - HOURLY_HOURS)] = np.nan
    # A fortnight is learned from: two weeks that are not whole would pass for two.
    any_spend = np.nan_to_num(grid.spend) > 0
    age = np.where(any_spend.any(axis=1), SPEND_HOURS - any_spend.argmax(axis=1), 0)
    grid.spend[age < LEARNED_HOURS, :-WEEK_HOURS] = np.nan


def grouped(grid: Grid, names: Sequence[str | None]) -> Grid:
    """The sums of scopes that share a name (a team, a project); those without one are left out."""
    scopes = sorted({name for name in names if name})
    index = {name: place for place, name in enumerate(scopes)}
    places = np.array([index.get(name, -1) if name else -1 for name in names], dtype=np.int64)
    found = Grid.empty(scopes, grid.collected)
    kept = places >= 0
    np.add.at(found.spend, places[kept], grid.spend[kept])
    for name in ("cost_usd", "events"):
        np.add.at(found.hourly[PLACE[name]], places[kept], grid.hourly[PLACE[name], kept])
        np.add.at(found.daily[PLACE[name]], places[kept], grid.daily[PLACE[name], kept])
    return found


assert len(NAMES) == _CALLED + _RAN
