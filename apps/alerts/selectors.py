from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Q, QuerySet

from apps.alerts.models import Channel, Delivery, Subscriber
from apps.core.cursors import invalid_cursor, position_of
from apps.core.errors import DomainError, NotFound
from apps.core.tenancy import HasPk

ID_MAX = 2**63 - 1
Position = tuple[datetime, UUID]


def subscribers() -> list[int]:
    """Organizations that have a channel, by id."""
    return list(Subscriber.objects.order_by("pk").values_list("pk", flat=True))


def list_channels(org: HasPk | int) -> QuerySet[Channel]:
    """Channels by name, without those that were deleted."""
    return Channel.objects.for_org(org).filter(deleted_at=None).select_related("team").order_by("name")


def channel_by_id(org: HasPk | int, channel_id: int, *, to_change: bool = False) -> Channel:
    """The channel; `to_change`: held until the transaction ends, so that nothing changes it meanwhile.

    Raises `NotFound`.
    """
    channels = list_channels(org).select_for_update(of=("self",)) if to_change else list_channels(org)
    found = channels.filter(pk=channel_id).first() if channel_id <= ID_MAX else None
    if found is None:
        raise NotFound("channel")
    return found


def position_after(cursor: str) -> Position:
    """Where a list of deliveries goes on. Raises `DomainError` (`cursor_invalid`)."""
    at, delivery_id = position_of(cursor, Position)
    if at.tzinfo is None or not 1971 <= at.year <= 2200:
        raise invalid_cursor()
    return at, delivery_id


def find_deliveries(
    org: HasPk | int,
    *,
    limit: int,
    state: str = "",
    channel_id: int | None = None,
    crossing_id: UUID | None = None,
    after: Position | None = None,
) -> list[Delivery]:
    """Deliveries, newest first. Raises `DomainError` (`state_unknown`)."""
    found = Delivery.objects.for_org(org).order_by("-created_at", "-delivery_id")
    if state:
        if state not in Delivery.State.values:
            raise DomainError(
                "state_unknown", f"state is '{state[:64]}': use {', '.join(Delivery.State.values)}.", param="state"
            )
        found = found.filter(state=state)
    if channel_id is not None:
        found = found.filter(channel_id=channel_id) if channel_id <= ID_MAX else found.none()
    if crossing_id is not None:
        # By the ids of channels: alerts_delivery_once begins with them.
        found = found.filter(channel_id__in=list(channel_names(org)), crossing_id=crossing_id)
    if after is not None:
        at, delivery_id = after
        found = found.filter(Q(created_at__lt=at) | Q(created_at=at, delivery_id__lt=delivery_id))
    return list(found[:limit])


def count_failing(org: HasPk | int, *, since: datetime) -> int:
    """Deliveries since then that failed for good, or whose last try failed. Index: alerts_delivery_newest."""
    recent = Delivery.objects.for_org(org).filter(created_at__gte=since)
    return recent.filter(Q(state=Delivery.State.FAILED) | Q(state=Delivery.State.PENDING, tries__gt=0)).count()


def delivery_by_id(org: HasPk | int, delivery_id: UUID) -> Delivery:
    """Raises `NotFound`."""
    found = Delivery.objects.for_org(org).filter(delivery_id=delivery_id).first()
    if found is None:
        raise NotFound("delivery")
    return found


def channel_names(org: HasPk | int) -> dict[int, str]:
    """Names of all channels by id, those that were deleted too."""
    return dict(Channel.objects.for_org(org).values_list("pk", "name"))


def last_deliveries(org: HasPk | int) -> dict[int, Delivery]:
    """The newest delivery of each channel. Index: alerts_delivery_newest, per channel a handful of rows."""
    newest = Delivery.objects.for_org(org).order_by("channel_id", "-created_at").distinct("channel_id")
    return {delivery.channel_id: delivery for delivery in newest}


@dataclass(frozen=True, slots=True)
class Told:
    """Deliveries by crossing, and the channels' names by id. `has_active`: somebody is told of what crosses now."""

    deliveries: Mapping[UUID, Sequence[Delivery]]
    channels: Mapping[int, str]
    has_active: bool


def told_of(org: HasPk | int, crossing_ids: Collection[UUID]) -> Told:
    """Who is told of these crossings, in two statements. Index: alerts_delivery_once."""
    channels = list(Channel.objects.for_org(org).values_list("pk", "name", "state", "deleted_at"))
    names = {pk: name for pk, name, _, _ in channels}
    by_crossing: dict[UUID, list[Delivery]] = defaultdict(list)
    found = Delivery.objects.for_org(org).filter(channel_id__in=list(names), crossing_id__in=crossing_ids)
    for delivery in found.order_by("created_at", "channel_id"):
        by_crossing[delivery.crossing_id].append(delivery)
    active = any(state == Channel.State.ACTIVE and deleted_at is None for _, _, state, deleted_at in channels)
    return Told(by_crossing, names, active)
