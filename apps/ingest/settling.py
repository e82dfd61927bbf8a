"""Settling a reservation: its one usage event takes the road of every event, and closes the hold on the way."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from apps.budgets.decisions import closed, reservation_of
from apps.budgets.models import Reservation
from apps.core.errors import DomainError
from apps.ingest.asking import read
from apps.ingest.body import RawEvent
from apps.ingest.record import Rejection, read_event
from apps.ingest.services import accept_batch, window_for
from apps.organizations.selectors import Principal


class SettleRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    event: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Settled:
    """The reservation afterwards, what became of the event, whether it was stored only now, and whether people are to
    be told of it.
    """

    reservation: Reservation
    event: dict[str, Any]
    is_new: bool
    crossed: bool


def settle(*, principal: Principal, reservation_id: UUID, body: bytes, at: datetime) -> Settled:
    """Book the event and close the reservation with it. The same again is the same answer.

    Raises `NotFound`, `StoreUnavailable`, and `DomainError`: what an event is rejected for, `event_conflict`,
    `reservation_mismatch` for an event that names another reservation, `reservation_<state>` where another event, or
    another act, closed it before.
    """
    value = read(body, SettleRequest).event
    before = reservation_of(principal, reservation_id)
    named = value.setdefault("reservation_id", str(reservation_id))
    if named != str(reservation_id):
        raise DomainError(
            "reservation_mismatch",
            f"The event names another reservation than {reservation_id}: leave reservation_id out.",
            param="event.reservation_id",
        )
    record = read_event(RawEvent(value), 0, window_for(principal, at))
    if isinstance(record, Rejection):
        raise DomainError(record.code, record.detail, param=f"event.{record.param}" if record.param else "event")
    if before.state in ("released", "settled") and before.event_id != record.event_id:
        raise closed(before)
    result = accept_batch(principal=principal, items=[record], received_at=at)
    if result.conflicts or result.rejected:
        refused = result.results[0]
        raise DomainError(
            refused.code or "event_rejected", refused.detail or "", param=f"event.{refused.param or 'event_id'}"
        )
    status = "accepted" if result.accepted else "duplicate"
    after = reservation_of(principal, reservation_id)
    if after.event_id != record.event_id:
        raise closed(after)
    return Settled(after, {"event_id": record.event_id, "status": status}, bool(result.accepted), result.crossed)
