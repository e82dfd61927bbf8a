"""Who bears shared cost: pools of cost, taken in order, and what each team gets of them. Pure.

Amounts are pico-USD, exact. The whole interface:

    allocated = allocate(pools, uses, contract_lines)
    allocated.shares     what goes onto statements: parts, and on a statement that a pool was taken from its negative
    allocated.replaced   the contracts whose own lines stand on no statement any more: their shares stand for them
    in_currency(allocated.shares, per_usd, decimals)   each share's amount, in the same order

A statement is then its usage, its contract lines but for those replaced, and its shares. Over all statements the cost
before and after is the same, but for `amount` pools, which add exactly their amount; and so it is in the currency.

Pools are taken in their order. A team whose cost is a pool gets nothing of that pool or a later one, so no cost goes
round in circles; `faults` says which pools would. The statement without a team (None) never gets a part of what is
spread and is in no base; it gets what stays central: by that method, or where every weight is 0. Parts are by largest
remainder, of equals the first by name. Negative use weighs nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import NamedTuple

from apps.core.meters import METERS
from apps.core.money import USD_PLACES, split, usd_from_pico

AMOUNT, TEAM, CONTRACT, UNATTRIBUTED = "amount", "team", "contract", "unattributed"
SOURCES = (AMOUNT, TEAM, CONTRACT, UNATTRIBUTED)
DIRECT, USAGE, PROPORTIONAL, FIXED, EVEN, CENTRAL = "direct", "usage", "proportional", "fixed", "even", "central"
METHODS = (DIRECT, USAGE, PROPORTIONAL, FIXED, EVEN, CENTRAL)
# What a proportional pool is in proportion to.
DIRECT_USAGE, DIRECT_AND_THROUGHPUT = "direct_usage", "direct_and_throughput"
BASES = (DIRECT_USAGE, DIRECT_AND_THROUGHPUT)
EVENTS, RUNS, TOKENS = "events", "runs", "tokens"
DRIVERS = (EVENTS, RUNS, TOKENS, *METERS)
SHARED, THROUGHPUT, THROUGHPUT_IDLE = "shared", "throughput", "throughput_idle"
PERCENT_PLACES = 6
HUNDRED_PERCENT = 100 * 10**PERCENT_PLACES
_SHARE = Decimal(1).scaleb(-12)
_WIDE = Context(prec=80, rounding=ROUND_HALF_EVEN)
_WORDS = {DIRECT_USAGE: "direct usage", DIRECT_AND_THROUGHPUT: "direct usage and throughput"}


@dataclass(frozen=True, slots=True)
class Pool:
    """Cost that belongs to several teams, in one month.

    `team`, `contract_id` and `amount_pico` go with the source, the others with the method: `to_team` with direct,
    `driver` with usage, `base` with proportional, `percents` (millionths of a per cent by team) with fixed.
    `capacity`, units of the driver a month, is known of throughput only.
    """

    id: int
    name: str
    source: str
    method: str
    amount_pico: int = 0
    team: str | None = None
    contract_id: int | None = None
    to_team: str | None = None
    driver: str = ""
    base: str = DIRECT_USAGE
    percents: Mapping[str, int] = field(default_factory=dict)
    capacity: int | None = None

    @property
    def named_teams(self) -> tuple[str, ...]:
        """The teams that the method names to bear it."""
        if self.method == DIRECT:
            return () if self.to_team is None else (self.to_team,)
        return tuple(self.percents) if self.method == FIXED else ()


@dataclass(frozen=True, slots=True)
class TeamUse:
    """What a team used in the month; `team` None is what no team did.

    `direct_pico` is its priced usage, of no team less what disputes moved off it; `other_pico` what else stands on its
    statement but contracts: late usage, adjustments. `drivers` counts `DRIVERS`, `of_contract` the same of the calls
    that a throughput contract covers.
    """

    team: str | None
    direct_pico: int = 0
    other_pico: int = 0
    drivers: Mapping[str, int] = field(default_factory=dict)
    of_contract: Mapping[int, Mapping[str, int]] = field(default_factory=dict)


class ContractLine(NamedTuple):
    """A line of a contract as it stands without pools; what a grant or a credit takes off is negative."""

    contract_id: int
    kind: str
    team: str | None
    pico: int


@dataclass(frozen=True, slots=True)
class Share:
    """A line of a statement. The one on a statement that a pool was taken from `is_taken`, and has no weight.

    `weight` of `whole` is in units of the driver, in pico-USD where `driver` is `DIRECT_USAGE` or
    `DIRECT_AND_THROUGHPUT`, in millionths of a per cent where it is `FIXED`.
    """

    pool_id: int
    contract_id: int | None
    kind: str
    team: str | None
    pico: int
    driver: str = ""
    weight: int = 0
    whole: int = 0
    is_taken: bool = False

    @property
    def source(self) -> str:
        """What made the line, as documents name it."""
        return f"pool:{self.pool_id}" if self.contract_id is None else f"contract:{self.contract_id}"

    @property
    def share(self) -> Decimal | None:
        """The part of the whole, to 12 decimals; None of what was taken, and of what stays central."""
        if not self.whole:
            return None
        return _WIDE.divide(self.weight, self.whole).quantize(_SHARE, context=_WIDE)

    @property
    def share_text(self) -> str | None:
        """`share` as documents write it, without idle zeros: "0.3"."""
        share = self.share
        return None if share is None else format(share.normalize(_WIDE), "f")

    @property
    def driver_text(self) -> str:
        """By what it was shared, for people: "tokens 1,200,000 of 4,000,000"."""
        if self.is_taken:
            return "shared out"
        if self.driver in (DIRECT, CENTRAL):
            return self.driver
        if self.driver == FIXED:
            return f"fixed {_percent(self.weight)} of {_percent(self.whole)} %"
        if self.driver in _WORDS:
            return f"{_WORDS[self.driver]} {_usd(self.weight)} of {_usd(self.whole)} USD"
        return f"{self.driver.replace('_', ' ')} {self.weight:,} of {self.whole:,}"


@dataclass(frozen=True, slots=True)
class Allocation:
    shares: tuple[Share, ...]
    replaced: frozenset[int]


@dataclass(frozen=True, slots=True)
class Fault:
    """A pool that cannot stand where it does, and why."""

    code: str
    pool: Pool
    detail: str


def faults(pools: Sequence[Pool]) -> Iterator[Fault]:
    """What is wrong with pools taken in this order: `pool_source_taken`, `pool_cycle`."""
    taken: dict[tuple[str, str | int | None], str] = {}
    for pool in pools:
        source = _source(pool)
        if pool.source != AMOUNT and source in taken:
            yield Fault("pool_source_taken", pool, f"'{pool.name}' shares what '{taken[source]}' shares already.")
        taken[source] = pool.name
        for team in pool.named_teams:
            if (TEAM, team) in taken:
                yield Fault(
                    "pool_cycle",
                    pool,
                    f"'{pool.name}' gives a part to team '{team}', whose own cost '{taken[TEAM, team]}' has shared by"
                    " then.",
                )


def _source(pool: Pool) -> tuple[str, str | int | None]:
    named = {TEAM: pool.team, CONTRACT: pool.contract_id, AMOUNT: pool.id}
    return pool.source, named.get(pool.source)


def allocate(pools: Sequence[Pool], uses: Iterable[TeamUse], contract_lines: Iterable[ContractLine]) -> Allocation:
    """The shares of a month's pools, in the order in which they are given; those of nothing are left out."""
    books = _Books(pools, uses, contract_lines)
    shares: list[Share] = []
    for pool in pools:
        made = [share for share in books.shares_of(pool) if share.pico]
        books.book(made)
        shares += made
    return Allocation(tuple(shares), books.replaced)


