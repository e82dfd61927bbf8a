"""What the schedule would find within an hour or a week, found at once: the demo is looked at when it is new."""

from apps.insights import evaluating, recommending
from apps.organizations.models import Organization
from apps.usage import forecasting


def look_ahead(org: Organization) -> None:
    """Forecasts, signals and savings of the sample, by the services that the schedule calls; twice is as once."""
    forecasting.forecast_month(org)
    evaluating.evaluate(org.pk)
    recommending.find(org.pk)
