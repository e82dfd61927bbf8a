"""Shared cost of a month: the pools in force, what they are shared by, and what other pools would change.

Whoever drafts statements needs this much, all of it inside one `tenant(org, repeatable_read=True)`:

    pools = pools_of(org, month)
    uses = drivers_of(org, month, pools)                      # direct and late cost of each team, and its drivers
    allocated = chargeback.allocate(pools, uses, contract_lines_of(org, month))

Late usage and adjustments are in `TeamUse.other_pico`, so that a team that is shared is shared whole.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cache

from django.db.models import Q

from apps.core.errors import DomainError, NotFound
from apps.core.meters import METERS
from apps.core.money import pico_from_usd, usd_from_pico
from apps.core.periods import Calendar, next_month
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar
from apps.pricing.catalog import STANDARD
from apps.pricing.contracts import THROUGHPUT, Term
from apps.pricing.rating import RateBook
from apps.pricing.selectors import load_catalog, load_model_aliases, load_terms
from apps.reports import allocation_sql, chargeback
from apps.reports.adjustments import adjusted_by_team
from apps.reports.allocation_sql import COUNTED, UsedOfModel
from apps.reports.chargeback import ContractLine, Pool, Share, TeamUse
from apps.reports.contract_lines import contract_costs
from apps.reports.disputes import moved_from_nobody
from apps.reports.models_allocation import AllocationPool

MODELS_MAX = 200_000
_NOTHING = Decimal(0)


def rows_of(org: Organization, month: date) -> list[AllocationPool]:
    """The pools in force in a month, in their order. Inside `tenant(org)`."""
    in_force = Q(from_month__lte=month) & (Q(until_month__isnull=True) | Q(until_month__gt=month))
    rows = AllocationPool.objects.for_org(org).select_related("contract").filter(in_force)
    return list(rows.order_by("position"))


def row_by_id(org: Organization, pool_id: int) -> AllocationPool:
    """Inside `tenant(org)`. Raises `NotFound`."""
    row = AllocationPool.objects.for_org(org).select_related("contract").filter(pk=pool_id).first()
    if row is None:
        raise NotFound("pool")
    return row


def pools_of(org: Organization, month: date) -> list[Pool]:
    """The same as the arithmetic wants them."""
    return [pool_of(row) for row in rows_of(org, month)]


def pool_of(row: AllocationPool) -> Pool:
    return Pool(
        id=row.pk or 0,
        name=row.name,
        source=row.source,
        method=row.method,
        amount_pico=0 if row.amount_usd is None else pico_from_usd(row.amount_usd),
        team=row.team or None,
        contract_id=row.contract_id,
        to_team=row.to_team or None,
        driver=row.driver,
        base=row.base or chargeback.DIRECT_USAGE,
        percents={team: int(Decimal(text).scaleb(chargeback.PERCENT_PLACES)) for team, text in row.percents.items()},
        capacity=row.capacity,
    )


# --- what pools are shared by ----------------------------------------------------------------------------


def drivers_of(org: Organization, month: date, pools: Iterable[Pool] = ()) -> list[TeamUse]:
    """What each team used in a booked month, None what no team did; what none of the pools asks for is not counted.

    Runs are those that began in the month. Of a throughput contract only the calls count that it covers. Inside
    `tenant(org)`. Raises `DomainError` (`too_many_lines`) above `MODELS_MAX` combinations of team and model.
    """
    pools = list(pools)
    clock = calendar(org)
    begins = clock.month_start(month)
    found = {row.team: row for row in allocation_sql.used_by_team(org.pk, month, begins)}
    adjusted = adjusted_by_team(org, month)
    off_nobody = _NOTHING
    if any(pool.source == chargeback.UNATTRIBUTED for pool in pools):
        # Usage whose team a dispute found is borne by that team alone.
        off_nobody = moved_from_nobody(org, month)
    runs: dict[str | None, int] = {}
    if any(pool.driver == chargeback.RUNS for pool in pools):
        runs = allocation_sql.runs_begun(org.pk, begins, clock.month_start(next_month(month)))
    asked = {pool.contract_id for pool in pools}
    terms = [term for term in load_terms(org) if term.kind == THROUGHPUT and term.id in asked] if any(asked) else []
    covered = _covered(org, month, terms, clock)
    uses = []
    for team in sorted({*found, *adjusted, *runs, *covered}, key=lambda team: (team is None, team or "")):
        row, off_pico = found.get(team), pico_from_usd(off_nobody) if team is None else 0
        beside_pico = pico_from_usd(adjusted.get(team, _NOTHING)) + (pico_from_usd(row.late_usd) if row else 0)
        uses.append(
            TeamUse(
                team,
                direct_pico=(pico_from_usd(row.cost_usd) if row else 0) - off_pico,
                other_pico=beside_pico + off_pico,
                drivers={**_drivers(row.counts if row else ()), chargeback.RUNS: runs.get(team, 0)},
                of_contract={number: _drivers(counts) for number, counts in covered.get(team, {}).items()},
            )
        )
    return uses


def _drivers(counts: Sequence[int]) -> dict[str, int]:
    by_name = dict(zip(COUNTED, counts, strict=False))
    tokens = sum(by_name.get(meter, 0) for meter in METERS if meter.endswith("_tokens"))
    return {**by_name, chargeback.TOKENS: tokens}


def _covered(
    org: Organization, month: date, terms: Sequence[Term], clock: Calendar
) -> dict[str | None, dict[int, tuple[int, ...]]]:
    """By team and contract, the sums of the calls that a throughput contract covers, on the days it is in force."""
    covered: dict[str | None, dict[int, tuple[int, ...]]] = {}
    if not terms:
        return covered
    cuts = sorted({clock.day(term.starts_at) for term in terms} | {term.ends_at for term in terms if term.ends_at})
    rows = allocation_sql.used_by_model(org.pk, month, cuts, MODELS_MAX + 1)
    if len(rows) > MODELS_MAX:
        raise DomainError(
            "too_many_lines",
            f"The month has more than {MODELS_MAX} combinations of team and model to share throughput by.",
            param="month",
        )
    book = RateBook(load_catalog(), terms, load_model_aliases(org))
    names = cache(book.names)
    for row in rows:
        provider, _, models = names(row.provider, row.model)
        for term in terms:
            if term.covers(provider, models) and _is_in(term, row, cuts, clock):
                of_team = covered.setdefault(row.team, {})
                before = of_team.get(term.id, (0,) * len(row.counts))
                of_team[term.id] = tuple(map(int.__add__, before, row.counts))
    return covered


def _is_in(term: Term, row: UsedOfModel, cuts: Sequence[datetime], clock: Calendar) -> bool:
    """Whether a term is in force in the piece of time of a row, and in its service tier."""
    since = cuts[row.piece - 1] if row.piece else None
    return (
        since is not None
        and clock.day(term.starts_at) <= since
        and (term.ends_at is None or since < term.ends_at)
        and term.service_tier in ("", row.service_tier or STANDARD)
    )


def contract_lines_of(org: Organization, month: date) -> list[ContractLine]:
    """What contracts add to a month and take off it, before any pool. Inside `tenant(org)`."""
    return [
        ContractLine(cost.term.id, cost.term.kind, cost.team, cost.cost_pico)
        for cost in contract_costs(org, load_terms(org), month, calendar(org))
    ]


# --- what pools change -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """What something comes to by the pools in force, and by those proposed."""

    before_pico: int
    after_pico: int

    @property
    def before_usd(self) -> Decimal:
        return usd_from_pico(self.before_pico)

    @property
    def after_usd(self) -> Decimal:
        return usd_from_pico(self.after_pico)

    @property
    def difference_usd(self) -> Decimal:
        return usd_from_pico(self.after_pico - self.before_pico)


@dataclass(frozen=True, slots=True)
class Standing:
    """The pools of a month in their order, and by the id of each what it gives to whom."""

    rows: tuple[AllocationPool, ...]
    shares: Mapping[int, tuple[Share, ...]]


def standing(org: Organization, month: date) -> Standing:
    """A month's pools as they are. Raises `DomainError`: `too_many_lines`."""
    with tenant(org, repeatable_read=True):
        rows = rows_of(org, month)
        pools = [pool_of(row) for row in rows]
        shares = chargeback.allocate(pools, drivers_of(org, month, pools), contract_lines_of(org, month)).shares
    by_pool: dict[int, list[Share]] = defaultdict(list)
    for share in shares:
        by_pool[share.pool_id].append(share)
    return Standing(tuple(rows), {pool.id: tuple(by_pool[pool.id]) for pool in pools})


@dataclass(frozen=True, slots=True)
class Preview:
    """By team, None the statement without one, last. `shares` are those of the proposed pools, in their order."""

    month: date
    teams: Mapping[str | None, Change]
    shares: tuple[Share, ...]

    @property
    def total(self) -> Change:
        return Change(
            sum(change.before_pico for change in self.teams.values()),
            sum(change.after_pico for change in self.teams.values()),
        )


def preview(org: Organization, month: date, proposed: Sequence[Pool]) -> Preview:
    """What a month comes to for each team, by the pools in force and by those proposed. Changes nothing.

    Raises `DomainError`: `too_many_lines`.
    """
    with tenant(org, repeatable_read=True):
        present = pools_of(org, month)
        uses = drivers_of(org, month, [*present, *proposed])
        lines = contract_lines_of(org, month)
    allocated = chargeback.allocate(proposed, uses, lines)
    before = chargeback.totals(uses, lines, chargeback.allocate(present, uses, lines))
    after = chargeback.totals(uses, lines, allocated)
    teams = sorted({*before, *after}, key=lambda team: (team is None, team or ""))
    return Preview(month, {team: Change(before.get(team, 0), after.get(team, 0)) for team in teams}, allocated.shares)
