"""Statements of looking back and ahead: spend of a scope by hour or day, how budgets stand, forecast crossings.

All need `tenant(org)` around them.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, NamedTuple

import msgspec
from django.db import connection

from apps.budgets.forecast import SENSIBLE_PART
from apps.budgets.rules import EACH, TAG, subject_text
from apps.budgets.spent_sql import COLUMNS
from apps.budgets.sql import json_text

Unit = Literal["hour", "day"]

ROWS_MAX = 100_000
TIMEOUT_MS = 3_000
# A list is looked at more often than one budget, and says all that counts without its pictures.
LIST_TIMEOUT_MS = 1_000
# What rollups by user know beside the user.
_USER_GRAIN = {"user", "team", "project", "workflow", "provider", "model"}
_STORES = {
    ("spend", "hour"): ("usage_hourrollup", "usage_delta"),
    ("spend", "day"): ("usage_dayrollup", "usage_delta"),
    ("user", "hour"): ("usage_userhourrollup", "usage_userdelta"),
    ("user", "day"): ("usage_userdayrollup", "usage_userdelta"),
}


class Point(NamedTuple):
    """Spend of one subject in the hour or day that begins at `start`."""

    start: datetime
    subject: str
    cost_usd: Decimal
    calls: int


def source_of(scope: Mapping[str, str]) -> str:
    """What knows the scope's dimensions: rollups of "spend", rollups by "user", else "events"."""
    if any(dimension.startswith(TAG) for dimension in scope):
        return "events"
    if "user" not in scope:
        return "spend"
    return "user" if set(scope) <= _USER_GRAIN else "events"


def spend_by(
    org_id: int, scope: Mapping[str, str], unit: Unit, start: datetime, end: datetime, *, by_subject: bool
) -> list[Point]:
    """Spend of a scope in the hours or days that begin in [start, end), by the time of the calls, in order of time.

    Rollups with what waits to be rolled up, where they know the scope; else events with their postings. At most
    `ROWS_MAX` + 1 points, so that a caller sees that there are more. Beyond `TIMEOUT_MS` Postgres cancels it.
    """
    parameters: dict[str, Any] = {"org": org_id, "start": start, "end": end, "most": ROWS_MAX + 1}
    wheres, subject = _conditions(scope, parameters)
    subject = subject if by_subject else "''"
    source = source_of(scope)
    parts = _from_events(unit) if source == "events" else _from_rollups(_STORES[source, unit], unit)
    union = " UNION ALL ".join(part.format(subject=subject.format(t=t), where=wheres.format(t=t)) for t, part in parts)
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = {TIMEOUT_MS:d}")
        cursor.execute(
            f"SELECT bucket, subject, sum(cost), sum(calls)::bigint FROM ({union}) AS parts"
            " GROUP BY bucket, subject ORDER BY bucket, subject LIMIT %(most)s",
            parameters,
        )
        found = cursor.fetchall()
        cursor.execute("SET LOCAL statement_timeout TO DEFAULT")
    return [Point(bucket, _canonical(subject), cost, calls) for bucket, subject, cost, calls in found]


def _conditions(scope: Mapping[str, str], parameters: dict[str, Any]) -> tuple[str, str]:
    """The scope as conditions, and the subject, over a table called {t}."""
    wheres, subjects = [], []
    for number, (dimension, wanted) in enumerate(sorted(scope.items())):
        column = COLUMNS.get(dimension)
        if column is None:
            # A posting has no tags of its own: it is about its event.
            parameters[f"k{number}"] = dimension.removeprefix(TAG)
            column = f"e.tags ->> %(k{number})s"
        if wanted == EACH:
            parameters[f"n{number}"] = dimension
            wheres.append(f"{column} IS NOT NULL")
            subjects.append(f"%(n{number})s::text, {column}")
            continue
        is_beginning = wanted.endswith(EACH)
        parameters[f"v{number}"] = wanted.removesuffix(EACH)
        wheres.append(f"starts_with({column}, %(v{number})s)" if is_beginning else f"{column} = %(v{number})s")
    subject = f"json_build_object({', '.join(subjects)})::text" if subjects else "''"
    return "".join(f" AND {where}" for where in wheres), subject


