"""Agents that ask, spend, cancel, forget and repeat at random, and write down what budgets must say afterwards.

Each agent is a thread with dice of its own. What it writes down it knows from what it did: an event costs its tokens at
the list price, a hold covers what was granted, a hold whose time is over for a second covers nothing. The one answer
that it believes is that of a settlement at the very end of a hold, and that must be one of the two possible ones.
"""

import json
import random
import time
from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

PROVIDER, MODEL = "anthropic", "claude-sonnet-4-5"
TOKEN_USD = Decimal("0.000003")  # an input token of it
TEAMS, USERS = 3, 8
ENVIRONMENTS = ("production", "staging")
BOUNDED_WORKFLOW = "workflow-1"
LONG_SECONDS, SHORT_SECONDS, LEASE_SECONDS = 3600, 10, 5
OPEN_MAX = 40
EVENTS_AT_ONCE = 16
# How long after its end nobody doubts that a hold is over.
SURE_SECONDS = 1

# A call as budgets see it: (team's number, user's number, environment).
Place = tuple[int, int, str]
# A counter: (budget's number, whose it is).
Key = tuple[int, str]
Scope = Mapping[str, str]


def named(place: Place) -> dict[str, str]:
    team, user, environment = place
    return {
        "team": f"team-{team}", "project": f"project-{team}", "workflow": f"workflow-{team}", "user": f"user-{user}",
        "environment": environment,
    }  # fmt: skip


def keys_of(place: Place, scopes: Mapping[int, Scope]) -> list[Key]:
    """The counters that the call falls under; users are the only ones that have counters of their own."""
    call = named(place)
    return [
        (number, call["user"] if scope.get("user") == "*" else "")
        for number, scope in scopes.items()
        if all(value in ("*", call[name]) for name, value in scope.items())
    ]


