"""What operators of the installation do to organizations and people: for a reason, and written down twice.

An organization reads it in its own chain of audit entries, staff in `StaffAct`.
"""

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.db import transaction
from django.utils import timezone

from apps.accounts.models import StaffAct, User
from apps.accounts.selectors import FACTOR_LABELS, with_second_factor
from apps.accounts.services import end_sessions
from apps.audit import services as audit
from apps.core.errors import DomainError, NotFound
from apps.core.tenancy import tenant
from apps.core.text import is_name
from apps.organizations.models import Organization
from apps.organizations.selectors import memberships_of

REASON_LENGTH_MIN, REASON_LENGTH_MAX = 10, 500

State = Organization.State


def checked_reason(reason: str) -> str:
    """Raises `DomainError` with code `reason_invalid`."""
    text = reason.strip()
    if len(text) < REASON_LENGTH_MIN or not is_name(text, REASON_LENGTH_MAX):
        raise DomainError(
            "reason_invalid",
            f"A reason has {REASON_LENGTH_MIN} to {REASON_LENGTH_MAX} printable characters on one line: say why,"
            " others will read it.",
            param="reason",
        )
    return text


def suspend_organization(*, org: Organization, reason: str, operator: User) -> Organization:
    """Its keys are refused and its pages change nothing, until it is reinstated.

    Raises `DomainError` with code `reason_invalid` or `organization_not_active`.
    """
    return _move(org, operator, reason, State.ACTIVE, State.SUSPENDED, "organizations.suspended")


def reinstate_organization(*, org: Organization, reason: str, operator: User) -> Organization:
    """Raises `DomainError` with code `reason_invalid` or `organization_not_suspended`."""
    return _move(org, operator, reason, State.SUSPENDED, State.ACTIVE, "organizations.reinstated")


def _move(org: Organization, operator: User, reason: str, before: str, after: str, action: str) -> Organization:
    reason = checked_reason(reason)
    with tenant(org):
        org = Organization.objects.select_for_update().get(pk=org.pk)
        if org.state != before:
            code = "organization_not_active" if before == State.ACTIVE else "organization_not_suspended"
            raise DomainError(code, f"{org.slug} is {org.state} already: nothing was changed.")
        org.state = after
        org.save(update_fields=["state"])
        audit.record(org=org, actor=operator, action=action, subject=org.slug, data={"reason": reason})
        _note(operator, action, org.slug, reason)
    return org


def deactivate_person(*, person: User, reason: str, operator: User) -> User:
    """They cannot sign in, and every session of theirs ends. Deactivating twice changes nothing.

    Raises `DomainError` with code `reason_invalid` or `person_is_operator`.
    """
    person = _set_active(person, False, reason, operator, "people.deactivated")
    end_sessions(person)
    return person


def reactivate_person(*, person: User, reason: str, operator: User) -> User:
    """They can sign in again. Raises `DomainError` with code `reason_invalid` or `person_is_operator`."""
    return _set_active(person, True, reason, operator, "people.reactivated")


def _set_active(person: User, is_active: bool, reason: str, operator: User, action: str) -> User:
    reason = checked_reason(reason)
    with transaction.atomic():
        person = _person(person)
        if person.is_active == is_active:
            return person
        person.is_active = is_active
        person.save(update_fields=["is_active"])
        _note(operator, action, person.email, reason)
    _tell_organizations(person, operator, action)
    return person


def remove_second_factor(*, person: User, factor_id: int, reason: str, operator: User) -> str:
    """The second factor that a person lost is no longer asked for; recovery codes go with the last one. Its kind.

    Raises `NotFound`, or `DomainError` with code `reason_invalid` or `person_is_operator`.
    """
    reason = checked_reason(reason)
    with transaction.atomic():
        person = _person(person)
        factors = Authenticator.objects.exclude(type=Authenticator.Type.RECOVERY_CODES).filter(user=person)
        factor = factors.filter(pk=factor_id).first()
        if factor is None:
            raise NotFound("second factor")
        kind = FACTOR_LABELS[factor.type]
        factor.delete()
        if not with_second_factor([person.pk]):
            Authenticator.objects.filter(user=person).delete()
        _note(operator, "people.second_factor_removed", person.email, reason)
    _tell_organizations(person, operator, "people.second_factor_removed", kind=kind)
    return kind


def end_session(*, person: User, session_id: int, operator: User) -> UserSession:
    """Sign a person out of one browser. Raises `NotFound`, or `DomainError` with code `person_is_operator`."""
    with transaction.atomic():
        person = _person(person)
        session = UserSession.objects.filter(user=person, pk=session_id).first()
        if session is None:
            raise NotFound("session")
        session.end()
        _note(operator, "people.session_ended", person.email, "")
    return session


def _person(person: User) -> User:
    """The person, held until the transaction ends. Operators are no matter of each other's."""
    person = User.objects.select_for_update().get(pk=person.pk)
    if person.is_operator:
        raise DomainError(
            "person_is_operator",
            f"{person.email} is an operator: take that back first, with manage.py make_operator --revoke.",
        )
    return person


def _tell_organizations(person: User, operator: User, action: str, **data: str) -> None:
    """The reason is staff's own: it may tell one organization of another."""
    for membership in memberships_of(person):
        with tenant(membership.organization):
            audit.record(
                org=membership.organization, actor=operator, action=action, subject=person.email, data=dict(data)
            )


def _note(operator: User, action: str, subject: str, reason: str) -> None:
    StaffAct.objects.create(at=timezone.now(), operator=operator, action=action, subject=subject, reason=reason)
