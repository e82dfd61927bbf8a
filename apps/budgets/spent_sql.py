"""What budgets have spent, from the facts: events, postings and reservations. All need `tenant(org)` around them."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
from django.db import connection

from apps.budgets.rules import TAG, subject_text

# A dimension of a scope as a column of events and postings.
COLUMNS = {
    "team": "CASE WHEN {t}.team_id IS NOT NULL THEN {t}.team END",
    "project": "CASE WHEN {t}.project_id IS NOT NULL THEN {t}.project END",
    "workflow": "CASE WHEN {t}.workflow_id IS NOT NULL THEN {t}.workflow END",
    "user": "{t}.user_name",
    "api_key": "{t}.key_id::text",
    "task_type": "{t}.task_type",
    "provider": 'lower({t}.provider COLLATE "C")',
    "model": 'lower({t}.model COLLATE "C")',
    "environment": "{t}.environment",
}


class Spent(NamedTuple):
    subject: str
    spent_usd: Decimal
    assumed_usd: Decimal
    events: int
    unpriced_events: int


def spent_in(org_id: int, scope: Mapping[str, str], start: datetime, end: datetime) -> list[Spent]:
    """What events and counted postings of [start, end) amount to, by subject, at the instants that budgets count.

    A posting counts where its event does. Indexes: the primary key of events, usage_event_budget_at,
    usage_posting_event.
    """
    parameters: dict[str, Any] = {"org": org_id, "start": start, "end": end}
    wheres: list[str] = []
    subjects: list[str] = []
    for number, (dimension, wanted) in enumerate(sorted(scope.items())):
        column = _column(dimension, f"k{number}", parameters)
        if wanted == "*":
            wheres.append(f"{column} IS NOT NULL")
        elif wanted.endswith("*"):
            parameters[f"v{number}"] = wanted[:-1]
            wheres.append(f"starts_with({column}, %(v{number})s)")
        else:
            parameters[f"v{number}"] = wanted
            wheres.append(f"{column} = %(v{number})s")
        if wanted == "*":
            parameters[f"n{number}"] = dimension
            subjects.append(f"%(n{number})s::text, {column}")
    subject = f"json_build_object({', '.join(subjects)})::text" if subjects else "''"
    matching = "".join(f" AND {where}" for where in wheres)
    counted = (
        "SELECT e.* FROM usage_event e WHERE e.organization_id = %(org)s AND e.budget_at IS NULL"
        " AND e.hour_start >= %(start)s::timestamptz - interval '1 hour' AND e.occurred_at >= %(start)s"
        " AND e.hour_start < %(end)s AND e.occurred_at < %(end)s"
        " UNION ALL SELECT e.* FROM usage_event e WHERE e.organization_id = %(org)s"
        " AND e.budget_at >= %(start)s AND e.budget_at < %(end)s"
    )
    cost = "COALESCE(e.cost_usd, e.assumed_cost_usd, 0)"
    assumed = "CASE WHEN e.cost_usd IS NULL THEN COALESCE(e.assumed_cost_usd, 0) ELSE 0 END"
    posted = "p.unpriced_events * COALESCE(e.assumed_cost_usd, 0)"
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH counted AS MATERIALIZED ({counted})"
            " SELECT subject, sum(spent), sum(assumed), sum(events)::bigint, sum(unpriced)::bigint FROM ("
            f" SELECT {subject.format(t='e')} AS subject, {cost} AS spent, {assumed} AS assumed, 1 AS events,"
            f"  (e.cost_usd IS NULL)::int AS unpriced FROM counted e WHERE true{matching.format(t='e')}"
            f" UNION ALL SELECT {subject.format(t='p')}, p.cost_usd + {posted}, {posted}, p.events, p.unpriced_events"
            "  FROM counted e JOIN usage_posting p ON p.organization_id = %(org)s AND p.event_id = e.event_id"
            f" WHERE NOT EXISTS (SELECT FROM usage_uncountedposting u WHERE u.organization_id = %(org)s"
            f"  AND u.cause = p.cause AND u.event_id = p.event_id AND u.side = p.side){matching.format(t='p')}"
            ") AS parts GROUP BY subject",
            parameters,
        )
        return [Spent(_canonical(subject), *rest) for subject, *rest in cursor.fetchall()]


def _column(dimension: str, name: str, parameters: dict[str, Any]) -> str:
    if dimension in COLUMNS:
        return COLUMNS[dimension]
    # A posting has no tags of its own: it is about its event.
    parameters[name] = dimension.removeprefix("tags.")
    return f"e.tags ->> %({name})s"


def _canonical(subject: str) -> str:
    """A subject as `rules` spells it."""
    if not subject:
        return ""
    return subject_text(msgspec.json.decode(subject))


# --- postings ----------------------------------------------------------------------------------------


class PostedRow(NamedTuple):
    """A posting that budgets count now, with what they need of its event."""

    at: datetime
    call: dict[str, str | None]
    event_id: str
    cost_usd: Decimal
    assumed_usd: Decimal
    events: int
    unpriced_events: int


def take_uncounted(org_id: int, limit: int) -> list[PostedRow]:
    """Take the postings of up to `limit` events of a cause off the queue, both sides of each: what leaves a budget and
    comes back to it is nothing added. Indexes: the primary keys of postings and events.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH taken AS (DELETE FROM usage_uncountedposting WHERE organization_id = %(org)s"
            "  AND (cause, event_id) IN (SELECT DISTINCT cause, event_id FROM usage_uncountedposting"
            "   WHERE organization_id = %(org)s ORDER BY cause, event_id LIMIT %(limit)s)"
            "  RETURNING cause, event_id, side)"
            " SELECT COALESCE(e.budget_at, e.occurred_at), CASE WHEN p.team_id IS NOT NULL THEN p.team END,"
            "  CASE WHEN p.project_id IS NOT NULL THEN p.project END,"
            "  CASE WHEN p.workflow_id IS NOT NULL THEN p.workflow END, p.user_name, p.key_id::text, p.task_type,"
            '  lower(p.provider COLLATE "C"), lower(p.model COLLATE "C")'
            ", p.environment, e.tags::text, p.event_id, p.cost_usd,"
            "  p.unpriced_events * COALESCE(e.assumed_cost_usd, 0), p.events::int, p.unpriced_events::int"
            " FROM taken t"
            " JOIN usage_posting p ON p.organization_id = %(org)s AND p.cause = t.cause AND p.event_id = t.event_id"
            "  AND p.side = t.side"
            " JOIN usage_event e ON e.organization_id = %(org)s AND e.hour_start = p.hour_start"
            "  AND e.occurred_at = p.occurred_at AND e.event_id = p.event_id",
            {"org": org_id, "limit": limit},
        )
        return [_posted(row) for row in cursor.fetchall()]


