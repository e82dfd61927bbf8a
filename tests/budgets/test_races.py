"""Many at once: what may happen once happens once, and a cap holds to the last decimal."""

import threading
from collections import Counter as Tally
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar

import pytest
from django.db import OperationalError, connection
from psycopg_pool import PoolTimeout

from apps.budgets import counting, decisions
from apps.budgets.decisions import free_due
from apps.budgets.models import Counter, Reservation
from apps.budgets.services import BudgetTerms, ask_raise, change_budget, create_budget, decide_raise
from apps.core.tenancy import tenant
from apps.organizations.services import change_settings, issue_key
from tests.api.tenants import make_api, make_org
from tests.database import hanging_up
from tests.world import SCOPES, Api, make_event, unique

SONNET = {"provider": "anthropic", "model": "claude-sonnet-4-5"}
# Of 1,000 tokens in and 100 out, at 3 and 15 USD a million.
COST = Decimal("0.0045")
THREADS = 64

T = TypeVar("T")


def at_once(*acts: Callable[[], T]) -> list[T]:
    """What each act answers, all begun behind one barrier, each on a thread of its own."""
    barrier = threading.Barrier(len(acts))
    answers: dict[int, T] = {}
    faults: list[BaseException] = []

    def run(index: int, act: Callable[[], T]) -> None:
        try:
            barrier.wait(timeout=60)
            answers[index] = act()
        except BaseException as error:
            faults.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=each) for each in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert faults == []
    return [answers[index] for index in range(len(acts))]


@pytest.fixture
def org():
    return make_org()


def budget(org, amount="1", **terms):
    terms = {"name": unique("budget"), "period": "month", "mode": "block", **terms}
    return create_budget(org=org, terms=BudgetTerms(amount_usd=Decimal(amount), **terms), actor="test")


def post(secret: str, path: str, body: Any) -> Any:
    """The response; threads outnumber the store's connections, so it may have to be asked for again."""
    return Api(secret).ask(path, body)


def patiently(act: Callable[[], T]) -> T:
    """The same for an act that no API answers for."""
    for _ in range(100):
        try:
            return act()
        except OperationalError as error:
            if not isinstance(error.__cause__, PoolTimeout):
                raise
    raise AssertionError("no connection was ever free")


def decide(secret: str, **fields: Any) -> dict[str, Any]:
    response = post(secret, "decisions", {"request_id": unique("req"), **SONNET, **fields})
    assert response.status_code == 200, response.content
    said: dict[str, Any] = response.json()
    return said


def send(secret: str, **fields: Any) -> None:
    response = post(secret, "events", [make_event(**fields)])
    assert response.status_code == 202, response.content
    assert response.json()["accepted"] + response.json()["duplicates"] == 1


def verdicts(answers: list[dict[str, Any]]) -> dict[str, int]:
    return dict(Tally(answer["decision"] for answer in answers))


def counters(org):
    with tenant(org):
        return list(Counter.objects.for_org(org).order_by("counter_id"))


def test_the_first_requests_of_a_new_key_stay_within_its_cap(org):
    issued = issue_key(org=org, name="new", scopes=SCOPES)
    budget(org, "1", scope={"api_key": str(issued.key.pk)})
    budget(org, "100", scope={"api_key": "*"})
    answers = at_once(*[lambda: decide(issued.secret, estimate_usd="0.05")] * THREADS)
    assert verdicts(answers) == {"allow": 20, "deny": 44}
    assert [(row.held_usd, row.overrun_usd) for row in counters(org)] == [(1, 0), (1, 0)]
    assert counting.reconcile(org) == []


def test_the_first_requests_of_a_new_user_stay_within_each_users_cap(org):
    secret = make_api(org).secret
    budget(org, "0.3", scope={"user": "*"})
    answers = at_once(
        *[lambda user=user: decide(secret, user=user, estimate_usd="0.1") for user in ("ann", "bob") for _ in range(32)]
    )
    assert verdicts(answers) == {"allow": 6, "deny": 58}
    assert sorted((row.subject, row.held_usd) for row in counters(org)) == [
        ('{"user": "ann"}', Decimal("0.3")),
        ('{"user": "bob"}', Decimal("0.3")),
    ]
    assert counting.reconcile(org) == []


