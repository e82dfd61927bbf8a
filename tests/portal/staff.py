"""Staff of the installation: an operator with a second factor, signed in a moment ago."""

import time

from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP
from django.test import Client

from apps.accounts.models import User
from apps.accounts.services import set_operator
from tests.portal.conftest import client_of, make_person

REASON = "They asked why their spend is unattributed."
TOTP_SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


def make_operator(*, second_factor: bool = True) -> User:
    """Who joined long ago: whoever made their account a moment ago is known without signing in again."""
    person = make_person("staff")
    set_operator(email=person.email, is_operator=True)
    User.objects.filter(pk=person.pk).update(date_joined="2020-01-01T00:00:00Z")
    if second_factor:
        give_second_factor(person)
    person.refresh_from_db()
    return person


def give_second_factor(person: User) -> Authenticator:
    RecoveryCodes.activate(person)
    return TOTP.activate(person, TOTP_SECRET).instance


def staff_client(operator: User | None = None) -> Client:
    operator = operator or make_operator()
    client = client_of(operator)
    sign_in_anew(client, operator)
    return client


def sign_in_anew(client: Client, person: User) -> None:
    """What allauth notes in the session of who signed in now."""
    session = client.session
    session["account_authentication_methods"] = [{"method": "password", "at": time.time()}]
    session["account_authentication_methods_user"] = str(person.pk)
    session.save()
