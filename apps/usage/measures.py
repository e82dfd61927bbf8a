"""What waits in usage, as figures for whoever runs the installation."""

from apps.core.metrics import DELTAS_OLDEST, DELTAS_PENDING, note_measured
from apps.core.tenancy import tenant
from apps.usage import measures_sql
from apps.usage.services import for_each_organization


def measure() -> None:
    """Note what is not rolled up yet, of all organizations together."""
    found = for_each_organization(_pending)
    DELTAS_PENDING.note(sum(waiting for waiting, _ in found))
    DELTAS_OLDEST.note(max((seconds for _, seconds in found), default=0))
    note_measured("usage")


def _pending(org_id: int) -> tuple[int, int]:
    with tenant(org_id):
        return measures_sql.pending_deltas(org_id)
