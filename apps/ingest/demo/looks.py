"""What the schedule would find within an hour or a week, found at once: the demo is looked at when it is new."""

from apps.insights.tasks import evaluate, find_savings
from apps.organizations.models import Organization
from apps.usage.tasks import forecast


def look_ahead(org: Organization) -> None:
    """Ask the workers for forecasts, signals and savings of the sample, as the schedule does; twice is as once."""
    for task in (forecast, evaluate, find_savings):
        task.delay(org.pk)
