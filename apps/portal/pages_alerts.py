"""What the templates of alerts read."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from apps.portal.pages_prices import FormError


@dataclass(frozen=True, slots=True)
class ChannelRow:
    name: str
    url: str
    kind: str
    hint: str
    told_of: str
    waits: str
    state: str
    why: str
    last_state: str
    last_title: str
    last_at: datetime | None
    last_url: str
    test_url: str


@dataclass(frozen=True, slots=True)
class ChannelsPage:
    rows: tuple[ChannelRow, ...]
    kinds: tuple[tuple[str, str, str], ...]
    may_change: bool
    log_url: str


@dataclass(frozen=True, slots=True)
class ChannelForm:
    """A channel that is made or changed; `acts` are (address, label, what it does) of one that exists."""

    kind: str
    label: str
    says: str
    is_new: bool
    kinds: tuple[tuple[str, str, str], ...]
    services: str
    teams: tuple[str, ...]
    severities: tuple[tuple[str, str], ...]
    digests: tuple[tuple[str, str], ...]
    zone: str
    given: Mapping[str, str]
    error: FormError | None
    hint: str = ""
    state: str = ""
    why: str = ""
    rotating_until: datetime | None = None
    acts: tuple[tuple[str, str, str], ...] = ()
    may_change: bool = True


@dataclass(frozen=True, slots=True)
class SecretPage:
    name: str
    secret: str
    previous_until: datetime | None
    back_url: str


@dataclass(frozen=True, slots=True)
class TryLine:
    at: datetime
    result: str
    milliseconds: int
    answer: str


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    title: str
    severity: str
    channel: str
    created_at: datetime
    state: str
    says: str
    is_repeat: bool
    tries: int
    next_at: datetime | None
    error: str
    message_id: str
    log: tuple[TryLine, ...]
    retry_url: str


@dataclass(frozen=True, slots=True)
class DeliveriesPage:
    rows: tuple[DeliveryRow, ...]
    states: tuple[tuple[str, str], ...]
    channels: tuple[tuple[int, str], ...]
    state: str
    channel: int
    crossing: str
    may_change: bool
    first_url: str
    next_url: str
    every_url: str
    channels_url: str
    has_open: bool