def totals(
    uses: Iterable[TeamUse], contract_lines: Iterable[ContractLine], allocated: Allocation
) -> dict[str | None, int]:
    """What each statement comes to, pico-USD."""
    found: dict[str | None, int] = defaultdict(int)
    for use in uses:
        found[use.team] += use.direct_pico + use.other_pico
    for line in contract_lines:
        if line.contract_id not in allocated.replaced:
            found[line.team] += line.pico
    for share in allocated.shares:
        found[share.team] += share.pico
    return dict(found)


class _Books:
    """What stands on the statements while pools are taken one after the other."""

    def __init__(self, pools: Iterable[Pool], uses: Iterable[TeamUse], contract_lines: Iterable[ContractLine]) -> None:
        self.uses = {use.team: use for use in uses}
        self.lines: dict[int, list[ContractLine]] = defaultdict(list)
        for line in contract_lines:
            self.lines[line.contract_id].append(line)
        asked = {pool.contract_id for pool in pools if pool.source == CONTRACT and pool.contract_id is not None}
        self.replaced = frozenset(asked & self.lines.keys())
        # Teams whose cost is a pool that was taken.
        self.gone: set[str | None] = {None}
        # What each team has beside its usage, and of that what is throughput.
        self.got: dict[str | None, int] = defaultdict(int)
        self.throughput: dict[str | None, int] = defaultdict(int)
        for contract_id in self.lines.keys() - self.replaced:
            for line in self.lines[contract_id]:
                self._add(line.team, line.kind, line.pico)

    def book(self, shares: Iterable[Share]) -> None:
        for share in shares:
            self._add(share.team, share.kind, share.pico)

    def _add(self, team: str | None, kind: str, pico: int) -> None:
        self.got[team] += pico
        if kind == THROUGHPUT:
            self.throughput[team] += pico

    def shares_of(self, pool: Pool) -> list[Share]:
        if pool.source == AMOUNT:
            return self._spread(pool, SHARED, pool.amount_pico)
        if pool.source == CONTRACT:
            lines = self.lines.get(pool.contract_id or 0, [])
            total = sum(line.pico for line in lines)
            kind = lines[0].kind if lines else SHARED
            if kind == THROUGHPUT and pool.method == USAGE and pool.capacity:
                return self._by_capacity(pool, pool.capacity, total, lines[0].team)
            return self._spread(pool, kind, total)
        if pool.source == TEAM:
            self.gone.add(pool.team)
        total = self._cost(pool)
        parts = self._spread(pool, SHARED, total)
        taken_from = pool.team if pool.source == TEAM else None
        if all(part.team == taken_from for part in parts):
            return []
        return [Share(pool.id, None, SHARED, taken_from, -total, is_taken=True), *parts]

    def _cost(self, pool: Pool) -> int:
        """All that is on a team's statement by now; of the statement without a team its usage alone."""
        if pool.source == UNATTRIBUTED:
            nobody = self.uses.get(None)
            return nobody.direct_pico if nobody else 0
        use = self.uses.get(pool.team, TeamUse(pool.team))
        return use.direct_pico + use.other_pico + self.got[pool.team]

    def _spread(self, pool: Pool, kind: str, total: int) -> list[Share]:
        return self._parts(pool, kind, total, self._weights(pool, kind))

    def _parts(self, pool: Pool, kind: str, total: int, weights: Mapping[str, int]) -> list[Share]:
        """Every weight 0: the whole, on the statement without a team."""
        if not weights:
            return [Share(pool.id, pool.contract_id, kind, None, total, CENTRAL)]
        driver = {USAGE: pool.driver, PROPORTIONAL: pool.base}.get(pool.method, pool.method)
        whole = sum(weights.values())
        picos = split_amount(total, list(weights.values()))
        return [
            Share(pool.id, pool.contract_id, kind, team, pico, driver, weight, whole)
            for (team, weight), pico in zip(weights.items(), picos, strict=True)
        ]

    def _by_capacity(self, pool: Pool, capacity: int, fee: int, place: str | None) -> list[Share]:
        """What was used of a throughput fee, and the rest in proportion to use; of no use at all, where the fee is."""
        weights = self._weights(pool, THROUGHPUT)
        used, capacity = sum(weights.values()), max(capacity, sum(weights.values()))
        if not used:
            place = None if place in self.gone else place
            return [Share(pool.id, pool.contract_id, THROUGHPUT_IDLE, place, fee, pool.driver, capacity, capacity)]
        *picos, idle = split_amount(fee, [*weights.values(), capacity - used])
        return [
            Share(pool.id, pool.contract_id, THROUGHPUT, team, pico, pool.driver, weight, capacity)
            for (team, weight), pico in zip(weights.items(), picos, strict=True)
        ] + self._parts(pool, THROUGHPUT_IDLE, idle, weights)

    def _weights(self, pool: Pool, kind: str) -> dict[str, int]:
        """The teams that bear a pool, by name, with weights above 0."""
        names = (team for team in {*self.uses, *pool.named_teams} if team is not None and team not in self.gone)
        weights = {team: self._weight(pool, kind, team) for team in sorted(names)}
        return {team: weight for team, weight in weights.items() if weight > 0}

    def _weight(self, pool: Pool, kind: str, team: str) -> int:
        use = self.uses.get(team, TeamUse(team))
        match pool.method:
            case "direct":
                return int(team == pool.to_team)
            case "fixed":
                return pool.percents.get(team, 0)
            case "even":
                return int(use.drivers.get(EVENTS, 0) > 0 or use.direct_pico != 0)
            case "usage":
                counted = use.of_contract.get(pool.contract_id or 0, {}) if kind == THROUGHPUT else use.drivers
                return counted.get(pool.driver, 0)
            case "proportional":
                return use.direct_pico + (self.throughput[team] if pool.base == DIRECT_AND_THROUGHPUT else 0)
        return 0


