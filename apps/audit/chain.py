"""What the hash of an audit entry is made of. Pure: whoever has the entries can compute it again."""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

GENESIS = bytes(32)


def entry_hash(
    previous: bytes,
    org_id: int,
    sequence: int,
    at: datetime,
    actor: str,
    action: str,
    subject: str,
    data: Mapping[str, Any],
) -> bytes:
    """SHA-256 over the previous hash and the entry in one canonical spelling."""
    content = json.dumps([org_id, sequence, at.isoformat(), actor, action, subject, data], sort_keys=True)
    return hashlib.sha256(previous + content.encode()).digest()
