"""How allauth's single sign-on behaves here: whose provider it is, whom it speaks for, and how it is reached.

It only ever signs in. That an identity is linked to the account of who happens to be signed in is not a thing here: a
link to another organization's provider would give that account away.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn

import requests
import structlog
from allauth.account.models import EmailAddress
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter, get_adapter
from allauth.socialaccount.models import SocialApp, SocialLogin
from allauth.socialaccount.providers.base import AuthProcess, Provider
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from allauth.socialaccount.providers.saml.provider import SAMLProvider
from allauth.socialaccount.providers.saml.utils import build_auth, build_saml_config
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.http import require_safe
from onelogin.saml2.errors import OneLogin_Saml2_Error, OneLogin_Saml2_ValidationError
from onelogin.saml2.settings import OneLogin_Saml2_Settings

from apps.accounts.adapters import ASKED_ANEW
from apps.accounts.models import User
from apps.accounts.selectors import account_of
from apps.accounts.services import drop_claims, prove_address
from apps.alerts.requesting import outward_session
from apps.alerts.transport import Outbound
from apps.core.encryption import decrypt
from apps.core.errors import DomainError
from apps.organizations import sso
from apps.organizations.models import SsoConnection

EXCHANGE_SECONDS = 10
# What an answer that is no SAML raises, or no XML, whose errors are of syntax.
UNREADABLE = (OneLogin_Saml2_Error, OneLogin_Saml2_ValidationError, SyntaxError)

log = structlog.get_logger(__name__)


class ProviderGone(SocialApp.DoesNotExist, ValueError):  # type: ignore[misc]
    """Views answer 404 to the one, and a sign-in under way that cannot be read again begins anew by the other."""


class OidcProvider(OpenIDConnectProvider):  # type: ignore[misc]
    """Known by its id, which no other organization's has; its addresses have the organization's slug."""

    def get_oauth2_adapter(self, request: HttpRequest) -> OpenIDConnectOAuth2Adapter:
        slug = SsoConnection.objects.values_list("organization__slug", flat=True).get(app=self.app)
        return OpenIDConnectOAuth2Adapter(request, slug)

    def serialize(self) -> dict[str, str]:
        return {"id": self.app.provider_id}


class SocialAccountAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]  # allauth ships no types
    def get_app(self, request: HttpRequest | None, provider: str, client_id: str | None = None) -> SocialApp:
        """The app of one organization, its secret opened for this request. Never by a client id, which two may share.

        Addresses name it by the slug, of SAML as `client_id`; sign-ins under way and accounts by the provider's id.
        Raises `ProviderGone`.
        """
        if client_id is not None:
            asked = {"kind": SsoConnection.Kind.SAML, "organization__slug": client_id}
        elif ":" in provider:
            asked = {"provider_id": provider}
        else:
            asked = {"kind": SsoConnection.Kind.OIDC, "organization__slug": provider}
        connection = SsoConnection.objects.select_related("app").filter(**asked).first()
        if connection is None:
            raise ProviderGone
        connection.app.secret = decrypt(connection.app.secret)
        return connection.app

    def get_provider(self, request: HttpRequest | None, provider: str, client_id: str | None = None) -> Provider:
        app = self.get_app(request, provider=provider, client_id=client_id)
        return OidcProvider(request, app=app) if app.provider == OidcProvider.id else SAMLProvider(request, app=app)

    def get_requests_session(self) -> requests.Session:
        """An organization names its provider's address: it is reached as webhooks are, and reaches nothing private."""
        return outward_session(Outbound(), EXCHANGE_SECONDS)

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Admit who is of a proved domain, with the account of that address.

        A session that begins so sees this organization alone (apps.portal.entrance).
        """
        connection = _connection_of(request, sociallogin)
        if sociallogin.state.get("process") != AuthProcess.LOGIN:
            _refuse(request, connection, "An identity provider signs in, and does nothing else here.")
        email = _address_of(sociallogin)
        try:
            sso.require_own_address(connection, email)
            if _says_unverified(sociallogin):
                raise DomainError("address_unverified", f"The identity provider has not confirmed {email} itself.")
            if not sociallogin.is_existing:
                _link(request, sociallogin, connection, email)
            if sociallogin.is_existing:
                sso.admit(connection, sociallogin.user, email)
            else:
                sso.require_room(connection.organization)
        except DomainError as wrong:
            _refuse(request, connection, wrong.detail)
        sociallogin.email_addresses = [EmailAddress(email=email, verified=True, primary=True)]
        sociallogin.user.email = sociallogin.user.email or email

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        return True

    def save_user(self, request: HttpRequest, sociallogin: SocialLogin, form: Any = None) -> User:
        """The first sign-in makes the person, and the membership."""
        user: User = super().save_user(request, sociallogin, form)
        connection = _connection_of(request, sociallogin)
        try:
            sso.admit(connection, user, user.email)
        except DomainError as wrong:
            _refuse(request, connection, wrong.detail)
        return user


def _connection_of(request: HttpRequest, sociallogin: SocialLogin) -> SsoConnection:
    found = (
        SsoConnection.objects.select_related("organization").filter(provider_id=sociallogin.account.provider).first()
    )
    if found is None:
        _refuse(request, None, "No organization signs in by this identity provider any more.")
    return found


def _link(request: HttpRequest, sociallogin: SocialLogin, connection: SsoConnection, email: str) -> None:
    """To the account of the address, where there is one: the domain's owner could take it anyway, by mail."""
    user = account_of(email)
    if user is None:
        drop_claims(email)
        return
    sso.require_same_person(connection, user)
    prove_address(user, email)
    user.refresh_from_db()
    sociallogin.connect(request, user)


