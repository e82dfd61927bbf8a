"""Deleting an organization: a month in which it can be restored, then nobody belongs to it any more.

Its rows are erased by an operator (`manage.py erase_organization`): no role of the running service may delete what is
only ever added to, such as prices given and audit entries.
"""

from datetime import datetime, timedelta

from django.utils import timezone

from apps.audit import services as audit
from apps.core.errors import DomainError, NotFound
from apps.core.tenancy import tenant
from apps.organizations import sql
from apps.organizations.models import (
    ApiKeyHash,
    DomainOwner,
    InvitationHash,
    Membership,
    Organization,
    SsoConnection,
)
from apps.organizations.sso import forget_provider

GRACE = timedelta(days=30)

State = Organization.State


def close_organization(*, org: Organization, slug: str, actor: object) -> Organization:
    """From now on no key works and no page changes anything; in 30 days the organization is gone.

    `slug` is what a person typed, to be sure. Raises `DomainError` with code `slug_differs` or
    `organization_not_active`.
    """
    if slug.strip() != org.slug:
        raise DomainError("slug_differs", f"To delete it, type its name in the address: {org.slug}", param="slug")
    with tenant(org):
        org = Organization.objects.select_for_update().get(pk=org.pk)
        if org.state != State.ACTIVE:
            raise DomainError("organization_not_active", f"The organization is {org.state} already.")
        org.state, org.closes_at = State.CLOSING, timezone.now() + GRACE
        org.save(update_fields=["state", "closes_at"])
        audit.record(
            org=org,
            actor=actor,
            action="organizations.closing",
            subject=org.slug,
            data={"closes_at": org.closes_at.isoformat()},
        )
    return org


def restore_organization(*, org: Organization, actor: object) -> Organization:
    """As if it had not been deleted, until its month is over. Raises `DomainError` (`organization_not_closing`)."""
    with tenant(org):
        org = Organization.objects.select_for_update().get(pk=org.pk)
        if org.state != State.CLOSING:
            raise DomainError("organization_not_closing", f"The organization is {org.state}: nothing to restore.")
        if org.closes_at is not None and org.closes_at <= timezone.now():
            raise DomainError(
                "organization_not_closing", f"The organization could be restored until {org.closes_at.isoformat()}."
            )
        org.state, org.closes_at = State.ACTIVE, None
        org.save(update_fields=["state", "closes_at"])
        audit.record(org=org, actor=actor, action="organizations.restored", subject=org.slug)
    return org


def close_due(*, at: datetime) -> int:
    """End the organizations whose month is over: nobody belongs to them, no key and no link leads there. How many."""
    due = list(Organization.objects.filter(state=State.CLOSING, closes_at__lte=at).order_by("closes_at"))
    for org in due:
        with tenant(org):
            # An owner may restore it at this very instant.
            if not Organization.objects.select_for_update().filter(pk=org.pk, state=State.CLOSING).exists():
                continue
            Organization.objects.filter(pk=org.pk).update(state=State.CLOSED, closes_at=None)
            Membership.objects.filter(organization=org).delete()
            ApiKeyHash.objects.filter(organization=org).delete()
            InvitationHash.objects.filter(organization=org).delete()
            DomainOwner.objects.filter(organization=org).delete()
            for connection in SsoConnection.objects.select_related("app").filter(organization=org):
                forget_provider(connection)
            audit.record(org=org, actor=None, action="organizations.closed", subject=org.slug)
    return len(due)


def erase_organization(*, slug: str) -> dict[str, int]:
    """Delete all that an organization had, once it is closed: rows by table. Its slug stays taken.

    As finops_owner, which no process of the running service is. Raises `NotFound`, or `DomainError` with code
    `organization_not_closed`.
    """
    org = Organization.objects.filter(slug=slug).first()
    if org is None:
        raise NotFound("organization")
    if org.state != State.CLOSED:
        raise DomainError(
            "organization_not_closed",
            f"{slug} is {org.state}: an owner deletes it on its page, and 30 days later it is closed.",
        )
    return sql.erase_rows(org.pk)