def test_a_project_created_on_first_sight_meanwhile_is_within_the_cap(org):
    change_settings(org=org, create_names_on_first_sight=True, actor="test")
    org.refresh_from_db()
    secret = make_api(org).secret
    budget(org, "1")
    budget(org, "0.5", scope={"project": "*"})
    new = {"team": "new", "project": "first"}

    def ask() -> str:
        said = decide(secret, **new, estimate_usd="0.05")
        return str(said["decision"])

    def use() -> str:
        send(secret, **new)
        return "sent"

    answers = Tally(at_once(*[ask] * 48, *[use] * 16))
    # A decision before its project is known falls under no project's budget.
    assert answers["sent"] == 16
    assert answers["allow"] + answers["deny"] == 48
    for row in counters(org):
        assert row.spent_usd + row.held_usd - row.overrun_usd <= row.limit_usd
        assert row.overrun_usd == row.spent_usd == 16 * COST
    assert answers["allow"] * Decimal("0.05") <= 1
    assert verdicts(at_once(*[lambda: decide(secret, **new, estimate_usd="0.05")] * THREADS)).get("allow", 0) <= 10
    assert max(row.held_usd for row in counters(org) if row.limit_usd == Decimal("0.5")) <= Decimal("0.5")
    assert counting.reconcile(org) == []


def test_one_request_id_holds_once(org):
    secret = make_api(org).secret
    budget(org, "100")
    answers = at_once(*[lambda: decide(secret, request_id="same", estimate_usd="0.5")] * 32)
    assert len({answer["reservation_id"] for answer in answers}) == 1
    assert all(answer == answers[0] for answer in answers)
    (row,) = counters(org)
    assert row.held_usd == Decimal("0.5")


def test_one_request_id_with_two_bodies_is_granted_once_and_a_conflict_otherwise(org):
    api = make_api(org)
    budget(org, "100", scope={"user": "*"})

    def ask(user: str) -> tuple[int, str]:
        body = {"request_id": "same", **SONNET, "user": user, "estimate_usd": "0.5"}
        response = post(api.secret, "decisions", body)
        return response.status_code, response.json().get("code", "")

    answers = Tally(at_once(*[lambda user=f"user-{index % 2}": ask(user) for index in range(32)]))
    assert answers == {(200, ""): 16, (409, "request_id_conflict"): 16}
    assert sum(row.held_usd for row in counters(org)) == Decimal("0.5")
    assert counting.reconcile(org) == []


@pytest.mark.parametrize("is_over", [False, True])
def test_exactly_one_act_ends_a_reservation(org, is_over):
    secret = make_api(org).secret
    budget(org, "100")
    for _ in range(8):
        said = decide(secret, estimate_usd="0.5")
        identity = said["reservation_id"]
        if is_over:
            with tenant(org):
                past = datetime.now(UTC) - timedelta(seconds=1)
                Reservation.objects.for_org(org).filter(reservation_id=identity).update(
                    expires_at=past, release_at=past
                )

        def settle(identity: str = identity) -> int:
            event = make_event()
            status: int = post(secret, f"reservations/{identity}/settle", {"event": event}).status_code
            return status

        def release(identity: str = identity) -> int:
            status: int = post(secret, f"reservations/{identity}/release", {}).status_code
            return status

        def expire() -> int:
            return patiently(partial(free_due, org))

        answers = at_once(*[settle] * 3, *[release] * 3, *[expire] * 2)
        with tenant(org):
            row = Reservation.objects.for_org(org).get(reservation_id=identity)
        settled, released, expired = answers[:3], answers[3:6], answers[6:]
        assert set(settled + released) <= {200, 409}
        # A late settle still books what a sweep let go of before.
        assert (sum(expired) <= 1) if is_over else (sum(expired) == 0)
        assert (settled.count(200), row.event_id is not None) == ((1, True) if row.state == "settled" else (0, False))
        # The same release twice is the same answer.
        assert released.count(200) == (3 if row.state == "released" else 0) or row.is_late
    (counter,) = counters(org)
    assert counter.held_usd == 0
    assert counting.reconcile(org) == []


