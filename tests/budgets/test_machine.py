"""Whatever is done to budgets in whatever order, the database says what the ledger says."""

import os
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, precondition, rule

from apps.budgets import counting
from apps.budgets.decisions import free_due
from apps.budgets.models import Counter as CounterRow
from apps.budgets.models import Raise, Reservation, RunTally
from apps.budgets.services import (
    BudgetTerms,
    ask_raise,
    change_budget,
    create_budget,
    decide_raise,
    set_run_bound,
)
from apps.core.tenancy import tenant
from apps.organizations.services import touch_facts
from apps.teams.services import create_on_first_sight, map_name
from apps.usage.postings import attribute_known_names
from tests.api.tenants import make_api, make_org
from tests.budgets.ledger import ZERO, Budget, Event, Hold, Ledger, Raised
from tests.database import as_worker, owner_url
from tests.usage.reratings import contract, rerate, work
from tests.world import make_event, unique

MODEL = {"provider": "anthropic", "model": "claude-sonnet-4-5"}
BOUND = Decimal("0.9")
INPUT_USD = Decimal("0.000003")
DAY = timedelta(days=1)
# A name that is not known at first.
TYPO = "serach"
# Of a day that is moved back, with its table.
INSTANTS = {
    "usage_event": ("hour_start", "day_start", "occurred_at", "budget_at"),
    "usage_posting": ("hour_start", "day_start", "occurred_at"),
    "budgets_budget": ("created_at",),
    "budgets_reservation": ("decided_at", "expires_at", "release_at"),
}

amounts = st.sampled_from(["0", "0.000000000001", "0.01", "0.1", "0.25", "0.4", "1"]).map(Decimal)
limits = st.sampled_from(["0", "0.3", "0.5", "0.999999999999", "1", "2"]).map(Decimal)
# Up to 0.45 USD.
tokens = st.sampled_from([0, 1, 1_000, 33_333, 100_000, 150_000])
users = st.sampled_from([None, "ann", "bob"])
teams = st.sampled_from([None, "search", "ops", TYPO])
runs = st.sampled_from([None, None, "r1", "r2"])
places = st.sampled_from([0, 1, 2])
scopes = st.sampled_from(
    [({}, None), ({"team": "search"}, None), ({"user": "ann"}, None), ({}, "user"), ({"team": "search"}, "user")]
)


