"""A person's own account, where allauth has no page for it."""

from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.views.decorators.http import require_POST


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
