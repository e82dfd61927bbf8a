"""How a month of statements stands, for who may close it."""

from collections.abc import Iterable
from datetime import date

from apps.organizations.permissions import Permission
from apps.portal.access import Visit
from apps.portal.pages_statements import CheckRow, MonthPanel, StepRow
from apps.reports import closing
from apps.reports.closing import MonthState
from apps.reports.models_statements import MonthStep
from apps.reports.months import CLOSING, FINAL, IN_REVIEW, OPEN, Check

CHECK_LABELS = {
    "ended": "The month is over",
    "in_order": "Earlier months are closed",
    "rate": "Its exchange rate",
    "disputes": "Its disputes are answered",
}
STEP_LABELS = {
    MonthStep.Step.REVIEW: "Review began",
    MonthStep.Step.REOPEN: "Review ended without closing",
    MonthStep.Step.FENCE: "Closed to new usage",
    MonthStep.Step.FAIL: "Not made final",
    MonthStep.Step.SEAL: "Made final",
}


def month_panel(visit: Visit, month: date) -> MonthPanel | None:
    """None for a month that is not over and stands as it should: there is nothing to do with it yet."""
    found = closing.month_state(visit.org, month, at=visit.at)
    if found.state == OPEN and visit.calendar.month_of(visit.at) <= month:
        return None
    return MonthPanel(
        state=found.state,
        title=_TITLES[found.state].format(month=f"{month:%B %Y}"),
        says=_says(found),
        checks=tuple(_check(visit, check) for check in found.checks),
        steps=tuple(
            StepRow(STEP_LABELS[MonthStep.Step(step.step)], step.at, step.by, step.note) for step in found.steps
        ),
        acts=tuple(_acts(visit, found)) if visit.may(Permission.MANAGE_STATEMENTS) else (),
        asks=(
            f"From then on nothing is booked in {month:%B %Y}, and its statements never change again: what comes later"
            " stands on a later month."
            if found.is_ready
            else ""
        ),
    )


_TITLES = {
    OPEN: "{month} is over and still open",
    IN_REVIEW: "{month} is in review",
    CLOSING: "{month} is closing",
    FINAL: "{month} is final",
}


def _says(found: MonthState) -> str:
    match found.state:
        case "open":
            return "Its statements are drafts: they follow what arrives late and what is corrected."
        case "in_review":
            return "Its statements are drafts that people look over before they become final."
        case "closing":
            failed = next((step for step in found.steps if step.step == MonthStep.Step.FAIL), None)
            why = f" The last try failed: {failed.note}" if failed else ""
            return f"Nothing is booked in it any more. It becomes final once its sums are proved.{why}"
        case _:
            return "Its statements are numbered, hashed and stored. Nothing changes them, no later price either."


def _check(visit: Visit, check: Check) -> CheckRow:
    ways = {"rate": "chargeback", "ended": "chargeback", "disputes": "disputes"}
    url = visit.url(ways[check.code]) if check.code in ways and not check.holds else ""
    return CheckRow(CHECK_LABELS.get(check.code, check.code), check.holds, check.detail, url)


def _acts(visit: Visit, found: MonthState) -> Iterable[tuple[str, str, bool]]:
    month = f"{found.month:%Y-%m}"
    if found.state == OPEN:
        yield visit.url_of("month_act", month, "review"), "Begin the review", not found.is_ready
    if found.state == IN_REVIEW:
        yield visit.url_of("month_act", month, "reopen"), "End the review", False
    if found.is_ready:
        yield visit.url_of("month_act", month, "close"), f"Close {found.month:%B %Y}", True
