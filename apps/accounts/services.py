from allauth.account.models import EmailAddress
from allauth.account.utils import user_pk_to_url_str
from django.conf import settings
from django.contrib.auth.tokens import default_token_generator
from django.db import transaction
from django.urls import reverse

from apps.accounts.models import User


def get_or_create_user(*, email: str, password: str | None = None) -> User:
    """The person with this address; a new one may sign in at once, since whoever runs the command vouches."""
    address = email.strip().lower()
    with transaction.atomic():
        user = User.objects.filter(email=address).first() or User.objects.create_user(address, password)
        if not EmailAddress.objects.filter(user=user, email=address).exists():
            EmailAddress.objects.create(user=user, email=address, verified=True, primary=True)
    return user


def password_link(user: User) -> str:
    """A single-use link with which the person chooses a password."""
    key = f"{user_pk_to_url_str(user)}-{default_token_generator.make_token(user)}"
    uid, _, token = key.partition("-")
    path = reverse("account_reset_password_from_key", kwargs={"uidb36": uid, "key": token})
    return f"{settings.BASE_URL}{path}"


def set_operator(*, email: str, is_operator: bool) -> bool:
    """Whether a person with this address was found and now looks after the installation, or no longer does."""
    return bool(User.objects.filter(email=email.strip().lower()).update(is_operator=is_operator))
