"""The parts of a workflow's page that readings tell: what a unit costs, and its signals over time."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

from apps.insights import wording
from apps.insights.selectors import Economics, economics_of, incidents_of_workflow, series_of
from apps.insights.shared import cut_incidents
from apps.planner.selectors import versions_in_force
from apps.portal import formats
from apps.portal.access import Visit
from apps.portal.pages_signals import EconomicsPart, SignalsPart, Unit
from apps.portal.signal_chart import signal_chart
from apps.portal.signal_rows import row_of
from apps.portal.workflow_access import WITHHELD, Sight
from apps.teams.models import Workflow

DAYS = 28
SERIES_DAYS = timedelta(days=42)
INCIDENTS_SHOWN = 10


def economics(visit: Visit, workflow: Workflow, sight: Sight) -> EconomicsPart:
    """The last four weeks that are over, against the four before; of both the days that the reader may see."""
    today = visit.calendar.day(visit.at)
    length = timedelta(days=DAYS)
    since = max(today - length, sight.whole_since or today - length)
    if since >= today:
        return EconomicsPart(0, "", (), WITHHELD)
    now = economics_of(visit.org, workflow.slug, since, today)
    # A part of the four weeks before would be held against all of these.
    is_whole = sight.is_whole(today - 2 * length)
    before = economics_of(visit.org, workflow.slug, today - 2 * length, today - (length if is_whole else 2 * length))
    units = (
        _usd("Cost per run", now, before, lambda one: one.per_run_usd, f"{formats.count(now.runs)} runs"),
        _usd("Cost per success", now, before, lambda one: one.per_success_usd, _succeeded(now)),
        _figure("Loops per run", "loops_per_run", now, before, lambda one: one.loops, "calls of a run, mean"),
        _figure("Cache hits", "cache_hit_rate", now, before, lambda one: one.cache_hit, "of prompt tokens", worse=-1),
        _figure("Escalations", "escalation_rate", now, before, lambda one: one.escalation, "of runs"),
        _figure("Retries", "retry_rate", now, before, lambda one: one.retry, "of calls"),
        _figure("Prompt", "input_tokens_per_call", now, before, lambda one: one.input_tokens, "a call, mean"),
    )
    days = f"the last {round((today - since) / timedelta(days=1))} days that are over"
    return EconomicsPart(now.days, f"{days}, against the {DAYS} before" if is_whole else days, units)


def _succeeded(now: Economics) -> str:
    share = formats.per_cent(None if now.success is None else Decimal(str(now.success)))
    return f"{share} of runs with a known outcome" if now.success is not None else "no outcome is known"


def _usd(label: str, now: Economics, before: Economics, read: Callable[[Economics], Decimal | None], note: str) -> Unit:
    value, was = read(now), read(before)
    exact = formats.exact_money(value) if value is not None else ""
    shown = f"{formats.money(value)} USD" if value is not None else formats.NONE
    change, is_worse = _change(None if value is None else float(value), None if was is None else float(was), 1)
    return Unit(label, shown, exact, change, is_worse, note)


def _figure(
    label: str, signal: str, now: Economics, before: Economics, read: Callable[[Economics], float | None], note: str,
    *, worse: int = 1,
) -> Unit:  # fmt: skip
    value = read(now)
    change, is_worse = _change(value, read(before), worse)
    return Unit(label, wording.reading(signal, value), "", change, is_worse, note)


def _change(now: float | None, before: float | None, worse: int) -> tuple[str, bool | None]:
    """In percent of what was before, and whether that is worse; "" where there is nothing to compare."""
    if now is None or not before:
        return "", None
    ratio = now / before - 1
    if abs(ratio) < 0.005:
        return "no change", None
    arrow = "▲" if ratio > 0 else "▼"
    text = f"{arrow} {'+' if ratio > 0 else formats.MINUS}{abs(ratio):.0%}".replace("%", f"{formats.THIN}%")
    return text, ratio * worse > 0 if abs(ratio) >= 0.1 else None


def signals(visit: Visit, workflow: Workflow, sight: Sight) -> SignalsPart:
    """Each signal by day with what it was held against, and the incidents of these days."""
    since = visit.at - SERIES_DAYS
    zone = visit.calendar.zone_at(visit.at)
    series = series_of(visit.org, workflow.slug, since, visit.at, whole_since=sight.whole_since)
    rows = incidents_of_workflow(visit.org, workflow.slug, since, teams=sight.teams, limit=INCIDENTS_SHOWN)
    rows = cut_incidents(visit.org, visit.calendar, rows, visit.part, visit.at)
    absent = "" if series or sight.is_whole(visit.calendar.day(visit.at)) else WITHHELD
    plan = "" if absent or (series and not any(one.is_learning for one in series)) else _plan_words(visit, workflow)
    return SignalsPart(
        plan=plan,
        charts=tuple(signal_chart(one, zone) for one in series),
        incidents=tuple(row_of(visit, one) for one in rows),
        url=visit.url("signals", {"workflow": workflow.slug, "state": "", **sight.asked}),
        absent=absent,
    )


def _plan_words(visit: Visit, workflow: Workflow) -> str:
    version = versions_in_force(visit.org, [workflow.slug]).get(workflow.slug)
    if version is None:
        return "Without an approved plan, only fixed limits speak until then."
    if version.result is None:
        return "Its plan has no price for a model, so that only fixed limits speak until then."
    return "Until then, what is worse than its plan's P90 is told."
