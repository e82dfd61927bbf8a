from celery import shared_task

from apps.ingest.demo import looks


@shared_task(name="ingest.advise", time_limit=300, soft_time_limit=280)
def advise(organization_id: int) -> None:
    """The savings that the demo's sample showed before one of them was done. Twice is as once."""
    looks.advise(organization_id)


@shared_task(name="ingest.look_back", time_limit=900, soft_time_limit=840)
def look_back(organization_id: int) -> None:
    """What the schedule would have found in the weeks of the demo's sample. Twice is as once."""
    looks.look_back(organization_id)
