"""Single sign-on of an organization: its domains, its identity provider, and who is admitted by it.

An identity provider speaks for addresses of domains that its organization has proved to own, and for no others.
"""

import re
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from allauth.socialaccount.models import SocialAccount, SocialApp
from cryptography import x509
from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.accounts.models import User
from apps.audit import services as audit
from apps.core.encryption import encrypt
from apps.core.errors import DomainError, NotFound
from apps.core.tenancy import tenant
from apps.organizations.dns import txt_records
from apps.organizations.members import MEMBERS_MAX
from apps.organizations.models import Domain, DomainOwner, Invitation, Membership, Organization, SsoConnection
from apps.organizations.permissions import Role
from apps.organizations.selectors import is_own_address, require_active

RECORD_NAME = "_finops-domain"
RECORD_PREFIX = "finops-domain="
DOMAINS_MAX = 20
# What signing in by an identity provider may make of a person.
DEFAULT_ROLES = (Role.ADMIN, Role.FINANCE, Role.ENGINEER, Role.VIEWER)
SECRET_LENGTH_MAX = 100
_DOMAIN = re.compile(r"(?=.{4,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])")
_URL = re.compile(r"https?://[\x21-\x7e]{1,500}")
_CERTIFICATE = re.compile(r"-----(?:BEGIN|END) CERTIFICATE-----|\s")

Kind = SsoConnection.Kind


# --- domains -----------------------------------------------------------------------------------------


def add_domain(*, org: Organization, name: str, actor: object) -> Domain:
    """Raises `DomainError` with code `domain_invalid`, `domain_known` or `too_many_domains`."""
    name = name.strip().lower().removeprefix("@").rstrip(".")
    if not _DOMAIN.fullmatch(name):
        raise DomainError("domain_invalid", f"'{name[:100]}' is no domain: write one like acme.com.", param="domain")
    with tenant(org):
        if Domain.objects.for_org(org).count() >= DOMAINS_MAX:
            raise DomainError("too_many_domains", f"{DOMAINS_MAX} domains are listed: remove one.", param="domain")
        if Domain.objects.for_org(org).filter(name=name).exists():
            raise DomainError("domain_known", f"{name} is listed already.", param="domain")
        domain = Domain(organization=org, name=name, token=secrets.token_hex(16))
        domain.save()
        audit.record(org=org, actor=actor, action="sso.domain_added", subject=name)
    return domain


def verify_domain(
    *, org: Organization, domain_id: int, actor: object, look_up: Callable[[str], Sequence[str]] = txt_records
) -> Domain:
    """Prove the domain by its TXT record; what is proved stays so. Waits on the network.

    Raises `NotFound`, or `DomainError` with code `domain_unproved` or `domain_taken`.
    """
    with tenant(org):
        domain = Domain.objects.for_org(org).filter(pk=domain_id).first()
    if domain is None:
        raise NotFound("domain")
    if domain.verified_at is not None:
        return domain
    wanted = f"{RECORD_PREFIX}{domain.token}"
    if wanted not in look_up(f"{RECORD_NAME}.{domain.name}"):
        raise DomainError(
            "domain_unproved",
            f"No TXT record of {RECORD_NAME}.{domain.name} holds {wanted}. A new record takes some minutes to be seen.",
            param="domain",
        )
    with tenant(org):
        try:
            with transaction.atomic():
                owner, _ = DomainOwner.objects.get_or_create(domain=domain.name, defaults={"organization": org})
        except IntegrityError:
            owner = DomainOwner.objects.get(domain=domain.name)
        if owner.organization_id != org.pk:
            raise DomainError(
                "domain_taken", f"{domain.name} belongs to another organization here: it has to let it go first."
            )
        domain.verified_at = timezone.now()
        domain.save(update_fields=["verified_at"])
        audit.record(org=org, actor=actor, action="sso.domain_verified", subject=domain.name)
    return domain


def remove_domain(*, org: Organization, domain_id: int, actor: object) -> None:
    """Addresses of it are no longer admitted. Raises `NotFound`, or `DomainError` with code `sso_enforced`."""
    with tenant(org):
        _lock(org)
        domain = Domain.objects.for_org(org).filter(pk=domain_id).first()
        if domain is None:
            raise NotFound("domain")
        proved = Domain.objects.for_org(org).filter(verified_at__isnull=False)
        connection = connection_of(org)
        if connection and connection.is_enforced and not proved.exclude(pk=domain.pk).exists():
            raise _enforced(f"{domain.name} is the only proved domain")
        DomainOwner.objects.filter(domain=domain.name, organization=org).delete()
        domain.delete()
        audit.record(org=org, actor=actor, action="sso.domain_removed", subject=domain.name)


# --- the identity provider ---------------------------------------------------------------------------