class Caps(RuleBasedStateMachine):
    holds = Bundle("holds")
    budgets = Bundle("budgets")
    asked = Bundle("asked")
    sent = Bundle("sent")

    def __init__(self) -> None:
        super().__init__()
        # Its noon is now: no day ends meanwhile.
        ahead = 12 - datetime.now(UTC).hour
        self.org = make_org(zone=f"Etc/GMT{-ahead:+d}" if ahead else "Etc/GMT")
        create_on_first_sight(org=self.org, seen=[("search", "web", "agent"), ("ops", "tools", "cron")], actor="test")
        set_run_bound(org=self.org, workflow="agent", bounds={"max_cost_usd": BOUND}, actor="test")
        self.api = make_api(self.org)
        self.ledger = Ledger(BOUND)
        self.ids: dict[int, int] = {}
        self.reservations: list[tuple[str, Hold]] = []
        self.rolls = 0
        self.rate = Decimal(1)
        self.knows_typo = False
        self.asked_in_all = 0

    # --- what is asked before a call ---

    def fields(self, team: str | None, user: str | None, run: str | None) -> dict[str, Any]:
        named = {"team": "search", "project": "web", "workflow": "agent", "run_id": run} if run else {"team": team}
        return {name: value for name, value in {**MODEL, **named, "user": user}.items() if value is not None}

    def call(self, fields: dict[str, Any]) -> dict[str, str]:
        team = fields.get("team")
        if team == TYPO:
            team = "search" if self.knows_typo else None
        # Runs are of a project's workflow: a lease is for exactly these, too.
        named = {name: fields.get(name) for name in ("project", "workflow", "user")}
        return {name: value for name, value in {"team": team, **named}.items() if value}

    @rule(target=holds, team=teams, user=users, run=runs, amount=amounts, lease=st.booleans(), again=st.booleans())
    def reserve(self, team, user, run, amount, lease, again):
        fields = self.fields(team, user, run)
        body = {"request_id": unique("req"), **fields, "amount_usd" if lease else "estimate_usd": f"{amount:f}"}
        call = self.call(fields)
        why = self.ledger.decide(call, run, amount)
        said = self.answered("leases" if lease else "decisions", body, why)
        if why:
            return multiple()
        hold = self.ledger.hold(call, run, amount, is_lease=lease)
        self.check_answer(said, hold)
        if again:
            assert self.api.ask("leases" if lease else "decisions", body).json() == said
        found = (said["lease_id" if lease else "reservation_id"], hold, fields)
        self.reservations.append(found[:2])
        return found

    def answered(self, path: str, body: dict[str, Any], why: list[tuple[str, int]]) -> dict[str, Any]:
        response = self.api.ask(path, body)
        assert response.status_code == 200, response.content
        said: dict[str, Any] = response.json()
        reasons = [(one["code"], one.get("budget_id") or 0) for one in said["reasons"]]
        assert sorted(reasons) == sorted((code, self.ids.get(number, 0)) for code, number in why), said
        assert said["decision"] == ("deny" if why else "allow"), said
        return said

    def check_answer(self, said: dict[str, Any], hold: Hold) -> None:
        shown = {(one["id"], one["subject"]): one for one in said["budgets"]}
        assert len(shown) == len(hold.counters)
        for key in hold.counters:
            counter = self.ledger.counters[key]
            one = shown[self.ids[key[0]], subject(counter.budget, key[2])]
            figures = tuple(Decimal(one[name]) for name in ("limit_usd", "spent_usd", "held_usd"))
            assert figures == (counter.limit, counter.spent, counter.held)
            assert not counter.budget.is_cap or figures[1] + figures[2] <= figures[0] or hold.granted == 0

    @rule(found=holds, amount=amounts)
    def renew(self, found, amount):
        identity, lease, fields = found
        if not lease.is_lease:
            return
        why = self.ledger.decide(self.call(fields), lease.run, amount, lease)
        body = {"request_id": unique("req"), "amount_usd": f"{amount:f}"}
        self.answered(f"leases/{identity}/renew", body, why)
        if not why:
            self.ledger.renew(lease, amount)

    # --- how holds end ---

    @rule(found=holds)
    def release(self, found):
        identity, hold, _ = found
        if hold.is_lease:
            return
        response = self.api.post(f"reservations/{identity}/release", {})
        if hold.state == "held":
            self.ledger.free(hold, "released")
        self.check_state(response, hold, "released")

    @rule(found=holds)
    def extend(self, found):
        identity, hold, _ = found
        if hold.is_lease:
            return
        response = self.api.post(f"reservations/{identity}/extend", {"ttl_seconds": 3600})
        if hold.state == "held" and not hold.is_live:
            assert (response.status_code, response.json()["code"]) == (409, "reservation_expired")
            return
        self.check_state(response, hold, "held")

    def check_state(self, response: Any, hold: Hold, wanted: str) -> None:
        said = response.json()
        if hold.state == wanted:
            assert (response.status_code, said["status"]) == (200, wanted), said
        else:
            assert (response.status_code, said["code"]) == (409, f"reservation_{hold.state}"), said

    @rule(found=holds, unused=amounts)
    def give_back(self, found, unused):
        identity, hold, _ = found
        if not hold.is_lease:
            return
        response = self.api.post(f"leases/{identity}/return", {"unused_usd": f"{unused:f}"})
        assert response.status_code == 200, response.content
        if hold.state == "held" and not hold.is_closed:
            self.ledger.let_go(hold, min(unused, hold.held))
            hold.is_closed, hold.is_valid = True, False
            if hold.held == 0:
                hold.state = "returned"

    @rule(found=holds, is_in_grace=st.booleans())
    def expire(self, found, is_in_grace):
        """As if its time were over; within the grace of a lease, events still use it."""
        identity, hold, _ = found
        if hold.state != "held":
            return
        is_live = hold.is_lease and is_in_grace and hold.is_live
        columns = ("expires_at",) if is_live else ("expires_at", "release_at")
        now = datetime.now(UTC) - timedelta(seconds=1)
        with tenant(self.org):
            rows = Reservation.objects.for_org(self.org).filter(reservation_id=identity)
            assert rows.update(**dict.fromkeys(columns, now)) == 1
        hold.is_live, hold.is_valid = is_live, False

    @rule()
    def sweep(self):
        assert free_due(self.org) == self.ledger.free_due()

    # --- usage ---

    def event(self, team, user, run, count, days, hold=None, identity=None):
        fields = self.fields(team, user, run)
        at = datetime.now(UTC) - days * DAY
        sent = make_event(**fields, usage={"input_tokens": count}, occurred_at=at.isoformat(), reservation_id=identity)
        is_misnamed = fields.get("team") == TYPO and not self.knows_typo
        cost = count * INPUT_USD * self.rate
        booked = Event(self.call(fields), self.ledger.today - days, cost, run, hold, is_misnamed)
        return sent, booked

    @rule(
        target=sent,
        calls=st.lists(st.tuples(teams, users, runs, tokens, st.sampled_from([0, 0, 1])), min_size=1, max_size=3),
        found=st.none() | holds,
    )
    def send(self, calls, found):
        """Bare events, or events of a reservation under whatever names."""
        identity, hold = found[:2] if found else (None, None)
        made = [self.event(*call, hold, identity) for call in calls]
        warnings = self.ledger.book(booked for _, booked in made)
        answer = self.api.send(*(event for event, _ in made))
        said = {result["index"]: result["code"] for result in answer["results"]}
        assert (answer["accepted"], [said.get(index, "") for index in range(len(made))]) == (len(made), warnings)
        return made[0][0]

    @rule(target=sent, found=holds, count=tokens)
    def settle(self, found, count):
        identity, hold, fields = found
        if hold.is_lease:
            return multiple()
        event, booked = self.event(fields.get("team"), fields.get("user"), fields.get("run_id"), count, 0, hold)
        response = self.api.post(f"reservations/{identity}/settle", {"event": event})
        said = response.json()
        if hold.state in ("settled", "released"):
            assert (response.status_code, said["code"]) == (409, f"reservation_{hold.state}"), said
            return multiple()
        is_late, covered = not hold.is_live, min(hold.held, booked.cost) if hold.is_live else ZERO
        assert self.ledger.book([booked]) == [""]
        assert (response.status_code, said["status"]) == (200, "settled_late" if is_late else "settled"), said
        figures = (Decimal(said["cost_usd"]), Decimal(said["overrun_usd"]))
        assert figures == (booked.cost, booked.cost - covered), said
        return {**event, "reservation_id": identity}

    @rule(event=sent)
    def send_again(self, event):
        assert self.api.send(event)["duplicates"] == 1

    # --- what people change ---

    @rule(
        target=budgets,
        scope=scopes,
        amount=limits,
        is_daily=st.booleans(),
        is_cap=st.sampled_from([True, True, False]),
        rollover=st.booleans(),
    )
    def create(self, scope, amount, is_daily, is_cap, rollover):
        if len(self.ids) == 6:
            return multiple()
        exact, each = scope
        number = len(self.ids) + 1
        noon = datetime.now(UTC)
        terms = BudgetTerms(
            name=f"Budget {number}",
            period="day" if is_daily else "range",
            starts_at=None if is_daily else noon - 20 * DAY,
            ends_at=None if is_daily else noon + 20 * DAY,
            amount_usd=amount,
            mode="block" if is_cap else "notify",
            scope={**exact, **({each: "*"} if each else {})},
            rollover=rollover and is_daily,
        )
        self.ids[number] = create_budget(org=self.org, terms=terms, actor="test").pk
        budget = Budget(number, exact, each, is_daily, is_cap, amount, terms.rollover, self.ledger.today)
        self.ledger.create(budget)
        return budget

    @rule(budget=budgets, amount=limits)
    def change(self, budget, amount):
        change_budget(org=self.org, budget_id=self.ids[budget.number], changes={"amount_usd": amount}, actor="test")
        budget.amount = amount
        self.ledger.reckon(budget)

    @rule(budget=budgets)
    def change_mode(self, budget):
        mode = "notify" if budget.is_cap else "block"
        change_budget(org=self.org, budget_id=self.ids[budget.number], changes={"mode": mode}, actor="test")
        budget.is_cap = not budget.is_cap
        self.ledger.reckon(budget)

    @rule(target=asked, budget=budgets, amount=st.sampled_from(["0.1", "1"]).map(Decimal))
    def ask_for_more(self, budget, amount):
        self.asked_in_all += 1
        until = datetime.now(UTC) + 30 * DAY + timedelta(seconds=self.asked_in_all)
        row = ask_raise(
            org=self.org, budget_id=self.ids[budget.number], amount_usd=amount, expires_at=until, reason="More",
            actor="test",
        )  # fmt: skip
        return row, budget

    @rule(found=consumes(asked), approve=st.booleans())
    def answer_raise(self, found, approve):
        row, budget = found
        decide_raise(org=self.org, raise_id=row.pk, approve=approve, actor="test")
        if approve:
            budget.raises.append(Raised(row.amount_usd))
            self.ledger.reckon(budget)

    @rule(budget=budgets)
    def end_raise(self, budget):
        """The first raise to expire is over."""
        if not any(one.is_live for one in budget.raises):
            return
        now = datetime.now(UTC) - timedelta(seconds=1)
        with tenant(self.org):
            live = Raise.objects.for_org(self.org).filter(
                budget_id=self.ids[budget.number], state="approved", expires_at__gt=now
            )
            first = live.order_by("expires_at").first()
            until = first.expires_at
            CounterRow.objects.for_org(self.org).filter(budget_id=self.ids[budget.number], limit_until=until).update(
                limit_until=now
            )
            Raise.objects.for_org(self.org).filter(pk=first.pk).update(expires_at=now)
        self.ledger.end_raise(budget, first.amount_usd)

    # --- what happens by itself ---

    @precondition(lambda self: self.rolls < 3)
    @rule()
    def roll(self):
        """A day passes: everything lies a day further back."""
        self.rolls += 1
        self.ledger.today += 1
        daily = [self.ids[one.number] for one in self.ledger.budgets.values() if one.is_daily]
        with psycopg.connect(owner_url()) as owner:
            for table, columns in INSTANTS.items():
                moves = ", ".join(f"{column} = {column} - interval '1 day'" for column in columns)
                owner.execute(f"UPDATE {table} SET {moves} WHERE organization_id = %s", [self.org.pk])
            for days in (-1000, 999):  # never two of one day
                owner.execute(
                    "UPDATE budgets_counter SET period_start = period_start + make_interval(days => %(days)s),"
                    " period_end = period_end + make_interval(days => %(days)s)"
                    " WHERE organization_id = %(org)s AND budget_id = ANY(%(daily)s)",
                    {"days": days, "org": self.org.pk, "daily": daily},
                )
        for hold in self.ledger.holds:
            hold.is_live = hold.is_valid = False
        self.remind()

    def remind(self) -> None:
        """Processes forget what they remember of the organization."""
        touch_facts(self.org)
        self.org.refresh_from_db()

    @precondition(lambda self: self.rolls == 0 and not self.knows_typo)
    @rule()
    def learn(self):
        """A name becomes known: what was spent under it moves."""
        map_name(org=self.org, kind="team", name=TYPO, slug="search", actor=None)
        self.knows_typo = True
        self.org.refresh_from_db()
        with as_worker():
            attribute_known_names(self.org)
            counting.count_postings(self.org.pk)
        self.ledger.learn({"team": "search"})

    @precondition(lambda self: self.rolls == 0 and self.rate == 1 and self.ledger.events)
    @rule(rate=st.sampled_from(["0.5", "3"]).map(Decimal))
    def rerate(self, rate):
        """The price was another since January."""
        self.rate = rate
        contract(self.api, rates={"input_tokens": f"{3 * rate:f}"})
        rerate(self.api, self.org)
        work(self.org)
        self.org.refresh_from_db()
        with as_worker():
            counting.count_postings(self.org.pk)
        self.ledger.reprice(rate)

    # --- what must be true ---

    @invariant()
    def agrees(self):
        with tenant(self.org):
            rows = list(CounterRow.objects.for_org(self.org))
            tallies = {row.run_id: row for row in RunTally.objects.for_org(self.org)}
            held = Reservation.objects.for_org(self.org).exclude(kind="renewal")
            states = {str(key): state for key, state in held.values_list("reservation_id", "state")}
        numbers = {identity: number for number, identity in self.ids.items()}
        today = datetime.now(UTC)
        found = {}
        for row in rows:
            budget = self.ledger.budgets[numbers[row.budget_id]]
            back = (today - row.period_start).days
            day = self.ledger.today - back if budget.is_daily else None
            found[budget.number, day, row.subject] = (row.limit_usd, row.spent_usd, row.held_usd, row.overrun_usd)
        expected = {
            (number, day, subject(one.budget, who)): (one.limit, one.spent, one.held, one.overrun)
            for (number, day, who), one in self.ledger.counters.items()
        }
        assert found == expected
        for name, run in self.ledger.runs.items():
            row = tallies[name]
            assert (row.spent_usd, row.held_usd, row.overrun_usd) == (run.spent, run.held, run.overrun)
        assert states == {identity: hold.state for identity, hold in self.reservations}

    @invariant()
    def caps_hold(self):
        for counter in self.ledger.counters.values():
            if counter.budget.is_cap:
                assert counter.spent + counter.held - counter.overrun <= counter.limit
        assert counting.reconcile(self.org) == []


def subject(budget: Budget, who: str) -> str:
    return f'{{"{budget.each}": "{who}"}}' if who else ""


Caps.TestCase.settings = settings(
    max_examples=int(os.environ.get("MACHINE_EXAMPLES", "15")),
    stateful_step_count=int(os.environ.get("MACHINE_STEPS", "40")),
    deadline=None,
    # Each step goes through a real database: a failure is found in a minute, and made smaller in an hour.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
TestCaps = Caps.TestCase
