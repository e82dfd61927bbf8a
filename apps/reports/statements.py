"""Statements: one team's month, from its usage and from what the organization's contracts add and take off."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from functools import cache

from apps.core.errors import DomainError, NotFound
from apps.core.meters import METERS
from apps.core.money import pico_from_usd, sum_usd, usd_from_pico
from apps.core.periods import Calendar, next_month
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar
from apps.pricing.commitments import ALLOWANCES, FEES, Drawn, UsageDay, draw, fee
from apps.pricing.contracts import Term
from apps.pricing.rating import RateBook
from apps.pricing.selectors import load_catalog, load_model_aliases, load_terms
from apps.reports import booked_sql
from apps.reports.selectors import COSTS, ROWS_MAX, SpendQuestion, SpendRow, Sums, spend

DAYS_MAX = 500_000
USAGE = ("usage", "unattributed", "unpriced")
_MONTH = re.compile(r"(19[89]\d|20\d\d|21\d\d)-(0[1-9]|1[0-2])")
_NOTHING = Sums(meters=dict.fromkeys(METERS, 0))


@dataclass(frozen=True, slots=True)
class StatementLine:
    """`kind` is one of `USAGE`, or throughput, seats, grant, credit: then `name` is the contract's.

    What is taken off is negative; on unpriced lines `cost_usd` is None.
    """

    kind: str
    team: str | None
    project: str | None
    workflow: str | None
    provider: str
    model: str
    sums: Sums
    name: str = ""


@dataclass(frozen=True, slots=True)
class Statement:
    """A team's month as a draft: exact, and changing until the month is closed. `team` None: unattributed."""

    month: date
    team: str | None
    status: str
    unpriced_events: int
    events: int
    lines: list[StatementLine]
    as_of: datetime

    @property
    def id(self) -> str:
        return f"{self.month:%Y-%m}:{self.team or ''}"

    @property
    def usage_usd(self) -> Decimal:
        """What calls cost; over all statements of a month, `/spend?basis=booked` of it."""
        return _sum(self.lines, USAGE)

    @property
    def fees_usd(self) -> Decimal:
        return _sum(self.lines, FEES)

    @property
    def credits_usd(self) -> Decimal:
        """What grants and credits take off, 0 or negative."""
        return _sum(self.lines, ALLOWANCES)

    @property
    def total_usd(self) -> Decimal:
        return sum_usd((self.usage_usd, self.fees_usd, self.credits_usd))


def _sum(lines: Iterable[StatementLine], kinds: Sequence[str]) -> Decimal:
    return sum_usd(line.sums.cost_usd or Decimal(0) for line in lines if line.kind in kinds)


def statements(org: Organization, month: date, *, team: str | None = None) -> list[Statement]:
    """One draft for each team with usage booked in the month or a line of a contract, and one for what is unattributed.

    `team` restricts to one statement; "" is the unattributed one. Raises `DomainError` (`too_many_lines`) above
    `ROWS_MAX` lines, or `DAYS_MAX` days of usage that grants and credits were drawn by.
    """
    # One snapshot: what is taken off is taken off the very usage that is shown.
    with tenant(org, repeatable_read=True):
        clock, terms = calendar(org), load_terms(org)
        answer = spend(org, _booked(month, clock, team))
        contract_lines = list(_contract_lines(org, terms, month, clock))
    if answer.following is not None:
        raise DomainError(
            "too_many_lines",
            f"The month has more than {ROWS_MAX} lines: ask for one team with team=.",
            param="month",
        )
    by_team: dict[str | None, list[StatementLine]] = {}
    for row in answer.rows:
        line = _line(row)
        if any((line.sums.events, line.sums.cost_usd, *line.sums.meters.values())):
            by_team.setdefault(line.team, []).append(line)
    for line in contract_lines:
        if team is None or team == (line.team or ""):
            by_team.setdefault(line.team, []).append(line)
    return [
        Statement(
            month=month,
            team=name,
            status="draft",
            unpriced_events=sum(line.sums.unpriced_events for line in lines),
            events=sum(line.sums.events for line in lines),
            lines=lines,
            as_of=answer.as_of,
        )
        for name, lines in sorted(by_team.items(), key=lambda pair: (pair[0] is None, pair[0] or ""))
    ]


@dataclass(frozen=True, slots=True)
class MonthTotal:
    """What a month's statements come to, unattributed spend included. `total_usd` None: nothing of it has a price."""

    month: date
    statements: int
    events: int
    unpriced_events: int
    unattributed_usd: Decimal | None
    unattributed_events: int
    total_usd: Decimal | None


def month_total(org: Organization, month: date) -> MonthTotal:
    """The sums of `statements`, without their lines and whatever their number.

    Raises `DomainError` (`too_many_lines`) as `statements` does for grants and credits.
    """
    with tenant(org, repeatable_read=True):
        clock, terms = calendar(org), load_terms(org)
        asked = replace(_booked(month, clock, None), group_by=("team",), measures=COSTS)
        answer = spend(org, asked)
        contract_lines = list(_contract_lines(org, terms, month, clock))
    nobody = next((row.sums for row in answer.rows if row.groups == (None,)), Sums())
    costs = [line.sums.cost_usd or Decimal(0) for line in contract_lines]
    usage = answer.total.cost_usd
    teams = {row.groups[0] for row in answer.rows} | {line.team for line in contract_lines}
    return MonthTotal(
        month=month,
        statements=len(teams),
        events=answer.total.events,
        unpriced_events=answer.total.unpriced_events,
        unattributed_usd=nobody.cost_usd,
        unattributed_events=nobody.events,
        total_usd=None if usage is None and not costs else sum_usd([usage or Decimal(0), *costs]),
    )


