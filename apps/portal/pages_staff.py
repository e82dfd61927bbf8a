"""What the templates of the back office read."""

from dataclasses import dataclass
from datetime import datetime

from apps.portal.pages_prices import FormError


@dataclass(frozen=True, slots=True)
class Limit:
    """`set_to` is None where the installation's own holds."""

    label: str
    set_to: int | None
    installation: int
    unit: str


@dataclass(frozen=True, slots=True)
class Health:
    last_event_at: datetime | None
    waiting: int
    waiting_max: int
    rolled_at: datetime | None
    reratings: tuple[tuple[str, datetime, str], ...]
    failing: int
    channels_disabled: int


@dataclass(frozen=True, slots=True)
class StaffMember:
    """`look_url` is "" for whom nobody looks as."""

    email: str
    url: str
    role: str
    has_second_factor: bool
    is_active: bool
    is_operator: bool
    joined_at: datetime
    look_url: str


@dataclass(frozen=True, slots=True)
class StaffKey:
    name: str
    hint: str
    scopes: tuple[str, ...]
    created_at: datetime
    last_used_at: datetime | None
    ended: str


@dataclass(frozen=True, slots=True)
class LookForm:
    email: str
    reason: str
    minutes: int
    choices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OrganizationDetail:
    """`members` and `keys` are the first of `members_count` and `keys_count`. `error` is of the form of `act`."""

    id: int
    url: str
    name: str
    slug: str
    state: str
    created_at: datetime
    closes_at: datetime | None
    zone: str
    requires_second_factor: bool
    limits: tuple[Limit, ...]
    health: Health
    search: str
    members: tuple[StaffMember, ...]
    members_count: int
    keys: tuple[StaffKey, ...]
    keys_count: int
    may_suspend: bool
    may_reinstate: bool
    state_reason: str
    look: LookForm
    act: str
    error: FormError | None


@dataclass(frozen=True, slots=True)
class Factor:
    """`error` and `reason` are of a removal that was refused."""

    id: int
    kind: str
    name: str
    created_at: datetime
    last_used_at: datetime | None
    is_removable: bool
    reason: str
    error: FormError | None


@dataclass(frozen=True, slots=True)
class StaffSession:
    id: int
    ip: str
    browser: str
    began_at: datetime
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class PersonDetail:
    """`is_yours_to_change` is False for operators, the one who looks among them. `error` is of (de)activating."""

    id: int
    email: str
    name: str
    is_active: bool
    is_operator: bool
    joined_at: datetime
    signed_in_at: datetime | None
    memberships: tuple[tuple[str, str, str, datetime], ...]
    addresses: tuple[tuple[str, bool, bool], ...]
    factors: tuple[Factor, ...]
    sessions: tuple[StaffSession, ...]
    is_yours_to_change: bool
    reason: str
    error: FormError | None
