"""What the demo shows once it is made: a plan that is held, a cache that broke, a change that saved, a month ahead."""

from datetime import UTC, datetime, timedelta

import pytest

from apps.core.tenancy import tenant
from apps.ingest.demo import desk, looks
from apps.ingest.demo.looks import hours_to_evaluate
from apps.ingest.demo.plans import furnish_plans
from apps.ingest.tasks import advise, look_back
from apps.insights import realizing
from apps.insights.models import Incident
from apps.insights.models_savings import Adoption, Recommendation
from apps.planner.models import Plan
from apps.teams.services import create_project, create_team, create_workflow
from apps.usage.models_forecast import Forecast
from apps.usage.services import roll_up
from apps.usage.tasks import forecast
from tests.database import as_worker
from tests.portal.conftest import client_of
from tests.portal.reading import get
from tests.portal.shop import shop
from tests.world import make_event

__all__ = ["shop"]  # a fixture

BATCH = 900


def test_a_demo_that_was_just_made_has_forecasts_and_a_round_of_savings(shop, monkeypatch):
    monkeypatch.setattr(looks, "LOOKED_BACK", ((timedelta(days=3), 24),))
    shop.org.refresh_from_db()
    now = datetime.now(UTC)
    shop.api.send(*(make_event(occurred_at=(now - timedelta(days=day)).isoformat()) for day in range(1, 27)))
    with as_worker():
        roll_up(shop.org)
        assert not looks.has_looked_back(shop.org)
        for _ in range(2):
            forecast(shop.org.pk)
            look_back(shop.org.pk)
        assert looks.has_looked_back(shop.org)
    with tenant(shop.org):
        assert Forecast.objects.for_org(shop.org).exists()


def told(shop, model, **wanted):
    with tenant(shop.org):
        return list(model.objects.for_org(shop.org).filter(**wanted).order_by("pk"))


def open_desk(shop):
    team = create_team(org=shop.org, slug="support")
    create_team(org=shop.org, slug="research")
    project = create_project(org=shop.org, slug="help-desk", team=team)
    for slug in (desk.SUPPORT, desk.TAGGING):
        create_workflow(org=shop.org, slug=slug, project=project)
    calls = list(desk.events(shop.org.created_at, 28))
    for first in range(0, len(calls), BATCH):
        answer = shop.api.send(*calls[first : first + BATCH])
        assert answer["accepted"] == len(calls[first : first + BATCH])
        assert answer["unpriced"] == 0


def look_as_the_command_does(org):
    with as_worker():
        advise(org.pk)
        assert looks.has_advised(org)
    looks.follow_one(org)
    with as_worker():
        look_back(org.pk)
    looks.accept_one(org)
    with as_worker():
        realizing.measure(org.pk)
    assert looks.has_measured(org)


def test_the_desk_shows_what_the_product_is_for(shop):
    open_desk(shop)
    with as_worker():
        roll_up(shop.org)
    furnish_plans(shop.org)
    look_as_the_command_does(shop.org)
    before = [told(shop, model) for model in (Incident, Adoption, Recommendation)]
    look_as_the_command_does(shop.org)
    assert [told(shop, model) for model in (Incident, Adoption, Recommendation)] == before

    (plan,) = told(shop, Plan, state="live")
    assert plan.workflow_slug == desk.SUPPORT
    assert plan.calibration["status"] == "calibrated"
    browser = client_of(shop.alice)
    assert "has no total" not in get(browser, shop.url(f"plans/{plan.pk}")).text

    (incident,) = told(shop, Incident, closed_at=None)
    assert (incident.scope, incident.family, incident.tier) == (desk.SUPPORT, "cache", "notify")
    assert incident.excess_usd > 5
    # The model is in most of them; at some hours the environment alone explains as much.
    assert "environment prod" in incident.cause["words"]
    broke = shop.org.created_at - desk.BROKEN_BEFORE
    assert abs(incident.since - broke) < timedelta(days=2)
    assert incident.runs
    page = get(browser, shop.url(f"signals/{incident.pk}")).text
    assert incident.runs[0] in page

    (adoption,) = told(shop, Adoption)
    assert (adoption.workflow, adoption.measured_days, adoption.why) == (desk.TAGGING, 14, "")
    assert adoption.predicted_low_usd <= adoption.realized_usd <= adoption.predicted_high_usd
    assert {one.state for one in told(shop, Recommendation)} >= {"open", "done"}
    fixes = told(shop, Recommendation, kind="fix_caching", state="open", vanished_at=None)
    assert [one.workflow for one in fixes] == [desk.SUPPORT]


@pytest.mark.parametrize("day", range(1, 8))
def test_the_desk_is_the_same_whenever_it_is_made(day):
    end = datetime(2026, 6, day, 13, tzinfo=UTC)
    calls = list(desk.events(end, 28))
    assert calls == list(desk.events(end, 28))
    assert len({call["event_id"] for call in calls}) == len(calls)
    times = [datetime.fromisoformat(call["occurred_at"]) for call in calls]
    assert end - timedelta(days=28) <= min(times)
    assert end - timedelta(hours=3) < max(times) <= end
    # Enough for signals of calls on the last day, whatever the day of the week.
    last = [call for call, at in zip(calls, times, strict=True) if at > end - timedelta(days=1)]
    answers = [call["usage"] for call in last if call["model"] == desk.LARGE and call["workflow"] == desk.SUPPORT]
    assert len(answers) > 50
    read = sum(usage["cache_read_tokens"] for usage in answers)
    assert read < 0.3 * sum(usage["cache_write_5m_tokens"] for usage in answers)


def test_past_hours_are_evaluated_from_the_oldest_to_now():
    now = datetime(2026, 6, 3, 13, 20, tzinfo=UTC)
    found = hours_to_evaluate(now)
    assert found == sorted(set(found))
    assert found[0] == datetime(2026, 5, 7, tzinfo=UTC)
    assert found[-1] == now
    assert found[-2] == datetime(2026, 6, 3, 12, tzinfo=UTC)
    midnights = [at for at in found if at.hour == 0]
    assert len(midnights) == looks.LOOKED_BACK[0][0].days
