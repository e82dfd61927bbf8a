"""What a month's statements are made of. All need `tenant(org)` around them."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import connection

from apps.core.meters import METERS
from apps.reports.booked_sql import STORES, TEAM, counted

_SUMS = ("events", "unpriced_events", "cost_usd", *METERS)


class BookedUsage(NamedTuple):
    """Sums of usage booked in a month; `day` is the day of what happened before the month began, else None."""

    day: datetime | None
    team: str | None
    project: str | None
    workflow: str | None
    provider: str
    model: str
    priced: bool
    events: int
    unpriced_events: int
    cost_usd: Decimal
    meters: tuple[int, ...]


def booked_usage(
    org_id: int, month: date, begin: datetime, *, team: str | None, limit: int
) -> tuple[datetime, list[BookedUsage]]:
    """The snapshot's time, and at most `limit` groups of what is booked in a month that begins at `begin`, pending
    deltas included; with a team, of it alone ("": of none). Index: usage_dayrollup_booked.
    """
    columns = (
        f"CASE WHEN day_start < %(begin)s THEN day_start END AS day, {TEAM},"
        " CASE WHEN project_id IS NOT NULL THEN project END AS project,"
        " CASE WHEN workflow_id IS NOT NULL THEN workflow END AS workflow, provider, model, priced"
    )
    keys = "day, team, project, workflow, provider, model, priced"
    parts = _parts(f"{columns}, {', '.join(_SUMS)}", team)
    sums = ", ".join(f"sum({name}) AS {name}" for name in _SUMS)
    values: dict[str, Any] = {"org": org_id, "month": month, "begin": begin, "team": team, "limit": limit}
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        as_of: datetime = cursor.fetchone()[0]
        cursor.execute(
            f"SELECT {keys}, {sums} FROM ({parts}) AS parts GROUP BY {keys}"
            " ORDER BY team, project, workflow, provider, model, priced DESC, day LIMIT %(limit)s",
            values,
        )
        return as_of, [_group(row) for row in cursor.fetchall()]


def _group(row: tuple[Any, ...]) -> BookedUsage:
    keys, (events, unpriced, cost), meters = row[:7], row[7:10], row[10:]
    return BookedUsage._make((*keys, int(events), int(unpriced), cost, tuple(map(int, meters))))


class BookedDay(NamedTuple):
    """What a team spent on one model in one service tier on one day, of what has a price."""

    team: str | None
    provider: str
    model: str
    service_tier: str | None
    day: datetime
    cost_usd: Decimal
    meters: tuple[int, ...]


def booked_by_day(org_id: int, month: date, *, team: str | None) -> list[BookedDay]:
    """Priced usage booked in a month, day by day in order; with a team, of it alone ("": of none).

    Index: usage_dayrollup_booked.
    """
    keys = "team, provider, model, service_tier, day_start"
    sums = ("cost_usd", *METERS)
    columns = f"{TEAM}, provider, model, service_tier, day_start, {', '.join(sums)}"
    parts = _parts(columns, team, " AND priced")
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {keys}, {', '.join(f'sum({name})' for name in sums)} FROM ({parts}) AS parts GROUP BY {keys}"
            " ORDER BY day_start",
            {"org": org_id, "month": month, "team": team},
        )
        return [BookedDay._make((*row[:6], tuple(map(int, row[6:])))) for row in cursor.fetchall()]


def _parts(columns: str, team: str | None, also: str = "") -> str:
    """Rows booked in a month, of one team where one is asked for."""
    scope = f"booked_month = %(month)s{also}"
    if team is not None:
        scope += " AND team = %(team)s AND team_id IS NOT NULL" if team else " AND team_id IS NULL"
    return counted(columns, scope)


def cost_from(
    org_id: int,
    month: date,
    *,
    team: str | None,
    names: Mapping[str, str | None],
    start: datetime,
    end: datetime | None,
) -> Decimal:
    """What the priced usage of one line, booked in a month, cost on the days [start, end).

    Index: usage_dayrollup_booked.

    `names` are the line's `project`, `workflow`, `provider` and `model`; None is what no project or workflow owns.
    """
    scope = " AND priced AND provider = %(provider)s AND model = %(model)s AND day_start >= %(start)s"
    for name in ("project", "workflow"):
        owned = f" AND {name} = %({name})s AND {name}_id IS NOT NULL"
        scope += owned if names[name] is not None else f" AND {name}_id IS NULL"
    if end is not None:
        scope += " AND day_start < %(end)s"
    values = {"org": org_id, "month": month, "team": team or "", "start": start, "end": end, **names}
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT sum(cost_usd) FROM ({_parts('cost_usd', team or '', scope)}) AS parts", values)
        found: Decimal | None = cursor.fetchone()[0]
        return found or Decimal(0)


def first_booked_month(org_id: int, since: date) -> date | None:
    """The earliest month from `since` on that usage or an adjustment is booked in.

    Indexes: usage_dayrollup_booked, reports_adjustment_booked.
    """
    firsts = ", ".join(
        f"(SELECT min(booked_month) FROM {table} WHERE organization_id = %(org)s AND booked_month >= %(since)s)"
        for table in (*STORES, "reports_adjustment")
    )
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT LEAST({firsts})", {"org": org_id, "since": since})
        found: date | None = cursor.fetchone()[0]
        return found


def has_pending(org_id: int, month: date) -> bool:
    """Whether sums booked in a month wait to be rolled up."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM usage_delta WHERE organization_id = %(org)s AND booked_month = %(month)s)"
            " OR EXISTS (SELECT FROM usage_userdelta WHERE organization_id = %(org)s AND booked_month = %(month)s)",
            {"org": org_id, "month": month},
        )
        found: bool = cursor.fetchone()[0]
        return found


def usage_by_team(org_id: int, first: date, last: date) -> dict[str | None, Decimal]:
    """What each team's usage booked in the months [first, last] cost. Index: usage_dayrollup_booked."""
    parts = counted(f"{TEAM}, cost_usd", "booked_month BETWEEN %(first)s AND %(last)s")
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT team, sum(cost_usd) FROM ({parts}) AS parts GROUP BY team",
            {"org": org_id, "first": first, "last": last},
        )
        return dict(cursor.fetchall())


class TeamRuns(NamedTuple):
    """How many runs of a team began in a time, and what they cost; how many of them ended in success."""

    runs: int
    cost_usd: Decimal
    successful: int


_OUTCOME = "COALESCE(t.outcome, r.said_outcome, r.outcome)"


def runs_by_team(org_id: int, start: datetime, end: datetime, *, team: str | None) -> dict[str | None, TeamRuns]:
    """Of runs that began in [start, end), as rolled up. Index: usage_run_newest."""
    within = ""
    if team is not None:
        within = " AND r.team = %(team)s AND r.team_id IS NOT NULL" if team else " AND r.team_id IS NULL"
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT CASE WHEN r.team_id IS NOT NULL THEN r.team END AS owner, count(*), sum(r.cost_usd),"
            f" count(*) FILTER (WHERE {_OUTCOME} = 'success') FROM usage_run r"
            " LEFT JOIN budgets_runtally t ON t.organization_id = r.organization_id AND t.run_id = r.run_id"
            " WHERE r.organization_id = %(org)s AND r.first_at >= %(start)s AND r.first_at < %(end)s"
            f"{within} GROUP BY owner",
            {"org": org_id, "start": start, "end": end, "team": team},
        )
        return {team: TeamRuns(*sums) for team, *sums in cursor.fetchall()}
