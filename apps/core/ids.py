"""Ids that say when they were made."""

import os
import time


def time_ordered_id() -> str:
    """A UUID of version 7 as 32 hex digits: what is made later, by a millisecond or more, sorts behind."""
    drawn = os.urandom(9).hex()
    return f"{time.time_ns() // 1_000_000:012x}7{drawn[:3]}8{drawn[3:]}"
