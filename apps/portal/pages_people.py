"""What the templates of members, keys, the organization and joining read."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

from apps.portal.pages_prices import FormError

if TYPE_CHECKING:
    from apps.portal.pages import Option  # which imports from here


@dataclass(frozen=True, slots=True)
class MemberRow:
    """`edit_url` is "" for whoever may not change this member."""

    email: str
    name: str
    is_you: bool
    role: str
    teams: tuple[str, ...]
    has_second_factor: bool
    joined_at: datetime
    edit_url: str


@dataclass(frozen=True, slots=True)
class InvitationRow:
    email: str
    role: str
    teams: tuple[str, ...]
    created_by: str
    expires_at: datetime
    is_expired: bool
    again_url: str
    revoke_url: str
    may_change: bool


@dataclass(frozen=True, slots=True)
class MembersPage:
    """`rows` are at most `shown_max` of `count`, found by `search`."""

    rows: tuple[MemberRow, ...]
    count: int
    search: str
    invitations: tuple[InvitationRow, ...]
    may_manage: bool
    requires_second_factor: bool


@dataclass(frozen=True, slots=True)
class RoleChoice:
    role: str
    label: str
    means: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class TeamChoice:
    slug: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class MemberForm:
    """Inviting somebody, or changing a member: then `email` is fixed and there may be acts."""

    email: str
    roles: tuple[RoleChoice, ...]
    teams: tuple[TeamChoice, ...]
    error: FormError | None
    remove_url: str = ""
    transfer_url: str = ""


@dataclass(frozen=True, slots=True)
class KeyRow:
    """`state` is active, expired or revoked; `expires_soon` warns a week ahead."""

    name: str
    hint: str
    scopes: tuple[str, ...]
    pins: tuple[tuple[str, str], ...]
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    expires_soon: bool
    last_used_at: datetime | None
    state: str
    ended_at: datetime | None
    rotate_url: str
    revoke_url: str
    spend_url: str


@dataclass(frozen=True, slots=True)
class KeysPage:
    active: tuple[KeyRow, ...]
    ended: tuple[KeyRow, ...]
    ended_shown: int
    ended_count: int
    may_manage: bool


@dataclass(frozen=True, slots=True)
class ScopeChoice:
    scope: str
    means: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class PinField:
    name: str
    label: str
    value: str
    suggestions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeyForm:
    name: str
    scopes: tuple[ScopeChoice, ...]
    pins: tuple[PinField, ...]
    expires: str
    error: FormError | None


@dataclass(frozen=True, slots=True)
class RotateForm:
    name: str
    hint: str
    overlaps: tuple[tuple[str, str], ...]
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewKeyPage:
    """A key that is shown this once; `old_until` where it takes another one's place."""

    name: str
    secret: str
    scopes: tuple[str, ...]
    old_hint: str
    old_until: datetime | None
    back_url: str
    first: "FirstEventPage | None"


@dataclass(frozen=True, slots=True)
class OrganizationSettings:
    """`coming` are changes of the zone that lie ahead, each with its month."""

    name: str
    slug: str
    zone: str
    coming: tuple[tuple[str, date], ...]
    zones: tuple[str, ...]
    next_month: date
    requires_second_factor: bool
    without_second_factor: int
    you_have_one: bool
    closes_at: datetime | None
    members: int
    keys: int
    may_manage: bool
    error: FormError | None


@dataclass(frozen=True, slots=True)
class JoinPage:
    """An invitation as its reader sees it. `for_another`: somebody else is signed in."""

    organization: str
    email: str
    role: str
    means: str
    teams: tuple[str, ...]
    created_by: str
    expires_at: datetime
    signed_in_as: str
    for_another: bool
    has_account: bool


@dataclass(frozen=True, slots=True)
class NewOrganization:
    name: str
    zone: str
    zones: tuple[str, ...]
    error: FormError | None


@dataclass(frozen=True, slots=True)
class FirstEventPage:
    """`secret` is "" but on the page that shows a new key; `last_event_at` is None until the first event is there."""

    has_key: bool
    may_make_key: bool
    key_url: str
    secret: str
    api_url: str
    at: datetime
    last_event_at: datetime | None
    seen_url: str
    overview_url: str


@dataclass(frozen=True, slots=True)
class DomainRow:
    name: str
    record_name: str
    record: str
    verified_at: datetime | None
    verify_url: str
    remove_url: str


@dataclass(frozen=True, slots=True)
class SsoPage:
    """`kind` is "" where no identity provider is connected; `given` is what stands in the forms."""

    domains: tuple[DomainRow, ...]
    domain_url: str
    kind: str
    kind_label: str
    given: dict[str, str]
    roles: "tuple[Option, ...]"
    login_url: str
    callback_url: str
    acs_url: str
    metadata_url: str
    oidc_url: str
    saml_url: str
    enforce_url: str
    disconnect_url: str
    is_enforced: bool
    members: int
    error: FormError | None
