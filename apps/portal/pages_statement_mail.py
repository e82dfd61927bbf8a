"""What the template of statements by mail reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from apps.portal.pages_prices import FormError


@dataclass(frozen=True, slots=True)
class RecipientPart:
    """One reason why an address gets something; `remove_url` takes an entered one away, `off_team` switches a lead's
    off, where that may be done.
    """

    label: str
    is_off: bool
    remove_url: str
    off_team: str


@dataclass(frozen=True, slots=True)
class RecipientRow:
    address: str
    is_member: bool
    bounce: str
    declined: str
    parts: tuple[RecipientPart, ...]
    preview_url: str


@dataclass(frozen=True, slots=True)
class AttemptLine:
    at: datetime
    says: str
    by: str


@dataclass(frozen=True, slots=True)
class MailRow:
    address: str
    about: str
    made_at: datetime
    state: str
    says: str
    tone: str
    is_bounced: bool
    attempts: int
    due_at: datetime | None
    reply: str
    log: tuple[AttemptLine, ...]
    resend_url: str
    asks: str


@dataclass(frozen=True, slots=True)
class MailPage:
    """`given` holds what the forms show: what was typed, where something was wrong with it."""

    given: Mapping[str, str]
    error: FormError | None
    wrong_form: str
    weekdays: tuple[tuple[str, str], ...]
    zone: str
    teams: tuple[str, ...]
    covers: tuple[tuple[str, str], ...]
    recipients: tuple[RecipientRow, ...]
    mails: tuple[MailRow, ...]
    states: tuple[tuple[str, str], ...]
    state: str
    unclear: int
    first_url: str
    next_url: str
    says: str
    may_change: bool
    my_address: str
    preview_url: str
