"""How many requests a key may send: a fixed window of one minute, counted in Redis."""

import time

import structlog
from django.conf import settings
from django.core.cache import cache

from apps.core.errors import DomainError

log = structlog.get_logger(__name__)

WINDOW_SECONDS = 60


def seconds_left() -> int:
    """Until the next window begins: 1 to `WINDOW_SECONDS`."""
    return WINDOW_SECONDS - int(time.time()) % WINDOW_SECONDS


def require_rate(key_id: int) -> None:
    """Raise `DomainError` (`rate_limited`) beyond the limit. Without Redis nobody is refused: usage must arrive."""
    window = int(time.time()) // WINDOW_SECONDS
    name = f"rate:{key_id}:{window}"
    try:
        cache.add(name, 0, timeout=2 * WINDOW_SECONDS)
        count = cache.incr(name)
    except Exception as error:  # any fault of the cache's client
        log.warning("rate limit not counted", error=repr(error))
        return
    if count > settings.API_REQUESTS_PER_MINUTE:
        raise DomainError(
            "rate_limited",
            f"This key sent more than {settings.API_REQUESTS_PER_MINUTE} requests in a minute."
            " Wait for the next minute, or send larger batches.",
        )
