"""Deadlocks and serialization failures: try again a few times, then say that the store is busy."""

from collections.abc import Callable
from typing import TypeVar

from django.db import DatabaseError, OperationalError, connection

RETRIES = 3
_RETRYABLE = ("40001", "40P01")

T = TypeVar("T")


class StoreUnavailable(Exception):
    """The store could not take the work now; nothing was changed, the same request may be sent again."""


def with_retries(work: Callable[[], T]) -> T:
    """The result of `work`, which is one whole transaction.

    Raises `StoreUnavailable` when Postgres cannot be reached, or when `RETRIES` after a deadlock met one too.
    """
    for _ in range(RETRIES + 1):
        try:
            return work()
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", None) not in _RETRYABLE:
                # Whatever this thread asks next gets a sound connection.
                connection.close_if_unusable_or_obsolete()
                raise StoreUnavailable(type(error.__cause__).__name__) from error
    raise StoreUnavailable(f"{RETRIES + 1} deadlocks in a row")


def is_timeout(error: DatabaseError) -> bool:
    """Whether Postgres cancelled a statement that ran longer than its limit."""
    return getattr(error.__cause__, "sqlstate", None) == "57014"
