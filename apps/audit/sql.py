"""Statements of the audit log. All need `tenant(org)` around them."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.db import connection
from psycopg.sql import SQL, Identifier

# Entries that are read at once: a chain of millions is never in memory.
SLICE_ENTRIES = 2_000


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
    """Every entry in order: (sequence, at, actor, action, subject, data, previous_hash, hash). By the primary key."""
    after: int | None = 0
    while after is not None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT sequence, at, actor, action, subject, data::text, previous_hash, hash"
                " FROM audit_auditentry WHERE organization_id = %s AND sequence > %s ORDER BY sequence LIMIT %s",
                [org_id, after, SLICE_ENTRIES],
            )
            rows = cursor.fetchall()
        for row in rows:
            yield (*row[:5], json.loads(row[5]), *row[6:])
        after = rows[-1][0] if rows else None


def distinct_names(org_id: int, column: str, limit: int) -> tuple[str, ...]:
    """The first values of `actor` or `action` in order: one look-up in the index for each, however many entries."""
    name = Identifier(column)
    statement = SQL(
        "WITH RECURSIVE known (name, place) AS ("
        " (SELECT {name}, 1 FROM audit_auditentry WHERE organization_id = %(org)s ORDER BY {name} LIMIT 1)"
        " UNION ALL SELECT following.name, known.place + 1 FROM known CROSS JOIN LATERAL"
        " (SELECT {name} AS name FROM audit_auditentry"
        " WHERE organization_id = %(org)s AND {name} > known.name ORDER BY {name} LIMIT 1) following"
        " WHERE known.place < %(limit)s) SELECT name FROM known ORDER BY place"
    ).format(name=name)
    with connection.cursor() as cursor:
        cursor.execute(statement, {"org": org_id, "limit": limit})
        return tuple(found for (found,) in cursor.fetchall())
