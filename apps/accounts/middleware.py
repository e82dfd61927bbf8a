"""When a session was last seen, and from where."""

import time
from collections.abc import Callable

from allauth.usersessions.models import UserSession
from django.http import HttpRequest, HttpResponse

SEEN_EVERY_SECONDS = 5 * 60
_SEEN_AT = "seen_at"


class SeenMiddleware:
    """Notes the address and the browser of a session at most every five minutes: a page costs no write for it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        seen_at = request.session.get(_SEEN_AT)
        # Only a session that exists is asked for its person.
        if request.session.session_key and (seen_at is None or abs(time.time() - seen_at) >= SEEN_EVERY_SECONDS):
            self._note(request)
        return self.get_response(request)

    def _note(self, request: HttpRequest) -> None:
        if request.user.is_authenticated:
            request.session[_SEEN_AT] = int(time.time())
            UserSession.objects.create_from_request(request)
