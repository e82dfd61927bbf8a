from celery import shared_task
from django.utils import timezone

from apps.organizations import closing, impersonation


@shared_task(name="organizations.close_due")
def close_due() -> None:
    """Deleted organizations whose month of grace is over."""
    closing.close_due(at=timezone.now())


@shared_task(name="organizations.end_impersonations")
def end_impersonations() -> None:
    """Operators who look as a member longer than they may, and did not come back."""
    impersonation.end_overdue(at=timezone.now())
