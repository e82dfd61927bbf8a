"""Statements of forecasts: spend by day from day rollups, of months that were forecast, and what was said of them.

All need `tenant(org)` around them.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import connection

from apps.core.meters import METERS
from apps.usage.forecast_prices import Mix, Model
from apps.usage.sql import insert_rows

SERIES_MAX = 5_000
ERRORS_MAX = 5_000
# Models whose prices are looked at, and lines of those whose prices change.
MODELS_MAX = 200
MODEL_LINES_MAX = 20_000
KEPT_MONTHS = 13
ROWS_A_STATEMENT = 500
_WHERE = ", ".join(
    f"CASE WHEN r.{kind}_id IS NOT NULL THEN r.{kind} END AS {kind}" for kind in ("team", "project", "workflow")
)
COLUMNS = (
    "organization_id", "month", "scope", "key", "bucket", "team", "project", "workflow", "as_of", "method", "spent_usd",
    "p10_usd", "p50_usd", "p90_usd", "direct_usd", "noise_ppm", "layers", "days",
)  # fmt: skip
KEY = ("organization_id", "month", "scope", "key", "bucket")


class Line(NamedTuple):
    """Spend by day of what one workflow (None: none) spent for one project of one team."""

    team: str | None
    project: str | None
    workflow: str | None
    days: list[datetime]
    costs: list[float]
    spent_usd: Decimal


def lines(org_id: int, since: datetime, start: datetime, end: datetime) -> list[Line]:
    """Spend by day from `since` to `end`, the largest first; `spent_usd` is that of [start, end).

    Beyond `SERIES_MAX` the smallest are one line without names. Index: the primary key of day rollups.
    """
    cells = " UNION ALL ".join(
        f"SELECT r.day_start, r.cost_usd, {_WHERE} FROM {table} r WHERE r.organization_id = %(org)s"
        " AND r.day_start >= %(since)s AND r.day_start < %(end)s"
        for table in ("usage_dayrollup", "usage_delta")
    )
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH days AS (SELECT team, project, workflow, day_start, sum(cost_usd) AS cost FROM ({cells}) AS cells"
            "  GROUP BY team, project, workflow, day_start),"
            " keyed AS MATERIALIZED (SELECT team, project, workflow, array_agg(day_start ORDER BY day_start) AS starts,"
            "  array_agg(cost::float8 ORDER BY day_start) AS costs,"
            "  COALESCE(sum(cost) FILTER (WHERE day_start >= %(start)s), 0) AS spent, sum(cost) AS total,"
            "  row_number() OVER (ORDER BY sum(cost) DESC, team, project, workflow) AS place"
            "  FROM days GROUP BY team, project, workflow)"
            " SELECT team, project, workflow, starts, costs, spent FROM ("
            "  SELECT team, project, workflow, starts, costs, spent, place FROM keyed WHERE place <= %(most)s"
            "  UNION ALL SELECT NULL, NULL, NULL, array_agg(day ORDER BY day), array_agg(cost ORDER BY day),"
            "   (SELECT sum(spent) FROM keyed WHERE place > %(most)s), %(most)s + 1"
            "  FROM (SELECT u.day, sum(u.cost) AS cost FROM keyed k CROSS JOIN LATERAL unnest(k.starts, k.costs)"
            "   AS u(day, cost) WHERE k.place > %(most)s GROUP BY u.day) AS rest HAVING count(*) > 0) AS found"
            " ORDER BY place",
            {"org": org_id, "since": since, "start": start, "end": end, "most": SERIES_MAX},
        )
        return [Line._make(row) for row in cursor.fetchall()]


def mixes(org_id: int, since: datetime, end: datetime) -> list[Mix]:
    """What was used in [since, end) of each model and service tier, the `MODELS_MAX` that cost most."""
    meters = ", ".join(f"sum(r.{meter})::bigint" for meter in METERS)
    cells = " UNION ALL ".join(
        f"SELECT * FROM (SELECT r.provider, r.model, COALESCE(r.service_tier, '') AS tier, r.cost_usd,"
        f" {', '.join(f'r.{meter}' for meter in METERS)} FROM {table} r WHERE r.organization_id = %(org)s"
        " AND r.day_start >= %(since)s AND r.day_start < %(end)s) AS cells"
        for table in ("usage_dayrollup", "usage_delta")
    )
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT r.provider, r.model, r.tier, {meters} FROM ({cells}) AS r GROUP BY r.provider, r.model, r.tier"
            " ORDER BY sum(r.cost_usd) DESC LIMIT %(most)s",
            {"org": org_id, "since": since, "end": end, "most": MODELS_MAX},
        )
        return [Mix(provider, model, tier, tuple(used)) for provider, model, tier, *used in cursor.fetchall()]


class ModelLine(NamedTuple):
    """Spend by day of what one workflow of a team's project spent for one model."""

    team: str | None
    project: str | None
    workflow: str | None
    provider: str
    model: str
    service_tier: str
    days: list[datetime]
    costs: list[float]


