"""What a mail carries that leads back to it: its Message-ID, and the link that ends a digest. Signed, so that nobody
marks a mail as bounced, or ends one, that was not sent to them.
"""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings
from django.core import signing
from django.urls import reverse

# A mail server may write a Message-ID of its own: the header comes back in what it returns.
HEADER = "X-FinOps-Mail"
_MAIL_SALT, _UNSUBSCRIBE_SALT = "statement-mail", "statement-mail-unsubscribe"
_TOKEN = re.compile(r"\d{1,18}\.\d{1,18}\.\d{1,9}\.[A-Za-z0-9_-]{20,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to send one mail of an organization."""

    org_id: int
    mail_id: int
    number: int


def token_of(attempt: Attempt) -> str:
    """Good in a header and in a Message-ID; the same for the same attempt."""
    signer = signing.Signer(sep=".", salt=_MAIL_SALT)
    return signer.sign(f"{attempt.org_id}.{attempt.mail_id}.{attempt.number}")


def message_id(attempt: Attempt) -> str:
    host = urlsplit(settings.BASE_URL).hostname or "localhost"
    return f"<{token_of(attempt)}@{host}>"


def attempt_in(text: str) -> Attempt | None:
    """The attempt that a text names by a token of ours; None where it names none."""
    for found in _TOKEN.finditer(text):
        try:
            said = signing.Signer(sep=".", salt=_MAIL_SALT).unsign(found[0])
        except signing.BadSignature:
            continue
        return Attempt(*map(int, said.split(".")))
    return None


@dataclass(frozen=True, slots=True)
class Unsubscription:
    """An address that wants no more digests of a kind of an organization."""

    org_id: int
    address: str
    kind: str


def unsubscribe_url(wanted: Unsubscription) -> str:
    token = signing.dumps([wanted.org_id, wanted.address, wanted.kind], salt=_UNSUBSCRIBE_SALT)
    return settings.BASE_URL.rstrip("/") + reverse("portal:unsubscribe", args=[token])


def unsubscription_of(token: str) -> Unsubscription | None:
    """None for what is no token of ours. It never expires: a mail may be read years later."""
    try:
        return Unsubscription(*signing.loads(token, salt=_UNSUBSCRIBE_SALT))
    except (signing.BadSignature, TypeError, ValueError):
        return None
