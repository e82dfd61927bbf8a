"""Drafts: the documents of a month, computed from what is booked in it.

    usage, late usage, unpriced    sums of what is booked, by project, workflow, provider and model
    throughput, seats,             what contracts add and take off, and what pools share out
    grants, credits, shares
    adjustments                    what finance booked
    amounts                        each line's cost_usd x the month's rate, rounded once

One snapshot: what is taken off is taken off the very usage that is shown.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

import msgspec

from apps.core.errors import DomainError
from apps.core.meters import METERS
from apps.core.money import sum_usd, usd_from_pico, usd_text
from apps.core.periods import Calendar, next_month
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar
from apps.pricing.contracts import Term
from apps.pricing.selectors import load_terms
from apps.reports import months, statements_sql, summaries
from apps.reports.allocation import drivers_of, pools_of
from apps.reports.chargeback import ContractLine, Share, allocate, in_currency
from apps.reports.contract_lines import ContractCost, contract_costs
from apps.reports.currencies import converted, decimals_of
from apps.reports.disputes import notes_of
from apps.reports.document import (
    ADJUSTMENT_KINDS,
    CREDIT_KINDS,
    FEE_KINDS,
    FORMAT,
    KINDS,
    SHARED_KINDS,
    USAGE_KINDS,
    DisputeNote,
    Document,
    Line,
    MeterCost,
    Rate,
    usd,
)
from apps.reports.meter_lines import costs_by_meter
from apps.reports.models_statements import Adjustment
from apps.reports.months import Money
from apps.reports.statements_sql import BookedUsage
from apps.reports.summaries import Summaries
from apps.teams.models import Team

LINES_MAX = 200_000
_STATUS = {months.OPEN: "draft"}

Lines = dict[str | None, list[Line]]


@dataclass(frozen=True, slots=True)
class Month:
    """What all documents of a month have in common."""

    org: Organization
    month: date
    clock: Calendar
    status: str
    money: Money
    as_of: datetime
    teams: Mapping[str, Team]
    summaries: Summaries
    meters: Mapping[str | None, list[MeterCost]]
    disputes: Mapping[str | None, list[DisputeNote]]


def drafts(org: Organization, month: date, *, at: datetime, team: str | None = None) -> list[Document]:
    """A document for each team with a line in the month, by name, the one of no team last.

    `team` restricts to one; "" is the one of no team. Raises `DomainError` (`too_many_lines`) above `LINES_MAX` lines,
    or `contract_lines.DAYS_MAX` days of usage that grants and credits are drawn by.
    """
    with tenant(org, repeatable_read=True):
        return draft_documents(org, month, at=at, team=team)


def draft_documents(org: Organization, month: date, *, at: datetime, team: str | None = None) -> list[Document]:
    """`drafts`, in the caller's snapshot."""
    clock = calendar(org)
    as_of, usage = statements_sql.booked_usage(org.pk, month, clock.month_start(month), team=team, limit=LINES_MAX + 1)
    if len(usage) > LINES_MAX:
        raise DomainError("too_many_lines", f"The month has more than {LINES_MAX} lines.", param="month")
    money, terms = months.money_of(org, month), load_terms(org)
    beside = (*contract_lines(org, month, clock, money, terms), *_adjustment_lines(org, month))
    lines: Lines = defaultdict(list)
    for line in (*_usage_lines(usage, clock), *beside):
        if team is None or team == (line.team or ""):
            lines[line.team].append(line)
    shown = Month(
        org=org,
        month=month,
        clock=clock,
        status=_status(months.state_of(org, month)),
        money=money,
        as_of=as_of,
        teams=_teams(org, lines),
        summaries=summaries.load(org, month, clock, at=at, team=team),
        meters=costs_by_meter(org, month, terms, team=team),
        disputes=notes_of(org, month),
    )
    return [_document(shown, owner, lines[owner]) for owner in sorted(lines, key=lambda one: (one is None, one or ""))]


def _status(state: str) -> str:
    return _STATUS.get(state, state)


def _teams(org: Organization, lines: Lines) -> dict[str, Team]:
    teams = Team.objects.for_org(org).filter(slug__in=[slug for slug in lines if slug is not None])
    return {team.slug: team for team in teams}


# --- lines ----------------------------------------------------------------------------------------------


def _usage_lines(usage: Iterable[BookedUsage], clock: Calendar) -> Iterator[Line]:
    """A line a group; the days of late usage are summed up by their month."""
    late: dict[tuple[object, ...], list[BookedUsage]] = defaultdict(list)
    for group in usage:
        if not any((group.events, group.cost_usd, *group.meters)):
            continue
        if group.day is None:
            yield _usage_line(_usage_kind(group), None, [group])
        else:
            key = (clock.month_of(group.day), *group[1:6], group.priced)
            late[key].append(group)
    for (month, *_), groups in late.items():
        kind = "late" if groups[0].priced else "unpriced"
        yield _usage_line(kind, f"{month:%Y-%m}", groups)


def _usage_kind(group: BookedUsage) -> str:
    return "unpriced" if not group.priced else "usage" if group.team is not None else "unattributed"


def _usage_line(kind: str, of_month: str | None, groups: Sequence[BookedUsage]) -> Line:
    quantities = [sum(of_meter) for of_meter in zip(*(group.meters for group in groups), strict=True)]
    first = groups[0]
    return Line(
        kind=kind,
        team=first.team,
        project=first.project,
        workflow=first.workflow,
        provider=first.provider,
        model=first.model,
        of_month=of_month,
        events=sum(group.events for group in groups),
        unpriced_events=sum(group.unpriced_events for group in groups),
        meters={meter: quantity for meter, quantity in zip(METERS, quantities, strict=True) if quantity},
        cost_usd=None if kind == "unpriced" else usd_text(sum_usd(group.cost_usd for group in groups)),
    )


