"""GET /metrics: how the service does, for Prometheus."""

import hmac
from collections.abc import Callable, Iterator
from ipaddress import ip_address

import structlog
from django.conf import settings
from django.db import DatabaseError, connection
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

from apps.core.tenancy import impatient
from finops import figures

log = structlog.get_logger(__name__)

ROLES = ("finops_app", "finops_worker", "finops_owner", "other")


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Answers whoever has `METRICS_TOKEN`. Where none is set only this machine is answered, and only when embedded."""
    if settings.METRICS_TOKEN:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(
            token.strip().encode(), settings.METRICS_TOKEN.encode()
        ):
            return HttpResponse(status=401, headers={"WWW-Authenticate": 'Bearer realm="metrics"'})
    elif not (settings.EMBEDDED and _is_from_here(request)):
        raise Http404
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return HttpResponse(encode(Scrape()), content_type=content_type)


def _is_from_here(request: HttpRequest) -> bool:
    """Behind a proxy every request comes from this machine: one that was handed on is not from here."""
    if "X-Forwarded-For" in request.headers or "Forwarded" in request.headers:
        return False
    try:
        return ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False


class Scrape(Collector):
    """Everything, read now. A store that does not answer takes its own figures with it and no others."""

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("finops_up", "Whether a store answers.", labels=["store"])
        for store, read in (("redis", _from_redis), ("postgres", _from_postgres)):
            found = _read(read)
            up.add_metric([store], found is not None)
            yield from found or ()
        yield up


def _read(read: Callable[[], list[Metric]]) -> list[Metric] | None:
    try:
        return read()
    except (RedisError, DatabaseError, OSError) as error:
        log.warning("figures not read", error=type(error).__name__)
        return None


def _from_redis() -> list[Metric]:
    figures.push()
    queues = GaugeMetricFamily("finops_queue_messages", "Messages that no worker has taken yet.", labels=["queue"])
    for queue, name in settings.QUEUES.items():
        queues.add_metric([queue], figures.redis().llen(name))
    return [*figures.kept(), queues]


def _from_postgres() -> list[Metric]:
    """Directory tables and the server itself: what belongs to organizations, no role of ours sees all of."""
    organizations = GaugeMetricFamily("finops_organizations", "Organizations by state.", labels=["state"])
    used = GaugeMetricFamily("finops_database_connections", "Connections to the database.", labels=["role"])
    most = GaugeMetricFamily("finops_database_connections_max", "Connections that the server takes, of all databases.")
    with impatient(), connection.cursor() as cursor:
        cursor.execute("SELECT state, count(*) FROM organizations_organization GROUP BY state ORDER BY state")
        for state, count in cursor.fetchall():
            organizations.add_metric([state], count)
        cursor.execute(
            "SELECT CASE WHEN usename = ANY (%s) THEN usename ELSE 'other' END AS role, count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() GROUP BY role ORDER BY role",
            [list(ROLES)],
        )
        for role, count in cursor.fetchall():
            used.add_metric([role], count)
        cursor.execute("SELECT current_setting('max_connections')::int")
        most.add_metric([], cursor.fetchone()[0])
    return [organizations, used, most]
