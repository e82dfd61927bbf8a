"""Who belongs to an organization: inviting, joining, roles, leaving, handing over.

What only an owner may do to owners, and only a person to admins, is refused here, so that the page and the API cannot
differ. `by_role` is the role of who acts, `BY_KEY` for an API key. An invitation falls with the right to make it.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog
from django.conf import settings
from django.core.cache import cache
from django.utils import timezone

from apps.accounts.models import User
from apps.accounts.selectors import addresses_of, has_verified_address
from apps.audit import services as audit
from apps.core.errors import DomainError, NotFound
from apps.core.tenancy import tenant
from apps.core.text import is_name
from apps.organizations.models import Invitation, InvitationHash, Membership, Organization
from apps.organizations.permissions import Permission, Role, role_may
from apps.organizations.selectors import require_active, require_way_in
from apps.organizations.services import check_email

log = structlog.get_logger(__name__)

HOUR, DAY_SECONDS = timedelta(hours=1), 86_400

# Who holds a key need not be who made it, and a key may be good for an hour: what it makes lasts, so that is no admin.
BY_KEY = "key"
INVITATION_LASTS = timedelta(days=7)
INVITATIONS_OPEN_MAX = 100
INVITATIONS_HOUR_MAX = 100
# Of all organizations together: anybody may found one, and its name stands in the subject of the mail.
INVITATIONS_OF_ADDRESS_DAY_MAX = 10
MEMBERS_MAX = 5_000
TEAMS_MAX = 50


@dataclass(frozen=True, slots=True)
class IssuedInvitation:
    """A new invitation; `token` goes into the mail and is stored nowhere."""

    invitation: Invitation
    token: str


def invite(
    *, org: Organization, email: str, role: str, teams: Sequence[str] = (), actor: object, by_role: str
) -> IssuedInvitation:
    """An invitation of this address for seven days; an open one of the same address stops working.

    Raises `DomainError` with code `email_invalid`, `role_unknown`, `teams_missing`, `team_invalid`, `owner_only`,
    `address_outside`, `person_only`, `already_member` or `too_many_invitations`.
    """
    address = email.strip().lower()
    check_email(address)
    teams = _checked_role(role, teams, by_role)
    require_way_in(org, address, role)
    _require_few_of(address)
    token = secrets.token_urlsafe(32)
    with tenant(org):
        _lock(org)
        if Membership.objects.filter(organization=org, user__email=address).exists():
            raise DomainError("already_member", f"{address} is a member already: change the role there.", param="email")
        now = timezone.now()
        still_open = Invitation.objects.for_org(org).filter(accepted_at=None, revoked_at=None)
        for before in still_open.filter(email=address):
            _require_owner_for_invitation(before, by_role)
        still_open.filter(email=address).update(revoked_at=now)
        if still_open.count() >= INVITATIONS_OPEN_MAX:
            raise DomainError(
                "too_many_invitations",
                f"{INVITATIONS_OPEN_MAX} invitations are open: revoke some, or wait until they are accepted.",
                param="email",
            )
        if Invitation.objects.for_org(org).filter(created_at__gt=now - HOUR).count() >= INVITATIONS_HOUR_MAX:
            raise DomainError(
                "too_many_invitations",
                f"{INVITATIONS_HOUR_MAX} invitations were made within an hour: go on in a while.",
                param="email",
            )
        invitation = Invitation(
            organization=org,
            email=address,
            role=role,
            teams=teams,
            created_by=str(actor),
            expires_at=now + INVITATION_LASTS,
        )
        invitation.save()
        InvitationHash.objects.create(hash=_hash_of(token), organization=org, invitation_id=invitation.pk)
        _record(org, actor, "members.invited", address, role, teams)
    return IssuedInvitation(invitation, token)


def revoke_invitation(*, org: Organization, invitation_id: int, actor: object, by_role: str) -> Invitation:
    """Its link stops working. Revoking twice changes nothing. Raises `NotFound`, or `DomainError` with code
    `invitation_used` or `owner_only`.
    """
    with tenant(org):
        _lock(org)
        invitation = Invitation.objects.for_org(org).filter(pk=invitation_id).first()
        if invitation is None:
            raise NotFound("invitation")
        if invitation.accepted_at is not None:
            raise DomainError("invitation_used", f"{invitation.email} has joined already: remove the member instead.")
        _require_owner_for_invitation(invitation, by_role)
        if invitation.revoked_at is None:
            _revoke(org, invitation, actor)
    return invitation


def invitation_of(token: str) -> tuple[Organization, Invitation]:
    """What a link leads to. Raises `DomainError` with code `invitation_unknown`, `invitation_used`,
    `invitation_revoked` or `invitation_expired`, or like `require_active`.
    """
    found = InvitationHash.objects.select_related("organization").filter(hash=_hash_of(token)).first()
    if found is None:
        raise DomainError("invitation_unknown", "No invitation has this link: it may have been cut in the mail.")
    require_active(found.organization)
    with tenant(found.organization):
        invitation = Invitation.objects.for_org(found.organization).get(pk=found.invitation_id)
    _require_open(invitation)
    return found.organization, invitation


def accept_invitation(*, token: str, user: User) -> Membership:
    """The person joins, once. Raises `DomainError` like `invitation_of`, or with code `invitation_for_another`,
    `address_outside`, `already_member` or `organization_full`.
    """
    org, _ = invitation_of(token)
    with tenant(org):
        require_active(_lock(org))
        found = InvitationHash.objects.get(hash=_hash_of(token))
        invitation = Invitation.objects.for_org(org).get(pk=found.invitation_id)
        _require_open(invitation)
        require_way_in(org, invitation.email, invitation.role)
        if not has_verified_address(user, invitation.email):
            raise DomainError(
                "invitation_for_another",
                f"This invitation is for {invitation.email}, and {user.email} is signed in: sign in with that address.",
            )
        if Membership.objects.filter(organization=org, user=user).exists():
            raise DomainError("already_member", f"{user.email} is a member of {org.name} already.")
        if Membership.objects.filter(organization=org).count() >= MEMBERS_MAX:
            raise DomainError("organization_full", f"{org.name} has {MEMBERS_MAX} members, as many as it may have.")
        invitation.accepted_at = timezone.now()
        invitation.save(update_fields=["accepted_at"])
        membership = Membership.objects.create(
            organization=org, user=user, role=invitation.role, teams=invitation.teams
        )
        _record(org, user, "members.joined", user.email, membership.role, membership.teams)
    return membership


def change_role(
    *, org: Organization, member_id: int, role: str, teams: Sequence[str] = (), actor: object, by_role: str
) -> Membership:
    """Raises `DomainError` with code `role_unknown`, `teams_missing`, `team_invalid`, `owner_only`, `person_only` or
    `last_owner`, or `NotFound`.
    """
    teams = _checked_role(role, teams, by_role)
    with tenant(org):
        _lock(org)
        membership = _member(org, member_id)
        _require_owner_for(membership, by_role)
        if membership.role == Role.OWNER and role != Role.OWNER:
            _require_another_owner(org, membership)
        if (membership.role, membership.teams) != (role, teams):
            before = membership.role
            membership.role, membership.teams = role, teams
            membership.save(update_fields=["role", "teams"])
            _record(org, actor, "members.role_changed", membership.user.email, role, teams, before=before)
            _revoke_beyond(org, membership.user, role, actor)
    return membership


def remove_member(*, org: Organization, member_id: int, actor: object, by_role: str) -> None:
    """Raises `DomainError` with code `owner_only` or `last_owner`, or `NotFound`."""
    with tenant(org):
        _lock(org)
        membership = _member(org, member_id)
        _require_owner_for(membership, by_role)
        _remove(org, membership, actor, "members.removed")


def leave(*, org: Organization, user: User) -> None:
    """Raises `DomainError` with code `last_owner`, or `NotFound`."""
    with tenant(org):
        _lock(org)
        membership = Membership.objects.select_related("user").filter(organization=org, user=user).first()
        if membership is None:
            raise NotFound("member")
        _remove(org, membership, user, "members.left")


def transfer_ownership(*, org: Organization, member_id: int, owner: User) -> Membership:
    """`owner` hands the organization to another member and stays as an admin.

    Raises `DomainError` with code `owner_only`, `owner_already` or `person_inactive`, or `NotFound`.
    """
    with tenant(org):
        _lock(org)
        giver = Membership.objects.filter(organization=org, user=owner).first()
        if giver is None or giver.role != Role.OWNER:
            raise DomainError("owner_only", "Only an owner can hand the organization over.")
        taker = _member(org, member_id)
        if taker.role == Role.OWNER:
            raise DomainError("owner_already", f"{taker.user.email} is an owner already.", param="member")
        if not taker.user.is_active:
            raise DomainError(
                "person_inactive",
                f"The account of {taker.user.email} is switched off: choose somebody who can sign in.",
                param="member",
            )
        taker.role, taker.teams, giver.role = Role.OWNER, [], Role.ADMIN
        taker.save(update_fields=["role", "teams"])
        giver.save(update_fields=["role"])
        audit.record(org=org, actor=owner, action="organizations.transferred", subject=taker.user.email)
        _revoke_beyond(org, owner, giver.role, owner)
    return taker


def _lock(org: Organization) -> Organization:
    """Changes of who belongs here queue up: two owners who leave at once must not both be second to last."""
    return Organization.objects.select_for_update().get(pk=org.pk)


def _member(org: Organization, member_id: int) -> Membership:
    membership = Membership.objects.select_related("user").filter(organization=org, pk=member_id).first()
    if membership is None:
        raise NotFound("member")
    return membership


def _remove(org: Organization, membership: Membership, actor: object, action: str) -> None:
    if membership.role == Role.OWNER:
        _require_another_owner(org, membership)
    membership.delete()
    audit.record(org=org, actor=actor, action=action, subject=membership.user.email, data={"role": membership.role})
    _revoke_beyond(org, membership.user, "", actor)


def _revoke_beyond(org: Organization, person: User, role: str, actor: object) -> None:
    """Revoke what the person invited while they might: with `role` (empty: as no member) they may no longer."""
    theirs = Invitation.objects.for_org(org).filter(
        accepted_at=None, revoked_at=None, created_by__in=addresses_of(person)
    )
    if role_may(role, Permission.MANAGE_MEMBERS):
        theirs = theirs.filter(role=Role.OWNER) if role != Role.OWNER else theirs.none()
    for invitation in theirs:
        _revoke(org, invitation, actor)


def _revoke(org: Organization, invitation: Invitation, actor: object) -> None:
    invitation.revoked_at = timezone.now()
    invitation.save(update_fields=["revoked_at"])
    audit.record(org=org, actor=actor, action="members.invitation_revoked", subject=invitation.email)


def _require_another_owner(org: Organization, membership: Membership) -> None:
    """Another one who can sign in: an account that is switched off keeps nobody's organization."""
    owners = Membership.objects.filter(organization=org, role=Role.OWNER, user__is_active=True)
    if not owners.exclude(pk=membership.pk).exists():
        raise DomainError(
            "last_owner",
            f"{membership.user.email} is the only owner of {org.name}: make somebody else an owner first.",
            param="role",
        )


