"""What a load balancer and an operator ask."""

from collections.abc import Callable

from django.core.cache import cache
from django.db import connection
from django.http import HttpRequest, JsonResponse


def healthz(request: HttpRequest) -> JsonResponse:
    """The process answers."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """Postgres answers; Redis too, though nothing is lost without it."""
    checks = {"postgres": _answers(_ask_postgres), "redis": _answers(_ask_redis)}
    ready = checks["postgres"] == "ok"
    return JsonResponse({"status": "ok" if ready else "unavailable", **checks}, status=200 if ready else 503)


def _answers(ask: Callable[[], None]) -> str:
    try:
        ask()
    except Exception as error:  # whatever the client raises means the same: no answer
        return type(error).__name__
    return "ok"


def _ask_postgres() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _ask_redis() -> None:
    cache.get("readyz")
