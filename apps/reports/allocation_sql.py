"""What each team used in a booked month. All need `tenant(org)` around them; the team is null where spend is
unattributed, and pending deltas are included.
"""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple

from django.db import connection

from apps.core.meters import METERS
from apps.reports.booked_sql import TEAM, counted

COUNTED = ("events", *METERS)


class Used(NamedTuple):
    """`late_usd` is what was booked in the month and happened before it; `counts` are sums of `COUNTED`."""

    team: str | None
    cost_usd: Decimal
    late_usd: Decimal
    counts: tuple[int, ...]


class UsedOfModel(NamedTuple):
    """`piece` counts the cuts up to the day."""

    team: str | None
    provider: str
    model: str
    service_tier: str | None
    piece: int
    counts: tuple[int, ...]


def used_by_team(org_id: int, month: date, begins: datetime) -> list[Used]:
    """Everything booked in the month, which begins at an instant. Index: usage_dayrollup_booked."""
    sums = ", ".join(f"sum({name})" for name in COUNTED)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT team, COALESCE(sum(cost_usd) FILTER (WHERE day_start >= %(begins)s), 0),"
            f" COALESCE(sum(cost_usd) FILTER (WHERE day_start < %(begins)s), 0), {sums}"
            f" FROM ({_booked('')}) AS parts GROUP BY team",
            {"org": org_id, "month": month, "begins": begins},
        )
        return [Used(team, cost, late, _whole(counts)) for team, cost, late, *counts in cursor.fetchall()]


def used_by_model(org_id: int, month: date, cuts: Sequence[datetime], limit: int) -> list[UsedOfModel]:
    """The same by provider, model, service tier and piece of the time that rising cuts make. At most `limit` rows."""
    sums = ", ".join(f"sum({name})" for name in COUNTED)
    names = "provider, model, service_tier, width_bucket(day_start, %(cuts)s::timestamptz[]) AS piece"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT team, provider, model, service_tier, piece, {sums} FROM ({_booked(names)}) AS parts"
            " GROUP BY team, provider, model, service_tier, piece LIMIT %(limit)s",
            {"org": org_id, "month": month, "cuts": list(cuts), "limit": limit},
        )
        return [
            UsedOfModel(team, provider, model, tier, piece, _whole(counts))
            for team, provider, model, tier, piece, *counts in cursor.fetchall()
        ]


def runs_begun(org_id: int, start: datetime, end: datetime) -> dict[str | None, int]:
    """How many runs began in [start, end), by the team of each one's first event. Index: usage_run_newest."""
    began = "first_at >= %(start)s AND first_at < %(end)s"
    waiting = "SELECT run_id FROM usage_rundelta WHERE organization_id = %(org)s"
    columns = "run_id, team, team_id, first_at, first_event_id"
    # Of a run of which something waits, its row and what waits say together when it began.
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT team, count(*) FROM (SELECT {TEAM} FROM usage_run"
            f"  WHERE organization_id = %(org)s AND {began} AND run_id NOT IN ({waiting})"
            f" UNION ALL SELECT team FROM (SELECT DISTINCT ON (run_id) {TEAM}, first_at FROM ("
            f"   SELECT {columns} FROM usage_run WHERE organization_id = %(org)s AND run_id IN ({waiting})"
            f"   UNION ALL SELECT {columns} FROM usage_rundelta WHERE organization_id = %(org)s) AS parts"
            f'  ORDER BY run_id, first_at, first_event_id COLLATE "C") AS touched WHERE {began}) AS begun'
            " GROUP BY team",
            {"org": org_id, "start": start, "end": end},
        )
        return dict(cursor.fetchall())


def _booked(names: str) -> str:
    """Rollups of the month %(month)s and the deltas that wait to be moved into them."""
    columns = ", ".join(part for part in (TEAM, "day_start", names, "cost_usd", *COUNTED) if part)
    return counted(columns, "booked_month = %(month)s")


def _whole(counts: Sequence[Decimal]) -> tuple[int, ...]:
    return tuple(int(count) for count in counts)
