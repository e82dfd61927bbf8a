from collections.abc import Collection, Iterable
from copy import copy
from dataclasses import dataclass, replace
from datetime import date, datetime

from django.db.models import Case, Count, F, Q, QuerySet, Value, When

from apps.accounts.models import User
from apps.core.errors import DomainError, NotFound
from apps.core.periods import Calendar
from apps.core.tenancy import HasPk, tenant
from apps.core.text import is_name
from apps.organizations import keys
from apps.organizations.models import (
    ApiKey,
    ApiKeyHash,
    Domain,
    DomainOwner,
    Invitation,
    Membership,
    Organization,
    SsoConnection,
    Zone,
)

SEARCH_LENGTH_MAX = 256
# What a key may be pinned to.
PINS = ("team", "project", "environment")


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls the API: one key of one organization, and what it may claim."""

    organization: Organization
    key_id: int
    key_name: str
    scopes: frozenset[str]
    team: str | None
    project: str | None
    environment: str | None
    expires_at: datetime | None
    last_used_at: datetime | None

    def __str__(self) -> str:
        return f"key:{self.key_id}"

    def apart(self) -> "Principal":
        """The same with an organization of its own, to read again while others are in the midst of theirs."""
        return replace(self, organization=copy(self.organization))


def principal_for(secret: str, *, at: datetime) -> Principal:
    """The principal of a key's secret. Raises `DomainError` with code `key_invalid`, `key_revoked`, `key_expired`,
    `organization_closing` or `organization_suspended`.

    A mistyped key is refused by its checksum, without a query. Nothing is cached: a revoked key is refused
    by the next request.
    """
    invalid = DomainError("key_invalid", "This API key is not known. Send it as `Authorization: Bearer aif_live_...`.")
    if not keys.is_well_formed(secret):
        raise invalid
    found = ApiKeyHash.objects.select_related("organization").filter(hash=keys.hash_of(secret)).first()
    if found is None:
        raise invalid
    org = found.organization
    with tenant(org):
        key = ApiKey.objects.for_org(org).filter(pk=found.api_key_id).first()
    if key is None:
        raise invalid
    return _principal(org, key, at)


def recheck(principal: Principal, *, at: datetime) -> None:
    """Read the principal's organization again, in place. Raises like `principal_for` where it may no longer call."""
    org = principal.organization
    org.refresh_from_db()
    with tenant(org):
        _principal(org, ApiKey.objects.for_org(org).get(pk=principal.key_id), at)


def _principal(org: Organization, key: ApiKey, at: datetime) -> Principal:
    if key.revoked_at is not None:
        raise DomainError("key_revoked", f"The API key {key.hint} was revoked. Ask an owner for a new one.")
    if key.expires_at is not None and key.expires_at <= at:
        raise DomainError(
            "key_expired",
            f"The API key {key.hint} expired at {key.expires_at.isoformat()}. Ask an owner for a new one.",
        )
    require_active(org)
    return Principal(
        organization=org,
        key_id=key.pk,
        key_name=key.name,
        scopes=frozenset(key.scopes),
        team=key.team,
        project=key.project,
        environment=key.environment,
        expires_at=key.expires_at,
        last_used_at=key.last_used_at,
    )


def require_active(org: Organization) -> None:
    """Raises `DomainError` with code `organization_closing` or `organization_suspended`."""
    if org.state == Organization.State.CLOSING:
        assert org.closes_at is not None
        raise DomainError(
            "organization_closing",
            f"The organization {org.slug} is being deleted. An owner can restore it until {org.closes_at.isoformat()}.",
        )
    if org.state != Organization.State.ACTIVE:
        raise DomainError("organization_suspended", f"The organization {org.slug} is suspended.")


def is_own_address(org: Organization, email: str) -> bool:
    """Whether the address is of a domain that the organization has proved to own."""
    domain = email.rpartition("@")[2].lower()
    return DomainOwner.objects.filter(domain=domain, organization=org).exists()


def require_way_in(org: Organization, email: str, role: str) -> None:
    """Raises `DomainError` with code `address_outside` where single sign-on is enforced and would never let in who
    joins by this address. Owners have a way in of their own.
    """
    enforced = SsoConnection.objects.filter(organization=org, is_enforced=True).exists()
    if enforced and role != Membership.Role.OWNER and not is_own_address(org, email):
        raise DomainError(
            "address_outside",
            f"{org.name} is entered by its single sign-on only, which never speaks for {email}: use an address of a"
            " domain that it has proved to own.",
            param="email",
        )


def calendar(org: Organization) -> Calendar:
    """The organization's clock, with every zone it ever had; the one that its object has at hand, if it has one."""
    if org.clock is not None:
        return org.clock
    rows = Zone.objects.for_org(org).order_by("effective_month").values_list("effective_month", "name")
    zones: list[tuple[date | None, str]] = sorted(rows, key=lambda row: row[0] or date.min)
    return Calendar(zones)


def organization_by_slug(slug: str) -> Organization:
    org = Organization.objects.filter(slug=slug).first()
    if org is None:
        raise NotFound("organization")
    return org


