import structlog
from celery import shared_task
from django.utils import timezone
from kombu.exceptions import OperationalError

from apps.organizations.models import Organization
from apps.organizations.selectors import organizations_rerating, organizations_with_new_names
from apps.usage import facets, forecasting, measures, postings, repricing, services

log = structlog.get_logger(__name__)


@shared_task(name="usage.roll_up")
def roll_up(organization_id: int) -> None:
    """A hint after ingestion; the sweep finds what it missed."""
    services.roll_up(organization_id)


@shared_task(name="usage.sweep")
def sweep() -> None:
    services.sweep()


@shared_task(name="usage.measure")
def measure() -> None:
    measures.measure()


@shared_task(name="usage.reconcile")
def reconcile(organization_id: int) -> None:
    services.reconcile(organization_id)


@shared_task(name="usage.reconcile_all")
def reconcile_all() -> None:
    """A task an organization: thousands of them take longer than one task may."""
    for organization_id in services.every_organization():
        reconcile.apply_async((organization_id,), expires=900)


@shared_task(name="usage.sum_up_days", time_limit=900, soft_time_limit=840)
def sum_up_days(organization_id: int) -> None:
    facets.sum_up_days(Organization.objects.get(pk=organization_id))


@shared_task(name="usage.sum_up_all_days")
def sum_up_all_days() -> None:
    for organization_id in services.every_organization():
        sum_up_days.apply_async((organization_id,), expires=3000)


@shared_task(name="usage.forecast", time_limit=300, soft_time_limit=280)
def forecast(organization_id: int) -> None:
    forecasting.forecast_month(Organization.objects.get(pk=organization_id))


@shared_task(name="usage.forecast_all")
def forecast_all() -> None:
    for organization_id in services.every_organization():
        forecast.apply_async((organization_id,), expires=3000)


@shared_task(name="usage.maintain_partitions", time_limit=3600, soft_time_limit=3500)
def maintain_partitions() -> None:
    services.maintain_partitions(today=timezone.now().date())
    # Every organization: where the installation's retention holds, the keys of dropped months still have to go.
    services.for_each_organization(services.apply_retention)


@shared_task(name="usage.attribute_known_names", time_limit=3600, soft_time_limit=3500)
def attribute_known_names() -> None:
    """Organizations whose names changed since their events were last attributed by them."""
    for organization in organizations_with_new_names():
        try:
            postings.attribute_known_names(organization)
        except Exception:
            log.exception("known names not posted", organization_id=organization.pk)


@shared_task(name="usage.rerate", time_limit=900, soft_time_limit=840)
def rerate(organization_id: int) -> None:
    """Work on one organization's re-rating; what is left after a few minutes goes to the end of the queue."""
    organization = Organization.objects.get(pk=organization_id)
    if repricing.work(organization):
        hint_rerate(organization_id)


@shared_task(name="usage.continue_reratings")
def continue_reratings() -> None:
    """Finds the re-ratings of which a hint was lost, or a worker died."""
    for organization in organizations_rerating():
        hint_rerate(organization.pk)


def hint_rerate(organization_id: int) -> None:
    """Ask a worker to go on with a re-rating. Without a broker the next tick does."""
    try:
        rerate.apply_async((organization_id,), expires=60, retry=False)
    except OperationalError:
        log.warning("no broker for the re-rating hint", organization_id=organization_id)


def hint_roll_up(organization_id: int) -> None:
    """Ask a worker to roll up soon. Without a broker the sweep does it within its period: nothing is lost."""
    try:
        roll_up.apply_async((organization_id,), expires=60, retry=False)
    except OperationalError:
        log.warning("no broker for the rollup hint", organization_id=organization_id)