def _from_rollups(tables: Sequence[str], unit: Unit) -> list[tuple[str, str]]:
    return [
        (
            "r",
            f"SELECT r.{unit}_start AS bucket, {{subject}} AS subject, r.cost_usd AS cost, r.events AS calls"
            f" FROM {table} r WHERE r.organization_id = %(org)s"
            f" AND r.{unit}_start >= %(start)s AND r.{unit}_start < %(end)s{{where}}",
        )
        for table in tables
    ]


def _from_events(unit: Unit) -> list[tuple[str, str]]:
    """`hour_start` is what events are partitioned by."""
    span = (
        "{t}.organization_id = %(org)s AND {t}.hour_start >= %(start)s"
        f" AND {{t}}.hour_start < %(end)s AND {{t}}.{unit}_start >= %(start)s"
    )
    return [
        (
            "e",
            f"SELECT e.{unit}_start AS bucket, {{subject}} AS subject,"
            " COALESCE(e.cost_usd, e.assumed_cost_usd, 0) AS cost, 1 AS calls"
            f" FROM usage_event e WHERE {span.format(t='e')}{{where}}",
        ),
        (
            "p",
            f"SELECT p.{unit}_start, {{subject}}, p.cost_usd, p.events FROM usage_posting p JOIN usage_event e"
            " ON e.organization_id = p.organization_id AND e.hour_start = p.hour_start"
            " AND e.occurred_at = p.occurred_at AND e.event_id = p.event_id"
            f" WHERE {span.format(t='p')}{{where}}",
        ),
    ]


def _canonical(subject: str) -> str:
    """A subject as `rules` spells it."""
    return subject_text(msgspec.json.decode(subject)) if subject else ""


class Watched(NamedTuple):
    """What one row of a list draws from `start` on: `exact` values, and `beginnings` of values, by dimension."""

    budget_id: int
    exact: Mapping[str, str]
    beginnings: Mapping[str, str]
    unit: Unit
    start: datetime


def spend_of_many(org_id: int, watched: Sequence[Watched], at: datetime) -> dict[int, list[Point]]:
    """Spend of many scopes by hour or day, by budget and in order of time, in one statement.

    Each rollup is read once, summed by the dimensions that any scope names, and then matched with the scopes. Scopes
    that only events know (`source_of`) are left out. Beyond `LIST_TIMEOUT_MS` Postgres cancels it.
    """
    groups: dict[tuple[str, Unit], list[Watched]] = {}
    for one in watched:
        if (source := source_of({**one.exact, **one.beginnings})) != "events":
            groups.setdefault((source, one.unit), []).append(one)
    if not groups:
        return {}
    parameters: dict[str, Any] = {"org": org_id, "at": at, "most": ROWS_MAX + 1}
    parts = [_part(number, key, these, parameters) for number, (key, these) in enumerate(groups.items())]
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = {LIST_TIMEOUT_MS:d}")
        cursor.execute(f"{' UNION ALL '.join(parts)} ORDER BY 1, 2 LIMIT %(most)s", parameters)
        rows = cursor.fetchall()
        cursor.execute("SET LOCAL statement_timeout TO DEFAULT")
    if len(rows) > ROWS_MAX:
        return {}
    found: dict[int, list[Point]] = {one.budget_id: [] for these in groups.values() for one in these}
    for budget_id, bucket, cost, calls in rows:
        found[budget_id].append(Point(bucket, "", cost, calls))
    return found