class Door(Protocol):
    """The ways to the caps: HTTP, or the statements themselves."""

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer, asked for with the same ids until there is one."""


@dataclass
class Ledger:
    """What was spent where, and what of it no live hold covered. `violations`: what an answer may never say."""

    spent: dict[Place, Decimal] = field(default_factory=dict)
    overrun: dict[Key, Decimal] = field(default_factory=dict)
    done: Tally[str] = field(default_factory=Tally)
    violations: list[str] = field(default_factory=list)

    def spend(self, place: Place, cost: Decimal) -> None:
        self.spent[place] = self.spent.get(place, Decimal(0)) + cost

    def overrun_by(self, keys: Sequence[Key], amount: Decimal) -> None:
        for key in keys:
            self.overrun[key] = self.overrun.get(key, Decimal(0)) + amount

    def add(self, other: "Ledger") -> None:
        for place, cost in other.spent.items():
            self.spend(place, cost)
        for key, amount in other.overrun.items():
            self.overrun_by([key], amount)
        self.done.update(other.done)
        self.violations += other.violations


@dataclass
class Hold:
    place: Place
    request: dict[str, Any]
    reservation_id: str
    amount: Decimal
    expires: float
    left: Decimal
    used: Decimal = Decimal(0)
    # When it is settled though its time is over, if at all.
    due: float | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """An event, what of its cost is above its hold, and the counters that its hold does not hold at all."""

    event: dict[str, Any]
    place: Place
    cost: Decimal
    over: Decimal
    bare: Sequence[Key] = ()


class Agent:
    """`is_random`: it also overspends, settles late, and tells of calls that it never asked for."""

    def __init__(self, name: str, door: Door, *, is_random: bool) -> None:
        self.name, self.door, self.is_random = name, door, is_random
        self.dice = random.Random(name)
        self.number = 0
        self.holds: list[Hold] = []
        self.ending: list[Hold] = []
        self.leases: list[Hold] = []

    def work(self, acts: int, scopes: Mapping[int, Scope], caps: frozenset[int], *, is_last: bool) -> Ledger:
        """So many acts; after the last ones nothing is held that will not end by itself soon."""
        self.scopes, self.caps, self.ledger = scopes, caps, Ledger()
        while self.ledger.done.total() < acts:
            self._act()
        if is_last:
            for hold in self.holds:
                self._release(hold)
            for lease in self.leases:
                self._give_back(lease)
            self.holds, self.leases = [], []
        return self.ledger

    def _act(self) -> None:
        roll = self.dice.random()
        if roll < 0.72 or not self.holds:
            self._ask()
        elif roll < 0.77:
            self._settle(self._pop(self.holds))
        elif roll < 0.83:
            self._send(self._some_holds())
        elif roll < 0.88:
            self._release(self._pop(self.holds))
        elif roll < 0.92:
            self._extend(self.dice.choice(self.holds))
        elif roll < 0.95:
            self._repeat(self.dice.choice(self.holds))
        elif roll < 0.99 or not self.is_random:
            self._lease()
        else:
            self._send_unasked()
        self._settle_ended()

    # --- asking ---

    def _ask(self) -> None:
        is_short = self.dice.random() < 0.05
        place = self._place()
        request = {
            "request_id": self._id("request"),
            "provider": PROVIDER,
            "model": MODEL,
            **named(place),
            "estimate_usd": f"{self._amount():f}",
            "ttl_seconds": SHORT_SECONDS if is_short else LONG_SECONDS,
        }
        if self.dice.random() < 0.3:
            request["run_id"] = f"{self.name}-run-{self.number // 40}"
        hold = self._granted(self.door.post("decisions", request), request, place)
        if hold is None:
            self.ledger.done["decisions refused"] += 1
            return
        self.ledger.done["decisions granted"] += 1
        if not is_short:
            self.holds.append(hold)
        elif self.is_random and self.dice.random() < 0.6:
            hold.due = hold.expires + self.dice.choice((self.dice.uniform(-0.2, 0.1), SURE_SECONDS))
            self.ending.append(hold)
        if len(self.holds) > OPEN_MAX:
            self._settle(self._pop(self.holds))

    def _granted(self, answer: Mapping[str, Any], request: dict[str, Any], place: Place) -> Hold | None:
        if answer["decision"] == "deny":
            return None
        for budget in answer["budgets"]:
            counted = Decimal(budget["spent_usd"]) + Decimal(budget["held_usd"])
            if budget["id"] in self.caps and counted > Decimal(budget["limit_usd"]):
                self.ledger.violations.append(f"granted above a limit: {budget}")
        amount = Decimal(request.get("amount_usd") or request["estimate_usd"])
        reservation_id = answer.get("reservation_id") or answer["lease_id"]
        return Hold(place, request, reservation_id, amount, time.time() + request["ttl_seconds"], amount)

    def _repeat(self, hold: Hold) -> None:
        again = self.door.post("decisions", hold.request)
        if again.get("reservation_id") != hold.reservation_id:
            self.ledger.violations.append(f"asked twice, answered twice: {hold.request['request_id']}")
        self.ledger.done["decisions repeated"] += 1

    def _extend(self, hold: Hold) -> None:
        self.door.post(f"reservations/{hold.reservation_id}/extend", {"ttl_seconds": LONG_SECONDS})
        self.ledger.done["holds extended"] += 1

    def _release(self, hold: Hold) -> None:
        self.door.post(f"reservations/{hold.reservation_id}/release", {})
        self.ledger.done["holds released"] += 1

    # --- spending ---

    def _settle(self, hold: Hold) -> None:
        event, cost = self._event(hold.place, self._cost_of(hold.amount), hold)
        settled = self.door.post(f"reservations/{hold.reservation_id}/settle", {"event": event})
        over = max(Decimal(0), cost - hold.amount)
        if Decimal(settled["cost_usd"]) != cost or Decimal(settled["overrun_usd"]) != over:
            self.ledger.violations.append(f"settled otherwise than {cost} of {hold.amount}: {settled}")
        self._book(hold.place, cost, over)
        self.ledger.done["holds settled"] += 1

    def _some_holds(self) -> list[Told]:
        found = []
        for _ in range(min(len(self.holds), self.dice.randint(1, EVENTS_AT_ONCE))):
            hold = self._pop(self.holds)
            place = hold.place
            if self.is_random and self.dice.random() < 0.1:
                place = self._place()  # the call was made under other names than were asked for
            event, cost = self._event(place, self._cost_of(hold.amount), hold)
            bare = [key for key in self._keys(place) if key not in self._keys(hold.place)]
            found.append(Told(event, place, cost, max(Decimal(0), cost - hold.amount), bare))
        return found

    def _send(self, told: Sequence[Told]) -> None:
        self._post_events([one.event for one in told])
        for one in told:
            self.ledger.spend(one.place, one.cost)
            for key in self._keys(one.place):
                self.ledger.overrun_by([key], one.cost if key in one.bare else one.over)
            self.ledger.done["events"] += 1

    def _send_unasked(self) -> None:
        told = []
        for _ in range(self.dice.randint(1, EVENTS_AT_ONCE)):
            place = self._place()
            event, cost = self._event(place, self._cost(), None)
            told.append(Told(event, place, cost, cost))
        self._send(told)

    def _settle_ended(self) -> None:
        """Holds that are over are settled late or at the very end; most never."""
        now = time.time()
        for hold in [hold for hold in self.ending if hold.due is not None and hold.due < now]:
            self.ending.remove(hold)
            event, cost = self._event(hold.place, self._cost_of(hold.amount), hold)
            is_sure = hold.expires + SURE_SECONDS <= now
            settled = self.door.post(f"reservations/{hold.reservation_id}/settle", {"event": event})
            over = Decimal(settled["overrun_usd"])
            if over not in ({cost} if is_sure else {cost, max(Decimal(0), cost - hold.amount)}):
                self.ledger.violations.append(f"settled late otherwise than {cost}: {settled}")
            self._book(hold.place, cost, over)
            self.ledger.done["holds settled late" if over == cost else "holds settled at their end"] += 1

    def _book(self, place: Place, cost: Decimal, over: Decimal) -> None:
        self.ledger.spend(place, cost)
        self.ledger.overrun_by(self._keys(place), over)

    # --- leases ---

    def _lease(self) -> None:
        """Take a lease and use it at once: part of it, or more than all of it; then give it back, or forget it."""
        place = self._place()
        request = {
            "request_id": self._id("lease"), "provider": PROVIDER, "model": MODEL, **named(place),
            "amount_usd": f"{self._amount():f}", "ttl_seconds": LEASE_SECONDS,
        }  # fmt: skip
        lease = self._granted(self.door.post("leases", request), request, place)
        self.ledger.done["leases"] += 1
        if lease is None:
            return
        told = []
        for _ in range(self.dice.randint(0, 3)):
            most = lease.amount if self.is_random else lease.left
            event, cost = self._event(place, self._cost_of(most / 2), lease)
            covered = min(cost, lease.left)
            lease.left -= covered
            lease.used += cost
            told.append(Told(event, place, cost, cost - covered))
        if told:
            self._send(told)
        if self.dice.random() < 0.8:
            self._give_back(lease)

    def _give_back(self, lease: Hold) -> None:
        body = {"unused_usd": f"{max(Decimal(0), lease.amount - lease.used):f}"}
        self.door.post(f"leases/{lease.reservation_id}/return", body)
        self.ledger.done["leases returned"] += 1

    # --- dice ---

    def _place(self) -> Place:
        return self.dice.randrange(TEAMS), self.dice.randrange(USERS), self.dice.choice(ENVIRONMENTS)

    def _amount(self) -> Decimal:
        """Of a hold: to the last decimal."""
        return Decimal(self.dice.randrange(10**8, 4 * 10**10)) / 10**12

    def _cost(self) -> Decimal:
        return self.dice.randrange(1, 10_000) * TOKEN_USD

    def _cost_of(self, hold: Decimal) -> Decimal:
        """What a call costs for which so much was held; more than that where anything may happen."""
        if self.is_random and self.dice.random() < 0.2:
            return self._cost()
        return self.dice.randint(0, int(hold / TOKEN_USD)) * TOKEN_USD

    def _event(self, place: Place, cost: Decimal, hold: Hold | None) -> tuple[dict[str, Any], Decimal]:
        event = {
            "event_id": self._id("event"),
            "occurred_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "provider": PROVIDER,
            "model": MODEL,
            **named(place),
            "usage": {"input_tokens": int(cost / TOKEN_USD)},
        }
        if hold is not None:
            event["reservation_id"] = hold.reservation_id
            if "run_id" in hold.request:
                event["run_id"] = hold.request["run_id"]
        return event, cost

    def _post_events(self, events: Sequence[Mapping[str, Any]]) -> None:
        answer = self.door.post("events", {"events": list(events)})
        if answer["accepted"] + answer["duplicates"] != len(events):
            self.ledger.violations.append(f"events were not taken: {json.dumps(answer)[:500]}")

    def _keys(self, place: Place) -> list[Key]:
        return keys_of(place, self.scopes)

    def _pop(self, holds: list[Hold]) -> Hold:
        return holds.pop(self.dice.randrange(len(holds)))

    def _id(self, kind: str) -> str:
        self.number += 1
        return f"{self.name}-{kind}-{self.number}"
