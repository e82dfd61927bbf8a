"""How many requests a key may send: a fixed window of one minute, counted in Redis."""

import time

import structlog
from django.conf import settings
from redis import Redis

from apps.core.errors import DomainError

log = structlog.get_logger(__name__)

WINDOW_SECONDS = 60

# Not the cache of Django, which makes a client for each command and asks thrice for what is one question.
_redis = Redis.from_url(settings.REDIS_URL, **settings.REDIS_OPTIONS)


def seconds_left() -> int:
    """Until the next window begins: 1 to `WINDOW_SECONDS`."""
    return WINDOW_SECONDS - int(time.time()) % WINDOW_SECONDS


def require_rate(key_id: int) -> None:
    """Raise `DomainError` (`rate_limited`) beyond the limit. Without Redis nobody is refused: usage must arrive."""
    window = int(time.time()) // WINDOW_SECONDS
    name = f"rate:{key_id}:{window}"
    try:
        count = int(_redis.incr(name))
        if count == 1:
            _redis.expire(name, 2 * WINDOW_SECONDS)
    except Exception as error:  # any fault of the cache's client
        log.warning("rate limit not counted", error=repr(error))
        return
    if count > settings.API_REQUESTS_PER_MINUTE:
        raise DomainError(
            "rate_limited",
            f"This key sent more than {settings.API_REQUESTS_PER_MINUTE} requests in a minute."
            " Wait for the next minute, or send larger batches.",
        )
