"""The audit log: each entry carries the hash of the one before it, so an edit or a gap shows."""

import json
from typing import Any

from django.utils import timezone

from apps.audit import sql
from apps.audit.chain import GENESIS, entry_hash
from apps.core.tenancy import HasPk, org_id_of


def record(*, org: HasPk | int, actor: object, action: str, subject: str, data: dict[str, Any] | None = None) -> None:
    """Append an entry inside the caller's `tenant(org)` transaction.

    `actor` is a person, a key or None for a command; `action` is namespaced ("keys.issued"). Entries of one
    organization queue behind each other until the transaction ends.
    """
    org_id = org_id_of(org)
    sequence, previous = sql.lock_head(org_id)
    at = timezone.now()
    name = str(actor) if actor is not None else "command"
    facts = data or {}
    digest = entry_hash(previous, org_id, sequence + 1, at, name, action, subject, facts)
    sql.append(org_id, sequence + 1, at, name, action, subject, json.dumps(facts, sort_keys=True), previous, digest)


def first_broken_entry(*, org: HasPk | int) -> int | None:
    """The sequence number at which the chain stops being true, or None where it holds.

    Inside `tenant(org, repeatable_read=True)` where others may write: an entry added between two of its statements
    would else be read as a break.
    """
    org_id = org_id_of(org)
    previous, expected = GENESIS, 1
    for sequence, at, actor, action, subject, data, stored_previous, stored in sql.entries(org_id):
        digest = entry_hash(previous, org_id, sequence, at, actor, action, subject, data)
        if (sequence, bytes(stored_previous), bytes(stored)) != (expected, previous, digest):
            return expected
        previous, expected = digest, expected + 1
    head_sequence, head_hash = sql.head(org_id)
    return None if (head_sequence, head_hash) == (expected - 1, previous) else expected
