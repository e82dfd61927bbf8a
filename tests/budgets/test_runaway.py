"""A runaway agent, replayed from real sessions: what it overshoots its bounds by."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db.models import Sum

from apps.budgets import counting
from apps.budgets.models import Counter, Crossing, RunTally
from apps.budgets.services import BudgetTerms, create_budget, set_run_bound
from apps.core.tenancy import tenant
from apps.teams.services import create_on_first_sight
from apps.usage.models import Event
from bench.runaway import BOUND_USD, PLACE, TRACE, question, root_of, sessions
from tests.api.tenants import make_api, make_org

CAP_USD = Decimal(5)
SESSIONS = 4

pytestmark = [
    pytest.mark.xdist_group("runaway"),
    pytest.mark.skipif(
        not TRACE.exists(), reason=f"{TRACE.name} is not there: the full traces lie beside the project, not in it"
    ),
]


@pytest.fixture(scope="module")
def runaways():
    return sessions(SESSIONS)


@pytest.fixture
def org():
    org = make_org()
    create_on_first_sight(org=org, seen=[tuple(PLACE.values())], actor="test")
    org.refresh_from_db()
    return org


@pytest.fixture
def api(org):
    return make_api(org)


def bound(org):
    set_run_bound(org=org, workflow=PLACE["workflow"], bounds={"max_cost_usd": BOUND_USD}, actor="test")


def cap(org):
    now = datetime.now(UTC)
    terms = BudgetTerms(
        name="Search team",
        scope={"team": PLACE["team"]},
        period="range",
        starts_at=now - timedelta(days=60),
        ends_at=now + timedelta(days=1),
        amount_usd=CAP_USD,
        mode="block",
        thresholds=(100,),
    )
    return create_budget(org=org, terms=terms, actor="test")


def ask_then_call(api, calls):
    """Every call of the session is tried, as a loop would; how many were refused."""
    refused = 0
    for number, call in enumerate(calls):
        said = api.ask("decisions", question(call, number)).json()
        if said["decision"] == "deny":
            refused += 1
        else:
            assert api.send({**call, "reservation_id": said["reservation_id"]})["results"] == []
    return refused


def only_tell(api, calls, is_crossed):
    """Until the crossing is there: what was spent before the last call, and when that was sent and answered."""
    for call in calls:
        began = datetime.now(UTC)
        api.send(call)
        if is_crossed():
            return call, began, datetime.now(UTC)
    raise AssertionError("the session never reached its bound")


def tally(org, run):
    with tenant(org):
        return RunTally.objects.for_org(org).get(run_id=run)


def crossing(org, **which):
    with tenant(org):
        return Crossing.objects.for_org(org).filter(**which).first()


def cost_of(api, call):
    (found,) = api.get("events", event_id=call["event_id"]).json()["data"]
    return Decimal(found["cost_usd"])


def spent_of(org, calls):
    with tenant(org):
        stored = Event.objects.for_org(org).filter(event_id__in=[call["event_id"] for call in calls])
        return stored.aggregate(spent=Sum("cost_usd"))["spent"]


def test_who_asks_never_passes_the_bound_of_a_run(org, api, runaways):
    bound(org)
    for calls in runaways:
        assert ask_then_call(api, calls) > 0
        run = tally(org, root_of(calls))
        # Nothing is over, and what is left is less than the next call may cost.
        assert 0 < run.spent_usd <= BOUND_USD
        assert (run.held_usd, run.overrun_usd) == (0, 0)
    assert counting.reconcile(org) == []


def test_who_asks_never_passes_the_cap_of_a_team(org, api, runaways):
    cap(org)
    assert sum(ask_then_call(api, calls) for calls in runaways) > 0
    with tenant(org):
        counter = Counter.objects.for_org(org).get()
    assert CAP_USD - Decimal("1.5") < counter.spent_usd <= CAP_USD
    assert (counter.held_usd, counter.overrun_usd) == (0, 0)
    assert counting.reconcile(org) == []


def test_who_only_tells_passes_the_bound_by_less_than_one_call(org, api, runaways):
    bound(org)
    for calls in runaways:
        root = root_of(calls)
        reached = {"kind": "run_bound", "subject": f"{root}:cost"}
        call, began, answered = only_tell(api, calls, lambda reached=reached: crossing(org, **reached))
        run, row = tally(org, root), crossing(org, **reached)
        assert run.spent_usd - cost_of(api, call) < BOUND_USD <= run.spent_usd
        assert run.overrun_usd == run.spent_usd
        # The row is there when the call's own event is answered.
        assert began <= row.crossed_at <= answered
        assert api.ask("decisions", question(calls[-1], 0)).json()["reasons"][0]["code"] == "run_cost"


def test_who_only_tells_passes_the_cap_by_less_than_one_call(org, api, runaways):
    budget = cap(org)
    reached = {"kind": "threshold", "budget_id": budget.pk}
    calls = [call for session in runaways for call in session]
    call, began, answered = only_tell(api, calls, lambda: crossing(org, **reached))
    with tenant(org):
        counter = Counter.objects.for_org(org).get()
    assert counter.spent_usd - cost_of(api, call) < CAP_USD <= counter.spent_usd
    assert began <= crossing(org, **reached).crossed_at <= answered


def test_a_batch_that_comes_late_is_noticed_when_it_comes(org, api, runaways):
    bound(org)
    for calls in runaways:
        root = root_of(calls)
        began = datetime.now(UTC)
        api.send(*calls[:1000])
        row = crossing(org, kind="run_bound", subject=f"{root}:cost")
        assert began <= row.crossed_at <= datetime.now(UTC)
        assert tally(org, root).spent_usd == spent_of(org, calls[:1000])
