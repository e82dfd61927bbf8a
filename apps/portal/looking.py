"""Who looks as a member: an operator's session holds the id, and every request asks whether it still holds."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from apps.accounts.models import Impersonation, User
from apps.core.errors import DomainError, NotFound
from apps.organizations import impersonation
from apps.organizations.impersonation import How, Looking

_SESSION_KEY = "looking_as"
_SAFE = ("GET", "HEAD", "OPTIONS")
# What an operator may do meanwhile: end it, and sign out, which ends it too.
_ALLOWED = ("portal:looking_end", "account_logout")


def looking_of(request: HttpRequest) -> Looking | None:
    """What `LookingMiddleware` found; it is found here where a request came another way."""
    if not hasattr(request, "looking"):
        _find(request)
    found: Looking | None = request.looking  # type: ignore[attr-defined]  # set by _find
    return found


def start_looking(request: HttpRequest, begun: Impersonation) -> None:
    request.session[_SESSION_KEY] = begun.pk


def stop_looking(request: HttpRequest) -> Looking | None:
    """As whom the operator looked until now; None where they did not."""
    found = looking_of(request)
    request.session.pop(_SESSION_KEY, None)
    if found is not None:
        impersonation.end(found.impersonation, how=How.ENDED)
    request.looking = None  # type: ignore[attr-defined]
    return found


def _find(request: HttpRequest) -> None:
    """Sets `looking`, and `looking_over` to the sentence that says why it is over, once."""
    request.looking, request.looking_over = None, ""  # type: ignore[attr-defined]
    number, user = request.session.get(_SESSION_KEY), request.user
    if not isinstance(number, int) or not isinstance(user, User):
        return
    try:
        request.looking = impersonation.current(  # type: ignore[attr-defined]
            impersonation_id=number, operator=user, at=timezone.now()
        )
    except NotFound:
        del request.session[_SESSION_KEY]
    except DomainError as over:
        del request.session[_SESSION_KEY]
        request.looking_over = over.detail  # type: ignore[attr-defined]


class LookingMiddleware:
    """Who looks as a member changes nothing, on any page; what ends the session ends the looking."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        _find(request)
        response = self.get_response(request)
        looking = looking_of(request)
        if looking is not None and _SESSION_KEY not in request.session:
            impersonation.end(looking.impersonation, how=How.SIGNED_OUT)
        return response

    def process_view(
        self, request: HttpRequest, view: Callable[..., HttpResponse], arguments: Any, named: Any
    ) -> HttpResponse | None:
        match = request.resolver_match
        if match is not None and match.view_name in _ALLOWED:
            return None
        if request.looking_over:  # type: ignore[attr-defined]
            return render(request, "portal/looking_over.html", status=403)
        if looking_of(request) is not None and request.method not in _SAFE:
            return render(request, "portal/looking_refused.html", status=403)
        return None
