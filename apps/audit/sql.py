"""Statements of the audit log. All need `tenant(org)` around them."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.db import connection


def lock_head(org_id: int) -> tuple[int, bytes]:
    """(last sequence, last hash), held until the transaction ends. Index: the primary key."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit_head (organization_id, sequence, hash) VALUES (%s, 0, %s)"
            " ON CONFLICT (organization_id) DO NOTHING",
            [org_id, bytes(32)],
        )
        cursor.execute("SELECT sequence, hash FROM audit_head WHERE organization_id = %s FOR UPDATE", [org_id])
        sequence, last = cursor.fetchone()
    return sequence, bytes(last)


def head(org_id: int) -> tuple[int, bytes]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT sequence, hash FROM audit_head WHERE organization_id = %s", [org_id])
        row = cursor.fetchone()
    return (row[0], bytes(row[1])) if row else (0, bytes(32))


def append(
    org_id: int,
    sequence: int,
    at: datetime,
    actor: str,
    action: str,
    subject: str,
    data: str,
    previous: bytes,
    digest: bytes,
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit_auditentry"
            " (organization_id, sequence, at, actor, action, subject, data, previous_hash, hash)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [org_id, sequence, at, actor, action, subject, data, previous, digest],
        )
        cursor.execute(
            "UPDATE audit_head SET sequence = %s, hash = %s WHERE organization_id = %s",
            [sequence, digest, org_id],
        )


def entries(org_id: int) -> Iterator[tuple[Any, ...]]:
    """Every entry in order: (sequence, at, actor, action, subject, data, previous_hash, hash)."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sequence, at, actor, action, subject, data::text, previous_hash, hash"
            " FROM audit_auditentry WHERE organization_id = %s ORDER BY sequence",
            [org_id],
        )
        for row in cursor:
            yield (*row[:5], json.loads(row[5]), *row[6:])
