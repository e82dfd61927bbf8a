"""Crossings as rows of a page: what happened, in which period, and what became of it at each channel."""

from datetime import datetime
from typing import Any

from apps.alerts.models import Delivery
from apps.alerts.selectors import Told
from apps.alerts.services import KEPT
from apps.budgets.models import Crossing
from apps.portal.access import Visit
from apps.portal.budget_chart import period_label
from apps.portal.budget_words import crossing_words
from apps.portal.pages_budgets import CrossingRow, State, ToldRow

BADGES = {"info": "", "warning": "risk", "critical": "bad"}
STATES = {
    "pending": State("waiting", "open", "Due now, or waits for its next try."),
    "held": State("held", "open", "Waits for its digest, or for the end of quiet hours."),
    "sending": State("being sent", "open", "A try is under way."),
    "sent": State("sent", "", "The receiver took it."),
    "failed": State("failed", "bad", "It is not tried again by itself: the log says why."),
}


def crossing_row(visit: Visit, row: Crossing, told: Told) -> CrossingRow:
    deliveries = told.deliveries.get(row.crossing_id, ())
    untold, untold_url = ("", "") if deliveries else _untold(visit, row, told)
    return CrossingRow(
        at=row.crossed_at,
        what=crossing_words(row),
        url=visit.url_below("runs", row.run_id) if row.kind == Crossing.Kind.RUN_BOUND and row.run_id else "",
        period=_period_words(visit, row),
        badge=BADGES[row.severity],
        told=tuple(_told(visit, one, told.channels[one.channel_id]) for one in deliveries),
        untold=untold,
        untold_url=untold_url,
    )


def crossing_start(row: Crossing) -> datetime:
    """When the period began that a crossing is about; where it is about none, when it happened."""
    facts: dict[str, Any] = row.facts
    return datetime.fromisoformat(facts["period_start"]) if "period_start" in facts else row.crossed_at


def _period_words(visit: Visit, row: Crossing) -> str:
    """ "" where it is about no period."""
    if "period_start" not in row.facts:
        return ""
    start, end = crossing_start(row), datetime.fromisoformat(row.facts["period_end"])
    return period_label(start, end, visit.calendar.zone_at(start))


def _told(visit: Visit, one: Delivery, channel: str) -> ToldRow:
    return ToldRow(
        channel=channel,
        state=STATES[one.state],
        at=one.sent_at or (one.next_attempt_at if one.state in ("pending", "held") else None),
        url=visit.url("deliveries", {"crossing": str(one.crossing_id)}),
    )


def _untold(visit: Visit, row: Crossing, told: Told) -> tuple[str, str]:
    """Why nobody is listed, and where that is changed."""
    channels = visit.url("alerts")
    if row.dispatched_at is not None and row.dispatched_at < visit.at - KEPT:
        return f"The log goes back {KEPT.days} days", ""
    if row.dispatched_at is not None:
        return "Nobody: no channel was told of it", channels
    return ("Waiting to be sent", "") if told.has_active else ("Nobody: there is no channel", channels)
