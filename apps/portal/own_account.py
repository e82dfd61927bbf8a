"""What is a person's own, and not their company's: the pages of the account, and belonging anywhere else."""

from collections.abc import Callable
from typing import Any

from allauth.account.adapter import get_adapter
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import ResolverMatch, reverse
from django.utils.http import urlencode

from apps.accounts.models import User
from apps.portal.entrance import is_of_a_provider_alone

_OWN = ("portal:organization_new", "portal:invitation", "portal:session_end")
# Of the account's pages, the ones that ask for something of the person's own: a password, a key, a mail that only they
# read; and the way out.
_OPEN = frozenset({
    "account_login", "account_logout", "account_signup", "account_inactive", "account_reauthenticate",
    "account_confirm_email", "account_email_verification_sent", "account_reset_password", "account_reset_password_done",
    "account_reset_password_from_key", "account_reset_password_from_key_done",
    "mfa_authenticate", "mfa_login_webauthn", "mfa_reauthenticate", "mfa_reauthenticate_webauthn",
    "openid_connect_login", "openid_connect_callback", "saml_login", "saml_acs", "saml_finish_acs", "saml_metadata",
    "socialaccount_login_cancelled", "socialaccount_login_error",
})  # fmt: skip


class OwnAccountMiddleware:
    """A session that stands on an identity provider's word alone opens none of them, so that no page can forget it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., HttpResponse], arguments: Any, named: Any
    ) -> HttpResponse | None:
        match = request.resolver_match
        if match is None or not _is_own(match):
            return None
        user = request.user
        if not isinstance(user, User) or not is_of_a_provider_alone(request, user):
            return None
        if methods := get_adapter().get_reauthentication_methods(user):
            onward = request.path if request.method in ("GET", "HEAD") else reverse("account_email")
            return HttpResponseRedirect(f"{methods[0]['url']}?{urlencode({'next': onward})}")
        return render(request, "portal/own_account.html", status=403)


def _is_own(match: ResolverMatch) -> bool:
    return match.view_name in _OWN or (match.route.startswith("accounts/") and match.url_name not in _OPEN)
