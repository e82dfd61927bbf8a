from celery import shared_task
from django.utils import timezone

from apps.core.tenancy import tenant
from apps.insights import digests, evaluating, fast, realizing, recommending, services
from apps.usage.services import every_organization, for_each_of


@shared_task(name="insights.evaluate", time_limit=900, soft_time_limit=840)
def evaluate(organization_id: int) -> None:
    """Evaluate the last whole hour. Twice, or beside itself, it does the same as once."""
    evaluating.evaluate(organization_id)


@shared_task(name="insights.evaluate_all")
def evaluate_all() -> None:
    """A task an organization: a large one must not hold up the others."""
    for organization_id in every_organization():
        evaluate.apply_async((organization_id,), expires=3000)


@shared_task(name="insights.look", time_limit=300, soft_time_limit=280)
def look() -> None:
    """Runs that run away and budgets that burn, of every organization."""
    for_each_of(every_organization(), fast.look)


@shared_task(name="insights.look_at_runs", time_limit=60, soft_time_limit=50)
def look_at_runs() -> None:
    """Runs that run away, of the organizations of which events came since the last look."""
    for_each_of(every_organization(), fast.look_at_runs)


@shared_task(name="insights.forget", time_limit=3600, soft_time_limit=3500)
def forget() -> None:
    """Readings and incidents of long ago; once a month, what feedback makes of the gate."""
    at = timezone.now()
    for organization_id in every_organization():
        services.forget_old(organization_id, at=at)
        with tenant(organization_id):
            digests.move_gate(organization_id, at)


@shared_task(name="insights.find_savings", time_limit=900, soft_time_limit=840)
def find_savings(organization_id: int) -> None:
    """Look through the workflows of one organization, where that was not done for a week."""
    for_each_of([organization_id], recommending.find)


@shared_task(name="insights.find_all_savings")
def find_all_savings() -> None:
    """A task an organization, since a large one takes minutes; those that were looked through lately cost a query."""
    for organization_id in every_organization():
        find_savings.apply_async((organization_id,), expires=3_000, retry=False)


@shared_task(name="insights.measure_savings", time_limit=3_600, soft_time_limit=3_500)
def measure_savings() -> None:
    """What was done 14 or 30 days ago, in every organization."""
    for_each_of(every_organization(), realizing.measure)