def split_amount(total: int, weights: Sequence[int]) -> list[int]:
    """A whole in minor units of any currency in parts that add up to it, as `split` does: a negative one too."""
    parts = split(abs(total), weights)
    return parts if total >= 0 else [-part for part in parts]


def in_currency(shares: Sequence[Share], per_usd: Decimal, decimals: int) -> list[Decimal]:
    """Each share's amount at a rate, in order: the parts of a pool add up to the pool, which is rounded once.

    A part's exact cost is its weight here: what is used and what is idle of a fee have wholes of their own, and must
    add up to the one fee.
    """
    of_pool: dict[int, list[int]] = defaultdict(list)
    for index, share in enumerate(shares):
        if not share.is_taken:
            of_pool[share.pool_id].append(index)
    minor = [0] * len(shares)
    wholes = {}
    for pool_id, indexes in of_pool.items():
        picos = [shares[index].pico for index in indexes]
        wholes[pool_id] = round(Fraction(sum(picos), 10**USD_PLACES) * Fraction(per_usd) * 10**decimals)
        for index, part in zip(indexes, split_amount(wholes[pool_id], [abs(pico) for pico in picos]), strict=True):
            minor[index] = part
    for index, share in enumerate(shares):
        if share.is_taken:
            minor[index] = -wholes[share.pool_id]
    return [_WIDE.scaleb(Decimal(amount), -decimals) for amount in minor]


def _percent(millionths: int) -> str:
    return format(Decimal(millionths).scaleb(-PERCENT_PLACES).normalize(), "f")


def _usd(pico: int) -> str:
    return f"{usd_from_pico(pico):,.2f}"
