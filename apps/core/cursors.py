"""Cursors: where a list goes on, as text that a client sends back as it got it."""

import base64
import binascii
from typing import Any

import msgspec

from apps.core.errors import DomainError


def cursor_of(position: object) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).rstrip(b"=").decode()


def position_of(text: str, shape: Any) -> Any:
    """The position that a cursor of ours holds. Raises `DomainError` (`cursor_invalid`) for any other text."""
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=shape)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise invalid_cursor() from None


def invalid_cursor() -> DomainError:
    return DomainError(
        "cursor_invalid", "This cursor is not one of ours: send `next` back as you got it.", param="cursor"
    )