def _part(number: int, key: tuple[str, Unit], watched: Sequence[Watched], parameters: dict[str, Any]) -> str:
    """The rows of the scopes that one rollup knows. Columns are named by their place, never by what was typed."""
    dimensions = sorted({name for one in watched for name in (*one.exact, *one.beginnings)})
    column = {name: f"d{place}" for place, name in enumerate(dimensions)}
    parameters[f"asked{number}"] = json_text(
        [
            {
                "id": one.budget_id,
                "start": one.start,
                **{column[name]: value for name, value in one.exact.items()},
                **{f"begins_{column[name]}": value for name, value in one.beginnings.items()},
            }
            for one in watched
        ]
    )
    parameters[f"from{number}"] = min(one.start for one in watched)
    unit = key[1]
    chosen = "".join(f", {COLUMNS[name].format(t='r')} AS {place}" for name, place in column.items())
    named = "".join(f", {place}" for place in column.values())
    cells = " UNION ALL ".join(
        f"SELECT r.{unit}_start AS bucket, r.cost_usd AS cost, r.events AS calls{chosen} FROM {table} r"
        f" WHERE r.organization_id = %(org)s AND r.{unit}_start >= %(from{number})s AND r.{unit}_start < %(at)s"
        for table in _STORES[key]
    )
    matches = "".join(
        f" AND (a.{place} IS NULL OR c.{place} = a.{place})"
        f" AND (a.begins_{place} IS NULL OR starts_with(c.{place}, a.begins_{place}))"
        for place in column.values()
    )
    fields = "".join(f", {place} text, begins_{place} text" for place in column.values())
    return (
        "SELECT a.id, c.bucket, sum(c.cost), sum(c.calls)::bigint"
        f" FROM jsonb_to_recordset(%(asked{number})s::jsonb) AS a(id bigint, start timestamptz{fields})"
        f" JOIN (SELECT bucket, sum(cost) AS cost, sum(calls) AS calls{named} FROM ({cells}) AS cells"
        f"  GROUP BY bucket{named}) AS c ON c.bucket >= a.start{matches}"
        " GROUP BY a.id, c.bucket"
    )


# --- how budgets stand -------------------------------------------------------------------------------


class Count(NamedTuple):
    """A budget's period: its tightest counter (`subject`), and the sums over all `subjects` of it."""

    budget_id: int
    limit_usd: Decimal
    subject: str
    spent_usd: Decimal
    held_usd: Decimal
    overrun_usd: Decimal
    assumed_usd: Decimal
    unpriced_events: int
    subjects: int
    all_spent_usd: Decimal
    all_held_usd: Decimal


def counts(org_id: int, periods: Sequence[Mapping[str, Any]], at: datetime) -> dict[int, Count]:
    """Of [{budget_id, period_start}], by budget; the limit is reckoned anew, since a raise may have expired.

    Index: budgets_counter_once.
    """
    if not periods:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH asked AS (SELECT * FROM jsonb_to_recordset(%(periods)s::jsonb)"
            "  AS a(budget_id bigint, period_start timestamptz)),"
            " ranked AS ("
            "  SELECT c.*, count(*) OVER every AS subjects, sum(c.spent_usd) OVER every AS all_spent_usd,"
            "   sum(c.held_usd) OVER every AS all_held_usd, row_number() OVER (PARTITION BY c.budget_id"
            "    ORDER BY (c.spent_usd + c.held_usd) / NULLIF(c.limit_usd, 0) DESC NULLS FIRST, c.counter_id) AS place"
            "  FROM asked a JOIN budgets_counter c ON c.organization_id = %(org)s AND c.budget_id = a.budget_id"
            "   AND c.period_start = a.period_start"
            "  WINDOW every AS (PARTITION BY c.budget_id))"
            " SELECT b.id, l.limit_usd, COALESCE(r.subject, ''), COALESCE(r.spent_usd, 0), COALESCE(r.held_usd, 0),"
            "  COALESCE(r.overrun_usd, 0), COALESCE(r.assumed_usd, 0), COALESCE(r.unpriced_events, 0),"
            "  COALESCE(r.subjects, 0), COALESCE(r.all_spent_usd, 0), COALESCE(r.all_held_usd, 0)"
            " FROM asked a JOIN budgets_budget b ON b.organization_id = %(org)s AND b.id = a.budget_id"
            " LEFT JOIN ranked r ON r.budget_id = a.budget_id AND r.place = 1"
            " CROSS JOIN LATERAL budgets_limit(%(org)s, b.id,"
            "  COALESCE(r.rolled_usd, budgets_rolled(b, a.period_start, '')), %(at)s) AS l",
            {"org": org_id, "periods": json_text(periods), "at": at},
        )
        return {row[0]: Count._make(row) for row in cursor.fetchall()}


