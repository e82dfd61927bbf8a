"""Do caps hold? Agents at random under nested budgets, through HTTP whose workers are killed, and straight on Postgres.

Run A: no call costs more than was held, none is settled late or untold before: overrun is zero throughout.
Run B: anything may happen, limits are lowered and budgets made late: overrun is what the agents' own ledger says.

Three look on: a trigger that notes every update by which more is held than the limit allows; a second connection that
reads all counters in one statement, again and again; and after each round, when nobody acts, the ledger.
"""

import os
import random
import signal
import threading
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any

import psycopg

from bench.agents import BOUNDED_WORKFLOW, TEAMS, Key, Ledger, Scope, keys_of, named
from bench.crew import CLIENTS, Crew
from bench.site import Site, serving

TEND_SECONDS = 10  # as the schedule has it
GROW_SECONDS = 1.0
SAMPLE_SECONDS = 0.02
OUTLIVES_MAX_SECONDS = 30
END_SECONDS = 120
BUDGETS_MAX = 9
RUN_BOUND_USD = Decimal("0.3")
# Of each budget: its scope, and how much more than what is spent it allows while agents work.
CAPS: tuple[tuple[Scope, str], ...] = (
    ({}, "8"),
    ({"team": "team-0"}, "3"),
    ({"team": "team-1"}, "3"),
    ({"user": "*"}, "1.2"),
    ({"team": "team-2", "environment": "production", "user": "*"}, "0.2"),
)


@dataclass(frozen=True, slots=True)
class Length:
    """Acts of both runs together, in how many rounds each run does those of one road, and how often a worker is killed.

    A worker needs some seconds to begin: killed faster than that, nobody would answer at all.
    """

    http: int
    straight: int
    rounds: int
    kill_seconds: float


SHORT = Length(2_500, 7_500, 3, 5)
LONG = Length(100_000, 900_000, 20, 15)


@dataclass
class Stage:
    """One run's organization, its budgets by id, and everything that was found wrong."""

    name: str
    org: Any
    secret: str
    scopes: dict[int, Scope] = field(default_factory=dict)
    caps: set[int] = field(default_factory=set)
    slack: dict[int, Decimal] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    violations: list[str] = field(default_factory=list)
    drift: list[str] = field(default_factory=list)
    samples: int = 0
    outlives: float = 0.0
    kills: int = 0
    # Taken by who frees holds and who reckons with what is held.
    freeing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_random(self) -> bool:
        return self.name == "B"


def measure(length: Length) -> Iterator[dict[str, Any]]:
    """A line for each run; `SystemExit` where a cap did not hold."""
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner, _noting(owner):
        stages = [_stage(name) for name in ("A", "B")]
        began = time.monotonic()
        with ExitStack() as beside:
            for stage in stages:
                second = beside.enter_context(psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True))
                beside.enter_context(_beside(partial(_sample, stage, second), SAMPLE_SECONDS))
                beside.enter_context(_beside(partial(_tend, stage), TEND_SECONDS))
                _run(stage, owner, length)
            for stage in stages:
                _await_end(stage, owner)
        for stage in stages:
            _compare(stage, owner)
            _reconcile(stage)
        seconds = time.monotonic() - began
    yield from (_line(stage, seconds) for stage in stages)
    if any(stage.violations or stage.drift for stage in stages):
        raise SystemExit("A cap did not hold.")


def _run(stage: Stage, owner: Any, length: Length) -> None:
    dice = random.Random(stage.name)
    with serving() as site:
        _work(stage, owner, dice, length, site)
    _work(stage, owner, dice, length, None)


def _work(stage: Stage, owner: Any, dice: random.Random, length: Length, site: Site | None) -> None:
    acts = (length.http if site else length.straight) // 2 // length.rounds // CLIENTS + 1
    killing = _beside(partial(_kill, stage, site), length.kill_seconds) if site else nullcontext()
    crew = Crew(stage.name, site.url if site else None, stage.secret, is_random=stage.is_random)
    with killing, crew:
        for number in range(length.rounds):
            with _beside(partial(_grow, stage, dice), GROW_SECONDS):
                is_last = number == length.rounds - 1
                done = crew.work(acts, stage.scopes, frozenset(stage.caps), is_last=is_last)
            stage.ledger.add(done)
            stage.violations += done.violations
            with stage.freeing:
                _compare(stage, owner)
                if stage.is_random:
                    _upset(stage, owner, dice)


