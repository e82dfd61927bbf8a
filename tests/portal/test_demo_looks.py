"""What the demo looks for when it is made: the forecast page and the savings page are not empty of a first round."""

from datetime import UTC, datetime, timedelta

from apps.core.tenancy import tenant
from apps.ingest.demo.looks import look_ahead
from apps.insights.savings import last_round
from apps.usage.models_forecast import Forecast
from apps.usage.services import roll_up
from finops.celery import app
from tests.database import as_worker
from tests.portal.shop import shop
from tests.world import make_event

__all__ = ["shop"]  # a fixture


def test_a_demo_that_was_just_made_has_forecasts_and_a_round_of_savings(shop):
    shop.org.refresh_from_db()
    now = datetime.now(UTC)
    shop.api.send(*(make_event(occurred_at=(now - timedelta(days=day)).isoformat()) for day in range(1, 27)))
    with as_worker():
        roll_up(shop.org)
        # Workers do at once, in this process, what they are asked.
        app.conf.update(task_always_eager=True)
        try:
            look_ahead(shop.org)
            look_ahead(shop.org)
        finally:
            app.conf.update(task_always_eager=False)
    with tenant(shop.org):
        assert Forecast.objects.for_org(shop.org).exists()
        found_at, _ = last_round(shop.org)
    assert found_at is not None
