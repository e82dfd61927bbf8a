"""The spelling of an API key: `aif_live_`, 30 base62 characters (178 bits), 6 of checksum.

The checksum lets a scanner recognize a leaked key, and the site refuse a mistyped one without a query.
"""

import hashlib
import secrets
import zlib

PREFIX = "aif_live_"
RANDOM_LENGTH = 30
CHECKSUM_LENGTH = 6
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def new_secret() -> str:
    random = "".join(secrets.choice(_ALPHABET) for _ in range(RANDOM_LENGTH))
    return f"{PREFIX}{random}{_checksum(random)}"


def is_well_formed(secret: str) -> bool:
    body = secret.removeprefix(PREFIX)
    if body == secret or len(body) != RANDOM_LENGTH + CHECKSUM_LENGTH or not body.isascii():
        return False
    return _checksum(body[:RANDOM_LENGTH]) == body[RANDOM_LENGTH:]


def hash_of(secret: str) -> bytes:
    """SHA-256 is enough for a secret of 178 random bits: there is nothing to guess."""
    return hashlib.sha256(secret.encode()).digest()


def hint_of(secret: str) -> str:
    return f"{secret[:13]}…{secret[-4:]}"


def _checksum(random: str) -> str:
    number = zlib.crc32(random.encode())
    digits = []
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
