"""What a load balancer and an operator ask."""

from collections.abc import Callable

from django.core.cache import cache
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse

from apps.core.tenancy import impatient

NEEDED = ("postgres", "migrations")

_is_migrated = False


def healthz(request: HttpRequest) -> JsonResponse:
    """The process answers. It asks nobody: a store that is away is no reason to restart the site."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """Postgres answers in time, with the tables that this code needs; Redis too, though nothing is lost without it."""
    with impatient():
        checks = {"postgres": _answers(_ask_postgres)}
        checks["migrations"] = _answers(_ask_migrations) if checks["postgres"] == "ok" else "unknown"
    checks["redis"] = _answers(_ask_redis)
    ready = all(checks[name] == "ok" for name in NEEDED)
    return JsonResponse({"status": "ok" if ready else "unavailable", **checks}, status=200 if ready else 503)


class Unmigrated(Exception):
    """Code is here before its tables are."""


def _answers(ask: Callable[[], None]) -> str:
    try:
        ask()
    except Exception as error:  # whatever the client raises means the same: no answer
        connection.close_if_unusable_or_obsolete()
        return type(error).__name__
    return "ok"


def _ask_postgres() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _ask_migrations() -> None:
    """Asked until it is so: no migration is taken back under code that runs."""
    global _is_migrated
    if not _is_migrated:
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            raise Unmigrated
        _is_migrated = True


def _ask_redis() -> None:
    cache.get("readyz")