def connect_oidc(
    *, org: Organization, server_url: str, client_id: str, client_secret: str, default_role: str, actor: object
) -> SsoConnection:
    """OpenID Connect. An empty secret keeps the one that is stored for this issuer and client.

    Raises `DomainError` with code `url_invalid`, `client_invalid`, `role_unknown` or `sso_enforced`.
    """
    _require_url(server_url, "server_url")
    fields: dict[str, Any] = {
        "provider": "openid_connect",
        "client_id": client_id,
        "settings": {"server_url": server_url.rstrip("/")},
    }
    known = connection_of(org)
    stored = known.app.secret if known is not None and _whose(known.app) == _whose(SocialApp(**fields)) else ""
    if not 1 <= len(client_id) <= 191 or not client_id.isprintable():
        raise DomainError("client_invalid", "A client id has 1 to 191 printable characters.", param="client_id")
    if len(client_secret) > SECRET_LENGTH_MAX or not (client_secret or stored):
        raise DomainError(
            "client_invalid", f"A client secret has 1 to {SECRET_LENGTH_MAX} characters.", param="client_secret"
        )
    fields["secret"] = encrypt(client_secret) if client_secret else stored
    return _connect(org, Kind.OIDC, fields, default_role, actor, {"server_url": server_url})


def connect_saml(
    *, org: Organization, entity_id: str, sso_url: str, certificate: str, default_role: str, actor: object
) -> SsoConnection:
    """SAML 2.0, assertions signed by the certificate.

    Raises `DomainError` with code `url_invalid`, `entity_invalid`, `certificate_invalid`, `role_unknown` or
    `sso_enforced`.
    """
    _require_url(sso_url, "sso_url")
    if not 1 <= len(entity_id) <= 500 or not entity_id.isprintable():
        raise DomainError("entity_invalid", "An entity id has 1 to 500 printable characters.", param="entity_id")
    fields = {
        "provider": "saml",
        "client_id": org.slug,
        "secret": "",
        "settings": {
            "idp": {"entity_id": entity_id, "sso_url": sso_url, "x509cert": _certificate(certificate)},
            "advanced": {
                "want_assertion_signed": True,
                "reject_deprecated_algorithm": True,
                "strict": True,
                "allow_single_label_domains": True,
            },
        },
    }
    return _connect(org, Kind.SAML, fields, default_role, actor, {"entity_id": entity_id, "sso_url": sso_url})


def _connect(
    org: Organization, kind: str, fields: dict[str, Any], default_role: str, actor: object, said: dict[str, str]
) -> SsoConnection:
    if default_role not in DEFAULT_ROLES:
        raise DomainError("role_unknown", f"Choose one of {', '.join(DEFAULT_ROLES)}.", param="default_role")
    with tenant(org):
        _lock(org)
        known = connection_of(org)
        if known is not None and _whose(known.app) != _whose(SocialApp(**fields)):
            if known.is_enforced:
                raise _enforced("Nobody has come in by another identity provider yet")
            # Another provider's users are other people, whatever they are called there.
            forget_provider(known)
            known = None
        # What an identity is said to come from, in accounts and in sessions: new with every provider, and never a slug,
        # by which addresses name one.
        app = known.app if known is not None else SocialApp(provider_id=f"{kind}:{secrets.token_hex(8)}")
        for name, value in {**fields, "name": org.name[:40]}.items():
            setattr(app, name, value)
        app.save()
        connection, _ = SsoConnection.objects.update_or_create(
            organization=org,
            defaults={"app": app, "kind": kind, "provider_id": app.provider_id, "default_role": default_role},
        )
        audit.record(
            org=org, actor=actor, action="sso.connected", subject=kind, data={**said, "default_role": default_role}
        )
    return connection


def _lock(org: Organization) -> None:
    """Changes of who comes in queue up: two that leave a way in together may leave none."""
    Organization.objects.select_for_update().get(pk=org.pk)


def _enforced(why: str) -> DomainError:
    return DomainError("sso_enforced", f"{why}, and nobody could come in: stop enforcing single sign-on first.")


def _whose(app: SocialApp) -> tuple[str, ...]:
    """What tells one identity provider from another. Some name people anew for each client."""
    if app.provider == "saml":
        return app.provider, app.settings["idp"]["entity_id"]
    return app.provider, app.settings["server_url"], app.client_id


def forget_provider(connection: SsoConnection) -> None:
    """Delete it, and with it the connection and who was known by it."""
    SocialAccount.objects.filter(provider=connection.provider_id).delete()
    connection.app.delete()


