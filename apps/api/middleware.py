"""The API's own way through the site."""

from collections.abc import Callable
from typing import Any

from django.core.handlers.base import BaseHandler
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponse
from django.middleware.common import CommonMiddleware

PREFIX = "/api/"
# The one page among the answers: it has scripts, and needs what pages need.
PAGES = ("/api/v1/docs",)
POLICY = "default-src 'none'; frame-ancestors 'none'"


class ApiMiddleware:
    """Leads requests of the API straight to their views.

    They carry a key: no session, form token, message or script is theirs, so what stands below this in `MIDDLEWARE`
    is for pages only, but for the refusal of unknown hosts. That is more than half of what a decision costs in Python
    otherwise.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.to_pages = get_response
        views = convert_exception_to_response(_Views().answer)
        self.to_views: Callable[[HttpRequest], Any] = convert_exception_to_response(CommonMiddleware(views))

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(PREFIX) or request.path_info in PAGES:
            return self.to_pages(request)
        response: HttpResponse = self.to_views(request)
        response.headers["Content-Security-Policy"] = POLICY
        return response


class _Views(BaseHandler):
    """Django's innermost step, without a middleware that looks at views."""

    _view_middleware: list[object] = []
    _template_response_middleware: list[object] = []
    _exception_middleware: list[object] = []

    def answer(self, request: HttpRequest) -> HttpResponse:
        response: HttpResponse = self._get_response(request)  # type: ignore[attr-defined]  # private, and the only way
        return response
