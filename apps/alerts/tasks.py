import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import structlog
from celery import shared_task
from django.utils import timezone
from kombu.exceptions import OperationalError

from apps.alerts import mail_work, measures, services
from apps.alerts.selectors import subscribers

log = structlog.get_logger(__name__)

# One thread, and each organization at most once in its queue.
_hints = ThreadPoolExecutor(max_workers=1, thread_name_prefix="alerts-hints")
_waiting: set[int] = set()
_waiting_lock = threading.Lock()


@shared_task(name="alerts.tell")
def tell(organization_id: int) -> None:
    """Dispatch crossings and send what is due. Twice, or beside itself, it does the same as once."""
    services.work(organization_id)


@shared_task(name="alerts.tell_everybody")
def tell_everybody() -> None:
    """A task for each organization that has something to be told: a slow receiver holds up nobody else's."""
    for organization_id in services.organizations_with_work():
        tell.apply_async((organization_id,), expires=60)


@shared_task(name="alerts.mail_statements")
def mail_statements() -> None:
    """A task for each organization whose statement mails are due."""
    for organization_id in mail_work.organizations_with_work(at=timezone.now()):
        hint_mail(organization_id)


@shared_task(name="alerts.mail_statements_of")
def mail_statements_of(organization_id: int) -> None:
    """Make the mails that are due and send them. Twice, or beside itself, it does the same as once."""
    mail_work.work(organization_id)


def hint_mail(organization_id: int) -> None:
    """Ask a worker to send what waits. Without a broker the next tick does."""
    try:
        mail_statements_of.apply_async((organization_id,), expires=60, retry=False)
    except OperationalError:
        log.warning("no broker for the mail hint", organization_id=organization_id)


@shared_task(name="alerts.measure")
def measure() -> None:
    measures.measure()


@shared_task(name="alerts.forget_old", time_limit=3600, soft_time_limit=3500)
def forget_old() -> None:
    """The log of deliveries is kept for 90 days."""
    at = timezone.now()
    for organization_id in subscribers():
        services.forget_old(organization_id, at=at)


def hint_tell(organization_id: int) -> None:
    """Ask a worker to send soon. Without a broker the next tick does.

    It is asked beside the request: a broker that does not answer must not hold up a decision.
    """
    with _waiting_lock:
        if organization_id in _waiting:
            return
        _waiting.add(organization_id)
    # With what the lines of the request carry: the task says which request asked for it.
    _hints.submit(copy_context().run, _ask_to_tell, organization_id)


def _ask_to_tell(organization_id: int) -> None:
    with _waiting_lock:
        # From here on it is asked for again: what crosses now may come too late for this message.
        _waiting.discard(organization_id)
    try:
        tell.apply_async((organization_id,), expires=60, retry=False)
    except OperationalError:
        log.warning("no broker for the alerts hint", organization_id=organization_id)
