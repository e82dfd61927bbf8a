"""How many requests a key may send: a fixed window of one minute, counted in Redis."""

import threading
import time

import structlog
from django.conf import settings
from redis import Redis

from apps.core.errors import DomainError

log = structlog.get_logger(__name__)

WINDOW_SECONDS = 60
# A process takes this part of the limit at once and counts it down by itself: 12 requests of 6,000. What it does not
# use in its minute is lost to the key's other processes.
SHARES = 500
KEYS_MAX = 10_000

# Not the cache of Django, which makes a client for each command and asks thrice for what is one question.
_redis = Redis.from_url(settings.REDIS_URL, **settings.REDIS_OPTIONS)
_lock = threading.Lock()
_left: dict[tuple[int, int], int] = {}


def seconds_left() -> int:
    """Until the next window begins: 1 to `WINDOW_SECONDS`."""
    return WINDOW_SECONDS - int(time.time()) % WINDOW_SECONDS


def require_rate(key_id: int) -> None:
    """Raise `DomainError` (`rate_limited`) beyond the limit. Without Redis nobody is refused: usage must arrive."""
    window = int(time.time()) // WINDOW_SECONDS
    with _lock:
        left = _left.get((key_id, window), 0)
        if left > 0:
            _left[key_id, window] = left - 1
            return
    try:
        taken = _take_share(key_id, window)
    except Exception as error:  # any fault of Redis's client
        log.warning("rate limit not counted", error=repr(error))
        return
    if taken <= 0:
        raise DomainError(
            "rate_limited",
            f"This key sent more than {settings.API_REQUESTS_PER_MINUTE} requests in a minute."
            " Wait for the next minute, or send larger batches.",
        )
    with _lock:
        if len(_left) >= KEYS_MAX:
            _left.clear()
        _left[key_id, window] = _left.get((key_id, window), 0) + taken - 1


def _take_share(key_id: int, window: int) -> int:
    """How many requests this process may now let through by itself; none or fewer where the limit is reached."""
    limit = settings.API_REQUESTS_PER_MINUTE
    share = max(1, limit // SHARES)
    # Installations that share a Redis count apart.
    name = f"rate:{settings.DATABASES['default']['NAME']}:{key_id}:{window}"
    count = int(_redis.incrby(name, share))
    if count == share:
        _redis.expire(name, 2 * WINDOW_SECONDS)
    return min(share, limit - (count - share))
