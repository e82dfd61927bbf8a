"""Looking as a member: an operator sees what the member sees and changes nothing, for a reason and for a while.

It is written down on both sides: in the organization's chain of audit entries, and in rows of staff's own. A session
holds an id alone; whether it still holds is asked at every request.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from apps.accounts.models import Impersonation, ImpersonationEnd, User
from apps.accounts.selectors import with_second_factor
from apps.audit import services as audit
from apps.core.errors import DomainError, NotFound
from apps.core.tenancy import tenant
from apps.organizations.models import Membership, Organization
from apps.organizations.selectors import membership_with_address
from apps.organizations.staff import checked_reason

MINUTES = (15, 30, 60)
ACTOR_LENGTH_MAX = 320

How = ImpersonationEnd.How


@dataclass(frozen=True, slots=True)
class Looking:
    """An operator who looks as a member now. `membership` has its organization."""

    impersonation: Impersonation
    membership: Membership

    @property
    def member(self) -> User:
        return self.impersonation.member


def begin(*, org: Organization, email: str, reason: str, minutes: int, operator: User) -> Impersonation:
    """From now on the operator may look as the member, and no longer as anybody else.

    Raises `DomainError` with code `reason_invalid`, `minutes_invalid`, `staff_only`, `member_unknown` or
    `member_not_lookable`.
    """
    reason = checked_reason(reason)
    if minutes not in MINUTES:
        raise DomainError("minutes_invalid", f"Look for {', '.join(map(str, MINUTES))} minutes.", param="minutes")
    if not _is_staff(operator):
        raise DomainError("staff_only", "Only an operator with a second factor may look as somebody else.")
    membership = membership_with_address(org, email)
    if membership is None:
        raise DomainError("member_unknown", f"Nobody with the address '{email}' is a member here.", param="email")
    if not _may_be_looked_as(membership.user):
        raise DomainError(
            "member_not_lookable", f"{email} is an operator, or deactivated: nobody looks as them.", param="email"
        )
    for other in Impersonation.objects.filter(operator=operator, end=None).select_related("operator", "member"):
        end(other, how=How.REPLACED)
    now = timezone.now()
    with tenant(org):
        made = Impersonation.objects.create(
            operator=operator,
            member=membership.user,
            organization=org.slug,
            reason=reason,
            began_at=now,
            until=now + timedelta(minutes=minutes),
        )
        _record(org, made, "impersonation.began", reason=reason, until=made.until.isoformat())
    return made


def current(*, impersonation_id: int, operator: User, at: datetime) -> Looking:
    """What a session's id stands for now. Where it is over, that is written down.

    Raises `NotFound` where it is none of this operator's, and `DomainError` with code `impersonation_over`.
    """
    found = (
        Impersonation.objects.select_related("operator", "member", "end")
        .filter(pk=impersonation_id, operator=operator)
        .first()
    )
    if found is None:
        raise NotFound("impersonation")
    membership = _membership(found)
    how = How(found.end.how) if hasattr(found, "end") else _why_over(found, membership, at)
    if how is not None:
        end(found, how=how)
        raise DomainError("impersonation_over", f"You no longer look as {found.member.email}: {how.label}.")
    assert membership is not None
    return Looking(found, membership)


def end(impersonation: Impersonation, *, how: How) -> None:
    """Write down that it ended, once: ending it again changes nothing."""
    org = Organization.objects.get(slug=impersonation.organization)
    now = timezone.now()
    # Found late, it ended at its time all the same.
    at = min(now, impersonation.until) if how == How.TIME else now
    with tenant(org):
        _, is_new = ImpersonationEnd.objects.get_or_create(impersonation=impersonation, defaults={"at": at, "how": how})
        if is_new:
            _record(org, impersonation, "impersonation.ended", at=at.isoformat(), how=str(how.label))


def end_overdue(*, at: datetime) -> int:
    """End what is over and what nobody came back to. How many."""
    over = 0
    for found in Impersonation.objects.filter(end=None).select_related("operator", "member"):
        how = _why_over(found, _membership(found), at)
        if how is not None:
            end(found, how=how)
            over += 1
    return over


def _why_over(found: Impersonation, membership: Membership | None, at: datetime) -> How | None:
    if found.until <= at:
        return How.TIME
    if not _is_staff(found.operator):
        return How.RIGHTS
    if membership is None or not _may_be_looked_as(found.member):
        return How.MEMBERSHIP
    return None


def _is_staff(person: User) -> bool:
    return person.is_staff and bool(with_second_factor([person.pk]))


def _may_be_looked_as(person: User) -> bool:
    return person.is_active and not person.is_operator


def _membership(found: Impersonation) -> Membership | None:
    return (
        Membership.objects.select_related("organization")
        .filter(organization__slug=found.organization, user=found.member)
        .first()
    )


def _record(org: Organization, made: Impersonation, action: str, **data: str) -> None:
    actor = f"{made.operator.email} as {made.member.email}"[:ACTOR_LENGTH_MAX]
    audit.record(org=org, actor=actor, action=action, subject=made.member.email, data=dict(data))