def _address_of(sociallogin: SocialLogin) -> str:
    said = [address.email for address in sociallogin.email_addresses] or [sociallogin.user.email]
    return (said[0] or "").strip().lower()


def _says_unverified(sociallogin: SocialLogin) -> bool:
    """Whether the provider says so itself: many say nothing of it."""
    data = sociallogin.account.extra_data or {}
    for part in (data, data.get("userinfo"), data.get("id_token")):
        if isinstance(part, dict) and part.get("email_verified") in (False, "false"):
            return True
    return False


def _refuse(request: HttpRequest, connection: SsoConnection | None, why: str) -> NoReturn:
    context = {"refusal": why, "organization": connection.organization.name if connection else ""}
    raise ImmediateHttpResponse(render(request, "portal/sso_refused.html", context, status=403))


def begin(request: HttpRequest, connection: SsoConnection, onward: str, *, anew: bool = False) -> HttpResponse:
    """A redirect to the identity provider, which comes back to `onward`; or the page that says why there is none.

    `anew`: it is told to ask the person, who may have signed in there already.
    """
    provider = get_adapter().get_provider(request, connection.provider_id)
    begun: HttpResponse
    if connection.kind == SsoConnection.Kind.OIDC:
        options = {"data": ASKED_ANEW, "auth_params": {"prompt": "login"}} if anew else {}
        begun = provider.redirect(request, AuthProcess.LOGIN, next_url=onward, **options)
    else:
        asked = build_auth(request, provider)
        begun = HttpResponseRedirect(asked.login(return_to="", force_authn=anew))
        provider.stash_redirect_state(
            request, AuthProcess.LOGIN, onward, ASKED_ANEW if anew else None, state_id=asked.get_last_request_id()
        )
    return begun


def soft(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """A view of allauth's whose provider may be away, or answer nonsense: that is nobody's fault here."""

    @wraps(view)
    def answered(request: HttpRequest, *arguments: Any, **named: Any) -> HttpResponse:
        try:
            return view(request, *arguments, **named)
        except (requests.RequestException, *UNREADABLE, KeyError, ValueError) as error:
            log.warning("identity provider failed", error=str(error), path=request.path)
            return render(request, "socialaccount/authentication_error.html", status=502)

    return answered


@require_safe
def metadata(request: HttpRequest, organization_slug: str) -> HttpResponse:
    """What a SAML provider needs to know of us. There is no single logout: signing out is each session's own."""
    connection = sso.connection_for(organization_slug)
    if connection is None or connection.kind != SsoConnection.Kind.SAML:
        raise Http404
    config = build_saml_config(request, connection.app.settings, organization_slug)
    del config["sp"]["singleLogoutService"]
    said = OneLogin_Saml2_Settings(settings=config, sp_validation_only=True).get_sp_metadata()
    return HttpResponse(said, content_type="text/xml")
