from celery import shared_task

from apps.pricing import services


@shared_task(name="pricing.load_catalog")
def load_catalog() -> None:
    """An upgrade may have brought new prices."""
    services.publish_installed_catalog()
