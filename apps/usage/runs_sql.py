"""Statements of runs: what a run's deltas fold into. All need `tenant(org)` around them."""

from django.db import connection

from apps.usage.deltas import MEASURES, RUN_SUMS

_WHERE = (
    "parent_run_id", "team", "team_id", "project", "project_id", "workflow", "workflow_id", "user_name", "environment",
)  # fmt: skip
_FIRST = ("first_at", "first_event_id")
_OUTCOME = ("outcome", "outcome_at", "outcome_event_id")
SUMS = (*RUN_SUMS, *MEASURES)
COLUMNS = ("organization_id", "run_id", *_WHERE, *_FIRST, "last_at", *_OUTCOME, *SUMS)

TAKEN = """
    DELETE FROM {queue} WHERE organization_id = %(org)s AND delta_id IN
      (SELECT delta_id FROM {queue} WHERE organization_id = %(org)s LIMIT %(limit)s)
    RETURNING *
"""


def _folded(parts: str) -> str:
    """One row a run of rows of `COLUMNS`.

    What a run is called comes from its earliest event and its outcome from the latest event that says one, ties
    broken by event id, so the order of arrival does not matter. Ids compare by code point here, as they do where
    deltas are summed, whatever the database's collation.
    """
    firsts = ", ".join(
        f'(array_agg({name} ORDER BY first_at, first_event_id COLLATE "C"))[1] AS {name}' for name in (*_WHERE, *_FIRST)
    )
    outcomes = ", ".join(
        f'(array_agg({name} ORDER BY outcome_at DESC, outcome_event_id COLLATE "C" DESC)'
        f" FILTER (WHERE outcome IS NOT NULL))[1] AS {name}"
        for name in _OUTCOME
    )
    sums = ", ".join(f"sum({name}) AS {name}" for name in SUMS)
    return (
        f"SELECT organization_id, run_id, {firsts}, max(last_at) AS last_at, {outcomes}, {sums}"
        f" FROM {parts} GROUP BY organization_id, run_id"
    )


def move_run_deltas(org_id: int, limit: int) -> int:
    """Fold up to `limit` run deltas into runs."""
    earlier = '(EXCLUDED.first_at, EXCLUDED.first_event_id COLLATE "C") < (r.first_at, r.first_event_id)'
    later = (
        'r.outcome_at IS NULL OR (EXCLUDED.outcome_at, EXCLUDED.outcome_event_id COLLATE "C")'
        " > (r.outcome_at, r.outcome_event_id)"
    )
    changes = [
        *(f"{c} = CASE WHEN {earlier} THEN EXCLUDED.{c} ELSE r.{c} END" for c in (*_WHERE, *_FIRST)),
        *(f"{c} = CASE WHEN {later} THEN EXCLUDED.{c} ELSE r.{c} END" for c in _OUTCOME),
        "last_at = greatest(r.last_at, EXCLUDED.last_at)",
        *(f"{c} = r.{c} + EXCLUDED.{c}" for c in SUMS),
    ]
    columns = ", ".join(COLUMNS)
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH taken AS ({TAKEN.format(queue='usage_rundelta')}), folded AS ({_folded('taken')}), runs AS ("
            f" INSERT INTO usage_run AS r ({columns}) SELECT {columns} FROM folded ORDER BY run_id"
            f" ON CONFLICT (organization_id, run_id) DO UPDATE SET {', '.join(changes)} RETURNING 1)"
            " SELECT count(*), (SELECT count(*) FROM runs) FROM taken",
            {"org": org_id, "limit": limit},
        )
        moved: int = cursor.fetchone()[0]
        return moved


def as_of_now() -> str:
    """A query of the run %(run)s with the deltas of it that still wait, as a row of `COLUMNS`."""
    columns = ", ".join(COLUMNS)
    parts = " UNION ALL ".join(
        f"SELECT {columns} FROM {table} WHERE organization_id = %(org)s AND run_id = %(run)s"
        for table in ("usage_run", "usage_rundelta")
    )
    return _folded(f"({parts}) AS parts")