class Holding(NamedTuple):
    """Live reservations of something that could be stopped: leases among them end at `leases_until`."""

    reservations: int
    held_usd: Decimal
    leases: int
    leases_until: datetime | None


_HELD_BY = {
    "organization": "true",
    "team": "call ->> 'team' = %(target)s",
    "workflow": "call ->> 'workflow' = %(target)s",
    "key": "key_id::text = %(target)s",
    "run": "run_id = %(target)s",
}


def holding(org_id: int, kind: str, target: str) -> Holding:
    """Index: budgets_reservation_due."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), COALESCE(sum(held_usd), 0), count(*) FILTER (WHERE kind = 'lease'),"
            " max(expires_at) FILTER (WHERE kind = 'lease') FROM budgets_reservation"
            " WHERE organization_id = %(org)s AND state = 'held' AND release_at > clock_timestamp()"
            f" AND {_HELD_BY[kind]}",
            {"org": org_id, "target": target},
        )
        return Holding._make(cursor.fetchone())


# --- forecast crossings ------------------------------------------------------------------------------


def cross_forecasts(org_id: int, at: datetime, expected_usd: Mapping[int, Decimal]) -> int:
    """Write a crossing for each forecast threshold that a counter's period is to reach, once; how many were new.

    By `expected_usd` of the budgets that it names. Of others at the run rate, from a tenth of the period on: spent x
    length x 100 >= limit x percent x elapsed, exact in NUMERIC: `forecast.run_rate` without its rounding.
    """
    asked = [{"id": budget_id, "expected": usd} for budget_id, usd in expected_usd.items()]
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH running AS ("
            " SELECT c, b, e.expected, EXTRACT(epoch FROM c.period_end - c.period_start) AS length,"
            "  EXTRACT(epoch FROM %(at)s::timestamptz - c.period_start) AS elapsed"
            " FROM budgets_budget b JOIN budgets_counter c ON c.organization_id = b.organization_id"
            "  AND c.budget_id = b.id AND c.period_start < %(at)s AND c.period_end > %(at)s"
            " LEFT JOIN jsonb_to_recordset(%(asked)s::jsonb) AS e(id bigint, expected numeric) ON e.id = b.id"
            " WHERE b.organization_id = %(org)s AND b.ended_at IS NULL AND cardinality(b.forecast_thresholds) > 0"
            "  AND c.spent_usd > 0)"
            " INSERT INTO budgets_crossing (organization_id, crossing_id, kind, subject, severity, team, budget_id,"
            "  crossed_at, facts)"
            " SELECT %(org)s, uuidv7(), 'forecast', format('%%s:%%s', (c).counter_id, t.percent), 'warning',"
            "  budgets_team(c, b), (b).id, %(at)s, budgets_facts(c, b) || jsonb_build_object('threshold', t.percent)"
            "   || CASE WHEN expected IS NULL"
            "    THEN jsonb_build_object('run_rate_usd', round((c).spent_usd * length / elapsed, 12)::text)"
            "    ELSE jsonb_build_object('forecast_usd', expected::text) END"
            " FROM running, unnest((b).forecast_thresholds) AS t(percent)"
            " WHERE CASE WHEN expected IS NOT NULL THEN expected * 100 >= (c).limit_usd * t.percent"
            f"  ELSE elapsed * {SENSIBLE_PART:d} >= length"
            "   AND (c).spent_usd * length * 100 >= (c).limit_usd * t.percent * elapsed END"
            " ON CONFLICT (organization_id, kind, subject) DO NOTHING",
            {"org": org_id, "at": at, "asked": json_text(asked)},
        )
        crossed: int = cursor.rowcount
        return crossed