def _require_owner_for(membership: Membership, by_role: str) -> None:
    if membership.role == Role.OWNER and by_role != Role.OWNER:
        raise DomainError("owner_only", f"{membership.user.email} is an owner: only an owner can change that.")


def _require_owner_for_invitation(invitation: Invitation, by_role: str) -> None:
    if invitation.role == Role.OWNER and by_role != Role.OWNER:
        raise DomainError(
            "owner_only",
            f"{invitation.email} is invited as an owner: only an owner can change that.",
            param="email",
        )


def _require_few_of(address: str) -> None:
    """Raises `DomainError` (`too_many_invitations`). Counted in Redis: without it nobody is refused."""
    day = timezone.now().date().isoformat()
    # Installations that share a Redis count apart.
    name = f"invitations:{settings.DATABASES['default']['NAME']}:{day}:{_hash_of(address).hex()}"
    try:
        cache.add(name, 0, timeout=DAY_SECONDS)
        count = cache.incr(name)
    except Exception as error:  # any fault of Redis's client
        log.warning("invitations not counted", error=repr(error))
        return
    if count > INVITATIONS_OF_ADDRESS_DAY_MAX:
        raise DomainError(
            "too_many_invitations",
            f"{address} was invited {INVITATIONS_OF_ADDRESS_DAY_MAX} times today: wait until tomorrow.",
            param="email",
        )


