from celery import shared_task
from django.utils import timezone

from apps.organizations import closing


@shared_task(name="organizations.close_due")
def close_due() -> None:
    """Deleted organizations whose month of grace is over."""
    closing.close_due(at=timezone.now())
