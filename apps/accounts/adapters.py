"""How allauth behaves here."""

import time
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.authentication import get_authentication_records
from allauth.mfa.adapter import DefaultMFAAdapter
from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from apps.accounts.models import User
from apps.core.encryption import decrypt, encrypt

# Set while a person follows an invitation: the address that it was sent to.
INVITED = "invited_email"


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
    lately = [record for record in records if record["at"] >= since and record["method"] != "socialaccount"]
    return bool(lately) or user.date_joined.timestamp() >= since


class MFAAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Secrets of second factors stand encrypted in the database."""

    def encrypt(self, text: str) -> str:
        return encrypt(text)

    def decrypt(self, encrypted_text: str) -> str:
        return decrypt(encrypted_text)