def contract_lines(
    org: Organization, month: date, clock: Calendar, money: Money, terms: Sequence[Term]
) -> Iterator[Line]:
    """Lines of contracts, and the shares of pools, which stand for the lines of the contracts that they share.

    Inside `tenant(org)`.
    """
    costs = list(contract_costs(org, terms, month, clock))
    pools = pools_of(org, month)
    if not pools:
        yield from map(_contract_line, costs)
        return
    given = [ContractLine(cost.term.id, cost.term.kind, cost.team, cost.cost_pico) for cost in costs]
    allocated = allocate(pools, drivers_of(org, month, pools), given)
    yield from (_contract_line(cost) for cost in costs if cost.term.id not in allocated.replaced)
    names = {pool.id: pool.name for pool in pools}
    amounts: Sequence[Decimal | None] = [None] * len(allocated.shares)
    if money.rate is not None:
        amounts = in_currency(allocated.shares, money.rate, decimals_of(money.currency) or 0)
    for share, amount in zip(allocated.shares, amounts, strict=True):
        yield _share_line(share, names[share.pool_id], amount)


def _contract_line(cost: ContractCost) -> Line:
    return Line(
        kind=cost.term.kind,
        team=cost.team,
        provider=cost.term.provider,
        model=cost.term.model,
        name=cost.term.name,
        cost_usd=usd_text(usd_from_pico(cost.cost_pico)),
        source=f"contract:{cost.term.id}",
    )


def _share_line(share: Share, name: str, amount: Decimal | None) -> Line:
    """Its amount comes with it: parts add up to their pool in the currency too."""
    return Line(
        kind=share.kind,
        team=share.team,
        name=name,
        cost_usd=usd_text(usd_from_pico(share.pico)),
        amount=None if amount is None else f"{amount:f}",
        driver=share.driver_text,
        share=share.share_text,
        source=share.source,
    )


def _adjustment_lines(org: Organization, month: date) -> Iterator[Line]:
    for row in Adjustment.objects.for_org(org).filter(booked_month=month).order_by("id"):
        yield Line(
            kind=row.kind,
            team=row.team,
            provider=row.provider,
            model=row.model,
            name=row.name,
            of_month=f"{row.of_month:%Y-%m}",
            cost_usd=usd_text(row.cost_usd),
            driver=row.reason,
            source=f"adjustment:{row.pk}",
            refers_to=row.refers_to,
        )


# --- documents ------------------------------------------------------------------------------------------


def _document(shown: Month, team: str | None, lines: Sequence[Line]) -> Document:
    money, decimals = shown.money, decimals_of(shown.money.currency) or 0
    listed = [_with_amount(line, money, decimals) for line in sorted(lines, key=_place)]
    costs = [usd(line.cost_usd) for line in listed if line.cost_usd is not None]
    total_usd = sum_usd(costs) if costs else None
    amounts = [Decimal(line.amount) for line in listed if line.amount is not None]
    total = None if money.rate is None or not costs else sum_usd(amounts)
    usage_usd = _sum(listed, USAGE_KINDS)
    known = shown.teams.get(team or "")
    start, end = (shown.clock.month_start(month) for month in (shown.month, next_month(shown.month)))
    return Document(
        format=FORMAT,
        id=f"{shown.month:%Y-%m}:{team or ''}",
        number=None,
        organization=shown.org.slug,
        organization_name=shown.org.name,
        month=f"{shown.month:%Y-%m}",
        timezone=str(shown.clock.zone_at(start)),
        period_start=start,
        period_end=end,
        team=team,
        team_name=None if team is None else known.name if known else team,
        cost_centre=known.cost_centre or None if known else None,
        status=shown.status,
        currency=money.currency,
        decimals=decimals,
        rate=None if money.rate is None else Rate(format(money.rate.normalize(), "f"), money.source),
        as_of=shown.as_of,
        events=sum(line.events for line in listed),
        unpriced_events=sum(line.unpriced_events for line in listed),
        usage_usd=_text(usage_usd),
        fees_usd=_text(_sum(listed, FEE_KINDS)),
        credits_usd=_text(_sum(listed, CREDIT_KINDS)),
        shared_usd=_text(_sum(listed, SHARED_KINDS)),
        adjustments_usd=_text(_sum(listed, ADJUSTMENT_KINDS)),
        total_usd=usd_text(total_usd),
        total=None if total is None else f"{total:.{decimals}f}",
        summary=shown.summaries.of(team, usage_usd=usage_usd, total_usd=total_usd),
        lines=listed,
        by_meter=shown.meters.get(team, []),
        disputes=shown.disputes.get(team, []),
    )


def _place(line: Line) -> tuple[object, ...]:
    """Where a line stands: by kind, then by name, what has no name last."""
    names = ((name is None, name or "") for name in (line.project, line.workflow, line.provider, line.model))
    return KINDS.index(line.kind), line.of_month or "", *names, line.name, line.source


def _with_amount(line: Line, money: Money, decimals: int) -> Line:
    if line.cost_usd is None or line.amount is not None or money.rate is None:
        return line
    return msgspec.structs.replace(line, amount=f"{converted(usd(line.cost_usd), money.rate, decimals):f}")


def _sum(lines: Iterable[Line], kinds: Sequence[str]) -> Decimal:
    return sum_usd(usd(line.cost_usd) for line in lines if line.kind in kinds)


def _text(amount: Decimal) -> str:
    text = usd_text(amount)
    assert text is not None
    return text