# --- the stage ---------------------------------------------------------------------------------------------


def _stage(name: str) -> Stage:
    from apps.budgets.services import set_run_bound
    from apps.organizations.services import create_organization, issue_key
    from apps.teams.services import create_on_first_sight

    org = create_organization(name=f"caps {name} {os.urandom(4).hex()}", owner_email="bench@example.com")
    seen = [
        (place["team"], place["project"], place["workflow"]) for team in range(TEAMS) if (place := named((team, 0, "")))
    ]
    create_on_first_sight(org=org, seen=seen, actor="bench")
    stage = Stage(name, org, issue_key(org=org, name="caps", scopes=["decide", "ingest"]).secret)
    set_run_bound(org=org, workflow=BOUNDED_WORKFLOW, bounds={"max_cost_usd": RUN_BOUND_USD}, actor="bench")
    for scope, slack in CAPS:
        _create(stage, scope, Decimal(slack), "block")
        stage.slack[max(stage.scopes)] = Decimal(slack)
    _create(stage, {}, Decimal(1), "notify")
    return stage


def _create(stage: Stage, scope: Scope, amount: Decimal, mode: str) -> int:
    from apps.budgets.services import BudgetTerms, create_budget

    terms = BudgetTerms(
        name=f"{mode} {len(stage.scopes)}",
        period="year",
        amount_usd=amount,
        mode=mode,
        scope=scope,
        thresholds=(50, 100),
    )
    number: int = create_budget(org=stage.org, terms=terms, actor="bench").pk
    stage.scopes[number] = scope
    if mode == "block":
        stage.caps.add(number)
    return number


@contextmanager
def _noting(owner: Any) -> Iterator[None]:
    """A trigger that notes every grant above a limit, whoever makes it."""
    unnote = "DROP TABLE IF EXISTS bench_above; DROP FUNCTION IF EXISTS bench_note() CASCADE"
    owner.execute(unnote)  # A run that was killed left its own.
    owner.execute(
        "CREATE TABLE bench_above (organization_id bigint, counter_id bigint, facts text);"
        "CREATE FUNCTION bench_note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN"
        " INSERT INTO bench_above VALUES (NEW.organization_id, NEW.counter_id, NEW::text); RETURN NULL; END $$;"
        "CREATE TRIGGER bench_note AFTER UPDATE ON budgets_counter FOR EACH ROW"
        " WHEN (NEW.is_cap AND NEW.held_usd > OLD.held_usd AND NEW.spent_usd + NEW.held_usd > NEW.limit_usd)"
        " EXECUTE FUNCTION bench_note()"
    )
    try:
        yield
    finally:
        owner.execute(unnote)


@contextmanager
def _beside(act: Callable[[], None], seconds: float) -> Iterator[None]:
    """`act` every so many seconds, on a thread, until the block is over; what it raises is raised here."""
    over, faults = threading.Event(), []

    def repeat() -> None:
        from django.db import connection

        while not over.wait(seconds):
            try:
                act()
            except BaseException as error:
                faults.append(error)
                return
            finally:
                connection.close()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if faults:
        raise faults[0]


# --- what happens beside the agents -------------------------------------------------------------------------


def _kill(stage: Stage, site: Site) -> None:
    """The worker that has answered longest, whatever it is doing."""
    os.kill(site.workers()[0], signal.SIGKILL)
    stage.kills += 1


def _tend(stage: Stage) -> None:
    from apps.budgets.decisions import free_due

    with stage.freeing:
        free_due(stage.org)


def _grow(stage: Stage, dice: random.Random) -> None:
    """Raise a limit to a little above what is spent, so that it binds most of the time and never for good.

    Of run B three: what is spent there without asking, and limits that are lowered, close them sooner.
    """
    for number in dice.sample(sorted(stage.slack), 3 if stage.is_random else 1):
        _grow_one(stage, number)


