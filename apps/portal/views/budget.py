"""One budget: its period drawn, past periods, whose limits, raises and who was told what; raises asked and decided."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from operator import itemgetter

from django.http import HttpResponse, HttpResponseRedirect

from apps.alerts.selectors import told_of
from apps.alerts.tasks import hint_tell
from apps.budgets import services
from apps.budgets.ahead import with_forecasts
from apps.budgets.forecast import reaches_at, state_of
from apps.budgets.models import Budget, Counter, Raise
from apps.budgets.outlook import Past, Standing, past_periods, spend_series, standings, subjects_of, unit_of
from apps.budgets.selectors import find_crossings, list_raises
from apps.core.errors import DomainError, NotFound
from apps.core.money import sum_usd
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.portal import formats
from apps.portal.access import Visit, organization_page
from apps.portal.budget_chart import Burn, burn
from apps.portal.budget_pictures import PastPicture, pictures
from apps.portal.budget_words import MODES, PERIODS, meter, state_words, subject_words
from apps.portal.filters import names_of_keys
from apps.portal.pages import Crumb
from apps.portal.pages_budgets import BudgetForecast, BudgetPage, RaiseRow, State, SubjectRow
from apps.portal.pages_prices import FormError
from apps.portal.told import crossing_row, crossing_start
from apps.portal.views.budgets import budget_url, resets_at, scope_words, spend_url, whose

RAISES_SHOWN = 20
# Of the current period; and of all of which the earlier ones are shown below.
CROSSINGS_SHOWN = 25
CROSSINGS_READ = 100
RAISE_STATES = {
    "asked": State("asked", "open", "Waits for somebody who may approve it."),
    "approved": State("approved", "", "Part of the limit until it expires."),
    "refused": State("refused", "", "Not part of the limit."),
}
EXPIRED = State("expired", "", "Was part of the limit until it expired.")


@organization_page(section="budgets", permission=Permission.VIEW_SPEND, writes=Permission.VIEW_SPEND)
def budget(visit: Visit, budget_id: int) -> HttpResponse:
    """The page; a form of it asks for a raise, which one who may approve it gets at once."""
    given, error = _raise_given(visit), None
    if visit.request.method == "POST":
        try:
            _ask(visit, budget_id, given)
            return HttpResponseRedirect(budget_url(visit, budget_id))
        except DomainError as wrong:
            error = FormError.of(wrong)
    page = _page(visit, budget_id, given, error)
    frame = visit.frame(page.name, Crumb("Budgets", visit.url("budgets")), Crumb(page.name))
    return visit.render("portal/budget.html", frame=frame, budget=page, error=error)


def _raise_given(visit: Visit) -> dict[str, str]:
    tomorrow = (visit.at + timedelta(days=1)).astimezone(visit.calendar.zone_at(visit.at)).date().isoformat()
    defaults = {"amount_usd": "", "until": tomorrow, "reason": ""}
    return {name: str(visit.request.POST.get(name, value))[:600] for name, value in defaults.items()}


def _ask(visit: Visit, budget_id: int, given: Mapping[str, str]) -> None:
    last = visit.day_start(given["until"])
    if last is None:
        raise DomainError(
            "expires_at_invalid", f"'{given['until'][:64]}' is no day: write it as 2026-11-30.", param="until"
        )
    services.ask_raise(
        org=visit.org,
        budget_id=budget_id,
        amount_usd=given["amount_usd"].strip(),
        expires_at=visit.calendar.day(last + timedelta(hours=30)),
        reason=given["reason"],
        actor=visit.user,
        approved=visit.may(Permission.APPROVE_RAISES),
    )
    hint_tell(visit.org.pk)


@organization_page(section="budgets", permission=Permission.VIEW_SPEND, writes=Permission.APPROVE_RAISES, is_act=True)
def raise_decide(visit: Visit, raise_id: int, act: str) -> HttpResponse:
    if act not in ("approve", "refuse"):
        raise NotFound("act")
    decided = services.decide_raise(org=visit.org, raise_id=raise_id, approve=act == "approve", actor=visit.user)
    return HttpResponseRedirect(budget_url(visit, decided.budget_id))


@organization_page(section="budgets", permission=Permission.VIEW_SPEND, writes=Permission.MANAGE_BUDGETS, is_act=True)
def budget_end(visit: Visit, budget_id: int) -> HttpResponse:
    services.end_budget(org=visit.org, budget_id=budget_id, actor=visit.user)
    return HttpResponseRedirect(budget_url(visit, budget_id))


def _page(visit: Visit, budget_id: int, given: Mapping[str, str], error: FormError | None) -> BudgetPage:
    org = visit.org
    with tenant(org):
        found = services.budget_by_id(org, budget_id)
        (one,) = standings(org, visit.at, [found])
        past = past_periods(org, found, one.start)
        counters = subjects_of(org, found, one.start) if one.is_each else []
        raises = list_raises(org, found.pk, RAISES_SHOWN)
        crossings = find_crossings(org, limit=CROSSINGS_READ, budget=str(found.pk)).rows
        told = told_of(org, [row.crossing_id for row in crossings])
    (one,) = with_forecasts(org, [one], visit.calendar, visit.at)
    drawn, pictured = _drawn(visit, one, past)
    rows = [(crossing_start(row), crossing_row(visit, row, told)) for row in crossings]
    approved = [row for row in raises if row.state == "approved" and row.expires_at > visit.at]
    is_ended = found.ended_at is not None
    return BudgetPage(
        name=found.name,
        scope=scope_words(found, names_of_keys(org, found.scope)),
        mode=MODES[found.mode][0],
        mode_says=MODES[found.mode][1] + _downgrade_words(found),
        period=PERIODS[found.period],
        start=one.start,
        end=one.end,
        resets_at=resets_at(one),
        state=state_words(one.state, found.mode),
        meter=meter(one.spent_usd, one.held_usd, one.limit_usd, found.thresholds),
        limit_usd=one.limit_usd,
        base_usd=found.amount_usd,
        raised_usd=sum_usd(row.amount_usd for row in approved),
        spent_usd=one.spent_usd,
        held_usd=one.held_usd,
        remaining_usd=max(Decimal(0), one.limit_usd - one.spent_usd - one.held_usd),
        run_rate_usd=one.run_rate_usd,
        reaches_at=_reaches_at(visit, one),
        forecast=_forecast(one),
        overrun_usd=one.overrun_usd,
        assumed_usd=one.assumed_usd,
        unpriced_events=one.unpriced_events,
        whose=whose(one),
        is_each=one.is_each,
        is_cap=found.mode == Budget.Mode.BLOCK,
        is_ended=is_ended,
        burn=drawn,
        past=pictured,
        subjects=tuple(_subject(visit, one, row) for row in counters),
        subject_count=one.subjects,
        raises=tuple(_raise(visit, row, is_ended) for row in raises),
        crossings=tuple(row for start, row in rows if start >= one.start)[:CROSSINGS_SHOWN],
        earlier=tuple(row for start, row in sorted(rows, key=itemgetter(0), reverse=True) if start < one.start),
        spend_url=spend_url(visit, found.scope, one.start, min(one.end, visit.at)),
        edit_url=f"{budget_url(visit, found.pk)}/edit",
        end_url=f"{budget_url(visit, found.pk)}/end",
        may_change=visit.may(Permission.MANAGE_BUDGETS) and not is_ended,
        may_approve=visit.may(Permission.APPROVE_RAISES),
        raise_given=given,
        raise_error=error,
        rollover=found.rollover,
        created_by=found.created_by,
    )


def _forecast(one: Standing) -> BudgetForecast | None:
    ahead = one.ahead
    if ahead is None:
        return None
    return BudgetForecast(
        low_usd=ahead.p10_usd,
        expected_usd=ahead.p50_usd,
        high_usd=ahead.p90_usd,
        odds=formats.odds(ahead.exceeds),
        reaches_at=ahead.reaches_at,
        earliest_at=ahead.earliest_at,
    )


def _reaches_at(visit: Visit, one: Standing) -> datetime | None:
    """Of a period that is under way and of which enough has passed for a run rate."""
    if one.run_rate_usd is None or visit.at >= one.end:
        return None
    found = reaches_at(one.spent_usd, one.limit_usd, one.start, visit.at)
    return found if found is not None and found < one.end else None


def _downgrade_words(found: Budget) -> str:
    to = found.downgrade_to
    if not to:
        return ""
    if "model" in to:
        return f" They are sent to {to['provider']}/{to['model']}."
    return f" A million tokens may cost {to['input_usd']} USD of input and {to['output_usd']} USD of output at most."


def _drawn(visit: Visit, one: Standing, past: Sequence[Past]) -> tuple[Burn | None, tuple[PastPicture, ...]]:
    """The period, and the past ones, from one look at what is stored."""
    unit = unit_of(one.start, one.end)
    begin = past[0].start if past else one.start
    end = min(one.end, visit.at)
    points = spend_series(visit.org, one.budget.scope, unit, visit.calendar.start(unit, begin), end)
    if points is None:
        return None, ()
    start = visit.calendar.start(unit, one.start)
    now = [point for point in points if point.start >= start]
    zone = visit.calendar.zone_at(visit.at)
    return burn(now, one, unit, visit.calendar, visit.at), tuple(pictures(past, points, zone))


def _subject(visit: Visit, one: Standing, row: Counter) -> SubjectRow:
    state = state_of(
        one.budget.mode,
        spent_usd=row.spent_usd,
        held_usd=row.held_usd,
        limit_usd=row.limit_usd,
        rate_usd=None,
    )
    scope = {**one.budget.scope, **json.loads(row.subject)}
    return SubjectRow(
        subject=subject_words(row.subject),
        url=spend_url(visit, scope, one.start, min(one.end, visit.at)) or "",
        spent_usd=row.spent_usd,
        held_usd=row.held_usd,
        limit_usd=row.limit_usd,
        overrun_usd=row.overrun_usd,
        state=state_words(state, one.budget.mode),
        meter=meter(row.spent_usd, row.held_usd, row.limit_usd),
    )


def _raise(visit: Visit, row: Raise, is_ended: bool) -> RaiseRow:
    is_over = row.state == Raise.State.APPROVED and row.expires_at <= visit.at
    below = visit.url_below("budgets", "raises")
    return RaiseRow(
        id=row.pk,
        amount_usd=row.amount_usd,
        expires_at=row.expires_at,
        reason=row.reason,
        state=EXPIRED if is_over else RAISE_STATES[row.state],
        asked_by=row.asked_by,
        asked_at=row.asked_at,
        decided_by=row.decided_by,
        approve_url=f"{below}/{row.pk}/approve",
        refuse_url=f"{below}/{row.pk}/refuse",
        may_decide=row.state == Raise.State.ASKED and visit.may(Permission.APPROVE_RAISES) and not is_ended,
    )
