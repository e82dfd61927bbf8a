from django.contrib.auth.hashers import PBKDF2PasswordHasher


class OneRound(PBKDF2PasswordHasher):
    """What the site's own hasher can verify, made in no time."""

    iterations = 1