def test_budgets_change_while_everybody_decides_and_sends(org):
    secret = make_api(org).secret
    first = budget(org, "5")
    rounds = 6

    def decide_and_send() -> list[str]:
        said = []
        for number in range(rounds):
            answer = decide(secret, user=f"user-{number % 3}", estimate_usd="0.01")
            said.append(answer["decision"])
            send(secret, user=f"user-{number % 3}", reservation_id=answer["reservation_id"])
        return said

    def change() -> list[str]:
        for amount in ("0.2", "4", "0.1", "3"):
            changes = {"amount_usd": Decimal(amount)}
            patiently(partial(change_budget, org=org, budget_id=first.pk, changes=changes, actor="test"))
        return []

    def create() -> list[str]:
        for scope in ({"user": "*"}, {"user": "user-1"}, {}):
            patiently(partial(budget, org, "0.05", scope=scope))
        return []

    def raise_it() -> list[str]:
        until = datetime.now(UTC) + timedelta(days=1)
        for amount in ("0.1", "1"):
            more = {"amount_usd": Decimal(amount), "expires_at": until, "reason": "More"}
            asked = patiently(partial(ask_raise, org=org, budget_id=first.pk, actor="test", **more))
            patiently(partial(decide_raise, org=org, raise_id=asked.pk, approve=True, actor="test"))
        return []

    answers = at_once(*[decide_and_send] * 16, change, create, raise_it)
    assert sum(map(len, answers)) == 16 * rounds
    for row in counters(org):
        assert row.spent_usd + row.held_usd - row.overrun_usd <= row.limit_usd
    (whole,) = [row for row in counters(org) if row.budget_id == first.pk]
    assert (whole.limit_usd, whole.spent_usd) == (Decimal("4.1"), 16 * rounds * COST)
    assert counting.reconcile(org) == []


def test_leases_and_their_ends_at_once(org):
    secret = make_api(org).secret
    budget(org, "1")

    def lease(_: int = 0) -> str:
        body = {"request_id": unique("req"), **SONNET, "amount_usd": "0.1", "ttl_seconds": 60}
        taken = post(secret, "leases", body).json()
        if taken["lease_id"] is None:
            return "deny"
        send(secret, reservation_id=taken["lease_id"])
        back = post(secret, f"leases/{taken['lease_id']}/return", {"unused_usd": "1"})
        assert back.status_code == 200, back.content
        return "allow"

    answers = Tally(at_once(*[lease] * 32, *[lambda: str(patiently(partial(free_due, org)))] * 2))
    (row,) = counters(org)
    assert (row.spent_usd, row.held_usd, row.overrun_usd) == (answers["allow"] * COST, 0, 0)
    assert counting.reconcile(org) == []


def test_no_grant_passes_by_a_budget_of_which_another_request_of_the_key_has_learned(org, monkeypatch):
    secret = make_api(org).secret
    decide(secret, estimate_usd="0")
    loaded, learned = threading.Event(), threading.Event()
    load_watch = decisions.load_watch

    def load_and_wait(known):
        watch = load_watch(known)
        if threading.current_thread().name == "early" and not loaded.is_set():
            loaded.set()
            assert learned.wait(timeout=60)
        return watch

    monkeypatch.setattr(decisions, "load_watch", load_and_wait)
    answers = []
    early = threading.Thread(
        name="early", target=hanging_up(lambda: answers.append(decide(secret, estimate_usd="0.9")))
    )
    early.start()
    assert loaded.wait(timeout=60)
    budget(org, "1")
    decide(secret, estimate_usd="0.2")
    learned.set()
    early.join(timeout=60)
    assert answers[0]["decision"] == "deny"
    assert [row.held_usd for row in counters(org)] == [Decimal("0.2")]
