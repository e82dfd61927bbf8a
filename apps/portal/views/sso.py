"""Single sign-on: the way in, and the page where an organization sets it up."""

from collections.abc import Callable
from typing import Any

from allauth.core.ratelimit import consume_or_429
from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods

from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.organizations import sso as services
from apps.organizations.models import Domain, Membership, SsoConnection
from apps.organizations.permissions import ROLE_LABELS, Permission, Role
from apps.organizations.selectors import list_domains
from apps.portal.access import View, Visit, organization_page
from apps.portal.entrance import survives_enforcement
from apps.portal.pages import Crumb, Option
from apps.portal.pages_people import DomainRow, SsoPage
from apps.portal.pages_prices import FormError
from apps.portal.sso import begin, soft

KIND_LABELS = {"oidc": "OpenID Connect", "saml": "SAML 2.0"}
CONNECTED = "The identity provider is connected. Try its sign-in link in another browser before you enforce it."
FIELDS = ("server_url", "client_id", "entity_id", "sso_url", "certificate")


# --- the way in --------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
def start(request: HttpRequest) -> HttpResponse:
    """Where somebody's address, or organization, signs in."""
    given = request.POST if request.method == "POST" else request.GET
    who, onward = str(given.get("who", ""))[:254].strip(), str(given.get("next", ""))[:2000]
    refusal = ""
    if request.method == "POST":
        # Whether a domain has an identity provider cannot be kept from who asks; how many they ask for can be bounded.
        too_many: HttpResponse | None = consume_or_429(request, action="sso")
        if too_many is not None:
            return too_many
        connection = services.connection_for(who)
        if connection is not None:
            return _go(request, connection, onward)
        refusal = f"Nobody signs in by an identity provider with '{who}' here. Use a password."
    context = {"who": who, "next": onward, "refusal": refusal}
    return render(request, "portal/sso_start.html", context, status=400 if refusal else 200)


@require_http_methods(["GET", "HEAD", "POST"])
def go(request: HttpRequest, slug: str) -> HttpResponse:
    """The link that an organization gives its people: straight to its identity provider. Who is signed in already is
    asked first, for they are signed out by it, and no other site may do that to them.
    """
    connection = services.connection_for(slug)
    if connection is None:
        raise Http404
    given = request.POST if request.method == "POST" else request.GET
    onward = str(given.get("next", ""))[:2000]
    if request.method == "POST" or not request.user.is_authenticated:
        return _go(request, connection, onward, anew=request.POST.get("anew") == "yes")
    context = {"organization": connection.organization.name, "next": onward}
    return render(request, "portal/sso_ask.html", context)


@soft
def _go(request: HttpRequest, connection: SsoConnection, onward: str, *, anew: bool = False) -> HttpResponse:
    """By a page, not by a redirect: our policy lets no form end at another site."""
    is_ours = url_has_allowed_host_and_scheme(onward, allowed_hosts=None)
    after = onward if is_ours else reverse("portal:overview", args=[connection.organization.slug])
    begun = begin(request, connection, after, anew=anew)
    if not isinstance(begun, HttpResponseRedirect):
        return begun
    return render(request, "portal/sso_going.html", {"organization": connection.organization.name, "url": begun.url})


# --- setting it up -----------------------------------------------------------------------------------


@organization_page(section="single_sign_on", permission=Permission.MANAGE_ORGANIZATION)
def single_sign_on(visit: Visit) -> HttpResponse:
    return _answer(visit)


Act = Callable[..., str]


def _act(perform: Act) -> View:
    """An act of the page: what it says when it is done, or the page with what was wrong."""

    @organization_page(
        section="single_sign_on",
        permission=Permission.MANAGE_ORGANIZATION,
        writes=Permission.MANAGE_ORGANIZATION,
        is_act=True,
        is_sensitive=True,
    )
    def acted(visit: Visit, **named: Any) -> HttpResponse:
        try:
            messages.info(visit.request, perform(visit, **named))
        except DomainError as wrong:
            if wrong.code == "not_found":
                raise
            return _answer(visit, FormError.of(wrong))
        return HttpResponseRedirect(visit.url("single_sign_on"))

    return acted


def _posted(visit: Visit, name: str) -> str:
    return str(visit.request.POST.get(name, ""))[:10_000].strip()


def _all_posted(visit: Visit, *names: str) -> dict[str, str]:
    return {name: _posted(visit, name) for name in names}


@_act
def domain_add(visit: Visit) -> str:
    domain = services.add_domain(org=visit.org, name=_posted(visit, "domain")[:300], actor=visit.user)
    return f"Put the TXT record of {domain.name} into its zone, then look for it."