def lines_of(org_id: int, since: datetime, end: datetime, models: Sequence[Model]) -> list[ModelLine]:
    """Spend by day of these models; at most `MODEL_LINES_MAX`, the largest."""
    cells = " UNION ALL ".join(
        f"SELECT {_WHERE}, r.provider, r.model, COALESCE(r.service_tier, '') AS tier, r.day_start, r.cost_usd"
        f" FROM {table} r WHERE r.organization_id = %(org)s AND r.day_start >= %(since)s AND r.day_start < %(end)s"
        " AND (r.provider, r.model, COALESCE(r.service_tier, '')) IN (SELECT * FROM unnest(%(providers)s::text[],"
        " %(models)s::text[], %(tiers)s::text[]))"
        for table in ("usage_dayrollup", "usage_delta")
    )
    providers, names, tiers = ([model[place] for model in models] for place in range(3))
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH days AS (SELECT team, project, workflow, provider, model, tier, day_start, sum(cost_usd) AS cost"
            f"  FROM ({cells}) AS cells GROUP BY team, project, workflow, provider, model, tier, day_start)"
            " SELECT team, project, workflow, provider, model, tier, array_agg(day_start ORDER BY day_start),"
            "  array_agg(cost::float8 ORDER BY day_start) FROM days"
            " GROUP BY team, project, workflow, provider, model, tier ORDER BY sum(cost) DESC LIMIT %(most)s",
            {
                "org": org_id, "since": since, "end": end, "providers": providers, "models": names, "tiers": tiers,
                "most": MODEL_LINES_MAX,
            },
        )  # fmt: skip
        return [ModelLine._make(row) for row in cursor.fetchall()]


def hours(org_id: int, since: datetime, end: datetime) -> dict[datetime, float]:
    """The organization's spend by hour in [since, end). Index: the primary key of hour rollups."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT hour_start, sum(cost_usd)::float8 FROM usage_hourrollup WHERE organization_id = %(org)s"
            " AND hour_start >= %(since)s AND hour_start < %(end)s GROUP BY hour_start",
            {"org": org_id, "since": since, "end": end},
        )
        return dict(cursor.fetchall())


def store(org_id: int, month: date, bucket: int, as_of: datetime, rows: Sequence[Mapping[str, Any]]) -> None:
    """Put these in the place of what was said in the same part of the month; what is too old is forgotten."""
    said = [name for name in COLUMNS if name not in KEY]
    update = f"({', '.join(KEY)}) DO UPDATE SET {', '.join(f'{name} = EXCLUDED.{name}' for name in said)}"
    ordered = sorted(rows, key=lambda row: (row["scope"], row["key"]))
    for first in range(0, len(ordered), ROWS_A_STATEMENT):
        insert_rows(
            "usage_forecast", COLUMNS, (), org_id, ordered[first : first + ROWS_A_STATEMENT], on_conflict=update
        )
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM usage_forecast WHERE organization_id = %(org)s AND (month < %(month)s - interval '"
            f"{KEPT_MONTHS:d} months' OR (month = %(month)s AND bucket = %(bucket)s AND as_of < %(as_of)s))",
            {"org": org_id, "month": month, "bucket": bucket, "as_of": as_of},
        )


class Said(NamedTuple):
    """What was said of a workflow's month that is over: USD spent then and to come, and its noise."""

    month: date
    key: str
    bucket: int
    spent_usd: float
    rest_usd: float
    noise: float


def said(org_id: int, since: date, before: date) -> list[Said]:
    """Of workflows, in order of time; of many the newest `ERRORS_MAX`. Index: the primary key."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT month, key, bucket, spent_usd::float8, (p50_usd - spent_usd)::float8, noise_ppm / 1e6::float8"
            " FROM usage_forecast WHERE organization_id = %(org)s AND month >= %(since)s AND month < %(before)s"
            " AND scope = 'workflow'"
            " ORDER BY month DESC, bucket DESC, p50_usd DESC, key LIMIT %(most)s",
            {"org": org_id, "since": since, "before": before, "most": ERRORS_MAX},
        )
        return [Said._make(row) for row in reversed(cursor.fetchall())]
