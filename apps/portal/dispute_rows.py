"""Disputes as pages show them: in their list, on their own page and on the statement."""

from apps.portal.access import Visit
from apps.portal.pages_disputes import DisputeRow
from apps.reports.disputes import about
from apps.reports.models_disputes import Dispute


def row_of(visit: Visit, row: Dispute) -> DisputeRow:
    month = f"{row.month:%Y-%m}"
    return DisputeRow(
        id=row.pk,
        url=visit.url_of("dispute", str(row.pk)),
        about=about(row.line),
        team=row.team,
        month=month,
        statement_url=visit.url_below("statements", f"{month}:{row.team or ''}"),
        amount_usd=row.amount_usd,
        reason=row.reason,
        raised_at=row.raised_at,
        raised_by=row.raised_by,
        state=row.state,
        answer=row.answer,
        answered_at=row.answered_at,
        answered_by=row.answered_by,
        to_team=row.to_team,
        from_day=row.from_day,
        moved_usd=row.moved_usd,
        booked_month=f"{row.booked_month:%Y-%m}" if row.booked_month else "",
    )
