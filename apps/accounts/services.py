from operator import attrgetter

from allauth.account.models import EmailAddress
from allauth.account.utils import user_pk_to_url_str
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY
from django.contrib.auth.tokens import default_token_generator
from django.contrib.sessions.models import Session
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from apps.accounts.models import User
from apps.core.encryption import encrypt_anew
from apps.core.errors import DomainError

# What allauth keeps encrypted of an authenticator app, and of recovery codes.
SECRET_DATA = ("secret", "seed")
# Of one person, on one page.
SESSIONS_SHOWN = 100


def get_or_create_user(*, email: str, password: str | None = None) -> User:
    """The person with this address; a new one may sign in at once, since whoever runs the command vouches."""
    address = email.strip().lower()
    with transaction.atomic():
        user = User.objects.filter(email=address).first() or User.objects.create_user(address, password)
        if not EmailAddress.objects.filter(user=user, email=address).exists():
            EmailAddress.objects.create(user=user, email=address, verified=True, primary=True)
    return user


def drop_claims(email: str) -> None:
    """Nobody else's account lists this address any more without having proved it."""
    EmailAddress.objects.filter(email=email, verified=False, primary=False).delete()


def prove_address(user: User, email: str) -> None:
    """The account that was made with this address belongs to who has proved it just now.

    Whoever made it may have been a stranger: nothing that opened it until now does so any longer. Raises `DomainError`
    with code `address_unproved` where the account has proved another address: then it is somebody's.
    """
    with transaction.atomic():
        user = User.objects.select_for_update().get(pk=user.pk)
        addresses = EmailAddress.objects.filter(user=user)
        if addresses.filter(email=email, verified=True).exists():
            return
        if addresses.filter(verified=True).exists():
            raise DomainError(
                "address_unproved",
                f"The account with {email} has proved another address only: sign in there and confirm this one first.",
            )
        addresses.delete()
        EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
        Authenticator.objects.filter(user=user).delete()
        SocialAccount.objects.filter(user=user).delete()
        user.set_unusable_password()
        user.save(update_fields=["password"])
    end_sessions(user)


def end_sessions(user: User) -> None:
    """Sign the person out everywhere."""
    for session in UserSession.objects.filter(user=user):
        session.end()


def encrypt_factors_anew() -> int:
    """Encrypt what second factors keep by the first of ENCRYPTION_KEYS. How many; raises `Unreadable`, and then
    changes nothing.
    """
    with transaction.atomic():
        factors = list(Authenticator.objects.select_for_update().exclude(type=Authenticator.Type.WEBAUTHN))
        for factor in factors:
            factor.data = {
                name: encrypt_anew(value) if name in SECRET_DATA else value for name, value in factor.data.items()
            }
            factor.save(update_fields=["data"])
    return len(factors)


def sessions_of(user: User) -> list[UserSession]:
    """Where the person is signed in, the `SESSIONS_SHOWN` that were seen last, oldest first.

    What is over by its time, by an end elsewhere or by a new password is forgotten. Sessions are looked at together:
    a page of many asks as often as a page of one.
    """
    found = list(UserSession.objects.filter(user=user).order_by("-last_seen_at", "-pk")[:SESSIONS_SHOWN])
    live = Session.objects.filter(expire_date__gt=timezone.now())
    held = live.in_bulk([session.session_key for session in found])
    marks = {user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()}
    over = [
        session.pk
        for session in found
        if session.session_key not in held or held[session.session_key].get_decoded().get(HASH_SESSION_KEY) not in marks
    ]
    if over:
        UserSession.objects.filter(pk__in=over).delete()
    return sorted((one for one in found if one.pk not in over), key=attrgetter("created_at"))


def password_link(user: User) -> str:
    """A single-use link with which the person chooses a password."""
    key = f"{user_pk_to_url_str(user)}-{default_token_generator.make_token(user)}"
    uid, _, token = key.partition("-")
    path = reverse("account_reset_password_from_key", kwargs={"uidb36": uid, "key": token})
    return f"{settings.BASE_URL}{path}"


def set_operator(*, email: str, is_operator: bool) -> bool:
    """Whether a person with this address was found and now looks after the installation, or no longer does."""
    return bool(User.objects.filter(email=email.strip().lower()).update(is_operator=is_operator))
