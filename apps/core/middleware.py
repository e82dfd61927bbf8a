"""What every request gets: an id, a line in the log, a place in the figures, and no caching of what is private."""

import logging
import re
import time
import uuid
from collections.abc import Callable

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from structlog.contextvars import bind_contextvars, clear_contextvars

from apps.core.metrics import REQUEST_SECONDS

log = structlog.get_logger(__name__)
_stdlib_log = logging.getLogger(__name__)

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")

GetResponse = Callable[[HttpRequest], HttpResponse]


class RequestIdMiddleware:
    """Names the request in the response header, in every log line and in every error.

    What views add to the lines of their request (whose it is, who asks) goes with it: threads serve many.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-Id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        request.META["finops.request_id"] = request_id
        bind_contextvars(request_id=request_id)
        try:
            response = self.get_response(request)
        finally:
            clear_contextvars()
        response["X-Request-Id"] = request_id
        return response


class AccessMiddleware:
    """Measures the request and says its one line. Both name the route, never the address: that may hold anything."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        begun = time.perf_counter()
        response = self.get_response(request)
        seconds = time.perf_counter() - begun
        route, method, status = route_of(request), request.method or "", response.status_code
        method = method if method in METHODS else "other"
        REQUEST_SECONDS.observe(seconds, route, method, f"{status // 100}xx")
        if _stdlib_log.isEnabledFor(logging.INFO):
            log.info("request", method=method, route=route, status=status, duration_ms=round(seconds * 1000, 1))
        return response


def route_of(request: HttpRequest) -> str:
    """One of as many names as there are routes."""
    match = request.resolver_match
    if match is None:
        return "static" if request.path_info.startswith(settings.STATIC_URL) else "none"
    return match.view_name if match.url_name else "none"


class NoStoreMiddleware:
    """What a signed-in person sees stays out of shared and disk caches."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if not response.has_header("Cache-Control"):
            response["Cache-Control"] = "no-store"
        return response