def _booked(month: date, clock: Calendar, team: str | None) -> SpendQuestion:
    return SpendQuestion(
        start=clock.month_start(month),
        end=clock.month_start(next_month(month)),
        group_by=("team", "project", "workflow", "provider", "model", "priced"),
        filters={} if team is None else {"team": team},
        basis="booked",
        limit=ROWS_MAX,
    )


def parse_month(text: str) -> date:
    """The month that YYYY-MM says. Raises `DomainError` (`month_invalid`)."""
    found = _MONTH.fullmatch(text)
    if not found:
        raise DomainError("month_invalid", f"month is '{text[:64]}': write it as YYYY-MM.", param="month")
    return date(int(found[1]), int(found[2]), 1)


def statement_by_id(org: Organization, statement_id: str) -> Statement:
    """The statement that an id of ours names. Raises `NotFound`."""
    month_text, colon, team = statement_id.partition(":")
    try:
        month = parse_month(month_text)
    except DomainError:
        raise NotFound("statement") from None
    # Postgres knows no text with a NUL in it.
    found = statements(org, month, team=team) if colon and "\0" not in team else []
    if not found:
        raise NotFound("statement")
    return found[0]


def _line(row: SpendRow) -> StatementLine:
    team, project, workflow, provider, model, priced = row.groups
    kind = "unpriced" if priced == "false" else "usage" if team is not None else "unattributed"
    return StatementLine(kind, team, project, workflow, provider or "", model or "", row.sums)


# --- contracts -----------------------------------------------------------------------------------------


def _contract_lines(org: Organization, terms: Sequence[Term], month: date, clock: Calendar) -> Iterator[StatementLine]:
    for term in sorted((term for term in terms if term.kind in FEES), key=lambda term: (term.kind, term.id)):
        if due := fee(term, month, clock):
            yield _contract_line(term, term.team, due)
    for drawn in drawn_until(org, terms, month, clock):
        if drawn.booked_month == month:
            yield _contract_line(drawn.term, drawn.team, -drawn.cost_pico)


def _contract_line(term: Term, team: str | None, pico: int) -> StatementLine:
    sums = replace(_NOTHING, cost_usd=usd_from_pico(pico))
    return StatementLine(term.kind, team, None, None, term.provider, term.model, sums, term.name)


def drawn_until(org: Organization, terms: Sequence[Term], month: date, clock: Calendar) -> list[Drawn]:
    """What grants and credits took off the usage booked up to a month, it included. Inside `tenant(org)`.

    Raises `DomainError` (`too_many_lines`) above `DAYS_MAX` days of usage by team, and by model where a term names one.
    """
    allowances = [term for term in terms if term.kind in ALLOWANCES]
    if not allowances:
        return []
    first = min(clock.month_of(term.starts_at) for term in allowances)
    if first > month:
        return []
    by_model = any(term.provider or term.model for term in allowances)
    rows = booked_sql.usage_by_day(org.pk, first, month, by_model=by_model, limit=DAYS_MAX + 1)
    if len(rows) > DAYS_MAX:
        raise DomainError(
            "too_many_lines",
            f"Grants and credits since {first:%Y-%m} meet more than {DAYS_MAX} days of usage by team and model:"
            " ask for an earlier month.",
            param="month",
        )
    meant = _meant(org, terms) if by_model else _as_sent
    return draw(
        allowances,
        [UsageDay(*row[:3], *meant(*row[3:5]), pico_from_usd(row[5])) for row in rows],
        clock,
    )


def _as_sent(provider: str, model: str) -> tuple[str, frozenset[str]]:
    return provider, frozenset((model.lower(),))


def _meant(org: Organization, terms: Sequence[Term]) -> Callable[[str, str], tuple[str, frozenset[str]]]:
    """The provider and names by which a grant or credit covers usage: those by which a price would."""
    book = RateBook(load_catalog(), terms, load_model_aliases(org))

    @cache
    def names(provider: str, model: str) -> tuple[str, frozenset[str]]:
        provider, _, found = book.names(provider, model)
        return provider, found

    return names


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much of a grant or a credit is used and left; of a monthly one, of this month."""

    used_usd: Decimal
    left_usd: Decimal


def allowances(org: Organization, month: date) -> Mapping[int, Allowance]:
    """Of every grant and credit, by the number of its contract, as of a month."""
    with tenant(org):
        clock, terms = calendar(org), load_terms(org)
        all_drawn = drawn_until(org, terms, month, clock)
    used: dict[int, int] = defaultdict(int)
    for drawn in all_drawn:
        if not drawn.term.monthly or drawn.booked_month == month:
            used[drawn.term.id] += drawn.cost_pico
    return {
        term.id: Allowance(usd_from_pico(used[term.id]), usd_from_pico(pico_from_usd(term.amount_usd) - used[term.id]))
        for term in terms
        if term.kind in ALLOWANCES and term.amount_usd is not None
    }
