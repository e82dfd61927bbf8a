"""How allauth behaves here."""

import time
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.authentication import get_authentication_records
from allauth.mfa.adapter import DefaultMFAAdapter
from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse

from apps.accounts.models import User
from apps.core.encryption import decrypt, encrypt

# Set while a person follows an invitation: the address that it was sent to.
INVITED = "invited_email"
# In what a sign-in by an identity provider keeps in mind: the provider was told to ask the person again. In the session
# that it makes: when, by the provider's id.
ASKED_ANEW = "asked_anew"


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth ships no types
    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Strangers may, where the installation lets them; who follows an invitation may always."""
        return bool(settings.SIGNUP_OPEN or request.session.get(INVITED))

    def clean_email(self, email: str) -> str:
        """Where only who is invited may sign up, it takes the address that was invited."""
        invited = self.request.session.get(INVITED) if self.request and not settings.SIGNUP_OPEN else None
        if invited and email.strip().lower() != invited:
            raise ValidationError(f"The invitation is for {invited}: sign up with that address.")
        return str(super().clean_email(email))

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Mails name the installation by its address."""
        super().send_mail(template_prefix, email, {"base_url": settings.BASE_URL, **context})

    def post_login(
        self, request: HttpRequest, user: User, *, signal_kwargs: dict[str, Any] | None, **more: Any
    ) -> HttpResponse:
        """Notes that the identity provider has asked the person again, where it was told to."""
        came = (signal_kwargs or {}).get("sociallogin")
        if came is not None and came.state.get("data") == ASKED_ANEW:
            request.session[ASKED_ANEW] = {came.account.provider: time.time()}
        response: HttpResponse = super().post_login(request, user, signal_kwargs=signal_kwargs, **more)
        return response

    def is_reauthentication_required(self, *, app: str, **_more: Any) -> bool:
        """Not of who signed in, or made the account, within the last minutes."""
        return not _signed_in_lately(self.request)


def _signed_in_lately(request: HttpRequest) -> bool:
    """By something of the person's own: an organization's identity provider does not open the account itself."""
    since = time.time() - settings.ACCOUNT_REAUTHENTICATION_TIMEOUT
    user = request.user
    if not isinstance(user, User):
        return False
    records = get_authentication_records(request, user)
    own = [record for record in records if record["method"] != "socialaccount"]
    if own or not records:
        return any(record["at"] >= since for record in own) or user.date_joined.timestamp() >= since
    return False


class MFAAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Secrets of second factors stand encrypted in the database."""

    def encrypt(self, text: str) -> str:
        return encrypt(text)

    def decrypt(self, encrypted_text: str) -> str:
        return decrypt(encrypted_text)
