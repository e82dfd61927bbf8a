"""As many budgets as an organization may have, all of them over every call."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from apps.budgets.models import Counter
from apps.budgets.services import BUDGETS_MAX
from apps.core.tenancy import tenant
from apps.organizations.services import touch_facts
from tests.api.budgets import elsewhere, is_waiting, wait_for
from tests.api.test_decisions import COST, api, budget, decide, org
from tests.database import hanging_up
from tests.world import make_event

__all__ = ["api", "org"]  # fixtures


@pytest.fixture
def many(org):
    """The budgets beside the first are made like it, without waiting for each."""
    budget(org, "1")
    with tenant(org):
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO budgets_budget (organization_id, name, scope, period, amount_usd, mode, thresholds,"
                " forecast_thresholds, rollover, created_at, created_by)"
                " SELECT organization_id, name || number, scope, period, amount_usd, mode, thresholds,"
                "  forecast_thresholds, rollover, created_at, created_by"
                " FROM budgets_budget, generate_series(2, %s) AS number WHERE organization_id = %s",
                [BUDGETS_MAX, org.pk],
            )
        touch_facts(org)


@pytest.mark.usefixtures("many")
def test_a_call_is_decided_under_all_of_them(org, api):
    assert api.send(make_event())["accepted"] == 1
    assert len(decide(api, estimate_usd="0.25").json()["budgets"]) == BUDGETS_MAX
    answer = decide(api, estimate_usd="5").json()
    assert (answer["decision"], len(answer["reasons"])) == ("deny", BUDGETS_MAX)
    with tenant(org):
        rows = Counter.objects.for_org(org)
        assert rows.filter(spent_usd=COST, held_usd="0.25", overrun_usd=COST).count() == BUDGETS_MAX


@pytest.mark.usefixtures("many")
def test_a_decision_takes_few_of_the_locks_that_all_share(org, api):
    assert api.send(make_event())["accepted"] == 1
    with ThreadPoolExecutor(1) as pool:
        with elsewhere() as blocker:
            blocker.execute("SELECT FROM budgets_counter WHERE organization_id = %s FOR UPDATE", [org.pk])
            waiting = pool.submit(hanging_up(decide), api, estimate_usd="0.25")
            wait_for(lambda: is_waiting("transactionid"))
            (held,) = blocker.execute(
                "SELECT count(*) FROM pg_locks JOIN pg_stat_activity a USING (pid)"
                " WHERE locktype = 'advisory' AND a.datname = current_database()"
            ).fetchone()
            blocker.rollback()
        assert waiting.result().status_code == 200
    assert held <= 20
