import structlog
from celery import shared_task
from django.utils import timezone
from kombu.exceptions import OperationalError

from apps.organizations.models import Organization
from apps.reports import closing, exporting
from apps.usage.services import for_each_of, for_each_organization

log = structlog.get_logger(__name__)


@shared_task(name="reports.export", time_limit=900, soft_time_limit=840)
def export(organization_id: int) -> None:
    """Write one export of the organization; the next goes to the end of the queue."""
    if exporting.work(Organization.objects.get(pk=organization_id)):
        hint_export(organization_id)


@shared_task(name="reports.continue_exports")
def continue_exports() -> None:
    """Finds the exports of which a hint was lost, or a worker died, and takes old ones away."""
    for organization_id in exporting.organizations_with_work(at=timezone.now()):
        hint_export(organization_id)


def hint_export(organization_id: int) -> None:
    """Ask a worker to write what waits. Without a broker the next tick does."""
    try:
        export.apply_async((organization_id,), expires=60, retry=False)
    except OperationalError:
        log.warning("no broker for the export hint", organization_id=organization_id)


@shared_task(name="reports.close_months")
def close_months() -> None:
    """Seal the months that are fenced, and close those that close themselves."""
    for_each_organization(_close_months)


@shared_task(name="reports.seal", time_limit=1_800, soft_time_limit=1_740)
def seal(organization_id: int) -> None:
    for_each_of([organization_id], _close_months)


def _close_months(organization_id: int) -> int:
    return closing.work(Organization.objects.get(pk=organization_id), at=timezone.now())


def hint_seal(organization_id: int) -> None:
    """Ask a worker to seal what was fenced. Without a broker the next tick does."""
    try:
        seal.apply_async((organization_id,), expires=300, retry=False)
    except OperationalError:
        log.warning("no broker for the sealing hint", organization_id=organization_id)
