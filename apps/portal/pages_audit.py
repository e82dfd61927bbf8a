"""What the template of the audit log reads, in the words of the page."""

from dataclasses import dataclass
from datetime import datetime

from apps.portal.pages import Chip, Select, TextField


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One entry. `lines` are names and values of the changed data; broken is where the chain stops being true."""

    sequence: int
    at: datetime
    who: str
    who_url: str
    did: str
    did_url: str
    subject: str
    lines: tuple[tuple[str, str], ...]
    hash: str
    previous_hash: str
    is_broken: bool


@dataclass(frozen=True, slots=True)
class Chain:
    """Where the chain ends, and the first entry looked at that is not true; None where all are."""

    sequence: int
    hash: str
    broken_at: int | None


@dataclass(frozen=True, slots=True)
class AuditPage:
    """`downloads` are labels and addresses of the same entries as files."""

    hidden: tuple[tuple[str, str], ...]
    actor: TextField
    action: Select
    subject: TextField
    chips: tuple[Chip, ...]
    chain: Chain
    rows: tuple[AuditRow, ...]
    downloads: tuple[tuple[str, str], ...]
    first_url: str | None
    next_url: str | None