_NAMES = ("team", "project", "workflow", "user", "api_key", "task_type", "provider", "model", "environment")


def _posted(row: tuple[Any, ...]) -> PostedRow:
    at, names, (tags, event_id, cost_usd, assumed_usd, events, unpriced) = row[0], row[1:10], row[10:]
    call: dict[str, str | None] = dict(zip(_NAMES, names, strict=True))
    for name, value in (msgspec.json.decode(tags) if tags else {}).items():
        call[TAG + name] = value
    return PostedRow(at, call, event_id, cost_usd, assumed_usd, events, unpriced)


# --- proof -------------------------------------------------------------------------------------------

DIFFERENCES_MAX = 20


def unbalanced_holds(org_id: int) -> list[dict[str, Any]]:
    """Counters whose held amount is not the sum of what reservations hold there."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT counter_id, sum(counted), sum(held) FROM ("
            " SELECT counter_id, held_usd AS counted, 0 AS held FROM budgets_counter"
            "  WHERE organization_id = %(org)s AND held_usd <> 0"
            " UNION ALL SELECT c, 0, r.held_usd FROM budgets_reservation r, unnest(r.counters) AS c"
            "  WHERE r.organization_id = %(org)s AND r.state = 'held' AND r.held_usd <> 0) AS parts"
            " GROUP BY counter_id HAVING sum(counted) <> sum(held) LIMIT %(limit)s",
            {"org": org_id, "limit": DIFFERENCES_MAX},
        )
        return [
            {"check": "held", "counter_id": counter_id, "counter_usd": counted, "reservations_usd": held}
            for counter_id, counted, held in cursor.fetchall()
        ]


def unbalanced_run_holds(org_id: int) -> list[dict[str, Any]]:
    """Runs whose held amount is not the sum of what reservations hold there."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT run_id, sum(counted), sum(held) FROM ("
            " SELECT run_id, held_usd AS counted, 0 AS held FROM budgets_runtally"
            "  WHERE organization_id = %(org)s AND held_usd <> 0"
            " UNION ALL SELECT t.root_run_id, 0, r.held_usd FROM budgets_reservation r"
            "  JOIN budgets_runtally t ON t.organization_id = %(org)s AND t.run_id = r.run_id"
            "  WHERE r.organization_id = %(org)s AND r.state = 'held' AND r.held_usd <> 0) AS parts"
            " GROUP BY run_id HAVING sum(counted) <> sum(held) LIMIT %(limit)s",
            {"org": org_id, "limit": DIFFERENCES_MAX},
        )
        return [
            {"check": "run_held", "run_id": run_id, "run_usd": counted, "reservations_usd": held}
            for run_id, counted, held in cursor.fetchall()
        ]


def unbalanced_counters(org_id: int, since: datetime, periods: int) -> list[dict[str, Any]]:
    """Counters of budgets in force that differ from the events and counted postings of their scope and period."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT b.id, b.scope::text, p.period_start, p.period_end FROM budgets_budget b CROSS JOIN LATERAL ("
            "  SELECT DISTINCT c.period_start, c.period_end FROM budgets_counter c"
            "  WHERE c.organization_id = b.organization_id AND c.budget_id = b.id AND c.period_start >= %(since)s"
            "  ORDER BY c.period_start DESC LIMIT %(periods)s) p"
            " WHERE b.organization_id = %(org)s AND b.ended_at IS NULL",
            {"org": org_id, "since": since, "periods": periods},
        )
        found = cursor.fetchall()
    differences: list[dict[str, Any]] = []
    for budget_id, scope, start, end in found:
        facts = {spent.subject: spent[1:] for spent in spent_in(org_id, msgspec.json.decode(scope), start, end)}
        counted = _counted(org_id, budget_id, start)
        for subject in facts.keys() | counted.keys():
            usage, counter = facts.get(subject, _NOTHING), counted.get(subject, _NOTHING)
            if usage != counter:
                differences.append(
                    {"check": "spent", "budget_id": budget_id, "subject": subject, "usage": usage, "counter": counter}
                )
    return differences


_NOTHING = (Decimal(0), Decimal(0), 0, 0)


def _counted(org_id: int, budget_id: int, start: datetime) -> dict[str, tuple[Decimal, Decimal, int, int]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT subject, spent_usd, assumed_usd, events, unpriced_events FROM budgets_counter"
            " WHERE organization_id = %s AND budget_id = %s AND period_start = %s",
            [org_id, budget_id, start],
        )
        return {subject: (spent, assumed, events, unpriced) for subject, spent, assumed, events, unpriced in cursor}
