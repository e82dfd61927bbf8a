"""What a contract adds to a month beside the cost of calls: fees, and what grants and credits take off. Pure.

Amounts are pico-USD. In the order in which they are applied:

    throughput  amount x units for every hour in force, a part of an hour by its seconds
    seats       amount x seats a month, split over the month's days: those in force are due
    grant       taken off usage, day by day in the order of booking, until it is used up
    credit      the same with what no grant has taken

Fees are never paid by grants or credits. Of several grants, or credits, the one that ends first is used first, then
the one that started first, then the one that was entered first. It holds on every local day of which any part lies
in force. One that is monthly renews with each booked month; what is unused lapses. Within a day the teams share what is
taken off in proportion to the usage that it covers, by largest remainder: of equal ones the unattributed goes first,
then teams by name. Where corrections outweigh calls on a day, nothing is taken and nothing given back.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from apps.core.money import pico_from_usd, split
from apps.core.periods import Calendar, next_month
from apps.pricing.contracts import CREDIT, GRANT, SEATS, THROUGHPUT, Term

FEES = (THROUGHPUT, SEATS)
ALLOWANCES = (GRANT, CREDIT)
_NEVER = datetime.max.replace(tzinfo=UTC)
_HOUR = 3600


class UsageDay(NamedTuple):
    """What one team spent on one model on one day, pico-USD, in the month that it is booked in.

    `models` are the model's names in lower case: as meant by the call, and the catalog's id.
    """

    booked_month: date
    day_start: datetime
    team: str | None
    provider: str
    models: frozenset[str]
    cost_pico: int


class Drawn(NamedTuple):
    """What a grant or a credit took off a team's usage in a booked month."""

    term: Term
    booked_month: date
    team: str | None
    cost_pico: int


def fee(term: Term, month: date, clock: Calendar) -> int:
    """What a term of `FEES` costs in a local month."""
    start, end = clock.month_start(month), clock.month_start(next_month(month))
    unit = _amount(term) * term.quantity
    if term.kind == SEATS:
        days = list(clock.starts("day", start, end))
        due = split(unit, [1] * len(days))
        return sum(part for day, part in zip(days, due, strict=True) if term.is_in_force(day))
    since, until = max(start, term.starts_at), min(end, term.ends_at or _NEVER)
    seconds = max(timedelta(0), until - since) // timedelta(seconds=1)
    # Half of a pico-dollar is all that this one rounding can move.
    return unit * (seconds // _HOUR) + (2 * unit * (seconds % _HOUR) + _HOUR) // (2 * _HOUR)


def draw(
    terms: Iterable[Term], usage: Iterable[UsageDay], clock: Calendar, used: Mapping[int, int] | None = None
) -> list[Drawn]:
    """What grants and credits take off some usage, in the order of booking.

    `used` says, by term, what of those that do not renew is gone before.
    """
    allowances = sorted((term for term in terms if term.kind in ALLOWANCES), key=_order)
    first_day = {term.id: clock.day(term.starts_at) for term in allowances}
    gone = used or {}
    left: dict[tuple[int, date | None], int] = {}
    drawn: dict[tuple[int, date, str | None], int] = defaultdict(int)
    for (month, day), rows in _by_day(usage):
        open_pico = [max(row.cost_pico, 0) for row in rows]
        for term in allowances:
            if day < first_day[term.id] or (term.ends_at is not None and term.ends_at <= day):
                continue
            key = (term.id, month if term.monthly else None)
            left.setdefault(key, _amount(term) if term.monthly else max(0, _amount(term) - gone.get(term.id, 0)))
            for team, taken in _take(term, left[key], rows, open_pico).items():
                left[key] -= taken
                drawn[term.id, month, team] += taken
    by_id = {term.id: term for term in allowances}
    return [Drawn(by_id[id], month, team, pico) for (id, month, team), pico in drawn.items() if pico]


def _take(term: Term, left: int, rows: Sequence[UsageDay], open_pico: list[int]) -> dict[str | None, int]:
    """What a term with an amount left takes off one day, by team; `open_pico`, what of each row is unpaid, shrinks."""
    covered: dict[str | None, dict[int, int]] = defaultdict(dict)
    for index, row in enumerate(rows):
        if open_pico[index] and term.covers(row.provider, row.models):
            covered[row.team][index] = open_pico[index]
    due = [sum(by_row.values()) for by_row in covered.values()]
    shares = dict(zip(covered, split(min(left, sum(due)), due), strict=True))
    for team, by_row in covered.items():
        for index, part in zip(by_row, split(shares[team], list(by_row.values())), strict=True):
            open_pico[index] -= part
    return shares


def _amount(term: Term) -> int:
    return 0 if term.amount_usd is None else pico_from_usd(term.amount_usd)


def _order(term: Term) -> tuple[int, datetime, datetime, int]:
    return ALLOWANCES.index(term.kind), term.ends_at or _NEVER, term.starts_at, term.id


def _by_day(usage: Iterable[UsageDay]) -> list[tuple[tuple[date, datetime], Sequence[UsageDay]]]:
    days: dict[tuple[date, datetime], list[UsageDay]] = defaultdict(list)
    for row in usage:
        days[row.booked_month, row.day_start].append(row)
    return [
        (key, sorted(days[key], key=lambda row: (row.team or "", row.provider, sorted(row.models))))
        for key in sorted(days)
    ]
