from celery import shared_task

from apps.planner.calibration import calibrate
from apps.usage.services import every_organization, for_each_of


@shared_task(name="planner.calibrate", time_limit=7200, soft_time_limit=7000)
def calibrate_all() -> None:
    """Live plans held against real runs, of every organization."""
    for_each_of(every_organization(), calibrate)