def _grow_one(stage: Stage, number: int) -> None:
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as reader:
        found = reader.execute(
            "SELECT b.amount_usd, avg(c.spent_usd)::numeric(38, 2) FROM budgets_budget b JOIN budgets_counter c"
            " ON c.organization_id = b.organization_id AND c.budget_id = b.id"
            " WHERE b.organization_id = %s AND b.id = %s GROUP BY b.amount_usd",
            [stage.org.pk, number],
        ).fetchone()
    if found is not None and found[1] + stage.slack[number] > found[0]:
        _change(stage, number, found[1] + stage.slack[number])


def _change(stage: Stage, number: int, amount: Decimal) -> None:
    from apps.budgets.services import change_budget
    from apps.organizations.models import Organization

    org = Organization.objects.get(pk=stage.org.pk)
    change_budget(org=org, budget_id=number, changes={"amount_usd": amount}, actor="bench")


def _upset(stage: Stage, owner: Any, dice: random.Random) -> None:
    """Lower a limit, or make a budget late; the ledger knows what is over then."""
    held = _held(stage, owner)
    if len(stage.scopes) > BUDGETS_MAX or dice.random() < 0.5:
        number = dice.choice(sorted(stage.slack))
        spent = _spent(stage)
        # Below what is counted within the limit: under less than that, more is over than before. Less than nothing is
        # counted within it where holds were over and then released.
        within = max(
            spent[key] + held.get(key, Decimal(0)) - stage.ledger.overrun.get(key, Decimal(0))
            for key in spent
            if key[0] == number
        )
        amount = max(Decimal(0), (within * Decimal("0.9")).quantize(Decimal("0.01")))
        _change(stage, number, amount)
        _count_excess(stage, [number], spent, held, amount)
    else:
        scope = dice.choice(({"user": "*"}, {"team": "team-2"}, {"environment": "staging"}))
        amount = Decimal(dice.randint(1, 40)) / 10
        number = _create(stage, scope, amount, "block")
        stage.slack[number] = Decimal("2")
        _count_excess(stage, [number], _spent(stage), _held(stage, owner), amount)
    owner.execute("DELETE FROM bench_above WHERE organization_id = %s", [stage.org.pk])  # what a late budget began with


def _count_excess(
    stage: Stage, numbers: list[int], spent: dict[Key, Decimal], held: dict[Key, Decimal], limit: Decimal
) -> None:
    for key in {*spent, *held}:
        if key[0] in numbers:
            counted = spent.get(key, Decimal(0)) + held.get(key, Decimal(0))
            over = counted - stage.ledger.overrun.get(key, Decimal(0)) - limit
            stage.ledger.overrun_by([key], max(Decimal(0), over))


# --- who looks on --------------------------------------------------------------------------------------------


def _sample(stage: Stage, second: Any) -> None:
    """One snapshot from a connection of its own: no cap is passed but by overrun, no hold outlives its end."""
    row = second.execute(
        "SELECT (SELECT count(*) FROM budgets_counter WHERE organization_id = %(org)s AND is_cap"
        "  AND spent_usd + held_usd - overrun_usd > limit_usd),"
        " (SELECT COALESCE(max(overrun_usd), 0) FROM budgets_counter WHERE organization_id = %(org)s),"
        " (SELECT count(*) FROM budgets_runtally WHERE organization_id = %(org)s AND workflow_id IS NOT NULL"
        "  AND spent_usd + held_usd - overrun_usd > %(bound)s AND EXISTS (SELECT FROM budgets_runbound b"
        "   WHERE b.organization_id = %(org)s AND b.workflow_id = budgets_runtally.workflow_id)),"
        " (SELECT COALESCE(max(extract(epoch FROM clock_timestamp() - release_at)), 0) FROM budgets_reservation"
        "  WHERE organization_id = %(org)s AND state = 'held')",
        {"org": stage.org.pk, "bound": RUN_BOUND_USD},
    ).fetchone()
    above, overrun, runs, outlives = row
    stage.samples += 1
    stage.outlives = max(stage.outlives, float(outlives))
    if above or runs:
        stage.violations.append(f"{above} caps and {runs} runs above their limits")
    if overrun and not stage.is_random:
        stage.violations.append(f"overrun of {overrun} USD where there is none")
    if outlives > OUTLIVES_MAX_SECONDS:
        stage.violations.append(f"a hold outlived its end by {outlives:.0f} s")


