"""Caps on paper: what counters must say after each act, reckoned without the code that keeps them.

Days are numbers; an instant is the day that it falls on. The rules are those of `docs/budgets.md`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

ZERO = Decimal(0)

Call = Mapping[str, str]
# The budget's number, the day (None: a fixed range) and whose it is.
Key = tuple[int, int | None, str]


@dataclass
class Raised:
    amount: Decimal
    is_live: bool = True


@dataclass
class Budget:
    """`each`: a dimension of which every value has a counter of its own."""

    number: int
    scope: Call
    each: str | None
    is_daily: bool
    is_cap: bool
    amount: Decimal
    rollover: bool
    since: int
    raises: list[Raised] = field(default_factory=list)

    def key(self, call: Call, day: int) -> Key | None:
        if any(call.get(name) != value for name, value in self.scope.items()):
            return None
        subject = ""
        if self.each is not None:
            if self.each not in call:
                return None
            subject = call[self.each]
        if not self.is_daily:
            return self.number, None, subject
        # What was before the budget is not its own.
        return (self.number, day, subject) if day >= self.since else None

    def limit(self, rolled: Decimal) -> Decimal:
        return self.amount + rolled + sum((one.amount for one in self.raises if one.is_live), ZERO)


@dataclass
class Counter:
    budget: Budget
    limit: Decimal
    rolled: Decimal = ZERO
    spent: Decimal = ZERO
    held: Decimal = ZERO
    overrun: Decimal = ZERO
    # A raise that was in the limit has expired since.
    is_due: bool = False

    def reckon(self) -> None:
        self.limit, self.is_due = self.budget.limit(self.rolled), False
        if self.budget.is_cap:
            self.overrun += max(ZERO, self.spent + self.held - self.overrun - self.limit)


@dataclass
class Run:
    spent: Decimal = ZERO
    held: Decimal = ZERO
    overrun: Decimal = ZERO
    is_reached: bool = False


@dataclass
class Hold:
    """A reservation. `is_live`: its time is not over; `is_valid`: calls may still be granted on the lease."""

    call: Call
    run: str | None
    day: int
    granted: Decimal
    held: Decimal
    counters: set[Key]
    is_lease: bool = False
    state: str = "held"
    is_live: bool = True
    is_valid: bool = True
    is_closed: bool = False


@dataclass
class Event:
    call: Call
    day: int
    cost: Decimal
    run: str | None = None
    hold: Hold | None = None
    is_misnamed: bool = False


class Ledger:
    """`bound`: the most that one run may cost, USD."""

    def __init__(self, bound: Decimal) -> None:
        self.bound = bound
        self.today = 0
        self.budgets: dict[int, Budget] = {}
        self.counters: dict[Key, Counter] = {}
        self.runs: dict[str, Run] = {}
        self.holds: list[Hold] = []
        self.events: list[Event] = []

    # --- decisions ---

    def decide(self, call: Call, run: str | None, amount: Decimal, lease: Hold | None = None) -> list[tuple[str, int]]:
        """Why not: (code, budget's number or 0). Empty: it fits."""
        why = self._look(call, run, amount, lease)
        if why and any(hold.state == "held" and not hold.is_live for hold in self.holds):
            self.free_due()
            why = self._look(call, run, amount, lease)
        return why

    def _look(self, call: Call, run: str | None, amount: Decimal, lease: Hold | None) -> list[tuple[str, int]]:
        why = []
        if run is not None:
            tally = self.runs.setdefault(run, Run())
            over = tally.spent + tally.held + amount > self.bound
            if (over and (amount > 0 or tally.spent >= self.bound)) or tally.is_reached:
                why.append(("run_cost", 0))
        keys = self.over(call, self.today)
        self.open(keys)
        for key in keys:
            counter = self.counters[key]
            if counter.is_due:
                counter.reckon()
            if counter.budget.is_cap and counter.spent + counter.held + amount > counter.limit:
                why.append(("budget_exceeded", counter.budget.number))
        if lease is not None and (
            lease.state != "held" or lease.is_closed or not lease.is_valid or lease.counters != set(keys)
        ):
            why.append(("lease_over", 0))
        return sorted(why)

    def hold(self, call: Call, run: str | None, amount: Decimal, *, is_lease: bool = False) -> Hold:
        keys = set(self.over(call, self.today))
        hold = Hold(call, run, self.today, amount, ZERO, keys, is_lease)
        self._take(hold, amount)
        self.holds.append(hold)
        return hold

    def renew(self, lease: Hold, amount: Decimal) -> None:
        lease.granted += amount
        lease.is_live = lease.is_valid = True
        self._take(lease, amount)

    def _take(self, hold: Hold, amount: Decimal) -> None:
        hold.held += amount
        for key in hold.counters:
            self.counters[key].held += amount
        if hold.run is not None:
            self.runs.setdefault(hold.run, Run()).held += amount

    def let_go(self, hold: Hold, amount: Decimal) -> None:
        self._take(hold, -amount)

    def free(self, hold: Hold, state: str) -> None:
        self.let_go(hold, hold.held)
        hold.state = "returned" if hold.is_closed else state

    def free_due(self) -> int:
        due = [hold for hold in self.holds if hold.state == "held" and not hold.is_live]
        for hold in due:
            self.free(hold, "expired")
        return len(due)

    # --- usage ---

    def book(self, events: Iterable[Event]) -> list[str]:
        """What is odd about each event, "" where nothing is."""
        events = list(events)
        for event in events:
            if event.hold is not None:
                event.day = event.hold.day
        self.open(key for event in events for key in self.over(event.call, event.day))
        return [self._book(event) for event in events]

    def _book(self, event: Event) -> str:
        self.events.append(event)
        covered, said = self._use(event)
        for key in self.over(event.call, event.day):
            counter = self.counters[key]
            counter.spent += event.cost
            is_held = event.hold is not None and key in event.hold.counters
            counter.overrun += event.cost - (covered if is_held else ZERO)
        if event.run is not None:
            run = self.runs.setdefault(event.run, Run())
            run.spent += event.cost
            run.overrun += event.cost - (covered if event.hold is not None and event.hold.run == event.run else ZERO)
            run.is_reached = run.is_reached or run.spent >= self.bound
        return said

    def _use(self, event: Event) -> tuple[Decimal, str]:
        """How much of the cost was held."""
        hold = event.hold
        if hold is None:
            return ZERO, ""
        if hold.is_lease:
            if dict(hold.call) != dict(event.call):
                return ZERO, "lease_dimensions"
            if hold.state != "held" or not hold.is_live:
                return ZERO, "lease_over"
            covered = min(event.cost, hold.held)
            self.let_go(hold, covered)
            return covered, ""
        if hold.state in ("settled", "released"):
            return ZERO, f"reservation_{hold.state}"
        covered = min(event.cost, hold.held) if hold.is_live else ZERO
        self.let_go(hold, hold.held)
        hold.state = "settled"
        return covered, ""

    def post(self, event: Event, *, call: Call | None = None, cost: Decimal | None = None) -> None:
        """The event under other names, or at another cost: what that adds was not held before."""
        before, after = dict(event.call), dict(event.call if call is None else call)
        now = event.cost if cost is None else cost
        net: dict[Key, Decimal] = {}
        sides = [(after, now - event.cost)] if before == after else [(before, -event.cost), (after, now)]
        for side, amount in sides:
            for key in self.over(side, event.day):
                net[key] = net.get(key, ZERO) + amount
        self.open(net)
        for key, amount in net.items():
            self.counters[key].spent += amount
            self.counters[key].overrun += max(ZERO, amount)
        event.call, event.cost = after, now

    def learn(self, names: Call) -> None:
        """Events that came under a name unknown then are under these."""
        for event in self.events:
            if event.is_misnamed:
                event.is_misnamed = False
                self.post(event, call={**event.call, **names})

    def reprice(self, rate: Decimal) -> None:
        for event in self.events:
            self.post(event, cost=event.cost * rate)

    # --- budgets ---

    def create(self, budget: Budget) -> None:
        """It begins with what is spent and held of its period."""
        self.budgets[budget.number] = budget
        keys: dict[Key, tuple[Decimal, list[Hold]]] = {}
        if budget.each is None:
            keys[budget.number, self.today if budget.is_daily else None, ""] = (ZERO, [])
        for event in self.events:
            key = budget.key(event.call, event.day)
            if key is not None:
                spent, holds = keys.get(key, (ZERO, []))
                keys[key] = (spent + event.cost, holds)
        for hold in self.holds:
            key = budget.key(hold.call, hold.day)
            if key is not None and hold.state == "held":
                spent, holds = keys.get(key, (ZERO, []))
                keys[key] = (spent, [*holds, hold])
        self.open(keys)
        for key, (spent, holds) in keys.items():
            counter = self.counters[key]
            counter.spent, counter.held = spent, sum((hold.held for hold in holds), ZERO)
            counter.overrun = max(ZERO, spent + counter.held - counter.limit)
            for hold in holds:
                hold.counters = {*hold.counters, key}

    def reckon(self, budget: Budget) -> None:
        for (number, day, _), counter in self.counters.items():
            if number == budget.number and day in (None, self.today):
                counter.reckon()

    def end_raise(self, budget: Budget, amount: Decimal) -> None:
        """The next decision notices."""
        next(one for one in budget.raises if one.is_live and one.amount == amount).is_live = False
        for (number, _, _), counter in self.counters.items():
            if number == budget.number and counter.limit > budget.limit(counter.rolled):
                counter.is_due = True

    # --- counters ---

    def over(self, call: Call, day: int) -> list[Key]:
        keys = (budget.key(call, day) for budget in self.budgets.values())
        return [key for key in keys if key is not None]

    def open(self, keys: Iterable[Key]) -> None:
        for key in sorted(set(keys) - self.counters.keys(), key=lambda key: (key[0], key[1] or 0, key[2])):
            budget = self.budgets[key[0]]
            rolled = self._rolled(budget, key)
            self.counters[key] = Counter(budget, budget.limit(rolled), rolled)

    def _rolled(self, budget: Budget, key: Key) -> Decimal:
        number, day, subject = key
        if not budget.rollover or day is None:
            return ZERO
        before = self.counters.get((number, day - 1, subject))
        if before is None:
            return budget.amount if budget.since < day else ZERO
        return max(ZERO, min(budget.amount, before.limit - before.spent - before.held))