def membership_of(user: User, slug: str) -> Membership | None:
    """The person's membership in the organization with this slug; None for strangers and for no such slug."""
    return Membership.objects.select_related("organization__sso").filter(user=user, organization__slug=slug).first()


def membership_with_address(org: Organization, email: str) -> Membership | None:
    """The membership of the person with this address; None for any other text."""
    address = email.strip().lower()
    if not is_name(address, SEARCH_LENGTH_MAX):
        return None
    return Membership.objects.select_related("user").filter(organization=org, user__email=address).first()


def organizations_with_members() -> QuerySet[Organization]:
    """Every organization, with how many `members` it has."""
    return Organization.objects.annotate(members=Count("memberships"))


def find_members(org: Organization, *, search: str = "", limit: int) -> tuple[list[Membership], int]:
    """Those whose address or name holds `search`, from owner to viewer, then by address; and how many there are."""
    found = Membership.objects.select_related("user").filter(organization=org)
    if search and not is_name(search, SEARCH_LENGTH_MAX):
        return [], 0  # what cannot be written down is nobody's name
    if search:
        found = found.filter(Q(user__email__icontains=search) | Q(user__name__icontains=search))
    ranks = [When(role=role, then=Value(rank)) for rank, role in enumerate(Membership.Role.values)]
    return list(found.order_by(Case(*ranks), "user__email")[:limit]), found.count()


def open_invitations(org: Organization) -> list[Invitation]:
    """What is neither accepted nor revoked, newest first; some may have expired."""
    rows = Invitation.objects.for_org(org).filter(accepted_at=None, revoked_at=None)
    return list(rows.order_by("-created_at", "-pk"))


def memberships_of(user: User) -> list[Membership]:
    return list(Membership.objects.select_related("organization").filter(user=user).order_by("organization__name"))


def memberships_by_provider(user: User, provider_ids: Iterable[str]) -> list[Membership]:
    """Those in organizations of these identity providers."""
    found = Membership.objects.select_related("organization").filter(user=user)
    return list(found.filter(organization__sso__provider_id__in=list(provider_ids)).order_by("organization__name"))


def members_with_role(org: Organization, role: str) -> list[User]:
    return list(User.objects.filter(memberships__organization=org, memberships__role=role).order_by("email"))


def leads_of(org: HasPk) -> dict[str, tuple[str, ...]]:
    """The teams of each team lead who may sign in, by address in small letters."""
    rows = Membership.objects.filter(organization_id=org.pk, role=Membership.Role.LEAD, user__is_active=True)
    return {
        email.lower(): tuple(teams) for email, teams in rows.order_by("user__email").values_list("user__email", "teams")
    }


def members_among(org: HasPk, addresses: Collection[str]) -> set[str]:
    """Those of these addresses, in small letters, that are of members."""
    rows = Membership.objects.filter(organization_id=org.pk, user__email__in=addresses)
    return {email.lower() for email in rows.values_list("user__email", flat=True)}


def organization_ids(*, after: int, limit: int) -> list[int]:
    """The next slice of the organization directory, in order of id."""
    return list(Organization.objects.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)[:limit])


def facts_version(org_id: int) -> int:
    """The newest version of the organization's facts."""
    return Organization.objects.values_list("facts_version", flat=True).get(pk=org_id)


def organizations_with_new_names() -> list[Organization]:
    """Organizations whose facts changed since their events were last attributed by them."""
    return list(Organization.objects.filter(facts_version__gt=F("names_posted_version")).order_by("pk"))


def organizations_rerating() -> list[Organization]:
    """Organizations with a re-rating under way."""
    return list(Organization.objects.filter(is_rerating=True).order_by("pk"))


def organizations_budgeted() -> list[int]:
    """Organizations that have budgets or reservations, by id."""
    return list(Organization.objects.filter(is_budgeted=True).order_by("pk").values_list("pk", flat=True))


def list_keys(org: Organization, teams: Collection[str] | None = None) -> list[ApiKey]:
    """The newest first; of `teams`, those that are pinned to one of them."""
    keys = ApiKey.objects.for_org(org)
    return list((keys if teams is None else keys.filter(team__in=teams)).order_by("-created_at"))


def list_domains(org: Organization) -> list[Domain]:
    """Inside `tenant(org)`."""
    return list(Domain.objects.for_org(org).order_by("name"))


def list_zones(org: Organization) -> list[Zone]:
    """The zones of the organization's clock, in the order in which they take effect. Inside `tenant(org)`."""
    return list(Zone.objects.for_org(org).order_by("effective_month"))


def members_by_id(org: Organization, user_ids: Iterable[int]) -> dict[int, User]:
    """Those of these people who are members of the organization."""
    found = User.objects.filter(pk__in=set(user_ids), memberships__organization=org)
    return {user.pk: user for user in found}


def member_by_email(org: Organization, email: str) -> User | None:
    return User.objects.filter(memberships__organization=org, email__iexact=email.strip()).first()


def member_emails(org: Organization, limit: int) -> list[str]:
    rows = User.objects.filter(memberships__organization=org).order_by("email")
    return list(rows.values_list("email", flat=True)[:limit])


def key_by_id(org: Organization, key_id: int) -> ApiKey | None:
    return ApiKey.objects.for_org(org).filter(pk=key_id).first()