def _compare(stage: Stage, owner: Any) -> None:
    """What counters say, beside the ledger and beside the reservations, while nobody acts."""
    above = owner.execute("SELECT facts FROM bench_above WHERE organization_id = %s", [stage.org.pk]).fetchall()
    owner.execute("DELETE FROM bench_above WHERE organization_id = %s", [stage.org.pk])
    stage.violations += [f"granted above a limit: {facts}" for (facts,) in above]
    spent, held = _spent(stage), _held(stage, owner)
    for number, subject, *counted in owner.execute(
        "SELECT budget_id, COALESCE(NULLIF(subject, '')::jsonb ->> 'user', ''), spent_usd, held_usd, overrun_usd"
        " FROM budgets_counter WHERE organization_id = %s",
        [stage.org.pk],
    ).fetchall():
        key = (number, subject)
        known = [amounts.get(key, Decimal(0)) for amounts in (spent, held, stage.ledger.overrun)]
        if counted != known:
            stage.drift.append(f"budget {number} {subject}: spent, held, overrun are {counted}, by the ledger {known}")


def _spent(stage: Stage) -> dict[Key, Decimal]:
    found: dict[Key, Decimal] = {}
    for place, cost in stage.ledger.spent.items():
        for key in keys_of(place, stage.scopes):
            found[key] = found.get(key, Decimal(0)) + cost
    return found


def _held(stage: Stage, owner: Any) -> dict[Key, Decimal]:
    """By the reservations that hold, whatever counters they name."""
    found: dict[Key, Decimal] = {}
    for call, held in owner.execute(
        "SELECT call, sum(held_usd) FROM budgets_reservation WHERE organization_id = %s AND state = 'held'"
        " GROUP BY call",
        [stage.org.pk],
    ).fetchall():
        place = (int(call["team"][-1]), int(call["user"].rpartition("-")[2]), call["environment"])
        for key in keys_of(place, stage.scopes):
            found[key] = found.get(key, Decimal(0)) + held
    return found


def _await_end(stage: Stage, owner: Any) -> None:
    """Until every hold that was forgotten is over."""
    until = time.monotonic() + END_SECONDS
    while owner.execute(
        "SELECT EXISTS (SELECT FROM budgets_reservation WHERE organization_id = %s AND state = 'held')", [stage.org.pk]
    ).fetchone()[0]:
        if time.monotonic() > until:
            stage.violations.append(f"something is still held after {END_SECONDS} s")
            return
        time.sleep(0.5)


def _reconcile(stage: Stage) -> None:
    """The proof that production runs every 15 minutes, from the stored events."""
    from apps.budgets.counting import reconcile

    stage.drift += [str(one) for one in reconcile(stage.org)]


def _line(stage: Stage, seconds: float) -> dict[str, Any]:
    ledger: Tally[str] = stage.ledger.done
    return {
        "name": f"caps_{stage.name.lower()}_violations",
        "value": len(stage.violations) + len(stage.drift),
        "unit": "violations and drifts",
        "detail": {
            "operations": ledger.total(),
            "of_them": dict(sorted(ledger.items())),
            "clients": CLIENTS,
            "workers_killed": stage.kills,
            "samples": stage.samples,
            "longest_hold_after_its_end_s": round(stage.outlives, 1),
            "overrun_usd": str(sum(stage.ledger.overrun.values(), Decimal(0))),
            "spent_usd": str(sum(stage.ledger.spent.values(), Decimal(0))),
            "budgets": len(stage.scopes),
            "seconds_of_both_runs": round(seconds),
            "found": [*stage.violations, *stage.drift][:20],
        },
    }