def enforce(*, org: Organization, is_enforced: bool, actor: object) -> None:
    """Whether members must come by the identity provider. Raises `DomainError` with code `sso_incomplete`."""
    with tenant(org):
        _lock(org)
        connection = connection_of(org)
        has_domain = Domain.objects.for_org(org).filter(verified_at__isnull=False).exists()
        if connection is None or (is_enforced and not has_domain):
            raise DomainError(
                "sso_incomplete", "Connect an identity provider and prove a domain first: nobody could come in."
            )
        if connection.is_enforced != is_enforced:
            connection.is_enforced = is_enforced
            connection.save(update_fields=["is_enforced"])
            audit.record(
                org=org, actor=actor, action="sso.enforced" if is_enforced else "sso.relaxed", subject=org.slug
            )


def disconnect(*, org: Organization, actor: object) -> None:
    """Nobody signs in by the identity provider any more; who did so needs a password. Twice changes nothing."""
    with tenant(org):
        connection = connection_of(org)
        if connection is None:
            return
        forget_provider(connection)
        audit.record(org=org, actor=actor, action="sso.disconnected", subject=connection.kind)


def connection_of(org: Organization) -> SsoConnection | None:
    return SsoConnection.objects.select_related("app").filter(organization=org).first()


def connection_for(text: str) -> SsoConnection | None:
    """Where an address, or an organization's slug, signs in."""
    found = SsoConnection.objects.select_related("app", "organization")
    wanted = text.strip().lower()
    if "\0" in wanted:
        return None
    if "@" not in wanted:
        return found.filter(organization__slug=wanted).first()
    owner = DomainOwner.objects.filter(domain=wanted.rpartition("@")[2]).first()
    return found.filter(organization=owner.organization_id).first() if owner else None


# --- coming in ---------------------------------------------------------------------------------------


def require_own_address(connection: SsoConnection, email: str) -> None:
    """Raises `DomainError` with code `address_outside`."""
    if not is_own_address(connection.organization, email):
        raise DomainError(
            "address_outside",
            f"The identity provider says {email or 'no address'}, which is of no domain that"
            f" {connection.organization.name} has proved to own.",
        )


def require_same_person(connection: SsoConnection, user: User) -> None:
    """The provider calls by this person's address somebody whom it has not named before.

    Of OpenID Connect that is another person: the address was given to somebody new, who must not find in the place of
    who had it before. SAML may name the same person anew each time. Raises `DomainError` with code `address_reused`.
    """
    before = SocialAccount.objects.filter(provider=connection.provider_id, user=user)
    is_member = Membership.objects.filter(organization=connection.organization, user=user).exists()
    if connection.kind == Kind.OIDC and is_member and before.exists():
        raise DomainError(
            "address_reused",
            f"{user.email} belongs to another person of the identity provider here: remove that member first.",
        )
    before.delete()


def require_room(org: Organization) -> None:
    """Whether a member may be added. Raises `DomainError` with code `organization_full`, or like `require_active`."""
    require_active(org)
    if Membership.objects.filter(organization=org).count() >= MEMBERS_MAX:
        raise DomainError("organization_full", f"{org.name} has {MEMBERS_MAX} members, as many as it may have.")


def admit(connection: SsoConnection, user: User, email: str) -> Membership:
    """The person's membership, made by the first sign-in: with the role of an open invitation of the address that the
    provider vouched for, else the default one.

    Members come in as long as the organization is there, to read it or to restore it. Raises like `require_room`.
    """
    org = connection.organization
    with tenant(org):
        org = Organization.objects.select_for_update().get(pk=org.pk)
        known = Membership.objects.filter(organization=org, user=user).first()
        if known is not None:
            return known
        require_room(org)
        now = timezone.now()
        invited = Invitation.objects.for_org(org).filter(
            email=email, accepted_at=None, revoked_at=None, expires_at__gt=now
        )
        invitation = invited.first()
        invited.update(accepted_at=now)
        membership = Membership.objects.create(
            organization=org,
            user=user,
            role=invitation.role if invitation else connection.default_role,
            teams=invitation.teams if invitation else [],
        )
        audit.record(
            org=org,
            actor=user,
            action="members.joined",
            subject=user.email,
            data={"role": membership.role, "by": connection.kind},
        )
    return membership


def _require_url(text: str, param: str) -> None:
    if not _URL.fullmatch(text):
        raise DomainError("url_invalid", f"'{text[:100]}' is no URL: write one like https://id.acme.com.", param=param)


def _certificate(text: str) -> str:
    """The certificate as base64 in one line."""
    body = _CERTIFICATE.sub("", text)
    pem = f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"
    try:
        x509.load_pem_x509_certificate(pem.encode())
    except ValueError:
        raise DomainError(
            "certificate_invalid",
            "This is no X.509 certificate: paste the one of the identity provider, BEGIN and END lines included.",
            param="certificate",
        ) from None
    return body
