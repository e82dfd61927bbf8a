"""Texts that stand in the database encrypted, under keys that the installation holds elsewhere.

A token is Fernet's: AES-128-CBC, HMAC-SHA-256, the time it was made. Whoever has the database alone cannot read it, and
what was changed there does not open. The first of `ENCRYPTION_KEYS` encrypts, each of them opens.
"""

import base64
from collections.abc import Sequence
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

# What every token begins with: the version, and bytes of the time that stay zero for a while yet.
TOKEN_BEGINS = "gAAAA"  # noqa: S105  (no secret)


class Unreadable(Exception):
    """No key of the installation opens it."""


def encrypt(text: str) -> str:
    """The text as it may be stored; nothing stays nothing."""
    return _keys(tuple(settings.ENCRYPTION_KEYS)).encrypt(text.encode()).decode() if text else ""


def decrypt(token: str) -> str:
    """The text that was encrypted. Raises `Unreadable`."""
    try:
        return _keys(tuple(settings.ENCRYPTION_KEYS)).decrypt(token).decode() if token else ""
    except InvalidToken:
        raise Unreadable("No key of ENCRYPTION_KEYS opens what is stored.") from None


def encrypt_anew(token: str) -> str:
    """The same text under the first key. Raises `Unreadable`."""
    try:
        return _keys(tuple(settings.ENCRYPTION_KEYS)).rotate(token).decode() if token else ""
    except InvalidToken:
        raise Unreadable("No key of ENCRYPTION_KEYS opens what is stored.") from None


@lru_cache(maxsize=4)
def _keys(secrets: Sequence[str]) -> MultiFernet:
    return MultiFernet([Fernet(_key(secret)) for secret in secrets])


def _key(secret: str) -> bytes:
    """A key of the length that Fernet needs, from a random text of any length."""
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"finops stored texts").derive(secret.encode())
    return base64.urlsafe_b64encode(derived)
