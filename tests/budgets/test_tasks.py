"""What the clock does to budgets: each tick finds its own work, and doing it twice changes nothing."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.db import connection

from apps.budgets import tasks
from apps.budgets.models import Crossing, Reservation, RunTally, StepCost
from apps.core.tenancy import tenant
from apps.teams.services import map_name
from apps.usage.postings import attribute_known_names
from tests.api.test_decisions import COST, age, allowed, api, budget, figures, org, settle
from tests.api.test_run_bounds import bound, move, step
from tests.database import as_worker
from tests.world import make_event

__all__ = ["api", "org"]  # fixtures


def run_twice(task):
    with as_worker():
        task()
        task()


def test_a_tick_lets_go_of_what_is_over_and_counts_what_was_posted(org, api):
    one = budget(org, scope={"team": "search"})
    body = allowed(api, team="search", estimate_usd="0.25")
    live = allowed(api, team="search", estimate_usd="0.125")
    age(org, body, 601)
    api.send(make_event(team="serach"))
    map_name(org=org, kind="team", name="serach", slug="search", actor=None)
    org.refresh_from_db()
    with as_worker():
        attribute_known_names(org)
    run_twice(tasks.tend)
    run_twice(tasks.count_postings)
    assert figures(org, one)[:2] == (COST, Decimal(live["held_usd"]))


def test_an_organization_without_budgets_that_asked_is_tended_too(org, api):
    body = allowed(api, estimate_usd="0.25")
    age(org, body, 601)
    run_twice(tasks.tend)
    with tenant(org):
        assert Reservation.objects.for_org(org).get().state == "expired"


def test_what_is_long_over_is_forgotten(org, api):
    bound(org, max_steps=9)
    old, new, held = (step(api, run=run) for run in ("old", "new", "held"))
    for body in (old, new):
        assert settle(api, body, workflow="agent").status_code == 200
    for body in (old, held):
        with tenant(org), connection.cursor() as cursor:
            cursor.execute(
                "UPDATE budgets_reservation SET decided_at = decided_at - %s"
                " WHERE organization_id = %s AND reservation_id = %s",
                [timedelta(days=41), org.pk, body["reservation_id"]],
            )
    for run in ("old", "held"):
        move(org, run, 31 * 24 * 3600)
    run_twice(tasks.forget)
    with tenant(org):
        kept = {str(row.reservation_id) for row in Reservation.objects.for_org(org)}
        runs = set(RunTally.objects.for_org(org).values_list("run_id", flat=True))
    assert kept == {new["reservation_id"], held["reservation_id"]}
    assert runs == {"new", "held"}


def test_usual_costs_and_forecasts_and_the_proof_run(org, api):
    now = datetime.now(UTC)
    around = {"starts_at": now - timedelta(days=5), "ends_at": now + timedelta(days=5)}
    budget(org, "0.17", mode="notify", period="range", forecast_thresholds=[100], **around)
    api.send(*(make_event(workflow="agent", step=0) for _ in range(20)))
    for task in (tasks.reckon_step_costs, tasks.cross_forecasts, tasks.reconcile):
        run_twice(task)
    with tenant(org):
        assert {row.calls for row in StepCost.objects.for_org(org)} == {20}
        assert Crossing.objects.for_org(org).filter(kind="forecast").count() == 1
