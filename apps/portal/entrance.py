"""Which sessions may see which organization: by how the person signed in, not only by who they are."""

import time
from dataclasses import dataclass

from allauth.account.authentication import get_authentication_records
from django.conf import settings
from django.http import HttpRequest

from apps.accounts.adapters import ASKED_ANEW
from apps.accounts.models import User
from apps.accounts.selectors import with_second_factor
from apps.organizations.models import Membership, Organization, SsoConnection
from apps.organizations.permissions import Role

BY_PROVIDER = "socialaccount"
BY_FACTOR = "mfa"


@dataclass(frozen=True, slots=True)
class Shut:
    """Why a member does not come in by this session: `needs` is sso, password or factor."""

    needs: str
    organization: str
    connection: SsoConnection | None


def shut_for(request: HttpRequest, user: User, membership: Membership) -> Shut | None:
    """None where the session may see the organization.

    - Who came by the organization's own identity provider may; the provider asks for second factors.
    - Where that is enforced, nobody else may, but owners with a second factor: a broken provider must be mended.
    - Who came by another organization's provider alone may not: it speaks for its own organization only.
    - Where a second factor is required, who has none may not.
    """
    org = membership.organization
    connection = getattr(org, "sso", None)
    records = get_authentication_records(request, user)
    if connection is not None and connection.provider_id in providers_of(request, user):
        return None
    has_factor = any(record["method"] == BY_FACTOR for record in records)
    if connection is not None and connection.is_enforced and not (membership.role == Role.OWNER and has_factor):
        return Shut("sso", org.name, connection)
    if is_of_a_provider_alone(request, user):
        return Shut("password", org.name, connection)
    if org.requires_second_factor and not with_second_factor([user.pk]):
        return Shut("factor", org.name, connection)
    return None


def survives_enforcement(request: HttpRequest, user: User, connection: SsoConnection) -> bool:
    """Whether an owner's session still sees the organization once single sign-on is enforced."""
    records = get_authentication_records(request, user)
    return any(record["method"] == BY_FACTOR or record.get("provider") == connection.provider_id for record in records)


def providers_of(request: HttpRequest, user: User) -> set[str]:
    """The ids of the identity providers that the person came by."""
    records = get_authentication_records(request, user)
    return {record["provider"] for record in records if record["method"] == BY_PROVIDER}


def is_of_a_provider_alone(request: HttpRequest, user: User) -> bool:
    """Whether the session stands on an identity provider's word and nothing of the person's own."""
    records = get_authentication_records(request, user)
    return any(record["method"] == BY_PROVIDER for record in records) and not any(map(_is_own, records))


def asked_lately(request: HttpRequest, org: Organization) -> bool:
    """Whether the organization's provider has asked the person again, within the last minutes, who they are."""
    connection = getattr(org, "sso", None)
    asked = request.session.get(ASKED_ANEW, {})
    since = time.time() - settings.ACCOUNT_REAUTHENTICATION_TIMEOUT
    return connection is not None and asked.get(connection.provider_id, 0) >= since


def _is_own(record: dict[str, object]) -> bool:
    """Whether the person proved it by something of their own: a second factor that a sign-in by a provider asked for
    is not enough, one that was asked for later is.
    """
    if record["method"] == BY_FACTOR:
        return bool(record.get("passwordless") or record.get("reauthenticated"))
    return record["method"] != BY_PROVIDER
