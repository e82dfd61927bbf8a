"""The audit log as it stands. All inside `tenant(org)`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from django.db import DatabaseError
from django.db.models import Q
from msgspec import Meta

from apps.audit import sql
from apps.audit.chain import GENESIS, entry_hash
from apps.audit.models import AuditEntry
from apps.core.cursors import position_of
from apps.core.errors import DomainError
from apps.core.retry import is_timeout
from apps.core.tenancy import HasPk, limit_time, org_id_of

PAGE_MAX = 200
NAMES_MAX = 100
FIND_TIMEOUT_MS = 5_000

# When, and the number in the chain.
Position = tuple[Annotated[datetime, Meta(tz=True)], Annotated[int, Meta(ge=1, le=2**63 - 1)]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries: of [start, end), None where a side is open; "" asks for nothing in particular.

    `actor` is exact; `action` is one ("keys.issued") or all of a kind ("keys"); `subject` is a part of it, in any case.
    """

    actor: str = ""
    action: str = ""
    subject: str = ""
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True, slots=True)
class EntryPage:
    entries: Sequence[AuditEntry]
    following: Position | None


@dataclass(frozen=True, slots=True)
class ChainState:
    """The end of the chain, and the first of the looked-at entries that is not true; None where all are."""

    sequence: int
    hash: bytes
    broken_at: int | None


def find_entries(org: HasPk, wanted: Wanted, *, limit: int, after: Position | None = None) -> EntryPage:
    """Entries newest first. Indexes: audit_by_time, audit_by_actor, audit_by_action.

    Raises `DomainError` (`query_too_slow`) after 5 seconds.
    """
    found = AuditEntry.objects.for_org(org)
    if wanted.start is not None:
        found = found.filter(at__gte=wanted.start)
    if wanted.end is not None:
        found = found.filter(at__lt=wanted.end)
    if wanted.actor:
        found = found.filter(actor=wanted.actor)
    if wanted.action:
        # Of a kind: a range that the index serves, since "/" follows "." in the database's order.
        kind = Q(action__gt=f"{wanted.action}.", action__lt=f"{wanted.action}/")
        found = found.filter(Q(action=wanted.action) if "." in wanted.action else kind)
    if wanted.subject:
        found = found.filter(subject__icontains=wanted.subject)
    if after is not None:
        at, sequence = after
        found = found.filter(Q(at__lt=at) | Q(at=at, sequence__lt=sequence), at__lte=at)
    limit_time(FIND_TIMEOUT_MS)
    try:
        entries = list(found.order_by("-at", "-sequence")[: limit + 1])
    except DatabaseError as error:
        if is_timeout(error):
            raise DomainError(
                "query_too_slow", "Finding entries took longer than 5 seconds: shorten the range.", param="from"
            ) from None
        raise
    last = entries[limit - 1] if len(entries) > limit else None
    return EntryPage(entries[:limit], None if last is None else (last.at, last.sequence))


def position_after(cursor: str) -> Position:
    """Raises `DomainError` (`cursor_invalid`)."""
    position: Position = position_of(cursor, Position)
    return position


def chain_state(org: HasPk, entries: Iterable[AuditEntry]) -> ChainState:
    """Whether these entries are true, each follows the one before it, and the newest of all is where the chain ends.

    Inside `tenant(org, repeatable_read=True)`. A few look-ups by key: the whole chain is for `verify_audit`.
    """
    looked_at = sorted(entries, key=lambda entry: entry.sequence)
    rows = AuditEntry.objects.for_org(org)
    wanted = [entry.sequence - 1 for entry in looked_at]
    before = {
        sequence: bytes(digest) for sequence, digest in rows.filter(sequence__in=wanted).values_list("sequence", "hash")
    }
    before[0] = GENESIS
    broken = (
        entry.sequence
        for entry in looked_at
        if bytes(entry.previous_hash) != before.get(entry.sequence - 1) or bytes(entry.hash) != hash_of(entry)
    )
    newest = rows.order_by("-sequence").values_list("sequence", "hash").first()
    last, last_hash = (newest[0], bytes(newest[1])) if newest else (0, GENESIS)
    sequence, head = sql.head(org_id_of(org))
    cut = None if (sequence, head) == (last, last_hash) else min(sequence, last) + 1
    return ChainState(sequence, head, next(broken, cut))


def hash_of(entry: AuditEntry) -> bytes:
    """What the entry's hash must be."""
    return entry_hash(
        bytes(entry.previous_hash),
        entry.organization_id,
        entry.sequence,
        entry.at,
        entry.actor,
        entry.action,
        entry.subject,
        entry.data,
    )


def chain_head(org: HasPk) -> tuple[int, bytes]:
    """The number and the hash of the last entry; (0, 32 zero bytes) before the first."""
    return sql.head(org_id_of(org))


def actors_of(org: HasPk) -> tuple[str, ...]:
    """Who ever did something, the first `NAMES_MAX` in order. Index: audit_by_actor."""
    return sql.distinct_names(org_id_of(org), "actor", NAMES_MAX)


def actions_of(org: HasPk) -> tuple[str, ...]:
    """What was ever done, the first `NAMES_MAX` in order. Index: audit_by_action."""
    return sql.distinct_names(org_id_of(org), "action", NAMES_MAX)
