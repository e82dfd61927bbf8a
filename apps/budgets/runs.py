"""Runs as their bounds see them: ended by the caller, or forgotten after 30 days without a decision or event."""

from datetime import timedelta

from apps.budgets import housekeeping_sql, sql
from apps.budgets.models import RunTally
from apps.core.tenancy import HasPk, tenant
from apps.organizations.models import Organization

FORGOTTEN_AFTER = timedelta(days=30)
FORGET_AT_ONCE = 1_000


def put_run(*, org: Organization, run_id: str, status: str, outcome: str | None, units: int | None) -> RunTally:
    """Say that a run is running or ended; an outcome that is given replaces the one before. The same again changes
    nothing, and the end of a run stays at the instant at which it was first said.
    """
    with tenant(org):
        sql.put_run(org.pk, run_id, is_ended=status == "ended", outcome=outcome, units=units)
        return RunTally.objects.for_org(org).get(run_id=run_id)


def forget_runs(org: HasPk | int) -> int:
    """Delete the tallies of runs whose whole tree has been quiet for 30 days; how many."""
    forgotten = 0
    while True:
        with tenant(org):
            count = housekeeping_sql.forget_runs(
                org if isinstance(org, int) else org.pk, FORGOTTEN_AFTER, FORGET_AT_ONCE
            )
        forgotten += count
        if count < FORGET_AT_ONCE:
            return forgotten
