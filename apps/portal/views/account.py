"""A person's own account, where allauth has no page for it, or one that asks once for each row."""

from typing import Any, cast

from allauth.usersessions.models import UserSession
from allauth.usersessions.views import ListUserSessionsView
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.views.decorators.http import require_POST
from django.views.generic.edit import FormView

from apps.accounts.models import User
from apps.accounts.services import sessions_of


class SessionsView(ListUserSessionsView):  # type: ignore[misc]  # allauth has no types
    """Where a person is signed in; its form ends all other sessions."""

    def get_context_data(self, **context: Any) -> dict[str, Any]:
        found = sessions_of(cast("User", self.request.user))
        # Past allauth's own, which asks four times for each session.
        return FormView.get_context_data(self, sessions=found, session_count=len(found), **context)


@require_POST
@login_required
def session_end(request: HttpRequest, session_id: int) -> HttpResponse:
    """Sign one session of one's own out, wherever it is."""
    session = UserSession.objects.filter(pk=session_id, user=request.user).first()
    if session is None:
        raise Http404
    session.end()
    messages.info(request, f"The session from {session.ip} is ended.")
    return HttpResponseRedirect(reverse("usersessions_list"))
