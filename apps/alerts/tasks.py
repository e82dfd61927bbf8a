import structlog
from celery import shared_task
from django.utils import timezone
from kombu.exceptions import OperationalError

from apps.alerts import services
from apps.alerts.selectors import subscribers

log = structlog.get_logger(__name__)


@shared_task(name="alerts.tell")
def tell(organization_id: int) -> None:
    """Dispatch crossings and send what is due. Twice, or beside itself, it does the same as once."""
    services.work(organization_id)


@shared_task(name="alerts.tell_everybody")
def tell_everybody() -> None:
    """A task for each organization that has something to be told: a slow receiver holds up nobody else's."""
    for organization_id in services.organizations_with_work():
        tell.apply_async((organization_id,), expires=60)


@shared_task(name="alerts.forget_old", time_limit=3600, soft_time_limit=3500)
def forget_old() -> None:
    """The log of deliveries is kept for 90 days."""
    at = timezone.now()
    for organization_id in subscribers():
        services.forget_old(organization_id, at=at)


def hint_tell(organization_id: int) -> None:
    """Ask a worker to send soon. Without a broker the next tick does."""
    try:
        tell.apply_async((organization_id,), expires=60, retry=False)
    except OperationalError:
        log.warning("no broker for the alerts hint", organization_id=organization_id)