@_act
def domain_verify(visit: Visit, domain_id: int) -> str:
    domain = services.verify_domain(org=visit.org, domain_id=domain_id, actor=visit.user)
    return f"{domain.name} is proved."


@_act
def domain_remove(visit: Visit, domain_id: int) -> str:
    services.remove_domain(org=visit.org, domain_id=domain_id, actor=visit.user)
    return "Addresses of this domain are no longer admitted."


@_act
def oidc(visit: Visit) -> str:
    services.connect_oidc(
        org=visit.org,
        **_all_posted(visit, "server_url", "client_id", "client_secret", "default_role"),
        actor=visit.user,
    )
    return CONNECTED


@_act
def saml(visit: Visit) -> str:
    services.connect_saml(
        org=visit.org,
        **_all_posted(visit, "entity_id", "sso_url", "certificate", "default_role"),
        actor=visit.user,
    )
    return CONNECTED


@_act
def enforcement(visit: Visit) -> str:
    is_enforced = _posted(visit, "enforced") == "yes"
    connection = services.connection_of(visit.org)
    if is_enforced and connection and not survives_enforcement(visit.request, visit.user, connection):
        raise DomainError(
            "sso_locks_out",
            "Sign in by the identity provider, or with a second factor, before you enforce it: this session would be"
            " shut out.",
        )
    services.enforce(org=visit.org, is_enforced=is_enforced, actor=visit.user)
    return "Members come in by the identity provider only." if is_enforced else "A password is enough again."


@_act
def disconnect(visit: Visit) -> str:
    services.disconnect(org=visit.org, actor=visit.user)
    return "The identity provider is disconnected."


def _answer(visit: Visit, error: FormError | None = None) -> HttpResponse:
    with tenant(visit.org):
        domains = list_domains(visit.org)
        connection = services.connection_of(visit.org)
    chosen = connection.default_role if connection else Role.VIEWER
    page = SsoPage(
        domains=tuple(_domain_row(visit, domain) for domain in domains),
        domain_url=visit.url("domain_add"),
        kind=connection.kind if connection else "",
        kind_label=KIND_LABELS[connection.kind] if connection else "",
        given=_given(visit, connection),
        roles=tuple(Option(role, ROLE_LABELS[role], role == chosen) for role in services.DEFAULT_ROLES),
        login_url=settings.BASE_URL + reverse("portal:sso_go", args=[visit.org.slug]),
        callback_url=settings.BASE_URL + reverse("openid_connect_callback", args=[visit.org.slug]),
        acs_url=settings.BASE_URL + reverse("saml_acs", args=[visit.org.slug]),
        metadata_url=settings.BASE_URL + reverse("saml_metadata", args=[visit.org.slug]),
        oidc_url=visit.url("sso_oidc"),
        saml_url=visit.url("sso_saml"),
        enforce_url=visit.url("sso_enforce"),
        disconnect_url=visit.url("sso_disconnect"),
        is_enforced=connection is not None and connection.is_enforced,
        members=Membership.objects.filter(organization=visit.org).count(),
        error=error,
    )
    frame = visit.frame("Single sign-on", Crumb("Organization", visit.url("organization")), Crumb("Single sign-on"))
    return visit.render("portal/sso.html", frame=frame, sso=page, error=error)


def _domain_row(visit: Visit, domain: Domain) -> DomainRow:
    below = f"{visit.url('single_sign_on')}/domains/{domain.pk}"
    return DomainRow(
        name=domain.name,
        record_name=f"{services.RECORD_NAME}.{domain.name}",
        record=f"{services.RECORD_PREFIX}{domain.token}",
        verified_at=domain.verified_at,
        verify_url=f"{below}/verify",
        remove_url=f"{below}/remove",
    )


def _given(visit: Visit, connection: SsoConnection | None) -> dict[str, str]:
    """What stands in the forms: what was typed, else what is stored; never a secret."""
    typed = {name: _posted(visit, name) for name in FIELDS if name in visit.request.POST}
    if connection is None:
        return typed
    kept = connection.app.settings
    idp = kept.get("idp", {})
    stored = {
        "server_url": kept.get("server_url", ""),
        "client_id": connection.app.client_id if connection.kind == SsoConnection.Kind.OIDC else "",
        "entity_id": idp.get("entity_id", ""),
        "sso_url": idp.get("sso_url", ""),
        "certificate": idp.get("x509cert", ""),
    }
    return {**stored, **typed}
