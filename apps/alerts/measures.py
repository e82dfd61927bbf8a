"""What waits to be told, as figures for whoever runs the installation."""

from apps.alerts import sql
from apps.alerts.selectors import subscribers
from apps.core.metrics import CROSSINGS_WAITING, DELIVERIES_OVERDUE, DELIVERIES_WAITING, note_measured
from apps.core.tenancy import tenant
from apps.usage.services import for_each_of


def measure() -> None:
    """Note messages and crossings that wait, of all organizations that have a channel together."""
    found = for_each_of(subscribers(), _waiting)
    DELIVERIES_WAITING.note(sum(messages for messages, _, _ in found))
    DELIVERIES_OVERDUE.note(max((seconds for _, seconds, _ in found), default=0))
    CROSSINGS_WAITING.note(sum(crossings for _, _, crossings in found))
    note_measured("alerts")


def _waiting(org_id: int) -> tuple[int, int, int]:
    with tenant(org_id):
        return sql.waiting(org_id)
