import structlog
from celery import shared_task
from kombu.exceptions import OperationalError

from apps.pricing import reviews

log = structlog.get_logger(__name__)


@shared_task(name="pricing.load_catalog")
def load_catalog() -> None:
    """An upgrade may have brought new prices. What would change a price in force waits for a person."""
    reviews.publish_plan(reviews.plan_catalog(hold=True))


@shared_task(name="pricing.publish_decisions")
def publish_decisions() -> None:
    """What people decided on prices under review."""
    reviews.publish_decisions()


def hint_decisions() -> None:
    """Ask a worker to publish decisions soon. Without a broker the next tick does."""
    try:
        publish_decisions.apply_async(expires=60, retry=False)
    except OperationalError:
        log.warning("no broker for the hint to publish decisions")
