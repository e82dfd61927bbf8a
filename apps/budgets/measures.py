"""What budgets hold, as figures for whoever runs the installation."""

from apps.budgets import housekeeping_sql
from apps.core.metrics import RESERVATIONS_OPEN, RESERVATIONS_OVERDUE, note_measured
from apps.core.tenancy import tenant
from apps.organizations.selectors import organizations_budgeted
from apps.usage.services import for_each_of


def measure() -> None:
    """Note the holds that stand, of all organizations together."""
    found = for_each_of(organizations_budgeted(), _open)
    RESERVATIONS_OPEN.note(sum(holds for holds, _ in found))
    RESERVATIONS_OVERDUE.note(max((seconds for _, seconds in found), default=0))
    note_measured("budgets")


def _open(org_id: int) -> tuple[int, int]:
    with tenant(org_id):
        return housekeeping_sql.open_holds(org_id)
