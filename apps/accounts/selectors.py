from collections.abc import Iterable

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.db.models import Exists, OuterRef, QuerySet

from apps.accounts.models import User

# What people call a second factor.
FACTOR_LABELS: dict[str, str] = {
    Authenticator.Type.TOTP: "Authenticator app",
    Authenticator.Type.WEBAUTHN: "Passkey or security key",
    Authenticator.Type.RECOVERY_CODES: "Recovery codes",
}


def account_of(email: str) -> User | None:
    """Whose address this is, in lower case: of who has proved it, else of who made an account with it."""
    proved = EmailAddress.objects.select_related("user").filter(email=email, verified=True).first()
    return proved.user if proved else User.objects.filter(email=email).first()


def has_verified_address(user: User, email: str) -> bool:
    """Whether the person has proved to read mail at this address."""
    return bool(EmailAddress.objects.filter(user=user, email__iexact=email, verified=True).exists())


def addresses_of(user: User) -> set[str]:
    """Every address that is or was to be the person's, whichever is the first now."""
    return {user.email, *EmailAddress.objects.filter(user=user).values_list("email", flat=True)}


def with_second_factor(user_ids: Iterable[int]) -> set[int]:
    """Those of these people who have one. Recovery codes are none: they stand in for one that is lost."""
    return set(_second_factors().filter(user__in=list(user_ids)).values_list("user_id", flat=True))


def people() -> QuerySet[User]:
    """Everybody, with whether they have a second factor."""
    return User.objects.annotate(has_second_factor=Exists(_second_factors().filter(user=OuterRef("pk"))))


def _second_factors() -> QuerySet[Authenticator]:
    found: QuerySet[Authenticator] = Authenticator.objects.exclude(type=Authenticator.Type.RECOVERY_CODES)
    return found
