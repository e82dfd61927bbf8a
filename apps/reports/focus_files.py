"""FOCUS files of an organization's usage: which days and months can be asked for, and the file itself."""

from contextlib import closing
from datetime import datetime
from itertools import islice
from typing import IO, NamedTuple

from apps.core.errors import DomainError
from apps.core.periods import Calendar
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar
from apps.pricing.selectors import load_rate_book
from apps.reports import dimensions, focus, focus_sql
from apps.reports.meter_costs import Rates
from apps.reports.selectors import SpendQuestion, check_question
from apps.teams.models import Team

ROWS_MAX = 1_000_000


class Written(NamedTuple):
    """How many rows a file has, and how many calls are in none of them, since nobody knows their price."""

    rows: int
    unpriced_events: int


def extent(org: Organization, question: SpendQuestion) -> focus_sql.Extent:
    """Raises `DomainError`: `not_a_day`, `not_a_month`, `range_empty`, `dimension_unknown`, `basis_unknown`."""
    with tenant(org):
        return focus_sql.extent(org.pk, _wanted(question, calendar(org)))


def write(org: Organization, question: SpendQuestion, out: IO[bytes]) -> Written:
    """The rows of the question as CSV. Raises as `extent` does, and `too_many_rows` above `ROWS_MAX`."""
    with tenant(org, repeatable_read=True):
        clock = calendar(org)
        wanted = _wanted(question, clock)
        unpriced_events = focus_sql.extent(org.pk, wanted).unpriced_events
        account = focus.Account(
            id=org.slug,
            name=org.name,
            clock=clock,
            rates=Rates(load_rate_book(org)),
            teams=dict(Team.objects.for_org(org).values_list("slug", "name")),
        )
        # A cursor that is left open would be closed after its transaction, in one of nobody's.
        with closing(focus_sql.calls(org.pk, wanted)) as calls:
            found = focus.rows(calls, account, unpriced_events=unpriced_events)
            number = focus.write(islice(found, ROWS_MAX), out)
            if next(found, None) is not None:
                raise DomainError("too_many_rows", f"It has more than {ROWS_MAX} rows: filter, or ask for fewer days.")
    return Written(number, unpriced_events)


def _wanted(question: SpendQuestion, clock: Calendar) -> focus_sql.Wanted:
    check_question(question, clock)
    for name in (*question.filters, *question.excluded):
        if name not in dimensions.SPEND:
            known = ", ".join(sorted(dimensions.SPEND))
            raise DomainError(
                "dimension_unknown",
                f"A FOCUS file is cut by what rollups hold, and '{name[:64]}' is not: use {known}.",
                param=name[:64],
            )
    if question.basis == "booked":
        return focus_sql.Wanted(
            months=(clock.month_of(question.start), clock.month_of(question.end)),
            filters=question.filters,
            excluded=question.excluded,
        )
    for name, at in (("from", question.start), ("to", question.end)):
        _require_day(name, at, clock)
    return focus_sql.Wanted(days=(question.start, question.end), filters=question.filters, excluded=question.excluded)


def _require_day(name: str, at: datetime, clock: Calendar) -> None:
    day = clock.day(at)
    if day != at:
        raise DomainError(
            "not_a_day",
            f"A FOCUS file is of whole days: {name} begins a day in the organization's zone, such as"
            f" {day.isoformat()}.",
            param=name,
        )
