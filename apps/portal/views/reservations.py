"""Reservations and leases: what is held now, and what became of what was held."""

from uuid import UUID

from django.http import HttpResponse

from apps.budgets.models import Reservation
from apps.budgets.outlook_sql import holding
from apps.budgets.selectors import has_reservations, list_reservations
from apps.core.tenancy import tenant
from apps.organizations.permissions import Permission
from apps.portal.access import Visit, organization_page
from apps.portal.filters import filters_of
from apps.portal.pages import Crumb, Tab
from apps.portal.pages_budgets import ReservationRow, ReservationsPage, State

ROWS = 100
STATES = {
    "held": State("held", "open", "Money is held until it is settled, released or expires."),
    "settled": State("settled", "", "An event with its cost came."),
    "released": State("released", "", "The caller let go of it."),
    "expired": State("expired", "risk", "Nobody settled it in time; a late event is booked in full."),
    "returned": State("returned", "", "The lease was given back; what was left of it is free."),
}
# Its time is over, and the worker has not come by yet.
OVER = State("expiring", "risk", "Its time is over; what it holds is let go within 30 seconds.")


@organization_page(section="reservations", permission=Permission.VIEW_SPEND)
def reservations(visit: Visit) -> HttpResponse:
    """Held ones first, then the newest of the others."""
    query = visit.request.GET
    state = query.get("state", "") if query.get("state", "") in STATES else ""
    run = filters_of(query, ("run_id",)).get("run_id", "")
    with tenant(visit.org):
        held_now = holding(visit.org.pk, "organization", "")
        never_used = not has_reservations(visit.org)
        rows = list_reservations(visit.org, limit=ROWS, state=state, run_id=run)
    page = ReservationsPage(
        rows=tuple(_row(visit, row) for row in rows),
        states=_tabs(visit, state, run),
        hidden=(("state", state),) if state else (),
        run=run,
        live=held_now.reservations,
        live_usd=held_now.held_usd,
        leases=held_now.leases,
        most=ROWS,
        is_filtered=bool(state or run),
        never_used=never_used,
    )
    frame = visit.frame("Reservations", Crumb("Reservations"))
    return visit.render("portal/reservations.html", frame=frame, reservations=page)


def _tabs(visit: Visit, state: str, run: str) -> tuple[Tab, ...]:
    kept = {"run_id": run} if run else {}
    labels = {"": "All", **{name: words.word.capitalize() for name, words in STATES.items()}}
    return tuple(
        Tab(label, visit.url("reservations", {**kept, **({"state": name} if name else {})}), name == state)
        for name, label in labels.items()
    )


def _row(visit: Visit, row: Reservation) -> ReservationRow:
    is_over = row.state == Reservation.State.HELD and row.release_at <= visit.at
    call = row.call
    where = " / ".join(str(call[name]) for name in ("team", "project", "workflow") if call.get(name))
    model = "/".join(str(call[name]) for name in ("provider", "model") if call.get(name))
    return ReservationRow(
        id=str(UUID(str(row.reservation_id))),
        state=OVER if is_over else STATES[row.state],
        is_live=row.state == Reservation.State.HELD and not is_over,
        kind=row.kind,
        what=", ".join(part for part in (where, model) if part) or "any call",
        decided_at=row.decided_at,
        expires_at=row.expires_at,
        held_usd=row.held_usd,
        granted_usd=row.granted_usd,
        cost_usd=row.cost_usd,
        overrun_usd=row.overrun_usd,
        is_late=row.is_late,
        run_id=row.run_id,
        run_url=visit.url_below("runs", row.run_id) if row.run_id else "",
        event_url=visit.url_below("events", row.event_id) if row.event_id else "",
    )
