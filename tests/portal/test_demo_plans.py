"""The plans of the demo: from runs like those that it replays, and without any."""

from datetime import UTC, datetime, timedelta

from structlog.testing import capture_logs

from apps.core.tenancy import tenant
from apps.ingest.demo import plans as demo
from apps.planner.models import Plan
from apps.teams.services import create_project, create_team, create_workflow
from apps.usage.services import roll_up
from tests.database import as_worker
from tests.portal.conftest import client_of
from tests.portal.reading import get
from tests.portal.shop import shop
from tests.world import make_event

__all__ = ["shop"]  # a fixture


def furnish(org):
    demo.furnish_plans(org)
    demo.furnish_plans(org)
    with tenant(org):
        return dict(Plan.objects.for_org(org).values_list("name", "state"))


def test_one_plan_is_live_and_held_against_the_runs_that_came_after(shop):
    team = create_team(org=shop.org, slug="research")
    project = create_project(org=shop.org, slug="tools", team=team)
    create_workflow(org=shop.org, slug=demo.FITTED, project=project)
    shop.org.refresh_from_db()
    now = datetime.now(UTC)
    shop.api.send(
        *(
            make_event(
                run_id=f"run-{day}", workflow=demo.FITTED, project="tools", team="research",
                occurred_at=(now - timedelta(days=day, minutes=call)).isoformat(),
            )
            for day in range(1, 27)
            for call in range(1, 4)
        )
    )  # fmt: skip
    with as_worker():
        roll_up(shop.org)
    assert furnish(shop.org) == {demo.NAME: "live", "RAG answers": "draft", "Contract review": "approved"}
    with tenant(shop.org):
        live = Plan.objects.for_org(shop.org).get(state="live")
    assert live.calibration["runs"] > 0
    assert "runs on" in get(client_of(shop.alice), shop.url(f"plans/{live.pk}")).text


def test_without_its_runs_the_others_are_there_and_the_log_says_why(shop):
    create_team(org=shop.org, slug="research")
    with capture_logs() as logs:
        assert furnish(shop.org) == {"RAG answers": "draft", "Contract review": "approved"}
    (said,) = [line for line in logs if line["event"] == "no plan of the demo is live"]
    assert said["log_level"] == "warning"
    assert demo.FITTED in said["why"]
