"""Pages of plan against actual and of month against month, made of what was compared."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from decimal import Decimal

from apps.core.periods import month_before
from apps.organizations.permissions import Permission
from apps.planner import against
from apps.planner.actuals import Actuals, RunsKnown
from apps.planner.against import Against, Compared, MonthOverMonth
from apps.planner.measures import measure
from apps.planner.models import Plan
from apps.planner.variance import Line, Variance, WorkflowUse
from apps.portal import formats
from apps.portal.access import Visit
from apps.portal.against_rows import Door, Sides, comparison_of
from apps.portal.pages import Tab
from apps.portal.pages_against import AgainstPage, Comparison

MONTHS_SHOWN = 4
FIRST_YEAR = 1971
# Lines that runs say most about, and how; the others open the spend by model.
RUNS_BEHIND: Mapping[str, tuple[dict[str, str], str]] = {
    "volume": ({}, "its runs"),
    "loops": ({"sort": "cost"}, "the dearest runs"),
    "retries": ({"with": "retries", "sort": "cost"}, "runs with retries"),
    "routing": ({"with": "escalations", "sort": "cost"}, "runs with escalations"),
    "context": ({"sort": "cost"}, "the dearest runs"),
    "output": ({"sort": "cost"}, "the dearest runs"),
    "cache": ({"sort": "cost"}, "the dearest runs"),
}
STATES: Mapping[str, tuple[str, str]] = {
    against.UNPRICED: (
        "The plan has no total",
        "No price is known for {models}, and unpriced is not zero: there is nothing to hold {month} against. Enter a"
        " price in the plan, or name another model.",
    ),
    against.NOTHING: ("Nothing planned and nothing used", "The plan says nothing of {month}, and no call came."),
}
BASES = {
    against.APPROVED: "version {version}, approved",
    against.LATER: "version {version}, which was approved after {month}",
    against.DRAFT: "version {version}, a draft that nobody approved",
}


# --- a plan ----------------------------------------------------------------------------------------------


def plan_page(visit: Visit, plan: Plan, found: Against) -> AgainstPage:
    words = {
        "month": f"{found.month:%B %Y}",
        "models": ", ".join(one.model.model for one in found.unpriced),
        "version": str(found.version),
    }
    title, says = STATES.get(found.state, ("", ""))
    here = visit.url_of("plan_against", str(plan.pk))
    cut = {"workflow": plan.workflow_slug}
    if visit.teams is not None and plan.team is not None:
        cut["team"] = plan.team.slug
    use = next(iter(found.actuals.uses), None)
    return AgainstPage(
        months=_tabs(visit, found, lambda month: f"{here}?month={month}"),
        month_label=words["month"],
        so_far=found.is_so_far,
        as_of=found.actuals.as_of,
        basis=f"Held to {BASES[found.basis].format(**words)}.",
        comparison=_compared_plan(visit, found, use, cut) if found.variance else None,
        title=title,
        says=says.format(**words),
        actual_usd=use.usd if use else Decimal(0),
        actual_url=visit.url("spend", {**cut, **_range(visit, found), "group_by": "model"}),
        whole_usd=found.month_usd,
        notes=tuple(_plan_notes(plan, found)),
        act_url=visit.url_of("plan", str(plan.pk)),
        act_label="Open the plan",
    )


def _compared_plan(visit: Visit, found: Against, use: WorkflowUse | None, cut: Mapping[str, str]) -> Comparison:
    assert found.variance is not None
    assert found.planned is not None
    both = (measure(found.planned.use), measure(use)) if use and use.models else None
    names = ("Plan so far", "Actual so far") if found.is_so_far else ("Plan", "Actual")
    return comparison_of(found.variance, Sides(*names, measures=both), _door(visit, found, cut))


def _plan_notes(plan: Plan, found: Against) -> Iterator[str]:
    if found.state == against.NOT_BEGUN:
        began = f"its launch is on {plan.launch_on:%-d %B %Y}" if plan.launch_on else "it is retired"
        yield f"The plan says nothing of this time: {began}. What was used stands as new."
    if found.state == against.NO_USAGE:
        yield f"No call of {plan.workflow_slug} came: all that was planned is unspent."
    if found.is_so_far:
        yield "The month is under way: the plan counts up to now, its runs spread evenly over the days."
    if found.planned and found.planned.beside_usd:
        beside = formats.money(found.planned.beside_usd)
        yield f"The plan has {beside} USD beside calls of models; usage shows none of that, so it is in no figure here."
    yield from _run_notes(found.runs_known(plan.workflow_slug))
    yield from _unpriced_note(found.actuals)


def _run_notes(known: RunsKnown | None) -> Iterator[str]:
    if known is None or known.basis == "runs":
        return
    share = formats.per_cent(Decimal(f"{known.named_share:.6f}"))
    if known.basis == "calls":
        yield (
            f"Only {share} of its calls name their run, so nobody knows how many runs there were: volume counts calls,"
            " and loops has no line. Send run_id with each call."
        )
    else:
        yield f"{share} of its calls name their run; the others are taken to be of runs alike."


def _unpriced_note(actuals: Actuals) -> Iterator[str]:
    if actuals.unpriced_calls:
        count = actuals.unpriced_calls
        yield (
            f"{formats.count(count)} call{'' if count == 1 else 's'} ha{'s' if count == 1 else 've'} no price and"
            f" {'is' if count == 1 else 'are'} in no figure here: unpriced is not zero."
        )


# --- months ----------------------------------------------------------------------------------------------


def months_page(visit: Visit, found: MonthOverMonth, cut: Mapping[str, str]) -> AgainstPage:
    before, month = f"{found.before_month:%B}", f"{found.month:%B}"
    if found.before_month.year != found.month.year:
        before, month = f"{before} {found.before_month.year}", f"{month} {found.month.year}"
    comparison = None
    if found.variance is not None:
        uses = [next(iter(side.uses), None) for side in (found.before, found.actuals)] if "workflow" in cut else []
        both = tuple(measure(use) for use in uses if use)
        names = (f"{before}, same days", f"{month} so far") if found.is_so_far else (before, month)
        sides = Sides(*names, measures=(both[0], both[1]) if len(both) == 2 else None)
        comparison = comparison_of(found.variance, sides, _door(visit, found, cut))
    notes = [note for known in found.actuals.runs.values() for note in _run_notes(known)] if "workflow" in cut else []
    if found.is_so_far:
        notes.insert(0, f"{month} is under way: it is compared with as much of {before}.")
    return AgainstPage(
        months=_tabs(visit, found, lambda month: visit.url("month_changes", {**cut, "month": month})),
        month_label=f"{found.month:%B %Y}",
        so_far=found.is_so_far,
        as_of=found.actuals.as_of,
        basis=f"Compared with {found.before_month:%B %Y}.",
        comparison=comparison,
        title="Nothing used in either month",
        says="What was used in one of two months, and why it cost more or less in the other, will stand here.",
        actual_usd=found.actuals.usd,
        actual_url=visit.url("spend", {**cut, **_range(visit, found), "group_by": "workflow"}),
        whole_usd=None,
        notes=(*notes, *_by_calls_note(found.variance, cut), *_unpriced_note(found.actuals)),
    )


def _by_calls_note(variance: Variance | None, cut: Mapping[str, str]) -> Iterator[str]:
    count = len(variance.by_calls) if variance and "workflow" not in cut else 0
    if count:
        yield (
            f"Of {count} workflow{'' if count == 1 else 's'} nobody knows the runs: too few calls name theirs. Volume"
            " counts calls there, and loops says nothing of them."
        )


# --- what they share -------------------------------------------------------------------------------------


def _door(visit: Visit, found: Compared, cut: Mapping[str, str]) -> Door:
    """Where a line leads: to the runs behind it, or to the spend that shows it best."""
    span = _range(visit, found)

    def door(line: Line) -> tuple[str, str]:
        if line.kind in RUNS_BEHIND and visit.may(Permission.VIEW_EVENTS):
            more, opens = RUNS_BEHIND[line.kind]
            return visit.url("runs", {**cut, **span, **more}), opens
        by = "workflow" if line.kind in ("mix", "new", "retired") else "model"
        return visit.url("spend", {**cut, **span, "group_by": by}), f"spend by {by}"

    return door


def _range(visit: Visit, found: Compared) -> dict[str, str]:
    """The local days that were compared."""
    last = found.end - timedelta(microseconds=1)
    return {"from": f"{found.month}", "to": f"{last.astimezone(visit.calendar.zone_at(last)).date()}"}


def _tabs(visit: Visit, found: Compared, url: Callable[[str], str]) -> tuple[Tab, ...]:
    """Newest first, so that what matters most is in sight where the row is too narrow for all."""
    this_month = visit.calendar.month_of(visit.at)
    shown = sorted({found.month, *(month_before(this_month, back) for back in range(MONTHS_SHOWN))}, reverse=True)
    tabs = [Tab(f"{month:%b %Y}", url(f"{month:%Y-%m}"), month == found.month) for month in shown]
    earlier = month_before(shown[-1])
    return (*tabs, Tab("Earlier", url(f"{earlier:%Y-%m}"), False)) if earlier.year >= FIRST_YEAR else tuple(tabs)