def _checked_role(role: str, teams: Sequence[str], by_role: str) -> list[str]:
    """The teams as they are stored: those of a lead, in order; of no other role."""
    if role not in Role.values:
        raise DomainError("role_unknown", f"'{role}' is no role: use {', '.join(Role.values)}.", param="role")
    if role == Role.OWNER and by_role != Role.OWNER:
        raise DomainError("owner_only", "Only an owner can make somebody an owner.", param="role")
    if role == Role.ADMIN and by_role == BY_KEY:
        raise DomainError(
            "person_only",
            "A key makes nobody an admin: an owner or an admin does, on the page of members.",
            param="role",
        )
    if role != Role.LEAD:
        return []
    if not teams:
        raise DomainError("teams_missing", "A team lead needs at least one team.", param="teams")
    if len(set(teams)) > TEAMS_MAX or not all(is_name(team, 256) for team in teams):
        raise DomainError(
            "team_invalid", f"Name 1 to {TEAMS_MAX} teams, each of 1 to 256 printable characters.", param="teams"
        )
    return sorted(set(teams))


def _require_open(invitation: Invitation) -> None:
    ask = f"Ask {invitation.created_by} for another one."
    if invitation.accepted_at is not None:
        raise DomainError("invitation_used", f"This invitation was accepted already. {ask}")
    if invitation.revoked_at is not None:
        raise DomainError("invitation_revoked", f"This invitation was withdrawn. {ask}")
    if invitation.expires_at <= timezone.now():
        raise DomainError("invitation_expired", f"This invitation was good for {INVITATION_LASTS.days} days. {ask}")


def _record(
    org: Organization, actor: object, action: str, email: str, role: str, teams: Sequence[str], **more: str
) -> None:
    data: dict[str, object] = {"role": role, **({"teams": list(teams)} if teams else {}), **more}
    audit.record(org=org, actor=actor, action=action, subject=email, data=data)


def _hash_of(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
