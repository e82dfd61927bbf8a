from collections.abc import Iterable

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator

from apps.accounts.models import User


def has_verified_address(user: User, email: str) -> bool:
    """Whether the person has proved to read mail at this address."""
    return bool(EmailAddress.objects.filter(user=user, email__iexact=email, verified=True).exists())


def with_second_factor(user_ids: Iterable[int]) -> set[int]:
    """Those of these people who have one. Recovery codes are none: they stand in for one that is lost."""
    factors = Authenticator.objects.exclude(type=Authenticator.Type.RECOVERY_CODES)
    return set(factors.filter(user__in=list(user_ids)).values_list("user_id", flat=True))
